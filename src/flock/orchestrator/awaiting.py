"""Who waits until a condition holds."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from flock.clock import Clock

if TYPE_CHECKING:
    from flock.core.conditions import Condition
    from flock.orchestrator.inquiry import Inquiry
    from flock.orchestrator.lookout import Lookout


class Awaiting:
    """Lets callers wait, each in its own task, until a condition holds, time is over or all is."""

    def __init__(self, lookout: Lookout, clock: Clock) -> None:
        self._lookout = lookout
        self._clock = clock
        self._waiters: dict[_Waiter, None] = {}

    async def until(self, condition: Condition, span: float | None) -> bool:
        """Wait until a condition holds; return whether it did in time.

        Args:
            condition: The condition.
            span: Seconds of the board's clock; 0 asks once, None waits without end.

        Raises:
            NotIdle: The board is closed meanwhile.
            StoreError: Its store could not be read.
        """
        waiter = _Waiter()
        inquiry = waiter.inquiry = self._lookout.ask(condition, waiter.look)
        self._waiters[waiter] = None
        due = None if span is None else self._clock.time() + span
        timer = None
        try:
            await inquiry.learn_stored()  # whatever time that takes: it is asked once at least
            waiter.look()
            if span == 0:
                if not waiter.is_over:
                    await inquiry.learn()
                return waiter.outcome
            if due is not None:
                timer = self._clock.call_at(due, partial(waiter.end, is_held=False))
            while not waiter.is_over:
                if inquiry.is_stale:
                    await waiter.learn()
                else:
                    await waiter.more()
            return waiter.outcome
        finally:
            if timer is not None:
                timer.cancel()
            del self._waiters[waiter]
            if not inquiry.is_closed:
                self._lookout.close(inquiry)

    def fail(self, error: Exception) -> None:
        """Let everybody know that what they wait for will not come."""
        for waiter in self._waiters:
            waiter.end(is_held=False, error=error)


class _Waiter:
    """One caller that waits.

    Attributes:
        inquiry: What it asks.
        is_over: Whether it need not wait any more.
    """

    inquiry: Inquiry

    def __init__(self) -> None:
        self.is_over = False
        self._is_held = False
        self._error: Exception | None = None
        self._more: asyncio.Future[None] | None = None
        self._limit: asyncio.Timeout | None = None

    @property
    def outcome(self) -> bool:
        """Whether it held.

        Raises:
            NotIdle: The board was closed first.
        """
        if self._error is not None:
            raise self._error
        return self._is_held

    def look(self) -> None:
        """See whether it holds by now, or there is something to learn."""
        if self.inquiry.verdict:
            self.end(is_held=True)
        elif self.inquiry.is_stale:
            self._wake()

    def end(self, *, is_held: bool, error: Exception | None = None) -> None:
        """Let the caller go on, whatever it is learning."""
        if self.is_over:
            return
        self.is_over, self._is_held, self._error = True, is_held, error
        self._wake()
        if self._limit is not None:
            self._limit.reschedule(0.0)
            self._limit = None

    async def learn(self) -> None:
        """Learn what is not known, until it is over."""
        try:
            async with asyncio.timeout(None) as limit:
                self._limit = limit
                try:
                    await self.inquiry.learn()
                finally:
                    self._limit = None
        except TimeoutError:
            if not self.is_over:
                raise

    async def more(self) -> None:
        """Wait until it is over, or there is more to learn."""
        self._more = asyncio.get_running_loop().create_future()
        try:
            await self._more
        finally:
            self._more = None

    def _wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)
