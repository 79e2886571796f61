"""Boards, agents, threads and event loops nest without waiting for themselves."""

# Agents are short lambdas here.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from flock import Agent, AgentComponent, Artifact, Context, Flock, FlockError, OrchestratorComponent
from flock.testing import ManualClock

from .support import turns, until


class Order(BaseModel):
    number: int = 0


class Parcel(BaseModel):
    number: int = 0


class Letter(BaseModel):
    number: int = 0


async def parcels(board: Flock) -> list[int]:
    return sorted(p.number for p in await board.store.get_by_type(Parcel))


# --- arun within arun ---------------------------------------------------------------------


async def test_an_agent_may_arun_itself_and_each_other_with_one_slot_each() -> None:
    async with Flock(max_concurrency=1) as board:

        async def countdown(order: Order) -> Parcel:
            if order.number > 0:
                other = "tick" if order.number % 2 else "tock"
                (parcel,) = await board.arun(other, Order(number=order.number - 1))
                return parcel.as_model(Parcel)
            return Parcel(number=99)

        for name in ("tick", "tock"):
            board.agent(name).consumes(Order, mode="direct").publishes(Parcel).calls(
                countdown
            ).max_concurrency(1)
        outputs = await asyncio.wait_for(board.arun("tick", Order(number=5)), 20)
        assert [o.as_model(Parcel).number for o in outputs] == [99]
        assert await parcels(board) == [99] * 6


async def test_an_agent_may_gather_several_aruns_on_its_one_slot() -> None:
    async with Flock(max_concurrency=1, max_pending=1) as board:

        async def half(order: Order) -> Parcel:
            await asyncio.sleep(0)
            return Parcel(number=order.number)

        async def spread(letter: Letter) -> None:
            await asyncio.gather(*(board.arun("half", Order(number=n)) for n in range(5)))

        board.agent("half").consumes(Order, mode="direct").publishes(Parcel).calls(
            half
        ).max_concurrency(1)
        board.agent("spread").calls(spread)
        await board.publish(Letter())
        report = await board.run_until_idle()
        assert report.failed == 0
        assert await parcels(board) == [0, 1, 2, 3, 4]


async def test_an_agent_may_publish_invoke_and_stream_while_it_runs() -> None:
    async def several(order: Order) -> AsyncIterator[Parcel]:
        yield Parcel(number=1)
        yield Parcel(number=2)

    async with Flock(max_concurrency=1, max_pending=1) as board:

        async def work(letter: Letter) -> None:
            await board.publish(Order(number=7))
            await board.publish_many([Order(number=8), Order(number=9)])
            await board.invoke("several", Order(), publish_outputs=False)
            numbers.extend(
                [a.as_model(Parcel).number async for a in board.stream("several", Order())]
            )

        numbers: list[int] = []
        seen: list[int] = []
        board.agent("several").consumes(Order, mode="direct").publishes(Parcel).calls(several)
        board.agent("reader").consumes(Order, where=lambda o: o.number > 0).calls(
            lambda o: seen.append(o.number)
        )
        board.agent("work").calls(work)
        await board.publish(Letter())
        report = await board.run_until_idle()
        assert report.failed == 0
        assert numbers == [1, 2]
        assert sorted(seen) == [7, 8, 9]


# --- Boards within boards, loops after loops -------------------------------------------------


async def test_an_agent_may_run_a_board_of_its_own() -> None:
    async def inner_work(order: Order) -> Parcel:
        return Parcel(number=order.number * 2)

    async def work(order: Order) -> Letter:
        async with Flock() as inner:
            inner.agent("inner").calls(inner_work)
            await inner.publish(order)
            await inner.run_until_idle()
            (parcel,) = await inner.store.get_by_type(Parcel)
            return Letter(number=parcel.number)

    async with Flock() as board:
        board.agent("outer").calls(work)
        await board.publish(Order(number=4))
        report = await board.run_until_idle()
        assert report.failed == 0
        assert await board.store.get_by_type(Letter) == [Letter(number=8)]


async def test_a_sync_agent_may_run_a_board_of_its_own_in_its_thread() -> None:
    def work(order: Order) -> Letter:
        inner = Flock()
        inner.agent("inner").consumes(Order).publishes(Parcel).calls(
            lambda o: Parcel(number=o.number * 3)
        )
        (parcel,) = inner.run("inner", order)
        return Letter(number=parcel.as_model(Parcel).number)

    async with Flock() as board:
        board.agent("outer").calls(work)
        await board.publish(Order(number=4))
        report = await board.run_until_idle()
        assert report.failed == 0
        assert await board.store.get_by_type(Letter) == [Letter(number=12)]


async def test_using_an_open_board_from_another_threads_loop_does_no_harm() -> None:
    started = asyncio.Event()
    release = asyncio.Event()
    calls: list[int] = []

    async def slow(letter: Letter) -> Parcel:
        calls.append(letter.number)
        started.set()
        await release.wait()
        return Parcel(number=letter.number)

    async with Flock() as board:
        board.agent("work").calls(lambda_free)
        board.agent("slow").calls(slow)
        await board.publish(Letter(number=5))
        await started.wait()

        def elsewhere() -> None:
            with contextlib.suppress(RuntimeError, FlockError):
                board.run("work", Order(number=1))

        await asyncio.wait_for(asyncio.to_thread(elsewhere), 20)
        await board.publish(Order(number=2))
        release.set()
        await asyncio.wait_for(board.run_until_idle(), 20)
        numbers = await parcels(board)
        assert numbers in ([2, 5], [1, 2, 5])
        assert calls == [5]


async def lambda_free(order: Order) -> Parcel:
    return Parcel(number=order.number)


def test_work_that_was_under_way_when_a_loop_ended_goes_on_in_the_next() -> None:
    board = Flock()
    calls: list[str] = []

    async def work(order: Order) -> Parcel:
        calls.append("start")
        if len(calls) == 1:
            await asyncio.Event().wait()
        return Parcel(number=order.number)

    board.agent("work").calls(work)
    board.agent("pair").consumes(Order, Letter).publishes(Parcel).calls(
        lambda models: Parcel(number=100)
    )

    async def first() -> str:
        order = await board.publish(Order(number=5))
        await turns()
        return order.correlation_id

    async def second(workflow: str) -> list[int]:
        await board.publish(Letter(), correlation_id=workflow)
        await board.run_until_idle()
        numbers = await parcels(board)
        await board.shutdown()
        return numbers

    assert asyncio.run(second(asyncio.run(first()))) == [5, 100]
    assert calls == ["start", "start"]


# --- Threads ------------------------------------------------------------------------------


async def test_sixteen_sync_runs_of_each_agent_run_at_once() -> None:
    barrier = threading.Barrier(48, timeout=30)

    def work(order: Order) -> Parcel:
        barrier.wait()
        return Parcel(number=order.number)

    async with Flock() as board:
        for n in range(3):
            board.agent(f"a{n}").consumes(Order).publishes(Parcel).calls(work)
        await board.publish_many([Order(number=n) for n in range(16)])
        report = await board.run_until_idle()
        assert (report.runs, report.failed) == (48, 0)


async def test_a_blocked_sync_function_is_given_up_at_its_timeout_and_its_answer_dropped() -> None:
    clock = ManualClock()
    started = threading.Event()
    release = threading.Event()
    finished = threading.Event()

    def work(order: Order) -> Parcel:
        if order.number == 0:
            started.set()
            release.wait(30)
            finished.set()
        return Parcel(number=order.number)

    async with Flock(clock=clock) as board:
        board.agent("work").calls(work).timeout(5).max_concurrency(1)
        await board.publish(Order(number=0))
        await until(started.is_set)
        await asyncio.wait_for(clock.advance(timedelta(seconds=6)), 20)
        report = await asyncio.wait_for(board.run_until_idle(), 20)
        assert report.failed == 1
        (letter,) = await board.dead_letters()
        assert letter.error_type == "RunTimeout"
        await board.publish(Order(number=1))  # the slot is free again
        await asyncio.wait_for(board.run_until_idle(), 20)
        release.set()
        await until(finished.is_set)
        await turns()
        await board.run_until_idle()
        assert await parcels(board) == [1]


async def test_closing_does_not_wait_for_a_blocked_thread() -> None:
    started = threading.Event()
    release = threading.Event()

    def work(order: Order) -> Parcel:
        started.set()
        release.wait(30)
        return Parcel(number=order.number)

    board = Flock()
    board.agent("work").calls(work)
    await board.publish(Order(number=1))
    await until(started.is_set)
    try:
        await asyncio.wait_for(board.shutdown(grace=0.0), 20)
        assert await parcels(board) == []
    finally:
        release.set()
    async with board:
        await board.run_until_idle()
        assert await parcels(board) == [1]


@pytest.mark.parametrize("how", ["timeout", "cancel", "shutdown"])
async def test_a_generator_is_closed_when_its_run_is_cut_off(how: str) -> None:
    clock = ManualClock()
    first = asyncio.Event()
    closed: list[str] = []

    async def work(order: Order) -> AsyncIterator[Parcel]:
        try:
            yield Parcel(number=1)
            first.set()
            await asyncio.Event().wait()
        finally:
            closed.append("closed")

    board = Flock(clock=clock)
    board.agent("work").calls(work).timeout(5)
    await board.publish(Order(), correlation_id="w")
    await first.wait()
    match how:
        case "timeout":
            await clock.advance(timedelta(seconds=6))
        case "cancel":
            await board.cancel("w")
        case _:
            pass
    await board.shutdown(grace=0.0)
    assert closed == ["closed"]


async def test_a_sync_generator_is_closed_when_its_run_is_cut_off() -> None:
    clock = ManualClock()
    first = threading.Event()
    release = threading.Event()
    closed = threading.Event()

    def work(order: Order) -> Iterator[Parcel]:
        try:
            yield Parcel(number=1)
            first.set()
            release.wait(30)
            yield Parcel(number=2)
            yield Parcel(number=3)
        finally:
            closed.set()

    async with Flock(clock=clock) as board:
        board.agent("work").calls(work).timeout(5)
        await board.publish(Order())
        await until(first.is_set)
        await clock.advance(timedelta(seconds=6))
        await board.run_until_idle()
        release.set()
        await until(closed.is_set)
        await turns()
        assert await parcels(board) == [1]


# --- Components ---------------------------------------------------------------------------


async def test_a_component_that_publishes_when_idle_neither_hangs_nor_is_forgotten() -> None:
    seen: list[int] = []

    class More(OrchestratorComponent):
        name: str | None = "more"

        async def on_idle(self, orchestrator: Any) -> None:
            if not seen[1:]:
                await orchestrator.publish(Order(number=len(seen)))

    board = Flock()
    board.add_component(More())
    board.agent("reader").consumes(Order).calls(lambda o: seen.append(o.number))
    async with board:
        await board.publish(Order(number=0))
        for _ in range(3):
            await asyncio.wait_for(board.run_until_idle(), 20)
            await turns()
        assert seen == [0, 1]


async def test_a_utility_that_publishes_after_a_run_does_not_hang_at_the_limit() -> None:
    class Copy(AgentComponent):
        name: str | None = "copy"

        async def on_post_publish(self, agent: Agent, ctx: Context, artifact: Artifact) -> None:
            await board.publish(Letter(number=artifact.as_model(Parcel).number))

    seen: list[int] = []
    async with Flock(max_pending=1, max_concurrency=1) as board:
        board.agent("work").calls(lambda_free).with_utilities(Copy())
        board.agent("letters").consumes(Letter).calls(lambda x: seen.append(x.number))
        for n in range(3):
            await asyncio.wait_for(board.publish(Order(number=n)), 20)
        await asyncio.wait_for(board.run_until_idle(), 20)
        assert sorted(seen) == [0, 1, 2]
