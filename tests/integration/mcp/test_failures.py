"""Servers that crash, hang, die, chatter or do not exist: an answer or a named error, always."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from flock import Flock, MCPServer, RunError, ServerUnavailable
from flock.engines.chat import ToolRequest
from flock.testing import ManualClock
from tests.unit.support import until

from .support import SERVERS, Ask, Told, agent_of, children, desk, stdio


async def test_a_call_is_repeated_after_a_crash_only_if_it_may_be(
    tmp_path: Path,
) -> None:
    calls = tmp_path / "calls"
    async with desk(stdio()) as d:
        first = await d.text("process")
        words = await d.error("crash", path=str(calls))
        assert "'files' was lost during the call; whether it was carried out is unknown" in words
        assert calls.read_text().splitlines() == ["called"]
        assert await d.text("process") != first  # by a process that was started anew

        calls.unlink()
        assert await d.text("crash_once", path=str(calls)) == "the second time"  # says it may
        assert calls.read_text().splitlines() == ["called", "called"]


async def test_all_calls_in_flight_are_answered_when_the_server_crashes(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    async with desk(stdio()) as d:
        waiting = asyncio.create_task(d.error("wait", path=str(fifo)))
        pid = int(await asyncio.to_thread(fifo.read_text))
        os.kill(pid, signal.SIGKILL)
        assert "was lost during the call" in await waiting
        assert await d.text("add", a=1, b=2) == "3"


async def test_many_who_find_a_connection_lost_start_one_process() -> None:
    async with desk(stdio()) as d:
        killed = int(await d.text("process"))
        os.kill(killed, signal.SIGKILL)
        pids = await asyncio.gather(*(d.text("process") for _ in range(20)))
        [child] = children()
        assert {int(pid) for pid in pids} == {child.pid} != {killed}


async def test_a_server_that_hangs_is_ended_and_started_anew() -> None:
    async with desk(stdio(timeout=0.2, connect_timeout=5)) as d:
        box = await d.box()
        [answer] = await box.answer([ToolRequest("1", "block", '{"seconds": 5}')])
        assert "'block' did not answer within 0.2 seconds" in answer.text
        pid = children()[0].pid

        os.kill(pid, signal.SIGSTOP)  # it is there, and does nothing
        [answer] = await box.answer([ToolRequest("1", "process", "{}")])
        assert "'process' did not answer within 0.2 seconds" in answer.text
        await d.box()  # waits for the check, and for the next process
        assert pid not in {child.pid for child in children() if child.status() != "stopped"}
        assert int(await d.text("process")) != pid


async def test_a_program_that_does_not_exist_is_named_with_the_remedy() -> None:
    flock = Flock(clock=ManualClock())  # nothing is tried again, or this would wait for ever
    agent_of(flock, MCPServer.stdio("files", "no-such-program-anywhere"))
    async with flock:
        with pytest.raises(ServerUnavailable) as caught:
            await flock.arun("caller", Ask(tool="add"))
    assert "MCP server 'files' could not be reached" in str(caught.value)
    assert "no program 'no-such-program-anywhere' on PATH; install it" in str(caught.value)
    assert isinstance(caught.value, ConnectionError)


async def test_a_server_that_cannot_be_reached_fails_the_run() -> None:
    flock = Flock(clock=ManualClock())
    agent_of(flock, MCPServer.stdio("files", "no-such-program-anywhere"))
    async with flock:
        await flock.publish(Ask(tool="add"))
        with pytest.raises(ExceptionGroup) as caught:
            await flock.run_until_idle(raise_on_error=True)
        [error] = caught.value.exceptions
        assert isinstance(error, RunError)
        assert "no-such-program-anywhere" in str(error)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"command": "/dev/null"}, "'/dev/null' may not be executed"),
        ({"command": "/etc/hostname/x"}, "'/etc/hostname/x' cannot be started"),
        ({"command": sys.executable, "cwd": "/no/such/folder"}, "no folder '/no/such/folder'"),
    ],
)
async def test_other_reasons_are_named_as_well(options: dict[str, Any], words: str) -> None:
    async with desk(MCPServer.stdio("files", **options), flock=Flock(clock=ManualClock())) as d:
        with pytest.raises(ServerUnavailable, match=words):
            await d.box()


async def test_a_program_that_dies_is_tried_a_few_times(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    flock = Flock(clock=ManualClock(autojump=True))
    async with desk(stdio("broken", "dies"), flock=flock) as d:
        with pytest.raises(ServerUnavailable, match=r"flock\.tools\.mcp\.link. at level INFO"):
            await d.box()
    assert caplog.text.count("trying again in") == 2
    assert "the licence has expired" in caplog.text


@pytest.mark.parametrize("how", ["silent", "chatters"])
async def test_a_program_that_is_no_server_is_given_up(how: str) -> None:
    async with desk(stdio("broken", how, connect_timeout=0.2)) as d:
        with pytest.raises(ServerUnavailable, match=r"was not ready within 0\.2 seconds"):
            await d.box()


async def test_the_server_of_a_failed_run_is_asked_again_by_the_next(tmp_path: Path) -> None:
    program = tmp_path / "server"
    flock = Flock()
    agent_of(flock, MCPServer.stdio("files", str(program)))
    async with flock:
        with pytest.raises(ServerUnavailable, match="no program"):
            await flock.arun("caller", Ask(tool="process"))
        program.write_text(f"#!/bin/sh\nexec {sys.executable} {SERVERS / 'good.py'}\n")
        program.chmod(0o700)
        [told] = await flock.arun("caller", Ask(tool="process"))
        assert not told.as_model(Told).is_error
    assert children() == []


async def test_a_program_that_does_not_want_to_end_is_ended() -> None:
    flock = Flock()
    agent_of(flock, stdio("broken", "stubborn"))
    async with flock:
        await flock.publish(Ask(tool="add"))
        await until(lambda: bool(children()))
        await flock.shutdown(grace=0)
    assert children() == []
