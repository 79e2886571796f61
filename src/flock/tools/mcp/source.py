"""The tools of an MCP server, as an agent has them."""

from __future__ import annotations

import hashlib
import logging
import re
from typing import TYPE_CHECKING, Any, Final

from flock.errors import EngineError
from flock.tools.arguments import Refused
from flock.tools.guarded import GuardedTool, Prepared
from flock.tools.mcp.results import answer_of_result

if TYPE_CHECKING:
    import mcp_types as types

    from flock.core.context import Context
    from flock.core.tool import Approve, Tool, ToolResource
    from flock.engines.threads import ThreadPool
    from flock.tools.mcp.connection import Connection

logger = logging.getLogger(__name__)

_ODD: Final = re.compile(r"[^a-zA-Z0-9_-]")
_MAX_NAME: Final = 64


class MCPSource:
    """What one agent gets of an MCP server.

    Args:
        connection: The board's connection to it.
        threads: Where a synchronous `approve` runs.
        approve: Is asked before each call.
    """

    def __init__(
        self, connection: Connection, threads: ThreadPool, approve: Approve | None
    ) -> None:
        self.name = connection.server.name
        self._connection = connection
        self._threads = threads
        self._approve = approve

    def __repr__(self) -> str:
        return repr(self._connection.server)

    async def tools(self) -> list[Tool]:
        """Return the allowed tools as they are now.

        Raises:
            ServerUnavailable: The server cannot be reached.
        """
        listed = await self._connection.tools()
        prefix = self._connection.server.prefix
        plain = [callable_name(name, prefix) for name in listed]
        tools: list[Tool] = []
        for (name, tool), shown in zip(listed.items(), plain, strict=True):
            is_alone = plain.count(shown) == 1
            unique = shown if is_alone else callable_name(name, prefix, is_marked=True)
            made = MCPTool(self._connection, tool, unique)
            tools.append(made.guarded(self._threads, self._approve, None))
        return tools

    async def resources(self) -> list[ToolResource]:
        """Return the resources that the server was declared with, as they are now.

        Raises:
            ServerUnavailable: One cannot be read.
        """
        return await self._connection.resources()


class MCPTool(GuardedTool):
    """A tool of an MCP server; the server checks its arguments.

    Args:
        connection: The board's connection to the server.
        tool: What the server says about it.
        name: What the model calls it by.
    """

    def __init__(self, connection: Connection, tool: types.Tool, name: str) -> None:
        self.name = name
        self.description = tool.description or tool.title or ""
        self.parameters = tool.input_schema
        self.timeout = connection.server.timeout
        self.max_chars = connection.server.max_chars
        self._connection = connection
        self._tool = tool

    def __repr__(self) -> str:
        return f"MCPTool({self._tool.name!r} of {self._connection.server!r})"

    def _prepare(self, given: dict[str, Any], ctx: Context | None) -> Prepared:
        del ctx
        hints = self._tool.annotations
        is_repeatable = hints is not None and (
            hints.read_only_hint is True or hints.idempotent_hint is True
        )

        async def work() -> object:
            from mcp.shared.exceptions import MCPError

            try:
                result = await self._connection.call(
                    self._tool.name, given, is_repeatable=is_repeatable
                )
            except MCPError as error:
                logger.info("MCP tool failed: %r: %s", self, error)
                msg = f"The server refused the call of {self.name!r}: {error}"
                raise Refused(msg) from None
            except (EngineError, PermissionError) as error:
                logger.warning("MCP tool could not be called: %r: %s", self, error)
                raise Refused(str(error)) from None
            return answer_of_result(result)

        return Prepared(work, given)


def callable_name(name: str, prefix: str = "", *, is_marked: bool = False) -> str:
    """Return a name that models can call a server's tool by.

    What their APIs do not take becomes `_`; a name that is too long is cut.

    Args:
        name: Its name on the server.
        prefix: What goes before.
        is_marked: Whether a mark of the name is added, since another tool comes to the same.
    """
    plain = prefix + _ODD.sub("_", name)
    if not is_marked and 0 < len(plain) <= _MAX_NAME:
        return plain
    mark = "_" + hashlib.sha256(name.encode()).hexdigest()[:8]
    return plain[: _MAX_NAME - len(mark)] + mark
