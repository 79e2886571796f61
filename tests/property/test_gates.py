"""Gates against the simplest models of them: nothing lost, nothing twice, first come, first served.

Each model keeps one list of what waits, in the order it came, and looks through all of it at
every step.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from pydantic import BaseModel

from flock.core.delivery import Delivery
from flock.core.subscription import BatchSpec, JoinSpec
from flock.orchestrator.gates.all_of import AllOf
from flock.orchestrator.gates.batch import Batch
from flock.orchestrator.gates.join import Join
from tests.unit.support import A, B, C, delivery, subscription

Types = list[type[BaseModel]]

DECLARED = st.lists(st.sampled_from([A, B, C]), min_size=2, max_size=4)
STEPS = settings(max_examples=60, stateful_step_count=40)


def type_of(waiting: Delivery) -> type[BaseModel]:
    return waiting.artifact.entry.cls


class Waits(RuleBasedStateMachine):
    """What all gates have in common: what came, what was handed on, what still waits."""

    def __init__(self) -> None:
        super().__init__()
        self.came: list[Delivery] = []
        self.waiting: list[Delivery] = []
        self.gone: list[Delivery] = []

    gate: AllOf | Join | Batch

    def leave(self, gone: list[Delivery]) -> None:
        self.gone.extend(gone)
        self.waiting = [d for d in self.waiting if d not in gone]

    def chosen(self, data: st.DataObject) -> list[Delivery]:
        if not self.waiting:
            return []
        return data.draw(st.lists(st.sampled_from(self.waiting), unique_by=id))

    @invariant()
    def nothing_is_lost_and_nothing_is_there_twice(self) -> None:
        assert Counter(map(id, self.gone)) + Counter(map(id, self.gate)) == Counter(
            map(id, self.came)
        )

    @invariant()
    def what_waits_is_what_the_model_says(self) -> None:
        assert set(self.gate) == set(self.waiting)
        assert len(self.gate) == len(self.waiting)


# --- AND ------------------------------------------------------------------------------------


class AllOfMachine(Waits):
    """An AND gate pairs within a workflow, and loose roots with each other."""

    @initialize(types=DECLARED)
    def declare(self, types: Types) -> None:
        self.types = types
        self.subscription = subscription(*types)
        self.gate = self.all_of = AllOf(self.subscription)

    def arrive(self, came: Delivery) -> None:
        self.came.append(came)
        self.waiting.append(came)
        expected = self.expected(came)
        assert self.all_of.add(came) == expected
        if expected is not None:
            self.leave(expected)

    def expected(self, came: Delivery) -> list[Delivery] | None:
        workflow = came.artifact.correlation_id
        pools = [[d for d in self.waiting if d.artifact.correlation_id == workflow]]
        if came.artifact.is_loose_root:
            pools.append([d for d in self.waiting if d.artifact.is_loose_root])
        for pool in pools:
            group: list[Delivery] = []
            for wanted in self.types:
                first = next((d for d in pool if type_of(d) is wanted and d not in group), None)
                if first is None:
                    break
                group.append(first)
            else:
                return group
        return None

    def model(self, data: st.DataObject) -> BaseModel:
        return data.draw(st.sampled_from(self.types))()

    @rule(data=st.data(), count=st.sampled_from([1, 1, 1, 40]))
    def loose_roots_of_one_type_arrive(self, data: st.DataObject, count: int) -> None:
        model = self.model(data)
        for _ in range(count):
            self.arrive(delivery(self.subscription, model))

    @rule(data=st.data(), workflow=st.sampled_from(["w1", "w2"]), depth=st.integers(0, 2))
    def one_of_a_named_workflow_arrives(
        self, data: st.DataObject, workflow: str, depth: int
    ) -> None:
        model = self.model(data)
        self.arrive(delivery(self.subscription, model, workflow=workflow, depth=depth))

    @precondition(lambda self: any(d.artifact.is_loose_root for d in self.came))
    @rule(data=st.data())
    def what_follows_from_a_loose_root_arrives(self, data: st.DataObject) -> None:
        roots = [d.artifact for d in self.came if d.artifact.is_loose_root]
        root = data.draw(st.sampled_from(roots))
        model, workflow = self.model(data), root.correlation_id
        self.arrive(delivery(self.subscription, model, workflow=workflow, parents=[root]))

    @rule(data=st.data())
    def some_are_discarded(self, data: st.DataObject) -> None:
        chosen = self.chosen(data)
        found = self.all_of.discard(lambda d: d in chosen)
        assert Counter(map(id, found)) == Counter(map(id, chosen))
        self.leave(found)

    @rule(workflow=st.sampled_from(["w1", "w2"]))
    def a_workflow_is_cancelled(self, workflow: str) -> None:
        found = self.all_of.discard(lambda d: d.artifact.correlation_id == workflow)
        assert found == [d for d in self.waiting if d.artifact.correlation_id == workflow]
        self.leave(found)

    def teardown(self) -> None:
        if hasattr(self, "all_of"):
            self.all_of.discard(lambda _: True)
            assert not self.all_of._pools, "an empty gate keeps nothing of what it saw"


TestAllOf = AllOfMachine.TestCase
TestAllOf.settings = settings(STEPS, max_examples=150)


# --- join -------------------------------------------------------------------------------------


@dataclass(eq=False)
class Open:
    """A group of the model: its arrivals, each with its time and number."""

    key: str
    slots: list[Delivery | None]
    since: float
    first: int


class JoinMachine(Waits):
    """A join fills the oldest group of the key that lacks the type; windows run from the first."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.number = 0
        self.groups: list[Open] = []
        self.arrivals: dict[Delivery, tuple[str, float, int]] = {}

    @initialize(
        types=DECLARED,
        within=st.one_of(st.integers(4, 12), st.integers(1, 9).map(lambda n: timedelta(seconds=n))),
    )
    def declare(self, types: Types, within: timedelta | int) -> None:
        self.types = types
        self.subscription = subscription(*types, join=JoinSpec(by="key", within=within))
        self.gate = self.join = Join(self.subscription)
        self.within = within

    def is_over(self, group: Open, *, at_the_end: bool) -> bool:
        if isinstance(self.within, int):
            return self.number - group.first + 1 >= self.within
        age = self.now - group.since
        limit = self.within.total_seconds()
        return age >= limit if at_the_end else age > limit

    def expire(self, *, at_the_end: bool) -> list[list[Delivery]]:
        over = [g for g in self.groups if self.is_over(g, at_the_end=at_the_end)]
        self.groups = [g for g in self.groups if g not in over]
        return [[d for d in g.slots if d is not None] for g in over]

    def place(self, came: Delivery) -> Open:
        key, now, number = self.arrivals[came]
        places = [i for i, t in enumerate(self.types) if t is type_of(came)]
        for group in self.groups:
            free = [i for i in places if group.slots[i] is None]
            if group.key == key and free:
                group.slots[free[0]] = came
                return group
        group = Open(key, [None] * len(self.types), now, number)
        group.slots[places[0]] = came
        self.groups.append(group)
        return group

    @rule(data=st.data(), key=st.sampled_from("xyz"), later=st.integers(0, 3))
    def one_arrives(self, data: st.DataObject, key: str, later: int) -> None:
        model = data.draw(st.sampled_from(self.types))
        self.now += later
        came = delivery(self.subscription, model())
        self.came.append(came)
        expired = self.expire(at_the_end=False)
        self.number += 1
        self.arrivals[came] = key, self.now, self.number
        self.waiting.append(came)
        group = self.place(came)
        completed = None
        if None not in group.slots:
            self.groups.remove(group)
            completed = [d for d in group.slots if d is not None]
        if isinstance(self.within, int):
            expired += self.expire(at_the_end=True)

        got, over = self.join.add(came, key, self.now)
        assert (None if got is None else got.deliveries) == completed
        assert [g.deliveries for g in over] == expired
        for gone in [*expired, completed or []]:
            self.leave(gone)

    @rule(later=st.integers(0, 5))
    def time_passes_and_windows_close(self, later: int) -> None:
        self.now += later
        expired = self.expire(at_the_end=True)
        assert [g.deliveries for g in self.join.expire(self.now)] == expired
        for gone in expired:
            self.leave(gone)

    @rule(data=st.data())
    def some_are_discarded(self, data: st.DataObject) -> None:
        chosen = self.chosen(data)
        found = self.join.discard(lambda d: d in chosen)
        assert Counter(map(id, found)) == Counter(map(id, chosen))
        self.leave(found)
        # What stays is as if the others had never come.
        keys = {self.arrivals[d][0] for d in chosen}
        stay = [d for d in self.waiting if self.arrivals[d][0] in keys]
        self.groups = [g for g in self.groups if g.key not in keys]
        for waiting in stay:
            self.place(waiting)
        self.groups.sort(key=lambda g: g.first)

    @invariant()
    def the_next_window_to_close_is_the_oldest(self) -> None:
        if isinstance(self.within, timedelta):
            ends = [g.since + self.within.total_seconds() for g in self.groups]
            assert self.join.next_due == min(ends, default=None)
        else:
            assert self.join.next_due is None

    def teardown(self) -> None:
        if hasattr(self, "join"):
            self.join.discard(lambda _: True)
            assert not self.join._keys, "an empty join keeps nothing of what it saw"


TestJoin = JoinMachine.TestCase
TestJoin.settings = STEPS


# --- batch -------------------------------------------------------------------------------------


class BatchMachine(Waits):
    """A batch is full at its size, or due its timeout after the first of what it holds."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.groups: list[tuple[float, list[Delivery]]] = []

    @initialize(
        spec=st.builds(BatchSpec, size=st.integers(1, 6), timeout=st.none() | st.integers(1, 9))
        | st.builds(BatchSpec, timeout=st.integers(1, 9))
    )
    def declare(self, spec: BatchSpec) -> None:
        self.spec = spec
        self.subscription = subscription(A, batch=spec)
        self.gate = self.batch = Batch(self.subscription)

    @rule(size=st.integers(1, 3), later=st.integers(0, 3))
    def a_group_arrives(self, size: int, later: int) -> None:
        self.now += later
        group = [delivery(self.subscription) for _ in range(size)]
        self.came += group
        self.waiting += group
        self.groups.append((self.now, group))
        filled = self.batch.add(group, self.now)
        if self.spec.size is not None and len(self.groups) >= self.spec.size:
            self.expect(filled)
        else:
            assert filled is None

    def expect(self, taken: list[list[Delivery]] | None) -> None:
        assert taken == [group for _, group in self.groups]
        self.leave([d for _, group in self.groups for d in group])
        self.groups = []

    @rule()
    def it_is_flushed(self) -> None:
        self.expect(self.batch.take())

    @rule(data=st.data())
    def groups_of_some_are_discarded(self, data: st.DataObject) -> None:
        chosen = self.chosen(data)
        doomed = [g for _, g in self.groups if any(d in chosen for d in g)]
        found = self.batch.discard(lambda d: d in chosen)
        assert found == [d for g in doomed for d in g]
        self.leave(found)
        self.groups = [(since, g) for since, g in self.groups if g not in doomed]

    @invariant()
    def it_holds_its_groups_in_the_order_they_were_completed(self) -> None:
        assert list(self.batch) == [d for _, group in self.groups for d in group]

    @invariant()
    def it_is_due_its_timeout_after_the_first_it_holds(self) -> None:
        if self.spec.timeout_seconds is None or not self.groups:
            assert self.batch.next_due is None
        else:
            assert self.batch.next_due == self.groups[0][0] + self.spec.timeout_seconds


TestBatch = BatchMachine.TestCase
TestBatch.settings = settings(STEPS, max_examples=200)
