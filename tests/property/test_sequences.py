"""The queue of ready runs against a sorted list, chunks against a list."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flock.orchestrator.job import Job, Lane
from flock.orchestrator.ready import Ready
from flock.store.chunks import Chunks
from tests.unit.support import A, agent_of, artifact


class ReadyMachine(RuleBasedStateMachine):
    """The most urgent run comes first, and of equally urgent ones the first that was queued."""

    def __init__(self) -> None:
        super().__init__()
        self.ready = Ready()
        self.model: list[tuple[int, int, Job]] = []
        self.lane = Lane(agent_of())
        self.order = 0

    @rule(priority=st.integers(-3, 3), count=st.integers(1, 3))
    def runs_are_queued(self, priority: int, count: int) -> None:
        for _ in range(count):
            self.order += 1
            job = Job(self.order, self.lane, None, (), [artifact(A())])
            job.order = self.order
            self.ready.push(priority, job)
            self.model.append((-priority, self.order, job))

    @precondition(lambda self: self.model)
    @rule(count=st.integers(1, 5))
    def the_most_urgent_are_taken(self, count: int) -> None:
        for _ in range(min(count, len(self.model))):
            first = min(self.model, key=lambda entry: entry[:2])
            self.model.remove(first)
            assert self.ready.key == first[:2]
            assert self.ready.pop() is first[2]

    @invariant()
    def it_knows_how_urgent_its_first_is(self) -> None:
        assert bool(self.ready) == bool(self.model)
        if self.model:
            assert self.ready.key == min(self.model)[:2]


TestReady = ReadyMachine.TestCase
TestReady.settings = settings(stateful_step_count=50)


class ChunksMachine(RuleBasedStateMachine):
    """Chunks are a list of which items can be replaced."""

    def __init__(self) -> None:
        super().__init__()
        self.chunks: Chunks[tuple[int, str] | None] = Chunks()
        self.model: list[tuple[int, str] | None] = []

    @rule(count=st.sampled_from([1, 2, 500, 1023, 1024, 1025]))
    def items_are_added(self, count: int) -> None:
        for _ in range(count):
            item = len(self.model), "item"
            self.chunks.append(item)
            self.model.append(item)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def items_are_replaced(self, data: st.DataObject) -> None:
        positions = st.integers(0, len(self.model) - 1)
        value = st.none() | st.tuples(st.integers(), st.just("changed"))
        changes = data.draw(st.dictionaries(positions, value))
        self.chunks.replace(changes)
        for position, item in changes.items():
            self.model[position] = item

    @invariant()
    def they_hold_what_the_list_holds(self) -> None:
        assert len(self.chunks) == len(self.model)
        assert [self.chunks[i] for i in range(len(self.model))] == self.model


TestChunks = ChunksMachine.TestCase
TestChunks.settings = settings(max_examples=25, stateful_step_count=15)
