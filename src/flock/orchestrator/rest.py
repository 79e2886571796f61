"""Who waits for one workflow to come to rest, while others go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flock.orchestrator.idle import Idle


class Rest:
    """Tells whoever waits that nothing of a workflow can happen any more without new input.

    What waits in a batch or a join that runs by itself after some time is still to happen.

    Attributes:
        is_awaited: Whether anybody waits; ask before telling it of a workflow.
    """

    def __init__(self, idle: Idle, is_due: Callable[[str], bool]) -> None:
        self._idle = idle
        self._is_due = is_due
        self.clear()

    def clear(self) -> None:
        """Forget who waits, for a board that opens anew."""
        self.is_awaited = False
        self._waiters: dict[str, set[asyncio.Future[None]]] = {}
        self._to_look_at: set[str] = set()
        self._is_look_due = False

    def is_at_rest(self, workflow: str) -> bool:
        """Return whether nothing of a workflow goes on or falls due."""
        return not self._idle.open_in(workflow) and not self._is_due(workflow)

    def on_zero(self, workflow: str) -> None:
        """Look, once this turn of the event loop is over, whether a workflow is at rest still."""
        if workflow in self._waiters:
            self._to_look_at.add(workflow)
        if self._to_look_at and not self._is_look_due:
            self._is_look_due = True
            asyncio.get_running_loop().call_soon(self._look)

    async def wait(self, workflow: str) -> None:
        """Wait until a workflow is at rest.

        Raises:
            NotIdle: The board was shut down before.
        """
        if self.is_at_rest(workflow):
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(workflow, set()).add(waiter)
        self.is_awaited = True
        if not self._idle.open_in(workflow):
            self._to_look_at.add(workflow)
        try:
            await waiter
        finally:
            self._forget(workflow, waiter)

    def fail(self, error: Exception) -> None:
        """Let everybody who waits know that the board closes first."""
        for waiters in self._waiters.values():
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_exception(error)

    def _look(self) -> None:
        """Wake who waits for what is at rest. What falls due is looked at again next time."""
        self._is_look_due = False
        for workflow in list(self._to_look_at):
            if not self.is_at_rest(workflow):
                if self._idle.open_in(workflow):  # it will be told of again
                    self._to_look_at.discard(workflow)
                continue
            self._to_look_at.discard(workflow)
            for waiter in self._waiters.get(workflow, ()):
                if not waiter.done():
                    waiter.set_result(None)

    def _forget(self, workflow: str, waiter: asyncio.Future[None]) -> None:
        waiters = self._waiters.get(workflow)
        if waiters is None or waiter not in waiters:
            return  # of a board that was closed since
        waiters.discard(waiter)
        if not waiters:
            del self._waiters[workflow]
            self._to_look_at.discard(workflow)
        self.is_awaited = bool(self._waiters)
