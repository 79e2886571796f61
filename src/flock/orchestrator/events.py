"""What happened, as typed events; every observer reads these."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self, TypeAlias
from uuid import UUID

from flock.core.artifacts import Artifact
from flock.core.usage import Usage

BUFFER: Final = 10_000
"""How many events a listener may fall behind before the oldest are dropped."""


@dataclass(frozen=True, slots=True)
class _Event:
    at: datetime
    """When it happened, in UTC."""
    correlation_id: str | None
    """The workflow it belongs to; None for the whole board."""


@dataclass(frozen=True, slots=True)
class ArtifactPublished(_Event):
    """An artifact was committed to the board."""

    artifact: Artifact


@dataclass(frozen=True, slots=True)
class DeliveryWaiting(_Event):
    """An artifact waits in a gate of an agent, held back or deferred."""

    agent: str
    artifact_id: UUID


@dataclass(frozen=True, slots=True)
class GroupSkipped(_Event):
    """A group was closed without a run: a predicate or a component refused it."""

    agent: str
    artifact_ids: tuple[UUID, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class JoinExpired(_Event):
    """A join's window closed before the group was complete."""

    agent: str
    key: str
    artifact_ids: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class BatchFlushed(_Event):
    """A batch was closed and becomes a run. `reason`: `"size"`, `"timeout"` or `"flush"`."""

    agent: str
    count: int
    reason: str


@dataclass(frozen=True, slots=True)
class ScheduleFired(_Event):
    """A tick of a schedule starts a run, in a workflow of its own.

    Attributes:
        fire_time: When the tick was due, in UTC.
        iteration: Which run of the schedule it is, from 1.
        missed: How many ticks before it got no run of their own.
    """

    agent: str
    run_id: str
    fire_time: datetime
    iteration: int
    missed: int


@dataclass(frozen=True, slots=True)
class RunQueued(_Event):
    """A run is ready and waits for a slot."""

    agent: str
    run_id: str


@dataclass(frozen=True, slots=True)
class RunStarted(_Event):
    """An attempt of a run began."""

    agent: str
    run_id: str
    attempt: int
    artifact_ids: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class RunEmitted(_Event):
    """A run told of progress with `ctx.emit`."""

    agent: str
    run_id: str
    delta: object


@dataclass(frozen=True, slots=True)
class RunRetrying(_Event):
    """An attempt failed and another follows after `delay` seconds."""

    agent: str
    run_id: str
    attempt: int
    delay: float
    error: BaseException


@dataclass(frozen=True, slots=True)
class RunSucceeded(_Event):
    """A run was committed.

    Attributes:
        duration: Seconds that the last attempt took.
        usage: What the model calls of all attempts took, by model string.
    """

    agent: str
    run_id: str
    attempt: int
    outputs: tuple[Artifact, ...]
    duration: float
    usage: Mapping[str, Usage]


@dataclass(frozen=True, slots=True)
class RunFailed(_Event):
    """A run failed for good. `usage`: what its model calls took, by model string."""

    agent: str
    run_id: str
    attempt: int
    error: BaseException
    usage: Mapping[str, Usage]


@dataclass(frozen=True, slots=True)
class RunCancelled(_Event):
    """A run was cancelled and committed nothing more."""

    agent: str
    run_id: str


@dataclass(frozen=True, slots=True)
class DeadLettered(_Event):
    """A run was put on the list of dead letters, with its inputs."""

    agent: str
    dead_letter_id: UUID
    error: BaseException


@dataclass(frozen=True, slots=True)
class WorkflowIdle(_Event):
    """Nothing of a workflow is queued, running or due any more."""


@dataclass(frozen=True, slots=True)
class BoardIdle(_Event):
    """Nothing is queued, running or due any more."""


@dataclass(frozen=True, slots=True)
class EventsMissed(_Event):
    """The listener fell behind, and `count` events were dropped before this one."""

    count: int


Event: TypeAlias = (
    ArtifactPublished
    | DeliveryWaiting
    | GroupSkipped
    | JoinExpired
    | BatchFlushed
    | ScheduleFired
    | RunQueued
    | RunStarted
    | RunEmitted
    | RunRetrying
    | RunSucceeded
    | RunFailed
    | RunCancelled
    | DeadLettered
    | WorkflowIdle
    | BoardIdle
    | EventsMissed
)


class EventStream:
    """One listener's view of what happens: an async iterator, bounded.

    It listens from its creation until `aclose`, the board's shutdown, or until it is
    dropped. A listener that falls behind by more than `BUFFER` events loses the oldest and
    is told how many.
    """

    def __init__(self, correlation_id: str | None, forget: Callable[[EventStream], None]) -> None:
        self._correlation_id = correlation_id
        self._forget = forget
        self._ready: deque[Event] = deque()
        self._missed = 0
        self._ended = False
        self._waiters: list[asyncio.Future[None]] = []

    def offer(self, event: Event) -> None:
        """Take an event in, dropping the oldest when full; never blocks."""
        if self._correlation_id is not None and event.correlation_id != self._correlation_id:
            return
        if len(self._ready) >= BUFFER:
            self._ready.popleft()
            self._missed += 1
        self._ready.append(event)
        self._wake()

    def end(self) -> None:
        """Let the iteration end once what is buffered has been read."""
        self._ended = True
        self._wake()

    async def aclose(self) -> None:
        """Stop listening."""
        self._forget(self)
        self._ready.clear()
        self.end()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._ready:
            if self._ended:
                raise StopAsyncIteration
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter
        if self._missed:
            missed = EventsMissed(self._ready[0].at, self._correlation_id, self._missed)
            self._missed = 0
            return missed
        return self._ready.popleft()

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()


class EventBus:
    """Hands what happens to every listener. Costs nothing while there is none.

    Attributes:
        is_heard: Whether anybody listens; ask before making an event.
    """

    def __init__(self) -> None:
        self._streams: dict[int, weakref.ref[EventStream]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self.is_heard = False

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Belong to this event loop and its thread from now on."""
        self._loop = loop
        self._thread = threading.get_ident()

    def listen(self, correlation_id: str | None = None) -> EventStream:
        """Return a stream of what happens from now on, of one workflow if it is named."""
        stream = EventStream(correlation_id, self._forget)
        key = id(stream)
        self._streams[key] = weakref.ref(stream, lambda _: self._drop(key))
        self.is_heard = True
        return stream

    def tell(self, event: Event) -> None:
        """Hand an event to every listener; from the loop's thread or another."""
        if self._loop is None or threading.get_ident() == self._thread:
            self._hand_out(event)
            return
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody listens any more
            self._loop.call_soon_threadsafe(self._hand_out, event)

    def end(self) -> None:
        """End every listener's iteration."""
        for stream in self._listening():
            stream.end()
            self._forget(stream)

    def _listening(self) -> list[EventStream]:
        return [stream for ref in list(self._streams.values()) if (stream := ref()) is not None]

    def _hand_out(self, event: Event) -> None:
        for stream in self._listening():
            stream.offer(event)

    def _forget(self, stream: EventStream) -> None:
        self._drop(id(stream))

    def _drop(self, key: int) -> None:
        self._streams.pop(key, None)
        self.is_heard = bool(self._streams)
