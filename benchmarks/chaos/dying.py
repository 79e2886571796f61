"""A connection whose process ends right before or after a transaction begins or is committed."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any, Final, cast

from flock.store.sqlite import owned
from flock.store.sqlite.reader import connect

DIED: Final = 9
"""What a process that ended there exits with."""
_POINTS: Final = ("BEGIN IMMEDIATE", "COMMIT")


class Dying:
    """A writer's connection that counts these points, and ends the process at one of them.

    Args:
        connection: The connection.
        at: At which point, from 1: four for each transaction.
    """

    def __init__(self, connection: sqlite3.Connection, at: int) -> None:
        self._connection = connection
        self._left = at

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        """Carry a statement out."""
        if sql not in _POINTS:
            return self._connection.execute(sql, *parameters)
        self._pass()
        cursor = self._connection.execute(sql, *parameters)
        self._pass()
        return cursor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def _pass(self) -> None:
        self._left -= 1
        if not self._left:
            os._exit(DIED)


def die(at: int) -> None:
    """Let this process end at a point, on the way of the next board that it opens."""

    def dying(path: Path, *, read_only: bool) -> sqlite3.Connection:
        return cast("sqlite3.Connection", Dying(connect(path, read_only=read_only), at))

    owned.connect = dying
