"""The schema of a board in a file: numbered migrations, which are only ever added to."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Final, NamedTuple

from flock.errors import SchemaTooNew, StoreCorrupt, StoreError
from flock.store.sqlite.failures import named

APPLICATION_ID: Final = 0x464C4F43
"""`FLOC`, in the header of the file, by which a board is told from other databases."""


class Migration(NamedTuple):
    """One step of the schema.

    Attributes:
        version: The version that it leads to, from 1.
        name: Its file's name without the ending.
        sql: What it does.
    """

    version: int
    name: str
    sql: str


def migrations() -> list[Migration]:
    """Return all migrations, in order."""
    folder = resources.files("flock.store.sqlite").joinpath("migrations")
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    found = [
        Migration(int(file.name.split("_", 1)[0]), file.name.removesuffix(".sql"), file.read_text())
        for file in files
    ]
    assert [step.version for step in found] == [*range(1, len(found) + 1)]
    return found


def version_of(connection: sqlite3.Connection, path: Path) -> int:
    """Return the version of the schema in a file; 0 for an empty file.

    Raises:
        StoreCorrupt: It is a database of something else.
        SchemaTooNew: It was written by a newer version of Flock.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if application or version or tables:
            msg = f"{str(path)!r} is a database, but no board of Flock's; choose another file"
            raise StoreCorrupt(msg)
        return 0
    newest = migrations()[-1].version
    if version > newest:
        msg = (
            f"the board {str(path)!r} has schema version {version}, and this Flock knows versions "
            f"up to {newest}; upgrade Flock to open it"
        )
        raise SchemaTooNew(msg)
    return int(version)


def migrate(connection: sqlite3.Connection, path: Path) -> list[str]:
    """Bring a file up to the newest schema, each step in a transaction of its own.

    Returns:
        The names of the migrations that were applied.

    Raises:
        StoreError: The file is none of Flock's, too new, or cannot be written.
    """
    applied: list[str] = []
    version = version_of(connection, path)
    for step in migrations()[version:]:
        try:
            connection.execute("BEGIN IMMEDIATE")
            for statement in _statements(step.sql):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {step.version}")
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            failure = named(error, path)
            msg = f"migration {step.name} of the board failed, and was undone: {failure}"
            raise type(failure)(msg) from error
        applied.append(step.name)
    return applied


def require_current(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a file whose schema is older, where it may not be changed.

    Raises:
        StoreError: It is.
    """
    version, newest = version_of(connection, path), migrations()[-1].version
    if version < newest:
        what = f"has schema version {version}" if version else "is empty"
        msg = (
            f"the board {str(path)!r} {what}, and this Flock reads version {newest}; bring it up "
            "to date with `flock board migrate`, or open it for writing"
        )
        raise StoreError(msg)


def _statements(sql: str) -> Iterator[str]:
    """Yield the statements of a script: `executescript` would commit in between."""
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip() and not all(
        line.startswith("--") or not line.strip() for line in statement.splitlines()
    ):
        yield statement
