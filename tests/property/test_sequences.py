"""The queue of ready runs against lists of its workflows, chunks against a list."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flock.orchestrator.job import Job, Lane
from flock.orchestrator.ready import Ready
from flock.store.chunks import Chunks
from tests.unit.support import A, agent_of, artifact


class ReadyMachine(RuleBasedStateMachine):
    """The most urgent come first; of equally urgent ones, workflows take turns."""

    def __init__(self) -> None:
        super().__init__()
        self.ready = Ready()
        self.rounds: dict[int, list[str]] = {}
        self.model: dict[tuple[int, str], list[Job]] = {}
        self.lane = Lane(agent_of())
        self.key = 0
        self.due: dict[tuple[int, str], set[str]] = {}

    @rule(
        priority=st.integers(-2, 2),
        workflow=st.sampled_from([*"abcdef", None]),
        count=st.integers(1, 3),
    )
    def runs_are_queued(self, priority: int, workflow: str | None, count: int) -> None:
        for _ in range(count):
            self.key += 1
            job = Job(self.key, self.lane, None, (), [artifact(A())])
            job.correlation_id = name = workflow or f"its own {self.key}"
            self.ready.push(priority, job)
            turns = self.rounds.setdefault(priority, [])
            if name not in turns:
                turns.append(name)
            self.model.setdefault((priority, name), []).append(job)

    @precondition(lambda self: self.rounds)
    @rule(count=st.integers(1, 5))
    def the_most_urgent_are_taken(self, count: int) -> None:
        for _ in range(count):
            if not self.rounds:
                return
            priority = max(self.rounds)
            assert self.ready.priority == priority
            turns = self.rounds[priority]
            workflow = turns.pop(0)
            jobs = self.model[priority, workflow]
            assert self.ready.pop() is jobs.pop(0), "first come, first served in a workflow"
            self.nobody_was_passed_over(priority, workflow)
            if jobs:
                turns.append(workflow)
            else:
                del self.model[priority, workflow]
            if not turns:
                del self.rounds[priority]

    def nobody_was_passed_over(self, priority: int, workflow: str) -> None:
        """Between two runs of a workflow each other one that waited all the time had one."""
        assert not self.due.pop((priority, workflow), None)
        for (level, _), others in self.due.items():
            if level == priority:
                others.discard(workflow)
        self.due[priority, workflow] = {w for w in self.rounds[priority] if w != workflow}

    @invariant()
    def it_knows_what_is_queued(self) -> None:
        queued = [job for jobs in self.model.values() for job in jobs]
        assert sorted(job.key for job in self.ready) == sorted(job.key for job in queued)
        assert bool(self.ready) == bool(queued)
        if queued:
            assert self.ready.priority == max(self.rounds)


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
