"""Model classes whose instances survive JSON whenever their values have the declared types."""

from __future__ import annotations

from typing import Any, Final

_KINDS: Final[dict[str, type]] = {"str": str, "int": int, "bool": bool, "float": float}

SHORT: Final = 4096
"""Longer JSON is tried: numbers of more than some 4,300 digits are not read back."""

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


def plain_kinds(schema: Any) -> tuple[type, ...] | None:  # noqa: ANN401 - a core schema
    """Return the types of a model's fields if all of them are plain, else None.

    Plain are unconstrained texts, numbers and booleans. When the values of an instance
    have just these types, and its JSON is short (`SHORT`) and holds no `null`, which may
    stand for a number that is not finite, then JSON gives back equal values.

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
    kinds: list[type] = []
    for field in inner["fields"].values():
        kind = None if field.get("serialization_exclude") else _kind(field["schema"])
        if kind is None or "serialization_exclude_if" in field:
            return None
        kinds.append(kind)
    return tuple(kinds)


def _kind(schema: Any) -> type | None:  # noqa: ANN401
    """Return the one type that values of a plain field have, besides None."""
    match schema:
        case {"type": "nullable", "schema": inner, **rest} if not rest.keys() - {"metadata"}:
            return _kind(inner)
        case {"type": "default", "schema": inner, **rest} if not rest.keys() - _DEFAULTS:
            return _kind(inner)
        case {"type": str(kind), **rest} if kind in _KINDS and not rest.keys() - {"metadata"}:
            return _KINDS[kind]
        case _:
            return None
