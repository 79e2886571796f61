"""Where: what the reader of a schema knows of the place that it stands at."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast

from flock.engines.dspy.sample.source import Source

Schema: TypeAlias = Mapping[str, Any]
"""A pydantic core schema: a mapping with a `type`, as pydantic-core documents them."""

WRAPPERS = frozenset({"function-before", "function-after", "function-wrap"})
"""Schemas of user functions around another schema."""
_UNREAD = frozenset({"metadata", "serialization", "config", "default", "cls"})
"""Keys of a schema under which no schema stands that validates."""


@dataclass(frozen=True)
class Where:
    """Where in a model a schema stands.

    Attributes:
        name: what the strings there are called, in words.
        config: the configuration of the model, which holds for what stands in it.
        limits: constraints that pydantic leaves to a function around the schema.
    """

    name: str
    config: Schema
    limits: Schema

    def inside(self, name: str | None = None) -> "Where":
        """Return the place of a part: limits of the whole do not hold there."""
        return replace(self, name=name or self.name, limits={})


Read: TypeAlias = Callable[[Schema, Where], Source]


def unwrapped(schema: Schema) -> Schema:
    """Return the schema inside the functions around it."""
    while schema["type"] in WRAPPERS:
        schema = schema["schema"]
    return schema


def mentions(schema: Schema, kind: str) -> bool:
    """Return whether a schema of this kind, say a `definition-ref`, is part of the schema."""
    pending: list[Any] = [schema]
    while pending:
        part = pending.pop()
        if isinstance(part, Mapping):
            part = cast("Schema", part)
            if part.get("type") == kind:
                return True
            pending.extend(value for key, value in part.items() if key not in _UNREAD)
        elif isinstance(part, list | tuple):
            pending.extend(cast("Sequence[Any]", part))
    return False
