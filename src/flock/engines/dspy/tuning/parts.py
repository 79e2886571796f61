"""Which past runs teach, which compare candidates, and which nothing is chosen by."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from flock.errors import TuningError

if TYPE_CHECKING:
    from flock.engines.dspy.tuning.trial import Case

MINIMUM: Final = 6
"""The fewest runs that can be split into parts of two."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The three parts of the past runs.

    Attributes:
        train: What examples are taken from, and instructions are written by.
        validation: What candidates are compared on.
        held_out: What is measured on before and after, and nothing is chosen by.
    """

    train: tuple[Case, ...]
    validation: tuple[Case, ...]
    held_out: tuple[Case, ...]


def split(cases: Iterable[Case], held_out: float, seed: int) -> Parts:
    """Split runs by their ids: the same runs and seed give the same parts, in any order.

    Args:
        cases: The runs.
        held_out: Which share is held out; the rest is halved.
        seed: Another one gives other parts.

    Raises:
        TuningError: There are too few.
    """
    ordered = sorted(cases, key=lambda case: hashlib.sha256(f"{seed}:{case.id}".encode()).digest())
    total = len(ordered)
    if total < MINIMUM:
        msg = (
            f"there are {total} past runs to learn from, and at least {MINIMUM} are needed, better "
            "30: let the agent run more often, publish Feedback about more of its outputs, or "
            "give a metric that needs none"
        )
        raise TuningError(msg)
    measured = min(max(2, round(total * held_out)), total - 4)
    rest = total - measured
    compared = rest - rest // 2
    return Parts(
        train=tuple(ordered[measured + compared :]),
        validation=tuple(ordered[measured : measured + compared]),
        held_out=tuple(ordered[:measured]),
    )
