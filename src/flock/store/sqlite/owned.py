"""A board's file opened for writing by one, and what is done to it while no program runs it."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from uuid import UUID

from flock.errors import NotFound, StoreError
from flock.store.sqlite import schema
from flock.store.sqlite.failures import ERRORS, named
from flock.store.sqlite.inspection import StoredDeadLetter, require_file, stored_dead_letter
from flock.store.sqlite.ownership import Ownership
from flock.store.sqlite.queries import query
from flock.store.sqlite.reader import connect
from flock.store.sqlite.records import OF_A_TICK

SYNCHRONOUS: Final = {"process": "NORMAL", "power": "FULL"}
"""https://sqlite.org/pragma.html#pragma_synchronous, in WAL mode."""
_LARGEST_WAL: Final = 64 * 1024 * 1024
_PAGE_SIZE: Final = 8192
"""Bytes. Fewer, larger pages than usual: each commit touches the ends of several indices."""


def open_for_writing(path: Path, durability: str) -> tuple[sqlite3.Connection, list[str]]:
    """Open a file whose lock is held, or make it, and bring it up to the newest schema.

    Returns:
        The connection, and the names of the migrations that were applied.

    Raises:
        StoreError: It cannot be opened, is no board, or is a newer Flock's.
    """
    try:
        names = path.stat().st_nlink if path.is_file() else 1
        if names > 1:
            msg = (
                f"the board {str(path)!r} has {names} names (hard links), and SQLite "
                "keeps its journal beside one of them: opened under another name it would be "
                "damaged; give it one name, or copy it"
            )
            raise StoreError(msg)
        connection = connect(path, read_only=False)
    except ERRORS as error:
        raise named(error, path) from error
    try:
        if schema.version_of(connection, path) == 0:
            connection.execute(f"PRAGMA page_size = {_PAGE_SIZE}")
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {SYNCHRONOUS[durability]}")
        connection.execute(f"PRAGMA journal_size_limit = {_LARGEST_WAL}")
        applied = schema.migrate(connection, path)
    except BaseException as error:
        connection.close()
        if isinstance(error, ERRORS):
            raise named(error, path) from error
        raise
    return connection, applied


@contextmanager
def owned(
    path: Path, holder: str, *, keeps_new: bool = True
) -> Generator[tuple[sqlite3.Connection, list[str]]]:
    """Hold a board for writing without a program that runs it; what is open stays open.

    Args:
        path: The file, which is made if it is not there.
        holder: Who holds it, for the error of the next one.
        keeps_new: Whether a file that was made for it stays when the body fails.

    Yields:
        The connection, and the names of the migrations that were applied. A transaction that is
        open at the end is undone.

    Raises:
        StoreLocked: Somebody has it open; names it.
        StoreError: It cannot be opened or written.
    """
    ownership = Ownership(path.resolve())
    ownership.take()
    is_kept = keeps_new or path.exists()
    try:
        connection, applied = open_for_writing(path, "power")
        try:
            ownership.sign(connection, holder)
            yield connection, applied
            is_kept = True
        except ERRORS as error:
            raise named(error, path) from error
        finally:
            connection.close()  # which undoes what was not committed
    finally:
        if not is_kept:
            for suffix in ("", "-wal", "-shm"):
                Path(f"{path}{suffix}").unlink(missing_ok=True)
        ownership.release()


def migrate_board(path: Path) -> list[str]:
    """Bring a board up to the newest schema; return the names of the steps that were applied.

    Raises:
        StoreError: There is none, it is open elsewhere, or it could not be done.
    """
    require_file(path)
    with owned(path, "flock board migrate") as (_, applied):
        return applied


def reopen_dead_letter(path: Path, wanted: UUID) -> StoredDeadLetter:
    """Put a dead letter's inputs back to the open work, for the board that opens next.

    The run keeps its id, its outputs that are on the board, and what its steps returned, and
    counts its attempts anew.

    Raises:
        NotFound: There is no such dead letter, or it was called directly.
        StoreError: There is no board, it is open elsewhere, or it could not be done.
    """
    require_file(path)
    with owned(path, "flock board redrive") as (connection, _):
        connection.execute("BEGIN IMMEDIATE")
        row = connection.execute(query("dead_letter"), (wanted.bytes,)).fetchone()
        if row is None:
            msg = f"there is no dead letter {wanted}; `flock board dead-letters` lists them"
            raise NotFound(msg)
        letter = stored_dead_letter(row)
        of_a_tick = connection.execute(query("tick"), (row[1],)).fetchone() is not None
        index = OF_A_TICK if of_a_tick else letter.subscription
        if index is None:
            msg = (
                f"dead letter {wanted} is of a call of agent {letter.agent!r}, which no "
                "subscription gathered; call it again, as in flock.arun(...)"
            )
            raise NotFound(msg)
        for seq in letter.delivered:
            values = (seq, letter.agent, index)
            connection.execute(query("reopen_delivery"), values)
        if letter.attempt:  # or it never came as far as a run
            is_batch, emitted, delivered, inputs = row[5], row[7], row[8], row[9]
            values = (row[1], letter.agent, index, is_batch, emitted)
            connection.execute(query("reopen_run"), (*values, delivered, inputs))
        connection.execute(query("drop_dead_letter_inputs"), (wanted.bytes,))
        connection.execute(query("drop_dead_letter"), (wanted.bytes,))
        connection.execute("COMMIT")
        return letter
