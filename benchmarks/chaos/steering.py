"""A board that is steered while it is killed: asked, paused, cancelled, scheduled, and watched.

What people and programs do to it goes into the journal beside what its agents do, so that the check
can tell what the board had promised by the time it died.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel

from flock import (
    Artifact,
    ArtifactPublished,
    Context,
    EvalInputs,
    Event,
    Flock,
    NotFound,
    RunSucceeded,
    SQLiteBlackboardStore,
    When,
)

if TYPE_CHECKING:
    from benchmarks.chaos.journal import Journal
    from benchmarks.chaos.plan import Plan

SHARDS: Final = 3
"""How many shards a request has, all of which have to be there before any is swept."""
BEATS: Final = 30
"""How often the schedule fires on a board."""
FEW: Final = 10
"""How many requests are few."""
FEW_BEATS: Final = 3
"""The same on a board of few requests, as on those on which each point is tried."""


class Request(BaseModel):
    n: int


class Verdict(BaseModel):
    n: int
    value: int


class Remark(BaseModel):
    n: int


class Worked(BaseModel):
    n: int


class Shard(BaseModel):
    n: int
    i: int


class Swept(BaseModel):
    n: int
    i: int


class Sent(BaseModel):
    n: int


class Beat(BaseModel):
    iteration: int
    missed: int


def is_paused(n: int) -> bool:
    """Whether the workflow of a request is paused for a while."""
    return n % 3 == 0


def is_cancelled(n: int) -> bool:
    """Whether the workflow of a request is cancelled at some time."""
    return n % 7 == 1


def workflow_of(n: int) -> str:
    """Return the workflow of a request."""
    return f"request-{n}"


async def serve(plan: Plan, journal: Journal) -> None:
    """Do what a process does until it is killed, or done."""
    flock = Flock(
        store=SQLiteBlackboardStore(plan.board, durability=plan.durability), no_output=True
    )
    luck = random.Random(f"{plan.seed}/{plan.round}")
    beats = BEATS if plan.last > FEW else FEW_BEATS
    journal.write("beats", beats=beats)
    declare(flock, journal, luck, beats)
    watcher = _Watcher(flock, journal)
    async with asyncio.TaskGroup() as group:
        if plan.closes_after is not None:
            work = group.create_task(_quietly(_work(flock, plan, journal, luck)))
            watch = group.create_task(_quietly(watcher.watch()))
            await asyncio.wait([work], timeout=plan.closes_after)
            await flock.shutdown(plan.grace)
            work.cancel()
            watch.cancel()
            return
        watch = group.create_task(watcher.watch())
        await _work(flock, plan, journal, luck)
        await _settle(flock, plan, journal)
        await watcher.has_come_to_the_end()
        await flock.shutdown()
        watch.cancel()


async def _quietly(work: Awaitable[None]) -> None:
    """Do what the board's end may interrupt."""
    with suppress(Exception):
        await work


async def _work(flock: Flock, plan: Plan, journal: Journal, luck: random.Random) -> None:
    """Publish requests, and steer what follows from them."""
    numbers = [*range(plan.first, plan.last)]
    luck.shuffle(numbers)
    for n in numbers:
        workflow = workflow_of(n)
        if is_paused(n) and luck.random() < 0.5:
            await flock.pause(workflow)
            journal.write("paused", n=n)
        artifact = await flock.publish(
            Request(n=n), correlation_id=workflow, idempotency_key=workflow
        )
        journal.write("published", n=n, id=artifact.id.hex)
        await _steer(flock, journal, luck, luck.choice(numbers))
        if luck.random() < 0.2:
            await asyncio.sleep(luck.random() * 0.01)


async def _steer(flock: Flock, journal: Journal, luck: random.Random, n: int) -> None:
    workflow = workflow_of(n)
    dice = luck.random()
    if dice < 0.3 and is_cancelled(n):
        await flock.cancel(workflow)
        journal.write("cancelled", n=n)
    elif dice < 0.5 and is_paused(n):
        await flock.pause(workflow)
        journal.write("paused", n=n)
    elif dice < 0.8 and is_paused(n):
        journal.write("resumed", n=n)
        await flock.resume(workflow)
    if luck.random() < 0.5:
        await _answer(flock, journal, luck)


async def _answer(flock: Flock, journal: Journal, luck: random.Random) -> None:
    """Answer one of the questions, as somebody would who may be cut off in the middle."""
    questions = await flock.questions(agent="judge")
    if not questions:
        return
    question = luck.choice(questions)
    n = question.inputs[0].as_model(Request).n
    value = luck.getrandbits(40)
    with suppress(NotFound):  # it was cancelled meanwhile
        await flock.answer(question.id, Verdict(n=n, value=value))
        journal.write("answered", n=n, value=value)


async def _settle(flock: Flock, plan: Plan, journal: Journal) -> None:
    """Let everything go on and come to its end."""
    luck = random.Random(f"{plan.seed}/end")
    for n in range(plan.last):
        if is_paused(n):
            journal.write("resumed", n=n)
            await flock.resume(workflow_of(n))
    await flock.run_until_idle()
    for n in filter(is_cancelled, range(plan.last)):
        await flock.cancel(workflow_of(n))
        journal.write("cancelled", n=n)
    while await flock.questions(agent="judge"):
        await _answer(flock, journal, luck)
    await flock.run_until_idle()


class _Watcher:
    """Writes down what the board tells of, going on where the last process stopped."""

    def __init__(self, flock: Flock, journal: Journal) -> None:
        self._flock = flock
        self._journal = journal
        self._newest = journal.last_artifact
        self._more = asyncio.Event()

    async def watch(self) -> None:
        """Write down artifacts and runs until the board closes."""
        seen = self._journal.last("told")
        async for event in self._flock.events(after=0 if seen is None else seen["position"]):
            match event:
                case ArtifactPublished():
                    self._newest = event.artifact.id.hex
                    self._tell(event, artifact=self._newest)
                    self._more.set()
                case RunSucceeded():
                    self._tell(event, run=event.run_id)
                case _:
                    pass

    def _tell(self, event: Event, **what: str) -> None:
        self._journal.write("told", position=str(event.position), **what)

    async def has_come_to_the_end(self) -> None:
        """Wait until it has told of the newest artifact."""
        [newest] = await self._flock.store.latest(limit=1)
        while self._newest != newest.id.hex:
            self._more.clear()
            await self._more.wait()


def declare(  # noqa: C901 - one short function for each agent
    flock: Flock, journal: Journal, luck: random.Random, beats: int
) -> None:
    """Declare the agents.

    Args:
        flock: The board.
        journal: Where they write down what they do.
        luck: Decides how long things take, and which attempts fail.
        beats: How often the schedule fires.
    """

    def begin(agent: str, ctx: Context, inputs: Sequence[Artifact]) -> None:
        ids = [artifact.id.hex for artifact in inputs]
        workflow = ctx.correlation_id
        journal.write(
            "begun", agent=agent, run=ctx.run_id, attempt=ctx.attempt, inputs=ids, workflow=workflow
        )

    async def dawdle() -> None:
        if luck.random() < 0.5:
            await asyncio.sleep(luck.random() * 0.02)

    async def work(request: Request, ctx: Context, inputs: EvalInputs) -> Worked:
        begin("work", ctx, inputs.artifacts)
        await dawdle()
        if luck.random() < 0.1:
            msg = "it stumbled"
            raise RuntimeError(msg)
        return Worked(n=request.n)

    async def split(worked: Worked, ctx: Context, inputs: EvalInputs) -> list[Shard]:
        begin("split", ctx, inputs.artifacts)
        return [Shard(n=worked.n, i=i) for i in range(SHARDS)]

    async def sweep(shard: Shard, ctx: Context, inputs: EvalInputs) -> Swept:
        begin("sweep", ctx, inputs.artifacts)
        await dawdle()
        return Swept(n=shard.n, i=shard.i)

    async def send(worked: Worked, ctx: Context, inputs: EvalInputs) -> Sent:
        begin("send", ctx, inputs.artifacts)
        return Sent(n=worked.n)

    async def beat(ctx: Context) -> Beat:
        begin("beat", ctx, ())
        await dawdle()
        if luck.random() < 0.1:
            msg = "it stumbled"
            raise RuntimeError(msg)
        return Beat(iteration=ctx.iteration, missed=ctx.missed)

    def ask(request: Request) -> str:
        return f"What of request {request.n}?"

    flock.agent("work").consumes(Request).publishes(Worked).calls(work).retry(50)
    flock.agent("split").consumes(Worked).publishes(Shard, fan_out=SHARDS).calls(split)
    all_there = When.correlation(Shard).count_at_least(SHARDS)
    flock.agent("sweep").consumes(Shard, activation=all_there).publishes(Swept).calls(sweep)
    (
        flock.agent("send")
        .consumes(Worked)
        .publishes(Sent)
        .calls(send)
        .rate_limit(20, timedelta(seconds=0.05))
    )
    flock.agent("judge").consumes(Request).publishes(Verdict).asks_human(question=ask)
    (
        flock.agent("passer-by")
        .consumes(Request)
        .publishes(Remark)
        .asks_human(question="Anything to remark?", timeout=timedelta(seconds=0.1))
    )
    (
        flock.agent("beat")
        .schedule(every=timedelta(seconds=0.04), max_repeats=beats)
        .publishes(Beat)
        .calls(beat)
        .retry(50)
    )
    logging.getLogger("flock").setLevel(logging.CRITICAL)
