"""Where the requests of an application run: one board for all, or one for each."""

from __future__ import annotations

import asyncio
import inspect
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias

from flock.errors import DeclarationError
from flock.orchestrator.flock import Flock

if TYPE_CHECKING:
    from flock.clock import Clock

Factory: TypeAlias = Callable[[], Flock | Awaitable[Flock]]
"""Makes a board, with its agents declared, that nobody has opened."""


async def _made(factory: Factory) -> Flock:
    made = factory()
    board = await made if inspect.isawaitable(made) else made
    if not isinstance(board, Flock):
        msg = f"an application's factory returns a Flock, not {board!r}"
        raise DeclarationError(msg)
    return board


class OwnBoards:
    """A board for each request, made, opened and closed with it, and in memory."""

    is_shared = False

    def __init__(self, factory: Factory) -> None:
        self._factory = factory
        self._seen: weakref.WeakSet[object] = weakref.WeakSet()

    async def prepare(self) -> None:
        """Do nothing ahead of a request."""

    async def close(self) -> None:
        """Do nothing: each board was closed with its request."""

    def clock(self, given: Clock) -> Clock:
        """Return the time of requests: what the application was given."""
        return given

    @asynccontextmanager
    async def lend(self) -> AsyncGenerator[Flock]:
        """Give a new board, open, and close it afterwards: what still runs on it is cancelled.

        Raises:
            DeclarationError: The factory gives what would let one request see another's.
        """
        board = await _made(self._factory)
        self._check(board)
        self._seen.update((board, board.store))
        async with board:
            try:
                yield board
            finally:
                await board.shutdown(grace=0.0)

    def _check(self, board: Flock) -> None:
        remedy = "let it make a new Flock at each call, or say isolation='shared'"
        if board in self._seen:
            msg = f"the factory returned {board!r} for a second request; {remedy}"
            raise DeclarationError(msg)
        if board.store.is_durable:
            msg = (
                f"each request gets a board of its own, and {board.store!r} outlives it, so that "
                f"requests would see each other's; leave store= out, or say isolation='shared'"
            )
            raise DeclarationError(msg)
        if board.store in self._seen or board.store.position:
            msg = f"the factory returned a board whose {board.store!r} was used before; {remedy}"
            raise DeclarationError(msg)


class SharedBoard:
    """One board for all requests, each in a workflow of its own.

    One that was given ready is its owner's to close; one that the factory made is closed here.
    """

    is_shared = True

    def __init__(self, given: Flock | Factory) -> None:
        self._given = given
        self._board: Flock | None = given if isinstance(given, Flock) else None
        self._making = asyncio.Lock()

    async def prepare(self) -> None:
        """Make the board, once, and open it.

        Raises:
            DeclarationError: The factory returned something else, or a declaration is incomplete.
            StoreLocked: Another board has its store open.
        """
        if self._board is None:
            async with self._making:
                if self._board is None:
                    assert not isinstance(self._given, Flock)
                    self._board = await _made(self._given)
        await self._board.__aenter__()

    async def close(self) -> None:
        """Close the board, if the factory made it: what still runs on it stays open."""
        if self._board is not None and self._board is not self._given:
            board, self._board = self._board, None
            self._making = asyncio.Lock()
            await board.shutdown(grace=0.0)

    def clock(self, given: Clock) -> Clock:
        """Return the time of requests: the board's."""
        return given if self._board is None else self._board.clock

    @asynccontextmanager
    async def lend(self) -> AsyncGenerator[Flock]:
        """Give the board."""
        assert self._board is not None
        yield self._board
