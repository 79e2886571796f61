"""`Flock.check` raises no false alarm: what the documentation shows is meant as it stands.

Every page is run once more, and each board that it opens is checked. What a check may tell of
them are infos; errors and warnings would be wrong.
"""

import asyncio
import inspect
import re
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import ModuleType

import pytest
from sybil import Document

from flock import CheckFinding, Flock
from flock.cli.demo.pipeline import review_board
from tests.acceptance import test_seed_examples
from tests.docs.test_code_blocks import PAGES, ROOT, Blocks, _fenced, _run

SHOWS_FINDINGS = {ROOT / "docs" / "graph.md"}


def alarms(board: Flock) -> list[CheckFinding]:
    return [finding for finding in board.check() if finding.level != "info"]


@pytest.fixture
def raised(monkeypatch: pytest.MonkeyPatch) -> list[CheckFinding]:
    """What checks of the boards that settle their declarations find."""
    found: list[CheckFinding] = []
    settle = Flock._settle

    def checked(board: Flock) -> None:
        settle(board)
        board.graph()
        found.extend(alarms(board))

    monkeypatch.setattr(Flock, "_settle", checked)
    return found


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page not in SHOWS_FINDINGS],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_no_board_of_the_page_raises_an_alarm(
    page: Path, raised: list[CheckFinding], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # The module's name is that of the other run: a class under a fixed name is the same one then.
    name = "page_" + re.sub(r"\W", "_", str(page.relative_to(ROOT).with_suffix("")))
    module = ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    with asyncio.Runner() as runner:
        blocks = Blocks(runner)
        _run(Document.parse(str(page), lambda it: _fenced(it, blocks)), module)
    assert raised == []


def test_the_demo_raises_no_alarm() -> None:
    board = review_board()
    assert alarms(board) == []
    assert [t.label for t in board.graph().inputs] == ["SourceTree"]
    assert [t.label for t in board.graph().results] == ["Report"]


@pytest.mark.parametrize(
    "example",
    [f for f in vars(test_seed_examples).values() if inspect.iscoroutinefunction(f)],
    ids=lambda example: example.__name__,
)
def test_no_board_of_the_seed_raises_an_alarm(
    example: Callable[[], Coroutine[object, object, None]], raised: list[CheckFinding]
) -> None:
    asyncio.run(example())
    assert raised == []
