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
from flock.orchestrator.awaiting import Awaiting
from flock.orchestrator.component_runner import ComponentRunner
from flock.orchestrator.control import Control
from flock.orchestrator.embeddings import Embeddings
from flock.orchestrator.events import BoardIdle, EventBus, WorkflowIdle
from flock.orchestrator.gathering import Gathering
from flock.orchestrator.history import load_history
from flock.orchestrator.holding import Holding
from flock.orchestrator.idle import Idle, IdleSignal
from flock.orchestrator.ledger import Ledger
from flock.orchestrator.lifecycle_manager import LifecycleManager
from flock.orchestrator.limits import Limits
from flock.orchestrator.lookout import Lookout
from flock.orchestrator.matcher import Matcher
from flock.orchestrator.outcomes import Outcomes
from flock.orchestrator.patience import Patience
from flock.orchestrator.publisher import Publisher
from flock.orchestrator.questions import Questions
from flock.orchestrator.router import Router
from flock.orchestrator.scheduler import Scheduler
from flock.orchestrator.schedules import Schedules
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
        holding: What is held of workflows that are paused or being ended.
        control: Pauses and ends workflows.
        workbench: Agents' tools, and the connections to MCP servers.
        idle: What is open.
        signal: Who waits for the board to become idle.
        lookout: Who asks whether conditions hold.
        awaiting: Who waits until one does.
        embeddings: What texts are about.
        ledger: What runs spend, and budgets.
        limits: How often runs may begin.
        publisher: Objects to artifacts, artifacts to commits.
        router: Deliveries to gates and runs.
        gathering: What waits before the gates.
        outcomes: What becomes of groups and failed runs.
        scheduler: Runs to tasks.
        questions: Runs that wait for a person.
        schedules: Ticks to runs.
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
        self.events = EventBus(store, clock.time)
        self.components = ComponentRunner()
        self.lifecycle = LifecycleManager(clock)
        self.workbench = Workbench(self.threads, clock, self.lifecycle.serve)
        self.idle = Idle(self._on_zero, self._on_workflow_zero)
        self.holding = Holding(self.idle)
        self.signal = IdleSignal(
            self.idle,
            clock.time,
            lambda: bool(self.components.having["on_idle"]),
            partial(self.run_hooks, "on_idle"),
            self.lifecycle.spawn,
            self._announce_idle,
        )
        self.lookout = Lookout(store, clock, self.idle, self.signal)
        self.awaiting = Awaiting(self.lookout, clock)
        self.embeddings = Embeddings(embedder, self.lifecycle.spawn, clock.working)
        self.patience = Patience(store, clock, self.events)
        self.ledger = Ledger(store, self.patience, clock, self.idle)
        self.limits = Limits(clock, self.lifecycle, self.patience)
        self.publisher = Publisher(
            store,
            self.patience,
            clock,
            self.components,
            self.events,
            orchestrator,
            Matcher(()),
            self.embeddings,
            self.holding,
        )
        self.outcomes = Outcomes(
            store,
            self.patience,
            self.publisher,
            clock,
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
            self.limits,
            self._load_history,
            orchestrator,
            store,
            self.patience,
            max_depth=max_depth,
        )
        self.scheduler = Scheduler(
            clock,
            self.events,
            self.idle,
            attempts,
            self.holding,
            self.limits,
            max_concurrency=max_concurrency,
        )
        self.questions = Questions(
            clock,
            self.events,
            self.idle,
            self.lifecycle,
            self.threads,
            store,
            self.patience,
            self.publisher,
            attempts,
            self.scheduler,
            orchestrator,
            agents.get,
        )
        self.schedules = attempts.ticks = Schedules(
            clock,
            self.idle,
            self.signal,
            self.lifecycle,
            self.scheduler,
            store,
            self.patience,
            self.threads,
        )
        self.gathering = Gathering(
            clock,
            self.events,
            self.idle,
            self.lifecycle,
            self.scheduler,
            self.outcomes,
            store,
            self.holding,
            self.lookout,
        )
        self.holding.wait = self.gathering.wait
        self.holding.on_tick = self.schedules.hold
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
            self.holding,
            agents.get,
        )
        self.publisher.route = self.router.deliver
        self.control = Control(self)

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
        if self.gathering.activating.is_used:
            self.gathering.activating.forget(workflow)
        if self.control.is_watched:
            self.control.on_zero(workflow)
        if self.events.is_heard and not self.holding.is_paused(workflow):
            self.events.tell(WorkflowIdle(as_datetime(self.clock.time()), workflow))

    def _announce_idle(self) -> None:
        if self.events.is_heard:
            self.events.tell(BoardIdle(as_datetime(self.clock.time()), None))

    async def _load_history(self, job: Job) -> tuple[Artifact, ...]:
        agent = job.lane.agent
        provider = agent.context_provider or self._context_provider
        return await load_history(job, agent.identity, provider, self.store)
