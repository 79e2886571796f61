"""Short runs share a task, and nobody can tell: each is as if it had one of its own."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar

import pytest
from pydantic import BaseModel

from flock import Context, Flock, FlockError, InMemoryBlackboardStore
from flock.core.artifacts import Artifact
from flock.orchestrator.job import Job
from flock.store.protocol import BlackboardStore

from .support import SuspendingStore, turns, until


class Short(BaseModel):
    number: int = 0


class Other(BaseModel):
    number: int = 0


class Made(BaseModel):
    number: int = 0


mark: ContextVar[int | None] = ContextVar("mark", default=None)

on_every_store = pytest.mark.parametrize("make_store", [InMemoryBlackboardStore, SuspendingStore])


@on_every_store
async def test_what_a_run_sets_in_its_context_no_other_run_sees(
    make_store: Callable[[], BlackboardStore],
) -> None:
    seen: list[int | None] = []
    kept: list[bool] = []

    async def sometimes_waits(short: Short) -> None:
        seen.append(mark.get())
        mark.set(short.number)
        if short.number % 7 == 3:
            await asyncio.sleep(0)
        kept.append(mark.get() == short.number)

    def in_a_thread(short: Short) -> None:
        seen.append(mark.get())
        mark.set(short.number)

    async def streams(short: Short) -> AsyncIterator[Made]:
        seen.append(mark.get())
        mark.set(short.number)
        yield Made()
        kept.append(mark.get() == short.number)

    async with Flock(store=make_store()) as board:
        for name, function in (("a", sometimes_waits), ("b", in_a_thread), ("c", streams)):
            board.agent(name).consumes(Short).calls(function)
        await board.publish_many([Short(number=n) for n in range(30)])
        report = await board.run_until_idle()
    assert report.failed == 0
    assert seen == [None] * 90
    assert kept == [True] * 60


@on_every_store
async def test_what_an_attempt_sets_in_its_context_the_next_one_does_not_see(
    make_store: Callable[[], BlackboardStore],
) -> None:
    seen: list[int | None] = []

    async def work(_: Short) -> None:
        seen.append(mark.get())
        mark.set(len(seen))
        if len(seen) < 3:
            msg = "not yet"
            raise ValueError(msg)

    async with Flock(store=make_store()) as board:
        board.agent("a").consumes(Short).calls(work).retry(3, 0)
        mark.set(-1)
        await board.publish(Short())
        await board.run_until_idle(raise_on_error=True)
    assert seen == [-1, -1, -1]


@on_every_store
async def test_a_run_that_cancels_its_own_workflow_does_not_end_the_next_one(
    make_store: Callable[[], BlackboardStore],
) -> None:
    ended: list[int] = []

    async with Flock(store=make_store()) as board:

        async def work(short: Short) -> None:
            if short.number == 1:
                await board.cancel("mine")
            if short.number > 1:
                await turns(2)
            ended.append(short.number)

        board.agent("a").consumes(Short).calls(work).max_concurrency(1)
        await board.publish(Short(number=0))
        await board.run_until_idle()
        await board.publish(Short(number=1), correlation_id="mine")
        await board.publish_many([Short(number=n) for n in range(2, 5)])
        report = await board.run_until_idle(raise_on_error=True)
    assert [n for n in ended if n != 1] == [0, 2, 3, 4]
    assert report.failed == 0


@pytest.mark.parametrize(
    "error",
    [
        SystemExit(3),
        GeneratorExit(),
        asyncio.CancelledError(),
        StopIteration(5),
        BaseExceptionGroup("both", [SystemExit(1), ValueError()]),
    ],
    ids=lambda error: type(error).__name__,
)
@on_every_store
async def test_whatever_a_run_raises_only_it_has_failed(
    make_store: Callable[[], BlackboardStore], error: BaseException
) -> None:
    began: list[int] = []

    async def work(short: Short) -> None:
        began.append(short.number)
        if short.number == 1:
            raise error

    async with Flock(store=make_store()) as board:
        board.agent("a").consumes(Short).calls(work)
        await board.publish_many([Short(number=n) for n in range(4)])
        report = await board.run_until_idle()
    assert sorted(began) == [0, 1, 2, 3]
    assert (report.runs, report.failed, report.dead_letters) == (4, 1, 1)


async def test_one_agents_many_short_runs_do_not_hold_the_others_up() -> None:
    done = 0
    done_before: dict[str, int] = {}

    async def short(_: Short) -> None:
        nonlocal done
        done += 1

    async def prompt(_: Other) -> None:
        done_before.setdefault("prompt", done)

    async def waiting(_: Other) -> None:
        await asyncio.sleep(0)
        done_before.setdefault("waiting", done)

    async with Flock() as board:
        board.agent("short").consumes(Short, priority=5).calls(short)
        board.agent("prompt").consumes(Other).calls(prompt)
        board.agent("waiting").consumes(Other).calls(waiting)
        await board.publish_many([Short(), Other()])
        await board.run_until_idle()
        done_before.clear()
        await board.publish_many([Short(number=n) for n in range(20_000)])
        await board.publish(Other())
        await board.run_until_idle()
    assert done == 20_001
    assert done_before["prompt"] < 1_000
    assert done_before["waiting"] < 10_000


async def test_the_event_loop_gets_its_turn_after_each_run_that_takes_long() -> None:
    ran: list[int] = []
    seen: list[int] = []

    async def work(short: Short) -> None:
        end = time.perf_counter() + 0.003
        while time.perf_counter() < end:
            pass
        ran.append(short.number)

    async with Flock() as board:
        board.agent("a").consumes(Short).calls(work).max_concurrency(1)
        await board.publish(Short())
        await board.run_until_idle()
        await board.publish_many([Short(number=n) for n in range(10)])
        while len(ran) < 11:
            await asyncio.sleep(0)
            seen.append(len(ran))
    assert set(range(1, 12)) <= set(seen)


@pytest.mark.memory_only("it counts turns of the loop, and commits take more of them")
async def test_whoever_cancels_a_run_does_not_wait_for_the_one_that_follows_it() -> None:
    go_on = asyncio.Event()
    ended: list[int] = []

    async def work(short: Short) -> None:
        if short.number == 2:
            await go_on.wait()
        ended.append(short.number)

    async with Flock() as board:
        board.agent("a").consumes(Short).calls(work).max_concurrency(1)
        await board.publish(Short())
        await board.run_until_idle()
        await board.publish(Short(number=1), correlation_id="gone")
        await board.publish(Short(number=2))
        scheduler = board._parts.scheduler
        await turns(1)
        ((task, state),) = {(job.task, job.state) for job in scheduler.jobs("gone")}
        assert state == "running"
        await board.cancel("gone")
        assert task is not None
        assert task.done()
        go_on.set()
        await board.run_until_idle(raise_on_error=True)
    assert ended == [0, 2]


@on_every_store
async def test_a_task_that_a_run_hands_out_is_no_other_runs_task(
    make_store: Callable[[], BlackboardStore],
) -> None:
    handed_out: dict[int, asyncio.Task[object] | None] = {}
    ended: list[int] = []

    async def work(short: Short) -> None:
        handed_out[short.number] = asyncio.current_task()
        if short.number == 2:
            await turns(3)
        ended.append(short.number)

    async with Flock(store=make_store()) as board:
        board.agent("a").consumes(Short).calls(work).max_concurrency(1)
        await board.publish(Short())
        await board.run_until_idle()
        await board.publish_many([Short(number=1), Short(number=2)])
        while 2 not in handed_out:
            await turns(1)
        task = handed_out[1]
        assert task is not None
        assert task is not handed_out[2]
        task.cancel()
        await board.run_until_idle(raise_on_error=True)
    assert ended == [0, 1, 2]


def _by_keywords(loop: asyncio.AbstractEventLoop, coro: object, **options: object) -> object:
    return asyncio.Task(coro, loop=loop, **options)  # type: ignore[arg-type]


def _without_options(loop: asyncio.AbstractEventLoop, coro: object) -> object:
    return asyncio.Task(coro, loop=loop)  # type: ignore[arg-type]


_factories = [_by_keywords, _without_options]
if sys.version_info >= (3, 12):
    _factories.append(asyncio.eager_task_factory)


@pytest.mark.parametrize("factory", _factories)
@on_every_store
async def test_every_task_factory_will_do(
    make_store: Callable[[], BlackboardStore], factory: Callable[..., object]
) -> None:
    asyncio.get_running_loop().set_task_factory(factory)  # type: ignore[arg-type]
    ended: list[int] = []
    seen: list[int | None] = []

    async def short(given: Short) -> Made:
        seen.append(mark.get())
        mark.set(given.number)
        return Made(number=given.number)

    async def waiting(made: Made) -> None:
        await asyncio.sleep(0)
        ended.append(made.number)

    async with Flock(store=make_store()) as board:
        board.agent("short").consumes(Short).calls(short).max_concurrency(2)
        board.agent("waiting").consumes(Made).calls(waiting)
        for _ in range(3):
            await board.publish_many([Short(number=n) for n in range(20)])
            await asyncio.wait_for(board.run_until_idle(raise_on_error=True), 10)
        (made,) = await asyncio.wait_for(board.arun("short", Short(number=7)), 10)
        assert made.as_model(Made).number == 7
        await asyncio.wait_for(board.run_until_idle(), 10)
    assert sorted(ended) == sorted([*range(20), *range(20), *range(20), 7])
    assert seen == [None] * 61


@pytest.mark.parametrize("steps", range(8))
def test_a_loop_that_is_torn_down_in_a_row_loses_nothing(
    steps: int, caplog: pytest.LogCaptureFixture
) -> None:
    store = InMemoryBlackboardStore()
    ended: list[int] = []

    def a_board() -> Flock:
        board = Flock(store=store)

        async def short(given: Short) -> None:
            ended.append(given.number)

        async def waiting(given: Short) -> None:
            await turns(2)
            ended.append(1_000 + given.number)

        board.agent("short").consumes(Short).calls(short).max_concurrency(3)
        board.agent("waiting").consumes(Short).calls(waiting).max_concurrency(3)
        return board

    never: list[asyncio.Event] = []

    async def interrupted() -> None:
        published = asyncio.Event()
        never.append(asyncio.Event())

        async def serve() -> None:
            board = a_board()
            await board.publish(Short(number=100))
            await board.run_until_idle()
            ended.clear()
            await board.publish_many([Short(number=n) for n in range(10)])
            published.set()
            try:
                await never[0].wait()
            finally:
                await board.shutdown(grace=60)

        task = asyncio.create_task(serve())
        await published.wait()
        await turns(steps)
        assert not task.done()

    async def resumed() -> None:
        async with a_board() as board:
            await board.run_until_idle()

    with caplog.at_level(logging.ERROR):
        asyncio.run(interrupted())
        assert len(ended) < 20
        asyncio.run(resumed())
    assert sorted(ended) == sorted([*range(10), *range(1_000, 1_010)])
    assert "left behind" not in caplog.text


async def test_runs_in_a_row_leave_nothing_behind() -> None:
    async def work(short: Short) -> Made:
        if short.number % 5 == 4:
            await asyncio.sleep(0)
        return Made(number=short.number)

    async with Flock() as board:
        board.agent("a").consumes(Short).publishes(Made).calls(work)
        await board.publish_many([Short(number=n) for n in range(20)])
        await board.run_until_idle()
        tasks = len(asyncio.all_tasks())
        gc.collect()
        before = (_count(Job), _count(Context))  # what other tests left
        gc.disable()
        try:
            await board.publish_many([Short(number=n) for n in range(10)] * 10)
            assert _count(Job) == before[0] + 100
            await board.run_until_idle()
            await until(lambda: (_count(Job), _count(Context)) == before)  # threads let go too
            assert gc.collect() == 0, "runs left reference cycles behind"
        finally:
            gc.enable()
        assert len(asyncio.all_tasks()) == tasks


def _count(kind: type) -> int:
    return sum(isinstance(found, kind) for found in gc.get_objects())


async def test_an_agents_slots_can_be_made_more_or_fewer_while_somebody_waits_for_one() -> None:
    go_on = asyncio.Event()

    async def work(_: Short) -> Made:
        await go_on.wait()
        return Made()

    async with Flock() as board:
        board.agent("a").consumes(Short).publishes(Made).calls(work).max_concurrency(1)
        agent = board.get_agent("a")
        given = [Artifact.of(Short())]
        calls = [asyncio.create_task(agent.execute(Context(), given)) for _ in range(6)]
        await turns(5)
        assert (agent.slots.used, len(agent.slots.waiters)) == (1, 5)
        agent.slots.resize(4)
        assert (agent.slots.used, len(agent.slots.waiters)) == (4, 2)
        agent.slots.resize(1)
        calls[0].cancel()
        await turns(5)
        assert (agent.slots.used, len(agent.slots.waiters)) == (3, 2)
        go_on.set()
        await asyncio.gather(*calls[1:])
        assert agent.slots.used == 0


async def test_a_run_that_the_shutdown_kept_from_beginning_has_used_up_no_attempt() -> None:
    store = InMemoryBlackboardStore()
    attempts: list[int] = []

    def a_board() -> Flock:
        board = Flock(store=store)

        async def work(short: Short, ctx: Context) -> None:
            if short.number:
                attempts.append(ctx.attempt)
                if ctx.attempt == 1:
                    msg = "not at first"
                    raise ValueError(msg)

        board.agent("a").consumes(Short).calls(work).retry(2, 0)
        return board

    async with a_board() as board:
        await board.publish(Short())
        await board.run_until_idle()
        published = await board.publish(Short(number=1))
        await turns(1)
        (job,) = board._parts.scheduler.jobs(published.correlation_id)
        assert job.state == "running"
        await board.shutdown(grace=0)
    assert attempts == []
    async with a_board() as board:
        report = await board.run_until_idle()
    assert (attempts, report.failed) == ([1, 2], 0)


@pytest.mark.parametrize("steps", range(8))
@on_every_store
async def test_whoever_calls_an_agent_hears_of_a_shutdown_at_any_moment(
    make_store: Callable[[], BlackboardStore], steps: int
) -> None:
    async def work(short: Short) -> Made:
        await turns(short.number)
        return Made(number=short.number)

    async with Flock(store=make_store()) as board:
        board.agent("a").consumes(Short).publishes(Made).calls(work).max_concurrency(1)
        calls = [asyncio.create_task(board.arun("a", Short(number=n % 3))) for n in range(6)]
        await turns(steps)
        await board.shutdown(grace=0)
        outcomes = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 10)
        # whose call had not begun yet opened the board again
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert all(isinstance(error, FlockError) for error in errors)
    assert len(asyncio.all_tasks()) == 1
