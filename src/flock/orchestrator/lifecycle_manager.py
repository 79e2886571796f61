"""Background services: one waits for each kind of deadline, and all end with the board."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any, Final

from flock.clock import Clock, SystemClock, TimerHandle

logger = logging.getLogger(__name__)

_LOOK_AGAIN: Final = 60.0
"""Seconds of real time after which deadlines that are further away are looked at again."""

Action = Callable[[], Awaitable[None] | None]


class Deadline:
    """Something that falls due.

    Attributes:
        when: Seconds since the Unix epoch.
        action: What is then done; None once it was done or called off.
    """

    __slots__ = ("_owner", "action", "when")

    def __init__(self, when: float, action: Action, owner: Deadlines) -> None:
        self.when = when
        self.action: Action | None = action
        self._owner = owner

    def cancel(self) -> None:
        """Call it off; a second call does nothing."""
        if self.action is not None:
            self.action = None
            self._owner.count_cancelled()


class Deadlines:
    """Deadlines of one kind, the nearest first."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Deadline]] = []
        self._order = itertools.count()
        self._cancelled = 0
        self._changed: asyncio.Future[None] | None = None

    def add(self, when: float, action: Action) -> Deadline:
        """Do `action` at `when`, in seconds since the epoch.

        Actions that fall due together are done in the order they were added.
        """
        deadline = Deadline(when, action, self)
        heapq.heappush(self._heap, (when, next(self._order), deadline))
        if self._heap[0][2] is deadline:
            self.wake()
        return deadline

    def count_cancelled(self) -> None:
        """Note that one was called off, and drop those when they are most of what is kept."""
        self._cancelled += 1
        if self._cancelled > 16 and self._cancelled * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].action is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def wake(self) -> None:
        """Let the service look again."""
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    def clear(self) -> None:
        """Forget all of them."""
        self._heap.clear()
        self._cancelled = 0

    def pop_due(self, now: float) -> Deadline | None:
        """Return the next deadline that has come, or None."""
        while self._heap:
            when, _, deadline = self._heap[0]
            if deadline.action is None:
                heapq.heappop(self._heap)
                self._cancelled -= 1
            elif when <= now:
                heapq.heappop(self._heap)
                return deadline
            else:
                return None
        return None

    async def wait(self, clock: Clock) -> None:
        """Wait until the nearest deadline has come, or a nearer one is added.

        Far ones are looked at again after a minute of real time: the timers of event loops stand
        still while the machine sleeps, and follow no clock that is set.
        """
        loop = asyncio.get_running_loop()
        self._changed = loop.create_future()
        timers: list[TimerHandle] = []
        if self._heap:
            when = self._heap[0][0]
            timers.append(clock.call_at(when, self.wake))
            if when - clock.time() > _LOOK_AGAIN:
                timers.append(loop.call_later(_LOOK_AGAIN, self.wake))
        try:
            await self._changed
        finally:
            self._changed = None
            for timer in timers:
                timer.cancel()


class LifecycleManager:
    """Owns the background tasks of a board. Nothing polls: each sleeps until it is needed.

    Attributes:
        batches: When batches time out.
        windows: When join windows end.
        timers: When runs time out, are retried, schedules are due, or artifacts open.
        on_set_back: Called when the clock was set back.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock if clock is not None else SystemClock()
        self._batch_timeout_task: asyncio.Task[None] | None = None
        self._correlation_cleanup_task: asyncio.Task[None] | None = None
        self._timer_task: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._services: set[asyncio.Task[None]] = set()
        self._context = Context()
        self.on_set_back: Callable[[], None] | None = None
        self.batches = Deadlines()
        self.windows = Deadlines()
        self.timers = Deadlines()

    async def start(self) -> None:
        """Start all services on the running event loop."""
        self._context = copy_context()
        await self.start_batch_timeout_checker()
        await self.start_correlation_cleanup()
        await self.start_timers()

    async def start_batch_timeout_checker(self) -> None:
        """Start closing batches when they time out; a second call does nothing."""
        if self._batch_timeout_task is None:
            self._batch_timeout_task = self._start(self._serve(self.batches), "batch timeouts")

    async def start_correlation_cleanup(self) -> None:
        """Start closing join groups whose window is over; a second call does nothing."""
        if self._correlation_cleanup_task is None:
            service = self._serve(self.windows)
            self._correlation_cleanup_task = self._start(service, "join windows")

    async def start_timers(self) -> None:
        """Start serving run timeouts and retries; a second call does nothing."""
        if self._timer_task is None:
            self._timer_task = self._start(self._serve_timers(), "timers")

    def spawn(
        self, work: Coroutine[Any, Any, None], what: str, variables: Context | None = None
    ) -> asyncio.Task[None]:
        """Run a coroutine in a task that is awaited at shutdown, and whose failure is logged.

        Args:
            work: The coroutine.
            what: What it is, for the task's name.
            variables: The context variables it begins with; the manager's own unless said.
        """
        task = self._start(work, what, variables)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def serve(self, work: Coroutine[Any, Any, None], what: str) -> asyncio.Task[None]:
        """Run a service in a task that lasts until shutdown: nothing waits for its end."""
        task = self._start(work, what)
        self._services.add(task)
        task.add_done_callback(self._ended)
        return task

    def spawned(self) -> list[asyncio.Task[None]]:
        """Return the tasks that were spawned and go on, but for the caller's own."""
        current = asyncio.current_task()
        return [task for task in self._tasks if task is not current]

    def is_torn_down(self) -> bool:
        """Return whether somebody else ends the services: the event loop, as it closes."""
        task = self._timer_task
        return task is None or task.done() or task.cancelling() > 0

    async def shutdown(self) -> None:
        """Cancel every background task and wait for each to end."""
        self._batch_timeout_task = await _stop(self._batch_timeout_task)
        self._correlation_cleanup_task = await _stop(self._correlation_cleanup_task)
        self._timer_task = await _stop(self._timer_task)
        for task in [*self._tasks, *self._services]:
            await _stop(task)
        self.forget()

    def forget(self) -> None:
        """Drop all deadlines and the tasks of an event loop that has ended."""
        self._batch_timeout_task = None
        self._correlation_cleanup_task = None
        self._timer_task = None
        self._tasks.clear()
        self._services.clear()
        for deadlines in (self.batches, self.windows, self.timers):
            deadlines.clear()

    def _start(
        self, work: Coroutine[Any, Any, None], what: str, variables: Context | None = None
    ) -> asyncio.Task[None]:
        create_task = asyncio.get_running_loop().create_task  # a factory may take no context
        context = self._context if variables is None else variables
        return context.copy().run(create_task, work, name=f"flock {what}")

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._services.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("Background task failed: %s", task.get_name(), exc_info=error)

    async def _serve(self, deadlines: Deadlines) -> None:
        while True:
            while (due := deadlines.pop_due(self._clock.time())) is not None:
                await self._do(due)
            await deadlines.wait(self._clock)

    async def _serve_timers(self) -> None:
        before = self._clock.time()
        while True:
            now = self._clock.time()
            if now < before and self.on_set_back is not None:
                self.on_set_back()
            before = now
            while (due := self.timers.pop_due(self._clock.time())) is not None:
                await self._do(due)
            await self.timers.wait(self._clock)

    async def _do(self, due: Deadline) -> None:
        action, due.action = due.action, None
        if action is None:
            return
        try:
            answer = action()
            if answer is not None:
                await answer
        except Exception:
            logger.exception("What fell due failed")


async def _stop(task: asyncio.Task[None] | None) -> None:
    """Cancel a task and wait for it; its own outcome was seen when it ended."""
    if task is not None and task is not asyncio.current_task():
        task.cancel()
        await asyncio.wait([task])
