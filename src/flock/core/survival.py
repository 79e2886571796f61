"""Whether a value came back from JSON as it went in."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, cast

from pydantic import BaseModel

_Parts = Iterable[tuple[str, Any, Any]]


def difference(before: Any, after: Any, path: str = "") -> str | None:  # noqa: ANN401
    """Say where two values differ, or return None when they are the same.

    Models are compared field by field, without excluded fields, private attributes and
    cached properties, which stay behind on purpose. NaN equals NaN, and objects that only
    know identity are the same when their types are.
    """
    if type(before) is type(after):
        parts = _parts(before, after)
        if parts is not None:
            found = (difference(a, b, _below(path, name)) for name, a, b in parts)
            return next((text for text in found if text is not None), None)
        if _is_nan(before) and _is_nan(after):
            return None
        if type(before).__eq__ is object.__eq__:
            return None
    if before == after and not _is_container(before):
        return None
    return f"{path or 'its content'} is {_short(before)} and would come back as {_short(after)}"


def _parts(before: Any, after: Any) -> _Parts | None:  # noqa: ANN401
    """Return what two values of one type consist of, side by side, if they are comparable."""
    if isinstance(before, BaseModel):
        return _fields(before, after)
    if dataclasses.is_dataclass(before):
        names = [field.name for field in dataclasses.fields(before)]
        return [(name, getattr(before, name), getattr(after, name)) for name in names]
    if isinstance(before, Mapping):
        left, right = cast("Mapping[Any, Any]", before), cast("Mapping[Any, Any]", after)
        if left.keys() == right.keys():
            return [(repr(key), left[key], right[key]) for key in left]
    elif isinstance(before, AbstractSet):
        return [] if before == after else None
    elif isinstance(before, Sequence) and not isinstance(before, str | bytes):
        first, second = cast("Sequence[Any]", before), cast("Sequence[Any]", after)
        if len(first) == len(second):
            return zip(map(str, range(len(first))), first, second, strict=True)
    return None


def _fields(before: BaseModel, after: BaseModel) -> _Parts:
    kept = [
        name
        for name, field in type(before).model_fields.items()
        if not field.exclude and getattr(field, "exclude_if", None) is None
    ]
    yield from ((name, before.__dict__.get(name), after.__dict__.get(name)) for name in kept)
    left, right = before.__pydantic_extra__ or {}, after.__pydantic_extra__ or {}
    yield from ((name, left.get(name), right.get(name)) for name in left.keys() | right.keys())


def _is_container(value: object) -> bool:
    """Whether it is a container, of which equal ones of two types are not the same."""
    return isinstance(value, Mapping | AbstractSet) or (
        isinstance(value, Sequence) and not isinstance(value, str | bytes)
    )


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else f"field {name!r}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
