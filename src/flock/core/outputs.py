"""What an agent publishes: output groups and how many of each type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel

from flock.core.types import TypeEntry
from flock.core.visibility import Visibility

if TYPE_CHECKING:
    from collections.abc import Sequence

Predicate = Callable[[Any], object]
"""A user's function of one model; what it returns counts as true or false."""


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """One type of an output group.

    Attributes:
        entry: The type.
        minimum: The fewest artifacts of it that one run publishes.
        maximum: The most, or None for any number.
    """

    entry: TypeEntry
    minimum: int = 1
    maximum: int | None = 1

    @property
    def model(self) -> type[BaseModel]:
        """The model class."""
        return self.entry.cls

    @property
    def is_list(self) -> bool:
        """Whether a run may publish more than one."""
        return self.maximum != 1


@dataclass(frozen=True, slots=True)
class OutputGroup:
    """What one engine call yields: one `publishes` of the declaration.

    Attributes:
        outputs: Its types with their counts.
        where: Predicates of one model; an output that fails one is dropped.
        validate: Predicates with a message; an output that fails one fails the run.
        visibility: Who may read the outputs, or a function of the model that says so.
        tags: Tags of the outputs.
        description: What the outputs are, for a model to read.
        is_counted: Whether the declaration said how many.
        is_open: Whether nothing was declared, so that any model may be published.
    """

    outputs: tuple[OutputSpec, ...] = ()
    where: tuple[Predicate, ...] = ()
    validate: tuple[tuple[Predicate, str], ...] = ()
    visibility: Visibility | Callable[[Any], Visibility] | None = None
    tags: frozenset[str] = frozenset()
    description: str | None = None
    is_counted: bool = False
    is_open: bool = False

    @property
    def types(self) -> tuple[type[BaseModel], ...]:
        """The model classes it yields."""
        return tuple(spec.model for spec in self.outputs)

    def spec_of(self, name: str) -> OutputSpec | None:
        """Return the output of a type name, or None if the group does not yield it."""
        return next((spec for spec in self.outputs if spec.entry.name == name), None)


def fan_out_range(fan_out: int | Sequence[int] | None) -> tuple[int, int]:
    """Return the fewest and the most artifacts that a `fan_out` asks for.

    Raises:
        ValueError: It is neither a count from 1 nor an ordered pair of them.
    """
    if fan_out is None:
        return 1, 1
    bounds: tuple[object, ...] = (fan_out, fan_out)
    if isinstance(fan_out, list | tuple):
        bounds = tuple(fan_out)
    if len(bounds) != 2 or not all(type(bound) is int for bound in bounds):
        msg = f"fan_out takes a count or a pair (min, max), not {fan_out!r}"
        raise ValueError(msg)
    low, high = cast("tuple[int, int]", bounds)
    if low < 0 or high < 1 or low > high:
        msg = f"fan_out must ask for at least 1, with min <= max, not {fan_out!r}"
        raise ValueError(msg)
    return low, high
