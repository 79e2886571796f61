"""Types go on: renamed, changed, or gone from the program."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from pydantic import BaseModel

from flock.clock import as_datetime
from flock.core.artifacts import seal
from flock.core.filters import FilterConfig
from flock.core.types import TypeEntry, flock_type, registry, upcasts
from flock.core.visibility import PUBLIC
from flock.errors import TypeRegistryError, UpcastError
from flock.store.protocol import BlackboardStore, Commit
from flock.testing.contract.foundation import Foundation, Lifetime
from flock.testing.contract.samples import T0, A, artifact

_numbers = count()


class Evolution(Foundation):
    """Types go on: renamed, changed, or gone from the program."""

    async def test_what_was_stored_under_a_former_name_is_found_under_each(
        self, store: BlackboardStore
    ) -> None:
        class Renamed(BaseModel):
            n: int = 0

        former = registry.entry(Renamed).name
        old, other = artifact(Renamed(n=1)), artifact(A())
        await store.commit(Commit([old, other]))
        by_former = FilterConfig(type_names={former})
        name = f"renamed {next(_numbers)}"
        flock_type(name=name)(Renamed)
        new = artifact(Renamed(n=2), workflow=old.correlation_id)
        await store.commit(Commit([new]))

        for asked in (Renamed, name, former):
            assert await store.list_by_type(asked) == [old, new]
        assert await store.get_by_type(Renamed) == [Renamed(n=1), Renamed(n=2)]
        workflow = old.correlation_id
        assert await store.get_by_type(Renamed, workflow) == [Renamed(n=1), Renamed(n=2)]
        for where in (
            by_former,
            FilterConfig(type_names={former}),
            FilterConfig(type_names={name}),
            FilterConfig(type_names={Renamed}),
            FilterConfig(type_names={former}, correlation_id=workflow),
            FilterConfig(type_names={name, former}, end=as_datetime(T0 + 9)),
        ):
            assert await store.query_artifacts(where) == ([old, new], 2)
            assert await store.latest(where, limit=9) == [new, old]
            assert (await store.summary(where)).by_type == {name: 2}
        assert [found.type for found in await store.list()] == [name, other.type, name]

    async def test_what_was_stored_by_an_older_version_is_lifted_when_it_is_read(
        self, lifetime: Lifetime
    ) -> None:
        class Growing(BaseModel):
            n: int = 0
            words: list[str] = []

        name = f"growing {next(_numbers)}"
        flock_type(name=name)(Growing)
        old = artifact(Growing(n=1))
        await lifetime.store.commit(Commit([old]))
        registry.register(Growing, name=name, version=3)
        new = artifact(Growing(n=2))

        def split(payload: dict[str, Any]) -> dict[str, Any]:
            return {**payload, "words": [*payload["words"], "lifted"]}

        upcasts(Growing, from_version=1)(split)
        store = await lifetime.reopened()
        await store.commit(Commit([new]))
        with pytest.raises(UpcastError, match=r"version 1.*version 3.*from_version=2"):
            await store.get_by_type(Growing)
        upcasts(Growing, from_version=2)(split)
        assert await store.get_by_type(Growing) == [
            Growing(n=1, words=["lifted", "lifted"]),
            Growing(n=2),
        ]
        found = await store.list_by_type(name)
        assert [(it.version, it.as_model(Growing).words) for it in found] == [
            (1, ["lifted", "lifted"]),
            (3, []),
        ]
        assert found[0].data == old.data, "what is stored stays as it was written"

    async def test_what_newer_code_stored_is_refused_by_older_code(
        self, lifetime: Lifetime
    ) -> None:
        class Shrunk(BaseModel):
            n: int = 0

        name = f"shrunk {next(_numbers)}"
        registry.register(Shrunk, name=name, version=2)
        await lifetime.store.commit(Commit([artifact(Shrunk(n=1))]))
        registry.register(Shrunk, name=name, version=1)
        store = await lifetime.reopened()
        with pytest.raises(UpcastError, match=r"version 2.*version 1.*newer code"):
            await store.get_by_type(Shrunk)

    async def test_a_type_that_is_gone_is_named_and_hides_nothing_else(
        self, lifetime: Lifetime
    ) -> None:
        class Gone(BaseModel):
            n: int = 0

        name = f"gone {next(_numbers)}"
        entry = TypeEntry(Gone, name, 1)  # known to nobody
        shape = artifact(Gone(n=1))
        lost = seal(
            shape.key,
            entry,
            shape.data,
            shape.produced_by,
            "w",
            None,
            frozenset(),
            PUBLIC,
            T0,
            (),
            0,
        )
        await lifetime.store.commit(Commit([lost, kept := artifact(A(n=2), workflow="w")]))
        store = await lifetime.reopened()
        with pytest.raises(TypeRegistryError, match=f"'{name}'.*register"):
            await store.get(lost.id)
        assert await store.get(kept.id) == kept
        assert await store.list_by_type(A) == [kept]
        assert await store.get_by_type(A, "w") == [A(n=2)]
        assert store.position == 2
        assert await store.delete_before(as_datetime(T0 + 1)) == 2
        assert await store.list() == []
