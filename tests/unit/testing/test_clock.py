"""A manual clock stands still, and lets what falls due happen exactly then and in order."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flock.testing import ManualClock
from tests.unit.support import T0, turns


async def sleep_on(clock: ManualClock, span: float) -> float:
    """Wait on the clock, and say when it was over."""
    done = asyncio.get_running_loop().create_future()
    clock.call_at(clock.time() + span, lambda: done.set_result(None))
    await done
    return clock.time()


def test_it_shows_the_start_until_it_is_moved() -> None:
    assert ManualClock().time() == T0
    assert ManualClock().now() == datetime(2026, 1, 1, tzinfo=UTC)
    start = datetime(2030, 5, 6, 7, tzinfo=UTC)
    assert ManualClock(start).now() == start


def test_a_naive_start_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        ManualClock(datetime(2026, 1, 1))  # noqa: DTZ001 - a naive time


async def test_it_moves_by_what_it_is_told() -> None:
    clock = ManualClock()
    await clock.advance(1.5)
    await clock.advance(timedelta(minutes=1))
    await clock.advance(0)
    assert clock.time() == T0 + 61.5
    await clock.advance_to(datetime(2026, 1, 2, tzinfo=UTC))
    assert clock.now() == datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize("span", [-1, timedelta(seconds=-1), float("nan"), "1", True])
async def test_it_never_moves_back(span: Any) -> None:
    clock = ManualClock()
    with pytest.raises(ValueError, match="advance"):
        await clock.advance(span)
    assert clock.time() == T0


async def test_it_cannot_be_moved_to_the_past_or_to_a_naive_time() -> None:
    clock = ManualClock()
    with pytest.raises(ValueError, match="advance"):
        await clock.advance_to(datetime(2025, 1, 1, tzinfo=UTC))
    with pytest.raises(ValueError, match="time zone"):
        await clock.advance_to(datetime(2027, 1, 1))  # noqa: DTZ001 - a naive time


async def test_what_falls_due_on_the_way_happens_in_order_at_its_time() -> None:
    clock, log = ManualClock(), list[tuple[str, float]]()
    for name, after in (("c", 30), ("a", 10), ("b", 20), ("b2", 20), ("d", 40)):
        clock.call_at(T0 + after, lambda n=name: log.append((n, clock.time() - T0)))
    await clock.advance(30)
    assert log == [("a", 10), ("b", 20), ("b2", 20), ("c", 30)]
    assert clock.time() == T0 + 30


async def test_what_is_set_on_the_way_happens_on_the_way() -> None:
    clock, log = ManualClock(), list[float]()

    def again() -> None:
        log.append(clock.time() - T0)
        clock.call_at(clock.time() + 10, again)

    clock.call_at(T0 + 10, again)
    await clock.advance(35)
    assert log == [10, 20, 30]


async def test_all_that_follows_from_one_deadline_happens_before_the_next() -> None:
    clock, log = ManualClock(), list[str]()

    async def long_chain() -> None:
        await sleep_on(clock, 10)
        for _ in range(50):
            await asyncio.sleep(0)
        log.append(f"first at {clock.time() - T0:g}")

    async def other() -> None:
        await sleep_on(clock, 11)
        log.append(f"second at {clock.time() - T0:g}")

    tasks = [asyncio.create_task(long_chain()), asyncio.create_task(other())]
    await clock.advance(60)
    assert log == ["first at 10", "second at 11"]
    await asyncio.gather(*tasks)


async def test_what_is_due_already_happens_at_once() -> None:
    clock, log = ManualClock(), list[str]()
    clock.call_at(T0 - 5, lambda: log.append("past"))
    clock.call_at(T0, lambda: log.append("now"))
    assert log == []
    await clock.settle()
    assert log == ["past", "now"]


async def test_a_timer_that_was_called_off_never_fires() -> None:
    clock, log = ManualClock(), list[str]()
    later = clock.call_at(T0 + 5, lambda: log.append("later"))
    now = clock.call_at(T0, lambda: log.append("now"))
    for timer in (later, now, later):
        timer.cancel()
    await clock.advance(10)
    assert log == []
    assert not clock._timers, "nor is it kept"


async def test_advancing_does_not_wait_for_what_is_blocked_on_the_outside() -> None:
    clock, release = ManualClock(), asyncio.Event()
    blocked = asyncio.create_task(release.wait())
    await clock.advance(100)
    assert not blocked.done()
    release.set()
    await blocked


async def test_advancing_waits_for_a_function_in_a_thread() -> None:
    clock, log, release = ManualClock(), list[str](), threading.Event()
    loop = asyncio.get_running_loop()
    entered = asyncio.Event()

    async def work() -> None:
        await sleep_on(clock, 10)
        with clock.working():
            done = loop.create_future()

            def run() -> None:
                release.wait()
                loop.call_soon_threadsafe(done.set_result, None)

            thread = threading.Thread(target=run)
            thread.start()
            entered.set()
            await done
            thread.join()
        log.append(f"worked at {clock.time() - T0:g}")

    async def let_go() -> None:
        await entered.wait()
        await turns(50)
        release.set()

    clock.call_at(T0 + 20, lambda: log.append("next"))
    tasks = [asyncio.create_task(work()), asyncio.create_task(let_go())]
    await clock.advance(30)
    assert log == ["worked at 10", "next"]
    await asyncio.gather(*tasks)


# --- autojump ---------------------------------------------------------------------------------


async def test_by_itself_it_jumps_to_the_next_deadline_when_nothing_else_is_left() -> None:
    clock = ManualClock(autojump=True)
    woken = await asyncio.gather(*(sleep_on(clock, span) for span in (3600, 60, 86_400)))
    assert woken == [T0 + 3600, T0 + 60, T0 + 86_400]


async def test_it_does_not_jump_while_something_is_left_to_do() -> None:
    clock, log = ManualClock(autojump=True), list[str]()

    async def busy() -> None:
        for _ in range(200):
            await asyncio.sleep(0)
        log.append(f"done at {clock.time() - T0:g}")

    task = asyncio.create_task(busy())
    await sleep_on(clock, 10)
    log.append("jumped")
    await task
    assert log == ["done at 0", "jumped"]


async def test_it_does_not_jump_while_a_thread_works() -> None:
    clock, release = ManualClock(autojump=True), threading.Event()
    loop = asyncio.get_running_loop()
    sleeper = asyncio.create_task(sleep_on(clock, 10))
    with clock.working():
        await turns(100)
        assert not sleeper.done()
        done = loop.create_future()

        def run() -> None:
            release.wait()
            loop.call_soon_threadsafe(done.set_result, None)

        thread = threading.Thread(target=run)
        thread.start()
        await turns(20)
        assert clock.time() == T0
        release.set()
        await done
        thread.join()
    assert await sleeper == T0 + 10


@pytest.mark.parametrize("count", [1, 50])  # more than the default executor has threads
async def test_it_does_not_jump_while_a_thread_of_the_loops_executor_works(count: int) -> None:
    clock, release = ManualClock(autojump=True), threading.Event()
    start = clock.time()
    work = [asyncio.create_task(asyncio.to_thread(release.wait)) for _ in range(count)]
    deadline = asyncio.create_task(sleep_on(clock, 60))
    await quiet_for_as_long_as_many_jumps_take()
    stood = clock.time()
    release.set()
    await asyncio.wait(work)
    assert stood == start
    assert clock.time() == start, "what the threads hand over comes before the next deadline"
    await deadline
    assert clock.time() == start + 60


async def quiet_for_as_long_as_many_jumps_take() -> None:
    """Leave this loop with nothing to do, while another one in a thread takes many turns."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def take_turns() -> None:
        asyncio.run(turns(2000))
        loop.call_soon_threadsafe(done.set)

    thread = threading.Thread(target=take_turns)
    thread.start()
    await done.wait()
    thread.join()


async def test_it_jumps_when_nobody_waits_for_a_thread_any_more() -> None:
    clock, release = ManualClock(autojump=True), threading.Event()
    clock.time()
    abandoned = asyncio.create_task(asyncio.to_thread(release.wait))
    await asyncio.sleep(0)
    deadline = asyncio.create_task(sleep_on(clock, 60))
    abandoned.cancel()
    await deadline
    release.set()


async def test_advancing_waits_for_a_thread_of_the_loops_executor() -> None:
    clock, log = ManualClock(), list[str]()

    async def work() -> None:
        await sleep_on(clock, 10)
        await asyncio.to_thread(asyncio.run, turns(2000))
        log.append(f"worked at {clock.time() - T0:g}")

    clock.call_at(T0 + 20, lambda: log.append("next"))
    working = asyncio.create_task(work())
    await clock.advance(30)
    assert log == ["worked at 10", "next"]
    await working


async def test_threads_of_a_loop_that_has_ended_hold_no_other_loop() -> None:
    clock, release = ManualClock(autojump=True), threading.Event()

    def leave_behind() -> None:
        loop = asyncio.new_event_loop()

        async def begin() -> None:
            clock.time()
            loop.run_in_executor(None, release.wait)

        loop.run_until_complete(begin())
        release.set()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    await asyncio.to_thread(leave_behind)
    await sleep_on(clock, 60)


async def test_without_autojump_it_stands_still() -> None:
    clock = ManualClock()
    sleeper = asyncio.create_task(sleep_on(clock, 1))
    await turns(100)
    assert not sleeper.done()
    assert clock.time() == T0
    await clock.advance(1)
    assert await sleeper == T0 + 1


async def test_a_deadline_called_off_is_not_jumped_to() -> None:
    clock = ManualClock(autojump=True)
    far = clock.call_at(T0 + 1000, lambda: None)
    far.cancel()
    assert await sleep_on(clock, 5) == T0 + 5
    await turns(50)
    assert clock.time() == T0 + 5


async def test_it_can_be_advanced_by_hand_as_well() -> None:
    clock, log = ManualClock(autojump=True), list[float]()
    clock.call_at(T0 + 10, lambda: log.append(clock.time() - T0))
    await clock.advance(4)
    assert log == []
    assert clock.time() == T0 + 4
    assert await sleep_on(clock, 100) == T0 + 104
    assert log == [10]


def test_it_jumps_on_every_loop_that_it_is_used_on() -> None:
    clock = ManualClock(autojump=True)

    async def abandoned() -> None:
        clock.call_at(clock.time() + 1000, lambda: None)

    asyncio.run(abandoned())
    before = clock.time()
    assert asyncio.run(sleep_on(clock, 5)) == before + 5


async def test_work_is_marked_from_any_thread_and_also_when_it_fails() -> None:
    clock = ManualClock()

    def work() -> None:
        with pytest.raises(ValueError, match="x"), clock.working():
            raise ValueError("x")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock._working == 0
