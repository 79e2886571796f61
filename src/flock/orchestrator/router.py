"""From committed deliveries, through the gates, to runs."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from flock.clock import Clock, as_datetime
from flock.components.orchestrator import CollectionResult, ScheduleDecision
from flock.core.artifacts import new_key
from flock.core.delivery import Delivery, Run
from flock.core.lifecycle import label_of
from flock.orchestrator import inside
from flock.orchestrator.events import BatchFlushed, DeliveryWaiting, EventBus, GroupSkipped
from flock.orchestrator.failures import ComponentFailed
from flock.orchestrator.gates.all_of import AllOf
from flock.orchestrator.gates.batch import Batch
from flock.orchestrator.gates.join import Group, Join, canonical
from flock.orchestrator.matcher import holds
from flock.orchestrator.scheduler import Scheduler

if TYPE_CHECKING:
    from flock.core.agent import Agent
    from flock.core.subscription import Subscription
    from flock.orchestrator.attempts import Attempts
    from flock.orchestrator.component_runner import ComponentRunner
    from flock.orchestrator.idle import Idle
    from flock.orchestrator.lifecycle_manager import Deadline, LifecycleManager
    from flock.orchestrator.outcomes import Outcomes

logger = logging.getLogger(__name__)


class Gate:
    """What waits before one subscription: a gate, a batch, or one after the other.

    Attributes:
        subscription: The subscription.
        agent: Its agent.
        all_of: The AND gate, if there are several types and no join.
        join: The join, if there is one.
        batch: The batch, if there is one.
        held: Deliveries that a component holds.
        batch_deadline: When the batch times out.
        window_deadline: When the oldest join window ends.
    """

    def __init__(self, subscription: Subscription, agent: Agent) -> None:
        self.subscription = subscription
        self.agent = agent
        self.join = Join(subscription) if subscription.join is not None else None
        self.all_of = (
            AllOf(subscription) if self.join is None and len(subscription.types) > 1 else None
        )
        self.batch = Batch(subscription) if subscription.batch is not None else None
        self.held: dict[Delivery, None] = {}
        self.batch_deadline: Deadline | None = None
        self.window_deadline: Deadline | None = None

    def waiting(self) -> list[Delivery]:
        """Return every delivery that waits here."""
        stages = (self.all_of, self.join, self.batch, self.held)
        return [delivery for stage in stages if stage is not None for delivery in stage]

    def discard(self, chosen: Callable[[Delivery], bool]) -> list[Delivery]:
        """Take out and return the waiting deliveries that are chosen."""
        found = [delivery for delivery in self.held if chosen(delivery)]
        for delivery in found:
            del self.held[delivery]
        for stage in (self.all_of, self.join, self.batch):
            if stage is not None:
                found += stage.discard(chosen)
        return found


class Router:
    """Takes committed deliveries to the gates and complete groups to the scheduler.

    Deliveries arrive in board order. With components that decide over deliveries, a
    background task takes them one by one, so that order is kept and publishers do not wait.
    """

    def __init__(
        self,
        clock: Clock,
        events: EventBus,
        idle: Idle,
        components: ComponentRunner,
        lifecycle: LifecycleManager,
        scheduler: Scheduler,
        attempts: Attempts,
        outcomes: Outcomes,
        orchestrator: object,
        agent_of: Callable[[str], Agent | None],
    ) -> None:
        self._clock = clock
        self._events = events
        self._idle = idle
        self._components = components
        self._lifecycle = lifecycle
        self._scheduler = scheduler
        self._orchestrator = orchestrator
        self._attempts = attempts
        self._outcomes = outcomes
        self._agent_of = agent_of
        self.clear()

    def clear(self) -> None:
        """Forget everything that waits, for a board that opens anew."""
        self._gates: dict[Subscription, Gate] = {}
        self._deferred: dict[Delivery, None] = {}
        self._attempts.on_run_end = None
        self._unopened: dict[Delivery, Deadline] = {}
        self._to_ask: deque[Delivery] = deque()
        self._asking: asyncio.Task[None] | None = None

    # --- the way in ---

    async def deliver(self, deliveries: Iterable[Delivery]) -> None:
        """Take deliveries that were just committed on their way."""
        asks = self._components.decides_deliveries
        for delivery in deliveries:
            if delivery.opens_at and delivery.opens_at > self._clock.time():
                self._wait_until_open(delivery)
            elif asks:
                self._ask_later(delivery)
            elif delivery.subscription.is_gated:
                await self._gather(delivery)
            else:
                subscription = delivery.subscription
                agent = self._agent_of(delivery.agent)
                assert agent is not None
                self._scheduler.submit(agent, subscription, (delivery,), [delivery.artifact])

    def resume(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Start the runs that were gathered before the board was closed.

        Returns:
            The deliveries that were not gathered yet, to be delivered.
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
        return rest

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
        try:
            while self._to_ask:
                delivery = self._to_ask.popleft()
                try:
                    await self._ask(delivery)
                except Exception as error:  # noqa: BLE001 - the delivery becomes a dead letter
                    await self._bury_one(delivery, error)
                finally:
                    self._idle.end(delivery.artifact.correlation_id)
        finally:
            self._asking = None

    async def _ask(self, delivery: Delivery) -> None:
        artifact, subscription = delivery.artifact, delivery.subscription
        if not delivery.is_open:
            return
        agent = self._agent_of(delivery.agent)
        assert agent is not None
        for component in self._components.having["on_before_schedule"]:
            with _naming(component, "on_before_schedule", agent):
                decision = await component.on_before_schedule(
                    self._orchestrator, artifact, agent, subscription
                )
            if decision is ScheduleDecision.SKIP:
                await self._skip([delivery], f"component {label_of(component)!r} skipped it")
                return
            if decision is ScheduleDecision.DEFER:
                self._deferred[delivery] = None
                self._attempts.on_run_end = self.on_run_end
                self._wait(delivery)
                return
        for component in self._components.having["on_collect_artifacts"]:
            with _naming(component, "on_collect_artifacts", agent):
                result = await component.on_collect_artifacts(
                    self._orchestrator, artifact, agent, subscription
                )
            if result is not None:
                self._collected(delivery, agent, result)
                return
        if subscription.is_gated:
            await self._gather(delivery)
        else:
            self._scheduler.submit(agent, subscription, (delivery,), [artifact])

    def _collected(self, delivery: Delivery, agent: Agent, result: CollectionResult) -> None:
        gate = self._gate(delivery.subscription, agent)
        if not result.complete:
            gate.held[delivery] = None
            self._wait(delivery)
            return
        used = {artifact.key for artifact in result.artifacts}
        joined = [held for held in gate.held if held.artifact.key in used]
        for held in joined:
            del gate.held[held]
        self._idle.waiting -= len(joined)
        artifacts = list(result.artifacts) or [delivery.artifact]
        self._scheduler.submit(agent, delivery.subscription, (*joined, delivery), artifacts)

    async def _bury_one(self, delivery: Delivery, error: Exception) -> None:
        """Make a dead letter of one delivery that cannot go on."""
        key = new_key(self._clock.time())
        run = Run(key, delivery.agent, delivery.subscription, (delivery,), [delivery.artifact])
        await self._outcomes.bury(run, error)

    # --- gates ---

    async def _gather(self, delivery: Delivery) -> None:
        subscription = delivery.subscription
        delivery.arrived = delivery.arrived or self._clock.time()
        gate = self._gates.get(subscription)
        if gate is None:
            agent = self._agent_of(delivery.agent)
            assert agent is not None
            gate = self._gate(subscription, agent)
        if gate.join is not None:
            await self._join(gate, gate.join, delivery)
        elif gate.all_of is not None:
            self._wait(delivery)
            group = gate.all_of.add(delivery)
            if group is not None:
                self._idle.waiting -= len(group)
                await self._complete(gate, group)
        else:
            await self._complete(gate, [delivery])

    async def _join(self, gate: Gate, join: Join, delivery: Delivery) -> None:
        spec = gate.subscription.join
        assert spec is not None
        artifact = delivery.artifact
        try:
            entry = next(e for e in gate.subscription.types if e.name == artifact.entry.name)
            key = canonical(spec.key_of(artifact.take(entry)))
        except Exception as error:  # noqa: BLE001 - the delivery becomes a dead letter
            await self._bury_one(delivery, error)
            return
        self._wait(delivery)
        group, expired = join.add(delivery, key, delivery.arrived)
        self._watch_window(gate, join)
        for over in expired:
            await self._expired(gate, over)
        if group is not None:
            deliveries = group.deliveries
            self._idle.waiting -= len(deliveries)
            await self._complete(gate, deliveries)

    async def _complete(self, gate: Gate, group: list[Delivery]) -> None:
        """Take a complete group on: to its predicates, its batch, its run."""
        subscription = gate.subscription
        if subscription.group:
            models = [
                delivery.artifact.take(entry)
                for delivery, entry in zip(group, subscription.types, strict=True)
            ]
            if not all(holds(p, subscription.agent, *models) for p in subscription.group):
                await self._skip(group, "its group predicate does not hold")
                return
        await self._proceed(gate, group)

    async def _proceed(self, gate: Gate, group: list[Delivery]) -> None:
        batch = gate.batch
        if batch is None:
            self._run(gate, group, is_batch=False)
            return
        self._idle.waiting += len(group)
        self._tell_waiting(group[-1])
        filled = batch.add(group, max(delivery.arrived for delivery in group))
        if filled is not None:
            self._flush(gate, filled, "size")
        elif gate.batch_deadline is None and batch.next_due is not None:
            self._idle.begin(BATCHES)
            gate.batch_deadline = self._lifecycle.batches.add(
                batch.next_due, partial(self._batch_due, gate)
            )

    def _run(self, gate: Gate, group: list[Delivery], *, is_batch: bool) -> None:
        artifacts = [delivery.artifact for delivery in group]
        self._scheduler.submit(gate.agent, gate.subscription, group, artifacts, is_batch=is_batch)

    # --- batches ---

    def flush(self) -> int:
        """Run what partial batches hold; return how many were."""
        count = 0
        for gate in self._gates.values():
            if gate.batch is not None and len(gate.batch):
                self._flush(gate, gate.batch.take(), "flush")
                count += 1
        return count

    def _batch_due(self, gate: Gate) -> None:
        assert gate.batch is not None
        if len(gate.batch):
            self._flush(gate, gate.batch.take(), "timeout")

    def _flush(self, gate: Gate, groups: list[list[Delivery]], reason: str) -> None:
        deliveries = [delivery for group in groups for delivery in group]
        self._idle.waiting -= len(deliveries)
        if self._events.is_heard:
            self._events.tell(BatchFlushed(self._now(), None, gate.agent.name, len(groups), reason))
        self._run(gate, deliveries, is_batch=True)
        self._withdraw_batch(gate)

    def _withdraw_batch(self, gate: Gate) -> None:
        if gate.batch_deadline is not None:
            gate.batch_deadline.cancel()
            gate.batch_deadline = None
            self._idle.end(BATCHES)

    # --- join windows ---

    def _watch_window(self, gate: Gate, join: Join) -> None:
        """Keep a deadline while groups are open, at or before the end of the oldest window."""
        due = join.next_due
        if due is None:
            self._withdraw_window(gate)
        elif gate.window_deadline is None:
            if _runs_expired(gate.subscription):
                self._idle.begin(WINDOWS)
            gate.window_deadline = self._lifecycle.windows.add(
                due, partial(self._window_due, gate, join)
            )

    def _withdraw_window(self, gate: Gate) -> None:
        if gate.window_deadline is not None:
            gate.window_deadline.cancel()
            gate.window_deadline = None
            if _runs_expired(gate.subscription):
                self._idle.end(WINDOWS)

    async def _window_due(self, gate: Gate, join: Join) -> None:
        self._idle.begin(WINDOWS)
        try:
            self._withdraw_window(gate)
            for group in join.expire(self._clock.time()):
                await self._expired(gate, group)
            self._watch_window(gate, join)
        finally:
            self._idle.end(WINDOWS)

    async def _expired(self, gate: Gate, group: Group) -> None:
        deliveries = group.deliveries
        self._idle.waiting -= len(deliveries)
        await self._outcomes.expire(gate.subscription, group, self._clock.time())
        if _runs_expired(gate.subscription):
            await self._proceed(gate, deliveries)

    # --- waiting ---

    def _wait_until_open(self, delivery: Delivery) -> None:
        self._idle.begin(delivery.artifact.correlation_id)
        self._wait(delivery)
        self._unopened[delivery] = self._lifecycle.timers.add(
            delivery.opens_at, partial(self._opens, delivery)
        )

    async def _opens(self, delivery: Delivery) -> None:
        del self._unopened[delivery]
        self._idle.waiting -= 1
        try:
            await self.deliver([delivery])
        finally:
            self._idle.end(delivery.artifact.correlation_id)

    def _wait(self, delivery: Delivery) -> None:
        self._idle.waiting += 1
        self._tell_waiting(delivery)

    def _tell_waiting(self, delivery: Delivery) -> None:
        if self._events.is_heard:
            artifact = delivery.artifact
            self._events.tell(
                DeliveryWaiting(self._now(), artifact.correlation_id, delivery.agent, artifact.id)
            )

    async def _skip(self, group: list[Delivery], reason: str) -> None:
        await self._outcomes.close(group)
        if self._events.is_heard:
            first = group[0]
            self._events.tell(
                GroupSkipped(
                    self._now(),
                    first.artifact.correlation_id,
                    first.agent,
                    tuple(delivery.artifact.id for delivery in group),
                    reason,
                )
            )

    def waiting(self, workflow: str) -> int:
        """Return how many deliveries of a workflow wait."""
        here = [d for gate in self._gates.values() for d in gate.waiting()]
        here += [*self._deferred, *self._unopened]
        return sum(d.artifact.correlation_id == workflow for d in here)

    def discard(self, workflow: str) -> list[Delivery]:
        """Take out and return the waiting deliveries of a workflow, for it is cancelled.

        A batched group that mixes workflows goes whole.
        """

        def chosen(delivery: Delivery) -> bool:
            return delivery.artifact.correlation_id == workflow

        found: list[Delivery] = []
        for gate in self._gates.values():
            found += gate.discard(chosen)
            if gate.join is not None:
                self._watch_window(gate, gate.join)
            if gate.batch is not None and not len(gate.batch):
                self._withdraw_batch(gate)
        deferred = [delivery for delivery in self._deferred if chosen(delivery)]
        for delivery in deferred:
            del self._deferred[delivery]
        unopened = [delivery for delivery in self._unopened if chosen(delivery)]
        for delivery in unopened:
            self._unopened.pop(delivery).cancel()
            self._idle.end(delivery.artifact.correlation_id)
        self._idle.waiting -= len(found) + len(deferred) + len(unopened)
        asked = [delivery for delivery in self._to_ask if chosen(delivery)]
        return [*found, *deferred, *unopened, *asked]

    def _gate(self, subscription: Subscription, agent: Agent) -> Gate:
        gate = self._gates.get(subscription)
        if gate is None:
            gate = self._gates[subscription] = Gate(subscription, agent)
        return gate

    def _now(self) -> datetime:
        return as_datetime(self._clock.time())


BATCHES = "flock batches"
"""What batches with a timeout are counted under, since they mix workflows."""
WINDOWS = "flock join windows"
"""What join windows that end in a run are counted under, since they mix workflows."""


def _runs_expired(subscription: Subscription) -> bool:
    return subscription.join is not None and subscription.join.on_expired == "run"


class _naming:
    """Turn a component's error into one that names the component, its hook and the agent."""

    def __init__(self, component: object, hook: str, agent: Agent) -> None:
        self._component = component
        self._hook = hook
        self._agent = agent

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception):
            msg = (
                f"component {label_of(self._component)!r} failed in {self._hook} for agent "
                f"{self._agent.name!r}: {error!r}"
            )
            raise ComponentFailed(msg) from error
