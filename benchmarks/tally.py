"""Proof that each input was consumed exactly once."""

from __future__ import annotations

from benchmarks.measurement import Counts


class Tally:
    """Counts how often each number has reached an agent.

    ``seen`` is a plain list so that an agent pays one index for it and no call.
    """

    def __init__(self, numbers: int) -> None:
        self.seen = [0] * numbers

    def counts(self, runs: int, *, each: int = 1, per_run: int = 1) -> Counts:
        """The verdict: every number seen ``each`` times, in as many runs as that takes."""
        return Counts(
            expected=len(self.seen) * each // per_run,
            done=runs,
            exactly_once=self.seen.count(each) == len(self.seen),
        )


def total(counts: list[Counts]) -> Counts:
    """The counts of several stretches as one."""
    return Counts(
        expected=sum(each.expected for each in counts),
        done=sum(each.done for each in counts),
        exactly_once=all(each.right for each in counts),
    )
