"""Boards that are published to, cancelled, resized and closed at any moment lose nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from flock import Context, Flock, InMemoryBlackboardStore
from flock.store.protocol import BlackboardStore
from tests.acceptance.support import SuspendingStore, turns

mark: ContextVar[int | None] = ContextVar("mark", default=None)
AGENTS: Final = ("short", "mixed", "nests", "ends")


class Task(BaseModel):
    number: int


class Short(BaseModel):
    number: int


class Mixed(BaseModel):
    number: int


@dataclass(frozen=True)
class Plan:
    """One board's life, until it is closed for the first time."""

    make_store: Callable[[], BlackboardStore]
    tasks: int
    publish_gaps: list[bool]
    board_limit: int | None
    max_pending: int | None
    limits: list[int]
    priority: int
    turns_before: int
    cancelled: int | None
    resized: list[int] | None
    turns_after: int
    grace: float | None


plans = st.builds(
    Plan,
    make_store=st.sampled_from([InMemoryBlackboardStore, SuspendingStore]),
    tasks=st.integers(1, 40),
    publish_gaps=st.lists(st.booleans(), min_size=1, max_size=8),
    board_limit=st.sampled_from([None, None, 1, 2, 5]),
    max_pending=st.sampled_from([None, None, 3]),
    limits=st.lists(st.sampled_from([1, 2, 3, 16]), min_size=4, max_size=4),
    priority=st.integers(0, 1),
    turns_before=st.integers(0, 40),
    cancelled=st.none() | st.integers(0, 4),
    resized=st.none() | st.lists(st.integers(1, 5), min_size=4, max_size=4),
    turns_after=st.integers(0, 60),
    grace=st.sampled_from([None, 0, 0, 0.001]),
)


@dataclass
class Seen:
    began: Counter[tuple[str, int]] = field(default_factory=Counter[tuple[str, int]])
    going: Counter[str] = field(default_factory=Counter[str])
    most: Counter[str] = field(default_factory=Counter[str])

    def enter(self, agent: str, number: int) -> None:
        """Note a run that begins, in which nothing of another one can be seen."""
        assert mark.get() is None
        mark.set(number)
        self.began[agent, number] += 1
        self.going[agent] += 1
        self.most[agent] = max(self.most[agent], self.going[agent])


def board_of(plan: Plan, store: BlackboardStore, seen: Seen) -> Flock:
    board = Flock(store=store, max_concurrency=plan.board_limit, max_pending=plan.max_pending)

    async def short(task: Task) -> Short:
        seen.enter("short", task.number)
        seen.going["short"] -= 1
        if task.number % 13 == 5 and seen.began["short", task.number] == 1:
            msg = "not at first"
            raise ValueError(msg)
        return Short(number=task.number)

    async def mixed(task: Task) -> Mixed:
        seen.enter("mixed", task.number)
        try:
            await turns(task.number % 4)
            return Mixed(number=task.number)
        finally:
            seen.going["mixed"] -= 1

    async def nests(made: Short, ctx: Context) -> None:
        if made.number % 5 == 1:
            await board.arun("called", Mixed(number=made.number))
        if made.number % 7 == 2:
            await board.publish(Mixed(number=1_000 + made.number))

    async def called(made: Mixed) -> None:
        await turns(made.number % 3)

    async def ends(made: Mixed) -> None:
        seen.began["ends", made.number] += 1

    short_, mixed_, nests_, ends_ = plan.limits
    taking = board.agent("short").consumes(Task, priority=plan.priority).publishes(Short)
    taking.calls(short).retry(2, 0).max_concurrency(short_)
    board.agent("mixed").consumes(Task).publishes(Mixed).calls(mixed).max_concurrency(mixed_)
    board.agent("nests").consumes(Short).calls(nests).max_concurrency(nests_)
    board.agent("ends").consumes(Mixed).calls(ends).max_concurrency(ends_)
    board.agent("called").consumes(Mixed, mode="direct").calls(called)
    return board


@settings(max_examples=150, deadline=None)
@given(plan=plans)
def test_nothing_is_lost_done_twice_or_left_behind(plan: Plan) -> None:
    asyncio.run(asyncio.wait_for(_play(plan), 60))


async def _play(plan: Plan) -> None:
    store, seen = plan.make_store(), Seen()
    before = asyncio.all_tasks()
    board = board_of(plan, store, seen)

    async def publish() -> None:
        for number in range(plan.tasks):
            await board.publish(Task(number=number), correlation_id=f"w{number % 5}")
            if plan.publish_gaps[number % len(plan.publish_gaps)]:
                await asyncio.sleep(0)

    async with board:
        async with asyncio.TaskGroup() as group:
            group.create_task(publish())
            await turns(plan.turns_before)
        if plan.cancelled is not None:
            await board.cancel(f"w{plan.cancelled}")
        if plan.resized is not None:
            for name, limit in zip(AGENTS, plan.resized, strict=True):
                board.get_agent(name).slots.resize(limit)
        await turns(plan.turns_after)
        if plan.grace is None:
            assert not (await board.run_until_idle(timeout=30)).timed_out
        else:
            await board.shutdown(plan.grace)
            assert asyncio.all_tasks() == before
            assert not +seen.going
    for name, limit, resized in zip(AGENTS, plan.limits, plan.resized or plan.limits, strict=True):
        assert seen.most[name] <= max(limit, resized)
    async with board_of(plan, store, seen) as board:
        assert not (await board.run_until_idle(timeout=30)).timed_out
        scheduler = board._parts.scheduler
        assert (scheduler._board.used, scheduler._jobs, scheduler._held) == (0, {}, [])
        assert [board.get_agent(name).slots.used for name in AGENTS] == [0] * 4
        assert board._parts.idle.total == 0
        assert await board.dead_letters() == []
        await _compare(plan, store, seen)
    assert asyncio.all_tasks() == before


async def _compare(plan: Plan, store: BlackboardStore, seen: Seen) -> None:
    """Everything that was not cancelled was done, and no outputs lie there twice."""
    done = Counter(model.number for model in await store.get_by_type(Short))
    waited = Counter(m.number for m in await store.get_by_type(Mixed))
    assert set(done.values()) <= {1}
    for number in range(plan.tasks):
        if number % 5 != plan.cancelled:
            assert done[number] == 1
            assert waited[number] >= 1
            assert seen.began["ends", number] >= 1
