"""One live connection to an MCP server, from its opening to its end."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import AsyncGenerator, Generator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

from flock.errors import ServerUnavailable
from flock.tools.deadline import deadline, expire
from flock.tools.groups import root_cause
from flock.tools.mcp.server import HTTPTransport, StdioTransport

if TYPE_CHECKING:
    import httpx2
    import mcp
    import mcp_types as types
    from mcp.client import Transport

    from flock.clock import Clock
    from flock.tools.mcp.server import MCPServer

logger = logging.getLogger(__name__)

_MAX_LINE: Final = 2000
"""Characters of a line of a server's standard error that are logged."""
_SHORTEST: Final = 6
"""Characters from which on the value of an environment variable counts as a secret in the log."""
_READ_TIMEOUT: Final = 300.0
"""Seconds of silence after which an HTTP stream counts as dead, if calls may not take longer."""


@dataclass(slots=True)
class Request:
    """What is learnt of one request besides its answer.

    Attributes:
        was_refused: Whether the server certainly did not carry it out.
    """

    was_refused: bool = False


current_request: ContextVar[Request | None] = ContextVar("flock_mcp_request", default=None)
"""The request being made. The SDK sends each in the context of who makes it."""


class Link:
    """One connection. `run` is the task that opens it, and closes it when it is over.

    The SDK's task groups have to be left in the task that entered them, which is that of
    `run`; requests are made from any task.

    Attributes:
        ready: Set when the connection is open; holds the `ServerUnavailable` if it cannot be.
        is_over: Whether it has ended or is to end.
        is_forgotten: Whether an HTTP server no longer knows the session, and refuses its calls.
        is_followed: Whether changes of its tools are announced, so that a list can be kept.
        changes: How many changes of its tools were announced.
    """

    def __init__(self, server: MCPServer, clock: Clock) -> None:
        self._server = server
        self._clock = clock
        self._end = asyncio.Event()
        self._client: mcp.Client | None = None
        self._opening: asyncio.Timeout | None = None
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ready.add_done_callback(_seen)
        self._status: int | None = None
        self.is_forgotten = False
        self.is_followed = False
        self.changes = 0
        self._tools: dict[str, types.Tool] = {}
        self._tools_at: int | None = None

    @property
    def client(self) -> mcp.Client | None:
        """The SDK's client while the connection is open, else None."""
        return None if self._end.is_set() else self._client

    @property
    def is_over(self) -> bool:
        """Whether it has ended or is to end."""
        return self._end.is_set()

    @property
    def tools(self) -> dict[str, types.Tool] | None:
        """The server's tools; None if they have to be asked for."""
        return self._tools if self.is_followed and self._tools_at == self.changes else None

    def keep(self, tools: dict[str, types.Tool], at: int) -> None:
        """Keep the server's tools, which were asked for after so many changes."""
        self._tools, self._tools_at = tools, at

    def end(self) -> None:
        """Let it end, also while it is being opened; a second call does nothing."""
        self._end.set()
        if self._opening is not None:
            expire(self._opening)

    async def run(self) -> None:
        """Open it, keep it until its end, and close it; a process that was started has ended then.

        Never raises but for a cancellation: `ready` says why it cannot be opened, and what ends
        it later is logged.
        """
        server = self._server
        try:
            async with AsyncExitStack() as stack:
                self._client = await self._open_in_time(stack)
                self.ready.set_result(None)
                await self._last()
        except Exception as error:  # noqa: BLE001 - told to who waits, or logged
            if not self.ready.done():
                self.ready.set_exception(_unavailable(server, error, self._status))
            elif not self._end.is_set():
                logger.warning("MCP server %r was lost: %s", server.name, root_cause(error))
        finally:
            self._end.set()
            self._client = None
            if not self.ready.done():
                msg = f"MCP server {server.name!r}: connecting was ended by the board's shutdown"
                self.ready.set_exception(ServerUnavailable(msg))

    async def _open_in_time(self, stack: AsyncExitStack) -> mcp.Client:
        server = self._server
        scope: asyncio.Timeout | None = None
        try:
            with self._clock.working():
                async with deadline(self._clock, server.connect_timeout) as scope:
                    self._opening = scope
                    try:
                        return await self._open(stack)
                    finally:
                        self._opening = None
        except TimeoutError as error:
            if scope is None or not scope.expired():
                raise
            msg = (
                f"MCP server {server.name!r} ({server.transport}) was not ready within "
                f"{server.connect_timeout:g} seconds; see its log, or give it a longer "
                "connect_timeout="
            )
            if self._end.is_set():
                msg = f"MCP server {server.name!r}: connecting was ended by the board's shutdown"
            raise ServerUnavailable(msg) from error

    async def _last(self) -> None:
        """Stay until the end, and follow how the server's tools change."""
        import anyio

        async with anyio.create_task_group() as group:
            group.start_soon(self._follow)
            await self._end.wait()
            group.cancel_scope.cancel()

    async def _open(self, stack: AsyncExitStack) -> mcp.Client:
        import mcp
        import mcp_types as types

        server = self._server

        async def roots(_: object) -> types.ListRootsResult:
            return types.ListRootsResult.model_validate(
                {"roots": [{"uri": root} for root in server.roots]}
            )

        async def heard(message: object) -> None:
            if isinstance(message, types.ToolListChangedNotification):
                self.changes += 1
            elif isinstance(message, Exception):
                logger.warning("MCP server %r wrote what is no message", server.name)

        options: dict[str, Any] = {"list_roots_callback": roots} if server.roots else {}
        client = mcp.Client(
            await self._transport(stack),
            message_handler=heard,
            client_info=types.Implementation(name="flock", version=_version()),
            cache=None,
            **options,
        )
        return await stack.enter_async_context(client)

    async def _transport(self, stack: AsyncExitStack) -> Transport:
        transport = self._server.transport
        if isinstance(transport, HTTPTransport):
            return self._watched(await self._http(stack, transport))
        return self._watched(await self._stdio(stack, transport))

    async def _http(self, stack: AsyncExitStack, transport: HTTPTransport) -> Transport:
        import httpx2
        from mcp.client.streamable_http import streamable_http_client
        from mcp.shared._httpx_utils import create_mcp_http_client

        silence = max(_READ_TIMEOUT, self._server.timeout + 30.0)
        headers = {name: value.get_secret_value() for name, value in transport.headers.items()}
        client = create_mcp_http_client(headers, httpx2.Timeout(30.0, read=silence))
        client.event_hooks = {"response": [self._answered]}
        await stack.enter_async_context(client)
        return cast("Transport", streamable_http_client(transport.url, http_client=client))

    async def _stdio(self, stack: AsyncExitStack, transport: StdioTransport) -> Transport:
        from mcp.client.stdio import StdioServerParameters, stdio_client

        env = {name: value.get_secret_value() for name, value in transport.env.items()}
        parameters = StdioServerParameters(
            command=transport.command, args=list(transport.args), env=env, cwd=transport.cwd
        )
        logged = stack.enter_context(_log_of(self._server.name, env.values()))
        return cast("Transport", stdio_client(parameters, errlog=logged))

    async def _answered(self, response: httpx2.Response) -> None:
        """Note a refusal that the SDK passes on like any other error of the server.

        A server answers 404 to the id of a session that it does not know any more:
        https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#session-management
        """
        if response.status_code >= 400:
            self._status = response.status_code
        if response.status_code == 404 and "mcp-session-id" in response.request.headers:
            self.is_forgotten = True
            request = current_request.get()
            if request is not None:
                request.was_refused = True

    @asynccontextmanager
    async def _watched(self, transport: Transport) -> AsyncGenerator[Any]:
        """Note when the server closes its end, which the SDK only tells to those who ask then."""
        async with transport as (read, write):
            yield _Watched(read, self._hung_up), write

    def _hung_up(self) -> None:
        if not self._end.is_set():
            logger.warning("MCP server %r has closed the connection", self._server.name)
            self._end.set()

    async def _follow(self) -> None:
        """Learn when the server's tools change.

        Up to 2025-11-25 a server announces it by itself; since 2026-07-28 it is asked to.
        """
        from mcp.client.subscriptions import ListenNotSupportedError, SubscriptionLost
        from mcp.shared.exceptions import MCPError

        client = self._client
        if client is None:
            return
        capability = client.server_capabilities.tools
        if capability is None or not capability.list_changed:
            self.is_followed = True  # none will come, or one that was not promised
            return
        try:
            async with client.listen(tools_list_changed=True) as changes:
                self.changes += 1  # there may have been one before
                self.is_followed = True
                async for _ in changes:
                    self.changes += 1
        except ListenNotSupportedError:
            self.is_followed = True
            return
        except (SubscriptionLost, MCPError, TimeoutError) as error:
            logger.info("MCP server %r no longer tells of changes: %s", self._server.name, error)
        self.is_followed = False


class _Watched:
    """A stream of messages that tells when it has ended."""

    def __init__(self, stream: Any, on_end: Any) -> None:  # noqa: ANN401 - the SDK's streams
        self._stream = stream
        self._on_end = on_end

    @property
    def last_context(self) -> object:
        return getattr(self._stream, "last_context", None)

    async def receive(self) -> Any:  # noqa: ANN401
        return await self._stream.receive()

    async def aclose(self) -> None:
        await self._stream.aclose()

    def __aiter__(self) -> _Watched:
        return self

    async def __anext__(self) -> Any:  # noqa: ANN401
        try:
            return await self._stream.__anext__()
        except StopAsyncIteration:
            self._on_end()
            raise

    async def __aenter__(self) -> _Watched:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> bool | None:
        return await self._stream.__aexit__(*exc)


@contextmanager
def _log_of(name: str, secrets: Iterable[str]) -> Generator[TextIO]:
    """Open a file whose lines go to the log, to be the standard error of a process.

    A thread reads the lines until every process that holds the file has ended.

    Args:
        name: Of the server.
        secrets: What a server may have been told and is not logged; short values are no secrets.
    """
    hidden = sorted((s for s in secrets if len(s) >= _SHORTEST), key=len, reverse=True)
    read_end, write_end = os.pipe()

    def read() -> None:
        with os.fdopen(read_end, encoding="utf-8", errors="replace") as lines:
            while line := lines.readline(_MAX_LINE):
                if text := line.rstrip():
                    for secret in hidden:
                        text = text.replace(secret, "[hidden]")
                    logger.info("MCP server %r: %s", name, text)

    threading.Thread(target=read, name=f"flock log of MCP server {name!r}", daemon=True).start()
    with os.fdopen(write_end, "w", encoding="utf-8") as file:
        yield file


def _seen(ready: asyncio.Future[None]) -> None:
    """Mark an error as seen: who waits gets it, and maybe nobody waits any more."""
    if not ready.cancelled():
        ready.exception()


def _unavailable(server: MCPServer, error: Exception, status: int | None) -> ServerUnavailable:
    """Return why a server cannot be reached, with the remedy."""
    cause = root_cause(error)
    if isinstance(cause, ServerUnavailable):
        return cause
    transport = server.transport
    if isinstance(cause, ImportError):
        why = f"it needs the MCP SDK ({cause}); pip install 'flock[mcp]'"
    elif isinstance(transport, HTTPTransport):
        said = f"HTTP status {status}" if status is not None else _said(cause)
        why = f"{transport} does not answer as one ({said}); check the url, headers, and server"
    elif (
        isinstance(cause, FileNotFoundError)
        and transport.cwd is not None
        and (not transport.cwd.is_dir())
    ):
        why = f"there is no folder {str(transport.cwd)!r}; correct cwd="
    elif isinstance(cause, FileNotFoundError):
        why = (
            f"there is no program {transport.command!r} on PATH; install it, or give command= its "
            "full path"
        )
    elif isinstance(cause, PermissionError):
        why = f"{transport.command!r} may not be executed; correct its permissions, or command="
    elif isinstance(cause, OSError):
        why = f"{transport.command!r} cannot be started ({_said(cause)}); correct command="
    else:
        why = (
            f"{transport.command!r} started, but does not speak MCP ({_said(cause)}); see what it "
            f"wrote to the logger {logger.name!r} at level INFO, and try the command with its args "
            "by hand"
        )
    unavailable = ServerUnavailable(f"MCP server {server.name!r} could not be reached: {why}")
    unavailable.__cause__ = cause
    return unavailable


def _said(cause: BaseException) -> str:
    return f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__


def _version() -> str:
    try:
        return version("flock")
    except PackageNotFoundError:  # run from a source tree that nobody installed
        return "0"
