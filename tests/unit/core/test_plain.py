"""What is taken as plain would have passed the trip through JSON as well, and reads the same."""

import enum
from functools import cached_property
from typing import Annotated, Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    RootModel,
    StrictInt,
    StringConstraints,
    computed_field,
    create_model,
    field_serializer,
    field_validator,
    model_serializer,
    model_validator,
)

from flock.core.plain import plain_kinds
from flock.core.types import TypeEntry
from flock.errors import PublishError


class Plain(BaseModel):
    text: str = "x"
    number: int = 1
    truth: bool = False
    real: float | None = None
    word: Optional[str] = Field(default=None, alias="Wort", description="x")  # noqa: UP045


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    n: int = 1


class Short(BaseModel):
    text: Annotated[str, StringConstraints(max_length=3)] = "x"


class Positive(BaseModel):
    n: int = Field(default=1, gt=0)


class Strict(BaseModel):
    n: StrictInt = 1


class Stripped(BaseModel):
    model_config = ConfigDict(str_strip_whitespace=True)
    text: str = " x "


class Checked(BaseModel):
    n: int = 1

    @field_validator("n")
    @classmethod
    def _double(cls, n: int) -> int:
        return n * 2


class Shaped(BaseModel):
    n: int = 1

    @field_serializer("n")
    def _less(self, n: int) -> int:
        return n - 1


class ShapedText(BaseModel):
    text: Annotated[str, PlainSerializer(lambda text: text.upper())] = "x"


class ShapedWhole(BaseModel):
    n: int = 1

    @model_serializer
    def _other(self) -> dict[str, Any]:
        return {"n": self.n + 1}


class Completed(BaseModel):
    n: int = 1

    @model_validator(mode="after")
    def _more(self) -> "Completed":
        self.n += 1
        return self


class Initialised(BaseModel):
    n: int = 1

    def model_post_init(self, context: object, /) -> None:
        self.n += 1


class Constructed(BaseModel):
    n: int = 1

    def __init__(self, **data: Any) -> None:
        super().__init__(**{**data, "n": 5})


class LeftOut(BaseModel):
    n: int = Field(default=1, exclude=True)


class LeftOutSometimes(BaseModel):
    n: int = Field(default=1, exclude_if=lambda n: n == 2)


class After(BaseModel):
    n: Annotated[int, AfterValidator(lambda n: n + 1)] = 1


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    n: int = 1


class Root(RootModel[int]):
    root: int = 1


class Area(BaseModel):
    side: int = 1

    @computed_field
    @property
    def area(self) -> int:
        return self.side**2


class Caching(BaseModel):
    n: int = 1

    @cached_property
    def slow(self) -> int:
        return self.n


class Nested(BaseModel):
    inner: Plain | None = None


class Level(enum.IntEnum):
    LOW = 1


class Text(str):
    pass


VALUES: list[Any] = [
    *(0, 1, 2, -1, 10**40, True, False, None, 1.0, 1.5, 1e300, 0.1 + 0.2, -0.0),
    *(float("inf"), float("nan"), "", " x ", "longer", "\x00", "\udcff", "é", b"x"),
    *(Level.LOW, Text("x"), [1], {1}, object()),
]


def outcome(entry: TypeEntry, obj: BaseModel) -> bytes | str:
    try:
        return entry.freeze(obj)
    except (PublishError, TypeError) as error:  # or what the class's own code raises
        return type(error).__name__


def check(obj: BaseModel) -> None:
    """Compare what the short way says with what the whole trip through JSON says."""
    short, whole = (TypeEntry(type(obj), "test", 1) for _ in range(2))
    whole._codecs()
    whole._plain = None
    assert outcome(short, obj) == outcome(whole, obj)


CLASSES: list[type[BaseModel]] = [
    *(Plain, Frozen, Short, Positive, Strict, Stripped, Checked, Shaped, ShapedText),
    *(ShapedWhole, Completed, Initialised, Constructed, LeftOut, LeftOutSometimes, After),
    *(Open, Root, Area, Caching, Nested),
]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_the_short_way_decides_as_the_whole_trip_does(cls: type[BaseModel]) -> None:
    for name in cls.model_fields:
        for value in VALUES:
            obj = cls()
            vars(obj)[name] = value
            check(obj)


@pytest.mark.parametrize("declared", [str, int, bool, float, int | None, "float | None"])
def test_the_short_way_decides_as_the_whole_trip_does_for_every_type(declared: Any) -> None:
    cls = create_model("Made", x=(declared, ...))
    for value in VALUES:
        check(cls.model_construct(x=value))


@given(
    st.builds(
        Plain.model_construct,
        text=st.text(st.characters(exclude_categories=[])) | st.integers(),
        number=st.integers() | st.booleans() | st.floats(),
        truth=st.booleans() | st.integers(0, 1),
        real=st.none() | st.floats() | st.integers(),
        word=st.none() | st.text(),
    )
)
def test_the_short_way_decides_as_the_whole_trip_does_for_any_values(obj: Plain) -> None:
    check(obj)


def test_missing_and_added_attributes_are_seen() -> None:
    check(Plain.model_construct())
    obj = Plain(text="x")
    vars(obj)["added"] = 1
    check(obj)
    caching = Caching()
    assert caching.slow == 1
    check(caching)
    opened = Open.model_validate({"n": 1, "more": {1: "x"}})
    check(opened)


@pytest.mark.parametrize("cls", [Plain, Frozen])
def test_usual_models_go_the_short_way(cls: type[BaseModel]) -> None:
    assert plain_kinds(cls.__pydantic_core_schema__) is not None
