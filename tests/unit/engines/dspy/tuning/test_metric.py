"""The metric "feedback": how far an output agrees with what people approved."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from flock import EvalInputs
from flock.engines.dspy.tuning.metric import agreement, metric_name

INPUTS = EvalInputs()


class Inner(BaseModel):
    a: int
    b: bool


class Thing(BaseModel):
    text: str = "one two"
    number: float = 1.0
    inner: Inner = Inner(a=1, b=True)
    many: list[str] = ["x", "y"]
    when: datetime = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("change", "score"),
    [
        ({}, 1.0),
        ({"text": "One  TWO"}, 1.0),
        ({"text": "one three"}, 0.9),
        ({"text": ""}, 0.8),
        ({"number": 1.5}, 0.8),
        ({"inner": {"a": 1, "b": False}}, 0.9),
        ({"many": ["x"]}, 0.9),
        ({"many": ["y", "x"]}, 0.8),
        ({"many": []}, 0.8),
        ({"when": datetime(2026, 1, 2, tzinfo=UTC)}, 0.8),
    ],
)
def test_fields_count_alike(change: dict[str, Any], score: float) -> None:
    made = Thing.model_validate(Thing().model_dump() | change)
    assert agreement(INPUTS, made, Thing()) == pytest.approx(score)


def test_lists_of_outputs_are_compared_in_order() -> None:
    one, two = Inner(a=1, b=True), Inner(a=2, b=True)
    assert agreement(INPUTS, [one, two], [one, two]) == 1.0
    assert agreement(INPUTS, [one], [one, two]) == 0.5
    assert agreement(INPUTS, [], []) == 1.0


def test_nothing_expected_is_no_agreement() -> None:
    assert agreement(INPUTS, Thing(), None) == 0.0


@given(st.builds(Thing), st.builds(Thing))
def test_it_is_symmetric_and_stays_from_0_to_1(one: Thing, other: Thing) -> None:
    score = agreement(INPUTS, one, other)
    assert 0 <= score <= 1
    assert score == pytest.approx(agreement(INPUTS, other, one))
    assert agreement(INPUTS, one, one) == 1.0


def test_metrics_have_names_for_reports() -> None:
    assert metric_name(agreement) == "feedback"
    assert metric_name(test_nothing_expected_is_no_agreement).endswith(  # pyright: ignore[reportArgumentType]
        ":test_nothing_expected_is_no_agreement"
    )
