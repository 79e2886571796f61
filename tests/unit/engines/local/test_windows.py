"""Dates and spans of time within limits, enforced by a grammar."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    BaseModel,
    Field,
    FutureDate,
    FutureDatetime,
    PastDate,
    PastDatetime,
    create_model,
)

from flock.engines.dspy.answer_schema import AnswerSchema
from flock.engines.local.grammar import constrain
from flock.engines.local.windows import dates_within
from tests.unit.engines.local.walks import takes, walk


def grammar_of(kind: Any) -> tuple[type[BaseModel], str, tuple[str, ...]]:
    model = create_model("Holder", x=(kind, ...))
    grammar = constrain(model.model_json_schema(schema_generator=AnswerSchema), 200)
    return model, grammar.text, grammar.loosened


@pytest.mark.parametrize(
    "kind",
    [
        Annotated[date, Field(ge=date(2030, 1, 1), lt=date(2030, 2, 1))],
        Annotated[date, Field(gt=date(2023, 11, 28), le=date(2026, 3, 3))],
        Annotated[date, Field(le=date(1980, 5, 5))],
        Annotated[datetime, Field(gt=datetime(2030, 1, 1))],  # noqa: DTZ001
        Annotated[
            datetime,
            Field(gt=datetime(2030, 1, 1, tzinfo=UTC), le=datetime(2030, 2, 1, tzinfo=UTC)),
        ],
        Annotated[timedelta, Field(ge=timedelta(minutes=5), le=timedelta(hours=1))],
        Annotated[timedelta, Field(gt=timedelta(seconds=1), lt=timedelta(seconds=3))],
        Annotated[timedelta, Field(ge=timedelta(days=3))],
        PastDate,
        FutureDate,
        PastDatetime,
        FutureDatetime,
    ],
    ids=repr,
)
def test_whatever_the_grammar_takes_lies_within_the_limits(kind: Any) -> None:
    model, grammar, loosened = grammar_of(kind)

    assert loosened == ()
    for seed in range(30):
        model.model_validate_json(walk(grammar, seed))


@given(st.dates(date(1990, 1, 1), date(2060, 1, 1)), st.integers(0, 3000))
def test_a_pattern_of_dates_holds_no_other_day(first: date, days: int) -> None:
    last = first + timedelta(days=days)
    said = {"format": "date", "formatMinimum": str(first), "formatMaximum": str(last)}
    pattern = dates_within(said)

    assert pattern is not None
    found = re.compile(pattern)
    for day in (first - timedelta(days=1), last + timedelta(days=1)):
        assert not found.fullmatch(str(day))
    middle = (first + timedelta(days=days // 2)).replace(day=1)
    assert first > middle or found.fullmatch(str(middle))


def test_limits_that_cannot_be_enforced_are_told() -> None:
    never = Annotated[datetime, Field(gt=datetime(2030, 1, 1), lt=datetime(2030, 1, 2))]  # noqa: DTZ001
    assert grammar_of(never)[2] == ("$.x: the limits of the format 'date-time'",)
    schema = {"type": "string", "format": "date", "formatMinimum": "soon"}
    assert constrain(schema, 100).loosened == ("$: the limits of the format 'date'",)
    assert takes(constrain(schema, 100).text, '"2030-01-01"')


def test_a_decimal_is_a_number_within_its_bounds_and_digits() -> None:
    model, grammar, loosened = grammar_of(
        Annotated[Decimal, Field(ge=0, le=100, max_digits=5, decimal_places=2)]
    )

    assert loosened == ()
    assert takes(grammar, '{"x": 99.25}')
    for text in ("100.5", "-1", '"much"', '"999"', "1.125"):
        assert not takes(grammar, f'{{"x": {text}}}')
    for seed in range(20):
        model.model_validate_json(walk(grammar, seed))
