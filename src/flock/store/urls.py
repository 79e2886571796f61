"""Stores by their URL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from flock.errors import DeclarationError, NotYetAvailable
from flock.store.memory import InMemoryBlackboardStore

if TYPE_CHECKING:
    from flock.store.protocol import BlackboardStore

_KINDS: Final = (
    "'sqlite:///board.db' (beside the program), 'sqlite:////var/lib/board.db', 'memory:'"
)
_OPTIONS: Final = ("durability",)


def store_from(url: str) -> BlackboardStore:
    """Return the store that a URL names; nothing is opened or made yet.

    Args:
        url: `memory:`; or `sqlite:///` and a path, relative after three slashes and absolute
            after four, with `?durability=power` where commits shall survive a power failure.

    Raises:
        DeclarationError: It names no store.
    """
    parts = urlsplit(url)
    if parts.scheme == "memory":
        return InMemoryBlackboardStore()
    if parts.scheme in {"postgresql", "postgres"}:
        msg = "a board on PostgreSQL comes with a later version; use 'sqlite:///board.db'"
        raise NotYetAvailable(msg)
    path = unquote(parts.path.removeprefix("/"))
    if parts.scheme != "sqlite" or parts.netloc or not path or parts.fragment:
        msg = f"{url!r} names no store; there are {_KINDS}"
        raise DeclarationError(msg)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(options.keys() - set(_OPTIONS))
    if unknown:
        msg = f"the store {url!r} has no options {unknown}; there are: {', '.join(_OPTIONS)}"
        raise DeclarationError(msg)
    from flock.store.sqlite import SQLiteBlackboardStore

    durability = cast("Literal['process', 'power']", options.get("durability", "process"))
    return SQLiteBlackboardStore(path, durability=durability)
