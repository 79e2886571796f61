"""What a user's function takes and yields, read from its annotations."""

from __future__ import annotations

import inspect
import typing
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final, Literal, cast, get_args, get_origin

from pydantic import BaseModel

from flock.core.artifacts import Artifact
from flock.core.context import EvalResult
from flock.core.hints import innermost, read_hints, without_partials
from flock.core.roles import Filling, Role, filling_of, members_of, plain_hint
from flock.errors import DeclarationError

__all__ = [
    "FunctionSignature",
    "Output",
    "Parameter",
    "Role",
    "read_signature",
    "yielded_models",
]

Kind = Literal["sync", "async", "generator", "async generator"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of the function and what it is given.

    Attributes:
        name: Its name.
        role: What it is given.
        models: The model classes it accepts; any if empty.
        optional: Whether its default, or None, will do when there is no such input.
        keyword: Whether it is passed by name.
        default: Its default.
        is_tuple: Whether several are given as a tuple instead of a list.
        takes_rest: Whether it is `*args`, which takes all that is left.
    """

    name: str
    role: Role
    models: tuple[type[BaseModel], ...] = ()
    optional: bool = False
    keyword: bool = False
    default: object = None
    is_tuple: bool = False
    takes_rest: bool = False


@dataclass(frozen=True, slots=True)
class Output:
    """One type that the function is annotated to yield: once, or any number of times."""

    model: type[BaseModel]
    many: bool
    optional: bool


@dataclass(frozen=True, slots=True)
class FunctionSignature:
    """How a user's function is called and what it is annotated to yield.

    Attributes:
        function: The function.
        kind: How it is called.
        parameters: What it takes.
        outputs: The model types of its return annotation; empty without one.
    """

    function: Callable[..., Any]
    kind: Kind
    parameters: tuple[Parameter, ...]
    outputs: tuple[Output, ...]

    @property
    def streams(self) -> bool:
        """Whether outputs are yielded one by one."""
        return self.kind in {"generator", "async generator"}

    @property
    def input_models(self) -> list[type[BaseModel]]:
        """The model classes it is annotated to take, one per parameter, in order."""
        return [p.models[0] for p in self.parameters if len(p.models) == 1]


def read_signature(
    function: Callable[..., Any],
    names: Mapping[str, Any] | None = None,
    frame: FrameType | None = None,
) -> FunctionSignature:
    """Read how a function is to be called.

    Args:
        function: A function, method, partial or callable object.
        names: Names in which annotations written as text may be found.
        frame: The call under way from which such names are looked for outwards.

    Raises:
        DeclarationError: It is not callable, or a parameter cannot be bound.
    """
    if not callable(function) or isinstance(function, type):
        msg = f"calls() takes a function, not {function!r}"
        raise DeclarationError(msg)
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        signature = inspect.Signature(
            [inspect.Parameter("value", inspect.Parameter.POSITIONAL_ONLY)]
        )
    hints = read_hints(function, names or {}, frame)
    parameters: list[Parameter] = []
    skipped: list[Parameter] = []
    for parameter in signature.parameters.values():
        bound = _parameter(parameter, hints.get(parameter.name, parameter.annotation), function)
        if bound is None:
            if parameter.kind not in _BY_NAME:
                skipped.append(Parameter(parameter.name, Role.DEFAULT, default=parameter.default))
            continue
        if not bound.keyword:
            parameters += skipped  # or the arguments behind them would take their places
            skipped.clear()
        parameters.append(bound)
    returns = hints.get("return", signature.return_annotation)
    kind = _kind(function)
    return FunctionSignature(function, kind, tuple(parameters), _outputs(returns, kind))


_BY_NAME: Final = {
    inspect.Parameter.KEYWORD_ONLY,
    inspect.Parameter.VAR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
}


def _kind(function: Callable[..., Any]) -> Kind:
    """Return how a function is called: as its outermost decorator is, but streams stay streams."""
    outermost = _kind_of(without_partials(function))
    if outermost == "sync":
        inner = _kind_of(innermost(function))
        return inner if inner in {"generator", "async generator"} else "sync"
    return outermost


def _kind_of(target: Any) -> Kind:  # noqa: ANN401 - any callable
    if not (inspect.isfunction(target) or inspect.ismethod(target)):
        target = getattr(cast("Any", type(target)), "__call__", target)  # noqa: B004 - its code is looked at
    if inspect.isasyncgenfunction(target):
        return "async generator"
    if inspect.iscoroutinefunction(target):
        return "async"
    return "generator" if inspect.isgeneratorfunction(target) else "sync"


def _parameter(
    parameter: inspect.Parameter,
    hint: Any,  # noqa: ANN401 - an annotation can be anything
    function: Callable[..., Any],
) -> Parameter | None:
    """Return what a parameter is given, or None if it keeps its default."""
    if parameter.kind is inspect.Parameter.VAR_KEYWORD:
        return None
    takes_rest = parameter.kind is inspect.Parameter.VAR_POSITIONAL
    has_default = parameter.default is not inspect.Parameter.empty
    name = getattr(function, "__qualname__", repr(function))
    if isinstance(hint, str) and not has_default:
        msg = (
            f"parameter {parameter.name!r} of {name} is annotated with {hint!r}, and no such name "
            "was found; import it at run time, or define it where calls() is called"
        )
        raise DeclarationError(msg)
    is_bare = hint is inspect.Parameter.empty or isinstance(hint, str)
    if is_bare and has_default:
        return None
    if is_bare or isinstance(hint, typing.ParamSpecArgs):
        filling: Filling | None = Filling(Role.ANYTHING)
    else:
        filling = filling_of(hint)
    if takes_rest:
        return _rest(parameter.name, filling)
    if filling is None:
        if has_default:
            return None
        msg = (
            f"parameter {parameter.name!r} of {name} is annotated with {hint!r}, which nothing "
            "on the board can fill; annotate it with a model, list[Model], EvalInputs or "
            "Context, or give it a default"
        )
        raise DeclarationError(msg)
    return Parameter(
        parameter.name,
        filling.role,
        filling.models,
        optional=filling.optional or has_default,
        keyword=parameter.kind is inspect.Parameter.KEYWORD_ONLY,
        default=parameter.default if has_default else None,
        is_tuple=filling.is_tuple,
    )


def _rest(name: str, filling: Filling | None) -> Parameter | None:
    """Return what `*name` is given: all that no other parameter takes."""
    several = {
        Role.MODEL: Role.MODELS,
        Role.ANYTHING: Role.MODELS,
        Role.ARTIFACT: Role.ARTIFACTS,
    }
    role = several.get(filling.role) if filling is not None else None
    if filling is None or role is None:
        return None
    return Parameter(name, role, filling.models, takes_rest=True)


_STREAMS = (Generator, Iterator, Iterable, AsyncGenerator, AsyncIterator, AsyncIterable)


def _outputs(hint: Any, kind: Kind) -> tuple[Output, ...]:  # noqa: ANN401
    if hint is inspect.Signature.empty or hint is None or isinstance(hint, str):
        return ()
    hint = plain_hint(hint)
    many = kind in {"generator", "async generator"}
    if many and get_origin(hint) in _STREAMS:
        hint = plain_hint(get_args(hint)[0])
    found: dict[type[BaseModel], Output] = {}
    members = members_of(hint)
    for member in members:
        for model, several in _yielded(member, many=many):
            known = found.get(model)
            several = several or known is not None
            found[model] = Output(model, several, optional=len(members) > 1)
    return tuple(found.values())


def _yielded(hint: Any, *, many: bool) -> list[tuple[type[BaseModel], bool]]:  # noqa: ANN401
    if isinstance(hint, type) and issubclass(hint, BaseModel) and hint is not BaseModel:
        return [(hint, many)]
    origin = get_origin(hint)
    if origin is tuple and Ellipsis not in get_args(hint):
        return [y for arg in get_args(hint) for y in _yielded(plain_hint(arg), many=many)]
    if isinstance(origin, type) and issubclass(origin, Iterable):
        return [
            y
            for arg in get_args(hint)
            if arg is not Ellipsis
            for member in members_of(plain_hint(arg))
            for y in _yielded(member, many=True)
        ]
    return []


def yielded_models(value: object) -> list[BaseModel | Artifact]:
    """Return what a function answered as a list of models and artifacts.

    Raises:
        TypeError: The answer holds something else, or something that makes its items only when
            it is asked for them: code of the user's, which is not run on the event loop.
    """
    if value is None:
        return []
    if isinstance(value, BaseModel | Artifact):
        return [value]
    if isinstance(value, EvalResult):
        return list(value.artifacts)
    if isinstance(value, list | tuple | AbstractSet):
        flat: list[BaseModel | Artifact] = []
        for item in cast("Iterable[object]", value):
            flat.extend(yielded_models(item))
        return flat
    msg = f"{value!r} is no model; return models, a list of them, or None to publish nothing"
    raise TypeError(msg)
