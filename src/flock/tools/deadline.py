"""A bound on how long something may take, on the board's clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from flock.clock import Clock


@asynccontextmanager
async def deadline(clock: Clock, span: float) -> AsyncGenerator[asyncio.Timeout]:
    """Cancel what is inside once a clock has moved by so many seconds.

    Raises:
        TimeoutError: It was; `expired()` of what this yields tells it from one raised inside.
    """
    async with asyncio.timeout(None) as scope:
        timer = clock.call_at(clock.time() + span, lambda: expire(scope))
        try:
            yield scope
        finally:
            timer.cancel()


def expire(scope: asyncio.Timeout) -> None:
    """Let the time of what is inside be over; without effect if it is."""
    if not scope.expired():
        scope.reschedule(asyncio.get_running_loop().time())


async def passed(clock: Clock, span: float) -> None:
    """Wait until a clock has moved by so many seconds."""
    over = asyncio.Event()
    timer = clock.call_at(clock.time() + span, over.set)
    try:
        await over.wait()
    finally:
        timer.cancel()
