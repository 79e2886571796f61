"""A real MCP server over streamable HTTP on this machine."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from flock import Flock, MCPServer, ServerUnavailable
from flock.engines.chat import ToolRequest
from flock.testing import ManualClock

from .support import SERVERS, Desk, agent_of

ERAS = pytest.mark.parametrize("era", [(), ("legacy",)], ids=["2026-07-28", "2025-11-25"])


@asynccontextmanager
async def serving(*how: str, port: int = 0) -> AsyncGenerator[int]:
    """Run the server in a process of its own; yields its port."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SERVERS / "good.py"), *how, "http", str(port),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield int(await process.stdout.readline())
    finally:
        with contextlib.suppress(ProcessLookupError):  # the test itself may have ended it
            process.send_signal(signal.SIGKILL)
        await process.wait()


@asynccontextmanager
async def board(*servers: MCPServer, clock: ManualClock | None = None) -> AsyncGenerator[Desk]:
    """Open a board with one agent of these servers."""
    flock = Flock(clock=clock)
    agent = agent_of(flock, *servers)
    async with flock:
        yield Desk(flock, agent)


def http(port: int, **options: Any) -> MCPServer:
    return MCPServer.http("remote", f"http://127.0.0.1:{port}/mcp", **options)


async def until_offered(d: Desk, name: str) -> None:
    """Wait until the announcement of a new tool has come, on a stream of its own."""
    while name not in await d.names():  # noqa: ASYNC110
        await asyncio.sleep(0)


@ERAS
async def test_all_that_a_server_offers_comes_over_http(
    era: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    secret = "hunter2-hunter2"
    headers = {"Authorization": SecretStr(f"Bearer {secret}"), "x-plain": secret}
    options = {"resources": ["notes://today"], "roots": ["/srv"], "headers": headers}
    async with serving(*era) as port, board(http(port, **options)) as d:
        assert await d.text("add", a=1, b=2) == "3"
        assert len((await d.ask("picture")).images) == 1
        assert (await d.box()).resources[0].text == "Buy milk."
        assert await d.text("roots") == "file:///srv"

        # Headers reach the server, and nobody else.
        assert await d.text("header", name="authorization") == f"Bearer {secret}"
        assert await d.text("header", name="x-plain") == secret
        [source] = d.agent.tool_sources
        seen = f"{source!r} {await source.tools()!r} {d.agent!r}"
        assert secret not in seen
        by = ("flock", "httpx2", "httpcore2")
        assert not [r for r in caplog.records if r.name.startswith(by) and secret in r.getMessage()]

        # A change of the tools is followed.
        assert "There is no tool 'extra'" in await d.error("extra")
        await d.text("learn", name="extra")
        await until_offered(d, "extra")
        assert await d.text("extra") == "I am extra"


@ERAS
async def test_a_server_that_was_restarted_is_reached_again(era: tuple[str, ...]) -> None:
    async with AsyncExitStack() as stack:
        async with serving(*era) as port:
            d = await stack.enter_async_context(board(http(port)))
            assert await d.text("add", a=1, b=2) == "3"
            first = await d.text("process")
        async with serving(*era, port=port):
            assert await d.text("add", a=2, b=2) == "4"  # the call was refused, not carried out
            assert await d.text("process") != first


@ERAS
async def test_a_server_that_is_gone_is_named_with_the_remedy(era: tuple[str, ...]) -> None:
    async with AsyncExitStack() as stack:
        async with serving(*era) as port:
            clock = ManualClock(autojump=True)
            d = await stack.enter_async_context(board(http(port), clock=clock))
            box = await d.box()
            assert await d.text("add", a=1, b=2) == "3"
        [answer] = await box.answer([ToolRequest("1", "add", '{"a": 1, "b": 2}')])
        assert answer.is_error
        assert "MCP server 'remote'" in answer.text
        with pytest.raises(ServerUnavailable, match=rf"http://127.0.0.1:{port}/mcp.*check the url"):
            await d.box()


async def test_a_call_in_flight_when_the_server_dies_is_an_error(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    async with serving() as port, board(http(port)) as d:
        call = asyncio.create_task(d.error("wait", path=str(fifo)))
        pid = int(await asyncio.to_thread(fifo.read_text))
        os.kill(pid, signal.SIGKILL)
        assert "'remote' was lost during the call" in await call


@pytest.mark.parametrize("path", ["nothing", "forbidden"])
async def test_a_url_of_something_else_is_named(path: str) -> None:
    async with (
        serving() as port,
        board(
            MCPServer.http("remote", f"http://127.0.0.1:{port}/{path}"),
            clock=ManualClock(autojump=True),
        ) as d,
    ):
        with pytest.raises(ServerUnavailable, match=r"remote.*status 40[34].*check the url"):
            await d.box()
