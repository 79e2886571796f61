"""`flock tune` as its user meets it: what it prints and saves, and the exit codes."""

from __future__ import annotations

import io
import itertools
import json
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from flock import TunedPrompt, TuningProgress, read_examples
from flock.cli.app import app
from flock.cli.tuning_report import tuning_bar
from flock.engines.dspy.tuning.examples import write_examples
from tests.tickets import examples

MODULE = '''
import signal

from flock import DSPyEngine, Flock
from tests.tickets import Route, Ticket, history
from tests.unit.engines.dspy.tuning.routers import Router

model = Router()


async def board() -> Flock:
    """A board that ran, with a store to read, and an agent of the same name that thinks."""
    past = await history()
    flock = Flock(store=past.store)
    flock.agent("router").description("Route the ticket to a team.").consumes(Ticket).publishes(
        Route
    ).with_engines(DSPyEngine(model))
    flock.agent("fixed").calls(lambda ticket: None)
    return flock


async def open_board() -> Flock:
    flock = await board()
    await flock.run_until_idle()
    return flock


def empty() -> Flock:
    flock = Flock()
    flock.agent("router").consumes(Ticket).publishes(Route).with_engines(DSPyEngine(model))
    return flock


constant = empty()
nothing = 5


def fails() -> Flock:
    raise OSError("no disk")


def interrupts_after(number):
    def on_chat(count):
        if count == number:
            signal.raise_signal(signal.SIGINT)

    model.on_chat = on_chat


def interrupted() -> Flock:
    interrupts_after(1)
    return board()


async def interrupted_late() -> Flock:
    interrupts_after(100)
    return empty()


def exact(inputs, output, expected):
    return float(output == expected)


def broken(inputs, output, expected):
    raise KeyError("colour")
'''

_numbers = itertools.count()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A user's module in the current folder, of another name each time."""
    name = f"tuned_app_{next(_numbers)}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    write_examples(examples(), tmp_path / "known.jsonl")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return name


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["tune", *words])


def test_it_saves_a_better_prompt_and_says_by_how_much(module: str) -> None:
    shown = run("router", "--board", f"{module}:constant", "--examples", "known.jsonl")

    assert shown.exit_code == 0, shown.stderr
    prompt = TunedPrompt.load("router.tuned.json")
    assert prompt.provenance is not None
    assert prompt.provenance.after == 1.0
    assert prompt.provenance.model == "router-model"
    held = next(line for line in shown.stdout.splitlines() if line.startswith("held out\t"))
    before = prompt.provenance.before
    assert before is not None
    assert held.split("\t") == [
        "held out",
        "13 runs",
        f"{before:.3f} -> 1.000",
        f"{1 - before:+.3f}",
    ]
    assert "Saved in router.tuned.json" in shown.stdout
    assert "model calls, " in shown.stdout
    assert "choosing examples, 1 of up to 8" in shown.stderr


@pytest.mark.parametrize("factory", ["board", "open_board"])
def test_the_history_of_a_board_is_read_also_while_it_is_open(module: str, factory: str) -> None:
    shown = run("router", "--board", f"{module}:{factory}", "--json", "--candidates", "1")

    assert shown.exit_code in {0, 1}, shown.stderr  # the runs have other ids each time
    report = json.loads(shown.stdout)
    assert (report["examples"], report["held_out"]) == (42, 13)
    assert report["before"] < 1.0


def test_it_prints_json_and_nothing_beside(module: str) -> None:
    shown = run(
        "router", "--board", f"{module}:constant", "--examples", "known.jsonl", "--json",
        "-o", "p.json", "--how", "instructions", "--metric", f"{module}:exact", "--candidates", "2",
    )  # fmt: skip

    assert shown.exit_code == 0, shown.stderr
    report = json.loads(shown.stdout)
    assert report["after"] == 1.0
    assert report["saved"] == "p.json"
    assert report["metric"] == f"{module}:exact"
    assert report["usage"]["calls"] == report["prompt"]["provenance"]["calls"]
    assert report["prompt"] == json.loads(Path("p.json").read_text())
    assert shown.stderr == ""


def test_runs_are_exported_and_read_again(module: str) -> None:
    exported = run("router", "--board", f"{module}:board", "--export", "runs.jsonl")
    assert exported.exit_code == 0, exported.stderr
    assert "42 past runs of 'router' are in runs.jsonl." in exported.stdout
    assert len(read_examples("runs.jsonl")) == 42

    shown = run(
        "router", "--board", f"{module}:constant", "--examples", "runs.jsonl", "--no-progress",
        "--json", "--candidates", "1",
    )  # fmt: skip
    assert json.loads(shown.stdout)["examples"] == 42
    assert shown.stderr == ""


def test_an_interrupt_saves_the_best_so_far(module: str) -> None:
    shown = run(
        "router", "--board", f"{module}:interrupted_late", "--examples", "known.jsonl",
        "--candidates", "20", "--max-examples", "1",
    )  # fmt: skip

    assert shown.exit_code == 130, shown.output
    assert "The search ended early: interrupted." in shown.stdout
    assert "Ctrl-C again ends now" in shown.stderr
    prompt = TunedPrompt.load("router.tuned.json")
    assert prompt.provenance is not None
    assert prompt.provenance.after is None


def test_an_interrupt_before_anything_was_found_saves_nothing(module: str) -> None:
    shown = run("router", "--board", f"{module}:interrupted")

    assert shown.exit_code == 130, shown.output
    assert "Nothing was saved" in shown.stdout
    assert not Path("router.tuned.json").exists()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["clerk", "--board", "M:board"], 1, "there is no agent 'clerk'; there are: 'router'"),
        (["fixed", "--board", "M:board"], 2, "computed by a function, which has no prompt"),
        (["router", "--board", "M:empty"], 2, "no past runs of agent 'router': run the board"),
        (["router", "--board", "M:nothing"], 2, "is no Flock, and returns none: 5"),
        (["router", "--board", "M:fails"], 2, "raised OSError('no disk')"),
        (["router", "--board", "M:gone"], 2, "has no 'gone'"),
        (["router", "--board", "no_such_module:x"], 2, "there is no module 'no_such_module'"),
        (["router", "--board", "board"], 2, "takes MODULE:ATTRIBUTE, such as app:board"),
        (["router", "--board", "M:board", "--metric", "M:nothing"], 2, "is no function: 5"),
        (["router", "--board", "M:board", "--metric", "M:broken"], 2, "KeyError('colour')"),
        (["router", "--board", "M:board", "--how", "magic"], 2, "one of examples, instructions"),
        (["router", "--board", "M:board", "--model", "test"], 2, "answers with samples"),
        (["router", "--board", "M:board", "--max-calls", "9"], 2, "at least 56 model calls"),
        (["router", "--board", "M:empty", "--examples", "no.jsonl"], 2, "cannot be read"),
        (["router", "--board", "M:board", "-o", "no/p.json"], 2, "no prompt can be saved to"),
    ],
)
def test_what_cannot_be_done_is_said(
    module: str, words: list[str], code: int, message: str
) -> None:
    shown = run(*[word.replace("M:", f"{module}:") for word in words])

    assert message in shown.stderr
    assert shown.exit_code == code
    assert "Traceback" not in shown.output


def test_a_module_that_cannot_be_imported_is_named(module: str) -> None:
    Path("bad_app.py").write_text("import nothing_of_this_name")
    Path("worse_app.py").write_text("1 / 0")
    assert "importing 'bad_app' failed" in run("router", "--board", "bad_app:x").stderr
    assert "ZeroDivisionError" in run("router", "--board", "worse_app:x").stderr


def test_a_terminal_sees_a_bar() -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=100)
    with tuning_bar(terminal) as show:
        assert show is not None
        show(TuningProgress("choosing examples", 3, 12, 0.5))
    assert isinstance(terminal.file, io.StringIO)
    assert "choosing examples (best 0.500)" in terminal.file.getvalue()
