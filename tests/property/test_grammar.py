"""Whatever a bounded grammar allows, the schema allows, and it ends."""

from __future__ import annotations

import ipaddress
import json
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from benchmarks.generations.schemas import TYPES
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, validate
from pydantic import (
    UUID4,
    AnyUrl,
    AwareDatetime,
    Base64Bytes,
    BaseModel,
    EmailStr,
    Field,
    HttpUrl,
    NameEmail,
    SecretStr,
    StringConstraints,
)

from flock.engines.local.grammar import constrain
from flock.errors import EngineError
from tests.unit.engines.local.walks import walk

JSON = dict[str, Any]
seeds = st.integers(0, 2**32)


class Formats(BaseModel):
    at: AwareDatetime
    naive: datetime
    day: date
    clock: time
    lasts: timedelta
    mail: EmailStr
    named: NameEmail
    home: HttpUrl
    link: AnyUrl
    v4: ipaddress.IPv4Address
    v6: ipaddress.IPv6Address
    net4: ipaddress.IPv4Network
    net6: ipaddress.IPv6Network
    face4: ipaddress.IPv4Interface
    face6: ipaddress.IPv6Interface
    id: UUID4
    data: Base64Bytes
    secret: SecretStr


class Numbers(BaseModel):
    above: int = Field(gt=3, multiple_of=2)
    below: int = Field(lt=-3)
    tiny: float = Field(gt=0, lt=0.001)
    steps: float = Field(ge=0, multiple_of=0.05)
    exact: float = Field(ge=0.1, le=0.1)
    any: float
    price: Annotated[Decimal, Field(json_schema_extra={"anyOf": [{"type": "number"}]})]


class Tree(BaseModel):
    value: int
    left: Tree | None
    right: Tree | None
    tags: dict[Annotated[str, StringConstraints(pattern="^[a-z]+$")], list[Tree]]


class Ping(BaseModel):
    pong: Pong | None


class Pong(BaseModel):
    pings: list[Ping]
    mood: Literal["up", "down"]


@pytest.mark.parametrize("tokens", [64, 512, 4096])
@pytest.mark.parametrize(
    "type_",
    [*(type_ for type_, _ in TYPES), Formats, Numbers, Tree, Ping],
    ids=lambda t: t.__name__,
)
def test_what_a_grammar_allows_validates_as_the_type_it_was_made_of(
    type_: type[BaseModel], tokens: int
) -> None:
    grammar = constrain(type_.model_json_schema(), tokens).text

    for seed in range(8):
        type_.model_validate_json(walk(grammar, seed))


# --- schemas that nobody wrote ---------------------------------------------------------

bounds = st.one_of(st.none(), st.integers(-50, 50), st.floats(-50, 50).map(lambda x: round(x, 2)))
lengths = st.one_of(st.none(), st.integers(0, 6))
PATTERNS = ["^[a-z]+$", "[0-9]{2}", "^a", "b$", r"^\w{3,}$", "^(x|yy)*$", "^[^ ]{1,4}$"]


def said(**keywords: object) -> JSON:
    return {key: value for key, value in keywords.items() if value is not None}


@st.composite
def texts(draw: st.DrawFn) -> JSON:
    pattern = draw(st.one_of(st.none(), st.sampled_from(PATTERNS)))
    least, most = draw(lengths), draw(lengths)
    return said(type="string", pattern=pattern, minLength=least, maxLength=most)


@st.composite
def numbers(draw: st.DrawFn) -> JSON:
    return said(
        type=draw(st.sampled_from(["integer", "number"])),
        minimum=draw(bounds),
        maximum=draw(bounds),
        exclusiveMinimum=draw(bounds),
        exclusiveMaximum=draw(bounds),
        multipleOf=draw(st.one_of(st.none(), st.integers(1, 9))),
    )


listed: st.SearchStrategy[list[Any]] = st.lists(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text('ab\n"é', max_size=3)),
    min_size=1,
    max_size=4,
)
leaves = st.one_of(
    texts(),
    numbers(),
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {}]),
    listed.map(lambda values: JSON(enum=values)),
    listed.map(lambda values: JSON(const=values[0])),
    st.just({"$ref": "#/$defs/tree"}),
    st.just({"$ref": "#/$defs/word"}),
)


names = st.sampled_from(["a", "b", "c d", 'e"'])
few = st.one_of(st.none(), st.integers(0, 2))


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[JSON]) -> JSON:
    properties = draw(st.dictionaries(names, inner, max_size=3))
    required = [name for name in properties if draw(st.booleans())]
    others = draw(st.one_of(st.none(), st.booleans(), inner))
    return said(
        type="object",
        properties=properties,
        required=required or None,
        additionalProperties=others,
    )


@st.composite
def mappings(draw: st.DrawFn, inner: st.SearchStrategy[JSON]) -> JSON:
    return said(
        type="object",
        additionalProperties=draw(inner),
        minProperties=draw(st.one_of(st.none(), st.integers(0, 1))),
        maxProperties=draw(lengths),
    )


@st.composite
def arrays(draw: st.DrawFn, inner: st.SearchStrategy[JSON]) -> JSON:
    return said(
        type="array",
        items=draw(st.one_of(inner, st.booleans())),
        prefixItems=draw(st.lists(inner, max_size=2)) or None,
        minItems=draw(few),
        maxItems=draw(lengths),
    )


def nested(inner: st.SearchStrategy[JSON]) -> st.SearchStrategy[JSON]:
    options = st.lists(inner, min_size=1, max_size=3)
    unions = options.map(lambda parts: JSON(anyOf=parts))
    both = st.lists(inner, min_size=1, max_size=2).map(lambda parts: JSON(allOf=parts))
    return st.one_of(objects(inner), mappings(inner), arrays(inner), unions, both)


schemas = st.recursive(leaves, nested, max_leaves=8)
DEFINITIONS: JSON = {
    "word": {"type": "string", "pattern": "^[a-z]{1,5}$"},
    "tree": {
        "type": "object",
        "properties": {
            "name": {"$ref": "#/$defs/word"},
            "kids": {"type": "array", "items": {"$ref": "#/$defs/tree"}},
        },
        "required": ["name"],
    },
}


@settings(max_examples=150)
@given(schemas, seeds, st.sampled_from([32, 256, 2048]))
def test_what_a_grammar_allows_the_schema_allows_unless_it_says_so(
    schema: JSON, seed: int, tokens: int
) -> None:
    whole = schema | {"$defs": DEFINITIONS}
    try:
        grammar = constrain(whole, tokens)
    except EngineError as error:
        assert "no finite value" in str(error)  # noqa: PT017 - drawn schemas may be empty
        return

    answer = json.loads(walk(grammar.text, seed))

    if not grammar.loosened:
        validate(answer, whole, Draft202012Validator)
