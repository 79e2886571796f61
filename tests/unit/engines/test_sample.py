"""A sample is valid, the same everywhere, readable, and different for each seed."""

import dataclasses
import enum
import gc
import math
import re
import types
import uuid
import weakref
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from ipaddress import IPv4Address, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, TypeVar
from zoneinfo import ZoneInfo

import pydantic
import pytest
from annotated_types import Len, MinLen, Predicate
from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasPath,
    AwareDatetime,
    Base64Str,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    FutureDate,
    HttpUrl,
    ImportString,
    InstanceOf,
    Json,
    NaiveDatetime,
    NegativeInt,
    PastDatetime,
    PlainValidator,
    PostgresDsn,
    RootModel,
    SecretStr,
    StringConstraints,
    ValidationInfo,
    computed_field,
    create_model,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema
from typing_extensions import TypedDict

from flock.engines.dspy.sample import SampleError, sample

T = TypeVar("T")


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


class Names(RootModel[list[str]]):
    pass


class Grade:
    """A class that tells pydantic itself how it is read."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Grade) and other.value == self.value

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> CoreSchema:
        read = core_schema.no_info_after_validator_function(cls, core_schema.int_schema(ge=3))
        return core_schema.json_or_python_schema(
            json_schema=read, python_schema=core_schema.is_instance_schema(cls)
        )


def one(annotation: Any, seed: int = 0, name: str = "text") -> Any:
    """Return the sample of a model with one field of this type."""
    fields: dict[str, Any] = {name: (annotation, ...)}
    return getattr(sample(create_model("Sampled", **fields), seed=seed), name)


NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)


# The annotation, the value of the first seed and that of the second, if that one is told.
READABLE: list[tuple[Any, Any, Any]] = [
    (str, "text", "text 2"),
    (int, 1, 2),
    (float, 1.0, 2.0),
    (bool, True, False),
    (bytes, b"text", b"text 2"),
    (complex, 1 + 0j, 2 + 0j),
    (Decimal, Decimal(1), Decimal(2)),
    (Fraction, Fraction(1), Fraction(2)),
    (datetime, NOON, NOON + timedelta(days=1)),
    (AwareDatetime, NOON, NOON + timedelta(days=1)),
    (NaiveDatetime, NOON.replace(tzinfo=None), None),
    (PastDatetime, NOON, NOON + timedelta(days=1)),
    (date, date(2024, 1, 1), date(2024, 1, 2)),
    (FutureDate, date(2100, 1, 1), date(2100, 1, 2)),
    (time, time(12), time(12, 1)),
    (timedelta, timedelta(hours=1), timedelta(hours=1, minutes=1)),
    (uuid.UUID, uuid.UUID("00000000-0000-4000-8000-000000000001"), None),
    (Path, Path("text"), Path("text-2")),
    (IPv4Address, IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")),
    (IPv6Network, IPv6Network("2001:db8::/64"), IPv6Network("2001:db8:0:1::/64")),
    (HttpUrl, HttpUrl("https://example.com/text"), HttpUrl("https://example.com/text-2")),
    (PostgresDsn, PostgresDsn("postgres://example.com/text"), None),
    (SecretStr, SecretStr("text"), SecretStr("text 2")),
    (Base64Str, "text", "text 2"),
    (ByteSize, 1, 2),
    (Json[list[int]], [1], [2]),
    (re.Pattern[str], re.compile("text"), re.compile("text 2")),
    (ZoneInfo, ZoneInfo("UTC"), ZoneInfo("Europe/Berlin")),
    (Any, "text", "text 2"),
    (None, None, None),
    (Colour, Colour.RED, Colour.BLUE),
    (Literal["a", 2], "a", 2),
    (int | None, 1, 2),
    (int | str, 1, "text 2"),
    (Annotated[int | float, Field(ge=3)], 3, 4.0),
    (list[str], ["text"], ["text 2"]),
    (Annotated[list[str], Field(min_length=2)], ["text", "text 2"], ["text 2", "text 3"]),
    (Annotated[list[int], Field(max_length=0)], [], []),
    (set[int], {1}, {2}),
    (Annotated[set[bool], MinLen(2)], {True, False}, {True, False}),
    (frozenset[str], frozenset({"text"}), frozenset({"text 2"})),
    (tuple[int, str], (1, "text"), (2, "text 2")),
    (tuple[int, ...], (1,), (2,)),
    (Annotated[tuple[int, ...], MinLen(2)], (1, 2), (2, 3)),
    (dict[str, int], {"key": 1}, {"key 2": 2}),
    (Mapping[str, float], {"key": 1.0}, {"key 2": 2.0}),
    (Sequence[int], [1], [2]),
    (deque[int], deque([1]), deque([2])),
    (Annotated[deque[int], Len(2, 3)], deque([1, 2]), deque([2, 3])),
    (Counter[str], Counter({"key": 1}), Counter({"key 2": 2})),
    (OrderedDict[str, int], OrderedDict({"key": 1}), OrderedDict({"key 2": 2})),
    (Point, Point(1), Point(2)),
    (Address, {"street": "street"}, {"street": "street 2"}),
    (Money, Money(5), Money(6)),
    (Line, Line(text="text", count=3), Line(text="text 2", count=4)),
    (Box[int], Box[int](item=1), Box[int](item=2)),
    (Names, Names(["names"]), Names(["names 2"])),
    (Grade, Grade(3), Grade(4)),
    (InstanceOf[Grade], Grade(3), Grade(4)),
    (set[Grade], set(), set()),
    (ImportString[float], math.pi, math.e),
    (type[int], int, int),
    (list[Literal["a"]], ["a"], ["a", "a"]),
    (set[Literal[1, 2]], {1}, {2}),
    (dict[Annotated[int, Field(ge=5, le=4)], int], {}, {}),
]


@pytest.mark.parametrize(("annotation", "first", "second"), READABLE, ids=str)
def test_each_type_has_a_readable_value_for_each_seed(
    annotation: Any, first: Any, second: Any
) -> None:
    assert one(annotation) == first
    if second is not None:
        assert one(annotation, seed=1) == second


@pytest.mark.parametrize(
    ("annotation", "values"),
    [
        (Annotated[int, Field(gt=3)], [4, 5, 6]),
        (NegativeInt, [-1, -2, -3]),
        (Annotated[int, Field(multiple_of=7, gt=20)], [21, 28, 35]),
        (Annotated[int, Field(ge=1, le=2)], [1, 2, 1]),
        (Annotated[float, Field(ge=0, le=1)], [0.0, 0.5, 0.25]),
        (Annotated[float, Field(gt=0, lt=1)], [0.5, 0.25, 0.75]),
        (Annotated[float, Field(multiple_of=0.1, ge=1)], [1.0, 1.1, 1.2]),
        (Annotated[Decimal, Field(gt=0, lt=1, decimal_places=1)], [Decimal("0.1"), Decimal("0.2")]),
        (Annotated[Decimal, Field(max_digits=2, decimal_places=2, ge=0)], [Decimal("0.01")]),
        (Annotated[date, Field(lt=date(2000, 1, 1))], [date(1999, 12, 31), date(1999, 12, 30)]),
        (Annotated[timedelta, Field(gt=timedelta(0))], [timedelta(minutes=1)]),
        (Annotated[time, Field(ge=time(23, 59))], [time(23, 59), time(23, 59, 0, 1)]),
        (Annotated[str, Field(max_length=3)], ["tex", "t 2", "t 3"]),
        (Annotated[str, Field(min_length=9)], ["text text", "text te 2"]),
        (Annotated[str, Field(max_length=0)], ["", ""]),
        (Annotated[str, StringConstraints(to_upper=True)], ["TEXT", "TEXT 2"]),
        (Annotated[str, Field(pattern=r"^[A-Z]{2}-\d{3}$")], ["AA-000", "AA-001"]),
        (Annotated[str, Field(pattern="^(low|high)$")], ["low", "high", "low"]),
        (Annotated[str, Field(pattern="^[a-z]+$", min_length=5)], ["aaaaa", "aaaab"]),
        (Annotated[str, Field(pattern="x", min_length=3)], ["xaa", "xab"]),
        (Annotated[str, Field(pattern=re.compile("HI", re.IGNORECASE))], ["HI"]),
        (Annotated[str, Field(pattern=r"^\p{Lu}\p{Ll}+\z")], ["Aa", "Ab"]),
        (Annotated[str, Field(pattern=r"^[[:digit:]_]{2}$")], ["00", "01"]),
        (Annotated[int, Predicate(lambda n: n % 5 == 0)], [5, 10, 15]),
        (Annotated[str, AfterValidator(lambda s: s if "@" in s else 1 / 0)], ["user1@example.com"]),
        (Annotated[int, BeforeValidator(lambda v: v * 2)], [2, 4]),
        (Annotated[int, PlainValidator(lambda v: v)], [1, 2]),
        (Annotated[list[int], AfterValidator(lambda v: v if len(v) == 3 else 1 / 0)], [[1, 2, 3]]),
        (Annotated[Any, Field(ge=4)], [4, 5]),
    ],
    ids=str,
)
def test_values_keep_their_constraints(annotation: Any, values: list[Any]) -> None:
    assert [one(annotation, seed) for seed in range(len(values))] == values


@pytest.mark.parametrize(
    "pattern",
    [
        r"^(?=.*[A-Z])(?=.*\d)[A-Za-z\d]{8,}$",
        r"^(?!admin)[a-z]{5}$",
        r"^(ab|cd)\1$",
        r"\bfoo\b.+$",
        r"^((25[0-5]|(2[0-4]|1\d|[1-9]|)\d)\.?\b){4}$",
        r"^(?:[a-z]+-)*[a-z]{2,}(?P<end>x)?$",
        r"^[^\x00-\x7f]$",
    ],
)
def test_a_pattern_beyond_a_grammar_is_found_by_trying(pattern: str) -> None:
    class Coded(BaseModel):
        model_config = ConfigDict(regex_engine="python-re")
        code: str = Field(pattern=pattern)

    assert re.search(pattern, sample(Coded).code)
    assert sample(Coded) != sample(Coded, seed=1)


@pytest.mark.parametrize("version", [1, 3, 4, 5, 6, 7, 8])
def test_a_uuid_has_the_version_asked_for(version: Literal[1, 3, 4, 5, 6, 7, 8]) -> None:
    annotation = Annotated[uuid.UUID, pydantic.types.UuidVersion(version)]
    assert one(annotation).version == version
    assert one(annotation) != one(annotation, seed=1)


def test_an_email_address_is_named_after_its_field():
    pytest.importorskip("email_validator")
    emails = one(Annotated[list[pydantic.EmailStr], MinLen(2)], name="contact")
    assert emails == ["contact@example.com", "contact-2@example.com"]


def test_defaults_are_kept_and_examples_come_first():
    class Order(BaseModel):
        priority: int = 7
        tags: list[str] = Field(default_factory=list)
        size: str = Field(examples=["S", "M"])
        colour: str = Field("red", examples=["blue"])
        days: list[Annotated[date, Field(examples=[date(2020, 2, 2)])]]

    first, second = sample(Order), sample(Order, seed=1)
    assert first.model_dump() == {
        "priority": 7,
        "tags": [],
        "size": "S",
        "colour": "blue",
        "days": [date(2020, 2, 2)],
    }
    assert second.size == "M"


def test_an_example_that_is_not_valid_is_passed_by():
    class Order(BaseModel):
        size: int = Field(examples=["nonsense", 5])

    assert sample(Order).size == 5


def test_examples_of_a_whole_model_are_taken_in_turn():
    class Span(BaseModel):
        model_config = ConfigDict(
            strict=True,
            json_schema_extra={"examples": [{"day": "2024-05-05"}, {"day": "2024-05-06"}]},
        )
        day: date

    class Holder(BaseModel):
        span: Span

    assert [sample(Holder, seed=n).span.day.day for n in range(3)] == [5, 6, 5]


def test_a_default_that_differs_from_call_to_call_is_replaced():
    class Event(BaseModel):
        id: uuid.UUID = Field(default_factory=uuid.uuid4)
        twice: list[uuid.UUID] = Field(default_factory=lambda data: [data["id"]] * 2)

    assert sample(Event) == sample(Event)
    assert sample(Event).twice == [sample(Event).id] * 2


def test_a_default_that_is_not_valid_is_replaced():
    class Event(BaseModel):
        model_config = ConfigDict(validate_default=True)
        count: int = "many"  # pyright: ignore[reportAssignmentType]

    assert sample(Event).count == 1


def test_input_goes_by_alias_or_by_name_as_the_model_says():
    class Aliased(BaseModel):
        a: int = Field(alias="A")
        b: str = Field(validation_alias=AliasPath("x", "y", 1))
        c: str = Field(validation_alias=AliasPath("x", "y", 0))
        d: int = Field(validation_alias=AliasChoices(AliasPath("q", 0), "dd"))

    class ByName(BaseModel):
        model_config = ConfigDict(validate_by_alias=False, validate_by_name=True)
        a: int = Field(alias="A")

    assert sample(Aliased).model_dump() == {"a": 1, "b": "b", "c": "c", "d": 1}
    assert sample(ByName).a == 1


def test_a_strict_model_gets_instances_not_inputs():
    @pydantic.dataclasses.dataclass(config=ConfigDict(strict=True))
    class Part:
        day: date

    class Strict(BaseModel):
        model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
        when: datetime
        ids: tuple[uuid.UUID, ...]
        kinds: frozenset[Colour]
        price: Decimal
        part: Part
        line: Line
        point: Point
        recent: deque[int]
        counts: Counter[str]
        totals: defaultdict[str, int]

    assert sample(Strict).part.day == date(2024, 1, 1)


def test_the_configuration_of_the_model_holds_for_its_strings():
    class Short(BaseModel):
        model_config = ConfigDict(str_max_length=3, str_to_upper=True, str_strip_whitespace=True)
        name: str
        names: list[str]

    assert sample(Short, seed=1).model_dump() == {"name": "N 2", "names": ["N 2"]}


class Tree(BaseModel):
    value: int
    children: "list[Tree]"
    parent: "Tree | None"


class Leaf(BaseModel):
    kind: Literal["leaf"] = "leaf"
    value: int


class Sum(BaseModel):
    kind: Literal["sum"] = "sum"
    left: "Term"
    right: "Term"


class Term(BaseModel):
    of: Annotated[Sum | Leaf, Field(discriminator="kind")]


def test_a_recursive_type_ends_as_early_as_it_can():
    assert sample(Tree) == Tree(value=1, children=[], parent=None)
    assert sample(Term) == Term(of=Leaf(value=1))
    assert sample(Sum) == Sum(left=Term(of=Leaf(value=1)), right=Term(of=Leaf(value=1)))


class Endless(BaseModel):
    again: "Endless"


def test_a_type_without_an_end_is_refused_with_its_name():
    with pytest.raises(SampleError, match=r"'Endless.again': every 'Endless' needs another"):
        sample(Endless)


def test_a_dataclass_that_refuses_small_values_gets_larger_ones():
    @dataclasses.dataclass
    class Large:
        size: int

        def __post_init__(self):
            if self.size < 50:
                raise ValueError("too small")

    class Holder(BaseModel):
        larges: list[Large]

    sizes = [sample(Holder, seed=seed).larges[0].size for seed in range(4)]
    assert min(sizes) >= 50
    assert len(set(sizes)) == 4


class Period(BaseModel):
    start: date
    end: date

    @model_validator(mode="after")
    def ordered(self) -> "Period":
        if self.end <= self.start:
            raise ValueError("end must be after start")
        return self


class Password(BaseModel):
    password: str
    repeated: str

    @field_validator("repeated")
    @classmethod
    def equal(cls, value: str, info: ValidationInfo) -> str:
        if value != info.data["password"]:
            raise ValueError("differs")
        return value


class Falling(BaseModel):
    high: float
    low: float

    @model_validator(mode="after")
    def ordered(self) -> "Falling":
        assert self.low < self.high
        return self


class OneOrOther(BaseModel):
    this: int | None = None
    that: str | None = None

    @model_validator(mode="after")
    def exactly_one(self) -> "OneOrOther":
        if (self.this is None) == (self.that is None):
            raise ValueError("give one")
        return self


class Reshaped(BaseModel):
    total: int

    @model_validator(mode="before")
    @classmethod
    def renamed(cls, data: Any) -> Any:
        # As some do: changes what it was given.
        data["total"] = data.pop("total") * 10
        return data


class Built(BaseModel):
    period: Period
    reshaped: Reshaped

    @field_validator("reshaped", mode="before")
    @classmethod
    def built(cls, data: Any) -> Reshaped:
        return Reshaped(**data)


class Traded(BaseModel):
    currency: str
    rates: dict[str, float]

    @field_validator("currency")
    @classmethod
    def known(cls, value: str) -> str:
        if value not in {"EUR", "CHF"}:
            raise ValueError("unknown currency")
        return value

    @computed_field
    @property
    def title(self) -> str:
        return self.currency.lower()


@pytest.mark.parametrize(
    "model",
    [Period, Password, Falling, OneOrOther, Reshaped, Built, Traded],
    ids=lambda m: m.__name__,
)
def test_validators_are_satisfied_by_trying(model: type[BaseModel]) -> None:
    first, second = sample(model), sample(model, seed=1)
    assert type(first) is model
    assert first == sample(model)
    assert first != second


class Refusing(BaseModel):
    code: str

    @field_validator("code")
    @classmethod
    def never(cls, value: str) -> str:
        raise ValueError(f"no code like {value[:0]!r}")


class Contradictory(BaseModel):
    code: str
    count: int = 0

    @model_validator(mode="after")
    def never(self) -> "Contradictory":
        raise ValueError("never")


def test_an_impossible_field_is_named_with_the_remedy():
    class Outer(BaseModel):
        refusing: Refusing

    with pytest.raises(SampleError) as caught:
        sample(Outer)
    assert str(caught.value) == (
        "cannot sample 'Outer' at 'Refusing.code': its validator refused every value tried "
        "(Value error, no code like ''); give the field an example: Field(examples=[...])"
    )
    assert isinstance(caught.value, ValueError)


def test_an_impossible_model_is_named_with_the_remedy():
    with pytest.raises(SampleError, match=r"'Contradictory': .*never; give the model an example: "):
        sample(Contradictory)


def test_bounds_without_a_value_are_named():
    with pytest.raises(SampleError, match=r"'Sampled.text': its bounds leave no value"):
        one(Annotated[int, Field(ge=5, le=3)])


@pytest.mark.parametrize(
    ("annotation", "why"),
    [
        (Annotated[str, Field(pattern="(?U)a")], "no string was found for its pattern"),
        (Annotated[set[Literal[1]], Field(min_length=2)], "it needs 2 different elements"),
        (Annotated[set[Grade], MinLen(1)], "its elements have to be hashable"),
        (Annotated[str, Field(min_length=3, max_length=2)], "its bounds leave no length"),
        (InstanceOf[types.ModuleType], "no instance of 'module' can be made"),
    ],
)
def test_what_stands_in_the_way_is_told(annotation: Any, why: str) -> None:
    with pytest.raises(SampleError, match=re.escape(why)):
        one(annotation)


def test_a_model_whose_validator_gives_something_else_is_refused():
    class Odd(BaseModel):
        a: int

        @model_validator(mode="wrap")
        @classmethod
        def wrapped(cls, data: Any, handler: Any) -> Any:
            return {"model": handler(data)}

    with pytest.raises(SampleError, match="'Odd': its validators make 'dict' of it"):
        sample(Odd)


def test_an_example_is_never_shared_between_samples():
    class Noted(BaseModel):
        note: Any = Field(examples=[["first"]])

    sample(Noted).note.append("second")
    assert sample(Noted).note == ["first"]


def test_a_part_that_only_its_whole_can_read_is_sampled_with_it():
    class Inner(BaseModel):
        grade: "Later"  # pyright: ignore[reportUndefinedVariable]  # noqa: F821
        kind: Literal["inner"] = "inner"

    class Outer(BaseModel):
        inner: Inner

    Outer.model_rebuild(_types_namespace={"Later": int, "Inner": Inner})
    assert sample(Outer).model_dump() == {"inner": {"grade": 1, "kind": "inner"}}


def test_an_undefined_name_is_named():
    class Partial(BaseModel):
        part: "Missing"  # pyright: ignore[reportUndefinedVariable]  # noqa: F821

    with pytest.raises(SampleError, match=r"'Missing' is not defined; call Partial.model_rebuild"):
        sample(Partial)


def test_what_cannot_be_sampled_is_left_out_where_it_may_be():
    class Holder(BaseModel):
        items: list[Refusing]
        maybe: Refusing | None
        none: Annotated[int, Field(ge=5, le=4)] | None
        either: Refusing | int

    assert sample(Holder) == Holder(items=[], maybe=None, none=None, either=1)


def test_a_deferred_model_is_completed():
    class Deferred(BaseModel):
        model_config = ConfigDict(defer_build=True)
        line: Line

    assert sample(Deferred).line.count == 3


def test_a_model_without_fields_has_its_one_instance():
    class Done(BaseModel):
        pass

    assert sample(Done) == Done()


def test_a_lazy_iterable_can_be_read():
    class Lazy(BaseModel):
        items: Iterable[int]

    assert list(sample(Lazy).items) == [1]


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="seed must be 0 or more"):
        sample(Line, seed=-1)


def test_a_seed_may_be_as_large_as_a_hash():
    assert sample(Line, seed=2**63) != sample(Line, seed=2**63 + 1)
    assert sample(Period, seed=10**30).start < sample(Period, seed=10**30).end


def test_small_types_give_every_combination():
    class Small(BaseModel):
        a: bool
        b: Literal[1, 2, 3]
        c: Colour

    assert len({repr(sample(Small, seed=seed)) for seed in range(12)}) == 12


def test_a_class_that_was_sampled_can_be_collected():
    def sampled() -> "weakref.ref[type[BaseModel]]":
        class Short(BaseModel):
            code: Annotated[str, Field(pattern="^x+$")]
            line: Line

            @field_validator("code")
            @classmethod
            def kept(cls, value: str) -> str:
                return value

        sample(Short)
        return weakref.ref(Short)

    reference = sampled()
    gc.collect()
    assert reference() is None
