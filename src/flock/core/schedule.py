"""When an agent runs by the clock: schedules, and the moments they are due."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol
from zoneinfo import ZoneInfo

from flock.core.spans import Span, seconds
from flock.errors import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Iterator

SHORTEST: Final = 0.001
"""Seconds between two ticks at the least; no event loop is more exact than that."""
MOST_COUNTED: Final = 1_000_000
"""How many missed ticks of a calendar are counted, one by one; more count as that many."""
_CORRECTION: Final = 3 * 3600.0
"""Seconds by which a clock has to be set back for wall times to come again, as cron(8) has it."""
_SLACK: Final = 60.0
"""Seconds by which a clock may be set back while the beat of a long interval stays as it is."""


class Tick(NamedTuple):
    """One tick of a schedule, as the run that it starts knows it.

    Attributes:
        fire_time: When it was due, in seconds since the Unix epoch.
        iteration: Which run of the schedule it starts, from 1.
        missed: How many earlier due moments got no run of their own.
    """

    fire_time: float
    iteration: int
    missed: int


class Rule(Protocol):
    """The moments at which a schedule is due, in seconds since the Unix epoch."""

    def first(self, now: float, after: float | None) -> float | None:
        """Return the first due moment of a schedule that begins now.

        Args:
            now: When it begins.
            after: How many seconds it is to wait first.
        """
        ...

    def following(self, moment: float, first: float) -> float | None:
        """Return the next due moment after another moment; None without one.

        Args:
            moment: Any moment.
            first: The first due moment, from which a beat is counted.
        """
        ...

    def latest(self, due: float, first: float, now: float) -> tuple[float, int]:
        """Return the last due moment up to now, and how many there are from `due` on.

        Args:
            due: A due moment that has come.
            first: The first due moment.
            now: Now.
        """
        ...

    def set_back(
        self, due: float, first: float, last: float | None, now: float
    ) -> tuple[float, float]:
        """Return the first and the next due moment, for a clock that was set back.

        Args:
            due: The next due moment by the clock as it was.
            first: The first one.
            last: The last one that got a run; None before the first run.
            now: The time now.
        """
        ...


@dataclass(frozen=True, slots=True)
class ScheduleSpec:
    """When an agent runs by the clock; `AgentBuilder.schedule` makes it.

    Attributes:
        rule: The moments it is due.
        text: Says so in words; a schedule of another text is another schedule.
        after: Seconds to wait before the first tick; None for what the rule says.
        max_repeats: How many runs it starts in all; None for no end.
        is_once: Whether it is due at one moment only.
    """

    rule: Rule
    text: str
    after: float | None = None
    max_repeats: int | None = None
    is_once: bool = False

    @property
    def is_endless(self) -> bool:
        """Whether it goes on forever."""
        return self.max_repeats is None and not self.is_once


def schedule_spec(
    every: Span | None,
    at: object,
    cron: object,
    after: Span | None,
    max_repeats: object,
    tz: object,
) -> ScheduleSpec:
    """Return the schedule that the options of `AgentBuilder.schedule` describe.

    Raises:
        ValueError: They contradict each other or make no sense; says what to write instead.
    """
    given = [n for n, v in (("every", every), ("at", at), ("cron", cron)) if v is not None]
    if len(given) != 1:
        said = " and ".join(given) or "none"
        msg = f"give exactly one of every, at and cron, not {said}"
        raise DeclarationError(msg)
    if max_repeats is not None and (type(max_repeats) is not int or max_repeats < 1):
        msg = f"max_repeats must be a whole number from 1, not {max_repeats!r}"
        raise DeclarationError(msg)
    repeats = max_repeats if isinstance(max_repeats, int) else None
    delay = None if after is None else seconds(after, "after", zero=True)
    zone = None if tz is None else _zone(tz)
    if every is not None:
        return _interval(every, delay, repeats, zone)
    if isinstance(at, datetime):
        return _once(at, delay, repeats, zone)
    if at is not None:
        return _daily(at, delay, repeats, zone)
    rule = _Cron(cron, zone or UTC)
    return ScheduleSpec(rule, f"cron {rule.expression} in {_named(zone or UTC)}", delay, repeats)


# --- intervals ---


class _Every:
    """A beat: so many seconds after another, counted from its first moment."""

    def __init__(self, span: float) -> None:
        self._span = span

    def first(self, now: float, after: float | None) -> float:
        return now + (self._span if after is None else after)

    def following(self, moment: float, first: float) -> float:
        if moment < first:
            return first
        count = math.floor((moment - first) / self._span)  # may be one off, by rounding
        return next(due for n in (0, 1, 2) if (due := first + (count + n) * self._span) > moment)

    def latest(self, due: float, first: float, now: float) -> tuple[float, int]:
        count = round((due - first) / self._span)
        until = max(count, round((self.following(now, first) - first) / self._span) - 1)
        return first + until * self._span, until - count + 1

    def set_back(
        self, due: float, first: float, last: float | None, now: float
    ) -> tuple[float, float]:
        del last
        if due - now <= self._span + min(self._span, _SLACK):
            return first, due
        return now + self._span, now + self._span


def _interval(
    every: Span, after: float | None, repeats: int | None, zone: tzinfo | None
) -> ScheduleSpec:
    span = seconds(every, "every")
    if zone is not None:
        msg = "tz is for at and cron; an interval is as long in every time zone: leave tz out"
        raise DeclarationError(msg)
    if span < SHORTEST:
        msg = f"every must be at least {SHORTEST} seconds, not {every!r}"
        raise DeclarationError(msg)
    return ScheduleSpec(_Every(span), f"every {span!r} s", after, repeats)


# --- one moment ---


class _Once:
    """One moment."""

    def __init__(self, moment: float) -> None:
        self._moment = moment

    def first(self, now: float, after: float | None) -> float:
        del now, after
        return self._moment

    def following(self, moment: float, first: float) -> float | None:
        del first
        return self._moment if moment < self._moment else None

    def latest(self, due: float, first: float, now: float) -> tuple[float, int]:
        del first, now
        return due, 1

    def set_back(
        self, due: float, first: float, last: float | None, now: float
    ) -> tuple[float, float]:
        del last, now
        return first, due


def _once(
    at: datetime, after: float | None, repeats: int | None, zone: tzinfo | None
) -> ScheduleSpec:
    for given, option in ((after, "after"), (repeats, "max_repeats")):
        if given is not None:
            msg = f"at a datetime it runs once, at that moment: leave {option} out"
            raise DeclarationError(msg)
    if at.tzinfo is not None and zone is not None:
        msg = f"{at!r} has a time zone of its own: leave tz out"
        raise DeclarationError(msg)
    moment = at if at.tzinfo is not None else at.replace(tzinfo=zone or UTC)
    try:
        when = moment.timestamp()
    except (OverflowError, ValueError) as error:
        msg = f"at={at!r} is no moment in time: {error}"
        raise DeclarationError(msg) from None
    return ScheduleSpec(_Once(when), f"at {moment.isoformat()}", is_once=True)


# --- calendars ---


class _Calendar:
    """Moments of a wall clock, one after the other."""

    def _moments(self, after: float) -> Iterator[float]:
        """Yield the moments after another one, ascending."""
        raise NotImplementedError

    def first(self, now: float, after: float | None) -> float | None:
        return next(self._moments(now + (after or 0.0)), None)

    def following(self, moment: float, first: float) -> float | None:
        del first
        return next(self._moments(moment), None)

    def latest(self, due: float, first: float, now: float) -> tuple[float, int]:
        del first
        last, count = due, 1
        for moment in self._moments(due):
            if moment > now:
                break
            last, count = moment, count + 1
            if count >= MOST_COUNTED:
                break
        return last, count

    def set_back(
        self, due: float, first: float, last: float | None, now: float
    ) -> tuple[float, float]:
        if last is not None and now >= last - _CORRECTION:
            return first, due
        again = self.following(now, first)
        return first, due if again is None else min(due, again)


class _Daily(_Calendar):
    """A time of day in a time zone.

    A time that the clocks skip is due as much later as they are put forward; of one that comes
    twice the first counts, or the second where the time says `fold=1`.
    """

    def __init__(self, at: time, zone: tzinfo) -> None:
        self._at = at.replace(tzinfo=None)
        self._zone = zone

    def _moments(self, after: float) -> Iterator[float]:
        last = after
        try:
            day = datetime.fromtimestamp(after, self._zone).date() - timedelta(days=1)
            while True:
                moment = self._on(day)
                if moment > last:  # a zone may skip a day
                    yield moment
                    last = moment
                day += timedelta(days=1)
        except (OverflowError, ValueError, OSError):
            return  # the calendar ends

    def _on(self, day: date) -> float:
        return datetime.combine(day, self._at, self._zone).timestamp()


def _daily(
    at: object, after: float | None, repeats: int | None, zone: tzinfo | None
) -> ScheduleSpec:
    if not isinstance(at, time):
        msg = f"at takes a time or a datetime, not {at!r}"
        raise DeclarationError(msg)
    if at.tzinfo is not None and zone is not None:
        msg = f"{at!r} has a time zone of its own: leave tz out"
        raise DeclarationError(msg)
    zone = at.tzinfo or zone or UTC
    fold = " (the second)" if at.fold else ""
    clock = at.replace(tzinfo=None).isoformat()
    text = f"daily at {clock}{fold} in {_named(zone)}"
    return ScheduleSpec(_Daily(at, zone), text, after, repeats)


class _Cron(_Calendar):
    """A cron expression of five fields, as Debian's cron understands it; see `cronsim`.

    Raises:
        DeclarationError: It is no such expression, or never due.
    """

    def __init__(self, expression: object, zone: tzinfo) -> None:
        if not isinstance(expression, str) or len(expression.split()) != 5:
            msg = (
                "cron takes a text of five fields, minute, hour, day of month, month, day of "
                f"week, as in '0 9 * * 1-5', not {expression!r}"
            )
            raise DeclarationError(msg)
        self.expression = " ".join(expression.upper().split())
        self._zone = zone
        from cronsim import CronSimError

        try:
            found = next(self._moments(0.0), None)
        except CronSimError as error:
            msg = f"cron={expression!r} is no cron expression: {str(error).lower()}"
            raise DeclarationError(msg) from None
        if found is None:
            msg = f"cron={expression!r} is never due; name a day that a month has"
            raise DeclarationError(msg)

    def _moments(self, after: float) -> Iterator[float]:
        from cronsim import CronSim

        last = after
        try:
            for due in CronSim(self.expression, datetime.fromtimestamp(after, self._zone)):
                moment = due.timestamp()
                if moment > last:  # not the first of two times, when the second has begun
                    yield moment
                    last = moment
        except (OverflowError, ValueError, OSError):
            return  # the calendar ends


# --- time zones ---


def _zone(given: object) -> tzinfo:
    if isinstance(given, tzinfo):
        return given
    if not isinstance(given, str):
        msg = f"tz takes a tzinfo or the name of a time zone, not {given!r}"
        raise DeclarationError(msg)
    try:
        return ZoneInfo(given)
    except (LookupError, ValueError, OSError):
        msg = (
            f"tz={given!r} is no time zone that this machine knows; use a name such as "
            "'Europe/Berlin', and `pip install tzdata` where the system has no time zones"
        )
        raise DeclarationError(msg) from None


def _named(zone: tzinfo) -> str:
    return zone.key if isinstance(zone, ZoneInfo) and zone.key else str(zone)
