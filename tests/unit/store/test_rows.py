"""An artifact survives being a row, and a row costs the garbage collector nothing."""

import gc
from datetime import timedelta
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, create_model

from flock.core.artifacts import Artifact
from flock.core.types import flock_type, upcasts
from flock.core.visibility import (
    PUBLIC,
    AfterVisibility,
    LabelledVisibility,
    PrivateVisibility,
    TenantVisibility,
    Visibility,
)
from flock.errors import TypeRegistryError
from flock.store.rows import Row, artifact_of, row_of
from tests.unit.support import A, artifact

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
PLAIN: st.SearchStrategy[Visibility] = st.one_of(
    st.just(PUBLIC),
    st.builds(PrivateVisibility, agents=st.frozensets(NAMES, max_size=3)),
    st.builds(LabelledVisibility, required_labels=st.frozensets(NAMES, max_size=3)),
    st.builds(TenantVisibility, tenant_id=NAMES),
)
VISIBILITIES = PLAIN | st.builds(
    AfterVisibility,
    ttl=st.timedeltas(timedelta(0), timedelta(days=400)),
    then=PLAIN | st.builds(AfterVisibility, ttl=st.just(timedelta(1)), then=PLAIN),
)


@given(
    visibility=VISIBILITIES,
    tags=st.frozensets(NAMES, max_size=3),
    created=st.floats(0, 1e11),
    seq=st.integers(0, 2**62),
    depth=st.integers(0, 1000),
    produced_by=NAMES,
    text=NAMES,
    parents=st.integers(0, 3),
)
def test_an_artifact_comes_back_as_it_was(
    visibility: Visibility,
    tags: frozenset[str],
    created: float,
    seq: int,
    depth: int,
    produced_by: str,
    text: str,
    parents: int,
) -> None:
    before = artifact(
        A(key=text),
        visibility=visibility,
        tags=tags,
        created=created,
        seq=seq,
        depth=depth,
        produced_by=produced_by,
        parents=[artifact(A()) for _ in range(parents)],
    )
    after = artifact_of(row_of(before), seq)
    for name in Artifact.__mro__[1].__dict__["__slots__"]:
        assert getattr(after, name) == getattr(before, name), name
    assert after.as_model(A) == A(key=text)


def test_public_is_the_one_public_instance_after_the_trip() -> None:
    assert artifact_of(row_of(artifact(A())), 1).visibility is PUBLIC


def test_a_row_is_not_tracked_by_the_collector() -> None:
    private = PrivateVisibility(agents=frozenset({"amy"}))
    made = artifact(A(), tags=["x", "y"], visibility=private, parents=[artifact(A())])
    row = row_of(made)
    gc.collect()
    gc.collect()
    assert not gc.is_tracked(row)


def test_a_row_of_an_older_version_is_upcast_when_it_is_read() -> None:
    def define(version: int, **fields: Any) -> type[BaseModel]:
        made = create_model("Grown", __module__="test.rows", **fields)
        return flock_type(name="test.rows.Grown", version=version)(made)

    small = define(1, name=(str, ...))
    row = row_of(artifact(small(name="x")))
    grown = define(2, name=(str, ...), size=(int, ...))

    @upcasts(grown, from_version=1)
    def grow(payload: dict[str, Any]) -> dict[str, Any]:
        return {**payload, "size": 1}

    assert grow({}) == {"size": 1}
    after = artifact_of(row, 1)
    assert after.version == 1
    assert after.as_model(grown) == grown(name="x", size=1)
    assert after.payload == {"name": "x"}


def test_a_row_of_an_unknown_type_is_a_registry_error() -> None:
    key, _, *rest = row_of(artifact(A()))
    unknown = cast("Row", (key, "test.rows.Unheard", *rest))
    with pytest.raises(TypeRegistryError, match="Unheard"):
        artifact_of(unknown, 1)
