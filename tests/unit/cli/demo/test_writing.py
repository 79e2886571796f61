from __future__ import annotations

import io
import re
from datetime import UTC, datetime, timedelta

import pytest
from rich.cells import cell_len
from rich.console import Console

from flock import (
    ArtifactPublished,
    DeadLettered,
    Event,
    PartialOutput,
    RunCancelled,
    RunEmitted,
    RunFailed,
    RunRetrying,
    RunStarted,
    RunSucceeded,
    Token,
)
from flock.cli.demo.progress import Bars, Lines, Tally
from flock.cli.demo.types import Concern, Overview, Severity
from flock.cli.demo.writing import Draft, Writing
from tests.unit.support import artifact

NOW = datetime(2025, 1, 1, tzinfo=UTC)
CONCERN = artifact(
    Concern(
        path="a.py",
        line=7,
        severity=Severity.HIGH,
        rule="eval",
        message="eval()",
        danger="",
        remedy="",
        code="",
    ),
    produced_by="picker",
)
OVERVIEW = artifact(Overview(facts=[], worst="", remedy=""), produced_by="picker")


def emitted(run: str, delta: object) -> RunEmitted:
    return RunEmitted(NOW, None, "explainer" if run == "e" else "judge", run, delta)


def succeeded(agent: str, run: str) -> RunSucceeded:
    return RunSucceeded(NOW, None, agent, run, 1, (), 0.1, {})


PICKED: tuple[Event, ...] = (
    ArtifactPublished(NOW, None, OVERVIEW),
    ArtifactPublished(NOW, None, CONCERN),
    succeeded("picker", "p"),
)
STARTED: tuple[Event, ...] = (
    RunStarted(NOW, None, "judge", "j", 1, (OVERVIEW.id,)),
    RunStarted(NOW, None, "explainer", "e", 1, (CONCERN.id,)),
)


def writing_of(*events: Event) -> Writing:
    writing = Writing()
    for event in events:
        writing.count(event)
    return writing


def test_several_agents_are_shown_at_once() -> None:
    writing = writing_of(
        *PICKED,
        *STARTED,
        emitted("e", Token("x")),
        emitted("e", PartialOutput("Explanation", {"problem": "It runs\ncode.", "fix": "Do n"})),
        emitted("j", Token("{")),
    )
    assert list(writing.lines(80)) == ["judge: 1 token ...", "explainer a.py:7: It runs code. Do n"]


def test_answers_that_wait_for_the_model_are_counted() -> None:
    writing = writing_of(*PICKED, *STARTED)
    assert list(writing.lines(80)) == ["2 answers to begin: the model reads, or is busy"]


def test_a_repaired_answer_begins_again() -> None:
    writing = writing_of(
        *STARTED,
        emitted("e", Token("x", 0)),
        emitted("e", PartialOutput("Explanation", {"problem": "bad"})),
        emitted("e", Token("x", 1)),
    )
    assert next(writing.lines(80)) == "explainer: 2 tokens ..."


@pytest.mark.parametrize(
    "end",
    [
        RunFailed(NOW, None, "explainer", "e", 1, "ValueError", "", {}),
        RunCancelled(NOW, None, "explainer", "e"),
        RunRetrying(NOW, None, "explainer", "e", 1, 0.5, "ValueError", ""),
    ],
)
def test_what_does_not_go_on_is_not_shown(end: Event) -> None:
    writing = writing_of(STARTED[1], emitted("e", Token("x")), end)
    assert list(writing.lines(80)) == []
    assert writing.sentences == []


def test_what_is_done_is_said() -> None:
    writing = writing_of(*PICKED, *STARTED, succeeded("explainer", "e"), succeeded("judge", "j"))
    assert writing.sentences == [
        "The model writes 1 explanation and the verdict.",
        "Explained a.py:7 (1 of 1).",
        "The verdict is written.",
    ]


def test_an_interrupt_is_said_once_while_the_model_stops() -> None:
    writing = writing_of(*PICKED, *STARTED, emitted("e", Token("x")))
    writing.stop()
    writing.stop()
    assert list(writing.lines(80)) == ["Interrupted: waiting for the model to stop ..."]
    assert writing.sentences[1:] == ["Interrupted: waiting for the model to stop ..."]
    before = writing_of()
    before.stop()
    assert (list(before.lines(80)), before.sentences) == ([], [])


@pytest.mark.parametrize("text", ["word " * 100, "汉字" * 100, ""])
@pytest.mark.parametrize("width", [40, 80])
def test_a_line_ends_with_the_last_words_and_fits(text: str, width: int) -> None:
    line = Draft("explainer", "a.py:7", text).line(width)
    assert cell_len(line) <= width
    assert line.endswith(text[-5:] or "0 tokens ...")


def test_bars_show_what_is_being_written_on_a_narrow_terminal_too() -> None:
    out = io.StringIO()
    tally = Tally()
    for event in (
        RunEmitted(NOW, None, "collector", "0", 4),
        *PICKED,
        *STARTED,
        emitted("e", Token("x")),
        emitted("e", PartialOutput("Explanation", {"problem": "so it goes " * 30 + "at last"})),
    ):
        tally.count(event)
    console = Console(file=out, force_terminal=True, width=40, _environ={"TERM": "xterm"})
    with Bars(tally, console) as bars:
        bars.show(NOW)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    line = next(line for line in text.splitlines() if line.startswith("explainer"))
    assert line.startswith("explainer a.py:7: …")
    assert line.rstrip().endswith("at last")
    assert len(line.rstrip()) <= 40


def test_lines_say_first_that_the_review_is_done_and_then_what_is_written() -> None:
    out = io.StringIO()
    tally = Tally()
    with Lines(tally, Console(file=out)) as lines:
        for seconds, event in enumerate(
            (
                RunEmitted(NOW, None, "collector", "0", 1),
                succeeded("binder", "b"),
                *PICKED,
                *STARTED,
                emitted("e", Token("x")),
                succeeded("explainer", "e"),
                DeadLettered(NOW, None, "judge", OVERVIEW.id, "ValueError", ""),
            )
        ):
            tally.count(event)
            lines.show(NOW + timedelta(seconds=seconds / 10))
    assert out.getvalue().splitlines() == [
        "1 of 1 file reviewed.",
        "The model writes 1 explanation and the verdict.",
        "Explained a.py:7 (1 of 1).",
    ]
