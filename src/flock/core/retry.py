"""When a failed run is tried again."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

from flock.core.spans import Span, seconds

RetryOn = type[BaseException] | tuple[type[BaseException], ...] | Callable[[Exception], object]
"""An exception class, a tuple of them, or a predicate of the exception."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential back-off with full jitter.

    The delay before attempt `n + 1` is drawn uniformly from `[0, d]` with
    `d = min(maximum, initial * factor ** (n - 1))`, or is `d` itself without jitter
    ("full jitter" of M. Brooker, Exponential Backoff And Jitter, AWS Architecture Blog, 2015).

    Attributes:
        initial: The first bound: a `timedelta` or seconds.
        factor: What the bound is multiplied with each time, at least 1.
        maximum: The largest bound: a `timedelta` or seconds.
        jitter: Whether delays are drawn.

    It only holds its values: `retry`, which knows the agent, refuses those that make no sense
    with a `DeclarationError`.

    Example:
        ```python
        from flock import Backoff

        backoff = Backoff(initial=1.0, factor=3, maximum=10.0, jitter=False)
        print([backoff.delay(attempt) for attempt in (1, 2, 3, 4)])  # -> [1.0, 3.0, 9.0, 10.0]
        ```
    """

    initial: Span = 1.0
    factor: float = 2.0
    maximum: Span = 60.0
    jitter: bool = True

    def delay(self, attempt: int) -> float:
        """Return the seconds to wait after attempt number `attempt` failed."""
        first = seconds(self.initial, "Backoff.initial", zero=True)
        limit = seconds(self.maximum, "Backoff.maximum", zero=True)
        try:
            bound = min(limit, first * self.factor ** (attempt - 1))
        except OverflowError:
            bound = limit if first else 0.0
        return random.uniform(0.0, bound) if self.jitter else bound


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often an agent's run is tried, how long apart, and after which errors.

    Attributes:
        attempts: How many attempts there are in all, from 1.
        backoff: The delays between them.
        on: Which errors are worth another attempt.
    """

    attempts: int = 1
    backoff: Backoff = field(default_factory=Backoff)
    on: RetryOn = Exception

    def again(self, attempt: int, error: Exception) -> bool:
        """Return whether attempt number `attempt` that failed is followed by another.

        A raising predicate is the caller's to catch.
        """
        if attempt >= self.attempts:
            return False
        if isinstance(self.on, type):
            return isinstance(error, self.on)
        if isinstance(self.on, tuple):
            return isinstance(error, cast("tuple[type[BaseException], ...]", self.on))
        return bool(self.on(error))


def retry_policy(attempts: object, backoff: object, on: object) -> RetryPolicy:
    """Check the arguments of `retry`.

    Raises:
        ValueError: They are no policy.
    """
    if type(attempts) is not int or attempts < 1:
        msg = f"attempts must be a whole number from 1, not {attempts!r}"
        raise ValueError(msg)
    if not isinstance(backoff, Backoff):
        if not isinstance(backoff, timedelta | int | float):
            msg = f"backoff takes seconds, a timedelta or a Backoff, not {backoff!r}"
            raise ValueError(msg)
        seconds(backoff, "backoff", zero=True)
        backoff = Backoff(initial=backoff)
    _check_backoff(backoff)
    if callable(on) and not isinstance(on, type):
        return RetryPolicy(attempts, backoff, on)
    classes: list[Any] = list(cast("list[Any]", on)) if isinstance(on, list | tuple) else [on]
    checked: list[type[BaseException]] = []
    for cls in classes:
        if not (isinstance(cls, type) and issubclass(cls, BaseException)):
            msg = f"on takes exception classes or a predicate of the error, not {on!r}"
            raise ValueError(msg)
        checked.append(cls)
    if not checked:
        msg = "on names no exception classes, so nothing would be tried again; leave it out for all"
        raise ValueError(msg)
    return RetryPolicy(attempts, backoff, tuple(checked))


def _check_backoff(backoff: Backoff) -> None:
    seconds(backoff.initial, "Backoff.initial", zero=True)
    seconds(backoff.maximum, "Backoff.maximum", zero=True)
    factor: object = backoff.factor
    is_number = isinstance(factor, int | float) and not isinstance(factor, bool)
    if not is_number or not 1 <= factor < math.inf:
        msg = f"Backoff.factor must be a number of at least 1, not {factor!r}"
        raise ValueError(msg)
    if type(backoff.jitter) is not bool:
        msg = f"Backoff.jitter is True or False, not {backoff.jitter!r}"
        raise ValueError(msg)
