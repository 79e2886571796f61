"""Whether a value came back from JSON as it went in."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, cast

from pydantic import BaseModel


def difference(before: object, after: object, path: str = "") -> str | None:
    """Say where two values differ, or return None when they are the same.

    Models are compared field by field, without excluded fields, private attributes and
    cached properties, which stay behind on purpose. NaN equals NaN, and objects that only
    know identity are the same when their types are.
    """
    if isinstance(before, BaseModel) and type(before) is type(after):
        return _model_difference(before, cast("BaseModel", after), path)
    if dataclasses.is_dataclass(before) and type(before) is type(after):
        names = [field.name for field in dataclasses.fields(before)]
        pairs = ((n, getattr(before, n), getattr(after, n)) for n in names)
        return _first_difference(pairs, path)
    if before == after and _same_kind(before, after):
        return None
    if type(before) is type(after):
        if isinstance(before, float) and isinstance(after, float):
            if math.isnan(before) and math.isnan(after):
                return None
        elif isinstance(before, Mapping) and isinstance(after, Mapping):
            left, right = cast("Mapping[Any, Any]", before), cast("Mapping[Any, Any]", after)
            if left.keys() == right.keys():
                return _first_difference(((repr(k), left[k], right[k]) for k in left), path)
        elif isinstance(before, Sequence) and not isinstance(before, str | bytes):
            first, second = cast("Sequence[Any]", before), cast("Sequence[Any]", after)
            if len(first) == len(second):
                pairs = zip(map(str, range(len(first))), first, second, strict=True)
                return _first_difference(pairs, path)
        elif type(before).__eq__ is object.__eq__:
            return None
    return f"{path or 'its content'} is {_short(before)} and would come back as {_short(after)}"


def _same_kind(before: object, after: object) -> bool:
    """Whether equal values are of one kind: `1 == True`, but they are not the same."""
    if isinstance(before, Mapping | AbstractSet) or (
        isinstance(before, Sequence) and not isinstance(before, str | bytes)
    ):
        return type(before) is type(after)
    return True


def _model_difference(before: BaseModel, after: BaseModel, path: str) -> str | None:
    fields = type(before).model_fields
    kept = [
        name
        for name, field in fields.items()
        if not field.exclude and getattr(field, "exclude_if", None) is None
    ]
    pairs = [(n, before.__dict__.get(n), after.__dict__.get(n)) for n in kept]
    left, right = before.__pydantic_extra__ or {}, after.__pydantic_extra__ or {}
    pairs.extend((n, left.get(n), right.get(n)) for n in left.keys() | right.keys())
    return _first_difference(pairs, path)


def _first_difference(pairs: Any, path: str) -> str | None:  # noqa: ANN401 - triples of any values
    for name, left, right in pairs:
        found = difference(left, right, f"{path}.{name}" if path else f"field {name!r}")
        if found is not None:
            return found
    return None


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
