"""How often something may begin, and when it did: exact sliding windows on any clock.

A window of a provider's limit may lie anywhere, so fixed windows (twice the number around their
edge) and token buckets (a full bucket, and what flows in beside it) are not enough: what counts
is the sliding-window log, which knows every start of the last span. The libraries that have it
(`pyrate-limiter`, `limits`) or a leaky bucket (`aiolimiter`) bring a clock, sleeps, threads or
storage of their own, and none can hold a place under several limits at once, to be used or given
back later. What is left without those is this module.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from flock.core.artifacts import Artifact

RateKey: TypeAlias = "Callable[[Artifact], Any]"
"""What a limit holds for each value of: a function of a run's first input."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """How many runs may begin in any span of time.

    Attributes:
        count: How many.
        span: Seconds; any two runs that are so far apart are in no window together.
        key: For each value of which it holds by itself; for all together if None.
    """

    count: int
    span: float
    key: RateKey | None = None


class Starts:
    """When things began that the same limits bound: as far back as the longest of them looks.

    A place is reserved before it is known when exactly something begins, and then used or
    released. What is reserved counts as if it began at any moment from now on.

    Attributes:
        limits: The limits; all hold.
        times: When things began, oldest first, in seconds of whatever clock is used.
        reserved: How many places are reserved.
    """

    __slots__ = ("limits", "reserved", "times")

    def __init__(self, limits: Sequence[RateLimit]) -> None:
        self.limits = limits
        self.times: deque[float] = deque()
        self.reserved = 0

    def opens_at(self, now: float) -> float:
        """Return from when on one more may begin: at most `now` if at once.

        Infinity while what is reserved alone is all that may begin: that depends on when it
        does.
        """
        times = self.times
        if times and now < times[-1]:
            self._set_back(now)
        opens = -math.inf
        for limit in self.limits:
            place = limit.count - self.reserved
            if place <= 0:
                return math.inf
            if place <= len(times):
                opens = max(opens, times[-place] + limit.span)
        return opens

    def begin(self, now: float) -> int:
        """Write down that something begins at `now`; return how many starts count no more."""
        times = self.times
        if times and now < times[-1]:
            self._set_back(now)
        times.append(now)
        return self._forget(now)

    def is_idle(self, now: float) -> bool:
        """Whether nothing of it counts any more, so that it can be forgotten."""
        if self.reserved:
            return False
        longest = max(limit.span for limit in self.limits)
        return not self.times or self.times[-1] + longest <= now

    def _forget(self, now: float) -> int:
        times = self.times
        most = max(limit.count for limit in self.limits)
        longest = max(limit.span for limit in self.limits)
        before = len(times)
        while len(times) > most or (times and times[0] + longest <= now):
            times.popleft()
        return before - len(times)

    def _set_back(self, now: float) -> None:
        """Move all of it, as the clock was set back: the last start was now at the latest."""
        times = self.times
        by = times[-1] - now
        for place, time in enumerate(times):
            times[place] = min(time - by, now)  # whatever rounding made of it
