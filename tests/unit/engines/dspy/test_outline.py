"""Outlines of schemas."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, Field

from flock.engines.dspy.outline import outline
from tests.integration.engines.schemas import EVERY, Enums, Tree
from tests.unit.engines.dspy.test_task import task_of


class Grade(BaseModel):
    """A grade."""

    value: int = Field(ge=1, le=6, description="1 is\nbest")
    word: str | None = None
    tags: list[str] = Field(max_length=3)
    by_name: dict[str, float]


def test_an_outline_says_kinds_limits_and_descriptions() -> None:
    assert outline(task_of(Grade).schema) == (
        "{\n"
        '  "grade": Grade {\n'
        '    "value": integer (at least 1, at most 6)  // 1 is best\n'
        '    "word": string | null  // may be left out\n'
        '    "tags": [string, ...] (at most 3 of them)\n'
        '    "by_name": {"key": number, ...}\n'
        "  }\n"
        "}"
    )


def test_a_recursive_type_is_spelled_out_once() -> None:
    text = outline(task_of(Tree).schema)
    assert text.count('"label"') == 1
    assert '"children": [Tree, ...]' in text


def test_values_of_enums_are_listed() -> None:
    text = outline(task_of(Enums).schema)
    assert '"color": "red" | "green"' in text
    assert '"literal": "a" | "b" | 3' in text


@pytest.mark.parametrize("model", EVERY, ids=lambda model: model.__name__)
def test_every_type_has_an_outline_with_all_its_fields(model: type[BaseModel]) -> None:
    task = task_of(model)
    text = outline(task.schema)
    for definition in task.schema.get("$defs", {}).values():
        for name in definition.get("properties", {}):
            assert f'"{name}"' in text
