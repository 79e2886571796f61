"""Sources of dates, times, durations and UUIDs: fixed ones, never the clock's."""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from typing import Any, Final
from uuid import UUID

from flock.engines.dspy.sample.source import Computed, Mapped, Source, Span

_DAY: Final = date(2024, 1, 1)
_PAST: Final = date(2024, 12, 31)
"""The latest day that surely is past."""
_FUTURE: Final = date(2100, 1, 1)
"""The earliest day that counts as future: long after this is read."""
_ZERO: Final = datetime(1, 1, 1)  # noqa: DTZ001 - a point to count from, the zone comes later
_TICK: Final = timedelta(microseconds=1)
_HOUR: Final = timedelta(hours=1) // _TICK
_MINUTE: Final = timedelta(minutes=1) // _TICK
_STEPS: Final = (24 * _HOUR, _HOUR, _MINUTE, _MINUTE // 60, 1)
_ENOUGH: Final = 100


def dates(schema: Mapping[str, Any]) -> Source:
    """Return days, from the lower bound or the first of 2024 on."""
    low, high = _edges(schema, date.min.toordinal(), date.max.toordinal(), date.toordinal)
    low, high = _now(schema, low, high, _PAST.toordinal(), _FUTURE.toordinal())
    return Mapped(Span(low, high, _start(schema, low, _DAY.toordinal(), 1)), date.fromordinal)


def datetimes(schema: Mapping[str, Any]) -> Source:
    """Return noons, a day apart; with a zone unless the schema or its bounds are naive."""
    zone = _zone(schema)
    free = "tz_constraint" not in schema and not _bounds(schema)

    def ticks(value: datetime) -> int:
        moved = value.astimezone(zone) if zone and value.tzinfo else value
        return (moved.replace(tzinfo=None) - _ZERO) // _TICK

    def noon(day: date) -> int:
        return (day.toordinal() - 1) * 24 * _HOUR + 12 * _HOUR

    # Not the calendar's very ends: another zone's clock would leave the calendar there.
    low, high = _edges(schema, 48 * _HOUR, noon(date(9999, 12, 29)), ticks)
    low, high = _now(schema, low, high, noon(_PAST), noon(_FUTURE))
    step = _step(low, high)
    span = Span(low, high, _start(schema, low, noon(_DAY), step), step=step)

    def moment(n: int, attempt: int) -> datetime:
        # A validator that compares with a naive moment gets one on odd attempts.
        naive = free and attempt % 2
        return (_ZERO + span.pick(n, attempt) * _TICK).replace(tzinfo=None if naive else zone)

    return Computed(moment, span.count)


def times(schema: Mapping[str, Any]) -> Source:
    """Return times of the day from noon on; with a zone only if the schema asks for it."""
    zone = _zone(schema) if "tz_constraint" in schema or _bounds(schema) else None

    def ticks(value: time) -> int:
        return (datetime.combine(date.min, value.replace(tzinfo=None)) - _ZERO) // _TICK

    low, high = _edges(schema, 0, 24 * _HOUR - 1, ticks)
    step = min(_MINUTE, _step(low, high))
    span = Span(low, high, _start(schema, low, 12 * _HOUR, step), step=step)
    return Mapped(span, lambda k: (_ZERO + k * _TICK).time().replace(tzinfo=zone))


def durations(schema: Mapping[str, Any]) -> Source:
    """Return durations from the lower bound or an hour on, a minute longer each."""
    most = timedelta(days=99_999_999) // _TICK
    low, high = _edges(schema, -most, most, lambda value: value // _TICK)
    step = min(_MINUTE, _step(low, high))
    span = Span(low, high, _start(schema, low, _HOUR, step), step=step)
    return Mapped(span, lambda k: k * _TICK)


def uuids(schema: Mapping[str, Any]) -> Source:
    """Return readable UUIDs of the version that the schema asks for, or of version 4."""
    version: int = schema.get("version") or 4
    fixed = (version << 76) | (0b10 << 62)
    numbers = 1 << 48
    return Computed(lambda n, a: UUID(int=fixed | (n + a + 1) % numbers), numbers)


def _bounds(schema: Mapping[str, Any]) -> list[Any]:
    return [schema[key] for key in ("ge", "gt", "le", "lt") if schema.get(key) is not None]


def _edges(
    schema: Mapping[str, Any], low: int, high: int, ticks: Callable[[Any], int]
) -> tuple[int, int]:
    """Return the schema's bounds in ticks, within those of the type."""
    if schema.get("ge") is not None:
        low = max(low, ticks(schema["ge"]))
    if schema.get("gt") is not None:
        low = max(low, ticks(schema["gt"]) + 1)
    if schema.get("le") is not None:
        high = min(high, ticks(schema["le"]))
    if schema.get("lt") is not None:
        high = min(high, ticks(schema["lt"]) - 1)
    return low, high


def _now(schema: Mapping[str, Any], low: int, high: int, past: int, future: int) -> tuple[int, int]:
    """Narrow the bounds to what is past or future, or to their end if that leaves nothing."""
    match schema.get("now_op"):
        case "past":
            return low, min(high, max(past, low))
        case "future":
            return max(low, min(future, high)), high
        case _:
            return low, high


def _start(schema: Mapping[str, Any], low: int, usual: int, step: int) -> int:
    """Return where to begin: at the lower bound, or a step after it if that is excluded."""
    if schema.get("gt") is not None:
        return low - 1 + step
    return low if schema.get("ge") is not None else usual


def _step(low: int, high: int) -> int:
    """Return the longest step of which enough fit between the bounds."""
    return next((step for step in _STEPS if (high - low) // step >= _ENOUGH), 1)


def _zone(schema: Mapping[str, Any]) -> tzinfo | None:
    constraint = schema.get("tz_constraint")
    if constraint == "naive":
        return None
    if isinstance(constraint, int):
        return timezone(timedelta(seconds=constraint))
    bounds = _bounds(schema)
    zone: tzinfo | None = bounds[0].tzinfo if bounds else UTC
    return zone or (UTC if constraint == "aware" else None)
