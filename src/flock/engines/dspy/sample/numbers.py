"""Sources of numbers: int, float, Decimal and Fraction within what their schema asks for."""

import math
from collections.abc import Callable, Iterator, Mapping
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any, Final, NamedTuple

from flock.engines.dspy.sample.source import MANY, DeadEnd, Mapped, Source, Span

_REACH: Final = 1 << 53
"""How far numbers go where nothing bounds them: floats and JSON keep these exactly."""
_ENOUGH: Final = 100
"""A decimal grid with fewer values than this is made finer where the schema allows it."""
_FINEST: Final = 12
_USUAL: Final = (0, 2, 3, 10, 100, 5, 7, 12, 50, 1000, 16, 64, 1024, 2024, 8080, 65535, 10**6)
_SHARES: Final = (0.0, 0.5, 1.0, 10.0, 100.0, 0.25, 0.1, 0.01, -1.0, 37.0, 180.0, 1000.0)
_EXACT: Final = Context(prec=80)


class _Bound(NamedTuple):
    value: Fraction
    included: bool


def integers(schema: Mapping[str, Any]) -> Source:
    """Return the whole numbers of an `int` schema, from the lower bound or 1 upwards."""
    step = _common(Fraction(1), schema.get("multiple_of"))
    return Mapped(_ticks(schema, step), lambda k: int(k * step))


def fractions(schema: Mapping[str, Any]) -> Source:
    """Return the numbers of a `fraction` schema, whole ones if there are some."""
    for unit in (Fraction(1), Fraction(1, 12), Fraction(1, 10**_FINEST)):
        step = _common(unit, schema.get("multiple_of"))
        span = _ticks(schema, step)
        if not span.empty:
            break
    return Mapped(span, lambda k: k * step)


def decimals(schema: Mapping[str, Any]) -> Source:
    """Return the numbers of a `decimal` schema, as whole as its bounds and digits allow."""
    places: int | None = schema.get("decimal_places")
    digits: int | None = schema.get("max_digits")
    finest = min(_FINEST, places if places is not None else digits or _FINEST)
    chosen, step = _ticks(schema, Fraction(1), whole=0), Fraction(1)
    for used in range(finest + 1):
        finer = _common(Fraction(1, 10**used), schema.get("multiple_of"))
        whole = None if digits is None else digits - (used if places is None else places)
        span = _ticks(schema, finer, whole=whole)
        if chosen.empty or span.count > chosen.count:
            chosen, step = span, finer
        if not chosen.empty and chosen.count >= _ENOUGH:
            break
    return Mapped(chosen, lambda k: _decimal(k * step))


def floats(schema: Mapping[str, Any]) -> Source:
    """Return the numbers of a `float` schema: whole steps, or ever finer parts of a range."""
    if (multiple := schema.get("multiple_of")) is not None:
        step = _written(multiple) or Fraction(1)
        return Mapped(_ticks(schema, step), lambda k: float(k * step))
    low, high = _bounds(schema, _binary)
    if low is not None and high is not None:
        return _Range(low, high)
    if low is not None and not _inside(low, math.inf).is_integer():
        first, base = int(not low.included), float(low.value)
        return Mapped(Span(first, _REACH, first), lambda k: base + k)
    edge = low or high
    if edge is not None and abs(edge.value) >= _REACH:
        start = _inside(edge, math.inf if low else -math.inf)
        unit = math.ulp(start) * (1 if low else -1)
        return Mapped(Span(0, _REACH >> 1, 0), lambda k: start + k * unit)
    return Mapped(_ticks(schema, Fraction(1)), float)


class _Range(Source):
    """Floats from `low` to `high`: the low end if included, the middle, the quarters, ..."""

    def __init__(self, low: _Bound, high: _Bound) -> None:
        self._ends = float(low.value), float(high.value)
        self._low, self._high = _inside(low, math.inf), _inside(high, -math.inf)
        self._first = 0 if low.included else 1

    @property
    def count(self) -> int:
        """Endless, unless both ends are so close that few floats lie between."""
        close = max(abs(self._low), abs(self._high)) * 2.0**-22
        return MANY if self._high - self._low > close else len(self._neighbours())

    def _neighbours(self) -> list[float]:
        found = [self._low]
        while found[-1] < self._high and len(found) < _ENOUGH:
            found.append(math.nextafter(found[-1], math.inf))
        return found

    def pick(self, n: int, attempt: int = 0) -> float:
        """Return number `n` of the range."""
        if self._low > self._high:
            raise DeadEnd("its bounds leave no value")
        if self.count < MANY:
            return self._neighbours()[(n + attempt) % self.count]
        if attempt:
            others = [s for s in _SHARES if self._low <= s <= self._high]
            half, jump = divmod(attempt, 2)
            if not jump and half <= len(others):
                return others[half - 1]
            n += half + 1
        share = _bisected(n + self._first)
        # Rounding must not carry a value over an end.
        low, high = self._ends
        return min(max(low * (1 - share) + high * share, self._low), self._high)


def _bisected(n: int) -> float:
    """Return 0, 1/2, 1/4, 3/4, 1/8, ...: van der Corput's sequence."""
    share, part = 0.0, 0.5
    while n:
        n, bit = divmod(n, 2)
        share += bit * part
        part /= 2
    return share


def _ticks(schema: Mapping[str, Any], step: Fraction, *, whole: int | None = None) -> Span:
    """Return the multiples of `step` within the schema's bounds, as whole numbers of steps.

    `whole` limits the digits before the point.
    """
    low, high = _bounds(schema, _written)
    lowest = highest = None
    if low is not None:
        lowest = math.ceil(low.value / step)
        lowest += int(not low.included and lowest * step == low.value)
    if high is not None:
        highest = math.floor(high.value / step)
        highest -= int(not high.included and highest * step == high.value)
    start = lowest if lowest is not None else math.ceil(1 / step)
    reach = max(_REACH, abs(lowest or 0) * 2, abs(highest or 0) * 2)
    lowest = -reach if lowest is None else lowest
    highest = reach if highest is None else highest
    if whole is not None:
        most = math.ceil(Fraction(10) ** max(0, whole) / step) - 1
        lowest, highest = max(lowest, -most), min(highest, most)
        if not whole and lowest == 0:
            # Pydantic counts a zero's one digit before the point.
            lowest = 1
        start = max(start, lowest)
    favourites = [int(f / step) for f in _USUAL if (f / step).denominator == 1]
    return Span(lowest, highest, start, favourites=favourites)


def _bounds(
    schema: Mapping[str, Any], number: Callable[[Any], Fraction | None]
) -> tuple[_Bound | None, _Bound | None]:
    def bounds(included: str, excluded: str) -> Iterator[_Bound]:
        for key in (included, excluded):
            if (value := number(schema.get(key))) is not None:
                yield _Bound(value, key == included)

    # Of two equal bounds the one that excludes its value is the tighter.
    low = max(bounds("ge", "gt"), key=lambda b: (b.value, not b.included), default=None)
    high = min(bounds("le", "lt"), key=lambda b: (b.value, b.included), default=None)
    return low, high


def _inside(bound: _Bound, towards: float) -> float:
    """Return the first float on the bound's inner side, which lies `towards`."""
    edge = float(bound.value)
    outside = edge < bound.value if towards > 0 else edge > bound.value
    if outside or (not bound.included and edge == bound.value):
        return math.nextafter(edge, towards)
    return edge


def _written(number: Any) -> Fraction | None:  # noqa: ANN401 - whatever a constraint holds
    """Return the number as a fraction, read as it is written: 0.1 is a tenth."""
    if isinstance(number, float):
        return Fraction(repr(number)) if math.isfinite(number) else None
    if isinstance(number, Decimal):
        return Fraction(number) if number.is_finite() else None
    return Fraction(number) if isinstance(number, int | Fraction) else None


def _binary(number: Any) -> Fraction | None:  # noqa: ANN401 - as `_written`
    """Return the number as a fraction, exactly as a float holds it."""
    written = _written(number)
    return written if written is None else Fraction(float(written))


def _common(unit: Fraction, multiple: Any) -> Fraction:  # noqa: ANN401 - as `_written`
    """Return the smallest number that is a multiple of both."""
    other = _written(multiple)
    if not other:
        return unit
    other = abs(other)
    numerator = math.lcm(unit.numerator * other.denominator, other.numerator * unit.denominator)
    return Fraction(numerator, unit.denominator * other.denominator)


def _decimal(value: Fraction) -> Decimal:
    return _EXACT.divide(Decimal(value.numerator), Decimal(value.denominator))
