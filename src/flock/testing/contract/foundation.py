"""What each part of the suite is built on: a store to test, opened, and opened once more."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest_asyncio
from hypothesis import HealthCheck, settings

from flock.store.protocol import BlackboardStore

QUICKLY: Final = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow],
)
"""For tests of generated boards. Each store's class runs the same functions."""


class Lifetime:
    """A store that is closed and opened again, as by one process after the other.

    Attributes:
        store: The store that is open.
    """

    def __init__(self, foundation: Foundation, place: Path) -> None:
        self._foundation = foundation
        self._place = place
        self.store = foundation.make_store(place)

    async def reopened(self) -> BlackboardStore:
        """Close the store, and open what it kept: another object, where it is durable."""
        await self.store.close()
        if self.store.is_durable:
            self.store = self._foundation.make_store(self._place)
        await self.store.open()
        return self.store


class Foundation(ABC):
    """Makes stores for tests."""

    @abstractmethod
    def make_store(self, place: Path) -> BlackboardStore:
        """Return a store; it is opened, and closed, by the tests.

        Args:
            place: An empty folder of this board's own. A durable store that is made with the
                same folder once more is the same board. One that keeps no files makes the
                board's name from it.
        """

    async def remove_board(self, place: Path) -> None:  # noqa: B027 - few stores need it
        """Take away what a closed board left outside of its folder, such as tables of a server."""

    @asynccontextmanager
    async def lives(self) -> AsyncGenerator[Lifetime]:
        """Open a store on which nothing was ever done, and take it away again."""
        with TemporaryDirectory() as folder:
            place = Path(folder)
            lifetime = Lifetime(self, place)
            await lifetime.store.open()
            try:
                yield lifetime
            finally:
                await lifetime.store.close()
                await self.remove_board(place)

    @asynccontextmanager
    async def empty_store(self) -> AsyncGenerator[BlackboardStore]:
        """Open an empty store, for one of several examples of a test."""
        async with self.lives() as lifetime:
            yield lifetime.store

    @pytest_asyncio.fixture
    async def lifetime(self) -> AsyncGenerator[Lifetime]:
        """Give a test a store that it can open again."""
        async with self.lives() as lifetime:
            yield lifetime

    @pytest_asyncio.fixture
    async def store(self, lifetime: Lifetime) -> BlackboardStore:
        """Give a test an empty store, opened."""
        return lifetime.store
