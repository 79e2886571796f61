"""A sliding window lets through what it may, and never more."""

import math
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from flock.core.rates import RateLimit, Starts

LIMITS = st.lists(
    st.builds(RateLimit, st.integers(1, 4), st.sampled_from([0.1, 0.3, 1.0, 1.7, 5.0, 60.0])),
    min_size=1,
    max_size=3,
)
ATTEMPTS = st.lists(st.floats(0, 3, allow_subnormal=False) | st.sampled_from([0.0, 0.1, 1.0]))


def fits(times: list[float], limits: list[RateLimit]) -> bool:
    """Whether no window of any limit holds more than it may, looked at one by one."""
    for limit in limits:
        for begin in times:
            inside = [t for t in times if begin <= t < begin + limit.span]
            if len(inside) > limit.count:
                return False
    return True


@given(LIMITS, ATTEMPTS)
def test_something_begins_exactly_if_every_window_allows_it(
    limits: list[RateLimit], gaps: list[float]
) -> None:
    starts, begun, now = Starts(limits), list[float](), 1.7e9
    for gap in gaps:
        now += gap
        is_open = starts.opens_at(now) <= now
        assert is_open == fits([*begun, now], limits)
        if is_open:
            starts.begin(now)
            begun.append(now)


@given(LIMITS, ATTEMPTS)
def test_it_says_when_the_next_one_may_begin(limits: list[RateLimit], gaps: list[float]) -> None:
    starts, begun, now = Starts(limits), list[float](), 1.7e9
    for gap in gaps:
        opens = starts.opens_at(now)
        if opens > now:
            just_before = math.nextafter(opens, 0)
            assert not fits([*begun, just_before], limits), "not a moment later than it must"
            now = opens
        assert starts.opens_at(now) <= now
        starts.begin(now)
        begun.append(now)
        now += gap
    assert fits(begun, limits)


@given(
    LIMITS, st.lists(st.tuples(st.sampled_from(["reserve", "begin", "release"]), st.floats(0, 2)))
)
def test_what_is_reserved_holds_its_place_whenever_it_begins(
    limits: list[RateLimit], steps: list[tuple[str, float]]
) -> None:
    starts, begun, now = Starts(limits), list[float](), 1.7e9
    for what, gap in steps:
        now += gap
        if what == "reserve" and starts.opens_at(now) <= now:
            starts.reserved += 1
        elif what != "reserve" and starts.reserved:
            starts.reserved -= 1
            if what == "begin":
                starts.begin(now)
                begun.append(now)
    assert fits(begun, limits)


@given(LIMITS, ATTEMPTS)
def test_it_remembers_no_more_than_counts(limits: list[RateLimit], gaps: list[float]) -> None:
    starts, now, begun, forgotten = Starts(limits), 1.7e9, 0, 0
    for gap in gaps:
        now = max(now + gap, starts.opens_at(now + gap))
        forgotten += starts.begin(now)
        begun += 1
        assert len(starts.times) == begun - forgotten
        assert len(starts.times) <= max(limit.count for limit in limits)
    longest = max(limit.span for limit in limits)
    assert starts.is_idle(now + longest)
    assert not begun or not starts.is_idle(now)


@given(LIMITS, st.lists(st.tuples(st.floats(0, 3), st.sampled_from([0.0, 0.0, 0.5, 3600.0]))))
def test_a_clock_that_is_set_back_lets_no_more_through_and_blocks_nobody_for_longer(
    limits: list[RateLimit], steps: list[tuple[float, float]]
) -> None:
    starts, begun, real, behind = Starts(limits), list[Fraction](), 1.7e9, 0.0
    longest = max(limit.span for limit in limits)
    for gap, back in steps:
        real, behind = real + gap, behind + back
        now = real - behind
        opens = starts.opens_at(now)
        assert opens <= now + longest + 1e-5
        if opens <= now:
            starts.begin(now)
            begun.append(Fraction(real))
    for limit in limits:
        span = Fraction(limit.span) - Fraction(1, 10**5)  # what rounding may have made of it
        for first, last in zip(begun, begun[limit.count :], strict=False):
            assert last - first >= span
