"""The price of one run, on a young board and on an old one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.measurement import Measurement, Target
from benchmarks.scenarios.boards import add_echo, new_board, publish_requests
from benchmarks.tally import Tally, total

if TYPE_CHECKING:
    from benchmarks.bench import Bench, Beside
    from benchmarks.measurement import Counts


class Echo:
    """N artifacts through one agent."""

    name = "echo"
    what = "N artifacts, one function agent A→B"
    target = Target(text="≥ 0.30 of floor", at_least=0.30)

    async def run(self, bench: Bench) -> Measurement:
        """A fresh board for each stretch."""
        count = bench.size(20_000, 8_000, 30)
        beside = bench.beside_floor()
        await _stretch(bench.beside_floor(), held=0, count=min(count, 2_000))  # warm up
        counts = [await _stretch(beside, held=0, count=count) for _ in range(bench.repeats)]
        return Measurement(
            scenario=self.name,
            figures=(beside.figure(self.name, self.target),),
            counts=total(counts),
        )


class Growth:
    """The same rate, whatever lies on the board already."""

    name = "growth"
    what = "echo with 1k, 10k, 100k and 1M artifacts on the board"
    target = Target(text="≥ 0.9 of smallest", at_least=0.9)

    async def run(self, bench: Bench) -> Measurement:
        """Short stretches on boards filled to each size; the largest is filled once.

        The judged figure compares ratios to the floor, so that a machine which has become
        faster or slower in between does not count.
        """
        sizes = bench.size(
            (1_000, 10_000, 100_000, 1_000_000), (1_000, 10_000, 50_000), (10, 20, 40)
        )
        count = bench.size(5_000, 2_000, 10)
        await _stretch(bench.beside_floor(), held=0, count=count)  # warm up
        series = {size: bench.beside_floor() for size in sizes}
        counts = [
            await _stretch(series[size], held=size, count=count)
            for size in sizes[:-1]
            for _ in range(bench.repeats)
        ]
        largest = sizes[-1]
        counts.append(
            await _stretch(series[largest], held=largest, count=count, repeats=bench.repeats)
        )
        grown = series[largest].ratio / series[sizes[0]].ratio
        return Measurement(
            scenario=self.name,
            figures=(
                *(series[size].figure(f"growth, {size:,}") for size in sizes[:-1]),
                series[largest].figure(f"growth, {largest:,}", self.target, value=grown),
            ),
            counts=total(counts),
        )


async def _stretch(beside: Beside, *, held: int, count: int, repeats: int = 1) -> Counts:
    """Fill a new board with ``held`` artifacts, then time ``repeats`` stretches on it."""
    filling = held // 2  # each run leaves its input and its output
    tally = Tally(filling + count * repeats)
    board = new_board()
    add_echo(board, tally.seen)
    async with board:
        runs = await publish_requests(board, 0, filling)

        async def work(first: int) -> None:
            nonlocal runs
            runs += await publish_requests(board, first, count)

        for turn in range(repeats):
            await beside.stretch(count, work(filling + turn * count))
    return tally.counts(runs)
