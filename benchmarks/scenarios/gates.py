"""Inputs that wait for others: keyed joins and batches."""

from __future__ import annotations

import gc
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from benchmarks.floor import IN_FLIGHT
from benchmarks.measurement import Figure, Measurement, Target
from benchmarks.models import TEXT, Answer, Left, Pair, Request, Right
from benchmarks.scenarios.boards import new_board, publish_requests
from benchmarks.tally import Tally, total
from flock import BatchSpec, JoinSpec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from benchmarks.bench import Bench, Beside
    from benchmarks.measurement import Counts
    from flock import Flock

    Publish = Callable[[Flock, int, int], Awaitable[int]]

BATCH = 100
LAG = 100
STRETCHES = 20
WITHIN = timedelta(hours=1)


class Join:
    """Pairs that find each other by key."""

    name = "join"
    what = "N keyed pairs, the halves 100 publishes apart"
    target = Target(text="≥ 0.20 of floor", at_least=0.20)

    async def run(self, bench: Bench) -> Measurement:
        """A fresh board for each stretch; a pair is two inputs."""
        pairs = bench.size(10_000, 4_000, 30)
        beside = bench.beside_floor()
        counts: list[Counts] = []
        for turn in range(bench.repeats + 1):
            tally = Tally(pairs)
            board = new_board()
            _add_join(board, tally.seen)
            async with board:
                runs = 0

                async def work(board: Flock = board) -> None:
                    nonlocal runs
                    runs = await _publish_pairs(board, pairs)

                # The first turn warms up.
                series = beside if turn else bench.beside_floor()
                await series.stretch(pairs * 2, work())
            counts.append(tally.counts(runs))
        return Measurement(
            scenario=self.name,
            figures=(beside.figure(self.name, self.target),),
            counts=total(counts),
        )


class Batch:
    """Many inputs, few runs."""

    name = "batch"
    what = "N items in batches of 100"
    target = Target(text="≥ 0.6 of floor", at_least=0.6)

    async def run(self, bench: Bench) -> Measurement:
        """A fresh board for each stretch; published one by one, then by the hundred."""
        items = bench.size(30_000, 10_000, 200)
        one, many = bench.beside_floor(), bench.beside_floor()
        counts: list[Counts] = []
        for turn in range(bench.repeats + 1):
            for series, publish in ((one, publish_requests), (many, _publish_hundreds)):
                tally = Tally(items)
                board = new_board()
                _add_batch(board, tally.seen)
                async with board:
                    runs = 0

                    async def work(board: Flock = board, publish: Publish = publish) -> None:
                        nonlocal runs
                        runs = await publish(board, 0, items)

                    # The first turn warms up.
                    await (series if turn else bench.beside_floor()).stretch(items, work())
                counts.append(tally.counts(runs, per_run=BATCH))
        return Measurement(
            scenario=self.name,
            figures=(
                one.figure("batch", self.target),
                many.figure("batch, publish_many", self.target),
            ),
            counts=total(counts),
        )


class Waiting:
    """Half-filled joins cost the same however many there are, and leave nothing behind."""

    name = "waiting"
    what = "100,000 half-filled joins, then filled"
    target = Target(text="≥ 0.9, most : fewest", at_least=0.9)

    async def run(self, bench: Bench) -> Measurement:
        """Publish all first halves, then all second ones, in twenty stretches each.

        The judged figures compare the fifth of them with the most waiting to the fifth with
        the fewest, each as a ratio to the floor beside it. One more half, published first,
        is never filled: what comes after it must not pile up behind it.
        """
        pairs = bench.size(100_000, 10_000, 100)
        count = pairs // STRETCHES
        tally = Tally(pairs)
        board = new_board()
        _add_join(board, tally.seen)
        runs = waiting = most_waiting = 0
        async with board:
            await board.publish(Left(key="never filled", number=0))
            objects = _own_objects()

            async def work(half: type[Left | Right], first: int) -> None:
                nonlocal runs, waiting, most_waiting
                for number in range(first, first + count):
                    await board.publish(half(key=f"pair {number}", number=number))
                report = await board.run_until_idle()
                runs += report.runs
                waiting = report.waiting
                most_waiting = max(waiting, most_waiting)

            async def fifths(half: type[Left | Right]) -> list[Beside]:
                series = [bench.beside_floor() for _ in range(5)]
                for turn in range(STRETCHES):
                    beside = series[turn * 5 // STRETCHES]
                    await beside.stretch(count, work(half, turn * count))
                return series

            opening = await fifths(Left)
            filling = await fifths(Right)
            left_behind = _own_objects() - objects
        filled = filling[0].ratio / filling[-1].ratio
        counts = tally.counts(runs)
        return Measurement(
            scenario=self.name,
            figures=(
                opening[0].figure("waiting, first opened"),
                opening[-1].figure(
                    "waiting, last opened",
                    self.target,
                    value=opening[-1].ratio / opening[0].ratio,
                ),
                filling[-1].figure("waiting, last filled"),
                filling[0].figure(
                    "waiting, first filled",
                    self.target,
                    value=min(filled, 1 / filled),  # nor may what is done slow down the rest
                ),
                Figure(
                    name="waiting, left behind",
                    value=left_behind,
                    unit="objects",
                    target=Target(text="≤ 100", at_most=100),
                ),
            ),
            counts=replace(
                counts,
                exactly_once=counts.exactly_once and (most_waiting, waiting) == (pairs + 1, 1),
            ),
        )


def _own_objects() -> int:
    """How many instances of Flock's own classes are alive; what is on the board is none."""
    gc.collect()
    # Some compiled classes have something else than a name there.
    return sum(str(type(each).__module__).startswith("flock.") for each in gc.get_objects())


def _add_join(board: Flock, seen: list[int]) -> None:
    async def join(left: Left, right: Right) -> Pair:
        seen[left.number] += 1
        return Pair(key=right.key, number=right.number)

    def key(half: Left | Right) -> str:
        return half.key

    agent = board.agent("join").consumes(Left, Right, join=JoinSpec(by=key, within=WITHIN))
    agent.publishes(Pair).calls(join).max_concurrency(IN_FLIGHT)


def _add_batch(board: Flock, seen: list[int]) -> None:
    async def add_up(requests: list[Request]) -> Answer:
        for request in requests:
            seen[request.number] += 1
        return Answer(number=len(requests), text=TEXT)

    agent = board.agent("batch").consumes(Request, batch=BatchSpec(size=BATCH))
    agent.publishes(Answer).calls(add_up).max_concurrency(IN_FLIGHT)


async def _publish_pairs(board: Flock, pairs: int) -> int:
    for first in range(0, pairs, LAG):
        numbers = range(first, min(first + LAG, pairs))
        for number in numbers:
            await board.publish(Left(key=f"pair {number}", number=number))
        for number in numbers:
            await board.publish(Right(key=f"pair {number}", number=number))
    report = await board.run_until_idle()
    return report.runs


async def _publish_hundreds(board: Flock, first: int, count: int) -> int:
    for start in range(first, first + count, BATCH):
        await board.publish_many(
            [Request(number=number, text=TEXT) for number in range(start, start + BATCH)]
        )
    report = await board.run_until_idle()
    return report.runs
