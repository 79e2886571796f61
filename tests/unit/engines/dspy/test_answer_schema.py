"""What Pydantic's schema leaves open is said."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

import pytest
from pydantic import Field, FutureDate, PastDate, TypeAdapter, create_model

from flock.engines.dspy.answer_schema import AnswerSchema
from tests.unit.engines.dspy.json_schemas import satisfies


def schema_of(kind: Any) -> dict[str, Any]:
    model = create_model("Holder", x=(kind, ...))
    schema: dict[str, Any] = model.model_json_schema(schema_generator=AnswerSchema)
    return schema["properties"]["x"]


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (Decimal, ["0", "-1.50", "12345678901234567890"], ["a lot", "", "1.", ".", "1e"]),
        (Annotated[Decimal, Field(decimal_places=0)], ["12"], ["1.5"]),
        (Annotated[Decimal, Field(max_digits=4, decimal_places=2)], ["12.34"], ["123", "1.234"]),
        (Annotated[Decimal, Field(max_digits=2, decimal_places=2)], ["0.25"], ["1.5"]),
        (Annotated[Decimal, Field(max_digits=3)], ["123", "1.23"], ["1234", "12.34"]),
    ],
    ids=repr,
)
def test_a_decimal_as_text_has_the_digits_of_one(
    kind: Any, good: list[str], bad: list[str]
) -> None:
    schema = schema_of(kind)

    assert all(satisfies(schema, text) for text in good)
    assert not any(satisfies(schema, text) for text in bad)
    for text in good:
        TypeAdapter(kind).validate_json(f'"{text}"')


@pytest.mark.parametrize(
    ("key", "good", "bad"),
    [
        (int, "-12", "twelve"),
        (Annotated[int, Field(ge=0)], "12", "-12"),
        (float, "1.5", "one"),
        (Decimal, "1.5", "one"),
        (bool, "true", "perhaps"),
    ],
    ids=repr,
)
def test_keys_that_are_no_text_are_written_as_what_they_are(key: Any, good: str, bad: str) -> None:
    kind: Any = dict[key, str]
    schema = schema_of(kind)

    assert satisfies(schema, {good: "x"})
    assert not satisfies(schema, {bad: "x"})
    TypeAdapter(kind).validate_json(f'{{"{good}": "x"}}')


def test_keys_that_are_text_stay_as_they_are() -> None:
    assert "propertyNames" not in schema_of(dict[str, int])
    pattern = Annotated[str, Field(pattern="^a")]
    assert schema_of(dict[pattern, int])["patternProperties"] == {"^a": {"type": "integer"}}


def test_dates_and_spans_are_told_with_their_limits() -> None:
    day = schema_of(Annotated[date, Field(ge=date(2030, 1, 1), lt=date(2030, 2, 1))])
    assert (day["formatMinimum"], day["formatExclusiveMaximum"]) == ("2030-01-01", "2030-02-01")
    at = schema_of(Annotated[datetime, Field(gt=datetime(2030, 1, 1))])  # noqa: DTZ001
    assert at["formatExclusiveMinimum"] == "2030-01-01T00:00:00"
    assert schema_of(Annotated[timedelta, Field(le=timedelta(hours=1))])["formatMaximum"] == "PT1H"
    assert schema_of(PastDate)["formatExclusiveMaximum"] == "now"
    assert schema_of(FutureDate)["formatExclusiveMinimum"] == "now"


def test_no_pattern_has_a_look_around() -> None:
    for kind in (Decimal, Annotated[Decimal, Field(max_digits=6, decimal_places=2)]):
        assert not re.search(r"\(\?[=!<]", str(schema_of(kind)))
