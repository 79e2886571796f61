"""Spans of time, given as `timedelta` or as a number of seconds."""

from __future__ import annotations

import math
from datetime import timedelta

Span = timedelta | float
"""A `timedelta`, or a number of seconds."""


def seconds(span: object, what: str, *, zero: bool = False) -> float:
    """Return a span in seconds.

    Args:
        span: A `timedelta` or a number of seconds.
        what: What the span is for, as the error names it.
        zero: Whether no time at all is allowed.

    Raises:
        ValueError: It is not a finite span, is negative, or is zero and must not be.
    """
    if isinstance(span, timedelta):
        value = span.total_seconds()
    elif isinstance(span, int | float) and not isinstance(span, bool):
        try:
            value = float(span)
        except OverflowError:
            value = math.inf
    else:
        msg = f"{what} takes a timedelta or a number of seconds, not {span!r}"
        raise ValueError(msg)
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        bound = "at least 0" if zero else "more than 0"
        msg = f"{what} must be {bound} seconds, not {span!r}"
        raise ValueError(msg)
    return value
