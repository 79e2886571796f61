"""Workflows that are paused, cancelled and bounded at any moment lose and double nothing."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from flock import (
    Backoff,
    BatchSpec,
    Context,
    EvalInputs,
    FilterConfig,
    Flock,
    GroupExpired,
    InMemoryBlackboardStore,
    JoinSpec,
    SQLiteBlackboardStore,
)
from flock.store.protocol import BlackboardStore
from flock.testing import ManualClock
from tests.acceptance.support import SuspendingStore, turns

FLOWS: Final = ("a", "b", "c")


class Task(BaseModel):
    number: int


class Made(BaseModel):
    number: int


class Part(BaseModel):
    number: int
    place: int


class Packed(BaseModel):
    numbers: list[int]


class Met(BaseModel):
    number: int
    count: int


class Paired(BaseModel):
    number: int


flows = st.sampled_from(FLOWS)
steps = st.one_of(
    st.tuples(st.just("publish"), flows),
    st.tuples(st.just("publish"), flows),
    st.tuples(st.just("publish"), flows),
    st.tuples(st.just("pause"), flows),
    st.tuples(st.just("pause"), flows),
    st.tuples(st.just("resume"), flows),
    st.tuples(st.just("cancel"), flows),
    st.tuples(st.just("deadline"), flows),
    st.tuples(st.just("no deadline"), flows),
    st.tuples(st.just("turns"), st.integers(0, 12)),
    st.tuples(st.just("turns"), st.integers(0, 12)),
    st.tuples(st.just("race"), st.tuples(flows, flows, st.integers(0, 12))),
    st.tuples(st.just("both"), st.tuples(flows, flows)),
    st.tuples(st.just("time"), st.sampled_from([0.5, 2, 6])),
    st.tuples(st.just("together"), st.lists(st.tuples(flows, flows), min_size=1, max_size=3)),
    st.tuples(st.just("reopen"), st.sampled_from([0, 0.001])),
)


@dataclass
class Life:
    """What is known of a board that is steered at random."""

    clock: ManualClock = field(default_factory=ManualClock)
    published: dict[str, list[int]] = field(default_factory=lambda: {w: [] for w in FLOWS})
    paused: set[str] = field(default_factory=set[str])
    bounded: set[str] = field(default_factory=set[str])
    ended: dict[str, int] = field(default_factory=dict[str, int])
    was_ended: set[str] = field(default_factory=set[str])
    attempts: Counter[int] = field(default_factory=Counter[int])
    wrong: list[str] = field(default_factory=list[str])

    def begins(self, ctx: Context) -> None:
        """Note a run of a workflow that is paused, which must not begin."""
        workflow = ctx.correlation_id
        if workflow in self.paused - self.bounded:
            self.wrong.append(f"a run of {ctx.agent_identity.name} began in {workflow!r}")


def board_of(life: Life, store: BlackboardStore) -> Flock:
    board = Flock(store=store, clock=life.clock)

    async def make(task: Task, ctx: Context) -> Made:
        life.begins(ctx)
        life.attempts[task.number] += 1
        await turns(task.number % 4 * 3)
        if task.number % 2 and life.attempts[task.number] == 1:
            msg = "not at first"
            raise ValueError(msg)
        return Made(number=task.number)

    async def split(task: Task, ctx: Context) -> AsyncGenerator[Part]:
        life.begins(ctx)
        for place in range(2):
            await turns(task.number % 5)
            yield Part(number=task.number, place=place)

    async def pack(made: list[Made], ctx: Context) -> Packed:
        life.begins(ctx)
        await turns(len(made))
        return Packed(numbers=[each.number for each in made])

    async def meet(inputs: EvalInputs, ctx: Context) -> Met:
        life.begins(ctx)
        (number,) = {artifact.payload["number"] for artifact in inputs.artifacts}
        await turns(number % 3)
        return Met(number=number, count=len(inputs.artifacts))

    async def pair(task: Task, made: Made, ctx: Context) -> Paired:
        life.begins(ctx)
        return Paired(number=task.number)

    making = board.agent("make").consumes(Task).publishes(Made).calls(make).max_concurrency(2)
    making.retry(2, Backoff(1, jitter=False))
    board.agent("split").consumes(Task).publishes(Part).calls(split)
    batch = BatchSpec(size=3, timeout=5)
    board.agent("pack").consumes(Made, batch=batch).publishes(Packed).calls(pack)
    join = JoinSpec(by="number", within=timedelta(seconds=4), on_expired="run")
    board.agent("meet").consumes(Task, Made, join=join).publishes(Met).calls(meet)
    board.agent("pair").consumes(Task, Made).publishes(Paired).calls(pair)
    return board


@settings(max_examples=120)
@given(script=st.lists(steps, min_size=10, max_size=60))
@pytest.mark.parametrize("make_store", [InMemoryBlackboardStore, SuspendingStore])
def test_steering_loses_and_doubles_nothing_in_memory(
    make_store: Callable[[], BlackboardStore], script: list[tuple[str, Any]]
) -> None:
    store = make_store()
    asyncio.run(asyncio.wait_for(_play(script, lambda: store), 60))


@settings(max_examples=40)
@given(script=st.lists(steps, min_size=10, max_size=40))
def test_steering_loses_and_doubles_nothing_on_disk(script: list[tuple[str, Any]]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "board.db"
        asyncio.run(asyncio.wait_for(_play(script, lambda: SQLiteBlackboardStore(path)), 60))
        with closing(sqlite3.connect(path)) as connection:
            for table in ("open_runs", "steps"):
                (left,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
                assert left == 0, table


async def _play(script: list[tuple[str, Any]], store: Callable[[], BlackboardStore]) -> None:
    before = asyncio.all_tasks()
    life = Life()
    board = board_of(life, store())
    async with board:
        await turns(1)
    board = board_of(life, store())
    await board._opening.open()
    for what, which in script:
        if what == "reopen":
            await board.shutdown(grace=which)
            assert asyncio.all_tasks() == before, "a task is left"
            board = board_of(life, store())
            await board._opening.open()
            await _check_paused(board, life)
        else:
            await _step(board, life, what, which)
        await _check_ended(board, life)
        assert life.wrong == []
    await _end(board, life)
    await board.shutdown()
    assert asyncio.all_tasks() == before, "a task is left"


async def _check_paused(board: Flock, life: Life) -> None:
    """What was paused is so when the board opens, and nothing else."""
    for workflow in set(FLOWS) - life.bounded:
        is_paused = (await board.status(workflow)).state == "paused"
        assert is_paused == (workflow in life.paused)


async def _step(board: Flock, life: Life, what: str, which: Any) -> None:
    if what == "turns":
        await turns(which)
    elif what == "time":
        await life.clock.advance(which)
    elif what == "race":
        await _race(board, life, *which)
    else:
        await _STEPS[what](board, life, which)


async def _pause(board: Flock, life: Life, workflow: str) -> None:
    await board.pause(workflow)
    life.paused.add(workflow)
    life.ended.pop(workflow, None)


async def _resume(board: Flock, life: Life, workflow: str) -> None:
    life.paused.discard(workflow)
    await board.resume(workflow)


async def _bound(board: Flock, life: Life, workflow: str) -> None:
    life.bounded.add(workflow)
    life.was_ended.add(workflow)
    await board.set_deadline(workflow, 3)


async def _unbound(board: Flock, life: Life, workflow: str) -> None:
    await board.set_deadline(workflow, None)
    await turns()
    if (await board.status(workflow)).state != "paused":
        life.paused.discard(workflow)
    life.bounded.discard(workflow)


async def _both(board: Flock, life: Life, workflows: tuple[str, str]) -> None:
    """Cancel two workflows at once, which may have inputs in the same runs."""
    life.paused -= {*workflows}
    life.was_ended |= {*workflows}
    await asyncio.gather(*map(board.cancel, workflows))
    for workflow in workflows:
        await _check_cancelled(board, life, workflow)


async def _together(board: Flock, life: Life, pairs: list[tuple[str, str]]) -> None:
    """Cancel some workflows while others, or the same, go on."""
    life.ended.clear()
    async with asyncio.TaskGroup() as group:
        for cancelled, published in pairs:
            life.paused.discard(cancelled)
            life.was_ended.update((cancelled, published))
            group.create_task(board.cancel(cancelled))
            task = Task(number=_number(life, published))
            group.create_task(board.publish(task, correlation_id=published))


def _number(life: Life, workflow: str) -> int:
    number = sum(map(len, life.published.values()))
    life.published[workflow].append(number)
    return number


async def _publish(board: Flock, life: Life, workflow: str) -> None:
    life.ended.pop(workflow, None)
    await board.publish(Task(number=_number(life, workflow)), correlation_id=workflow)


async def _cancel(board: Flock, life: Life, workflow: str) -> None:
    life.paused.discard(workflow)
    life.was_ended.add(workflow)
    await board.cancel(workflow)
    await _check_cancelled(board, life, workflow)


async def _race(board: Flock, life: Life, cancelled: str, paused: str, wait: int) -> None:
    """Cancel and pause while something falls due."""
    advancing = asyncio.create_task(life.clock.advance(3))
    await turns(wait)
    await _cancel(board, life, cancelled)
    if paused != cancelled:
        await board.pause(paused)
        life.paused.add(paused)
    await advancing


async def _check_cancelled(board: Flock, life: Life, workflow: str) -> None:
    life.ended[workflow] = await _count(board, workflow)
    status = await board.status(workflow)
    assert (status.running, status.queued, status.waiting) == (0, 0, 0)


async def _count(board: Flock, workflow: str) -> int:
    where = FilterConfig(correlation_id=workflow)
    return (await board.store.query_artifacts(where, limit=0))[1]


async def _check_ended(board: Flock, life: Life) -> None:
    """Nothing of a workflow appears after it was cancelled."""
    for workflow, count in life.ended.items():
        assert await _count(board, workflow) == count


async def _end(board: Flock, life: Life) -> None:
    """Let everything go on to its end, and compare."""
    for workflow in FLOWS:
        await board.set_deadline(workflow, None)
        life.paused.discard(workflow)
        await board.resume(workflow)
    for _ in range(4):
        await life.clock.advance(20)
        assert not (await board.run_until_idle(timeout=100)).timed_out
    assert life.wrong == []
    await _check_ended(board, life)
    assert await board.dead_letters() == []
    store = board.store
    made = Counter(model.number for model in await store.get_by_type(Made))
    parts = Counter((m.number, m.place) for m in await store.get_by_type(Part))
    packed = Counter(n for model in await store.get_by_type(Packed) for n in model.numbers)
    paired = len(await store.get_by_type(Paired))
    met = Counter[int]()
    for each in await store.get_by_type(Met):
        met[each.number] += each.count
    for what in (made, parts, packed):
        assert set(what.values()) <= {1}, "done twice"
    assert max(met.values(), default=0) <= 2
    for workflow in set(FLOWS) - life.was_ended:
        for number in life.published[workflow]:
            assert (made[number], parts[number, 0], parts[number, 1], packed[number]) == (1,) * 4
            assert met[number] == 2, "each of both was used once"
    assert paired <= len(made)
    records = await store.get_by_type(GroupExpired)
    assert len({(r.agent, tuple(r.artifact_ids)) for r in records}) == len(records)
    await _compare_waiting(board)


async def _compare_waiting(board: Flock) -> None:
    """What is open on the board is what it counts, and nothing is under way."""
    work = await board.store.open_work(lambda a, i: board.get_agent(a).subscriptions[i])
    waiting = sum([(await board.status(workflow)).waiting for workflow in FLOWS])
    assert len(work.deliveries) == waiting == (await board.run_until_idle()).waiting
    parts = board._parts
    assert (parts.idle.total, parts.idle.ahead, parts.holding.holds) == (0, 0, {})
    assert parts.scheduler.jobs(FLOWS[0]) == []
    assert parts.scheduler._jobs == {}


_STEPS: Final[dict[str, Callable[[Flock, Life, Any], Coroutine[Any, Any, None]]]] = {
    "publish": _publish,
    "pause": _pause,
    "resume": _resume,
    "cancel": _cancel,
    "deadline": _bound,
    "no deadline": _unbound,
    "both": _both,
    "together": _together,
}
