"""Budgets under any interleaving of calls, cancellations, timeouts and openings.

Agents keep books of their own of what they took and set aside, and compare.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from flock import BudgetExceeded, Context, Flock, InMemoryBlackboardStore, Usage
from flock.store.protocol import BlackboardStore
from flock.testing import ManualClock
from tests.acceptance.support import SuspendingStore, turns

Kind = Literal["quick", "waits", "stuck", "fails"]
CENT = 0.01


class Question(BaseModel):
    number: int
    kind: Kind
    tokens: int
    pauses: int = 0


class Answer(BaseModel):
    number: int


@dataclass(frozen=True)
class Limits:
    board_tokens: int
    board_usd: float
    workflow_tokens: int
    agent_tokens: int
    runs: int


@dataclass
class Call:
    agent: str
    workflow: str
    tokens: int


@dataclass
class Books:
    """What was spent, and what calls that go on may still take."""

    limits: Limits
    going: list[Call] = field(default_factory=list[Call])
    over: list[Call] = field(default_factory=list[Call])
    entered: set[str] = field(default_factory=set[str])

    def _taken(self, fits: Callable[[Call], bool], *, is_going: bool = True) -> int:
        calls = [*self.over, *self.going] if is_going else self.over
        return sum(call.tokens for call in calls if fits(call))

    def lefts(self, agent: str, workflow: str, *, is_going: bool = True) -> list[int]:
        """How many tokens each budget leaves, beside calls that go on unless said."""
        limits = self.limits

        def taken(fits: Callable[[Call], bool]) -> int:
            return self._taken(fits, is_going=is_going)

        every = taken(lambda _: True)
        lefts = [
            limits.board_tokens - every,
            round(limits.board_usd / CENT) - every,
            limits.workflow_tokens - taken(lambda call: call.workflow == workflow),
        ]
        if agent == "bounded":
            lefts.append(limits.agent_tokens - taken(lambda call: call.agent == agent))
        return lefts

    async def call(self, ctx: Context, question: Question) -> None:
        agent, workflow = ctx.agent_identity.name, ctx.correlation_id
        self.entered.add(ctx.run_id)
        asked = question.tokens
        try:
            held = await ctx.reserve("m", tokens=asked, usd=asked * CENT)
        except BudgetExceeded:
            lefts = self.lefts(agent, workflow, is_going=False)
            assert min(lefts) < asked, f"{asked} were refused, and {lefts} are not spent"
            raise
        assert held is not None
        call = Call(agent, workflow, asked)
        self.going.append(call)
        assert min(self.lefts(agent, workflow)) >= 0, "a budget was exceeded"
        took = 0
        try:
            await turns(question.pauses)
            if question.kind == "stuck":
                await asyncio.Event().wait()
            took = max(1, asked - question.number % 3)
            await ctx.charge("m", Usage(1, took, 0, usd=took * CENT))
        finally:
            held.release()
            self.going.remove(call)
            if took:
                self.over.append(Call(agent, workflow, took))
        if question.kind == "fails":
            msg = "as it was told"
            raise ValueError(msg)

    async def compare(self, store: BlackboardStore) -> None:
        """What is written down is what the agents took, and within the limits."""
        spent = await store.spent()
        assert spent.total.tokens == self._taken(lambda _: True, is_going=False)
        assert len(self.entered) <= spent.runs <= self.limits.runs
        for workflow in {call.workflow for call in self.over}:
            expected = self._taken(lambda call, w=workflow: call.workflow == w, is_going=False)
            assert (await store.spent(correlation_id=workflow)).total.tokens == expected
        for agent in ("bounded", "free"):
            expected = self._taken(lambda call, a=agent: call.agent == a, is_going=False)
            assert (await store.spent(agent=agent)).total.tokens == expected


def board_of(store: BlackboardStore, books: Books) -> Flock:
    limits = books.limits
    board = (
        Flock(store=store, clock=ManualClock(autojump=True))
        .budget(tokens=limits.board_tokens, usd=limits.board_usd, runs=limits.runs)
        .budget(tokens=limits.workflow_tokens, per="workflow")
    )

    async def work(question: Question, ctx: Context) -> Answer:
        await books.call(ctx, question)
        return Answer(number=question.number)

    bounded = board.agent("bounded").consumes(Question).publishes(Answer).calls(work)
    bounded.budget(tokens=limits.agent_tokens).timeout(5).retry(2, 1).max_concurrency(3)
    free = board.agent("free").consumes(Question).publishes(Answer).calls(work).timeout(7)
    free.max_concurrency(2)
    return board


questions = st.builds(
    Question,
    number=st.just(0),
    kind=st.sampled_from(["quick", "quick", "quick", "waits", "stuck", "fails"]),
    tokens=st.integers(1, 12),
    pauses=st.integers(0, 4),
)


@dataclass(frozen=True)
class Step:
    """What happens next: questions are published, turns pass, a workflow is cancelled, ..."""

    kind: Literal["publish", "turns", "cancel", "idle", "reopen"]
    questions: Sequence[Question] = ()
    number: int = 0


steps = st.lists(
    st.one_of(
        st.builds(Step, st.just("publish"), st.lists(questions, min_size=1, max_size=8)),
        st.builds(Step, st.just("turns"), number=st.integers(0, 12)),
        st.builds(Step, st.just("cancel"), number=st.integers(0, 2)),
        st.builds(Step, st.sampled_from(["idle", "reopen"])),
    ),
    min_size=1,
    max_size=10,
)
limits = st.builds(
    Limits,
    board_tokens=st.integers(20, 200),
    board_usd=st.integers(20, 200).map(lambda cents: cents * CENT),
    workflow_tokens=st.integers(10, 100),
    agent_tokens=st.integers(10, 100),
    runs=st.integers(5, 60),
)


@settings(max_examples=150, deadline=None)
@given(
    limits=limits,
    steps=steps,
    make_store=st.sampled_from([InMemoryBlackboardStore, SuspendingStore]),
)
def test_budgets_are_kept_and_nothing_is_refused_that_fits_or_lost_or_done_twice(
    limits: Limits, steps: list[Step], make_store: Callable[[], BlackboardStore]
) -> None:
    asyncio.run(asyncio.wait_for(_play(limits, steps, make_store()), 60))


async def _play(limits: Limits, steps: list[Step], store: BlackboardStore) -> None:
    books = Books(limits)
    board = board_of(store, books)
    asked = 0
    cancelled: set[int] = set()
    by_workflow: dict[str, set[int]] = {}
    for step in steps:
        for question in step.questions:
            asked += 1
            workflow = f"w{asked % 3}"
            by_workflow.setdefault(workflow, set()).add(asked)
            pauses = question.pauses if question.kind == "waits" else 0
            numbered = question.model_copy(update={"number": asked, "pauses": pauses})
            await board.publish(numbered, correlation_id=workflow)
        if step.kind == "turns":
            await turns(step.number)
        elif step.kind == "cancel":
            workflow = f"w{step.number}"
            await board.cancel(workflow)
            cancelled |= by_workflow.get(workflow, set())
        elif step.kind == "idle":
            await board.run_until_idle()
            await books.compare(store)
        elif step.kind == "reopen":
            await board.shutdown(grace=0)
            assert books.going == []
            await books.compare(store)
            board = board_of(store, books)
    async with board:
        await board.run_until_idle()
        assert books.going == []
        await books.compare(store)
        done: Counter[tuple[str, int]] = Counter()
        for artifact in await store.list_by_type(Answer):
            done[artifact.produced_by, artifact.as_model(Answer).number] += 1
        for letter in await board.dead_letters():
            failed = letter.artifacts[0].as_model(Question)
            # who waits for a stuck one times out, too
            expected = {"BudgetExceeded", "RunTimeout"}
            is_told = failed.kind in {"stuck", "fails"} or letter.error_type in expected
            assert is_told, f"{failed} failed as {letter.error_type}"
            done[letter.agent, failed.number] += 1
    assert set(done.values()) <= {1}
    everything = {(agent, n) for agent in ("bounded", "free") for n in range(1, asked + 1)}
    assert all(number in cancelled for _, number in everything - done.keys())
