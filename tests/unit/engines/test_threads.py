"""Users' synchronous functions run in threads that are reused, abandoned and ended in order."""

import asyncio
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from flock.engines.threads import ThreadPool
from tests.unit.support import turns, until


@pytest.fixture
def pool() -> Iterator[ThreadPool]:
    made = ThreadPool()
    yield made
    made.close()


async def test_a_call_returns_what_the_function_returned(pool: ThreadPool) -> None:
    def add(a: int, *, b: int) -> tuple[int, int]:
        return a + b, threading.get_ident()

    total, thread = await pool.call(add, 1, b=2)
    assert total == 3
    assert thread != threading.get_ident()


@pytest.mark.parametrize(
    "error", [ValueError("x"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()]
)
async def test_a_call_raises_what_the_function_raised(
    pool: ThreadPool, error: BaseException
) -> None:
    def fail() -> None:
        raise error

    caught: BaseException | None = None
    try:
        await pool.call(fail)
    except BaseException as raised:  # noqa: BLE001 - whatever it is
        caught = raised
    assert caught is error


async def test_a_stop_iteration_is_the_cause_of_a_runtime_error(pool: ThreadPool) -> None:
    def fail() -> None:
        raise StopIteration(5)

    with pytest.raises(RuntimeError, match="raised StopIteration") as caught:
        await pool.call(fail)
    assert isinstance(caught.value.__cause__, StopIteration)


async def test_a_cancelled_error_of_the_function_is_raised_and_cancels_nobody(
    pool: ThreadPool,
) -> None:
    def fail() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await pool.call(fail)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_an_idle_thread_is_used_again(pool: ThreadPool) -> None:
    first = await pool.call(threading.get_ident)
    await until(lambda: bool(pool._idle))
    assert await pool.call(threading.get_ident) == first


async def test_calls_never_wait_for_a_thread_that_another_one_blocks(pool: ThreadPool) -> None:
    release = threading.Event()
    blocked = [asyncio.create_task(pool.call(release.wait)) for _ in range(20)]
    await turns()
    assert await pool.call(lambda: "not blocked") == "not blocked"
    release.set()
    assert await asyncio.gather(*blocked) == [True] * 20


async def test_a_call_sees_the_callers_context_and_changes_only_its_copy(pool: ThreadPool) -> None:
    variable: ContextVar[str] = ContextVar("variable", default="none")
    variable.set("caller's")

    def look() -> str:
        seen = variable.get()
        variable.set("changed")
        return seen

    assert await pool.call(look) == "caller's"
    assert variable.get() == "caller's"


async def test_cancelling_the_caller_abandons_the_call(pool: ThreadPool) -> None:
    release, entered, left = threading.Event(), threading.Event(), threading.Event()

    def block() -> str:
        entered.set()
        release.wait()
        left.set()
        return "dropped"

    caller = asyncio.create_task(pool.call(block))
    await until(entered.is_set)
    caller.cancel()
    await asyncio.wait([caller])
    assert caller.cancelled()
    assert not left.is_set(), "the call goes on"
    release.set()
    await until(lambda: len(pool._idle) == 1)
    assert left.is_set()


async def test_an_abandoned_call_that_fails_disturbs_nobody(pool: ThreadPool) -> None:
    release, entered = threading.Event(), threading.Event()

    def block() -> None:
        entered.set()
        release.wait()
        raise ValueError("nobody hears it")

    caller = asyncio.create_task(pool.call(block))
    await until(entered.is_set)
    caller.cancel()
    await asyncio.wait([caller])
    release.set()
    await until(lambda: len(pool._idle) == 1)
    assert await pool.call(lambda: 1) == 1


def test_a_call_that_outlives_its_event_loop_disturbs_nobody() -> None:
    pool, release, entered = ThreadPool(), threading.Event(), threading.Event()
    raised: list[Any] = []
    before = threading.excepthook
    others = set(threading.enumerate())  # such as a worker of a board that nobody closed
    threading.excepthook = raised.append
    try:

        def block() -> None:
            entered.set()
            release.wait()

        async def leave() -> None:
            caller = asyncio.create_task(pool.call(block))
            await until(entered.is_set)
            caller.cancel()
            await asyncio.wait([caller])

        asyncio.run(leave())
        found = set(threading.enumerate()) - others
        threads = [thread for thread in found if thread.name == "flock worker"]
        pool.close()
        release.set()
        for thread in threads:
            thread.join()
    finally:
        threading.excepthook = before
    assert raised == []


async def test_closing_ends_and_joins_the_idle_threads() -> None:
    pool = ThreadPool()
    before = threading.active_count()
    await asyncio.gather(*(pool.call(lambda: None) for _ in range(5)))
    await until(lambda: threading.active_count() - before == len(pool._idle))
    workers = [worker.thread for worker in pool._idle]
    assert workers
    pool.close()
    assert not any(thread.is_alive() for thread in workers)
    pool.close()


async def test_a_busy_thread_ends_with_its_call_when_the_pool_was_closed() -> None:
    pool, release, entered = ThreadPool(), threading.Event(), threading.Event()

    def block() -> threading.Thread:
        entered.set()
        release.wait()
        return threading.current_thread()

    caller = asyncio.create_task(pool.call(block))
    await until(entered.is_set)
    pool.close()
    assert not caller.done()
    release.set()
    thread = await caller
    thread.join()
    assert pool._idle == []


async def test_a_pool_that_was_opened_again_keeps_idle_threads() -> None:
    pool = ThreadPool()
    pool.close()
    pool.open()
    await pool.call(lambda: None)
    await until(lambda: bool(pool._idle))
    pool.close()


async def test_a_thread_is_a_daemon_and_does_not_keep_the_process_alive(pool: ThreadPool) -> None:
    thread = await pool.call(threading.current_thread)
    assert thread.daemon
    assert thread.name == "flock worker"
