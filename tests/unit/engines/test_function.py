"""A function is called with what it asks for, and streams if it yields."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pydantic import BaseModel

from flock.core.context import Context, EvalInputs
from flock.core.outputs import OutputGroup
from flock.core.signature import read_signature
from flock.engines.function import FunctionEngine
from flock.engines.threads import ThreadPool
from flock.errors import EngineError
from tests.unit.support import A, B, agent_of, artifact, until


@pytest.fixture
def pool() -> Iterator[ThreadPool]:
    made = ThreadPool()
    yield made
    made.close()


def inputs(*models: BaseModel) -> EvalInputs:
    return EvalInputs([artifact(model) for model in models])


class Called:
    """An engine over a function, as an agent calls it."""

    def __init__(self, pool: ThreadPool, function: Callable[..., Any]) -> None:
        self.marks: list[str] = []
        self.engine = FunctionEngine(read_signature(function), pool, self.working)

    @contextmanager
    def working(self) -> Generator[None]:
        self.marks.append("in")
        try:
            yield
        finally:
            self.marks.append("out")

    async def evaluate(self, *models: BaseModel, is_batch: bool = False) -> object:
        ctx = Context("w", is_batch=is_batch)
        return await self.engine.evaluate(agent_of(), ctx, inputs(*models), OutputGroup())

    def stream(self, *models: BaseModel) -> AsyncIterator[object]:
        return self.engine.stream(agent_of(), Context("w"), inputs(*models), OutputGroup())


async def test_a_sync_function_runs_in_a_thread_and_marks_that_it_works(pool: ThreadPool) -> None:
    def double(a: A) -> tuple[int, int]:
        return a.n * 2, threading.get_ident()

    called = Called(pool, double)
    answer: Any = await called.evaluate(A(n=2))
    assert answer[0] == 4
    assert answer[1] != threading.get_ident()
    assert called.marks == ["in", "out"]


async def test_an_async_function_runs_on_the_loop(pool: ThreadPool) -> None:
    async def double(a: A) -> tuple[int, int]:
        return a.n * 2, threading.get_ident()

    called = Called(pool, double)
    assert await called.evaluate(A(n=2)) == (4, threading.get_ident())
    assert called.marks == []


async def test_it_gets_what_its_parameters_ask_for(pool: ThreadPool) -> None:
    def joined(ctx: Context, b: B, many: list[A]) -> object:
        return ctx.correlation_id, b, many

    answer = await Called(pool, joined).evaluate(A(n=1), B(n=2), A(n=3))
    assert answer == ("w", B(n=2), [A(n=1), A(n=3)])


@pytest.mark.parametrize("is_batch", [True, False])
async def test_an_unannotated_parameter_gets_the_model_or_the_list(
    pool: ThreadPool, is_batch: bool
) -> None:
    def whatever(it: Any) -> object:
        return it

    answer = await Called(pool, whatever).evaluate(A(n=1), is_batch=is_batch)
    assert answer == ([A(n=1)] if is_batch else A(n=1))


async def test_an_iterator_that_a_function_returns_is_read_in_threads(pool: ThreadPool) -> None:
    threads: list[int] = []

    def lazily(n: int) -> Iterator[B]:
        for i in range(n):
            threads.append(threading.get_ident())
            yield B(n=i)

    def lazy(a: A) -> Any:
        return lazily(a.n)

    async def lazy_too(a: A) -> Any:
        return lazily(a.n)

    for function in (lazy, lazy_too):
        assert await Called(pool, function).evaluate(A(n=2)) == [B(n=0), B(n=1)]
    assert len(threads) == 4
    assert threading.get_ident() not in threads


async def test_an_awaitable_that_a_function_returns_is_awaited(pool: ThreadPool) -> None:
    async def double(a: A) -> B:
        return B(n=a.n * 2)

    def plain(a: A) -> Any:
        return double(a)

    assert await Called(pool, plain).evaluate(A(n=2)) == B(n=4)


async def test_a_missing_input_is_an_engine_error(pool: ThreadPool) -> None:
    def needs(a: A) -> None:
        del a

    with pytest.raises(EngineError, match="'a'"):
        await Called(pool, needs).evaluate(B())


async def test_a_failing_function_fails_with_its_own_error(pool: ThreadPool) -> None:
    def fail(a: A) -> None:
        raise KeyError(a.n)

    called = Called(pool, fail)
    with pytest.raises(KeyError):
        await called.evaluate(A())
    assert called.marks == ["in", "out"]


# --- generators -------------------------------------------------------------------------------


def counting(log: list[str]) -> Callable[..., Iterator[B]]:
    def count(a: A) -> Iterator[B]:
        try:
            for n in range(a.n):
                log.append(f"making {n}")
                yield B(n=n)
        finally:
            log.append("closed")

    return count


def counting_async(log: list[str]) -> Callable[..., AsyncIterator[B]]:
    async def count(a: A) -> AsyncIterator[B]:
        try:
            for n in range(a.n):
                await asyncio.sleep(0)
                log.append(f"making {n}")
                yield B(n=n)
        finally:
            log.append("closed")

    return count


Make = Callable[[list[str]], Callable[..., Any]]
KINDS: list[Make] = [counting, counting_async]


@pytest.mark.parametrize("make", KINDS)
async def test_each_yield_is_taken_before_the_next_is_made(pool: ThreadPool, make: Make) -> None:
    log: list[str] = []
    called = Called(pool, make(log))
    assert called.engine.streams
    async for answer in called.stream(A(n=2)):
        assert isinstance(answer, B)
        log.append(f"took {answer.n}")
    assert log == ["making 0", "took 0", "making 1", "took 1", "closed"]


@pytest.mark.parametrize("make", KINDS)
async def test_evaluating_a_generator_gives_all_it_yields(pool: ThreadPool, make: Make) -> None:
    assert await Called(pool, make([])).evaluate(A(n=3)) == [B(n=0), B(n=1), B(n=2)]
    assert await Called(pool, make([])).evaluate(A(n=0)) == []


@pytest.mark.parametrize("make", KINDS)
async def test_a_stream_that_is_left_early_closes_its_generator(
    pool: ThreadPool, make: Make
) -> None:
    log: list[str] = []
    stream: Any = Called(pool, make(log)).stream(A(n=9))
    assert await anext(stream) == B(n=0)
    await stream.aclose()
    assert log == ["making 0", "closed"]


async def test_a_failure_in_the_middle_comes_after_what_was_yielded(pool: ThreadPool) -> None:
    def breaking(a: A) -> Iterator[B]:
        yield B(n=a.n)
        raise ValueError("broken")

    stream = Called(pool, breaking).stream(A(n=7))
    assert await anext(stream) == B(n=7)
    with pytest.raises(ValueError, match="broken"):
        await anext(stream)


async def test_cancelling_a_stream_while_its_generator_is_busy_closes_nothing_under_it(
    pool: ThreadPool,
) -> None:
    entered, release, ended = threading.Event(), threading.Event(), threading.Event()

    def slow(a: A) -> Iterator[B]:
        try:
            entered.set()
            release.wait()
            yield B(n=a.n)
        finally:
            ended.set()

    async def read() -> None:
        async for _ in Called(pool, slow).stream(A()):
            pass

    reader = asyncio.create_task(read())
    await until(entered.is_set)
    reader.cancel()
    await asyncio.wait([reader])
    assert reader.cancelled()
    release.set()
    await until(lambda: bool(pool._idle))
