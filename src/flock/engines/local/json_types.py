"""JSON as Python values."""

from __future__ import annotations

from typing import Any, TypeAlias

Schema: TypeAlias = dict[str, Any]
"""A JSON Schema that is an object: keywords to values."""

AnySchema: TypeAlias = Schema | bool
"""A JSON Schema: an object of keywords, True for any value, False for none."""
