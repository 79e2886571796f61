"""`activation=`: deliveries wait until a condition holds in their workflow, then all go on."""

# Conditions and agents are short lambdas here.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from flock import (
    Activation,
    AfterVisibility,
    Agent,
    Artifact,
    BatchSpec,
    DeliveryWaiting,
    Flock,
    JoinSpec,
    OrchestratorComponent,
    PublicVisibility,
    ScheduleDecision,
    Subscription,
    When,
    WorkflowError,
)
from flock.testing import ManualClock
from tests.acceptance.support import SuspendingStore


class Vote(BaseModel):
    yes: bool = True


class Draft(BaseModel):
    number: int = 0


class Review(BaseModel):
    number: int = 0


class Verdict(BaseModel):
    numbers: list[int]


def board(
    activation: Activation, *, store: Any = None, clock: ManualClock | None = None, **options: Any
) -> tuple[Flock, list[int]]:
    """A board of an agent that notes the drafts it gets."""
    flock = Flock(store=store, clock=clock)
    seen: list[int] = []

    async def note(draft: Draft) -> None:
        seen.append(draft.number)

    flock.agent("judge").consumes(Draft, activation=activation, **options).calls(note)
    return flock, seen


THREE = When.correlation(Vote).count_at_least(3)


async def test_deliveries_wait_until_the_condition_holds_then_all_of_them_run() -> None:
    flock, seen = board(THREE)
    async with flock:
        for number in range(3):
            await flock.publish(Draft(number=number), correlation_id="w")
        report = await flock.run_until_idle()
        assert (report.runs, report.waiting, seen) == (0, 3, [])
        for _ in range(2):
            await flock.publish(Vote(), correlation_id="w")
        await flock.run_until_idle()
        assert seen == []
        await flock.publish(Vote(), correlation_id="w")
        report = await flock.run_until_idle()
        assert (report.runs, report.waiting, seen) == (3, 0, [0, 1, 2])


async def test_as_long_as_it_holds_what_comes_later_runs_at_once() -> None:
    flock, seen = board(THREE)
    async with flock:
        await flock.publish_many([Vote(), Vote(), Vote()], correlation_id="w")
        await flock.publish(Draft(number=1), correlation_id="w")
        await flock.run_until_idle()
        await flock.publish(Draft(number=2), correlation_id="w")
        await flock.run_until_idle()
        assert seen == [1, 2]


async def test_what_comes_when_it_holds_no_longer_waits() -> None:
    flock, seen = board(When.correlation(Vote).count_at_most(1))
    async with flock:
        await flock.publish(Draft(number=1), correlation_id="w")
        await flock.publish(Vote(), correlation_id="w")
        await flock.publish(Draft(number=2), correlation_id="w")
        await flock.publish(Vote(), correlation_id="w")
        await flock.publish(Draft(number=3), correlation_id="w")
        report = await flock.run_until_idle()
        assert seen == [1, 2]
        assert report.waiting == 1


async def test_each_workflow_is_on_its_own() -> None:
    flock, seen = board(THREE)
    async with flock:
        for number in range(4):
            await flock.publish(Draft(number=number), correlation_id=f"w{number % 2}")
        await flock.publish_many([Vote(), Vote()], correlation_id="w0")
        await flock.publish_many([Vote(), Vote(), Vote()], correlation_id="w1")
        await flock.run_until_idle()
        assert seen == [1, 3]
        assert (await flock.status("w0")).waiting == 2
        assert (await flock.status("w0")).state == "waiting"
        assert (await flock.status("w1")).state == "idle"


@pytest.mark.parametrize(
    ("activation", "after"),
    [
        (When.correlation(Vote).count_at_least(2), 2),
        (When.correlation("Vote").count_exactly(3), 3),
        (~When.correlation(Vote).count_at_most(2), 3),
        (When.correlation(Vote).exists(), 1),
        (When.correlation(Vote).any_field(field="yes", predicate=lambda yes: not yes), 4),
        (When.correlation(Vote).exists() & When.correlation(Vote).count_at_least(2), 2),
        (When.correlation(Review).exists() | When.correlation(Vote).count_at_least(3), 3),
        (When.correlation(Draft).exists(), 0),
    ],
)
async def test_every_condition_holds_when_it_says(activation: Activation, after: int) -> None:
    flock, seen = board(activation)
    async with flock:
        await flock.publish(Draft(), correlation_id="w")
        for number in range(1, after + 1):
            await flock.run_until_idle()
            assert seen == []
            await flock.publish(Vote(yes=number != 4), correlation_id="w")
        await flock.run_until_idle()
        assert seen == [0]


async def test_a_moment_is_enough_also_while_it_is_being_counted() -> None:
    flock, seen = board(When.correlation(Vote).count_exactly(1))
    async with flock:
        await flock.publish(Draft(number=1), correlation_id="w")
        for _ in range(3):  # without giving it a turn in between
            await flock.publish(Vote(), correlation_id="w")
        await flock.publish(Draft(number=2), correlation_id="w")
        report = await flock.run_until_idle()
        assert (seen, report.waiting) == ([1], 1)


async def test_what_is_committed_at_once_does_not_slip_through() -> None:
    flock, seen = board(When.correlation(Vote).count_exactly(1))
    async with flock:
        await flock.publish_many([Draft(), Vote(), Vote()], correlation_id="w")
        await flock.publish_many([Draft(number=1), Vote()], correlation_id="v")
        await flock.publish_many([Vote(), Draft(number=2)], correlation_id="u")
        report = await flock.run_until_idle()
        assert (sorted(seen), report.waiting) == ([1, 2], 1)


async def test_on_a_store_that_takes_its_time_nothing_is_missed() -> None:
    flock, seen = board(THREE, store=SuspendingStore())
    async with flock:
        async with asyncio.TaskGroup() as group:
            for number in range(60):
                workflow = f"w{number % 5}"
                thing = Draft(number=number) if number % 3 else Vote()
                group.create_task(flock.publish(thing, correlation_id=workflow))
        report = await flock.run_until_idle()
        assert sorted(seen) == [n for n in range(60) if n % 3]
        assert report.waiting == 0


async def test_results_of_agents_count_and_fan_in_is_a_condition() -> None:
    flock = Flock()
    flock.agent("splitter").consumes(Verdict).publishes(Draft, fan_out=5).calls(
        lambda verdict: [Draft(number=n) for n in verdict.numbers]
    )
    flock.agent("reviewer").consumes(Draft).publishes(Review).calls(
        lambda draft: Review(number=draft.number)
    )
    seen: list[list[int]] = []
    flock.agent("editor").consumes(
        Review,
        batch=BatchSpec(size=5),
        activation=When.correlation(Review).count_at_least(5),
    ).calls(lambda reviews: seen.append(sorted(r.number for r in reviews)))
    async with flock:
        await flock.publish(Verdict(numbers=[1, 2, 3, 4, 5]))
        report = await flock.run_until_idle(raise_on_error=True)
        assert seen == [[1, 2, 3, 4, 5]]
        assert report.waiting == 0


async def test_waiting_is_told_once_and_holds_nothing() -> None:
    flock, seen = board(THREE)
    async with flock:
        stream = flock.events()
        waits = await flock.publish(Draft(number=1), correlation_id="w")
        await flock.run_until_idle()
        await flock.publish_many([Vote(), Vote()], correlation_id="w")
        await flock.run_until_idle()
        await flock.publish_many([Vote(), Draft(number=2)], correlation_id="w")
        await flock.run_until_idle()
        assert seen == [1, 2]
    told = [event async for event in stream if isinstance(event, DeliveryWaiting)]
    assert [(e.agent, e.artifact_id, e.correlation_id) for e in told] == [("judge", waits.id, "w")]


# --- with gates ---


async def test_an_and_gate_gathers_what_went_on() -> None:
    flock = Flock()
    seen: list[tuple[int, int]] = []

    async def note(draft: Draft, review: Review) -> None:
        seen.append((draft.number, review.number))

    flock.agent("judge").consumes(Draft, Review, activation=THREE).calls(note)
    async with flock:
        for number in range(3):
            await flock.publish(Draft(number=number), correlation_id="w")
            await flock.publish(Review(number=number), correlation_id="w")
        report = await flock.run_until_idle()
        assert (seen, report.waiting) == ([], 6)
        await flock.publish_many([Vote(), Vote(), Vote()], correlation_id="w")
        await flock.publish(Draft(number=3), correlation_id="w")
        report = await flock.run_until_idle()
        assert (seen, report.waiting) == ([(0, 0), (1, 1), (2, 2)], 1)
        await flock.publish(Review(number=3), correlation_id="w")
        await flock.run_until_idle()
        assert seen[3:] == [(3, 3)]


async def test_a_joins_window_begins_when_the_workflow_is_ready() -> None:
    clock = ManualClock()
    flock = Flock(clock=clock)
    seen: list[int] = []

    async def note(draft: Draft, review: Review) -> None:
        seen.append(draft.number + review.number)

    join = JoinSpec(by="number", within=timedelta(minutes=1))
    flock.agent("judge").consumes(Draft, Review, join=join, activation=THREE).calls(note)
    async with flock:
        await flock.publish(Draft(number=4), correlation_id="w")
        await clock.advance(timedelta(hours=1))
        await flock.publish_many([Vote(), Vote(), Vote()], correlation_id="w")
        await clock.advance(30)
        await flock.publish(Review(number=4), correlation_id="w")
        await flock.run_until_idle()
        assert seen == [8]


async def test_a_batch_takes_what_went_on_of_all_workflows_and_flush_does_not_force_it() -> None:
    flock = Flock()
    seen: list[list[int]] = []

    async def note(drafts: list[Draft]) -> None:
        seen.append([draft.number for draft in drafts])

    flock.agent("judge").consumes(Draft, batch=BatchSpec(size=4), activation=THREE).calls(note)
    async with flock:
        for number in range(6):
            await flock.publish(Draft(number=number), correlation_id=f"w{number % 2}")
        await flock.publish_many([Vote(), Vote(), Vote()], correlation_id="w1")
        await flock.run_until_idle()
        assert seen == []
        assert await flock.flush() == 1
        report = await flock.run_until_idle()
        assert (seen, report.waiting) == ([[1, 3, 5]], 3)
        assert await flock.flush() == 0
        await flock.publish_many([Vote(), Vote(), Vote()], correlation_id="w0")
        await flock.flush()
        await flock.run_until_idle()
        assert seen[1:] == [[0, 2, 4]]


async def test_each_subscription_with_an_activation_gets_the_artifact() -> None:
    flock = Flock()
    seen: list[int] = []

    async def note(draft: Draft) -> None:
        seen.append(draft.number)

    flock.agent("judge").consumes(Draft, activation=THREE).consumes(
        Draft, activation=When.correlation(Vote).exists()
    ).calls(note)
    async with flock:
        await flock.publish(Draft(number=1), correlation_id="w")
        await flock.publish(Vote(), correlation_id="w")
        await flock.run_until_idle()
        assert seen == [1]
        await flock.publish_many([Vote(), Vote()], correlation_id="w")
        await flock.run_until_idle()
        assert seen == [1, 1]


# --- what steers work ---


async def test_cancelling_a_workflow_closes_what_waits_of_it_alone() -> None:
    flock, seen = board(THREE)
    async with flock:
        await flock.publish_many([Draft(number=1), Draft(number=2)], correlation_id="w")
        await flock.publish(Draft(number=3), correlation_id="v")
        await flock.run_until_idle()
        assert await flock.cancel("w") == 2
        for workflow in ("w", "v"):
            await flock.publish_many([Vote(), Vote(), Vote()], correlation_id=workflow)
        report = await flock.run_until_idle()
        assert (seen, report.waiting) == ([3], 0)


async def test_cancelling_at_once_leaves_nothing_open() -> None:
    flock, seen = board(THREE, store=SuspendingStore())
    async with flock:
        await flock.publish(Draft(number=1), correlation_id="w")
        assert await flock.cancel("w") == 1
        await flock.publish(Draft(number=2), correlation_id="w")
        await flock.publish_many([Vote(), Vote(), Vote()], correlation_id="w")
        report = await flock.run_until_idle()
        assert (seen, report.waiting) == ([2], 0)
        assert (await flock.status("w")).state == "idle"


async def test_components_are_asked_before_the_condition() -> None:
    asked: list[str] = []

    class Late(OrchestratorComponent):
        async def on_before_schedule(
            self, orchestrator: Any, artifact: Artifact, agent: Agent, subscription: Subscription
        ) -> ScheduleDecision:
            asked.append(agent.name)
            is_first = agent.name == "judge" and asked.count("judge") == 1
            return ScheduleDecision.DEFER if is_first else ScheduleDecision.CONTINUE

    flock, seen = board(THREE)
    flock.agent("counter").consumes(Vote).calls(lambda vote: None)
    flock.add_component(Late())
    async with flock:
        await flock.publish(Draft(number=1), correlation_id="w")
        report = await flock.run_until_idle()
        assert (asked, report.waiting) == (["judge"], 1)
        await flock.publish(Vote(), correlation_id="w")
        report = await flock.run_until_idle()
        assert asked.count("judge") == 2, "a deferred delivery is asked again when a run ends"
        assert (seen, report.waiting) == ([], 1)
        await flock.publish_many([Vote(), Vote()], correlation_id="w")
        await flock.run_until_idle()
        assert asked.count("judge") == 2
        assert seen == [1]


async def test_what_opens_later_waits_for_that_first() -> None:
    clock = ManualClock()
    flock, seen = board(When.correlation(Vote).count_at_most(0), clock=clock)
    later = AfterVisibility(ttl=timedelta(minutes=1), then=PublicVisibility())
    async with flock:
        await flock.publish(Draft(number=1), correlation_id="w", visibility=later)
        await flock.publish(Draft(number=2), correlation_id="v", visibility=later)
        await clock.advance(30)
        await flock.publish(Vote(), correlation_id="w")
        await clock.advance(30)
        report = await flock.run_until_idle()
        assert (seen, report.waiting) == ([2], 1)


async def test_an_agent_that_is_called_directly_waits_for_nothing() -> None:
    flock, seen = board(THREE)
    async with flock:
        await flock.arun("judge", Draft(number=1))
        await flock.invoke("judge", Draft(number=2))
        assert seen == [1, 2]


async def test_a_failed_run_is_retried_without_waiting_again() -> None:
    clock = ManualClock(autojump=True)
    flock = Flock(clock=clock)
    attempts: list[int] = []

    async def flaky(draft: Draft) -> None:
        attempts.append(draft.number)
        if len(attempts) < 3:
            raise RuntimeError("busy")

    flock.agent("judge").consumes(
        Draft, activation=When.correlation(WorkflowError).count_at_most(0)
    ).calls(flaky).retry(2)
    async with flock:
        await flock.publish(Draft(number=1), correlation_id="w")
        await flock.run_until_idle()
        [letter] = await flock.dead_letters()
        await flock.redrive(letter.id)
        report = await flock.run_until_idle()
        assert (attempts, report.waiting) == ([1, 1, 1], 0)


async def test_a_predicate_that_raises_is_logged_and_does_not_match(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def picky(yes: bool) -> bool:
        if yes:
            raise ValueError("too sure")
        return True

    flock, seen = board(When.correlation(Vote).any_field(field="yes", predicate=picky))
    async with flock:
        await flock.publish(Draft(), correlation_id="w")
        await flock.publish(Vote(), correlation_id="w")
        await flock.run_until_idle()
        assert seen == []
        await flock.publish(Vote(yes=False), correlation_id="w")
        await flock.run_until_idle()
        assert seen == [0]
    assert "picky" in caplog.text
    assert "too sure" in caplog.text


# --- over restarts, and in forks ---


async def test_what_waits_goes_on_waiting_when_the_board_is_opened_again(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/board.db"
    flock, seen = board(THREE, store=store)
    async with flock:
        for number in range(20):
            await flock.publish(Draft(number=number), correlation_id=f"w{number % 4}")
        for number in range(4):
            await flock.publish_many([Vote()] * number, correlation_id=f"w{number}")
        await flock.run_until_idle()
        assert seen == [3, 7, 11, 15, 19]
    flock, seen = board(THREE, store=store)
    async with flock:
        report = await flock.run_until_idle()
        assert (seen, report.waiting) == ([], 15)
        await flock.publish(Vote(), correlation_id="w2")
        report = await flock.run_until_idle()
        assert (seen, report.waiting) == ([2, 6, 10, 14, 18], 10)


async def test_what_came_meanwhile_counts_when_the_board_is_opened_again(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/board.db"
    flock, seen = board(THREE, store=store)
    async with flock:
        await flock.publish(Draft(number=1), correlation_id="w")
    async with Flock(store=store) as other:  # without the agent
        await other.publish_many([Vote()] * 3, correlation_id="w")
    async with flock:
        report = await flock.run_until_idle()
        assert (seen, report.waiting) == ([1], 0)


async def test_what_had_gone_on_to_a_gate_does_not_wait_again(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/board.db"
    seen: list[list[int]] = []

    async def note(drafts: list[Draft]) -> None:
        seen.append([draft.number for draft in drafts])

    def made() -> Flock:
        flock = Flock(store=store)
        flock.agent("judge").consumes(
            Draft,
            batch=BatchSpec(size=3),
            activation=When.correlation(Vote).count_at_most(0),
        ).calls(note)
        return flock

    async with made() as flock:
        await flock.publish_many([Draft(number=1), Draft(number=2)], correlation_id="w")
        await flock.run_until_idle()
        await flock.publish(Vote(), correlation_id="w")
        await flock.publish(Draft(number=3), correlation_id="w")
        await flock.run_until_idle()
    async with made() as flock:
        assert (await flock.run_until_idle()).waiting == 3
        await flock.publish(Draft(number=4), correlation_id="v")
        report = await flock.run_until_idle()
        assert (seen, report.waiting) == ([[1, 2, 4]], 1)


async def test_a_board_in_memory_goes_on_too() -> None:
    flock, seen = board(THREE)
    async with flock:
        await flock.publish(Draft(number=1), correlation_id="w")
        await flock.publish_many([Vote()] * 2, correlation_id="w")
    async with flock:
        assert (await flock.run_until_idle()).waiting == 1
        await flock.publish(Vote(), correlation_id="w")
        await flock.run_until_idle()
        assert seen == [1]


async def test_in_a_fork_the_condition_is_asked_of_the_fork() -> None:
    flock, seen = board(THREE)
    async with flock:
        await flock.publish(Draft(number=1), correlation_id="w")
        await flock.publish_many([Vote()] * 2, correlation_id="w")
        await flock.run_until_idle()
        fork = await flock.fork("w")
        assert (fork.waiting, seen) == (1, [])
        await flock.publish(Vote(), correlation_id="w")
        await flock.run_until_idle()
        assert seen == [1]
        again: list[int] = []

        async def other(draft: Draft) -> None:
            again.append(draft.number)

        fork = await flock.fork("w", agents={"judge": other})
        assert (again, fork.waiting) == ([1], 0)
        fork = await flock.fork("w", at=3, agents={"judge": other})
        assert (again, fork.waiting) == ([1, 1], 0)
        assert seen == [1]


async def test_closing_while_it_is_counted_loses_nothing() -> None:
    store = SuspendingStore()
    flock, seen = board(THREE, store=store)
    async with flock:
        await flock.publish_many([Vote()] * 3, correlation_id="w")
        await flock.publish(Draft(number=1), correlation_id="w")
        await flock.shutdown(grace=0)
    async with flock:
        await flock.run_until_idle()
        assert seen == [1]
