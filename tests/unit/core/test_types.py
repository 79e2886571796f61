"""A class has one stable name, and its content survives as canonical JSON or is refused."""

import enum
import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import PurePosixPath
from types import ModuleType
from typing import Any, Generic, TypeVar

import pytest
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    computed_field,
    field_validator,
)

from flock.core import types as module
from flock.core.types import TypeRegistry, flock_type, registry, upcasts
from flock.errors import FlockError, PublishError, TypeRegistryError, UpcastError

T = TypeVar("T")


@pytest.fixture
def own() -> TypeRegistry:
    return TypeRegistry()


def model(name: str, place: str = "shop.orders", **fields: Any) -> type[BaseModel]:
    """Make a class as if a module had defined it."""
    space: dict[str, Any] = {
        "__module__": place,
        "__qualname__": name,
        "__annotations__": {key: type(value) for key, value in fields.items()},
        **fields,
    }
    return type(name.rsplit(".", 1)[-1], (BaseModel,), space)


# --- names ------------------------------------------------------------------------------------


def test_a_class_goes_by_module_and_qualified_name(own: TypeRegistry) -> None:
    assert own.entry(model("Outer.Order")).name == "shop.orders.Outer.Order"


def test_the_first_use_registers_and_the_second_finds_the_same_entry(own: TypeRegistry) -> None:
    order = model("Order")
    assert own.entry(order) is own.entry(order)


def test_the_script_that_is_run_has_its_modules_own_name(
    own: TypeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = ModuleType("__main__")
    main.__file__ = "/somewhere/app.py"
    monkeypatch.setitem(module.sys.modules, "__main__", main)
    assert own.entry(model("Order", "__main__")).name == "app.Order"


def test_a_module_run_with_dash_m_has_its_import_name(
    own: TypeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = ModuleType("__main__")
    spec = type("Spec", (), {"name": "shop.app"})()
    vars(main)["__spec__"] = spec
    monkeypatch.setitem(module.sys.modules, "__main__", main)
    assert own.entry(model("Order", "__main__")).name == "shop.app.Order"


def test_a_package_run_with_dash_m_goes_by_the_package(
    own: TypeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = ModuleType("__main__")
    vars(main)["__spec__"] = type("Spec", (), {"name": "shop.__main__"})()
    monkeypatch.setitem(module.sys.modules, "__main__", main)
    assert own.entry(model("Order", "__main__")).name == "shop.Order"


def test_what_is_typed_at_a_prompt_goes_by_main(
    own: TypeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(module.sys.modules, "__main__", ModuleType("__main__"))
    assert own.entry(model("Order", "__main__")).name == "__main__.Order"


def test_a_script_and_its_import_are_the_same_origin(
    own: TypeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = ModuleType("__main__")
    main.__file__ = "app.py"
    monkeypatch.setitem(module.sys.modules, "__main__", main)
    script = own.entry(model("Order", "__main__"))
    imported = own.entry(model("Order", "app"))
    assert script.name == imported.name
    assert own.resolve("app.Order") is imported


def test_a_given_name_stands_in_place_of_the_default(own: TypeRegistry) -> None:
    order = model("Order")
    own.register(order, name="order", version=3)
    entry = own.entry(order)
    assert (entry.name, entry.version) == ("order", 3)
    assert own.resolve("order") is entry


def test_the_same_class_defined_again_replaces_the_first(own: TypeRegistry) -> None:
    first, second = model("Order"), model("Order", n=1)
    entry = own.entry(first)
    successor = own.entry(second)
    assert own.resolve("shop.orders.Order").cls is second
    assert own.resolve("Order").cls is second
    assert entry.successor is successor


def test_another_class_cannot_take_a_name(own: TypeRegistry) -> None:
    own.register(model("Order"), name="order")
    with pytest.raises(TypeRegistryError, match=r"'order' belongs to .*Order"):
        own.register(model("Invoice"), name="order")


def test_a_refused_name_leaves_the_registry_as_it_was(own: TypeRegistry) -> None:
    order, invoice = model("Order"), model("Invoice")
    own.register(order, name="order")
    with pytest.raises(TypeRegistryError):
        own.register(invoice, name="order")
    assert own.resolve("order").cls is order
    assert own.entry(invoice).name == "shop.orders.Invoice"


def test_a_subclass_neither_inherits_nor_steals_its_parents_name(own: TypeRegistry) -> None:
    parent = model("Order")
    own.register(parent, name="order", version=4)
    child = type("Rush", (parent,), {"__module__": "shop.orders", "__qualname__": "Rush"})
    entry = own.entry(child)
    assert (entry.name, entry.version) == ("shop.orders.Rush", 1)
    assert own.resolve("order").cls is parent


def test_a_renamed_class_is_still_found_under_its_former_name(own: TypeRegistry) -> None:
    order = model("Order")
    own.entry(order)
    own.register(order, name="order")
    assert own.resolve("shop.orders.Order") is own.entry(order)
    assert own.resolve("Order").name == "order"
    again = model("Order")
    own.register(again, name="order")
    assert own.resolve("shop.orders.Order").cls is again
    with pytest.raises(TypeRegistryError, match="belongs to"):
        own.register(model("Other"), name="shop.orders.Order")


def test_a_class_goes_by_all_the_names_it_had(own: TypeRegistry) -> None:
    order = model("Order")
    entry = own.entry(order)
    own.register(order, name="order", version=2)
    own.register(order, name="purchase", version=3)
    assert own.entry(order) is entry, "who has the entry knows the class by its new name"
    assert (entry.name, entry.version) == ("purchase", 3)
    assert entry.names == ("purchase", "shop.orders.Order", "order")
    assert {own.resolve(name) for name in (*entry.names, "Order")} == {entry}
    own.register(order)
    assert entry.names == ("shop.orders.Order", "order", "purchase")
    assert {own.resolve(name) for name in (*entry.names, "Order")} == {entry}


def test_a_class_defined_anew_under_a_name_of_its_own_goes_by_its_former_one(
    own: TypeRegistry,
) -> None:
    first = own.entry(model("Order"))
    again = own.register(model("Order"), name="order")
    assert first.current is again
    assert first.names == again.names == ("order", "shop.orders.Order")
    assert {own.resolve(name) for name in (*again.names, "Order")} == {again}
    back = own.entry(model("Order"))
    assert first.current is back
    assert back.names == ("shop.orders.Order", "order")
    assert {own.resolve(name) for name in (*back.names, "Order")} == {back}


def test_classes_that_a_function_makes_under_different_names_stay_apart(own: TypeRegistry) -> None:
    one, two = (own.register(model("Row"), name=name) for name in ("one", "two"))
    assert one.names == ("one",)
    assert two.names == ("two",)
    assert (own.resolve("one"), own.resolve("two")) == (one, two)


def test_a_name_is_found_among_others_by_present_and_former_names(own: TypeRegistry) -> None:
    order = model("Order")
    entry = own.entry(order)
    assert entry.name_among({"order"}) is None
    own.register(order, name="order")
    assert entry.name_among({"order", "shop.orders.Order"}) == "order"
    assert entry.name_among({"shop.orders.Order"}) == "shop.orders.Order"
    assert entry.name_among({"Order"}) is None


def test_upcasters_of_a_former_name_go_on_to_lift(own: TypeRegistry) -> None:
    order = model("Order")
    own.register(order, name="order", version=1)
    own.add_upcaster("order", 1, lambda payload: {**payload, "n": 7})
    entry = own.register(order, name="purchase", version=2)
    assert own.upcast(entry, b"{}", 1) == b'{"n": 7}'


def test_a_short_name_is_found_where_it_is_unique(own: TypeRegistry) -> None:
    order = model("Order")
    own.entry(order)
    assert own.resolve("Order").cls is order


def test_an_ambiguous_short_name_is_an_error_that_names_the_choices(own: TypeRegistry) -> None:
    own.entry(model("Order", "shop"))
    own.entry(model("Order", "bank"))
    with pytest.raises(TypeRegistryError, match=r"ambiguous.*'bank.Order', 'shop.Order'"):
        own.resolve("Order")


def test_a_stable_name_goes_before_a_short_one(own: TypeRegistry) -> None:
    named = model("Invoice")
    own.register(named, name="Order")
    own.entry(model("Order"))
    assert own.resolve("Order").cls is named


def test_an_unknown_name_is_an_error_that_says_what_to_do(own: TypeRegistry) -> None:
    with pytest.raises(TypeRegistryError, match=r"'Nothing'.*@flock_type"):
        own.resolve("Nothing")


@pytest.mark.parametrize("thing", [int, BaseModel, "Order", {"a": 1}, None])
def test_only_classes_of_models_are_types(own: TypeRegistry, thing: Any) -> None:
    with pytest.raises(TypeRegistryError, match="no Pydantic model class"):
        own.register(thing)


@pytest.mark.parametrize("version", [0, -1, True, 1.0, "2"])
def test_versions_are_whole_numbers_from_one(own: TypeRegistry, version: Any) -> None:
    with pytest.raises(TypeRegistryError, match="version of Order"):
        own.register(model("Order"), version=version)


def test_a_registry_error_is_a_key_error_that_shows_its_message_plainly(own: TypeRegistry) -> None:
    with pytest.raises(KeyError) as caught:
        own.resolve("Nothing")
    assert isinstance(caught.value, FlockError)
    assert str(caught.value).startswith("no type goes by")


def test_instances_of_a_generic_model_are_types_of_their_own() -> None:
    class Box(BaseModel, Generic[T]):
        content: T

    numbers, words = registry.entry(Box[int]), registry.entry(Box[str])
    assert numbers.name != words.name
    assert numbers.load(numbers.freeze(Box[int](content=1)), 1) == Box[int](content=1)


def test_the_decorator_works_with_and_without_parentheses() -> None:
    @flock_type
    class Plain(BaseModel):
        pass

    @flock_type(name="test.Named", version=2)
    class Named(BaseModel):
        pass

    assert registry.entry(Plain).name.endswith(".Plain")
    assert (registry.entry(Named).name, registry.entry(Named).version) == ("test.Named", 2)


# --- canonical JSON ---------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: float


class Inner(BaseModel):
    blob: bytes = b"\xff\x00"


class Everything(BaseModel):
    when: datetime = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    span: timedelta = timedelta(days=1, microseconds=3)
    id: uuid.UUID = uuid.UUID(int=7)
    price: Decimal = Decimal("10.10")
    colour: Colour = Colour.RED
    words: set[str] = {"a", "b"}
    frozen: frozenset[int] = frozenset({1, 2})
    pair: tuple[int, str] = (1, "x")
    blob: bytes = b"\x00\xfe\xff"
    path: PurePosixPath = PurePosixPath("a/b")
    point: Point = Field(default_factory=lambda: Point(1, 2.5))
    inner: list[Inner] = [Inner()]
    by_key: dict[int, bytes] = {3: b"\xfd"}
    aliased: int = Field(default=4, alias="al iased")


def round_trip(obj: BaseModel) -> BaseModel:
    entry = registry.entry(type(obj))
    return entry.load(entry.freeze(obj), entry.version)


def test_values_of_every_kind_come_back_as_they_were() -> None:
    before = Everything()
    after = round_trip(before)
    assert after == before
    assert isinstance(after, Everything)
    assert type(after.words) is set
    assert type(after.point) is Point


def test_canonical_json_goes_by_field_names_whatever_the_aliases() -> None:
    class Aliased(BaseModel):
        first: int = Field(alias="one")
        second: int = Field(validation_alias="two", serialization_alias="zwei")

    made = Aliased.model_validate({"one": 1, "two": 2})
    assert json.loads(registry.entry(Aliased).freeze(made)) == {"first": 1, "second": 2}
    assert round_trip(made) == made


def test_computed_fields_are_computed_again_and_not_stored() -> None:
    class Square(BaseModel):
        side: int

        @computed_field
        @property
        def area(self) -> int:
            return self.side**2

    entry = registry.entry(Square)
    assert entry.freeze(Square(side=3)) == b'{"side":3}'
    assert entry.load(b'{"side":4}', 1) == Square(side=4)


def test_computed_fields_do_no_harm_where_extra_fields_are_forbidden() -> None:
    class Strict(BaseModel):
        model_config = ConfigDict(extra="forbid")
        side: int

        @computed_field
        @property
        def area(self) -> int:
            return self.side**2

    assert round_trip(Strict(side=2)) == Strict(side=2)


def test_excluded_fields_stay_behind_and_take_their_default() -> None:
    class Cached(BaseModel):
        n: int
        cache: list[int] = Field(default=[], exclude=True)

    assert round_trip(Cached(n=1, cache=[5])) == Cached(n=1)


def test_private_attributes_stay_behind() -> None:
    class Private(BaseModel):
        n: int
        _secret: int = PrivateAttr(default=0)

    made = Private(n=1)
    made._secret = 5
    after = round_trip(made)
    assert isinstance(after, Private)
    assert (after.n, after._secret) == (1, 0)


def test_extra_fields_that_are_allowed_come_back() -> None:
    class Open(BaseModel):
        model_config = ConfigDict(extra="allow")

    made = Open.model_validate({"a": 1, "b": [1, "x"]})
    assert round_trip(made).model_dump() == {"a": 1, "b": [1, "x"]}


def test_nan_is_no_reason_to_refuse() -> None:
    class Reading(BaseModel):
        model_config = ConfigDict(ser_json_inf_nan="constants")
        value: float

    after = round_trip(Reading(value=float("nan")))
    assert isinstance(after, Reading)
    assert after.value != after.value


class Reach(BaseModel):
    value: float


class Secretive(BaseModel):
    password: SecretStr


class Demanding(BaseModel):
    kept: int
    lost: int = Field(exclude=True)


class Animal(BaseModel):
    name: str


class Dog(Animal):
    tricks: int


class Zoo(BaseModel):
    star: Animal


class Anything(BaseModel):
    value: Any


class Trimmed(BaseModel):
    text: str

    @field_validator("text")
    @classmethod
    def _short(cls, text: str) -> str:
        return text[:3]


@pytest.mark.parametrize(
    ("obj", "field"),
    [
        (Secretive(password=SecretStr("x")), "password"),
        (Demanding(kept=1, lost=2), "lost"),
        (Reach(value=float("inf")), "value"),
        (Zoo(star=Dog(name="Rex", tricks=3)), "star"),
        (Anything(value={1, 2}), "value"),
        (Anything(value=(1, 2)), "value"),
        (Anything(value=b"\xff"), ""),
        (Anything(value=object()), ""),
        (Anything(value="\udcff"), ""),
        (Trimmed.model_construct(text="longer"), "text"),
        (Animal.model_construct(), "name"),
    ],
)
def test_what_does_not_survive_is_refused_with_its_type_and_field(
    obj: BaseModel, field: str
) -> None:
    with pytest.raises(PublishError) as caught:
        registry.entry(type(obj)).freeze(obj)
    assert type(obj).__qualname__ in str(caught.value)
    assert field in str(caught.value)


def test_content_beyond_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PAYLOAD", 20)
    with pytest.raises(PublishError, match="larger than the 20"):
        registry.entry(Animal).freeze(Animal(name="x" * 5_000))


def test_every_reader_gets_an_instance_of_its_own() -> None:
    entry = registry.entry(Anything)
    data = entry.freeze(Anything(value=[1]))
    first, second = entry.load(data, 1), entry.load(data, 1)
    assert isinstance(first, Anything)
    first.value.append(2)
    assert second == Anything(value=[1])


def test_a_class_whose_names_resolve_later_is_completed_when_it_is_needed() -> None:
    class Node(BaseModel):
        child: "Leaf | None" = None

    class Leaf(BaseModel):
        n: int = 1

    Node.model_rebuild(_types_namespace={"Leaf": Leaf})
    assert round_trip(Node(child=Leaf())) == Node(child=Leaf())


# --- parsing ----------------------------------------------------------------------------------


class Priced(BaseModel):
    price: Decimal = Field(alias="Price")


@pytest.mark.parametrize("payload", [{"price": "1.5"}, {"Price": 1.5}, {"Price": Decimal("1.5")}])
def test_a_payload_is_read_by_name_or_alias_as_json_or_python(payload: Any) -> None:
    assert registry.entry(Priced).parse(payload) == Priced(Price=Decimal("1.5"))


@pytest.mark.parametrize("payload", [{}, {"price": "dear"}, [], None, 3, {"price": object()}])
def test_an_invalid_payload_is_refused_with_the_types_name(payload: Any) -> None:
    with pytest.raises(PublishError, match=r"no valid '.*Priced'"):
        registry.entry(Priced).parse(payload)


def test_a_payload_of_an_older_version_is_lifted_first() -> None:
    @flock_type(name="test.Lifted", version=2)
    class Lifted(BaseModel):
        full: str

    @upcasts(Lifted, from_version=1)
    def split(payload: dict[str, Any]) -> dict[str, Any]:
        return {"full": f"{payload['first']} {payload['last']}"}

    assert split({"first": "A", "last": "B"}) == {"full": "A B"}
    entry = registry.entry(Lifted)
    assert entry.parse({"first": "Ada", "last": "L"}, 1) == Lifted(full="Ada L")
    assert entry.parse({"full": "Ada L"}, 2) == Lifted(full="Ada L")


# --- upcasting --------------------------------------------------------------------------------


def versioned(own: TypeRegistry, version: int) -> tuple[type[BaseModel], Any]:
    cls = model("Order", n=0)
    return cls, own.register(cls, name="order", version=version)


def test_upcasters_are_chained_upwards(own: TypeRegistry) -> None:
    _, entry = versioned(own, 4)
    for version, digit in ((1, "a"), (2, "b"), (3, "c")):
        own.add_upcaster("order", version, lambda p, d=digit: {"path": p["path"] + d})
    assert json.loads(own.upcast(entry, b'{"path": "0"}', 1)) == {"path": "0abc"}
    assert json.loads(own.upcast(entry, b'{"path": "0"}', 3)) == {"path": "0c"}


def test_a_missing_upcaster_names_both_versions(own: TypeRegistry) -> None:
    _, entry = versioned(own, 3)
    own.add_upcaster("order", 1, lambda p: p)
    with pytest.raises(UpcastError, match=r"'order' has version 1.*has version 3.*from_version=2"):
        own.upcast(entry, b"{}", 1)


def test_content_newer_than_the_class_is_a_clear_error(own: TypeRegistry) -> None:
    _, entry = versioned(own, 1)
    with pytest.raises(UpcastError, match=r"has version 2.*has version 1"):
        own.upcast(entry, b"{}", 2)


def test_a_raising_upcaster_is_named_with_its_step(own: TypeRegistry) -> None:
    _, entry = versioned(own, 2)

    def broken(payload: dict[str, Any]) -> dict[str, Any]:
        raise KeyError("x")

    own.add_upcaster("order", 1, broken)
    with pytest.raises(UpcastError, match="'order' from version 1 to 2 failed") as caught:
        own.upcast(entry, b"{}", 1)
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize("answer", [{1, 2}, None, "text", {"when": timedelta(1)}])
def test_an_upcaster_that_returns_no_json_object_is_an_upcast_error(
    own: TypeRegistry, answer: Any
) -> None:
    _, entry = versioned(own, 2)
    own.add_upcaster("order", 1, lambda _: answer)
    with pytest.raises(UpcastError):
        entry_load(own, entry)


def entry_load(own: TypeRegistry, entry: Any) -> BaseModel:
    """Load version 1 through this registry rather than the process's."""
    data = own.upcast(entry, b"{}", 1)
    return entry.load(data, entry.version)


def test_stored_content_that_fits_its_class_no_more_is_an_upcast_error() -> None:
    with pytest.raises(UpcastError, match=r"(?s)does not fit.*raise the version"):
        registry.entry(Animal).load(b'{"nome": "x"}', 1)
    assert issubclass(UpcastError, ValueError)
