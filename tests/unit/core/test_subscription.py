"""What gathers inputs holds what it was given; `consumes` checks it."""

from datetime import timedelta
from typing import Any

import pytest

from flock.core.subscription import BatchSpec, JoinSpec
from tests.unit.support import A, B, subscription


@pytest.mark.parametrize(
    ("within", "window_seconds", "window_count"),
    [(timedelta(minutes=1), 60.0, None), (timedelta(microseconds=1), 1e-06, None), (5, None, 5)],
)
def test_a_join_is_within_a_span_of_time_or_a_count(
    within: timedelta | int, window_seconds: float | None, window_count: int | None
) -> None:
    spec = JoinSpec(by="key", within=within)
    assert (spec.window_seconds, spec.window_count) == (window_seconds, window_count)


def test_a_key_is_read_from_a_field_or_computed() -> None:
    model = A(n=2, key="x")
    assert JoinSpec(by="key", within=1).key_of(model) == "x"
    assert JoinSpec(by=lambda a: (a.n, a.key), within=1).key_of(model) == (2, "x")


@pytest.mark.parametrize(
    ("arguments", "timeout_seconds"),
    [
        ({"size": 1}, None),
        ({"timeout": 0.5}, 0.5),
        ({"timeout": timedelta(minutes=2)}, 120.0),
        ({"size": 3, "timeout": 1}, 1.0),
    ],
)
def test_a_batch_has_a_size_a_timeout_or_both(
    arguments: dict[str, Any], timeout_seconds: float | None
) -> None:
    assert BatchSpec(**arguments).timeout_seconds == timeout_seconds


def test_specs_are_frozen_and_hold_what_only_a_word_can_refuse_by_the_agents_name() -> None:
    assert BatchSpec() == BatchSpec(size=None, timeout=None)
    assert JoinSpec(by="", within=0).window_count == 0
    spec = BatchSpec(size=-1)
    assert spec.size == -1
    with pytest.raises(AttributeError):
        setattr(spec, "size", 2)  # noqa: B010 - a type checker refuses it


def test_a_repeated_type_asks_for_that_many() -> None:
    counts = subscription(A, B, A).counts
    assert sorted(counts.values()) == [1, 2]


def test_what_gathers_several_inputs_is_gated() -> None:
    assert not subscription(A).is_gated
    assert subscription(A, A).is_gated
    assert subscription(A, batch=BatchSpec(size=1)).is_gated
    assert subscription(A, B, join=JoinSpec(by="key", within=2)).is_gated


def test_subscriptions_that_say_the_same_are_two_subscriptions() -> None:
    one, two = subscription(A), subscription(A)
    assert len({one, two}) == 2
