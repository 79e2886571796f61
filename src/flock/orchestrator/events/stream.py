"""One listener's view of what happens."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, Self

from flock.errors import DeclarationError
from flock.orchestrator.events.base import BoardEvent
from flock.orchestrator.events.kinds import Event, EventsMissed
from flock.orchestrator.events.past import Past
from flock.orchestrator.events.position import Position

if TYPE_CHECKING:
    from flock.store.protocol import BlackboardStore

BUFFER: Final = 10_000
"""How many events of either sort, lasting and passing, a listener may fall behind by."""


class EventStream:
    """What happens on a board as one listener sees it: an async iterator, bounded.

    It listens from its creation until `aclose`, the board's shutdown, or until it is
    dropped. A listener that falls behind loses no lasting event: beyond what is buffered, it
    reads them from the store. Of passing ones the oldest are dropped, and it is told how many.

    Made by `Flock.events`.
    """

    def __init__(
        self,
        store: BlackboardStore,
        now: Callable[[], float],
        forget: Callable[[EventStream], None],
        *,
        correlation_id: str | None = None,
        after: Position | None = None,
        kinds: tuple[type[BoardEvent], ...] | None = None,
        begin: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._store = store
        self._now = now
        self._forget = forget
        self._correlation_id = correlation_id
        self._after = after
        self._kinds = kinds
        self._begin = begin
        self._lasting: deque[Event] = deque()
        self._passing: deque[Event] = deque()
        self._missed = 0
        # All up to `_taken` is in `_lasting` or was before it; all up to `_told` happened.
        self._taken: Position | None = None
        self._told: Position | None = None
        self._past: Past | None = None
        self._reading = asyncio.Lock()
        self._ended = False
        self._waiters: list[asyncio.Future[None]] = []

    # --- told by the bus ---

    def begin(self, mark: Position) -> None:
        """Begin to listen on a board that is as far as this."""
        self._taken = mark if self._after is None else self._after
        self._told = mark
        self._wake()

    def take(self, before: Position, after: Position, events: Sequence[Event]) -> None:
        """Take lasting events in that happened between two places; never blocks.

        What does not follow on what it has, or has no room, is read from the store later.
        """
        taken, told = self._taken, self._told
        if taken is None or told is None or after <= told:
            return
        self._told = after
        if taken == told and before <= taken and len(self._lasting) < BUFFER:
            self._lasting.extend(
                event for event in events if event.position > taken and self._wants(event)
            )
            self._taken = after
        self._wake()

    def overtake(self, mark: Position) -> None:
        """Learn that something happened up to there, which has to be read from the store."""
        if self._told is not None and mark > self._told:
            self._told = mark
            self._wake()

    def offer(self, event: Event) -> None:
        """Take a passing event in, dropping the oldest when full; never blocks."""
        if not self._wants(event):
            return
        if len(self._passing) >= BUFFER:
            self._passing.popleft()
            self._missed += 1
        self._passing.append(event)
        self._wake()

    def _wants(self, event: Event) -> bool:
        return (self._correlation_id is None or event.correlation_id == self._correlation_id) and (
            self._kinds is None or isinstance(event, self._kinds)
        )

    def end(self) -> None:
        """Let the iteration end once what happened by now has been read."""
        self._ended = True
        self._wake()

    # --- read by the listener ---

    async def aclose(self) -> None:
        """Stop listening."""
        self._forget(self)
        self._lasting.clear()
        self._passing.clear()
        self._taken = self._told
        self.end()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """Return the next event.

        Raises:
            DeclarationError: The board has not come as far as the position to listen from.
            StoreError: What happened cannot be read from the store.
        """
        while True:
            if self._taken is None and self._begin is not None and not self._ended:
                await self._begin()
            event = self._next()
            if event is not None:
                return event
            if self._taken != self._told:
                await self._read()
            elif self._ended:
                raise StopAsyncIteration
            else:
                waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._waiters.append(waiter)
                await waiter

    def _next(self) -> Event | None:
        """Return the next event in order, if it is at hand."""
        lasting, passing = self._lasting, self._passing
        if passing:
            first = passing[0].position
            if lasting:
                is_next = first < lasting[0].position
            else:
                is_next = self._taken is None or first <= self._taken
            if is_next:
                if self._missed:
                    at, workflow = passing[0].at, self._correlation_id
                    missed = EventsMissed(at, workflow, self._missed, position=first)
                    self._missed = 0
                    return missed
                return passing.popleft()
        return lasting.popleft() if lasting else None

    async def _read(self) -> None:
        """Read on from the store, after what is at hand."""
        async with self._reading:
            taken, told = self._taken, self._told
            if self._lasting or taken is None or told is None or taken == told:
                return
            if taken > told:
                msg = (
                    f"this board has only come as far as position {told}, and not to {taken}, "
                    "after which events were asked for: that is of another board, or of a later "
                    "state of this one than the copy it was restored from; give a position of "
                    "this one, or after=0 for everything"
                )
                raise DeclarationError(msg)
            if self._past is None:
                self._past = Past(self._store, taken, self._correlation_id, self._kinds)
            reached = await self._past.read(told, self._now, self._lasting.extend)
            self._taken = reached
            if reached == self._told:
                self._past = None

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()
