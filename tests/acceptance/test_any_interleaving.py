"""Whatever is under way when it happens: cancel, close, fail, redrive lose and double nothing."""

# Agents are short lambdas here.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Coroutine
from datetime import timedelta
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from pydantic import BaseModel

from flock import Backoff, BatchSpec, Context, Flock, JoinSpec
from flock.testing import ManualClock

from .support import turns

R = TypeVar("R")


class Job(BaseModel):
    n: int
    slow: int
    failures: int


class Done(BaseModel):
    job: int
    place: int


class Part(BaseModel):
    job: int
    place: int


class Pair(BaseModel):
    done: tuple[int, int]
    part: tuple[int, int]


class Ledger(BaseModel):
    done: list[tuple[int, int]]


FAN = 2
PARTS = 3
ATTEMPTS = 2


class AnyInterleaving(RuleBasedStateMachine):
    """worker: Job -> 2 Done at once; stream: Job -> 3 Parts one by one; pair: Done + Part of one
    job and place; ledger: batches of Done. Nothing is settled between the steps.
    """

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = ManualClock()
        self.folder = TemporaryDirectory()
        self.board = Flock(store=self.store(), clock=self.clock, max_concurrency=4)
        self.jobs: dict[int, str] = {}
        self.cancelled: set[int] = set()
        self.calls: Counter[tuple[str, int]] = Counter()
        self.run_ids: dict[tuple[str, int], set[str]] = defaultdict(set)

    def store(self) -> str:
        return "memory:"

    def do(self, work: Coroutine[Any, Any, R]) -> R:
        async def limited() -> R:
            async with asyncio.timeout(30):
                return await work

        return self.runner.run(limited())

    def called(self, agent: str, job: Job, ctx: Context) -> int:
        self.calls[agent, job.n] += 1
        self.run_ids[agent, job.n].add(str(ctx.run_id))
        return self.calls[agent, job.n]

    @initialize()
    def open(self) -> None:
        async def work(job: Job, ctx: Context) -> list[Done]:
            call = self.called("worker", job, ctx)
            await turns(job.slow)
            if call <= job.failures:
                raise ValueError(job.n)
            return [Done(job=job.n, place=place) for place in range(FAN)]

        async def stream(job: Job, ctx: Context) -> AsyncIterator[Part]:
            call = self.called("stream", job, ctx)
            for place in range(PARTS):
                await turns(job.slow)
                if call <= job.failures and place == call % PARTS:
                    raise ValueError(job.n)
                yield Part(job=job.n, place=place)

        async def pair(done: Done, part: Part) -> Pair:
            await turns(done.job % 3)
            return Pair(done=(done.job, done.place), part=(part.job, part.place))

        async def keep(dones: list[Done]) -> Ledger:
            await turns(2)
            return Ledger(done=[(done.job, done.place) for done in dones])

        retry = Backoff(10, jitter=False)
        self.board.agent("worker").publishes(Done, fan_out=FAN).calls(work).retry(ATTEMPTS, retry)
        self.board.agent("stream").calls(stream).retry(ATTEMPTS, retry)
        self.board.agent("pair").consumes(
            Done,
            Part,
            join=JoinSpec(by=lambda m: [m.job, m.place], within=timedelta(days=10_000)),
        ).publishes(Pair).calls(pair)
        self.board.agent("ledger").consumes(Done, batch=BatchSpec(size=3)).publishes(Ledger).calls(
            keep
        )

    @rule(shapes=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 5)), min_size=1, max_size=4))
    def publish(self, shapes: list[tuple[int, int]]) -> None:
        async def all_of_them() -> None:
            for slow, failures in shapes:
                n = len(self.jobs)
                artifact = await self.board.publish(Job(n=n, slow=slow, failures=failures))
                self.jobs[n] = artifact.correlation_id

        self.do(all_of_them())

    @rule(count=st.integers(0, 30))
    def go_on_a_little(self, count: int) -> None:
        self.do(turns(count))

    @rule(seconds=st.sampled_from([0, 9, 11, 100]))
    def time_passes(self, seconds: int) -> None:
        self.do(self.clock.advance(timedelta(seconds=seconds)))

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        n = data.draw(st.sampled_from(sorted(self.jobs)))
        self.do(self.board.cancel(self.jobs[n]))
        self.cancelled.add(n)

    @rule(grace=st.sampled_from([0.0, 5.0]), reopen=st.booleans())
    def close(self, grace: float, reopen: bool) -> None:
        self.do(self.board.shutdown(grace=grace))
        if reopen:
            self.do(self.board.run_until_idle(timeout=0))

    @rule()
    def redrive_everything(self) -> None:
        async def redrive() -> None:
            for letter in await self.board.dead_letters():
                await self.board.redrive(letter.id)

        self.do(redrive())

    @rule()
    def flush(self) -> None:
        self.do(self.board.flush())

    @rule()
    def settle(self) -> None:
        async def settle() -> None:
            await self.board.run_until_idle(timeout=0)
            await self.clock.advance(timedelta(days=1))

        self.do(settle())
        self.check()

    def check(self) -> None:
        store = self.board.store
        dones = [(d.job, d.place) for d in self.do(store.get_by_type(Done))]
        parts = [(p.job, p.place) for p in self.do(store.get_by_type(Part))]
        pairs = [(p.done, p.part) for p in self.do(store.get_by_type(Pair))]
        ledgers = [entry for x in self.do(store.get_by_type(Ledger)) for entry in x.done]
        letters = self.do(self.board.dead_letters())
        for what in (dones, parts, pairs, ledgers):
            assert len(set(what)) == len(what), "something happened twice"
        dead = Counter((d.agent, d.artifacts[0].payload["n"]) for d in letters)
        assert set(dead.values()) <= {1}
        assert set(ledgers) <= set(dones)
        for n in self.jobs:
            of_worker = [place for job, place in dones if job == n]
            of_stream = [place for job, place in parts if job == n]
            assert of_worker in ([], [0, 1]), "all outputs or none"
            assert of_stream == list(range(len(of_stream)))
            assert not (of_worker and dead["worker", n])
            assert not (len(of_stream) == PARTS and dead["stream", n])
            if n in self.cancelled:
                continue
            assert of_worker or dead["worker", n], "lost"
            assert len(of_stream) == PARTS or dead["stream", n], "lost"
            expected = [((n, p), (n, p)) for p in range(FAN) if of_worker and p in of_stream]
            assert sorted(pair for pair in pairs if pair[0][0] == n) == expected
        for key, run_ids in self.run_ids.items():
            assert len(run_ids) == 1, f"{key} ran under several run ids"

    def teardown(self) -> None:
        async def close() -> None:
            await self.board.run_until_idle(timeout=0)
            await self.clock.advance(timedelta(days=1))
            await self.board.flush()
            await self.board.run_until_idle()

        try:
            self.do(close())
            self.check()
            ledgers = [e for x in self.do(self.board.store.get_by_type(Ledger)) for e in x.done]
            dones = self.do(self.board.store.get_by_type(Done))
            left = {(d.job, d.place) for d in dones} - set(ledgers)
            assert {job for job, _ in left} <= self.cancelled, "lost"
        finally:
            self.do(self.board.shutdown(grace=0.0))
            self.runner.close()
            self.folder.cleanup()


TestAnyInterleaving = AnyInterleaving.TestCase
TestAnyInterleaving.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


class AnyInterleavingOnSQLite(AnyInterleaving):
    """The same on a board in a file, whose commits take their time."""

    def store(self) -> str:
        return f"sqlite:///{self.folder.name}/board.db"


TestAnyInterleavingOnSQLite = AnyInterleavingOnSQLite.TestCase
TestAnyInterleavingOnSQLite.settings = settings(
    max_examples=12, stateful_step_count=25, deadline=None
)
