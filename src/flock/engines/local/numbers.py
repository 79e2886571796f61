"""Numbers with an end: every range is closed, and fractions have a last digit."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from fractions import Fraction
from typing import Any, Final

from flock.engines.local.json_types import Schema

WIDEST: Final = Decimal(10) ** 12
"""How far a number without a bound may be from its other bound, or from zero."""
FINEST: Final = Decimal("1e-6")
"""The smallest step of numbers whose range does not ask for a smaller one."""


def integer(schema: Schema) -> Schema | None:
    """Return what a grammar enforces for a JSON integer, None if no value fits."""
    low, high = _range(schema, Decimal(1))
    if low is None or high is None:
        return None
    step = _positive(schema.get("multipleOf"))
    if step is not None and step == step.to_integral_value():
        if _first_multiple(low, step) > high:
            return None
        return {"type": "integer", "minimum": int(low), "maximum": int(high)} | {
            "multipleOf": int(step)
        }
    return {"type": "integer", "minimum": int(low), "maximum": int(high)}


def number(schema: Schema) -> Schema | None:
    """Return what a grammar enforces for a JSON number, None if no value fits.

    Numbers are written without an exponent, on a grid whose step is a millionth, or a
    thousandth of the range where that is less.
    """
    given = _positive(schema.get("multipleOf"))
    step = _step(schema) if given is None else given
    # Whether a large float is a multiple of a fraction depends on who computes it.
    widest = WIDEST if given is None else min(WIDEST, given * 10**8)
    low, high = _range(schema, step, widest)
    if low is None or high is None:
        return None
    if low == high:
        return {"const": _plain(low)}
    return {
        "type": "number",
        "minimum": _plain(low),
        "maximum": _plain(high),
        "multipleOf": _plain(step),
    }


def digits(schema: Schema) -> int:
    """Return how many characters the longest number of a schema of this module has."""
    if "const" in schema:
        return len(str(schema["const"]))
    ends = max(len(str(int(schema["minimum"]))), len(str(int(schema["maximum"]))))
    if schema["type"] == "integer":
        return ends
    exponent = Decimal(str(schema["multipleOf"])).normalize().as_tuple().exponent
    return ends + 2 + max(0, -int(exponent))


def _range(
    schema: Schema, step: Decimal, widest: Decimal = WIDEST
) -> tuple[Decimal | None, Decimal | None]:
    """Return the first and the last multiple of `step` within the bounds; None twice if none."""
    low, high = _bound(schema.get("minimum")), _bound(schema.get("maximum"))
    over, under = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    above, below = _bound(over), _bound(under)
    least = max((bound for bound in (low, above) if bound is not None), default=None)
    most = min((bound for bound in (high, below) if bound is not None), default=None)
    if least is None:
        least = -widest if most is None or most > -widest else most - widest
    if most is None:
        most = widest if least < widest else least + widest
    # Astronomical bounds are no invitation to write that many digits.
    most = widest if least < widest < most else most
    least = -widest if least < -widest < most else least
    first, last = _first_multiple(least, step), _last_multiple(most, step)
    if above is not None and first <= above:
        first += step
    if below is not None and last >= below:
        last -= step
    return (first, last) if first <= last else (None, None)


def _step(schema: Schema) -> Decimal:
    low = _bound(schema.get("minimum", schema.get("exclusiveMinimum")))
    high = _bound(schema.get("maximum", schema.get("exclusiveMaximum")))
    finest = FINEST
    if low is not None and high is not None and high > low:
        finest = min(finest, Decimal(10) ** ((high - low).adjusted() - 3))
    # A bound itself must lie on the grid, or a range of one point would have none.
    for bound in (low, high):
        if bound is not None and bound and (exponent := int(bound.as_tuple().exponent)) > -20:
            finest = min(finest, Decimal(10) ** min(0, exponent))
    return finest


def _first_multiple(bound: Decimal, step: Decimal) -> Decimal:
    return (bound / step).to_integral_value(ROUND_CEILING) * step


def _last_multiple(bound: Decimal, step: Decimal) -> Decimal:
    return (bound / step).to_integral_value(ROUND_FLOOR) * step


def _bound(value: Any) -> Decimal | None:  # noqa: ANN401 - JSON
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return Decimal(str(value))


def _positive(value: Any) -> Decimal | None:  # noqa: ANN401 - JSON
    found = _bound(value)
    return found if found is not None and found > 0 else None


def _plain(value: Decimal) -> int | float:
    return int(value) if Fraction(value).denominator == 1 else float(value)
