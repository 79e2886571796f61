"""What happened, as typed events; every observer reads these.

Lasting events are in the store: artifacts, runs that succeeded, and the log. Passing ones are
told to whoever listens, and gone.
"""

from __future__ import annotations

from flock.orchestrator.events.bus import EventBus
from flock.orchestrator.events.kinds import (
    ArtifactPublished,
    BatchFlushed,
    BoardIdle,
    DeadLettered,
    DeliveryWaiting,
    Event,
    EventsMissed,
    GroupSkipped,
    JoinExpired,
    QuestionAnswered,
    QuestionAsked,
    RequestEnded,
    RunCancelled,
    RunEmitted,
    RunFailed,
    RunQueued,
    RunRetrying,
    RunStarted,
    RunSucceeded,
    ScheduleFired,
    UnknownEvent,
    WorkflowCancelled,
    WorkflowIdle,
    WorkflowPaused,
    WorkflowResumed,
)
from flock.orchestrator.events.log import events_schema, logged
from flock.orchestrator.events.position import Position
from flock.orchestrator.events.stream import EventStream

__all__ = [
    "ArtifactPublished",
    "BatchFlushed",
    "BoardIdle",
    "DeadLettered",
    "DeliveryWaiting",
    "Event",
    "EventBus",
    "EventStream",
    "EventsMissed",
    "GroupSkipped",
    "JoinExpired",
    "Position",
    "QuestionAnswered",
    "QuestionAsked",
    "RequestEnded",
    "RunCancelled",
    "RunEmitted",
    "RunFailed",
    "RunQueued",
    "RunRetrying",
    "RunStarted",
    "RunSucceeded",
    "ScheduleFired",
    "UnknownEvent",
    "WorkflowCancelled",
    "WorkflowIdle",
    "WorkflowPaused",
    "WorkflowResumed",
    "events_schema",
    "logged",
]
