"""Sources of lists, sets, mappings and tuples."""

from collections.abc import Callable, Hashable, Sequence
from typing import Final

from flock.engines.dspy.sample.source import (
    MANY,
    DeadEnd,
    Source,
    limited,
    product,
    spread,
)

_LONGER: Final = 7
"""By how much a container grows, at most, before its values repeat."""
_SEARCH: Final = 64
"""How many values in a row may repeat others before a set gives up."""


class Lengths:
    """How many elements a container may have; a usual one has its minimum, but not none."""

    def __init__(self, shortest: int | None, longest: int | None) -> None:
        self.shortest = shortest or 0
        self.longest = longest
        self.usual = self.shortest or min(1, 1 if longest is None else longest)

    def without(self, fixed: int) -> "Lengths":
        """Return the lengths of what is left beside so many fixed elements."""
        longest = None if self.longest is None else max(0, self.longest - fixed)
        return Lengths(max(0, self.shortest - fixed), longest)

    def upwards(self, most: int = MANY) -> range:
        """Return the lengths from the usual one on, with no more than `most` elements."""
        bounds = [self.usual + _LONGER, most]
        if self.longest is not None:
            bounds.append(self.longest)
        return range(self.usual, min(bounds) + 1)

    def attempted(self, attempt: int) -> tuple[int, int]:
        """Return the length for an attempt, and what is left of the attempt for the elements."""
        inner, more = divmod(attempt, 4)
        length = self.usual + more
        if self.longest is not None:
            length = min(length, self.longest)
        return length, inner


class Items(Source):
    """Lists, or what `make` builds of them: repeated elements differ within one list."""

    def __init__(
        self,
        item: Source,
        lengths: Lengths,
        make: Callable[[list[object]], object] = list[object],
    ) -> None:
        self._item = item
        self._lengths = lengths
        self._make = make

    @property
    def count(self) -> int:
        """All lists of every length from the usual one on."""
        choices = self._item.count
        if choices >= MANY:
            return MANY if self._lengths.usual else 1
        return limited(max(1, sum(choices**length for length in self._lengths.upwards())))

    def pick(self, n: int, attempt: int = 0) -> object:
        """Return list number `n`; the empty one where elements come to a dead end."""
        try:
            return self._make(self._elements(n, attempt))
        except DeadEnd:
            if self._lengths.shortest:
                raise
            return self._make([])

    def _elements(self, n: int, attempt: int) -> list[object]:
        length, inner = self._lengths.attempted(attempt)
        choices = self._item.count
        if attempt or choices >= MANY:
            return [self._item.pick(n + i, inner) for i in range(length)]
        n %= self.count
        for length in self._lengths.upwards():
            if n < choices**length:
                break
            n -= choices**length
        picks: list[object] = []
        for i in range(length):
            n, digit = divmod(n, choices)
            picks.append(self._item.pick((digit + i) % choices))
        return picks


class Distinct(Source):
    """Sets, or what `make` builds of them: a window over the elements' values."""

    def __init__(
        self, item: Source, lengths: Lengths, make: Callable[[list[object]], object]
    ) -> None:
        self._item = item
        self._lengths = lengths
        self._make = make

    @property
    def count(self) -> int:
        """All windows of every length from the usual one on."""
        choices = self._item.count
        if choices >= MANY:
            return MANY if self._lengths.usual else 1
        sizes = self._lengths.upwards(choices)
        return max(1, sum(choices if size < choices else 1 for size in sizes))

    def pick(self, n: int, attempt: int = 0) -> object:
        """Return set number `n`; the empty one where elements come to a dead end."""
        try:
            return self._make(self._elements(n, attempt))
        except DeadEnd:
            if self._lengths.shortest:
                raise
            return self._make([])

    def _elements(self, n: int, attempt: int) -> list[object]:
        length, inner = self._lengths.attempted(attempt)
        choices = self._item.count
        if not attempt and choices < MANY:
            n %= self.count
            for length in self._lengths.upwards(choices) or (self._lengths.usual,):
                windows = choices if length < choices else 1
                if n < windows:
                    break
                n -= windows
        chosen: dict[Hashable, object] = {}
        for i in range(length + _SEARCH):
            if len(chosen) == length:
                break
            element = self._item.pick(n + i, inner)
            chosen.setdefault(_hashed(element), element)
        if len(chosen) < max(self._lengths.shortest, min(length, 1)):
            raise DeadEnd(f"it needs {self._lengths.shortest} different elements")
        return list(chosen.values())


class Entries(Source):
    """Dicts, or what `make` builds of them: distinct keys, each with a value."""

    def __init__(
        self,
        keys: Source,
        values: Source,
        lengths: Lengths,
        make: Callable[[dict[object, object]], object] = dict[object, object],
    ) -> None:
        self._keys = Distinct(keys, lengths, list[object])
        self._values = values
        self._lengths = lengths
        self._make = make

    @property
    def count(self) -> int:
        """The sets of keys times the values."""
        return product((self._keys.count, self._values.count if self._lengths.usual else 1))

    def pick(self, n: int, attempt: int = 0) -> object:
        """Return dict number `n`; the empty one where keys or values come to a dead end."""
        try:
            return self._make(self._entries(n, attempt))
        except DeadEnd:
            if self._lengths.shortest:
                raise
            return self._make({})

    def _entries(self, n: int, attempt: int) -> dict[object, object]:
        _, inner = self._lengths.attempted(attempt)
        which, first = spread(n, (self._keys.count, self._values.count))
        keys = self._keys.pick(which, attempt)
        if not isinstance(keys, list):
            raise DeadEnd("it has no keys")
        return {
            key: self._values.pick(first + i, inner)
            for i, key in enumerate(keys)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        }


class Positions(Source):
    """Tuples with a source per position."""

    def __init__(
        self,
        parts: Sequence[Source],
        make: Callable[[list[object]], object] = tuple[object, ...],
    ) -> None:
        self._parts = parts
        self._make = make

    @property
    def count(self) -> int:
        """The product of the positions."""
        return product(part.count for part in self._parts)

    def pick(self, n: int, attempt: int = 0) -> object:
        """Return tuple number `n`."""
        numbers = spread(n, [part.count for part in self._parts])
        return self._make(
            [part.pick(m, attempt) for part, m in zip(self._parts, numbers, strict=True)]
        )


def _hashed(element: object) -> Hashable:
    try:
        hash(element)
    except TypeError as error:
        raise DeadEnd(f"its elements have to be hashable: {error}") from None
    return element
