"""Which inputs of a run each parameter of a user's function is given."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from flock.core.artifacts import Artifact
from flock.core.roles import Role
from flock.core.types import TypeEntry, registry
from flock.errors import EngineError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from flock.core.context import Context, EvalInputs
    from flock.core.signature import FunctionSignature, Parameter

_ONE_INPUT: Final = frozenset({Role.MODEL, Role.ARTIFACT, Role.ANYTHING})
_MOST_KEPT: Final = 64
_LONGEST_KEPT: Final = 16

Layout: TypeAlias = tuple[TypeEntry, ...]
"""The types of a run's inputs, in their order."""


@dataclass(frozen=True, slots=True)
class _Share:
    """What a parameter is given: the inputs at these places, as one value or as a list."""

    parameter: Parameter
    places: tuple[int, ...] = ()
    is_several: bool = False

    @property
    def is_left_without(self) -> bool:
        """Whether it asks for an input, and none is left."""
        parameter = self.parameter
        return not self.places and parameter.role in _ONE_INPUT and not parameter.optional


class _Plan:
    """What each parameter is given of inputs of certain types.

    Attributes:
        shares: Parameter by parameter.
        models: Where the inputs lie when all that is asked for is one model for each
            parameter, in their order; None otherwise.
    """

    __slots__ = ("models", "shares")

    def __init__(self, shares: Sequence[_Share]) -> None:
        self.shares = shares
        are_models = all(
            len(share.places) == 1
            and not share.is_several
            and not share.parameter.keyword
            and share.parameter.role is not Role.ARTIFACT
            for share in shares
        )
        self.models = [share.places[0] for share in shares] if are_models else None


class Binding:
    """Gives a function its arguments; how is worked out once for inputs of the same types."""

    __slots__ = ("_plans", "_signature")

    def __init__(self, signature: FunctionSignature) -> None:
        self._signature = signature
        self._plans: dict[tuple[bool, Layout], _Plan] = {}

    def arguments(self, inputs: EvalInputs, ctx: Context) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments for one call.

        Each parameter in its turn takes what it accepts of the inputs that are left, in their
        order: a model or an artifact the first of them, a list all.

        Raises:
            EngineError: An input that a parameter asks for is not there.
        """
        artifacts = inputs.artifacts
        plan = self._plan(tuple([a.entry for a in artifacts]), is_batch=ctx.is_batch)
        if plan.models is not None:
            return [_instance(artifacts[place]) for place in plan.models], {}
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for share in plan.shares:
            parameter = share.parameter
            value = _value_of(share, inputs, ctx)
            if parameter.takes_rest:
                args.extend(cast("Iterable[object]", value))
            elif parameter.keyword:
                kwargs[parameter.name] = value
            else:
                args.append(value)
        return args, kwargs

    def _plan(self, layout: Layout, *, is_batch: bool) -> _Plan:
        key = (is_batch, layout)
        plan = self._plans.get(key)
        if plan is None:
            plan = _Plan(_shares(self._signature, layout, is_batch=is_batch))
            if len(layout) <= _LONGEST_KEPT:
                if len(self._plans) >= _MOST_KEPT:
                    self._plans.clear()
                self._plans[key] = plan
        return plan


def left_without(
    signature: FunctionSignature, types: Iterable[TypeEntry], *, is_batch: bool = False
) -> Parameter | None:
    """Return the first parameter for which inputs of these types leave none, if there is one.

    A parameter that gets nothing but an empty list because it is annotated with one is no such
    parameter.

    Args:
        signature: How the function is called.
        types: The types of the inputs of one run, in their order.
        is_batch: Whether they are gathered in a batch.
    """
    shares = _shares(signature, tuple(types), is_batch=is_batch)
    return next((share.parameter for share in shares if share.is_left_without), None)


def accepts(parameter: Parameter, entry: TypeEntry) -> bool:
    """Return whether a parameter takes inputs of a type, or of one derived from it."""
    models = parameter.models
    if not models:
        return True
    return any(registry.entry(model).name == entry.name for model in models) or issubclass(
        entry.cls, models
    )


def _shares(signature: FunctionSignature, layout: Layout, *, is_batch: bool) -> list[_Share]:
    """Return what each parameter is given, in their order."""
    left = [*range(len(layout))]
    nothing_said = sum(p.role is Role.ANYTHING for p in signature.parameters) == 1
    shares: list[_Share] = []
    for parameter in signature.parameters:
        places: Sequence[int] = ()
        is_several = parameter.role in {Role.MODELS, Role.ARTIFACTS}
        match parameter.role:
            case Role.CONTEXT | Role.INPUTS | Role.DEFAULT:
                pass
            case Role.ARTIFACTS:
                places = range(len(layout))
            case Role.MODELS:
                takes = {entry: accepts(parameter, entry) for entry in {layout[p] for p in left}}
                places = [place for place in left if takes[layout[place]]]
            case Role.ANYTHING if nothing_said and _is_list(left, parameter, is_batch=is_batch):
                places, is_several = [*left], True
            case Role.MODEL | Role.ARTIFACT | Role.ANYTHING:
                places = [p for p in left if accepts(parameter, layout[p])][:1]
        if parameter.role is not Role.ARTIFACTS:
            taken = set(places)
            left = [place for place in left if place not in taken]
        shares.append(_Share(parameter, tuple(places), is_several))
    return shares


def _is_list(left: list[int], parameter: Parameter, *, is_batch: bool) -> bool:
    """Whether what is left is given as a list to the parameter that says nothing of it."""
    return (is_batch or len(left) != 1) and (bool(left) or not parameter.optional)


def _value_of(share: _Share, inputs: EvalInputs, ctx: Context) -> object:
    parameter, artifacts = share.parameter, inputs.artifacts
    match parameter.role:
        case Role.CONTEXT:
            return ctx
        case Role.INPUTS:
            return inputs
        case Role.DEFAULT:
            return parameter.default
        case Role.ARTIFACTS:
            return _several(parameter, [artifacts[place] for place in share.places])
        case Role.MODELS:
            return _several(parameter, [_instance(artifacts[place]) for place in share.places])
        case Role.MODEL | Role.ARTIFACT | Role.ANYTHING:
            if share.is_several:
                return [_instance(artifacts[place]) for place in share.places]
            if share.places:
                artifact = artifacts[share.places[0]]
                return artifact if parameter.role is Role.ARTIFACT else _instance(artifact)
    if parameter.optional:
        return parameter.default
    there = ", ".join(a.type for a in artifacts) or "nothing"
    msg = f"no input is left for parameter {parameter.name!r}; the inputs are: {there}"
    raise EngineError(msg)


def _several(parameter: Parameter, items: list[Any]) -> object:
    if not items and parameter.optional:
        return parameter.default
    return tuple(items) if parameter.is_tuple else items


def _instance(artifact: Artifact) -> BaseModel:
    return artifact.take(artifact.entry)
