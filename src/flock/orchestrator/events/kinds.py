"""What can happen on a board, each kind as a class; to add one, write it here and in `Event`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias
from uuid import UUID

from flock.core.usage import Usage
from flock.orchestrator.events.base import BoardEvent as _Event
from flock.orchestrator.events.base import (
    Instance,
    LiveError,
    PublishedArtifact,
    PublishedArtifacts,
)


@dataclass(frozen=True, slots=True)
class ArtifactPublished(_Event):
    """An artifact was committed to the board."""

    artifact: PublishedArtifact


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
    delta: Instance


@dataclass(frozen=True, slots=True)
class RunRetrying(_Event):
    """An attempt failed and another follows.

    Attributes:
        delay: Seconds until the next attempt.
        error_type: Name of the error's class.
        error_message: What the error said.
        error: The error itself.
    """

    agent: str
    run_id: str
    attempt: int
    delay: float
    error_type: str
    error_message: str
    error: LiveError = field(default=None, kw_only=True, compare=False)


@dataclass(frozen=True, slots=True)
class RunSucceeded(_Event):
    """A run was committed.

    Attributes:
        outputs: What it put out.
        duration: Seconds from the beginning of the last attempt to its commit.
        usage: What the model calls of all attempts took, by model string.
    """

    agent: str
    run_id: str
    attempt: int
    outputs: PublishedArtifacts
    duration: float
    usage: Mapping[str, Usage]


@dataclass(frozen=True, slots=True)
class RunFailed(_Event):
    """A run failed for good.

    Attributes:
        error_type: Name of the error's class.
        error_message: What the error said, as far as components let it be told.
        usage: What the model calls of all attempts took, by model string.
        error: The error itself, in the process and the moment in which it was raised; None
            when the event is read from the board.
    """

    agent: str
    run_id: str
    attempt: int
    error_type: str
    error_message: str
    usage: Mapping[str, Usage]
    error: LiveError = field(default=None, kw_only=True, compare=False)


@dataclass(frozen=True, slots=True)
class RunCancelled(_Event):
    """A run was cancelled, or ended by the shutdown, and committed nothing more."""

    agent: str
    run_id: str


@dataclass(frozen=True, slots=True)
class DeadLettered(_Event):
    """A run, or what could not become one, was put on the list of dead letters with its inputs.

    Attributes:
        dead_letter_id: What `Flock.redrive` takes.
        error_type: Name of the error's class.
        error_message: What the error said, as far as components let it be told.
        error: The error itself, as in `RunFailed`.
    """

    agent: str
    dead_letter_id: UUID
    error_type: str
    error_message: str
    error: LiveError = field(default=None, kw_only=True, compare=False)


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
class QuestionAsked(_Event):
    """A run asked a person, and waits for the answer."""

    agent: str
    run_id: str
    question: str


@dataclass(frozen=True, slots=True)
class QuestionAnswered(_Event):
    """A person's answer was committed to the board."""

    agent: str
    run_id: str
    answered_by: str


@dataclass(frozen=True, slots=True)
class WorkflowIdle(_Event):
    """Nothing of a workflow is queued, running or due any more."""


@dataclass(frozen=True, slots=True)
class WorkflowPaused(_Event):
    """A workflow was paused: no run of it begins until it is resumed."""


@dataclass(frozen=True, slots=True)
class WorkflowResumed(_Event):
    """A workflow that was paused goes on."""


@dataclass(frozen=True, slots=True)
class WorkflowCancelled(_Event):
    """A workflow was ended with all that was open of it: by a `"cancel"` or its `"deadline"`."""

    reason: Literal["cancel", "deadline"]


@dataclass(frozen=True, slots=True)
class RequestEnded(_Event):
    """A request that an `Application` handled under an id was cut short; its workflow is cancelled.

    Attributes:
        status: `"cancelled"` or `"timed_out"`, which it stays.
        reason: Why, for whoever asked.
    """

    status: Literal["cancelled", "timed_out"]
    reason: str


@dataclass(frozen=True, slots=True)
class BoardIdle(_Event):
    """Nothing is queued, running or due any more."""


@dataclass(frozen=True, slots=True)
class EventsMissed(_Event):
    """Before the next event, `count` others happened that this listener does not get.

    Either it fell behind, and as many passing events were dropped; or as many lasting ones were
    deleted from the board before it had read them.
    """

    count: int


@dataclass(frozen=True, slots=True)
class UnknownEvent(_Event):
    """Something that a newer version of Flock, or another program, wrote on the board.

    Attributes:
        kind: What it is called there.
        version: In which version it was written; 0 if it does not say.
        data: What it says.
    """

    kind: str
    version: int
    data: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can carry it, under the kind and version that it was written in."""
        common = {"at": self.at.isoformat(), "correlation_id": self.correlation_id}
        written = {"kind": self.kind, "version": self.version, **common}
        return {**written, "position": str(self.position), **self.data}


Event: TypeAlias = (
    ArtifactPublished
    | DeliveryWaiting
    | GroupSkipped
    | JoinExpired
    | BatchFlushed
    | RunQueued
    | RunStarted
    | RunEmitted
    | RunRetrying
    | RunSucceeded
    | RunFailed
    | RunCancelled
    | DeadLettered
    | ScheduleFired
    | QuestionAsked
    | QuestionAnswered
    | WorkflowIdle
    | WorkflowPaused
    | WorkflowResumed
    | WorkflowCancelled
    | RequestEnded
    | BoardIdle
    | EventsMissed
    | UnknownEvent
)
