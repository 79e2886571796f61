"""From the schemas of models, dataclasses, typed dicts and named tuples to their records."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import CoreConfig, CoreSchema, SchemaValidator

from flock.engines.dspy.sample.record import Path, Record, Slot, ValidatedRecord
from flock.engines.dspy.sample.source import Examples, Source
from flock.engines.dspy.sample.where import WRAPPERS, Read, Schema, Where, mentions, unwrapped

_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def model(read: Read, schema: Schema, where: Where) -> Record:
    """Return the instances of a model class."""
    cls: type[BaseModel] = schema["cls"]
    config: Schema = schema.get("config", {})
    place = Where(where.name, config, {})
    inner = unwrapped(schema["schema"])
    if schema.get("root_model") or inner["type"] != "model-fields":
        root = Where(_words(_HUMP.sub(" ", cls.__name__).lower()), config, {})
        info = cls.model_fields.get("root")
        read_root = _reading(read, schema["schema"], root, _declared(info))
        slots = [Slot(name="root", path=(), read=read_root, required=True)]
    else:
        fields: Mapping[str, Schema] = inner["fields"]
        slots = [
            _slot(read, name, part, place, _declared(cls.model_fields.get(name)))
            for name, part in fields.items()
        ]
    if not cls.__pydantic_complete__:
        # Its names resolve only where another model uses it; that one's validator decides.
        return Record(cls.__name__, slots)
    extra = cls.model_config.get("json_schema_extra")
    validator = cast("SchemaValidator", cls.__pydantic_validator__)
    return ValidatedRecord(cls.__name__, slots, validator, _listed(extra))


def dataclass(read: Read, schema: Schema, where: Where) -> Record:
    """Return the instances of a dataclass; the mapping they are made of if it is recursive."""
    cls: Any = schema["cls"]
    config: Schema = schema.get("config", where.config)
    place = Where(where.name, config, {})
    own = cast("Mapping[str, Any]", vars(cls))
    infos: Mapping[str, FieldInfo] = own.get("__pydantic_fields__", {})
    fields: Sequence[Schema] = unwrapped(schema["schema"])["fields"]
    slots = [
        _slot(read, part["name"], part, place, _declared(infos.get(part["name"])))
        for part in fields
    ]

    def instance(values: Mapping[Slot, object]) -> object:
        return cls(**{slot.name: value for slot, value in values.items()})

    strict = schema.get("strict") or config.get("strict")
    make = instance if strict else None
    if "__pydantic_validator__" in own and cls.__pydantic_complete__:
        return ValidatedRecord(cls.__name__, slots, cls.__pydantic_validator__, make=make)
    if mentions(schema, "definition-ref"):
        return Record(cls.__name__, slots, make)
    validator = SchemaValidator(cast("CoreSchema", schema), cast("CoreConfig", config))
    return ValidatedRecord(cls.__name__, slots, validator, make=make)


def typed_dict(read: Read, schema: Schema, where: Where) -> Record:
    """Return the dicts of a typed dict, with its required keys."""
    place = Where(where.name, schema.get("config", where.config), {})
    fields: Mapping[str, Schema] = schema["fields"]
    total: bool = schema.get("total", True)
    slots = [
        _slot(read, name, part, place, [], needed=part.get("required", total))
        for name, part in fields.items()
    ]
    return Record(getattr(schema.get("cls"), "__name__", where.name), slots)


def named_tuple(read: Read, schema: Schema, where: Where) -> Record:
    """Return the instances of a named tuple."""
    slots = [_slot(read, part["name"], part, where.inside(), []) for part in schema["fields"]]
    return _called(schema["cls"], slots)


def call(read: Read, schema: Schema, where: Where) -> Record:
    """Return what a function returns that is called with valid arguments: a named tuple."""
    arguments: Sequence[Schema] = unwrapped(schema["arguments_schema"])["arguments_schema"]
    slots = [_slot(read, part["name"], part, where.inside(), []) for part in arguments]
    return _called(schema["function"], slots)


def _called(function: Callable[..., object], slots: Sequence[Slot]) -> Record:
    return Record(
        getattr(function, "__name__", repr(function)),
        slots,
        lambda values: function(**{slot.name: value for slot, value in values.items()}),
    )


def _slot(
    read: Read,
    name: str,
    part: Schema,
    place: Where,
    declared: Sequence[object],
    *,
    needed: bool = True,
) -> Slot:
    default = _default(part["schema"])
    examples = list(declared) or examples_of(part)
    settable = part.get("init", True) is not False
    pinned: list[object] = []
    if default and "default" in default and unwrapped(default["schema"])["type"] == "literal":
        pinned = [default["default"]]
    return Slot(
        name=name,
        path=_path(name, part, place.config),
        read=_reading(read, part["schema"], place.inside(_words(name)), examples),
        required=settable
        and (bool(examples) or (needed and (default is None or not _repeats(default)))),
        settable=settable,
        pinned=pinned,
    )


def _reading(
    read: Read, schema: Schema, where: Where, examples: Sequence[object]
) -> Callable[[], Source]:
    if not examples:
        return lambda: read(schema, where)
    return lambda: Examples(examples, read(schema, where))


def _default(schema: Schema) -> Schema | None:
    """Return the `default` schema of a field that has one."""
    while schema["type"] != "default":
        if schema["type"] not in WRAPPERS:
            return None
        schema = schema["schema"]
    return schema


def _repeats(default: Schema) -> bool:
    """Return whether the default is the same each time: a fixed value, an empty list, ...

    A factory that is a function may read the clock or draw an id; one that takes the other
    fields is computed from them.
    """
    factory = default.get("default_factory")
    return (
        "default" in default
        or isinstance(factory, type)
        or bool(default.get("default_factory_takes_data"))
    )


def _path(name: str, part: Schema, config: Schema) -> Path:
    """Return where the input has the field's value: the plainest of its aliases."""
    alias: object = part.get("validation_alias", part.get("alias"))
    if alias is None or config.get("validate_by_alias") is False:
        return (name,)
    if isinstance(alias, str):
        return (alias,)
    paths = cast("list[Any]", alias)
    if not isinstance(paths[0], list):
        return tuple(paths)
    return tuple(min(cast("list[list[str | int]]", paths), key=len))


def examples_of(schema: Schema) -> list[object]:
    """Return the examples that a schema's metadata holds for its JSON schema."""
    metadata: Mapping[str, Any] = schema.get("metadata") or {}
    for key in ("pydantic_js_updates", "pydantic_js_extra"):
        if found := _listed(metadata.get(key)):
            return found
    return []


def _declared(info: FieldInfo | None) -> list[object]:
    """Return the examples that a field was declared with, as they were written."""
    if info is None:
        return []
    return list(info.examples or ()) or _listed(info.json_schema_extra)


def _listed(extra: object) -> list[object]:
    """Return `examples`, or the one `example`, out of additions to a JSON schema."""
    if not isinstance(extra, Mapping):
        return []
    found: object = cast("Mapping[str, object]", extra).get("examples")
    if isinstance(found, list):
        return cast("list[object]", found)
    return [extra["example"]] if "example" in extra else []


def _words(name: str) -> str:
    return name.replace("_", " ").strip() or "text"
