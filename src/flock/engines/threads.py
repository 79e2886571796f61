"""Threads for users' synchronous functions."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

T = TypeVar("T")

_Job = Callable[[], Callable[[], None]]
"""Does something, and returns what tells of it."""


class ThreadPool:
    """Daemon threads that are started when needed and reused while they are idle.

    How many run is up to the callers' own limits, so that no call ever waits for a thread
    that another one blocks. A thread that hangs cannot be ended: it is abandoned with its
    call, and as a daemon does not keep the process alive.
    """

    def __init__(self) -> None:
        self._idle: list[_Worker] = []
        self._lock = threading.Lock()
        self._is_closed = False

    async def call(self, fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:  # noqa: ANN401
        """Call `fn` in a thread, in a copy of the caller's context variables.

        Cancelling the caller abandons the call: it goes on, and its result is dropped.

        Raises:
            BaseException: Whatever `fn` raised; a `StopIteration` as the cause of a
                `RuntimeError`, since a coroutine cannot raise it.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[tuple[T | None, BaseException | None]] = loop.create_future()
        context = contextvars.copy_context()

        def deliver(result: T | None, error: BaseException | None) -> None:
            if not future.done():
                future.set_result((result, error))

        def job() -> Callable[[], None]:
            result: T | None = None
            error: BaseException | None = None
            try:
                result = context.run(fn, *args, **kwargs)
            except BaseException as raised:  # noqa: BLE001 - handed to the awaiting caller
                error = raised
            return partial(tell, result, error)

        def tell(result: T | None, error: BaseException | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits
                loop.call_soon_threadsafe(deliver, result, error)

        self._worker().jobs.put(job)
        result, error = await future
        if error is None:
            return cast("T", result)
        try:  # raised here: a future would throw a GeneratorExit, which closes who waits
            if isinstance(error, StopIteration):
                msg = f"{fn!r} raised StopIteration"
                raise RuntimeError(msg) from error
            raise error
        finally:
            del error

    def close(self) -> None:
        """End the idle threads; busy ones end with their call."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.jobs.put(None)
        for worker in idle:
            worker.thread.join()

    def open(self) -> None:
        """Keep idle threads again, after `close`."""
        self._is_closed = False

    def _worker(self) -> _Worker:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return _Worker(self._rest)

    def _rest(self, worker: _Worker) -> bool:
        """Take a worker back; False if it is to end."""
        with self._lock:
            if self._is_closed:
                return False
            self._idle.append(worker)
            return True


class _Worker:
    def __init__(self, rest: Callable[[_Worker], bool]) -> None:
        self.jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._rest = rest
        self.thread = threading.Thread(target=self._work, name="flock worker", daemon=True)
        self.thread.start()

    def _work(self) -> None:
        while (job := self.jobs.get()) is not None:
            tell = job()
            del job
            # Before the caller goes on: whoever closes the pool then finds it here, and joins it.
            goes_on = self._rest(self)
            tell()
            del tell
            if not goes_on:
                return
