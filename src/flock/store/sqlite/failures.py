"""What SQLite says when it cannot do something, in Flock's words."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from flock.errors import (
    FlockError,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreLocked,
    StoreReadOnly,
    StoreUnavailable,
)

_FULL: Final = {sqlite3.SQLITE_FULL}
_READ_ONLY: Final = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
_CORRUPT: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_BUSY: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


ERRORS: Final = (sqlite3.Error, UnicodeDecodeError)
"""What the `sqlite3` module raises. It cannot decode some messages about a damaged schema."""
DAMAGE: Final = (TypeError, ValueError, OverflowError, LookupError, AttributeError, OSError)
"""What decoding raises when a value is another one than what was written; times raise `OSError`."""


@contextmanager
def undamaged(what: str) -> Generator[None]:
    """Name what is damaged when it cannot be decoded; also a decorator.

    Raises:
        StoreCorrupt: It cannot.
    """
    try:
        yield
    except (FlockError, *ERRORS):
        raise
    except DAMAGE as error:
        msg = f"{what} is damaged ({error!r}); restore the board from a copy"
        raise StoreCorrupt(msg) from error


def named(error: sqlite3.Error | UnicodeDecodeError, path: Path) -> StoreError:
    """Return the error to raise for one of SQLite's, with the file, the cause and the remedy.

    Args:
        error: What SQLite raised; its result code is documented at
            https://sqlite.org/rescode.html.
        path: The database.
    """
    if isinstance(error, UnicodeDecodeError):
        return StoreCorrupt(f"the board {str(path)!r} is damaged ({error}); restore a copy")
    extended = getattr(error, "sqlite_errorcode", None) or 0
    code = extended & 0xFF
    board = f"the board {str(path)!r}"
    if code in _FULL:
        return StoreFull(
            f"{board} could not be written, since the disk or quota is full ({error}); nothing of "
            "the commit was stored: make room, and what is open goes on when the board opens again"
        )
    if code in _READ_ONLY:
        return StoreReadOnly(
            f"{board} cannot be written ({error}); give this user write access to the file and "
            "its folder, or open it with read_only=True to look at it"
        )
    if code in _CORRUPT:
        return StoreCorrupt(f"{board} is {_damage(code, error)}")
    if code in _BUSY:
        return StoreLocked(
            f"{board} is locked by another program ({error}); close what has it open for writing"
        )
    if extended == sqlite3.SQLITE_IOERR_SHORT_READ:
        return StoreCorrupt(f"{board} is shorter than it was ({error}); restore a copy")
    if code == sqlite3.SQLITE_IOERR:
        return StoreUnavailable(
            f"{board} could not be read or written ({error}, {_name(error)}); look at the disk "
            "under it, its quota, and how large files may become"
        )
    if code == sqlite3.SQLITE_CANTOPEN:
        return StoreError(
            f"{board} cannot be opened ({error}); its folder has to exist and be accessible"
        )
    if code == sqlite3.SQLITE_TOOBIG:
        return StoreError(f"{board} cannot hold a value that large ({error}); store a reference")
    return StoreError(f"{board} could not be used: {error}")


def _damage(code: int, error: sqlite3.Error) -> str:
    if code == sqlite3.SQLITE_NOTADB:  # nothing of it can be read, so nothing can be exported
        return (
            f"no board, or its beginning is damaged ({error}); give the path of a board, or "
            "restore a copy"
        )
    return (
        f"damaged ({error}); restore a copy, or save what can be read with "
        "`flock board export --skip-damaged`"
    )


def _name(error: sqlite3.Error) -> str:
    return getattr(error, "sqlite_errorname", None) or "of unknown kind"
