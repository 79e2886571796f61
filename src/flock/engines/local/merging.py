"""Several JSON Schemas that hold at once, as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product
from typing import Any, Final

from flock.engines.local.json_types import AnySchema, Schema

ANNOTATIONS: Final = frozenset({
    "$comment", "$defs", "$id", "$schema", "default", "definitions", "deprecated", "description",
    "discriminator", "example", "examples", "readOnly", "title", "writeOnly", "contentEncoding",
    "contentMediaType", "x-guidance",
})  # fmt: skip
"""Keywords that describe and do not assert."""

_GREATEST: Final = {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"}
_LEAST: Final = {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"}
_MOST_ALTERNATIVES = 64


def assertions(schema: Schema) -> Schema:
    """Return the keywords that assert something."""
    return {key: value for key, value in schema.items() if key not in ANNOTATIONS}


def merge(schemas: Iterable[AnySchema], note: Callable[[str], None]) -> AnySchema:
    """Return one schema for what all of them say.

    Args:
        schemas: Schemas without `$ref` and `allOf` at their top.
        note: Told of each keyword that could not be kept.
    """
    parts = [schema for schema in schemas if schema is not True]
    merged: Schema = {}
    for schema in parts:
        if isinstance(schema, bool):
            return False
        for key, value in assertions(schema).items():
            if key not in merged or _is_same(merged[key], value):
                merged[key] = value
            elif key == "const":
                return False
            else:
                merged[key] = _both(key, merged[key], value, note)
    return _for_others(merged, [part for part in parts if isinstance(part, dict)])


def _for_others(merged: Schema, parts: list[Schema]) -> AnySchema:
    """Hold each part's properties and places to what the others say of those not their own."""
    properties: Schema = dict(merged.get("properties", {}))
    for part in parts:
        others = part.get("additionalProperties", True)
        if others is True or "patternProperties" in part:
            continue
        for name in properties.keys() - part.get("properties", {}).keys():
            properties[name] = {"allOf": [properties[name], others]}
    places: list[AnySchema] = list(merged.get("prefixItems", ()))
    for part in parts:
        for place in range(len(part.get("prefixItems", ())), len(places)):
            places[place] = {"allOf": [places[place], part.get("items", True)]}
    own = {"properties": properties, "prefixItems": places}
    return merged | {key: value for key, value in own.items() if value}


def _both(key: str, one: Any, other: Any, note: Callable[[str], None]) -> Any:  # noqa: ANN401 - JSON
    if key in _GREATEST:
        return max(one, other)
    if key in _LEAST:
        return min(one, other)
    if key in _LISTS:
        return _LISTS[key](one, other)
    match key:
        case "properties" | "patternProperties" | "$defs":
            both = {name: {"allOf": [one[name], other[name]]} for name in one if name in other}
            return one | other | both
        case "items" | "additionalProperties" | "propertyNames":
            return {"allOf": [one, other]}
        case _:
            note(f"a second {key!r}")
            return one


def _both_types(one: str | list[str], other: str | list[str]) -> list[str]:
    first, second = (_types(one), _types(other))
    common = [name for name in first if name in second]
    if "integer" not in common and {"integer", "number"} <= {*first, *second}:
        common += ["integer"] if ("integer" in first) != ("integer" in second) else []
    return common


def _types(names: str | list[str]) -> list[str]:
    return [names] if isinstance(names, str) else names


def common(one: list[Any], other: list[Any]) -> list[Any]:
    """Return the JSON values that both lists hold; 1 is no true."""
    return [value for value in one if any(_is_same(value, another) for another in other)]


def _is_same(one: Any, other: Any) -> bool:  # noqa: ANN401 - JSON
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _all_of_each(one: list[Any], other: list[Any]) -> list[Any]:
    pairs = list(product(one, other))[:_MOST_ALTERNATIVES]
    return [{"allOf": [a, b]} for a, b in pairs]


def _in_place(one: list[Any], other: list[Any]) -> list[Any]:
    longest = one if len(one) >= len(other) else other
    pairs = [{"allOf": [a, b]} for a, b in zip(one, other, strict=False)]
    return [*pairs, *longest[len(pairs) :]]


_LISTS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "type": _both_types,
    "required": lambda one, other: list(dict.fromkeys([*one, *other])),
    "enum": common,
    "anyOf": _all_of_each,
    "oneOf": _all_of_each,
    "prefixItems": _in_place,
    "uniqueItems": lambda one, other: one or other,
}
