"""JSON Schemas, closed and bounded: whatever a model writes within them ends soon.

A small model that may go on does go on: it fills a string without a limit, a list without an
end, a tree without a depth. `bound` gives each a limit within what the schema allows, and
closes objects. Everything that the bounded schema accepts, the given one accepts too, but for
what it says it could not keep.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, cast

from flock.engines.local import numbers
from flock.engines.local.decimals import without_decimal_text
from flock.engines.local.formats import FORMATS
from flock.engines.local.json_types import AnySchema, Schema
from flock.engines.local.limits import PER_CHARACTER, Bounded, Limits
from flock.engines.local.merging import assertions, common, merge
from flock.engines.local.text import KEY_LENGTH, any_key, bound_text, key_pattern
from flock.engines.local.windows import LIMITS


@dataclass(frozen=True, slots=True)
class BoundedSchema:
    """What a grammar enforces, and what it does not.

    Attributes:
        schema: The whole schema, with its `$defs`.
        cost: About how many tokens the longest answer takes.
        loosened: What of the given schema it does not enforce, each with its place.
    """

    schema: Schema
    cost: float
    loosened: tuple[str, ...]


_IGNORED: Final = (
    "not", "if", "then", "else", "contains", "dependentRequired", "dependentSchemas",
    "unevaluatedProperties", "unevaluatedItems", "uniqueItems", "contentSchema",
)  # fmt: skip
_KINDS: Final = {
    "object": {"properties", "required", "additionalProperties", "patternProperties",
               "propertyNames", "minProperties", "maxProperties"},
    "array": {"items", "prefixItems", "minItems", "maxItems", "uniqueItems"},
    "string": {"pattern", "format", "minLength", "maxLength", *LIMITS},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
}  # fmt: skip
_TYPES: Final = ("object", "array", "string", "number", "integer", "boolean", "null")
_DEEPEST: Final = 12


class EndlessSchema(ValueError):
    """A schema that no finite value satisfies."""


def bound(schema: AnySchema, limits: Limits, accepts: Callable[[Schema], bool]) -> BoundedSchema:
    """Close and bound a schema.

    Args:
        schema: A JSON Schema whose references point into itself.
        limits: Where the schema sets none.
        accepts: Whether the grammar engine takes a schema.

    Raises:
        EndlessSchema: Nothing finite satisfies it.
    """
    for depth in range(limits.depth, _DEEPEST + 1):
        bounding = _Bounding(schema, limits, accepts)
        found = bounding.bound(schema, depth, "$")
        if found is not None:
            whole = found.schema | ({"$defs": bounding.definitions} if bounding.definitions else {})
            return BoundedSchema(whole, found.cost, tuple(dict.fromkeys(bounding.loosened)))
    raise EndlessSchema("no finite value satisfies the schema")


@dataclass(slots=True)
class _Bounding:
    root: AnySchema
    limits: Limits
    accepts: Callable[[Schema], bool]
    definitions: dict[str, Schema] = field(default_factory=dict[str, Schema])
    loosened: list[str] = field(default_factory=list[str])
    _known: dict[tuple[str, int], Bounded | None] = field(
        default_factory=dict[tuple[str, int], "Bounded | None"]
    )
    _recursive: dict[str, bool] = field(default_factory=dict[str, bool])

    def bound(self, schema: AnySchema, depth: int, at: str) -> Bounded | None:
        """Return a bounded schema, None if nothing satisfies it within the depth."""
        if isinstance(schema, bool):
            return self._anything() if schema else None
        said = assertions(schema)
        if set(said) == {"$ref"}:
            return self._reference(said["$ref"], depth)
        if "$ref" in said or "allOf" in said:
            parts, depth = self._parts(said, depth, at)
            return None if parts is None else self.bound(merge(parts, self._noting(at)), depth, at)
        for keyword in _IGNORED:
            if said.pop(keyword, None) is not None:
                self._note(at, keyword)
        for keyword in ("anyOf", "oneOf"):
            if keyword in said:
                if keyword == "oneOf" and "discriminator" not in schema:
                    self._note_overlap(said["oneOf"], at)
                return self._alternatives(said, keyword, depth, at)
        if "const" in said or "enum" in said:
            return self._values(said, at)
        return self._typed(said, depth, at)

    def _values(self, said: Schema, at: str) -> Bounded | None:
        if beside := said.keys() - {"const", "enum", "type"}:
            self._note(at, f"{', '.join(sorted(beside))} beside listed values")
        values = [said["const"]] if "const" in said else said["enum"]
        return _listed(common(values, said.get("enum", values)), said.get("type"))

    # --- references ------------------------------------------------------------------

    def _reference(self, ref: str, depth: int) -> Bounded | None:
        if self._is_recursive(ref):
            if depth <= 0:
                return None
            depth -= 1
        if (ref, depth) not in self._known:
            found = self.bound(self._resolve(ref), depth, ref)
            if found is not None and len(json.dumps(found.schema)) > 60:
                name = f"{len(self.definitions)}"
                self.definitions[name] = found.schema
                found = Bounded({"$ref": f"#/$defs/{name}"}, found.cost)
            self._known[ref, depth] = found
        return self._known[ref, depth]

    def _resolve(self, ref: str) -> AnySchema:
        target: Any = self.root
        if not ref.startswith("#"):
            self._note(ref, "$ref")
            return True
        for part in ref[1:].split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            try:
                target = target[int(key) if isinstance(target, list) else key]
            except (KeyError, IndexError, ValueError, TypeError):
                raise EndlessSchema(f"the schema has nothing at {ref!r}") from None
        return target

    def _is_recursive(self, ref: str) -> bool:
        if ref not in self._recursive:
            seen: set[str] = set()
            todo = [ref]
            while todo:
                for inner in _references(self._resolve(todo.pop())):
                    if inner not in seen:
                        seen.add(inner)
                        todo.append(inner)
            self._recursive[ref] = ref in seen
        return self._recursive[ref]

    def _parts(self, said: Schema, depth: int, at: str) -> tuple[list[AnySchema] | None, int]:
        """Return the schemas that hold at once, without `$ref` and `allOf` at their top."""
        todo: list[AnySchema] = [said]
        parts: list[AnySchema] = []
        while todo:
            part = todo.pop(0)
            if isinstance(part, bool):
                parts.append(part)
                continue
            own = assertions(part)
            if (ref := own.pop("$ref", None)) is not None:
                if self._is_recursive(ref):
                    if depth <= 0:
                        return None, depth
                    depth -= 1
                todo.append(self._resolve(ref))
            todo.extend(own.pop("allOf", ()))
            parts.append(own)
        return parts, depth

    # --- unions ----------------------------------------------------------------------

    def _alternatives(self, said: Schema, keyword: str, depth: int, at: str) -> Bounded | None:
        options = said.pop(keyword)
        options = without_decimal_text(options)
        if said:
            options = [{"allOf": [said, option]} for option in options]
        found = [
            bounded
            for number, option in enumerate(options)
            if (bounded := self.bound(option, depth, f"{at}|{number}")) is not None
        ]
        if not found:
            return None
        if len(found) == 1:
            return found[0]
        return Bounded(
            {"anyOf": [option.schema for option in found]}, max(option.cost for option in found)
        )

    def _typed(self, said: Schema, depth: int, at: str) -> Bounded | None:
        kinds = said.pop("type", None)
        if kinds is None:
            kinds = [kind for kind, keywords in _KINDS.items() if keywords & said.keys()]
            if not kinds:
                return self._anything()
        if isinstance(kinds, str):
            return self._of_type(kinds, said, depth, at)
        found = [one for kind in kinds if (one := self._of_type(kind, said, depth, at)) is not None]
        if not found:
            return None
        schemas = [one.schema for one in found]
        return Bounded(
            schemas[0] if len(found) == 1 else {"anyOf": schemas}, max(one.cost for one in found)
        )

    def _of_type(self, kind: str, said: Schema, depth: int, at: str) -> Bounded | None:
        match kind:
            case "object":
                return self._object(said, depth, at)
            case "array":
                return self._array(said, depth, at)
            case "string":
                return bound_text(said, self.limits, self.accepts, self._noting(at))
            case "number" | "integer":
                return self._number(kind, said, at)
            case "boolean" | "null":
                return Bounded({"type": kind}, 1)
            case _:
                raise EndlessSchema(f"{kind!r} is no type of JSON (at {at})")

    def _anything(self) -> Bounded:
        longest = min(200, self.limits.text)
        plain: list[Schema] = [
            {"type": "string", "maxLength": longest},
            {"type": "number"} | (numbers.number({}) or {}),
            {"type": "boolean"},
            {"type": "null"},
        ]
        items = min(4, self.limits.items)
        key = {any_key(0, KEY_LENGTH): {"anyOf": plain}}
        options = [
            *plain,
            {"type": "array", "items": {"anyOf": plain}, "maxItems": items},
            {"type": "object", "patternProperties": key, "additionalProperties": False}
            | {"maxProperties": items},
        ]
        return Bounded({"anyOf": options}, items * (longest + KEY_LENGTH) * PER_CHARACTER)

    # --- objects ---------------------------------------------------------------------

    def _object(self, said: Schema, depth: int, at: str) -> Bounded | None:
        declared: dict[str, AnySchema] = said.get("properties", {})
        required: list[str] = said.get("required", [])
        others: AnySchema = said.get("additionalProperties", True)
        patterns: dict[str, AnySchema] = said.get("patternProperties", {})
        if not declared and not required and (patterns or others is not False):
            return self._mapping(said, patterns, others, depth, at)
        properties: dict[str, Schema] = {}
        cost = 2.0
        for name in [*declared, *(name for name in required if name not in declared)]:
            inner = declared.get(name, next(iter(patterns.values()), others))
            bounded = self.bound(inner, depth, f"{at}.{name}")
            if bounded is None:
                if name in required:
                    return None
                continue
            properties[name] = bounded.schema
            cost += bounded.cost + len(name) / 3 + 3
        closed: Schema = {
            "type": "object",
            "properties": properties,
            "required": [name for name in properties if name in required],
            "additionalProperties": False,
        }
        counts = {key: said[key] for key in ("minProperties", "maxProperties") if key in said}
        if counts:
            plain = {name: {"type": "null"} for name in properties}
            if self.accepts(closed | {"properties": plain} | counts):
                closed |= counts
            else:
                self._note(at, " and ".join(counts))
        return Bounded(closed, cost)

    def _mapping(
        self,
        said: Schema,
        patterns: dict[str, AnySchema],
        others: AnySchema,
        depth: int,
        at: str,
    ) -> Bounded | None:
        least = said.get("minProperties", 0)
        room = max(least, self.limits.items)
        most = min(said.get("maxProperties", room), room)
        if least > most:
            return None
        if patterns:
            asked: Schema = said.get("propertyNames", {})
            named = {
                key_pattern(pattern, asked, self.accepts, self._noting(at)): inner
                for pattern, inner in patterns.items()
            }
        else:
            names = self._names(said.get("propertyNames", True), at)
            if isinstance(names, list):
                return self._enumerated(names, others, least, most, depth, at)
            named = {names: others}
        bounded = {key: self.bound(inner, depth, f"{at}[]") for key, inner in named.items()}
        values = {key: inner.schema for key, inner in bounded.items() if inner is not None}
        if not values or not most:
            if least:
                return None
            return Bounded({"type": "object", "properties": {}, "additionalProperties": False}, 2)
        dearest = max(inner.cost for inner in bounded.values() if inner is not None)
        mapping: Schema = {"type": "object", "patternProperties": values}
        mapping |= {"additionalProperties": False, "minProperties": least, "maxProperties": most}
        return Bounded(mapping, 2 + most * (dearest + KEY_LENGTH * PER_CHARACTER + 3))

    def _enumerated(
        self, names: list[str], others: AnySchema, least: int, most: int, depth: int, at: str
    ) -> Bounded | None:
        """Bound a mapping whose keys are listed."""
        value = self.bound(others, depth, f"{at}[]")
        if value is None or not names:
            closed: Schema = {"type": "object", "properties": {}, "additionalProperties": False}
            return None if least else Bounded(closed, 2)
        count = min(most, len(names))
        closed = {"type": "object", "properties": dict.fromkeys(names, value.schema)}
        closed |= {"required": names[:least], "additionalProperties": False}
        return Bounded(closed, 2 + max(count, len(names)) * (value.cost + 6))

    def _names(self, names: AnySchema, at: str) -> str | list[str]:
        """Return the keys of a mapping: a pattern, or all of them."""
        if isinstance(names, bool):
            return any_key(0, KEY_LENGTH)
        said = assertions(names)
        while "$ref" in said:
            resolved = self._resolve(said.pop("$ref"))
            said = said | (assertions(resolved) if isinstance(resolved, dict) else {})
        if "const" in said:
            return [str(said["const"])]
        if "enum" in said:
            return [str(name) for name in said["enum"]]
        if (known := FORMATS.get(said.get("format", ""))) is not None:
            return known.schema["pattern"]
        return key_pattern(said.get("pattern"), said, self.accepts, self._noting(at))

    # --- arrays, text, numbers -------------------------------------------------------

    def _array(self, said: Schema, depth: int, at: str) -> Bounded | None:
        first: list[AnySchema] = said.get("prefixItems", [])
        rest: AnySchema = said.get("items", True)
        least = said.get("minItems", 0)
        room = max(least, len(first) + self.limits.items) if rest is not False else len(first)
        most = min(said.get("maxItems", room), room)
        prefix: list[Schema] = []
        cost = 2.0
        for place, inner in enumerate(first[:most]):
            bounded = self.bound(inner, depth, f"{at}[{place}]")
            if bounded is None:
                most = place
                break
            prefix.append(bounded.schema)
            cost += bounded.cost + 1
        array: Schema = {"type": "array"}
        if prefix:
            array["prefixItems"] = prefix
        item = self.bound(rest, depth, f"{at}[]") if most > len(prefix) else None
        if item is None:
            most = min(most, len(prefix))
            array["items"] = False
        else:
            array["items"] = item.schema
            cost += (most - len(prefix)) * (item.cost + 1)
        if least > most:
            return None
        return Bounded(array | {"minItems": least, "maxItems": most}, cost)

    def _number(self, kind: str, said: Schema, at: str) -> Bounded | None:
        found = numbers.integer(said) if kind == "integer" else numbers.number(said)
        if found is None:
            return None
        if self.accepts(found):
            return Bounded(found, numbers.digits(found))
        self._note(at, f"the range of a {kind}")
        return Bounded({"type": kind}, 20)

    # --- notes -----------------------------------------------------------------------

    def _note_overlap(self, options: list[AnySchema], at: str) -> None:
        """Say that more than one alternative may hold, unless their types tell them apart."""
        kinds = [option.get("type") for option in options if isinstance(option, dict)]
        if None in kinds or len({str(kind) for kind in kinds}) < len(options):
            self._note(at, "oneOf as anyOf")

    def _note(self, at: str, what: str) -> None:
        self.loosened.append(f"{at}: {what}")

    def _noting(self, at: str) -> Callable[[str], None]:
        return lambda what: self._note(at, what)


def _listed(values: list[Any], kinds: str | list[str] | None) -> Bounded | None:
    allowed = _TYPES if kinds is None else [kinds] if isinstance(kinds, str) else kinds
    fitting = [value for value in values if any(_is_of(value, kind) for kind in allowed)]
    if not fitting:
        return None
    longest = max(len(json.dumps(value)) for value in fitting)
    listed: Schema = {"const": fitting[0]} if len(fitting) == 1 else {"enum": fitting}
    return Bounded(listed, longest / 2)


def _is_of(value: Any, kind: str) -> bool:  # noqa: ANN401 - JSON
    match value:
        case None:
            return kind == "null"
        case bool():
            return kind == "boolean"
        case int() | float():
            return kind == "number" or (kind == "integer" and value == int(value))
        case str():
            return kind == "string"
        case list():
            return kind == "array"
        case _:
            return kind == "object"


def _references(schema: Any) -> Iterator[str]:  # noqa: ANN401 - JSON
    if isinstance(schema, dict):
        for key, value in cast("Schema", schema).items():
            if key == "$ref" and isinstance(value, str):
                yield value
            elif key not in {"$defs", "definitions", "const", "enum", "default", "examples"}:
                yield from _references(value)
    elif isinstance(schema, list):
        for value in cast("list[Any]", schema):
            yield from _references(value)
