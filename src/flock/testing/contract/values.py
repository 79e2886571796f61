"""Whatever an artifact may hold comes back as it was."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from flock.core.artifacts import Artifact
from flock.core.types import MAX_PAYLOAD
from flock.store.protocol import BlackboardStore, Commit
from flock.testing.contract.foundation import QUICKLY, Foundation, Lifetime
from flock.testing.contract.samples import T0, artifact, shown


class Colour(Enum):
    """A choice."""

    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    """A number with a name."""

    LOW = 1
    HIGH = 2


class Inner(BaseModel):
    """What is within."""

    model_config = ConfigDict(populate_by_name=True)

    first_name: str = Field("a", alias="firstName")
    deeper: list[Inner] = Field(default_factory=list["Inner"])


class Everything(BaseModel):
    """A field of every kind that JSON has no word for, and of those that it has."""

    when: datetime = datetime(2024, 10, 27, 2, 30, 0, 123456, tzinfo=timezone(timedelta(hours=2)))
    naive: datetime = datetime(2024, 2, 29, 23, 59, 59)  # noqa: DTZ001 - such are stored too
    day: date = date(1, 1, 1)
    hour: time = time(23, 59, 59, 999999)
    span: timedelta = timedelta(days=-1, microseconds=1)
    id: UUID = UUID(int=7)
    price: Decimal = Decimal("1.10")
    colour: Colour = Colour.BLUE
    level: Level = Level.HIGH
    raw: bytes = "é\x00".encode()
    words: set[str] = {"b", "a"}
    fixed: frozenset[int] = frozenset({3, 1})
    pair: tuple[int, str] = (1, "x")
    by_day: dict[date, Decimal] = {date(2024, 1, 1): Decimal("0.00")}
    inner: Inner = Inner(firstName="ü", deeper=[Inner(firstName="b")])
    either: int | str = "1"
    literal: Literal["x"] | None = None
    text: str = ""
    huge: int = 2**200
    negative: int = -(2**64)
    fraction: float = 0.1 + 0.2
    tiny: float = 5e-324
    minus_zero: float = -0.0
    bounded: Annotated[int, Field(ge=0)] = 0
    anything: Any = None


class Text(BaseModel):
    """A text."""

    text: str


TEXTS = [
    "",
    "\x00",
    "a\x00b\x00",
    "\ufeff\uffff\U0010ffff",
    "e\u0301 \u2028 \u2029",
    '"\\\n\r\t\x7f\x1b',
    "'; DROP TABLE artifacts; --",
    "\U0001f600" * 3,
]


async def back(lifetime: Lifetime, made: Artifact) -> Artifact:
    """Return what comes back of an artifact, from a store that was opened again."""
    await lifetime.store.commit(Commit([made]))
    store = await lifetime.reopened()
    found = await store.get(made.id)
    assert found is not None
    return found


class Values(Foundation):
    """Whatever an artifact may hold comes back as it was."""

    async def test_every_kind_of_value_survives(self, lifetime: Lifetime) -> None:
        model = Everything()
        found = await back(lifetime, artifact(model))
        assert found.as_model(Everything) == model
        (again,) = await lifetime.store.get_by_type(Everything)
        assert repr(again.minus_zero) == "-0.0"
        for name, value in model:
            assert type(getattr(again, name)) is type(value), "equal, and yet something else"

    @pytest.mark.parametrize("text", TEXTS, ids=ascii)
    async def test_every_text_survives_wherever_it_is(self, lifetime: Lifetime, text: str) -> None:
        made = artifact(
            Text(text=text),
            workflow=f"w{text}",
            produced_by=text,
            partition_key=text,
            tags=[text, f"{text}!"],
        )
        found = await back(lifetime, made)
        assert shown([found]) == shown([made])
        assert found.as_model(Text).text == text

    @QUICKLY
    @given(
        texts=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=8)
    )
    async def test_any_text_survives(self, texts: list[str]) -> None:
        made = [
            artifact(Text(text=text), workflow=f"w{text}", tags=[text], partition_key=text)
            for text in texts
        ]
        async with self.lives() as lifetime:
            await lifetime.store.commit(Commit(made))
            assert shown(await (await lifetime.reopened()).list()) == shown(made)

    @pytest.mark.parametrize(
        "created",
        [0.0, 0.000001, T0 + 0.123456, T0 + 0.1, datetime.max.replace(tzinfo=UTC).timestamp() - 1],
    )
    async def test_the_time_of_publishing_survives_exactly(
        self, lifetime: Lifetime, created: float
    ) -> None:
        found = await back(lifetime, artifact(Text(text="x"), created=created))
        assert found.created == created

    async def test_the_largest_payload_survives(self, lifetime: Lifetime) -> None:
        wrapping = len(artifact(Text(text="")).data)
        made = artifact(Text(text="x" * (MAX_PAYLOAD - wrapping)))
        assert len(made.data) == MAX_PAYLOAD
        found = await back(lifetime, made)
        assert found.data == made.data

    async def test_any_number_of_parents_tags_and_hops_survives(
        self, store: BlackboardStore
    ) -> None:
        parents = [artifact(Text(text=str(n))) for n in range(300)]
        made = artifact(Text(text="child"), parents=parents, tags=[f"t{n}" for n in range(300)])
        child = artifact(Text(text="grandchild"), parents=[made])
        await store.commit(Commit([*parents, made, child]))
        assert shown(await store.latest(limit=2)) == shown([child, made])
