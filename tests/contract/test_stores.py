"""Flock's own stores pass the suite that every store passes."""

from pathlib import Path

from flock.store.memory import InMemoryBlackboardStore
from flock.store.protocol import BlackboardStore
from flock.store.sqlite import SQLiteBlackboardStore
from flock.testing import StoreContract


class TestInMemory(StoreContract):
    def make_store(self, place: Path) -> BlackboardStore:
        return InMemoryBlackboardStore()


class TestSQLite(StoreContract):
    def make_store(self, place: Path) -> BlackboardStore:
        return SQLiteBlackboardStore(place / "board.db")


class TestSQLiteThatOutlivesPowerFailures(StoreContract):
    def make_store(self, place: Path) -> BlackboardStore:
        return SQLiteBlackboardStore(place / "board.db", durability="power")
