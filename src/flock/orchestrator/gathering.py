"""What waits before the gates, and what becomes of groups that are complete, full or over."""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from flock.clock import Clock, as_datetime
from flock.core.delivery import Delivery, Run
from flock.core.failure import failure_of
from flock.errors import UpcastError
from flock.orchestrator.events import BatchFlushed, DeliveryWaiting, EventBus
from flock.orchestrator.gates.all_of import AllOf
from flock.orchestrator.gates.batch import Batch
from flock.orchestrator.gates.join import Group, Join, canonical
from flock.orchestrator.matcher import holds

if TYPE_CHECKING:
    from flock.core.agent import Agent
    from flock.core.subscription import Subscription
    from flock.orchestrator.idle import Idle
    from flock.orchestrator.lifecycle_manager import Deadline, LifecycleManager
    from flock.orchestrator.outcomes import Outcomes
    from flock.orchestrator.scheduler import Scheduler
    from flock.store.protocol import BlackboardStore

logger = logging.getLogger(__name__)


class Gate:
    """What waits before one subscription: an AND gate or a join, a batch, or both.

    Attributes:
        subscription: The subscription.
        agent: Its agent.
        all_of: The AND gate, if there are several types and no join.
        join: The join, if there is one.
        batch: The batch, if there is one.
        held: Deliveries that a component holds, or whose expiry is being written down.
        batch_deadline: When the batch times out.
        window_deadline: At or before the end of the oldest join window.
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

    @property
    def runs_expired(self) -> bool:
        """Whether a join group that was not completed in time runs with what came."""
        return self.subscription.join is not None and self.subscription.join.on_expired == "run"

    @property
    def falls_due(self) -> bool:
        """Whether what waits here runs by itself after some time."""
        return self.runs_expired or (self.batch is not None and self.batch.is_timed)

    @property
    def keeps_time(self) -> bool:
        """Whether it matters when something came."""
        return self.join is not None or self.batch is not None

    def of(self, workflow: str) -> list[Delivery]:
        """Return what waits of a workflow here."""
        found = [d for d in self.held if d.artifact.correlation_id == workflow]
        for stage in (self.all_of, self.join, self.batch):
            if stage is not None:
                found += stage.of(workflow)
        return found

    def discard(self, workflow: str) -> list[Delivery]:
        """Take out and return the waiting deliveries of a workflow, and what goes with them."""
        found = [d for d in self.held if d.artifact.correlation_id == workflow]
        for delivery in found:
            del self.held[delivery]
        for stage in (self.all_of, self.join, self.batch):
            if stage is not None and (mine := stage.of(workflow)):
                found += stage.take_out(mine)
        return found


class Gathering:
    """Takes deliveries in one by one and hands complete groups to the scheduler.

    Taking in never waits and never raises: what has to be made true on the board besides,
    such as a group that expired, goes on in a task of its own.
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
    ) -> None:
        self._store = store
        self._clock = clock
        self._events = events
        self._idle = idle
        self._lifecycle = lifecycle
        self._scheduler = scheduler
        self._outcomes = outcomes
        self._gates: dict[Subscription, Gate] = {}
        self._arrivals: Mapping[tuple[str, int], int] = {}

    def clear(self) -> None:
        """Forget everything that waits, for a board that opens anew."""
        self._gates.clear()

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

    def _complete(self, gate: Gate, group: list[Delivery]) -> None:
        """Take a complete group on: to its predicates, its batch, its run."""
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
            self._idle.begin_due(None)
            gate.batch_deadline = self._lifecycle.batches.add(
                due, partial(self._batch_due, gate, batch)
            )

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
            self._idle.end_due(None)

    # --- join windows ---

    def _watch_window(self, gate: Gate, join: Join) -> None:
        """Keep a deadline while groups are open, at or before the end of the oldest window."""
        due = join.next_due
        if due is None:
            self._withdraw_window(gate)
        elif gate.window_deadline is None:
            if gate.runs_expired:
                self._idle.begin_due(None)
            gate.window_deadline = self._lifecycle.windows.add(
                due, partial(self._window_due, gate, join)
            )

    def _withdraw_window(self, gate: Gate) -> None:
        if gate.window_deadline is not None:
            gate.window_deadline.cancel()
            gate.window_deadline = None
            if gate.runs_expired:
                self._idle.end_due(None)

    def _window_due(self, gate: Gate, join: Join) -> None:
        self._idle.begin_due(None)
        self._withdraw_window(gate)
        for group in join.expire(self._clock.time()):
            self._expired(gate, group)
        self._watch_window(gate, join)
        self._idle.end_due(None)

    def _expired(self, gate: Gate, group: Group) -> None:
        deliveries = group.deliveries
        if not gate.runs_expired:
            self._idle.waiting -= len(deliveries)
            self._outcomes.expire(gate.subscription, deliveries, group.key, None, None)
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
        self._outcomes.expire(gate.subscription, deliveries, group.key, run, then)

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

    # --- waiting ---

    def wait(self, delivery: Delivery) -> None:
        """Count and tell of a delivery that waits."""
        self._idle.waiting += 1
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

    def is_due(self, workflow: str) -> bool:
        """Whether something of a workflow waits here that runs by itself after some time."""
        return any(gate.falls_due and gate.of(workflow) for gate in self._gates.values())

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
        return found
