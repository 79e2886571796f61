"""Which texts an artifact's content has, and that nothing else is touched."""

from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, NamedTuple
from uuid import UUID

import pytest
from pydantic import AnyUrl, BaseModel, ConfigDict, Field, RootModel
from typing_extensions import TypedDict

from flock import Artifact, File, Image
from flock.components.guards.content import KeyCollision, changed, changed_json
from tests.unit.core.media.pictures import picture


class Colour(Enum):
    RED = "red"


@dataclass
class Point:
    label: str
    x: int = 1


class Entry(TypedDict):
    word: str


class Pair(NamedTuple):
    left: str
    right: int


class Names(RootModel[list[str]]):
    pass


class Inner(BaseModel):
    model_config = ConfigDict(extra="allow")
    text: str = Field(alias="TEXT")


class Everything(BaseModel):
    text: str = "a"
    number: int = 1
    when: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    price: Decimal = Decimal("1.50")
    key: UUID = UUID(int=1)
    colour: Colour = Colour.RED
    kind: Literal["k"] = "k"
    raw: bytes = b"raw"
    nothing: str | None = None
    inner: Inner = Inner.model_validate({"TEXT": "b", "more": {"deep": ["c"]}})
    names: Names = Names(["d"])
    points: list[Point] = Field(default=[Point("e")])
    entry: Entry = {"word": "f"}
    pair: Pair = Pair("g", 1)
    several: deque[str] = deque(["h"])
    some: set[str] = {"i"}
    days: set[datetime] = {datetime(2026, 1, 2, tzinfo=UTC)}
    by_name: dict[str, str] = {"j": "k2"}
    by_day: dict[datetime, str] = {datetime(2026, 1, 3, tzinfo=UTC): "l"}
    anything: Any = Field(default={"m": ["n", 1, None]})
    url: AnyUrl = AnyUrl("https://o.example/")
    file: File = File(b"p", "q.txt")
    binary: File = File(b"\0", "r.bin")
    image: Image = Image(picture("image/png"))


def seen(model: BaseModel) -> dict[str, str]:
    found: dict[str, str] = {}

    def change(text: str, place: str, name: str) -> str:
        found[place] = text
        return text

    payload = Artifact.of(model).payload
    assert changed(model, payload, change, str) == payload
    return found


def test_texts_are_found_with_their_places_and_all_else_is_left_alone():
    assert seen(Everything()) == {
        "text": "a",
        "kind": "k",
        "inner.text": "b",
        "inner[key]": "more",
        "inner['more'][key]": "deep",
        "inner['more']['deep'][0]": "c",
        "names[0]": "d",
        "points[0].label": "e",
        "entry[key]": "word",
        "entry['word']": "f",
        "pair[0]": "g",
        "several[0]": "h",
        "some[0]": "i",
        "by_name[key]": "j",
        "by_name['j']": "k2",
        "by_day.2026-01-03T00:00:00Z": "l",
        "anything[key]": "m",
        "anything['m'][0]": "n",
        "url": "https://o.example/",
        "file.name": "q.txt",
        "file.text": "p",
        "binary.name": "r.bin",
    }


def test_a_changed_payload_makes_a_changed_instance():
    payload = changed(
        Everything(), Artifact.of(Everything()).payload, lambda t, _p, _n: t.replace("p", "P"), str
    )
    made = Everything.model_validate(payload, by_name=True)
    assert made.file == File(b"P", "q.txt")
    assert made.image == Everything().image


def test_keys_that_would_become_one_are_refused():
    class Held(BaseModel):
        by_name: dict[str, int] = {"a": 1, "b": 2}

    with pytest.raises(KeyCollision, match="two keys of by_name would both become 'x'"):
        changed(Held(), Artifact.of(Held()).payload, lambda _t, _p, _n: "x", str)


def test_a_place_names_keys_as_they_are_shown():
    class Held(BaseModel):
        by_name: dict[str, str] = {"ann": "x"}

    places: list[str] = []
    changed(Held(), Artifact.of(Held()).payload, lambda t, p, _: places.append(p) or t, str.upper)
    assert places == ["by_name[key]", "by_name['ANN']"]


def test_a_text_is_told_with_the_name_that_it_stands_under():
    class Deep(BaseModel):
        tokens: list[str] = ["a"]
        options: dict[str, Any] = {"key": {"inner": [["b"]]}}
        file: File = File(b"c", "d")

    names: dict[str, str] = {}
    changed(Deep(), Artifact.of(Deep()).payload, lambda t, _, n: names.update({t: n}) or t, str)
    assert names == {"a": "tokens", "key": "", "inner": "", "b": "inner", "c": "", "d": ""}


def test_plain_json_is_changed_with_its_keys():
    data = {"a": ["b", 1, None, {"c": True}], 5: ("d", "e")}
    assert changed_json(data, lambda text, name: f"{name}>{text}") == {
        ">a": ["a>b", 1, None, {">c": True}],
        5: ("5>d", "5>e"),
    }
