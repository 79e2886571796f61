"""Which attributes a function surely reads, told from its code without calling it."""

# Functions under test are lambdas of anything.
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownParameterType=false, reportMissingParameterType=false

import functools
import operator
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, ConfigDict, PrivateAttr, computed_field

from flock.orchestrator.checks.reads import is_missing, only_read, surely_read


def guarded(model: Any) -> object:
    if isinstance(model, dict):
        return model["first"]
    return model.second


def catching(model: Any) -> object:
    try:
        return model.first
    except AttributeError:
        return None


def replaced(model: Any) -> object:
    before = model.first
    model = str(before)
    return model.second


def lazy(model: Any) -> Any:
    yield model.first


async def awaited(model: Any) -> Any:
    return model.first


class Key:
    def of(self, model: Any) -> object:
        return (model.first, self.of)

    def __call__(self, model: Any) -> object:
        return model.first


@pytest.mark.parametrize(
    ("function", "read"),
    [
        (lambda m: m.first, ("first",)),
        (lambda m: (m.first, m.second), ("first", "second")),
        (lambda m: (m, m.second), ("second",)),
        (lambda m: m.first.deeper, ("first",)),
        (lambda m: m.first(), ("first",)),
        (lambda m: f"{m.first}-{m.second}", ("first", "second")),
        (lambda m: m.first or m.second, ("first",)),
        (lambda m: m.first if m.kind else m.second, ("kind",)),
        (lambda m: getattr(m, "first", None), ()),
        (lambda m: all(x.second for x in m.first), ("first",)),
        (lambda m, other=None: m.first, ("first",)),
        (lambda *models: models[0].first, ()),
        (guarded, ()),
        (catching, ()),
        (replaced, ("first",)),
        (lazy, ()),
        (awaited, ()),
        (Key().of, ("first",)),
        (Key(), ()),
        (operator.attrgetter("first", "second.deeper"), ("first", "second")),
        (functools.partial(lambda m: m.first), ()),
        (functools.lru_cache(lambda m: m.first), ()),
        (len, ()),
        (str, ()),
    ],
)
def test_what_is_read_before_the_first_branch_is_surely_read(
    function: Callable[..., object], read: tuple[str, ...]
) -> None:
    assert surely_read(function) == read


def test_arguments_are_told_apart() -> None:
    def both(a: Any, b: Any) -> object:
        return a.first == b.second

    assert surely_read(both, 0) == ("first",)
    assert surely_read(both, 1) == ("second",)
    assert surely_read(both, 2) == ()
    assert surely_read(operator.attrgetter("first"), 1) == ()


def test_nothing_is_called() -> None:
    def explodes(model: Any) -> object:
        raise AssertionError(model.first)

    assert surely_read(explodes) == ("first",)


@pytest.mark.parametrize(
    ("function", "field"),
    [
        (lambda m: m.first, "first"),
        (operator.attrgetter("first"), "first"),
        (lambda m: str(m.first), None),
        (lambda m: m.first.deeper, None),
        (lambda m: (m.first, m.second), None),
        (lambda m: m.first + 1, None),
        (operator.attrgetter("first.deeper"), None),
        (operator.attrgetter("first", "second"), None),
        (len, None),
    ],
)
def test_a_function_that_only_reads_one_attribute_is_known(
    function: Callable[..., object], field: str | None
) -> None:
    assert only_read(function) == field


class Plain(BaseModel):
    value: int
    shared: ClassVar[int] = 1
    _own: int = PrivateAttr(default=0)

    @computed_field
    @property
    def double(self) -> int:
        return 2 * self.value

    def method(self) -> None: ...


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")


class Dynamic(BaseModel):
    def __getattr__(self, name: str) -> int:
        return len(name)


def test_an_attribute_is_missing_only_if_no_instance_can_have_it() -> None:
    for name in ("value", "shared", "_own", "double", "method", "model_dump", "__dict__"):
        assert not is_missing(Plain, name)
    assert is_missing(Plain, "valeu")
    assert not is_missing(Loose, "anything")
    assert not is_missing(Dynamic, "anything")
