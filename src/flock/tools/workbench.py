"""Where a board makes its agents' tools, and keeps its connections to MCP servers."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

from flock.core.spans import Span, seconds
from flock.errors import DeclarationError
from flock.tools.function import FunctionTool
from flock.tools.given import GivenTool, is_tool
from flock.tools.guarded import GuardedTool
from flock.tools.mcp.connection import Connection
from flock.tools.mcp.server import MCPServer
from flock.tools.mcp.source import MCPSource

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import FrameType

    from flock.clock import Clock
    from flock.core.tool import Approve, Tool, ToolSource
    from flock.engines.threads import ThreadPool


class Workbench:
    """Makes tools for agents, and owns the connections that they share.

    Args:
        threads: Where synchronous functions run.
        clock: The board's time.
        serve: Runs a service in a task that lasts until the board closes.
    """

    def __init__(
        self,
        threads: ThreadPool,
        clock: Clock,
        serve: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]],
    ) -> None:
        self._threads = threads
        self._clock = clock
        self._serve = serve
        self._connections: dict[str, Connection] = {}

    def tool(
        self, given: object, approve: Approve | None, timeout: Span | None, frame: FrameType | None
    ) -> Tool:
        """Return a tool of a function, a method or a tool; see `ToolMaker`."""
        if isinstance(given, MCPServer):
            msg = f"{given!r} is an MCP server; give it to with_mcps"
            raise DeclarationError(msg)
        span = None if timeout is None else seconds(timeout, "timeout")
        if isinstance(given, GuardedTool):
            tool: GuardedTool = given
        elif is_tool(given):
            tool = GivenTool(cast("Tool", given))
        elif callable(given) and not isinstance(given, type):
            tool = FunctionTool(given)
        else:
            msg = f"a tool is a function, a method, what flock_tool made or a Tool, not {given!r}"
            raise DeclarationError(msg)
        tool.settle(frame)
        return tool.guarded(self._threads, approve, span)

    def source(self, server: object, approve: Approve | None) -> ToolSource:
        """Return the tools of an MCP server, on the board's one connection to it."""
        if not isinstance(server, MCPServer):
            msg = (
                f"with_mcps takes servers such as MCPServer.stdio(name, command, args), not "
                f"{server!r}"
            )
            raise DeclarationError(msg)
        if not _has_sdk():
            msg = f"{server!r} needs the MCP SDK, which is not installed; pip install 'flock[mcp]'"
            raise DeclarationError(msg)
        connection = self._connections.get(server.name)
        if connection is None:
            connection = Connection(server, self._clock, self._serve)
            self._connections[server.name] = connection
        elif connection.server != server:
            msg = (
                f"there is another MCP server {server.name!r} on this board; give one of them "
                "another name, or declare it once and share it"
            )
            raise DeclarationError(msg)
        return MCPSource(connection, self._threads, approve)

    async def close(self) -> None:
        """Close all connections side by side, and end the servers that were started."""
        if self._connections:
            await asyncio.gather(*(c.close() for c in self._connections.values()))

    def forget(self) -> None:
        """Drop the connections of an event loop that has ended."""
        for connection in self._connections.values():
            connection.forget()


def _has_sdk() -> bool:
    try:
        return find_spec("mcp") is not None
    except ValueError:  # somebody made it impossible to import
        return False
