"""Whether a value came back from JSON as it went in."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final, cast
from uuid import UUID

from pydantic import BaseModel

_Parts = Iterable[tuple[str, Any, Any]]

_SCALARS: Final = frozenset(
    {str, int, float, bool, bytes, type(None), date, datetime, time, timedelta, Decimal, UUID}
)
"""Types whose equal instances are the same."""


def difference(before: Any, after: Any, path: str = "") -> str | None:  # noqa: ANN401
    """Say where two values differ, or return None when they are the same.

    Models are compared field by field, without excluded fields, private attributes and
    cached properties, which stay behind on purpose. NaN equals NaN, objects that only know
    identity are the same when their types are, and a mapping may come back as another kind
    of mapping.
    """
    parts = _parts(before, after)
    if parts is None:
        if _is_same(before, after):
            return None
        place = path or "its content"
        return f"{place} is {_short(before)} and would come back as {_short(after)}"
    for name, a, b in parts:
        if type(a) is not type(b) or type(a) not in _SCALARS or a != b:
            found = difference(a, b, _below(path, name))
            if found is not None:
                return found
    return None


def _is_same(before: object, after: object) -> bool:
    """Whether two values that have no parts are the same."""
    kind = type(before)
    if kind is type(after):
        if kind.__eq__ is object.__eq__:
            return True
        if _is_nan(before) and _is_nan(after):
            return True
    if before == after:
        return not _is_container(before) and _nature(before) is _nature(after)
    return _is_same_moment(before, after)


def _parts(before: Any, after: Any) -> _Parts | None:  # noqa: ANN401
    """Return what two values of one kind consist of, side by side, if they are comparable."""
    if isinstance(before, Mapping):
        if not isinstance(after, Mapping):
            return None
        left, right = cast("Mapping[Any, Any]", before), cast("Mapping[Any, Any]", after)
        if left.keys() != right.keys():
            return None
        return ((repr(key), left[key], right[key]) for key in left)
    if type(before) is not type(after):
        return None
    if isinstance(before, BaseModel):
        return _fields(before, after)
    if dataclasses.is_dataclass(before):
        names = [field.name for field in dataclasses.fields(before)]
        return [(name, getattr(before, name), getattr(after, name)) for name in names]
    if isinstance(before, AbstractSet):
        return () if before == after else None
    if isinstance(before, Sequence) and not isinstance(before, str | bytes):
        return _items(cast("Sequence[Any]", before), cast("Sequence[Any]", after))
    return None


def _items(before: Sequence[Any], after: Sequence[Any]) -> _Parts | None:
    if len(before) != len(after):
        return None
    kinds = list(map(type, before))
    if _SCALARS.issuperset(kinds) and before == after and kinds == list(map(type, after)):
        return ()  # the usual case, at once
    return zip(map(str, range(len(before))), before, after, strict=True)


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


def _nature(value: object) -> type | None:
    """What a value is beyond what it equals: `True == 1`, and an enum may equal its value."""
    if isinstance(value, Enum):
        return type(value)
    return bool if isinstance(value, bool) else None


def _is_same_moment(before: object, after: object) -> bool:
    """Whether two aware datetimes are one moment, in the hour that comes twice as well.

    In that hour Python calls datetimes of two time zones unequal (PEP 495).
    """
    if not (isinstance(before, datetime) and isinstance(after, datetime)):
        return False
    if before.utcoffset() is None or after.utcoffset() is None:
        return False
    try:
        return before.astimezone(UTC) == after.astimezone(UTC)
    except OverflowError:
        return False


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else f"field {name!r}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
