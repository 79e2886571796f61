"""Schemas are closed and bounded within what they allow, and what is lost is said."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest

from flock.engines.local.grammar import constrain
from flock.errors import EngineError
from tests.unit.engines.local.walks import takes, walk

JSON = dict[str, Any]


def allowed(schema: JSON, *values: object, tokens: int = 1024) -> list[bool]:
    """Whether the grammar of a schema takes each of the values."""
    grammar = constrain(schema, tokens).text
    return [takes(grammar, json.dumps(value, ensure_ascii=False)) for value in values]


def test_an_object_takes_its_own_fields_only_and_the_optional_ones_may_be_left_out() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "boolean"}, "b": {"type": "null"}},
        "required": ["a"],
    }

    assert allowed(schema, {"a": True}, {"a": True, "b": None}) == [True, True]
    assert allowed(schema, {}, {"b": None}, {"a": True, "c": 1}) == [False, False, False]


def test_a_string_without_a_limit_gets_one_that_fits_the_tokens() -> None:
    schema = {"type": "string"}

    assert allowed(schema, "x" * 1000, "x" * 1001, tokens=1024) == [True, False]
    assert allowed(schema, "x" * 32, "x" * 33, tokens=30) == [True, False]


def test_a_limit_of_the_schema_is_never_widened_nor_its_least_cut_off() -> None:
    assert allowed({"type": "string", "maxLength": 3}, "abc", "abcd") == [True, False]
    assert allowed({"type": "string", "minLength": 500}, "x" * 500, tokens=8) == [True]
    array = {"type": "array", "items": {"type": "null"}, "minItems": 30}
    assert allowed(array, [None] * 30, [None] * 31, tokens=8) == [True, False]


def test_a_list_without_a_limit_gets_one() -> None:
    schema = {"type": "array", "items": {"type": "boolean"}}

    assert allowed(schema, [], [True] * 16, [True] * 17) == [True, True, False]


def test_a_tuple_has_its_places_and_no_more() -> None:
    schema = {
        "type": "array",
        "prefixItems": [{"type": "integer"}, {"type": "string"}],
        "minItems": 2,
        "maxItems": 2,
    }

    assert allowed(schema, [1, "a"], [1], ["a", 1], [1, "a", 2]) == [True, False, False, False]


def test_a_recursive_type_ends_after_some_levels() -> None:
    schema = {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                },
                "required": ["next"],
            }
        },
        "$ref": "#/$defs/node",
    }
    nested: list[JSON] = [{"next": None}]
    for _ in range(8):
        nested.append({"next": nested[-1]})

    taken = allowed(schema, *nested)

    assert taken[:3] == [True, True, True]
    assert not taken[-1]


def test_a_type_that_can_only_contain_itself_is_refused_by_name_of_the_cause() -> None:
    schema = {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {"next": {"$ref": "#/$defs/node"}},
                "required": ["next"],
            }
        },
        "$ref": "#/$defs/node",
    }

    with pytest.raises(EngineError, match="no finite value satisfies the schema"):
        constrain(schema, 100)


def test_types_may_be_mutually_recursive_deeper_than_the_limit() -> None:
    names = "abcdefgh"
    definitions: JSON = {
        one: {
            "type": "object",
            "properties": {"in": {"$ref": f"#/$defs/{other}"}},
            "required": ["in"],
        }
        for one, other in itertools.pairwise(names)
    }
    definitions["h"] = {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/a"}]}
    value: JSON | None = None
    for _ in names[:-1]:
        value = {"in": value}

    assert allowed({"$defs": definitions, "$ref": "#/$defs/a"}, value, tokens=16) == [True]


def test_a_mapping_takes_keys_of_its_kind() -> None:
    value: JSON = {"type": "integer"}
    days: JSON = {"additionalProperties": value, "propertyNames": {"format": "date"}}
    moods: JSON = {"additionalProperties": value, "propertyNames": {"enum": ["up", "down"]}}
    words: JSON = {"patternProperties": {"^[a-z]+$": value}}

    assert allowed({"type": "object"} | days, {"2024-01-31": 1}, {"x": 1}) == [True, False]
    assert allowed({"type": "object"} | moods, {}, {"down": 1}, {"x": 1}) == [True, True, False]
    assert allowed({"type": "object"} | words, {"ab": 1}, {"A": 1}) == [True, False]


def test_the_keys_of_a_mapping_end() -> None:
    schema: JSON = {"type": "object", "additionalProperties": {"type": "null"}}

    assert allowed(schema, {"k" * 40: None}, {"k" * 41: None}) == [True, False]
    schema = {"type": "object", "patternProperties": {"^a": {"type": "null"}}}
    assert allowed(schema, {"a" * 40: None}, {"a" * 99: None}) == [True, False]


def test_numbers_have_a_last_digit() -> None:
    free: JSON = {"type": "number"}
    share: JSON = {"type": "number", "minimum": 0, "maximum": 1}
    above: JSON = {"type": "number", "exclusiveMinimum": 0, "maximum": 0.0001}

    assert allowed(free, 0.5, -3, 1234.123456, 0.12345678) == [True, True, True, False]
    assert allowed(share, 0, 0.25, 1, 1.5, -0.1) == [True, True, True, False, False]
    assert [takes(constrain(above, 99).text, text) for text in ("0", "0.0001", "0.00005")] == [
        False,
        True,
        True,
    ]


def test_integers_keep_their_range_and_step() -> None:
    schema: JSON = {"type": "integer", "exclusiveMinimum": 3, "maximum": 20, "multipleOf": 4}

    assert allowed(schema, 4, 20, 3, 0, 24, 6) == [True, True, False, False, False, False]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "minimum": 2, "maximum": 1},
        {"type": "number", "exclusiveMinimum": 1, "exclusiveMaximum": 1},
        {"type": "integer", "minimum": 1, "maximum": 3, "multipleOf": 5},
        {"type": "string", "minLength": 3, "maxLength": 2},
        {"enum": []},
        {"enum": ["a"], "type": "integer"},
        {"allOf": [{"const": 1}, {"const": 2}]},
        {"type": "array", "items": {"enum": []}, "minItems": 1},
    ],
    ids=str,
)
def test_a_schema_without_values_is_refused(schema: JSON) -> None:
    with pytest.raises(EngineError, match="no finite value"):
        constrain(schema, 100)


def test_a_union_leaves_out_what_cannot_be_and_keeps_the_rest() -> None:
    schema = {"anyOf": [{"type": "integer", "minimum": 2, "maximum": 1}, {"type": "null"}]}

    assert allowed(schema, None, 1) == [True, False]


def test_a_reference_may_have_keywords_beside_it() -> None:
    schema = {"$ref": "#/$defs/w", "maxLength": 2, "$defs": {"w": {"type": "string"}}}

    assert allowed(schema, "ab", "abc") == [True, False]


def test_a_listed_one_is_not_true() -> None:
    assert allowed({"allOf": [{"enum": [1, "a"]}, {"enum": [True, "a"]}]}, "a", 1) == [True, False]


@pytest.mark.parametrize(
    ("schema", "note"),
    [
        ({"type": "string", "pattern": "^(?!a)b"}, "$: the pattern '^(?!a)b'"),
        ({"type": "string", "format": "tarot-card"}, "$: the format 'tarot-card'"),
        ({"type": "array", "items": {"type": "null"}, "uniqueItems": True}, "$: uniqueItems"),
        ({"type": "string", "not": {"const": "x"}}, "$: not"),
        (
            {"oneOf": [{"type": "string"}, {"type": "string", "maxLength": 3}]},
            "$: oneOf as anyOf",
        ),
        ({"enum": [1, 2], "minimum": 2}, "$: minimum beside listed values"),
        ({"$ref": "https://example.com/schema"}, "https://example.com/schema: $ref"),
        (
            {"type": "object", "properties": {"x": {"type": "string", "format": "zodiac"}}},
            "$.x: the format 'zodiac'",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_enforced_is_loosened_and_said_with_its_place(
    schema: JSON, note: str
) -> None:
    assert constrain(schema, 200).loosened == (note,)


def test_a_schema_that_is_enforced_whole_says_nothing() -> None:
    schema: JSON = {
        "type": "object",
        "properties": {
            "pet": {
                "discriminator": {"propertyName": "kind"},
                "oneOf": [
                    {"type": "object", "properties": {"kind": {"const": "cat"}}},
                    {"type": "object", "properties": {"kind": {"const": "dog"}}},
                ],
            },
            "either": {"oneOf": [{"type": "string"}, {"type": "null"}]},
            "when": {"type": "string", "format": "date-time"},
        },
        "additionalProperties": False,
    }

    assert constrain(schema, 200).loosened == ()


def test_a_decimal_is_written_as_a_number_with_its_places() -> None:
    text = r"^(?!^[-+.]*$)[+-]?0*(?:\d{0,3}|(?=[\d.]{1,6}0*$)\d{0,3}\.\d{0,2}0*$)"
    schema: JSON = {"anyOf": [{"type": "number"}, {"type": "string", "pattern": text}]}

    assert allowed(schema, 12.25, 999, 1000, 0.125, "1.5") == [True, True, False, False, False]
    assert constrain(schema, 100).loosened == ()


def test_the_same_schema_is_compiled_once() -> None:
    schema: JSON = {"type": "object", "properties": {"once": {"type": "string"}}}

    assert constrain(schema, 100) is constrain(dict(schema), 100)


def test_a_regular_expression_compiles_whatever_is_drawn() -> None:
    grammar = constrain({"type": "string", "format": "regex"}, 200)

    assert grammar.loosened == ()
    for seed in range(50):
        re.compile(json.loads(walk(grammar.text, seed)))
    assert allowed({"type": "string", "format": "regex"}, r"\d+ [a-z]*", "(", "*") == [
        True,
        False,
        False,
    ]


def test_the_content_of_a_text_is_left_to_validation_and_said() -> None:
    schema: JSON = {"type": "string", "contentSchema": {"type": "array"}}
    assert constrain(schema, 100).loosened == ("$: contentSchema",)
