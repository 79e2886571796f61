"""Schedules over the death of their process, on boards in files, and in the tools for those."""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel
from typer.testing import CliRunner

from flock import Context, Flock, SQLiteBlackboardStore
from flock.cli.app import app
from flock.core.schedule import Tick
from flock.testing import ManualClock

PROGRAM = """
import asyncio, json, os, sys
from pydantic import BaseModel
from flock import Context, Flock, SQLiteBlackboardStore, flock_type

@flock_type(name="schedules.Ticked")
class Ticked(BaseModel):
    n: int
    missed: int
    attempt: int

flock = Flock(store=SQLiteBlackboardStore(sys.argv[1]))
last = asyncio.Event()

async def tick(ctx: Context) -> Ticked:
    line = json.dumps([ctx.run_id, ctx.attempt, ctx.iteration, ctx.missed])
    os.write(1, f"{line}\\n".encode())
    if ctx.attempt == 1 and sys.argv[2] == "block":
        await asyncio.Event().wait()
    if ctx.attempt == 1 and sys.argv[2] == "end":
        last.set()
    return Ticked(n=ctx.iteration, missed=ctx.missed, attempt=ctx.attempt)

flock.agent("tick").schedule(every=0.02).calls(tick)

async def main():
    async with flock:
        serving = asyncio.ensure_future(flock.run_forever())
        await last.wait()
    await serving

asyncio.run(main())
"""


class Ticked(BaseModel):
    n: int


def run(path: Path, how: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, str(path), how]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


async def test_a_pending_tick_outlives_its_process_and_is_committed_once(tmp_path: Path) -> None:
    path = tmp_path / "board.db"
    begun: list[tuple[str, int, int, int]] = []
    for _ in range(5):
        with run(path, "block") as process:
            assert process.stdout is not None
            for line in process.stdout:
                begun.append(tuple(json.loads(line)))
                if begun[-1][1] == 1:  # it is blocked in its first attempt
                    break
            process.kill()
    with run(path, "end") as process:
        assert process.stdout is not None
        begun += [tuple(json.loads(line)) for line in process.stdout]
    assert process.returncode == 0
    # each was begun once before the kill and once after it, as the same run
    assert [(attempt, n) for _, attempt, n, _ in begun[:11]] == [
        (1, 1),
        *((2, 1), (1, 2)),
        *((2, 2), (1, 3)),
        *((2, 3), (1, 4)),
        *((2, 4), (1, 5)),
        *((2, 5), (1, 6)),
    ]
    ids = {n: {run for run, _, other, _ in begun if other == n} for n in range(1, 7)}
    assert all(len(each) == 1 for each in ids.values())
    store = SQLiteBlackboardStore(path, read_only=True)
    await store.open()
    try:
        runs = await store.runs(None, limit=1000)
        made = [run for run in runs if run.agent == "tick"]
        assert max(Counter(run.run_id for run in made).values()) == 1
        assert [run.attempt for run in made[:5]] == [2] * 5
        assert {run.run_id for run in made[:5]} == set().union(*(ids[n] for n in range(1, 6)))
        (state,) = (await store.states("schedule")).values()
        position = json.loads(state)
        # every moment that was due got a run, or was counted by one
        beats = round((position["due"] - position["first"]) / 0.02)
        told = {run: missed for run, _, _, missed in begun}
        assert beats == sum(1 + missed for missed in told.values())
    finally:
        await store.close()


async def test_the_tools_for_boards_show_and_move_what_ticks_started(tmp_path: Path) -> None:
    path, copy = tmp_path / "board.db", tmp_path / "copy.db"
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    blocked = asyncio.Event()

    async def tick(ctx: Context) -> Ticked:
        match ctx.iteration:
            case 1:
                return Ticked(n=1)
            case 2:
                raise ValueError("broken")
            case _:
                await blocked.wait()
                return Ticked(n=ctx.iteration)

    def board(file: Path) -> Flock:
        flock = Flock(store=SQLiteBlackboardStore(file), clock=clock)
        flock.agent("tick").schedule(every=60, max_repeats=3).calls(tick)
        return flock

    async with board(path) as flock:
        await clock.advance(185)
        [letter] = await flock.dead_letters()
        assert letter.run.tick is not None
        await flock.shutdown(grace=0)

    def flock_board(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["board", *arguments])
        assert done.exit_code == 0, done.output
        return done.output

    async def tool(*arguments: str) -> str:  # with an event loop of its own, as a command has it
        return await asyncio.to_thread(flock_board, *arguments)

    shown = json.loads(await tool("runs", str(path), "--json"))
    [pending] = shown["open"]
    assert (pending["agent"], pending["attempt"], pending["subscription"]) == ("tick", 1, None)
    assert pending["correlation_id"] == pending["id"]
    assert [run["inputs"] for run in shown["finished"]] == [0]
    assert "begun" in await tool("runs", str(path))
    # an export carries the tick of the run that failed
    await tool("export", str(path), "--output", str(tmp_path / "board.jsonl"))
    await tool("import", str(tmp_path / "board.jsonl"), str(copy))
    store = SQLiteBlackboardStore(copy, read_only=True)
    await store.open()
    [moved] = await store.dead_letters()
    await store.close()
    assert moved.run.tick == letter.run.tick == Tick(clock.time() - 65, 2, 0)
    # and redriven by the tool it runs again as the same run
    await tool("redrive", str(path), str(letter.id))
    blocked.set()
    async with board(path) as flock:
        await flock.run_until_idle()
        [again] = await flock.dead_letters()
        assert (again.run_id, again.attempt) == (letter.run_id, 1)
        assert [each.n for each in await flock.store.get_by_type(Ticked)] == [1, 3]
