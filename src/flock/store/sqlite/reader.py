"""Reading a board: connections that never hold the writer up, in threads of their own."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final, TypeVar

from flock.store.sqlite.failures import ERRORS, named
from flock.store.sqlite.schema import migrate, require_current

T = TypeVar("T")

_THREADS: Final = 4


def connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    """Open a database file.

    Args:
        path: The file; a writer makes it if it is not there.
        read_only: Whether to open it for reading only.

    Raises:
        sqlite3.Error: It cannot be opened.
    """
    mode = "rwc"
    if read_only:
        # Where nothing can be written, not even the index of a journal, and none was left, nobody
        # changes the file either: https://sqlite.org/wal.html#read_only_databases
        is_fixed = not os.access(path.absolute().parent, os.W_OK) and not _has_journal(path)
        # with no journal there, one that may write leaves none behind either
        mode = "ro&immutable=1" if is_fixed else "ro" if _has_journal(path) else "rw"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,  # transactions are begun and ended here
        check_same_thread=False,  # one thread at a time
        cached_statements=256,
    )
    try:
        connection.execute("PRAGMA busy_timeout = 5000")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cache_size = -16384")
    except BaseException:
        connection.close()
        raise
    return connection


def _has_journal(path: Path) -> bool:
    return path.with_name(f"{path.name}-wal").exists()


class Reader:
    """Reads a board from any number of tasks at once; each reading sees one state of it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._threads = ThreadPoolExecutor(_THREADS, "flock-reader")
        self._idle: SimpleQueue[sqlite3.Connection] = SimpleQueue()

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do something with a connection, in a thread, and return its result.

        Raises:
            StoreError: SQLite could not do it.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, work)

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            connection = self._idle.get_nowait()
        except Empty:
            try:
                connection = connect(self._path, read_only=True)
            except ERRORS as error:
                raise named(error, self._path) from error
        try:
            return in_one_state(connection, self._path, work)
        finally:
            self._idle.put(connection)

    def close(self) -> None:
        """Let readings end, and let go of the threads and the connections."""
        self._threads.shutdown(wait=True)
        while not self._idle.empty():
            self._idle.get_nowait().close()


def in_one_state(
    connection: sqlite3.Connection, path: Path, work: Callable[[sqlite3.Connection], T]
) -> T:
    """Read within one transaction, and end it.

    Raises:
        StoreError: SQLite could not do it.
    """
    try:
        connection.execute("BEGIN")
        try:
            return work(connection)
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
    except ERRORS as error:
        raise named(error, path) from error


def read_once(path: Path, work: Callable[[sqlite3.Connection], T]) -> T:
    """Read from a board that is not open here.

    Raises:
        StoreError: There is none, its schema is another one, or SQLite could not do it.
    """
    try:
        with closing(connect(path, read_only=True)) as connection:
            require_current(connection, path)
            return in_one_state(connection, path, work)
    except ERRORS as error:
        raise named(error, path) from error


def read_empty(work: Callable[[sqlite3.Connection], T]) -> T:
    """Read from a board on which nothing was ever done."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, Path("an empty board"))
        return work(connection)
