"""Any declaration of a gate, any order of arrival: the groups are those of a simple model."""

import asyncio
import inspect
from collections import Counter, defaultdict, deque
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings
from pydantic import BaseModel

from flock import BatchSpec, EvalInputs, Flock, JoinSpec


class A(BaseModel):
    n: int
    key: int


class B(BaseModel):
    n: int
    key: int


class C(BaseModel):
    n: int
    key: int


KINDS: dict[str, type[A] | type[B] | type[C]] = {"A": A, "B": B, "C": C}


@dataclass(frozen=True)
class Gate:
    need: str  # "AAB": two As and a B
    join: bool
    batch: int | None
    minimum: int  # each artifact's n must be at least this
    parity: bool  # the sum over the group must be even


@dataclass(frozen=True)
class Arrival:
    kind: str
    workflow: str | None
    key: int


gates = st.builds(
    Gate,
    need=st.text("ABC", min_size=1, max_size=4),
    join=st.booleans(),
    batch=st.none() | st.integers(1, 3),
    minimum=st.sampled_from([0, 0, 5]),
    parity=st.booleans(),
).filter(lambda gate: not (gate.join and len(gate.need) == 1))
arrival = st.builds(
    Arrival,
    kind=st.sampled_from("ABC"),
    workflow=st.sampled_from([None, "x", "y"]),
    key=st.integers(0, 1),
)
arrivals = st.lists(arrival, max_size=12) | st.lists(arrival, min_size=25, max_size=60)


def expected(gate: Gate, order: list[Arrival]) -> tuple[list[list[int]], int]:
    """The groups of a gate, and how many artifacts it still holds."""
    queues: dict[tuple[Any, str], deque[int]] = defaultdict(deque)
    runs: list[list[int]] = []
    batch: list[int] = []
    groups = 0
    need = Counter(gate.need)
    for n, item in enumerate(order):
        if item.kind not in need or n < gate.minimum:
            continue
        scope = item.key if gate.join else item.workflow
        if len(gate.need) == 1:
            scope = n
        queues[scope, item.kind].append(n)
        if any(len(queues[scope, kind]) < count for kind, count in need.items()):
            continue
        group = [queues[scope, kind].popleft() for kind in gate.need]
        if gate.parity and len(group) > 1 and sum(group) % 2:
            continue
        if gate.batch is None:
            runs.append(group)
            continue
        batch += group
        groups += 1
        if groups == gate.batch:
            runs.append(batch)
            batch, groups = [], 0
    return runs, len(batch) + sum(len(queue) for queue in queues.values())


def even(size: int) -> Any:
    """A predicate of exactly `size` arguments."""

    def predicate(*models: Any) -> bool:
        return sum(model.n for model in models) % 2 == 0

    names = [f"model{n}" for n in range(size)]
    predicate.__signature__ = inspect.Signature(
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in names]
    )
    return predicate


def declare(board: Flock, name: str, gate: Gate, got: list[list[int]]) -> None:
    async def run(inputs: EvalInputs) -> None:
        got.append([artifact.payload["n"] for artifact in inputs.artifacts])

    def big(model: A | B | C) -> bool:
        return model.n >= gate.minimum

    where: list[Any] = [big]
    if gate.parity and len(gate.need) > 1:
        where.append(even(len(gate.need)))
    board.agent(name).consumes(
        *(KINDS[kind] for kind in gate.need),
        where=where,
        join=JoinSpec(by=lambda m: m.key, within=timedelta(days=1000)) if gate.join else None,
        batch=None if gate.batch is None else BatchSpec(size=gate.batch),
    ).calls(run).max_concurrency(1)


@settings(max_examples=150, deadline=None)
@given(st.lists(gates, min_size=1, max_size=4), arrivals, st.sampled_from(["one", "many", "idle"]))
def test_every_gate_makes_the_groups_of_the_model(
    declared: list[Gate], order: list[Arrival], how: str
) -> None:
    async def scenario() -> None:
        got: list[list[list[int]]] = [[] for _ in declared]
        async with Flock() as board:
            for n, gate in enumerate(declared):
                declare(board, f"gate{n}", gate, got[n])
            if how == "many":
                await publish_in_runs(board, order)
            else:
                for n, item in enumerate(order):
                    await board.publish(
                        KINDS[item.kind](n=n, key=item.key), correlation_id=item.workflow
                    )
                    if how == "idle":
                        await board.run_until_idle()
            report = await board.run_until_idle()
            answers = [expected(gate, order) for gate in declared]
            for mine, (runs, _) in zip(got, answers, strict=True):
                assert in_turns(mine, order) == in_turns(runs, order)
            assert report.waiting == sum(waiting for _, waiting in answers)
            assert await board.dead_letters() == []

    asyncio.run(scenario())


def in_turns(runs: list[list[int]], order: list[Arrival]) -> dict[object, list[list[int]]]:
    """The runs of each workflow, in their order: workflows take turns with each other."""
    found: dict[object, list[list[int]]] = defaultdict(list)
    for run in runs:
        first = min(run)
        found[order[first].workflow or first].append(run)
    return found


async def publish_in_runs(board: Flock, order: list[Arrival]) -> None:
    """Publish what follows in one workflow as one commit."""
    start = 0
    while start < len(order):
        end = start
        while end < len(order) and order[end].workflow == order[start].workflow:
            end += 1
        await board.publish_many(
            [KINDS[order[n].kind](n=n, key=order[n].key) for n in range(start, end)],
            correlation_id=order[start].workflow,
        )
        start = end
