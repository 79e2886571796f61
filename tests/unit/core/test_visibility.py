"""Who may read, and from when."""

from collections.abc import Callable
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from flock.core.visibility import (
    PUBLIC,
    AfterVisibility,
    AgentIdentity,
    LabelledVisibility,
    PrivateVisibility,
    PublicVisibility,
    TenantVisibility,
    Visibility,
    as_public,
    narrowest,
)

AMY = AgentIdentity("amy", frozenset({"x", "y"}), "t1")
BOB = AgentIdentity("bob", frozenset({"x"}), "t2")
EVE = AgentIdentity("eve")
ALL = [AMY, BOB, EVE]


def private(*agents: str) -> PrivateVisibility:
    return PrivateVisibility(agents=frozenset(agents))


def labelled(*labels: str) -> LabelledVisibility:
    return LabelledVisibility(required_labels=frozenset(labels))


def after(seconds: float, then: Visibility = PUBLIC) -> AfterVisibility:
    return AfterVisibility(ttl=timedelta(seconds=seconds), then=then)


@pytest.mark.parametrize(
    ("visibility", "delays"),
    [
        (PublicVisibility(), [0, 0, 0]),
        (private("amy"), [0, None, None]),
        (private(), [None, None, None]),
        (labelled("x"), [0, 0, None]),
        (labelled("x", "y"), [0, None, None]),
        (labelled(), [0, 0, 0]),
        (TenantVisibility(tenant_id="t2"), [None, 0, None]),
        (after(60), [60, 60, 60]),
        (after(0), [0, 0, 0]),
        (after(60, private("bob")), [None, 60, None]),
        (after(60, after(5)), [65, 65, 65]),
        (after(60, after(5, labelled("x"))), [65, 65, None]),
    ],
)
def test_who_is_let_in_and_when(visibility: Visibility, delays: list[float | None]) -> None:
    assert [visibility.delay_for(agent) for agent in ALL] == delays


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (PublicVisibility, {"agents": {"amy"}}),
        (PrivateVisibility, {"agents": {"amy"}, "labels": {"x"}}),
        (PrivateVisibility, {"agent": {"amy"}}),
        (PrivateVisibility, {}),
        (LabelledVisibility, {"labels": {"x"}}),
        (TenantVisibility, {"tenant": "t"}),
        (TenantVisibility, {}),
        (AfterVisibility, {"ttl": 1, "than": PUBLIC}),
        (AfterVisibility, {}),
        (AfterVisibility, {"ttl": -1}),
        (AfterVisibility, {"ttl": timedelta(seconds=-1)}),
        (AfterVisibility, {"ttl": 1, "then": "anybody"}),
    ],
)
def test_unknown_or_senseless_arguments_are_refused(
    kind: Callable[..., Visibility], arguments: dict[str, Any]
) -> None:
    with pytest.raises(ValidationError):
        kind(**arguments)


def test_a_number_is_a_span_of_seconds() -> None:
    assert AfterVisibility.model_validate({"ttl": 90}).ttl == timedelta(seconds=90)


def test_a_visibility_is_frozen_and_hashable() -> None:
    with pytest.raises(ValidationError):
        setattr(private("amy"), "agents", frozenset())  # noqa: B010 - a type checker refuses it
    ones = [private("amy"), private("amy"), after(1), after(1, private("amy"))]
    assert len(set(map(hash, ones))) == 3


@pytest.mark.parametrize(
    "visibility",
    [
        PUBLIC,
        private("amy"),
        labelled("x"),
        TenantVisibility(tenant_id="t"),
        after(2, after(3, private("bob"))),
    ],
)
def test_it_comes_back_from_json_as_the_kind_it_was(visibility: Visibility) -> None:
    adapter: TypeAdapter[Visibility] = TypeAdapter(Visibility)
    back = adapter.validate_json(adapter.dump_json(visibility))
    assert back == visibility
    assert type(back) is type(visibility)


def test_an_unknown_kind_is_refused() -> None:
    adapter: TypeAdapter[Visibility] = TypeAdapter(Visibility)
    with pytest.raises(ValidationError):
        adapter.validate_json('{"kind": "Secret"}')


def test_everything_public_is_one_instance() -> None:
    assert as_public(None) is PUBLIC
    assert as_public(PublicVisibility()) is PUBLIC
    assert as_public(restricted := private("amy")) is restricted


# --- the narrowest ----------------------------------------------------------------------------


def test_of_nothing_or_public_ones_it_is_public() -> None:
    assert narrowest([], ALL) is PUBLIC
    assert narrowest([PUBLIC, PublicVisibility()], ALL) is PUBLIC


def test_of_one_distinct_one_it_is_that_one() -> None:
    only = labelled("x")
    assert narrowest([PUBLIC, only, labelled("x")], ALL) == only


def test_of_several_it_is_those_whom_all_let_in() -> None:
    assert narrowest([labelled("x"), TenantVisibility(tenant_id="t2")], ALL) == private("bob")
    assert narrowest([private("amy"), private("bob")], ALL) == private()


def test_of_several_it_opens_when_the_last_does() -> None:
    assert narrowest([after(10), after(60, labelled("x"))], ALL) == after(60, private("amy", "bob"))


visibilities = st.recursive(
    st.sampled_from([PUBLIC, private("amy"), private("amy", "bob"), labelled("x"), labelled("y")])
    | st.sampled_from(["t1", "t2"]).map(lambda t: TenantVisibility(tenant_id=t)),
    lambda inner: st.builds(after, st.integers(0, 3), inner),
    max_leaves=3,
)


@given(st.lists(visibilities, max_size=4))
def test_nobody_is_let_in_whom_one_keeps_out_nor_earlier(given_ones: list[Visibility]) -> None:
    result = narrowest(given_ones, ALL)
    for agent, each in product(ALL, given_ones):
        allowed, delay = each.delay_for(agent), result.delay_for(agent)
        assert delay is None or (allowed is not None and delay >= allowed)


@given(st.lists(visibilities, max_size=4))
def test_everybody_is_let_in_whom_all_let_in(given_ones: list[Visibility]) -> None:
    result = narrowest(given_ones, ALL)
    for agent in ALL:
        if all(each.delay_for(agent) is not None for each in given_ones):
            assert result.delay_for(agent) is not None
