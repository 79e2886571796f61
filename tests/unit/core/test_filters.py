"""A filter knows what it asks for, and refuses what makes no sense."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from flock.core.filters import FilterConfig, require_aware
from flock.core.visibility import PrivateVisibility
from flock.errors import TypeRegistryError
from tests.unit.support import T0, A, B, artifact

MOMENT = datetime.fromtimestamp(T0, UTC)


def test_an_empty_filter_admits_everything() -> None:
    assert FilterConfig().admits(artifact(A(), tags=["x"], produced_by="amy"))


@pytest.mark.parametrize(
    "options",
    [
        {"type_names": [A]},
        {"type_names": ["UnitA"]},
        {"type_names": "tests.unit.support.UnitA"},
        {"type_names": A},
        {"type_names": {B, "UnitA"}},
        {"produced_by": "amy"},
        {"produced_by": ["amy", "bob"]},
        {"correlation_id": "w"},
        {"tags": "x"},
        {"tags": ["x", "y"]},
        {"tags": []},
        {"visibility": "private"},
        {"visibility": ["PRIVATE", "Public"]},
        {"start": MOMENT, "end": MOMENT},
        {"start": MOMENT - timedelta(seconds=1)},
        {"end": MOMENT.astimezone(timezone(timedelta(hours=-7)))},
        {"type_names": [A], "produced_by": ["amy"], "correlation_id": "w", "tags": ["x"]},
    ],
)
def test_it_admits_what_it_asks_for(options: dict[str, Any]) -> None:
    private = PrivateVisibility(agents=frozenset({"amy"}))
    made = artifact(A(), workflow="w", produced_by="amy", tags=["x", "y"], visibility=private)
    assert FilterConfig(**options).admits(made)


@pytest.mark.parametrize(
    "options",
    [
        {"type_names": [B]},
        {"type_names": []},
        {"produced_by": "bob"},
        {"produced_by": []},
        {"correlation_id": "v"},
        {"tags": ["x", "z"]},
        {"visibility": ["Public"]},
        {"visibility": []},
        {"start": MOMENT + timedelta(microseconds=1)},
        {"end": MOMENT - timedelta(microseconds=1)},
        {"type_names": [A], "produced_by": ["bob"]},
    ],
)
def test_it_admits_nothing_else(options: dict[str, Any]) -> None:
    private = PrivateVisibility(agents=frozenset({"amy"}))
    made = artifact(A(), workflow="w", produced_by="amy", tags=["x", "y"], visibility=private)
    assert not FilterConfig(**options).admits(made)


@pytest.mark.parametrize("option", ["start", "end"])
def test_naive_times_are_refused(option: str) -> None:
    options: dict[str, Any] = {option: MOMENT.replace(tzinfo=None)}
    with pytest.raises(ValueError, match=rf"FilterConfig\.{option} needs a time zone"):
        FilterConfig(**options)


@pytest.mark.parametrize("moment", ["yesterday", 5, MOMENT.date()])
def test_what_is_no_datetime_is_refused(moment: Any) -> None:
    with pytest.raises(TypeError, match="aware datetime"):
        require_aware(moment, "start")


def test_unknown_kinds_of_visibility_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="secret"):
        FilterConfig(visibility=["Public", "Secret"])


def test_unknown_types_are_refused() -> None:
    with pytest.raises(TypeRegistryError, match="Unheard"):
        FilterConfig(type_names=["Unheard"])


def test_positional_and_unknown_arguments_are_refused() -> None:
    make: Any = FilterConfig
    with pytest.raises(TypeError):
        make([A])
    with pytest.raises(TypeError):
        make(types=[A])


def test_equal_filters_are_equal() -> None:
    one = FilterConfig(type_names=["UnitA"], tags=["x", "y"])
    assert one == FilterConfig(type_names=[A], tags={"y", "x"})
