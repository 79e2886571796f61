"""What runs spend is written down, and budgets stop them before they are exceeded."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import pytest
from pydantic import BaseModel

from flock import (
    Agent,
    Artifact,
    Budget,
    BudgetExceeded,
    Context,
    DeadLetter,
    DeclarationError,
    EngineComponent,
    EvalInputs,
    Flock,
    FlockError,
    InMemoryBlackboardStore,
    OutputGroup,
    RunFailed,
    RunSucceeded,
    StoreError,
    Usage,
    WorkflowError,
)
from flock.store.protocol import BlackboardStore, Commit

from .support import SuspendingStore


class Question(BaseModel):
    number: int = 0


class Answer(BaseModel):
    number: int


class Thinker(EngineComponent):
    """Takes a fixed number of tokens per call, after asking whether it may."""

    def __init__(self, tokens: int = 10, usd: float | None = 0.5, model: str = "m") -> None:
        super().__init__(name="thinker")
        self.tokens = tokens
        self.usd = usd
        self.model = model
        self.calls = 0
        self.gate: asyncio.Event | None = None
        self.fails = 0

    async def evaluate(
        self, agent: Agent, ctx: Context, inputs: EvalInputs, output_group: OutputGroup
    ) -> object:
        held = await ctx.reserve(self.model, tokens=self.tokens, usd=self.usd)
        try:
            if self.gate is not None:
                await self.gate.wait()
            self.calls += 1
            usage = Usage(calls=1, input_tokens=self.tokens - 2, output_tokens=2, usd=self.usd)
            await ctx.charge(self.model, usage)
        finally:
            if held is not None:
                held.release()
        if self.fails:
            self.fails -= 1
            msg = "not this time"
            raise RuntimeError(msg)
        question = inputs.first_as(Question)
        assert question is not None
        return Answer(number=question.number)


def thinking(board: Flock, engine: Thinker, name: str = "thinker") -> None:
    board.agent(name).consumes(Question).publishes(Answer).with_engines(engine)


async def test_usage_is_known_by_run_workflow_agent_and_model() -> None:
    async with Flock() as board:
        thinking(board, Thinker(), "one")
        thinking(board, Thinker(tokens=7, usd=None, model="n"), "two")
        stream = board.events()
        await board.publish(Question(number=1), correlation_id="w1")
        await board.publish(Question(number=2), correlation_id="w2")
        report = await board.run_until_idle()
        ten = Usage(1, 8, 2, 0, 0.5)
        seven = Usage(1, 5, 2, 0, None)
        assert report.usage == {"m": ten + ten, "n": seven + seven}
        assert (await board.spent()).models == report.usage
        assert (await board.spent("w1")).models == {"m": ten, "n": seven}
        assert (await board.spent(agent="two")).models == {"n": seven + seven}
        assert (await board.spent("w1", agent="one")).total == ten
        assert (await board.spent("elsewhere")).total == Usage()
        runs: list[RunSucceeded] = []
        async for event in stream:
            if isinstance(event, RunSucceeded):
                runs.append(event)
            if len(runs) == 4:
                break
        for run in runs:
            assert (await board.spent(run_id=run.run_id)).models == run.usage != {}
        assert (await board.run_until_idle()).usage == {}


async def test_what_failed_attempts_took_counts() -> None:
    async with Flock() as board:
        engine = Thinker()
        engine.fails = 2
        board.agent("t").consumes(Question).publishes(Answer).with_engines(engine).retry(2, 0.001)
        stream = board.events()
        await board.publish(Question())
        report = await board.run_until_idle()
        assert report.failed == 1
        assert report.usage["m"].tokens == 20
        async for event in stream:
            if isinstance(event, RunFailed):
                assert event.usage["m"].calls == 2
                break


async def test_a_token_budget_stops_before_it_is_exceeded() -> None:
    async with Flock().budget(tokens=35) as board:
        engine = Thinker(tokens=10)
        thinking(board, engine)
        await board.publish_many([Question(number=n) for n in range(6)])
        report = await board.run_until_idle()
        assert engine.calls == 3
        assert report.usage["m"].tokens == 30
        assert (report.runs, report.failed, report.dead_letters) == (6, 3, 3)
        assert all(isinstance(error.__cause__, BudgetExceeded) for error in report.errors)
        text = str(report.errors[0])
        assert "the board" in text
        assert "35" in text
        assert "redrive" in text
        assert len(await board.store.get_by_type(WorkflowError)) == 3


async def test_calls_that_go_on_are_counted_by_what_they_may_take() -> None:
    async with Flock().budget(tokens=35) as board:
        engine = Thinker(tokens=10)
        engine.gate = asyncio.Event()
        thinking(board, engine)
        await board.publish_many([Question(number=n) for n in range(6)])
        for _ in range(20):
            await asyncio.sleep(0)
        engine.gate.set()
        report = await board.run_until_idle()
        assert engine.calls == 3
        assert report.usage["m"].tokens == 30
        text = str(report.errors[0])
        assert "of 35 tokens 30 are spent" in text
        assert "allow more with budget(tokens=...), and redrive the run" in text


async def test_a_call_waits_for_what_others_may_give_back() -> None:
    async with Flock().budget(tokens=100) as board:

        async def modest(question: Question, ctx: Context) -> Answer:
            held = await ctx.reserve("m", tokens=60)  # and takes less
            assert held is not None
            await asyncio.sleep(0)
            await ctx.charge("m", Usage(calls=1, input_tokens=10))
            held.release()
            return Answer(number=question.number)

        board.agent("modest").consumes(Question).publishes(Answer).calls(modest)
        await board.publish_many([Question(number=n) for n in range(6)])
        report = await board.run_until_idle()
        assert report.usage["m"].calls == 5, "the sixth might have taken 60 of the 50 left"
        assert (report.runs, report.failed) == (6, 1)


async def test_a_call_that_waits_for_room_can_be_cancelled() -> None:
    async with Flock().budget(tokens=10) as board:
        engine = Thinker(tokens=10)
        engine.gate = asyncio.Event()
        thinking(board, engine)
        await board.publish(Question(number=1), correlation_id="first")
        await board.publish(Question(number=2), correlation_id="second")
        for _ in range(20):
            await asyncio.sleep(0)
        assert await board.cancel("second") == 1
        assert await board.cancel("first") == 1
        await board.publish(Question(number=3), correlation_id="third")
        engine.gate.set()
        report = await board.run_until_idle()
        assert (report.runs, report.failed, engine.calls) == (1, 0, 1)


@pytest.mark.memory_only("a file is read in threads, and either may be the first to ask")
async def test_a_call_of_unknown_size_is_told_that_nothing_is_left() -> None:
    async with Flock().budget(tokens=10) as board:
        thinking(board, Thinker(tokens=10))
        thinking(board, Thinker(tokens=0), "asks what is left")
        await board.publish(Question())
        report = await board.run_until_idle()
        [text] = map(str, report.errors)
        assert "this call of 'm' needs more than is left" in text
        assert "may take 0" not in text


async def test_a_refused_run_waits_as_a_dead_letter_for_a_larger_budget() -> None:
    store = InMemoryBlackboardStore()
    async with Flock(store=store).budget(usd=1.0) as board:
        thinking(board, Thinker(usd=0.75))
        await board.publish_many([Question(number=n) for n in range(2)])
        await board.run_until_idle()
        assert [a.number for a in await store.get_by_type(Answer)] == [0]
    async with Flock(store=store).budget(usd=2.0) as board:
        thinking(board, Thinker(usd=0.75))
        (letter,) = await board.dead_letters()
        await board.redrive(letter.id)
        await board.run_until_idle()
        assert [a.number for a in await store.get_by_type(Answer)] == [0, 1]
        assert (await board.spent()).total.usd == 1.5


async def test_a_budget_holds_for_as_long_as_the_board_however_often_it_is_opened() -> None:
    store = InMemoryBlackboardStore()
    answered = 0
    for n in range(4):
        async with Flock(store=store).budget(tokens=25) as board:
            engine = Thinker(tokens=10)
            thinking(board, engine)
            await board.publish(Question(number=n))
            await board.run_until_idle()
            answered += engine.calls
    assert answered == 2


@pytest.mark.parametrize("per", ["board", "workflow"])
async def test_an_agents_budget_of_runs_bounds_how_many_begin(per: str) -> None:
    ran: list[int] = []
    refused: list[DeadLetter] = []
    store = InMemoryBlackboardStore()

    async def work(question: Question) -> None:
        ran.append(question.number)

    for _ in range(2):
        async with Flock(store=store) as board:
            limited = board.agent("limited").consumes(Question).calls(work)
            limited.budget(runs=3, per=per)  # pyright: ignore[reportArgumentType]
            for workflow in ("w1", "w2"):
                await board.publish_many([Question()] * 2, correlation_id=workflow)
            await board.run_until_idle()
            refused = await board.dead_letters()
    assert len(ran) == (3 if per == "board" else 6)
    assert len(refused) == 8 - len(ran)
    assert all(letter.error_type == "BudgetExceeded" for letter in refused)


async def test_a_run_that_is_tried_again_or_redriven_counts_once() -> None:
    attempts = 0

    async def work(question: Question) -> None:
        nonlocal attempts
        attempts += 1
        if attempts < 4:
            msg = "no"
            raise ValueError(msg)

    async with Flock().budget(runs=1) as board:
        board.agent("a").consumes(Question).calls(work).retry(3, 0.001)
        await board.publish(Question())
        await board.run_until_idle()
        (letter,) = await board.dead_letters()
        await board.redrive(letter.id)
        report = await board.run_until_idle()
        assert (attempts, report.failed) == (4, 0)
        assert (await board.spent()).runs == 1


async def test_money_cannot_be_bounded_for_a_model_of_unknown_price() -> None:
    async with Flock().budget(usd=10) as board:
        engine = Thinker(usd=None, model="mystery")
        thinking(board, engine)
        await board.publish(Question())
        report = await board.run_until_idle()
        assert engine.calls == 0
        assert "'mystery'" in str(report.errors[0])
        assert str(report.errors[0]).endswith("bound tokens instead, with budget(tokens=...)")


async def test_a_run_over_budget_is_not_tried_again() -> None:
    async with Flock().budget(tokens=5) as board:
        engine = Thinker(tokens=10)
        board.agent("t").consumes(Question).publishes(Answer).with_engines(engine).retry(5, 60)
        await board.publish(Question())
        report = await board.run_until_idle()
        assert (report.failed, engine.calls) == (1, 0)


async def test_what_a_reservation_leaves_is_told() -> None:
    left: list[tuple[int | None, float | None]] = []

    async def work(question: Question, ctx: Context) -> None:
        held = await ctx.reserve("m", tokens=10, usd=0.25)
        assert held is not None
        left.append((held.tokens_left, held.usd_left))
        held.release()
        held.release()
        free = await ctx.reserve("m")
        assert free is not None
        left.append((free.tokens_left, free.usd_left))

    async with Flock().budget(tokens=100).budget(tokens=50, usd=1.0, per="workflow") as board:
        board.agent("a").consumes(Question).calls(work)
        await board.publish(Question())
        await board.run_until_idle(raise_on_error=True)
    assert left == [(50, 1.0), (50, 1.0)]


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ({}, "at least one"),
        ({"tokens": 0}, "tokens"),
        ({"tokens": 1.5}, "tokens"),
        ({"usd": -1}, "usd"),
        ({"usd": float("nan")}, "usd"),
        ({"runs": True}, "runs"),
        ({"runs": 1, "per": "day"}, "per"),
    ],
)
def test_a_senseless_budget_is_refused_where_it_is_declared(
    bounds: dict[str, object], said: str
) -> None:
    board = Flock()
    with pytest.raises(DeclarationError, match=f"agent 'a', budget: .*{said}"):
        board.agent("a").budget(**bounds)  # pyright: ignore[reportArgumentType]
    with pytest.raises(DeclarationError, match=f"the board, budget: .*{said}"):
        board.budget(**bounds)  # pyright: ignore[reportArgumentType]
    with pytest.raises(DeclarationError, match=said):
        Budget(**bounds)  # pyright: ignore[reportArgumentType]


async def test_outside_a_board_usage_is_added_up_in_the_context() -> None:
    ctx = Context()
    assert await ctx.reserve("m", tokens=10**9) is None
    await ctx.charge("m", Usage(1, 2, 3))
    await ctx.charge("m", Usage(1, 2, 3))
    assert ctx.usage == {"m": Usage(2, 4, 6)}


# --- what suspends, fails and is cancelled ------------------------------------------------

on_every_store = pytest.mark.parametrize("make_store", [InMemoryBlackboardStore, SuspendingStore])


@on_every_store
async def test_whatever_fits_a_budget_of_money_is_allowed_however_sums_are_rounded(
    make_store: Callable[[], BlackboardStore],
) -> None:
    async with Flock(store=make_store()).budget(usd=0.3) as board:
        engine = Thinker(usd=0.1)
        thinking(board, engine)
        await board.publish_many([Question(number=n) for n in range(4)])
        report = await board.run_until_idle()
    assert (engine.calls, report.failed) == (3, 1)


@on_every_store
@pytest.mark.parametrize("calls", [5, 16])
async def test_what_is_being_written_down_does_not_count_twice(
    make_store: Callable[[], BlackboardStore], calls: int
) -> None:
    async with Flock(store=make_store()).budget(tokens=10 * calls) as board:
        engine = Thinker(tokens=10)
        thinking(board, engine)
        board.agent("other").consumes(Question).publishes(Answer).with_engines(engine)
        await board.publish_many([Question(number=n) for n in range(calls)])
        report = await board.run_until_idle()
    assert (engine.calls, report.failed) == (calls, calls)


class FullStore(InMemoryBlackboardStore):
    """A store that cannot write charges for a while."""

    fails = 0

    async def commit(self, commit: Commit) -> None:
        if commit.charges and self.fails:
            self.fails -= 1
            msg = "the disk is full"
            raise StoreError(msg)
        await super().commit(commit)


async def test_a_run_whose_beginning_could_not_be_written_has_not_begun() -> None:
    store = FullStore()
    ran: list[int] = []

    async def work(question: Question) -> None:
        ran.append(question.number)

    for fails in (1, 0):
        async with Flock(store=store).budget(runs=3) as board:
            store.fails = fails
            board.agent("a").consumes(Question).calls(work).retry(2, 0)
            await board.publish_many([Question(number=n) for n in range(3)])
            report = await board.run_until_idle()
            assert report.failed == (0 if fails else 3)
            assert (await board.spent()).runs == 3
    assert sorted(ran) == [0, 1, 2]


async def test_what_could_not_be_written_down_counts_until_the_board_closes() -> None:
    store = FullStore()
    async with Flock(store=store).budget(tokens=20) as board:
        store.fails = 1
        engine = Thinker(tokens=10)
        thinking(board, engine)
        for n in range(3):
            await board.publish(Question(number=n))
            await board.run_until_idle()
        assert engine.calls == 2
        assert [letter.error_type for letter in await board.dead_letters()] == [
            "StoreError",
            "BudgetExceeded",
        ]


@on_every_store
@pytest.mark.parametrize("reserves", [True, False])
async def test_what_a_call_took_is_written_down_though_its_run_is_cancelled_meanwhile(
    make_store: Callable[[], BlackboardStore], reserves: bool
) -> None:
    usage = Usage(1, 8, 2)

    async def work(question: Question, ctx: Context) -> None:
        held = await ctx.reserve("m", tokens=10) if reserves else None
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_soon(task.cancel)
        try:
            await ctx.charge("m", usage)
        finally:
            if held is not None:
                held.release()
        await asyncio.sleep(0)

    async with Flock(store=make_store()).budget(tokens=15) as board:
        board.agent("a").consumes(Question).calls(work).max_concurrency(1)
        await board.publish(Question())
        report = await board.run_until_idle()
        assert (report.failed, report.usage) == (1, {"m": usage})
        assert (await board.spent()).models == {"m": usage}
        thinking(board, engine := Thinker(tokens=10))
        await board.publish(Question())
        await board.run_until_idle()
        assert engine.calls == 0


@on_every_store
async def test_a_cancelled_charge_counts_in_every_account_whichever_was_read_already(
    make_store: Callable[[], BlackboardStore],
) -> None:
    async def work(question: Question, ctx: Context) -> None:
        if question.number:  # the board's account is in memory by then, the workflow's is not
            task = asyncio.current_task()
            assert task is not None
            asyncio.get_running_loop().call_soon(task.cancel)
        await ctx.charge("m", Usage(1, 8, 2))
        await asyncio.sleep(0)

    board = Flock(store=make_store()).budget(tokens=25).budget(tokens=100, per="workflow")
    async with board:
        board.agent("a").consumes(Question, mode="direct").calls(work)
        await board.arun("a", Question())
        with contextlib.suppress(FlockError):
            await board.arun("a", Question(number=1))
        assert (await board.spent()).total.tokens == 20
        thinking(board, engine := Thinker(tokens=10))
        await board.publish(Question())
        await board.run_until_idle()
        assert engine.calls == 0


async def test_what_an_agent_calls_counts_in_its_own_workflow() -> None:
    engine = Thinker(tokens=10)
    caught: list[str] = []

    async def outer(answer: Answer) -> None:
        for call in (
            lambda: board.arun("inner", Question()),
            lambda: board.invoke("inner", Question()),
            lambda: board.arun("inner", Artifact.of(Question())),
            lambda: board.arun("inner", Question()),
        ):
            try:
                caught.extend(output.correlation_id for output in await call())
            except BudgetExceeded:
                caught.append("over")
        [other] = await board.arun("inner", Artifact.of(Question(), correlation_id="other"))
        caught.append(other.correlation_id)

    async with Flock().budget(tokens=30, per="workflow") as board:
        board.agent("outer").consumes(Answer, mode="direct").calls(outer)
        inner = board.agent("inner").consumes(Question, mode="direct").publishes(Answer)
        inner.with_engines(engine)
        await board.arun("outer", Artifact.of(Answer(number=0), correlation_id="w"))
        assert caught == ["w", "w", "w", "over", "other"]
        assert (await board.spent("w")).total.tokens == 30
        assert (await board.spent("other")).total.tokens == 10


async def test_cancelling_a_workflow_ends_what_its_agents_have_called() -> None:
    ended: list[str] = []
    begun = asyncio.Event()

    async def inner(question: Question) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("inner")

    async def outer(answer: Answer) -> None:
        try:
            await board.arun("inner", Question())
        finally:
            ended.append("outer")

    async with Flock() as board:
        board.agent("outer").consumes(Answer).calls(outer)
        board.agent("inner").consumes(Question, mode="direct").calls(inner)
        await board.publish(Answer(number=0), correlation_id="w")
        await begun.wait()
        assert (await board.status("w")).running == 2
        await board.cancel("w")
        await board.run_until_idle()
        assert sorted(ended) == ["inner", "outer"]
        assert await board.dead_letters() == []


async def test_a_call_that_is_charged_after_its_run_counts_and_keeps_no_account() -> None:
    late: list[asyncio.Task[None]] = []

    async def work(question: Question, ctx: Context) -> None:
        async def call() -> None:
            await asyncio.sleep(0.01)
            await ctx.charge("m", Usage(1, 8, 2))

        late.append(asyncio.create_task(call()))

    async with Flock().budget(tokens=100, per="workflow") as board:
        board.agent("a").consumes(Question).calls(work)
        asked = await board.publish(Question())
        await board.run_until_idle()
        await asyncio.gather(*late)
        assert (await board.spent(asked.correlation_id)).total.tokens == 10
        assert board._parts.ledger._accounts == {}


@on_every_store
async def test_direct_and_nested_runs_and_each_candidate_are_charged(
    make_store: Callable[[], BlackboardStore],
) -> None:
    engine = Thinker(tokens=10)
    store = make_store()

    async def outer(answer: Answer) -> None:
        await board.arun("inner", Question())
        await board.invoke("inner", Question(), publish_outputs=False)

    async with Flock(store=store).budget(runs=5, tokens=60) as board:
        board.agent("outer").consumes(Answer, mode="direct").calls(outer)
        inner = board.agent("inner").consumes(Question, mode="direct").publishes(Answer)
        inner.with_engines(engine)
        best = board.agent("best").consumes(Question, mode="direct").publishes(Answer)
        best.with_engines(engine).best_of(3)
        await board.arun("outer", Answer(number=0))
        await board.arun("best", Question())
        assert (await board.spent()).runs == 4
        assert (await board.spent()).total.tokens == 50
        assert (await board.spent(agent="inner")).total.calls == 2
        assert (await board.spent(agent="best")).total.calls == 3
        await board.arun("best", Question())  # by the one candidate that may still call
        assert (await board.spent()).total.tokens == 60
        with pytest.raises(BudgetExceeded):
            await board.arun("inner", Question())
    assert engine.calls == 6


async def test_a_run_of_which_every_candidate_is_over_budget_is_not_tried_again() -> None:
    async with Flock().budget(tokens=5) as board:
        agent = board.agent("t").consumes(Question).publishes(Answer).best_of(3).retry(5, 60)
        agent.with_engines(Thinker(tokens=10))
        await board.publish(Question())
        report = await board.run_until_idle(timeout=30)
        assert (report.failed, report.timed_out) == (1, False)
