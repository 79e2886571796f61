"""Past runs from a board's store, with what people thought of them, and files of them."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import BaseModel, ValidationError

from flock import (
    Artifact,
    DeclarationError,
    Feedback,
    Flock,
    PublishError,
    TuningError,
    TuningExample,
    export_examples,
    past_runs,
    read_examples,
)
from flock.testing import ScriptedEngine
from tests.tickets import Route, Ticket, examples, history


class Label(BaseModel):
    word: str


def board(*answers: object, fan_out: tuple[int, int] | None = None) -> Flock:
    flock = Flock()
    flock.agent("router").consumes(Ticket).publishes(Route, fan_out=fan_out).with_engines(
        ScriptedEngine(answers)
    )
    flock.agent("other").consumes(Ticket).publishes(Label).with_engines(
        ScriptedEngine(lambda inputs: Label(word="x"))
    )
    return flock


async def routed(flock: Flock, text: str = "help") -> list[Artifact]:
    return await flock.arun("router", Ticket(text=text))


async def runs_of(flock: Flock) -> list[TuningExample]:
    return await past_runs(flock.store, flock.get_agent("router"))


async def test_each_run_of_the_agent_is_an_example_under_its_own_id() -> None:
    flock = board(Route(team="jade"), Route(team="amber"))
    async with flock:
        first = await routed(flock, "one")
        await routed(flock, "two")
        await flock.run_until_idle()
    one, two = await runs_of(flock)
    assert [c.payload for c in one.inputs] == [{"text": "one"}]
    assert [c.payload for c in one.outputs] == [{"team": "jade"}]
    assert (one.score, one.comment, one.corrected, one.agent) == (None, "", None, "router")
    assert two.outputs[0].payload == {"team": "amber"}
    [record] = [
        r for r in await flock.store.consumptions(first[0].parents[0]) if r.consumer == "router"
    ]
    assert one.id == record.run_id != two.id


async def test_all_outputs_of_a_run_belong_together() -> None:
    flock = board([Route(team="jade"), Route(team="amber")], fan_out=(1, 3))
    async with flock:
        first, second = await routed(flock)
        await flock.publish(Feedback.about(first, score=1.0, comment="right"))
        await flock.publish(
            Feedback.about(second, score=0.0, comment="wrong", corrected=Route(team="cobalt"))
        )
    [run] = await runs_of(flock)
    assert len(run.outputs) == 2
    assert run.score == 0.5
    assert run.comment == "right\nwrong"
    assert run.corrected is not None
    assert [c.payload["team"] for c in run.corrected] == ["jade", "cobalt"]


async def test_two_runs_over_the_same_input_are_told_apart() -> None:
    flock = Flock()
    flock.agent("router").consumes(Ticket).publishes(Route).with_engines(
        ScriptedEngine([Route(team="jade"), Route(team="amber")])
    )
    async with flock:
        ticket = await flock.publish(Ticket(text="x"), schedule_immediately=False)
        await flock.arun("router", ticket)
        await flock.arun("router", ticket)
    runs = await runs_of(flock)
    assert len({run.id for run in runs}) == len(runs) == 2
    assert [run.outputs[0].payload["team"] for run in runs] == ["jade", "amber"]


async def test_the_latest_feedback_counts() -> None:
    flock = board(Route(team="jade"))
    async with flock:
        [made] = await routed(flock)
        await flock.publish(Feedback.about(made, score=0.0, corrected={"team": "amber"}))
        await flock.publish(Feedback.about(made, score=0.9, comment="on second thoughts"))
        await flock.publish(Feedback(of=uuid4(), score=0.1))
    [run] = await runs_of(flock)
    assert (run.score, run.comment, run.corrected) == (0.9, "on second thoughts", None)


async def test_a_correction_that_does_not_fit_is_told_with_its_artifact() -> None:
    flock = board(Route(team="jade"))
    async with flock:
        [made] = await routed(flock)
        await flock.publish(Feedback(of=made.id, score=0.0, corrected={"team": "pink"}))
    with pytest.raises(TuningError, match=rf"artifact {made.id} corrects it to something"):
        await runs_of(flock)


async def test_feedback_is_checked_when_it_is_made() -> None:
    made = Artifact.of(Route(team="jade"))
    with pytest.raises(PublishError, match="no valid"):
        Feedback.about(made, score=0.0, corrected={"team": "pink"})
    with pytest.raises(DeclarationError, match=r"a correction of a 'tickets\.Route' is one"):
        Feedback.about(made, score=0.0, corrected=Ticket(text="x"))
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        Feedback.about(made, score=2.0)
    assert Feedback.about(made, score=0.5, corrected=Route(team="amber")).corrected == {
        "team": "amber"
    }


async def test_many_runs_are_read_page_by_page() -> None:
    past = await history()
    runs = await past_runs(past.store, past.get_agent("router"))
    assert len(runs) == 42
    assert sum(run.corrected is not None for run in runs) == 28
    assert {run.score for run in runs} == {0.0, 1.0}


async def test_examples_survive_a_file(tmp_path: Path) -> None:
    past = await history()
    router = past.get_agent("router")
    path = tmp_path / "runs.jsonl"
    assert await export_examples(past.store, router, path) == 42
    assert read_examples(path) == await past_runs(past.store, router)
    path.write_text(path.read_text() + "\n\n")
    assert len(read_examples(path)) == 42


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 2 is no example: Invalid JSON"),
        ("[]", "line 2 is no example"),
        ('{"id": "x", "agent": "a", "inputs": []}', "line 2 is no example: inputs"),
        ('{"id": "x", "agent": "a", "inputs": [], "more": 1}', "write such files with"),
    ],
)
def test_a_line_that_is_no_example_is_named(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_text(f"{examples()[0].model_dump_json()}\n{line}\n")
    with pytest.raises(TuningError, match=words):
        read_examples(path)


def test_the_same_run_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_text(f"{examples()[0].model_dump_json()}\n" * 2)
    with pytest.raises(TuningError, match="line 2: there is an example 'amber-0' already"):
        read_examples(path)


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flock.engines.dspy.tuning.examples.MAX_LINE", 100)
    path = tmp_path / "runs.jsonl"
    path.write_text("x" * 200)
    with pytest.raises(TuningError, match="line 1 is longer than 100 bytes"):
        read_examples(path)


async def test_files_that_cannot_be_read_or_written_are_named(tmp_path: Path) -> None:
    with pytest.raises(TuningError, match=r"gone\.jsonl' cannot be read: No such file"):
        read_examples(tmp_path / "gone.jsonl")
    flock = board()
    with pytest.raises(TuningError, match="cannot be written to"):
        await export_examples(flock.store, flock.get_agent("router"), tmp_path / "no" / "x.jsonl")
