"""What steps of runs return, as JSON that outlives the process."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any, Final, TypeVar, get_args

from pydantic import BaseModel, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from flock.core.hints import innermost, read_hints
from flock.core.types import registry
from flock.errors import EngineError, FlockError

_MODEL: Final = "$model"
_VALUE: Final = "$value"


def write_step(name: str, fn: Callable[..., object], result: object) -> bytes:
    """Return what a step returned as JSON, from which `read_step` makes an equal value.

    A model is written with the name and version of its type. Other values are JSON, or what
    the function's return annotation says.

    Args:
        name: The step.
        fn: The function that was called.
        result: What it returned.

    Raises:
        EngineError: JSON cannot carry it.
    """
    try:
        data = _written(fn, result)
        same = _read(fn, data) == result
    except (
        FlockError,
        PydanticSerializationError,
        ValidationError,
        TypeError,
        ValueError,
    ) as error:
        raise EngineError(_refusal(name, fn, result, str(error))) from error
    if not same:
        raise EngineError(_refusal(name, fn, result, "what is read back is not equal to it"))
    return data


def read_step(name: str, fn: Callable[..., object], data: bytes) -> object:
    """Return what a step had returned in an earlier process.

    Raises:
        EngineError: It does not fit the function's annotation, or its model, any more.
    """
    try:
        return _read(fn, data)
    except (FlockError, ValidationError, TypeError, ValueError) as error:
        msg = (
            f"what step {name!r} returned before the board was opened again cannot be read: "
            f"{error}; let {_name(fn)} return what it returned then, or give the step a new name"
        )
        raise EngineError(msg) from error


def _written(fn: Callable[..., object], result: object) -> bytes:
    if isinstance(result, BaseModel):
        entry = registry.entry(type(result))
        name = json.dumps([entry.name, entry.version]).encode()
        return b'{"%s":%s,"%s":%s}' % (
            _MODEL.encode(),
            name,
            _VALUE.encode(),
            entry.freeze(result),
        )
    adapter = _adapter(fn)
    if adapter is not None:
        return b'{"%s":%s}' % (_VALUE.encode(), adapter.dump_json(result, round_trip=True))
    return json.dumps({_VALUE: result}, allow_nan=False).encode()


def _read(fn: Callable[..., object], data: bytes) -> object:
    stored: dict[str, Any] = json.loads(data)
    value = stored[_VALUE]
    if _MODEL in stored:
        hint = _hint(fn)
        for each in (hint, *get_args(hint)):
            if isinstance(each, type) and issubclass(each, BaseModel):
                registry.entry(each)  # this process may not have come across it yet
        name, version = stored[_MODEL]
        return registry.resolve(name).load(json.dumps(value).encode(), version)
    adapter = _adapter(fn)
    return value if adapter is None else adapter.validate_json(json.dumps(value))


def _adapter(fn: Callable[..., object]) -> TypeAdapter[Any] | None:
    """Return how to read what a function is annotated to return, if that says anything."""
    hint = _hint(fn)
    nothing = (inspect.Signature.empty, Any, object, None)
    if any(hint is each for each in nothing) or isinstance(hint, str | TypeVar):
        return None
    try:
        return TypeAdapter(hint)
    except PydanticUserError:  # Pydantic knows nothing of such a type
        return None


def _hint(fn: Callable[..., object]) -> Any:  # noqa: ANN401 - an annotation can be anything
    return read_hints(fn, {}, None).get("return", inspect.Signature.empty)


def _refusal(name: str, fn: Callable[..., object], result: object, why: str) -> str:
    return (
        f"step {name!r} returned {result!r}, which a board that lasts cannot remember: {why}; "
        f"return a Pydantic model or a JSON value, or annotate what {_name(fn)} returns"
    )


def _name(fn: Callable[..., object]) -> str:
    return getattr(innermost(fn), "__qualname__", repr(fn))
