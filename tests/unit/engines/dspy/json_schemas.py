"""JSON Schema as its own library understands it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator


def satisfies(schema: Mapping[str, Any], value: Any) -> bool:
    """Return whether a schema, which has to be a valid one, takes a value."""
    Draft202012Validator.check_schema(schema)
    validator: Any = Draft202012Validator(schema)
    return bool(validator.is_valid(value))
