"""A listener goes on where it was, after the program that ran the board was killed."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from pydantic import BaseModel

from flock import ArtifactPublished, Flock, Position, RunFailed, RunSucceeded, flock_type

PROGRAM = dedent(
    """
    import asyncio, sys
    from pydantic import BaseModel
    from flock import *

    @flock_type(name="killed.Order")
    class Order(BaseModel):
        n: int

    @flock_type(name="killed.Bill")
    class Bill(BaseModel):
        n: int

    def bill(order: Order) -> Bill:
        if order.n % 3 == 2:
            raise ValueError("no")
        return Bill(n=order.n)

    async def work():
        flock = Flock(store=f"sqlite:///{sys.argv[1]}")
        flock.agent("bill").calls(bill)
        stream = flock.events(kinds=ArtifactPublished | RunSucceeded | RunFailed | DeadLettered)

        async def tell():
            async for event in stream:
                print(event.position, event.as_dict()["kind"], flush=True)

        async with flock:
            telling = asyncio.create_task(tell())
            for n in range(100_000):
                await flock.publish(Order(n=n))
                await asyncio.sleep(0)

    asyncio.run(work())
    """
)


@flock_type(name="killed.Order")
class Order(BaseModel):
    n: int


@flock_type(name="killed.Bill")
class Bill(BaseModel):
    n: int


def bill(order: Order) -> Bill:
    return Bill(n=order.n)


@pytest.mark.parametrize("lines", [1, 40, 300])
async def test_events_go_on_without_a_gap_after_a_kill(tmp_path: Path, lines: int) -> None:
    path = tmp_path / "board.db"
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)

    def killed() -> list[str]:
        command = [sys.executable, str(script), str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            heard = [process.stdout.readline() for _ in range(lines)]
            os.kill(process.pid, signal.SIGKILL)
            heard += process.stdout.read().splitlines(keepends=True)
        return [line.strip() for line in heard if line.endswith("\n")]

    heard = await asyncio.to_thread(killed)
    board = Flock(store=f"sqlite:///{path}")
    board.agent("bill").calls(bill)
    everything, rest = board.events(after=0), board.events(after=heard[-1].split()[0])
    async with board:
        await board.run_until_idle()
    found = [event async for event in everything if _lasts(event)]
    told = [f"{event.position} {event.as_dict()['kind']}" for event in found]
    assert told[: len(heard)] == heard
    later = [event async for event in rest if _lasts(event)]
    assert [e.position for e in later] == [e.position for e in found[len(heard) :]]
    runs = [e for e in found if isinstance(e, RunSucceeded | RunFailed)]
    orders = {
        e.artifact.id
        for e in found
        if isinstance(e, ArtifactPublished) and e.artifact.type == "killed.Order"
    }
    assert len({e.run_id for e in runs}) == len(runs) == len(orders)
    assert Position() < found[0].position


def _lasts(event: object) -> bool:
    kinds = {"ArtifactPublished", "RunSucceeded", "RunFailed", "DeadLettered"}
    return type(event).__name__ in kinds
