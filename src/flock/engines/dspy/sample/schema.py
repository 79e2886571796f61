"""From the core schema, which pydantic validates a model with, to a source of its values."""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeAlias, cast

from pydantic import BaseModel
from pydantic_core import CoreConfig, CoreSchema, SchemaValidator, to_json

from flock.engines.dspy.sample import known, models, numbers, times
from flock.engines.dspy.sample.checked import Checked, judged
from flock.engines.dspy.sample.containers import Distinct, Entries, Items, Lengths, Positions
from flock.engines.dspy.sample.source import (
    Computed,
    DeadEnd,
    Examples,
    FirstOf,
    Listed,
    Nothing,
    Nullable,
    OneOf,
    Source,
)
from flock.engines.dspy.sample.text import Link, Octets, Shape, Text
from flock.engines.dspy.sample.where import Schema, Where, mentions, unwrapped

_LOWS: Final = frozenset({"ge", "gt", "min_length"})
_LENGTHS: Final = frozenset({"min_length", "max_length"})
_LIMITS: Final = _LOWS | _LENGTHS | {"le", "lt", "multiple_of", "max_digits", "decimal_places"}
_NOBODY: Final = frozenset({"is-instance", "missing-sentinel", "invalid"})
"""Kinds of schemas that stand in a union beside one that says what to give."""


def source_of(model: type[BaseModel]) -> Source:
    """Return the instances of a model."""
    # A fresh reader and fresh sources each time: nothing of a user's class outlives the call,
    # and a rebuilt model is read anew. What is dear, the patterns, is remembered by text.
    schema: Schema = model.__pydantic_core_schema__
    return Reader().read(schema, Where(model.__name__, {}, {}))


class Reader:
    """Reads the schemas of one instance: it knows which recursive types are begun."""

    def __init__(self) -> None:
        self._definitions: dict[str, Schema] = {}
        self._begun: list[str] = []

    def read(self, schema: Schema, where: Where) -> Source:
        """Return the values of a schema."""
        kind: str = schema["type"]
        if (read := _AROUND.get(kind)) is not None:
            source = read(self, schema, where)
        elif (read := _KINDS.get(kind)) is not None:
            source = read(self, _limited(schema, where.limits), where.inside())
        elif "schema" in schema:
            source = self.read(schema["schema"], where)
        else:
            source = Nothing(f"its schema type {kind!r} is not known")
        examples = models.examples_of(schema)
        return Examples(examples, source) if examples else source

    def define(self, schemas: list[Schema]) -> None:
        """Remember the schemas that references name."""
        self._definitions.update({schema["ref"]: schema for schema in schemas})

    def resolve(self, ref: str, where: Where) -> Source:
        """Return the values of the schema with this name."""
        if ref not in self._definitions:
            return Nothing(f"its type {ref.partition(':')[0]!r} is not defined")
        return self.read(self._definitions[ref], where)

    @contextmanager
    def begun(self, ref: str) -> Generator[None]:
        """Keep a type from being begun again inside itself: its shortest instance ends."""
        if ref in self._begun:
            name = ref.partition(":")[0].rpartition(".")[2]
            raise DeadEnd(
                f"every {name!r} needs another {name!r}",
                remedy="make that field optional, or a list",
            )
        self._begun.append(ref)
        try:
            yield
        finally:
            self._begun.pop()


class _Reference(Source):
    """A named schema, read when it is first needed."""

    def __init__(self, reader: Reader, ref: str, where: Where) -> None:
        self._reader = reader
        self._ref = ref
        self._where = where
        self._target: Source | None = None

    def _resolved(self) -> Source:
        if self._target is None:
            self._target = self._reader.resolve(self._ref, self._where)
        return self._target

    @property
    def count(self) -> int:
        """As many as the named schema has; one where it stands inside itself."""
        try:
            with self._reader.begun(self._ref):
                return self._resolved().count
        except DeadEnd:
            return 1

    def pick(self, n: int, attempt: int = 0) -> object:
        """Return value number `n` of the named schema, unless one is begun already."""
        with self._reader.begun(self._ref):
            return self._resolved().pick(n, attempt)


_Read: TypeAlias = Callable[[Reader, Schema, Where], Source]

# --- schemas of values ---


def _any(reader: Reader, schema: Schema, where: Where) -> Source:
    if schema.keys() & (_LIMITS - _LENGTHS):
        return numbers.integers(schema)
    # A type that is not validated is still what the model serializes.
    if declared := _serialized(schema):
        return reader.read(declared, where)
    return _text(reader, schema, where)


def _text(_reader: Reader, schema: Schema, where: Where) -> Source:
    config = where.config
    return Text(
        where.name,
        Shape(
            shortest=schema.get("min_length", config.get("str_min_length")) or 0,
            longest=schema.get("max_length", config.get("str_max_length")),
            lower=bool(schema.get("to_lower", config.get("str_to_lower"))),
            upper=bool(schema.get("to_upper", config.get("str_to_upper"))),
            strip=bool(schema.get("strip_whitespace", config.get("str_strip_whitespace"))),
            ascii_only=bool(schema.get("ascii_only")),
            pattern=schema.get("pattern"),
            engine=schema.get("regex_engine") or config.get("regex_engine") or "rust-regex",
        ),
    )


def _link(_reader: Reader, schema: Schema, where: Where) -> Source:
    return Link(where.name, schema.get("allowed_schemes") or (), schema.get("max_length"))


def _instance(reader: Reader, schema: Schema, where: Where) -> Source:
    cls: object = schema["cls"]
    if (kind := known.plain_type(cls)) is not None:
        return reader.read({**schema, "type": kind}, where)
    return known.instances(cls, where.name)


def _json(reader: Reader, schema: Schema, where: Where) -> Source:
    inner = reader.read(schema.get("schema", {"type": "any"}), where)
    return Computed(lambda n, attempt: to_json(inner.pick(n, attempt)).decode(), inner.count)


# --- schemas of containers ---


def _lengths(schema: Schema) -> Lengths:
    return Lengths(schema.get("min_length"), schema.get("max_length"))


def _part(reader: Reader, schema: Schema, key: str, where: Where) -> Source:
    return reader.read(schema.get(key) or {"type": "any"}, where)


def _items(
    make: Callable[[list[object]], object], reader: Reader, schema: Schema, where: Where
) -> Source:
    return Items(_part(reader, schema, "items_schema", where), _lengths(schema), make)


def _distinct(
    make: Callable[[list[object]], object], reader: Reader, schema: Schema, where: Where
) -> Source:
    return Distinct(_part(reader, schema, "items_schema", where), _lengths(schema), make)


def _entries(
    make: Callable[[dict[object, object]], object], reader: Reader, schema: Schema, where: Where
) -> Source:
    keys = _part(reader, schema, "keys_schema", where.inside("key"))
    if schema["type"] == "counter":
        values: Source = numbers.integers({"ge": 1})
    else:
        values = _part(reader, schema, "values_schema", where)
    return Entries(keys, values, _lengths(schema), make)


def _tuple(reader: Reader, schema: Schema, where: Where) -> Source:
    parts = [reader.read(item, where) for item in schema["items_schema"]]
    variadic: int | None = schema.get("variadic_item_index")
    if variadic is None:
        return Positions(parts)
    lengths = _lengths(schema).without(len(parts) - 1)
    if len(parts) == 1:
        return Items(parts[0], lengths, tuple[object, ...])
    parts[variadic] = Items(parts[variadic], lengths)

    def flat(values: list[object]) -> tuple[object, ...]:
        middle = cast("list[object]", values[variadic])
        return (*values[:variadic], *middle, *values[variadic + 1 :])

    return Positions(parts, flat)


# --- schemas around others ---


def _defined(reader: Reader, schema: Schema, where: Where) -> Source:
    reader.define(schema["definitions"])
    return reader.read(schema["schema"], where)


def _union(reader: Reader, schema: Schema, where: Where) -> Source:
    choices: list[Schema] = [
        choice[0] if isinstance(choice, tuple) else choice for choice in schema["choices"]
    ]
    telling = [choice for choice in choices if not _tells_nothing(choice)]
    return OneOf([reader.read(choice, where) for choice in telling or choices])


def _tells_nothing(choice: Schema) -> bool:
    return choice["type"] in _NOBODY and not known.is_known(choice.get("cls"))


def _tagged(reader: Reader, schema: Schema, where: Where) -> Source:
    choices: Mapping[Any, Schema] = schema["choices"]
    return OneOf([reader.read(choice, where) for choice in choices.values()])


def _chain(reader: Reader, schema: Schema, where: Where) -> Source:
    """Return what the step that tells most of its input takes; each step sees the one before."""
    steps = sorted(schema["steps"], key=lambda step: step["type"] in {"is-instance", "any"})
    return _checked(FirstOf([reader.read(step, where) for step in steps]), schema, where)


def _lax_or_strict(reader: Reader, schema: Schema, where: Where) -> Source:
    """Return instances, which both sides take, if it is known how to make them."""
    strict: Schema = schema["strict_schema"]
    if strict["type"] == "json-or-python":
        strict = strict["python_schema"]
    if strict["type"] == "is-instance" and known.is_known(strict["cls"]):
        return reader.read(strict, where)
    lax: Schema = schema["lax_schema"]
    return FirstOf([reader.read(lax, where), _converted(reader, lax, where)])


def _json_or_python(reader: Reader, schema: Schema, where: Where) -> Source:
    """Return the Python side's values; for an unknown class those that JSON is read to."""
    python: Schema = schema["python_schema"]
    if not _tells_nothing(python):
        return reader.read(python, where)
    return FirstOf([_converted(reader, schema["json_schema"], where), reader.read(python, where)])


def _converted(reader: Reader, schema: Schema, where: Where) -> Source:
    """Return what the schema makes of its values: instances of a class known to it alone."""
    inner = reader.read(schema, where)
    if mentions(schema, "definition-ref"):
        return inner

    def instance(n: int, attempt: int) -> object:
        value = inner.pick(n, attempt)
        validator = SchemaValidator(cast("CoreSchema", schema), cast("CoreConfig", where.config))
        return judged(lambda: validator.validate_python(value, strict=False))

    return Computed(instance, inner.count)


def _function(reader: Reader, schema: Schema, where: Where) -> Source:
    """Return what a user's function around a schema accepts."""
    function: object = schema["function"]["function"]
    limits = where.limits
    # Pydantic checks a constraint that a type does not know in a partial of a function.
    if isinstance(bound := getattr(function, "keywords", None), Mapping):
        bound = cast("Schema", bound)
        limits = _limited(limits, {k: v for k, v in bound.items() if k in _LIMITS})
    inner = reader.read(schema["schema"], Where(where.name, where.config, limits))
    if unwrapped(schema)["type"] in {"model", "dataclass"}:
        # These are proved by their class's own validator, of which the function is a part.
        return inner
    if (own := known.pydantic_values(function, where.name)) is not None:
        inner = FirstOf([own, inner])
    told: Schema | None = schema.get("json_schema_input_schema")
    if told is not None and told["type"] != "any":
        inner = FirstOf([inner, reader.read(told, where)])
    return _checked(inner, schema, where)


def _plain(reader: Reader, schema: Schema, where: Where) -> Source:
    """Return what a user's function accepts that stands for a whole schema."""
    own = known.pydantic_values(schema["function"]["function"], where.name)
    if own is not None:
        return _checked(own, schema, where)
    hints = (_serialized(schema), schema.get("json_schema_input_schema"))
    told = [reader.read(hint, where) for hint in hints if hint and hint["type"] != "any"]
    return _checked(FirstOf([*told, known.anything(where.name)]), schema, where)


def _checked(inner: Source, schema: Schema, where: Where) -> Source:
    if mentions(schema, "definition-ref"):
        # Judged where the definitions are: by the model that it stands in.
        return inner
    return Checked(
        inner,
        cast("CoreSchema", schema),
        cast("CoreConfig", where.config),
        final=not mentions(schema, "with-info"),
    )


def _serialized(schema: Schema) -> Schema | None:
    serialization: Mapping[str, Any] = schema.get("serialization") or {}
    return serialization.get("schema")


def _limited(schema: Schema, limits: Schema) -> Schema:
    """Return the schema with further limits: of two the tighter one holds."""
    if not limits:
        return schema
    joined = dict(schema)
    for key, limit in limits.items():
        here = joined.get(key)
        if here is None or key not in _LOWS | _LENGTHS | {"le", "lt"}:
            joined[key] = limit
        else:
            joined[key] = max(here, limit) if key in _LOWS else min(here, limit)
    return joined


def _record(read: Callable[..., Source]) -> _Read:
    return lambda reader, schema, where: read(reader.read, schema, where)


_KINDS: Final[Mapping[str, _Read]] = {
    "any": _any,
    "none": lambda _r, _s, _w: Listed([None]),
    "bool": lambda _r, _s, _w: Listed([True, False]),
    "int": lambda _r, s, _w: numbers.integers(s),
    "float": lambda _r, s, _w: numbers.floats(s),
    "decimal": lambda _r, s, _w: numbers.decimals(s),
    "fraction": lambda _r, s, _w: numbers.fractions(s),
    "complex": lambda _r, _s, _w: Computed(lambda n, attempt: complex(n + attempt + 1)),
    "str": _text,
    "bytes": lambda _r, s, w: Octets(w.name, s.get("min_length") or 0, s.get("max_length")),
    "date": lambda _r, s, _w: times.dates(s),
    "time": lambda _r, s, _w: times.times(s),
    "datetime": lambda _r, s, _w: times.datetimes(s),
    "timedelta": lambda _r, s, _w: times.durations(s),
    "uuid": lambda _r, s, _w: times.uuids(s),
    "url": _link,
    "multi-host-url": _link,
    "literal": lambda _r, s, _w: Listed(s["expected"]),
    "enum": lambda _r, s, _w: Listed(s["members"], otherwise="its enum has no members"),
    "callable": lambda _r, _s, _w: Listed([len]),
    "is-subclass": lambda _r, s, _w: Listed([s["cls"]]),
    "is-instance": _instance,
    "json": _json,
    "list": partial(_items, list[object]),
    "generator": partial(_items, list[object]),
    "deque": partial(_items, deque[object]),
    "set": partial(_distinct, set[object]),
    "frozenset": partial(_distinct, frozenset[object]),
    "dict": partial(_entries, dict[object, object]),
    "ordered-dict": partial(_entries, OrderedDict[object, object]),
    "counter": partial(_entries, Counter[object]),
    "tuple": _tuple,
    "model": _record(models.model),
    "dataclass": _record(models.dataclass),
    "typed-dict": _record(models.typed_dict),
    "named-tuple": _record(models.named_tuple),
    "call": _record(models.call),
}

_AROUND: Final[Mapping[str, _Read]] = {
    "definitions": _defined,
    "definition-ref": lambda r, s, w: _Reference(r, s["schema_ref"], w),
    "nullable": lambda r, s, w: Nullable(r.read(s["schema"], w)),
    "union": _union,
    "tagged-union": _tagged,
    "chain": _chain,
    "lax-or-strict": _lax_or_strict,
    "json-or-python": _json_or_python,
    "function-before": _function,
    "function-after": _function,
    "function-wrap": _function,
    "function-plain": _plain,
}
