"""Two values are the same, or it is said where they differ."""

import enum
import math
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel, Field, PrivateAttr

from flock.core.survival import difference


class Inner(BaseModel):
    n: Any = 1
    _hidden: int = PrivateAttr(default=0)


class Outer(BaseModel):
    inner: Inner = Inner()
    several: Any = ()
    left_out: int = Field(default=0, exclude=True)


@dataclass
class Point:
    x: Any
    y: Any = 0


class Marker:
    """Knows only its identity."""


class Fickle:
    def __eq__(self, other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return 0


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (1, 1),
        (1, 1.0),
        (math.nan, math.nan),
        ([math.nan], [math.nan]),
        ({"a": [math.nan]}, {"a": [math.nan]}),
        (Inner(n=[1]), Inner(n=[1])),
        (Outer(left_out=1), Outer(left_out=2)),
        (Point(1, math.nan), Point(1, math.nan)),
        (Marker(), Marker()),
        ([Marker()], [Marker()]),
        ((1, [2]), (1, [2])),
        (b"x", b"x"),
        (frozenset({1}), frozenset({1})),
    ],
)
def test_the_same(before: object, after: object) -> None:
    assert difference(before, after) is None


def test_private_attributes_stay_behind() -> None:
    before = Inner()
    before._hidden = 5
    assert difference(before, Inner()) is None


@pytest.mark.parametrize(
    ("before", "after", "where"),
    [
        (1, 2, "its content is 1"),
        ([1], (1,), "[1]"),
        ({1}, [1], "{1}"),
        ({1}, frozenset({1}), "{1}"),
        ({"a": 1}, {"b": 1}, "{'a': 1}"),
        ({"a": 1}, {"a": 1, "b": 2}, "would come back as"),
        ("a", b"a", "'a'"),
        (1.5, math.nan, "1.5"),
        (Inner(n=1), Inner(n=2), "field 'n' is 1"),
        (Outer(inner=Inner(n=1)), Outer(inner=Inner(n=2)), "field 'inner'.n is 1"),
        (Outer(several=[1, 2]), Outer(several=[1, 3]), "field 'several'.1 is 2"),
        (Outer(several={"k": 1}), Outer(several={"k": 2}), "field 'several'.'k' is 1"),
        (Point(1), Point(2), "field 'x' is 1"),
        (Point([Point(1)]), Point([Point(2)]), "field 'x'.0.x is 1"),
        ([1], [1, 2], "[1]"),
        (Inner(), Outer(), "Inner"),
        (Marker(), Fickle(), "Marker"),
        (Fickle(), Fickle(), "Fickle"),
    ],
)
def test_a_difference_is_found_and_placed(before: object, after: object, where: str) -> None:
    found = difference(before, after)
    assert found is not None
    assert where in found


@pytest.mark.parametrize(
    ("before", "after"), [(True, 1), (1, True), ([True], [1]), ({"a": False}, {"a": 0})]
)
def test_a_truth_value_is_no_number(before: object, after: object) -> None:
    assert difference(before, after) is not None


class Level(enum.IntEnum):
    LOW = 1


class Colour(enum.StrEnum):
    RED = "red"


@pytest.mark.parametrize(("before", "after"), [(Level.LOW, 1), (Colour.RED, "red")])
def test_an_enum_is_not_its_value(before: object, after: object) -> None:
    assert difference(before, after) is not None


def test_extra_fields_count() -> None:
    class Open(BaseModel, extra="allow"):
        pass

    one, two = Open.model_validate({"a": 1}), Open.model_validate({"a": 2})
    assert difference(one, one) is None
    assert difference(one, two) == "field 'a' is 1 and would come back as 2"
    assert difference(one, Open()) == "field 'a' is 1 and would come back as None"


def test_long_values_are_shortened() -> None:
    found = difference("x" * 500, "y" * 500)
    assert found is not None
    assert len(found) < 250
