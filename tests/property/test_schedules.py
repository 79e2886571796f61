"""Whatever happens to a board, each due moment gets a run, or is counted by one."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from flock import BlackboardStore, Context, Flock, InMemoryBlackboardStore, SQLiteBlackboardStore
from flock.core.schedule import schedule_spec
from flock.testing import ManualClock

START = datetime(2026, 1, 1, tzinfo=UTC)

SCHEDULES: list[dict[str, Any]] = [
    {"every": 60},
    {"every": 60, "after": 7},
    {"every": 97.3},
    {"cron": "*/3 * * * *"},
    {"at": time(0, 5)},
    {"every": 60, "max_repeats": 4},
    {"cron": "* * * * *", "max_repeats": 3},
]

Step = tuple[str, float]

steps = st.lists(
    st.one_of(
        st.tuples(st.just("advance"), st.sampled_from([1.0, 30.0, 61.0, 200.0, 1000.0])),
        st.tuples(st.just("closed"), st.sampled_from([0.0, 45.0, 61.0, 500.0, 90_000.0])),
        st.tuples(st.sampled_from(["block", "free", "fail", "mend", "cancel", "jump"]), st.just(0)),
    ),
    max_size=15,
)


class Ran(BaseModel):
    n: int


class World:
    """One board over its openings, and what its ticks do."""

    def __init__(self, store: Callable[[], BlackboardStore], options: dict[str, Any]) -> None:
        self.clock = ManualClock(START)
        self.store = store
        self.options = options
        self.is_failing = self.is_blocking = False
        self.gate = asyncio.Event()
        self.begun: dict[str, tuple[int, int, float]] = {}
        self.attempts: Counter[tuple[str, int]] = Counter()
        self.overlap = 0
        self.running = 0

    def board(self) -> Flock:
        flock = Flock(store=self.store(), clock=self.clock)
        flock.agent("beat").schedule(**self.options).calls(self.tick)
        return flock

    async def tick(self, ctx: Context) -> Ran:
        assert ctx.fire_time is not None
        told = (ctx.iteration, ctx.missed, ctx.fire_time.timestamp())
        assert self.begun.setdefault(ctx.run_id, told) == told  # the same at each attempt
        self.attempts[ctx.run_id, ctx.attempt] += 1
        self.running += 1
        self.overlap = max(self.overlap, self.running)
        try:
            if self.is_blocking:
                await self.gate.wait()
            if self.is_failing:
                raise ValueError(ctx.iteration)
            return Ran(n=ctx.iteration)
        finally:
            self.running -= 1

    def free(self) -> None:
        self.is_blocking = False
        self.gate.set()
        self.gate = asyncio.Event()

    async def carry_out(self, script: list[Step]) -> None:
        flock = self.board()
        await flock.__aenter__()
        for what, span in script:
            match what:
                case "advance":
                    await self.clock.advance(span)
                case "jump":
                    self.clock._jump(self.clock.time() + 333.0)
                    await self.clock.settle()
                case "closed":
                    await flock.shutdown(grace=0)
                    await self.clock.advance(span)
                    flock = self.board()
                    await flock.__aenter__()
                    await self.clock.settle()
                case "block":
                    self.is_blocking = True
                case "free":
                    self.free()
                    await self.clock.settle()
                case "cancel":
                    for run_id in list(self.begun):
                        await flock.cancel(run_id)
                    await self.clock.settle()
                case _:
                    self.is_failing = what == "fail"
        self.free()
        self.is_failing = False
        await self.clock.settle()
        await self.check(flock)
        await flock.shutdown(grace=0)

    async def check(self, flock: Flock) -> None:
        rest = dict.fromkeys(("every", "at", "cron", "after", "max_repeats", "tz"))
        spec = schedule_spec(**{**rest, **self.options})
        told = sorted(self.begun.values())
        assert [n for n, *_ in told] == [*range(1, len(told) + 1)]
        # every due moment, in order, is one that got a run, or one that was missed before it
        due = spec.rule.first(START.timestamp(), spec.after)
        first = due
        for _, missed, fire_time in told:
            for _ in range(missed):
                assert due is not None
                due = spec.rule.following(due, first or 0.0)
            assert due is not None
            assert abs(due - fire_time) < 1e-5
            due = spec.rule.following(due, first or 0.0)
        if spec.max_repeats is None or len(told) < spec.max_repeats:
            assert due is None or due > self.clock.time()  # nothing is left out
        else:
            assert len(told) == spec.max_repeats
        assert self.overlap <= 1
        assert max(self.attempts.values(), default=1) == 1
        # no run has two ends, and only cancelled ones have none
        runs = Counter(run.run_id for run in await flock.store.runs(None, limit=10_000))
        letters = Counter(letter.run_id for letter in await flock.dead_letters())
        assert max([*(runs + letters).values()], default=1) == 1
        assert {*runs, *letters} <= {*self.begun}
        for run_id in self.begun:
            made = await flock.store.get_by_type(Ran, correlation_id=run_id)
            assert len(made) == runs[run_id]
        [state] = (await flock.store.states("schedule")).values()
        assert json.loads(state)["pending"] is None


@settings(max_examples=60)
@given(options=st.sampled_from(SCHEDULES), script=steps)
def test_each_tick_comes_once_or_is_counted_in_memory(
    options: dict[str, Any], script: list[Step]
) -> None:
    async def main() -> None:
        store = InMemoryBlackboardStore()
        await World(lambda: store, options).carry_out(script)

    asyncio.run(main())


@settings(max_examples=25)
@given(options=st.sampled_from(SCHEDULES), script=steps)
def test_each_tick_comes_once_or_is_counted_in_a_file(
    options: dict[str, Any], script: list[Step]
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "board.db"
        asyncio.run(World(lambda: SQLiteBlackboardStore(path), options).carry_out(script))
