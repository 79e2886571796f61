"""How long an answer may get."""

from __future__ import annotations

from typing import NamedTuple

from flock.engines.local.json_types import Schema


class Limits(NamedTuple):
    """How much a model may write where the schema sets no lower limit.

    Attributes:
        text: Characters of a string.
        items: Elements of a list, entries of a mapping.
        depth: How often a recursive type may contain itself.
    """

    text: int
    items: int
    depth: int


class Bounded(NamedTuple):
    """A schema with an end.

    Attributes:
        schema: Within the given one.
        cost: About how many tokens the longest answer takes.
    """

    schema: Schema
    cost: float
