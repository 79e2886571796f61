"""A board in one SQLite file."""

from flock.store.sqlite.store import SQLiteBlackboardStore

__all__ = ["SQLiteBlackboardStore"]
