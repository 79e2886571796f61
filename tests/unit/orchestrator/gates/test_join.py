"""A join brings together what has the same key, within a window from the first arrival."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel

from flock.core.delivery import Delivery
from flock.core.subscription import JoinSpec
from flock.orchestrator.gates.join import Join, canonical
from tests.unit.support import A, B, C, delivery, subscription

MINUTE = timedelta(minutes=1)


class Gate:
    """A join over some types that is fed by key and time."""

    def __init__(self, within: timedelta | int, *types: type[BaseModel]) -> None:
        spec = JoinSpec(by="key", within=within)
        self.subscription = subscription(*(types or (A, B)), join=spec)
        self.join = Join(self.subscription)

    def add(
        self, model: BaseModel, key: str = "k", at: float = 0.0
    ) -> tuple[Delivery, list[Delivery] | None, list[list[Delivery]]]:
        came = delivery(self.subscription, model)
        group, expired = self.join.add(came, key, at)
        completed = None if group is None else group.deliveries
        return came, completed, [over.deliveries for over in expired]


def test_the_same_key_belongs_together() -> None:
    gate = Gate(MINUTE)
    one, *_ = gate.add(A(), "x")
    two, *_ = gate.add(A(), "y")
    b, group, expired = gate.add(B(), "y")
    assert (group, expired) == ([two, b], [])
    assert list(gate.join) == [one]
    assert len(gate.join) == 1


def test_inputs_come_in_declared_order() -> None:
    gate = Gate(MINUTE, C, A, B)
    b, *_ = gate.add(B())
    a, *_ = gate.add(A())
    c, group, _ = gate.add(C())
    assert group == [c, a, b]


def test_a_repeated_type_asks_for_that_many_of_the_key() -> None:
    gate = Gate(MINUTE, A, B, A)
    first, *_ = gate.add(A(n=1))
    second, *_ = gate.add(A(n=2))
    b, group, _ = gate.add(B())
    assert group == [first, b, second]


def test_surplus_of_a_key_opens_a_group_of_its_own_and_waits() -> None:
    gate = Gate(MINUTE)
    first, *_ = gate.add(A(n=1), at=0)
    second, *_ = gate.add(A(n=2), at=1)
    b, group, _ = gate.add(B(), at=2)
    assert group == [first, b]
    assert list(gate.join) == [second]
    assert gate.add(B(), at=3)[1] is not None


def test_a_window_runs_from_the_first_arrival() -> None:
    gate = Gate(MINUTE, A, B, C)
    a, *_ = gate.add(A(), at=0)
    b, *_ = gate.add(B(), at=59)
    assert gate.join.next_due == 60
    assert gate.join.expire(59.9) == []
    (over,) = gate.join.expire(60)
    assert over.deliveries == [a, b]
    assert over.key == "k"
    assert len(gate.join) == 0
    assert gate.join.next_due is None


def test_an_arrival_at_the_very_end_of_the_window_still_counts() -> None:
    gate = Gate(MINUTE)
    a, *_ = gate.add(A(), at=0)
    b, group, expired = gate.add(B(), at=60)
    assert (group, expired) == ([a, b], [])


def test_an_arrival_after_the_window_finds_the_group_expired() -> None:
    gate = Gate(MINUTE)
    a, *_ = gate.add(A(), at=0)
    b, group, expired = gate.add(B(), at=60.001)
    assert (group, expired) == (None, [[a]])
    assert list(gate.join) == [b]
    assert gate.join.next_due == pytest.approx(120.001)


def test_groups_expire_in_the_order_they_were_opened_across_keys() -> None:
    gate = Gate(MINUTE)
    came = [gate.add(A(), key, at)[0] for at, key in enumerate("xyxz")]
    assert [over.deliveries for over in gate.join.expire(62)] == [[it] for it in came[:3]]
    assert list(gate.join) == [came[3]]


def test_a_count_window_counts_all_arrivals_of_the_subscription_from_the_first() -> None:
    gate = Gate(3)
    x, *_ = gate.add(A(), "x")
    gate.add(A(), "y")
    b, group, expired = gate.add(B(), "x")
    assert (group, expired) == ([x, b], []), "the third and last that counts"


def test_a_group_that_is_not_complete_among_so_many_expires_with_the_last_of_them() -> None:
    gate = Gate(3)
    x, _, expired = gate.add(A(), "x")
    assert expired == []
    y, _, expired = gate.add(A(), "y")
    assert expired == []
    z, _, expired = gate.add(A(), "z")
    assert expired == [[x]]
    assert list(gate.join) == [y, z]
    b, group, expired = gate.add(B(), "x")
    assert (group, expired) == (None, [[y]])
    assert list(gate.join) == [z, b]
    assert gate.join.next_due is None, "a count window ends by arrivals only"


# --- discarding -------------------------------------------------------------------------------


def test_discarding_takes_out_what_is_chosen_and_gathers_the_rest_anew() -> None:
    gate = Gate(MINUTE)
    first, *_ = gate.add(A(n=1))
    second, *_ = gate.add(A(n=2))
    other, *_ = gate.add(A(n=3), "other")
    assert gate.join.discard(lambda it: it is first) == [first]
    b, group, _ = gate.add(B())
    assert group == [second, b]
    assert list(gate.join) == [other]


def test_what_stays_keeps_the_window_from_its_own_arrival() -> None:
    gate = Gate(MINUTE)
    first, *_ = gate.add(A(n=1), at=0)
    second, *_ = gate.add(A(n=2), at=50)
    gate.join.discard(lambda it: it is first)
    assert gate.join.next_due == 110
    b, group, expired = gate.add(B(), at=70)
    assert (group, expired) == ([second, b], [])


def test_what_stays_keeps_its_count_from_its_own_arrival() -> None:
    gate = Gate(3)
    first, *_ = gate.add(A(n=1))
    second, *_ = gate.add(A(n=2))
    gate.join.discard(lambda it: it is first)
    assert gate.add(A(), "other")[2] == []
    b, group, _ = gate.add(B())
    assert group == [second, b]


def test_an_empty_join_keeps_nothing_of_what_went_through_it() -> None:
    gate = Gate(MINUTE)
    for number in range(300):
        gate.add(A(), str(number))
        gate.add(B(), str(number))
    gate.add(A(), "left")
    gate.join.expire(61)
    assert not gate.join._keys
    assert gate.join.next_due is None
    assert len(gate.join._by_age) == 0


# --- keys -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a", "a"),
        (1, 1.0),
        ([1, "a", None], [1, "a", None]),
        ({"a": 1, "b": [2]}, {"b": [2], "a": 1}),
        ([{"a": 1, "b": 2}], [{"b": 2, "a": 1}]),
        ((1, "a"), (1, "a")),
        (frozenset({1, 2}), frozenset({2, 1})),
        (Decimal("1.0"), Decimal("1.00")),
        (None, None),
    ],
)
def test_equal_keys_belong_together(one: Any, other: Any) -> None:
    assert canonical(one) == canonical(other)
    assert hash(canonical(one)) == hash(canonical(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", 1),
        ([1], ["1"]),
        ([1], "[1]"),
        ([[1], 2], [1, 2]),
        ({"a": 1}, {"a": 2}),
        ({"a": None}, {}),
        (["é"], ["e"]),
        ([None], ["null"]),
    ],
)
def test_other_keys_do_not(one: Any, other: Any) -> None:
    assert canonical(one) != canonical(other)


@pytest.mark.parametrize(
    ("one", "other"), [([1], [1.0]), ({"a": 2}, {"a": 2.0}), ((1, [2]), (1, [2]))]
)
def test_keys_that_are_equal_to_python_belong_together_also_in_a_list(one: Any, other: Any) -> None:
    assert one == other
    assert canonical(one) == canonical(other)


@pytest.mark.parametrize(
    "key", [[object()], {"a": {1}}, {1: [{2}]}, [b"x"], {1, 2}, bytearray(b"x")]
)
def test_a_key_that_is_neither_hashable_nor_json_is_refused(key: Any) -> None:
    with pytest.raises(TypeError):
        canonical(key)


@pytest.mark.parametrize("key", [[float("nan")], {"a": float("inf")}, ["\udcff"]])
def test_a_key_of_json_that_json_cannot_say_is_no_key_of_something_else(key: Any) -> None:
    """Whether it is refused or taken, it must not be the same as another key."""
    try:
        found = canonical(key)
    except (TypeError, ValueError):
        return
    assert found not in {canonical([None]), canonical({"a": None}), canonical(["?"])}
