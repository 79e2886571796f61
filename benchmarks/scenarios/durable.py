"""The price of a run on a board in a file, young and old, and what opening an old one takes."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel

from benchmarks.bench import Beside
from benchmarks.floor import IN_FLIGHT
from benchmarks.measurement import Counts, Figure, Measurement, Target
from benchmarks.models import TEXT, Request
from benchmarks.scenarios.boards import PENDING, add_echo, new_board, publish_requests
from benchmarks.tally import Tally, total
from flock import FilterConfig, Flock, SQLiteBlackboardStore

if TYPE_CHECKING:
    from collections.abc import Generator

    from benchmarks.bench import Bench

MILLI = 1e3


class Held(BaseModel):
    """What only lies on the board."""

    number: int
    text: str = TEXT


class SQLite:
    """N artifacts through a durable board, 100 publishers at a time."""

    what = "N artifacts through a board in a file"

    def __init__(
        self, name: str, durability: Literal["process", "power"], rate: float, ratio: float | None
    ) -> None:
        self.name = name
        self._durability: Literal["process", "power"] = durability
        self._rate = Target(text=f"≥ {rate:,.0f} runs/s", at_least=rate)
        self._ratio = (
            None if ratio is None else Target(text=f"≥ {ratio:.1f} of echo", at_least=ratio)
        )

    async def run(self, bench: Bench) -> Measurement:
        """A fresh file for each stretch, between two stretches of a board in memory."""
        count = bench.size(20_000, 5_000, 30)
        counts: list[Counts] = []

        async def echo() -> float:
            tally = Tally(count)
            board = new_board()
            add_echo(board, tally.seen)
            async with board:
                seconds = await bench.seconds(publish_requests(board, 0, count))
            return count / seconds

        beside = Beside(bench, echo, "echo")
        warming = Beside(bench, echo, "echo")
        for turn in range(bench.repeats + 1):
            with _file() as path:
                store = SQLiteBlackboardStore(path, durability=self._durability)
                tally = Tally(count)
                board = Flock(store=store, max_pending=PENDING)
                add_echo(board, tally.seen)
                async with board:
                    work = _publish(board, 0, count)
                    await (beside if turn else warming).stretch(count, work)
                    _, kept = await store.query_artifacts(limit=0)
                counts.append(tally.counts(kept // 2))
        rate = median(beside.rates)
        return Measurement(
            scenario=self.name,
            figures=(
                beside.figure(self.name, self._ratio),
                Figure(name=f"{self.name}, rate", value=rate, unit="runs/s", target=self._rate),
            ),
            counts=total(counts),
        )


class Old:
    """A durable board on which a million artifacts lie."""

    name = "sqlite, old"
    what = "a board in a file with 1k and with 1M artifacts: runs, opening, a page of history"
    growth = Target(text="≥ 0.8 of young", at_least=0.8)
    recovery = Target(text="≤ 500 ms", at_most=500)
    history = Target(text="≤ 5 ms", at_most=5)

    async def run(self, bench: Bench) -> Measurement:
        """The same on a young file and on an old one; then the old one is opened again."""
        sizes = bench.size((1_000, 1_000_000), (1_000, 50_000), (20, 60))
        waiting = bench.size(1_000, 1_000, 10)
        count = bench.size(5_000, 2_000, 10)
        series = [bench.beside_floor() for _ in sizes]
        counts: list[Counts] = []
        opened: list[float] = []
        pages: list[float] = []
        for size, beside in zip(sizes, series, strict=True):
            with _file() as path:
                store = SQLiteBlackboardStore(path)
                tally = Tally(count * (bench.repeats + 1))
                board = Flock(store=store, max_pending=PENDING)
                add_echo(board, tally.seen)
                async with board:
                    await _fill(board, size)
                    warming = bench.beside_floor()
                    for turn in range(bench.repeats + 1):
                        work = _publish(board, turn * count, count)
                        await (beside if turn else warming).stretch(count, work)
                    pages.append(await _page(board, size))
                    runs = (await board.store.query_artifacts(_ANSWERS, limit=0))[1]
                counts.append(tally.counts(runs))
                opened.append(median([await _opening(path, waiting) for _ in range(3)]))
        young, old = series
        return Measurement(
            scenario=self.name,
            figures=(
                young.figure(f"sqlite, {sizes[0]:,}"),
                old.figure(f"sqlite, {sizes[1]:,}", self.growth, value=old.ratio / young.ratio),
                Figure(
                    name="sqlite, recovery",
                    value=opened[1] * MILLI,
                    unit="ms",
                    beside=opened[0] * MILLI,
                    beside_name=f"ms with {sizes[0]:,}",
                    target=self.recovery,
                ),
                Figure(
                    name="sqlite, history",
                    value=pages[1] * MILLI,
                    unit="ms",
                    beside=pages[0] * MILLI,
                    beside_name=f"ms with {sizes[0]:,}",
                    target=self.history,
                ),
            ),
            counts=total(counts),
        )


_ANSWERS = FilterConfig(produced_by=["echo"])


@contextmanager
def _file() -> Generator[Path]:
    with TemporaryDirectory(prefix="flock-bench-") as folder:
        yield Path(folder) / "board.db"


async def _publish(board: Flock, first: int, count: int) -> None:
    """Publish requests from as many tasks as may be in flight, and wait for idle."""
    numbers = iter(range(first, first + count))

    async def publisher() -> None:
        for number in numbers:
            await board.publish(Request(number=number, text=TEXT))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(IN_FLIGHT):
            tasks.create_task(publisher())
    await board.run_until_idle()


async def _fill(board: Flock, count: int) -> None:
    """Put artifacts on the board that nobody consumes, in workflows of 100."""
    for first in range(0, count, 100):
        await board.publish_many(
            [Held(number=number) for number in range(first, min(first + 100, count))],
            correlation_id=f"held {first}",
        )


async def _page(board: Flock, size: int) -> float:
    """Return the seconds that a page of 50 of a workflow's history takes; the median of many."""
    taken: list[float] = []
    for number in range(51):
        where = FilterConfig(correlation_id=f"held {size * number // 51 // 100 * 100}")
        start = perf_counter()
        await board.store.query_artifacts(where, limit=50)
        taken.append(perf_counter() - start)
    return median(taken)


async def _opening(path: Path, waiting: int) -> float:
    """Return the seconds from opening a board with open deliveries to their runs being queued.

    The agent never ends, so that they are open again each time.
    """

    async def hang(held: Held) -> None:
        del held
        await asyncio.Event().wait()

    board = Flock(store=SQLiteBlackboardStore(path))
    board.agent("hanging").consumes(Held).calls(hang)
    async with board:
        _, open_now = await board.store.query_artifacts(_WAITING, limit=0)
        if not open_now:
            await board.publish_many([Held(number=n) for n in range(waiting)], tags=["waiting"])
        await board.shutdown(grace=0)
    start = perf_counter()
    async with board:
        seconds = perf_counter() - start
        await board.shutdown(grace=0)
    return seconds


_WAITING = FilterConfig(tags=["waiting"])
