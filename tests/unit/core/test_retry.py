"""When a run is tried again, and after what delay."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flock.core.retry import Backoff, RetryPolicy, retry_policy


def test_without_jitter_the_delay_is_multiplied_each_time_up_to_the_maximum() -> None:
    backoff = Backoff(initial=1, factor=2, maximum=10, jitter=False)
    assert [backoff.delay(n) for n in range(1, 7)] == [1, 2, 4, 8, 10, 10]


def test_a_timedelta_is_as_good_as_seconds() -> None:
    backoff = Backoff(timedelta(milliseconds=500), 3, timedelta(seconds=2), jitter=False)
    assert [backoff.delay(n) for n in range(1, 4)] == [0.5, 1.5, 2.0]


@given(
    initial=st.floats(0, 1e6),
    factor=st.floats(1, 1e6),
    maximum=st.floats(0, 1e6),
    attempt=st.integers(1, 10_000),
)
def test_with_full_jitter_the_delay_lies_between_zero_and_the_bound(
    initial: float, factor: float, maximum: float, attempt: int
) -> None:
    bound = Backoff(initial, factor, maximum, jitter=False).delay(attempt)
    assert 0 <= bound <= maximum
    assert 0 <= Backoff(initial, factor, maximum).delay(attempt) <= bound


def test_jitter_spreads_over_the_whole_range() -> None:
    delays = [Backoff(initial=1).delay(1) for _ in range(500)]
    assert min(delays) < 0.1
    assert max(delays) > 0.9


def test_the_bounds_never_shrink_nor_overflow() -> None:
    backoff = Backoff(initial=1e-9, factor=1e300, maximum=60, jitter=False)
    bounds = [backoff.delay(n) for n in (1, 2, 5, 10**9)]
    assert bounds == sorted(bounds)
    assert bounds[-1] == 60


def test_no_delay_at_all_is_allowed() -> None:
    assert Backoff(initial=0).delay(5) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        {"initial": -1},
        {"initial": "1"},
        {"initial": float("nan")},
        {"maximum": -1},
        {"maximum": float("inf")},
        {"factor": 0.5},
        {"factor": float("nan")},
    ],
)
def test_a_senseless_backoff_is_refused(arguments: dict[str, Any]) -> None:
    backoff = Backoff(**arguments)
    with pytest.raises(ValueError, match=r"^Backoff\."):
        retry_policy(2, backoff, Exception)


# --- policies ---------------------------------------------------------------------------------


def test_a_run_is_tried_once_unless_said() -> None:
    assert not RetryPolicy().again(1, ValueError())


def test_there_are_as_many_attempts_as_said() -> None:
    policy = retry_policy(3, 0, Exception)
    assert [policy.again(n, ValueError()) for n in (1, 2, 3, 4)] == [True, True, False, False]


def is_busy(error: Exception) -> bool:
    return "busy" in str(error)


def len_of(error: Exception) -> int:
    return len(repr(error))


@pytest.mark.parametrize(
    ("on", "error", "again"),
    [
        (Exception, ValueError(), True),
        (KeyError, ValueError(), False),
        (LookupError, KeyError(), True),
        ((KeyError, OSError), TimeoutError(), True),
        ([KeyError], ValueError(), False),
        (is_busy, ValueError("busy"), True),
        (is_busy, ValueError("broken"), False),
        (len_of, ValueError(), True),
    ],
)
def test_which_errors_are_worth_it(on: Any, error: Exception, again: bool) -> None:
    assert retry_policy(2, 0, on).again(1, error) is again


def test_a_raising_predicate_is_the_callers_to_catch() -> None:
    def broken(error: Exception) -> bool:
        raise KeyError from error

    with pytest.raises(KeyError):
        retry_policy(2, 0, broken).again(1, ValueError())


@pytest.mark.parametrize(
    ("backoff", "initial"), [(2, 2), (0.5, 0.5), (timedelta(seconds=3), timedelta(seconds=3))]
)
def test_a_span_is_the_first_delay_doubled_up_to_a_minute_with_jitter(
    backoff: Any, initial: Any
) -> None:
    assert retry_policy(2, backoff, Exception).backoff == Backoff(initial, 2.0, 60.0, jitter=True)


def test_a_backoff_is_taken_as_it_is() -> None:
    own = Backoff(1, 3, jitter=False)
    assert retry_policy(2, own, Exception).backoff is own


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((0, 1, Exception), "attempts"),
        ((True, 1, Exception), "attempts"),
        ((2.0, 1, Exception), "attempts"),
        (("3", 1, Exception), "attempts"),
        ((2, -1, Exception), "backoff"),
        ((2, "1", Exception), "backoff"),
        ((2, None, Exception), "backoff"),
        ((2, True, Exception), "backoff"),
        ((2, 1, "ValueError"), "exception classes"),
        ((2, 1, ValueError()), "exception classes"),
        ((2, 1, int), "exception classes"),
        ((2, 1, (ValueError, int)), "exception classes"),
        ((2, 1, None), "exception classes"),
        ((2, 1, ()), "exception classes"),
    ],
)
def test_a_senseless_policy_is_refused(arguments: tuple[Any, Any, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        retry_policy(*arguments)
