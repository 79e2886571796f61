"""The text of a model is what its text fields say, in a fixed order and in short passages."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel
from typing_extensions import TypeAliasType, TypedDict

from flock.core.texts import MAX_PASSAGE, MAX_PASSAGES, passages, strings, unreadable

T = TypeVar("T")


class Kind(StrEnum):
    BUG = "bug report"


class Level(Enum):
    HIGH = "high priority"
    LOW = 3


class Rank(IntEnum):
    FIRST = 1


@dataclass
class Author:
    name: str
    age: int


class Place(NamedTuple):
    city: str
    zip: int


class Meta(TypedDict):
    source: str


class Line(BaseModel):
    text: str
    price: Decimal = Decimal(1)


class Everything(BaseModel):
    subject: str
    number: int = 3
    when: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    key: UUID = UUID(int=1)
    raw: bytes = b"raw"
    lines: list[Line] = []
    by_name: dict[str, Line] = {}
    words: set[str] = set()
    kind: Kind = Kind.BUG
    level: Level | None = Level.HIGH
    literal: Literal["yes", 3] = "yes"
    author: Author | None = None
    place: Place | None = None
    meta: Meta | None = None
    hidden: str = Field(default="hidden", exclude=True)


class Tree(BaseModel):
    text: str
    children: list["Tree"] = []


class Numbers(BaseModel):
    n: int
    at: date
    many: list[dict[str, float]]
    rank: Rank
    pair: tuple[int, ...] | None = None
    child: "Numbers | None" = None
    label: str = Field(default="", exclude=True)


class Box(BaseModel, Generic[T]):
    value: T


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    n: int = 1


Text = TypeAliasType("Text", str)


class Aliases(BaseModel):
    one: Text
    two: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)] = [1]


class Root(RootModel[list[str]]):
    pass


def text_of(model: BaseModel, *fields: str) -> str:
    return "\n".join(passages(model, fields or None)[0])


def test_texts_come_in_the_order_of_the_fields_at_every_depth() -> None:
    model = Everything(
        subject="hello",
        lines=[Line(text="one"), Line(text="two")],
        by_name={"a name": Line(text="three")},
        words={"zebra", "ant", "bee"},
        author=Author("Ada", 36),
        place=Place("Paris", 75000),
        meta={"source": "mail"},
    )
    expected = "hello one two three ant bee zebra bug#report high#priority yes Ada Paris mail"
    assert text_of(model).replace(" ", "#").split("\n") == expected.split(" ")


def test_blank_texts_say_nothing() -> None:
    assert passages(Line(text=" \n\t "), None) == ([], 0)
    assert list(strings(["", " ", "x"])) == ["x"]


def test_text_is_found_in_recursive_generic_open_and_root_models() -> None:
    assert text_of(Tree(text="a", children=[Tree(text="b"), Tree(text="c")])) == "a\nb\nc"
    assert text_of(Box[str](value="boxed")) == "boxed"
    assert text_of(Open.model_validate({"n": 2, "note": "extra"})) == "extra"
    assert text_of(Root(["x", "y"])) == "x\ny"


def test_named_fields_come_in_the_order_they_are_named_and_alone() -> None:
    model = Everything(
        subject="hello",
        lines=[Line(text="one"), Line(text="two")],
        by_name={"first": Line(text="three")},
        author=Author("Ada", 36),
    )
    assert text_of(model, "lines", "subject") == "one\ntwo\nhello"
    assert text_of(model, "lines.text") == "one\ntwo"
    assert text_of(model, "by_name.first.text") == "three"
    assert text_of(model, "by_name.second.text") == ""
    assert text_of(model, "author.name") == "Ada"
    assert text_of(model, "place.city") == ""


def test_a_path_leads_to_fields_and_never_to_other_attributes() -> None:
    assert text_of(Open.model_validate({"free": {"text": "x"}}), "free.text") == "x"
    assert text_of(Open(), "model_config", "__doc__", "n.real") == ""


def test_a_long_text_is_cut_at_white_space() -> None:
    words = " ".join(f"word{number}" for number in range(300))
    found, rest = passages(Line(text=words), None)
    assert len(found) > 4
    assert all(250 < len(passage) <= MAX_PASSAGE for passage in found[:-1])
    assert " ".join(found) == words
    assert rest == 0


def test_a_line_is_kept_whole_where_it_fits() -> None:
    lines = ["a" * 200, "b" * 200, "c c " * 50]
    found, _ = passages(Line(text="\n".join(lines)), None)
    assert found == ["\n".join(lines[:2]), lines[2].strip()]


def test_a_text_without_white_space_is_cut_anyway() -> None:
    found, rest = passages(Line(text="x" * 1200), None)
    assert [len(passage) for passage in found] == [500, 500, 200]
    assert rest == 0


def test_what_is_beyond_the_last_passage_is_counted() -> None:
    found, rest = passages(Line(text="x" * (MAX_PASSAGE * MAX_PASSAGES + 7)), None)
    assert len(found) == MAX_PASSAGES
    assert rest == 7


def test_a_class_without_any_text_is_known_beforehand() -> None:
    assert unreadable(Numbers, None) == "has no text to compare with a query"
    assert unreadable(Box[int], None) == "has no text to compare with a query"


@pytest.mark.parametrize("cls", [Everything, Tree, Box[str], Box[Any], Box[Tree], Open, Root, Line])
def test_a_class_that_may_hold_text_is_readable(cls: type[BaseModel]) -> None:
    assert unreadable(cls, None) is None


@pytest.mark.parametrize(
    ("cls", "path", "reason"),
    [
        (Everything, "subject", None),
        (Everything, "lines.text", None),
        (Everything, "by_name.any_key.text", None),
        (Everything, "by_name.any_key.price", "has no text in its field"),
        (Everything, "author.anything", None),
        (Everything, "meta.source", None),
        (Everything, "level", None),
        (Tree, "children.children.text", None),
        (Open, "whatever.comes", None),
        (Aliases, "one", None),
        (Aliases, "two", "has no text in its field 'two'"),
        (Everything, "number", "has no text in its field 'number'"),
        (Everything, "lines.price", "has no text in its field 'lines.price'"),
        (Everything, "lines.txt", "has no field 'lines.txt'; at 'txt' there are: 'text', 'price'"),
        (Everything, "subject.text", "has no field 'subject.text'; at 'text' there are: none"),
        (Everything, "hidden", "has no field 'hidden'"),
        (Everything, "model_config", "has no field 'model_config'"),
    ],
)
def test_a_path_is_checked_against_the_class(
    cls: type[BaseModel], path: str, reason: str | None
) -> None:
    answer = unreadable(cls, [path])
    if reason is None:
        assert answer is None
    else:
        assert answer is not None
        assert answer.startswith(reason)


def test_each_path_has_to_be_right() -> None:
    paths: Sequence[str] = ["subject", "number"]
    assert unreadable(Everything, paths) is not None
