"""What a run is given, and what it answers with."""

import asyncio

import pytest
from pydantic import BaseModel

from flock.clock import SystemClock
from flock.core import context as module
from flock.core.context import Context, EvalInputs, EvalResult
from flock.core.delivery import Run
from flock.core.usage import Usage
from flock.core.visibility import AgentIdentity
from flock.errors import EngineError
from flock.testing import ManualClock
from tests.unit.support import A, B, C, Host, artifact


def run_over(*models: BaseModel) -> Run:
    return Run(0xABC, "amy", None, (), [artifact(m, workflow="w") for m in models])


def context_of(run: Run, board: Host | None = None) -> Context:
    return module.context_of(run, AgentIdentity("amy"), ManualClock(), board or Host())


# --- inputs -----------------------------------------------------------------------------------


def test_inputs_are_found_by_type_as_new_instances() -> None:
    inputs = EvalInputs([artifact(A(n=1)), artifact(B(n=2)), artifact(A(n=3))])
    assert inputs.first_as(A) == A(n=1)
    assert inputs.first_as(A) is not inputs.first_as(A)
    assert inputs.all_as(A) == [A(n=1), A(n=3)]
    assert inputs.first_as(C) is None
    assert inputs.all_as(C) == []


def test_inputs_share_nothing_unless_told() -> None:
    one, two = EvalInputs(), EvalInputs()
    one.state["x"] = 1
    one.artifacts.append(artifact(A()))
    assert (two.state, two.artifacts) == ({}, [])


# --- results ----------------------------------------------------------------------------------


def test_a_result_is_made_of_models() -> None:
    assert [a.as_model(A) for a in EvalResult.from_object(A(n=1)).artifacts] == [A(n=1)]
    several = EvalResult.from_objects(A(n=1), B(n=2), metrics={"tokens": 3.0})
    assert [a.payload["n"] for a in several.artifacts] == [1, 2]
    assert several.metrics == {"tokens": 3.0}
    assert EvalResult.empty(logs=["no"]) == EvalResult(logs=["no"])


def test_a_state_is_copied_into_the_result() -> None:
    state = {"x": 1}
    result = EvalResult.with_state(state)
    state["x"] = 2
    assert (result.state, result.artifacts) == ({"x": 1}, [])


# --- context ----------------------------------------------------------------------------------


def test_a_context_for_tests_needs_nothing() -> None:
    ctx = Context()
    assert (ctx.correlation_id, ctx.attempt, ctx.is_batch) == ("", 1, False)
    assert (ctx.artifacts, ctx.state, ctx.trigger_type, ctx.fire_time) == ((), {}, "call", None)
    assert ctx.agent_identity == AgentIdentity("")
    assert isinstance(ctx.clock, SystemClock)
    assert Context(correlation_id="c1").correlation_id == "c1"
    ctx.emit("nobody listens")


def test_a_state_that_is_given_is_shared() -> None:
    state = {"x": 1}
    assert Context(state=state).state is state
    assert Context().state is not Context().state


def test_the_context_of_a_run_is_the_runs() -> None:
    run = run_over(A(), B())
    run.attempt = 2
    ctx = context_of(run)
    assert ctx.run_id == run.id == f"{0xABC:032x}"
    assert ctx.task_id == f"{run.id}.2"
    assert (ctx.correlation_id, ctx.attempt, ctx.depth) == ("w", 2, 1)
    assert ctx.parent_keys == tuple(a.key for a in run.artifacts)


def test_the_context_of_a_run_has_all_that_any_context_has() -> None:
    ctx = context_of(run_over(A()))
    for name in Context.__slots__:
        assert hasattr(ctx, name), name


def test_the_run_id_stays_over_attempts_and_the_task_id_changes() -> None:
    run = run_over(A())
    run.attempt = 1
    first = context_of(run)
    run_id, task_id = first.run_id, first.task_id
    run.attempt = 2
    second = context_of(run)
    assert second.run_id == run_id
    assert second.task_id != task_id


def test_emitting_tells_observers_what_was_emitted() -> None:
    board = Host()
    ctx = context_of(run_over(A()), board)
    ctx.emit("token")
    ctx.emit(0.5)
    assert ctx.is_heard
    assert board.emitted == ["token", 0.5]


async def test_without_a_board_nobody_hears_and_nothing_is_charged_to_anyone() -> None:
    ctx = Context()
    ctx.emit("token")
    await ctx.charge("m", Usage(1))
    assert not ctx.is_heard
    assert ctx.usage == {"m": Usage(1)}


async def test_what_a_call_took_is_charged_to_the_board() -> None:
    board = Host()
    await context_of(run_over(A()), board).charge("m", Usage(1, 2, 3))
    assert board.charged == [("m", Usage(1, 2, 3))]


# --- steps ------------------------------------------------------------------------------------


async def test_a_step_is_taken_once_per_run_however_many_attempts() -> None:
    run, calls = run_over(A()), list[int]()

    def charge(amount: int) -> int:
        calls.append(amount)
        return amount * 2

    assert await context_of(run).step("charge", charge, 5) == 10
    assert await context_of(run).step("charge", charge, 5) == 10
    assert await context_of(run).step("other", charge, 6) == 12
    assert calls == [5, 6]


async def test_a_step_can_be_a_coroutine_function() -> None:
    async def fetch(name: str) -> str:
        return f"<{name}>"

    assert await context_of(run_over(A())).step("fetch", fetch, "x") == "<x>"


async def test_a_result_of_none_is_remembered_too() -> None:
    run, calls = run_over(A()), list[int]()
    for _ in range(2):
        assert await context_of(run).step("note", lambda: calls.append(1)) is None
    assert calls == [1]


async def test_a_step_that_failed_is_taken_again() -> None:
    run, calls = run_over(A()), list[int]()

    def flaky() -> str:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("busy")
        return "done"

    with pytest.raises(ValueError, match="busy"):
        await context_of(run).step("flaky", flaky)
    assert await context_of(run).step("flaky", flaky) == "done"


async def test_a_step_asked_for_by_several_at_once_is_taken_once() -> None:
    ctx, calls = context_of(run_over(A())), list[int]()

    async def draw() -> int:
        calls.append(1)
        await asyncio.sleep(0)
        return len(calls)

    assert await asyncio.gather(*(ctx.step("draw", draw) for _ in range(3))) == [1, 1, 1]


async def test_a_step_that_waits_for_itself_is_an_error() -> None:
    ctx = context_of(run_over(A()))

    async def outer() -> int:
        return await ctx.step("same", lambda: 1)

    with pytest.raises(EngineError, match="'same'"):
        await ctx.step("same", outer)
    assert await ctx.step("same", lambda: 2) == 2


async def test_steps_of_other_runs_are_their_own() -> None:
    calls: list[int] = []
    for _ in range(2):
        await context_of(run_over(A())).step("x", lambda: calls.append(1))
    assert calls == [1, 1]


async def test_without_a_run_a_step_is_just_called() -> None:
    assert await Context().step("x", lambda: 3) == 3


# --- runs -------------------------------------------------------------------------------------


def test_a_run_belongs_to_the_workflow_of_its_earliest_input_on_the_board() -> None:
    late = artifact(A(), workflow="late", depth=1, seq=9)
    early = artifact(B(), workflow="early", depth=4, seq=2)
    run = Run(1, "amy", None, (), [late, early])
    assert run.correlation_id == "early"
    assert run.depth == 5
    assert run.parent_keys == (late.key, early.key)


def test_a_run_that_uses_other_inputs_takes_their_lineage() -> None:
    run = run_over(A())
    other = artifact(B(), workflow="v", depth=3)
    run.use([other])
    assert (run.correlation_id, run.depth, run.parent_keys) == ("v", 4, (other.key,))
