"""Any type has a sample: valid, the same in every process, different for each seed."""

# Types are drawn as text, so that another process can read them and a failure shows them. Each
# comes with how many values it has at least, so many seeds must give different instances; 0
# stands for a type whose parts may mean the same.

import dataclasses
import enum
import os
import subprocess
import sys
import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, TypeVar, Union, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import (
    AwareDatetime,
    BaseModel,
    Field,
    HttpUrl,
    StringConstraints,
    create_model,
    model_validator,
)
from typing_extensions import TypedDict

from flock.engines.dspy.sample import sample

T = TypeVar("T")
Drawn = tuple[str, int]


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Point(NamedTuple):
    x: int
    label: str = "here"


class Address(TypedDict):
    street: str
    zip_code: NotRequired[str]


@dataclasses.dataclass
class Money:
    amount: Annotated[int, Field(ge=5)]
    currency: str = "EUR"


class Line(BaseModel):
    text: str
    count: int = Field(ge=3)


class Box(BaseModel, Generic[T]):
    item: T


class Tree(BaseModel):
    value: int
    children: "list[Tree]"
    parent: "Tree | None"


class Period(BaseModel):
    start: date
    end: date

    @model_validator(mode="after")
    def ordered(self) -> "Period":
        if self.end <= self.start:
            raise ValueError("end must be after start")
        return self


NAMES: dict[str, Any] = {
    "Annotated": Annotated,
    "Any": Any,
    "AwareDatetime": AwareDatetime,
    "Decimal": Decimal,
    "Field": Field,
    "HttpUrl": HttpUrl,
    "IPv4Address": IPv4Address,
    "Literal": Literal,
    "Path": Path,
    "StringConstraints": StringConstraints,
    "UTC": UTC,
    "Union": Union,
    "date": date,
    "datetime": datetime,
    "timedelta": timedelta,
    "uuid": uuid,
    **{cls.__name__: cls for cls in (Colour, Point, Address, Money, Line, Box, Tree, Period)},
}


@st.composite
def integers(draw: st.DrawFn) -> Drawn:
    low, size = draw(st.integers(-1000, 1000)), draw(st.integers(0, 30))
    multiple = draw(st.sampled_from([1, 1, 3]))
    high = low + size * multiple + multiple - 1
    inner = f"ge={low}, le={high}, multiple_of={multiple}"
    return f"Annotated[int, Field({inner})]", size + 1


@st.composite
def reals(draw: st.DrawFn) -> Drawn:
    low = draw(st.floats(-1e9, 1e9))
    width = draw(st.floats(1e-3, 1e12))
    lower, upper = draw(st.sampled_from(["ge", "gt"])), draw(st.sampled_from(["le", "lt"]))
    bounds = draw(
        st.sampled_from(
            [f"{lower}={low!r}", f"{upper}={low!r}", f"{lower}={low!r}, {upper}={low + width!r}"]
        )
    )
    return f"Annotated[float, Field({bounds})]", 50


@st.composite
def decimals(draw: st.DrawFn) -> Drawn:
    places, whole = draw(st.integers(0, 4)), draw(st.integers(1, 4))
    low = draw(st.integers(0, 8))
    inner = f"ge={low}, max_digits={places + whole}, decimal_places={places}"
    return f"Annotated[Decimal, Field({inner})]", 10 ** (places + whole) - low * 10**places


@st.composite
def strings(draw: st.DrawFn) -> Drawn:
    low = draw(st.integers(0, 20))
    high = low + draw(st.integers(0, 20))
    cased = draw(st.sampled_from(["", ", to_lower=True", ", to_upper=True"]))
    inner = f"min_length={low}, max_length={high}, strip_whitespace=True{cased}"
    return f"Annotated[str, StringConstraints({inner})]", 9 if high else 1


@st.composite
def patterns(draw: st.DrawFn) -> Drawn:
    atoms = st.sampled_from([r"\d", "[a-f]", "x", "(?:ab|cd)", r"\w", r"[^\W\d_]", ".", r"\."])
    counts = st.sampled_from(["", "?", "*", "+", "{2}", "{1,3}", "{2,}"])
    body = "".join(draw(st.lists(st.tuples(atoms, counts).map("".join), min_size=1, max_size=5)))
    pattern = draw(st.sampled_from([f"^{body}$", body, f"^(?:{body}|-)+$"]))
    low = draw(st.sampled_from(["", ", min_length=4"])) if "+$" in pattern else ""
    return f"Annotated[str, Field(pattern={pattern!r}{low})]", 0


EPOCH = datetime(1900, 1, 1)  # noqa: DTZ001


@st.composite
def moments(draw: st.DrawFn) -> Drawn:
    edge = draw(st.datetimes(EPOCH, EPOCH.replace(year=2200)))
    bound = draw(st.sampled_from(["ge", "gt", "le", "lt"]))
    kind, value = draw(
        st.sampled_from(
            [
                ("datetime", repr(edge).replace("datetime.", "")),
                ("date", repr(edge.date()).replace("datetime.", "")),
                ("timedelta", f"timedelta(seconds={edge.minute * 1000 - 20_000})"),
            ]
        )
    )
    return f"Annotated[{kind}, Field({bound}={value})]", 50


PLAIN = st.sampled_from(
    [
        ("str", 50),
        ("int", 50),
        ("bool", 2),
        ("uuid.UUID", 50),
        ("Path", 50),
        ("Colour", 2),
        ("Literal['a', 'b', 3]", 3),
        ("HttpUrl", 50),
        ("Any", 50),
        ("Line", 50),
        ("Money", 50),
        ("Point", 50),
        ("Address", 50),
        ("Tree", 50),
        ("Period", 50),
        ("bytes", 50),
        ("AwareDatetime", 50),
        ("IPv4Address", 50),
    ]
)
LEAVES = st.one_of(PLAIN, integers(), reals(), decimals(), strings(), patterns(), moments())


def composed(inner: st.SearchStrategy[Drawn]) -> st.SearchStrategy[Drawn]:
    def optional(drawn: Drawn) -> Drawn:
        text, count = drawn
        return f"({text}) | None", count and count + (not text.endswith("None"))

    lists = st.tuples(inner, st.integers(0, 3)).map(
        lambda t: (f"Annotated[list[{t[0][0]}], Field(min_length={t[1]})]", t[0][1])
    )
    pairs = st.tuples(inner, inner).map(
        lambda t: (f"tuple[{t[0][0]}, {t[1][0]}]", t[0][1] * t[1][1])
    )
    unions = st.tuples(inner, inner).map(lambda t: (f"Union[{t[0][0]}, {t[1][0]}]", 0))
    dicts = inner.map(lambda t: (f"dict[str, {t[0]}]", 50))
    boxes = inner.map(lambda t: (f"Box[{t[0]}]", t[1]))
    repeats = inner.map(lambda t: (f"tuple[{t[0]}, ...]", t[1]))
    sets = st.one_of(integers(), strings()).map(lambda t: (f"frozenset[{t[0]}]", t[1]))
    return st.one_of(lists, inner.map(optional), pairs, unions, dicts, boxes, repeats, sets)


TYPES = st.recursive(LEAVES, composed, max_leaves=5)


def model_of(annotations: Sequence[str]) -> type[BaseModel]:
    fields: dict[str, Any] = {
        f"field_{i}": (eval(text, dict(NAMES)), ...) for i, text in enumerate(annotations)
    }
    return create_model("Drawn", **fields)


def plain(value: Any) -> Any:
    """Return the value with its sets in an order of their own."""
    match value:
        case dict():
            return [(plain(k), plain(v)) for k, v in cast("dict[Any, Any]", value).items()]
        case frozenset():
            return sorted(repr(plain(v)) for v in cast("frozenset[Any]", value))
        case list() | tuple():
            return [plain(v) for v in cast("Sequence[Any]", value)]
        case _:
            return repr(value)


def shown(model: type[BaseModel], seed: int) -> str:
    return repr(plain(dict(sample(model, seed=seed))))


@settings(max_examples=100)
@given(TYPES, st.integers(0, 10**6))
def test_any_type_has_a_valid_sample_that_is_always_the_same(drawn: Drawn, seed: int) -> None:
    annotation, _ = drawn
    model = model_of([annotation])
    instance = sample(model, seed=seed)
    assert type(instance) is model
    model.model_validate(instance.model_dump())
    assert instance == sample(model, seed=seed)


@settings(max_examples=100)
@given(TYPES)
def test_as_many_seeds_as_a_type_has_values_give_different_samples(drawn: Drawn) -> None:
    annotation, count = drawn
    wanted = max(1, min(count, 8))
    model = model_of([annotation])
    assert len({shown(model, seed) for seed in range(wanted)}) == wanted


@settings(max_examples=3)
@given(st.lists(TYPES, min_size=10, max_size=20))
def test_a_sample_is_the_same_in_every_process(drawn: list[Drawn]) -> None:
    annotations = [annotation for annotation, _ in drawn]
    model = model_of(annotations)
    here = [shown(model, seed) for seed in range(3)]
    program = (
        f"from {__name__} import model_of, shown\n"
        f"model = model_of({annotations!r})\n"
        "print([shown(model, seed) for seed in range(3)])\n"
    )
    for hash_seed in ("1", "2"):
        root = Path(__file__).parents[2]
        env = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-c", program], env=env, cwd=root, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        assert done.stdout.decode().strip() == repr(here)
