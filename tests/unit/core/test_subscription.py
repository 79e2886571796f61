"""What gathers inputs is checked where it is declared."""

from datetime import timedelta
from typing import Any

import pytest

from flock.core.subscription import BatchSpec, JoinSpec
from flock.errors import DeclarationError
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


@pytest.mark.parametrize(
    "within", [0, -1, True, 1.5, "5", None, timedelta(0), timedelta(seconds=-1)]
)
def test_a_join_needs_a_positive_window(within: Any) -> None:
    with pytest.raises(DeclarationError, match=r"JoinSpec\.within"):
        JoinSpec(by="key", within=within)


@pytest.mark.parametrize("by", ["", None, 3, ["key"], ("a", "b")])
def test_a_join_goes_by_a_field_or_a_function(by: Any) -> None:
    with pytest.raises(DeclarationError, match=r"JoinSpec\.by"):
        JoinSpec(by=by, within=1)


@pytest.mark.parametrize("word", ["keep", "", None, True])
def test_an_expired_group_is_dropped_or_run(word: Any) -> None:
    with pytest.raises(DeclarationError, match=r"JoinSpec\.on_expired"):
        JoinSpec(by="key", within=1, on_expired=word)


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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "size or a timeout"),
        ({"size": 0}, "size"),
        ({"size": -1}, "size"),
        ({"size": True}, "size"),
        ({"size": 2.0}, "size"),
        ({"size": "2"}, "size"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": timedelta(seconds=-1)}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"timeout": float("inf")}, "timeout"),
        ({"timeout": "1"}, "timeout"),
        ({"timeout": True}, "timeout"),
        ({"size": 0, "timeout": 1}, "size"),
    ],
)
def test_a_senseless_batch_is_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        BatchSpec(**arguments)


def test_specs_are_frozen() -> None:
    spec = BatchSpec(size=1)
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
