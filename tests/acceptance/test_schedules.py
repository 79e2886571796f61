"""Agents that run by the clock, through public names alone."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import BaseModel

from flock import (
    Agent,
    AgentComponent,
    Artifact,
    Backoff,
    BlackboardStore,
    Context,
    DeclarationError,
    EvalInputs,
    Flock,
    InMemoryBlackboardStore,
    NotIdle,
    OrchestratorComponent,
    RunQueued,
    ScheduleFired,
    SQLiteBlackboardStore,
    WorkflowError,
)
from flock.testing import ManualClock
from tests.acceptance.support import drain, spy, turns

START = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Told(BaseModel):
    n: int
    missed: int
    at: datetime


class Order(BaseModel):
    n: int


class Seen(BaseModel):
    what: str


async def tell(ctx: Context) -> Told:
    assert ctx.fire_time is not None
    return Told(n=ctx.iteration, missed=ctx.missed, at=ctx.fire_time)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlackboardStore:
    if request.param == "memory":
        return InMemoryBlackboardStore()
    return SQLiteBlackboardStore(tmp_path / "board.db")


async def told(flock: Flock) -> list[tuple[int, int, float]]:
    """Return what the ticks told: iteration, missed, and seconds since the start."""
    found = await flock.store.get_by_type(Told)
    return [(each.n, each.missed, (each.at - START).total_seconds()) for each in found]


async def ignore(order: Order) -> None:
    del order


class Gate:
    """An agent that works until it is let go."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, int, str]] = []
        self.opened = asyncio.Event()
        self.is_open = False

    async def __call__(self, ctx: Context) -> Told:
        self.runs.append((ctx.run_id, ctx.attempt, ctx.correlation_id))
        if not self.is_open:
            await self.opened.wait()
        return await tell(ctx)


# --- when ticks come ---


async def test_an_interval_keeps_its_beat_for_days(clock: ManualClock) -> None:
    flock = Flock(clock=clock)
    flock.agent("beat").schedule(every=timedelta(minutes=7)).calls(tell)
    async with flock:
        for hours in (1, 5, 0.3, 30, 11.7):  # advanced by spans that do not fit the beat
            await clock.advance(timedelta(hours=hours))
        count = int(timedelta(hours=48) / timedelta(minutes=7))
        assert await told(flock) == [(n, 0, n * 420.0) for n in range(1, count + 1)]


async def test_the_beat_does_not_shift_by_how_long_runs_take(clock: ManualClock) -> None:
    flock = Flock(clock=clock)

    async def slow(ctx: Context) -> Told:
        done = asyncio.Event()
        clock.call_at(clock.time() + 3.7, done.set)
        await done.wait()
        return await tell(ctx)

    flock.agent("beat").schedule(every=5).calls(slow)
    async with flock:
        await clock.advance(100)
        assert await told(flock) == [(n, 0, 5.0 * n) for n in range(1, 20)]
        await flock.shutdown(grace=0)


async def test_the_first_tick_comes_after_what_after_says(clock: ManualClock) -> None:
    flock = Flock(clock=clock)
    flock.agent("soon").schedule(every=60, after=0).calls(tell)
    async with flock:
        await clock.advance(125)
        assert await told(flock) == [(1, 0, 0.0), (2, 0, 60.0), (3, 0, 120.0)]


async def test_a_time_is_once_a_day_where_it_is_meant_also_when_the_clocks_change() -> None:
    clock = ManualClock(datetime(2026, 3, 27, 12, tzinfo=UTC))
    flock = Flock(clock=clock)
    flock.agent("morning").schedule(at=time(9, tzinfo=ZoneInfo("Europe/Berlin"))).calls(tell)
    async with flock:
        await clock.advance(timedelta(days=3))
        found = [each.at.isoformat() for each in await flock.store.get_by_type(Told)]
        assert found == [
            "2026-03-28T08:00:00+00:00",
            "2026-03-29T07:00:00+00:00",
            "2026-03-30T07:00:00+00:00",
        ]


async def test_cron_is_in_utc_or_in_the_zone_of_tz(clock: ManualClock) -> None:
    flock = Flock(clock=clock)
    flock.agent("utc").schedule(cron="30 9 * * *").calls(tell)
    flock.agent("tokyo").schedule(cron="30 9 * * *", tz="Asia/Tokyo").calls(tell)
    async with flock:
        await clock.advance(timedelta(hours=24))
        assert await told(flock) == [(1, 0, 0.5 * 3600), (1, 0, 9.5 * 3600)]


async def test_a_datetime_is_once_and_the_board_waits_for_it() -> None:
    clock = ManualClock(START, autojump=True)
    flock = Flock(clock=clock)
    flock.agent("once").schedule(at=START + timedelta(days=2)).calls(tell)
    async with flock:
        report = await flock.run_until_idle()
        assert (report.runs, report.timed_out) == (1, False)
        assert await told(flock) == [(1, 0, 2 * 86_400.0)]
        await clock.advance(timedelta(days=9))
        assert len(await told(flock)) == 1


async def test_several_schedules_of_one_agent_all_hold(clock: ManualClock) -> None:
    flock = Flock(clock=clock)
    agent = flock.agent("twice").calls(tell)
    agent.schedule(every=60, max_repeats=2).schedule(every=90, max_repeats=1)
    async with flock:
        await clock.advance(timedelta(hours=1))
        assert await told(flock) == [(1, 0, 60.0), (1, 0, 90.0), (2, 0, 120.0)]


# --- what a tick starts ---


async def test_a_tick_starts_a_workflow_of_its_own(clock: ManualClock) -> None:
    flock = Flock(clock=clock)
    flock.agent("beat").schedule(every=60).calls(tell)

    async def note(told: Told, ctx: Context) -> Seen:
        return Seen(what=ctx.trigger_type)

    flock.agent("after").consumes(Told).publishes(Seen).calls(note)
    async with flock:
        await clock.advance(125)
        first, second, *_ = [a for a in await flock.store.list() if a.produced_by == "beat"]
        assert (first.depth, first.parents) == (1, ())
        assert first.correlation_id != second.correlation_id
        following = [a for a in await flock.store.list() if a.produced_by == "after"]
        assert [a.correlation_id for a in following] == [
            first.correlation_id,
            second.correlation_id,
        ]
        assert [a.depth for a in following] == [2, 2]
        assert (await flock.status(first.correlation_id)).state == "idle"
        runs = await flock.store.runs(first.correlation_id)
        assert [(run.agent, run.inputs) for run in runs[:1]] == [("beat", ())]


async def test_functions_may_take_nothing_or_the_context_or_empty_inputs(
    clock: ManualClock,
) -> None:
    flock = Flock(clock=clock)

    async def nothing() -> Seen:
        return Seen(what="nothing")

    def in_a_thread(ctx: Context) -> Seen:
        return Seen(what=f"{ctx.trigger_type} {ctx.iteration} {ctx.attempt}")

    async def inputs(inputs: EvalInputs) -> Seen:
        return Seen(what=f"{len(inputs.artifacts)} inputs")

    async def models(orders: list[Order]) -> Seen:
        return Seen(what=f"{len(orders)} orders")

    async def stream(ctx: Context) -> Any:
        yield Seen(what="one")
        yield Seen(what="two")

    for function in (nothing, in_a_thread, inputs, models, stream):
        flock.agent(function.__name__).schedule(every=60, max_repeats=1).calls(function)
    async with flock:
        await clock.advance(61)
        assert await flock.dead_letters() == []
        found = sorted(each.what for each in await flock.store.get_by_type(Seen))
        assert found == ["0 inputs", "0 orders", "nothing", "one", "schedule 1 1", "two"]


async def test_a_model_is_asked_without_inputs(clock: ManualClock) -> None:
    flock = Flock("test", clock=clock)
    flock.agent("poet").description("a line a day").publishes(Seen).schedule(at=time(9))
    async with flock:
        await clock.advance(timedelta(days=2))
        assert len(await flock.store.get_by_type(Seen)) == 2


async def test_an_agent_may_consume_and_run_by_the_clock(clock: ManualClock) -> None:
    flock = Flock(clock=clock)

    async def either(ctx: Context, order: Order | None = None) -> Seen:
        return Seen(what=f"{ctx.trigger_type} {order and order.n} {ctx.fire_time is not None}")

    flock.agent("either").consumes(Order).schedule(every=60).calls(either)
    async with flock:
        await flock.publish(Order(n=7))
        await clock.advance(61)
        await flock.arun("either", Order(n=8))
        found = [each.what for each in await flock.store.get_by_type(Seen)]
        assert found == ["artifact 7 False", "schedule None True", "call 8 False"]


async def test_a_function_that_a_tick_cannot_call_is_refused() -> None:
    async def needs(order: Order) -> Seen:
        return Seen(what=str(order.n))

    bare: Callable[..., object] = lambda ctx: Seen(what=str(ctx))  # noqa: E731
    functions: list[tuple[Callable[..., object], str]] = [(needs, "order"), (bare, "ctx")]
    for function, name in functions:
        flock = Flock()
        flock.agent("culprit").consumes(Order).schedule(every=60).calls(function)
        with pytest.raises(DeclarationError, match=rf"'culprit', schedule: .*'{name}'.*Context"):
            await flock.publish(Order(n=1))
    flock = Flock()
    flock.agent("nobody").schedule(every=60)
    with pytest.raises(DeclarationError, match="'nobody' has no function"):
        await flock.run_until_idle(timeout=1)


async def test_a_component_may_choose_what_the_function_gets(clock: ManualClock) -> None:
    class Chooses(AgentComponent):
        async def on_pre_consume(
            self, agent: Agent, ctx: Context, inputs: list[Artifact]
        ) -> list[Artifact]:
            return inputs or await flock.store.list_by_type(Order)

    async def needs(order: Order) -> Seen:
        return Seen(what=str(order.n))

    flock = Flock(clock=clock)
    agent = flock.agent("fed").consumes(Order, mode="direct").schedule(every=60, max_repeats=1)
    agent.with_utilities(Chooses()).calls(needs)
    async with flock:
        await flock.publish(Order(n=5))
        await clock.advance(61)
        assert [each.what for each in await flock.store.get_by_type(Seen)] == ["5"]


async def test_hooks_see_ticks_without_artifacts(clock: ManualClock) -> None:
    seen: list[tuple[str, list[Artifact]]] = []
    hooks: list[str] = []

    class Watches(OrchestratorComponent):
        async def on_before_agent_schedule(
            self, orchestrator: Any, agent: Agent, artifacts: list[Artifact]
        ) -> list[Artifact] | None:
            seen.append(("before", artifacts))
            return None if len(seen) == 3 else artifacts

        async def on_agent_scheduled(
            self, orchestrator: Any, agent: Agent, artifacts: list[Artifact], task: Any
        ) -> None:
            seen.append(("scheduled", artifacts))

    flock = Flock(clock=clock)
    flock.add_component(Watches())
    flock.agent("beat").schedule(every=60).calls(tell).with_utilities(spy("u", hooks))
    async with flock:
        await clock.advance(185)
        assert [what for what, _ in seen] == [
            *("before", "scheduled", "before"),
            *("before", "scheduled"),
        ]
        assert not any(artifacts for _, artifacts in seen)
        assert await told(flock) == [(1, 0, 60.0), (3, 0, 180.0)]  # the second was dropped
        assert await flock.dead_letters() == []
        assert hooks[:5] == [
            *("u.on_initialize", "u.on_pre_consume", "u.on_pre_evaluate"),
            *("u.on_post_evaluate", "u.on_post_publish"),
        ]


async def test_budgets_count_the_runs_of_ticks(clock: ManualClock) -> None:
    flock = Flock(clock=clock)
    flock.agent("beat").schedule(every=60).calls(tell).budget(runs=2)
    async with flock:
        await clock.advance(185)
        assert await told(flock) == [(1, 0, 60.0), (2, 0, 120.0)]
        [letter] = await flock.dead_letters()
        assert (letter.error_type, letter.artifacts) == ("BudgetExceeded", ())


async def test_events_tell_of_ticks(clock: ManualClock) -> None:
    flock = Flock(clock=clock)
    flock.agent("beat").schedule(every=60).calls(tell)
    async with flock:
        stream = flock.events()
        await clock.advance(61)
        events: list[object] = await drain(flock, stream)
    kinds = [type(event) for event in events]
    assert kinds.index(ScheduleFired) < kinds.index(RunQueued)
    [fired] = [event for event in events if isinstance(event, ScheduleFired)]
    assert (fired.agent, fired.iteration, fired.missed) == ("beat", 1, 0)
    assert fired.fire_time == START + MINUTE
    assert fired.run_id in {event.run_id for event in events if isinstance(event, RunQueued)}


# --- one tick at a time ---


async def test_what_is_due_while_a_run_goes_on_becomes_one_tick(clock: ManualClock) -> None:
    gate = Gate()
    flock = Flock(clock=clock)
    flock.agent("slow").schedule(every=60).calls(gate)
    async with flock:
        await clock.advance(timedelta(minutes=4, seconds=30))
        assert len(gate.runs) == 1
        gate.is_open = True
        gate.opened.set()
        await clock.settle()
        # at once, for the last one that was due
        assert await told(flock) == [(1, 0, 60.0), (2, 2, 240.0)]
        await clock.advance(60)
        assert (await told(flock))[2:] == [(3, 0, 300.0)]


async def test_what_is_due_while_a_run_backs_off_becomes_one_tick(clock: ManualClock) -> None:
    flock = Flock(clock=clock)
    attempts: list[tuple[int, int]] = []

    async def fails_twice(ctx: Context) -> Told:
        attempts.append((ctx.iteration, ctx.attempt))
        if ctx.iteration == 1 and ctx.attempt < 3:
            raise RuntimeError
        return await tell(ctx)

    agent = flock.agent("shaky").schedule(every=60).calls(fails_twice)
    agent.retry(3, backoff=Backoff(100, 1, 100, jitter=False))
    async with flock:
        await clock.advance(timedelta(minutes=5))
        assert attempts[:3] == [(1, 1), (1, 2), (1, 3)]
        assert await told(flock) == [(1, 0, 60.0), (2, 2, 240.0), (3, 0, 300.0)]


async def test_a_tick_that_waits_for_a_slot_is_one(clock: ManualClock) -> None:
    gate = Gate()
    flock = Flock(clock=clock, max_concurrency=1)
    flock.agent("hog").consumes(Order).publishes(Told).calls(gate)
    flock.agent("beat").schedule(every=60).calls(tell)
    gate.is_open = False
    async with flock:
        await flock.publish(Order(n=1))
        await clock.advance(200)
        assert await told(flock) == []
        for hogs in await asyncio.gather(flock.store.list_by_type(Order)):
            await flock.cancel(hogs[0].correlation_id)
        await clock.settle()
        assert await told(flock) == [(1, 0, 60.0), (2, 1, 180.0)]


# --- failures, cancelling ---


async def test_a_tick_that_fails_is_a_dead_letter_and_the_next_one_comes(
    clock: ManualClock, store: BlackboardStore
) -> None:
    is_broken = True

    def board() -> Flock:
        async def shaky(ctx: Context) -> Told:
            if is_broken:
                raise ValueError("broken")
            return await tell(ctx)

        flock = Flock(store=store, clock=clock)
        flock.agent("shaky").schedule(every=60).calls(shaky)
        return flock

    async with board() as flock:
        await clock.advance(125)
        letters = await flock.dead_letters()
        assert [(each.agent, each.artifacts, each.attempt) for each in letters] == [
            ("shaky", (), 1),
            ("shaky", (), 1),
        ]
        [error, _] = await flock.store.get_by_type(WorkflowError)
        assert (error.failed_agent, error.run_id) == ("shaky", letters[0].run_id)
        is_broken = False
        await flock.redrive(letters[0].id)
        await clock.settle()
        assert await told(flock) == [(1, 0, 60.0)]
        [run] = await flock.store.runs(letters[0].correlation_id)
        assert run.run_id == letters[0].run_id
    async with board() as flock:
        await flock.redrive(letters[1].id)
        await clock.advance(60)
        assert await told(flock) == [(1, 0, 60.0), (2, 0, 120.0), (3, 0, 180.0)]
        assert await flock.dead_letters() == []


async def test_a_redriven_tick_goes_on_after_a_restart(
    clock: ManualClock, store: BlackboardStore
) -> None:
    gate = Gate()
    is_broken = True

    def board() -> Flock:
        async def shaky(ctx: Context) -> Told:
            if is_broken:
                raise ValueError("broken")
            return await gate(ctx)

        flock = Flock(store=store, clock=clock)
        flock.agent("shaky").schedule(every=60, max_repeats=1).calls(shaky)
        return flock

    async with board() as flock:
        await clock.advance(65)
        [letter] = await flock.dead_letters()
        is_broken = False
        await flock.redrive(letter.id)
        await clock.settle()
        assert await flock.dead_letters() == []
        await flock.shutdown(grace=0)
    gate.is_open = True
    async with board() as flock:
        await flock.run_until_idle()
        assert await told(flock) == [(1, 0, 60.0)]
        assert [run[:2] for run in gate.runs] == [(letter.run_id, 1), (letter.run_id, 2)]


async def test_cancelling_the_workflow_of_a_tick_ends_it_and_the_next_one_comes(
    clock: ManualClock, store: BlackboardStore
) -> None:
    gate = Gate()
    flock = Flock(store=store, clock=clock)
    flock.agent("slow").schedule(every=60).calls(gate)
    async with flock:
        await clock.advance(61)
        [(run_id, _, workflow)] = gate.runs
        assert (await flock.status(workflow)).state == "running"
        await flock.cancel(workflow)
        gate.is_open = True
        await clock.advance(60)
        assert await told(flock) == [(2, 0, 120.0)]
        assert await flock.store.runs(workflow) == []
        assert await flock.dead_letters() == []
    flock = Flock(store=store, clock=clock)
    flock.agent("slow").schedule(every=60).calls(gate)
    async with flock:  # it does not come again
        await clock.advance(60)
        assert [run for run, *_ in gate.runs].count(run_id) == 1


# --- restarts ---


def beating(store: BlackboardStore, clock: ManualClock, **options: Any) -> Flock:
    flock = Flock(store=store, clock=clock)
    flock.agent("beat").schedule(**options).calls(tell)
    return flock


async def test_the_beat_goes_on_after_a_restart(clock: ManualClock, store: BlackboardStore) -> None:
    async with beating(store, clock, every=60):
        await clock.advance(50)
    async with beating(store, clock, every=60) as flock:
        await clock.advance(85)
        assert await told(flock) == [(1, 0, 60.0), (2, 0, 120.0)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"every": 3600}, (2, 46, 48 * 3600.0)),
        ({"cron": "0 * * * *"}, (2, 46, 48 * 3600.0)),
        ({"at": time(1)}, (2, 0, 25 * 3600.0)),
    ],
)
async def test_what_was_due_while_the_board_was_closed_becomes_one_tick(
    clock: ManualClock,
    store: BlackboardStore,
    options: dict[str, Any],
    expected: tuple[int, int, float],
) -> None:
    async with beating(store, clock, **options):
        await clock.advance(3601)
    await clock.advance(47 * 3600)
    async with beating(store, clock, **options) as flock:
        await clock.settle()
        assert await told(flock) == [(1, 0, 3600.0), expected]
        await clock.advance(10)
        assert len(await told(flock)) == 2


async def test_a_moment_that_passed_while_the_board_was_closed_comes_once(
    clock: ManualClock, store: BlackboardStore
) -> None:
    at = START + MINUTE
    async with beating(store, clock, at=at):
        pass
    await clock.advance(timedelta(days=1))
    for runs in (1, 0):
        async with beating(store, clock, at=at) as flock:
            report = await flock.run_until_idle()
            assert await told(flock) == [(1, 0, 60.0)]
            assert report.runs == runs


async def test_max_repeats_counts_over_restarts(clock: ManualClock, store: BlackboardStore) -> None:
    for _ in range(4):
        async with beating(store, clock, every=60, max_repeats=5):
            await clock.advance(121)
    async with beating(store, clock, every=60, max_repeats=5) as flock:
        assert [n for n, *_ in await told(flock)] == [1, 2, 3, 4, 5]
        report = await flock.run_until_idle()
        assert (report.runs, report.timed_out) == (0, False)


async def test_a_pending_tick_goes_on_after_a_restart_under_its_id(
    clock: ManualClock, store: BlackboardStore
) -> None:
    gate = Gate()

    def board() -> Flock:
        flock = Flock(store=store, clock=clock)
        flock.agent("slow").schedule(every=60).calls(gate)
        return flock

    async with board() as flock:
        await clock.advance(61)
        await flock.shutdown(grace=0)
    await clock.advance(timedelta(minutes=5))
    gate.is_open = True
    async with board() as flock:
        await clock.settle()
        # first the one that was pending, then the one for all that was due meanwhile
        assert await told(flock) == [(1, 0, 60.0), (2, 4, 360.0)]
        assert [run[:2] for run in gate.runs][:2] == [(gate.runs[0][0], 1), (gate.runs[0][0], 2)]


async def test_another_schedule_begins_a_beat_of_its_own(
    clock: ManualClock, store: BlackboardStore
) -> None:
    gate = Gate()

    def board(every: float) -> Flock:
        flock = Flock(store=store, clock=clock)
        flock.agent("beat").schedule(every=every).calls(gate)
        return flock

    async with board(60) as flock:
        await clock.advance(61)
        await flock.shutdown(grace=0)
    gate.is_open = True
    async with board(100) as flock:
        await clock.advance(101)
        assert await told(flock) == [(1, 0, 60.0), (1, 0, 161.0)]
        assert len(await flock.store.runs(None)) == 2


async def test_an_agent_that_is_removed_keeps_nothing_open(
    clock: ManualClock, store: BlackboardStore
) -> None:
    gate = Gate()
    flock = Flock(store=store, clock=clock)
    flock.agent("slow").schedule(every=60, max_repeats=9).calls(gate)
    async with flock:
        await clock.advance(61)
        await flock.shutdown(grace=0)
    flock = Flock(store=store, clock=clock)
    flock.agent("other").consumes(Order).calls(ignore)
    async with flock:
        report = await flock.run_until_idle()
        assert (report.runs, report.waiting) == (0, 0)


async def test_what_steps_returned_is_remembered_of_a_pending_tick(
    clock: ManualClock, store: BlackboardStore
) -> None:
    taken: list[str] = []
    gate = asyncio.Event()

    def board() -> Flock:
        async def work(ctx: Context) -> Seen:
            what = await ctx.step("first", lambda: taken.append(ctx.run_id) or "done")
            await gate.wait()
            return Seen(what=what)

        flock = Flock(store=store, clock=clock)
        flock.agent("stepwise").schedule(every=60, max_repeats=1).calls(work)
        return flock

    async with board() as flock:
        await clock.advance(61)
        await flock.shutdown(grace=0)
    gate.set()
    async with board() as flock:
        await flock.run_until_idle()
        assert len(taken) == 1
        assert [each.what for each in await flock.store.get_by_type(Seen)] == ["done"]


async def test_a_stream_goes_on_behind_what_it_had_published(
    clock: ManualClock, store: BlackboardStore
) -> None:
    gate = asyncio.Event()

    def board() -> Flock:
        async def stream(ctx: Context) -> Any:
            yield Order(n=1)
            await gate.wait()
            yield Order(n=2)

        flock = Flock(store=store, clock=clock)
        flock.agent("stream").publishes(Order).schedule(every=60, max_repeats=1).calls(stream)
        return flock

    async with board() as flock:
        await clock.advance(61)
        assert [each.n for each in await flock.store.get_by_type(Order)] == [1]
        await flock.shutdown(grace=0)
    gate.set()
    async with board() as flock:
        await flock.run_until_idle()
        assert [each.n for each in await flock.store.get_by_type(Order)] == [1, 2]


# --- idle, forever, later ---


async def test_a_board_with_an_endless_schedule_is_never_idle() -> None:
    clock = ManualClock(START, autojump=True)
    flock = Flock(clock=clock)
    flock.agent("beat").schedule(every=60).calls(tell)
    async with flock:
        with pytest.raises(NotIdle, match=r"'beat' is scheduled without an end.*run_forever"):
            await flock.run_until_idle()
        report = await flock.run_until_idle(timeout=timedelta(minutes=5, seconds=1))
        assert (report.runs, report.timed_out) == (5, True)


async def test_schedules_with_an_end_hold_the_board() -> None:
    clock = ManualClock(START, autojump=True)
    flock = Flock(clock=clock)
    flock.agent("beat").schedule(every=timedelta(hours=1), max_repeats=3).calls(tell)
    async with flock:
        report = await flock.run_until_idle()
        assert (report.runs, report.elapsed, report.timed_out) == (3, 3 * 3600.0, False)


async def test_who_waits_for_idle_is_told_when_an_endless_schedule_begins(
    clock: ManualClock,
) -> None:
    flock = Flock(clock=clock)
    gate = Gate()
    flock.agent("slow").consumes(Order).publishes(Told).calls(gate)
    async with flock:
        await flock.publish(Order(n=1))
        waiting = asyncio.ensure_future(flock.run_until_idle())
        await turns()
        flock.agent("beat").schedule(every=60).calls(tell)
        with pytest.raises(NotIdle, match="'beat'"):
            await waiting
        await flock.shutdown(grace=0)


async def test_run_forever_serves_until_the_board_is_shut_down(clock: ManualClock) -> None:
    flock = Flock(clock=clock)
    flock.agent("beat").schedule(every=60).calls(tell)
    serving = asyncio.ensure_future(flock.run_forever())
    await clock.advance(121)
    assert not serving.done()
    assert len(await told(flock)) == 2
    await flock.shutdown()
    assert await serving is None


async def test_run_forever_ends_when_it_is_cancelled_and_the_block_closes_the_board(
    clock: ManualClock,
) -> None:
    flock = Flock(clock=clock)
    flock.agent("beat").schedule(every=60).calls(tell)

    async def serve() -> None:
        async with flock:
            await flock.run_forever()

    serving = asyncio.ensure_future(serve())
    await clock.advance(61)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert "closed" in repr(flock)


async def test_run_forever_inside_an_agent_is_refused(clock: ManualClock) -> None:
    flock = Flock(clock=clock)

    async def forever() -> None:
        await flock.run_forever()

    flock.agent("lost").schedule(every=60, max_repeats=1).calls(forever)
    async with flock:
        await clock.advance(61)
        [letter] = await flock.dead_letters()
        assert "inside agent 'lost'" in letter.error_message


async def test_an_agent_that_is_added_to_an_open_board_starts_too(
    clock: ManualClock, store: BlackboardStore
) -> None:
    for _ in range(2):
        flock = Flock(store=store, clock=clock)
        async with flock:
            await flock.publish(Order(n=1))
            flock.agent("late").schedule(every=60).calls(tell)
            await clock.advance(65)
        await clock.advance(930)
    async with Flock(store=store, clock=clock) as flock:
        assert await told(flock) == [(1, 0, 60.0), (2, 14, 960.0), (3, 0, 1020.0)]


async def test_an_agent_that_is_not_complete_when_it_is_added_is_named(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    flock = Flock(clock=clock)
    flock.agent("other").consumes(Order).calls(ignore)
    async with flock:
        await flock.publish(Order(n=1))
        with caplog.at_level(logging.WARNING):
            builder = flock.agent("half").schedule(every=60)
            await clock.advance(61)
        assert "'half' has no function" in caplog.text
        builder.calls(tell)
        await clock.advance(61)
        assert [n for n, *_ in await told(flock)] == [1]


# --- clocks that jump ---


async def test_a_clock_that_jumps_ahead_makes_no_burst(clock: ManualClock) -> None:
    flock = beating(InMemoryBlackboardStore(), clock, every=60)
    async with flock:
        await clock.advance(61)
        clock._jump(clock.time() + 3600)  # as after sleep: nothing happened in between
        await clock.settle()
        assert await told(flock) == [(1, 0, 60.0), (2, 59, 3660.0)]
        await clock.advance(60)
        assert (await told(flock))[2:] == [(3, 0, 3720.0)]


async def test_a_clock_that_is_set_back_loses_no_ticks(clock: ManualClock) -> None:
    flock = beating(InMemoryBlackboardStore(), clock, every=3600)
    async with flock:
        await clock.advance(timedelta(days=10))
        count = len(await told(flock))
        clock._now -= timedelta(days=9).total_seconds()
        flock._parts.lifecycle.timers.wake()  # as it does after a minute at the latest
        await clock.advance(timedelta(hours=10))
        assert len(await told(flock)) == count + 10


# --- replay and fork ---


async def test_a_tick_is_replayed_and_run_again_in_a_fork_which_does_not_tick(
    clock: ManualClock, store: BlackboardStore
) -> None:
    flock = beating(store, clock, every=60)

    async def double(told: Told) -> Order:
        return Order(n=told.n * 2)

    flock.agent("double").consumes(Told).calls(double)
    async with flock:
        await clock.advance(125)
        [_, second] = await flock.store.list_by_type(Told)
        replay = await flock.replay(second.correlation_id)
        assert [(run.agent, run.inputs) for run in replay.runs[:1]] == [("beat", ())]

        async def other(ctx: Context) -> Told:
            return Told(n=ctx.iteration + 40, missed=ctx.missed, at=ctx.fire_time or START)

        fork = await flock.fork(second.correlation_id, agents={"beat": other})
        assert [a.payload["n"] for a in fork.outputs] == [42, 84]
        assert not fork.timed_out
        same = await flock.fork(second.correlation_id, recorded=True)
        assert [a.payload["n"] for a in same.outputs] == [2, 4]

        def more(scratch: Flock) -> None:
            scratch.agent("ticker").schedule(every=0.001).calls(tell)

        fork = await flock.fork(second.correlation_id, agents=more)
        assert {a.produced_by for a in fork.outputs} == {"beat", "double"}
        assert len(fork.outputs) == 2
