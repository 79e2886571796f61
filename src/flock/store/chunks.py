"""A growing sequence that costs the garbage collector nothing."""

from __future__ import annotations

from typing import Final, Generic, TypeVar

T = TypeVar("T")

_SIZE: Final = 1024


class Chunks(Generic[T]):
    """An append-only sequence of plain values, or of tuples of them, kept in tuples.

    CPython's collector stops tracking a tuple whose items are not tracked, but visits every
    item of a list at each full collection. A board of a million rows in a list would make
    every full collection slower as it grows; in chunks there are a thousand times fewer.
    """

    __slots__ = ("_full", "_last")

    def __init__(self) -> None:
        self._full: list[tuple[T, ...]] = []
        self._last: list[T] = []

    def __len__(self) -> int:
        return len(self._full) * _SIZE + len(self._last)

    def __getitem__(self, position: int) -> T:
        chunk, place = divmod(position, _SIZE)
        return self._full[chunk][place] if chunk < len(self._full) else self._last[place]

    def append(self, item: T) -> None:
        """Add an item at the end."""
        last = self._last
        last.append(item)
        if len(last) == _SIZE:
            self._full.append(tuple(last))
            self._last = []

    def replace(self, changes: dict[int, T]) -> None:
        """Put other items at these positions."""
        by_chunk: dict[int, dict[int, T]] = {}
        for position, item in changes.items():
            chunk, place = divmod(position, _SIZE)
            by_chunk.setdefault(chunk, {})[place] = item
        for chunk, items in by_chunk.items():
            if chunk == len(self._full):
                for place, item in items.items():
                    self._last[place] = item
            else:
                old = enumerate(self._full[chunk])
                self._full[chunk] = tuple(items.get(place, item) for place, item in old)
