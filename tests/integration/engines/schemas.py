"""Types that between them use what JSON Schema and Pydantic have."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, TypeVar
from uuid import UUID

from annotated_types import Len
from pydantic import (
    AliasChoices,
    AnyUrl,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    EmailStr,
    Field,
    FutureDate,
    HttpUrl,
    PastDate,
    RootModel,
    computed_field,
    field_validator,
    model_validator,
)
from typing_extensions import TypedDict


class Asked(BaseModel):
    """What every agent of the suite is asked with."""

    text: str = Field(default="please", description="what is wanted")


class Plain(BaseModel):
    """A few scalars."""

    text: str
    number: int
    share: float
    is_so: bool


class Address(BaseModel):
    street: str = Field(min_length=2)
    city: str


class Nested(BaseModel):
    name: str
    home: Address
    others: list[Address] = Field(min_length=1, max_length=3)


class Tree(BaseModel):
    label: str
    children: list[Tree] = []


class Chain(BaseModel):
    value: int
    after: Chain | None


class Left(BaseModel):
    name: str
    right: Right | None = None


class Right(BaseModel):
    size: int
    left: Left


class Color(StrEnum):
    RED = "red"
    GREEN = "green"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Mixed(Enum):
    WORD = "word"
    NUMBER = 3


class Enums(BaseModel):
    color: Color
    level: Level
    mixed: Mixed
    literal: Literal["a", "b", 3]


class Bounds(BaseModel):
    positive: int = Field(gt=0)
    grade: int = Field(ge=1, le=6)
    share: float = Field(ge=0, lt=1)
    even: int = Field(multiple_of=2, ge=2)
    price: Decimal = Field(gt=0, max_digits=6, decimal_places=2)


class Patterns(BaseModel):
    plate: str = Field(pattern=r"^[A-Z]{2}-\d{3}$")
    version: str = Field(pattern=r"^\d+\.\d+(\.\d+)?$")
    code: Annotated[str, Field(min_length=4, max_length=4)]


class Times(BaseModel):
    day: date
    at: datetime
    aware: AwareDatetime
    clock: time
    span: timedelta


class Identities(BaseModel):
    id: UUID
    link: AnyUrl


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(ge=1, le=9)


class Dog(BaseModel):
    kind: Literal["dog"]
    tricks: list[str] = Field(max_length=2)


class Discriminated(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    pets: list[Annotated[Cat | Dog, Field(discriminator="kind")]] = Field(min_length=2)


class Unions(BaseModel):
    either: int | str
    several: list[int | bool | None]
    maybe: Address | None


class Aliased(BaseModel):
    given_name: str = Field(alias="givenName")
    family: str = Field(validation_alias=AliasChoices("familyName", "surname"))
    age: int = Field(validation_alias="years", serialization_alias="age", ge=0)


class Mappings(BaseModel):
    counts: dict[str, int] = Field(min_length=1)
    anything: dict[str, Any]
    by_color: dict[Color, float]


class Sequences(BaseModel):
    pair: tuple[int, str]
    unique: set[int] = Field(min_length=2)
    matrix: list[list[float]] = Field(min_length=1)


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    day: date
    count: int
    id: UUID


class Camel(BaseModel):
    model_config = ConfigDict(alias_generator=lambda name: name.title().replace("_", ""))
    first_part: int
    second_part: str


class Defaults(BaseModel):
    text: str = "as it was"
    tags: list[str] = Field(default_factory=list)
    note: str | None = None


class Validated(BaseModel):
    low: int = Field(ge=0)
    high: int = Field(ge=0)
    word: str

    @field_validator("word")
    @classmethod
    def lower(cls, word: str) -> str:
        return word.lower()

    @model_validator(mode="after")
    def ordered(self) -> Validated:
        if self.high < self.low:
            raise ValueError("high is lower than low")
        return self

    @computed_field
    @property
    def width(self) -> int:
        return self.high - self.low


class Rooted(RootModel[list[Address]]):
    """Its content is a list."""


class Schema(BaseModel):
    """A name that Pydantic's own classes have, too."""

    model_id: str
    json_text: str


T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    items: list[T] = Field(min_length=1)
    following: Page[T] | None = None


class Pages(BaseModel):
    addresses: Page[Address]
    numbers: Page[int]


class Point(TypedDict):
    x: float
    y: NotRequired[float]


class Range(NamedTuple):
    low: int
    high: int


@dataclass
class Size:
    width: Annotated[int, Field(gt=0)]
    unit: Literal["mm", "cm"] = "mm"


class Records(BaseModel):
    """Records of other kinds than models."""

    point: Point
    range: Range
    sizes: list[Size] = Field(min_length=2)


class Windows(BaseModel):
    """Dates and times within limits."""

    day: date = Field(ge=date(2030, 1, 1), lt=date(2030, 2, 1))
    at: datetime = Field(gt=datetime(2030, 1, 1))  # noqa: DTZ001 - naive ones are tested, too
    span: timedelta = Field(ge=timedelta(minutes=5), le=timedelta(hours=1))
    birthday: PastDate
    deadline: FutureDate


class Networks(BaseModel):
    v4: IPv4Address
    v6: IPv6Address
    host: HttpUrl
    mail: EmailStr


class Leaf(BaseModel):
    op: Literal["leaf"]
    value: float


class Branch(BaseModel):
    op: Literal["and", "or"]
    parts: list[Expression] = Field(min_length=1)


Expression = Annotated[Leaf | Branch, Field(discriminator="op")]


class Formula(BaseModel):
    """A tagged union that holds itself."""

    root: Expression


class Deep(BaseModel):
    table: dict[str, list[tuple[Color, Address | None]]] = Field(min_length=1)
    grid: Annotated[list[Annotated[list[Annotated[int, Field(ge=0, le=9)]], Len(3, 3)]], Len(2, 4)]
    frozen: frozenset[Literal["x", "y"]] = Field(min_length=1)
    either: Annotated[str, Field(pattern=r"^[a-f]{3}$")] | Annotated[int, Field(ge=10)]


Branch.model_rebuild()

EVERY: tuple[type[BaseModel], ...] = (
    Plain,
    Nested,
    Tree,
    Chain,
    Right,
    Enums,
    Bounds,
    Patterns,
    Times,
    Identities,
    Discriminated,
    Unions,
    Aliased,
    Mappings,
    Sequences,
    Strict,
    Camel,
    Defaults,
    Validated,
    Rooted,
    Schema,
    Pages,
    Records,
    Windows,
    Networks,
    Formula,
    Deep,
)
