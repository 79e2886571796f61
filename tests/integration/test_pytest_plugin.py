"""The pytest plugin in a project of its own, run as its user runs it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = """
import asyncio

import pytest
from pydantic import BaseModel

from flock import Flock
from flock.testing import ManualClock, TestBoard


class Order(BaseModel):
    total: float


class Invoice(BaseModel):
    amount: float


def shop(clock=None):
    flock = Flock(clock=clock)
    flock.agent("billing").consumes(Order).publishes(Invoice).calls(
        lambda order: Invoice(amount=order.total)
    )
    return flock


async def bill(board):
    await board.publish(Order(total=3))
    await board.run()
    await board.assert_published(Invoice, where=lambda i: i.amount == 3)
"""

NEW = (
    PROJECT
    + """
{mark}
async def test_a_new_board(board):
    assert isinstance(board, TestBoard) and isinstance(board.clock, ManualClock)
    board.agent("billing").consumes(Order).publishes(Invoice).calls(
        lambda order: Invoice(amount=order.total)
    )
    await bill(board)


{mark}
async def test_each_test_has_its_own(board):
    assert board.flock.agents == []
    assert await board.published(Order) == []


{mark}
@pytest.mark.flock(make=shop)
async def test_a_board_that_a_function_makes(board):
    assert isinstance(board.clock, ManualClock)
    async with board:
        await bill(board)


{mark}
@pytest.mark.flock(model="test")
async def test_a_board_with_a_model(board):
    assert board.flock.model == "test"


{mark}
@pytest.mark.flock(make=shop())
async def test_a_board_that_is_there(board):
    board.replace("billing", [Invoice(amount=4)])
    await board.publish(Order(total=3))
    await board.run()
    await board.assert_published(Invoice, where=lambda i: i.amount == 4)
"""
)

PLAIN = (
    PROJECT
    + """
@pytest.mark.flock(make=shop)
def test_without_any_other_plugin(board):
    async def main():
        async with board:
            await bill(board)

    asyncio.run(main())


@pytest.mark.flock(make=shop)
def test_that_leaves_its_board_open(board):
    asyncio.run(bill(board))
"""
)

RECORDED = (
    PROJECT
    + """
from flock import EngineComponent
from flock.testing import RecordedEngine

asked = []


class Engine(EngineComponent):
    async def evaluate(self, agent, ctx, inputs, output_group):
        asked.append(1)
        return Invoice(amount=inputs.first_as(Order).total)


@pytest.mark.flock(make=shop)
def test_recorded(board, flock_cassette, request):
    board.replace("billing", RecordedEngine(Engine(), flock_cassette))

    async def main():
        async with board:
            await bill(board)

    asyncio.run(main())
    assert bool(asked) == request.config.getoption("--flock-record")
"""
)


def run(
    folder: Path, source: str, *arguments: str, ini: str = "", plugins: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run pytest in a fresh folder, with no plugin but Flock's, and those that are named."""
    (folder / "pytest.ini").write_text(f"[pytest]\nfilterwarnings = error\n{ini}")
    (folder / "test_shop.py").write_text(source)
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "COV"))
    }
    if not plugins:
        environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        arguments = ("-p", "flock.testing.pytest_plugin", *arguments)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.parametrize(
    ("mode", "mark", "plugin"),
    [
        ("strict", "@pytest.mark.asyncio", "pytest_asyncio.plugin"),
        ("auto", "", "pytest_asyncio.plugin"),
        ("anyio", "@pytest.mark.anyio", "anyio.pytest_plugin"),
    ],
)
def test_the_fixture_gives_a_board_whatever_runs_the_coroutines(
    mode: str, mark: str, plugin: str, tmp_path: Path
) -> None:
    pytest.importorskip(plugin.partition(".")[0])
    ini = "asyncio_default_fixture_loop_scope = function\n"
    if mode == "anyio":
        ini = ""
        mark += "\n@pytest.mark.parametrize('anyio_backend', ['asyncio'])"
    else:
        ini += f"asyncio_mode = {mode}\n"
    done = run(tmp_path, NEW.replace("{mark}", mark), "-p", plugin, "--strict-markers", ini=ini)
    assert "5 passed" in done.stdout, done.stdout + done.stderr


def test_a_test_needs_no_other_plugin(tmp_path: Path) -> None:
    done = run(tmp_path, PLAIN)
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_pytest_finds_the_plugin_by_itself_and_it_can_be_left_out(tmp_path: Path) -> None:
    ini = "asyncio_default_fixture_loop_scope = function\n"
    done = run(tmp_path, PLAIN, ini=ini, plugins=True)
    assert "2 passed" in done.stdout, done.stdout + done.stderr
    done = run(tmp_path, PLAIN, "-p", "no:flock", ini="markers = flock\n" + ini, plugins=True)
    assert "fixture 'board' not found" in done.stdout


def test_marker_fixtures_and_option_are_documented(tmp_path: Path) -> None:
    assert "@pytest.mark.flock(make=None, model=None)" in run(tmp_path, "", "--markers").stdout
    fixtures = run(tmp_path, "", "--fixtures").stdout
    assert "A `flock.testing.TestBoard`" in fixtures
    assert "flock_cassette" in fixtures
    assert "--flock-record" in run(tmp_path, "", "--help").stdout


def test_a_marker_that_makes_no_sense_is_explained(tmp_path: Path) -> None:
    source = "import pytest\n@pytest.mark.flock(modell='test')\ndef test_it(board): ...\n"
    done = run(tmp_path, source)
    assert "unexpected keyword argument 'modell'" in done.stdout
    assert "; it takes flock(make=None" in done.stdout
    source = "import pytest\n@pytest.mark.flock(make=5)\ndef test_it(board): ...\n"
    assert (
        "TestBoard takes a Flock, or the model of a new one, not 5" in run(tmp_path, source).stdout
    )


def test_answers_are_recorded_once_and_replayed_from_then_on(tmp_path: Path) -> None:
    missing = run(tmp_path, RECORDED)
    assert "1 failed" in missing.stdout
    assert "1 passed" in run(tmp_path, RECORDED, "--flock-record").stdout
    assert [path.name for path in (tmp_path / "cassettes").iterdir()] == [
        "test_shop.test_recorded.jsonl"
    ]
    assert "1 passed" in run(tmp_path, RECORDED).stdout


def test_a_project_that_does_not_use_it_loads_nothing_of_it(tmp_path: Path) -> None:
    source = (
        "import sys\n"
        "def test_it():\n"
        "    loaded = {n for n in sys.modules if n.partition('.')[0] in {'flock', 'pydantic'}}\n"
        "    assert loaded == {'flock', 'flock.testing', 'flock.testing.pytest_plugin'}\n"
    )
    done = run(tmp_path, source)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
