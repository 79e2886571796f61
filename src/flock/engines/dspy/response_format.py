"""In which form a provider is asked to keep a schema: as strictly as it takes it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final

from flock.engines.dspy.json_schema import JsonSchema, rewritten


class Form(IntEnum):
    """How a schema is asked for, the best form first. A refusal leads to the next."""

    STRICT = 0
    SCHEMA = 1
    PLAIN = 2
    OBJECT = 3
    NONE = 4


# What OpenAI's strict mode takes: https://platform.openai.com/docs/guides/structured-outputs
_STRICT_KEYS: Final = frozenset(
    {
        "$defs",
        "$ref",
        "additionalProperties",
        "anyOf",
        "const",
        "description",
        "enum",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "format",
        "items",
        "maxItems",
        "maximum",
        "minItems",
        "minimum",
        "multipleOf",
        "pattern",
        "properties",
        "required",
        "type",
    }
)
_STRICT_FORMATS: Final = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
)
_LOOK_AROUND: Final = re.compile(r"\(\?<?[=!]")
"""What patterns may not hold in strict mode."""
_PLAIN_KEYS: Final = _STRICT_KEYS - {
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "maxItems",
    "maximum",
    "minItems",
    "minimum",
    "multipleOf",
    "pattern",
}


def response_format(schema: Mapping[str, Any], form: Form) -> dict[str, Any] | None:
    """Return the `response_format` of the chat completions API that asks for a schema.

    Returns:
        The parameter; None if the schema cannot be asked for in this form, or not at all.
    """
    if form is Form.NONE:
        return None
    if form is Form.OBJECT:
        return {"type": "json_object"}
    if form is Form.SCHEMA:
        return _named(dict(schema), strict=False)
    if schema.get("type") != "object" or _is_open(schema):
        return None
    keys = _STRICT_KEYS if form is Form.STRICT else _PLAIN_KEYS
    return _named(_reduced(schema, keys), strict=form is Form.STRICT)


def _named(schema: JsonSchema, *, strict: bool) -> dict[str, Any]:
    inner = {"name": "answer", "schema": schema, "strict": strict}
    return {"type": "json_schema", "json_schema": inner}


def _reduced(schema: Mapping[str, Any], keys: frozenset[str]) -> JsonSchema:
    """Return a schema of these keywords alone, whose objects require all their properties."""

    def reduce(part: JsonSchema) -> JsonSchema:
        for key in ("oneOf", "allOf"):
            if key in part:
                part.setdefault("anyOf", part[key])
        if "prefixItems" in part and "items" not in part:
            part["items"] = {"anyOf": part["prefixItems"]}
            part.setdefault("minItems", len(part["prefixItems"]))
        if "properties" in part:
            part["required"] = list(part["properties"])
            part["additionalProperties"] = False
        if _LOOK_AROUND.search(str(part.get("pattern", ""))):
            part.pop("pattern", None)
        if part.get("format") not in _STRICT_FORMATS:
            part.pop("format", None)
        if "$ref" in part:  # it may have no siblings
            return {key: part[key] for key in ("$ref", "$defs") if key in part}
        return {key: value for key, value in part.items() if key in keys}

    return rewritten(schema, reduce)


def _is_open(schema: Mapping[str, Any]) -> bool:
    """Whether some object may have properties that it does not name, or anything may stand."""
    found = False

    def look(part: JsonSchema) -> JsonSchema:
        nonlocal found
        is_object = part.get("type") == "object"
        found = found or (is_object and part.get("additionalProperties") is not False)
        found = found or not part or set(part) <= {"description", "default", "examples"}
        return part

    rewritten(schema, look)
    return found
