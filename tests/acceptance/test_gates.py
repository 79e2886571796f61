"""Gates gather what belongs together, mix no workflows and throw nothing away."""

# Agents are short lambdas here.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportOptionalMemberAccess=false

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, TypeVar

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pydantic import BaseModel

from flock import (
    Agent,
    Artifact,
    Backoff,
    BatchFlushed,
    BatchSpec,
    CollectionResult,
    Context,
    EvalInputs,
    Flock,
    GroupExpired,
    GroupSkipped,
    JoinExpired,
    JoinSpec,
    OrchestratorComponent,
    ScheduleDecision,
    WorkflowError,
)
from flock.testing import ManualClock

from .support import drain, ids


class A(BaseModel):
    n: int = 0
    key: Any = "k"


class B(BaseModel):
    n: int = 0
    key: Any = "k"


class C(BaseModel):
    n: int = 0
    key: Any = "k"


class Root(BaseModel):
    n: int = 0


class Out(BaseModel):
    inputs: list[str] = []


class Runs:
    """The groups an agent has been called with, as 'A1 B2'."""

    def __init__(self) -> None:
        self.groups: list[str] = []
        self.contexts: list[Context] = []

    async def __call__(self, inputs: EvalInputs, ctx: Context) -> None:
        self.contexts.append(ctx)
        self.groups.append(label(inputs.artifacts))

    def __eq__(self, other: object) -> bool:
        return self.groups == other

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __repr__(self) -> str:
        return repr(self.groups)


def label(artifacts: list[Artifact]) -> str:
    return " ".join(f"{a.type.rsplit('.', 1)[-1]}{a.payload['n']}" for a in artifacts)


def key_of(model: Any) -> Any:
    return model.key


MINUTE = timedelta(minutes=1)


# --- AND ----------------------------------------------------------------------------------


async def test_an_and_gate_waits_for_all_and_gives_them_in_declared_order() -> None:
    runs = Runs()
    async with Flock() as board:
        board.agent("gate").consumes(A, B, C).calls(runs)
        for model in (C(n=1), B(n=2)):
            await board.publish(model, correlation_id="w")
            assert (await board.run_until_idle()).runs == 0
        await board.publish(A(n=3), correlation_id="w")
        report = await board.run_until_idle()
        assert runs == ["A3 B2 C1"]
        assert (report.runs, report.waiting) == (1, 0)


async def test_pairs_are_made_first_come_first_served_and_surplus_keeps_waiting() -> None:
    runs = Runs()
    async with Flock() as board:
        board.agent("gate").consumes(A, B).calls(runs).max_concurrency(1)
        for n in range(5):
            await board.publish(A(n=n), correlation_id="w")
        for n in range(2):
            await board.publish(B(n=n), correlation_id="w")
        report = await board.run_until_idle()
        assert runs == ["A0 B0", "A1 B1"]
        assert report.waiting == 3
        await board.publish_many([B(n=n) for n in range(2, 7)], correlation_id="w")
        report = await board.run_until_idle()
        assert runs == [f"A{n} B{n}" for n in range(5)]
        assert report.waiting == 2


async def test_two_thousand_and_one_give_one_pair_and_lose_none() -> None:
    runs = Runs()
    async with Flock() as board:
        board.agent("gate").consumes(A, B).calls(runs)
        await board.publish_many([A(n=n) for n in range(2000)])
        await board.publish(B())
        report = await board.run_until_idle()
        assert runs == ["A0 B0"]
        assert report.waiting == 1999
        await board.publish_many([B(n=n) for n in range(1, 2000)])
        report = await board.run_until_idle()
        assert sorted(runs.groups) == sorted(f"A{n} B{n}" for n in range(2000))
        assert report.waiting == 0


async def test_a_repeated_type_asks_for_that_many() -> None:
    runs = Runs()
    async with Flock() as board:
        board.agent("gate").consumes(A, B, A).calls(runs).max_concurrency(1)
        await board.publish(B(n=0), correlation_id="w")
        for n in range(5):
            await board.publish(A(n=n), correlation_id="w")
        await board.publish(B(n=1), correlation_id="w")
        report = await board.run_until_idle()
        assert [sorted(g.split()) for g in runs.groups] == [
            ["A0", "A1", "B0"],
            ["A2", "A3", "B1"],
        ]
        assert report.waiting == 1


async def test_a_count_gate_of_one_type_takes_them_in_order_and_none_twice() -> None:
    runs = Runs()
    async with Flock() as board:
        board.agent("gate").consumes(A, A, A).calls(runs).max_concurrency(1)
        await board.publish_many([A(n=n) for n in range(8)], correlation_id="w")
        report = await board.run_until_idle()
        assert runs == ["A0 A1 A2", "A3 A4 A5"]
        assert report.waiting == 2


async def test_each_gate_receives_every_artifact_independently() -> None:
    gated, other, single = Runs(), Runs(), Runs()
    async with Flock() as board:
        board.agent("two").consumes(A, B).consumes(A, C).consumes(A).calls(gated)
        board.agent("other").consumes(A, B).calls(other)
        board.agent("single").consumes(B).calls(single)
        await board.publish(A(n=1), correlation_id="w")
        await board.publish(B(n=2), correlation_id="w")
        await board.publish(C(n=3), correlation_id="w")
        report = await board.run_until_idle()
        assert sorted(gated.groups) == ["A1", "A1 B2", "A1 C3"]
        assert other == ["A1 B2"]
        assert single == ["B2"]
        assert report.waiting == 0


async def test_two_gates_of_one_agent_do_not_take_from_each_other() -> None:
    runs = Runs()
    async with Flock() as board:
        board.agent("same").consumes(A, B).consumes(A, B).calls(runs)
        await board.publish_many([A(n=1), B(n=1)], correlation_id="w")
        report = await board.run_until_idle()
        assert runs == ["A1 B1", "A1 B1"]
        assert report.waiting == 0


# --- Workflows ----------------------------------------------------------------------------


async def test_workflows_with_a_correlation_do_not_mix() -> None:
    runs = Runs()
    async with Flock() as board:
        board.agent("gate").consumes(A, B).calls(runs)
        await board.publish(A(n=1), correlation_id="one")
        await board.publish(B(n=2), correlation_id="two")
        report = await board.run_until_idle()
        assert (runs.groups, report.waiting) == ([], 2)
        await board.publish(A(n=3), correlation_id="two")
        await board.run_until_idle()
        assert runs == ["A3 B2"]
        assert runs.contexts[0].correlation_id == "two"


async def test_roots_published_by_hand_without_one_pair_with_each_other() -> None:
    runs = Runs()
    async with Flock() as board:
        board.agent("gate").consumes(A, B).publishes(Out).calls(lambda i: Out())
        board.agent("watch").consumes(A, B).calls(runs)
        a = await board.publish(A(n=1))
        b = await board.publish(B(n=2))
        await board.run_until_idle()
        assert runs == ["A1 B2"]
        (out,) = await board.store.list_by_type(Out)
        assert out.correlation_id == a.correlation_id
        assert list(out.parents) == [a.id, b.id]
        assert out.depth == 1


async def test_the_run_takes_the_workflow_of_its_earliest_input_not_of_its_first_type() -> None:
    async with Flock() as board:
        board.agent("gate").consumes(A, B).publishes(Out).calls(lambda i: Out())
        b = await board.publish(B(n=2))
        await board.publish(A(n=1))
        await board.run_until_idle()
        (out,) = await board.store.list_by_type(Out)
        assert out.correlation_id == b.correlation_id


async def test_what_follows_from_loose_roots_pairs_only_within_its_own_workflow() -> None:
    runs = Runs()
    async with Flock() as board:
        board.agent("to-a").consumes(Root).publishes(A).calls(lambda r: A(n=r.n))
        board.agent("to-b").consumes(Root, where=lambda r: r.n % 2 == 0).publishes(B).calls(
            lambda r: B(n=r.n)
        )
        board.agent("gate").consumes(A, B).calls(runs)
        await board.publish_many([Root(n=n) for n in (1, 3, 5, 2, 4)])
        report = await board.run_until_idle()
        assert sorted(runs.groups) == ["A2 B2", "A4 B4"]
        assert report.waiting == 3


async def test_a_loose_root_and_what_follows_from_it_pair() -> None:
    runs = Runs()
    async with Flock() as board:
        board.agent("to-b").consumes(A).publishes(B).calls(lambda a: B(n=a.n))
        board.agent("gate").consumes(A, B).calls(runs)
        await board.publish_many([A(n=n) for n in range(10)])
        report = await board.run_until_idle()
        assert sorted(runs.groups) == [f"A{n} B{n}" for n in range(10)]
        assert report.waiting == 0


async def test_loose_roots_do_not_pair_with_named_workflows() -> None:
    runs = Runs()
    async with Flock() as board:
        board.agent("gate").consumes(A, B).calls(runs)
        await board.publish(A(n=1))
        await board.publish(B(n=2), correlation_id="w")
        report = await board.run_until_idle()
        assert (runs.groups, report.waiting) == ([], 2)
        await board.publish(B(n=3))
        await board.run_until_idle()
        assert runs == ["A1 B3"]


# --- Predicates of a group ----------------------------------------------------------------


async def test_with_several_types_a_predicate_applies_to_each_or_to_the_group() -> None:
    each, group = Runs(), Runs()
    async with Flock() as board:
        board.agent("each").consumes(A, B, where=lambda m: m.n > 0).calls(each)
        board.agent("group").consumes(A, B, where=lambda a, b: a.n == b.n).calls(group)
        stream = board.events()
        a0 = await board.publish(A(n=0), correlation_id="w")
        b5 = await board.publish(B(n=5), correlation_id="w")
        report = await board.run_until_idle()
        assert report.runs == 0
        assert report.waiting == 1  # B5 of "each"; the refused group is closed
        await board.publish(A(n=7), correlation_id="w")
        await board.publish(B(n=7), correlation_id="w")
        report = await board.run_until_idle()
        assert each == ["A7 B5"]
        assert group == ["A7 B7"]
        assert report.waiting == 1
        skipped = [e for e in await drain(board, stream) if isinstance(e, GroupSkipped)]
        assert [(e.agent, list(e.artifact_ids)) for e in skipped] == [("group", [a0.id, b5.id])]


async def test_predicates_of_both_kinds_work_together() -> None:
    runs = Runs()
    async with Flock() as board:
        board.agent("gate").consumes(
            A, B, where=[lambda m: m.n < 10, lambda a, b: a.n < b.n]
        ).calls(runs)
        await board.publish_many([A(n=50), A(n=1), B(n=2)], correlation_id="w")
        await board.run_until_idle()
        assert runs == ["A1 B2"]


# --- Joins --------------------------------------------------------------------------------


async def test_a_join_pairs_by_key_across_workflows() -> None:
    runs = Runs()
    async with Flock(clock=ManualClock()) as board:
        board.agent("join").consumes(A, B, join=JoinSpec(by=key_of, within=MINUTE)).calls(runs)
        await board.publish(A(n=1, key="x"), correlation_id="one")
        await board.publish(A(n=2, key="y"), correlation_id="two")
        await board.publish(B(n=3, key="y"), correlation_id="three")
        await board.publish(B(n=4, key="x"), correlation_id="four")
        report = await board.run_until_idle()
        assert runs == ["A2 B3", "A1 B4"]
        assert [c.correlation_id for c in runs.contexts] == ["two", "one"]
        assert report.waiting == 0


async def test_surplus_of_a_key_starts_the_next_group() -> None:
    runs = Runs()
    async with Flock(clock=ManualClock()) as board:
        board.agent("join").consumes(A, B, join=JoinSpec(by=key_of, within=MINUTE)).calls(
            runs
        ).max_concurrency(1)
        for n in range(3):
            await board.publish(A(n=n))
        for n in range(3):
            await board.publish(B(n=n))
        await board.run_until_idle()
        assert runs == ["A0 B0", "A1 B1", "A2 B2"]


async def test_a_half_filled_join_does_not_hold_idle_and_is_counted() -> None:
    async with Flock(clock=ManualClock()) as board:
        board.agent("join").consumes(A, B, join=JoinSpec(by=key_of, within=MINUTE)).calls(Runs())
        await board.publish(A())
        report = await board.run_until_idle()
        assert (report.runs, report.waiting) == (0, 1)


async def test_a_group_that_is_late_expires_with_an_event_and_a_record() -> None:
    clock = ManualClock()
    runs = Runs()
    async with Flock(clock=clock) as board:
        board.agent("join").consumes(A, B, join=JoinSpec(by=key_of, within=MINUTE)).calls(runs)
        stream = board.events()
        a = await board.publish(A(n=1, key="x"), correlation_id="w")
        await clock.advance(timedelta(seconds=61))
        await board.publish(B(n=1, key="x"), correlation_id="w")
        report = await board.run_until_idle()
        assert runs == []
        assert report.waiting == 1
        (record,) = await board.store.get_by_type(GroupExpired)
        assert (record.agent, record.key) == ("join", "x")
        assert [str(i) for i in record.artifact_ids] == [str(a.id)]
        (artifact,) = await board.store.list_by_type(GroupExpired)
        assert artifact.correlation_id == "w"
        await board.publish(A(n=2, key="x"))
        await board.run_until_idle()
        assert runs == ["A2 B1"]
        (event,) = [e for e in await drain(board, stream) if isinstance(e, JoinExpired)]
        assert (event.agent, event.key, list(event.artifact_ids)) == ("join", "x", [a.id])


async def test_the_window_counts_from_the_first_arrival_and_just_in_time_is_in_time() -> None:
    clock = ManualClock()
    runs = Runs()
    async with Flock(clock=clock) as board:
        board.agent("join").consumes(A, B, C, join=JoinSpec(by=key_of, within=MINUTE)).calls(runs)
        await board.publish(A(n=1, key="in"))
        await board.publish(A(n=2, key="out"))
        await clock.advance(timedelta(seconds=40))
        await board.publish(B(n=1, key="in"))
        await board.publish(B(n=2, key="out"))
        await clock.advance(timedelta(seconds=19))
        await board.publish(C(n=1, key="in"))
        await clock.advance(timedelta(seconds=2))
        await board.publish(C(n=2, key="out"))
        await board.run_until_idle()
        assert runs == ["A1 B1 C1"]
        (record,) = await board.store.get_by_type(GroupExpired)
        assert len(record.artifact_ids) == 2


async def test_on_expired_run_runs_once_with_what_came() -> None:
    clock = ManualClock()
    runs = Runs()
    async with Flock(clock=clock) as board:
        board.agent("join").consumes(
            A, B, C, join=JoinSpec(by=key_of, within=MINUTE, on_expired="run")
        ).calls(runs)
        await board.publish(B(n=2))
        await board.publish(A(n=1))
        await clock.advance(timedelta(seconds=61))
        await board.run_until_idle()
        assert [sorted(g.split()) for g in runs.groups] == [["A1", "B2"]]
        await clock.advance(timedelta(hours=1))
        report = await board.run_until_idle()
        assert len(runs.groups) == 1
        assert report.waiting == 0


async def test_agents_may_consume_expired_groups() -> None:
    clock = ManualClock()
    seen: list[str] = []
    async with Flock(clock=clock) as board:
        board.agent("join").consumes(A, B, join=JoinSpec(by=key_of, within=MINUTE)).calls(Runs())
        board.agent("late").consumes(GroupExpired).calls(lambda g: seen.append(g.agent))
        await board.publish(A())
        await clock.advance(timedelta(minutes=2))
        await board.run_until_idle()
        assert seen == ["join"]


async def test_a_count_window_closes_after_that_many_artifacts_of_this_subscription() -> None:
    runs = Runs()
    async with Flock() as board:
        board.agent("join").consumes(A, B, join=JoinSpec(by=key_of, within=3)).calls(runs)
        await board.publish(A(n=1, key="x"))
        await board.publish(C(n=9, key="x"))  # of no subscription here
        await board.publish(A(n=2, key="y"))
        await board.publish(B(n=1, key="x"))  # third: in time
        await board.publish(A(n=3, key="z"))  # third of y: y is over
        await board.publish(B(n=2, key="y"))  # too late
        await board.run_until_idle()
        assert runs == ["A1 B1"]
        expired = await board.store.get_by_type(GroupExpired)
        assert "y" in [g.key for g in expired]
        assert "x" not in [g.key for g in expired]


KEYS: list[tuple[Any, Any, bool]] = [
    ({"a": 1, "b": [2]}, {"b": [2], "a": 1}, True),
    ([1, [2]], [1, [2]], True),
    ({"a": 1}, {"a": 2}, False),
    (1, "1", False),
    (None, None, True),
    ("", "", True),
    (1, 1, True),
    ("x", "y", False),
    ([], {}, False),
    (None, "null", False),
    ([1, 2], [2, 1], False),
    (True, "true", False),
]


@pytest.mark.parametrize(("left", "right", "same"), KEYS)
async def test_any_json_value_is_a_key(left: Any, right: Any, same: bool) -> None:
    runs = Runs()
    async with Flock(clock=ManualClock()) as board:
        board.agent("join").consumes(A, B, join=JoinSpec(by=key_of, within=MINUTE)).calls(runs)
        await board.publish(A(n=1, key=left))
        await board.publish(B(n=1, key=right))
        report = await board.run_until_idle()
        assert runs == (["A1 B1"] if same else [])
        assert await board.dead_letters() == []
        assert report.waiting == (0 if same else 2)


@pytest.mark.parametrize("key", [(1, "a"), frozenset({1}), timedelta(1)])
async def test_any_hashable_is_a_key(key: Any) -> None:
    runs = Runs()
    clock = ManualClock()
    async with Flock(clock=clock) as board:
        board.agent("join").consumes(A, B, join=JoinSpec(by=lambda m: key, within=MINUTE)).calls(
            runs
        )
        await board.publish(A(n=1))
        await board.publish(B(n=2))
        await board.run_until_idle()
        assert runs == ["A1 B2"]
        await board.publish(A(n=3))
        await clock.advance(timedelta(minutes=2))
        assert len(await board.store.get_by_type(GroupExpired)) == 1


async def test_a_key_function_that_raises_dead_letters_that_artifact_for_that_agent() -> None:
    runs, other = Runs(), Runs()

    def by(model: Any) -> Any:
        if model.key == "bad":
            raise LookupError(model.n)
        return model.key

    async with Flock(clock=ManualClock()) as board:
        board.agent("join").consumes(A, B, join=JoinSpec(by=by, within=MINUTE)).calls(runs)
        board.agent("other").consumes(A).calls(other)
        bad = await board.publish(A(n=1, key="bad"))
        await board.publish(A(n=2))
        await board.publish(B(n=2))
        report = await board.run_until_idle()
        assert runs == ["A2 B2"]
        assert sorted(other.groups) == ["A1", "A2"]
        (letter,) = await board.dead_letters()
        assert (letter.agent, letter.error_type) == ("join", "LookupError")
        assert ids(letter.artifacts) == [bad.id]
        assert report.waiting == 0


async def test_a_key_that_is_neither_json_nor_hashable_is_a_dead_letter() -> None:
    async with Flock(clock=ManualClock()) as board:
        board.agent("join").consumes(
            A, B, join=JoinSpec(by=lambda m: {"x": {1, 2}}, within=MINUTE)
        ).calls(Runs())
        await board.publish(A())
        report = await board.run_until_idle()
        assert report.waiting == 0
        assert len(await board.dead_letters()) == 1


# --- Batches ------------------------------------------------------------------------------


async def test_a_batch_runs_at_its_size_by_arrival_across_workflows() -> None:
    runs = Runs()
    async with Flock() as board:
        board.agent("batch").consumes(A, batch=BatchSpec(size=3)).calls(runs).max_concurrency(1)
        artifacts = [await board.publish(A(n=n), correlation_id=f"w{n}") for n in range(7)]
        report = await board.run_until_idle()
        assert runs == ["A0 A1 A2", "A3 A4 A5"]
        assert all(ctx.is_batch for ctx in runs.contexts)
        assert [c.correlation_id for c in runs.contexts] == ["w0", "w3"]
        assert (report.runs, report.waiting) == (2, 1)
        assert len(await board.store.consumptions(artifacts[0].id)) == 1


async def test_a_batch_runs_at_its_timeout_after_the_first_item() -> None:
    clock = ManualClock()
    runs = Runs()
    async with Flock(clock=clock) as board:
        board.agent("batch").consumes(A, batch=BatchSpec(timeout=MINUTE)).calls(runs)
        await board.publish(A(n=1))
        await clock.advance(timedelta(seconds=40))
        await board.publish(A(n=2))
        await clock.advance(timedelta(seconds=19))
        assert runs == []
        await clock.advance(timedelta(seconds=2))
        assert runs == ["A1 A2"]
        await board.publish(A(n=3))
        await clock.advance(timedelta(seconds=59))
        assert len(runs.groups) == 1
        await clock.advance(timedelta(seconds=2))
        assert runs == ["A1 A2", "A3"]


async def test_size_and_timeout_whichever_comes_first_and_no_empty_batch_ever() -> None:
    clock = ManualClock()
    runs = Runs()
    async with Flock(clock=clock) as board:
        board.agent("batch").consumes(A, batch=BatchSpec(size=2, timeout=60)).calls(runs)
        stream = board.events()
        await board.publish_many([A(n=1), A(n=2)])
        await clock.advance(timedelta(seconds=30))
        assert runs == ["A1 A2"]
        await board.publish(A(n=3))
        await clock.advance(timedelta(seconds=31))
        assert runs == ["A1 A2"]  # the first batch's time is not the second's
        await clock.advance(timedelta(seconds=30))
        assert runs == ["A1 A2", "A3"]
        await clock.advance(timedelta(hours=1))
        assert len(runs.groups) == 2
        flushed = [e for e in await drain(board, stream) if isinstance(e, BatchFlushed)]
        assert [(e.agent, e.count) for e in flushed] == [("batch", 2), ("batch", 1)]
        assert flushed[0].reason != flushed[1].reason


async def test_a_batch_with_a_due_time_ahead_holds_idle() -> None:
    clock = ManualClock()
    runs = Runs()
    async with Flock(clock=clock) as board:
        board.agent("batch").consumes(A, batch=BatchSpec(size=5, timeout=MINUTE)).calls(runs)
        await board.publish(A(n=1))
        idle = asyncio.create_task(board.run_until_idle())
        await clock.advance(timedelta(seconds=59))
        assert not idle.done()
        await clock.advance(timedelta(seconds=2))
        assert (await idle).runs == 1
        assert runs == ["A1"]


async def test_a_clock_that_jumps_reaches_every_deadline_by_itself() -> None:
    runs = Runs()
    async with Flock(clock=ManualClock(autojump=True)) as board:
        board.agent("batch").consumes(A, batch=BatchSpec(timeout=timedelta(days=300))).calls(runs)
        await board.publish(A(n=1))
        await board.run_until_idle()
        assert runs == ["A1"]


async def test_a_batch_of_pairs_counts_complete_groups_in_the_order_they_were_completed() -> None:
    runs = Runs()
    async with Flock() as board:
        board.agent("batch").consumes(A, B, batch=BatchSpec(size=2)).calls(runs)
        await board.publish(A(n=1), correlation_id="one")
        await board.publish(B(n=2), correlation_id="two")
        await board.publish(A(n=2), correlation_id="two")
        assert (await board.run_until_idle()).waiting == 3
        await board.publish(B(n=1), correlation_id="one")
        report = await board.run_until_idle()
        assert runs == ["A2 B2 A1 B1"]
        assert (report.runs, report.waiting) == (1, 0)


async def test_a_batch_of_joins_counts_complete_groups_and_flushes_only_those() -> None:
    clock = ManualClock()
    runs = Runs()
    async with Flock(clock=clock) as board:
        board.agent("batch").consumes(
            A, B, join=JoinSpec(by=key_of, within=timedelta(hours=1)), batch=BatchSpec(size=2)
        ).calls(runs)
        await board.publish(A(n=1, key="x"))
        await board.publish(B(n=1, key="x"))
        await board.publish(A(n=2, key="y"))
        report = await board.run_until_idle()
        assert (report.runs, report.waiting) == (0, 3)
        assert await board.flush() == 1
        report = await board.run_until_idle()
        assert runs == ["A1 B1"]
        assert report.waiting == 1


async def test_a_group_in_a_batch_no_longer_expires() -> None:
    clock = ManualClock()
    runs = Runs()
    async with Flock(clock=clock) as board:
        board.agent("batch").consumes(
            A, B, join=JoinSpec(by=key_of, within=MINUTE), batch=BatchSpec(size=2)
        ).calls(runs)
        await board.publish(A(n=1, key="x"))
        await board.publish(B(n=1, key="x"))
        await clock.advance(timedelta(hours=1))
        assert await board.store.get_by_type(GroupExpired) == []
        await board.publish(A(n=2, key="y"))
        await board.publish(B(n=2, key="y"))
        await board.run_until_idle()
        assert runs == ["A1 B1 A2 B2"]


async def test_a_failed_batch_is_retried_whole_and_then_dead_lettered_whole() -> None:
    seen: list[str] = []

    async def work(inputs: EvalInputs, ctx: Context) -> None:
        seen.append(f"{ctx.attempt}: {label(inputs.artifacts)}")
        raise ValueError

    async with Flock(clock=ManualClock(autojump=True)) as board:
        board.agent("batch").consumes(A, batch=BatchSpec(size=3)).calls(work).retry(
            2, backoff=Backoff(1, jitter=False)
        )
        artifacts = await board.publish_many([A(n=n) for n in range(3)])
        report = await board.run_until_idle()
        assert seen == ["1: A0 A1 A2", "2: A0 A1 A2"]
        assert (report.dead_letters, report.waiting) == (1, 0)
        (letter,) = await board.dead_letters()
        assert ids(letter.artifacts) == ids(artifacts)
        await board.redrive(letter.id)
        await board.run_until_idle()
        assert seen[2].endswith("A0 A1 A2")


async def test_a_batch_bigger_than_its_size_in_one_publish_is_cut_exactly() -> None:
    runs = Runs()
    async with Flock() as board:
        board.agent("batch").consumes(A, batch=BatchSpec(size=10)).calls(runs).max_concurrency(1)
        await board.publish_many([A(n=n) for n in range(105)])
        report = await board.run_until_idle()
        assert [len(g.split()) for g in runs.groups] == [10] * 10
        assert " ".join(runs.groups) == " ".join(f"A{n}" for n in range(100))
        assert report.waiting == 5


async def test_a_batch_size_of_one_runs_for_each() -> None:
    runs = Runs()
    async with Flock() as board:
        board.agent("batch").consumes(A, batch=BatchSpec(size=1)).calls(runs)
        await board.publish_many([A(n=n) for n in range(3)])
        await board.run_until_idle()
        assert sorted(runs.groups) == ["A0", "A1", "A2"]


# --- Loops --------------------------------------------------------------------------------


async def test_a_feedback_loop_ends_by_depth_and_the_refused_run_is_a_dead_letter() -> None:
    async with Flock(max_agent_iterations=5) as board:
        board.agent("ping").consumes(A).publishes(B).calls(lambda a: B(n=a.n + 1))
        board.agent("pong").consumes(B).publishes(A).calls(lambda b: A(n=b.n + 1))
        await board.publish(A(n=0))
        report = await board.run_until_idle()
        (letter,) = await board.dead_letters()
        assert letter.error_type == "LoopLimitExceeded"
        depth = max(a.depth for a in await board.store.list() if not a.type.endswith("Error"))
        assert depth == 5
        assert report.dead_letters == 1


async def test_the_limit_counts_hops_and_never_how_much_work_there_is() -> None:
    async with Flock(max_agent_iterations=3) as board:
        board.agent("one").consumes(A).publishes(B).calls(lambda a: B(n=a.n))
        board.agent("two").consumes(B).publishes(C).calls(lambda b: C(n=b.n))
        await board.publish_many([A(n=n) for n in range(50)], correlation_id="w")
        report = await board.run_until_idle()
        assert report.failed == 0
        assert len(await board.store.list_by_type(C)) == 50
        await board.publish_many([A(n=n) for n in range(50)], correlation_id="w")
        report = await board.run_until_idle()
        assert report.failed == 0
        assert len(await board.store.list_by_type(C)) == 100


async def test_depth_is_one_more_than_the_deepest_input() -> None:
    async with Flock() as board:
        board.agent("one").consumes(A).publishes(B).calls(lambda a: B(n=a.n))
        board.agent("two").consumes(B).publishes(C).calls(lambda b: C(n=b.n))
        board.agent("all").consumes(A, C).publishes(Out).calls(lambda i: Out())
        await board.publish(A())
        await board.run_until_idle()
        (out,) = await board.store.list_by_type(Out)
        assert out.depth == 3


async def test_an_endless_loop_ends_by_default_after_a_thousand_hops() -> None:
    async with Flock() as board:
        board.agent("loop").consumes(A).publishes(A).calls(count_up).prevent_self_trigger(False)
        await board.publish(A(n=0))
        await board.run_until_idle()
        assert await board.store.get_by_type(A) == [A(n=n) for n in range(1001)]
        (letter,) = await board.dead_letters()
        assert letter.error_type == "LoopLimitExceeded"


async def count_up(a: A) -> A:
    return A(n=a.n + 1)


async def test_redriving_a_refused_run_refuses_it_again() -> None:
    async with Flock(max_agent_iterations=2) as board:
        board.agent("loop").consumes(A).publishes(A).calls(count_up).prevent_self_trigger(False)
        await board.publish(A(n=0))
        await board.run_until_idle()
        (letter,) = await board.dead_letters()
        await board.redrive(letter.id)
        await board.run_until_idle()
        (again,) = await board.dead_letters()
        assert again.error_type == "LoopLimitExceeded"
        assert len(await board.store.list_by_type(A)) == 3


# --- Components decide --------------------------------------------------------------------


async def test_skip_closes_a_delivery_and_defer_really_delivers_later() -> None:
    runs = Runs()
    asked: Counter[int] = Counter()

    class Judge(OrchestratorComponent):
        name: str | None = "judge"

        async def on_before_schedule(
            self, orchestrator: Any, artifact: Artifact, agent: Agent, subscription: Any
        ) -> ScheduleDecision:
            n = artifact.payload["n"]
            asked[n] += 1
            if n == 1:
                return ScheduleDecision.SKIP
            if n == 2 and not open_now:
                return ScheduleDecision.DEFER
            return ScheduleDecision.CONTINUE

    open_now = False
    board = Flock()
    board.add_component(Judge())
    async with board:
        board.agent("gate").consumes(A).calls(runs)
        await board.publish_many([A(n=1), A(n=2)])
        report = await board.run_until_idle()
        assert (runs.groups, report.waiting) == ([], 1)
        open_now = True
        await board.publish(A(n=3))  # its run ends: the deferred delivery is asked again
        report = await board.run_until_idle()
        assert runs == ["A3", "A2"]
        assert report.waiting == 0
        assert asked[1] == 1
        assert asked[2] >= 2


async def test_a_deferred_delivery_can_be_cancelled() -> None:
    runs = Runs()

    class Never(OrchestratorComponent):
        name: str | None = "never"

        async def on_before_schedule(
            self, orchestrator: Any, artifact: Artifact, agent: Agent, subscription: Any
        ) -> ScheduleDecision:
            return ScheduleDecision.DEFER if agent.name == "gate" else ScheduleDecision.CONTINUE

    board = Flock()
    board.add_component(Never())
    async with board:
        board.agent("gate").consumes(A).calls(runs)
        board.agent("other").consumes(B).calls(Runs())
        await board.publish(A(), correlation_id="w")
        assert (await board.run_until_idle()).waiting == 1
        assert await board.cancel("w") == 1
        await board.publish(B())
        report = await board.run_until_idle()
        assert (runs.groups, report.waiting) == ([], 0)


async def test_defer_holds_a_gated_delivery_too() -> None:
    runs = Runs()
    open_now = False

    class Judge(OrchestratorComponent):
        name: str | None = "judge"

        async def on_before_schedule(
            self, orchestrator: Any, artifact: Artifact, agent: Agent, subscription: Any
        ) -> ScheduleDecision:
            if agent.name == "gate" and artifact.type.endswith(".A") and not open_now:
                return ScheduleDecision.DEFER
            return ScheduleDecision.CONTINUE

    board = Flock()
    board.add_component(Judge())
    async with board:
        board.agent("gate").consumes(A, B).calls(runs)
        board.agent("other").consumes(C).calls(Runs())
        await board.publish_many([A(n=1), B(n=1)], correlation_id="w")
        report = await board.run_until_idle()
        assert (runs.groups, report.waiting) == ([], 2)
        open_now = True
        await board.publish(C())
        report = await board.run_until_idle()
        assert runs == ["A1 B1"]
        assert report.waiting == 0


async def test_a_component_may_collect_groups_itself() -> None:
    runs = Runs()
    held: list[Artifact] = []

    class Collector(OrchestratorComponent):
        name: str | None = "collector"

        async def on_collect_artifacts(
            self, orchestrator: Any, artifact: Artifact, agent: Agent, subscription: Any
        ) -> CollectionResult | None:
            if agent.name != "gate":
                return None
            held.append(artifact)
            if len(held) < 3:
                return CollectionResult(artifacts=[], complete=False)
            group = held[:]
            held.clear()
            return CollectionResult(artifacts=group, complete=True)

    board = Flock()
    board.add_component(Collector())
    async with board:
        board.agent("gate").consumes(A).calls(runs)
        for n in range(5):
            await board.publish(A(n=n))
        report = await board.run_until_idle()
        assert runs == ["A0 A1 A2"]
        assert report.waiting == 2


async def test_failed_inputs_of_a_gate_do_not_come_back_to_the_gate() -> None:
    async def work(inputs: EvalInputs) -> None:
        raise ValueError

    async with Flock() as board:
        board.agent("gate").consumes(A, B).calls(work)
        await board.publish_many([A(n=1), B(n=1)], correlation_id="w")
        await board.run_until_idle()
        await board.publish(B(n=2), correlation_id="w")
        report = await board.run_until_idle()
        assert (report.runs, report.waiting) == (0, 1)
        (error,) = await board.store.get_by_type(WorkflowError)
        assert error.failed_agent == "gate"


# --- A model of all gates -----------------------------------------------------------------

R = TypeVar("R")


class Gates(RuleBasedStateMachine):
    """Publish anything in any order: every gate makes the groups of the simple model."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = ManualClock()
        self.board = Flock(clock=self.clock)
        self.got: dict[str, list[str]] = defaultdict(list)
        self.expected: dict[str, list[str]] = defaultdict(list)
        self.queues: dict[tuple[Any, ...], deque[str]] = defaultdict(deque)
        self.batches: dict[str, list[str]] = defaultdict(list)
        self.count = 0
        self.now = 0.0
        self.timed_since: float | None = None
        self.published = 0

    def do(self, work: Coroutine[Any, Any, R]) -> R:
        async def limited() -> R:
            async with asyncio.timeout(30):
                return await work

        return self.runner.run(limited())

    @initialize()
    def open(self) -> None:
        def note(name: str) -> Any:
            async def run(inputs: EvalInputs) -> None:
                self.got[name].append(label(inputs.artifacts))

            return run

        forever = timedelta(days=10_000)
        board = self.board
        board.agent("single").consumes(A).consumes(A).consumes(B).calls(note("single"))
        board.agent("pair").consumes(A, B).calls(note("pair"))
        board.agent("triple").consumes(A, A, B).calls(note("triple"))
        board.agent("join").consumes(A, B, join=JoinSpec(by=key_of, within=forever)).calls(
            note("join")
        )
        board.agent("batch").consumes(A, batch=BatchSpec(size=3)).calls(note("batch"))
        board.agent("timed").consumes(B, batch=BatchSpec(size=4, timeout=60)).calls(note("timed"))
        board.agent("joined").consumes(
            A, B, join=JoinSpec(by=key_of, within=forever), batch=BatchSpec(size=2)
        ).calls(note("joined"))
        board.agent("picky").consumes(A, B, where=lambda a, b: (a.n + b.n) % 2 == 0).calls(
            note("picky")
        )
        self.do(board.run_until_idle())

    @rule(
        kind=st.sampled_from("AB"),
        workflow=st.sampled_from([None, "x", "y"]),
        key=st.sampled_from(["p", {"q": [1]}]),
    )
    def publish(self, kind: str, workflow: str | None, key: Any) -> None:
        self.count += 1
        model = (A if kind == "A" else B)(n=self.count, key=key)
        self.do(self.board.publish(model, correlation_id=workflow))
        self.arrive(kind, workflow, str(key))

    @rule(
        kinds=st.lists(st.sampled_from("AB"), max_size=8),
        workflow=st.sampled_from([None, "x"]),
    )
    def publish_many(self, kinds: list[str], workflow: str | None) -> None:
        models: list[BaseModel] = []
        for n, kind in enumerate(kinds, self.count + 1):
            models.append((A if kind == "A" else B)(n=n, key="p"))
        self.do(self.board.publish_many(models, correlation_id=workflow))
        for kind in kinds:
            self.count += 1
            self.arrive(kind, workflow, "p")

    def arrive(self, kind: str, workflow: str | None, key: str) -> None:
        name = f"{kind}{self.count}"
        self.published += 1
        self.expected["single"].append(name)
        for gate, need in (("pair", "AB"), ("triple", "AAB"), ("picky", "AB")):
            group = self.gather(gate, need, kind, workflow, name)
            if group and gate == "picky":
                a, b = (int(part[1:]) for part in group.split())
                if (a + b) % 2:
                    continue
            if group:
                self.expected[gate].append(group)
        if group := self.gather("join", "AB", kind, key, name):
            self.expected["join"].append(group)
        if group := self.gather("joined", "AB", kind, key, name):
            self.fill("joined", group, 2)
        if kind == "A":
            self.fill("batch", name, 3)
        else:
            if not self.batches["timed"]:
                self.timed_since = self.now
            self.fill("timed", name, 4)

    def gather(self, gate: str, need: str, kind: str, scope: Any, name: str) -> str | None:
        self.queues[gate, scope, kind].append(name)
        wanted = Counter(need)
        if any(len(self.queues[gate, scope, k]) < n for k, n in wanted.items()):
            return None
        return " ".join(self.queues[gate, scope, k].popleft() for k in need)

    def fill(self, gate: str, group: str, size: int) -> None:
        self.batches[gate].append(group)
        if len(self.batches[gate]) == size:
            self.expected[gate].append(" ".join(self.batches[gate]))
            self.batches[gate].clear()

    @rule(seconds=st.sampled_from([1, 25, 59, 61, 600]))
    def time_passes(self, seconds: int) -> None:
        self.do(self.clock.advance(timedelta(seconds=seconds)))
        self.now += seconds
        if self.batches["timed"] and self.timed_since is not None:
            due = self.timed_since + 60
            if self.now >= due:
                self.expected["timed"].append(" ".join(self.batches["timed"]))
                self.batches["timed"].clear()

    @precondition(lambda self: any(self.batches.values()))
    @rule()
    def flush(self) -> None:
        self.do(self.clock.advance(timedelta(0)))
        held = {gate for gate, groups in self.batches.items() if groups}
        assert self.do(self.board.flush()) == len(held)
        for gate in held:
            self.expected[gate].append(" ".join(self.batches[gate]))
            self.batches[gate].clear()

    @rule()
    def reopen(self) -> None:
        self.do(self.clock.advance(timedelta(0)))
        self.do(self.board.shutdown())
        self.do(self.board.dead_letters())  # the first await opens it again

    @invariant()
    def groups_are_those_of_the_model(self) -> None:
        self.do(self.clock.advance(timedelta(0)))
        for gate in {*self.expected, *self.got}:
            assert sorted(self.got[gate]) == sorted(self.expected[gate]), gate

    @invariant()
    def waiting_is_what_the_model_holds(self) -> None:
        if self.batches["timed"]:
            return  # a due time ahead: not idle
        report = self.do(self.board.run_until_idle())
        queued = sum(len(queue) for queue in self.queues.values())
        batched = sum(len(g.split()) for groups in self.batches.values() for g in groups)
        assert report.waiting == queued + batched
        assert report.failed == 0

    def teardown(self) -> None:
        self.do(self.board.shutdown())
        self.runner.close()


TestGates = Gates.TestCase
TestGates.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
