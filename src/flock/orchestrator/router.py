"""From committed deliveries to the gates and to runs."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from math import inf
from typing import TYPE_CHECKING

from flock.clock import Clock
from flock.components.orchestrator import (
    CollectionResult,
    OrchestratorComponent,
    ScheduleDecision,
)
from flock.core.artifacts import Artifact
from flock.core.delivery import Delivery, Run
from flock.core.failure import failure_of
from flock.core.lifecycle import label_of
from flock.orchestrator import inside
from flock.orchestrator.failures import naming

if TYPE_CHECKING:
    from flock.components.board import Board
    from flock.core.agent import Agent
    from flock.orchestrator.attempts import Attempts
    from flock.orchestrator.component_runner import ComponentRunner
    from flock.orchestrator.gathering import Gathering
    from flock.orchestrator.holding import Holding
    from flock.orchestrator.idle import Idle
    from flock.orchestrator.lifecycle_manager import Deadline, LifecycleManager
    from flock.orchestrator.outcomes import Outcomes
    from flock.orchestrator.scheduler import Scheduler

logger = logging.getLogger(__name__)


class Router:
    """Takes committed deliveries, in board order, to the gates or to the scheduler.

    Routing never waits and never raises. With components that decide over deliveries, a
    background task takes them one by one, so that order is kept and publishers do not wait.
    """

    def __init__(
        self,
        clock: Clock,
        idle: Idle,
        components: ComponentRunner,
        lifecycle: LifecycleManager,
        scheduler: Scheduler,
        attempts: Attempts,
        gathering: Gathering,
        outcomes: Outcomes,
        orchestrator: Board,
        holding: Holding,
        agent_of: Callable[[str], Agent | None],
    ) -> None:
        self._holding = holding
        self._holds = holding.holds
        self._clock = clock
        self._idle = idle
        self._components = components
        self._lifecycle = lifecycle
        self._scheduler = scheduler
        self._attempts = attempts
        self._gathering = gathering
        self._outcomes = outcomes
        self._orchestrator = orchestrator
        self._agent_of = agent_of
        self.clear()

    def clear(self) -> None:
        """Forget everything that waits, for a board that opens anew."""
        self._gathering.clear()
        self._deferred: dict[Delivery, None] = {}
        self._attempts.on_run_end = None
        self._unopened: dict[Delivery, Deadline] = {}
        self._to_ask: deque[Delivery] = deque()
        self._asked: Delivery | None = None
        self._asking: asyncio.Task[None] | None = None

    # --- the way in ---

    def deliver(self, deliveries: Iterable[Delivery]) -> None:
        """Take deliveries that were just committed on their way."""
        asks = self._components.decides_deliveries
        if self._holds:
            deliveries = self._holding.sift(deliveries)
        for delivery in deliveries:
            if delivery.opens_at and delivery.opens_at > self._clock.time():
                self._wait_until_open(delivery)
            elif asks:
                self._ask_later(delivery)
            elif (agent := self._agent_of(delivery.subscription.agent)) is not None:
                if delivery.subscription.is_gated:
                    self._gathering.take(delivery, agent)
                else:
                    self._scheduler.submit_one(agent, delivery)

    def _go_on(self, delivery: Delivery) -> None:
        subscription = delivery.subscription
        agent = self._agent_of(subscription.agent)
        if agent is None:
            return  # declared by another program that shares the store: it stays open
        if self._holds and self._holding.takes(delivery):
            return
        if subscription.is_gated:
            self._gathering.take(delivery, agent)
        else:
            self._scheduler.submit_one(agent, delivery)

    def resume(self, deliveries: Sequence[Delivery]) -> None:
        """Go on with what was open when the board was closed.

        Runs that were gathered keep their id and progress; the rest is delivered anew.
        """
        runs: dict[int, Run] = {}
        rest: list[Delivery] = []
        for delivery in deliveries:
            if delivery.run is None:
                rest.append(delivery)
            else:
                runs.setdefault(delivery.run.key, delivery.run)
        for run in runs.values():
            agent = self._agent_of(run.agent)
            if agent is not None:
                self._scheduler.submit(
                    agent,
                    run.subscription,
                    run.deliveries,
                    run.artifacts,
                    is_batch=run.is_batch,
                    run=run,
                )
        with self._gathering.replay():
            self.deliver(sorted((d for d in rest if d.number), key=_number))
        self.deliver(sorted((d for d in rest if not d.number), key=_by_arrival))

    def regather(self, deliveries: Iterable[Delivery]) -> None:
        """Let deliveries whose group was ended by another workflow go their way again."""
        again = list(deliveries)
        for delivery in again:
            delivery.run = None
        self.deliver(again)

    # --- visibility that opens later ---

    def _wait_until_open(self, delivery: Delivery) -> None:
        self._idle.begin_due(delivery.artifact.correlation_id)
        self._gathering.wait(delivery)
        self._unopened[delivery] = self._lifecycle.timers.add(
            delivery.opens_at, partial(self._opens, delivery)
        )

    def _opens(self, delivery: Delivery) -> None:
        del self._unopened[delivery]
        self._idle.waiting -= 1
        self.deliver([delivery])
        self._idle.end_due(delivery.artifact.correlation_id)

    # --- components that decide over a delivery ---

    def on_run_end(self) -> None:
        """Ask again about what was deferred."""
        deferred, self._deferred = self._deferred, {}
        self._attempts.on_run_end = None
        self._idle.waiting -= len(deferred)
        for delivery in deferred:
            self._ask_later(delivery)

    def _ask_later(self, delivery: Delivery) -> None:
        self._idle.begin(delivery.artifact.correlation_id)
        self._to_ask.append(delivery)
        if self._asking is None:
            self._asking = self._lifecycle.spawn(self._ask_all(), "delivery hooks")

    async def _ask_all(self) -> None:
        inside.enter(self._orchestrator, "a hook of an OrchestratorComponent")
        while self._to_ask:
            delivery = self._asked = self._to_ask.popleft()
            try:
                await self._ask(delivery)
            except BaseException as error:
                failure = failure_of(error, "a component")
                if failure is None:
                    raise
                self._outcomes.bury_group([delivery], failure)
            finally:
                self._asked = None
                self._idle.end(delivery.artifact.correlation_id)
        self._asking = None

    async def _ask(self, delivery: Delivery) -> None:
        agent = self._agent_of(delivery.agent)
        if agent is None:
            return
        for component in self._components.having["on_before_schedule"]:
            decision = await self._decision(component, delivery, agent)
            if not delivery.is_open:
                return  # cancelled meanwhile
            if decision is ScheduleDecision.SKIP:
                reason = f"component {label_of(component)!r} skipped it"
                self._outcomes.skip([delivery], reason)
                return
            if decision is ScheduleDecision.DEFER:
                self._deferred[delivery] = None
                self._attempts.on_run_end = self.on_run_end
                self._gathering.wait(delivery)
                return
        for component in self._components.having["on_collect_artifacts"]:
            result = await self._collection(component, delivery, agent)
            if not delivery.is_open:
                return
            if result is not None:
                self._collected(delivery, agent, result)
                return
        self._go_on(delivery)

    async def _decision(
        self, component: OrchestratorComponent, delivery: Delivery, agent: Agent
    ) -> ScheduleDecision:
        with naming(component, "on_before_schedule", agent.name):
            decision = await component.on_before_schedule(
                self._orchestrator, delivery.artifact, agent, delivery.subscription
            )
            if not isinstance(decision, ScheduleDecision):
                msg = f"it returned {decision!r}, which is no ScheduleDecision"
                raise TypeError(msg)
            return decision

    async def _collection(
        self, component: OrchestratorComponent, delivery: Delivery, agent: Agent
    ) -> CollectionResult | None:
        with naming(component, "on_collect_artifacts", agent.name):
            result = await component.on_collect_artifacts(
                self._orchestrator, delivery.artifact, agent, delivery.subscription
            )
            if result is None:
                return None
            if not isinstance(result, CollectionResult) or not all(
                isinstance(artifact, Artifact) and artifact.seq for artifact in result.artifacts
            ):
                msg = f"it returned {result!r}, no CollectionResult of artifacts on the board"
                raise TypeError(msg)
            return result

    def _collected(self, delivery: Delivery, agent: Agent, result: CollectionResult) -> None:
        held = self._gathering.gate_of(delivery.subscription, agent).held
        if not result.complete:
            held[delivery] = None
            self._gathering.wait(delivery)
            return
        used = {artifact.key for artifact in result.artifacts}
        joined = [other for other in held if other.artifact.key in used]
        for other in joined:
            del held[other]
        self._idle.waiting -= len(joined)
        artifacts = list(result.artifacts) or [delivery.artifact]
        self._scheduler.submit(agent, delivery.subscription, (*joined, delivery), artifacts)

    # --- a workflow's part ---

    def waiting(self, workflow: str) -> int:
        """Return how many deliveries of a workflow wait."""
        others = (*self._deferred, *self._unopened)
        count = sum(d.artifact.correlation_id == workflow for d in others)
        return count + len(self._gathering.of(workflow)) + self._holding.waiting(workflow)

    def hold_back(self, workflow: str) -> None:
        """Hold the deliveries of a workflow that are asked about again, or open later."""
        deferred = [d for d in self._deferred if d.artifact.correlation_id == workflow]
        unopened = [d for d in self._unopened if d.artifact.correlation_id == workflow]
        asked = [d for d in self._to_ask if d.artifact.correlation_id == workflow]
        for delivery in deferred:
            del self._deferred[delivery]
        self._idle.waiting -= len(deferred) + len(unopened)
        for delivery in unopened:
            self._unopened.pop(delivery).cancel()
        self._forget_asked(asked)
        self._holding.sift((*deferred, *asked, *unopened))
        for _ in unopened:
            self._idle.end_due(workflow)

    def _forget_asked(self, asked: Sequence[Delivery]) -> None:
        """Take these deliveries off the queue of those that are asked about."""
        if asked:
            gone = set(asked)
            self._to_ask = deque(d for d in self._to_ask if d not in gone)
        for delivery in asked:
            self._idle.end(delivery.artifact.correlation_id)

    def discard(self, workflow: str) -> list[Delivery]:
        """Take out and return the deliveries of a workflow that wait or are being asked."""

        def chosen(delivery: Delivery) -> bool:
            return delivery.artifact.correlation_id == workflow

        found = [*self._gathering.discard(workflow), *self._holding.discard(workflow)]
        deferred = [*filter(chosen, self._deferred)]
        for delivery in deferred:
            del self._deferred[delivery]
        unopened = [*filter(chosen, self._unopened)]
        for delivery in unopened:
            self._unopened.pop(delivery).cancel()
            self._idle.end_due(delivery.artifact.correlation_id)
        self._idle.waiting -= len(deferred) + len(unopened)
        asked = [*filter(chosen, self._to_ask)]
        self._forget_asked(asked)
        if self._asked is not None and self._asked.is_open and chosen(self._asked):
            asked.append(self._asked)
        return [*found, *deferred, *unopened, *asked]


def _number(delivery: Delivery) -> int:
    """Where arrivals are counted they come again by their numbers: a clock may be set back."""
    return delivery.number


def _by_arrival(delivery: Delivery) -> tuple[float, int]:
    """What had come to its gate comes again first, in the order it came."""
    return delivery.arrived or inf, delivery.artifact.seq
