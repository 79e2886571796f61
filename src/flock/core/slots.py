"""A counted limit that can be taken without waiting, or waited for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class Slots:
    """How many may run at once; waiters are served in the order they came.

    Unlike `asyncio.Semaphore` it can be taken synchronously and tells when one is free, so
    that a scheduler starts tasks only for runs that can go on at once.

    Attributes:
        limit: How many there are.
        used: How many are taken.
        waiters: Who waits for one.
        on_free: Called when a slot became free that was waited for, or there are more.
    """

    __slots__ = ("limit", "on_free", "used", "waiters")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.on_free: Callable[[], None] | None = None
        self.waiters: deque[asyncio.Future[None]] = deque()

    def take(self) -> bool:
        """Take a slot if one is free, and say whether it was."""
        if self.used >= self.limit:
            return False
        self.used += 1
        return True

    def give(self) -> None:
        """Give a slot back: to the first waiter, if there is one."""
        self.used -= 1
        if self.waiters:
            self._serve()

    def clear(self) -> None:
        """Forget what an event loop that has ended held."""
        self.used = 0
        self.waiters.clear()

    async def __aenter__(self) -> None:
        if self.take():
            return
        waiter = asyncio.get_running_loop().create_future()
        self.waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._give_and_tell()
            raise

    async def __aexit__(self, *exc: object) -> None:
        self._give_and_tell()

    def resize(self, limit: int) -> None:
        """Change how many there are."""
        self.limit = limit
        self._serve()
        if self.on_free is not None:
            self.on_free()

    def _serve(self) -> None:
        """Give what is free to those who wait."""
        waiters = self.waiters
        while waiters and self.used < self.limit:
            waiter = waiters.popleft()
            if not waiter.done():
                self.used += 1
                waiter.set_result(None)

    def _give_and_tell(self) -> None:
        self.give()
        if self.on_free is not None and self.used < self.limit:
            self.on_free()
