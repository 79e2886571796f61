"""Spans of time are timedeltas or numbers of seconds."""

from datetime import timedelta
from typing import Any

import pytest

from flock.core.spans import seconds


@pytest.mark.parametrize(
    ("span", "value"),
    [(1, 1.0), (0.25, 0.25), (timedelta(minutes=1), 60.0), (timedelta(microseconds=1), 1e-6)],
)
def test_a_span_is_read_in_seconds(span: Any, value: float) -> None:
    found = seconds(span, "timeout")
    assert found == value
    assert type(found) is float


@pytest.mark.parametrize("span", [True, "1", None, [1], 1j])
def test_other_things_are_no_span(span: Any) -> None:
    with pytest.raises(ValueError, match="timeout takes a timedelta"):
        seconds(span, "timeout")


@pytest.mark.parametrize("span", [-1, timedelta(seconds=-1), float("nan"), float("inf"), -0.001])
@pytest.mark.parametrize("zero", [True, False])
def test_a_span_is_finite_and_not_negative(span: Any, zero: bool) -> None:
    with pytest.raises(ValueError, match="timeout must be"):
        seconds(span, "timeout", zero=zero)


@pytest.mark.parametrize("span", [0, 0.0, timedelta(0)])
def test_no_time_at_all_is_a_span_only_where_it_is_allowed(span: Any) -> None:
    assert seconds(span, "delay", zero=True) == 0
    with pytest.raises(ValueError, match="more than 0"):
        seconds(span, "delay")


def test_a_number_too_large_for_a_float_is_no_span() -> None:
    with pytest.raises(ValueError, match="timeout"):
        seconds(10**400, "timeout")
