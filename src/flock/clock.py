"""Where the board's time comes from."""

from __future__ import annotations

import asyncio
import time
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager


class TimerHandle(Protocol):
    """A callback that is due later and can be called off."""

    def cancel(self) -> None:
        """Call it off; a second call does nothing."""
        ...


class Clock(Protocol):
    """The one source of time of a board; a constructor argument of `Flock`."""

    def time(self) -> float:
        """Return seconds since the Unix epoch."""
        ...

    def call_at(self, when: float, callback: Callable[[], None]) -> TimerHandle:
        """Call `callback` on the running event loop once `time()` has reached `when`.

        Args:
            when: Seconds since the Unix epoch; the past means as soon as possible.
            callback: Called without arguments; must not raise.
        """
        ...

    def working(self) -> AbstractContextManager[None]:
        """Mark that work goes on outside the event loop, in a thread, while inside.

        A clock that moves by itself must not move meanwhile; the system's does not care.
        """
        ...


class SystemClock:
    """The machine's wall clock, with timers of the running event loop."""

    time = staticmethod(time.time)
    """Return seconds since the Unix epoch."""

    def call_at(self, when: float, callback: Callable[[], None]) -> TimerHandle:
        """Call `callback` on the running event loop at `when`, in seconds since the epoch."""
        loop = asyncio.get_running_loop()
        return loop.call_later(max(0.0, when - time.time()), callback)

    def working(self) -> AbstractContextManager[None]:
        """Do nothing: the system's clock moves anyway."""
        return nullcontext()


class ShiftedClock:
    """Another clock's time, so many seconds later.

    Args:
        clock: The other clock.
        shift: Seconds to add to its time; negative for the past.
    """

    def __init__(self, clock: Clock, shift: float) -> None:
        self._clock = clock
        self._shift = shift

    def time(self) -> float:
        """Return seconds since the Unix epoch."""
        return self._clock.time() + self._shift

    def call_at(self, when: float, callback: Callable[[], None]) -> TimerHandle:
        """Call `callback` once `time()` has reached `when`, in seconds since the epoch."""
        return self._clock.call_at(when - self._shift, callback)

    def working(self) -> AbstractContextManager[None]:
        """Mark on the other clock that work goes on in a thread."""
        return self._clock.working()


async def pause(clock: Clock, span: float) -> None:
    """Wait until a clock has moved by `span` seconds."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end() -> None:
        if not done.done():
            done.set_result(None)

    timer = clock.call_at(clock.time() + span, end)
    try:
        await done
    finally:
        timer.cancel()


def as_datetime(seconds: float) -> datetime:
    """Return seconds since the Unix epoch as an aware datetime in UTC."""
    return datetime.fromtimestamp(seconds, UTC)
