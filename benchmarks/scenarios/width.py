"""Many agents on one board: all of them interested, or one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, create_model

from benchmarks.bench import Beside
from benchmarks.floor import IN_FLIGHT
from benchmarks.measurement import Measurement, Target
from benchmarks.models import Answer
from benchmarks.scenarios.boards import PENDING, add_echo, new_board, publish_requests
from benchmarks.tally import Tally, total
from flock import Flock

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.measurement import Counts

TYPES = 100


class Fan:
    """One artifact starts a thousand runs."""

    name = "fan"
    what = "1 artifact → 1,000 agents"
    target = Target(text="≥ 0.30 of floor", at_least=0.30)

    async def run(self, bench: Bench) -> Measurement:
        """The whole board runs 100 at a time, as the floor does."""
        agents = bench.size(1_000, 1_000, 20)
        artifacts = bench.size(20, 8, 3)
        beside = bench.beside_floor()
        counts: list[Counts] = []
        for _ in range(bench.repeats):
            tally = Tally(artifacts + 1)
            board = Flock(max_pending=PENDING, max_concurrency=IN_FLIGHT)
            for number in range(agents):
                add_echo(board, tally.seen, f"agent {number}")
            async with board:
                runs = await publish_requests(board, 0, 1)  # warm up

                async def work(board: Flock = board) -> None:
                    nonlocal runs
                    runs += await publish_requests(board, 1, artifacts)

                await beside.stretch(artifacts * agents, work())
            counts.append(tally.counts(runs, each=agents))
        return Measurement(
            scenario=self.name,
            figures=(beside.figure(self.name, self.target),),
            counts=total(counts),
        )


class Crowd:
    """Agents that wait for something else cost nothing."""

    name = "crowd"
    what = "10,000 agents of other types, 1 matches"
    target = Target(text="≥ 0.9 of echo", at_least=0.9)

    async def run(self, bench: Bench) -> Measurement:
        """Stretches on a crowded board alternate with the same on an empty one."""
        count = bench.size(20_000, 6_000, 20)
        turns = bench.repeats
        alone, crowded = new_board(), new_board()
        # Each stretch in the crowd lies between two on the board with one agent; the first
        # of each board warms up.
        seen_alone, seen_crowded = Tally(count * (2 * turns + 1)), Tally(count * (turns + 1))
        add_echo(alone, seen_alone.seen)
        _add_crowd(crowded, bench.size(10_000, 10_000, 50))
        add_echo(crowded, seen_crowded.seen)
        async with alone, crowded:
            runs_alone = await publish_requests(alone, 0, count)
            runs_crowded = await publish_requests(crowded, 0, count)

            async def work(first: int) -> None:
                nonlocal runs_crowded
                runs_crowded += await publish_requests(crowded, first, count)

            async def echo() -> float:
                nonlocal runs_alone
                seconds = await bench.seconds(publish_requests(alone, runs_alone, count))
                runs_alone += count
                return count / seconds

            beside = Beside(bench, echo, "echo")
            for turn in range(1, turns + 1):
                await beside.stretch(count, work(turn * count))
        return Measurement(
            scenario=self.name,
            figures=(beside.figure(self.name, self.target),),
            counts=total([seen_alone.counts(runs_alone), seen_crowded.counts(runs_crowded)]),
        )


def _add_crowd(board: Flock, agents: int) -> None:
    async def never(request: BaseModel) -> Answer:
        raise AssertionError(request)

    others = [create_model(f"Other{number}", number=(int, ...)) for number in range(TYPES)]
    for number in range(agents):
        agent = board.agent(f"other {number}")
        agent.consumes(others[number % TYPES]).publishes(Answer).calls(never)
