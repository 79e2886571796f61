"""A clock that stands still until it is moved."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import threading
import weakref
from collections.abc import Callable, Generator
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

from flock.clock import as_datetime
from flock.core.filters import require_aware
from flock.core.spans import Span, seconds

_QUIET_TURNS = 3
"""How many turns of the event loop must find nothing ready: one for callbacks of the turn
before, one for what threads handed over, one to be sure."""
_PATIENCE = 5.0
"""Seconds of real time that a function in a thread may take before it counts as blocked."""
_SOON = 1.0
"""Seconds of real time within which a timer of the event loop itself is waited for."""


class _Timer:
    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class ManualClock:
    """A clock for tests: time passes when the test says so, and deadlines fall due exactly.

    Args:
        start: The time it shows first; 2026-01-01 in UTC unless said.
        autojump: Whether it jumps to the next deadline by itself whenever nothing else is
            left to do on the event loop: no callback ready, no function in a thread (an
            agent's own, or one handed to `asyncio.to_thread` or `loop.run_in_executor` and
            awaited), no real timer within the next second.

    Example:
        ```python
        from datetime import timedelta

        from pydantic import BaseModel

        from flock import BatchSpec, Flock
        from flock.testing import ManualClock


        class Line(BaseModel):
            text: str


        clock = ManualClock()
        flock = Flock(clock=clock)
        sizes: list[int] = []
        flock.agent("daily").consumes(Line, batch=BatchSpec(timeout=timedelta(days=1))).calls(
            lambda lines: sizes.append(len(lines))
        )

        async with flock:
            await flock.publish(Line(text="a"))
            await clock.advance(timedelta(hours=23))
            print(sizes)  # -> []
            await clock.advance(timedelta(hours=1))
            print(sizes)  # -> [1]
        ```
    """

    def __init__(self, start: datetime | None = None, *, autojump: bool = False) -> None:
        require_aware(start, "ManualClock")
        self._now = (start or datetime(2026, 1, 1, tzinfo=UTC)).timestamp()
        self._autojump = autojump
        self._timers: list[tuple[float, int, _Timer]] = []
        self._order = itertools.count()
        self._working = 0
        self._lock = threading.Lock()
        self._in_executors: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, int] = (
            weakref.WeakKeyDictionary()
        )
        self._watch: asyncio.Handle | None = None
        self._watched_loop: asyncio.AbstractEventLoop | None = None

    def time(self) -> float:
        """Return seconds since the Unix epoch."""
        with suppress(RuntimeError):  # no event loop runs here
            self._observe(asyncio.get_running_loop())
        return self._now

    def now(self) -> datetime:
        """Return the time it shows, in UTC."""
        return as_datetime(self._now)

    def call_at(self, when: float, callback: Callable[[], None]) -> _Timer:
        """Call `callback` once the clock is moved to `when`; at once if it is there."""
        timer = _Timer(when, callback)
        if when <= self._now:
            asyncio.get_running_loop().call_soon(_fire, timer)
            return timer
        heapq.heappush(self._timers, (when, next(self._order), timer))
        if self._autojump:
            self._start_watching()
        return timer

    @contextmanager
    def working(self) -> Generator[None]:
        """Mark that a thread works while inside, so that time does not move by itself."""
        with self._lock:
            self._working += 1
        try:
            yield
        finally:
            with self._lock:
                self._working -= 1

    async def advance(self, span: Span) -> None:
        """Move time forward, and let what falls due on the way happen in order.

        Returns when nothing more can happen without time or the outside. An agent that is
        blocked on something else is not waited for.

        Args:
            span: A `timedelta` or seconds.
        """
        end = self._now + seconds(span, "advance", zero=True)
        await self.settle()
        while (due := self._next_due()) is not None and due <= end:
            self._jump(due)
            await self.settle()
        self._now = max(self._now, end)
        await self.settle()

    async def advance_to(self, moment: datetime) -> None:
        """Move time forward to a moment; see `advance`.

        Raises:
            ValueError: The moment is naive or past.
        """
        require_aware(moment, "advance_to")
        await self.advance(timedelta(seconds=moment.timestamp() - self._now))

    async def settle(self) -> None:
        """Let everything happen that can without time or the outside."""
        loop = asyncio.get_running_loop()
        self._observe(loop)
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        patience = loop.time() + _PATIENCE
        quiet = 0
        while quiet < _QUIET_TURNS:
            await asyncio.sleep(0)
            if _is_busy(loop):
                quiet = 0
            elif self._is_working(loop) and loop.time() < patience:
                await asyncio.sleep(0.001)
                quiet = 0
            else:
                quiet += 1
        if self._autojump and self._timers:
            self._start_watching()

    def _next_due(self) -> float | None:
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def _jump(self, when: float) -> None:
        self._now = max(self._now, when)
        while (due := self._next_due()) is not None and due <= self._now:
            _fire(heapq.heappop(self._timers)[2])

    # --- threads ---

    def _is_working(self, loop: asyncio.AbstractEventLoop) -> bool:
        return bool(self._working or self._in_executors.get(loop))

    def _observe(self, loop: asyncio.AbstractEventLoop) -> None:
        """Count what is handed to executors from here on, until its result is on the loop.

        `asyncio.to_thread` goes through the loop's `run_in_executor`, too. Executors
        themselves cannot be asked what they work on.
        """
        if loop in self._in_executors:
            return
        self._in_executors[loop] = 0
        run = loop.run_in_executor
        counts = self._in_executors

        def ended(_: asyncio.Future[object]) -> None:
            counts[loop] -= 1

        def run_in_executor(
            executor: Executor | None, func: Callable[..., object], *args: object
        ) -> asyncio.Future[object]:
            future: asyncio.Future[object] = run(executor, func, *args)
            counts[loop] += 1
            future.add_done_callback(ended)
            return future

        with suppress(AttributeError):  # a loop that is not Python's own may refuse
            loop.run_in_executor = run_in_executor

    # --- autojump ---

    def _start_watching(self) -> None:
        loop = asyncio.get_running_loop()
        self._observe(loop)
        if self._watch is None or self._watched_loop is not loop:
            self._watched_loop = loop
            self._watch = loop.call_soon(self._look, 0)

    def _look(self, quiet: int) -> None:
        """Look once per turn of the event loop whether nothing is left but time."""
        loop = asyncio.get_running_loop()
        due = self._next_due()
        if due is None:
            self._watch = None
            return
        if _is_busy(loop):
            self._watch = loop.call_soon(self._look, 0)
        elif self._is_working(loop):
            self._watch = loop.call_later(0.001, self._look, 0)
        elif (soon := _next_real_timer(loop)) is not None and soon <= _SOON:
            self._watch = loop.call_later(max(soon, 0.0), self._look, 0)
        elif quiet < _QUIET_TURNS:
            self._watch = loop.call_soon(self._look, quiet + 1)
        else:
            self._jump(due)
            self._watch = loop.call_soon(self._look, 0)


def _fire(timer: _Timer) -> None:
    callback, timer.callback = timer.callback, None
    if callback is not None:
        callback()


def _is_busy(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether callbacks are ready to run, besides the one that asks."""
    ready: object = getattr(loop, "_ready", ())
    return bool(ready)


def _next_real_timer(loop: asyncio.AbstractEventLoop) -> float | None:
    """Return in how many seconds the loop's next own timer is due, if there is one."""
    scheduled: list[asyncio.TimerHandle] = getattr(loop, "_scheduled", [])
    waits = [timer.when() - loop.time() for timer in scheduled if not timer.cancelled()]
    return min(waits) if waits else None
