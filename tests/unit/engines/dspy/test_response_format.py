"""In which form a schema is asked for."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from flock.engines.dspy.json_schema import rewritten
from flock.engines.dspy.response_format import Form, response_format
from tests.integration.engines.schemas import (
    EVERY,
    Bounds,
    Deep,
    Defaults,
    Discriminated,
    Mappings,
    Patterns,
)
from tests.unit.engines.dspy.test_task import task_of

STRICT_SUPPORTED = {
    *("$defs", "$ref", "additionalProperties", "anyOf", "const", "description", "enum"),
    *("exclusiveMaximum", "exclusiveMinimum", "format", "items", "maxItems", "maximum"),
    *("minItems", "minimum", "multipleOf", "pattern", "properties", "required", "type"),
}


def schema_in(form: Form, model: type[BaseModel]) -> dict[str, Any] | None:
    asked = response_format(task_of(model).schema, form)
    return None if asked is None else asked["json_schema"]["schema"]


@pytest.mark.parametrize("model", EVERY, ids=lambda model: model.__name__)
def test_strict_schemas_use_what_strict_mode_takes(model: type[BaseModel]) -> None:
    schema = schema_in(Form.STRICT, model)
    assert (schema is None) is (model in {Mappings, Deep})  # which hold mappings
    if schema is None:
        return
    Draft202012Validator.check_schema(schema)

    def look(part: dict[str, Any]) -> dict[str, Any]:
        assert set(part) <= STRICT_SUPPORTED
        if "properties" in part:
            assert part["required"] == list(part["properties"])
            assert part["additionalProperties"] is False
        if "$ref" in part:
            assert set(part) <= {"$ref", "$defs"}
        return part

    rewritten(schema, look)


def test_strict_schemas_keep_the_limits_that_they_may_have() -> None:
    bounds = schema_in(Form.STRICT, Bounds)
    assert bounds is not None
    assert bounds["$defs"]["Bounds"]["properties"]["grade"]["maximum"] == 6
    patterns = schema_in(Form.STRICT, Patterns)
    assert patterns is not None
    assert "pattern" in patterns["$defs"]["Patterns"]["properties"]["plate"]


def test_plain_schemas_have_no_limits() -> None:
    schema = schema_in(Form.PLAIN, Bounds)
    assert schema is not None
    for part in schema["$defs"]["Bounds"]["properties"].values():
        assert not {"minimum", "maximum", "exclusiveMinimum", "pattern"} & set(part)


def test_a_discriminated_union_becomes_any_of() -> None:
    schema = schema_in(Form.STRICT, Discriminated)
    assert schema is not None
    pet = schema["$defs"]["Discriminated"]["properties"]["pet"]
    assert set(pet) == {"anyOf"}


def test_fields_with_a_default_are_required_in_strict_mode() -> None:
    schema = schema_in(Form.STRICT, Defaults)
    assert schema is not None
    assert schema["$defs"]["Defaults"]["required"] == ["text", "tags", "note"]


def test_an_open_object_cannot_be_asked_for_strictly() -> None:
    assert response_format(task_of(Mappings).schema, Form.STRICT) is None
    assert response_format(task_of(Mappings).schema, Form.PLAIN) is None
    asked = response_format(task_of(Mappings).schema, Form.SCHEMA)
    assert asked is not None
    assert asked["json_schema"]["strict"] is False


def test_the_last_forms_name_no_schema() -> None:
    schema = task_of(Bounds).schema
    assert response_format(schema, Form.OBJECT) == {"type": "json_object"}
    assert response_format(schema, Form.NONE) is None


def test_strict_schemas_have_no_pattern_that_looks_around() -> None:
    text = {"type": "string", "pattern": "^(?!x)[a-z]+$"}
    properties = {"word": text, "plain": {"type": "string", "pattern": "^(?:a|b)$"}}
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    asked = response_format(schema, Form.STRICT)
    assert asked is not None
    reduced = asked["json_schema"]["schema"]["properties"]
    assert "pattern" not in reduced["word"]
    assert reduced["plain"]["pattern"] == "^(?:a|b)$"
