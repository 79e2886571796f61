"""The JSON Schema that a model is asked with: Pydantic's, and what Pydantic leaves unsaid."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import to_jsonable_python

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import core_schema

_LIMITS: Final = {
    "ge": "formatMinimum",
    "gt": "formatExclusiveMinimum",
    "le": "formatMaximum",
    "lt": "formatExclusiveMaximum",
}
"""Bounds of dates and times, in the words of https://ajv.js.org/packages/ajv-formats.html."""

_NOW: Final = {"past": "formatExclusiveMaximum", "future": "formatExclusiveMinimum"}

_WHOLE: Final = r"-?(?:0|[1-9]\d{0,8})"
_KEYS: Final = {
    "integer": f"^{_WHOLE}$",
    "number": rf"^{_WHOLE}(?:\.\d{{1,6}})?$",
    "boolean": "^(?:true|false)$",
}
"""How keys of a mapping that are no strings are written: keys of JSON are always strings."""


class AnswerSchema(GenerateJsonSchema):
    """Says of decimals, of keys, and of dates within limits, what Pydantic's schema leaves open.

    Without it a decimal is a number or any text, the keys of `dict[int, str]` are any text, and
    dates have no limits: a model that keeps the schema to the letter still gives no valid answer.
    """

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> JsonSchemaValue:
        """Return the schema of a decimal: a number, or the digits of one as text."""
        made = super().decimal_schema(schema)
        text = {"type": "string", "pattern": decimal_pattern(schema)}
        options: list[Any] = made.get("anyOf", [made])
        numbers = [option for option in options if option.get("type") != "string"]
        return {"anyOf": [*numbers, text]}

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        """Return the schema of a mapping, with how its keys are written."""
        made = super().dict_schema(schema)
        if "keys_schema" in schema and not {"propertyNames", "patternProperties"} & made.keys():
            keys = self.generate_inner(schema["keys_schema"])
            if "anyOf" in keys and keys["anyOf"][0].get("type") == "number":  # a decimal
                keys = keys["anyOf"][0]
            pattern = _KEYS.get(keys.get("type", ""))
            if pattern is not None and not {"const", "enum"} & keys.keys():
                if keys.get("minimum", keys.get("exclusiveMinimum", -1)) >= 0:
                    pattern = pattern.replace("-?", "")
                made["propertyNames"] = {"pattern": pattern}
        return made

    def date_schema(self, schema: core_schema.DateSchema) -> JsonSchemaValue:
        """Return the schema of a date, with its limits."""
        return super().date_schema(schema) | _limits(schema)

    def datetime_schema(self, schema: core_schema.DatetimeSchema) -> JsonSchemaValue:
        """Return the schema of a date with its time, with its limits."""
        return super().datetime_schema(schema) | _limits(schema)

    def time_schema(self, schema: core_schema.TimeSchema) -> JsonSchemaValue:
        """Return the schema of a time of day, with its limits."""
        return super().time_schema(schema) | _limits(schema)

    def timedelta_schema(self, schema: core_schema.TimedeltaSchema) -> JsonSchemaValue:
        """Return the schema of a span of time, with its limits."""
        return super().timedelta_schema(schema) | _limits(schema)


def decimal_pattern(schema: core_schema.DecimalSchema) -> str:
    """Return what a decimal looks like as text: within its digits, and without look-arounds.

    Where only the number of digits is bounded, those with a fraction have at most two of it.
    """
    digits, places = schema.get("max_digits"), schema.get("decimal_places")
    if digits is None:
        fraction = rf"\d{{1,{places}}}" if places else r"\d+"
        return r"^-?\d+$" if places == 0 else rf"^-?\d+(?:\.{fraction})?$"
    if places is None:
        places = min(2, digits - 1)
        if places:
            return rf"^-?(?:\d{{1,{digits - places}}}\.\d{{1,{places}}}|\d{{1,{digits}}})$"
    whole = rf"\d{{1,{digits - places}}}" if digits > places else "0"
    return rf"^-?{whole}(?:\.\d{{1,{places}}})?$" if places else f"^-?{whole}$"


def _limits(schema: Any) -> JsonSchemaValue:  # noqa: ANN401 - one of four schemas
    found: JsonSchemaValue = {
        keyword: to_jsonable_python(limit)
        for bound, keyword in _LIMITS.items()
        if isinstance(limit := schema.get(bound), date | datetime | time | timedelta)
    }
    if (now := schema.get("now_op")) is not None:
        found[_NOW[now]] = "now"
    return found
