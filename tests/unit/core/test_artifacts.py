"""An artifact is frozen, knows where it came from, and its id says when."""

import copy
import pickle
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from flock.core.artifacts import Artifact, new_key, set_seq
from flock.core.types import registry
from flock.core.visibility import PUBLIC, PrivateVisibility, PublicVisibility
from flock.errors import PublishError, TypeRegistryError
from tests.unit.support import T0, A, B, artifact

# --- ids --------------------------------------------------------------------------------------


@given(st.floats(min_value=0, max_value=2**47 / 1000))
def test_ids_are_uuids_of_version_seven_that_carry_the_milliseconds(now: float) -> None:
    made = UUID(int=new_key(now))
    assert made.version == 7
    assert made.variant == RFC_4122
    assert made.int >> 80 == int(now * 1000)


def test_ids_of_one_moment_are_apart_and_in_order() -> None:
    keys = [new_key(T0) for _ in range(5000)]
    assert all(one < two for one, two in pairwise(keys))
    assert {UUID(int=key).version for key in keys} == {7}


def test_ids_order_by_time_before_anything_else() -> None:
    late, early = new_key(T0 + 0.002), new_key(T0)
    assert early < late


# --- what it shows ----------------------------------------------------------------------------


def test_an_artifact_shows_what_it_was_made_of() -> None:
    root = artifact(A(n=1), workflow="w")
    made = artifact(B(n=2), workflow="w", produced_by="amy", tags=["x"], parents=[root])
    assert made.type == registry.entry(B).name
    assert (made.version, made.payload) == (1, {"n": 2, "key": "k"})
    assert made.as_model(B) == B(n=2)
    assert (made.produced_by, made.correlation_id) == ("amy", "w")
    assert (made.parents, made.depth, made.seq) == ((root.id,), 1, 0)
    assert made.created_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert made.visibility is PUBLIC


def test_every_access_gives_an_own_copy() -> None:
    made = artifact(A(n=1))
    made.payload["n"] = 9
    made.as_model(A).n = 9
    assert made.payload == {"n": 1, "key": "k"}
    assert made.as_model(A) == A(n=1)


def test_it_can_be_read_as_its_own_type_only() -> None:
    with pytest.raises(TypeRegistryError, match=r"is a '.*\.UnitA', not a '.*\.B'"):
        artifact(A()).as_model(B)


def test_a_subclass_is_another_type() -> None:
    class Child(A):
        pass

    with pytest.raises(TypeRegistryError):
        artifact(Child()).as_model(A)


@pytest.mark.parametrize(
    ("options", "loose"),
    [({}, True), ({"workflow": "w"}, False), ({"depth": 1}, False)],
)
def test_a_loose_root_came_from_outside_and_named_no_workflow(
    options: dict[str, Any], loose: bool
) -> None:
    assert artifact(A(), **options).is_loose_root is loose


# --- frozen -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["seq", "data", "tags", "key", "payload", "anything"])
def test_nothing_of_it_can_be_set_or_deleted(name: str) -> None:
    made = artifact(A())
    with pytest.raises(AttributeError, match=f"frozen; '{name}'"):
        setattr(made, name, 1)
    with pytest.raises(AttributeError, match=f"frozen; '{name}'"):
        delattr(made, name)


def test_artifacts_are_equal_by_id() -> None:
    made, other = artifact(A()), artifact(A())
    assert made == made.replace(A(n=5))
    assert made != other
    assert made != made.id
    assert len({made, made.replace(tags=["x"]), other}) == 2


def test_copies_are_itself() -> None:
    made = artifact(A())
    assert copy.copy(made) is made
    assert copy.deepcopy([made])[0] is made


def test_it_is_not_pickled() -> None:
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(artifact(A()))


def test_only_stores_number_it() -> None:
    made = artifact(A())
    set_seq(made, 7)
    assert made.seq == 7


# --- of and replace ---------------------------------------------------------------------------


def test_of_makes_an_unpublished_root_of_a_workflow_of_its_own() -> None:
    made = Artifact.of(A(n=3))
    assert (made.seq, made.depth, made.parents) == (0, 0, ())
    assert made.correlation_id == made.id.hex
    assert made.is_loose_root


def test_of_takes_what_is_known_of_it() -> None:
    private = PrivateVisibility(agents=frozenset({"amy"}))
    made = Artifact.of(
        A(), tags=["x", "x"], visibility=private, correlation_id="w", partition_key="p"
    )
    assert (made.tags, made.visibility) == (frozenset({"x"}), private)
    assert (made.correlation_id, made.partition_key) == ("w", "p")
    assert not made.is_loose_root


def test_of_refuses_what_would_not_survive() -> None:
    class Loose(BaseModel):
        value: Any

    with pytest.raises(PublishError):
        Artifact.of(Loose(value={1}))


def test_replace_keeps_id_and_lineage() -> None:
    root = artifact(A(), workflow="w")
    made = artifact(A(n=1), workflow="w", tags=["x"], produced_by="amy", parents=[root])
    changed = made.replace(B(n=2))
    assert changed.as_model(B) == B(n=2)
    for name in ("id", "produced_by", "correlation_id", "parents", "depth", "tags", "created_at"):
        assert getattr(changed, name) == getattr(made, name), name


def test_replace_changes_only_what_is_said() -> None:
    private = PrivateVisibility(agents=frozenset({"amy"}))
    made = artifact(A(n=1), tags=["x"], visibility=private)
    assert made.replace().visibility == private
    assert made.replace().tags == {"x"}
    assert made.replace(tags=[]).tags == frozenset()
    assert made.replace(visibility=PublicVisibility()).visibility is PUBLIC
    assert made.replace(partition_key="p").partition_key == "p"
    assert made.replace(partition_key="p").replace().partition_key == "p"
    assert made.as_model(A) == A(n=1)


def test_replace_is_not_on_the_board() -> None:
    assert artifact(A(), seq=4).replace(tags=["x"]).seq == 0


def test_its_repr_names_type_content_producer_and_workflow() -> None:
    text = repr(artifact(A(n=5, key="y" * 500), workflow="w", produced_by="amy"))
    for part in (".UnitA ", '"n":5', "'amy'", "'w'", "..."):
        assert part in text
    assert len(text) < 350
