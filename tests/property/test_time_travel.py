"""A replay tells what the agents themselves saw; a fork without changes comes to the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from flock import (
    BatchSpec,
    EngineComponent,
    EvalInputs,
    EvalResult,
    Flock,
    Fork,
    JoinSpec,
    Replay,
)
from flock.core.agent import Agent
from flock.core.context import Context
from flock.testing import ManualClock


class Seed(BaseModel):
    n: int = 0
    path: str = ""


class Leaf(BaseModel):
    n: int = 0
    path: str = ""


class Pair(BaseModel):
    n: int = 0
    path: str = ""


class Heap(BaseModel):
    n: int = 0
    path: str = ""


KINDS: dict[str, type[BaseModel]] = {"Seed": Seed, "Leaf": Leaf, "Pair": Pair, "Heap": Heap}


@dataclass(frozen=True)
class Part:
    """One agent of a workflow: what it takes, how, and what it makes of it."""

    takes: tuple[str, ...]
    makes: str
    count: int
    gate: str
    waits: bool
    streams: bool
    fails_at: int


@dataclass
class Saw:
    """What a run said of itself when it ran."""

    agent: str
    attempt: int
    inputs: list[UUID]
    history: list[UUID] | None


@dataclass
class Diary:
    runs: dict[str, Saw] = field(default_factory=dict[str, Saw])


ORDER = list(KINDS)


@st.composite
def parts(draw: st.DrawFn) -> Part:
    makes = draw(st.sampled_from(ORDER[1:]))
    earlier = ORDER[: ORDER.index(makes)]  # no loops: what is made lies further down
    gate = draw(st.sampled_from(["none", "none", "all", "join", "batch"]))
    several = 2 if gate in {"all", "join"} else 1
    takes = draw(st.lists(st.sampled_from(earlier), min_size=several, max_size=several))
    if gate == "join" and len(set(takes)) < 2:
        gate = "all"
    return Part(
        tuple(takes),
        makes,
        draw(st.integers(0, 2)),
        gate,
        draw(st.booleans()),
        gate == "none" and draw(st.booleans()),
        draw(st.sampled_from([0, 0, 0, 1, 2])),
    )


class Maker(EngineComponent):
    """Makes of its inputs what follows from them, and writes down what it was given."""

    enable_context = True

    def __init__(self, part: Part, diary: Diary) -> None:
        super().__init__()
        self._part = part
        self._diary = diary

    async def evaluate(
        self, agent: Agent, ctx: Context, inputs: EvalInputs, output_group: object
    ) -> EvalResult:
        part = self._part
        if part.waits:
            await asyncio.sleep(0)
        self._diary.runs[ctx.run_id] = Saw(
            agent.name,
            ctx.attempt,
            [a.id for a in inputs.artifacts],
            [a.id for a in ctx.artifacts],
        )
        total = sum(int(a.payload["n"]) for a in inputs.artifacts)
        if part.fails_at and total % 5 == 0 and ctx.attempt <= part.fails_at:
            msg = "of five"
            raise ValueError(msg)
        made = KINDS[part.makes]
        paths = "+".join(str(a.payload["path"]) for a in inputs.artifacts)
        models = [made(n=total + 1 + k, path=f"{agent.name}({paths})") for k in range(part.count)]
        return EvalResult.from_objects(*models)


def streaming(
    name: str, part: Part, diary: Diary
) -> Callable[[EvalInputs, Context], AsyncIterator[BaseModel]]:
    """Make a generator that yields what `Maker` answers, and fails in the middle."""

    async def stream(inputs: EvalInputs, ctx: Context) -> AsyncIterator[BaseModel]:
        diary.runs[ctx.run_id] = Saw(name, ctx.attempt, [a.id for a in inputs.artifacts], None)
        [source] = inputs.artifacts
        total, made = int(source.payload["n"]), KINDS[part.makes]
        for k in range(part.count + 1):
            yield made(n=total + 1 + k, path=f"{name}({source.payload['path']})")
            if part.waits:
                await asyncio.sleep(0)
            if part.fails_at and total % 5 == 0 and ctx.attempt <= part.fails_at:
                msg = "of five"
                raise ValueError(msg)

    return stream


def declare(board: Flock, plan: Sequence[Part], diary: Diary) -> None:
    for number, part in enumerate(plan):
        made = KINDS[part.makes]
        agent = board.agent(f"a{number}").retry(2, backoff=1)
        types = [KINDS[name] for name in part.takes]
        match part.gate:
            case "batch":
                agent.consumes(*types, batch=BatchSpec(size=2))  # time decides nothing
            case "join":
                agent.consumes(*types, join=JoinSpec(by=lambda m: m.n % 2, within=1000))
            case _:
                agent.consumes(*types)
        if part.streams:
            agent.publishes(made).calls(streaming(f"a{number}", part, diary))
        else:
            agent.publishes(made, fan_out=(0, 9)).with_engines(Maker(part, diary))


def outcome(replay: Replay) -> list[tuple[object, ...]]:
    return sorted((a.type, a.produced_by, str(a.payload.get("path"))) for a in replay.artifacts)


async def lived(plan: Sequence[Part], seeds: Sequence[Sequence[int]]) -> tuple[Flock, Diary]:
    """Let a workflow go its way; its roots come in waves, each when it is at rest."""
    diary = Diary()
    board = Flock(clock=ManualClock(autojump=True), max_concurrency=1)
    declare(board, plan, diary)
    async with board:
        for wave in seeds:
            await board.publish_many([Seed(n=n, path=str(n)) for n in wave], correlation_id="w")
            await board.run_until_idle()
    return board, diary


PLANS = st.lists(parts(), min_size=1, max_size=4)
WAVES = st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=3), min_size=1, max_size=2)


def shown(fork: Fork) -> str:
    return f"{fork.before}\n---\n{fork.after}\n---\n{fork}"


@settings(max_examples=60, deadline=None)
@given(PLANS, WAVES)
def test_a_replay_tells_what_the_agents_wrote_down(
    plan: list[Part], seeds: list[list[int]]
) -> None:
    async def main() -> None:
        board, diary = await lived(plan, seeds)
        replay = await board.replay("w")
        assert {run.run_id for run in replay.runs} == set(diary.runs)
        for run in replay.runs:
            saw = diary.runs[run.run_id]
            assert (run.agent, run.attempt) == (saw.agent, saw.attempt)
            assert [a.id for a in run.inputs] == saw.inputs
            if saw.history is not None:
                assert [a.id for a in await run.history()] == saw.history
            assert run.missing == ()
            if run.succeeded:
                assert len(run.outputs) == run.made
                assert all(replay.maker_of(output) is run for output in run.outputs)
        made = {a.id for a in replay.artifacts if a.parents and a.type != "flock.WorkflowError"}
        assert {o.id for run in replay.runs for o in run.outputs} == made
        for end in range(replay.position + 1):
            past = replay.at(end)
            read = await board.replay("w", until=end)
            assert [a.id for a in past.artifacts] == [a.id for a in read.artifacts]
            assert [r.run_id for r in past.runs] == [r.run_id for r in read.runs]

    asyncio.run(main())


@settings(max_examples=60, deadline=None)
@given(PLANS, WAVES, st.data())
def test_a_fork_without_changes_comes_to_the_same(
    plan: list[Part], seeds: list[list[int]], data: st.DataObject
) -> None:
    # who fails and is tried again commits behind others, or before them: no order is promised
    calm = [replace(part, fails_at=0) for part in plan]

    async def main() -> None:
        board, _ = await lived(calm, seeds)
        before = await board.replay("w")
        at = data.draw(st.integers(0, before.position + 1))
        recorded = data.draw(st.booleans())
        fork = await board.fork("w", at=at, recorded=recorded)
        assert fork.comparison.is_same, shown(fork)
        assert all(pair.has_same_lineage for pair in fork.comparison.same)
        assert outcome(fork.after) == outcome(before)
        given_ids = {a.id for a in fork.given}
        assert given_ids <= {a.id for a in before.artifacts}
        assert given_ids.isdisjoint(a.id for a in fork.outputs)
        again = await board.replay("w")
        assert str(again) == str(before), "the board itself is as it was"

    asyncio.run(main())
