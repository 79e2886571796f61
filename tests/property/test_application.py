"""Requests, cancellations, timeouts, equal ids and a drain at any moment, in any order."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Literal

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from flock import (
    Application,
    Context,
    Draining,
    Flock,
    InMemoryBlackboardStore,
    Overloaded,
    RequestConflict,
    Result,
)
from flock.store.protocol import BlackboardStore
from flock.testing import ManualClock
from tests.acceptance.support import SuspendingStore, turns

OUTPUTS: Final = 2


class Query(BaseModel):
    number: int


class Step(BaseModel):
    number: int


class Reply(BaseModel):
    number: int
    place: int


@dataclass(frozen=True)
class Ask:
    """One call, and what becomes of its caller."""

    number: int
    id: str | None
    timeout: int | None
    streams: bool
    reads: int
    gap: int
    cancelled_after: int | None


@dataclass(frozen=True)
class Plan:
    make_store: Callable[[], BlackboardStore]
    isolation: Literal["request", "shared"]
    asks: list[Ask]
    max_concurrent: int | None
    max_queued: int
    agent_limit: int
    seconds: int
    drained_after: int | None
    grace: float


asks = st.builds(
    Ask,
    number=st.integers(0, 11),
    id=st.none() | st.sampled_from(["a", "b", "c"]),
    timeout=st.none() | st.integers(1, 5),
    streams=st.booleans(),
    reads=st.integers(0, 4),
    gap=st.integers(0, 6),
    cancelled_after=st.none() | st.integers(0, 40),
)
plans = st.builds(
    Plan,
    make_store=st.sampled_from([InMemoryBlackboardStore, SuspendingStore]),
    isolation=st.sampled_from(["request", "shared"]),
    asks=st.lists(asks, min_size=1, max_size=12),
    max_concurrent=st.sampled_from([None, 1, 2, 5]),
    max_queued=st.integers(0, 5),
    agent_limit=st.sampled_from([1, 3, 16]),
    seconds=st.integers(0, 8),
    drained_after=st.none() | st.integers(0, 40),
    grace=st.sampled_from([0.0, 0.0, 30.0]),
)


@dataclass
class Seen:
    going: int = 0
    began: Counter[str] = field(default_factory=Counter[str])
    workflows: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    results: list[tuple[Ask, Result]] = field(default_factory=list[tuple[Ask, Result]])
    errors: Counter[str] = field(default_factory=Counter[str])


def board_of(plan: Plan, clock: ManualClock, seen: Seen) -> Flock:
    board = Flock(store=plan.make_store(), clock=clock, no_output=True)

    async def first(query: Query, ctx: Context) -> Step:
        seen.began[ctx.correlation_id] += 1
        seen.going += 1
        try:
            if query.number % 4 == 1:
                await asyncio.sleep(0)
            if query.number % 4 == 2:
                await turns(query.number)
            if query.number % 4 == 3:
                await pause(clock, query.number % 7)
            if query.number == 8:
                msg = "eight"
                raise ValueError(msg)
            return Step(number=query.number)
        finally:
            seen.going -= 1

    async def second(step: Step) -> list[Reply]:
        seen.going += 1
        try:
            await turns(step.number % 3)
            return [Reply(number=step.number, place=place) for place in range(OUTPUTS)]
        finally:
            seen.going -= 1

    board.agent("first").consumes(Query).calls(first).max_concurrency(plan.agent_limit)
    board.agent("second").consumes(Step).publishes(Reply, fan_out=OUTPUTS).calls(second)
    return board


async def pause(clock: ManualClock, span: float) -> None:
    done = asyncio.Event()
    timer = clock.call_at(clock.time() + span + 0.5, done.set)
    try:
        await done.wait()
    finally:
        timer.cancel()


@settings(max_examples=150, deadline=None)
@given(plan=plans)
def test_each_request_is_answered_once_and_nothing_runs_on(plan: Plan) -> None:
    asyncio.run(asyncio.wait_for(_play(plan), 60))


async def _play(plan: Plan) -> None:
    before = asyncio.all_tasks()
    clock, seen = ManualClock(), Seen()
    app = Application(
        lambda: board_of(plan, clock, seen),
        input_type=Query,
        output_types=Reply,
        isolation=plan.isolation,
        max_concurrent=plan.max_concurrent,
        max_queued=None if plan.max_concurrent is None else plan.max_queued,
        clock=clock,
    )
    async with app:
        callers: list[asyncio.Task[None]] = []
        for ask in plan.asks:
            callers.append(asyncio.ensure_future(_call(app, ask, seen)))
            if ask.cancelled_after is not None:
                callers.append(asyncio.ensure_future(_cancel(callers[-1], ask.cancelled_after)))
            await turns(ask.gap)
            if plan.max_concurrent is not None:
                assert app.status().running <= plan.max_concurrent
        if plan.drained_after is not None:
            await turns(plan.drained_after)
            drain = asyncio.ensure_future(app.drain(plan.grace))
            callers.append(drain)
            if plan.grace == 0:
                await drain
                assert (seen.going, app.status().running, app.status().queued) == (0, 0, 0)
        for _ in range(plan.seconds + 60):
            await clock.advance(1)
        await asyncio.gather(*callers)
        status = app.status()
        assert (status.running, status.queued, seen.going) == (0, 0, 0)
        assert not app._going
        assert not app._by_key
        assert app._terms.slots.used == 0
        _compare(plan, seen)
    assert asyncio.all_tasks() == before


async def _call(app: Application, ask: Ask, seen: Seen) -> None:
    query = Query(number=ask.number)
    try:
        if ask.streams:
            async with app.stream(query, id=ask.id, timeout=ask.timeout) as stream:
                read = 0
                async for output in stream:
                    assert output.as_model(Reply).number == ask.number
                    read += 1
                    if read > ask.reads:
                        return
                if stream.result.status == "succeeded":
                    assert read == OUTPUTS
        else:
            result = await app.run(query, id=ask.id, timeout=ask.timeout)
            seen.results.append((ask, result))
    except (Draining, Overloaded, RequestConflict) as error:
        seen.errors[type(error).__name__] += 1
    except asyncio.CancelledError:
        seen.errors["cancelled"] += 1


async def _cancel(task: asyncio.Task[None], after: int) -> None:
    await turns(after)
    task.cancel()
    with suppress(asyncio.CancelledError):  # before its first step
        await task


def _compare(plan: Plan, seen: Seen) -> None:
    assert set(seen.began.values()) <= {1}  # no workflow is begun twice
    by_id: defaultdict[str, set[str]] = defaultdict(set)
    for ask, result in seen.results:
        replies = result.of(Reply)
        assert {reply.number for reply in replies} <= {ask.number}
        assert len(replies) in {0, OUTPUTS}
        if result.status == "succeeded":
            assert [reply.place for reply in replies] == list(range(OUTPUTS))
            assert ask.number != 8
        elif result.status == "failed":
            assert ask.number == 8
            assert [failure.message for failure in result.failures] == ["eight"]
        elif result.status == "timed_out":
            assert any(other.timeout is not None for other in plan.asks)
        else:
            assert result.status == "cancelled"
        if ask.id is not None and replies:
            by_id[ask.id].add(result.correlation_id)
    assert all(len(workflows) == 1 for workflows in by_id.values())
    if plan.max_concurrent is None:
        assert not seen.errors["Overloaded"]
    if plan.drained_after is None:
        assert not seen.errors["Draining"]
