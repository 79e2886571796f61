"""JSON Schemas as models are asked with: closed, without what tells a model nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

JsonSchema = dict[str, Any]

_NAMED: Final = ("$defs", "definitions", "properties", "patternProperties")
_LISTED: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE: Final = ("items", "additionalProperties", "contains", "propertyNames", "not")


def rewritten(schema: Mapping[str, Any], change: Callable[[JsonSchema], JsonSchema]) -> JsonSchema:
    """Return a copy in which `change` was applied to every schema, innermost first.

    Only what stands where JSON Schema 2020-12 expects a schema is one: a property called
    `items`, an example or a default stays as it is.
    """
    made: JsonSchema = dict(schema)
    for key in _NAMED:
        if isinstance(named := made.get(key), Mapping):
            inner = cast("Mapping[str, Any]", named)
            made[key] = {name: _inner(part, change) for name, part in inner.items()}
    for key in _LISTED:
        if isinstance(listed := made.get(key), list):
            made[key] = [_inner(part, change) for part in cast("list[Any]", listed)]
    for key in _SINGLE:
        if isinstance(single := made.get(key), Mapping):
            made[key] = _inner(cast("Mapping[str, Any]", single), change)
    return change(made)


def _inner(part: object, change: Callable[[JsonSchema], JsonSchema]) -> object:
    if not isinstance(part, Mapping):
        return part  # `true` and `false` are schemas, too
    return rewritten(cast("Mapping[str, Any]", part), change)


def closed(schema: Mapping[str, Any]) -> JsonSchema:
    """Return a schema whose objects have no other properties than those they name.

    Titles go: they only repeat the names. Objects that are open on purpose stay open.
    """

    def close(part: JsonSchema) -> JsonSchema:
        part.pop("title", None)
        if "properties" in part:
            part.setdefault("additionalProperties", False)
        return part

    return rewritten(schema, close)
