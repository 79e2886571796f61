"""Commits that have to become true, though the store may not be able to for a while."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from flock.clock import Clock, pause
from flock.errors import StoreError, StoreLocked, StoreReadOnly, StoreUnavailable
from flock.orchestrator.events import EventBus
from flock.store.protocol import BlackboardStore, Commit

logger = logging.getLogger(__name__)

_DELAYS: Final = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0)
"""Seconds of the board's clock after which a commit is tried again: some 24 in all."""
_PASSING: Final = (StoreUnavailable, StoreReadOnly, StoreLocked)


def was_awaited(error: BaseException) -> bool:
    """Whether this is what a board got that waited for its own store in vain."""
    return isinstance(error, StoreError) and error.was_awaited


class Patience:
    """Tries commits again while the store is out of order, as long as that helps.

    What an agent made is not thrown away for a disk that is full for a moment. All commits share
    the patience: once it ran out for one, the others fail at once, until one succeeds.

    Attributes:
        is_tried: Whether the last commit could not be done, and none succeeded since.
    """

    def __init__(self, store: BlackboardStore, clock: Clock, events: EventBus) -> None:
        self._store = store
        self._clock = clock
        self._events = events
        self.is_tried = False
        self._is_over = False

    def renew(self) -> None:
        """Forget what was, for a board that opens anew."""
        self.is_tried = self._is_over = False

    async def commit(self, commit: Commit, on_wait: Callable[[], None] | None = None) -> None:
        """Make a commit true, as soon as the store can.

        Args:
            commit: The commit.
            on_wait: Called before it waits to try again.

        Raises:
            StoreError: It could not be done in all that time, or never can be.
        """
        if self._events.is_heard:
            self._events.attend(commit)
        try:
            await self._commit(commit, on_wait)
        finally:
            if self._events.is_heard:
                self._events.follow(commit)

    async def _commit(self, commit: Commit, on_wait: Callable[[], None] | None) -> None:
        delays = iter(_DELAYS)
        while True:
            try:
                await self._store.commit(commit)
            except _PASSING as error:
                if not self.is_tried:
                    logger.warning("The board waits for its store: %s", error)
                self.is_tried = True
                delay = next(delays, None)
                if delay is None:
                    self._is_over = True
                if delay is None or self._is_over:
                    error.was_awaited = True
                    raise
            else:
                if self.is_tried:
                    logger.warning("The store of the board can be written again")
                self.is_tried = self._is_over = False
                return
            if on_wait is not None:
                on_wait()
            await pause(self._clock, delay)
