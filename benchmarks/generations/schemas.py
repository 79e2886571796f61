"""Twenty types of the kinds that agents publish, each with what to ask for.

Classes have no docstring on purpose: Pydantic would put it into the schema.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from enum import Enum
from ipaddress import IPv4Address
from typing import Annotated, Any, Literal
from uuid import UUID

from annotated_types import Len
from pydantic import AnyUrl, BaseModel, EmailStr, Field, HttpUrl, StringConstraints


class Severity(Enum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Flat(BaseModel):
    name: str
    age: int
    active: bool


class Bounds(BaseModel):
    score: float = Field(ge=0, le=1)
    stars: int = Field(ge=1, le=5)
    price: float = Field(gt=0, lt=10_000, multiple_of=0.01)
    even: int = Field(ge=0, le=100, multiple_of=2)


class Finding(BaseModel):
    file: str = Field(max_length=60)
    line: int = Field(ge=1)
    severity: Severity
    message: str = Field(min_length=10, max_length=200)


class Review(BaseModel):
    findings: list[Finding] = Field(min_length=1, max_length=4)
    verdict: Literal["approve", "reject", "discuss"]


class Address(BaseModel):
    street: str
    city: str
    zip: Annotated[str, StringConstraints(pattern=r"^\d{5}$")]


class Person(BaseModel):
    name: str
    home: Address
    work: Address | None = None
    emails: list[EmailStr] = Field(max_length=2)


class Ticket(BaseModel):
    id: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2,4}-\d{1,5}$")]
    colour: Annotated[str, StringConstraints(pattern=r"^#[0-9a-f]{6}$")]
    version: Annotated[str, StringConstraints(pattern=r"^\d+\.\d+\.\d+$")]


class Times(BaseModel):
    at: datetime
    day: date
    clock: time
    lasts: timedelta


class Reading(BaseModel):
    sensor: UUID
    at: datetime
    values: list[float] = Field(min_length=3, max_length=3)


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(ge=1, le=9)


class Dog(BaseModel):
    kind: Literal["dog"]
    tricks: list[str] = Field(max_length=3)


class Owner(BaseModel):
    name: str
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]


class Mixed(BaseModel):
    value: int | str | None
    flag: bool | Literal["unknown"]
    items: list[int | str] = Field(max_length=4)


class Node(BaseModel):
    label: str = Field(max_length=30)
    children: list[Node] = Field(default_factory=list["Node"], max_length=3)


class Chain(BaseModel):
    value: int
    next: Chain | None = None


class Tally(BaseModel):
    counts: dict[str, int]
    by_severity: dict[Severity, int]
    by_day: dict[date, float]


class Point(BaseModel):
    position: tuple[float, float]
    name_and_rank: tuple[str, int]
    rest: tuple[int, ...]


class Links(BaseModel):
    home: HttpUrl
    docs: AnyUrl
    server: IPv4Address
    contact: EmailStr


class Tags(BaseModel):
    tags: set[Annotated[str, StringConstraints(pattern=r"^[a-z]{2,12}$")]] = Field(max_length=5)
    levels: frozenset[Severity]


class Free(BaseModel):
    title: str
    data: Any
    notes: list[Any] = Field(max_length=3)


class Text(BaseModel):
    summary: str
    details: str
    advice: str = Field(min_length=20)


class Order(BaseModel):
    number: int = Field(ge=1)
    placed: datetime
    lines: Annotated[list[OrderLine], Len(1, 5)]
    ship_to: Address
    notes: str | None = None


class OrderLine(BaseModel):
    sku: Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]{8}$")]
    quantity: int = Field(ge=1, le=99)
    price: float = Field(ge=0, le=10_000)


class Wide(BaseModel):
    a: str
    b: str
    c: str
    d: int
    e: float
    f: bool
    g: Literal[1, 2, 3]
    h: list[str]
    i: Severity
    j: date


TYPES: list[tuple[type[BaseModel], str]] = [
    (Flat, "a person"),
    (Bounds, "a rating of a restaurant"),
    (Finding, "a problem in a Python file"),
    (Review, "a review of a Python module"),
    (Person, "a person with a home and an e-mail address"),
    (Ticket, "a support ticket"),
    (Times, "a meeting next week"),
    (Reading, "three temperatures of a sensor"),
    (Owner, "a person and a pet"),
    (Mixed, "a setting of a program"),
    (Node, "a table of contents"),
    (Chain, "three numbers, one after the other"),
    (Tally, "how many problems there were"),
    (Point, "a place on a map"),
    (Links, "a web site"),
    (Tags, "a blog post about cooking"),
    (Free, "anything about the weather"),
    (Text, "advice on learning a language"),
    (Order, "an order of books"),
    (Wide, "a project"),
]
"""Each type with what to ask for."""
