"""No process is left behind, however a board ends."""

import asyncio
import os
from pathlib import Path

import psutil
import pytest

from flock import Flock, RunError
from tests.unit.support import until

from .support import Ask, Told, agent_of, children, stdio


async def test_fifty_runs_at_once_share_a_process_and_leave_none_behind() -> None:
    flock = Flock()
    agent_of(flock, stdio())
    flock.get_agent("caller").slots.resize(50)
    async with flock:
        await flock.publish_many([Ask(tool="add", arguments={"a": n, "b": 1}) for n in range(50)])
        report = await flock.run_until_idle(raise_on_error=True)
        assert report.runs == 50
        told = await flock.store.get_by_type(Told)
        assert sorted(int(t.text) for t in told) == list(range(1, 51))
        assert len(children()) == 1
    assert children() == []


async def test_boards_leave_no_threads_and_no_open_files_behind() -> None:
    threads = psutil.Process().num_threads()
    files = psutil.Process().num_fds()
    for n in range(2):
        flocks = [Flock(name=f"board {n} {m}") for m in range(2)]
        for flock in flocks:
            agent_of(flock, stdio())

        async def use(flock: Flock) -> str:
            async with flock:
                [told] = await flock.arun("caller", Ask(tool="add", arguments={"a": 1, "b": 2}))
                return told.as_model(Told).text

        assert await asyncio.gather(*map(use, flocks)) == ["3"] * 2
        assert children() == []
    # Those of the logs end with the processes.
    await until(lambda: psutil.Process().num_threads() <= threads)
    assert psutil.Process().num_fds() <= files


async def test_a_shutdown_in_the_middle_of_calls_ends_them_and_the_server(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    os.mkfifo(first)
    os.mkfifo(second)
    flock = Flock()
    agent_of(flock, stdio())
    async with flock:
        await flock.publish(Ask(tool="wait", arguments={"path": str(first)}))
        pid = int(await asyncio.to_thread(first.read_text))  # the call is there
        asked = Ask(tool="wait", arguments={"path": str(second)})
        call = asyncio.create_task(flock.arun("caller", asked))
        await asyncio.to_thread(second.read_text)
        await flock.shutdown(grace=0.1)
        assert not psutil.pid_exists(pid)
        assert children() == []
        assert await flock.store.get_by_type(Told) == []
        with pytest.raises(RunError, match="ended by the board's shutdown"):
            await call


async def test_a_cancelled_run_leaves_the_server_to_others(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    flock = Flock()
    agent_of(flock, stdio())
    async with flock:
        asked = await flock.publish(Ask(tool="wait", arguments={"path": str(fifo)}))
        pid = await asyncio.to_thread(fifo.read_text)
        await flock.cancel(asked.correlation_id)
        [told] = await flock.arun("caller", Ask(tool="process"))
        assert told.as_model(Told).text == pid
    assert children() == []


def test_an_event_loop_that_ends_without_a_shutdown_leaves_no_process() -> None:
    flock = Flock()
    agent_of(flock, stdio())

    async def forgetful() -> str:
        [told] = await flock.arun("caller", Ask(tool="process"))
        return told.as_model(Told).text

    for _ in range(2):  # on an event loop of its own each time
        pid = int(asyncio.run(forgetful()))
        assert not psutil.pid_exists(pid)
        assert children() == []


async def test_a_board_whose_block_fails_leaves_no_process() -> None:
    flock = Flock()
    agent_of(flock, stdio())

    async def fail() -> None:
        async with flock:
            await flock.arun("caller", Ask(tool="add", arguments={"a": 1, "b": 2}))
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    assert children() == []
