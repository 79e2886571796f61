"""Which inputs of a run each parameter of a user's function is given."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from flock.core.artifacts import Artifact
from flock.core.roles import Role
from flock.core.types import TypeEntry, registry
from flock.errors import EngineError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from flock.core.context import Context, EvalInputs
    from flock.core.signature import FunctionSignature, Parameter


class _Typed(Protocol):
    """What can be given to a parameter, as far as its type says."""

    @property
    def entry(self) -> TypeEntry: ...


T = TypeVar("T", bound=_Typed)


@dataclass(frozen=True, slots=True)
class _Expected:
    """An input that is not there yet."""

    entry: TypeEntry


def bind(
    signature: FunctionSignature, inputs: EvalInputs, ctx: Context
) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments for one call.

    Each parameter in its turn takes what it accepts of the inputs that are left, in their
    order: a model or an artifact the first of them, a list all.

    Raises:
        EngineError: An input that a parameter asks for is not there.
    """
    unused = list(inputs.artifacts)
    takes_all = _has_lone(signature)
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for parameter in signature.parameters:
        value = _value_for(parameter, unused, inputs, ctx, takes_all=takes_all)
        if parameter.takes_rest:
            args.extend(cast("Iterable[object]", value))
        elif parameter.keyword:
            kwargs[parameter.name] = value
        else:
            args.append(value)
    return args, kwargs


def left_without(
    signature: FunctionSignature, types: Iterable[TypeEntry], *, is_batch: bool = False
) -> Parameter | None:
    """Return the first parameter for which inputs of these types leave none, if there is one.

    It is `bind` before there are inputs. A parameter that gets nothing but an empty list
    because it is annotated with one is no such parameter.

    Args:
        signature: How the function is called.
        types: The types of the inputs of one run, in their order.
        is_batch: Whether they are gathered in a batch.
    """
    unused = [_Expected(entry) for entry in types]
    takes_all = _has_lone(signature)
    for parameter in signature.parameters:
        match parameter.role:
            case Role.MODELS:
                _all(unused, parameter)
            case Role.ANYTHING if (
                takes_all and unused and _is_several(unused, parameter, is_batch=is_batch)
            ):
                unused.clear()
            case Role.MODEL | Role.ARTIFACT | Role.ANYTHING:
                if _next(unused, parameter) is None and not parameter.optional:
                    return parameter
            case Role.CONTEXT | Role.INPUTS | Role.ARTIFACTS | Role.DEFAULT:
                pass
    return None


def accepts(parameter: Parameter, entry: TypeEntry) -> bool:
    """Return whether a parameter takes inputs of a type, or of one derived from it."""
    models = parameter.models
    if not models:
        return True
    return any(registry.entry(model).name == entry.name for model in models) or issubclass(
        entry.cls, models
    )


def _has_lone(signature: FunctionSignature) -> bool:
    """Whether one parameter says nothing of what it takes: it may be given all as a list."""
    return sum(p.role is Role.ANYTHING for p in signature.parameters) == 1


def _value_for(
    parameter: Parameter,
    unused: list[Artifact],
    inputs: EvalInputs,
    ctx: Context,
    *,
    takes_all: bool,
) -> object:
    match parameter.role:
        case Role.CONTEXT:
            return ctx
        case Role.INPUTS:
            return inputs
        case Role.DEFAULT:
            return parameter.default
        case Role.ARTIFACTS:
            return _several(parameter, list(inputs.artifacts))
        case Role.MODELS:
            return _several(parameter, [_instance(a) for a in _all(unused, parameter)])
        case Role.ANYTHING if takes_all and _is_several(unused, parameter, is_batch=ctx.is_batch):
            taken = [_instance(a) for a in unused]
            unused.clear()
            return taken
        case Role.MODEL | Role.ARTIFACT | Role.ANYTHING:
            artifact = _next(unused, parameter)
            if artifact is not None:
                is_artifact = parameter.role is Role.ARTIFACT
                return artifact if is_artifact else _instance(artifact)
    if parameter.optional:
        return parameter.default
    there = ", ".join(a.type for a in inputs.artifacts) or "nothing"
    msg = f"no input is left for parameter {parameter.name!r}; the inputs are: {there}"
    raise EngineError(msg)


def _is_several(unused: list[T], parameter: Parameter, *, is_batch: bool) -> bool:
    """Whether what is left is given as a list to the parameter that says nothing of it."""
    return (is_batch or len(unused) != 1) and (bool(unused) or not parameter.optional)


def _several(parameter: Parameter, items: list[Any]) -> object:
    if not items and parameter.optional:
        return parameter.default
    return tuple(items) if parameter.is_tuple else items


def _instance(artifact: Artifact) -> BaseModel:
    return artifact.take(artifact.entry)


def _next(unused: list[T], parameter: Parameter) -> T | None:
    for position, item in enumerate(unused):
        if accepts(parameter, item.entry):
            return unused.pop(position)
    return None


def _all(unused: list[T], parameter: Parameter) -> list[T]:
    accepted = {
        name: accepts(parameter, entry)
        for name, entry in {item.entry.name: item.entry for item in unused}.items()
    }
    taken = [item for item in unused if accepted[item.entry.name]]
    unused[:] = (
        [item for item in unused if not accepted[item.entry.name]]
        if len(taken) < len(unused)
        else []
    )
    return taken
