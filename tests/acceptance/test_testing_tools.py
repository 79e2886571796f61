"""Time and engines under a test's control."""

# Agents are short lambdas here.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportOptionalMemberAccess=false

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import BaseModel

from flock import Backoff, BatchSpec, Context, EvalInputs, Flock
from flock.testing import ManualClock, ScriptedEngine

START = datetime(2024, 1, 1, tzinfo=UTC)


class Tick(BaseModel):
    n: int = 0


class Tock(BaseModel):
    n: int = 0


class Count(BaseModel):
    n: int


def seconds(n: float) -> timedelta:
    return timedelta(seconds=n)


async def test_everything_that_falls_due_on_the_way_happens_in_order_at_its_own_time() -> None:
    clock = ManualClock(START)
    async with Flock(clock=clock) as board:
        for delay in (30, 10, 20):
            board.agent(f"batch{delay}").consumes(
                Tick, batch=BatchSpec(timeout=seconds(delay))
            ).publishes(Count).calls(lambda ticks, delay=delay: Count(n=delay))
        await board.publish(Tick())
        await clock.advance(seconds(100))
        counts = await board.store.list_by_type(Count)
        assert [a.as_model(Count).n for a in counts] == [10, 20, 30]
        assert [a.created_at for a in counts] == [START + seconds(n) for n in (10, 20, 30)]


async def test_what_is_set_off_on_the_way_and_falls_due_on_the_way_happens_too() -> None:
    clock = ManualClock(START)
    attempts: list[int] = []

    async def work(tick: Tick, ctx: Context) -> Tock:
        attempts.append(ctx.attempt)
        if ctx.attempt < 5:
            raise ValueError
        return Tock()

    async with Flock(clock=clock) as board:
        board.agent("work").calls(work).retry(5, backoff=Backoff(1, factor=2.0, jitter=False))
        board.agent("batch").consumes(Tock, batch=BatchSpec(timeout=seconds(10))).publishes(
            Count
        ).calls(lambda tocks: Count(n=1))
        await board.publish(Tick())
        await clock.advance(seconds(15 + 10))
        assert attempts == [1, 2, 3, 4, 5]
        (count,) = await board.store.list_by_type(Count)
        assert count.created_at == START + seconds(25)


async def test_advance_returns_when_an_agent_is_blocked_on_something_else() -> None:
    clock = ManualClock()
    release = asyncio.Event()
    log: list[str] = []

    async def blocked(tick: Tick) -> None:
        log.append("in")
        await release.wait()
        log.append("out")

    async with Flock(clock=clock) as board:
        board.agent("blocked").calls(blocked)
        await board.publish(Tick())
        await clock.advance(seconds(1000))
        assert log == ["in"]
        release.set()
        await board.run_until_idle()
        assert log == ["in", "out"]


async def test_advance_waits_for_sync_functions_in_their_threads() -> None:
    clock = ManualClock()
    async with Flock(clock=clock) as board:
        board.agent("sync").consumes(Tick).publishes(Tock).calls(lambda t: Tock(n=t.n))
        board.agent("next").consumes(Tock).publishes(Count).calls(lambda t: Count(n=t.n))
        await board.publish(Tick(n=7))
        await clock.advance(seconds(0))
        assert await board.store.get_by_type(Count) == [Count(n=7)]


async def test_time_never_goes_backwards() -> None:
    clock = ManualClock(START)
    with pytest.raises(ValueError, match=r".+"):
        await clock.advance(seconds(-1))


async def test_two_boards_may_share_a_clock() -> None:
    clock = ManualClock()
    ran: list[str] = []
    async with Flock(clock=clock) as one, Flock(clock=clock) as two:
        for name, board, delay in (("one", one, 20), ("two", two, 10)):
            board.agent(name).consumes(Tick, batch=BatchSpec(timeout=delay)).calls(
                lambda ticks, name=name: ran.append(name)
            )
            await board.publish(Tick())
        await clock.advance(seconds(15))
        assert ran == ["two"]
        await clock.advance(seconds(15))
        assert ran == ["two", "one"]


async def test_a_jumping_clock_makes_days_pass_at_once() -> None:
    clock = ManualClock(START, autojump=True)
    async with Flock(clock=clock) as board:
        board.agent("batch").consumes(Tick, batch=BatchSpec(timeout=timedelta(days=3))).publishes(
            Count
        ).calls(lambda ticks: Count(n=len(ticks)))
        await board.publish(Tick())
        await board.publish(Tick())
        await board.run_until_idle()
        (count,) = await board.store.list_by_type(Count)
        assert count.as_model(Count) == Count(n=2)
        assert count.created_at == START + timedelta(days=3)


async def test_a_jumping_clock_ends_a_hanging_agent_at_its_timeout() -> None:
    async def hang(tick: Tick) -> None:
        await asyncio.Event().wait()

    async with Flock(clock=ManualClock(autojump=True)) as board:
        board.agent("hang").calls(hang).timeout(timedelta(days=1))
        await board.publish(Tick())
        report = await board.run_until_idle()
        assert report.failed == 1


async def test_a_script_may_be_a_function_of_the_inputs() -> None:
    def answer(inputs: EvalInputs) -> Tock:
        return Tock(n=inputs.first_as(Tick).n * 2)

    async with Flock() as board:
        board.agent("work").consumes(Tick).publishes(Tock).with_engines(
            ScriptedEngine(answers=answer)
        )
        await board.publish_many([Tick(n=1), Tick(n=2)])
        await board.run_until_idle()
        assert sorted(t.n for t in await board.store.get_by_type(Tock)) == [2, 4]


async def test_a_scripted_delay_is_the_boards_time() -> None:
    clock = ManualClock(START)
    async with Flock(clock=clock) as board:
        board.agent("work").consumes(Tick).publishes(Tock).with_engines(
            ScriptedEngine(answers=[Tock(n=1)], delay=seconds(30))
        )
        await board.publish(Tick())
        await clock.advance(seconds(29))
        assert await board.store.get_by_type(Tock) == []
        await clock.advance(seconds(2))
        (tock,) = await board.store.list_by_type(Tock)
        assert tock.created_at == START + seconds(30)
