"""What a user's function takes and yields, read from its annotations."""

from __future__ import annotations

import inspect
import types
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
from enum import Enum
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

from pydantic import BaseModel

from flock.core.artifacts import Artifact
from flock.core.context import Context, EvalInputs, EvalResult
from flock.core.types import registry
from flock.errors import DeclarationError, EngineError

Kind = Literal["sync", "async", "generator", "async generator"]


class Role(Enum):
    """What a parameter is given."""

    CONTEXT = "context"
    INPUTS = "inputs"
    MODEL = "model"
    MODELS = "models"
    ARTIFACT = "artifact"
    ARTIFACTS = "artifacts"
    ANYTHING = "anything"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of the function and what it is given.

    Attributes:
        name: Its name.
        role: What it is given.
        models: The model classes it accepts; any if empty.
        optional: Whether None will do when there is no such input.
        keyword: Whether it is passed by name.
    """

    name: str
    role: Role
    models: tuple[type[BaseModel], ...] = ()
    optional: bool = False
    keyword: bool = False


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

    def bind(self, inputs: EvalInputs, ctx: Context) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments for one call.

        Raises:
            EngineError: An input that a parameter asks for is not there.
        """
        unused = list(inputs.artifacts)
        lone = sum(p.role is Role.ANYTHING for p in self.parameters) == 1
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for parameter in self.parameters:
            value = _value_for(parameter, unused, inputs, ctx, takes_all=lone)
            if parameter.keyword:
                kwargs[parameter.name] = value
            else:
                args.append(value)
        return args, kwargs


def read_signature(
    function: Callable[..., Any], names: Mapping[str, Any] | None = None
) -> FunctionSignature:
    """Read how a function is to be called.

    Args:
        function: A function, method, partial or callable object.
        names: Local names in which annotations written as strings may be found.

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
    hints = _hints(function, names or {})
    parameters: list[Parameter] = []
    for parameter in signature.parameters.values():
        bound = _parameter(parameter, hints.get(parameter.name, parameter.annotation), function)
        if bound is not None:
            parameters.append(bound)
    returns = hints.get("return", signature.return_annotation)
    kind = _kind(function)
    return FunctionSignature(function, kind, tuple(parameters), _outputs(returns, kind))


def _kind(function: Callable[..., Any]) -> Kind:
    target: Any = inspect.unwrap(function)
    while hasattr(target, "func"):
        target = target.func
    if not (inspect.isfunction(target) or inspect.ismethod(target)):
        target = getattr(cast("Any", type(target)), "__call__", target)  # noqa: B004 - its code is looked at
    if inspect.isasyncgenfunction(target):
        return "async generator"
    if inspect.iscoroutinefunction(target):
        return "async"
    return "generator" if inspect.isgeneratorfunction(target) else "sync"


def _hints(function: Callable[..., Any], names: Mapping[str, Any]) -> dict[str, Any]:
    target: Any = inspect.unwrap(function)
    while hasattr(target, "func"):
        target = target.func
    if not (inspect.isfunction(target) or inspect.ismethod(target) or inspect.isbuiltin(target)):
        target = getattr(target, "__call__", target)  # noqa: B004 - its annotations are looked at
    plain: Any = getattr(target, "__func__", target)
    local = dict(names)
    code = getattr(plain, "__code__", None)
    for name, cell in zip(
        getattr(code, "co_freevars", ()), getattr(plain, "__closure__", None) or (), strict=False
    ):
        try:
            local[name] = cell.cell_contents
        except ValueError:
            continue
    raw: dict[str, Any] = dict(getattr(plain, "__annotations__", {}))
    space: dict[str, Any] = getattr(plain, "__globals__", {})
    found: dict[str, Any] = {}
    for name, annotation in raw.items():
        holder = types.SimpleNamespace(__annotations__={name: annotation})
        try:
            hints = typing.get_type_hints(holder, space, local, include_extras=True)
        except (NameError, TypeError, AttributeError, SyntaxError):
            continue
        found[name] = hints[name]
    return found


def _parameter(
    parameter: inspect.Parameter,
    hint: Any,  # noqa: ANN401 - an annotation can be anything
    function: Callable[..., Any],
) -> Parameter | None:
    if parameter.kind in {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
        return None
    keyword = parameter.kind is inspect.Parameter.KEYWORD_ONLY
    has_default = parameter.default is not inspect.Parameter.empty
    if isinstance(hint, str) and not has_default:
        name = getattr(function, "__qualname__", repr(function))
        msg = (
            f"parameter {parameter.name!r} of {name} is annotated with {hint!r}, and no such name "
            "was found; import it at run time, or define it where calls() is called"
        )
        raise DeclarationError(msg)
    if hint is inspect.Parameter.empty or isinstance(hint, str):
        if has_default:
            return None
        return Parameter(parameter.name, Role.ANYTHING, keyword=keyword)
    role, models, optional = _role(hint)
    if role is None:
        if has_default:
            return None
        name = getattr(function, "__qualname__", repr(function))
        msg = (
            f"parameter {parameter.name!r} of {name} is annotated with {hint!r}, which nothing "
            "on the board can fill; annotate it with a model, list[Model], EvalInputs or "
            "Context, or give it a default"
        )
        raise DeclarationError(msg)
    return Parameter(
        parameter.name, role, models, optional=optional or has_default, keyword=keyword
    )


def _role(hint: Any) -> tuple[Role | None, tuple[type[BaseModel], ...], bool]:  # noqa: ANN401
    hint = _plain(hint)
    if hint in {Any, object, BaseModel}:
        return Role.ANYTHING, (), False
    simple = {Context: Role.CONTEXT, EvalInputs: Role.INPUTS, Artifact: Role.ARTIFACT}
    if isinstance(hint, type) and hint in simple:
        return simple[hint], (), False
    members = _members(hint)
    models = _models(members)
    if models is not None:
        return Role.MODEL, models, type(None) in members
    if get_origin(hint) in {list, Iterable, typing.Sequence, tuple} or hint is list:
        inner = [arg for arg in get_args(hint) if arg is not Ellipsis]
        if not inner or _plain(inner[0]) in {Any, object, BaseModel}:
            return Role.MODELS, (), False
        if len(set(inner)) == 1 and _plain(inner[0]) is Artifact:
            return Role.ARTIFACTS, (), False
        models = _models(_members(_plain(inner[0])))
        if models is not None and len(set(inner)) == 1:
            return Role.MODELS, models, False
    if _is_sequence(hint):
        return _role(list[get_args(hint)[0]])
    return None, (), False


def _is_sequence(hint: Any) -> bool:  # noqa: ANN401
    origin = get_origin(hint)
    return (
        isinstance(origin, type)
        and origin is not list
        and issubclass(list, origin)
        and bool(get_args(hint))
    )


def _plain(hint: Any) -> Any:  # noqa: ANN401
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if isinstance(hint, typing.TypeVar):
        return hint.__bound__ or Any
    value = getattr(hint, "__value__", None)  # a `type X = ...` alias
    return _plain(value) if value is not None and not isinstance(hint, type) else hint


def _members(hint: Any) -> tuple[Any, ...]:  # noqa: ANN401
    if get_origin(hint) in {Union, types.UnionType}:
        return tuple(_plain(arg) for arg in get_args(hint))
    return (hint,)


def _models(members: Iterable[Any]) -> tuple[type[BaseModel], ...] | None:
    classes = [m for m in members if m is not type(None)]
    if classes and all(isinstance(m, type) and issubclass(m, BaseModel) for m in classes):
        return tuple(classes)
    return None


_STREAMS = (Generator, Iterator, Iterable, AsyncGenerator, AsyncIterator, AsyncIterable)


def _outputs(hint: Any, kind: Kind) -> tuple[Output, ...]:  # noqa: ANN401
    if hint is inspect.Signature.empty or hint is None or isinstance(hint, str):
        return ()
    hint = _plain(hint)
    many = kind in {"generator", "async generator"}
    if many and get_origin(hint) in _STREAMS:
        hint = _plain(get_args(hint)[0])
    found: dict[type[BaseModel], Output] = {}
    members = _members(hint)
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
        return [y for arg in get_args(hint) for y in _yielded(_plain(arg), many=many)]
    if isinstance(origin, type) and issubclass(origin, Iterable):
        return [
            y
            for arg in get_args(hint)
            if arg is not Ellipsis
            for member in _members(_plain(arg))
            for y in _yielded(member, many=True)
        ]
    return []


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
        case Role.ARTIFACTS:
            return list(inputs.artifacts)
        case Role.MODELS:
            return [_instance(a) for a in _all(unused, parameter)]
        case Role.ANYTHING if takes_all and (ctx.is_batch or len(unused) != 1):
            taken = [_instance(a) for a in unused]
            unused.clear()
            return taken
        case Role.MODEL | Role.ARTIFACT | Role.ANYTHING:
            artifact = _next(unused, parameter)
            if artifact is not None:
                is_artifact = parameter.role is Role.ARTIFACT
                return artifact if is_artifact else _instance(artifact)
    if parameter.optional:
        return None
    there = ", ".join(a.type for a in inputs.artifacts) or "nothing"
    msg = f"no input is left for parameter {parameter.name!r}; the inputs are: {there}"
    raise EngineError(msg)


def _accepts(parameter: Parameter, artifact: Artifact) -> bool:
    models = parameter.models
    if not models:
        return True
    name = artifact.entry.name
    return any(registry.entry(model).name == name for model in models) or issubclass(
        artifact.entry.cls, models
    )


def _instance(artifact: Artifact) -> BaseModel:
    return artifact.take(artifact.entry)


def _next(unused: list[Artifact], parameter: Parameter) -> Artifact | None:
    for position, artifact in enumerate(unused):
        if _accepts(parameter, artifact):
            return unused.pop(position)
    return None


def _all(unused: list[Artifact], parameter: Parameter) -> list[Artifact]:
    accepted = {
        name: _accepts(parameter, a) for name, a in {a.entry.name: a for a in unused}.items()
    }
    taken = [a for a in unused if accepted[a.entry.name]]
    unused[:] = (
        [a for a in unused if not accepted[a.entry.name]] if len(taken) < len(unused) else []
    )
    return taken


def yielded_models(value: object) -> list[BaseModel | Artifact]:
    """Return what a function answered as a list of models and artifacts.

    Raises:
        TypeError: The answer holds something else.
    """
    if value is None:
        return []
    if isinstance(value, BaseModel | Artifact):
        return [value]
    if isinstance(value, EvalResult):
        return list(value.artifacts)
    if isinstance(value, list | tuple | AbstractSet | Iterator):
        flat: list[BaseModel | Artifact] = []
        for item in cast("Iterable[object]", value):
            flat.extend(yielded_models(item))
        return flat
    msg = f"{value!r} is no model; return models, a list of them, or None to publish nothing"
    raise TypeError(msg)
