"""Turns at something that serves only so many at once, first come, first served."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque


class Turns:
    """A semaphore for the tasks of several event loops, released from any thread.

    Args:
        count: How many may have a turn at once.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: deque[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = deque()
        self._lock = threading.Lock()

    async def take(self) -> None:
        """Wait for a turn. Cancelling gives it up, or passes it on."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._free:
                self._free -= 1
                return
            granted: asyncio.Future[None] = loop.create_future()
            self._waiting.append((loop, granted))
        try:
            await granted
        except asyncio.CancelledError:
            with self._lock, contextlib.suppress(ValueError):
                self._waiting.remove((loop, granted))
            if granted.done() and not granted.cancelled():
                self.give()
            raise

    def give(self) -> None:
        """Give a turn to whoever waits longest."""
        while True:
            with self._lock:
                if not self._waiting:
                    self._free += 1
                    return
                loop, granted = self._waiting.popleft()
            try:
                loop.call_soon_threadsafe(self._grant, granted)
            except RuntimeError:  # its loop has ended
                continue
            return

    def _grant(self, granted: asyncio.Future[None]) -> None:
        if granted.done():
            self.give()
        else:
            granted.set_result(None)
