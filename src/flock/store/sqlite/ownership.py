"""Who has a board open for writing: an operating system's lock, and the holder's name."""

from __future__ import annotations

import errno
import json
import os
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

from filelock import FileLock, Timeout

from flock.clock import SystemClock, as_datetime
from flock.errors import StoreError, StoreFull, StoreLocked, StoreReadOnly
from flock.store.sqlite.failures import DAMAGE, ERRORS
from flock.store.sqlite.queries import query


class Ownership:
    """The lock beside a board's file. The system lets go of it when the process ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = FileLock(f"{path}.lock", timeout=0, thread_local=False)

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

    def _holder(self) -> str | None:
        try:
            with closing(
                sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True)
            ) as c:
                row = c.execute(query("holder")).fetchone()
            who = json.loads(row[0])
            return (
                f"{who['name']} in process {who['pid']} on {who['host']}, which opened it at "
                f"{who['since']}"
            )
        except (*ERRORS, *DAMAGE):  # it is just being made, or is damaged
            return None
