"""Requests that are asked again after `kill -9`, under the same ids, are answered once."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import asyncio, json, sys
from pydantic import BaseModel
from flock import Application, Flock


class Question(BaseModel):
    number: int


class Part(BaseModel):
    number: int
    place: int


class Answer(BaseModel):
    number: int
    place: int


def make():
    flock = Flock(store="sqlite:///" + sys.argv[1], no_output=True)

    async def split(question: Question) -> list[Part]:
        print("split", flush=True)
        return [Part(number=question.number, place=place) for place in range(3)]

    async def solve(part: Part) -> Answer:
        await asyncio.sleep(0.001)
        print("solved", flush=True)
        return Answer(number=part.number, place=part.place)

    flock.agent("split").consumes(Question).publishes(Part, fan_out=3).calls(split)
    flock.agent("solve").consumes(Part).publishes(Answer).calls(solve).max_concurrency(4)
    return flock


async def main():
    app = Application(
        make, input_type=Question, output_types=Answer, isolation="shared", max_concurrent=8,
        max_queued=100,
    )
    async with app:
        asked = [app.run(Question(number=n), id=f"request {n}") for n in range(20)]
        results = await asyncio.gather(*asked)
    found = {
        result.id: [result.status, sorted([a.number, a.place] for a in result.of(Answer)),
                    sorted(str(a.id) for a in result.outputs)]
        for result in results
    }
    print("results", json.dumps(found), flush=True)


asyncio.run(main())
"""


def run(script: Path, board: Path, kill_after: int | None) -> str:
    """Run the script, or kill it once it has written so many lines; return its last line."""
    command = [sys.executable, str(script), str(board)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        last = ""
        for count, line in enumerate(process.stdout, start=1):
            last = line
            if count == kill_after:
                process.send_signal(signal.SIGKILL)
        code = process.wait(timeout=60)
    assert code == (0 if kill_after is None else -signal.SIGKILL), last
    return last


@pytest.mark.skipif(sys.platform == "win32", reason="it has no SIGKILL")
@pytest.mark.parametrize("kills", [[1], [9], [30, 5], [3, 3, 3, 3]])
def test_each_request_has_one_set_of_outputs_however_often_it_is_asked(
    tmp_path: Path, kills: list[int]
) -> None:
    script, board = tmp_path / "asks.py", tmp_path / "board.db"
    script.write_text(SCRIPT, encoding="utf-8")
    for lines in kills:
        run(script, board, lines)
    first = json.loads(run(script, board, None).removeprefix("results "))
    assert len(first) == 20
    for n in range(20):
        status, answers, ids = first[f"request {n}"]
        assert (status, answers, len(set(ids))) == ("succeeded", [[n, p] for p in range(3)], 3)
    last = run(script, board, None)  # nothing runs any more: there is no line but this one
    assert json.loads(last.removeprefix("results ")) == first
