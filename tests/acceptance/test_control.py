"""Workflows are paused, resumed, cancelled and bounded in time, each without the others."""

# Agents are short lambdas here.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import asyncio
import json
import threading
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from flock import (
    AfterVisibility,
    Artifact,
    Backoff,
    BatchSpec,
    BoardIdle,
    Context,
    EvalInputs,
    Flock,
    GroupExpired,
    InMemoryBlackboardStore,
    JoinSpec,
    NotFound,
    NotIdle,
    OrchestratorComponent,
    PublicVisibility,
    PublishError,
    RunError,
    ScheduleDecision,
    WorkflowCancelled,
    WorkflowError,
    WorkflowIdle,
    WorkflowPaused,
    WorkflowResumed,
    WorkflowTimeout,
)
from flock.testing import ManualClock
from tests.acceptance.support import SuspendingStore, drain, turns, until


class Order(BaseModel):
    number: int = 0


class Parcel(BaseModel):
    number: int = 0


class Letter(BaseModel):
    number: int = 0


def log_of(board: Flock, name: str = "work", **consumes: Any) -> list[int]:
    """Declare an agent that writes down which orders it got."""
    seen: list[int] = []

    async def work(order: Order) -> None:
        seen.append(order.number)

    board.agent(name).consumes(Order, **consumes).calls(work)
    return seen


# --- pause and resume ----------------------------------------------------------------------


async def test_nothing_of_a_paused_workflow_begins_and_all_of_it_goes_on_in_order() -> None:
    async with Flock() as board:
        seen = log_of(board)
        await board.pause("held")
        for number in range(5):
            await board.publish(Order(number=number), correlation_id="held")
            await board.publish(Order(number=10 + number), correlation_id="free")
        report = await board.run_until_idle()
        assert (sorted(seen), report.waiting, report.runs) == ([10, 11, 12, 13, 14], 5, 5)
        status = await board.status("held")
        assert (status.state, status.waiting, status.running) == ("paused", 5, 0)
        assert (await board.status("free")).state == "idle"
        seen.clear()
        await board.resume("held")
        report = await board.run_until_idle()
        assert (seen, report.waiting) == ([0, 1, 2, 3, 4], 0)
        assert (await board.status("held")).state == "idle"


async def test_runs_that_are_queued_are_held_and_go_on_by_priority() -> None:
    release, started = asyncio.Event(), asyncio.Event()
    seen: list[int] = []

    async def work(order: Order) -> None:
        started.set()
        await release.wait()
        seen.append(order.number)

    async with Flock() as board:
        agent = board.agent("work").max_concurrency(1).calls(work)
        agent.consumes(Order, where=lambda o: o.number < 5, priority=0)
        agent.consumes(Order, where=lambda o: o.number >= 5, priority=1)
        await board.publish(Order(number=0), correlation_id="free")
        await started.wait()
        for number in (1, 5, 2, 6):
            await board.publish(Order(number=number), correlation_id="held")
            await board.publish(Order(number=10 + number), correlation_id="free")
        await board.pause("held")
        status = await board.status("held")
        assert (status.state, status.queued, status.waiting) == ("paused", 4, 0)
        release.set()
        assert (await board.run_until_idle()).waiting == 4
        assert seen == [0, 11, 15, 12, 16]
        await board.resume("held")
        await board.run_until_idle()
        assert seen[5:] == [5, 6, 1, 2]


async def test_what_runs_ends_and_what_it_makes_is_held() -> None:
    release, started = asyncio.Event(), asyncio.Event()
    got: list[int] = []

    async def work(order: Order) -> Parcel:
        started.set()
        await release.wait()
        return Parcel(number=order.number)

    async with Flock() as board:
        board.agent("work").calls(work)
        board.agent("next").consumes(Parcel).calls(lambda parcel: got.append(parcel.number))
        await board.publish(Order(number=1), correlation_id="w")
        await started.wait()
        await board.pause("w")
        status = await board.status("w")
        assert (status.state, status.running) == ("paused", 1)
        release.set()
        report = await board.run_until_idle()
        assert (report.runs, report.waiting, got) == (1, 1, [])
        assert await board.store.get_by_type(Parcel) == [Parcel(number=1)]
        await board.resume("w")
        await board.run_until_idle()
        assert got == [1]


async def test_a_run_that_backs_off_is_held_and_keeps_its_time() -> None:
    clock = ManualClock()
    attempts: list[tuple[int, float]] = []

    async def work(order: Order, ctx: Context) -> None:
        attempts.append((ctx.attempt, clock.time()))
        raise ValueError(order.number)

    async with Flock(clock=clock) as board:
        board.agent("work").calls(work).retry(3, backoff=Backoff(10, factor=1, jitter=False))
        begin = clock.time()
        await board.publish(Order(), correlation_id="w")
        await clock.advance(0)
        await board.pause("w")
        assert (await board.run_until_idle()).waiting == 1, "a retry ahead does not hold it"
        await clock.advance(4)
        await board.resume("w")
        await clock.advance(5.5)
        assert len(attempts) == 1
        await clock.advance(0.5)
        assert attempts[1] == (2, begin + 10)
        await board.pause("w")
        await clock.advance(100)
        assert len(attempts) == 2
        await board.resume("w")
        report = await board.run_until_idle()
        assert attempts[2] == (3, begin + 110)
        assert report.dead_letters == 1


async def test_what_comes_after_a_pause_meets_its_gate_when_it_is_resumed() -> None:
    pairs: list[tuple[int, int]] = []
    async with Flock() as board:
        board.agent("pair").consumes(Order, Letter).calls(
            lambda a, b: pairs.append((a.number, b.number))
        )
        await board.publish(Order(number=1), correlation_id="w")
        await board.pause("w")
        await board.publish(Letter(number=2), correlation_id="w")
        await board.publish(Letter(number=3), correlation_id="w")
        report = await board.run_until_idle()
        assert (pairs, report.waiting) == ([], 3)
        await board.resume("w")
        assert (await board.run_until_idle()).waiting == 1
        assert pairs == [(1, 2)]
        await board.publish(Order(number=4), correlation_id="w")
        await board.run_until_idle()
        assert pairs == [(1, 2), (4, 3)]


async def test_a_batch_that_falls_due_over_paused_work_is_held() -> None:
    clock = ManualClock()
    got: list[list[int]] = []

    async def keep(orders: list[Order]) -> None:
        got.append([order.number for order in orders])

    async with Flock(clock=clock) as board:
        board.agent("batch").consumes(Order, batch=BatchSpec(timeout=10)).calls(keep)
        await board.publish(Order(number=1), correlation_id="w")
        await board.pause("w")
        assert (await board.run_until_idle()).waiting == 1, "paused work is due in vain"
        await board.publish(Order(number=2), correlation_id="v")
        await clock.advance(9)
        assert (await board.status("v")).waiting == 1
        await clock.advance(1)
        assert (got, (await board.status("w")).queued) == ([], 1)
        assert (await board.run_until_idle()).waiting == 2
        await board.publish(Order(number=3), correlation_id="v")
        await clock.advance(10)
        assert got == [[3]], "others are not held up"
        await board.resume("w")
        await board.run_until_idle()
        assert got == [[3], [1, 2]]


async def test_a_run_over_several_workflows_belongs_to_its_earliest_input() -> None:
    got: list[list[int]] = []
    async with Flock() as board:
        board.agent("batch").consumes(Order, batch=BatchSpec(size=2)).calls(
            lambda orders: got.append([order.number for order in orders])
        )
        await board.publish(Order(number=1), correlation_id="first")
        await board.publish(Order(number=9), correlation_id="other", schedule_immediately=False)
        await board.pause("first")
        await board.publish(Order(number=2), correlation_id="second")
        assert (await board.run_until_idle()).waiting == 2
        await board.resume("first")
        await board.run_until_idle()
        assert got == [[1, 2]]
        await board.publish(Order(number=3), correlation_id="first")
        await board.publish(Order(number=4), correlation_id="second")
        await board.run_until_idle()
        await board.publish(Order(number=5), correlation_id="first")
        await board.publish(Letter(), correlation_id="second")
        await board.pause("second")
        await board.publish(Order(number=6), correlation_id="third")
        await board.run_until_idle()
        assert got == [[1, 2], [3, 4], [5, 6]]


@pytest.mark.parametrize("ends", ["drop", "run"])
async def test_a_window_ends_while_its_workflow_is_paused(ends: Any) -> None:
    clock = ManualClock()
    got: list[int] = []

    async def take(orders: list[Order]) -> None:
        got.extend(order.number for order in orders)

    async with Flock(clock=clock) as board:
        join = JoinSpec(by="number", within=timedelta(seconds=10), on_expired=ends)
        board.agent("join").consumes(Order, Letter, join=join).calls(take)
        await board.publish(Order(number=1), correlation_id="w")
        await board.pause("w")
        assert (await board.run_until_idle()).waiting == 1
        await clock.advance(10)
        assert len(await board.store.get_by_type(GroupExpired)) == 1
        assert (await board.run_until_idle()).waiting == (ends == "run")
        assert got == []
        await board.resume("w")
        await board.run_until_idle()
        assert got == ([1] if ends == "run" else [])


async def test_what_opens_later_is_held_and_does_not_hold_the_board() -> None:
    clock = ManualClock()
    async with Flock(clock=clock) as board:
        seen = log_of(board)
        later = AfterVisibility(ttl=timedelta(seconds=10), then=PublicVisibility())
        await board.publish(Order(number=1), correlation_id="w", visibility=later)
        await board.pause("w")
        assert (await board.run_until_idle()).waiting == 1
        await clock.advance(5)
        await board.resume("w")
        await clock.advance(4)
        assert seen == []
        await clock.advance(1)
        assert seen == [1]


async def test_pausing_and_resuming_twice_or_in_vain_changes_nothing() -> None:
    async with Flock() as board:
        seen = log_of(board)
        await board.resume("w")
        await board.pause("w")
        await board.pause("w")
        assert (await board.status("w")).state == "paused"
        await board.publish(Order(number=1), correlation_id="w")
        await board.resume("w")
        await board.resume("w")
        await board.run_until_idle()
        assert seen == [1]
        await asyncio.gather(*(board.pause("w") if n % 2 else board.resume("w") for n in range(9)))
        assert (await board.status("w")).state == "idle", "the last one counts"
        with pytest.raises(PublishError, match="must not be empty"):
            await board.pause("")
        assert (await board.status("nobody")).state == "unknown"


async def test_what_is_no_id_of_a_workflow_is_refused() -> None:
    async with Flock() as board:
        order: Any = await board.publish(Order(number=1))
        none: Any = None
        for act in (
            board.pause,
            board.resume,
            board.cancel,
            board.status,
            lambda wrong: board.set_deadline(wrong, 60),
        ):
            with pytest.raises(PublishError, match="an Artifact, whose workflow is its corr"):
                await act(order)
            with pytest.raises(PublishError, match="a correlation_id is a text, not None"):
                await act(none)


async def test_pausing_and_resuming_are_told_and_logged() -> None:
    async with Flock() as board:
        log_of(board)
        events = board.events()
        await board.pause("w")
        await board.pause("w")
        await board.publish(Order(), correlation_id="w")
        await board.resume("w")
        await board.run_until_idle()
        entries = await board.store.log("w")
        seen = await drain(board, events)
    kinds = (WorkflowPaused, WorkflowResumed, WorkflowIdle, BoardIdle)
    told = [type(event) for event in seen if isinstance(event, kinds)]
    assert told[0] is WorkflowPaused
    assert told[-3:] == [WorkflowResumed, WorkflowIdle, BoardIdle]
    assert told.count(WorkflowPaused) == 1
    assert [entry.kind for entry in entries] == ["workflow_paused", "workflow_resumed"]


async def test_paused_work_does_not_block_publishers() -> None:
    async with Flock(max_pending=2) as board:
        seen = log_of(board)
        await board.pause("w")
        for number in range(10):
            await board.publish(Order(number=number), correlation_id="w")
        await board.publish(Order(number=99))
        assert (await board.run_until_idle()).waiting == 10
        await board.resume("w")
        await board.run_until_idle()
        assert seen == [99, *range(10)]


async def test_a_call_into_a_paused_workflow_is_refused_but_for_what_already_runs() -> None:
    release, started = asyncio.Event(), asyncio.Event()

    async def outer(order: Order) -> Letter:
        started.set()
        await release.wait()
        (made,) = await board.arun("inner", Parcel(number=order.number))
        return Letter(number=made.as_model(Letter).number + 1)

    async with Flock() as board:
        board.agent("outer").calls(outer)
        inner = board.agent("inner").consumes(Parcel, mode="direct").publishes(Letter)
        inner.calls(lambda parcel: Letter(number=parcel.number))
        order = await board.publish(Order(number=1), correlation_id="w")
        await started.wait()
        await board.pause("w")
        for call in (board.arun("outer", order), board.invoke("inner", order)):
            with pytest.raises(PublishError, match=r"'w' is paused.* resume\(\) it"):
                await call
        release.set()
        await board.run_until_idle()
        assert [x.number for x in await board.store.get_by_type(Letter)] == [1, 2]


async def test_a_call_that_waits_for_a_slot_is_held() -> None:
    release, started = asyncio.Event(), asyncio.Event()
    seen: list[int] = []

    async def work(order: Order) -> None:
        started.set()
        await release.wait()
        seen.append(order.number)

    async with Flock() as board:
        board.agent("work").max_concurrency(1).calls(work)
        await board.publish(Order(number=1))
        await started.wait()
        order = await board.publish(Order(number=2), correlation_id="w", schedule_immediately=False)
        call = asyncio.create_task(board.arun("work", order))
        while not (await board.status("w")).queued:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await board.pause("w")
        release.set()
        assert (await board.run_until_idle()).waiting == 1
        assert seen == [1]
        await board.resume("w")
        await call
        assert seen == [1, 2]


async def test_a_paused_workflow_stays_so_when_the_board_is_closed_and_opened() -> None:
    clock = ManualClock()
    store = Flock().store
    calls: list[str] = []

    def declare() -> Flock:
        board = Flock(store=store, clock=clock)

        async def work(order: Order) -> Parcel:
            calls.append(f"work {order.number}")
            if order.number == 1 and calls.count("work 1") == 1:
                raise ValueError
            return Parcel(number=order.number)

        async def pair(parcel: Parcel, letter: Letter) -> None:
            calls.append(f"pair {parcel.number} {letter.number}")

        board.agent("work").calls(work).retry(2, backoff=5)
        board.agent("pair").calls(pair)
        return board

    async with declare() as board:
        await board.publish(Letter(number=7), correlation_id="w")
        await board.publish(Order(number=1), correlation_id="w")
        await clock.advance(0)
        await board.pause("w")
        await board.publish(Order(number=2), correlation_id="w")
    assert calls == ["work 1"]
    for _ in range(2):
        async with declare() as board:
            assert (await board.status("w")).state == "paused"
            await clock.advance(100)
            report = await board.run_until_idle()
            assert (calls, report.waiting) == (["work 1"], 3)
            await board.publish(Order(number=3), correlation_id="v")
            await board.run_until_idle()
            assert calls.pop() == "work 3"
            assert await board.cancel("v") == 1
    async with declare() as board:
        await board.resume("w")
        report = await board.run_until_idle()
        pairs = [call for call in calls if call.startswith("pair")]
        assert pairs[0] in {"pair 1 7", "pair 2 7"}
        assert sorted({*calls} - {*pairs}) == ["work 1", "work 2"]
        assert len(calls) == 4
        assert report.waiting == 1
    async with declare() as board:
        assert (await board.status("w")).state == "waiting"


async def test_a_redriven_run_of_a_paused_workflow_waits() -> None:
    seen: list[int] = []

    async def work(order: Order) -> None:
        seen.append(order.number)
        if len(seen) == 1:
            raise ValueError

    async with Flock() as board:
        board.agent("work").calls(work)
        await board.publish(Order(number=1), correlation_id="w")
        await board.run_until_idle()
        (letter,) = await board.dead_letters()
        await board.pause("w")
        await board.redrive(letter.id)
        assert (await board.run_until_idle()).waiting >= 1
        assert seen == [1]
        await board.resume("w")
        await board.run_until_idle()
        assert seen == [1, 1]


async def test_deliveries_that_components_decide_over_are_held_too() -> None:
    asked: list[int] = []

    class Gatekeeper(OrchestratorComponent):
        async def on_before_schedule(
            self, orchestrator: Any, artifact: Artifact, agent: Any, subscription: Any
        ) -> Any:
            number = artifact.payload["number"]
            asked.append(number)
            is_deferred = number == 2 and asked.count(2) < 2
            return ScheduleDecision.DEFER if is_deferred else ScheduleDecision.CONTINUE

    board = Flock()
    board.add_component(Gatekeeper())
    seen = log_of(board)
    async with board:
        await board.publish(Order(number=2), correlation_id="w")
        await turns()
        assert (asked, seen) == ([2], [])
        await board.pause("w")
        await board.publish(Order(number=3), correlation_id="w")
        await board.publish(Order(number=4), correlation_id="v")
        report = await board.run_until_idle()
        assert (asked, seen, report.waiting) == ([2, 4], [4], 2)
        await board.resume("w")
        await board.run_until_idle()
        assert seen == [4, 2, 3]


async def test_a_store_that_cannot_write_leaves_a_workflow_as_it_was() -> None:
    class Failing(InMemoryBlackboardStore):
        fails = False

        async def commit(self, commit: Any) -> None:
            if self.fails and commit.states:
                msg = "no"
                raise OSError(msg)
            await super().commit(commit)

    store = Failing()
    async with Flock(store=store) as board:
        seen = log_of(board)
        store.fails = True
        with pytest.raises(OSError, match="no"):
            await board.pause("w")
        assert (await board.status("w")).state == "unknown"
        await board.publish(Order(number=1), correlation_id="w")
        await board.run_until_idle()
        store.fails = False
        await board.pause("w")
        await board.publish(Order(number=2), correlation_id="w")
        store.fails = True
        with pytest.raises(OSError, match="no"):
            await board.resume("w")
        with pytest.raises(OSError, match="no"):
            await board.set_deadline("w", 5)
        status = await board.status("w")
        assert (status.state, status.waiting, status.deadline) == ("paused", 1, None)
        assert seen == [1]
        store.fails = False
        await board.resume("w")
        await board.run_until_idle()
        assert seen == [1, 2]


# --- cancel --------------------------------------------------------------------------------


async def test_cancelling_a_paused_workflow_ends_it_and_its_pause() -> None:
    clock = ManualClock()
    async with Flock(clock=clock) as board:
        seen = log_of(board)
        board.agent("batch").consumes(Order, batch=BatchSpec(timeout=10)).calls(lambda o: None)
        await board.publish(Order(number=1), correlation_id="w")
        await board.pause("w")
        await board.publish(Order(number=2), correlation_id="w")
        assert await board.cancel("w") == 3 + (not seen)
        status = await board.status("w")
        assert (status.state, status.waiting, status.queued) == ("cancelled", 0, 0)
        assert (await board.run_until_idle()).waiting == 0
        await clock.advance(100)
        assert seen in ([], [1])
        seen.clear()
        await board.publish(Order(number=3), correlation_id="w")
        await clock.advance(10)
        assert seen == [3]
        assert (await board.status("w")).state == "idle"


async def test_a_cancel_is_told_logged_and_known_after_a_restart() -> None:
    store = Flock().store
    board = Flock(store=store)
    board.agent("pair").consumes(Order, Letter).calls(lambda a, b: None)
    async with board:
        events = board.events("w")
        await board.publish(Order(), correlation_id="w")
        assert (await board.status("w")).state == "waiting"
        assert await board.cancel("w") == 1
        assert await board.cancel("w") == 0
        (entry,) = await store.log("w")
        told = await drain(board, events)
    cancelled = [event for event in told if isinstance(event, WorkflowCancelled)]
    assert [event.reason for event in cancelled] == ["cancel"]
    assert (entry.kind, json.loads(entry.data)["reason"]) == ("workflow_cancelled", "cancel")
    async with board:
        assert (await board.status("w")).state == "cancelled"
        await board.publish(Letter(), correlation_id="w")
        assert (await board.status("w")).state == "waiting"
        await board.publish(Order(), correlation_id="w")
        await board.run_until_idle()
        assert (await board.status("w")).state == "idle"


async def test_a_thousand_running_agents_end_and_nobody_else() -> None:
    running, ended = 0, 0
    release = asyncio.Event()

    async def work(order: Order) -> Parcel:
        nonlocal running, ended
        running += 1
        try:
            await release.wait()
        finally:
            ended += 1
        return Parcel(number=order.number)

    async with Flock() as board:
        board.agent("work").calls(work).max_concurrency(2_000)
        before = len(asyncio.all_tasks())
        await board.publish_many([Order(number=n) for n in range(1000)], correlation_id="w")
        await board.publish_many([Order(number=n) for n in range(50)], correlation_id="v")
        await until(lambda: running == 1050)
        assert await board.cancel("w") == 1000
        assert ended == 1000
        assert len(asyncio.all_tasks()) <= before + 50
        assert (await board.status("w")).state == "cancelled"
        assert (await board.status("v")).running == 50
        release.set()
        report = await board.run_until_idle()
        assert report.runs == 50
        assert len(await board.store.get_by_type(Parcel)) == 50
        assert board.get_agent("work").slots.used == 0


@pytest.mark.parametrize("how", ["swallows", "delays"])
async def test_what_an_agent_makes_though_it_is_cancelled_never_appears(how: str) -> None:
    started, release = asyncio.Event(), asyncio.Event()

    async def stubborn(order: Order) -> Parcel:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if how == "delays":
                await release.wait()
        return Parcel(number=order.number)

    async with Flock() as board:
        board.agent("stubborn").calls(stubborn)
        await board.publish(Order(number=1), correlation_id="w")
        await started.wait()
        cancelling = asyncio.create_task(board.cancel("w"))
        await turns()
        release.set()
        assert await cancelling == 1
        await board.run_until_idle()
        assert await board.store.get_by_type(Parcel) == []
        assert (await board.status("w")).state == "cancelled"
        assert await board.dead_letters() == []


async def test_a_function_in_a_thread_is_left_to_itself() -> None:
    started, release = threading.Event(), threading.Event()

    def slow(order: Order) -> Parcel:
        started.set()
        release.wait()
        return Parcel(number=order.number)

    async with Flock() as board:
        board.agent("slow").calls(slow)
        await board.publish(Order(number=1), correlation_id="w")
        await until(started.is_set)
        try:
            assert await board.cancel("w") == 1
            assert (await board.status("w")).state == "cancelled"
        finally:
            release.set()
        await board.run_until_idle()
        assert await board.store.get_by_type(Parcel) == []


async def test_what_a_generator_had_committed_stays() -> None:
    two = asyncio.Event()

    async def stream(order: Order) -> AsyncGenerator[Parcel]:
        for number in range(10):
            if number == 2:
                two.set()
                await asyncio.Event().wait()
            yield Parcel(number=number)

    got: list[int] = []
    async with Flock() as board:
        board.agent("stream").consumes(Order).publishes(Parcel).calls(stream)
        board.agent("next").consumes(Parcel).calls(lambda parcel: got.append(parcel.number))
        await board.publish(Order(), correlation_id="w")
        await two.wait()
        await turns()
        await board.cancel("w")
        await board.run_until_idle()
        assert [p.number for p in await board.store.get_by_type(Parcel)] == [0, 1]
        assert (await board.status("w")).state == "cancelled"


async def test_an_agent_may_cancel_its_own_workflow_and_ends_with_it() -> None:
    log: list[str] = []

    async def work(order: Order, ctx: Context) -> Parcel:
        log.append("began")
        await board.cancel(ctx.correlation_id)
        log.append("never")
        return Parcel()

    async with Flock() as board:
        board.agent("work").calls(work)
        board.agent("pair").consumes(Order, Letter).calls(lambda a, b: None)
        await board.publish(Order(), correlation_id="w")
        report = await board.run_until_idle()
        assert (log, report.waiting, report.failed) == (["began"], 0, 0)
        assert (await board.status("w")).state == "cancelled"
        assert await board.store.get_by_type(Parcel) == []
    async with board:
        await board.run_until_idle()
        assert log == ["began"], "what it used is closed"


async def test_hooks_may_cancel_the_workflow_they_look_at() -> None:
    class Refuses(OrchestratorComponent):
        async def on_before_schedule(
            self, orchestrator: Any, artifact: Artifact, agent: Any, subscription: Any
        ) -> Any:
            if artifact.payload["number"] == 1:
                await orchestrator.cancel(artifact.correlation_id)
            return ScheduleDecision.CONTINUE

    board = Flock()
    board.add_component(Refuses())
    seen = log_of(board)
    async with board:
        await board.publish_many([Order(number=n) for n in range(3)], correlation_id="w")
        await board.publish(Order(number=5), correlation_id="v")
        await board.run_until_idle()
        assert 5 in seen
        assert not {1, 2} & {*seen}
        assert (await board.status("w")).state == "cancelled"


async def test_twice_at_once_closes_each_delivery_once() -> None:
    async def work(order: Order) -> None:
        await asyncio.Event().wait()

    async with Flock(store=SuspendingStore()) as board:
        board.agent("work").calls(work)
        await board.publish_many([Order(number=n) for n in range(20)], correlation_id="w")
        await turns()
        closed = await asyncio.gather(*(board.cancel("w") for _ in range(3)))
        assert sorted(closed) == [0, 0, 20]
        assert (await board.run_until_idle()).waiting == 0


async def test_a_caller_that_gives_up_leaves_nothing_half_cancelled() -> None:
    started, stopping = asyncio.Event(), asyncio.Event()

    async def work(order: Order) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopping.set()
            await asyncio.sleep(0)

    async with Flock(store=SuspendingStore()) as board:
        board.agent("work").calls(work)
        await board.publish(Order(), correlation_id="w")
        await started.wait()
        cancelling = asyncio.create_task(board.cancel("w"))
        await stopping.wait()
        cancelling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelling
        await board.run_until_idle()
        assert (await board.status("w")).state == "cancelled"


async def test_what_follows_from_runs_that_commit_meanwhile_is_ended_too() -> None:
    got: list[int] = []
    for wait in range(30):
        async with Flock(store=SuspendingStore()) as board:
            chain = board.agent("chain").consumes(Order).publishes(Order)
            chain.prevent_self_trigger(False)
            chain.calls(lambda order: Order(number=order.number + 1))
            board.agent("end").consumes(Parcel).calls(lambda p: got.append(p.number))
            await board.publish(Order(number=0), correlation_id="w")
            await turns(wait)
            await board.cancel("w")
            left = len(await board.store.list())
            await turns()
            assert len(await board.store.list()) == left
            assert (await board.status("w")).state == "cancelled"


async def test_cancelling_while_a_join_expires_runs_nothing() -> None:
    got: list[int] = []
    for wait in range(12):
        clock = ManualClock()
        async with Flock(store=SuspendingStore(), clock=clock) as board:
            join = JoinSpec(by="number", within=timedelta(seconds=10), on_expired="run")
            board.agent("join").consumes(Order, Letter, join=join).calls(
                lambda orders: got.append(1)
            )
            await board.publish(Order(number=1), correlation_id="w")
            advancing = asyncio.create_task(clock.advance(10))
            await turns(wait)
            await board.cancel("w")
            count = len(got)
            await advancing
            await board.run_until_idle()
            assert len(got) == count
            assert (await board.status("w")).waiting == 0


@pytest.mark.parametrize("order", [("one", "two"), ("two", "one")])
async def test_two_workflows_of_one_batch_are_cancelled_at_once(order: tuple[str, str]) -> None:
    started = asyncio.Event()
    got: list[int] = []

    async def keep(orders: list[Order]) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await turns(20)
            raise
        got.append(len(orders))

    async with Flock(store=SuspendingStore()) as board:
        board.agent("batch").consumes(Order, batch=BatchSpec(size=2)).calls(keep)
        await board.publish(Order(number=1), correlation_id="one")
        await board.publish(Order(number=2), correlation_id="two")
        await started.wait()
        closed = await asyncio.gather(*map(board.cancel, order))
        assert sum(closed) == 2
        assert (await board.run_until_idle()).waiting == 0
        assert got == []


# --- deadlines -----------------------------------------------------------------------------


async def test_a_workflow_is_cancelled_when_its_deadline_comes() -> None:
    clock = ManualClock()
    store = Flock().store

    async def work(order: Order) -> Parcel:
        if order.number:
            await asyncio.Event().wait()
        return Parcel()

    board = Flock(store=store, clock=clock)
    board.agent("work").calls(work)
    async with board:
        events = board.events("w")
        await board.set_deadline("w", timedelta(seconds=30))
        await board.publish(Order(number=1), correlation_id="w")
        await board.publish(Order(number=1), correlation_id="v")
        await clock.advance(29)
        status = await board.status("w")
        assert (status.state, status.running) == ("running", 1)
        assert status.deadline == datetime(2026, 1, 1, 0, 0, 30, tzinfo=UTC)
        await clock.advance(1)
        status = await board.status("w")
        assert (status.state, status.running, status.deadline) == ("timed_out", 0, None)
        assert (await board.status("v")).running == 1
        ended, entry = await store.log("w")
        assert ended.kind == "run_cancelled"
        assert entry.kind == "workflow_cancelled"
        assert json.loads(entry.data)["reason"] == "deadline"
        await board.publish(Order(), correlation_id="w")
        await clock.advance(0)
        assert (await board.status("w")).state == "idle"
        await board.cancel("v")
        told = await drain(board, events)
    assert [e.reason for e in told if isinstance(e, WorkflowCancelled)] == ["deadline"]


async def test_a_deadline_is_moved_taken_away_and_passes_an_idle_workflow_by() -> None:
    clock = ManualClock()
    async with Flock(clock=clock) as board:
        board.agent("pair").consumes(Order, Letter).calls(lambda a, b: None)
        await board.set_deadline("idle", 5)
        await board.set_deadline("w", 10)
        assert (await board.status("w")).state == "unknown"
        await board.publish(Order(), correlation_id="w")
        await board.set_deadline("w", 20)
        assert (await board.run_until_idle()).waiting == 1, "it is not held by a deadline"
        await clock.advance(19)
        assert (await board.status("w")).state == "waiting"
        await board.set_deadline("w", None)
        await board.set_deadline("w", None)
        await clock.advance(100)
        assert (await board.status("w")).state == "waiting"
        assert (await board.status("idle")).deadline is None
        assert await board.store.log("idle") == []
        await board.set_deadline("w", 1)
        await clock.advance(1)
        status = await board.status("w")
        assert (status.state, status.waiting) == ("timed_out", 0)
        for wrong in (0, -1, float("inf")):
            with pytest.raises(ValueError, match="timeout must be more than 0"):
                await board.set_deadline("w", wrong)


async def test_a_deadline_that_passed_while_the_board_was_closed_ends_the_workflow() -> None:
    clock = ManualClock()
    store = Flock().store
    calls: list[int] = []

    def declare() -> Flock:
        board = Flock(store=store, clock=clock)

        async def work(order: Order) -> None:
            calls.append(order.number)
            await asyncio.Event().wait()

        board.agent("work").calls(work)
        board.agent("pair").consumes(Order, Letter).calls(lambda a, b: None)
        return board

    async with declare() as board:
        for number, workflow in enumerate(("over", "paused", "ahead", "free")):
            await board.publish(Order(number=number), correlation_id=workflow)
        await turns()
        await board.pause("paused")
        await board.set_deadline("over", 10)
        await board.set_deadline("paused", 10)
        await board.set_deadline("ahead", 100)
        await board.shutdown(grace=0)
    calls.clear()
    await clock.advance(50)
    async with declare() as board:
        await until(lambda: len(calls) == 2)
        await turns()
        assert sorted(calls) == [2, 3]
        states = [(await board.status(w)).state for w in ("over", "paused", "ahead", "free")]
        assert states == ["timed_out", "timed_out", "running", "running"]
        await clock.advance(50)
        assert (await board.status("ahead")).state == "timed_out"
        await board.cancel("free")
    async with declare() as board:
        assert (await board.run_until_idle()).waiting == 0
        assert (await board.status("over")).state == "timed_out"


# --- workflow() ----------------------------------------------------------------------------


async def test_a_block_groups_publishes_waits_and_returns_what_came_of_them() -> None:
    async with Flock() as board:

        async def ship(order: Order) -> Parcel:
            await turns(5)
            if order.number == 9:
                msg = "broken"
                raise ValueError(msg)
            return Parcel(number=order.number)

        board.agent("ship").calls(ship)
        board.agent("write").consumes(Parcel).publishes(Letter).calls(
            lambda parcel: Letter(number=parcel.number * 10)
        )
        async with board.workflow() as wf:
            first = await wf.publish(Order(number=1), tags=["urgent"])
            second = await board.publish(Order(number=2))
            await wf.publish_many([Order(number=3), Order(number=9)])

            async def child() -> Artifact:
                return await board.publish(Order(number=4))

            third = await asyncio.create_task(child())
            other = await board.publish(Order(number=5), correlation_id="other")
            with pytest.raises(NotIdle, match="after the `async with`"):
                _ = wf.artifacts
        assert {first.correlation_id, second.correlation_id, third.correlation_id} == {
            wf.correlation_id
        }
        assert (other.correlation_id, first.tags) == ("other", {"urgent"})
        assert {parcel.number for parcel in wf.outputs(Parcel)} == {1, 2, 3, 4}
        assert {letter.number for letter in wf.outputs(Letter)} == {10, 20, 30, 40}
        assert wf.outputs(Order) == []
        assert [letter.agent for letter in wf.failures] == ["ship"]
        assert wf.one(WorkflowError).failed_agent == "ship"
        assert wf.status.state == "idle"
        assert len(wf.artifacts) == 5 + 4 + 4 + 1
        with pytest.raises(NotFound, match=r"made 4 'Parcel'.*4 '.*Parcel'.*1 runs failed"):
            wf.one(Parcel)
        outside = await board.publish(Order(number=6))
        assert outside.correlation_id != wf.correlation_id


async def test_leaving_a_block_waits_for_nobody_else() -> None:
    release = asyncio.Event()

    async def work(order: Order) -> Parcel:
        if order.number:
            await release.wait()
        return Parcel(number=order.number)

    async with Flock() as board:
        board.agent("work").calls(work)
        board.agent("pair").consumes(Order, Letter).calls(lambda a, b: None)
        await board.publish(Order(number=1))
        async with board.workflow() as wf:
            await wf.publish(Order(number=0))
        assert wf.one(Parcel).number == 0
        assert (wf.status.state, wf.status.waiting) == ("waiting", 1)
        release.set()


async def test_a_block_waits_for_what_falls_due() -> None:
    async def size(orders: list[Order]) -> Parcel:
        return Parcel(number=len(orders))

    async def came(inputs: EvalInputs) -> Letter:
        return Letter(number=len(inputs.artifacts))

    clock = ManualClock(autojump=True)
    async with Flock(clock=clock) as board:
        batch = board.agent("batch").consumes(Order, batch=BatchSpec(timeout=10))
        batch.publishes(Parcel).calls(size)
        join = JoinSpec(by="number", within=timedelta(seconds=30), on_expired="run")
        board.agent("join").consumes(Order, Parcel, join=join).publishes(Letter).calls(came)
        async with board.workflow() as wf, board.workflow() as other:
            await wf.publish_many([Order(number=1), Order(number=2)])
            await other.publish(Order(number=1))
        assert wf.one(Parcel).number == 3, "the batch belongs to its earliest input"
        assert other.outputs(Parcel) == []
        assert [len(each.outputs(Letter)) for each in (wf, other)] == [3, 1]
        assert (wf.status.state, other.status.state) == ("idle", "idle")


async def test_a_block_is_left_when_another_workflow_takes_what_waited_in_its_gate() -> None:
    clock = ManualClock()
    async with Flock(clock=clock) as board:
        join = JoinSpec(by="number", within=timedelta(days=30), on_expired="run")
        board.agent("join").consumes(Order, Letter, join=join).publishes(Parcel).calls(
            lambda order, letter: Parcel()
        )
        await board.publish(Letter(number=5), correlation_id="first")

        async def block() -> str:
            async with board.workflow() as wf:
                await wf.publish(Letter(number=1))
            return wf.status.state

        leaving = asyncio.create_task(block())
        await turns()
        assert not leaving.done()
        await board.publish(Order(number=1), correlation_id="second")
        assert await leaving == "idle"


async def test_a_block_whose_time_is_over_is_cancelled_and_raises() -> None:
    clock = ManualClock()
    started: list[int] = []
    ended: list[str] = []

    async def work(order: Order) -> Parcel:
        if order.number:
            started.append(order.number)
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("work")
        return Parcel(number=order.number)

    async with Flock(clock=clock) as board:
        board.agent("work").calls(work)

        async def block() -> None:
            async with board.workflow(timeout=timedelta(seconds=10)) as wf:
                blocks.append(wf)
                await wf.publish_many([Order(number=0), Order(number=1)])

        blocks: list[Any] = []
        leaving = asyncio.create_task(block())
        await until(lambda: len(blocks) == 1 and len(started) == 1)
        assert (await board.status(blocks[0].correlation_id)).deadline is not None
        await clock.advance(9)
        assert not leaving.done()
        await clock.advance(1)
        with pytest.raises(WorkflowTimeout, match="within its timeout of 10 seconds") as caught:
            await leaving
        assert isinstance(caught.value, RunError)
        assert isinstance(caught.value, TimeoutError)
        assert caught.value.correlation_id == blocks[0].correlation_id
        assert ended == ["work"]
        assert (blocks[0].status.state, blocks[0].one(Parcel).number) == ("timed_out", 0)


async def test_a_block_that_is_done_in_time_leaves_no_deadline() -> None:
    clock = ManualClock()
    async with Flock(clock=clock) as board:
        seen = log_of(board)
        async with board.workflow("w", timeout=10) as wf:
            await wf.publish(Order(number=1))
        assert (await board.status("w")).deadline is None
        async with board.workflow("w", timeout=10):
            await clock.advance(20)
        assert (await board.status("w")).state == "idle"

        async def late() -> None:
            async with board.workflow("w", timeout=10) as wf:
                await clock.advance(20)
                await board.pause("w")
                await wf.publish(Order(number=2))

        with pytest.raises(WorkflowTimeout):
            await late()
        assert seen == [1]
        await board.set_deadline("w", 5)
        async with board.workflow("w", timeout=10):
            status = await board.status("w")
            assert status.deadline == clock.now() + timedelta(seconds=5), "the earlier one stays"
        assert (await board.status("w")).deadline is not None


async def test_a_body_that_raises_cancels_the_workflow() -> None:
    async with Flock() as board:
        board.agent("pair").consumes(Order, Letter).calls(lambda a, b: None)

        async def work(order: Order) -> None:
            await asyncio.Event().wait()

        board.agent("work").calls(work)

        async def breaks() -> None:
            async with board.workflow("raises") as wf:
                await wf.publish(Order())
                await turns()
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await breaks()
        assert (await board.status("raises")).state == "cancelled"

        async def block(workflow: str) -> None:
            async with board.workflow(workflow) as wf:
                await wf.publish(Order())

        leaving = asyncio.create_task(block("given up"))
        await turns()
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert (await board.status("given up")).state == "cancelled"
        assert (await board.run_until_idle()).waiting == 0


async def test_blocks_are_nested_and_several_are_open_at_once() -> None:
    async with Flock() as board, Flock() as second:
        log_of(board)
        async with board.workflow("outer"):
            async with board.workflow("inner") as inner:
                deep = await board.publish(Order())
                async with second.workflow("elsewhere"):
                    still = await board.publish(Order())
                    there = await second.publish(Order())
            after = await board.publish(Order())
        assert [a.correlation_id for a in (deep, still, there, after)] == [
            "inner",
            "inner",
            "elsewhere",
            "outer",
        ]
        assert len(inner.artifacts) == 2

        async def block(number: int) -> list[int]:
            async with board.workflow() as wf:
                for _ in range(3):
                    await board.publish(Order(number=number))
                    await asyncio.sleep(0)
            return [artifact.as_model(Order).number for artifact in wf.artifacts]

        assert await asyncio.gather(*map(block, range(5))) == [[n] * 3 for n in range(5)]


async def test_artifacts_and_calls_join_a_block_and_agents_do_not() -> None:
    async with Flock() as board:

        async def work(order: Order) -> Parcel:
            await board.publish(Letter(number=order.number))
            return Parcel()

        board.agent("work").calls(work)
        draft = await Flock().publish(Letter(number=3))
        foreign = await Flock().publish(Letter(number=4), correlation_id="elsewhere")
        async with board.workflow("w"):
            (parcel,) = await board.arun("work", Order(number=1))
            await board.publish(Order(number=2))
            stays = await board.publish(foreign)
            kept, again = await board.publish_many([Letter(number=5), draft])
        assert parcel.correlation_id == kept.correlation_id == "w"
        assert stays.correlation_id == "elsewhere"
        assert again.id == draft.id
        letters = await board.store.list_by_type(Letter)
        own = [a for a in letters if a.payload["number"] in {1, 2}]
        assert len({a.correlation_id for a in own} - {"w"}) == 2


async def test_agents_and_hooks_do_not_wait_for_workflows() -> None:
    errors: list[BaseException] = []

    async def work(order: Order) -> None:
        try:
            async with board.workflow() as wf:
                await wf.publish(Letter())
        except NotIdle as error:
            errors.append(error)

    async with Flock() as board:
        board.agent("work").calls(work)
        await board.publish(Order())
        await board.run_until_idle()
    assert "inside agent 'work'" in str(errors[0])
    assert "arun" in str(errors[0])


async def test_a_block_waits_for_a_paused_workflow_to_be_resumed() -> None:
    async with Flock() as board:
        seen = log_of(board)

        published = asyncio.Event()

        async def block() -> str:
            async with board.workflow("w") as wf:
                await wf.publish(Order(number=1))
                published.set()
            return wf.status.state

        await board.pause("w")
        leaving = asyncio.create_task(block())
        await published.wait()
        await turns()
        assert (await board.run_until_idle()).waiting == 1
        assert not leaving.done()
        await board.resume("w")
        assert await leaving == "idle"
        assert seen == [1]


async def test_a_board_that_closes_lets_nobody_wait_in_vain() -> None:
    async def work(order: Order) -> None:
        await asyncio.Event().wait()

    board = Flock()
    board.agent("work").calls(work)

    async def block(workflow: str) -> None:
        async with board.workflow(workflow) as wf:
            await wf.publish(Order())

    async with board:
        await board.pause("held")
        leaving = [asyncio.create_task(block(w)) for w in ("goes on", "held")]
        await turns()
        await board.shutdown(grace=0)
    for each in leaving:
        with pytest.raises(NotIdle, match="shut down before the workflow was done"):
            await each


async def test_a_block_is_entered_once() -> None:
    async with Flock() as board:
        wf = board.workflow()
        async with wf:
            with pytest.raises(NotIdle, match="entered already"):
                await wf.__aenter__()
        with pytest.raises(NotIdle, match="entered already"):
            await wf.__aenter__()
        with pytest.raises(PublishError):
            board.workflow("")
        with pytest.raises(ValueError, match="timeout"):
            board.workflow(timeout=0)


# --- forks ---------------------------------------------------------------------------------


async def test_a_fork_of_a_paused_workflow_runs_and_controls_nothing_here() -> None:
    errors: list[str] = []

    async def changed(order: Order) -> Parcel:
        for verb in (board.pause, board.resume, board.cancel):
            try:
                await verb("w")
            except PublishError as error:
                errors.append(str(error))
        return Parcel(number=order.number)

    async with Flock() as board:
        board.agent("work").consumes(Order).publishes(Parcel).calls(lambda o: Parcel())
        await board.pause("w")
        await board.publish(Order(number=1), correlation_id="w")
        await board.set_deadline("w", 1_000)
        fork = await board.fork("w", agents={"work": changed})
        assert len(errors) == 3
        assert [a.payload["number"] for a in fork.outputs] == [1]
        status = await board.status("w")
        assert (status.state, status.waiting) == ("paused", 1)
