"""When schedules are due: against slow references that look at every minute."""

# ruff: noqa: DTZ001 - what a naive time means is tested, too

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, time, timedelta, timezone, tzinfo
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flock.core.schedule import MOST_COUNTED, ScheduleSpec, schedule_spec
from flock.errors import DeclarationError

ZONES: list[tzinfo] = [
    UTC,
    timezone(timedelta(hours=5, minutes=30)),
    ZoneInfo("Europe/Berlin"),
    ZoneInfo("America/New_York"),
    ZoneInfo("Australia/Lord_Howe"),  # half an hour of summer time
    ZoneInfo("America/Sao_Paulo"),  # changed at midnight, until 2019
    ZoneInfo("Africa/Casablanca"),
    ZoneInfo("Pacific/Apia"),  # left out a day in 2011
]
BERLIN = ZoneInfo("Europe/Berlin")
MINUTE = 60.0
DAY = 86_400.0
WINDOW = int(3 * DAY / MINUTE)

zones = st.sampled_from(ZONES)
moments = st.one_of(
    st.integers(0, 2_000_000_000).map(float),
    # around changes of the clocks
    st.sampled_from(
        [
            datetime(2026, 3, 28, 22, tzinfo=UTC),
            datetime(2026, 10, 24, 22, tzinfo=UTC),
            datetime(2011, 12, 29, 12, tzinfo=UTC),
            datetime(2018, 11, 3, 12, tzinfo=UTC),
            datetime(2026, 4, 4, 10, tzinfo=UTC),
        ]
    ).flatmap(lambda at: st.integers(-86_400, 86_400).map(lambda s: at.timestamp() + s)),
)


def spec(**options: Any) -> ScheduleSpec:
    given = dict.fromkeys(("every", "at", "cron", "after", "max_repeats", "tz"))
    return schedule_spec(**{**given, **options})


def due_after(found: ScheduleSpec, moment: float, until: float) -> list[float]:
    due: list[float] = []
    while (following := found.rule.following(moment, moment)) is not None and following <= until:
        due.append(following)
        moment = following
    return due


def minutes(start: float, zone: tzinfo) -> Iterator[tuple[float, datetime]]:
    """Yield each full minute after a moment, and what a clock on the wall shows then."""
    first = (start // MINUTE + 1) * MINUTE
    for n in range(WINDOW):
        moment = first + n * MINUTE
        yield moment, datetime.fromtimestamp(moment, zone).replace(tzinfo=None, fold=0)


def on_the_wall(start: float, zone: tzinfo, wanted: Callable[[datetime], bool]) -> list[float]:
    return [moment for moment, wall in minutes(start, zone) if wanted(wall)]


def gaps(start: float, zone: tzinfo) -> Iterator[tuple[float, datetime, datetime]]:
    """Yield when the clocks are put forward, from what to what."""
    for (before, wall), (moment, after) in pairwise(minutes(start, zone)):
        if after - wall > timedelta(minutes=1):
            yield moment, wall + timedelta(seconds=moment - before), after


def first_of_each_day(found: list[float], zone: tzinfo) -> list[float]:
    days: dict[object, float] = {}
    for moment in found:
        days.setdefault(datetime.fromtimestamp(moment, zone).date(), moment)
    return list(days.values())


@given(moment=moments, zone=zones, hour=st.integers(0, 23), minute=st.integers(0, 59))
@example(datetime(2026, 3, 28, 12, tzinfo=UTC).timestamp(), BERLIN, 2, 30)
@example(datetime(2026, 10, 24, 12, tzinfo=UTC).timestamp(), BERLIN, 2, 30)
def test_daily_is_due_when_the_wall_clock_first_shows_the_time(
    moment: float, zone: tzinfo, hour: int, minute: int
) -> None:
    start, end = moment - DAY, moment + DAY
    shown = on_the_wall(start - DAY, zone, lambda wall: (wall.hour, wall.minute) == (hour, minute))
    expected = set(first_of_each_day(shown, zone))
    for at, was, becomes in gaps(start - DAY, zone):
        for day in (was.date(), becomes.date()):
            skipped = datetime.combine(day, time(hour, minute))
            if was <= skipped < becomes:
                expected.add(at + (skipped - was).total_seconds())
    found = due_after(spec(at=time(hour, minute), tz=zone), moment, end)
    assert found == sorted(each for each in expected if moment < each <= end)


# cronsim goes from hour to hour: where clocks are put back by half an hour, as on Lord Howe
# Island, it leaves out the half hour after that, once a year.
@given(
    moment=moments,
    zone=st.sampled_from([zone for zone in ZONES if "Lord_Howe" not in str(zone)]),
    step=st.sampled_from([1, 5, 7, 15, 20]),
    hours=st.sampled_from([None, (3, 3), (1, 4), (20, 23)]),
)
def test_cron_with_a_star_follows_the_wall_clock(
    moment: float, zone: tzinfo, step: int, hours: tuple[int, int] | None
) -> None:
    def wanted(wall: datetime) -> bool:
        is_hour = hours is None or hours[0] <= wall.hour <= hours[1]
        return wall.minute % step == 0 and is_hour

    end = moment + DAY
    field = "*" if hours is None else f"{hours[0]}-{hours[1]}"
    found = due_after(spec(cron=f"*/{step} {field} * * *", tz=zone), moment, end)
    expected = on_the_wall(moment, zone, wanted)
    assert found == [each for each in expected if each <= end]


@given(moment=moments, zone=zones, hour=st.integers(0, 23), minute=st.integers(0, 59))
def test_cron_at_one_time_of_day_is_due_once_a_day_also_when_the_clocks_change(
    moment: float, zone: tzinfo, hour: int, minute: int
) -> None:
    start, end = moment - DAY, moment + DAY
    shown = on_the_wall(start - DAY, zone, lambda wall: (wall.hour, wall.minute) == (hour, minute))
    expected = set(first_of_each_day(shown, zone))
    for at, was, becomes in gaps(start - DAY, zone):
        for day in (was.date(), becomes.date()):
            if was <= datetime.combine(day, time(hour, minute)) < becomes:
                expected.add(at)  # as soon as there is a time again
    found = due_after(spec(cron=f"{minute} {hour} * * *", tz=zone), moment, end)
    assert found == sorted(each for each in expected if moment < each <= end)


@given(
    first=st.floats(0, 2e9),
    every=st.floats(0.001, 1e6),
    count=st.integers(0, 10_000_000),
    part=st.floats(0, 0.99),
)
def test_an_interval_keeps_the_beat_of_its_first_moment(
    first: float, every: float, count: int, part: float
) -> None:
    rule = spec(every=every).rule
    now = first + (count + part) * every
    due, number = rule.latest(first, first, now)
    following = rule.following(now, first)
    assert following is not None
    assert due <= now < following
    assert due == first + (number - 1) * every
    assert abs(number - 1 - count) <= 1  # by rounding
    assert following - due == pytest.approx(every, rel=1e-3, abs=2e-6)


@given(
    moment=moments,
    zone=zones,
    cron=st.sampled_from(["*/5 * * * *", "30 2 * * *", "0 */6 * * *", "15 9 * * 1-5"]),
    days=st.floats(0.1, 9),
)
def test_what_was_missed_is_counted_as_if_it_were_walked_through(
    moment: float, zone: tzinfo, cron: str, days: float
) -> None:
    found = spec(cron=cron, tz=zone)
    due = found.rule.first(moment, None)
    assert due is not None
    now = due + days * DAY
    walked = [due, *due_after(found, due, now)]
    assert found.rule.latest(due, due, now) == (walked[-1], len(walked))


def test_more_than_can_be_counted_ends() -> None:
    found = spec(cron="* * * * *")
    due, count = found.rule.latest(0.0, 0.0, 1e10)
    assert count == MOST_COUNTED
    assert due == (MOST_COUNTED - 1) * MINUTE


@pytest.mark.parametrize(
    ("at", "zone", "first"),
    [
        (time(9), None, "2026-03-28T09:00:00+00:00"),
        (time(9), "Europe/Berlin", "2026-03-28T08:00:00+00:00"),
        (time(9, tzinfo=BERLIN), None, "2026-03-28T08:00:00+00:00"),
        (time(6), None, "2026-03-29T06:00:00+00:00"),
        (datetime(2026, 3, 29), None, "2026-03-29T00:00:00+00:00"),
        (datetime(2026, 3, 29, tzinfo=BERLIN), None, "2026-03-28T23:00:00+00:00"),
        (datetime(2026, 3, 29), BERLIN, "2026-03-28T23:00:00+00:00"),
        (datetime(1999, 1, 1), None, "1999-01-01T00:00:00+00:00"),
    ],
)
def test_a_time_is_in_its_own_zone_or_in_tz_or_in_utc(at: object, zone: object, first: str) -> None:
    now = datetime(2026, 3, 28, 6, tzinfo=UTC).timestamp()
    found = spec(at=at, tz=zone).rule.first(now, None)
    assert found is not None
    assert datetime.fromtimestamp(found, UTC).isoformat() == first


def test_the_second_of_two_times_is_meant_by_fold() -> None:
    now = datetime(2026, 10, 24, 12, tzinfo=UTC).timestamp()
    first, second = (
        spec(at=time(2, 30, fold=fold), tz=BERLIN).rule.first(now, None) for fold in (0, 1)
    )
    assert first is not None
    assert second == first + 3600


def test_the_last_moment_of_the_calendar_is_the_end() -> None:
    late = datetime(9999, 12, 31, 12, tzinfo=UTC).timestamp()
    for found in (spec(at=time(9)), spec(cron="0 9 * * *")):
        assert found.rule.following(late, late) is None


def test_after_moves_the_first_moment() -> None:
    assert spec(every=10).rule.first(100.0, None) == 110.0
    assert spec(every=10, after=3).rule.first(100.0, 3.0) == 103.0
    assert spec(cron="* * * * *").rule.first(0.0, 90.0) == 120.0


def test_a_clock_that_is_set_back_far_lets_times_come_again() -> None:
    daily = spec(at=time(9)).rule
    nine = datetime(2026, 1, 5, 9, tzinfo=UTC).timestamp()
    tomorrow = nine + DAY
    assert daily.set_back(tomorrow, nine, nine, nine - 600) == (nine, tomorrow)
    assert daily.set_back(tomorrow, nine, nine, nine - 5 * 3600) == (nine, nine)
    assert daily.set_back(tomorrow, nine, None, nine - 600) == (nine, nine)
    hourly = spec(every=3600).rule
    assert hourly.set_back(7200.0, 0.0, 3600.0, 3590.0) == (0.0, 7200.0)
    assert hourly.set_back(7200.0, 0.0, 3600.0, 1800.0) == (5400.0, 5400.0)
    once = spec(at=datetime(2026, 1, 5)).rule
    assert once.set_back(9.0, 9.0, None, 0.0) == (9.0, 9.0)


def test_the_text_of_a_schedule_says_what_it_is() -> None:
    assert spec(every=timedelta(minutes=5), after=3, max_repeats=2).text == "every 300.0 s"
    assert spec(at=time(9), tz="Europe/Berlin").text == "daily at 09:00:00 in Europe/Berlin"
    assert spec(cron=" 0 9  * * mon-fri ").text == "cron 0 9 * * MON-FRI in UTC"
    assert spec(at=datetime(2026, 1, 5)).text == "at 2026-01-05T00:00:00+00:00"


def test_only_what_has_an_end_has_one() -> None:
    assert spec(every=5).is_endless
    assert not spec(every=5, max_repeats=3).is_endless
    assert not spec(at=datetime(2026, 1, 5)).is_endless


@pytest.mark.parametrize(
    "cron", ["@daily", "* * * * * *", "0 9 * * FUN", "5-1 * * * *", "x * * * *"]
)
def test_what_is_no_cron_expression_is_refused(cron: str) -> None:
    with pytest.raises(DeclarationError, match="cron"):
        spec(cron=cron)
