"""A scripted engine answers by list or function, on the board's clock."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from flock.core.context import Context, EvalInputs
from flock.core.outputs import OutputGroup
from flock.testing import ManualClock, ScriptedEngine
from tests.unit.support import A, B, agent_of, artifact, turns


async def ask(engine: ScriptedEngine, clock: ManualClock | None = None, n: int = 0) -> object:
    ctx = Context("w")
    if clock is not None:
        ctx.clock = clock
    inputs = EvalInputs([artifact(A(n=n))])
    return await engine.evaluate(agent_of(name="amy"), ctx, inputs, OutputGroup())


async def test_answers_come_in_turn_whatever_they_are() -> None:
    engine = ScriptedEngine([B(n=1), [B(n=2), B(n=3)], None])
    assert [await ask(engine) for _ in range(3)] == [B(n=1), [B(n=2), B(n=3)], None]


async def test_an_exception_is_raised() -> None:
    engine = ScriptedEngine([ValueError("busy"), B(n=1)])
    with pytest.raises(ValueError, match="busy"):
        await ask(engine)
    assert await ask(engine) == B(n=1)


async def test_a_script_that_is_used_up_fails_and_names_agent_and_numbers() -> None:
    engine = ScriptedEngine([B()])
    await ask(engine)
    for number in (2, 3):
        with pytest.raises(AssertionError, match=rf"'amy' was called {number} times.* 1 answers?"):
            await ask(engine)


async def test_a_function_gets_the_inputs() -> None:
    engine = ScriptedEngine(lambda inputs: [B(n=a.n * 2) for a in inputs.all_as(A)])
    assert await ask(engine, n=4) == [B(n=8)]


async def test_a_function_may_be_async_and_may_fail_or_return_an_error() -> None:
    async def answer(inputs: EvalInputs) -> object:
        await asyncio.sleep(0)
        first = inputs.first_as(A)
        assert first is not None
        if first.n == 1:
            raise KeyError("raised")
        return KeyError("returned") if first.n == 2 else B(n=first.n)

    engine = ScriptedEngine(answer)
    assert await ask(engine, n=3) == B(n=3)
    for number, said in ((1, "raised"), (2, "returned")):
        with pytest.raises(KeyError, match=said):
            await ask(engine, n=number)


async def test_it_keeps_the_inputs_of_each_call() -> None:
    engine = ScriptedEngine(lambda _: None)
    for n in (1, 2):
        await ask(engine, n=n)
    assert [inputs.first_as(A) for inputs in engine.calls] == [A(n=1), A(n=2)]


@pytest.mark.parametrize("delay", [30, timedelta(seconds=30)])
async def test_a_delay_is_time_of_the_boards_clock(delay: Any) -> None:
    clock = ManualClock()
    engine = ScriptedEngine([B(n=1)], delay=delay)
    call = asyncio.create_task(ask(engine, clock))
    await clock.advance(29)
    assert not call.done()
    await clock.advance(1)
    assert await call == B(n=1)


async def test_delays_may_differ_and_the_last_is_for_all_that_follow() -> None:
    clock = ManualClock()
    engine = ScriptedEngine(lambda _: None, delay=[5, 0, 2])
    for expected in (5, 0, 2, 2):
        start = clock.time()
        call = asyncio.create_task(ask(engine, clock))
        await turns()
        assert call.done() == (expected == 0)
        await clock.advance(expected)
        assert call.done()
        assert clock.time() == start + expected
        await call


async def test_a_cancelled_call_leaves_no_timer() -> None:
    clock = ManualClock()
    call = asyncio.create_task(ask(ScriptedEngine([B()], delay=30), clock))
    await turns()
    call.cancel()
    await asyncio.wait([call])
    await clock.advance(60)
    assert call.cancelled()


@pytest.mark.parametrize("delay", [-1, "1", [1, -1], float("nan")])
def test_a_senseless_delay_is_refused(delay: Any) -> None:
    with pytest.raises(ValueError, match="delay"):
        ScriptedEngine([], delay=delay)
