"""What an exception of users' code comes to: a failure, or something that goes on."""

from __future__ import annotations

import asyncio

from flock.errors import EngineError


def failure_of(error: BaseException, who: str) -> Exception | None:
    """Return the failure that something raised by user code comes to.

    Returns:
        The error itself; an `EngineError` for what would end the task or the process; or
        None for a cancellation from outside and for Ctrl-C, which are no failures.
    """
    if isinstance(error, Exception):
        return error
    if isinstance(error, KeyboardInterrupt):
        return None
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no event loop: a coroutine that is thrown away
        task = None
    is_cancellation = isinstance(error, asyncio.CancelledError)
    if task is None or (is_cancellation and task.cancelling()):
        return None
    failure = EngineError(f"{who} raised {type(error).__name__} by itself: {error}")
    failure.__cause__ = error
    return failure
