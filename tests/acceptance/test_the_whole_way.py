"""Publish, match, gate, run, fail, retry, redrive, cancel, close and reopen, in any order:
nothing is lost, nothing happens twice, nothing is hidden."""

# Agents are short lambdas here.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportOptionalMemberAccess=false

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Coroutine
from datetime import timedelta
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from pydantic import BaseModel

from flock import Backoff, BatchSpec, Context, Flock, JoinSpec, WorkflowError
from flock.testing import ManualClock

R = TypeVar("R")


class Job(BaseModel):
    n: int
    key: str
    failures: int = 0


class Stamp(BaseModel):
    n: int
    key: str


class Done(BaseModel):
    n: int
    key: str


class Final(BaseModel):
    done: int
    stamp: int


class Ledger(BaseModel):
    done: list[int]


ATTEMPTS = 3


class TheWholeWay(RuleBasedStateMachine):
    """worker: Job -> Done; clerk: Done + Stamp (by key) -> Final; ledger: three Dones -> Ledger.

    A job fails as often as it says (three attempts a run), or for good while it is broken,
    or hangs while it is stuck.
    """

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = ManualClock()
        self.folder = TemporaryDirectory()
        self.board = Flock(store=self.store(), clock=self.clock)
        self.n = 0
        self.broken: set[int] = set()
        self.stuck: dict[int, asyncio.Event] = {}
        self.hanging: dict[int, str] = {}
        self.executions: Counter[int] = Counter()
        self.run_ids: dict[int, set[str]] = defaultdict(set)
        # the model
        self.workflow: dict[int, str] = {}
        self.dead: set[int] = set()
        self.failed_runs: Counter[int] = Counter()
        self.expected_done: list[int] = []
        self.dones: dict[str, deque[tuple[int, str]]] = defaultdict(deque)
        self.stamps: dict[str, deque[tuple[int, str]]] = defaultdict(deque)
        self.finals: set[tuple[int, int]] = set()
        self.ledger: list[int] = []
        self.ledgers: list[list[int]] = []

    def store(self) -> str:
        return "memory:"

    def do(self, work: Coroutine[Any, Any, R]) -> R:
        async def limited() -> R:
            async with asyncio.timeout(30):
                return await work

        return self.runner.run(limited())

    def settle(self) -> None:
        self.do(self.clock.advance(timedelta(hours=1)))  # longer than every back-off

    @initialize()
    def open(self) -> None:
        async def work(job: Job, ctx: Context) -> Done:
            self.executions[job.n] += 1
            self.run_ids[job.n].add(str(ctx.run_id))
            if job.n in self.stuck:
                await self.stuck[job.n].wait()
            if job.n in self.broken or ctx.attempt <= job.failures:
                raise ValueError(job.n)
            return Done(n=job.n, key=job.key)

        async def clerk(done: Done, stamp: Stamp) -> Final:
            assert done.key == stamp.key
            return Final(done=done.n, stamp=stamp.n)

        async def keep(dones: list[Done]) -> Ledger:
            return Ledger(done=[done.n for done in dones])

        self.board.agent("worker").calls(work).retry(ATTEMPTS, backoff=Backoff(10))
        self.board.agent("clerk").consumes(
            Done, Stamp, join=JoinSpec(by=lambda m: m.key, within=timedelta(days=100_000))
        ).publishes(Final).calls(clerk)
        self.board.agent("ledger").consumes(Done, batch=BatchSpec(size=3)).publishes(Ledger).calls(
            keep
        )

    # --- the model's own steps

    def finished(self, n: int, key: str) -> None:
        workflow = self.workflow[n]
        self.expected_done.append(n)
        self.ledger.append(n)
        if len(self.ledger) == 3:
            self.ledgers.append(self.ledger)
            self.ledger = []
        self.dones[key].append((n, workflow))
        self.pair(key)

    def pair(self, key: str) -> None:
        if self.dones[key] and self.stamps[key]:
            self.finals.add((self.dones[key].popleft()[0], self.stamps[key].popleft()[0]))

    def publish(self, model: BaseModel) -> str:
        artifact = self.do(self.board.publish(model))
        self.workflow[self.n] = artifact.correlation_id
        return artifact.correlation_id

    # --- what may happen, in any order

    @rule(key=st.sampled_from("pqr"), failures=st.integers(0, ATTEMPTS - 1))
    def publish_a_job(self, key: str, failures: int) -> None:
        self.n += 1
        self.publish(Job(n=self.n, key=key, failures=failures))
        self.settle()
        self.finished(self.n, key)

    @rule(key=st.sampled_from("pqr"))
    def publish_a_broken_job(self, key: str) -> None:
        self.n += 1
        self.broken.add(self.n)
        self.publish(Job(n=self.n, key=key))
        self.settle()
        self.dead.add(self.n)
        self.failed_runs[self.n] += 1

    @rule(key=st.sampled_from("pqr"))
    def publish_a_stamp(self, key: str) -> None:
        self.n += 1
        workflow = self.publish(Stamp(n=self.n, key=key))
        self.settle()
        self.stamps[key].append((self.n, workflow))
        self.pair(key)

    @precondition(lambda self: len(self.hanging) < 8)  # well below the agent's 16 at a time
    @precondition(lambda self: len(self.hanging) < 5)  # fewer than the agent's slots
    @rule(key=st.sampled_from("pqr"))
    def publish_a_stuck_job(self, key: str) -> None:
        self.n += 1
        self.stuck[self.n] = asyncio.Event()
        self.hanging[self.n] = key
        self.publish(Job(n=self.n, key=key))
        self.settle()
        assert self.executions[self.n] >= 1

    @precondition(lambda self: self.dead)
    @rule(data=st.data(), repaired=st.booleans())
    def redrive(self, data: st.DataObject, repaired: bool) -> None:
        n = data.draw(st.sampled_from(sorted(self.dead)))
        letters = self.do(self.board.dead_letters())
        (letter,) = [d for d in letters if d.artifacts[0].payload["n"] == n]
        key = letter.artifacts[0].payload["key"]
        if repaired:
            self.broken.discard(n)
        self.do(self.board.redrive(letter.id))
        self.settle()
        if repaired:
            self.dead.discard(n)
            self.finished(n, key)
        else:
            self.failed_runs[n] += 1

    @precondition(lambda self: self.hanging)
    @rule(data=st.data())
    def let_a_stuck_job_go(self, data: st.DataObject) -> None:
        n = data.draw(st.sampled_from(sorted(self.hanging)))
        key = self.hanging.pop(n)
        event = self.stuck.pop(n)
        self.do(self.set_event(event))
        self.settle()
        self.finished(n, key)

    async def set_event(self, event: asyncio.Event) -> None:
        event.set()

    @precondition(lambda self: self.hanging)
    @rule(data=st.data())
    def cancel_a_stuck_job(self, data: st.DataObject) -> None:
        n = data.draw(st.sampled_from(sorted(self.hanging)))
        assert self.do(self.board.cancel(self.workflow[n])) == 1
        self.settle()
        self.hanging.pop(n)
        self.stuck.pop(n)

    @precondition(lambda self: any(self.stamps.values()))
    @rule(data=st.data())
    def cancel_a_waiting_stamp(self, data: st.DataObject) -> None:
        everyone = sorted(n for queue in self.stamps.values() for n, _ in queue)
        n = data.draw(st.sampled_from(everyone))
        assert self.do(self.board.cancel(self.workflow[n])) == 1
        for queue in self.stamps.values():
            for item in [item for item in queue if item[0] == n]:
                queue.remove(item)

    @precondition(lambda self: self.ledger)
    @rule(data=st.data())
    def cancel_a_finished_job(self, data: st.DataObject) -> None:
        n = data.draw(st.sampled_from(self.ledger))
        open_in_join = any(item[0] == n for queue in self.dones.values() for item in queue)
        assert self.do(self.board.cancel(self.workflow[n])) == 1 + open_in_join
        self.ledger.remove(n)
        for queue in self.dones.values():
            for item in [item for item in queue if item[0] == n]:
                queue.remove(item)

    @rule()
    def flush(self) -> None:
        assert self.do(self.board.flush()) == (1 if self.ledger else 0)
        self.settle()
        if self.ledger:
            self.ledgers.append(self.ledger)
            self.ledger = []

    @rule()
    def close_and_reopen(self) -> None:
        self.do(self.board.shutdown(grace=0.0))
        self.do(self.board.run_until_idle(timeout=0))
        self.settle()

    @rule(key=st.sampled_from("pqr"), grace=st.booleans())
    def close_in_the_middle(self, key: str, grace: bool) -> None:
        self.n += 1
        self.publish(Job(n=self.n, key=key))
        if not self.hanging:
            self.do(self.board.shutdown(grace=5.0 if grace else 0.0))
        self.do(self.board.run_until_idle(timeout=0))
        self.settle()
        self.finished(self.n, key)

    # --- what must hold at any time

    @invariant()
    def every_job_is_done_once_or_in_the_dead_letters(self) -> None:
        dones = self.do(self.board.store.get_by_type(Done))
        assert [done.n for done in dones] == self.expected_done
        letters = self.do(self.board.dead_letters())
        assert sorted(d.artifacts[0].payload["n"] for d in letters) == sorted(self.dead)
        for n, run_ids in self.run_ids.items():
            if n in self.failed_runs:
                assert len(run_ids) == 1, "redriven under another run id"

    @invariant()
    def every_failure_is_told_once(self) -> None:
        errors = self.do(self.board.store.get_by_type(WorkflowError))
        assert len(errors) == sum(self.failed_runs.values())
        assert {error.failed_agent for error in errors} <= {"worker"}

    @invariant()
    def joins_and_batches_are_those_of_the_model(self) -> None:
        finals = self.do(self.board.store.get_by_type(Final))
        assert len(finals) == len(self.finals)
        assert {(f.done, f.stamp) for f in finals} == self.finals
        ledgers = self.do(self.board.store.get_by_type(Ledger))
        assert [ledger.done for ledger in ledgers] == self.ledgers

    @invariant()
    def what_waits_is_what_the_model_holds(self) -> None:
        report = self.do(self.board.run_until_idle(timeout=0 if self.hanging else None))
        waiting = sum(map(len, self.dones.values())) + sum(map(len, self.stamps.values()))
        assert report.waiting == waiting + len(self.ledger)

    @invariant()
    def inputs_and_outputs_are_linked(self) -> None:
        artifacts = self.do(self.board.store.list())
        by_id = {artifact.id: artifact for artifact in artifacts}
        assert [a.seq for a in artifacts] == sorted({a.seq for a in artifacts})
        for artifact in artifacts:
            if artifact.produced_by == "external":
                continue
            parents = [by_id[parent] for parent in artifact.parents]
            assert parents
            if artifact.type != "flock.WorkflowError":
                assert artifact.depth == 1 + max(parent.depth for parent in parents)
            earliest = min(parents, key=lambda parent: parent.seq)
            assert artifact.correlation_id == earliest.correlation_id

    def teardown(self) -> None:
        self.do(self.board.shutdown(grace=0.0))
        self.runner.close()
        self.folder.cleanup()


TestTheWholeWay = TheWholeWay.TestCase
TestTheWholeWay.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


class TheWholeWayOnSQLite(TheWholeWay):
    """The same on a board in a file, whose commits take their time."""

    def store(self) -> str:
        return f"sqlite:///{self.folder.name}/board.db"


TestTheWholeWayOnSQLite = TheWholeWayOnSQLite.TestCase
TestTheWholeWayOnSQLite.settings = settings(max_examples=12, stateful_step_count=25, deadline=None)
