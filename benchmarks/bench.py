"""The bench a scenario stands on: its scale, its stopwatch, its floor."""

from __future__ import annotations

import gc
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, TypeVar

from benchmarks import floor
from benchmarks.measurement import Figure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager

    from benchmarks.measurement import Target

T = TypeVar("T")


class Scale(StrEnum):
    """How much work a scenario does."""

    FULL = "full"
    QUICK = "quick"
    TINY = "tiny"  # for tests, which look at counts alone


class Bench:
    """Times awaitables at one scale, each from the same state of the garbage collector.

    Args:
        scale: How much work to do.
        watching: Opens a context around each timed stretch, for a profiler; the floor and
            all set-up stay outside of it.
    """

    def __init__(
        self, scale: Scale, watching: Callable[[], AbstractContextManager[object]] | None = None
    ) -> None:
        self.scale = scale
        self._watching = watching
        self.timed_runs = 0

    def size(self, full: T, quick: T, tiny: T) -> T:
        """The one of the three that fits the scale."""
        return {Scale.FULL: full, Scale.QUICK: quick, Scale.TINY: tiny}[self.scale]

    @property
    def repeats(self) -> int:
        """How often a short stretch is measured; its median counts."""
        return self.size(9, 3, 1)

    async def timed(self, count: int, work: Awaitable[object]) -> float:
        """The seconds ``work`` takes, under the eyes of the profiler if there is one.

        Args:
            count: How many runs it does, for figures per run.
            work: What to time.
        """
        self.timed_runs += count
        if self._watching is None:
            return await self.seconds(work)
        gc.collect()
        with self._watching():
            start = perf_counter()
            await work
            return perf_counter() - start

    async def seconds(self, work: Awaitable[object]) -> float:
        """The seconds ``work`` takes. The collector stays on, as it is for users."""
        gc.collect()
        start = perf_counter()
        await work
        return perf_counter() - start

    async def floor_rate(self) -> float:
        """Runs per second of the floor, now.

        The objects of the scenario around it are kept out of the collector's sight meanwhile.
        Otherwise a large heap makes the floor faster (the collector looks at everything less
        often), and old boards seem slow beside it.
        """
        count = self.size(40_000, 20_000, 50)
        gc.collect()
        gc.freeze()
        try:
            return count / await self.seconds(floor.run(count))
        finally:
            gc.unfreeze()

    def beside_floor(self) -> Beside:
        """A series of stretches, each between two measurements of the floor."""
        return Beside(self, self.floor_rate, "floor")


@dataclass
class Beside:
    """Stretches of a scenario, alternating with stretches of a reference.

    A machine's speed drifts from second to second, so each rate is divided by the mean of
    the reference's rates just before and just after it; the median of these ratios counts.
    """

    bench: Bench
    reference: Callable[[], Awaitable[float]]
    reference_name: str
    rates: list[float] = field(default_factory=list)
    references: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)

    async def stretch(self, count: int, work: Awaitable[object]) -> None:
        """Time ``work``, which does ``count`` runs, between two looks at the reference."""
        before = await self.reference()
        rate = count / await self.bench.timed(count, work)
        after = await self.reference()
        self.rates.append(rate)
        self.references += before, after
        self.ratios.append(2 * rate / (before + after))

    @property
    def ratio(self) -> float:
        """The median of the stretches' ratios."""
        return median(self.ratios)

    def figure(
        self, name: str, target: Target | None = None, *, value: float | None = None
    ) -> Figure:
        """The row for this series, about its ratio unless another ``value`` is given."""
        return Figure(
            name=name,
            value=self.ratio if value is None else value,
            rate=median(self.rates),
            beside=median(self.references),
            beside_name=self.reference_name,
            target=target,
        )
