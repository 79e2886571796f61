"""What happened on a board in one order, read page by page where it lies in several tables."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Literal, TypeAlias, TypeVar

from flock.orchestrator.events.position import START, Position

T = TypeVar("T")

Kept: TypeAlias = Literal["artifacts", "runs", "logged"]
"""The tables; each is numbered from 1."""

PAGE: Final = 256
"""How many rows of a table are read at once."""


@dataclass(frozen=True, slots=True)
class Row(Generic[T]):
    """One row.

    Attributes:
        place: Its place on the board.
        number: Its number in its table.
        item: What it says.
    """

    place: Position
    number: int
    item: T


Fetch: TypeAlias = Callable[[int, int], Awaitable[Sequence[tuple[Position, int, T]]]]
"""Returns, of a table, at most so many rows whose numbers are larger than a given one."""


class _Table(Generic[T]):
    """One table, from a number on.

    Attributes:
        rows: What was read, and is not taken yet.
        covered: All of it up to this place was read.
        taken: The number of the last row that was taken, or is before the start; None if that
            is not known.
    """

    def __init__(self, name: Kept, fetch: Fetch[T], start: Position) -> None:
        self.name: Kept = name
        self.rows: deque[Row[T]] = deque()
        self.covered = start
        self.taken: int | None = None
        self._fetch = fetch
        self._start = start
        self._last = -1

    async def _seek(self, until: Position) -> None:
        """Find the number before the first row behind the start."""
        start = self._start
        known: int = getattr(start, self.name)
        if known or start == START or self.name == "artifacts":
            self._last = self.taken = known
            return
        # the start says nothing of this table, but its rows do: they are in order
        low, high = 0, getattr(until, self.name)
        while low < high:
            middle = (low + high) // 2
            page = await self._fetch(middle, 1)
            if page and page[0][0] <= start:
                low = page[0][1]
            else:
                high = middle
        self._last = low

    async def fill(self, until: Position) -> None:
        """Read on, if nothing is left and there may be more before a place."""
        if self._last < 0:
            await self._seek(until)
        if self.rows or self.covered >= until:
            return
        page = await self._fetch(self._last, PAGE)
        self.rows.extend(Row(*row) for row in page if row[0] > self._start)
        newest = until
        if page:
            newest, self._last, _ = page[-1]
        self.covered = newest if len(page) == PAGE else max(newest, until)

    def skip(self, number: int) -> None:
        """Go on behind a number up to which there is nothing more."""
        self.taken = max(self.taken or 0, number)
        self._last = max(self._last, number)


class Merged(Generic[T]):
    """Tables in board order, behind a place."""

    def __init__(self, tables: dict[Kept, Fetch[T]], start: Position) -> None:
        self._tables = [_Table(name, fetch, start) for name, fetch in tables.items()]
        self._of = {table.name: table for table in self._tables}

    async def next_page(
        self, until: Position
    ) -> tuple[list[tuple[Kept, Row[T], int]], int, Position]:
        """Return what comes next, up to a place at most.

        It stays what comes next until it was given to `take`, whatever is cancelled meanwhile.

        Args:
            until: Up to where; everything before it has been committed.

        Returns:
            The rows, each with the number of those before it that were deleted; how many were
            deleted behind the last one; and how far that is. What cannot be told is 0.
        """
        for table in self._tables:
            await table.fill(until)
        covered = min([until, *(table.covered for table in self._tables)])
        found: list[tuple[Kept, Row[T], int]] = []
        deleted = 0
        for table in self._tables:
            last = table.taken
            for row in table.rows:
                if row.place > covered:
                    break
                found.append((table.name, row, 0 if last is None else row.number - last - 1))
                last = row.number
            if covered == until and last is not None:
                deleted += max(getattr(until, table.name) - last, 0)
        found.sort(key=lambda each: each[1].place)
        return found, deleted, covered

    def take(
        self, page: Sequence[tuple[Kept, Row[T], int]], covered: Position, until: Position
    ) -> None:
        """Go on behind what `next_page` returned for a place."""
        for name, row, _ in page:
            table = self._of[name]
            table.rows.popleft()
            table.taken = row.number
        if covered == until:
            for table in self._tables:
                table.skip(getattr(until, table.name))
