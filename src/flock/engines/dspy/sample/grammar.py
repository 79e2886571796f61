"""Grammar: sets of strings, counted per length, so that each string has a number."""

from collections.abc import Sequence


class Part:
    """A part of a pattern: `counts` strings per length, and string `n` of a length."""

    def __init__(self) -> None:
        self._known: list[int] = []

    def counts(self, limit: int) -> list[int]:
        """Return how many strings of each length 0 to `limit` there are."""
        if len(self._known) <= limit:
            self._known = self._count(limit)
        return self._known[: limit + 1]

    def _count(self, limit: int) -> list[int]:
        raise NotImplementedError

    def build(self, length: int, n: int) -> str:
        """Return string number `n` of those with this length."""
        raise NotImplementedError


class Chars(Part):
    """One character out of several."""

    def __init__(self, chars: str) -> None:
        super().__init__()
        self._chars = chars

    def _count(self, limit: int) -> list[int]:
        return [0, len(self._chars), *[0] * limit][: limit + 1]

    def build(self, length: int, n: int) -> str:
        """Return string number `n` of those with this length."""
        return self._chars[n]


class Word(Part):
    """A fixed string, also the empty one."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def _count(self, limit: int) -> list[int]:
        return [int(length == len(self.text)) for length in range(limit + 1)]

    def build(self, length: int, n: int) -> str:
        """Return string number `n` of those with this length."""
        return self.text


class Either(Part):
    """One of several parts."""

    def __init__(self, parts: Sequence[Part]) -> None:
        super().__init__()
        self._parts = parts

    def _count(self, limit: int) -> list[int]:
        return [sum(column) for column in zip(*(p.counts(limit) for p in self._parts), strict=True)]

    def build(self, length: int, n: int) -> str:
        """Return string number `n` of those with this length."""
        for part in self._parts:
            count = part.counts(length)[length]
            if n < count:
                return part.build(length, n)
            n -= count
        raise AssertionError(n)


class Chain(Part):
    """Parts one after the other; `rows[i]` counts the strings of the parts from `i` on."""

    def __init__(self, parts: Sequence[Part]) -> None:
        super().__init__()
        self._parts = parts
        self._rows: list[list[int]] = []

    def _count(self, limit: int) -> list[int]:
        row = [1, *[0] * limit]
        self._rows = [row]
        for part in reversed(self._parts):
            row = _convolved(part.counts(limit), row)
            self._rows.append(row)
        self._rows.reverse()
        return row

    def build(self, length: int, n: int) -> str:
        """Return string number `n` of those with this length."""
        self.counts(length)
        pieces: list[str] = []
        for part, rest in zip(self._parts, self._rows[1:], strict=True):
            own, mine, n = _split(part.counts(length), rest, length, n)
            pieces.append(part.build(own, mine))
            length -= own
        return "".join(pieces)


class Repeated(Part):
    """A part `low` to `high` times; `rows[k]` counts what may follow after `k` times.

    From `low` on only repetitions that add a character count, so that a length has finitely
    many strings; without an upper bound the last row follows on itself.
    """

    def __init__(self, part: Part, low: int, high: int | None) -> None:
        super().__init__()
        self._part = part
        self._low, self._high = low, high
        self._rows: list[list[int]] = []

    def _count(self, limit: int) -> list[int]:
        item = self._part.counts(limit)
        solid = [0, *item[1:]]
        if self._high is None or self._high > self._low + limit:
            row = _endless(solid, limit)
            self._rows = [row]
        else:
            row = [1, *[0] * limit]
            self._rows = [row]
            for _ in range(self._high - self._low):
                row = _convolved(solid, row)
                row[0] += 1
                self._rows.append(row)
        for _ in range(self._low):
            row = _convolved(item, row)
            self._rows.append(row)
        self._rows.reverse()
        return row

    def build(self, length: int, n: int) -> str:
        """Return string number `n` of those with this length."""
        self.counts(length)
        pieces: list[str] = []
        times = 0
        while True:
            optional = times >= self._low
            if optional and not length:
                return "".join(pieces)
            item = self._part.counts(length)
            if optional:
                item[0] = 0
            rest = self._rows[min(times + 1, len(self._rows) - 1)]
            own, mine, n = _split(item, rest, length, n)
            pieces.append(self._part.build(own, mine))
            length -= own
            times += 1


def _convolved(left: Sequence[int], right: Sequence[int]) -> list[int]:
    limit = len(right) - 1
    total = [0] * (limit + 1)
    for i, many in enumerate(left):
        if many:
            for j in range(limit + 1 - i):
                total[i + j] += many * right[j]
    return total


def _endless(solid: Sequence[int], limit: int) -> list[int]:
    row = [1, *[0] * limit]
    lengths = [length for length, many in enumerate(solid) if many]
    for total in range(1, limit + 1):
        row[total] = sum(solid[own] * row[total - own] for own in lengths if own <= total)
    return row


def _split(part: Sequence[int], rest: Sequence[int], length: int, n: int) -> tuple[int, int, int]:
    """Return the part's length and number, and the rest's number, of string `n`."""
    for own in range(length + 1):
        after = rest[length - own]
        if n < part[own] * after:
            return own, *divmod(n, after)
        n -= part[own] * after
    raise AssertionError(n)
