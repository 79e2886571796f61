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
    Agent,
    Artifact,
    ArtifactPublished,
    Backoff,
    BatchSpec,
    Board,
    Context,
    Flock,
    InMemoryBlackboardStore,
    JoinSpec,
    NotFound,
    OrchestratorComponent,
    ScheduleDecision,
    SQLiteBlackboardStore,
    Subscription,
    When,
)
from flock.store.protocol import BlackboardStore
from flock.testing import ManualClock

WORKFLOWS = ("red", "green", "blue")
ENOUGH = 2
"""How many parts of a workflow have to be there before any is swept."""
WHENEVER = 10**9
"""In place of a task, where a deadline may end whatever there is when it passes."""
TICKS = 4
"""How many runs the clock starts in all."""


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


class Matched(BaseModel):
    n: int


class Packed(BaseModel):
    ns: list[int]


class Tock(BaseModel):
    n: int


class Nudge(BaseModel):
    """Has a run end, so that what components put off is asked about again."""


@dataclass(frozen=True)
class Do:
    """Something that somebody does to a board."""

    what: Literal[
        "publish",
        "pause",
        "resume",
        "cancel",
        "deadline",
        "answer",
        "advance",
        "turn",
        "reopen",
        "pause tick",
        "cancel tick",
        "remove",
        "flush",
    ]
    workflow: str
    number: int


does = st.builds(
    Do,
    st.sampled_from(
        [
            *("publish", "publish", "publish", "answer", "answer", "advance", "turn"),
            *("pause", "resume", "cancel", "deadline", "reopen"),
            *("pause tick", "cancel tick", "remove", "flush"),
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
    ticks: dict[str, int] = field(default_factory=dict[str, int])
    """Workflows of ticks that began, and their iterations."""
    cancelled_ticks: set[int] = field(default_factory=set[int])
    put_off: set[str] = field(default_factory=set[str])
    """Artifacts that were put off, once each."""
    is_activated: bool = True
    """Whether what is swept waits until there is enough."""
    is_removed: bool = False
    """Whether it does so no more on boards that are opened from now on."""

    def begin(self, ctx: Context) -> None:
        self.begun[ctx.run_id] += 1
        may_have_ended = self.ended.get(ctx.correlation_id, 0) == WHENEVER  # and its pause with it
        if ctx.correlation_id in self.paused and not may_have_ended:
            self.forbidden.append(f"{ctx.agent_identity} began in {ctx.correlation_id}")


class PutsOff(OrchestratorComponent):
    """Puts each odd part off once, before it may be sent or packed; skips none."""

    def __init__(self, world: World) -> None:
        self.name = "puts off"
        self.world = world

    async def on_before_schedule(
        self, orchestrator: Board, artifact: Artifact, agent: Agent, subscription: Subscription
    ) -> ScheduleDecision:
        del orchestrator, subscription
        await asyncio.sleep(0)
        about = f"{artifact.id} {agent.name}"
        if agent.name not in {"send", "pack"} or about in self.world.put_off:
            return ScheduleDecision.CONTINUE
        self.world.put_off.add(about)
        is_odd = artifact.as_model(Part).n % 2
        return ScheduleDecision.DEFER if is_odd else ScheduleDecision.CONTINUE


def declare(flock: Flock, world: World) -> None:  # noqa: C901 - one agent each
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

    async def match(part: Part, sent: Sent, ctx: Context) -> Matched:
        world.begin(ctx)
        assert part.n == sent.n
        return Matched(n=part.n)

    async def pack(parts: list[Part], ctx: Context) -> Packed:
        world.begin(ctx)
        await asyncio.sleep(0)
        if ctx.attempt == 1:  # others of the batch are cancelled or paused meanwhile
            msg = "packing stumbled"
            raise RuntimeError(msg)
        return Packed(ns=[part.n for part in parts])

    async def tick(ctx: Context) -> Tock:
        world.begin(ctx)
        world.ticks[ctx.correlation_id] = ctx.iteration
        await asyncio.sleep(0)
        if ctx.iteration % 2 and ctx.attempt == 1:
            msg = f"tick {ctx.iteration} stumbled"
            raise RuntimeError(msg)
        return Tock(n=ctx.iteration)

    async def nudged(nudge: Nudge) -> None:
        del nudge

    flock.agent("split").consumes(Task).publishes(Part).calls(split).retry(3)
    flock.agent("judge").consumes(Part).publishes(Consent).asks_human(question="May it be?")
    flock.agent("unite").consumes(Part, Consent).publishes(Whole).calls(unite)
    flock.agent("send").consumes(Part).publishes(Sent).calls(send).rate_limit(2, 1.0)
    enough = When.correlation(Part).count_at_least(ENOUGH) if world.is_activated else None
    flock.agent("sweep").consumes(Part, activation=enough).publishes(Swept).calls(sweep)
    by_number = JoinSpec(by=number_of, within=timedelta(days=1))
    flock.agent("match").consumes(Part, Sent, join=by_number).publishes(Matched).calls(match)
    few = BatchSpec(size=2, timeout=timedelta(seconds=1))
    packer = flock.agent("pack").consumes(Part, batch=few).publishes(Packed).calls(pack)
    packer.retry(2, backoff=Backoff(1.0))
    flock.agent("clockwork").publishes(Tock).calls(tick).retry(2, backoff=Backoff(0.3)).schedule(
        every=0.7, max_repeats=TICKS
    )
    flock.agent("nudged").consumes(Nudge).calls(nudged)
    flock.add_component(PutsOff(world))


def number_of(obj: Part | Sent) -> int:
    return obj.n


@asynccontextmanager
async def opened(world: World) -> AsyncGenerator[Flock]:
    flock = Flock(store=world.store, clock=world.clock, no_output=True)
    world.is_activated = not world.is_removed
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
            world.ended[workflow] = WHENEVER
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
        case "pause tick":
            for workflow in list(world.ticks)[-1:]:
                await flock.pause(workflow)
                world.paused.add(workflow)
        case "cancel tick":
            for workflow, iteration in list(world.ticks.items())[-1:]:
                await flock.cancel(workflow)
                world.paused.discard(workflow)
                world.cancelled_ticks.add(iteration)
        case "remove":
            world.is_removed = True
        case "flush":
            await flock.flush()
        case "reopen":
            raise AssertionError


async def finish(flock: Flock, world: World) -> list[str]:
    """Let everything come to its end; return the ids of what was told of."""
    told: list[str] = []
    world.paused.clear()
    for workflow in (*WORKFLOWS, *world.ticks):
        await flock.resume(workflow)
    while True:
        await flock.publish(Nudge())
        await world.clock.advance(timedelta(minutes=1))
        if not await answer_one(flock, 0):
            break
    await flock.publish(Nudge())
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
    told: list[str] | None = None
    while told is None:
        async with opened(world) as flock:
            while rest:
                each = rest.pop(0)
                if each.what == "reopen":
                    await flock.shutdown(grace=0)
                    break
                await do(flock, world, each)
            else:  # nothing is lost that only another opening would find
                told = await finish(flock, world)
    assert told == [str(artifact.id) for artifact in await world.store.list()]
    assert not world.forbidden
    await check(world)


async def check(world: World) -> None:
    counts: dict[type[BaseModel], Counter[int]] = {
        model: Counter(made.n for made in await world.store.get_by_type(model))
        for model in (Part, Consent, Sent, Swept, Whole, Matched, Tock)
    }
    packs = await world.store.get_by_type(Packed)
    counts[Packed] = Counter(n for pack in packs for n in pack.ns)
    for model, found in counts.items():
        assert all(count == 1 for count in found.values()), model
    ticked = set(counts[Tock])
    assert ticked | world.cancelled_ticks == set(range(1, TICKS + 1))
    assert list(counts[Tock]) == sorted(ticked)
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
        assert counts[Matched][n] == counts[Packed][n] == counts[Part][n]
    for workflow in WORKFLOWS:
        if workflow in world.ended:
            continue
        mine = [n for n, (of, _) in world.tasks.items() if of == workflow and counts[Part][n]]
        assert sum(counts[Whole][n] for n in counts[Whole] if world.tasks[n][0] == workflow) == len(
            mine
        )
        swept = [n for n in mine if counts[Swept][n]]
        is_enough = len(mine) >= ENOUGH or not world.is_activated
        assert swept == (mine if is_enough else [])


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
