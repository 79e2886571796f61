"""What waits before the gates, and what becomes of groups that are complete, full or over."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from flock.clock import Clock, as_datetime
from flock.core.delivery import Delivery, Run
from flock.core.failure import failure_of
from flock.errors import UpcastError
from flock.orchestrator.activating import Activating
from flock.orchestrator.events import BatchFlushed, DeliveryWaiting, EventBus
from flock.orchestrator.gates.activation import Activation
from flock.orchestrator.gates.all_of import AllOf
from flock.orchestrator.gates.batch import Batch
from flock.orchestrator.gates.join import Group, Join, canonical
from flock.orchestrator.matcher import holds

if TYPE_CHECKING:
    from flock.core.agent import Agent
    from flock.core.conditions import Activation as ActivationCondition
    from flock.core.subscription import Subscription
    from flock.orchestrator.holding import Holding
    from flock.orchestrator.idle import Idle
    from flock.orchestrator.lifecycle_manager import Deadline, LifecycleManager
    from flock.orchestrator.lookout import Lookout
    from flock.orchestrator.outcomes import Outcomes
    from flock.orchestrator.scheduler import Scheduler
    from flock.store.protocol import BlackboardStore

logger = logging.getLogger(__name__)


class Gate:
    """What waits before one subscription: an AND gate or a join, a batch, or both.

    Attributes:
        subscription: The subscription.
        agent: Its agent.
        activation: What waits for a condition on its workflow, if the subscription has one.
        all_of: The AND gate, if there are several types and no join.
        join: The join, if there is one.
        batch: The batch, if there is one.
        held: Deliveries that a component holds, or whose expiry is being written down.
        batch_deadline: When the batch times out.
        window_deadline: At or before the end of the oldest join window.
        batch_counts: Whether the batch's deadline holds the board from being idle.
        window_counts: Whether that of the window does.
    """

    def __init__(self, subscription: Subscription, agent: Agent) -> None:
        self.subscription = subscription
        self.agent = agent
        self.activation = None if subscription.activation is None else Activation()
        self.join = Join(subscription) if subscription.join is not None else None
        self.all_of = (
            AllOf(subscription) if self.join is None and len(subscription.types) > 1 else None
        )
        self.batch = Batch(subscription) if subscription.batch is not None else None
        self.held: dict[Delivery, None] = {}
        self.batch_deadline: Deadline | None = None
        self.window_deadline: Deadline | None = None
        self.batch_counts = False
        self.window_counts = False

    @property
    def runs_expired(self) -> bool:
        """Whether a join group that was not completed in time runs with what came."""
        return self.subscription.join is not None and self.subscription.join.on_expired == "run"

    @property
    def keeps_time(self) -> bool:
        """Whether it matters when something came."""
        return self.join is not None or self.batch is not None

    def of(self, workflow: str) -> list[Delivery]:
        """Return what waits of a workflow here."""
        found = [d for d in self.held if d.artifact.correlation_id == workflow]
        for stage in (self.activation, self.all_of, self.join, self.batch):
            if stage is not None:
                found += stage.of(workflow)
        return found

    def discard(self, workflow: str) -> list[Delivery]:
        """Take out and return the waiting deliveries of a workflow, and what goes with them."""
        found = [d for d in self.held if d.artifact.correlation_id == workflow]
        for delivery in found:
            del self.held[delivery]
        for stage in (self.activation, self.all_of, self.join, self.batch):
            if stage is not None and (mine := stage.of(workflow)):
                found += stage.take_out(mine)
        return found


class Gathering:
    """Takes deliveries in one by one and hands complete groups to the scheduler.

    Taking in never waits and never raises: what has to be made true on the board besides,
    such as a group that expired, goes on in a task of its own.

    Attributes:
        on_left: Told of what leaves a gate at which it would have fallen due, while somebody
            waits for a workflow; else None.
    """

    def __init__(
        self,
        clock: Clock,
        events: EventBus,
        idle: Idle,
        lifecycle: LifecycleManager,
        scheduler: Scheduler,
        outcomes: Outcomes,
        store: BlackboardStore,
        holding: Holding,
        lookout: Lookout,
    ) -> None:
        self._store = store
        self._holding = holding
        self._holds = holding.holds
        self.on_left: Callable[[Iterable[Delivery]], None] | None = None
        self._clock = clock
        self._events = events
        self._idle = idle
        self._lifecycle = lifecycle
        self._scheduler = scheduler
        self._outcomes = outcomes
        self._gates: dict[Subscription, Gate] = {}
        self._arrivals: Mapping[tuple[str, int], int] = {}
        self.activating = Activating(lookout, idle, clock, lifecycle.spawn, self._wait_told)

    def clear(self) -> None:
        """Forget everything that waits, for a board that opens anew."""
        self._gates.clear()
        self.activating.clear()

    def count(self, arrivals: Mapping[tuple[str, int], int]) -> None:
        """Go on counting what comes to joins from where an earlier opening stopped."""
        self._arrivals = arrivals
        for gate in list(self._gates.values()):
            join = gate.join
            known = arrivals.get((gate.subscription.agent, gate.subscription.index), 0)
            if join is not None and join.arrivals < known:
                join.arrivals = known
                for group in join.expire(self._clock.time()):
                    self._expired(gate, group)

    @contextmanager
    def replay(self) -> Generator[None]:
        """Take in what had come before the board was closed, as it came.

        Only when all of it is there again does it count what had come after it: otherwise a
        group that was over as a whole would fall apart.
        """
        arrivals, self._arrivals = self._arrivals, {}
        try:
            yield
        finally:
            self.count(arrivals)

    def gate_of(self, subscription: Subscription, agent: Agent) -> Gate:
        """Return the gate of a subscription."""
        gate = self._gates.get(subscription)
        if gate is None:
            gate = self._gates[subscription] = Gate(subscription, agent)
            if gate.join is not None:
                address = (subscription.agent, subscription.index)
                gate.join.arrivals = self._arrivals.get(address, 0)
        return gate

    def take(self, delivery: Delivery, agent: Agent) -> None:
        """Take a delivery in."""
        gate = self.gate_of(delivery.subscription, agent)
        condition = delivery.subscription.activation
        if condition is not None and not delivery.arrived:  # it went on before, maybe
            self._activate(gate, condition, delivery)
        else:
            self._enter(gate, delivery)

    def _activate(self, gate: Gate, condition: ActivationCondition, delivery: Delivery) -> None:
        assert gate.activation is not None
        go_on = partial(self._activated, gate, delivery)
        self.activating.hold(gate.activation, condition, delivery, go_on)

    def _activated(self, gate: Gate, delivery: Delivery) -> None:
        """Take a delivery on whose workflow was ready for it, whatever becomes of that."""
        delivery.arrived = self._clock.time()
        self._store.note(delivery)
        self._enter(gate, delivery)

    def _enter(self, gate: Gate, delivery: Delivery) -> None:
        if not delivery.arrived:
            delivery.arrived = self._clock.time()
            if gate.keeps_time:
                self._store.note(delivery)
        if gate.join is not None:
            self._join(gate, gate.join, delivery)
        elif gate.all_of is not None:
            self.wait(delivery)
            group = gate.all_of.add(delivery)
            if group is not None:
                self._idle.waiting -= len(group)
                self._complete(gate, group)
        else:
            self._complete(gate, [delivery])

    def _join(self, gate: Gate, join: Join, delivery: Delivery) -> None:
        spec = gate.subscription.join
        assert spec is not None
        artifact = delivery.artifact
        try:
            types = gate.subscription.types
            entry = next((e for e in types if e.name == artifact.entry.name), artifact.entry)
            key = canonical(spec.key_of(artifact.take(entry)))
            is_new = not delivery.number
            group, expired = join.add(delivery, key, delivery.arrived)
            if is_new and spec.window_count is not None:
                self._store.note(delivery)
        except BaseException as error:
            failure = failure_of(error, f"the join key of agent {gate.agent.name!r}")
            if failure is None:
                raise
            self._outcomes.bury_group([delivery], failure)
            return
        self.wait(delivery)
        for over in expired:
            self._expired(gate, over)
        if group is not None:
            deliveries = group.deliveries
            self._idle.waiting -= len(deliveries)
            self._complete(gate, deliveries)
        if gate.window_deadline is None:
            self._watch_window(gate, join)
        elif self._holds:
            self._count_due(gate)

    def _complete(self, gate: Gate, group: list[Delivery]) -> None:
        """Take a complete group on: to its predicates, its batch, its run."""
        if self.on_left is not None and gate.runs_expired:
            self.on_left(group)
        subscription = gate.subscription
        if subscription.group:
            pairs = zip(group, subscription.types, strict=True)
            try:
                models = [delivery.artifact.take(entry) for delivery, entry in pairs]
            except UpcastError as error:
                self._outcomes.bury_group(group, error)
                return
            if not all(holds(p, subscription.agent, *models) for p in subscription.group):
                self._outcomes.skip(group, "its group predicate does not hold")
                return
        self._proceed(gate, group)

    def _proceed(self, gate: Gate, group: list[Delivery]) -> None:
        batch = gate.batch
        if batch is None:
            self._run(gate, group, is_batch=False)
            return
        self._idle.waiting += len(group)
        if self._events.is_heard:
            self._tell_waiting(group[-1])
        completed = group[0].arrived if len(group) == 1 else max(d.arrived for d in group)
        filled = batch.add(group, completed)
        if filled is not None:
            self._flush(gate, filled, "size")
        elif batch.is_timed and gate.batch_deadline is None:
            self._watch_batch(gate, batch)
        elif self._holds:
            self._count_due(gate)

    def _run(
        self, gate: Gate, group: list[Delivery], *, is_batch: bool, run: Run | None = None
    ) -> None:
        artifacts = [delivery.artifact for delivery in group]
        self._scheduler.submit(
            gate.agent, gate.subscription, group, artifacts, is_batch=is_batch, run=run
        )

    # --- batches ---

    def flush(self) -> int:
        """Run what partial batches hold; return how many were."""
        count = 0
        for gate in list(self._gates.values()):
            if gate.batch is not None and len(gate.batch):
                self._flush(gate, gate.batch.take(), "flush")
                count += 1
        return count

    def _watch_batch(self, gate: Gate, batch: Batch) -> None:
        """Keep a deadline while a batch with a timeout holds something."""
        due = batch.next_due
        if due is None:
            self._withdraw_batch(gate)
        elif gate.batch_deadline is None:
            gate.batch_deadline = self._lifecycle.batches.add(
                due, partial(self._batch_due, gate, batch)
            )
            self._count_due(gate)

    def _batch_due(self, gate: Gate, batch: Batch) -> None:
        due = batch.next_due
        if due is not None and due <= self._clock.time():
            self._flush(gate, batch.take(), "timeout")
            return
        self._idle.begin_due(None)
        self._withdraw_batch(gate)
        self._watch_batch(gate, batch)
        self._idle.end_due(None)

    def _flush(self, gate: Gate, groups: Sequence[Sequence[Delivery]], reason: str) -> None:
        deliveries = [delivery for group in groups for delivery in group]
        self._idle.waiting -= len(deliveries)
        if self._events.is_heard:
            now = as_datetime(self._clock.time())
            self._events.tell(BatchFlushed(now, None, gate.agent.name, len(groups), reason))
        self._run(gate, deliveries, is_batch=True)
        self._withdraw_batch(gate)

    def _withdraw_batch(self, gate: Gate) -> None:
        if gate.batch_deadline is not None:
            gate.batch_deadline.cancel()
            gate.batch_deadline = None
            self._count_due(gate)

    # --- join windows ---

    def _watch_window(self, gate: Gate, join: Join) -> None:
        """Keep a deadline while groups are open, at or before the end of the oldest window."""
        due = join.next_due
        if due is None:
            self._withdraw_window(gate)
        elif gate.window_deadline is None:
            gate.window_deadline = self._lifecycle.windows.add(
                due, partial(self._window_due, gate, join)
            )
            self._count_due(gate)

    def _withdraw_window(self, gate: Gate) -> None:
        if gate.window_deadline is not None:
            gate.window_deadline.cancel()
            gate.window_deadline = None
            self._count_due(gate)

    def _window_due(self, gate: Gate, join: Join) -> None:
        self._idle.begin_due(None)
        self._withdraw_window(gate)
        for group in join.expire(self._clock.time()):
            self._expired(gate, group)
        self._watch_window(gate, join)
        self._idle.end_due(None)

    def _expired(self, gate: Gate, group: Group) -> None:
        deliveries = group.deliveries
        if self.on_left is not None:
            self.on_left(deliveries)
        if not gate.runs_expired:
            self._idle.waiting -= len(deliveries)
            self._outcomes.expire(gate.subscription, deliveries, group.key, None, None, None)
            return
        gate.held.update(dict.fromkeys(deliveries))
        # Its run is on record with its expiry: what was on its way to the board meanwhile, and
        # would have been in time, does not complete it when the board is opened again.
        run = None
        if gate.batch is None:
            artifacts = [delivery.artifact for delivery in deliveries]
            key = self._scheduler.new_key()
            run = Run(key, gate.agent.name, gate.subscription, deliveries, artifacts)
            for delivery in deliveries:
                delivery.run = run
        then = partial(self._run_expired, gate, deliveries, run)
        gone = partial(_cancelled_of, gate, deliveries, run)
        self._outcomes.expire(gate.subscription, deliveries, group.key, run, gone, then)

    def _run_expired(self, gate: Gate, deliveries: Sequence[Delivery], run: Run | None) -> None:
        """Run with what came of a group that expired, unless it was cancelled meanwhile."""
        left = [delivery for delivery in deliveries if delivery in gate.held]
        for delivery in left:
            del gate.held[delivery]
        self._idle.waiting -= len(left)
        if not left:
            return
        if run is None:
            self._proceed(gate, left)
        else:
            self._run(gate, left, is_batch=False, run=run)

    # --- what falls due ---

    def _count_due(self, gate: Gate) -> None:
        """Let what falls due at a gate hold the board from being idle, unless all is paused."""
        is_due = gate.batch_deadline is not None and not self._is_paused(gate.batch)
        if is_due is not gate.batch_counts:
            gate.batch_counts = is_due
            self._count(is_due)
        is_due = gate.window_deadline is not None and gate.runs_expired
        is_due = is_due and not self._is_paused(gate.join)
        if is_due is not gate.window_counts:
            gate.window_counts = is_due
            self._count(is_due)

    def _count(self, is_due: bool) -> None:  # noqa: FBT001
        if is_due:
            self._idle.begin_due(None)
        else:
            self._idle.end_due(None)

    def _is_paused(self, stage: Batch | Join | None) -> bool:
        """Return whether all that waits at a gate is of paused workflows."""
        if not self._holds or stage is None:
            return False
        return all(map(self._holding.is_paused, stage.workflows))

    def count_due(self) -> None:
        """Look again which gates hold the board from being idle: what is paused has changed."""
        for gate in self._gates.values():
            self._count_due(gate)

    def falls_due(self, workflow: str) -> bool:
        """Return whether something of a workflow goes on from a gate by the clock alone."""
        for gate in self._gates.values():
            if gate.batch_deadline is not None and gate.batch and gate.batch.of(workflow):
                return True
            is_timed = gate.window_deadline is not None and gate.runs_expired
            if is_timed and gate.join and gate.join.of(workflow):
                return True
        return False

    # --- waiting ---

    def wait(self, delivery: Delivery) -> None:
        """Count and tell of a delivery that waits."""
        self._idle.waiting += 1
        if self._events.is_heard:
            self._tell_waiting(delivery)

    def _wait_told(self, delivery: Delivery) -> None:
        """Tell of a delivery that is counted as waiting already."""
        if self._events.is_heard:
            self._tell_waiting(delivery)

    def _tell_waiting(self, delivery: Delivery) -> None:
        artifact, now = delivery.artifact, as_datetime(self._clock.time())
        self._events.tell(
            DeliveryWaiting(now, artifact.correlation_id, delivery.agent, artifact.id)
        )

    def of(self, workflow: str) -> list[Delivery]:
        """Return what waits of a workflow before the gates."""
        return [delivery for gate in self._gates.values() for delivery in gate.of(workflow)]

    def discard(self, workflow: str) -> list[Delivery]:
        """Take out and return the waiting deliveries of a workflow.

        A complete group in a batch goes whole. What remains waits as if they had not come.
        """
        found: list[Delivery] = []
        for gate in self._gates.values():
            taken = gate.discard(workflow)
            if not taken:
                continue
            found += taken
            if gate.join is not None:
                self._withdraw_window(gate)
                self._watch_window(gate, gate.join)
            if gate.batch is not None:
                self._withdraw_batch(gate)
                self._watch_batch(gate, gate.batch)
        self._idle.waiting -= len(found)
        self.activating.forget(workflow)
        return found


def _cancelled_of(gate: Gate, deliveries: Sequence[Delivery], run: Run | None) -> list[Delivery]:
    """Return what a cancel took out of a group while its expiry was being written down."""
    return [d for d in deliveries if run is not None and d.run is run and d not in gate.held]
