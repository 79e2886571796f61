"""One observer is told of what changes, in time; and what there is can be counted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flock.clock import as_datetime
from flock.core.artifacts import Artifact
from flock.core.filters import FilterConfig
from flock.errors import StoreError
from flock.store.protocol import BlackboardStore, Commit
from flock.testing.contract.foundation import QUICKLY, Foundation, Lifetime
from flock.testing.contract.queries import asked_for, boards, filled, filters
from flock.testing.contract.samples import T0, A, B, artifact


class Log:
    """An observer that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[list[int] | str] = []

    def committed(self, artifacts: Sequence[Artifact]) -> None:
        """Write down the positions."""
        self.told.append([it.seq for it in artifacts])

    def deleted(self) -> None:
        """Write that down."""
        self.told.append("deleted")


class Observing(Foundation):
    """One observer is told of what changes, in time; and what there is can be counted."""

    async def test_an_observer_is_told_of_each_commit_before_it_is_awaited(
        self, store: BlackboardStore
    ) -> None:
        await store.commit(Commit([artifact(A())]))
        store.observe(log := Log())
        await store.commit(Commit([artifact(A()), artifact(B())]))
        assert log.told == [[2, 3]]
        await store.commit(Commit())
        await store.commit(Commit([artifact(A())]))
        assert log.told == [[2, 3], [4]]
        store.observe(None)
        await store.commit(Commit([artifact(A())]))
        assert log.told == [[2, 3], [4]]

    async def test_commits_of_many_are_told_one_by_one_in_board_order(
        self, store: BlackboardStore
    ) -> None:
        store.observe(log := Log())
        there = artifact(A())
        await store.commit(Commit([there]))

        async def put(number: int) -> None:
            made = [artifact(A(n=number)) for _ in range(number % 3 + 1)]
            await store.commit(Commit(made))
            assert [it.seq for it in made] in log.told

        async def refused() -> None:
            with pytest.raises(StoreError):
                await store.commit(Commit([there]))

        async with asyncio.TaskGroup() as group:
            for number in range(50):
                group.create_task(put(number))
                if number % 10 == 3:
                    group.create_task(refused())
        seqs = [seq for told in log.told for seq in told]
        assert seqs == [*range(1, store.position + 1)]
        assert len(log.told) == 51

    async def test_an_observer_is_told_of_deletions_before_they_are_awaited(
        self, store: BlackboardStore
    ) -> None:
        await store.commit(Commit([artifact(A(), created=T0 + n) for n in range(4)]))
        store.observe(log := Log())
        assert await store.delete_before(as_datetime(T0)) == 0
        assert log.told == []
        assert await store.delete_before(as_datetime(T0 + 1)) == 1
        assert log.told == ["deleted"]
        await store.commit(Commit([artifact(A(), workflow="w"), artifact(A(), workflow="w")]))
        assert await store.keep_newest(1) == 1
        assert log.told == ["deleted", [5, 6], "deleted"]

    async def test_opening_forgets_the_observer(self, lifetime: Lifetime) -> None:
        lifetime.store.observe(log := Log())
        store = await lifetime.reopened()
        await store.commit(Commit([artifact(A())]))
        await store.delete_before(as_datetime(T0 + 1))
        assert log.told == []

    @given(board=boards, where=st.none() | filters, doomed=st.integers(-1, 9))
    @QUICKLY
    async def test_a_count_is_how_many_a_look_through_the_list_finds(
        self,
        board: list[list[Artifact]],
        where: FilterConfig | None,
        doomed: int,
    ) -> None:
        async with self.empty_store() as store:
            made = await filled(store, [[it.replace() for it in part] for part in board])
            await store.delete_before(as_datetime(T0 + doomed))
            left = [it for it in made if it.created >= T0 + doomed]
            found = [it for it in left if where is None or asked_for(where, it)]
            assert await store.count(where) == len(found)
            for until in range(-1, len(made) + 2):
                expected = sum(it.seq <= until for it in found)
                assert await store.count(where, until=until) == expected
