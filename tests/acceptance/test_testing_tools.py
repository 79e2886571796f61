"""Time and engines under a test's control."""

# Agents are short lambdas here.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportOptionalMemberAccess=false

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from flock import (
    Backoff,
    BatchSpec,
    Context,
    DeclarationError,
    EvalInputs,
    Flock,
    JoinSpec,
    NotFound,
    flock_tool,
)
from flock.testing import ManualClock, ScriptedEngine, TestBoard

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


# --- TestBoard ---


def tock(tick: Tick) -> Tock:
    if tick.n < 0:
        msg = "negative"
        raise ValueError(msg)
    return Tock(n=tick.n)


def count(tock: Tock) -> Count:
    return Count(n=tock.n)


def ticking(board: TestBoard) -> TestBoard:
    board.agent("tock").calls(tock)
    board.agent("count").consumes(Tock, where=lambda t: t.n > 1).publishes(Count).calls(count)
    return board


async def test_a_board_under_test_runs_and_tells_what_was_published() -> None:
    async with ticking(TestBoard()) as board:
        await board.publish(Tick(n=1))
        await board.publish(Tick(n=2), correlation_id="second", tags={"a"})
        report = await board.run()
        assert report is board.report
        assert report.runs == 3
        assert await board.published(Tock) == [Tock(n=1), Tock(n=2)]
        assert await board.published(Tock, correlation_id="second") == [Tock(n=2)]
        assert await board.published(Tick, by="tock") == []
        assert await board.assert_published(Tock) == Tock(n=1)
        assert await board.assert_published(Tock, where=lambda t: t.n == 2) == Tock(n=2)
        assert await board.assert_published(Tock, count=2) == [Tock(n=1), Tock(n=2)]
        assert await board.assert_published(Count, by="count", count=1) == [Count(n=2)]
        assert await board.assert_published(Count, count=0, correlation_id="first") == []
        await board.assert_not_published(Count, where=lambda c: c.n == 1)
        await board.assert_ran("tock", times=2)
        await board.assert_ran("count")
        await board.assert_no_failures()


async def test_no_test_waits_for_real_time() -> None:
    async with TestBoard() as board:
        board.agent("batch").consumes(Tick, batch=BatchSpec(timeout=timedelta(days=1))).publishes(
            Count
        ).calls(lambda ticks: Count(n=len(ticks)))
        await board.publish(Tick())
        await board.run()
        await board.assert_published(Count, where=lambda c: c.n == 1)
        assert board.clock is not None
        assert board.clock.now() == datetime(2026, 1, 2, tzinfo=UTC)


async def test_time_is_moved_by_hand_where_the_clock_stands_still() -> None:
    async with TestBoard(Flock(clock=ManualClock())) as board:
        board.agent("batch").consumes(Tick, batch=BatchSpec(timeout=10)).publishes(Count).calls(
            lambda ticks: Count(n=len(ticks))
        )
        await board.publish(Tick())
        await board.advance(9)
        await board.assert_not_published(Count)
        await board.advance(1)
        await board.assert_published(Count)


async def test_a_clock_that_cannot_be_moved_is_told_of() -> None:
    async with TestBoard(Flock()) as board:
        with pytest.raises(DeclarationError, match="make the board with"):
            await board.advance(1)


async def told(assertion: Awaitable[object]) -> list[str]:
    with pytest.raises(AssertionError) as caught:
        await assertion
    return str(caught.value).splitlines()


async def test_a_failed_assertion_tells_what_came_near_and_what_is_on_the_board() -> None:
    async with ticking(TestBoard()) as board:
        await board.publish(Tick(n=1))
        await board.publish(Tick(n=-1))
        await board.run()

        def is_large(tock: Tock) -> bool:
            return tock.n > 5

        lines = await told(board.assert_published(Tock, where=is_large))
        assert lines == [
            "no Tock where is_large was published.",
            "These come near:",
            "  #3 Tock(n=1) by 'tock': where is false",
            "On the board: WorkflowError 1, Tick 2, Tock 1 (4 in all).",
            "Runs: tock 2.",
            "Failed:",
            "  'tock' over #2 Tick: ValueError: negative",
        ]
        assert (await told(board.assert_published(Tock, count=2)))[:2] == [
            "1 Tock was published, not 2:",
            "  #3 Tock(n=1) by 'tock'",
        ]
        assert (await told(board.assert_published(Tock, by="other")))[:3] == [
            "no Tock by 'other' was published.",
            "These come near:",
            "  #3 Tock(n=1) by 'tock': it is not by 'other'",
        ]
        raising = await told(board.assert_published(Tock, where=lambda t: t.n < 1 / 0))
        assert "where raised ZeroDivisionError('division by zero')" in raising[2]
        assert (await told(board.assert_not_published(Tock)))[:2] == [
            "1 Tock should not have been published:",
            "  #3 Tock(n=1) by 'tock'",
        ]
        unsure = await told(board.assert_not_published(Tock, where=lambda t: t.n < 1 / 0))
        assert unsure[0] == "whether it was published cannot be told:"
        assert "Of its producers none ran: 'count'." in await told(board.assert_published(Count))


async def test_a_type_that_nobody_has_heard_of_is_not_on_the_board() -> None:
    class Tick(BaseModel):
        n: int = 0

    async with TestBoard() as board:
        assert await told(board.assert_published(Tick)) == [
            "no Tick was published.",
            "Nothing is on the board.",
            "No agent ran.",
        ]
        await board.publish(globals()["Tick"]())
        lines = await told(board.assert_published(Tick))
        assert any("There is another class of that name on the board" in line for line in lines)


async def test_a_failed_assertion_is_bounded() -> None:
    async with TestBoard() as board:
        await board.flock.publish_many([Tick(n=n) for n in range(500)])
        lines = await told(board.assert_not_published(Tick))
        assert len(lines) < 20
        assert "  ... and 490 more" in lines

        class Long(BaseModel):
            text: str

        await board.publish(Long(text="x" * 100_000))
        assert max(map(len, await told(board.assert_not_published(Long)))) < 200


async def test_who_forgot_to_let_the_board_run_is_told() -> None:
    async with ticking(TestBoard()) as board:
        await board.publish(Tick(n=2))
        hint = "Work may still go on: await run() before what you assert."
        assert hint in await told(board.assert_published(Count, where=lambda c: c.n == 7))
        await board.run()
        assert hint not in await told(board.assert_published(Count, where=lambda c: c.n == 7))


async def test_an_agent_that_did_not_run_is_told_of_with_what_it_waits_for() -> None:
    async with ticking(TestBoard()) as board:
        await board.publish(Tick(n=1))
        await board.run()
        assert (await told(board.assert_ran("count")))[:2] == [
            "agent 'count' did not run.",
            "  It consumes Tock (1 on the board), narrowed by where.",
        ]
        assert (await told(board.assert_ran("tock", times=0)))[0] == (
            "agent 'tock' ran once, not 0 times."
        )
        with pytest.raises(NotFound, match="'tick'"):
            await board.assert_ran("tick")


async def test_attempts_of_one_run_count_once() -> None:
    def flaky(tick: Tick, ctx: Context) -> None:
        if ctx.attempt < 3:
            raise OSError

    async with TestBoard() as board:
        board.agent("flaky").calls(flaky).retry(3, backoff=60)
        await board.publish(Tick())
        await board.run()
        await board.assert_ran("flaky", times=1)
        await board.assert_no_failures()


async def test_failures_are_told_with_their_cause() -> None:
    async with ticking(TestBoard()) as board:
        await board.publish(Tick(n=-1))
        await board.run()
        with pytest.raises(AssertionError) as caught:
            await board.assert_no_failures()
        assert str(caught.value).splitlines() == [
            "1 run failed:",
            "  'tock' over #1 Tick: ValueError: negative",
        ]
        assert isinstance(caught.value.__cause__, ValueError)


async def test_the_timeline_tells_what_happened_in_board_order() -> None:
    async with ticking(TestBoard()) as board:
        await board.publish(Tick(n=2), tags={"late"})
        await board.run()
        assert [line.partition(" s ")[2] for line in await board.timeline()] == [
            "#1 Tick(n=2) by 'external', tagged late",
            "#2 Tock(n=2) by 'tock'",
            "'tock' ran over #1 and published #2",
            "#3 Count(n=2) by 'count'",
            "'count' ran over #2 and published #3",
        ]


@pytest.mark.parametrize(
    "script",
    [
        lambda: lambda tick: Tock(n=7),
        lambda: [Tock(n=7)],
        lambda: ScriptedEngine([Tock(n=7)]),
    ],
)
async def test_an_agent_is_replaced_for_one_test(script: Callable[[], Any]) -> None:
    flock = Flock(clock=ManualClock(autojump=True))
    flock.agent("tock").calls(tock)
    async with TestBoard(flock).replace("tock", script()) as board:
        await board.publish(Tick(n=-1))
        await board.run()
        await board.assert_published(Tock, where=lambda t: t.n == 7)
    async with TestBoard(flock) as board:
        await board.publish(Tick(n=3))
        await board.run()
        assert (await board.published(Tock))[-1] == Tock(n=3)


async def test_an_agent_of_an_open_board_is_replaced_too() -> None:
    async with ticking(TestBoard()) as board:
        await board.publish(Tick(n=1))
        await board.run()
        board.replace("tock", [Tock(n=8)]).replace("count", lambda tock: Count(n=9))
        await board.publish(Tick(n=1))
        await board.run()
        await board.assert_published(Count, where=lambda c: c.n == 9, count=1)


async def test_an_agent_with_a_model_and_tools_is_replaced() -> None:
    @flock_tool
    def look_up(text: str) -> str:
        return text

    flock = Flock("no-such-provider/model", clock=ManualClock(autojump=True))
    flock.agent("thinker").consumes(Tick).publishes(Tock).with_tools([look_up])
    async with TestBoard(flock).replace("thinker", lambda tick: Tock(n=1)) as board:
        await board.publish(Tick())
        await board.run()
        await board.assert_published(Tock)
    assert [tool.name for tool in flock.get_agent("thinker").tools] == ["look_up"]
    assert flock.get_agent("thinker").function is None


def test_what_cannot_compute_an_agent_is_refused_and_changes_nothing() -> None:
    board = ticking(TestBoard())
    for script in (5, "text", lambda first, second: None):
        with pytest.raises(DeclarationError):
            board.replace("tock", script)  # pyright: ignore[reportArgumentType]
    function = board.flock.get_agent("tock").function
    assert function is not None
    assert function.function is tock
    with pytest.raises(DeclarationError, match="takes a Flock"):
        TestBoard(Flock(), model="test")


async def test_a_new_board_may_have_a_model() -> None:
    async with TestBoard(model="test") as board:
        board.agent("sampler").consumes(Tick).publishes(Tock)
        await board.publish(Tick())
        await board.run()
        await board.assert_published(Tock, by="sampler", count=1)


async def test_leaving_a_failed_test_waits_for_nobody() -> None:
    stuck = asyncio.Event()

    async def wait(tick: Tick) -> None:
        await stuck.wait()

    async def fails() -> None:
        async with TestBoard() as board:
            board.agent("stuck").calls(wait)
            await board.publish(Tick())
            await board.assert_published(Count)

    with pytest.raises(AssertionError, match="no Count"):
        await fails()


async def test_a_join_is_seen_to_wait() -> None:
    async with TestBoard() as board:
        by_n = JoinSpec(by="n", within=5)
        board.agent("pair").consumes(Tick, Tock, join=by_n).calls(lambda a, b: None)
        await board.publish(Tick(n=1))
        report = await board.run()
        assert report.waiting == 1
        await board.assert_ran("pair", times=0)
