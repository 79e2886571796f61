"""How long an answer may get."""

from __future__ import annotations

from typing import Final, NamedTuple

from flock.engines.local.json_types import Schema

PER_CHARACTER: Final = 1.0
"""Tokens that a character may take. Prose needs a quarter of one, but models write digits one by
one, and a small one that has lost its way may write nothing else."""


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
