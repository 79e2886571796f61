"""Hands what happens on a board to whoever listens."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import weakref
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from flock.clock import as_datetime
from flock.orchestrator.events.base import BoardEvent
from flock.orchestrator.events.kinds import Event, RunSucceeded
from flock.orchestrator.events.log import LoggedEvent, event_of
from flock.orchestrator.events.past import published
from flock.orchestrator.events.position import START, Position
from flock.orchestrator.events.stream import EventStream
from flock.orchestrator.job import Job

if TYPE_CHECKING:
    from flock.store.protocol import BlackboardStore, Commit

logger = logging.getLogger(__name__)


class EventBus:
    """Hands what happens to every listener. Costs nothing while there is none.

    Lasting events are told by the commits that make them true, in board order; passing ones by
    `tell`.

    Attributes:
        is_heard: Whether anybody listens; ask before making an event.
    """

    def __init__(self, store: BlackboardStore, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now
        self._streams: dict[int, weakref.ref[EventStream]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._mark: Position | None = None
        self.is_heard = False

    # --- listening ---

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Belong to this event loop and its thread from now on."""
        self._loop = loop
        self._thread = threading.get_ident()

    def begin(self) -> None:
        """Let who waits for the board listen: its store is open."""
        mark = self._mark = Position.at(self._store.mark)
        for stream in self._listening():
            stream.begin(mark)

    def listen(
        self,
        correlation_id: str | None = None,
        after: Position | None = None,
        kinds: tuple[type[BoardEvent], ...] | None = None,
        begin: Callable[[], Awaitable[None]] | None = None,
    ) -> EventStream:
        """Return a stream of what happens.

        Args:
            correlation_id: Only of this workflow.
            after: From there on; from now on if None. Where the board is not open, now is when
                it is opened.
            kinds: Only of these kinds.
            begin: Opens the board, when the first event is asked for.
        """
        stream = EventStream(
            self._store,
            self._now,
            self._forget,
            correlation_id=correlation_id,
            after=after,
            kinds=kinds,
            begin=begin,
        )
        key = id(stream)
        self._streams[key] = weakref.ref(stream, lambda _: self._drop(key))
        if self._mark is not None:
            if not self.is_heard:
                self._mark = Position.at(self._store.mark)
            stream.begin(self._mark)
        self.is_heard = True
        return stream

    def end(self) -> None:
        """End every listener's iteration, with what happened by now."""
        self._mark = None
        for stream in self._listening():
            stream.end()
            self._forget(stream)

    # --- passing events ---

    def tell(self, event: Event) -> None:
        """Hand a passing event to every listener; from the loop's thread or another.

        It stands after all that was told before. An event that is to last is not told, but
        logged with a commit: `Commit(logged=[logged(event)])`.
        """
        if self._loop is None or threading.get_ident() == self._thread:
            self._hand_out(event)
            return
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody listens any more
            self._loop.call_soon_threadsafe(self._hand_out, event)

    def _hand_out(self, event: Event) -> None:
        _place(event, self._mark or START)
        for stream in self._listening():
            stream.offer(event)

    # --- lasting events ---

    def attend(self, commit: Commit) -> None:
        """Have a commit told of once it is true; called before it is made, if anybody listens."""
        commit.then = partial(self._tell_commit, commit, commit.then)

    def follow(self, commit: Commit) -> None:
        """See to a commit that became true while somebody began to listen."""
        if (
            commit.is_done
            and commit.mark is None
            and (commit.artifacts or commit.run or commit.logged)
        ):
            self._overtake()

    def _overtake(self) -> None:
        """Let every listener read from the store what nobody could tell."""
        mark = Position.at(self._store.mark)
        if self._mark is not None and mark > self._mark:
            self._mark = mark
            for stream in self._listening():
                stream.overtake(mark)

    def _tell_commit(self, commit: Commit, then: Callable[[], None] | None) -> None:
        if then is not None:
            then()
        if self._mark is None or commit.mark is None:
            return
        after = Position.at(commit.mark)
        has_run, logged = commit.run is not None, len(commit.logged)
        artifacts, runs, entries = after
        before = Position(artifacts - len(commit.artifacts), runs - has_run, entries - logged)
        if before == after:
            return
        try:
            events = _events_of(commit, after)
        except Exception:
            logger.exception("What a commit says could not be told; listeners read it instead")
            self._overtake()
            return
        if after > self._mark:
            self._mark = after
        for stream in self._listening():
            stream.take(before, after, events)

    # --- who listens ---

    def _listening(self) -> list[EventStream]:
        return [stream for ref in list(self._streams.values()) if (stream := ref()) is not None]

    def _forget(self, stream: EventStream) -> None:
        self._drop(id(stream))

    def _drop(self, key: int) -> None:
        self._streams.pop(key, None)
        self.is_heard = bool(self._streams)


def _place(event: BoardEvent, position: Position) -> None:
    """Set where an event stands, which nobody has seen yet."""
    object.__setattr__(event, "position", position)


def _events_of(commit: Commit, after: Position) -> Sequence[Event]:
    """Return what a commit tells, in order, each at its place."""
    events: list[Event] = [published(artifact) for artifact in commit.artifacts]
    run = commit.run
    if run is not None:
        outputs = run.outputs if isinstance(run, Job) else commit.artifacts
        events.append(
            RunSucceeded(
                as_datetime(commit.at),
                run.correlation_id,
                run.agent,
                run.id,
                run.attempt,
                tuple(outputs),
                max(commit.at - run.began, 0.0),
                run.usage or {},
                position=Position(after.artifacts, after.runs),
            )
        )
    number = after.logged - len(commit.logged)
    for entry in commit.logged:
        number += 1
        event = entry.event if isinstance(entry, LoggedEvent) else event_of(entry)
        _place(event, Position(after.artifacts, after.runs, number))
        events.append(event)  # pyright: ignore[reportArgumentType] - it is of the union
    return events
