"""A review on a board in a file goes on where it was, whatever ended it."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

import flock

SOURCE = Path(flock.__file__).parent / "cli"


def command(tree: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "flock.cli", "demo", str(tree), "--no-model", *options]


def review(tree: Path, *options: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command(tree, "--json", *options), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


def reviewed(board: Path) -> Counter[str]:
    """How often each file was reviewed by each reviewer, read beside whoever works on it."""
    query = (
        "SELECT produced_by || ' ' || json_extract(payload, '$.path') FROM artifacts"
        " WHERE produced_by IN ('complexity', 'security', 'documentation', 'binder')"
    )
    try:
        with closing(sqlite3.connect(f"file:{board}?mode=ro", uri=True)) as connection:
            return Counter(row[0] for row in connection.execute(query))
    except sqlite3.OperationalError:  # it is not there yet
        return Counter()


@pytest.mark.parametrize("ended_by", [signal.SIGKILL, signal.SIGINT], ids=lambda s: s.name)
def test_an_interrupted_review_is_finished_and_nothing_is_done_twice(
    tmp_path: Path, ended_by: signal.Signals
) -> None:
    tree, board, output = tmp_path / "tree", tmp_path / "board.db", tmp_path / "report.md"
    shutil.copytree(SOURCE, tree, ignore=shutil.ignore_patterns("__pycache__"))
    whole = json.loads(review(tree, "-o", str(output)).stdout)
    for reviews in (1, 30, 80):
        going = subprocess.Popen(
            command(tree, "--store", str(board), "-o", str(output), "--no-progress"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        while going.poll() is None and reviewed(board).total() < reviews:
            time.sleep(0.001)
        going.send_signal(ended_by)
        going.communicate()
    resumed = json.loads(review(tree, "--store", str(board), "-o", str(output)).stdout)
    for about_the_run in ("runs", "seconds"):
        del whole[about_the_run], resumed[about_the_run]
    assert resumed == whole
    counts = reviewed(board)
    assert set(counts.values()) == {1}
    assert len(counts) == 4 * len(whole["files"])
    again = review(tree, "--store", str(board), "-o", str(output))
    assert json.loads(again.stdout)["runs"] == 0
    assert reviewed(board) == counts


def test_a_board_with_another_review_is_refused(tmp_path: Path) -> None:
    board, output = tmp_path / "board.db", tmp_path / "report.md"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.py").write_text("a = 1\n")
    review(tmp_path / "one", "--store", str(board), "-o", str(output))
    refused = subprocess.run(
        command(tmp_path / "two", "--store", str(board), "-o", str(output)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2
    assert "holds a review of" in refused.stderr
    assert "one" in refused.stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [("report.md", "where the report goes"), ("no/board.db", "no folder"), (".", "is a folder")],
)
def test_a_file_that_can_hold_no_board_is_refused_before_any_work(
    tmp_path: Path, name: str, said: str
) -> None:
    options = ("--store", str(tmp_path / name), "-o", str(tmp_path / "report.md"))
    refused = subprocess.run(command(SOURCE, *options), capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert said in refused.stderr


def test_a_file_that_is_no_board_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database, but long enough to look at" * 100)
    options = ("--store", str(tmp_path / "notes.txt"), "-o", str(tmp_path / "report.md"))
    refused = subprocess.run(command(SOURCE, *options), capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "notes.txt" in refused.stderr
    assert "no board" in refused.stderr
    assert "Traceback" not in refused.stderr
