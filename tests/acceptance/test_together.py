"""What a user may say about time and control holds of all of it together."""

# Agents and predicates are short lambdas here.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from flock import (
    AfterVisibility,
    Application,
    Artifact,
    Backoff,
    BatchSpec,
    CollectionResult,
    Context,
    DeclarationError,
    Flock,
    JoinSpec,
    NotFound,
    NotIdle,
    OrchestratorComponent,
    PublicVisibility,
    QuestionAnswered,
    QuestionAsked,
    RunError,
    RunQueued,
    ScheduleDecision,
    ScheduleFired,
    SQLiteBlackboardStore,
    Until,
    When,
    WorkflowCancelled,
    WorkflowPaused,
    WorkflowResumed,
    WorkflowTimeout,
    export_board,
    import_board,
)
from flock.clock import TimerHandle
from flock.testing import ManualClock, TestBoard
from tests.acceptance.support import until

MINUTE = timedelta(minutes=1)


class Order(BaseModel):
    n: int = 0


class Part(BaseModel):
    n: int = 0


class Consent(BaseModel):
    n: int = 0


class Done(BaseModel):
    n: int = 0


def board(**options: Any) -> Flock:
    return Flock(no_output=True, clock=ManualClock(), **options)


def moving(flock: Flock) -> ManualClock:
    assert isinstance(flock.clock, ManualClock)
    return flock.clock


def writing(flock: Flock, name: str = "work", **consumes: Any) -> tuple[Any, list[int]]:
    """Declare an agent that writes down what it got; return it and that."""
    seen: list[int] = []

    async def work(order: Order) -> Done:
        seen.append(order.n)
        return Done(n=order.n)

    return flock.agent(name).consumes(Order, **consumes).publishes(Done).calls(work), seen


def asking(flock: Flock, **options: Any) -> Any:
    agent = flock.agent("person").consumes(Order).publishes(Consent)
    return agent.asks_human(question="May it be?", **options)


def ticking(flock: Flock, name: str = "clockwork", **schedule: Any) -> list[int]:
    seen: list[int] = []

    async def tick(ctx: Context) -> Order:
        seen.append(ctx.iteration)
        return Order(n=ctx.iteration)

    flock.agent(name).publishes(Order).calls(tick).schedule(**schedule)
    return seen


async def told(flock: Flock, *kinds: Any) -> list[Any]:
    """Close the board, open it again, and return its lasting events, oldest first."""
    stream = flock.events(after=0, kinds=kinds or None)
    async with flock:
        pass
    return [event async for event in stream]


# --- pausing and conditions ----------------------------------------------------------------


async def test_a_condition_that_comes_true_while_its_workflow_is_paused_starts_nothing() -> None:
    flock = board()
    _, seen = writing(flock, activation=When.correlation(Part).count_at_least(2))
    async with flock:
        await flock.publish(Order(n=1), correlation_id="w")
        await flock.publish(Order(n=2), correlation_id="other")
        await flock.run_until_idle()
        await flock.pause("w")
        for _ in range(2):
            await flock.publish(Part(), correlation_id="w")
            await flock.publish(Part(), correlation_id="other")
        report = await flock.run_until_idle()
        assert (seen, report.waiting) == ([2], 1)
        await flock.publish(Order(n=3), correlation_id="w")
        assert (await flock.status("w")).state == "paused"
        await flock.resume("w")
        report = await flock.run_until_idle()
        assert (seen, report.waiting) == ([2, 1, 3], 0)


async def test_what_waits_for_a_condition_of_a_paused_workflow_goes_on_after_a_restart() -> None:
    flock = board()
    _, seen = writing(flock, activation=When.correlation(Part).count_at_least(2))
    async with flock:
        await flock.publish(Order(n=1), correlation_id="w")
        await flock.publish(Part(), correlation_id="w")
        await flock.pause("w")
        await flock.publish(Order(n=2), correlation_id="w")
    async with flock:
        await flock.publish(Part(), correlation_id="w")
        assert (await flock.run_until_idle()).waiting == 2
        assert not seen
    async with flock:
        assert (await flock.status("w")).waiting == 2
        await flock.resume("w")
        assert (await flock.run_until_idle()).waiting == 0
        assert seen == [1, 2]


async def test_a_paused_workflow_that_waits_for_a_condition_can_be_cancelled() -> None:
    flock = board()
    _, seen = writing(flock, activation=When.correlation(Part).exists())
    async with flock:
        await flock.publish_many([Order(n=n) for n in range(1000)], correlation_id="w")
        await flock.publish(Order(n=-1), correlation_id="other")
        await flock.pause("w")
        await flock.publish(Part(), correlation_id="w")
        assert await flock.cancel("w") == 1000
        await flock.publish(Part(), correlation_id="w")
        await flock.publish(Part(), correlation_id="other")
        assert (await flock.run_until_idle()).waiting == 0
        assert seen == [-1]


async def test_until_counts_what_is_paused_as_no_open_work() -> None:
    flock = board()
    _, seen = writing(flock)
    async with flock:
        await flock.pause("w")
        await flock.publish(Order(n=1), correlation_id="w")
        assert await flock.run_until(Until.idle(), timeout=0)
        assert await flock.run_until(Until.no_pending_work() & ~Until.exists(Done), timeout=0)
        waiter = asyncio.ensure_future(flock.run_until(Until.exists(Done) & Until.idle()))
        await moving(flock).settle()
        await flock.resume("w")
        assert await asyncio.wait_for(waiter, 10)
        assert seen == [1]


# --- pausing and schedules -----------------------------------------------------------------


async def test_a_tick_whose_workflow_is_paused_holds_neither_the_board_nor_other_schedules() -> (
    None
):
    flock = board()
    open_door = asyncio.Event()
    workflows: list[str] = []
    began: list[int] = []

    async def tick(ctx: Context) -> Order:
        workflows.append(ctx.correlation_id)
        if ctx.attempt == 1 and ctx.iteration == 1:
            await open_door.wait()
            msg = "try again"
            raise RuntimeError(msg)
        began.append(ctx.iteration)
        return Order(n=ctx.iteration)

    flock.agent("clockwork").publishes(Order).calls(tick).schedule(
        every=MINUTE, max_repeats=2
    ).retry(3, backoff=10)
    other = ticking(flock, "other", every=MINUTE, max_repeats=3)
    async with flock:
        await moving(flock).advance(MINUTE)
        await flock.pause(workflows[0])
        open_door.set()
        await moving(flock).settle()
        await moving(flock).advance(10 * MINUTE)
        assert (began, other) == ([], [1, 2, 3])
        assert (await flock.status(workflows[0])).state == "paused"
        report = await flock.run_until_idle(timeout=3600)
        assert not report.timed_out
        assert report.waiting == 1
        await flock.resume(workflows[0])
        await moving(flock).advance(10 * MINUTE)
        assert began == [1, 2]
        assert not (await flock.run_until_idle()).waiting


async def test_a_paused_tick_is_cancelled_and_the_next_one_comes() -> None:
    flock = board()
    agents = flock.agent("slow").consumes(Order).publishes(Done)
    agents.calls(lambda order: Done(n=order.n))
    seen = ticking(flock, every=MINUTE, max_repeats=3)
    async with flock:
        await moving(flock).advance(MINUTE)
        (order,) = await flock.store.list_by_type(Order)
        await flock.pause(order.correlation_id)
        await moving(flock).advance(MINUTE)
        assert seen == [1, 2]
        await flock.cancel(order.correlation_id)
        await moving(flock).advance(MINUTE)
        assert seen == [1, 2, 3]
        assert not (await flock.run_until_idle()).waiting


# --- pausing and people --------------------------------------------------------------------


async def test_a_question_of_a_paused_workflow_may_be_answered_and_what_follows_waits() -> None:
    flock = board()
    asking(flock)
    after: list[int] = []
    flock.agent("after").consumes(Consent).calls(lambda consent: after.append(consent.n))
    async with flock:
        await flock.publish(Order(n=1), correlation_id="w")
        await flock.run_until_idle()
        await flock.pause("w")
        (question,) = await flock.questions("w")
        assert (await flock.status("w")).state == "paused"
        await flock.answer(question.id, Consent(n=1))
        assert (await flock.run_until_idle()).waiting == 1
        assert not after
        await flock.publish(Order(n=2), correlation_id="w")
        assert (await flock.run_until_idle()).waiting == 2
        assert await flock.questions() == []
        await flock.resume("w")
        report = await flock.run_until_idle()
        assert after == [1]
        (question,) = await flock.questions("w")
        assert (report.waiting, question.inputs[0].as_model(Order).n) == (1, 2)
        await flock.pause("w")
        assert await flock.cancel("w") == 1
        assert await flock.questions() == []
        with pytest.raises(NotFound):
            await flock.answer(question.id, Consent())
        assert (await flock.run_until_idle()).waiting == 0


async def test_questions_of_a_paused_workflow_are_there_after_a_restart_and_can_be_cancelled() -> (
    None
):
    flock = board()
    asking(flock)
    async with flock:
        await flock.publish(Order(n=1), correlation_id="w")
        await flock.publish(Order(n=2), correlation_id="other")
        await flock.run_until_idle()
        await flock.pause("w")
        await flock.publish(Order(n=3), correlation_id="w")
    async with flock:
        assert (await flock.run_until_idle()).waiting == 3
        assert len(await flock.questions("w")) == 1
        assert (await flock.status("w")).state == "paused"
        assert await flock.cancel("w") == 2
        assert (await flock.status("w")).state == "cancelled"
        (question,) = await flock.questions()
        assert question.correlation_id == "other"
    async with flock:
        assert len(await flock.questions()) == 1
        assert (await flock.run_until_idle()).waiting == 1


async def test_a_question_with_a_timeout_expires_also_while_its_workflow_is_paused() -> None:
    flock = board()
    asking(flock, timeout=60)
    async with flock:
        await flock.publish(Order(n=1), correlation_id="w")
        await moving(flock).settle()
        await flock.pause("w")
        await moving(flock).advance(2 * MINUTE)
        assert await flock.questions() == []
        (letter,) = await flock.dead_letters()
        assert letter.error_type == "QuestionExpired"
        await flock.redrive(letter.id)
        await moving(flock).settle()
        assert await flock.questions() == []
        await flock.resume("w")
        await moving(flock).settle()
        assert len(await flock.questions()) == 1


async def test_a_deadline_ends_questions_and_late_answers_are_refused() -> None:
    flock = board()
    asking(flock)
    async with flock:
        await flock.publish_many([Order(n=n) for n in range(1000)], correlation_id="w")
        await flock.publish(Order(n=1), correlation_id="other")
        await flock.set_deadline("w", 60)
        await flock.run_until_idle()
        questions = await flock.questions("w")
        assert len(questions) == 1000
        await moving(flock).advance(MINUTE)
        assert (await flock.status("w")).state == "timed_out"
        assert [q.correlation_id for q in await flock.questions()] == ["other"]
        with pytest.raises(NotFound):
            await flock.answer(questions[0].id, Consent())
        report = await flock.run_until_idle()
        assert (report.waiting, await flock.dead_letters()) == (1, [])
    async with flock:
        assert len(await flock.questions()) == 1


async def test_a_tick_cannot_ask_a_person() -> None:
    flock = board()
    flock.agent("person").publishes(Consent).asks_human(question="So?").schedule(every=1)
    with pytest.raises(DeclarationError):
        await flock.publish(Order())


# --- limits --------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [None, lambda artifact: artifact.correlation_id])
async def test_a_paused_workflow_waits_behind_a_limit_and_keeps_nobody_from_its_turn(
    key: Callable[[Artifact], Any] | None,
) -> None:
    flock = board()
    agent, seen = writing(flock)
    agent.rate_limit(1, MINUTE, key=key)
    async with flock:
        for n in range(3):
            await flock.publish(Order(n=n), correlation_id="w")
            await flock.publish(Order(n=10 + n), correlation_id="other")
        await moving(flock).settle()
        await flock.pause("w")
        seen.clear()
        await moving(flock).advance(5 * MINUTE)
        assert seen == ([10, 11, 12] if key is None else [11, 12])
        report = await flock.run_until_idle()
        assert report.waiting == 2
        await flock.resume("w")
        await moving(flock).settle()
        assert seen[-1] == 1
        await moving(flock).advance(MINUTE)
        assert seen[-2:] == [1, 2]
        assert (await flock.run_until_idle()).waiting == 0


async def test_a_thousand_that_wait_for_a_limit_are_cancelled_or_paused_at_once() -> None:
    flock = board()
    agent, seen = writing(flock)
    agent.rate_limit(1, MINUTE).rate_limit(1, MINUTE, key=lambda a: a.as_model(Order).n % 7)
    async with flock:
        for workflow in ("a", "b"):
            many = [Order(n=n) for n in range(1000)]
            await flock.publish_many(many, correlation_id=workflow)
        await flock.publish(Order(n=-1), correlation_id="other")
        await flock.publish(Order(n=-2), correlation_id="other")
        await moving(flock).settle()
        await flock.pause("b")
        assert await flock.cancel("a") >= 999
        await moving(flock).advance(3 * MINUTE)
        assert sorted(n for n in seen if n < 0) == [-2, -1]
        await flock.cancel("b")
        assert (await flock.run_until_idle()).waiting == 0


async def test_ticks_wait_for_limits_and_slots_like_all_runs_and_stay_one() -> None:
    flock = board()
    seen: list[tuple[int, int]] = []

    async def tick(ctx: Context) -> None:
        seen.append((ctx.iteration, ctx.missed))

    agent = flock.agent("clockwork").calls(tick).schedule(every=MINUTE, max_repeats=3)
    agent.rate_limit(1, 10 * MINUTE, key=lambda a: a.id).max_concurrency(1)
    async with flock:
        await moving(flock).advance(40 * MINUTE)
        assert seen == [(1, 0), (2, 0), (3, 8)]
        assert not (await flock.run_until_idle()).waiting


class Creeping:
    """A clock that moves on whenever somebody looks."""

    def __init__(self) -> None:
        self.now = 1e9

    def time(self) -> float:
        self.now += 1.0
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> TimerHandle:
        del when
        return asyncio.get_running_loop().call_soon(callback)

    def working(self) -> AbstractContextManager[None]:
        return nullcontext()


@pytest.mark.parametrize("span", range(1, 40))
async def test_a_window_that_opens_at_any_moment_of_looking_holds_nobody_up(span: int) -> None:
    flock = Flock(no_output=True, clock=Creeping())
    agent, seen = writing(flock)
    agent.rate_limit(1, float(span))
    async with flock:
        for n in range(3):
            await flock.publish(Order(n=n))
            await flock.run_until_idle()
    assert seen == [0, 1, 2]


async def test_what_people_are_asked_is_limited_and_what_they_answer_is_not() -> None:
    flock = board()
    asking(flock).rate_limit(1, MINUTE)
    async with flock:
        for n in range(3):
            await flock.publish(Order(n=n), correlation_id="w")
        await moving(flock).settle()
        (first,) = await flock.questions()
        await flock.answer(first.id, Consent(n=0))
        await flock.pause("w")
        await moving(flock).advance(MINUTE)
        assert await flock.questions() == []
        await flock.resume("w")
        await moving(flock).settle()
        (second,) = await flock.questions()
        assert second.inputs[0].as_model(Order).n == 1
        await flock.answer(second.id, Consent(n=1))
        assert await flock.questions() == []
        await moving(flock).advance(MINUTE)
        assert len(await flock.questions()) == 1


# --- blocks --------------------------------------------------------------------------------


async def test_a_block_is_left_with_questions_open_and_waits_for_those_that_expire() -> None:
    flock = board()
    asking(flock)
    other = flock.agent("second").consumes(Order).publishes(Done)
    other.asks_human(question="And this?", timeout=60)
    async with flock:

        async def block() -> Any:
            async with flock.workflow() as wf:
                await wf.publish(Order(n=1))
            return wf

        task = asyncio.ensure_future(block())
        await moving(flock).settle()
        assert not task.done()
        await moving(flock).advance(MINUTE)
        wf = await asyncio.wait_for(task, 10)
        assert wf.status.state == "waiting"
        assert [letter.agent for letter in wf.failures] == ["second"]


async def test_the_deadline_of_a_block_ends_conditions_limits_and_questions_in_it() -> None:
    flock = board()
    asking(flock, timeout=3600)
    agent, seen = writing(flock)
    agent.rate_limit(1, 3600)
    _, never = writing(flock, "never", activation=When.correlation(Done).count_at_least(3))
    async with flock:

        async def block(workflow: str) -> Any:
            async with flock.workflow(workflow, timeout=60) as wf:
                for n in range(3):
                    await wf.publish(Order(n=n))

        task = asyncio.ensure_future(block("w"))
        await moving(flock).settle()
        await flock.publish(Order(n=9), correlation_id="other")
        await moving(flock).advance(MINUTE)
        with pytest.raises(WorkflowTimeout):
            await asyncio.wait_for(task, 10)
        assert (seen, never) == ([0], [])
        assert [q.correlation_id for q in await flock.questions()] == ["other"]
        assert (await flock.status("w")).state == "timed_out"
        assert (await flock.status("w")).waiting == 0
        await moving(flock).advance(2 * 3600)
        assert seen == [0, 9]


async def test_a_block_may_be_cancelled_from_outside_while_it_is_paused() -> None:
    flock = board()
    _, seen = writing(flock)
    async with flock:

        async def block() -> Any:
            async with flock.workflow("w") as wf:
                await flock.pause("w")
                await wf.publish(Order(n=1))
            return wf

        task = asyncio.ensure_future(block())
        await moving(flock).settle()
        assert not task.done()
        await flock.cancel("w")
        wf = await asyncio.wait_for(task, 10)
        assert (wf.status.state, seen) == ("cancelled", [])


# --- applications --------------------------------------------------------------------------


def application(flock: Flock, **options: Any) -> Application:
    return Application(
        flock, input_type=Order, output_types=[Consent, Done], isolation="shared", **options
    )


async def test_a_request_that_waits_for_a_person_says_so() -> None:
    flock = board()
    asking(flock)
    async with application(flock) as app:
        result = await asyncio.wait_for(app.run(Order(n=1), id="one"), 10)
        assert result.status == "waiting"
        (question,) = await flock.questions(result.correlation_id)
        await flock.answer(question.id, Consent(n=1))
        again = await asyncio.wait_for(app.run(Order(n=1), id="one"), 10)
        assert (again.status, again.one(Consent).n) == ("succeeded", 1)
        assert len(await flock.store.list_by_type(Order)) == 1


async def test_a_request_can_be_paused_resumed_cancelled_and_timed_out_from_outside() -> None:
    flock = board()
    began: list[str] = []
    opened = asyncio.Event()

    async def split(order: Order, ctx: Context) -> Part:
        began.append(ctx.correlation_id)
        await opened.wait()
        return Part(n=order.n)

    flock.agent("split").consumes(Order).publishes(Part).calls(split)
    flock.agent("end").consumes(Part).publishes(Done).calls(lambda part: Done(n=part.n))
    async with application(flock, timeout=3600) as app:
        tasks = [asyncio.ensure_future(app.run(Order(n=n), id=str(n))) for n in range(3)]
        await until(lambda: len(began) == 3)
        for workflow in began:
            await flock.pause(workflow)
        opened.set()
        await moving(flock).settle()
        assert not any(task.done() for task in tasks)
        by_number = {a.as_model(Part).n: a for a in await flock.store.list_by_type(Part)}
        await flock.resume(by_number[0].correlation_id)
        await flock.cancel(by_number[1].correlation_id)
        results = await asyncio.wait_for(asyncio.gather(*tasks[:2]), 10)
        assert [result.status for result in results] == ["succeeded", "cancelled"]
        await moving(flock).advance(timedelta(hours=2))
        assert (await asyncio.wait_for(tasks[2], 10)).status == "timed_out"
        assert (await flock.run_until_idle()).waiting == 0


async def test_requests_do_not_wait_for_schedules_of_their_board() -> None:
    flock = board()
    writing(flock)
    seen = ticking(flock, every=MINUTE)
    async with application(flock) as app:
        result = await asyncio.wait_for(app.run(Order(n=7)), 10)
        assert result.one(Done).n == 7
        await moving(flock).advance(2 * MINUTE)
        assert seen == [1, 2]
        assert result.of(Done) == [Done(n=7)]


# --- events --------------------------------------------------------------------------------


async def test_all_that_was_steered_is_told_in_one_order_after_restarts_too() -> None:
    flock = board()
    asking(flock)
    ticking(flock, every=MINUTE, max_repeats=1)
    kinds = (
        *(WorkflowPaused, WorkflowResumed, WorkflowCancelled),
        *(QuestionAsked, QuestionAnswered, ScheduleFired),
    )
    async with flock:
        await flock.publish(Order(n=1), correlation_id="w")
        await moving(flock).settle()
        await flock.pause("w")
        (question,) = await flock.questions()
        await flock.answer(question.id, Consent())
        await flock.resume("w")
        await flock.publish(Order(n=2), correlation_id="w")
        await moving(flock).settle()
        await flock.cancel("w")
        before = await told(flock, *kinds)
    async with flock:
        await moving(flock).advance(MINUTE)
        events = await told(flock, *kinds)
        assert [type(event) for event in events[: len(before)]] == [type(e) for e in before]
        assert [type(event).__name__ for event in events] == [
            "QuestionAsked",
            "WorkflowPaused",
            "QuestionAnswered",
            "WorkflowResumed",
            "QuestionAsked",
            "WorkflowCancelled",
            "ScheduleFired",
            "QuestionAsked",
        ]
        everything = await told(flock)
        positions = [event.position for event in everything]
        assert positions == sorted(positions)
        stream = flock.events(after=str(events[3].position), kinds=kinds)
        rest = [await asyncio.wait_for(anext(stream), 10) for _ in events[4:]]
        assert rest == events[4:]
        await stream.aclose()


# --- the graph -----------------------------------------------------------------------------


async def test_no_false_alarms_about_agents_that_are_steered() -> None:
    flock = board()
    flock.agent("clockwork").publishes(Order).calls(lambda: Order()).schedule(every=MINUTE)
    flock.agent("split").consumes(Order).publishes(Part).calls(lambda o: Part(n=o.n))
    person = flock.agent("person").consumes(Part).publishes(Consent)
    person.asks_human(question="May it be?", timeout=60)
    both = flock.agent("both").consumes(
        Part, Consent, activation=When.correlation(Part).count_at_least(1)
    )
    both.publishes(Done).calls(lambda p, c: Done()).rate_limit(1, 1)
    flock.agent("end").consumes(Done).calls(lambda d: None)
    assert [finding for finding in flock.check() if finding.level != "info"] == []
    graph = flock.graph()
    assert {agent.name for agent in graph.agents} == {
        "clockwork",
        "split",
        "person",
        "both",
        "end",
    }
    assert "clockwork" in graph.mermaid()


# --- components ----------------------------------------------------------------------------


class Deciding(OrchestratorComponent):
    """Decides what it is told to, and writes down what it was asked."""

    def __init__(self, decide: Callable[[int], ScheduleDecision]) -> None:
        self.name = "deciding"
        self.decide = decide
        self.asked: list[int] = []

    async def on_before_schedule(
        self, orchestrator: Any, artifact: Artifact, agent: Any, subscription: Any
    ) -> ScheduleDecision:
        del orchestrator, subscription
        if agent.name != "work":
            return ScheduleDecision.CONTINUE
        n = artifact.as_model(Order).n
        self.asked.append(n)
        await asyncio.sleep(0)
        return self.decide(n)


async def test_components_decide_before_conditions_and_not_over_what_is_paused() -> None:
    flock = board()
    is_closed = True

    def decide(n: int) -> ScheduleDecision:
        if n % 3 == 0:
            return ScheduleDecision.SKIP
        return ScheduleDecision.DEFER if n % 3 == 1 and is_closed else ScheduleDecision.CONTINUE

    component = Deciding(decide)
    flock.add_component(component)
    _, seen = writing(flock, activation=When.correlation(Part).exists())
    flock.agent("other").consumes(Consent).calls(lambda consent: None)
    async with flock:
        for n in range(6):
            await flock.publish(Order(n=n), correlation_id="w")
        assert (await flock.run_until_idle()).waiting == 4
        await flock.pause("w")
        is_closed = False
        component.asked.clear()
        await flock.publish(Part(), correlation_id="w")
        await flock.publish(Consent(), correlation_id="other")
        assert (await flock.run_until_idle()).waiting == 4
        assert (seen, component.asked) == ([], [])
        await flock.resume("w")
        assert (await flock.run_until_idle()).waiting == 0
        assert sorted(seen) == [1, 2, 4, 5]


# --- forks and replays ---------------------------------------------------------------------


async def test_a_fork_of_a_workflow_that_is_steered_comes_to_rest_and_steers_nothing() -> None:
    flock = board()
    asking(flock, timeout=60)
    ticks = ticking(flock, every=MINUTE)
    agent, seen = writing(flock, activation=When.correlation(Order).count_at_least(2))
    agent.rate_limit(5, 3600)
    async with flock:
        await flock.publish(Order(n=1), correlation_id="w")
        await flock.publish(Order(n=2), correlation_id="w")
        await moving(flock).settle()
        await flock.pause("w")
        await until(lambda: len(seen) == 2)
        seen.clear()
        fork = await asyncio.wait_for(flock.fork("w"), 20)
        assert sorted(seen) == [1, 2]
        assert ticks == []
        assert not fork.timed_out
        assert len(await flock.questions()) == 2
        assert (await flock.status("w")).state == "paused"
        replay = await flock.replay("w")
        assert len(replay.runs) == 2


# --- much of it ----------------------------------------------------------------------------


async def test_publishers_are_not_held_up_by_what_is_paused_asked_or_activated() -> None:
    flock = board(max_pending=10)
    asking(flock)
    writing(flock, activation=When.correlation(Part).exists())
    async with flock, asyncio.timeout(120):
        tasks = len(asyncio.all_tasks())
        for start in range(0, 2000, 100):
            many = [Order(n=n) for n in range(start, start + 100)]
            await flock.publish_many(many, correlation_id="asked")
        await flock.pause("paused")
        for start in range(0, 2000, 100):
            many = [Order(n=n) for n in range(start, start + 100)]
            await flock.publish_many(many, correlation_id="paused")
        report = await flock.run_until_idle()
        assert report.waiting == 8000
        assert len(asyncio.all_tasks()) <= tasks
        assert len(await flock.questions()) == 2000
        assert await flock.cancel("paused") == 4000
        assert await flock.cancel("asked") == 4000
        assert (await flock.run_until_idle()).waiting == 0


# --- gates over workflows ------------------------------------------------------------------


async def test_a_batch_of_people_and_a_join_by_key_survive_pause_and_cancel() -> None:
    flock = board()
    agent = flock.agent("person").consumes(Order, batch=BatchSpec(size=2, timeout=MINUTE))
    agent.publishes(Consent).asks_human(question="All of these?")
    joined: list[int] = []

    async def pair(part: Part, consent: Consent) -> Done:
        joined.append(part.n)
        return Done(n=part.n)

    flock.agent("pair").consumes(
        Part, Consent, join=JoinSpec(by=lambda x: x.n, within=timedelta(hours=1))
    ).publishes(Done).calls(pair)
    async with flock:
        await flock.publish(Order(n=1), correlation_id="a")
        await flock.publish(Order(n=2), correlation_id="b")
        await moving(flock).settle()
        (question,) = await flock.questions("b")
        assert question.correlation_id == "a"
        await flock.pause("a")
        await flock.pause("b")
        await flock.publish(Part(n=5), correlation_id="b")
        await flock.answer(question.id, Consent(n=5))
        assert (await flock.run_until_idle()).waiting == 2
        await flock.resume("b")
        await flock.resume("a")
        await moving(flock).settle()
        assert joined == [5]
        assert (await flock.run_until_idle()).waiting == 0


async def test_a_cancel_takes_no_input_of_another_workflow_with_it() -> None:
    flock = board()
    agent = flock.agent("person").consumes(Order, batch=BatchSpec(size=2, timeout=MINUTE))
    agent.publishes(Consent).asks_human(question="All of these?")
    async with flock:
        await flock.publish(Order(n=1), correlation_id="a")
        await flock.publish(Order(n=2), correlation_id="b")
        await moving(flock).settle()
        assert len(await flock.questions()) == 1
        await flock.pause("b")
        await flock.cancel("a")
        assert await flock.questions() == []
        await moving(flock).advance(2 * MINUTE)
        assert await flock.questions() == []
        assert (await flock.status("b")).state == "paused"
        await flock.resume("b")
        await moving(flock).advance(2 * MINUTE)
        (question,) = await flock.questions()
        assert question.correlation_id == "b"


# --- at once -------------------------------------------------------------------------------


async def test_idle_is_refused_with_an_endless_schedule_whatever_is_paused() -> None:
    flock = board()
    ticking(flock, every=MINUTE)
    async with flock:
        with pytest.raises(NotIdle):
            await flock.run_until_idle()
        assert await flock.run_until(Until.exists(Order), timeout=0) is False
        waiter = asyncio.ensure_future(flock.run_until(Until.exists(Order)))
        await moving(flock).settle()
        await moving(flock).advance(MINUTE)
        assert await asyncio.wait_for(waiter, 10)


async def test_a_test_board_jumps_over_schedules_and_meets_questions() -> None:
    async with TestBoard() as under_test:
        flock = under_test.flock
        asking(flock)
        ticks = ticking(flock, every=MINUTE, max_repeats=3)
        await under_test.run()
        assert ticks == [1, 2, 3]
        assert len(await flock.questions()) == 3
        for question in await flock.questions():
            await flock.answer(question.id, Consent(n=1))
        await under_test.run()
        await under_test.assert_published(Consent, count=3)
        await under_test.assert_no_failures()


# --- what is told of it --------------------------------------------------------------------


async def test_a_pause_does_not_tell_anew_of_what_others_have_queued() -> None:
    flock = board()
    agent, _ = writing(flock)
    agent.rate_limit(1, MINUTE)
    stream = flock.events(kinds=RunQueued)
    async with flock:
        for n in range(3):
            await flock.publish(Order(n=n), correlation_id="a")
            await flock.publish(Order(n=n), correlation_id="b")
        await moving(flock).settle()
        await flock.pause("a")
        await flock.resume("a")
    queued = [event async for event in stream]
    assert len([event for event in queued if event.correlation_id == "b"]) == 3


# --- budgets -------------------------------------------------------------------------------


async def test_a_question_and_its_answer_are_one_run_and_ticks_count_too() -> None:
    flock = board().budget(runs=4)
    asking(flock)
    ticks = ticking(flock, every=MINUTE, max_repeats=4)
    async with flock:
        await flock.publish(Order(n=1), correlation_id="w")
        await moving(flock).settle()
        (question,) = await flock.questions()
        await flock.pause("w")
        await flock.answer(question.id, Consent(n=1))
        await flock.resume("w")
    async with flock:
        await moving(flock).advance(10 * MINUTE)
        assert ticks == [1, 2]
        assert len(await flock.questions()) == 1
        letters = await flock.dead_letters()
        assert {letter.error_type for letter in letters} == {"BudgetExceeded"}
        assert sorted(letter.agent for letter in letters) == ["clockwork"] * 2 + ["person"]
        assert (await flock.run_until_idle()).dead_letters == 3


# --- exports -------------------------------------------------------------------------------


async def test_a_copy_of_a_board_that_is_steered_is_at_rest(tmp_path: Path) -> None:
    flock = board()
    asking(flock)
    ticking(flock, every=MINUTE)
    async with flock:
        await flock.publish(Order(n=1), correlation_id="w")
        await moving(flock).advance(MINUTE)
        await flock.pause("w")
        await flock.publish(Order(n=2), correlation_id="w")
        await flock.set_deadline("w", 3600)
        assert len(await flock.questions()) == 2
        await export_board(flock.store, tmp_path / "board.jsonl")
    copy = SQLiteBlackboardStore(tmp_path / "copy.db")
    await import_board(copy, tmp_path / "board.jsonl")
    other = Flock(no_output=True, clock=flock.clock, store=copy)
    asking(other)
    async with other:
        assert (await other.run_until_idle()).waiting == 0
        assert await other.questions() == []
        status = await other.status("w")
        assert (status.state, status.artifacts, status.deadline) == ("idle", 2, None)


# --- after a restart -----------------------------------------------------------------------


async def test_a_paused_tick_stays_so_and_holds_nothing_after_a_restart() -> None:
    flock = board()
    failing = True
    seen: list[tuple[int, int, int]] = []
    workflows: list[str] = []

    async def tick(ctx: Context) -> None:
        workflows.append(ctx.correlation_id)
        if failing:
            msg = "not yet"
            raise RuntimeError(msg)
        seen.append((ctx.iteration, ctx.missed, ctx.attempt))

    agent = flock.agent("clockwork").calls(tick)
    agent.schedule(every=MINUTE, max_repeats=2).retry(9, backoff=Backoff(30))
    async with flock:
        await moving(flock).advance(MINUTE)
        await flock.pause(workflows[0])
    failing = False
    async with flock:
        await moving(flock).advance(10 * MINUTE)
        report = await flock.run_until_idle()
        assert (report.waiting, seen) == (1, [])
        assert (await flock.status(workflows[0])).state == "paused"
    async with flock:
        await flock.resume(workflows[0])
        await moving(flock).settle()
        assert seen == [(1, 0, 2), (2, 9, 1)]
        assert (await flock.run_until_idle()).waiting == 0


async def test_a_paused_tick_that_is_cancelled_after_a_restart_lets_the_next_one_come() -> None:
    flock = board()
    seen: list[int] = []
    workflows: list[str] = []

    async def tick(ctx: Context) -> None:
        workflows.append(ctx.correlation_id)
        if ctx.iteration == 1:
            msg = "never"
            raise RuntimeError(msg)
        seen.append(ctx.iteration)

    agent = flock.agent("clockwork").calls(tick)
    agent.schedule(every=MINUTE, max_repeats=2).retry(9, backoff=Backoff(30))
    async with flock:
        await moving(flock).advance(MINUTE)
        await flock.pause(workflows[0])
    async with flock:
        await flock.run_until_idle()
        await flock.cancel(workflows[0])
        await moving(flock).settle()
        waiter = asyncio.ensure_future(flock.run_until_idle())
        await moving(flock).settle()
        assert not waiter.done()
        await moving(flock).advance(MINUTE)
        await asyncio.wait_for(waiter, 10)
        assert seen == [2]
    async with flock:
        assert (await flock.run_until_idle()).waiting == 0


async def test_a_dead_tick_that_is_redriven_while_paused_waits_and_holds_nothing() -> None:
    flock = board()
    seen: list[int] = []
    is_failing = True

    async def tick(ctx: Context) -> None:
        if is_failing:
            msg = "no"
            raise RuntimeError(msg)
        seen.append(ctx.iteration)

    flock.agent("clockwork").calls(tick).schedule(every=MINUTE, max_repeats=1)
    async with flock:
        await moving(flock).advance(MINUTE)
        (letter,) = await flock.dead_letters()
        is_failing = False
        workflow = letter.run.correlation_id
        await flock.pause(workflow)
        await flock.redrive(letter.id)
        assert ((await flock.run_until_idle()).waiting, seen) == (1, [])
        await flock.resume(workflow)
        assert ((await flock.run_until_idle()).waiting, seen) == (0, [1])


async def test_a_deadline_that_passed_while_closed_ends_all_that_was_paused_or_asked() -> None:
    flock = board()
    asking(flock, timeout=7200)
    agent, seen = writing(flock, activation=When.correlation(Part).exists())
    agent.rate_limit(1, 60)
    async with flock:
        await flock.publish_many([Order(n=n) for n in range(3)], correlation_id="w")
        await moving(flock).settle()
        await flock.set_deadline("w", 60)
        await flock.pause("w")
        await flock.publish(Part(), correlation_id="w")
        await flock.publish(Order(n=9), correlation_id="w")
    await moving(flock).advance(2 * MINUTE)
    async with flock:
        await moving(flock).settle()
        assert (await flock.status("w")).state == "timed_out"
        assert (seen, await flock.questions()) == ([], [])
        assert (await flock.run_until_idle()).waiting == 0


# --- requests on boards of their own -------------------------------------------------------


@pytest.mark.memory_only("each request has a board of its own, which is in memory")
async def test_requests_with_boards_of_their_own_may_declare_all_of_it() -> None:
    clock = ManualClock()

    def made() -> Flock:
        flock = Flock(no_output=True, clock=clock)
        ticking(flock, every=MINUTE)
        flock.agent("a").consumes(Order).publishes(Part).calls(lambda o: Part(n=o.n)).rate_limit(
            1, MINUTE
        )
        both = flock.agent("b").consumes(Part, activation=When.correlation(Order).exists())
        both.publishes(Done).calls(lambda part: Done(n=part.n))
        return flock

    app = Application(made, input_type=Order, output_types=Done, clock=clock, max_concurrent=2)
    async with app:
        tasks = [asyncio.ensure_future(app.run(Order(n=n))) for n in range(4)]
        await clock.settle()
        results = await asyncio.wait_for(asyncio.gather(*tasks), 10)
        assert [result.one(Done).n for result in results] == [0, 1, 2, 3]


# --- visibility that opens later -----------------------------------------------------------


async def test_what_opens_while_it_is_paused_waits_for_its_condition_and_a_person() -> None:
    flock = board()
    person = flock.agent("person").consumes(
        Order, activation=When.correlation(Part).count_at_least(1)
    )
    person.publishes(Consent).asks_human(question="So?").rate_limit(1, MINUTE)
    later = AfterVisibility(ttl=MINUTE, then=PublicVisibility())
    async with flock:
        await flock.publish(Order(n=1), correlation_id="w", visibility=later)
        await flock.publish(Order(n=2), correlation_id="w", visibility=later)
        await flock.pause("w")
        await moving(flock).advance(2 * MINUTE)
        assert (await flock.run_until_idle()).waiting == 2
        await flock.publish(Part(), correlation_id="w")
        await flock.resume("w")
        await moving(flock).settle()
        assert len(await flock.questions()) == 1
        await moving(flock).advance(MINUTE)
        assert len(await flock.questions()) == 2
        assert (await flock.run_until_idle()).waiting == 2


async def test_hooks_that_choose_inputs_do_not_ask_over_a_paused_workflow() -> None:
    flock = board()
    chosen: list[int] = []

    class Choosing(OrchestratorComponent):
        name = "choosing"

        async def on_collect_artifacts(
            self, orchestrator: Any, artifact: Artifact, agent: Any, subscription: Any
        ) -> CollectionResult | None:
            del orchestrator, agent, subscription
            if artifact.type != registered(Order):
                return None
            chosen.append(artifact.as_model(Order).n)
            return CollectionResult([artifact], complete=len(chosen) % 2 == 0)

    flock.add_component(Choosing())
    _, seen = writing(flock)
    async with flock:
        await flock.publish(Order(n=1), correlation_id="w")
        await moving(flock).settle()
        await flock.pause("w")
        await flock.publish(Order(n=2), correlation_id="w")
        assert (await flock.run_until_idle()).waiting == 2
        assert (chosen, seen) == ([1], [])
        await flock.resume("w")
        assert (await flock.run_until_idle()).waiting == 1
        assert (chosen, seen) == ([1, 2], [2])
        assert await flock.cancel("w") == 1
        assert (await flock.run_until_idle()).waiting == 0


def registered(model: type[BaseModel]) -> str:
    return f"{model.__module__}.{model.__qualname__}"


# --- cancelled at the same moment ----------------------------------------------------------


@pytest.mark.parametrize("turn", range(0, 24, 2))
async def test_answer_cancel_pause_resume_and_deadline_at_once_close_each_thing_once(
    turn: int,
) -> None:
    flock = board()
    asking(flock, timeout=60)
    after = flock.agent("after").consumes(Consent).publishes(Done)
    after.calls(lambda consent: Done(n=consent.n))
    async with flock:
        await flock.publish_many([Order(n=n) for n in range(20)], correlation_id="w")
        await flock.publish(Order(n=99), correlation_id="other")
        await moving(flock).settle()
        questions = await flock.questions("w")

        async def answers() -> int:
            count = 0
            for question in questions:
                try:
                    await flock.answer(question.id, Consent(n=1))
                except (NotFound, RunError):
                    continue
                count += 1
            return count

        async def steers() -> int:
            for _ in range(turn):
                await asyncio.sleep(0)
            await flock.pause("w")
            await asyncio.gather(flock.resume("w"), flock.set_deadline("w", 30))
            await flock.pause("w")
            closed, _ = await asyncio.gather(flock.cancel("w"), flock.resume("w"))
            return closed

        count, closed = await asyncio.wait_for(asyncio.gather(answers(), steers()), 20)
        report = await flock.run_until_idle(timeout=0)
        assert len(await flock.questions()) == 1
        consents = await flock.store.list_by_type(Consent)
        assert len(consents) == count
        assert closed >= 20 - count
        assert len(await flock.store.list_by_type(Done)) + closed == 20
        assert report.waiting == 1
        await moving(flock).advance(2 * MINUTE)
        assert (await flock.run_until_idle()).waiting == 0
    async with flock:
        assert (await flock.run_until_idle()).waiting == 0
        assert await flock.questions() == []
