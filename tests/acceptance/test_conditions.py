"""`run_until` returns as soon as a condition holds, and waits for nothing else."""

# Conditions of users and agents are short lambdas here.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel, computed_field

from flock import (
    Artifact,
    BatchSpec,
    BoardView,
    Condition,
    DeclarationError,
    FilterConfig,
    Flock,
    InMemoryBlackboardStore,
    NotIdle,
    OrchestratorComponent,
    PrivateVisibility,
    StoreError,
    Until,
    When,
)
from flock.testing import ManualClock
from tests.acceptance.support import until


class Order(BaseModel):
    number: int = 0
    note: str = ""

    @computed_field
    @property
    def is_large(self) -> bool:
        return self.number > 100


class Invoice(BaseModel):
    number: int = 0


class Never(BaseModel):
    pass


QUIET = ManualClock()
"""Knows when nothing more can happen, threads of stores included."""


@pytest.fixture(autouse=True)
async def observed() -> None:
    await QUIET.settle()


async def answered(task: "asyncio.Task[bool]") -> bool:
    """Whether a waiter is answered once everything has happened that needs no time."""
    await QUIET.settle()
    return task.done()


def waiting(flock: Flock, condition: Condition, **options: Any) -> "asyncio.Task[bool]":
    return asyncio.ensure_future(flock.run_until(condition, **options))


# --- what is counted ---


async def test_it_returns_at_once_what_holds_already() -> None:
    async with Flock() as flock:
        for number in range(3):
            await flock.publish(Order(number=number))
        assert await flock.run_until(Until.artifact_count(Order).exactly(3)) is True
        assert await flock.run_until(Until.artifact_count("Invoice").at_most(0)) is True


@pytest.mark.parametrize(
    ("condition", "after"),
    [
        (Until.artifact_count(Order).at_least(2), 2),
        (Until.artifact_count(Order).exactly(3), 3),
        (~Until.artifact_count(Order).at_most(3), 4),
        (Until.exists(Order), 1),
        (~Until.none(Order), 1),
        (Until.any_field(Order, field="number", predicate=lambda n: n == 2), 2),
        (Until.any_field(Order, field="is_large", predicate=lambda large: not large), 1),
        (Until.exists(Order) & Until.artifact_count(Order).at_least(2), 2),
        (Until.exists(Invoice) | Until.artifact_count(Order).at_least(3), 3),
        (Until.exists(Order, tags="4"), 4),
        (Until.exists(Order, tags=["even", "4"]), 4),
        (Until.exists(Order, correlation_id="w3"), 3),
        (Until.exists(Order, produced_by="external") & Until.exists(Order, tags="even"), 2),
    ],
)
async def test_it_returns_when_it_holds_and_not_before(condition: Condition, after: int) -> None:
    async with Flock() as flock:
        task = waiting(flock, condition)
        for number in range(1, after + 1):
            assert not await answered(task)
            tags = [str(number), "odd" if number % 2 else "even"]
            await flock.publish(Order(number=number), tags=tags, correlation_id=f"w{number}")
        assert await task is True


async def test_a_moment_is_enough() -> None:
    async with Flock() as flock:
        exactly = waiting(flock, Until.artifact_count(Order).exactly(2))
        too_late = waiting(flock, Until.artifact_count(Order).exactly(2) & Until.exists(Invoice))
        assert not await answered(exactly)
        for _ in range(5):  # without giving it a turn in between
            await flock.publish(Order())
        await flock.publish(Invoice())
        assert await exactly is True
        assert not await answered(too_late)
        too_late.cancel()


async def test_what_is_committed_at_once_counts_at_once() -> None:
    async with Flock() as flock:
        exactly = waiting(flock, Until.artifact_count(Order).exactly(1))
        both = waiting(flock, Until.artifact_count(Order).exactly(2))
        assert not await answered(exactly)
        await flock.publish_many([Order(), Order()])
        assert await both is True
        assert not await answered(exactly)
        exactly.cancel()


async def test_everything_on_the_board_counts_however_it_came() -> None:
    async def parts(order: Order) -> AsyncIterator[Invoice]:
        for number in range(3):
            yield Invoice(number=number)
        if order.note == "broken":
            raise RuntimeError("no paper")

    async with Flock() as flock:
        flock.agent("biller").consumes(Order).publishes(Invoice).calls(parts)
        made = waiting(flock, Until.artifact_count(Invoice, produced_by="biller").exactly(3))
        failed = waiting(flock, Until.workflow_error("w"))
        elsewhere = waiting(flock, Until.workflow_error("other"))
        silent = waiting(flock, Until.exists(Never))
        await flock.publish(Order(note="broken"), correlation_id="w")
        assert await made is True
        assert await failed is True
        await flock.publish(Never(), schedule_immediately=False)
        assert await silent is True
        assert await flock.run_until(Until.workflow_error()) is True
        assert not await answered(elsewhere)
        elsewhere.cancel()


async def test_it_counts_whoever_may_read_it_and_takes_agents_for_producers() -> None:
    async with Flock() as flock:
        biller = (
            flock.agent("biller")
            .consumes(Order)
            .publishes(Invoice, visibility=PrivateVisibility(agents=frozenset({"nobody"})))
            .calls(lambda order: Invoice(number=order.number))
        )
        await flock.publish(Order(number=7))
        seven = Until.any_field(
            Invoice, field="number", predicate=lambda n: n == 7, produced_by=[biller]
        )
        assert await flock.run_until(seven) is True


async def test_deletions_count() -> None:
    clock = ManualClock()
    async with Flock(clock=clock) as flock:
        await flock.publish(Order(number=1))
        await clock.advance(10)
        await flock.publish(Order(number=2))
        none = waiting(flock, Until.none(Order))
        one = waiting(flock, Until.artifact_count(Order).exactly(1))
        first = waiting(flock, ~Until.any_field(Order, field="number", predicate=lambda n: n == 1))
        second = waiting(flock, ~Until.any_field(Order, field="number", predicate=lambda n: n > 0))
        assert not await answered(none)
        assert await flock.store.delete_before(clock.now()) == 1
        assert await one is True
        assert await first is True
        assert not await answered(none)
        assert not second.done()
        assert await flock.store.keep_newest(0) == 1
        assert await none is True
        assert await second is True


async def test_a_field_that_is_deleted_may_be_found_in_an_older_artifact() -> None:
    async with Flock() as flock:
        await flock.publish(Order(number=1), correlation_id="old")
        await flock.publish(Order(number=1), correlation_id="new")
        one = Until.any_field(Order, field="number", predicate=lambda n: n == 1)
        task = waiting(flock, one & Until.exists(Invoice))
        assert not await answered(task)
        await flock.publish(Order(number=2), correlation_id="new")
        assert await flock.store.keep_newest(1) == 1
        assert not await answered(task)
        await flock.publish(Invoice())
        assert await task is True


async def test_one_commit_may_be_about_many_workflows() -> None:
    async with Flock() as flock:
        workflows = ["a", "b", "c"]
        tasks = [waiting(flock, Until.exists(Order, correlation_id=w)) for w in workflows]
        assert not await answered(tasks[0])
        await flock.publish_many([Artifact.of(Order(), correlation_id=w) for w in workflows])
        assert await asyncio.gather(*tasks) == [True] * 3


async def test_who_begins_to_wait_while_others_publish_counts_each_once() -> None:
    async with Flock() as flock:
        total = 0
        for rounds in range(30):
            publishing = [asyncio.ensure_future(flock.publish(Order())) for _ in range(rounds)]
            total += rounds
            tasks: list[asyncio.Task[bool]] = []
            for _ in range(10):
                tasks.append(waiting(flock, Until.artifact_count(Order).at_least(total + 1)))
                tasks.append(waiting(flock, Until.artifact_count(Order).at_least(total)))
                await asyncio.sleep(0)
            await asyncio.gather(*publishing)
            await QUIET.settle()
            assert [task.done() for task in tasks] == [False, True] * 10
            for task in tasks:
                task.cancel()


async def test_a_restarted_board_counts_what_was_there() -> None:
    store = InMemoryBlackboardStore()
    async with Flock(store=store) as flock:
        await flock.publish_many([Order(number=n) for n in range(600)])
    async with Flock(store=store) as flock:
        task = waiting(flock, Until.artifact_count(Order).exactly(601))
        first = Until.any_field(Order, field="number", predicate=lambda n: n == 0)
        assert await flock.run_until(first, timeout=0)
        await flock.publish(Order())
        assert await task is True


async def test_a_predicate_that_raises_is_logged_and_does_not_match(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def picky(number: int) -> bool:
        if number < 2:
            raise ValueError("too small")
        return True

    async with Flock() as flock:
        await flock.publish(Order(number=0))
        task = waiting(flock, Until.any_field(Order, field="number", predicate=picky))
        assert not await answered(task)
        await flock.publish(Order(number=1))
        assert not await answered(task)
        await flock.publish(Order(number=2))
        assert await task is True
    assert "picky" in caplog.text
    assert "too small" in caplog.text


# --- work ---


async def test_idle_waits_for_what_falls_due_and_pending_work_does_not() -> None:
    clock = ManualClock()
    async with Flock(clock=clock) as flock:
        flock.agent("late").consumes(Order, batch=BatchSpec(size=5, timeout=60)).calls(
            lambda orders: Invoice()
        ).publishes(Invoice)
        await flock.publish(Order())
        idle = waiting(flock, Until.idle())
        assert await flock.run_until(Until.no_pending_work()) is True
        assert not await answered(idle)
        billed = waiting(flock, Until.idle() & Until.exists(Invoice))
        await clock.advance(60)
        assert await idle is True
        assert await billed is True


async def test_work_that_is_retried_later_is_pending() -> None:
    clock = ManualClock()
    attempts: list[int] = []

    async def flaky(order: Order) -> None:
        del order
        attempts.append(1)
        if len(attempts) == 1:
            raise RuntimeError("busy")

    async with Flock(clock=clock) as flock:
        flock.agent("flaky").consumes(Order).calls(flaky).retry(2, backoff=30)
        await flock.publish(Order())
        pending = waiting(flock, Until.no_pending_work())
        await until(lambda: len(attempts) == 1)
        assert not await answered(pending)
        await clock.advance(60)
        assert await pending is True
        assert len(attempts) == 2


async def test_that_work_begins_can_be_waited_for() -> None:
    gate = asyncio.Event()

    async def slow(order: Order) -> None:
        del order
        await gate.wait()

    async with Flock() as flock:
        flock.agent("slow").consumes(Order).calls(slow)
        busy = waiting(flock, ~Until.idle())
        assert not await answered(busy)
        await flock.publish(Order())
        assert await busy is True
        gate.set()


async def test_the_board_is_not_at_rest_between_an_artifact_and_what_it_starts() -> None:
    seen: list[int] = []

    async def bill(order: Order) -> Invoice:
        seen.append(order.number)
        return Invoice(number=order.number)

    async with Flock() as flock:
        flock.agent("biller").consumes(Order).publishes(Invoice).calls(bill)
        for condition in (Until.idle(), Until.no_pending_work()):
            task = waiting(flock, Until.exists(Order) & condition)
            seen.clear()
            await flock.publish(Order(number=1))
            assert await task is True
            assert seen == [1]
            task = waiting(flock, Until.artifact_count(Order).at_least(2) & condition)
            await flock.arun("biller", Order(number=2))
            assert await task is True
            assert seen == [1, 2]
            await flock.store.keep_newest(0)


async def test_components_hear_of_idle_first_and_what_they_publish_is_waited_for() -> None:
    class OneMore(OrchestratorComponent):
        is_done = False

        async def on_idle(self, orchestrator: Any) -> None:
            if not self.is_done:
                self.is_done = True
                await orchestrator.publish(Order(number=1))

    async with Flock().add_component(OneMore()) as flock:
        flock.agent("biller").consumes(Order).publishes(Invoice).calls(
            lambda order: Invoice(number=order.number)
        )
        await flock.publish(Order())
        assert await flock.run_until(Until.idle()) is True
        assert len(await flock.store.get_by_type(Invoice)) == 2


async def test_waiting_takes_nothing_from_the_next_report() -> None:
    async with Flock() as flock:
        flock.agent("biller").consumes(Order).publishes(Invoice).calls(lambda order: Invoice())
        await flock.publish(Order())
        await flock.run_until(Until.idle())
        report = await flock.run_until_idle()
        assert report.runs == 1


# --- time, ends and errors ---


async def test_it_waits_on_an_idle_board_until_its_time_is_over() -> None:
    clock = ManualClock()
    async with Flock(clock=clock) as flock:
        timed = waiting(flock, Until.exists(Order), timeout=timedelta(minutes=1))
        endless = waiting(flock, Until.exists(Order))
        await flock.run_until_idle()
        await clock.advance(59)
        assert not timed.done()
        await clock.advance(1)
        assert await timed is False
        await clock.advance(timedelta(days=100))
        assert not endless.done()
        await flock.publish(Order())
        assert await endless is True


async def test_no_time_at_all_asks_once() -> None:
    async with Flock() as flock:
        assert await flock.run_until(Until.exists(Order), timeout=0) is False
        assert await flock.run_until(Until.idle(), timeout=0) is True
        await flock.publish(Order())
        assert await flock.run_until(Until.exists(Order), timeout=0) is True


async def test_whoever_waits_is_told_when_the_board_is_shut_down() -> None:
    flock = Flock()
    conditions = [Until.exists(Never), ~Until.idle() & Until.exists(Never), Asks(lambda _: never())]
    tasks = [waiting(flock, condition) for condition in conditions]
    assert not await answered(tasks[0])
    await flock.shutdown()
    for task in tasks:
        with pytest.raises(NotIdle, match="shut down before the condition held"):
            await task
    async with flock:  # and it can be opened again
        await flock.publish(Never())
        assert await flock.run_until(Until.exists(Never)) is True


async def test_a_board_that_is_shutting_down_takes_nobody_in() -> None:
    told: list[NotIdle] = []

    class Late(OrchestratorComponent):
        async def on_shutdown(self, orchestrator: Any) -> None:
            try:
                await orchestrator.run_until(Until.exists(Order))
            except NotIdle as error:
                told.append(error)

    async with Flock().add_component(Late()):
        pass
    assert "shutting down" in str(told)


async def test_what_comes_while_work_ends_at_a_shutdown_still_counts() -> None:
    async def bill(order: Order) -> Invoice:
        await asyncio.sleep(0)
        return Invoice(number=order.number)

    flock = Flock()
    flock.agent("biller").consumes(Order).publishes(Invoice).calls(bill)
    task = waiting(flock, Until.exists(Invoice))
    assert not await answered(task)
    await flock.publish(Order())
    await flock.shutdown()
    assert await task is True


async def test_cancelling_who_waits_leaves_nothing_behind() -> None:
    asked: list[str] = []

    async def slowly(board: BoardView) -> bool:
        del board
        try:
            asked.append("asked")
            await never()
        finally:
            asked.append("cancelled")
        return True

    async with Flock() as flock:
        await flock.run_until_idle()
        await QUIET.settle()
        before = asyncio.all_tasks()
        tasks = [
            waiting(flock, c) for c in (Until.exists(Never), Until.exists(Order), Asks(slowly))
        ]
        await until(lambda: asked == ["asked"])
        assert not await answered(tasks[0])
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        assert asked == ["asked", "cancelled"]
        assert asyncio.all_tasks() == before


async def test_an_agent_may_wait_for_artifacts_and_not_for_its_own_end() -> None:
    told: list[Exception] = []
    found: list[bool] = []

    async def curious(order: Order) -> None:
        del order
        for condition in (
            Until.idle(),
            ~Until.no_pending_work(),
            Until.exists(Invoice) | Until.idle(),
            Asks(lambda _: now(value=True)),
        ):
            try:
                await flock.run_until(condition)
            except NotIdle as error:
                told.append(error)
        found.append(await flock.run_until(Until.exists(Invoice)))
        found.append(await flock.run_until(AsksOf(lambda _: now(value=True))))

    flock = Flock()
    async with flock:
        flock.agent("curious").consumes(Order).calls(curious)
        flock.agent("biller").consumes(Order).publishes(Invoice).calls(lambda order: Invoice())
        await flock.publish(Order())
        await flock.run_until_idle(raise_on_error=True)
        assert found == [True, True]
        assert len(told) == 4
        assert all("inside agent 'curious'" in str(error) for error in told)


async def test_a_store_that_cannot_be_read_is_whoever_waits_error() -> None:
    class Broken(InMemoryBlackboardStore):
        async def count(
            self, where: FilterConfig | None = None, *, until: int | None = None
        ) -> int:
            raise StoreError("out of order")

    async with Flock(store=Broken()) as flock:
        with pytest.raises(StoreError, match="out of order"):
            await flock.run_until(Until.exists(Order))


async def test_many_wait_at_once_each_for_its_own() -> None:
    async with Flock() as flock:
        tasks = [
            waiting(flock, Until.artifact_count(Order, correlation_id=f"w{n % 10}").at_least(n))
            for n in range(100)
        ]
        assert not await answered(tasks[-1])
        for n in range(1000):
            await flock.publish(Order(), correlation_id=f"w{n % 10}")
        assert await asyncio.gather(*tasks) == [True] * 100


# --- conditions of one's own ---


class Asks(Condition):
    """Asks a function, again whenever anything happens."""

    def __init__(self, function: Callable[[BoardView], Awaitable[bool]]) -> None:
        self.function = function

    async def holds(self, board: BoardView) -> bool:
        return await self.function(board)


class AsksOf(Asks):
    """Asks a function, again when an order was published or something deleted."""

    types = (Order,)


async def never() -> bool:
    await asyncio.get_running_loop().create_future()
    raise AssertionError


async def later(value: int) -> bool:
    return bool(value)


async def now(*, value: bool) -> bool:
    return value


async def test_a_condition_of_ones_own_is_asked_again_when_what_it_depends_on_happens() -> None:
    asked: list[int] = []

    async def enough(board: BoardView) -> bool:
        count = await board.count(FilterConfig(type_names=[Order]))
        asked.append(count)
        return count >= 2

    async with Flock() as flock:
        task = waiting(flock, AsksOf(enough))
        assert not await answered(task)
        await flock.publish(Invoice())
        await flock.run_until_idle()
        assert not await answered(task)
        assert asked == [0]
        await flock.publish(Order())
        assert not await answered(task)
        assert asked == [0, 1]
        await flock.publish(Order())
        assert await task is True
        assert asked == [0, 1, 2]


async def test_a_condition_of_ones_own_may_depend_on_everything() -> None:
    gate = asyncio.Event()

    async def slow(order: Order) -> None:
        del order
        await gate.wait()

    async def rested(board: BoardView) -> bool:
        newest = await board.latest(FilterConfig(type_names=[Order]))
        return bool(newest) and board.is_idle and not board.has_pending_work

    async with Flock() as flock:
        flock.agent("slow").consumes(Order).calls(slow)
        task = waiting(flock, Asks(rested))
        assert not await answered(task)
        await flock.publish(Order())
        assert not await answered(task)
        gate.set()
        assert await task is True


async def test_conditions_of_ones_own_are_combined_like_all_others() -> None:
    async def said(board: BoardView) -> bool:
        return await Until.exists(Order).holds(board)

    async with Flock() as flock:
        task = waiting(
            flock, AsksOf(said) & ~Until.none(Invoice) & ~AsksOf(lambda _: now(value=0 > 1))
        )
        assert not await answered(task)
        await flock.publish(Order())
        assert not await answered(task)
        await flock.publish(Invoice())
        assert await task is True


async def test_a_condition_that_raises_is_logged_and_does_not_hold(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked: list[int] = []

    async def flaky(board: BoardView) -> bool:
        del board
        asked.append(1)
        if len(asked) < 3:
            raise RuntimeError("not today")
        return True

    async with Flock() as flock:
        task = waiting(flock, AsksOf(flaky))
        assert not await answered(task)
        await flock.publish(Order())
        assert not await answered(task)
        await flock.publish(Order())
        assert await task is True
    assert "AsksOf" in caplog.text
    assert "not today" in caplog.text


async def test_time_ends_a_condition_that_never_answers() -> None:
    clock = ManualClock()
    async with Flock(clock=clock) as flock:
        task = waiting(flock, Asks(lambda _: never()), timeout=5)
        found = waiting(flock, Until.exists(Order) | Asks(lambda _: never()))
        assert not await answered(task)
        await clock.advance(5)
        assert await task is False
        await flock.publish(Order())
        assert await found is True


async def test_a_condition_may_change_while_it_is_asked() -> None:
    asked: list[int] = []
    answers: list[asyncio.Future[bool]] = []

    async def slowly(board: BoardView) -> bool:
        asked.append(await board.count())
        answers.append(asyncio.get_running_loop().create_future())
        return await answers[-1]

    async with Flock() as flock:
        task = waiting(flock, AsksOf(slowly))
        await until(lambda: len(answers) == 1)
        await flock.publish(Order())
        answers[0].set_result(False)
        await until(lambda: len(answers) == 2)
        assert asked == [0, 1]
        await flock.publish(Order())
        answers[1].set_result(True)  # it held when it was asked
        assert await task is True


# --- what makes no sense ---

BAD: list[tuple[Callable[[], object], str]] = [
    (lambda: Until.exists(3), "Until.exists takes a model class.*not 3"),  # pyright: ignore[reportArgumentType]
    (lambda: Until.exists(Order()), "takes a model class"),  # pyright: ignore[reportArgumentType]
    (lambda: Until.none("NoSuchOrder"), "Until.none: .*NoSuchOrder"),
    (lambda: Until.exists(Order, correlation_id=""), "correlation_id is the id of a workflow"),
    (lambda: Until.exists(Order, correlation_id=3), "workflow, not 3"),  # pyright: ignore[reportArgumentType]
    (lambda: Until.exists(Order, tags=[]), "tags takes one or more words"),
    (lambda: Until.exists(Order, produced_by=[3]), "produced_by takes one or more words"),
    (lambda: Until.artifact_count(Order).at_least(-1), "at_least takes a whole number from 0"),
    (lambda: Until.artifact_count(Order).at_most(True), "at_most takes a whole number"),
    (lambda: Until.artifact_count(Order).exactly(1.5), "exactly takes"),  # pyright: ignore[reportArgumentType]
    (lambda: Until.any_field(Order, field="size", predicate=bool), "no field 'size'.*'number'"),
    (lambda: Until.any_field(Order, field="number", predicate=3), "lambda value: value == 3"),  # pyright: ignore[reportArgumentType]
    (lambda: Until.any_field(Order, field="number", predicate=later), "is async"),
    (lambda: bool(Until.idle()), "combine conditions with &, | and ~"),
    (lambda: Until.idle() and Until.exists(Order), "instead of and, or and not"),
    (lambda: bool(When.correlation(Order).exists()), "combine conditions with &"),
    (lambda: bool(Until.artifact_count(Order)), "finish it with at_least"),
    (lambda: Until.idle() & Until.artifact_count(Order), "finish it with at_least"),  # pyright: ignore[reportOperatorIssue]
    (lambda: ~Until.artifact_count(Order), "finish it with at_least"),
    (lambda: When.correlation(Order).count_at_least(-1), "count_at_least takes"),
    (lambda: When.correlation(int), "When.correlation takes a model class"),  # pyright: ignore[reportArgumentType]
    (lambda: When.correlation(Order).any_field(field="x", predicate=bool), "no field 'x'"),
    (lambda: ~When.correlation(Order), "finish it with count_at_least"),
]


@pytest.mark.parametrize(("make", "said"), BAD)
def test_what_makes_no_sense_is_refused_with_a_remedy(
    make: Callable[[], object], said: str
) -> None:
    with pytest.raises(DeclarationError, match=said.replace("(", r"\(").replace("|", r"\|")):
        make()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "such as Until.exists"),
        (lambda: True, "such as Until.exists"),
        (Until, "such as Until.exists"),
        (Asks, "make an instance"),
        (When.correlation(Order).exists(), "so use Until"),
        (Until.artifact_count(Order), "finish it with"),
    ],
)
async def test_only_conditions_can_be_waited_for(given: Any, said: str) -> None:
    async with Flock() as flock:
        with pytest.raises(DeclarationError, match=said):
            await flock.run_until(given)


async def test_a_condition_that_overrides_nothing_says_so(caplog: pytest.LogCaptureFixture) -> None:
    async with Flock() as flock:
        with caplog.at_level(logging.ERROR):
            assert await flock.run_until(Condition(), timeout=0) is False
    assert "overrides no `async def holds(self, board) -> bool`" in caplog.text


def test_conditions_show_what_they_ask() -> None:
    condition = ~(Until.artifact_count(Order, tags="a").at_least(3) & Until.idle())
    assert "Order, tags=['a']" in repr(condition)
    assert "Until.idle()" in repr(condition)
