"""Dates and spans of time within limits, as patterns that a grammar can enforce.

The limits are those of `flock.engines.dspy.answer_schema`. What a pattern allows lies within
them, but need not be all of it: a model that has a century to choose from needs no second one.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Final

from pydantic import TypeAdapter

from flock.engines.local.json_types import Schema

LIMITS: Final = frozenset(
    {"formatMinimum", "formatMaximum", "formatExclusiveMinimum", "formatExclusiveMaximum"}
)
"""Keywords for the limits of dates and times."""

_NOW: Final = "now"
_DAY: Final = timedelta(days=1)
# Times of different zones on the same day may be more than a day apart.
_MARGIN: Final = 2 * _DAY
_SPAN: Final = 40 * 366 * _DAY
# A grammar is made once: what comes after now has to do so for as long as the process runs.
_AHEAD: Final = 10 * 366 * _DAY
_CHOICES: Final = 24
_MINUTE: Final = 60

_ANY_DAY: Final = r"(?:0[1-9]|1\d|2[0-8])"
_ANY_MONTH: Final = r"(?:0[1-9]|1[0-2])"
_SPANS: Final = TypeAdapter(timedelta)


def dates_within(said: Schema) -> str | None:
    """Return the pattern of the dates, also of those with a time, within limits; None if none is.

    Args:
        said: The keywords of the schema; its format is `date` or `date-time`.
    """
    margin = _DAY if said["format"] == "date" else _MARGIN
    low = _day(said, "formatMinimum", margin - _DAY, _AHEAD)
    above = _day(said, "formatExclusiveMinimum", margin, _AHEAD)
    high = _day(said, "formatMaximum", _DAY - margin, -_MARGIN)
    below = _day(said, "formatExclusiveMaximum", -margin, -_MARGIN)
    first = max((day for day in (low, above) if day is not None), default=None)
    last = min((day for day in (high, below) if day is not None), default=None)
    try:
        if first is None:
            first = last - _SPAN if last is not None else date.min
        last = first + _SPAN if last is None else min(last, first + _SPAN)
    except OverflowError:
        return None
    return "|".join(_days(first, last)) or None


def spans_within(said: Schema) -> str | None:
    """Return the pattern of some spans of time within limits, in seconds; None if none is."""
    low = _seconds(said, "formatMinimum", 0)
    above = _seconds(said, "formatExclusiveMinimum", 1)
    high = _seconds(said, "formatMaximum", 0)
    below = _seconds(said, "formatExclusiveMaximum", -1)
    first = max(0, low or 0, above or 0)
    last = min((bound for bound in (high, below) if bound is not None), default=first + 86_400)
    step = max(1, (last - first) // _CHOICES)
    if step >= _MINUTE:  # whole minutes read better
        step -= step % _MINUTE
        first += -first % _MINUTE
    choices = [str(seconds) for seconds in range(first, last + 1, step)]
    return f"PT(?:{'|'.join(choices)})S" if choices else None


def _day(said: Schema, keyword: str, shift: timedelta, from_now: timedelta) -> date | None:
    limit = said.get(keyword)
    if limit is None:
        return None
    if limit == _NOW:
        today = datetime.now(UTC).date()  # noqa: TID251 - validation goes by this clock, too
        return today + from_now
    return datetime.fromisoformat(limit).date() + shift


def _seconds(said: Schema, keyword: str, shift: int) -> int | None:
    limit = said.get(keyword)
    if limit is None:
        return None
    exact = _SPANS.validate_python(limit).total_seconds()
    whole = -int(-exact // 1) if "Minimum" in keyword else int(exact // 1)
    return whole + shift


def _days(first: date, last: date) -> Iterator[str]:
    """Yield patterns of the days from the first to the last: of years, of months, of days."""
    day = first
    while day <= last:
        month_end = (day.replace(day=28) + 4 * _DAY).replace(day=1) - _DAY
        year_end = day.replace(month=12, day=31)
        if (day.month, day.day) == (1, 1) and year_end <= last:
            yield f"{day:%Y}-{_ANY_MONTH}-{_ANY_DAY}"
            day = year_end + _DAY
        elif day.day == 1 and month_end <= last:
            yield f"{day:%Y-%m}-{_ANY_DAY}"
            day = month_end + _DAY
        else:
            yield day.isoformat()
            day += _DAY
