"""What a user declares about an MCP server."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from flock.core.spans import Span, seconds
from flock.errors import DeclarationError
from flock.tools.answers import MAX_CHARS
from flock.tools.guarded import is_name

CONNECT_TIMEOUT: Final = 30.0
"""Seconds that a server may take to start and say what it has."""
CALL_TIMEOUT: Final = 60.0
"""Seconds that a call of one of its tools may take."""
_SCHEME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:")


@dataclass(frozen=True, slots=True)
class StdioTransport:
    """A server that is started as a process and spoken to over its standard streams."""

    command: str
    args: tuple[str, ...] = field(default=(), repr=False)
    env: Mapping[str, SecretStr] = field(default_factory=dict[str, SecretStr], repr=False)
    cwd: Path | None = None

    def __str__(self) -> str:
        """Name it without what may be secret."""
        return self.command


@dataclass(frozen=True, slots=True)
class HTTPTransport:
    """A server that is spoken to over streamable HTTP."""

    url: str = field(repr=False)
    headers: Mapping[str, SecretStr] = field(default_factory=dict[str, SecretStr], repr=False)

    def __str__(self) -> str:
        """Name it without what may be secret."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}{parts.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MCPServer:
    """An MCP server whose tools agents may call; made by `stdio` or `http`, given to `with_mcps`.

    Attributes:
        name: Names it on its board, in errors and logs.
        transport: How it is reached.
        allow: Which of its tools may be called; all if None.
        deny: Which may not, although allowed.
        prefix: What goes before its tools' names.
        timeout: Seconds that a call may take.
        connect_timeout: Seconds that it may take to start, and to list what it has.
        roots: The folders it is told to work in, as `file:` URIs.
        resources: URIs of its resources that the model is given to read.
        max_chars: How many characters of an answer or a resource the model is told.
    """

    name: str
    transport: StdioTransport | HTTPTransport
    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] = ()
    prefix: str = ""
    timeout: float = CALL_TIMEOUT
    connect_timeout: float = CONNECT_TIMEOUT
    roots: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    max_chars: int = MAX_CHARS

    def __repr__(self) -> str:
        return f"MCPServer({self.name!r}, {str(self.transport)!r})"

    @classmethod
    def stdio(
        cls,
        name: str,
        command: str,
        args: Iterable[str] = (),
        env: Mapping[str, str | SecretStr] | None = None,
        cwd: str | Path | None = None,
        *,
        allow: Iterable[str] | None = None,
        deny: Iterable[str] = (),
        prefix: str = "",
        timeout: Span = CALL_TIMEOUT,
        connect_timeout: Span = CONNECT_TIMEOUT,
        roots: Iterable[str | Path] = (),
        resources: Iterable[str] = (),
        max_chars: int = MAX_CHARS,
    ) -> MCPServer:
        """Declare a server that is started as a process, and ended with the board.

        Its environment is `env` and, of this process's, only what the MCP SDK counts as safe,
        such as `PATH` and `HOME`. What it writes to its standard error goes to the log, without
        the values of `env`.

        Args:
            name: Names it on its board, in errors and logs.
            command: The program, looked up on `PATH`.
            args: The program's arguments. Never shown or logged.
            env: Environment variables besides. Never shown or logged.
            cwd: The folder it runs in; this process's unless said.
            allow: Names of the tools that may be called, or patterns such as `"read_*"`,
                exact in case; all unless said. Asked again at each call.
            deny: Names or patterns of tools that may not be called, although allowed.
            prefix: What goes before its tools' names, such as `"files_"`, so that those of two
                servers differ.
            timeout: How long a call may take on the board's clock: a `timedelta` or seconds.
            connect_timeout: How long it may take to start, and to list what it has.
            roots: The folders it is told to work in: paths or `file:` URIs.
            resources: URIs of its resources that the model is given to read.
            max_chars: How many characters of an answer or a resource the model is told.

        Raises:
            DeclarationError: An argument makes no sense.
        """
        if not isinstance(command, str) or not command.strip():
            msg = f"MCP server {name!r}: command is the name of a program, not {command!r}"
            raise DeclarationError(msg)
        given = _texts(name, "args", args)
        folder = None if cwd is None else Path(cwd)
        transport = StdioTransport(command, given, _secrets(name, "env", env), folder)
        return _server(
            name, transport, allow, deny, prefix, timeout, connect_timeout, roots, resources,
            max_chars,
        )  # fmt: skip

    @classmethod
    def http(
        cls,
        name: str,
        url: str,
        headers: Mapping[str, str | SecretStr] | None = None,
        *,
        allow: Iterable[str] | None = None,
        deny: Iterable[str] = (),
        prefix: str = "",
        timeout: Span = CALL_TIMEOUT,
        connect_timeout: Span = CONNECT_TIMEOUT,
        roots: Iterable[str | Path] = (),
        resources: Iterable[str] = (),
        max_chars: int = MAX_CHARS,
    ) -> MCPServer:
        """Declare a server that is reached over streamable HTTP.

        Args:
            name: Names it on its board, in errors and logs.
            url: Its endpoint, such as `"https://example.org/mcp"`. Keep keys out of it: HTTP
                libraries log it.
            headers: Sent with each request, such as `Authorization`. Never shown or logged.
            allow: As in `stdio`.
            deny: As in `stdio`.
            prefix: As in `stdio`.
            timeout: As in `stdio`.
            connect_timeout: As in `stdio`.
            roots: As in `stdio`.
            resources: As in `stdio`.
            max_chars: As in `stdio`.

        Raises:
            DeclarationError: An argument makes no sense.
        """
        parts = urlsplit(url) if isinstance(url, str) else None
        if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
            msg = f"MCP server {name!r}: url is one of http or https, such as https://host/mcp"
            raise DeclarationError(msg)
        if parts.username is not None or parts.password is not None:
            msg = f"MCP server {name!r}: give the credentials of the url in headers="
            raise DeclarationError(msg)
        transport = HTTPTransport(url, _secrets(name, "headers", headers))
        return _server(
            name, transport, allow, deny, prefix, timeout, connect_timeout, roots, resources,
            max_chars,
        )  # fmt: skip

    def allows(self, tool: str) -> bool:
        """Return whether a tool may be called, by its name on the server."""
        if any(fnmatchcase(tool, pattern) for pattern in self.deny):
            return False
        return self.allow is None or any(fnmatchcase(tool, pattern) for pattern in self.allow)


def _server(
    name: str,
    transport: StdioTransport | HTTPTransport,
    allow: Iterable[str] | None,
    deny: Iterable[str],
    prefix: str,
    timeout: Span,
    connect_timeout: Span,
    roots: Iterable[str | Path],
    resources: Iterable[str],
    max_chars: int,
) -> MCPServer:
    if not isinstance(name, str) or not name.strip():
        msg = f"an MCP server's name is a text, not {name!r}"
        raise DeclarationError(msg)
    if not isinstance(prefix, str) or (prefix and not is_name(prefix)):
        msg = f"MCP server {name!r}: prefix is made of a-z, A-Z, 0-9, _ and -, not {prefix!r}"
        raise DeclarationError(msg)
    if type(max_chars) is not int or max_chars < 1:
        msg = f"MCP server {name!r}: max_chars is a whole number from 1, not {max_chars!r}"
        raise DeclarationError(msg)
    try:
        call_span = seconds(timeout, "timeout")
        connect_span = seconds(connect_timeout, "connect_timeout")
    except ValueError as error:
        msg = f"MCP server {name!r}: {error}"
        raise DeclarationError(msg) from None
    if isinstance(roots, str | Path):
        roots = [roots]
    return MCPServer(
        name=name,
        transport=transport,
        allow=None if allow is None else _texts(name, "allow", allow),
        deny=_texts(name, "deny", deny),
        prefix=prefix,
        timeout=call_span,
        connect_timeout=connect_span,
        roots=tuple(_root(name, root) for root in roots),
        resources=_texts(name, "resources", resources),
        max_chars=max_chars,
    )


def _texts(name: str, option: str, given: Iterable[str]) -> tuple[str, ...]:
    is_one = isinstance(given, str | bytes) or not isinstance(given, Iterable)
    texts = () if is_one else tuple(given)
    if is_one or not all(isinstance(text, str) for text in texts):
        msg = f"MCP server {name!r}: {option} takes a list of texts"
        raise DeclarationError(msg)
    return texts


def _secrets(
    name: str, option: str, given: Mapping[str, str | SecretStr] | None
) -> dict[str, SecretStr]:
    found: dict[str, SecretStr] = {}
    if given is not None and not isinstance(given, Mapping):
        msg = f"MCP server {name!r}: {option} takes a dict of names and texts"
        raise DeclarationError(msg)
    for key, value in (given or {}).items():
        if not isinstance(key, str) or not isinstance(value, str | SecretStr):
            msg = f"MCP server {name!r}: {option}[{key!r}] is a text or a SecretStr"
            raise DeclarationError(msg)
        found[key] = value if isinstance(value, SecretStr) else SecretStr(value)
    return found


def _root(name: str, root: str | Path) -> str:
    if isinstance(root, str) and _SCHEME.match(root) and not root.startswith("file:"):
        msg = f"MCP server {name!r}: roots are paths or file: URIs, not {root!r}"
        raise DeclarationError(msg)
    if isinstance(root, str) and root.startswith("file:"):
        return root
    return Path(root).absolute().as_uri()
