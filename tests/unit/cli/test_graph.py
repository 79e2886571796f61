"""`flock graph` and `flock check` as their user meets them: what they print, and exit codes."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flock.cli.app import app

APP = """
from pydantic import BaseModel

import helper
from flock import BatchSpec, Flock


class Scan(BaseModel):
    patient: str


class Report(BaseModel):
    text: str


def make(**options) -> Flock:
    flock = Flock("test", name="ward", store="sqlite:///never-made.db")
    flock.agent("reader").consumes(Scan, **options).publishes(Report)
    return flock


board = make()
empty = Flock()
number = 5


async def later() -> Flock:
    return board


async def opened() -> Flock:
    flock = Flock("test")
    flock.agent("reader").consumes(Scan).publishes(Report)
    await flock.run_until_idle()
    return flock


def fails() -> Flock:
    raise OSError("no disk")


def refused() -> Flock:
    flock = Flock()
    flock.agent("reader").consumes(Scan).calls(lambda first, second: None)
    return flock


def wrong() -> Flock:
    return make(from_agents="nobody", batch=BatchSpec(size=2))



def both() -> Flock:
    flock = make()
    flock.agent("twin").consumes(Scan).publishes(Report)
    return flock


class Space:
    board = board
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "ward.py").write_text(APP)
    (tmp_path / "helper.py").write_text("")
    (tmp_path / "broken.py").write_text("import no_such_module")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    modules = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - modules:
        if name in {"ward", "helper", "broken"}:
            del sys.modules[name]


def flock(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.parametrize(
    "name",
    [
        "ward:board",
        "ward.py:board",
        "./ward.py:board",
        "ward:make",
        "ward:later",
        "ward:opened",
        "ward:Space.board",
    ],
)
def test_a_board_is_drawn_by_its_name(name: str, project: Path) -> None:
    done = flock("graph", name)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith('flowchart LR\n    t0(["Scan"])\n')
    assert done.stdout.endswith("\n")
    assert done.stderr == ""
    assert not (project / "never-made.db").exists()


def test_a_file_elsewhere_finds_what_lies_beside_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "elsewhere").mkdir()
    monkeypatch.chdir(project / "elsewhere")
    assert flock("graph", "../ward.py:board").exit_code == 0


def test_the_graph_is_there_as_json_and_in_other_directions() -> None:
    data = json.loads(flock("graph", "ward:board", "--json").stdout)
    assert data["name"] == "ward"
    assert [edge["kind"] for edge in data["edges"]] == ["consumes", "publishes"]
    assert flock("graph", "ward:board", "--direction", "TB").stdout.startswith("flowchart TB\n")
    done = flock("graph", "ward:board", "--direction", "up")
    assert (done.exit_code, done.stderr) == (
        2,
        "--direction is one of LR, TB, RL, BT, not 'up'\n",
    )


def test_an_empty_board_is_said_to_be_empty() -> None:
    done = flock("graph", "ward:empty")
    assert (done.exit_code, done.stdout) == (0, "flowchart LR\n")
    assert done.stderr == "The board has no agents.\n"
    assert flock("check", "ward:empty").stdout == "0 agents: 0 errors, 0 warnings, 0 infos.\n"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("ward", "BOARD takes MODULE:ATTRIBUTE, such as app:board, not 'ward'"),
        ("ward:", "BOARD takes MODULE:ATTRIBUTE"),
        ("nowhere:board", "there is no module 'nowhere'; run the command in the folder"),
        ("nowhere.py:board", "there is no file 'nowhere.py'"),
        ("broken:board", "importing 'broken' failed: ModuleNotFoundError"),
        ("broken.py:board", "importing 'broken.py' failed: ModuleNotFoundError"),
        ("ward:bord", "'ward' has no 'bord'; it has 'board', 'empty'"),
        ("ward:number", "BOARD 'ward:number' is no Flock, and returns none: 5"),
        ("ward:fails", "BOARD 'ward:fails' raised OSError('no disk')"),
    ],
)
@pytest.mark.parametrize("command", ["graph", "check"])
def test_a_name_that_leads_to_no_board_is_explained(command: str, name: str, says: str) -> None:
    done = flock(command, name)
    assert done.exit_code == 2
    assert says in done.stderr
    assert done.stdout == ""


def test_a_contradiction_has_no_graph_but_is_found() -> None:
    done = flock("graph", "ward:refused")
    assert done.exit_code == 2
    assert "no input is left for parameter 'second'" in done.stderr
    done = flock("check", "ward:refused")
    assert done.exit_code == 1
    assert done.stdout.startswith("error\tcontradiction\t")


def test_findings_are_lines_and_errors_fail() -> None:
    done = flock("check", "ward:board")
    assert done.exit_code == 0
    *lines, summary = done.stdout.splitlines()
    assert [line.split("\t")[:2] for line in lines] == [
        ["info", "from-outside"],
        ["info", "result"],
    ]
    assert all(len(line.split("\t")) == 4 for line in lines)
    assert summary == "1 agent: 0 errors, 0 warnings, 2 infos."
    done = flock("check", "ward:wrong")
    assert done.exit_code == 1
    assert done.stdout.startswith("error\tunknown-producer\t")
    assert flock("check", "ward:wrong", "--ignore", "unknown-producer").exit_code == 0


def test_warnings_fail_if_asked_to() -> None:
    assert flock("check", "ward:both").exit_code == 0
    done = flock("check", "ward:both", "--strict")
    assert done.exit_code == 1
    assert "same-work" in done.stdout
    assert flock("check", "ward:both", "--strict", "--ignore", "same-work").exit_code == 0
    assert flock("check", "ward:board", "--strict").exit_code == 0


def test_infos_can_be_left_out_and_findings_are_there_as_json() -> None:
    done = flock("check", "ward:board", "--no-infos")
    assert done.stdout == "1 agent: 0 errors, 0 warnings, 2 infos.\n"
    data = json.loads(flock("check", "ward:board", "--json").stdout)
    assert [finding["code"] for finding in data] == ["from-outside", "result"]
    assert set(data[0]) == {"level", "code", "message", "remedy", "agents", "types"}
    assert json.loads(flock("check", "ward:empty", "--json").stdout) == []


def test_help_shows_examples_and_exit_codes() -> None:
    for command in ("graph", "check"):
        done = flock(command, "--help")
        assert done.exit_code == 0
        assert f"flock {command} app:board --json" in done.stdout
        assert "Exits with 0" in done.stdout
    assert flock("check").exit_code == 2
