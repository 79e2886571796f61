"""Model classes whose instances survive JSON whenever their values have the declared types."""

from __future__ import annotations

from math import isfinite
from typing import Any, Final, cast

from pydantic import BaseModel

_KINDS: Final[dict[str, type]] = {"str": str, "int": int, "bool": bool, "float": float}

_LONG: Final = 1 << 63
"""Larger numbers are tried: JSON is not read back beyond some thousand digits."""

_DEFAULTS: Final = {"default", "default_factory", "default_factory_takes_data", "metadata"}

_HARMLESS_CONFIG: Final = {
    "extra_fields_behavior",
    "from_attributes",
    "frozen",
    "title",
    "validate_assignment",
    "validate_by_alias",
    "validate_by_name",
}


class PlainFields:
    """The fields of a model class that has only unconstrained texts, numbers and booleans.

    For such a class it is enough to look at the values' types: JSON gives back equal ones.
    """

    __slots__ = ("_fields",)

    def __init__(self, fields: dict[str, frozenset[type]]) -> None:
        self._fields = tuple(fields.items())

    def holds(self, obj: BaseModel) -> bool:
        """Return whether an instance is certain to survive; if not, it has to be tried."""
        values = obj.__dict__
        if len(values) != len(self._fields) or obj.__pydantic_extra__:
            return False
        for name, kinds in self._fields:
            value: object = values.get(name)
            kind: type = type(value)
            if kind not in kinds:
                return False
            if kind is int:
                if not -_LONG < cast("int", value) < _LONG:
                    return False
            elif kind is float and not isfinite(cast("float", value)):
                return False
        return True


def plain_fields(schema: Any) -> PlainFields | None:  # noqa: ANN401 - a core schema
    """Return the fields of a model's core schema if all of them are plain, else None.

    Anything that is not known to be harmless, such as a constraint, a validator, a
    serializer or a nested model, makes the class not plain.
    """
    if schema.get("type") != "model" or schema.keys() - {
        "type", "cls", "schema", "config", "root_model", "custom_init", "metadata", "ref",
    }:  # fmt: skip
        return None
    if schema.get("root_model") or schema.get("custom_init"):
        return None
    config: dict[str, object] = schema.get("config", {})
    if config.keys() - _HARMLESS_CONFIG or config.get("extra_fields_behavior") == "allow":
        return None
    inner = schema["schema"]
    if inner.get("type") != "model-fields" or inner.get("computed_fields"):
        return None
    fields: dict[str, frozenset[type]] = {}
    for name, field in inner["fields"].items():
        kinds = None if field.get("serialization_exclude") else _kinds(field["schema"])
        if kinds is None or "serialization_exclude_if" in field:
            return None
        fields[name] = kinds
    return PlainFields(fields)


def _kinds(schema: Any) -> frozenset[type] | None:  # noqa: ANN401
    match schema:
        case {"type": "nullable", "schema": inner, **rest} if not rest.keys() - {"metadata"}:
            kinds = _kinds(inner)
            return None if kinds is None else kinds | {type(None)}
        case {"type": "default", "schema": inner, **rest} if not rest.keys() - _DEFAULTS:
            return _kinds(inner)
        case {"type": str(kind), **rest} if kind in _KINDS and not rest.keys() - {"metadata"}:
            return frozenset([_KINDS[kind]])
        case _:
            return None
