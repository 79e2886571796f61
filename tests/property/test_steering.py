"""However a board is steered, each input comes to its one end, and nothing runs that is held."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from flock import (
    ArtifactPublished,
    Context,
    Flock,
    InMemoryBlackboardStore,
    NotFound,
    SQLiteBlackboardStore,
    When,
)
from flock.store.protocol import BlackboardStore
from flock.testing import ManualClock

WORKFLOWS = ("red", "green", "blue")
ENOUGH = 2
"""How many parts of a workflow have to be there before any is swept."""


class Task(BaseModel):
    n: int
    stumbles: int
    """How many attempts fail: three for good."""


class Part(BaseModel):
    n: int


class Consent(BaseModel):
    n: int


class Sent(BaseModel):
    n: int


class Swept(BaseModel):
    n: int


class Whole(BaseModel):
    n: int


@dataclass(frozen=True)
class Do:
    """Something that somebody does to a board."""

    what: Literal[
        "publish", "pause", "resume", "cancel", "deadline", "answer", "advance", "turn", "reopen"
    ]
    workflow: str
    number: int


does = st.builds(
    Do,
    st.sampled_from(
        [
            *("publish", "publish", "publish", "answer", "answer", "advance", "turn"),
            *("pause", "resume", "cancel", "deadline", "reopen"),
        ]
    ),
    st.sampled_from(WORKFLOWS),
    st.integers(0, 3),
)


@dataclass
class World:
    """What happened outside of the board, and what it may not do."""

    store: BlackboardStore
    clock: ManualClock
    paused: set[str] = field(default_factory=set[str])
    ended: dict[str, int] = field(default_factory=dict[str, int])
    """Workflows that were cancelled, or had a deadline, with the last task they had then."""
    tasks: dict[int, tuple[str, int]] = field(default_factory=dict[int, tuple[str, int]])
    forbidden: list[str] = field(default_factory=list[str])
    begun: Counter[str] = field(default_factory=Counter[str])

    def begin(self, ctx: Context) -> None:
        self.begun[ctx.run_id] += 1
        if ctx.correlation_id in self.paused:
            self.forbidden.append(f"{ctx.agent_identity} began in {ctx.correlation_id}")


def declare(flock: Flock, world: World) -> None:
    async def split(task: Task, ctx: Context) -> Part:
        world.begin(ctx)
        await asyncio.sleep(0)
        if ctx.attempt <= task.stumbles:
            msg = f"task {task.n} stumbled"
            raise RuntimeError(msg)
        return Part(n=task.n)

    async def send(part: Part, ctx: Context) -> Sent:
        world.begin(ctx)
        return Sent(n=part.n)

    async def sweep(part: Part, ctx: Context) -> Swept:
        world.begin(ctx)
        return Swept(n=part.n)

    async def unite(part: Part, consent: Consent, ctx: Context) -> Whole:
        world.begin(ctx)
        return Whole(n=part.n)

    flock.agent("split").consumes(Task).publishes(Part).calls(split).retry(3)
    flock.agent("judge").consumes(Part).publishes(Consent).asks_human(question="May it be?")
    flock.agent("unite").consumes(Part, Consent).publishes(Whole).calls(unite)
    flock.agent("send").consumes(Part).publishes(Sent).calls(send).rate_limit(2, 1.0)
    enough = When.correlation(Part).count_at_least(ENOUGH)
    flock.agent("sweep").consumes(Part, activation=enough).publishes(Swept).calls(sweep)


@asynccontextmanager
async def opened(world: World) -> AsyncGenerator[Flock]:
    flock = Flock(store=world.store, clock=world.clock, no_output=True)
    declare(flock, world)
    async with flock:
        yield flock


async def answer_one(flock: Flock, number: int) -> bool:
    questions = await flock.questions()
    if not questions:
        return False
    question = questions[number % len(questions)]
    part = question.inputs[0].as_model(Part)
    try:
        await flock.answer(question.id, Consent(n=part.n))
    except NotFound:  # its workflow ended meanwhile
        return False
    return True


async def do(flock: Flock, world: World, each: Do) -> None:  # noqa: C901 - one verb each
    workflow, number = each.workflow, each.number
    match each.what:
        case "publish":
            n = len(world.tasks)
            world.tasks[n] = (workflow, number)
            await flock.publish(Task(n=n, stumbles=number), correlation_id=workflow)
        case "pause":
            await flock.pause(workflow)
            world.paused.add(workflow)
        case "resume":
            world.paused.discard(workflow)
            await flock.resume(workflow)
        case "cancel":
            await flock.cancel(workflow)
            world.paused.discard(workflow)
            world.ended[workflow] = len(world.tasks)
        case "deadline":
            await flock.set_deadline(workflow, 0.7)
            world.ended[workflow] = 10**9  # whenever it is over, what there is then may end
        case "answer":
            await answer_one(flock, number)
        case "advance":
            await world.clock.advance(timedelta(seconds=number / 2))
            for each_paused in list(world.paused):  # a deadline ends a pause
                if (await flock.status(each_paused)).state != "paused":
                    world.paused.discard(each_paused)
        case "turn":
            for _ in range(number):
                await asyncio.sleep(0)
        case "reopen":
            raise AssertionError


async def finish(world: World) -> list[str]:
    """Let everything come to its end; return the ids of what was told of."""
    told: list[str] = []
    async with opened(world) as flock:
        world.paused.clear()
        for workflow in WORKFLOWS:
            await flock.resume(workflow)
        while True:
            await world.clock.advance(timedelta(minutes=1))
            if not await answer_one(flock, 0):
                break
        await world.clock.advance(timedelta(minutes=1))
        report = await flock.run_until_idle(timeout=1)
        assert not report.timed_out
        stream = flock.events(after=0)
        newest = world.store.position
        while newest:
            event = await anext(stream)
            if isinstance(event, ArtifactPublished):
                told.append(str(event.artifact.id))
                if event.artifact.seq == newest:
                    break
        await stream.aclose()
    return told


async def live(world: World, life: list[Do]) -> None:
    rest = list(life)
    while rest:
        async with opened(world) as flock:
            while rest:
                each = rest.pop(0)
                if each.what == "reopen":
                    await flock.shutdown(grace=0)
                    break
                await do(flock, world, each)
    told = await finish(world)
    assert told == [str(artifact.id) for artifact in await world.store.list()]
    assert not world.forbidden
    await check(world)


async def check(world: World) -> None:
    counts = {
        model: Counter(made.n for made in await world.store.get_by_type(model))
        for model in (Part, Consent, Sent, Swept, Whole)
    }
    for model, found in counts.items():
        assert all(count == 1 for count in found.values()), model
    letters = Counter(
        letter.artifacts[0].as_model(Task).n for letter in await world.store.dead_letters()
    )
    for n, (workflow, stumbles) in world.tasks.items():
        if n < world.ended.get(workflow, 0):
            assert letters[n] <= (stumbles == 3)
            continue
        assert counts[Part][n] == (stumbles < 3)
        assert letters[n] == (stumbles == 3)
        assert counts[Sent][n] == counts[Consent][n] == counts[Part][n]
    for workflow in WORKFLOWS:
        if workflow in world.ended:
            continue
        mine = [n for n, (of, _) in world.tasks.items() if of == workflow and counts[Part][n]]
        assert sum(counts[Whole][n] for n in counts[Whole] if world.tasks[n][0] == workflow) == len(
            mine
        )
        swept = [n for n in mine if counts[Swept][n]]
        assert swept == (mine if len(mine) >= ENOUGH else [])


@settings(max_examples=150, deadline=None)
@given(st.lists(does, max_size=40))
def test_a_board_in_memory_comes_to_its_one_end_however_it_is_steered(life: list[Do]) -> None:
    async def main() -> None:
        await live(World(InMemoryBlackboardStore(), ManualClock()), life)

    asyncio.run(main())


@settings(max_examples=50, deadline=None)
@given(st.lists(does, max_size=30))
def test_a_board_in_a_file_comes_to_its_one_end_however_it_is_steered(life: list[Do]) -> None:
    async def main() -> None:
        with TemporaryDirectory() as folder:
            store = SQLiteBlackboardStore(Path(folder) / "board.db")
            await live(World(store, ManualClock()), life)

    asyncio.run(main())
