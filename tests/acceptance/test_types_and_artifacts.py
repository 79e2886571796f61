"""Types keep their names, and what lies on the board stays what was published."""

# Agents are short lambdas here.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportOptionalMemberAccess=false

import asyncio
import contextlib
import enum
import json
import subprocess
import sys
import textwrap
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    RootModel,
    SecretStr,
    computed_field,
    field_serializer,
    field_validator,
)

from flock import (
    AfterVisibility,
    Artifact,
    BatchSpec,
    Flock,
    FlockError,
    JoinSpec,
    LabelledVisibility,
    PrivateVisibility,
    PublicVisibility,
    PublishError,
    TenantVisibility,
    TypeRegistryError,
    UpcastError,
    flock_type,
    upcasts,
)
from flock.testing import ManualClock

MODULE = __name__


def define(source: str, module: str = "acceptance_notebook", **names: object) -> dict[str, Any]:
    """Run a notebook cell: the classes in it belong to `module`."""
    namespace: dict[str, Any] = {
        "__name__": module,
        "BaseModel": BaseModel,
        "flock_type": flock_type,
        "upcasts": upcasts,
        **names,
    }
    exec(textwrap.dedent(source), namespace)
    return namespace


async def stored(model: BaseModel) -> Artifact:
    async with Flock() as board:
        artifact = await board.publish(model)
        again = await board.store.get(artifact.id)
        assert again is not None
        return again


async def refused(model: BaseModel) -> None:
    """The board refuses the model and nothing at all is stored or run."""
    ran: list[Any] = []
    async with Flock() as board:
        board.agent("any").consumes(type(model)).calls(ran.append)
        with pytest.raises(PublishError) as failure:
            await board.publish(model)
        assert type(model).__name__ in str(failure.value)
        with pytest.raises(PublishError):
            await board.publish_many([Plain(text="good"), model])
        await board.run_until_idle()
        assert await board.store.list() == []
    assert ran == []


class Plain(BaseModel):
    text: str


# --- Names --------------------------------------------------------------------------------


async def test_an_undecorated_class_is_called_by_module_and_qualified_name() -> None:
    class Inner(BaseModel):
        x: int = 0

    assert (await stored(Plain(text="x"))).type == f"{MODULE}.Plain"
    assert (await stored(Inner())).type == f"{MODULE}.{Inner.__qualname__}"
    assert (await stored(Plain(text="x"))).version == 1


async def test_a_decorated_class_has_its_own_name_and_version() -> None:
    @flock_type(name="acceptance/Decorated", version=2)
    class Decorated(BaseModel):
        x: int = 0

    @flock_type
    class Bare(BaseModel):
        x: int = 0

    artifact = await stored(Decorated())
    assert (artifact.type, artifact.version) == ("acceptance/Decorated", 2)
    assert (await stored(Bare())).type == f"{MODULE}.{Bare.__qualname__}"


APP = """
import asyncio
from pydantic import BaseModel
from flock import Flock

class Scan(BaseModel):
    patient: str

async def main():
    async with Flock() as board:
        artifact = await board.publish(Scan(patient="p"))
        print(artifact.type)

if __name__ == "__main__":
    asyncio.run(main())
"""


def test_a_script_writes_the_names_that_importing_it_reads(tmp_path: Path) -> None:
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").write_text("")
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "pkg" / "app.py").write_text(APP)

    def run(*args: str) -> str:
        done = subprocess.run(
            [sys.executable, *args], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert run("app.py") == "app.Scan"
    assert run("-c", "import app, asyncio; asyncio.run(app.main())") == "app.Scan"
    assert run("-m", "app") == "app.Scan"
    assert run("-m", "pkg.app") == "pkg.app.Scan"
    assert run("-c", "import pkg.app, asyncio; asyncio.run(pkg.app.main())") == "pkg.app.Scan"


async def test_running_a_notebook_cell_twice_replaces_the_class() -> None:
    cell = """
    class CellTwice(BaseModel):
        x: int
    """
    ran: list[Any] = []
    first = define(cell)["CellTwice"]
    async with Flock() as board:
        board.agent("reader").consumes(first).calls(ran.append)
        one = await board.publish(first(x=1))
        second = define(cell)["CellTwice"]
        two = await board.publish(second(x=2))
        await board.run_until_idle()
        assert one.type == two.type
        assert [m.x for m in await board.store.get_by_type(second)] == [1, 2]
        assert all(type(m) is second for m in await board.store.get_by_type(second))
    assert [m.x for m in ran] == [1, 2]


def test_another_class_under_a_taken_name_is_an_error_that_names_both() -> None:
    @flock_type(name="acceptance/Taken")
    class First(BaseModel):
        x: int = 0

    with pytest.raises(TypeRegistryError) as failure:

        @flock_type(name="acceptance/Taken")
        class Second(BaseModel):
            x: int = 0

    assert "acceptance/Taken" in str(failure.value)
    assert "First" in str(failure.value)
    assert isinstance(failure.value, LookupError)


async def test_the_first_class_keeps_a_name_that_another_class_wanted() -> None:
    @flock_type(name="acceptance/Kept")
    class Owner(BaseModel):
        x: int = 0

    with contextlib.suppress(FlockError):

        @flock_type(name="acceptance/Kept")
        class Thief(BaseModel):
            x: int = 0

    async with Flock() as board:
        await board.publish({"type": "acceptance/Kept", "x": 1})
        assert await board.store.get_by_type(Owner) == [Owner(x=1)]


async def test_a_subclass_never_takes_its_parents_name_or_its_agents() -> None:
    @flock_type(name="acceptance/Parent")
    class Parent(BaseModel):
        x: int = 0

    class Child(Parent):
        y: int = 0

    ran: list[str] = []
    async with Flock() as board:
        board.agent("of-parent").consumes(Parent).calls(lambda m: ran.append(type(m).__name__))
        board.agent("of-child").consumes(Child).calls(lambda m: ran.append(type(m).__name__))
        child = await board.publish(Child())
        parent = await board.publish(Parent())
        await board.run_until_idle()
        assert child.type == f"{MODULE}.{Child.__qualname__}"
        assert parent.type == "acceptance/Parent"
        assert sorted(ran) == ["Child", "Parent"]
        assert await board.store.get_by_type(Parent) == [Parent()]
        by_name = await board.publish({"type": "acceptance/Parent", "x": 3})
        assert type(by_name.as_model(Parent)) is Parent


async def test_a_decorated_subclass_has_its_own_name_even_when_the_parent_came_later() -> None:
    class Base(BaseModel):
        x: int = 0

    @flock_type(name="acceptance/Sub", version=3)
    class Sub(Base):
        pass

    assert (await stored(Sub())).type == "acceptance/Sub"
    base = await stored(Base())
    assert (base.type, base.version) == (f"{MODULE}.{Base.__qualname__}", 1)


class OnlyOneOfThisShortName(BaseModel):
    text: str


async def test_a_unique_short_name_is_enough() -> None:
    async with Flock() as board:
        board.agent("any").consumes(OnlyOneOfThisShortName).calls(lambda _: None)
        a = await board.publish({"type": "OnlyOneOfThisShortName", "text": "inline"})
        b = await board.publish({"type": "OnlyOneOfThisShortName", "payload": {"text": "p"}})
        c = await board.publish({"type": f"{MODULE}.OnlyOneOfThisShortName", "text": "full"})
        assert {a.type, b.type, c.type} == {f"{MODULE}.OnlyOneOfThisShortName"}
        assert [m.text for m in await board.store.get_by_type(OnlyOneOfThisShortName)] == [
            "inline",
            "p",
            "full",
        ]
        assert len(await board.store.list_by_type("OnlyOneOfThisShortName")) == 3


async def test_ambiguous_and_unknown_names_are_errors_that_store_nothing() -> None:
    a = define("class AmbiguousName(BaseModel):\n    x: int = 0", "acceptance_left")
    b = define("class AmbiguousName(BaseModel):\n    x: int = 0", "acceptance_right")
    async with Flock() as board:
        await board.publish_many([a["AmbiguousName"](), b["AmbiguousName"]()])
        with pytest.raises(FlockError, match="acceptance_left") as failure:
            await board.publish({"type": "AmbiguousName"})
        assert "acceptance_right" in str(failure.value)
        with pytest.raises(FlockError, match="NobodyKnowsThis"):
            await board.publish({"type": "NobodyKnowsThis"})
        assert len(await board.store.list()) == 2


async def test_a_type_is_not_registered_by_guessing_from_a_dict() -> None:
    async with Flock() as board:
        for wrong in ({}, {"text": "no type"}, {"type": 3}, {"type": ""}, {"type": None}):
            with pytest.raises(FlockError):
                await board.publish(wrong)
        assert await board.store.list() == []


# --- Versions -----------------------------------------------------------------------------


async def test_stored_older_versions_are_upcast_step_by_step_when_read() -> None:
    v1 = define(
        """
        @flock_type(name="acceptance/Person", version=1)
        class Person(BaseModel):
            name: str
        """
    )["Person"]
    async with Flock() as board:
        old = await board.publish(v1(name="Ada Lovelace"))
        v3 = define(
            """
            @flock_type(name="acceptance/Person", version=3)
            class Person(BaseModel):
                first: str
                last: str
                age: int

            @upcasts(Person, from_version=1)
            def split(payload):
                first, last = payload.pop("name").split()
                return {**payload, "first": first, "last": last}

            @upcasts(Person, from_version=2)
            def with_age(payload):
                return {**payload, "age": 36}
            """
        )["Person"]
        expected = v3(first="Ada", last="Lovelace", age=36)
        assert await board.store.get_by_type(v3) == [expected]
        assert await board.store.get_by_type(v3) == [expected]
        again = await board.store.get(old.id)
        assert again is not None
        assert again.as_model(v3) == expected
        seen: list[Any] = []
        board.agent("reader").consumes(v3).calls(seen.append)
        new = await board.publish(expected)
        await board.run_until_idle()
        assert new.version == 3
        assert seen == [expected]


async def test_open_work_of_an_older_version_reaches_its_agent_upcast() -> None:
    v1 = define(
        """
        @flock_type(name="acceptance/Waiting", version=1)
        class Waiting(BaseModel):
            old: int
        """
    )["Waiting"]
    seen: list[Any] = []
    async with Flock() as board:
        board.agent("pair").consumes(v1, v1).calls(lambda models: seen.extend(models))
        await board.publish(v1(old=1))
        v2 = define(
            """
            @flock_type(name="acceptance/Waiting", version=2)
            class Waiting(BaseModel):
                new: int

            @upcasts(Waiting, from_version=1)
            def rename(payload):
                return {"new": payload["old"]}
            """
        )["Waiting"]
        await board.publish(v2(new=2))
        await board.run_until_idle()
    assert [m.new for m in seen] == [1, 2]


async def test_a_missing_upcaster_is_an_error_that_names_both_versions() -> None:
    v1 = define(
        """
        @flock_type(name="acceptance/Gap", version=11)
        class Gap(BaseModel):
            x: int
        """
    )["Gap"]
    async with Flock() as board:
        old = await board.publish(v1(x=1))
        v3 = define(
            """
            @flock_type(name="acceptance/Gap", version=13)
            class Gap(BaseModel):
                x: int

            @upcasts(Gap, from_version=12)
            def f(payload):
                return payload
            """
        )["Gap"]
        with pytest.raises(UpcastError, match="11") as failure:
            old.as_model(v3)
        assert "13" in str(failure.value) or "12" in str(failure.value)
        with pytest.raises(UpcastError):
            await board.store.get_by_type(v3)


async def test_a_raising_upcaster_is_an_upcast_error_with_its_cause() -> None:
    v1 = define(
        """
        @flock_type(name="acceptance/Broken", version=1)
        class Broken(BaseModel):
            x: int
        """
    )["Broken"]
    async with Flock() as board:
        old = await board.publish(v1(x=1))
        v2 = define(
            """
            @flock_type(name="acceptance/Broken", version=2)
            class Broken(BaseModel):
                x: int

            @upcasts(Broken, from_version=1)
            def f(payload):
                raise ZeroDivisionError
            """
        )["Broken"]
        with pytest.raises(UpcastError) as failure:
            old.as_model(v2)
        assert isinstance(failure.value.__cause__, ZeroDivisionError)


# --- Frozen -------------------------------------------------------------------------------


class Bag(BaseModel):
    items: list[str] = []
    nested: dict[str, list[int]] = {}


async def test_an_artifact_knows_where_it_comes_from() -> None:
    async def work(plain: Plain) -> Bag:
        return Bag(items=[plain.text])

    async with Flock() as board:
        board.agent("work").calls(work)
        before = datetime.now(UTC)
        root = await board.publish(Plain(text="x"), tags={"a", "b"}, partition_key="p")
        await board.run_until_idle()
        (child,) = await board.store.list_by_type(Bag)
        assert isinstance(root.id, UUID)
        assert root.produced_by == "external"
        assert child.produced_by == "work"
        assert root.correlation_id == root.id.hex == child.correlation_id
        assert set(root.tags) == {"a", "b"}
        assert root.partition_key == "p"
        assert child.seq > root.seq
        assert list(root.parents) == []
        assert list(child.parents) == [root.id]
        assert (root.depth, child.depth) == (0, 1)
        assert root.created_at.utcoffset() == timedelta(0)
        assert child.created_at >= root.created_at >= before
        assert isinstance(root.visibility, PublicVisibility)


async def test_ids_are_ordered_by_time() -> None:
    async with Flock() as board:
        artifacts = [await board.publish(Plain(text=str(n))) for n in range(200)]
        assert sorted(a.id for a in artifacts) == [a.id for a in artifacts]
        seqs = [a.seq for a in artifacts]
        assert sorted(set(seqs)) == seqs


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tags", frozenset({"x"})),
        ("type", "other"),
        ("payload", {}),
        ("correlation_id", "x"),
        ("visibility", PublicVisibility()),
        ("seq", 99),
        ("id", uuid4()),
        ("something_new", 1),
    ],
)
async def test_an_artifact_is_frozen(field: str, value: object) -> None:
    artifact = await stored(Plain(text="x"))
    with pytest.raises((AttributeError, TypeError, ValueError)):
        setattr(artifact, field, value)


async def test_the_payload_is_fresh_at_every_access_and_is_json() -> None:
    artifact = await stored(Bag(items=["a"], nested={"k": [1]}))
    payload = artifact.payload
    assert payload == {"items": ["a"], "nested": {"k": [1]}}
    payload["items"].append("b")
    payload["nested"]["k"].append(2)
    payload["more"] = 1
    assert artifact.payload == {"items": ["a"], "nested": {"k": [1]}}
    assert json.loads(json.dumps(artifact.payload)) == artifact.payload


async def test_every_reader_gets_its_own_instance() -> None:
    artifact = await stored(Bag(items=["a"]))
    first = artifact.as_model(Bag)
    first.items.append("b")
    assert artifact.as_model(Bag) == Bag(items=["a"])
    assert artifact.as_model(Bag) is not artifact.as_model(Bag)


async def test_no_agents_mutation_is_visible_to_another_agent_or_to_the_board() -> None:
    seen: list[list[str]] = []

    def mutate(bag: Bag) -> None:
        seen.append(list(bag.items))
        bag.items.append("mutated")
        bag.nested["x"] = [1]

    async with Flock() as board:
        for n in range(4):
            board.agent(f"agent{n}").consumes(Bag).calls(mutate)
        mine = Bag(items=["original"])
        await board.publish(mine)
        mine.items.append("changed by the publisher")
        await board.run_until_idle()
        assert seen == [["original"]] * 4
        assert await board.store.get_by_type(Bag) == [Bag(items=["original"])]


async def test_an_agents_later_change_of_its_output_is_not_seen() -> None:
    kept: list[Bag] = []

    def work(plain: Plain) -> Bag:
        bag = Bag(items=[plain.text])
        kept.append(bag)
        return bag

    async with Flock() as board:
        board.agent("work").calls(work)
        await board.publish(Plain(text="x"))
        await board.run_until_idle()
        kept[0].items.append("late")
        assert await board.store.get_by_type(Bag) == [Bag(items=["x"])]


async def test_predicates_cannot_change_what_agents_see() -> None:
    seen: list[Bag] = []

    def nosy(bag: Bag) -> bool:
        bag.items.append("from the predicate")
        return True

    async with Flock() as board:
        board.agent("a").consumes(Bag, where=nosy).calls(seen.append)
        board.agent("b").consumes(Bag, where=nosy).calls(seen.append)
        await board.publish(Bag(items=["x"]))
        await board.run_until_idle()
    assert seen == [Bag(items=["x"]), Bag(items=["x"])]


async def test_a_visibility_cannot_be_widened_after_the_fact() -> None:
    agents = {"a"}
    tags = {"t"}
    ran: list[str] = []
    async with Flock() as board:
        board.agent("a").consumes(Plain).calls(lambda _: ran.append("a"))
        board.agent("b").consumes(Plain).calls(lambda _: ran.append("b"))
        visibility = PrivateVisibility(agents=agents)
        artifact = Artifact.of(Plain(text="x"), tags=tags, visibility=visibility)
        agents.add("b")
        tags.add("u")
        published = await board.publish(artifact)
        await board.run_until_idle()
        assert ran == ["a"]
        assert set(published.tags) == {"t"}
        with contextlib.suppress(AttributeError, TypeError, ValueError):
            published.visibility.agents.add("b")  # pyright: ignore[reportAttributeAccessIssue]
        again = await board.store.get(published.id)
        assert again is not None
        assert isinstance(again.visibility, PrivateVisibility)
        assert set(again.visibility.agents) == {"a"}


async def test_an_unpublished_artifact_makes_changed_copies_only() -> None:
    one = Artifact.of(Plain(text="x"), tags={"a"}, partition_key="p")
    two = one.replace(Plain(text="y"), tags={"b"}, visibility=PrivateVisibility(agents={"z"}))
    assert one.as_model(Plain).text == "x"
    assert set(one.tags) == {"a"}
    assert two.as_model(Plain).text == "y"
    assert set(two.tags) == {"b"}
    assert isinstance(two.visibility, PrivateVisibility)
    assert two.partition_key == "p"
    three = one.replace(tags={"c"})
    assert three.as_model(Plain).text == "x"


# --- What survives ------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = "red"
    BLUE = 2


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    name: str


class Aliased(BaseModel):
    plain: str = Field(alias="plain-alias")
    both: int = Field(validation_alias="comesIn", serialization_alias="goesOut")

    model_config = ConfigDict(populate_by_name=False)


class Everything(BaseModel):
    when: datetime
    naive: datetime
    day: date
    clock: time
    span: timedelta
    key: UUID
    money: Decimal
    colour: Colour
    level: Level
    some: set[int]
    frozen: frozenset[Colour]
    raw: bytes
    pair: tuple[int, str]
    by_number: dict[int, Decimal]
    by_id: dict[UUID, list[date]]
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    pets: list[Cat | Dog]
    aliased: Aliased
    path: Path
    none: int | None = None
    mixed: list[int | str | float | bool | None] = []


def everything() -> Everything:
    return Everything(
        when=datetime(2024, 2, 29, 23, 59, 59, 123456, tzinfo=timezone(timedelta(hours=5.5))),
        naive=datetime(2024, 1, 1, 12),  # noqa: DTZ001
        day=date(2024, 2, 29),
        clock=time(1, 2, 3, 4),
        span=timedelta(days=-1, microseconds=7),
        key=uuid4(),
        money=Decimal("10.100000000000000000001"),
        colour=Colour.BLUE,
        level=Level.HIGH,
        some={3, 1, 2},
        frozen=frozenset({Colour.RED, Colour.BLUE}),
        raw=bytes(range(256)),
        pair=(1, "x"),
        by_number={1: Decimal("0.10"), -2: Decimal(3)},
        by_id={uuid4(): [date(2020, 1, 1)]},
        pet=Dog(name="Rex"),
        pets=[Cat(lives=9), Dog(name="Ä\u2028\U0001f415")],
        aliased=Aliased.model_validate({"plain-alias": "a", "comesIn": 3}),
        path=Path("a/b"),
        mixed=[1, "1", 1.5, True, None, "true"],
    )


async def test_values_of_every_common_kind_survive_the_board() -> None:
    original = everything()
    before = original.model_copy(deep=True)
    read = (await stored(original)).as_model(Everything)
    assert original == before
    assert read == original
    for name in Everything.model_fields:
        assert repr(getattr(read, name)) == repr(getattr(original, name)) or isinstance(
            getattr(read, name), set | frozenset | datetime
        ), name
    assert [type(value) for value in read.mixed] == [int, str, float, bool, type(None), str]
    assert str(read.money) == str(original.money)
    assert read.when == original.when
    assert read.naive.tzinfo is None


async def test_values_survive_on_the_way_through_agents_too() -> None:
    original = everything()
    seen: list[Everything] = []

    def forward(item: Everything) -> list[Everything]:
        return [item]

    async with Flock() as board:
        board.agent("forward").consumes(Everything).publishes(Everything).calls(forward)
        board.agent("reader").consumes(Everything, from_agents=["forward"]).calls(seen.append)
        await board.publish(original)
        await board.run_until_idle()
        assert seen == [original]


async def test_aliases_that_differ_on_the_two_ways_survive_and_a_dict_uses_the_incoming() -> None:
    async with Flock() as board:
        model = Aliased.model_validate({"plain-alias": "a", "comesIn": 3})
        artifact = await board.publish(model)
        assert artifact.as_model(Aliased) == model
        assert await board.store.get_by_type(Aliased) == [model]
        by_dict = await board.publish(
            {"type": f"{MODULE}.Aliased", "payload": {"plain-alias": "a", "comesIn": 3}}
        )
        assert by_dict.as_model(Aliased) == model


class Forbidding(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    width: int
    when: datetime
    numbers: set[int]

    @computed_field
    @property
    def double(self) -> int:
        return self.width * 2


async def test_computed_fields_are_computed_again_even_where_extras_are_forbidden() -> None:
    model = Forbidding(width=2, when=datetime(2024, 1, 1, tzinfo=UTC), numbers={1})
    read = (await stored(model)).as_model(Forbidding)
    assert read == model
    assert read.double == 4


class Holder(BaseModel):
    inner: Forbidding
    others: list[Forbidding] = []


async def test_computed_fields_of_nested_models_do_no_harm() -> None:
    inner = Forbidding(width=2, when=datetime(2024, 1, 1, tzinfo=UTC), numbers=set())
    model = Holder(inner=inner, others=[inner])
    assert (await stored(model)).as_model(Holder) == model


class Keeping(BaseModel):
    seen: str
    note: str = Field(default="default", exclude=True)
    _secret: str = PrivateAttr(default="fresh")

    def tell(self) -> str:
        return self._secret

    def keep(self, secret: str) -> None:
        self._secret = secret


async def test_excluded_fields_and_private_attributes_stay_behind() -> None:
    model = Keeping(seen="x", note="mine")
    model.keep("mine")
    artifact = await stored(model)
    read = artifact.as_model(Keeping)
    assert (read.seen, read.note, read.tell()) == ("x", "default", "fresh")
    assert "mine" not in json.dumps(artifact.payload)
    assert (model.note, model.tell()) == ("mine", "mine")


class Names(RootModel[list[str]]):
    pass


T = TypeVar("T")


class Box(BaseModel, Generic[T]):
    content: T


async def test_root_models_and_generics_survive_and_match_exactly() -> None:
    ran: list[Any] = []
    async with Flock() as board:
        board.agent("ints").consumes(Box[int]).calls(ran.append)
        board.agent("strs").consumes(Box[str]).calls(ran.append)
        board.agent("names").consumes(Names).calls(ran.append)
        await board.publish(Box[int](content=1))
        await board.publish(Box[str](content="1"))
        await board.publish(Names(["a", "b"]))
        await board.run_until_idle()
        assert len(ran) == 3
        assert Box[int](content=1) in ran
        assert Box[str](content="1") in ran
        assert Names(["a", "b"]) in ran
        assert await board.store.get_by_type(Box[int]) == [Box[int](content=1)]


class Tree(BaseModel):
    value: int
    children: list["Tree"] = []


async def test_recursive_models_survive() -> None:
    tree = Tree(value=1, children=[Tree(value=2, children=[Tree(value=3)]), Tree(value=4)])
    assert (await stored(tree)).as_model(Tree) == tree


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    x: int


async def test_extra_fields_of_open_models_survive() -> None:
    model = Open.model_validate({"x": 1, "y": [1, "2", None]})
    assert (await stored(model)).as_model(Open) == model


# --- What is refused ----------------------------------------------------------------------


class WithSecret(BaseModel):
    password: SecretStr


class MustBeThere(BaseModel):
    token: str = Field(exclude=True)


class Number(BaseModel):
    value: float


class Animal(BaseModel):
    name: str


class Bird(Animal):
    wings: int


class Owner(BaseModel):
    animal: Animal


class Masking(BaseModel):
    card: str

    @field_serializer("card")
    def mask(self, _: str) -> str:
        return "****"


class Doubling(BaseModel):
    x: int

    @field_validator("x")
    @classmethod
    def double(cls, value: int) -> int:
        return value * 2


class Ambivalent(BaseModel):
    value: int | datetime | str


async def test_a_secret_is_refused_before_anything_is_stored() -> None:
    await refused(WithSecret(password=SecretStr("hunter2")))


async def test_a_refusal_never_shows_the_secret() -> None:
    async with Flock() as board:
        with pytest.raises(PublishError) as failure:
            await board.publish(WithSecret(password=SecretStr("hunter2")))
        assert "hunter2" not in str(failure.value)


async def test_a_required_excluded_field_is_refused() -> None:
    await refused(MustBeThere(token="t"))


async def test_not_a_number_is_refused() -> None:
    await refused(Number(value=float("nan")))


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), 1e308, 5e-324, -0.0])
async def test_extreme_numbers_survive_or_are_refused(value: float) -> None:
    async with Flock() as board:
        try:
            artifact = await board.publish(Number(value=value))
        except PublishError:
            assert await board.store.list() == []
        else:
            assert repr(artifact.as_model(Number).value) == repr(value)


async def test_a_subclass_in_a_field_of_its_base_is_refused_rather_than_cut() -> None:
    await refused(Owner(animal=Bird(name="b", wings=2)))


async def test_a_value_mutated_to_a_wrong_type_is_refused() -> None:
    model = Plain(text="x")
    model.text = 5  # pyright: ignore[reportAttributeAccessIssue]
    await refused(model)
    bag = Bag(items=["x"])
    bag.items.append(5)  # pyright: ignore[reportArgumentType]
    await refused(bag)


async def test_a_model_constructed_without_validation_is_checked() -> None:
    await refused(Plain.model_construct())
    await refused(Number.model_construct(value="many"))


async def test_a_lossy_serializer_is_refused() -> None:
    await refused(Masking(card="1234"))


async def test_a_validator_that_changes_the_value_again_is_refused() -> None:
    await refused(Doubling(x=1))


async def test_a_cycle_is_refused() -> None:
    tree = Tree(value=1)
    tree.children.append(tree)
    await refused(tree)


@pytest.mark.parametrize("value", ["x", 3, datetime(2024, 1, 1, tzinfo=UTC), "2024-01-01", "3"])
async def test_a_value_of_an_ambiguous_union_survives_or_is_refused(value: Any) -> None:
    async with Flock() as board:
        model = Ambivalent(value=value)
        try:
            artifact = await board.publish(model)
        except PublishError:
            assert await board.store.list() == []
        else:
            read = artifact.as_model(Ambivalent)
            assert read == model
            assert type(read.value) is type(model.value)


@pytest.mark.parametrize("thing", [1, "text", None, Plain, object(), [Plain(text="x")]])
async def test_what_is_not_a_model_is_refused(thing: Any) -> None:
    async with Flock() as board:
        with pytest.raises(PublishError):
            await board.publish(thing)
        assert await board.store.list() == []


async def test_an_invalid_payload_is_refused() -> None:
    async with Flock() as board:
        with pytest.raises(PublishError, match="text"):
            await board.publish({"type": f"{MODULE}.Plain", "payload": {"text": 5}})
        with pytest.raises(PublishError):
            await board.publish({"type": f"{MODULE}.Plain"})
        assert await board.store.list() == []


async def test_an_agents_output_that_does_not_survive_fails_its_run_and_stores_nothing() -> None:
    def work(plain: Plain) -> list[Number]:
        return [Number(value=1.0), Number(value=float("nan"))]

    async with Flock() as board:
        board.agent("work").calls(work)
        await board.publish(Plain(text="x"))
        report = await board.run_until_idle()
        assert (report.failed, report.dead_letters) == (1, 1)
        assert await board.store.get_by_type(Number) == []


@pytest.mark.parametrize(
    "visibility",
    [
        PublicVisibility(),
        PrivateVisibility(agents={"a", "b"}),
        LabelledVisibility(required_labels={"x"}),
        TenantVisibility(tenant_id="t"),
        AfterVisibility(ttl=timedelta(hours=1), then=PrivateVisibility(agents={"a"})),
    ],
)
async def test_a_visibility_survives_the_board(visibility: Any) -> None:
    async with Flock() as board:
        artifact = await board.publish(Plain(text="x"), visibility=visibility)
        read = await board.store.get(artifact.id)
        assert read is not None
        assert read.visibility == visibility


# --- Property -----------------------------------------------------------------------------

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=20)
)


class Any1(BaseModel):
    text: str
    raw: bytes
    number: float
    big: int
    money: Decimal
    when: datetime
    span: timedelta
    key: UUID
    colours: set[Colour]
    table: dict[str, list[tuple[int, str]]]
    union: int | str | bool | float | None
    child: "Any1 | None" = None


def models(child: st.SearchStrategy[Any1 | None]) -> st.SearchStrategy[Any1]:
    return st.builds(
        Any1,
        text=st.text(),
        raw=st.binary(),
        number=st.floats(),
        big=st.integers(),
        money=st.decimals(allow_nan=False, allow_infinity=False),
        when=st.datetimes(timezones=st.just(UTC)) | st.datetimes(),
        span=st.timedeltas(min_value=timedelta(-100000), max_value=timedelta(100000)),
        key=st.uuids(),
        colours=st.sets(st.sampled_from(Colour)),
        table=st.dictionaries(st.text(), st.lists(st.tuples(st.integers(), st.text()))),
        union=st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        child=child,
    )


@settings(max_examples=100, deadline=None)
@given(models(st.none() | models(st.none())))
def test_any_value_survives_exactly_or_is_refused_and_never_changes(model: Any1) -> None:
    async def trip() -> None:
        before = repr(model)
        async with Flock() as board:
            try:
                artifact = await board.publish(model)
            except PublishError:
                assert await board.store.list() == []
                return
            read = await board.store.get(artifact.id)
            assert read is not None
            assert read.as_model(Any1) == model
            json.dumps(read.payload, allow_nan=False)
        assert repr(model) == before

    asyncio.run(trip())


@settings(max_examples=50, deadline=None)
@given(
    st.text(alphabet=st.characters(exclude_categories=["Cs"])),
    st.binary(),
    st.integers(),
    st.decimals(allow_nan=False, allow_infinity=False),
)
def test_ordinary_values_are_never_refused(
    text: str, raw: bytes, number: int, money: Decimal
) -> None:
    class Ordinary(BaseModel):
        text: str
        raw: bytes
        number: int
        money: Decimal

    async def trip() -> None:
        model = Ordinary(text=text, raw=raw, number=number, money=money)
        async with Flock() as board:
            assert (await board.publish(model)).as_model(Ordinary) == model

    asyncio.run(trip())


async def test_a_class_that_is_renamed_while_the_board_is_open_goes_on_to_start_its_agents() -> (
    None
):
    class Old(BaseModel):
        n: int = 0

    class Other(BaseModel):
        n: int = 0

    got: list[tuple[str, list[int]]] = []

    def note(agent: str) -> Any:
        return lambda models: got.append((agent, [m.n for m in models]))

    clock = ManualClock()
    async with Flock(clock=clock) as board:
        board.agent("plain").consumes(Old, where=lambda m: m.n < 9).calls(
            lambda m: got.append(("plain", [m.n]))
        )
        board.agent("pair").consumes(Old, Other).calls(note("pair"))
        board.agent("two").consumes(Old, Old).calls(note("two"))
        join = JoinSpec(by="n", within=timedelta(hours=1))
        board.agent("join").consumes(Old, Other, join=join).calls(note("join"))
        board.agent("batch").consumes(Old, batch=BatchSpec(size=2)).calls(note("batch"))
        await board.publish(Old(n=1), correlation_id="w")
        await board.run_until_idle()
        assert got == [("plain", [1])]
        got.clear()

        flock_type(name="acceptance/New")(Old)
        await board.publish(Other(n=1), correlation_id="w")
        await board.publish(Old(n=2), correlation_id="w")
        await board.run_until_idle()
        await board.publish(Other(n=2), correlation_id="w")
        await board.run_until_idle()
        assert sorted(got) == [
            ("batch", [1, 2]),
            ("join", [1, 1]),
            ("join", [2, 2]),
            ("pair", [1, 1]),
            ("pair", [2, 2]),
            ("plain", [2]),
            ("two", [1, 2]),
        ]
        [artifact] = await board.publish_many([Old(n=3)], schedule_immediately=False)
        await board.arun("batch", artifact)
        assert got[-1] == ("batch", [3])


async def test_a_cell_that_gives_a_class_a_name_when_it_is_run_again_keeps_what_was_published() -> (
    None
):
    cell = "class Cell(BaseModel):\n    n: int = 0\n"
    first = define(cell)["Cell"]
    got: list[int] = []
    async with Flock() as board:
        board.agent("early").consumes(first, first).calls(
            lambda models: got.extend(m.n for m in models)
        )
        await board.publish(first(n=1), correlation_id="w")
        await board.run_until_idle()
        again = define(f"@flock_type(name='acceptance/Cell')\n{cell}")["Cell"]
        assert await board.store.get_by_type(again) == [again(n=1)]
        await board.publish(again(n=2), correlation_id="w")
        await board.run_until_idle()
        assert got == [1, 2]
        assert await board.publish({"type": "Cell", "n": 3}, schedule_immediately=False)
        assert [m.n for m in await board.store.get_by_type(again)] == [1, 2, 3]
