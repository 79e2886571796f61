"""Limits hold from one process to the next, though each is killed in the middle of its work."""

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import asyncio, os, sys, time
from pydantic import BaseModel
from flock import Flock, flock_type

@flock_type(name="limits.Question")
class Question(BaseModel):
    n: int

flock = Flock(store=f"sqlite:///{sys.argv[1]}/board.db")

async def ask(question: Question) -> None:
    with open(f"{sys.argv[1]}/calls", "a") as calls:
        calls.write(f"{time.time()} {question.n}\\n")
    os.write(1, b"called\\n")
    await asyncio.sleep(0.01)

flock.agent("asker").calls(ask).rate_limit(4, per=0.8)

async def main():
    async with flock:
        if not (await flock.store.list()):
            await flock.publish_many([Question(n=n) for n in range(12)])
        await flock.run_until_idle()
        await flock.shutdown()

asyncio.run(main())
"""


def run(directory: Path, calls: int | None) -> None:
    """Run the script to its end, or kill it after so many calls."""
    command = [sys.executable, "-c", SCRIPT, str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        if calls is not None:
            for _ in range(calls):
                assert process.stdout.readline() == b"called\n"
            process.kill()
        process.communicate(timeout=60)
    assert process.returncode == (0 if calls is None else -9)


def test_no_window_holds_more_calls_than_it_may_though_processes_are_killed(tmp_path: Path) -> None:
    for calls in (3, 5):
        run(tmp_path, calls)
    run(tmp_path, None)
    lines = [line.split() for line in (tmp_path / "calls").read_text().splitlines()]
    times = [float(time) for time, _ in lines]
    assert {int(n) for _, n in lines} == set(range(12)), "nothing is lost"
    gaps = [last - first for first, last in zip(times, times[4:], strict=False)]
    assert min(gaps) > 0.8 - 0.05, "from the call's beginning to its first line"
