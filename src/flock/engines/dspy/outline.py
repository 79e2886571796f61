"""A schema in few words: what a model that keeps schemas has to know of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from json import dumps
from typing import Any, Final, cast

_LIMITS: Final = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} of them",
    "maxItems": "at most {} of them",
    "pattern": "matching {}",
    "format": "{}",
    "formatMinimum": "from {}",
    "formatMaximum": "until {}",
    "formatExclusiveMinimum": "after {}",
    "formatExclusiveMaximum": "before {}",
}


def outline(schema: Mapping[str, Any]) -> str:
    """Return the outline of an object: `{"key": kind, ...}` with what is said about each key.

    A definition is spelled out where it is used first, and named after that.
    """
    definitions: Mapping[str, Any] = schema.get("$defs", {})
    return _Outline(definitions).of(schema, "")


class _Outline:
    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions = definitions
        self._told: set[str] = set()

    def of(self, schema: object, indent: str) -> str:
        if not isinstance(schema, Mapping):
            return "anything"
        part = cast("Mapping[str, Any]", schema)
        if "$ref" in part:
            return self._reference(part["$ref"], indent)
        if "const" in part:
            return dumps(part["const"], ensure_ascii=False)
        if "enum" in part:
            return " | ".join(dumps(value, ensure_ascii=False) for value in part["enum"])
        for key in ("anyOf", "oneOf", "allOf"):
            if key in part:
                choices = cast("Sequence[object]", part[key])
                return " | ".join(dict.fromkeys(self.of(choice, indent) for choice in choices))
        kind = part.get("type")
        if kind == "object" or "properties" in part:
            return self._object(part, indent)
        if kind == "array":
            return self._array(part, indent)
        limits = [text.format(part[key]) for key, text in _LIMITS.items() if key in part]
        name = " | ".join(cast("list[str]", kind)) if isinstance(kind, list) else kind
        suffix = f" ({', '.join(limits)})" if limits else ""
        return f"{name or 'anything'}{suffix}"

    def _reference(self, reference: str, indent: str) -> str:
        name = reference.rsplit("/", 1)[-1]
        definition = self._definitions.get(name)
        if definition is None or name in self._told:
            return name
        if "properties" in definition:
            self._told.add(name)
            return f"{name} {self.of(definition, indent)}"
        return self.of(definition, indent)

    def _array(self, part: Mapping[str, Any], indent: str) -> str:
        limits = [_LIMITS[k].format(part[k]) for k in ("minItems", "maxItems") if k in part]
        suffix = f" ({', '.join(limits)})" if limits else ""
        if "prefixItems" in part:
            parts = cast("Sequence[object]", part["prefixItems"])
            return f"[{', '.join(self.of(item, indent) for item in parts)}]"
        return f"[{self.of(part.get('items'), indent)}, ...]{suffix}"

    def _object(self, part: Mapping[str, Any], indent: str) -> str:
        properties: Mapping[str, Any] = part.get("properties", {})
        if not properties:
            return f'{{"key": {self.of(part.get("additionalProperties"), indent)}, ...}}'
        required: Sequence[str] = part.get("required", ())
        inner = f"{indent}  "
        lines: list[str] = []
        for name, value in cast("Mapping[str, dict[str, Any]]", properties).items():
            about = value.get("description") if isinstance(value, dict) else None
            words = " ".join(str(about).split()) if about else ""
            if name not in required:
                words = f"may be left out; {words}" if words else "may be left out"
            note = f"  // {words}" if words else ""
            lines.append(f"{inner}{dumps(name, ensure_ascii=False)}: {self.of(value, inner)}{note}")
        return "{\n" + "\n".join(lines) + f"\n{indent}}}"
