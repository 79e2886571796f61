"""Statements that write many rows at once."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

Value: TypeAlias = int | float | str | bytes | None
Values: TypeAlias = tuple[Value, ...]

_SIZES: Final = (64, 16, 4, 1)
"""How many rows one statement takes. SQLite lets go of the interpreter's lock at each step of a
statement, and it takes up to 5 ms to get it back while others compute: a step for many rows
instead of one for each. Of a few sizes, so that the prepared statements are used again."""


class Many(NamedTuple):
    """A statement that takes any number of rows.

    Attributes:
        before: What comes before the rows.
        row: One row, with its parameters as `?`.
        after: What comes after them.
    """

    before: str
    row: str
    after: str = ""

    def run(self, connection: sqlite3.Connection, rows: Sequence[Values]) -> int:
        """Carry it out for these rows; return how many rows of the table it changed."""
        changed = 0
        start, count = 0, len(rows)
        for size in _SIZES:
            while count - start >= size:
                values = [value for row in rows[start : start + size] for value in row]
                changed += connection.execute(_sql(self, size), values).rowcount
                start += size
        return changed


@lru_cache(maxsize=256)
def _sql(statement: Many, size: int) -> str:
    return statement.before + ", ".join([statement.row] * size) + statement.after


def insert(table: str, *columns: str, after: str = "", **cast: str) -> Many:
    """Return an insertion of rows.

    Args:
        table: The table.
        *columns: Its columns, in the order of the values.
        after: A clause about conflicts.
        **cast: Columns whose values SQLite converts, with the type.
    """
    row = ", ".join(f"CAST(? AS {cast[c]})" if c in cast else "?" for c in columns)
    before = f"INSERT INTO {table} ({', '.join(columns)}) VALUES "
    return Many(before, f"({row})", f" {after}" if after else "")


def delete(table: str, *columns: str) -> Many:
    """Return a deletion of the rows with these values in these columns."""
    row = f"({', '.join('?' * len(columns))})"
    key = ", ".join(columns)
    # SQLite looks nothing up by several columns among rows that are a compound SELECT by
    # themselves, as VALUES is: it would go through the whole table.
    return Many(f"DELETE FROM {table} WHERE ({key}) IN (SELECT * FROM (VALUES ", row, "))")
