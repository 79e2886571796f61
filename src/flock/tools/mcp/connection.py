"""A board's connection to one MCP server: opened when needed, and again when it was lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar

from flock.core.retry import Backoff
from flock.core.tool import ToolResource
from flock.errors import ServerUnavailable
from flock.tools.deadline import deadline, passed
from flock.tools.mcp.link import Link, Request, current_request
from flock.tools.mcp.results import resource_of

if TYPE_CHECKING:
    import mcp
    import mcp_types as types

    from flock.clock import Clock
    from flock.tools.mcp.server import MCPServer

logger = logging.getLogger(__name__)

ATTEMPTS: Final = 3
"""How often in a row a server is started or reached before who needs it is told that it cannot."""
BACKOFF: Final = Backoff(initial=0.5, maximum=10.0)
"""How long to wait in between."""
_MAX_PAGES: Final = 100
"""How many pages of a list of tools are asked for, should a server never end it."""

T = TypeVar("T")


class ConnectionLost(ServerUnavailable):
    """The connection ended while a call was under way.

    Attributes:
        was_refused: Whether the call was certainly not made; otherwise nobody knows.
    """

    was_refused: bool = False


class Connection:
    """The one connection that the agents of a board share.

    Calls of many runs go over it at once. When it is lost, the next one who needs it opens it
    again, which starts a crashed process anew; several wait for the same attempt.

    Args:
        server: What was declared.
        clock: The board's time.
        serve: Runs the task that holds the connection; it lasts until the board closes.
    """

    def __init__(
        self,
        server: MCPServer,
        clock: Clock,
        serve: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]],
    ) -> None:
        self.server = server
        self._clock = clock
        self._serve = serve
        self._link: Link | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._opening: asyncio.Future[Link] | None = None
        self._opener: asyncio.Task[None] | None = None
        self._check: asyncio.Task[None] | None = None
        self._is_closed = False
        self._is_told_of_none = False

    async def tools(self) -> dict[str, types.Tool]:
        """Return the allowed tools by their names on the server, as they are now.

        Raises:
            ServerUnavailable: The server cannot be reached, or does not say.
        """
        if self._check is not None:
            await asyncio.wait([self._check])
        tools = (await self._linked()).tools
        if tools is None:
            tools = await self._asking(self._list, "list its tools")
        allowed = {name: tool for name, tool in tools.items() if self.server.allows(name)}
        if tools and not allowed and not self._is_told_of_none:
            self._is_told_of_none = True  # once, not in each run
            logger.warning(
                "MCP server %r has no tool that allow= and deny= let through; it has: %s",
                self.server.name,
                ", ".join(map(repr, tools)),
            )
        return allowed

    async def resources(self) -> list[ToolResource]:
        """Return the resources that the server was declared with.

        Raises:
            ServerUnavailable: One cannot be read.
        """
        return [
            await self._asking(lambda link, uri=uri: self._read(link, uri), f"read {uri!r}")
            for uri in self.server.resources
        ]

    async def call(
        self, name: str, arguments: dict[str, Any], *, is_repeatable: bool
    ) -> types.CallToolResult:
        """Call a tool by its name on the server.

        Args:
            name: Its name, exactly.
            arguments: Its arguments.
            is_repeatable: Whether it may be called again when the connection is lost meanwhile.

        Raises:
            PermissionError: It is not allowed.
            ServerUnavailable: The server cannot be reached.
            ConnectionLost: The connection was lost during the call, which was not repeated.
            MCPError: The server answered with an error.
        """
        if not self.server.allows(name):
            msg = f"MCP server {self.server.name!r} does not offer the tool {name!r} here"
            raise PermissionError(msg)
        try:
            return await self._called(await self._linked(), name, arguments)
        except ConnectionLost as lost:
            if not (is_repeatable or lost.was_refused):
                raise
            logger.info("MCP server %r is asked for %r again", self.server.name, name)
        return await self._called(await self._linked(), name, arguments)

    async def close(self) -> None:
        """End the connection and wait until it has: a process that was started is gone then."""
        self._is_closed = True
        try:
            if self._link is not None:
                self._link.end()
            if self._opening is not None:
                self._opening.cancel()
            if self._opener is not None:
                self._opener.cancel()  # it may wait for its next attempt
            if self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            self.forget()

    def forget(self) -> None:
        """Drop a connection that has ended with its event loop."""
        self._link = None
        self._opening = None
        self._opener = None
        self._check = None
        self._tasks.clear()
        self._is_closed = False

    # --- requests ---

    async def _called(
        self, link: Link, name: str, arguments: dict[str, Any]
    ) -> types.CallToolResult:
        try:
            with self._clock.working():
                return await self._over(link, lambda client: client.call_tool(name, arguments))
        except asyncio.CancelledError:  # it may have been given up because the server hangs
            if self._check is None and not self._is_closed and not link.is_over:
                self._check = self._start(
                    self._probe(link), f"check of MCP server {self.server.name!r}"
                )
            raise

    async def _probe(self, link: Link) -> None:
        """End a link over which no answer comes any more: a process is ended with it."""
        scope: asyncio.Timeout | None = None
        try:
            with self._clock.working():
                async with deadline(self._clock, self.server.connect_timeout) as scope:
                    await self._list(link)
        except Exception as error:  # noqa: BLE001 - whoever asks next is told
            if scope is not None and scope.expired():
                logger.warning("MCP server %r hangs, and is connected anew", self.server.name)
                link.end()
            else:
                logger.info("MCP server %r: %s", self.server.name, error)
        finally:
            self._check = None

    async def _list(self, link: Link) -> dict[str, types.Tool]:
        """Ask for all tools; kept until the server says that they have changed."""
        found: dict[str, types.Tool] = {}
        cursor: str | None = None
        before = link.changes
        for _ in range(_MAX_PAGES):
            page = await self._over(link, lambda client, at=cursor: client.list_tools(cursor=at))
            found.update((tool.name, tool) for tool in page.tools)
            cursor = page.next_cursor
            if cursor is None:
                break
        else:
            logger.warning(
                "MCP server %r lists its tools on more than %d pages; the rest is left out",
                self.server.name,
                _MAX_PAGES,
            )
        link.keep(found, before)
        return found

    async def _read(self, link: Link, uri: str) -> ToolResource:
        result = await self._over(link, lambda client: client.read_resource(uri))
        document = resource_of(uri, result.contents)
        limit = self.server.max_chars
        if len(document.text) <= limit:
            return document
        note = f"\n[Cut: these are the first {limit:,} of {len(document.text):,} characters]"
        return ToolResource(uri, document.text[:limit] + note, document.media_type)

    async def _asking(self, ask: Callable[[Link], Awaitable[T]], what: str) -> T:
        """Ask something that may be asked twice, within the time that connecting may take.

        Raises:
            ServerUnavailable: There is no answer.
        """
        from mcp.shared.exceptions import MCPError

        server = self.server
        for is_last in (False, True):
            link = await self._linked()
            scope: asyncio.Timeout | None = None
            try:
                with self._clock.working():
                    async with deadline(self._clock, server.connect_timeout) as scope:
                        return await ask(link)
            except ConnectionLost:
                if is_last:
                    raise
            except TimeoutError as error:
                if scope is None or not scope.expired():
                    raise
                link.end()  # it hangs: a process is ended and started anew
                msg = (
                    f"MCP server {server.name!r} did not {what} within "
                    f"{server.connect_timeout:g} seconds"
                )
                if is_last:
                    raise ServerUnavailable(msg) from error
                logger.warning("%s; connecting anew", msg)
            except MCPError as error:
                msg = f"MCP server {server.name!r} could not {what}: {error}"
                raise ServerUnavailable(msg) from error
        raise AssertionError

    async def _over(self, link: Link, request: Callable[[mcp.Client], Awaitable[T]]) -> T:
        """Make a request over a link.

        Raises:
            ConnectionLost: The link ended before the answer.
        """
        import mcp_types as types
        from mcp.shared.exceptions import MCPError

        client = link.client
        if client is None:
            lost = ConnectionLost(f"MCP server {self.server.name!r} was lost before the call")
            lost.was_refused = True
            raise lost
        made = Request()
        token = current_request.set(made)
        try:
            return await request(client)
        except MCPError as error:
            if error.code != types.CONNECTION_CLOSED and not link.is_forgotten:
                raise
            link.end()
            msg = (
                f"MCP server {self.server.name!r} was lost during the call; whether it was carried "
                "out is unknown"
            )
            lost = ConnectionLost(msg)
            lost.was_refused = made.was_refused
            raise lost from error
        finally:
            current_request.reset(token)

    # --- opening ---

    async def _linked(self) -> Link:
        """Return a link that is open, opening one if there is none.

        Cancelling it does not end the attempt, for which others may wait.

        Raises:
            ServerUnavailable: It could not be opened, several times.
        """
        if self._is_closed:
            msg = f"MCP server {self.server.name!r}: the board is shutting down"
            raise ServerUnavailable(msg)
        link = self._link
        if link is not None and link.ready.done() and not link.is_over:
            return link
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_future()
            self._opening.add_done_callback(_seen)
            self._opener = self._start(
                self._open(self._opening), f"opening of MCP server {self.server.name!r}"
            )
        try:
            return await asyncio.shield(self._opening)
        except asyncio.CancelledError:
            if not self._is_closed:
                raise
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            msg = f"MCP server {self.server.name!r}: the board is shutting down"
            raise ServerUnavailable(msg) from None

    async def _open(self, opening: asyncio.Future[Link]) -> None:
        """Open a link, with a few attempts, and tell who waits."""
        try:
            for attempt in range(1, ATTEMPTS + 1):
                link = self._link = Link(self.server, self._clock)
                self._start(link.run(), f"MCP server {self.server.name!r}")
                await asyncio.wait([link.ready])
                try:
                    link.ready.result()
                except ServerUnavailable as error:
                    if attempt == ATTEMPTS or _is_hopeless(error):
                        self._opening = None
                        if not opening.done():
                            opening.set_exception(error)
                        return
                    delay = BACKOFF.delay(attempt)
                    logger.warning("%s; trying again in %.1f seconds", error, delay)
                    await passed(self._clock, delay)
                else:
                    self._opening = None
                    if not opening.done():
                        opening.set_result(link)
                    return
        finally:
            opening.cancel()

    def _start(self, work: Coroutine[Any, Any, None], what: str) -> asyncio.Task[None]:
        task = self._serve(work, what)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _is_hopeless(error: ServerUnavailable) -> bool:
    """Whether trying again cannot help: no program, no SDK, or it would only take as long."""
    return isinstance(error.__cause__, ImportError | OSError)


def _seen(opening: asyncio.Future[Link]) -> None:
    if not opening.cancelled():
        opening.exception()
