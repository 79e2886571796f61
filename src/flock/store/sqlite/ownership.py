"""Who has a board open for writing: an operating system's lock, and the holder's name."""

from __future__ import annotations

import errno
import json
import os
import socket
import sqlite3
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from flock.clock import SystemClock, as_datetime
from flock.errors import StoreError, StoreFull, StoreLocked, StoreReadOnly
from flock.store.sqlite.failures import DAMAGE, ERRORS
from flock.store.sqlite.queries import query


@dataclass(frozen=True, slots=True)
class Holder:
    """Who opened a board for writing.

    Attributes:
        name: Which board or program, such as `"board 'orders'"`.
        pid: Its process.
        host: Its machine.
        since: When it opened the board, in UTC, as ISO 8601 says.
    """

    name: str
    pid: int
    host: str
    since: str

    def __str__(self) -> str:
        """Return it for people."""
        return f"{self.name} in process {self.pid} on {self.host}, which opened it at {self.since}"


def holder_of(connection: sqlite3.Connection, path: Path) -> tuple[Holder | None, bool | None]:
    """Return who opened a board last, and whether it is still open there.

    The lock is tried only where that process lives, so that looking never gets in the way of a
    board that opens.

    Returns:
        None for the second where that cannot be told from here: it is another machine's.
    """
    holder = _last_holder(connection)
    if holder is None:
        return None, False
    if holder.host != socket.gethostname():
        return holder, None
    if not _lives(holder.pid):
        return holder, False
    lock = FileLock(_lock_of(path.resolve()), timeout=0, thread_local=False)
    if not Path(lock.lock_file).exists():
        return holder, False
    try:
        with lock:
            return holder, False
    except Timeout:
        return holder, True
    except OSError:
        return holder, None


def _lives(pid: int) -> bool:
    """Return whether there may be such a process."""
    if sys.platform == "win32":
        return True  # there is no harmless signal to ask with
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def _last_holder(connection: sqlite3.Connection) -> Holder | None:
    row = connection.execute(query("holder")).fetchone()
    if row is None:
        return None
    try:
        who: dict[str, Any] = json.loads(row[0])
        return Holder(str(who["name"]), int(who["pid"]), str(who["host"]), str(who["since"]))
    except (ValueError, KeyError, TypeError):
        return None


def _lock_of(path: Path) -> str:
    return f"{path}.lock"


class Ownership:
    """The lock beside a board's file. The system lets go of it when the process ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = FileLock(_lock_of(path), timeout=0, thread_local=False)

    def take(self) -> None:
        """Take the lock.

        Raises:
            StoreLocked: Another board has it, in this process or another; names it.
            StoreReadOnly: The folder cannot be written.
            StoreFull: There is no room for the lock's file.
            StoreError: The lock's file cannot be made.
        """
        folder = self._path.parent
        if not folder.is_dir():
            msg = (
                f"the board {str(self._path)!r} cannot be made: there is no folder {str(folder)!r}"
            )
            raise StoreError(msg)
        try:
            self._lock.acquire()
        except Timeout:
            holder = self._holder() or "another program"
            msg = (
                f"the board {str(self._path)!r} is open already, by {holder}; shut that down "
                "first, or open it with read_only=True to look at it"
            )
            raise StoreLocked(msg) from None
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                msg = f"the board {str(self._path)!r} cannot be locked: {error}; make room"
                raise StoreFull(msg) from error
            msg = (
                f"the board {str(self._path)!r} cannot be locked: {error}; its folder has to exist "
                "and be writable, or open the board with read_only=True to look at it"
            )
            is_read_only = error.errno in {errno.EROFS, errno.EACCES, errno.EPERM}
            raise (StoreReadOnly if is_read_only else StoreError)(msg) from error

    def release(self) -> None:
        """Let go of it."""
        self._lock.release()

    @property
    def is_held(self) -> bool:
        """Whether it is held here."""
        return self._lock.is_locked

    def sign(self, connection: sqlite3.Connection, holder: str) -> None:
        """Write into the board who holds it, for the error of the next one."""
        who = {
            "name": holder,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": as_datetime(SystemClock().time()).isoformat(timespec="seconds"),
        }
        connection.execute(query("set_meta"), ("holder", json.dumps(who)))

    def _holder(self) -> Holder | None:
        try:
            with closing(
                sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True)
            ) as connection:
                return _last_holder(connection)
        except (*ERRORS, *DAMAGE):  # it is just being made, or is damaged
            return None
