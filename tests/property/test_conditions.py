"""Conditions against the simplest model of them: one that looks through all artifacts each time."""

# Conditions are short lambdas here, and so is what they are compared with.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from flock import (
    Activation,
    Artifact,
    BlackboardStore,
    Condition,
    EvalInputs,
    Flock,
    InMemoryBlackboardStore,
    NotIdle,
    SQLiteBlackboardStore,
    Until,
    When,
)
from flock.testing import ManualClock
from tests.acceptance.support import SuspendingStore


class Ping(BaseModel):
    n: int = 0


class Pong(BaseModel):
    n: int = 0


class Task(BaseModel):
    n: int = 0


Holds = Callable[[Sequence[Artifact]], bool]
TYPES: list[type[BaseModel]] = [Ping, Pong]
WORKFLOWS = ["w1", "w2", "w3"]
TAGS = ["red", "blue"]


class Asked(NamedTuple):
    """A condition, and what it says in words of the whole list."""

    condition: Condition
    holds: Holds


@st.composite
def counted(draw: st.DrawFn) -> Asked:
    model = draw(st.sampled_from(TYPES))
    workflow = draw(st.none() | st.sampled_from(WORKFLOWS))
    tags = draw(st.none() | st.lists(st.sampled_from(TAGS), min_size=1, unique=True))
    n = draw(st.integers(0, 4))
    count = Until.artifact_count(model, correlation_id=workflow, tags=tags)

    def number(board: Sequence[Artifact]) -> int:
        return sum(
            a.entry.cls is model
            and workflow in {None, a.correlation_id}
            and all(tag in a.tags for tag in tags or ())
            for a in board
        )

    return draw(
        st.sampled_from(
            [
                Asked(count.at_least(n), lambda board: number(board) >= n),
                Asked(count.at_most(n), lambda board: number(board) <= n),
                Asked(count.exactly(n), lambda board: number(board) == n),
                Asked(
                    Until.exists(model, correlation_id=workflow, tags=tags),
                    lambda board: number(board) > 0,
                ),
                Asked(
                    Until.none(model, correlation_id=workflow, tags=tags),
                    lambda board: number(board) == 0,
                ),
            ]
        )
    )


@st.composite
def matched(draw: st.DrawFn) -> Asked:
    model = draw(st.sampled_from(TYPES))
    n = draw(st.integers(0, 3))
    return Asked(
        Until.any_field(model, field="n", predicate=lambda value: value == n),
        lambda board: any(a.entry.cls is model and a.payload["n"] == n for a in board),
    )


def both(a: Asked, b: Asked) -> Asked:
    return Asked(a.condition & b.condition, lambda board: a.holds(board) and b.holds(board))


def either(a: Asked, b: Asked) -> Asked:
    return Asked(a.condition | b.condition, lambda board: a.holds(board) or b.holds(board))


def opposite(a: Asked) -> Asked:
    return Asked(~a.condition, lambda board: not a.holds(board))


conditions = st.recursive(
    counted() | matched(),
    lambda parts: (
        st.builds(both, parts, parts) | st.builds(either, parts, parts) | st.builds(opposite, parts)
    ),
    max_leaves=4,
)


class Put(NamedTuple):
    """Publish these at once."""

    models: list[BaseModel]
    tags: list[str]
    workflow: str


class Delete(NamedTuple):
    """Delete what is older than so many seconds."""

    age: int


class Keep(NamedTuple):
    """Delete all but so many of each workflow."""

    number: int


class Wait(NamedTuple):
    """Wait for a condition."""

    asked: Asked


class Close(NamedTuple):
    """Close the board and open it again."""


class Settle(NamedTuple):
    """Let everything happen that needs no time."""


class Cancel(NamedTuple):
    """Cancel a workflow."""

    workflow: str


def puts(*types: type[BaseModel]) -> st.SearchStrategy[Put]:
    models = st.builds(lambda t, n: t(n=n), st.sampled_from(types), st.integers(0, 3))
    return st.builds(
        Put,
        st.lists(models, min_size=1, max_size=3),
        st.lists(st.sampled_from(TAGS), unique=True),
        st.sampled_from(WORKFLOWS),
    )


deletions = st.builds(Delete, st.integers(0, 5)) | st.builds(Keep, st.integers(0, 2))
pauses = st.builds(Settle)
waits = st.builds(Wait, conditions)


class Clock(ManualClock):
    """A clock that may be moved without letting anything happen."""

    def tick(self) -> None:
        self._now += 1


class Board:
    """A board whose state is read after each change, as a list of all artifacts."""

    def __init__(self, store: BlackboardStore) -> None:
        self.clock = Clock()
        self.flock = Flock(store=store, clock=self.clock)
        self.states: list[list[Artifact]] = []

    async def looked_at(self) -> list[Artifact]:
        found = await self.flock.store.list()
        self.states.append(found)
        return found

    async def do(self, step: object) -> None:
        store = self.flock.store
        match step:
            case Put(models, tags, workflow):
                await self.flock.publish_many(models, correlation_id=workflow, tags=tags)
                self.clock.tick()
            case Delete(age):
                await self.clock.settle()
                await store.delete_before(self.clock.now() - timedelta(seconds=age))
            case Keep(number):
                await self.clock.settle()
                await store.keep_newest(number)
            case Cancel(workflow):
                await self.clock.settle()
                await self.flock.cancel(workflow)
            case Close():
                await self.clock.settle()
                await self.flock.shutdown()
                await self.flock.status("any")
            case _:
                await self.clock.settle()


Make = Callable[[Path], BlackboardStore]


def in_memory(folder: Path) -> BlackboardStore:
    del folder
    return InMemoryBlackboardStore()


def suspending(folder: Path) -> BlackboardStore:
    del folder
    return SuspendingStore()


def in_a_file(folder: Path) -> BlackboardStore:
    return SQLiteBlackboardStore(folder / "board.db")


on_every_store = pytest.mark.parametrize(
    ("make", "examples"), [(in_memory, 100), (suspending, 100), (in_a_file, 25)]
)


def run(make: Make, check: Callable[[Board], Coroutine[Any, Any, None]]) -> None:
    async def checked(store: BlackboardStore) -> None:
        board = Board(store)
        async with board.flock:
            await check(board)

    with TemporaryDirectory() as folder:
        asyncio.run(checked(make(Path(folder))))


@on_every_store
def test_run_until_returns_when_a_look_through_everything_says_so(
    make: Make, examples: int
) -> None:
    @settings(max_examples=examples)
    @given(
        steps=st.lists(
            puts(*TYPES) | puts(*TYPES) | waits | deletions | pauses | st.builds(Close),
            max_size=14,
        )
    )
    def test(steps: list[object]) -> None:
        async def check(board: Board) -> None:
            waiters: list[tuple[asyncio.Task[bool], Asked, int]] = []
            await board.looked_at()
            closed: set[asyncio.Task[bool]] = set()
            for step in steps:
                if isinstance(step, Wait):
                    task = asyncio.ensure_future(board.flock.run_until(step.asked.condition))
                    waiters.append((task, step.asked, len(board.states) - 1))
                    await asyncio.sleep(0)  # it asks from here on
                    continue
                if isinstance(step, Close):
                    await board.clock.settle()
                    closed |= {task for task, _, _ in waiters if not task.done()}
                await board.do(step)
                await board.looked_at()
                if isinstance(step, Put):
                    continue
                await board.clock.settle()
                for task, asked, since in waiters:
                    held = any(map(asked.holds, board.states[since:]))
                    if task in closed:
                        assert isinstance(task.exception(), NotIdle)
                    else:
                        assert task.done() is held, asked.condition
            await board.clock.settle()
            for task, asked, since in waiters:
                held = any(map(asked.holds, board.states[since:]))
                assert task in closed or task.done() is held, asked.condition
                task.cancel()
            await asyncio.gather(*(task for task, _, _ in waiters), return_exceptions=True)

        run(make, check)

    test()


# --- activation ---


@st.composite
def of_workflow(draw: st.DrawFn) -> tuple[Activation, Holds]:
    model = draw(st.sampled_from(TYPES))
    n = draw(st.integers(0, 3))
    of = When.correlation(model)

    def number(board: Sequence[Artifact]) -> int:
        return sum(a.entry.cls is model for a in board)

    return draw(
        st.sampled_from(
            [
                (of.count_at_least(n), lambda board: number(board) >= n),
                (of.count_at_most(n), lambda board: number(board) <= n),
                (of.count_exactly(n), lambda board: number(board) == n),
                (of.exists(), lambda board: number(board) > 0),
                (
                    of.any_field(field="n", predicate=lambda value: value == n),
                    lambda board: any(a.entry.cls is model and a.payload["n"] == n for a in board),
                ),
            ]
        )
    )


Pair = tuple[Activation, Holds]


def all_of(a: Pair, b: Pair) -> Pair:
    return a[0] & b[0], lambda board: a[1](board) and b[1](board)


def any_of(a: Pair, b: Pair) -> Pair:
    return a[0] | b[0], lambda board: a[1](board) or b[1](board)


def none_of(a: Pair) -> Pair:
    return ~a[0], lambda board: not a[1](board)


activations = st.recursive(
    of_workflow(),
    lambda parts: (
        st.builds(all_of, parts, parts)
        | st.builds(any_of, parts, parts)
        | st.builds(none_of, parts)
    ),
    max_leaves=3,
)


class Model:
    """What waits and what went on, by the list of all artifacts after each change."""

    def __init__(self, holds: Holds) -> None:
        self.holds = holds
        self.known: set[int] = set()
        self.waiting: list[Artifact] = []
        self.went: list[Artifact] = []

    def changed(self, board: Sequence[Artifact]) -> None:
        self.waiting += [a for a in board if a.entry.cls is Task and a.key not in self.known]
        self.known |= {a.key for a in board}
        for workflow in WORKFLOWS:
            here = [a for a in board if a.correlation_id == workflow]
            ready = [a for a in self.waiting if a.correlation_id == workflow]
            if ready and self.holds(here):
                self.went += ready
                self.waiting = [a for a in self.waiting if a not in ready]


@on_every_store
def test_what_an_activation_lets_go_on_is_what_a_look_through_everything_says(
    make: Make, examples: int
) -> None:
    everything = puts(*TYPES, Task)
    cancels = st.builds(Cancel, st.sampled_from(WORKFLOWS))

    @settings(max_examples=examples)
    @given(
        activation=activations,
        steps=st.lists(
            everything | everything | deletions | pauses | cancels | st.builds(Close),
            max_size=14,
        ),
    )
    def test(activation: Pair, steps: list[object]) -> None:
        async def check(board: Board) -> None:
            seen: list[Artifact] = []

            async def note(inputs: EvalInputs) -> None:
                seen.extend(inputs.artifacts)

            board.flock.agent("worker").consumes(Task, activation=activation[0]).calls(note)
            model = Model(activation[1])
            for step in steps:
                await board.do(step)
                if isinstance(step, Cancel):
                    model.waiting = [a for a in model.waiting if a.correlation_id != step.workflow]
                model.changed(await board.looked_at())
            report = await board.flock.run_until_idle(raise_on_error=True)
            assert report.waiting == len(model.waiting)
            for workflow in WORKFLOWS:
                got = [a for a in seen if a.correlation_id == workflow]
                assert got == [a for a in model.went if a.correlation_id == workflow]

        run(make, check)

    test()
