"""`flock board questions` on files that are closed, and that a program has open."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from typer.testing import CliRunner, Result

from flock import Flock, QuestionAsked, SQLiteBlackboardStore
from flock.cli.app import app
from flock.testing import ManualClock


class Draft(BaseModel):
    text: str


class Approval(BaseModel):
    approved: bool


def command(*arguments: str) -> Result:
    done = CliRunner().invoke(app, ["board", *arguments])
    assert done.exit_code == 0, done.output
    return done


def run(*arguments: str) -> Result:
    return command("questions", *arguments)


def data(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json").stdout)


def about(draft: Draft) -> str:
    return f"Publish\t{draft.text}?"


async def test_questions_of_a_board_are_listed_while_it_is_open_and_afterwards(
    tmp_path: Path,
) -> None:
    path = tmp_path / "board.db"
    clock = ManualClock()
    flock = Flock(store=SQLiteBlackboardStore(path), clock=clock)
    flock.agent("approver").consumes(Draft).publishes(Approval).asks_human(about, timeout=3600)
    flock.agent("reader").consumes(Draft).publishes(Approval).asks_human("Is it good?")
    async with flock:
        stream = flock.events()
        first = await flock.publish(Draft(text="a"))
        await clock.advance(1)
        second = await flock.publish(Draft(text="b"))
        told = 0
        while told < 4:
            told += isinstance(await anext(stream), QuestionAsked)
        listed = data(str(path))
        asked = await flock.questions()
        assert {each["id"] for each in listed} == {question.id for question in asked}
        assert [each["asked_at"] for each in listed] == [q.asked_at.isoformat() for q in asked]
        [mine] = data(str(path), "--agent", "approver", "--workflow", second.correlation_id)
        [question] = await flock.questions(second.correlation_id, agent="approver")
        assert mine == {
            "id": question.id,
            "agent": "approver",
            "question": "Publish\tb?",
            "correlation_id": second.correlation_id,
            "inputs": [second.seq],
            "asked_at": "2026-01-01T00:00:01+00:00",
            "due": "2026-01-01T01:00:01+00:00",
        }
        runs = json.loads(command("runs", str(path), "--open", "--json").stdout)["open"]
        assert {each["id"]: each["state"] for each in runs} == dict.fromkeys(
            (each.id for each in asked), "asked"
        )
        told_of = command("runs", str(path), "--agent", "reader").stdout
        assert told_of.startswith("asked\treader\t1\t")
        assert "\tuntil answered\t" in told_of
        await flock.answer(question.id, Approval(approved=True))
    assert question.id not in {each["id"] for each in data(str(path))}
    rows = run(str(path), "--agent", "approver").stdout.splitlines()
    [row] = [line.split("\t") for line in rows]
    assert row[1:] == [
        "approver",
        "Publish\\ta?",
        str(first.seq),
        first.correlation_id,
        "2026-01-01 00:00:00Z",
        "2026-01-01 01:00:00Z",
    ]
    page = run(str(path), "--limit", "1")
    assert len(page.stdout.splitlines()) == 1
    assert "1 of 3" in page.stderr
    assert "no such question" in run(str(path), "--workflow", "none").stderr
