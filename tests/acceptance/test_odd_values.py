"""A value survives the board exactly, or it is refused with a PublishError: nothing in between."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

import dataclasses
import enum
import re
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from ipaddress import IPv4Address
from typing import Any, Literal, NamedTuple
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from pydantic import (
    AnyUrl,
    BaseModel,
    ConfigDict,
    Field,
    Json,
    SerializeAsAny,
    ValidationError,
    computed_field,
    field_serializer,
    model_serializer,
    model_validator,
)
from pydantic.alias_generators import to_camel
from typing_extensions import TypedDict

from flock import Artifact, Flock, PublishError


class Anything(BaseModel):
    value: Any


class Point(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass
class Plain:
    when: datetime
    raw: bytes


class Typed(TypedDict):
    a: int
    b: set[int]


class Shape(enum.Enum):
    PAIR = (1, 2)
    NONE = None


class Flags(enum.Flag):
    A = 1
    B = 2


class Left(BaseModel):
    x: int


class Right(BaseModel):
    x: int


class Base(BaseModel):
    x: int = 0


class Derived(Base):
    y: int = 0


class Keys(BaseModel):
    tuples: dict[tuple[int, str], int] = {}
    floats: dict[float, int] = {}
    raw: dict[bytes, int] = {}
    dates: dict[date, int] = {}
    shapes: dict[Shape, int] = {}
    booleans: dict[bool, int] = {}
    decimals: dict[Decimal, int] = {}


class Containers(BaseModel):
    point: Point = Point(1, 2)
    plain: Plain = Plain(datetime(2024, 1, 1, tzinfo=UTC), b"\xff")
    typed: Typed = {"a": 1, "b": {2}}
    ordered: OrderedDict[str, int] = OrderedDict()
    fallback: defaultdict[str, list[int]] = defaultdict(list)
    queue: deque[int] = deque()
    ip: IPv4Address = IPv4Address("127.0.0.1")
    url: AnyUrl = AnyUrl("https://example.org/x?y=1#z")
    pattern: re.Pattern[str] = re.compile("a+b")
    flags: Flags = Flags.A | Flags.B
    shape: Shape = Shape.PAIR
    fraction: Fraction = Fraction(1, 3)
    number: complex = 1 + 2j


class Camel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")
    first_name: str
    inner_list: list["Camel"] = []


class Configured(BaseModel):
    model_config = ConfigDict(
        ser_json_bytes="base64", ser_json_timedelta="float", ser_json_inf_nan="strings"
    )
    raw: bytes
    span: timedelta
    number: float


class JsonField(BaseModel):
    data: Json[list[int]]


class Named(BaseModel):
    type: str
    payload: dict[str, int] = {}
    id: int = 0
    tags: list[str] = []


class ManyBases(BaseModel):
    items: list[Base] = []
    any_base: SerializeAsAny[Base] | None = None
    either: Left | Right | None = None


class NestedExcluded(BaseModel):
    class Inner(BaseModel):
        kept: int
        dropped: list[int] = Field(default_factory=list, exclude=True)

    inner: Inner
    several: list[Inner] = []


class Unequal(BaseModel):
    x: int = 0

    def __eq__(self, other: object) -> bool:
        raise RuntimeError


class BadComputed(BaseModel):
    @computed_field
    @property
    def bad(self) -> int:
        raise RuntimeError


class BadSerializer(BaseModel):
    x: int = 0

    @field_serializer("x")
    def bad(self, _: int) -> Any:
        return object()


class RaisingSerializer(BaseModel):
    x: int = 0

    @model_serializer
    def bad(self) -> dict[str, Any]:
        raise RuntimeError


class Wrapped(BaseModel):
    x: int = 0

    @model_serializer
    def as_list(self) -> Any:
        return [self.x]

    @model_validator(mode="before")
    @classmethod
    def from_list(cls, value: Any) -> Any:
        return {"x": value[0]} if isinstance(value, list) else value


class Deep(BaseModel):
    child: "Deep | None" = None


def deep(levels: int) -> Deep:
    model = Deep()
    for _ in range(levels):
        model = Deep(child=model)
    return model


class Timely(BaseModel):
    when: datetime
    at: time = time(1, 2)


class Constrained(BaseModel):
    kind: Literal["a", b"b", 3, True, None]


VALUES: dict[str, Callable[[], BaseModel]] = {
    "any datetime": lambda: Anything(value=datetime(2024, 1, 1, tzinfo=UTC)),
    "any tuple": lambda: Anything(value=(1, 2)),
    "any set": lambda: Anything(value={1}),
    "any bytes": lambda: Anything(value=b"\xff"),
    "any object": lambda: Anything(value=object()),
    "any function": lambda: Anything(value=len),
    "any class": lambda: Anything(value=int),
    "any model": lambda: Anything(value=Left(x=1)),
    "any generator": lambda: Anything(value=iter([1, 2])),
    "any nan": lambda: Anything(value=float("nan")),
    "any inf": lambda: Anything(value=[float("inf")]),
    "any int keys": lambda: Anything(value={1: 2}),
    "any mixed keys": lambda: Anything(value={1: 2, "1": 3}),
    "any none key": lambda: Anything(value={None: 1}),
    "any bool": lambda: Anything(value=[True, 1, 1.0]),
    "any decimal": lambda: Anything(value=Decimal("1.0")),
    "any surrogate": lambda: Anything(value="\udcff"),
    "any surrogate key": lambda: Anything(value={"\ud800": 1}),
    "any huge int": lambda: Anything(value=10**5000),
    "any long int": lambda: Anything(value=2**64),
    "any enum": lambda: Anything(value=Shape.PAIR),
    "any exception": lambda: Anything(value=ValueError("x")),
    "any nested": lambda: Anything(value={"a": [{"b": None}]}),
    "keys": lambda: Keys(
        floats={1.5: 1},
        dates={date(2024, 1, 1): 1},
        booleans={True: 1},
        decimals={Decimal("1.10"): 1},
    ),
    "tuple keys": lambda: Keys(tuples={(1, "a,b"): 1}),
    "bytes keys": lambda: Keys(raw={b"\xff": 1}),
    "enum keys": lambda: Keys(shapes={Shape.NONE: 1}),
    "containers": lambda: Containers(),
    "camel": lambda: Camel(first_name="a", inner_list=[Camel(first_name="b")]),
    "configured": lambda: Configured(raw=b"\xff\x00", span=timedelta(seconds=0.1), number=1.5),
    "configured inf": lambda: Configured(raw=b"", span=timedelta(0), number=float("inf")),
    "json field": lambda: JsonField.model_validate({"data": "[1, 2]"}),
    "reserved names": lambda: Named(type="x", payload={"a": 1}, id=3, tags=["t"]),
    "subclass in a list": lambda: ManyBases(items=[Derived(y=1)]),
    "serialize as any": lambda: ManyBases(any_base=Derived(y=1)),
    "ambiguous union": lambda: ManyBases(either=Right(x=1)),
    "unequal": lambda: Unequal(),
    "bad computed": lambda: BadComputed(),
    "bad serializer": lambda: BadSerializer(),
    "raising serializer": lambda: RaisingSerializer(),
    "wrapped": lambda: Wrapped(x=4),
    "deep": lambda: deep(50),
    "very deep": lambda: deep(800),
    "zone": lambda: Timely(when=datetime(2024, 7, 1, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))),
    "zone in the hour that comes twice": lambda: Timely(
        when=datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    ),
    "fold": lambda: Timely(
        when=datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin"))
    ),
    "extreme time": lambda: Timely(when=datetime.max.replace(tzinfo=UTC), at=time.max),
    "literals": lambda: Constrained(kind=b"b"),
    "literal true": lambda: Constrained(kind=True),
    "surrogate": lambda: Named(type="\udcff"),
    "null character": lambda: Named(type="\x00"),
    "big": lambda: Named(type="x" * 3_000_000),
    "uuid key": lambda: Anything(value={str(uuid4()): 1}),
}

# These can be carried exactly, so a refusal is a failure too.
MUST_SURVIVE = {
    "any bool",
    "any long int",
    "any nested",
    "keys",
    "camel",
    "reserved names",
    "wrapped",
    "deep",
    "zone",
    "zone in the hour that comes twice",
    "extreme time",
    "null character",
    "big",
    "uuid key",
}
# These cannot, whatever one does.
MUST_BE_REFUSED = {
    "any object",
    "any function",
    "any class",
    "any generator",
    "any nan",
    "any tuple",
    "any set",
    "any exception",
    "subclass in a list",
    "serialize as any",
    "ambiguous union",
    "bad serializer",
    "raising serializer",
}


@pytest.mark.parametrize("name", VALUES)
async def test_a_value_survives_exactly_or_is_refused(name: str) -> None:
    model = VALUES[name]()
    ran: list[BaseModel] = []
    async with Flock() as board:
        board.agent("reader").consumes(type(model)).calls(ran.append)
        artifact: Artifact | None = None
        refusal: PublishError | None = None
        try:
            artifact = await board.publish(model)
        except PublishError as error:
            refusal = error
        report = await board.run_until_idle()
        assert report.failed == 0
        if artifact is None:
            assert name not in MUST_SURVIVE, refusal
            assert await board.store.list() == []
            assert ran == []
            assert len(str(refusal).encode()) < 10_000
        else:
            assert name not in MUST_BE_REFUSED
            assert len(ran) == 1
            for read in (artifact.as_model(type(model)), *ran):
                assert read is not model
                if name not in ("unequal", "zone in the hour that comes twice", "fold"):
                    assert read == model
            assert len(repr(artifact)) < 10_000


@pytest.mark.parametrize("name", VALUES)
async def test_an_output_survives_exactly_or_fails_its_run(name: str) -> None:
    async with Flock() as board:
        board.agent("work").consumes(Left).publishes(type(VALUES[name]())).calls(
            lambda _: VALUES[name]()
        )
        await board.publish(Left(x=1))
        report = await board.run_until_idle()
        stored = len(await board.store.list()) - 1 - report.failed  # without the WorkflowError
        if report.failed:
            assert stored == 0
            assert name not in MUST_SURVIVE
            assert len(await board.dead_letters()) == 1
        else:
            assert stored == 1
            assert name not in MUST_BE_REFUSED


async def test_excluded_fields_of_nested_models_stay_behind_without_a_refusal() -> None:
    inner = NestedExcluded.Inner(kept=1, dropped=[1, 2])
    model = NestedExcluded(inner=inner, several=[inner])
    async with Flock() as board:
        artifact = await board.publish(model)
        read = artifact.as_model(NestedExcluded)
        assert (read.inner.kept, read.inner.dropped) == (1, [])
        assert read.several[0].dropped == []
        assert model.inner.dropped == [1, 2]


async def test_a_frozen_model_survives_and_stays_frozen() -> None:
    class Frozen(BaseModel):
        model_config = ConfigDict(frozen=True)
        x: int

    async with Flock() as board:
        read = (await board.publish(Frozen(x=1))).as_model(Frozen)
        assert read == Frozen(x=1)
        with pytest.raises(ValidationError):
            read.x = 2
