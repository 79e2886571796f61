"""A board is killed at any moment: nothing is lost, and nothing is there twice."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def chaos(*options: str) -> str:
    command = [sys.executable, "-m", "benchmarks.chaos", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("board", "durability"), [("gates", "process"), ("gates", "power"), ("steering", "process")]
)
def test_processes_killed_at_random_moments_leave_every_result_once(
    tmp_path: Path, board: str, durability: str
) -> None:
    said = chaos(
        *("--board", board, "--rounds", "12", "--lifetime", "6", "--seed", "11"),
        *("--durability", durability, "--folder", str(tmp_path)),
    )
    assert "12 rounds" in said
    assert "nothing lost, nothing twice" in said


@pytest.mark.parametrize(("board", "step"), [("gates", "11"), ("steering", "23")])
def test_processes_that_end_before_and_after_a_commit_leave_every_result_once(
    tmp_path: Path, board: str, step: str
) -> None:
    said = chaos(
        *("--board", board, "--points", "--step", step, "--seed", "5"),
        *("--folder", str(tmp_path)),
    )
    assert "nothing lost, nothing twice" in said
