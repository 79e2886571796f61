"""What falls due is done in order; every background task ends with the board."""

import asyncio
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flock.orchestrator import lifecycle_manager
from flock.orchestrator.lifecycle_manager import Deadline, Deadlines, LifecycleManager
from flock.testing import ManualClock
from tests.unit.support import turns

# --- deadlines --------------------------------------------------------------------------------


def due(deadlines: Deadlines, now: float) -> list[Deadline]:
    found: list[Deadline] = []
    while (deadline := deadlines.pop_due(now)) is not None:
        found.append(deadline)
    return found


def nothing() -> None:
    pass


def test_the_nearest_deadline_comes_first_and_equal_ones_as_they_were_added() -> None:
    deadlines = Deadlines()
    added = [deadlines.add(when, nothing) for when in (5, 1, 5, 3, 1)]
    assert due(deadlines, 4) == [added[1], added[4], added[3]]
    assert due(deadlines, 5) == [added[0], added[2]]


def test_a_deadline_that_was_called_off_never_comes() -> None:
    deadlines = Deadlines()
    first, second = deadlines.add(1, nothing), deadlines.add(1, nothing)
    first.cancel()
    first.cancel()
    assert due(deadlines, 2) == [second]


def test_cleared_deadlines_are_forgotten() -> None:
    deadlines = Deadlines()
    held = deadlines.add(1, nothing)
    deadlines.clear()
    held.cancel()
    assert due(deadlines, 9) == []


def test_deadlines_that_were_called_off_are_not_kept() -> None:
    deadlines = Deadlines()
    for number in range(10_000):
        deadlines.add(1000 + number, nothing).cancel()
    assert len(deadlines._heap) < 1000


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.integers(0, 20)),
            st.tuples(st.just("cancel"), st.integers(0, 200)),
            st.tuples(st.just("many"), st.integers(0, 20)),
            st.tuples(st.just("pop"), st.integers(0, 20)),
        ),
        max_size=40,
    )
)
def test_deadlines_are_a_sorted_list(steps: list[tuple[str, int]]) -> None:
    deadlines, model, every = Deadlines(), list[Deadline](), list[Deadline]()
    for step, number in steps:
        if step in {"add", "many"}:
            for _ in range(90 if step == "many" else 1):
                added = deadlines.add(number, nothing)
                model.append(added)
                every.append(added)
        elif step == "cancel" and every:
            for chosen in every[number % len(every) :: 2]:
                chosen.cancel()
                if chosen in model:
                    model.remove(chosen)
        elif step == "pop":
            model.sort(key=lambda deadline: deadline.when)
            expected = [d for d in model if d.when <= number]
            found = due(deadlines, number)
            assert found == expected
            for deadline in found:
                deadline.action = None
            model = model[len(expected) :]


# --- the services -----------------------------------------------------------------------------


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


async def test_what_falls_due_is_done_at_its_time_in_order(clock: ManualClock) -> None:
    manager, log = LifecycleManager(clock), list[tuple[str, float]]()
    await manager.start()
    start = clock.time()
    for name, after in (("c", 30), ("a", 10), ("b", 20)):
        manager.timers.add(start + after, lambda n=name: log.append((n, clock.time() - start)))
    await clock.advance(25)
    assert log == [("a", 10), ("b", 20)]
    await clock.advance(25)
    assert log == [("a", 10), ("b", 20), ("c", 30)]
    await manager.shutdown()


@pytest.mark.parametrize("kind", ["batches", "windows", "timers"])
async def test_each_kind_has_a_service_of_its_own(clock: ManualClock, kind: str) -> None:
    manager, log = LifecycleManager(clock), list[str]()
    await manager.start()
    deadlines: Deadlines = getattr(manager, kind)
    deadlines.add(clock.time() + 5, lambda: log.append(kind))
    await clock.advance(5)
    assert log == [kind]
    await manager.shutdown()


async def test_a_deadline_nearer_than_those_before_is_not_missed(clock: ManualClock) -> None:
    manager, log = LifecycleManager(clock), list[str]()
    await manager.start()
    manager.timers.add(clock.time() + 100, lambda: log.append("late"))
    await turns()
    manager.timers.add(clock.time() + 1, lambda: log.append("early"))
    await clock.advance(1)
    assert log == ["early"]
    await manager.shutdown()


async def test_a_deadline_that_is_past_already_is_done_at_once(clock: ManualClock) -> None:
    manager, log = LifecycleManager(clock), list[str]()
    manager.timers.add(clock.time() - 5, lambda: log.append("before the start"))
    await manager.start()
    manager.timers.add(clock.time() - 5, lambda: log.append("after it"))
    await turns()
    assert log == ["before the start", "after it"]
    await manager.shutdown()


async def test_a_far_deadline_is_looked_at_again_since_timers_stand_still_in_sleep(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle_manager, "_LOOK_AGAIN", 0.001)
    manager, done = LifecycleManager(clock), asyncio.Event()
    await manager.start()
    manager.timers.add(clock.time() + 3600, done.set)
    await turns()
    clock._now += 3600  # no timer fires: so it is after a machine slept
    await done.wait()
    await manager.shutdown()


async def test_who_counts_on_the_clock_is_told_that_it_was_set_back(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle_manager, "_LOOK_AGAIN", 0.001)
    manager, told = LifecycleManager(clock), asyncio.Event()
    manager.on_set_back = told.set
    await manager.start()
    manager.timers.add(clock.time() + 3600, nothing)
    await clock.advance(100)
    assert not told.is_set()
    clock._now -= 500
    await told.wait()
    await manager.shutdown()


async def test_an_action_may_wait_and_may_add_deadlines(clock: ManualClock) -> None:
    manager, log = LifecycleManager(clock), list[str]()
    await manager.start()

    async def first() -> None:
        await asyncio.sleep(0)
        log.append("first")
        manager.timers.add(clock.time() + 1, lambda: log.append("second"))

    manager.timers.add(clock.time() + 1, first)
    await clock.advance(2)
    assert log == ["first", "second"]
    await manager.shutdown()


async def test_a_failing_action_is_logged_and_the_next_one_is_done(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    manager, log = LifecycleManager(clock), list[str]()
    await manager.start()

    def broken() -> None:
        raise ValueError("broken")

    async def broken_later() -> None:
        raise KeyError("later")

    manager.timers.add(clock.time() + 1, broken)
    manager.timers.add(clock.time() + 1, broken_later)
    manager.timers.add(clock.time() + 1, lambda: log.append("next"))
    await clock.advance(1)
    assert log == ["next"]
    assert [r.exc_info and r.exc_info[0] for r in caplog.records] == [ValueError, KeyError]
    await manager.shutdown()


async def test_a_deadline_that_is_called_off_in_time_is_not_done(clock: ManualClock) -> None:
    manager, log = LifecycleManager(clock), list[str]()
    await manager.start()
    second = manager.timers.add(clock.time() + 2, lambda: log.append("second"))
    manager.timers.add(clock.time() + 1, second.cancel)
    await clock.advance(5)
    assert log == []
    await manager.shutdown()


async def test_starting_twice_starts_nothing_twice(clock: ManualClock) -> None:
    manager = LifecycleManager(clock)
    await manager.start()
    tasks = asyncio.all_tasks()
    await manager.start_batch_timeout_checker()
    await manager.start_correlation_cleanup()
    await manager.start_timers()
    assert asyncio.all_tasks() == tasks
    await manager.shutdown()


# --- shutdown ---------------------------------------------------------------------------------


async def test_shutdown_leaves_no_task_and_no_deadline(clock: ManualClock) -> None:
    before = asyncio.all_tasks()
    manager, ended = LifecycleManager(clock), list[str]()
    await manager.start()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("work")

    task = manager.spawn(work(), "work")
    manager.timers.add(clock.time() + 1, lambda: ended.append("never"))
    await turns()
    await manager.shutdown()
    assert task.cancelled()
    assert ended == ["work"]
    assert asyncio.all_tasks() == before
    await clock.advance(10)
    assert ended == ["work"]


async def test_shutdown_without_a_start_and_twice_does_no_harm(clock: ManualClock) -> None:
    manager = LifecycleManager(clock)
    await manager.shutdown()
    await manager.start()
    await manager.shutdown()
    await manager.shutdown()


async def test_it_can_be_started_again(clock: ManualClock) -> None:
    manager, log = LifecycleManager(clock), list[str]()
    await manager.start()
    await manager.shutdown()
    await manager.start()
    manager.timers.add(clock.time() + 1, lambda: log.append("again"))
    await clock.advance(1)
    assert log == ["again"]
    await manager.shutdown()


async def test_a_task_that_calls_shutdown_is_not_waited_for(clock: ManualClock) -> None:
    manager, log = LifecycleManager(clock), list[str]()
    await manager.start()

    async def closing() -> None:
        await manager.shutdown()
        log.append("closed")

    await manager.spawn(closing(), "closing")
    assert log == ["closed"]


async def test_a_cancelled_shutdown_is_cancelled_and_not_swallowed(clock: ManualClock) -> None:
    manager = LifecycleManager(clock)
    await manager.start()
    release = asyncio.Event()

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await release.wait()

    manager.spawn(stubborn(), "stubborn")
    await turns()
    closing = asyncio.create_task(manager.shutdown())
    await turns()
    closing.cancel()
    await turns()
    release.set()
    await asyncio.wait([closing])
    assert closing.cancelled()
    await manager.shutdown()


async def test_a_failing_task_is_logged_by_name(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    manager = LifecycleManager(clock)

    async def broken() -> None:
        raise ValueError("broken")

    task = manager.spawn(broken(), "delivery hooks")
    await asyncio.wait([task])
    await turns()
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert "delivery hooks" in record.getMessage()
    await manager.shutdown()


async def test_tasks_see_the_context_variables_the_board_was_opened_with(
    clock: ManualClock,
) -> None:
    from contextvars import ContextVar

    variable: ContextVar[str] = ContextVar("variable", default="none")
    manager, seen = LifecycleManager(clock), list[str]()
    variable.set("at opening")
    await manager.start()
    variable.set("later")

    async def look() -> None:
        seen.append(variable.get())
        variable.set("changed by a task")

    await manager.spawn(look(), "look")
    await manager.spawn(look(), "look")
    assert seen == ["at opening", "at opening"]
    await manager.shutdown()


async def test_a_service_is_waited_for_by_nobody_and_ends_with_the_others() -> None:
    manager = LifecycleManager()
    await manager.start()
    ended: list[str] = []

    async def service() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("ended")

    task = manager.serve(service(), "a service")
    await turns()
    assert manager.spawned() == []
    await manager.shutdown()
    assert task.cancelled()
    assert ended == ["ended"]
