"""Flock: an async, declarative blackboard for multi-agent systems.

The public names are loaded on first use (PEP 562), so that `import flock` costs next to
nothing in programs that only sometimes need it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flock.clock import Clock, SystemClock
    from flock.components.agent import AgentComponent
    from flock.components.board import Board
    from flock.components.guards.findings import Detector, Finding
    from flock.components.guards.guard import BoardGuard, Guard
    from flock.components.guards.pii import PiiDetector
    from flock.components.guards.secrets import SecretDetector
    from flock.components.orchestrator import (
        CollectionResult,
        OrchestratorComponent,
        ScheduleDecision,
    )
    from flock.core.agent import Agent
    from flock.core.artifacts import Artifact
    from flock.core.builder import AgentBuilder
    from flock.core.conditions import Activation, BoardView, Condition
    from flock.core.context import Context, ContextProvider, ContextRequest, EvalInputs, EvalResult
    from flock.core.deltas import GuardFound, ModelCalled, PartialOutput, Token, ToolCalled
    from flock.core.feedback import Feedback
    from flock.core.filters import FilterConfig
    from flock.core.media.file import File
    from flock.core.media.image import Image
    from flock.core.media.limits import FileLimits, ImageLimits
    from flock.core.outputs import OutputGroup, OutputSpec
    from flock.core.question import Question
    from flock.core.retry import Backoff
    from flock.core.semantic import Embedder, SemanticMatch
    from flock.core.subscription import BatchSpec, JoinSpec, Subscription
    from flock.core.system import GroupExpired, WorkflowError
    from flock.core.tool import Tool, ToolAnswer, ToolImage, ToolResource
    from flock.core.types import flock_type, upcasts
    from flock.core.until import ArtifactCount, Until, When, WorkflowArtifacts
    from flock.core.usage import Budget, Reservation, Spent, Usage
    from flock.core.visibility import (
        AfterVisibility,
        AgentIdentity,
        LabelledVisibility,
        PrivateVisibility,
        PublicVisibility,
        TenantVisibility,
        Visibility,
    )
    from flock.core.workflow import WorkflowStatus
    from flock.engines.base import EngineComponent
    from flock.engines.chat import ChatAnswer, ChatModel, ChatRequest, ToolRequest
    from flock.engines.dspy import DSPyEngine
    from flock.engines.dspy.hosted import HostedModel
    from flock.engines.dspy.patience import Patience
    from flock.engines.dspy.tuned import TunedPrompt
    from flock.engines.dspy.tuning.examples import TuningExample, read_examples
    from flock.engines.dspy.tuning.history import export_examples, past_runs
    from flock.engines.dspy.tuning.report import TuningProgress, TuningReport
    from flock.engines.dspy.tuning.tuner import tune
    from flock.engines.local.model import LocalModel
    from flock.engines.semantic import OnnxEmbedder
    from flock.errors import (
        AlreadyAnswered,
        BudgetExceeded,
        ContextOverflow,
        DeclarationError,
        Draining,
        EngineError,
        FlockError,
        GuardBlocked,
        LoopLimitExceeded,
        ModelRefused,
        ModelUnavailable,
        NotFound,
        NotIdle,
        NotYetAvailable,
        OutputContractError,
        Overloaded,
        PublishError,
        QuestionClosed,
        QuestionExpired,
        RateKeyError,
        RateLimited,
        RequestCancelled,
        RequestConflict,
        RequestFailed,
        RequestTimeout,
        RunError,
        RunTimeout,
        SchemaTooNew,
        ServerUnavailable,
        StoreCorrupt,
        StoreError,
        StoreFull,
        StoreLocked,
        StoreReadOnly,
        StoreUnavailable,
        TuningError,
        TypeRegistryError,
        UpcastError,
        WorkflowTimeout,
    )
    from flock.orchestrator.application.application import Application, ApplicationStatus
    from flock.orchestrator.application.result import RequestFailure, Result
    from flock.orchestrator.application.stream import RequestStream
    from flock.orchestrator.checks.finding import CheckFinding
    from flock.orchestrator.comparison import ABSENT, ArtifactPair, Comparison, FieldChange
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
        Position,
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
        events_schema,
    )
    from flock.orchestrator.flock import Flock
    from flock.orchestrator.fork import Fork
    from flock.orchestrator.graph.elements import (
        ConsumesEdge,
        Graph,
        GraphAgent,
        GraphEdge,
        GraphGate,
        GraphType,
        PublishesEdge,
    )
    from flock.orchestrator.idle import IdleReport
    from flock.orchestrator.replay import Replay, ReplayedRun
    from flock.orchestrator.workflow import Workflow
    from flock.store.exchange import export_board, import_board
    from flock.store.lines import ExportReport, ImportReport
    from flock.store.memory import InMemoryBlackboardStore
    from flock.store.protocol import (
        ArtifactSummary,
        BlackboardStore,
        ConsumptionRecord,
        DeadLetter,
        RunRecord,
    )
    from flock.store.sqlite import SQLiteBlackboardStore
    from flock.tools.box import ToolBox, toolbox_of
    from flock.tools.function import FunctionTool, flock_tool
    from flock.tools.mcp.server import MCPServer

__version__ = "0.1.0"

__all__ = [
    "ABSENT",
    "Activation",
    "AfterVisibility",
    "Agent",
    "AgentBuilder",
    "AgentComponent",
    "AgentIdentity",
    "AlreadyAnswered",
    "Application",
    "ApplicationStatus",
    "Artifact",
    "ArtifactCount",
    "ArtifactPair",
    "ArtifactPublished",
    "ArtifactSummary",
    "Backoff",
    "BatchFlushed",
    "BatchSpec",
    "BlackboardStore",
    "Board",
    "BoardGuard",
    "BoardIdle",
    "BoardView",
    "Budget",
    "BudgetExceeded",
    "ChatAnswer",
    "ChatModel",
    "ChatRequest",
    "CheckFinding",
    "Clock",
    "CollectionResult",
    "Comparison",
    "Condition",
    "ConsumesEdge",
    "ConsumptionRecord",
    "Context",
    "ContextOverflow",
    "ContextProvider",
    "ContextRequest",
    "DSPyEngine",
    "DeadLetter",
    "DeadLettered",
    "DeclarationError",
    "DeliveryWaiting",
    "Detector",
    "Draining",
    "Embedder",
    "EngineComponent",
    "EngineError",
    "EvalInputs",
    "EvalResult",
    "Event",
    "EventStream",
    "EventsMissed",
    "ExportReport",
    "Feedback",
    "FieldChange",
    "File",
    "FileLimits",
    "FilterConfig",
    "Finding",
    "Flock",
    "FlockError",
    "Fork",
    "FunctionTool",
    "Graph",
    "GraphAgent",
    "GraphEdge",
    "GraphGate",
    "GraphType",
    "GroupExpired",
    "GroupSkipped",
    "Guard",
    "GuardBlocked",
    "GuardFound",
    "HostedModel",
    "IdleReport",
    "Image",
    "ImageLimits",
    "ImportReport",
    "InMemoryBlackboardStore",
    "JoinExpired",
    "JoinSpec",
    "LabelledVisibility",
    "LocalModel",
    "LoopLimitExceeded",
    "MCPServer",
    "ModelCalled",
    "ModelRefused",
    "ModelUnavailable",
    "NotFound",
    "NotIdle",
    "NotYetAvailable",
    "OnnxEmbedder",
    "OrchestratorComponent",
    "OutputContractError",
    "OutputGroup",
    "OutputSpec",
    "Overloaded",
    "PartialOutput",
    "Patience",
    "PiiDetector",
    "Position",
    "PrivateVisibility",
    "PublicVisibility",
    "PublishError",
    "PublishesEdge",
    "Question",
    "QuestionAnswered",
    "QuestionAsked",
    "QuestionClosed",
    "QuestionExpired",
    "RateKeyError",
    "RateLimited",
    "Replay",
    "ReplayedRun",
    "RequestCancelled",
    "RequestConflict",
    "RequestEnded",
    "RequestFailed",
    "RequestFailure",
    "RequestStream",
    "RequestTimeout",
    "Reservation",
    "Result",
    "RunCancelled",
    "RunEmitted",
    "RunError",
    "RunFailed",
    "RunQueued",
    "RunRecord",
    "RunRetrying",
    "RunStarted",
    "RunSucceeded",
    "RunTimeout",
    "SQLiteBlackboardStore",
    "ScheduleDecision",
    "ScheduleFired",
    "SchemaTooNew",
    "SecretDetector",
    "SemanticMatch",
    "ServerUnavailable",
    "Spent",
    "StoreCorrupt",
    "StoreError",
    "StoreFull",
    "StoreLocked",
    "StoreReadOnly",
    "StoreUnavailable",
    "Subscription",
    "SystemClock",
    "TenantVisibility",
    "Token",
    "Tool",
    "ToolAnswer",
    "ToolBox",
    "ToolCalled",
    "ToolImage",
    "ToolRequest",
    "ToolResource",
    "TunedPrompt",
    "TuningError",
    "TuningExample",
    "TuningProgress",
    "TuningReport",
    "TypeRegistryError",
    "UnknownEvent",
    "Until",
    "UpcastError",
    "Usage",
    "Visibility",
    "When",
    "Workflow",
    "WorkflowArtifacts",
    "WorkflowCancelled",
    "WorkflowError",
    "WorkflowIdle",
    "WorkflowPaused",
    "WorkflowResumed",
    "WorkflowStatus",
    "WorkflowTimeout",
    "events_schema",
    "export_board",
    "export_examples",
    "flock_tool",
    "flock_type",
    "import_board",
    "past_runs",
    "read_examples",
    "toolbox_of",
    "tune",
    "upcasts",
]

_MODULES = {
    "flock.clock": (
        "Clock",
        "SystemClock",
    ),
    "flock.components.agent": ("AgentComponent",),
    "flock.components.board": ("Board",),
    "flock.components.guards.findings": (
        "Detector",
        "Finding",
    ),
    "flock.components.guards.guard": (
        "BoardGuard",
        "Guard",
    ),
    "flock.components.guards.pii": ("PiiDetector",),
    "flock.components.guards.secrets": ("SecretDetector",),
    "flock.components.orchestrator": (
        "CollectionResult",
        "OrchestratorComponent",
        "ScheduleDecision",
    ),
    "flock.core.agent": ("Agent",),
    "flock.core.artifacts": ("Artifact",),
    "flock.core.builder": ("AgentBuilder",),
    "flock.core.conditions": (
        "Activation",
        "BoardView",
        "Condition",
    ),
    "flock.core.context": (
        "Context",
        "ContextProvider",
        "ContextRequest",
        "EvalInputs",
        "EvalResult",
    ),
    "flock.core.deltas": (
        "GuardFound",
        "ModelCalled",
        "PartialOutput",
        "Token",
        "ToolCalled",
    ),
    "flock.core.feedback": ("Feedback",),
    "flock.core.filters": ("FilterConfig",),
    "flock.core.media.file": ("File",),
    "flock.core.media.image": ("Image",),
    "flock.core.media.limits": (
        "FileLimits",
        "ImageLimits",
    ),
    "flock.core.outputs": (
        "OutputGroup",
        "OutputSpec",
    ),
    "flock.core.question": ("Question",),
    "flock.core.retry": ("Backoff",),
    "flock.core.semantic": (
        "Embedder",
        "SemanticMatch",
    ),
    "flock.core.subscription": (
        "BatchSpec",
        "JoinSpec",
        "Subscription",
    ),
    "flock.core.system": (
        "GroupExpired",
        "WorkflowError",
    ),
    "flock.core.tool": (
        "Tool",
        "ToolAnswer",
        "ToolImage",
        "ToolResource",
    ),
    "flock.core.types": (
        "flock_type",
        "upcasts",
    ),
    "flock.core.until": (
        "ArtifactCount",
        "Until",
        "When",
        "WorkflowArtifacts",
    ),
    "flock.core.usage": (
        "Budget",
        "Reservation",
        "Spent",
        "Usage",
    ),
    "flock.core.visibility": (
        "AfterVisibility",
        "AgentIdentity",
        "LabelledVisibility",
        "PrivateVisibility",
        "PublicVisibility",
        "TenantVisibility",
        "Visibility",
    ),
    "flock.core.workflow": ("WorkflowStatus",),
    "flock.engines.base": ("EngineComponent",),
    "flock.engines.chat": (
        "ChatAnswer",
        "ChatModel",
        "ChatRequest",
        "ToolRequest",
    ),
    "flock.engines.dspy": ("DSPyEngine",),
    "flock.engines.dspy.hosted": ("HostedModel",),
    "flock.engines.dspy.patience": ("Patience",),
    "flock.engines.dspy.tuned": ("TunedPrompt",),
    "flock.engines.dspy.tuning.examples": (
        "TuningExample",
        "read_examples",
    ),
    "flock.engines.dspy.tuning.history": (
        "export_examples",
        "past_runs",
    ),
    "flock.engines.dspy.tuning.report": (
        "TuningProgress",
        "TuningReport",
    ),
    "flock.engines.dspy.tuning.tuner": ("tune",),
    "flock.engines.local.model": ("LocalModel",),
    "flock.engines.semantic": ("OnnxEmbedder",),
    "flock.errors": (
        "AlreadyAnswered",
        "BudgetExceeded",
        "ContextOverflow",
        "DeclarationError",
        "Draining",
        "EngineError",
        "FlockError",
        "GuardBlocked",
        "LoopLimitExceeded",
        "ModelRefused",
        "ModelUnavailable",
        "NotFound",
        "NotIdle",
        "NotYetAvailable",
        "OutputContractError",
        "Overloaded",
        "PublishError",
        "QuestionClosed",
        "QuestionExpired",
        "RateKeyError",
        "RateLimited",
        "RequestCancelled",
        "RequestConflict",
        "RequestFailed",
        "RequestTimeout",
        "RunError",
        "RunTimeout",
        "SchemaTooNew",
        "ServerUnavailable",
        "StoreCorrupt",
        "StoreError",
        "StoreFull",
        "StoreLocked",
        "StoreReadOnly",
        "StoreUnavailable",
        "TuningError",
        "TypeRegistryError",
        "UpcastError",
        "WorkflowTimeout",
    ),
    "flock.orchestrator.application.application": (
        "Application",
        "ApplicationStatus",
    ),
    "flock.orchestrator.application.result": (
        "RequestFailure",
        "Result",
    ),
    "flock.orchestrator.application.stream": ("RequestStream",),
    "flock.orchestrator.checks.finding": ("CheckFinding",),
    "flock.orchestrator.comparison": (
        "ABSENT",
        "ArtifactPair",
        "Comparison",
        "FieldChange",
    ),
    "flock.orchestrator.events": (
        "ArtifactPublished",
        "BatchFlushed",
        "BoardIdle",
        "DeadLettered",
        "DeliveryWaiting",
        "Event",
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
    ),
    "flock.orchestrator.flock": ("Flock",),
    "flock.orchestrator.fork": ("Fork",),
    "flock.orchestrator.graph.elements": (
        "ConsumesEdge",
        "Graph",
        "GraphAgent",
        "GraphEdge",
        "GraphGate",
        "GraphType",
        "PublishesEdge",
    ),
    "flock.orchestrator.idle": ("IdleReport",),
    "flock.orchestrator.replay": (
        "Replay",
        "ReplayedRun",
    ),
    "flock.orchestrator.workflow": ("Workflow",),
    "flock.store.exchange": (
        "export_board",
        "import_board",
    ),
    "flock.store.lines": (
        "ExportReport",
        "ImportReport",
    ),
    "flock.store.memory": ("InMemoryBlackboardStore",),
    "flock.store.protocol": (
        "ArtifactSummary",
        "BlackboardStore",
        "ConsumptionRecord",
        "DeadLetter",
        "RunRecord",
    ),
    "flock.store.sqlite": ("SQLiteBlackboardStore",),
    "flock.tools.box": (
        "ToolBox",
        "toolbox_of",
    ),
    "flock.tools.function": (
        "FunctionTool",
        "flock_tool",
    ),
    "flock.tools.mcp.server": ("MCPServer",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    home = _HOMES.get(name)
    if home is None:
        msg = f"module 'flock' has no attribute {name!r}"
        raise AttributeError(msg)
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
