"""Source: numbered values of one type, and the ways to combine sources."""

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from typing import Final, Generic, TypeVar

Value = TypeVar("Value")

MANY: Final = 1 << 40
"""The count of a source that never repeats itself within any seed used in practice."""


_RANKED: Final = 256
"""Up to this number accepted values are counted from the first one."""


class DeadEnd(Exception):
    """This source has no value to give here; whoever has an alternative takes it.

    Attributes:
        why: what stood in the way, as the end of a sentence.
        where: the model and field, `Order.code`, once a record has filled it in.
        remedy: what the author of the model can do about it.
    """

    def __init__(self, why: str, *, where: str = "", remedy: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.where = where
        self.remedy = remedy


class Source:
    """Values of one type, numbered from 0.

    `count` says how many of them differ, or at least so many; numbers beyond it wrap around.
    `pick(n)` gives the value a person would expect, `pick(n, attempt)` with a growing attempt
    gives others, less and less usual: what comes next when a validator refused the former.
    Every call makes a fresh value.
    """

    @property
    def count(self) -> int:
        """How many values differ; `MANY` stands for more than anyone asks for."""
        return MANY

    def pick(self, n: int, attempt: int = 0) -> object:
        """Return value number `n`, or raise `DeadEnd`."""
        raise NotImplementedError


class Listed(Source):
    """The given values, in order."""

    def __init__(self, values: Sequence[object], *, otherwise: str = "has no values") -> None:
        self._values = values
        self._otherwise = otherwise

    @property
    def count(self) -> int:
        """The number of values."""
        return max(1, len(self._values))

    def pick(self, n: int, attempt: int = 0) -> object:
        """Return value number `n`, each attempt the one after."""
        if not self._values:
            raise DeadEnd(self._otherwise)
        return self._values[(n + attempt) % len(self._values)]


class Nothing(Source):
    """No value at all: the place where a schema cannot be answered."""

    def __init__(self, why: str) -> None:
        self._why = why

    @property
    def count(self) -> int:
        """One, so that it weighs nothing in a product."""
        return 1

    def pick(self, n: int, attempt: int = 0) -> object:
        """Raise `DeadEnd`."""
        raise DeadEnd(self._why)


class Span(Source):
    """Whole numbers from `low` to `high`: `start` and upwards, then downwards from there.

    `favourites` are tried on later attempts, with the ends and the middle of the span.
    """

    def __init__(
        self, low: int, high: int, start: int, *, step: int = 1, favourites: Sequence[int] = ()
    ) -> None:
        self._low, self._high, self._step = low, high, step
        self._start = min(max(start, low), high)
        self._favourites = favourites

    @property
    def empty(self) -> bool:
        """Whether the bounds leave no number at all."""
        return self._low > self._high

    @property
    def count(self) -> int:
        """The number of steps that fit."""
        return max(1, self._upwards + self._downwards)

    @property
    def _upwards(self) -> int:
        return (self._high - self._start) // self._step + 1

    @property
    def _downwards(self) -> int:
        return (self._start - self._low) // self._step

    def pick(self, n: int, attempt: int = 0) -> int:
        """Return number `n` of the span."""
        if self.empty:
            raise DeadEnd("its bounds leave no value")
        if attempt:
            others = [f for f in self._favourites if self._low <= f <= self._high]
            others += [self._high, self._low, (self._high + self._low) // 2]
            # Odd attempts walk on, even ones jump: a validator may want either.
            half, jump = divmod(attempt, 2)
            if not jump and half <= len(others):
                return min(others[half - 1] + n * self._step, self._high)
            n += half + 1
        n %= self.count
        if n < self._upwards:
            return self._start + n * self._step
        return self._start - (n - self._upwards + 1) * self._step


class Mapped(Source, Generic[Value]):
    """What `make` makes of each value of a span."""

    def __init__(self, span: Span, make: Callable[[int], Value]) -> None:
        self._span = span
        self._make = make

    @property
    def count(self) -> int:
        """As many as the span has."""
        return self._span.count

    def pick(self, n: int, attempt: int = 0) -> Value:
        """Return what is made of number `n`."""
        return self._make(self._span.pick(n, attempt))


class Computed(Source):
    """Values made by a function of the number and the attempt."""

    def __init__(self, make: Callable[[int, int], object], count: int = MANY) -> None:
        self._make = make
        self._count = count

    @property
    def count(self) -> int:
        """As stated."""
        return self._count

    def pick(self, n: int, attempt: int = 0) -> object:
        """Return what the function makes."""
        return self._make(n, attempt)


class OneOf(Source):
    """A union: the branches take turns, a finished one drops out, a dead end is passed by."""

    def __init__(self, branches: Sequence[Source]) -> None:
        self._branches = branches

    @property
    def count(self) -> int:
        """The sum of the branches."""
        return limited(sum(branch.count for branch in self._branches))

    def pick(self, n: int, attempt: int = 0) -> object:
        """Return value number `n`, counted around the branches."""
        inner, turn = divmod(attempt, len(self._branches))
        first, index = self._turn(n)
        dead: DeadEnd | None = None
        for offset in range(len(self._branches)):
            branch = self._branches[(first + turn + offset) % len(self._branches)]
            # Endless branches keep the whole number: 1, 2.0, 3 are three values, 1, 1.0 are one.
            whole = n if branch.count >= MANY or offset or turn else index
            try:
                return branch.pick(whole, inner)
            except DeadEnd as end:
                dead = dead or end
        raise dead or DeadEnd("its union has no branch")

    def _turn(self, n: int) -> tuple[int, int]:
        counts = [branch.count for branch in self._branches]
        n %= max(1, sum(counts))
        base = 0
        while True:
            active = [i for i, count in enumerate(counts) if count > base]
            lowest = min(counts[i] for i in active)
            if n < (lowest - base) * len(active):
                return active[n % len(active)], base + n // len(active)
            n -= (lowest - base) * len(active)
            base = lowest


class Nullable(Source):
    """A nullable: the values first, None last; None where the values come to a dead end."""

    def __init__(self, inner: Source) -> None:
        self._inner = inner

    @property
    def count(self) -> int:
        """One more than the values."""
        return limited(self._inner.count + 1)

    def pick(self, n: int, attempt: int = 0) -> object:
        """Return value number `n`, None at the end and on every fourth attempt."""
        block, place = divmod(attempt, 4)
        count = self._inner.count
        if place == 3 or (count < MANY and n % (count + 1) == count):
            return None
        try:
            return self._inner.pick(n if count >= MANY else n % (count + 1), 3 * block + place)
        except DeadEnd:
            return None


class FirstOf(Source):
    """The first source; the others are turned to on later attempts or at a dead end."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources

    @property
    def count(self) -> int:
        """As many as the first has."""
        return self._sources[0].count

    def pick(self, n: int, attempt: int = 0) -> object:
        """Return value number `n` of the source whose turn this attempt is."""
        inner, turn = divmod(attempt, len(self._sources))
        dead: DeadEnd | None = None
        for offset in range(len(self._sources)):
            try:
                return self._sources[(turn + offset) % len(self._sources)].pick(n, inner)
            except DeadEnd as end:
                dead = dead or end
        raise dead or DeadEnd("it has no values")


class Examples(Source):
    """The examples that the model's author gave, in turn; generated values if none is valid."""

    def __init__(self, examples: Sequence[object], generated: Source) -> None:
        self._examples = examples
        self._generated = generated

    @property
    def count(self) -> int:
        """The number of examples."""
        return len(self._examples)

    def pick(self, n: int, attempt: int = 0) -> object:
        """Return example number `n`, on later attempts the following ones."""
        if attempt < len(self._examples):
            return deepcopy(self._examples[(n + attempt) % len(self._examples)])
        return self._generated.pick(n, attempt - len(self._examples))


def limited(count: int) -> int:
    """Return the count, or `MANY` if it is more than that."""
    return min(count, MANY)


def product(counts: Iterable[int]) -> int:
    """Return how many combinations there are, at most `MANY`."""
    total = 1
    for count in counts:
        total = limited(total * count)
    return total


def nth_accepted(
    n: int,
    count: int,
    at: Callable[[int], Value],
    accepts: Callable[[Value], bool],
    *,
    patience: int,
) -> Value:
    """Return accepted value number `n` of the `count` values that `at` numbers.

    Counting the accepted ones makes different `n` give different values also where a
    validator refuses some. A large `n` counts from itself instead: it must not cost more.

    Raises:
        DeadEnd: more than `patience` values were refused and none accepted.
    """
    found: list[Value] = []
    index, wanted = (0, n) if n <= _RANKED else (n, 0)
    refused = 0
    for i in range(index, index + count):
        value = at(i)
        if not accepts(value):
            refused += 1
            if refused > patience:
                break
            continue
        if len(found) == wanted:
            return value
        found.append(value)
    if not found:
        raise DeadEnd("every value tried was refused")
    return found[n % len(found)]


def spread(n: int, counts: Sequence[int]) -> list[int]:
    """Return one number per part such that different `n` give different combinations.

    All parts move on together (`text 2` comes with `2`, not with `1`) as long as that does
    not repeat a combination.
    """
    numbers: list[int] = []
    for position, count in enumerate(counts):
        if count >= MANY:
            numbers.append(n)
            continue
        rounds, digit = divmod(n, count)
        numbers.append(digit)
        rest = product(counts[position + 1 :])
        n = n if rest >= MANY else (digit + rounds) % rest
    return numbers
