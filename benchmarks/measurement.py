"""What a scenario promises and what was measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from benchmarks.bench import Bench


class Verdict(StrEnum):
    """How a figure stands to its target."""

    MET = "met"
    MISSED = "missed"
    WRONG = "wrong count"
    NONE = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A bound on one figure, in the figure's own unit."""

    text: str
    at_least: float | None = None
    at_most: float | None = None

    def holds(self, value: float) -> bool:
        """Whether ``value`` keeps to the bound."""
        if self.at_least is not None and value < self.at_least:
            return False
        return self.at_most is None or value <= self.at_most


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One row of the table.

    Attributes:
        name: The row's name.
        value: The figure the target is about; a ratio unless ``unit`` names something else.
        unit: What ``value`` counts: "" for a ratio, else "µs", "ms", "B", "MB" or "objects".
        rate: Runs (or inputs) per second, where the scenario has a rate.
        beside: What was measured alternately with it, in the unit of ``rate`` or ``value``.
        beside_name: What that was: the floor, or a simpler scenario.
        target: The bound, or None for a row that only informs.
    """

    name: str
    value: float
    unit: str = ""
    rate: float | None = None
    beside: float | None = None
    beside_name: str = ""
    target: Target | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Whether the work that was timed is the work that was asked for."""

    expected: int
    done: int
    exactly_once: bool

    @property
    def right(self) -> bool:
        """Whether every input was consumed, and once."""
        return self.exactly_once and self.expected == self.done


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What one scenario found: its figures, and the counts that make them worth something."""

    scenario: str
    figures: tuple[Figure, ...]
    counts: Counts

    def verdict(self, figure: Figure) -> Verdict:
        """How ``figure`` stands; a scenario that lost or repeated work has no valid figure."""
        if not self.counts.right:
            return Verdict.WRONG
        if figure.target is None:
            return Verdict.NONE
        return Verdict.MET if figure.target.holds(figure.value) else Verdict.MISSED

    def to_json(self) -> dict[str, Any]:
        """A JSON-compatible dict, verdicts included."""
        data = asdict(self)
        for row, figure in zip(data["figures"], self.figures, strict=True):
            row["verdict"] = str(self.verdict(figure))
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Measurement:
        """The inverse of ``to_json``."""
        return cls(
            scenario=data["scenario"],
            figures=tuple(_figure(row) for row in data["figures"]),
            counts=Counts(**data["counts"]),
        )


class Scenario(Protocol):
    """One thing a user does with a board, timed."""

    name: str
    what: str

    async def run(self, bench: Bench) -> Measurement:
        """Do it at the bench's scale and say what was measured."""
        ...


def _figure(row: dict[str, Any]) -> Figure:
    fields = {key: value for key, value in row.items() if key != "verdict"}
    target = fields.pop("target")
    return Figure(**fields, target=Target(**target) if target else None)
