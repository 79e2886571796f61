"""How long a board takes to notice that nothing is left to do."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from benchmarks import floor
from benchmarks.measurement import Figure, Measurement, Target
from benchmarks.models import TEXT
from benchmarks.scenarios.boards import add_echo, new_board, publish_requests
from benchmarks.tally import Tally

if TYPE_CHECKING:
    from benchmarks.bench import Bench

MICRO = 1e6


class Idle:
    """Publish one, wait for idle, again and again."""

    name = "idle"
    what = "publish one, run_until_idle, in a loop"
    target = Target(text="≤ 200 µs", at_most=200)

    async def run(self, bench: Bench) -> Measurement:
        """The agent's own time is that of its work, awaited in the same kind of loop."""
        count = bench.size(4_000, 1_500, 20)
        tally = Tally(count * (bench.repeats + 1))
        runs = 0
        above: list[float] = []
        own: list[float] = []
        board = new_board()
        add_echo(board, tally.seen)
        async with board:

            async def idle(first: int) -> None:
                nonlocal runs
                for number in range(first, first + count):
                    runs += await publish_requests(board, number, 1)

            await idle(0)  # warm up
            for turn in range(1, bench.repeats + 1):
                alone = await bench.seconds(_agent_alone(count)) / count * MICRO
                with_board = await bench.timed(count, idle(turn * count)) / count * MICRO
                own.append(alone)
                above.append(with_board - alone)
        figure = Figure(
            name=self.name,
            value=median(above),
            unit="µs",
            rate=MICRO / (median(above) + median(own)),
            beside=median(own),
            beside_name="µs agent alone",
            target=self.target,
        )
        return Measurement(scenario=self.name, figures=(figure,), counts=tally.counts(runs))


async def _agent_alone(count: int) -> None:
    for number in range(count):
        await floor.work({"number": number, "text": TEXT})
