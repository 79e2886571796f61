"""Flock: an async, declarative blackboard for multi-agent systems."""

from __future__ import annotations

from flock.clock import Clock, SystemClock
from flock.components.agent import AgentComponent
from flock.components.orchestrator import (
    CollectionResult,
    OrchestratorComponent,
    ScheduleDecision,
)
from flock.core.agent import Agent
from flock.core.artifacts import Artifact
from flock.core.builder import AgentBuilder
from flock.core.context import Context, ContextProvider, ContextRequest, EvalInputs, EvalResult
from flock.core.filters import FilterConfig
from flock.core.outputs import OutputGroup, OutputSpec
from flock.core.retry import Backoff
from flock.core.subscription import BatchSpec, JoinSpec, Subscription
from flock.core.system import GroupExpired, WorkflowError
from flock.core.types import flock_type, upcasts
from flock.core.visibility import (
    AfterVisibility,
    AgentIdentity,
    LabelledVisibility,
    PrivateVisibility,
    PublicVisibility,
    TenantVisibility,
    Visibility,
)
from flock.engines.base import EngineComponent
from flock.engines.dspy import DSPyEngine
from flock.errors import (
    DeclarationError,
    EngineError,
    FlockError,
    LoopLimitExceeded,
    NotFound,
    NotIdle,
    NotYetAvailable,
    OutputContractError,
    PublishError,
    RunError,
    RunTimeout,
    SchemaTooNew,
    StoreError,
    StoreLocked,
    TypeRegistryError,
    UpcastError,
)
from flock.orchestrator.events import (
    ArtifactPublished,
    BatchFlushed,
    BoardIdle,
    DeadLettered,
    DeliveryWaiting,
    Event,
    EventsMissed,
    EventStream,
    GroupSkipped,
    JoinExpired,
    RunCancelled,
    RunEmitted,
    RunFailed,
    RunQueued,
    RunRetrying,
    RunStarted,
    RunSucceeded,
    WorkflowIdle,
)
from flock.orchestrator.flock import Flock, WorkflowStatus
from flock.orchestrator.idle import IdleReport
from flock.store.memory import InMemoryBlackboardStore
from flock.store.protocol import (
    ArtifactSummary,
    BlackboardStore,
    ConsumptionRecord,
    DeadLetter,
)

__version__ = "0.1.0"

__all__ = [
    "AfterVisibility",
    "Agent",
    "AgentBuilder",
    "AgentComponent",
    "AgentIdentity",
    "Artifact",
    "ArtifactPublished",
    "ArtifactSummary",
    "Backoff",
    "BatchFlushed",
    "BatchSpec",
    "BlackboardStore",
    "BoardIdle",
    "Clock",
    "CollectionResult",
    "ConsumptionRecord",
    "Context",
    "ContextProvider",
    "ContextRequest",
    "DSPyEngine",
    "DeadLetter",
    "DeadLettered",
    "DeclarationError",
    "DeliveryWaiting",
    "EngineComponent",
    "EngineError",
    "EvalInputs",
    "EvalResult",
    "Event",
    "EventStream",
    "EventsMissed",
    "FilterConfig",
    "Flock",
    "FlockError",
    "GroupExpired",
    "GroupSkipped",
    "IdleReport",
    "InMemoryBlackboardStore",
    "JoinExpired",
    "JoinSpec",
    "LabelledVisibility",
    "LoopLimitExceeded",
    "NotFound",
    "NotIdle",
    "NotYetAvailable",
    "OrchestratorComponent",
    "OutputContractError",
    "OutputGroup",
    "OutputSpec",
    "PrivateVisibility",
    "PublicVisibility",
    "PublishError",
    "RunCancelled",
    "RunEmitted",
    "RunError",
    "RunFailed",
    "RunQueued",
    "RunRetrying",
    "RunStarted",
    "RunSucceeded",
    "RunTimeout",
    "ScheduleDecision",
    "SchemaTooNew",
    "StoreError",
    "StoreLocked",
    "Subscription",
    "SystemClock",
    "TenantVisibility",
    "TypeRegistryError",
    "UpcastError",
    "Visibility",
    "WorkflowError",
    "WorkflowIdle",
    "WorkflowStatus",
    "flock_type",
    "upcasts",
]
