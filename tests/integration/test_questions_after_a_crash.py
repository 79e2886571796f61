"""A question and its answer survive a kill at any moment: each is there once."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import BaseModel

from flock import (
    AlreadyAnswered,
    BatchSpec,
    Flock,
    Question,
    QuestionAsked,
    SQLiteBlackboardStore,
    flock_type,
)
from flock.store.protocol import Commit
from flock.testing import ManualClock

from .test_after_a_crash import Crashing, rows


class Draft(BaseModel):
    text: str


class Approval(BaseModel):
    approved: bool


@flock_type(name="questions.Letter")
class Letter(BaseModel):
    n: int


@flock_type(name="questions.Reply")
class Reply(BaseModel):
    n: int


def board(
    store: SQLiteBlackboardStore, made: list[str], *, clock: ManualClock, is_gated: bool = False
) -> Flock:
    def ask(drafts: list[Draft]) -> str:
        made.append(drafts[0].text)
        return f"{drafts[0].text}?"

    flock = Flock(store=store, clock=clock)
    agent = flock.agent("approver").publishes(Approval)
    agent.consumes(Draft, batch=BatchSpec(size=1) if is_gated else None)
    agent.asks_human(ask, timeout=timedelta(hours=1))
    return flock


async def next_question(flock: Flock) -> Question:
    stream = flock.events()
    while not (found := await flock.questions()):
        while not isinstance(await anext(stream), QuestionAsked):
            pass
    await stream.aclose()
    [question] = found
    return question


def asks(commit: Commit) -> bool:
    return any(state.data is not None for state in commit.states)


def answers(commit: Commit) -> bool:
    return any(state.data is None for state in commit.states)


@pytest.mark.parametrize("is_gated", [False, True])
@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("chosen", [asks, answers])
async def test_a_crash_before_or_after_a_commit_leaves_a_question_once_and_its_answer_once(
    tmp_path: Path, chosen: Callable[[Commit], bool], before: bool, is_gated: bool
) -> None:
    clock = ManualClock()
    made: list[str] = []
    store = Crashing(tmp_path / "board.db", chosen, before=before)
    async with board(store, made, clock=clock, is_gated=is_gated) as flock:
        await flock.publish(Draft(text="a"))
        question = await next_question(flock)
        await flock.answer(question.id, Approval(approved=True), answered_by="ann")
        await flock.run_until_idle()
    assert made == ["a"]
    await clock.advance(60)
    is_answered = chosen is answers and not before
    left = SQLiteBlackboardStore(store.copy)
    async with board(left, made, clock=clock, is_gated=is_gated) as flock:
        if is_answered:
            assert await flock.questions() == []
            with pytest.raises(AlreadyAnswered, match="'ann'"):
                await flock.answer(question.id, Approval(approved=False))
        else:
            again = await next_question(flock)
            assert again.id == question.id
            is_asked_again = chosen is asks and before
            assert again.asked_at == question.asked_at + timedelta(seconds=60 * is_asked_again)
            assert made == ["a"] * (1 + is_asked_again)
            await flock.answer(again.id, Approval(approved=True))
        await flock.run_until_idle()
        assert [a.approved for a in await left.get_by_type(Approval)] == [True]
        assert len(await left.runs(None)) == 1
        assert [e.kind for e in await left.log()].count("question_answered") == 1
    for table in ("deliveries", "open_runs", "states"):
        assert rows(store.copy, f"SELECT count(*) FROM {table}") == [(0,)]


async def test_a_crash_amid_an_expiry_leaves_a_dead_letter_once(tmp_path: Path) -> None:
    for before in (False, True):
        clock = ManualClock(autojump=True)
        folder = tmp_path / str(before)
        folder.mkdir()
        store = Crashing(folder / "board.db", lambda c: c.buried is not None, before=before)
        for each in (store, SQLiteBlackboardStore(store.copy)):
            async with board(each, [], clock=clock) as flock:
                if each is store:
                    await flock.publish(Draft(text="a"))
                await flock.run_until_idle()
                [letter] = await flock.dead_letters()
                assert letter.error_type == "QuestionExpired"
                assert await flock.questions() == []
                assert await each.states("question") == {}


async def test_questions_of_agents_that_are_not_declared_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "board.db"
    clock = ManualClock()
    async with board(SQLiteBlackboardStore(path), [], clock=clock) as flock:
        await flock.publish(Draft(text="a"))
        question = await next_question(flock)
    async with Flock(store=SQLiteBlackboardStore(path), clock=clock) as flock:
        assert await flock.questions() == []
    async with board(SQLiteBlackboardStore(path), [], clock=clock) as flock:
        assert await flock.questions() == [question]


async def test_a_question_is_forgotten_when_its_agent_is_computed_now(tmp_path: Path) -> None:
    path = tmp_path / "board.db"
    clock = ManualClock()
    async with board(SQLiteBlackboardStore(path), [], clock=clock) as flock:
        await flock.publish(Draft(text="a"))
        await next_question(flock)
    flock = Flock(store=SQLiteBlackboardStore(path), clock=clock)

    async def approve(draft: Draft) -> Approval:
        return Approval(approved=True)

    flock.agent("approver").consumes(Draft).publishes(Approval).calls(approve)
    async with flock:
        await flock.run_until_idle()
        assert len(await flock.store.get_by_type(Approval)) == 1
        assert await flock.store.states("question") == {}


PROGRAM = """
import asyncio, os, sys
from pydantic import BaseModel
from flock import Flock, SQLiteBlackboardStore, flock_type

@flock_type(name="questions.Letter")
class Letter(BaseModel):
    n: int

@flock_type(name="questions.Reply")
class Reply(BaseModel):
    n: int

flock = Flock(store=SQLiteBlackboardStore(sys.argv[1]))
flock.agent("clerk").consumes(Letter).publishes(Reply).asks_human(lambda letter: str(letter.n))

async def main():
    async with flock:
        await flock.publish_many([Letter(n=n) for n in range(20)])
        answered = 0
        while True:
            for question in await flock.questions():
                [letter] = question.inputs
                await flock.answer(question.id, Reply(n=letter.payload["n"]))
                answered += 1
                os.write(1, f"{letter.payload['n']}\\n".encode())
            await asyncio.sleep(0)

asyncio.run(main())
"""


@pytest.mark.parametrize("lines", [0, 1, 7, 13])
def test_a_process_that_is_killed_amid_answers_keeps_those_that_were_taken(
    tmp_path: Path, lines: int
) -> None:
    path = tmp_path / "board.db"
    command = [sys.executable, "-c", PROGRAM, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        seen = [int(process.stdout.readline()) for _ in range(max(lines, 1))]
        os.kill(process.pid, signal.SIGKILL)
        seen += [int(line) for line in process.stdout.read().split()]
    assert process.returncode == -signal.SIGKILL

    async def go_on() -> list[int]:
        flock = Flock(store=SQLiteBlackboardStore(path))
        agent = flock.agent("clerk").consumes(Letter).publishes(Reply)
        agent.asks_human("Which number?")
        async with flock:
            there = {reply.n for reply in await flock.store.get_by_type(Reply)}
            assert there >= set(seen)
            stream = flock.events()
            while len(await flock.questions()) + len(there) < 20:
                await anext(stream)
            for question in await flock.questions():
                [letter] = question.inputs
                assert letter.payload["n"] not in there
                await flock.answer(question.id, Reply(n=letter.payload["n"]))
            await flock.run_until_idle()
            return sorted(reply.n for reply in await flock.store.get_by_type(Reply))

    assert asyncio.run(go_on()) == list(range(20))
