"""The board's verbs keep their promises."""

# Agents are short lambdas here.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportOptionalMemberAccess=false

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from flock import (
    AfterVisibility,
    Agent,
    AgentComponent,
    Artifact,
    ArtifactPublished,
    Backoff,
    BatchSpec,
    Board,
    BoardIdle,
    CollectionResult,
    Context,
    DeclarationError,
    EventsMissed,
    Flock,
    FlockError,
    NotIdle,
    OrchestratorComponent,
    PublicVisibility,
    PublishError,
    RunCancelled,
    RunEmitted,
    RunError,
    RunFailed,
    RunQueued,
    RunStarted,
    RunSucceeded,
    RunTimeout,
    Subscription,
    WorkflowError,
    WorkflowIdle,
)
from flock.testing import ManualClock

from .support import drain, engine, ids, turns, until

MODULE = __name__


class Order(BaseModel):
    number: int = 0


class Parcel(BaseModel):
    number: int


class Letter(BaseModel):
    number: int


async def pack(order: Order) -> Parcel:
    return Parcel(number=order.number)


async def fail(order: Order) -> Parcel:
    raise ValueError(order.number)


# --- Construction -------------------------------------------------------------------------


def test_constructing_prints_nothing_and_touches_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    board = Flock("openai/gpt-4.1", name="mine", max_concurrency=3, max_pending=5)
    board.agent("a").consumes(Order).publishes(Parcel)
    assert capsys.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_agent_iterations": 0},
        {"max_concurrency": 0},
        {"max_concurrency": -1},
        {"max_pending": 0},
        {"no_such_option": 1},
    ],
)
def test_senseless_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((FlockError, TypeError)):
        Flock(**wrong)


def test_agents_are_found_by_name_and_a_second_of_one_name_is_an_error() -> None:
    board = Flock()
    board.agent("a").consumes(Order).calls(pack)
    board.agent("b").consumes(Parcel).publishes(Letter)
    assert board.get_agent("a").name == "a"
    assert {getattr(a, "name", a) for a in board.agents} == {"a", "b"}
    with pytest.raises(DeclarationError, match="'a'"):
        board.agent("a")
    with pytest.raises(LookupError, match="nobody"):
        board.get_agent("nobody")


# --- Publishing ---------------------------------------------------------------------------


async def test_every_form_of_publishing_means_the_same() -> None:
    seen: list[int] = []
    async with Flock() as board:
        board.agent("reader").consumes(Order).calls(lambda order: seen.append(order.number))
        published = [
            await board.publish(Order(number=1)),
            await board.publish({"type": f"{MODULE}.Order", "number": 2}),
            await board.publish({"type": f"{MODULE}.Order", "payload": {"number": 3}}),
            await board.publish(Artifact.of(Order(number=4))),
        ]
        await board.run_until_idle()
        assert sorted(seen) == [1, 2, 3, 4]
        assert [a.as_model(Order).number for a in published] == [1, 2, 3, 4]
        assert {a.produced_by for a in published} == {"external"}
        assert len({a.correlation_id for a in published}) == 4
        assert ids(await board.store.list()) == ids(published)


async def test_publishing_an_artifact_keeps_what_it_carries() -> None:
    async with Flock() as board:
        one = Artifact.of(Order(number=1), tags={"x"}, correlation_id="c", partition_key="p")
        artifact = await board.publish(one)
        assert set(artifact.tags) == {"x"}
        assert (artifact.correlation_id, artifact.partition_key) == ("c", "p")


async def test_an_artifact_that_is_already_on_the_board_starts_nothing() -> None:
    seen: list[int] = []
    async with Flock() as board:
        board.agent("reader").consumes(Order).calls(lambda order: seen.append(order.number))
        first = await board.publish(Order(number=1))
        second = await board.publish(first)
        (third,) = await board.publish_many([first])
        await board.run_until_idle()
        assert first.id == second.id == third.id
        assert (first.seq, second.seq, third.seq) == (first.seq,) * 3
        assert seen == [1]
        assert len(await board.store.list()) == 1


async def test_one_unpublished_artifact_published_twice_is_one_artifact() -> None:
    async with Flock() as board:
        artifact = Artifact.of(Order(number=1))
        first = await board.publish(artifact)
        again = await board.publish(artifact)
        both = await board.publish_many([artifact, artifact])
        assert {first.id, again.id, *ids(both)} == {first.id}
        assert len(await board.store.list()) == 1


async def test_publish_returns_when_the_artifact_is_committed_and_agents_run_on_their_own() -> None:
    done = asyncio.Event()

    async def work(order: Order) -> None:
        done.set()

    async with Flock() as board:
        board.agent("work").calls(work)
        artifact = await board.publish(Order())
        assert await board.store.get(artifact.id) is not None
        await done.wait()  # without run_until_idle


async def test_publish_many_commits_all_or_none() -> None:
    seen: list[int] = []
    async with Flock() as board:
        board.agent("reader").consumes(Order).calls(lambda order: seen.append(order.number))
        with pytest.raises(PublishError):
            await board.publish_many([Order(number=1), "not a model", Order(number=2)])  # pyright: ignore[reportArgumentType]
        await board.run_until_idle()
        assert await board.store.list() == []
        assert seen == []
        artifacts = await board.publish_many(
            [Order(number=n) for n in range(3)], correlation_id="c", tags={"t"}
        )
        await board.run_until_idle()
        assert sorted(seen) == [0, 1, 2]
        assert {a.correlation_id for a in artifacts} == {"c"}
        assert all(set(a.tags) == {"t"} for a in artifacts)
        assert [a.as_model(Order).number for a in artifacts] == [0, 1, 2]
        assert [a.seq for a in artifacts] == sorted(a.seq for a in artifacts)
        assert list(await board.publish_many([])) == []


async def test_publish_many_takes_no_idempotency_key() -> None:
    async with Flock() as board:
        with pytest.raises((TypeError, FlockError)):
            await board.publish_many([Order()], idempotency_key="k")  # pyright: ignore[reportCallIssue]
        assert await board.store.list() == []


async def test_what_is_published_without_scheduling_is_stored_and_never_delivered() -> None:
    seen: list[int] = []
    async with Flock() as board:
        board.agent("reader").consumes(Order).calls(lambda order: seen.append(order.number))
        artifact = await board.publish(Order(number=1), schedule_immediately=False)
        report = await board.run_until_idle()
        await board.publish(Order(number=2))
        await board.run_until_idle()
        assert (report.runs, report.waiting) == (0, 0)
        assert seen == [2]
        assert await board.store.get(artifact.id) is not None


async def test_each_root_is_a_workflow_of_its_own_and_what_follows_inherits_it() -> None:
    async with Flock() as board:
        board.agent("pack").calls(pack)
        one, two = await board.publish_many([Order(number=1), Order(number=2)])
        three = await board.publish(Order(number=3), correlation_id="mine")
        await board.run_until_idle()
        assert one.correlation_id == one.id.hex
        assert two.correlation_id == two.id.hex
        assert three.correlation_id == "mine"
        for root in (one, two, three):
            parcels = await board.store.get_by_type(Parcel, correlation_id=root.correlation_id)
            assert parcels == [Parcel(number=root.as_model(Order).number)]


async def test_publishing_from_many_tasks_loses_nothing() -> None:
    async with Flock() as board:
        board.agent("pack").calls(pack)
        await asyncio.gather(*(board.publish(Order(number=n)) for n in range(300)))
        await board.run_until_idle()
        parcels = await board.store.get_by_type(Parcel)
        assert sorted(p.number for p in parcels) == list(range(300))
        seqs = [a.seq for a in await board.store.list()]
        assert len(set(seqs)) == 600
        assert seqs == sorted(seqs)


async def test_two_thousand_at_once_are_each_consumed_once() -> None:
    consumed: Counter[int] = Counter()

    async def work(order: Order) -> Parcel:
        consumed[order.number] += 1
        await asyncio.sleep(0)
        return Parcel(number=order.number)

    async with Flock() as board:
        board.agent("work").calls(work)
        artifacts = await board.publish_many([Order(number=n) for n in range(2000)])
        report = await board.run_until_idle()
        assert report.runs == 2000
        assert (report.failed, report.dead_letters, report.waiting) == (0, 0, 0)
        assert consumed == Counter(range(2000))
        parcels = await board.store.get_by_type(Parcel)
        assert sorted(p.number for p in parcels) == list(range(2000))
        for artifact in artifacts[::100]:
            assert len(await board.store.consumptions(artifact.id)) == 1


# --- Idle ---------------------------------------------------------------------------------


async def test_an_empty_board_is_idle_at_once() -> None:
    async with Flock() as board:
        report = await board.run_until_idle()
        assert (report.runs, report.failed, report.dead_letters, report.waiting) == (0, 0, 0, 0)
        assert report.timed_out is False


async def test_a_report_counts_since_the_last_report() -> None:
    async with Flock() as board:
        board.agent("pack").calls(pack)
        board.agent("fail").calls(fail)
        board.agent("pair").consumes(Order, Letter).calls(lambda a, b: None)
        await board.publish(Order())
        first = await board.run_until_idle()
        assert (first.failed, first.dead_letters, first.waiting) == (1, 1, 1)
        assert first.runs == 2
        second = await board.run_until_idle()
        assert (second.runs, second.failed, second.dead_letters) == (0, 0, 0)
        assert second.waiting == 1
        assert len(await board.dead_letters()) == 1


async def test_several_tasks_may_wait_for_idle_at_once() -> None:
    release = asyncio.Event()

    async def work(order: Order) -> Parcel:
        await release.wait()
        return Parcel(number=order.number)

    async with Flock() as board:
        board.agent("work").calls(work)
        await board.publish(Order())
        waiters = [asyncio.create_task(board.run_until_idle()) for _ in range(10)]
        await turns()
        assert not any(waiter.done() for waiter in waiters)
        release.set()
        reports = await asyncio.gather(*waiters)
        assert not any(report.timed_out for report in reports)
        assert await board.store.get_by_type(Parcel) == [Parcel(number=0)]


async def test_a_cancelled_waiter_disturbs_nobody() -> None:
    release = asyncio.Event()

    async def work(order: Order) -> Parcel:
        await release.wait()
        return Parcel(number=order.number)

    async with Flock() as board:
        board.agent("work").calls(work)
        await board.publish(Order())
        gone = asyncio.create_task(board.run_until_idle())
        other = asyncio.create_task(board.run_until_idle())
        await turns()
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        release.set()
        assert (await other).runs == 1


async def test_failures_come_as_one_exception_group_of_run_errors_with_their_causes() -> None:
    async with Flock() as board:
        board.agent("pack").calls(pack)
        board.agent("fail").calls(fail)
        await board.publish_many([Order(number=7), Order(number=8)])
        with pytest.raises(ExceptionGroup) as failure:
            await board.run_until_idle(raise_on_error=True)
        errors = failure.value.exceptions
        assert len(errors) == 2
        assert all(isinstance(error, RunError) for error in errors)
        assert all("fail" in str(error) for error in errors)
        assert sorted(str(error.__cause__) for error in errors) == ["7", "8"]
        assert all(isinstance(error.__cause__, ValueError) for error in errors)
        report = await board.run_until_idle(raise_on_error=True)  # told once
        assert report.failed == 0
        assert len(await board.store.get_by_type(Parcel)) == 2


async def test_on_timeout_the_report_says_so_and_work_goes_on() -> None:
    clock = ManualClock()
    started = asyncio.Event()
    release = asyncio.Event()

    async def work(order: Order) -> Parcel:
        started.set()
        await release.wait()
        return Parcel(number=order.number)

    async with Flock(clock=clock) as board:
        board.agent("work").calls(work)
        await board.publish(Order())
        waiter = asyncio.create_task(board.run_until_idle(timeout=5))
        await started.wait()
        await clock.advance(timedelta(seconds=4))
        assert not waiter.done()
        await clock.advance(timedelta(seconds=2))
        report = await waiter
        assert report.timed_out is True
        release.set()
        report = await board.run_until_idle(timeout=timedelta(seconds=5))
        assert report.timed_out is False
        assert len(await board.store.get_by_type(Parcel)) == 1


async def test_waiting_for_idle_inside_an_agent_raises_instead_of_hanging() -> None:
    raised: list[type[BaseException]] = []

    async def work(order: Order) -> Parcel:
        try:
            await board.run_until_idle()
        except NotIdle as error:
            raised.append(type(error))
            raise
        return Parcel(number=1)

    async with Flock() as board:
        board.agent("work").calls(work)
        await board.publish(Order())
        report = await board.run_until_idle()
        assert raised == [NotIdle]
        assert report.failed == 1
        (letter,) = await board.dead_letters()
        assert letter.error_type == "NotIdle"


async def test_waiting_for_idle_inside_an_engine_or_a_hook_raises() -> None:
    raised: list[str] = []

    class Waiter(OrchestratorComponent):
        name: str | None = "waiter"

        async def on_idle(self, orchestrator: Any) -> None:
            try:
                await orchestrator.run_until_idle()
            except NotIdle:
                raised.append("hook")

    async def answer(_: Any) -> Parcel:
        try:
            await board.run_until_idle()
        except NotIdle:
            raised.append("engine")
        return Parcel(number=1)

    board = Flock()
    board.add_component(Waiter())
    async with board:
        board.agent("work").consumes(Order).publishes(Parcel).with_engines(engine(answer))
        await board.publish(Order())
        await board.run_until_idle()
        assert "engine" in raised
        assert "hook" in raised


async def test_a_task_started_by_an_agent_does_not_deadlock_the_board_either() -> None:
    async def work(order: Order) -> None:
        with contextlib.suppress(NotIdle):
            await asyncio.create_task(board.run_until_idle())

    async with Flock() as board:
        board.agent("work").calls(work)
        await board.publish(Order())
        await board.run_until_idle()


# --- arun, run, invoke, stream ------------------------------------------------------------


async def test_arun_runs_the_agent_once_commits_both_sides_and_others_run_as_usual() -> None:
    ran: list[str] = []

    async def work(order: Order) -> Parcel:
        ran.append("work")
        return Parcel(number=order.number)

    async with Flock() as board:
        agent = board.agent("work").calls(work)
        board.agent("other").consumes(Order).calls(lambda _: ran.append("other"))
        board.agent("next").consumes(Parcel).calls(lambda _: ran.append("next"))
        outputs = await board.arun(agent, Order(number=3))
        await board.run_until_idle()
        assert [o.as_model(Parcel) for o in outputs] == [Parcel(number=3)]
        assert sorted(ran) == ["next", "other", "work"]
        (order,) = await board.store.list_by_type(Order)
        (parcel,) = await board.store.list_by_type(Parcel)
        assert ids(outputs) == [parcel.id]
        assert parcel.correlation_id == order.correlation_id
        assert list(parcel.parents) == [order.id]
        assert parcel.produced_by == "work"


async def test_arun_takes_a_builder_an_agent_or_a_name() -> None:
    async with Flock() as board:
        builder = board.agent("pack").calls(pack)
        for agent in (builder, board.get_agent("pack"), "pack"):
            assert len(await board.arun(agent, Order())) == 1
        with pytest.raises(LookupError):
            await board.arun("nobody", Order())
        assert len(await board.store.list_by_type(Parcel)) == 3


async def test_arun_with_several_inputs_runs_exactly_once() -> None:
    calls: list[tuple[int, int]] = []

    async def work(order: Order, letter: Letter) -> Parcel:
        calls.append((order.number, letter.number))
        return Parcel(number=1)

    async with Flock() as board:
        board.agent("work").consumes(Order, Letter).calls(work)
        await board.arun("work", Order(number=1), Letter(number=2))
        report = await board.run_until_idle()
        assert calls == [(1, 2)]
        assert report.waiting == 0


async def test_arun_raises_what_the_agent_raised_and_leaves_no_dead_letter() -> None:
    async with Flock() as board:
        board.agent("fail").calls(fail)
        with pytest.raises(ValueError, match="7"):
            await board.arun("fail", Order(number=7))
        await board.run_until_idle()
        assert await board.dead_letters() == []
        assert await board.store.get_by_type(WorkflowError) == []


async def test_an_agent_may_arun_another_on_its_own_slot() -> None:
    async def outer(order: Order) -> Letter:
        (parcel,) = await board.arun("inner", order)
        return Letter(number=parcel.as_model(Parcel).number + 1)

    async with Flock(max_concurrency=1) as board:
        board.agent("inner").consumes(Order, mode="direct").publishes(Parcel).calls(pack)
        board.agent("outer").consumes(Order, tags={"go"}).publishes(Letter).calls(outer)
        await board.publish(Order(number=4), tags={"go"})
        report = await board.run_until_idle()
        assert report.failed == 0
        assert await board.store.get_by_type(Letter) == [Letter(number=5)]
        assert await board.store.get_by_type(Parcel) == [Parcel(number=4)]


async def test_nested_arun_three_deep_does_not_deadlock() -> None:
    async with Flock(max_concurrency=1, max_pending=1) as board:

        def level(n: int) -> Any:
            async def work(order: Order) -> Parcel:
                if n < 3:
                    (parcel,) = await board.arun(f"level{n + 1}", Order(number=order.number + 1))
                    return parcel.as_model(Parcel)
                return Parcel(number=order.number)

            return work

        for n in range(4):
            board.agent(f"level{n}").consumes(Order, tags={str(n)}).publishes(Parcel).calls(
                level(n)
            ).max_concurrency(1)
        await board.publish(Order(), tags={"0"})
        report = await board.run_until_idle()
        assert report.failed == 0
        assert [p.number for p in await board.store.get_by_type(Parcel)] == [3, 3, 3, 3]


def test_run_is_the_same_for_synchronous_callers() -> None:
    board = Flock()
    board.agent("pack").calls(pack)
    board.agent("fail").consumes(Letter).calls(lambda letter: 1 / 0)
    for n in range(2):
        (output,) = board.run("pack", Order(number=n))
        assert output.as_model(Parcel) == Parcel(number=n)
    with pytest.raises(ZeroDivisionError):
        board.run("fail", Letter(number=3))

    async def count() -> int:
        return len(await board.store.list_by_type(Parcel))

    assert asyncio.run(count()) == 2


async def test_run_inside_a_running_loop_is_an_error_that_names_arun() -> None:
    async with Flock() as board:
        board.agent("pack").calls(pack)
        with pytest.raises((RuntimeError, FlockError), match="arun"):
            board.run("pack", Order())


async def test_invoke_runs_without_subscriptions_and_can_leave_the_board_untouched() -> None:
    seen: list[str] = []
    async with Flock() as board:
        board.agent("pack").consumes(Letter).publishes(Parcel).calls(
            lambda order: Parcel(number=order.number)
        )
        board.agent("next").consumes(Parcel).calls(lambda _: seen.append("next"))
        board.agent("other").consumes(Order).calls(lambda _: seen.append("other"))
        outputs = await board.invoke("pack", Order(number=2), publish_outputs=False)
        await board.run_until_idle()
        assert [o.as_model(Parcel) for o in outputs] == [Parcel(number=2)]
        assert await board.store.list() == []
        assert seen == []
        await board.invoke("pack", Order(number=3))
        await board.run_until_idle()
        assert await board.store.get_by_type(Parcel) == [Parcel(number=3)]
        assert await board.store.get_by_type(Order) == []
        assert seen == ["next"]


async def test_invoke_ends_at_its_timeout() -> None:
    clock = ManualClock()
    started = asyncio.Event()
    ended: list[str] = []

    async def work(order: Order) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("ended")

    async with Flock(clock=clock) as board:
        board.agent("work").calls(work)
        call = asyncio.create_task(board.invoke("work", Order(), timeout=5))
        await started.wait()
        await clock.advance(timedelta(seconds=6))
        with pytest.raises(TimeoutError):
            await call
        assert ended == ["ended"]


async def test_the_timeout_of_invoke_counts_the_time_in_the_queue() -> None:
    clock = ManualClock()
    starts: list[int] = []
    release = asyncio.Event()

    async def work(order: Order) -> None:
        starts.append(order.number)
        await release.wait()

    async with Flock(clock=clock) as board:
        board.agent("work").max_concurrency(1).calls(work)
        await board.publish(Order(number=1))
        call = asyncio.create_task(board.invoke("work", Order(number=2), timeout=5))
        await clock.advance(timedelta(seconds=4))
        assert not call.done()
        await clock.advance(timedelta(seconds=2))
        with pytest.raises(RunTimeout, match=r"'work'.* 5 seconds"):
            await call
        release.set()
        await board.run_until_idle()
    assert starts == [1]


async def test_the_timeout_of_invoke_counts_the_time_that_a_full_board_lets_it_wait() -> None:
    clock = ManualClock()
    release = asyncio.Event()
    starts: list[int] = []

    async def work(order: Order) -> None:
        starts.append(order.number)
        await release.wait()

    async with Flock(clock=clock, max_pending=1) as board:
        board.agent("work").calls(work)
        await board.publish(Order(number=1))
        call = asyncio.create_task(board.invoke("work", Order(number=2), timeout=5))
        await clock.advance(timedelta(seconds=6))
        with pytest.raises(RunTimeout, match=r"'work'.* 5 seconds"):
            await call
        release.set()
        await board.publish(Order(number=3))
        await board.run_until_idle()
    assert starts == [1, 3]


async def test_the_timeout_of_invoke_covers_all_attempts_and_their_pauses() -> None:
    clock = ManualClock()
    attempts: list[float] = []

    async def work(order: Order) -> None:
        attempts.append(clock.time())
        raise OSError

    async with Flock(clock=clock) as board:
        board.agent("work").retry(10, backoff=Backoff(initial=2, factor=1, jitter=False)).calls(
            work
        )
        call = asyncio.create_task(board.invoke("work", Order(), timeout=5))
        await clock.advance(timedelta(minutes=1))
        with pytest.raises(RunTimeout):
            await call
        assert len(attempts) == 3  # at 0, 2 and 4 seconds
        assert (await board.run_until_idle()).waiting == 0


async def test_the_timeout_of_invoke_leaves_the_agents_own_in_force() -> None:
    clock = ManualClock(autojump=True)
    errors: list[BaseException] = []

    class Watching(AgentComponent):
        async def on_error(self, agent: Agent, ctx: Context, error: BaseException) -> None:
            errors.append(error)

    async def work(order: Order) -> None:
        await asyncio.Event().wait()

    async with Flock(clock=clock) as board:
        agent = board.agent("work").calls(work).timeout(2).with_utilities(Watching())
        begin = clock.time()
        with pytest.raises(RunTimeout, match="2 seconds"):
            await board.invoke("work", Order(), timeout=60)
        assert clock.time() - begin == 2
        agent.timeout(60)
        with pytest.raises(RunTimeout, match="3 seconds") as caught:
            await board.invoke("work", Order(), timeout=3)
        assert clock.time() - begin == 5
        assert errors[1] is caught.value


async def test_an_invoke_that_ends_in_time_leaves_no_timer_behind() -> None:
    clock = ManualClock()
    async with Flock(clock=clock) as board:
        board.agent("pack").calls(pack)
        [parcel] = await board.invoke("pack", Order(number=7), timeout=5)
        await clock.advance(timedelta(minutes=1))
        assert parcel.as_model(Parcel).number == 7
        assert await board.store.get_by_type(Parcel) == [Parcel(number=7)]


async def test_stream_yields_outputs_as_they_appear_and_commits_them() -> None:
    go_on = asyncio.Event()
    got: list[int] = []

    async def work(order: Order) -> AsyncIterator[Parcel]:
        yield Parcel(number=1)
        await go_on.wait()
        yield Parcel(number=2)

    async with Flock() as board:
        board.agent("work").calls(work)
        async for artifact in board.stream("work", Order()):
            got.append(artifact.as_model(Parcel).number)
            assert await board.store.get(artifact.id) is not None
            go_on.set()
        assert got == [1, 2]
        assert len(await board.store.list_by_type(Order)) == 1


async def test_stream_raises_what_the_agent_raised_after_what_came() -> None:
    async def work(order: Order) -> AsyncIterator[Parcel]:
        yield Parcel(number=1)
        raise KeyError(order.number)

    got: list[Artifact] = []

    async def read() -> None:
        async for artifact in board.stream("work", Order()):
            got.append(artifact)  # noqa: PERF401

    async with Flock() as board:
        board.agent("work").calls(work)
        with pytest.raises(KeyError):
            await read()
        assert len(got) == 1
        await board.run_until_idle()


async def test_leaving_a_stream_early_leaves_nothing_running() -> None:
    closed: list[str] = []

    async def work(order: Order) -> AsyncIterator[Parcel]:
        try:
            for n in range(1000):
                yield Parcel(number=n)
                await asyncio.sleep(0)
        finally:
            closed.append("closed")

    async with Flock() as board:
        board.agent("work").calls(work)
        stream: Any = board.stream("work", Order())
        async for _ in stream:
            break
        await stream.aclose()
        await board.run_until_idle()
        assert closed == ["closed"]


# --- Back-pressure ------------------------------------------------------------------------


async def test_with_max_pending_publishing_from_outside_waits_for_work_to_end() -> None:
    release = asyncio.Semaphore(0)
    done: list[int] = []

    async def work(order: Order) -> None:
        await release.acquire()
        done.append(order.number)

    async with Flock(max_pending=2) as board:
        board.agent("work").calls(work)
        await board.publish(Order(number=0))
        await board.publish(Order(number=1))
        third = asyncio.create_task(board.publish(Order(number=2)))
        await turns()
        assert not third.done()
        assert len(await board.store.list()) == 2
        release.release()
        await third
        for _ in range(2):
            release.release()
        await board.run_until_idle()
        assert sorted(done) == [0, 1, 2]


async def test_back_pressure_never_stops_agents_from_publishing() -> None:
    async def split(order: Order) -> list[Parcel]:
        return [Parcel(number=n) for n in range(50)]

    async def send(parcel: Parcel) -> Letter:
        return Letter(number=parcel.number)

    async with Flock(max_pending=1) as board:
        board.agent("split").calls(split)
        board.agent("send").calls(send)
        for _ in range(3):
            await board.publish(Order())
        await board.run_until_idle()
        assert len(await board.store.get_by_type(Letter)) == 150


async def test_a_publisher_cancelled_while_it_waits_leaves_no_trace() -> None:
    release = asyncio.Event()

    async def work(order: Order) -> None:
        await release.wait()

    async with Flock(max_pending=1) as board:
        board.agent("work").calls(work)
        await board.publish(Order())
        waiting = asyncio.create_task(board.publish(Order(number=1)))
        await turns()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        release.set()
        await board.run_until_idle()
        assert len(await board.store.list()) == 1
        await board.publish(Order(number=2))


async def test_more_publishers_than_places_all_get_through() -> None:
    async with Flock(max_pending=3) as board:
        board.agent("pack").calls(pack)
        await asyncio.gather(*(board.publish(Order(number=n)) for n in range(100)))
        await board.publish_many([Order(number=n) for n in range(100, 120)])
        await board.run_until_idle()
        assert len(await board.store.get_by_type(Parcel)) == 120


async def test_max_concurrency_bounds_the_whole_board() -> None:
    active = 0
    peak = 0

    async def work(order: Order) -> None:
        nonlocal active, peak
        active += 1
        peak = max(peak, active)
        await turns(3)
        active -= 1

    async with Flock(max_concurrency=3) as board:
        for n in range(4):
            board.agent(f"a{n}").consumes(Order).calls(work)
        await board.publish_many([Order(number=n) for n in range(10)])
        report = await board.run_until_idle()
        assert report.runs == 40
        assert peak == 3


# --- Flush, status, cancel ----------------------------------------------------------------


async def test_flush_runs_what_partial_batches_hold() -> None:
    seen: list[list[int]] = []
    async with Flock() as board:
        board.agent("batch").consumes(Order, batch=BatchSpec(size=5)).calls(
            lambda orders: seen.append([o.number for o in orders])
        )
        await board.publish_many([Order(number=n) for n in range(7)])
        report = await board.run_until_idle()
        assert (seen, report.waiting) == ([[0, 1, 2, 3, 4]], 2)
        assert await board.flush() == 1
        report = await board.run_until_idle()
        assert (seen[1:], report.waiting) == ([[5, 6]], 0)
        assert await board.flush() == 0


async def test_status_tells_what_a_workflow_does() -> None:
    release = asyncio.Event()
    started = asyncio.Event()

    async def work(order: Order) -> Parcel:
        started.set()
        await release.wait()
        return Parcel(number=1)

    async with Flock() as board:
        board.agent("work").calls(work)
        board.agent("pair").consumes(Parcel, Letter).calls(lambda a, b: None)
        assert (await board.status("nobody knows")).state == "unknown"
        order = await board.publish(Order())
        await started.wait()
        status = await board.status(order.correlation_id)
        assert (status.state, status.running, status.artifacts) == ("running", 1, 1)
        release.set()
        await board.run_until_idle()
        status = await board.status(order.correlation_id)
        assert (status.state, status.running, status.waiting) == ("waiting", 0, 1)
        assert status.artifacts == 2
        await board.publish(Letter(number=1), correlation_id=order.correlation_id)
        await board.run_until_idle()
        assert (await board.status(order.correlation_id)).state == "idle"


async def test_cancel_ends_what_runs_and_closes_what_waits_in_that_workflow_only() -> None:
    started = 0
    ended: list[str] = []

    async def work(order: Order) -> Parcel:
        nonlocal started
        started += 1
        try:
            await release.wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return Parcel(number=order.number)

    release = asyncio.Event()
    async with Flock() as board:
        board.agent("work").calls(work)
        board.agent("pair").consumes(Order, Letter).calls(lambda a, b: None)
        await board.publish(Order(number=1), correlation_id="one")
        await board.publish(Order(number=2), correlation_id="two")
        await until(lambda: started == 2)
        assert await board.cancel("one") == 2  # one runs, one waits in the gate
        release.set()
        report = await board.run_until_idle()
        assert ended == ["cancelled"]
        assert await board.store.get_by_type(Parcel) == [Parcel(number=2)]
        assert report.waiting == 1
        assert await board.dead_letters() == []
        assert await board.store.get_by_type(WorkflowError) == []
        assert (await board.status("one")).state == "cancelled"
        await board.publish(Letter(number=0), correlation_id="one")
        report = await board.run_until_idle()
        assert report.waiting == 2
        assert await board.cancel("nobody") == 0


async def test_cancel_reaches_queued_runs_and_retries() -> None:
    clock = ManualClock()
    attempts: list[int] = []

    async def work(order: Order) -> None:
        attempts.append(order.number)
        raise ValueError

    async with Flock(clock=clock, max_concurrency=1) as board:
        board.agent("work").calls(work).retry(5, backoff=timedelta(hours=1))
        await board.publish(Order(number=1), correlation_id="c")
        await clock.advance(timedelta(0))
        assert attempts == [1]
        assert await board.cancel("c") == 1
        await board.run_until_idle()
        await clock.advance(timedelta(days=10))
        assert attempts == [1]
        assert await board.dead_letters() == []


@pytest.mark.parametrize("running", [True, False])
async def test_cancelling_one_workflow_never_takes_the_inputs_of_another(running: bool) -> None:
    started = asyncio.Event()
    release = asyncio.Event()
    got: list[list[int]] = []

    async def keep(orders: list[Order]) -> None:
        started.set()
        await release.wait()
        got.append([order.number for order in orders])

    async def block(letter: Letter) -> None:
        await release.wait()

    async with Flock(max_concurrency=1) as board:
        board.agent("block").calls(block)
        board.agent("batch").consumes(Order, batch=BatchSpec(size=2)).calls(keep)
        if not running:
            await board.publish(Letter(number=0))  # the batch has to queue
        await board.publish(Order(number=1), correlation_id="one")
        await board.publish(Order(number=2), correlation_id="two")
        if running:
            await started.wait()
        else:
            await turns()
        assert await board.cancel("one") == 1
        release.set()
        report = await board.run_until_idle()
        assert (got, report.waiting) == ([], 1)
        await board.publish(Order(number=3), correlation_id="three")
        await board.run_until_idle()
        assert got == [[2, 3]]


# --- Dead letters -------------------------------------------------------------------------


async def test_a_dead_letter_keeps_the_inputs_and_redrive_runs_them_under_the_same_run_id() -> None:
    broken = True
    run_ids: list[str] = []

    async def work(order: Order, ctx: Context) -> Parcel:
        run_ids.append(str(ctx.run_id))
        if broken:
            raise KeyError(order.number)
        return Parcel(number=order.number)

    async with Flock() as board:
        board.agent("work").calls(work)
        order = await board.publish(Order(number=4))
        await board.run_until_idle()
        (letter,) = await board.dead_letters()
        assert letter.agent == "work"
        assert letter.error_type == "KeyError"
        assert "4" in letter.error_message
        assert ids(letter.artifacts) == [order.id]
        assert letter.correlation_id == order.correlation_id
        assert letter.attempt == 1
        assert str(letter.run_id) == run_ids[0]

        await board.redrive(letter.id)
        await board.run_until_idle()
        (again,) = await board.dead_letters()
        broken = False
        await board.redrive(again.id)
        assert await board.dead_letters() == []
        report = await board.run_until_idle()
        assert report.failed == 0
        assert len(set(run_ids)) == 1
        assert len(run_ids) == 3
        (parcel,) = await board.store.list_by_type(Parcel)
        assert list(parcel.parents) == [order.id]


async def test_redriving_what_is_not_a_dead_letter_is_an_error() -> None:
    async with Flock() as board:
        board.agent("fail").calls(fail)
        await board.publish(Order())
        await board.run_until_idle()
        (letter,) = await board.dead_letters()
        await board.redrive(letter.id)
        with pytest.raises((FlockError, LookupError)):
            await board.redrive(letter.id)
        await board.run_until_idle()


async def test_two_redrives_at_once_run_it_once() -> None:
    broken = True
    calls = 0

    async def work(order: Order) -> Parcel:
        nonlocal calls
        calls += 1
        if broken:
            raise ValueError
        return Parcel(number=1)

    async with Flock() as board:
        board.agent("work").calls(work)
        await board.publish(Order())
        await board.run_until_idle()
        broken = False
        (letter,) = await board.dead_letters()
        await asyncio.gather(*(board.redrive(letter.id) for _ in range(5)), return_exceptions=True)
        await board.run_until_idle()
        assert calls == 2
        assert len(await board.store.get_by_type(Parcel)) == 1


# --- Opening and closing ------------------------------------------------------------------


def test_a_board_is_usable_in_a_second_event_loop() -> None:
    board = Flock()
    board.agent("pack").calls(pack)

    async def managed(n: int) -> int:
        async with board:
            await board.publish(Order(number=n))
            await board.run_until_idle()
            return len(await board.store.list_by_type(Parcel))

    async def unmanaged(n: int) -> int:
        await board.publish(Order(number=n))
        await board.run_until_idle()
        return len(await board.store.list_by_type(Parcel))

    assert asyncio.run(managed(1)) == 1
    assert asyncio.run(managed(2)) == 2
    assert asyncio.run(unmanaged(3)) == 3
    assert asyncio.run(unmanaged(4)) == 4
    assert asyncio.run(managed(5)) == 5


async def test_the_first_await_opens_the_board_and_shutdown_closes_it() -> None:
    calls: list[str] = []

    class Watch(OrchestratorComponent):
        name: str | None = "watch"

        async def on_initialize(self, orchestrator: Any) -> None:
            calls.append("open")

        async def on_shutdown(self, orchestrator: Any) -> None:
            calls.append("close")

    board = Flock()
    board.add_component(Watch())
    board.agent("pack").calls(pack)
    assert calls == []
    await board.publish(Order())
    assert calls == ["open"]
    await board.run_until_idle()
    await board.shutdown()
    assert calls == ["open", "close"]
    await board.shutdown()
    assert calls == ["open", "close"]
    await board.publish(Order(number=2))
    await board.run_until_idle()
    await board.shutdown()
    assert calls == ["open", "close", "open", "close"]


async def test_shutdown_waits_for_running_work_within_its_grace() -> None:
    started = asyncio.Event()
    finished: list[int] = []

    async def work(order: Order) -> Parcel:
        started.set()
        await turns(20)
        finished.append(order.number)
        return Parcel(number=order.number)

    board = Flock()
    board.agent("work").calls(work)
    await board.publish(Order())
    await started.wait()
    await board.shutdown(grace=30.0)
    assert finished == [0]


async def test_shutdown_cancels_what_outlives_its_grace_and_reopening_runs_it_again() -> None:
    started = asyncio.Event()
    calls: list[str] = []
    release = asyncio.Event()

    async def work(order: Order) -> Parcel:
        started.set()
        calls.append("start")
        try:
            await release.wait()
        except asyncio.CancelledError:
            calls.append("cancelled")
            raise
        return Parcel(number=order.number)

    board = Flock()
    board.agent("work").calls(work)
    board.agent("pair").consumes(Order, Letter).calls(lambda a, b: Parcel(number=99))
    order = await board.publish(Order(number=5))
    await started.wait()
    await board.shutdown(grace=0.0)
    assert calls == ["start", "cancelled"]
    release.set()
    async with board:
        await board.publish(Letter(number=1), correlation_id=order.correlation_id)
        report = await board.run_until_idle()
        assert report.failed == 0
        parcels = await board.store.get_by_type(Parcel)
        assert sorted(p.number for p in parcels) == [5, 99]
        assert await board.dead_letters() == []
    assert calls == ["start", "cancelled", "start"]


async def test_an_error_inside_the_context_manager_comes_out_and_closes_the_board() -> None:
    closed: list[str] = []

    class Watch(OrchestratorComponent):
        name: str | None = "watch"

        async def on_shutdown(self, orchestrator: Any) -> None:
            closed.append("closed")

    board = Flock()
    board.add_component(Watch())
    with pytest.raises(ZeroDivisionError):
        async with board:
            raise ZeroDivisionError
    assert closed == ["closed"]


async def test_two_first_awaits_at_once_open_the_board_once() -> None:
    opened: list[str] = []

    class Slow(OrchestratorComponent):
        name: str | None = "slow"

        async def on_initialize(self, orchestrator: Any) -> None:
            await turns(5)
            opened.append("open")

    board = Flock()
    board.add_component(Slow())
    board.agent("pack").calls(pack)
    await asyncio.gather(*(board.publish(Order(number=n)) for n in range(5)))
    await board.run_until_idle()
    assert opened == ["open"]
    assert len(await board.store.get_by_type(Parcel)) == 5
    await board.shutdown()


async def test_an_agent_declared_on_an_open_board_takes_part() -> None:
    async with Flock() as board:
        await board.publish(Order(number=1))
        await board.run_until_idle()
        board.agent("pack").calls(pack)
        await board.publish(Order(number=2))
        await board.run_until_idle()
        assert await board.store.get_by_type(Parcel) == [Parcel(number=2)]


# --- Events -------------------------------------------------------------------------------


async def test_events_tell_the_way_of_an_artifact_in_order() -> None:
    async def work(order: Order, ctx: Context) -> Parcel:
        ctx.emit("half")
        return Parcel(number=1)

    board = Flock()
    board.agent("work").calls(work)
    stream = board.events()
    order = await board.publish(Order())
    await board.run_until_idle()
    (parcel,) = await board.store.list_by_type(Parcel)
    events = [
        event
        for event in await drain(board, stream)
        if isinstance(event, ArtifactPublished | RunQueued | RunStarted | RunEmitted | RunSucceeded)
    ]
    kinds = [type(event) for event in events if event.correlation_id == order.correlation_id]
    assert kinds[0] is ArtifactPublished
    assert Counter(kinds) == Counter(
        [ArtifactPublished, RunQueued, RunStarted, RunEmitted, RunSucceeded, ArtifactPublished]
    )
    assert kinds.index(RunQueued) < kinds.index(RunStarted) < kinds.index(RunEmitted)
    assert kinds.index(RunEmitted) < kinds.index(RunSucceeded)
    (started,) = [e for e in events if isinstance(e, RunStarted)]
    assert (started.agent, started.attempt) == ("work", 1)
    assert list(started.artifact_ids) == [order.id]
    (emitted,) = [e for e in events if isinstance(e, RunEmitted)]
    assert (emitted.delta, emitted.run_id) == ("half", started.run_id)
    (succeeded,) = [e for e in events if isinstance(e, RunSucceeded)]
    assert ids(succeeded.outputs) == [parcel.id]
    published = [e.artifact.id for e in events if isinstance(e, ArtifactPublished)]
    assert published == [order.id, parcel.id]
    assert all(e.at.tzinfo is not None for e in events)


async def test_events_tell_idle_of_a_workflow_and_of_the_board() -> None:
    board = Flock()
    board.agent("pack").calls(pack)
    stream = board.events()
    await board.publish(Order(), correlation_id="c")
    await board.run_until_idle()
    kinds = [(type(e), e.correlation_id) for e in await drain(board, stream)]
    assert (WorkflowIdle, "c") in kinds
    assert (BoardIdle, None) in kinds


async def test_events_of_one_workflow_only() -> None:
    board = Flock()
    board.agent("pack").calls(pack)
    stream = board.events(correlation_id="mine")
    await board.publish(Order(number=1), correlation_id="mine")
    await board.publish(Order(number=2), correlation_id="other")
    await board.run_until_idle()
    events = await drain(board, stream)
    assert events
    assert {e.correlation_id for e in events} == {"mine"}


async def test_events_name_failures_and_cancellations() -> None:
    started = asyncio.Event()

    async def hang(order: Order) -> None:
        started.set()
        await asyncio.Event().wait()

    board = Flock()
    board.agent("fail").consumes(Order, tags={"f"}).calls(fail)
    board.agent("hang").consumes(Order, tags={"h"}).calls(hang)
    stream = board.events()
    await board.publish(Order(number=1), tags={"f"})
    await board.publish(Order(number=2), tags={"h"}, correlation_id="h")
    await started.wait()
    await board.cancel("h")
    await board.run_until_idle()
    events = await drain(board, stream)
    (failed,) = [e for e in events if isinstance(e, RunFailed)]
    assert failed.agent == "fail"
    assert isinstance(failed.error, ValueError | RunError)
    (cancelled,) = [e for e in events if isinstance(e, RunCancelled)]
    assert (cancelled.agent, cancelled.correlation_id) == ("hang", "h")


async def test_every_listener_sees_everything_and_one_may_leave() -> None:
    board = Flock()
    board.agent("pack").calls(pack)
    streams = [board.events() for _ in range(3)]
    leaving: Any = board.events()
    await board.publish(Order())
    assert isinstance(await anext(leaving), ArtifactPublished)
    await leaving.aclose()
    await board.run_until_idle()
    await board.shutdown()
    seen = [[type(e) async for e in stream] for stream in streams]
    assert seen[0] == seen[1] == seen[2]
    assert [e async for e in leaving] == []


async def test_a_listener_that_waits_is_woken_by_the_next_event() -> None:
    async with Flock() as board:
        stream: Any = board.events()
        waiting = asyncio.create_task(anext(stream))
        await turns()
        assert not waiting.done()
        artifact = await board.publish(Order())
        event = await waiting
        assert isinstance(event, ArtifactPublished)
        assert event.artifact.id == artifact.id
        await stream.aclose()


async def test_a_slow_listener_gets_all_that_lasts_and_is_told_what_it_missed_of_the_rest() -> None:
    def count(order: Order, ctx: Context) -> None:
        for n in range(12_000):
            ctx.emit(n)

    board = Flock()
    board.agent("count").consumes(Order, tags={"c"}).calls(count)
    stream = board.events()
    for _ in range(3):
        await board.publish_many([Order(number=n) for n in range(4000)])
    await board.publish(Order(), tags={"c"})
    await board.run_until_idle()
    events = await drain(board, stream)
    seen = [e.artifact.as_model(Order).number for e in events if isinstance(e, ArtifactPublished)]
    assert seen[:-1] == [*range(4000)] * 3
    (missed,) = [e for e in events if isinstance(e, EventsMissed)]
    emitted = [e.delta for e in events if isinstance(e, RunEmitted)]
    assert missed.count >= 2000
    assert emitted == list(range(12_000))[-len(emitted) :]  # the newest are kept
    passing = [e for e in events if isinstance(e, RunQueued | RunStarted)]
    assert len(emitted) <= 10_000
    assert missed.count + len(emitted) + len(passing) >= 12_000


# --- Components of the board --------------------------------------------------------------


async def test_a_component_sees_the_accepted_artifact_and_decides_what_is_stored() -> None:
    seen: list[set[str]] = []

    class Tagger(OrchestratorComponent):
        name: str | None = "tagger"

        async def on_artifact_published(
            self, orchestrator: Any, artifact: Artifact
        ) -> Artifact | None:
            assert await orchestrator.store.get(artifact.id) is None
            if "drop" in artifact.tags:
                return None
            return artifact.replace(tags={*artifact.tags, "seen"})

    board = Flock()
    board.add_component(Tagger())
    async with board:
        board.agent("reader").consumes(Order, tags={"seen"}).publishes(Parcel).calls(
            lambda order: Parcel(number=order.number)
        )
        board.agent("all").consumes(Order).calls(lambda _: seen.append(set()))
        first = await board.publish(Order(number=1))
        dropped = await board.publish(Order(number=2), tags={"drop"})
        await board.run_until_idle()
        assert set(first.tags) == {"seen"}
        assert await board.store.get(dropped.id) is not None
        (parcel,) = await board.store.list_by_type(Parcel)
        assert set(parcel.tags) == {"seen"}
        assert len(seen) == 1


async def test_on_before_agent_schedule_may_change_or_stop_what_an_agent_gets() -> None:
    got: list[int] = []

    class Stop(OrchestratorComponent):
        name: str | None = "stop"

        async def on_before_agent_schedule(
            self, orchestrator: Any, agent: Agent, artifacts: list[Artifact]
        ) -> list[Artifact] | None:
            kept = [a for a in artifacts if a.as_model(Order).number != 1]
            return kept or None

    board = Flock()
    board.add_component(Stop())
    async with board:
        board.agent("reader").consumes(Order).calls(lambda o: got.append(o.number))
        await board.publish_many([Order(number=n) for n in range(3)])
        report = await board.run_until_idle()
        assert sorted(got) == [0, 2]
        assert report.failed == 0


# --- Closing while somebody waits ---------------------------------------------------------


async def hang(order: Order) -> None:
    await asyncio.Event().wait()


async def test_nobody_who_waits_on_a_board_hangs_when_it_closes() -> None:
    board = Flock(max_pending=1)
    board.agent("hang").calls(hang)
    stream: Any = board.events()
    await board.publish(Order())

    async def listen() -> list[Any]:
        return [event async for event in stream]

    waiters = [
        asyncio.create_task(board.run_until_idle()),
        asyncio.create_task(board.publish(Order(number=2))),
        asyncio.create_task(board.arun("hang", Order())),
        asyncio.create_task(listen()),
    ]
    await turns()
    assert not any(waiter.done() for waiter in waiters)
    await board.shutdown(grace=0.0)
    done, pending = await asyncio.wait(waiters, timeout=10)
    assert not pending
    assert len(done) == 4


async def test_an_agent_that_closes_its_own_board_does_not_hang() -> None:
    async def close(order: Order) -> None:
        await board.shutdown(grace=0.0)

    board = Flock()
    board.agent("close").calls(close)
    await board.publish(Order())
    with contextlib.suppress(NotIdle):  # who waits is told that it was closed
        await asyncio.wait_for(board.run_until_idle(timeout=5), 20)
    await asyncio.wait_for(board.shutdown(grace=0.0), 20)


async def test_deadlines_that_passed_while_the_board_was_closed_happen_when_it_opens() -> None:
    clock = ManualClock()
    seen: list[str] = []
    attempts: list[int] = []

    async def flaky(letter: Letter) -> None:
        attempts.append(letter.number)
        if len(attempts) == 1:
            raise ValueError

    board = Flock(clock=clock)
    board.agent("batch").consumes(Order, batch=BatchSpec(timeout=60)).calls(
        lambda orders: seen.append(f"batch of {len(orders)}")
    )
    board.agent("later").consumes(Parcel).calls(lambda _: seen.append("opened"))
    board.agent("flaky").calls(flaky).retry(2, backoff=timedelta(seconds=60))
    await board.publish(Order())
    await board.publish(
        Parcel(number=1),
        visibility=AfterVisibility(ttl=timedelta(seconds=60), then=PublicVisibility()),
    )
    await board.publish(Letter(number=1))
    await clock.advance(timedelta(0))
    await board.shutdown()
    await clock.advance(timedelta(minutes=10))
    assert seen == []
    async with board:
        report = await board.run_until_idle()
        assert sorted(seen) == ["batch of 1", "opened"]
        assert attempts == [1, 1]
        assert (report.waiting, len(await board.dead_letters())) == (0, 0)


async def test_deadlines_ahead_survive_closing_and_opening() -> None:
    clock = ManualClock()
    seen: list[int] = []
    board = Flock(clock=clock)
    board.agent("batch").consumes(Order, batch=BatchSpec(timeout=60)).calls(
        lambda orders: seen.append(len(orders))
    )
    await board.publish(Order())
    await clock.advance(timedelta(seconds=30))
    await board.shutdown()
    async with board:
        await board.publish(Order())
        await clock.advance(timedelta(seconds=29))
        assert seen == []
        await clock.advance(timedelta(seconds=2))
        assert seen == [2]


# --- arun, once more ----------------------------------------------------------------------


async def test_arun_does_not_wait_for_gates_and_takes_nothing_from_them() -> None:
    got: list[list[int]] = []
    async with Flock() as board:
        board.agent("batch").consumes(Order, batch=BatchSpec(size=3)).calls(
            lambda orders: got.append([o.number for o in orders])
        )
        await board.publish(Order(number=1))
        await board.arun("batch", Order(number=7))
        assert got == [[7]]
        report = await board.run_until_idle()
        assert report.waiting == 1
        await board.publish_many([Order(number=2), Order(number=3)])
        await board.run_until_idle()
        assert got == [[7], [1, 2, 3]]


async def test_arun_follows_the_agents_retries_and_timeout() -> None:
    attempts: list[int] = []

    async def work(order: Order, ctx: Context) -> Parcel:
        attempts.append(ctx.attempt)
        if order.number == 0:
            await asyncio.Event().wait()
        if ctx.attempt == 1:
            raise ValueError
        return Parcel(number=ctx.attempt)

    async with Flock(clock=ManualClock(autojump=True)) as board:
        board.agent("work").calls(work).retry(2).timeout(5)
        (parcel,) = await board.arun("work", Order(number=1))
        assert parcel.as_model(Parcel).number == 2
        with pytest.raises(TimeoutError):
            await board.arun("work", Order(number=0))
        assert attempts == [1, 2, 1, 2]


async def test_arun_takes_an_artifact_that_is_on_the_board_and_does_not_store_it_twice() -> None:
    async with Flock() as board:
        board.agent("pack").consumes(Order, mode="direct").calls(pack)
        order = await board.publish(Order(number=3))
        (parcel,) = await board.arun("pack", order)
        assert list(parcel.parents) == [order.id]
        assert parcel.correlation_id == order.correlation_id
        assert len(await board.store.list()) == 2


async def test_a_board_that_is_closing_can_be_asked_and_told_to_cancel() -> None:
    started, release = asyncio.Event(), asyncio.Event()
    seen: list[int] = []

    async def work(order: Order) -> None:
        started.set()
        await release.wait()
        seen.append(order.number)

    board = Flock()
    board.agent("work").max_concurrency(1).calls(work)
    running = await board.publish(Order(number=1))
    queued = await board.publish(Order(number=2))
    await started.wait()
    closing = asyncio.create_task(board.shutdown(grace=30.0))
    await turns()
    assert (await board.status(running.correlation_id)).running == 1
    assert (await board.status(queued.correlation_id)).queued == 1
    assert await board.dead_letters() == []
    with pytest.raises(NotIdle, match=r"shutting down.* before the shutdown"):
        await board.run_until_idle()
    assert await board.cancel(queued.correlation_id) == 1
    assert (await board.status(queued.correlation_id)).state == "cancelled"
    release.set()
    await closing
    async with board:
        await board.run_until_idle()
    assert seen == [1]


async def test_cancelling_what_a_shutdown_is_cancelling_closes_it_for_good() -> None:
    started, stopping, release = asyncio.Event(), asyncio.Event(), asyncio.Event()
    starts: list[int] = []

    async def stubborn(order: Order) -> None:
        starts.append(order.number)
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopping.set()
            await release.wait()

    board = Flock()
    board.agent("stubborn").calls(stubborn)
    order = await board.publish(Order(number=1))
    await started.wait()
    closing = asyncio.create_task(board.shutdown(grace=0.0))
    await stopping.wait()
    cancelling = asyncio.create_task(board.cancel(order.correlation_id))
    await turns()
    release.set()
    assert await cancelling == 1
    await closing
    async with board:
        await board.run_until_idle()
    assert starts == [1]


async def test_work_that_a_shutdown_cancels_is_not_taken_for_done() -> None:
    started = asyncio.Event()

    async def work(order: Order) -> None:
        started.set()
        await asyncio.Event().wait()

    board = Flock()
    board.agent("work").calls(work)
    stream = board.events()
    await board.publish(Order())
    waiting = asyncio.create_task(board.run_until_idle())
    await started.wait()
    await board.shutdown(grace=0.0)
    with pytest.raises(NotIdle, match="shut down before it became idle"):
        await waiting
    assert not any(isinstance(event, BoardIdle) for event in await drain(board, stream))


async def test_who_waits_for_idle_hears_of_it_when_a_closing_board_becomes_idle() -> None:
    started, release = asyncio.Event(), asyncio.Event()

    async def work(order: Order) -> None:
        started.set()
        await release.wait()

    board = Flock()
    board.agent("work").calls(work)
    await board.publish(Order())
    waiting = asyncio.create_task(board.run_until_idle())
    await started.wait()
    closing = asyncio.create_task(board.shutdown(grace=30.0))
    await turns()
    release.set()
    assert (await waiting).runs == 1
    await closing


async def test_a_board_that_is_closing_takes_nothing_in_and_finishes_what_it_has() -> None:
    started = asyncio.Event()
    release = asyncio.Event()
    seen: list[int] = []

    async def work(order: Order) -> Parcel:
        started.set()
        await release.wait()
        return Parcel(number=order.number)

    board = Flock()
    board.agent("work").calls(work)
    board.agent("next").consumes(Parcel).calls(lambda p: seen.append(p.number))
    await board.publish(Order(number=1))
    await started.wait()
    closing = asyncio.create_task(board.shutdown(grace=30.0))
    await turns()
    with pytest.raises(PublishError):
        await board.publish(Order(number=2))
    release.set()
    await closing
    async with board:
        await board.run_until_idle()
        assert seen == [1]
        assert len(await board.store.list()) == 2


@pytest.mark.parametrize("verb", ["arun", "invoke", "stream"])
async def test_an_agent_called_as_the_board_closes_is_refused_and_does_not_hold_it(
    verb: str,
) -> None:
    refused: list[Exception] = []

    class Late(OrchestratorComponent):
        async def on_shutdown(self, orchestrator: Board) -> None:
            await orchestrator.publish(Letter(number=1))
            try:
                if verb == "stream":
                    await anext(orchestrator.stream("pack", Order()))
                else:
                    await getattr(orchestrator, verb)("pack", Order())
            except PublishError as error:
                refused.append(error)

    board = Flock().add_component(Late())
    board.agent("pack").calls(pack)
    async with board:
        pass
    assert "'pack' was called while the board shuts down" in str(refused[0])
    assert [a.type for a in await board.store.list()] == [f"{MODULE}.Letter"]


async def test_what_a_component_had_collected_goes_back_to_it_when_its_group_is_cancelled() -> None:
    got: list[list[int]] = []
    release = asyncio.Event()

    class Pairs(OrchestratorComponent):
        seen: list[Artifact]

        async def on_collect_artifacts(
            self, orchestrator: Board, artifact: Artifact, agent: Agent, subscription: Subscription
        ) -> CollectionResult:
            self.seen.append(artifact)
            if len(self.seen) < 2:
                return CollectionResult()
            pair, self.seen = self.seen, []
            return CollectionResult(pair, complete=True)

    pairs = Pairs()
    pairs.seen = []

    async def work(orders: list[Order]) -> None:
        got.append([order.number for order in orders])
        await release.wait()

    async with Flock().add_component(pairs) as board:
        board.agent("work").consumes(Order).calls(work)
        first = await board.publish(Order(number=1))
        second = await board.publish(Order(number=2))
        await until(lambda: got == [[1, 2]])
        assert await board.cancel(first.correlation_id) == 1
        release.set()
        assert (await board.run_until_idle()).waiting == 1
        assert [a.id for a in pairs.seen] == [second.id]
        await board.publish(Order(number=3))
        await board.run_until_idle()
    assert got == [[1, 2], [2, 3]]
