"""What a board consists of, connected."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from flock.clock import Clock, as_datetime
from flock.engines.dspy import ModelShelf
from flock.engines.threads import ThreadPool
from flock.orchestrator import inside
from flock.orchestrator.attempts import Attempts
from flock.orchestrator.component_runner import ComponentRunner
from flock.orchestrator.embeddings import Embeddings
from flock.orchestrator.events import BoardIdle, EventBus, WorkflowIdle
from flock.orchestrator.gathering import Gathering
from flock.orchestrator.history import load_history
from flock.orchestrator.idle import Idle, IdleSignal
from flock.orchestrator.ledger import Ledger
from flock.orchestrator.lifecycle_manager import LifecycleManager
from flock.orchestrator.matcher import Matcher
from flock.orchestrator.outcomes import Outcomes
from flock.orchestrator.patience import Patience
from flock.orchestrator.publisher import Publisher
from flock.orchestrator.rest import Rest
from flock.orchestrator.router import Router
from flock.orchestrator.scheduler import Scheduler
from flock.tools.workbench import Workbench

if TYPE_CHECKING:
    from flock.components.board import Board
    from flock.core.agent import Agent
    from flock.core.artifacts import Artifact
    from flock.core.context import ContextProvider
    from flock.core.semantic import Embedder
    from flock.orchestrator.job import Job
    from flock.store.protocol import BlackboardStore


class Parts:
    """The stages on the way of an artifact, and what they share.

    Attributes:
        store: Where the board lasts.
        clock: Its time.
        threads: For users' synchronous functions.
        models: The language models that its agents share.
        events: What happened.
        components: Users' hooks around the board.
        lifecycle: Background tasks and deadlines.
        workbench: Agents' tools, and the connections to MCP servers.
        idle: What is open.
        signal: Who waits for the board to become idle.
        rest: Who waits for one workflow to come to rest.
        embeddings: What texts are about.
        ledger: What runs spend, and budgets.
        publisher: Objects to artifacts, artifacts to commits.
        router: Deliveries to gates and runs.
        gathering: What waits before the gates.
        outcomes: What becomes of groups and failed runs.
        scheduler: Runs to tasks.
    """

    def __init__(
        self,
        orchestrator: Board,
        store: BlackboardStore,
        clock: Clock,
        agents: Mapping[str, Agent],
        *,
        context_provider: ContextProvider,
        max_depth: int,
        max_concurrency: int | None,
        embedder: Embedder | None,
    ) -> None:
        self._orchestrator = orchestrator
        self._context_provider = context_provider
        self.store = store
        self.clock = clock
        self.threads = ThreadPool()
        self.threads.close()  # it keeps none until the board opens: a tool may be called before
        self.models = ModelShelf()
        self.events = EventBus()
        self.components = ComponentRunner()
        self.lifecycle = LifecycleManager(clock)
        self.workbench = Workbench(self.threads, clock, self.lifecycle.serve)
        self.idle = Idle(self._on_zero, self._on_workflow_zero)
        self.signal = IdleSignal(
            self.idle,
            clock.time,
            lambda: bool(self.components.having["on_idle"]),
            partial(self.run_hooks, "on_idle"),
            self.lifecycle.spawn,
            self._announce_idle,
        )
        self.embeddings = Embeddings(embedder, self.lifecycle.spawn, clock.working)
        self.patience = Patience(store, clock)
        self.ledger = Ledger(store, self.patience, clock, self.idle)
        self.publisher = Publisher(
            store,
            self.patience,
            clock,
            self.components,
            self.events,
            orchestrator,
            Matcher(()),
            self.embeddings,
        )
        self.outcomes = Outcomes(
            store,
            self.patience,
            self.publisher,
            clock,
            self.events,
            self.idle,
            self.lifecycle,
            lambda: [agent.identity for agent in agents.values()],
        )
        attempts = Attempts(
            clock,
            self.events,
            self.idle,
            self.components,
            self.lifecycle,
            self.outcomes,
            self.publisher,
            self.ledger,
            self._load_history,
            orchestrator,
            store,
            self.patience,
            max_depth=max_depth,
        )
        self.scheduler = Scheduler(
            clock, self.events, self.idle, attempts, max_concurrency=max_concurrency
        )
        self.gathering = Gathering(
            clock, self.events, self.idle, self.lifecycle, self.scheduler, self.outcomes, store
        )
        self.rest = Rest(self.idle, self.gathering.is_due)
        self.router = Router(
            clock,
            self.idle,
            self.components,
            self.lifecycle,
            self.scheduler,
            attempts,
            self.gathering,
            self.outcomes,
            orchestrator,
            agents.get,
        )
        self.publisher.route = self.router.deliver

    async def run_hooks(self, hook: str) -> None:
        """Call a hook that only watches the board on every component that has it."""
        token = inside.enter(self._orchestrator, f"the hook {hook} of an OrchestratorComponent")
        try:
            async for _ in self.components.run_hook(hook, self._orchestrator):
                pass
        finally:
            inside.leave(token)

    def _on_zero(self) -> None:
        self.signal.on_zero()

    def _on_workflow_zero(self, workflow: str) -> None:
        if self.ledger.of_workflows:
            self.ledger.forget(workflow)
        if self.rest.is_awaited:
            self.rest.on_zero(workflow)
        if self.events.is_heard:
            self.events.tell(WorkflowIdle(as_datetime(self.clock.time()), workflow))

    def _announce_idle(self) -> None:
        if self.events.is_heard:
            self.events.tell(BoardIdle(as_datetime(self.clock.time()), None))

    async def _load_history(self, job: Job) -> tuple[Artifact, ...]:
        agent = job.lane.agent
        provider = agent.context_provider or self._context_provider
        return await load_history(job, agent.identity, provider, self.store)
