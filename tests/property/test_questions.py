"""Whatever happens to a question, it has exactly one outcome."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from flock import (
    Artifact,
    Flock,
    InMemoryBlackboardStore,
    NotFound,
    OutputContractError,
    PublishError,
    SQLiteBlackboardStore,
)
from flock.store.protocol import BlackboardStore
from flock.testing import ManualClock
from tests.acceptance.support import SuspendingStore, turns

TIMEOUT = 100.0


class Draft(BaseModel):
    number: int


class Approval(BaseModel):
    by: str


class Wrong(BaseModel):
    pass


Act: TypeAlias = tuple[str, int]
"""What is done, and to which draft or for how long."""

acts = st.lists(
    st.tuples(
        st.sampled_from(
            ["publish", "answer", "answer", "answer", "wrong", "cancel", "reopen", "wait", "turns"]
        ),
        st.integers(0, 5),
    ),
    min_size=1,
    max_size=25,
)


@dataclass
class Life:
    """What was done to one board, and what it said to that."""

    flock: Flock
    clock: ManualClock
    drafts: list[Artifact] = field(default_factory=list[Artifact])
    names: dict[int, str] = field(default_factory=dict[int, str])
    accepted: Counter[int] = field(default_factory=Counter[int])
    cancelled: Counter[int] = field(default_factory=Counter[int])
    going: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])
    given: int = 0

    async def do(self, act: Act) -> None:
        what, which = act
        if what == "publish" or not self.drafts:
            draft = await self.flock.publish(Draft(number=len(self.drafts)))
            self.drafts.append(draft)
            return
        number = which % len(self.drafts)
        match what:
            case "answer" | "wrong":
                await self.learn_names()
                self.given += 1
                work = self.answer(number, f"person {self.given}", is_wrong=what == "wrong")
                self.going.append(asyncio.create_task(work))
            case "cancel":
                workflow = self.drafts[number].correlation_id
                self.cancelled[number] += await self.flock.cancel(workflow)
            case "reopen":
                await self.flock.shutdown(grace=0)
                await asyncio.gather(*self.going)
                self.going.clear()
                await self.flock.publish(Wrong())  # which opens it
            case "wait":
                await self.clock.advance(which * TIMEOUT / 4)
            case _:
                await turns(which)

    async def learn_names(self) -> None:
        for question in await self.flock.questions():
            [draft] = question.inputs
            self.names[draft.as_model(Draft).number] = question.id

    async def answer(self, number: int, by: str, *, is_wrong: bool) -> None:
        name = self.names.get(number)
        if name is None:
            return
        model = Wrong() if is_wrong else Approval(by=by)
        try:
            made = await self.flock.answer(name, model, answered_by=by)
        except (NotFound, OutputContractError, PublishError):  # the last while it is shut down
            return
        assert [a.as_model(Approval).by for a in made] == [by]
        self.accepted[number] += 1


def about(draft: Draft) -> str:
    return f"What of {draft.number}?"


async def lived(store: BlackboardStore, plan: list[Act], *, expires: bool) -> None:
    clock = ManualClock()
    flock = Flock(store=store, clock=clock)
    agent = flock.agent("person").consumes(Draft).publishes(Approval)
    agent.asks_human(question=about, timeout=TIMEOUT if expires else None)
    life = Life(flock, clock)
    async with flock:
        for act in plan:
            await life.do(act)
        await asyncio.gather(*life.going)
        await clock.settle()
        if not expires:
            await flock.run_until_idle()
        approvals = Counter(a.parents[0] for a in await store.list_by_type(Approval))
        letters = Counter(d.artifacts[0].id for d in await flock.dead_letters())
        questions = await flock.questions()
        waiting = Counter(q.inputs[0].id for q in questions)
        for number, draft in enumerate(life.drafts):
            assert approvals[draft.id] == life.accepted[number] <= 1
            outcomes = approvals[draft.id] + letters[draft.id] + waiting[draft.id]
            assert outcomes + life.cancelled[number] == 1
        assert expires or not letters
        assert (await store.states("question")).keys() == {q.id for q in questions}
        for question in questions:
            await flock.answer(question.id, Approval(by="last"))
        report = await flock.run_until_idle()
        assert report.waiting == 0
        assert await store.states("question") == {}


def in_memory(folder: Path) -> BlackboardStore:
    del folder
    return InMemoryBlackboardStore()


def suspending(folder: Path) -> BlackboardStore:
    del folder
    return SuspendingStore()


def in_a_file(folder: Path) -> BlackboardStore:
    return SQLiteBlackboardStore(folder / "board.db")


@given(make=st.sampled_from([in_memory, suspending, in_a_file]), plan=acts, expires=st.booleans())
@settings(max_examples=150)
def test_each_question_is_answered_or_expires_or_is_cancelled_or_waits(
    make: Callable[[Path], BlackboardStore], plan: list[Act], expires: bool
) -> None:
    with TemporaryDirectory() as folder:
        asyncio.run(lived(make(Path(folder)), plan, expires=expires))
