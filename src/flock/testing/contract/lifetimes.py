"""A store is opened by one at a time, and keeps what it was given."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from flock.core.usage import Charge, Spent, Usage
from flock.errors import StoreLocked
from flock.store.protocol import BlackboardStore, Commit
from flock.testing.contract.foundation import Foundation, Lifetime
from flock.testing.contract.samples import (
    T0,
    A,
    Seen,
    artifact,
    letter_of,
    opened_on,
    published,
    run_over,
)


class Lifetimes(Foundation):
    """A store is opened by one at a time, and keeps what it was given."""

    async def test_open_work_outlives_closing_and_opening_the_store(
        self, store: BlackboardStore
    ) -> None:
        (delivery,) = await published(store, artifact(A()))
        before = await Seen.of(store)
        await store.close()
        await store.open()
        assert await Seen.of(store) == before
        assert [d.artifact.id for d in await opened_on(store)] == [delivery.artifact.id]

    async def test_an_open_store_is_locked_and_names_its_holder(
        self, store: BlackboardStore
    ) -> None:
        await published(store, artifact(A()))
        before = await Seen.of(store)
        await store.close()
        await store.open("board 'first'")
        with pytest.raises(StoreLocked, match=r"by board 'first'; .* shutdown\(\)"):
            await store.open("board 'second'")
        assert await Seen.of(store) == before
        await store.close()
        await store.open("board 'second'")
        with pytest.raises(StoreLocked, match="by board 'second'"):
            await store.open("board 'first'")
        assert await Seen.of(store) == before

    async def test_what_an_event_loop_that_ended_left_open_is_taken_over(
        self, store: BlackboardStore
    ) -> None:
        await published(store, artifact(A()))
        before = await Seen.of(store)
        await store.close()
        await asyncio.to_thread(asyncio.run, store.open("board 'gone'"))
        await store.open("board 'next'")
        assert await Seen.of(store) == before
        with pytest.raises(StoreLocked, match="by board 'next'"):
            await store.open("board 'gone'")

    async def test_closing_twice_does_no_harm(self, store: BlackboardStore) -> None:
        await published(store, artifact(A()))
        before = await Seen.of(store)
        await store.close()
        await store.close()
        await store.open()
        assert await Seen.of(store) == before

    async def test_all_that_a_board_holds_outlives_it(self, lifetime: Lifetime) -> None:
        store = lifetime.store
        waiting, used, failed = await published(
            store, *(artifact(A(n=n), tags=["a", "b"], partition_key="p") for n in range(3))
        )
        run = run_over(used)
        charges = [Charge(run.key, "w", "reader", "m", Usage(1, 2, 3, 1, 0.5, 0.25))]
        output = artifact(A(n=9), parents=[used.artifact])
        await store.commit(
            Commit([output], closed=[used], run=run, at=T0, charges=charges, maker=run)
        )
        await store.commit(Commit(closed=[failed], buried=letter_of(run_over(failed), "\x00 ü")))
        await store.commit(Commit([artifact(A(n=4))], idempotency_key="key"))
        waiting.arrived, waiting.number = T0 + 2, 7
        store.note(waiting)
        await store.commit(Commit())  # in order with what is noted
        before, spent = await Seen.of(store), await store.spent()
        for _ in range(2):
            store = await lifetime.reopened()
            assert await Seen.of(store) == before
            assert await store.spent() == spent == Spent(0, {"m": charges[0].usage})
            assert await store.published_as("key") is not None
            assert before.position == 5

    async def test_an_empty_store_is_empty_when_it_is_opened_again(
        self, lifetime: Lifetime
    ) -> None:
        empty = Seen([], [], 0, [], {}, [], [], 0)
        assert await Seen.of(await lifetime.reopened()) == empty

    async def test_places_are_not_given_again_after_the_newest_was_deleted_and_it_was_reopened(
        self, lifetime: Lifetime
    ) -> None:
        await lifetime.store.commit(Commit([artifact(A(n=n)) for n in range(3)]))
        await lifetime.store.delete_before(datetime.max.replace(tzinfo=UTC))
        assert lifetime.store.position == 3
        store = await lifetime.reopened()
        assert store.position == 3
        await store.commit(Commit([fresh := artifact(A())]))
        assert fresh.seq == store.position == 4

    async def test_what_is_there_can_be_read_while_nobody_has_it_open(
        self, store: BlackboardStore
    ) -> None:
        (used, failed) = await published(store, artifact(A()), artifact(A(n=1)))
        await store.commit(Commit(closed=[used], run=run_over(used), at=T0))
        await store.commit(Commit(closed=[failed], buried=letter_of(run_over(failed))))
        before = await Seen.of(store)
        await store.close()
        assert await Seen.of(store) == before
        assert await store.get(used.artifact.id) == used.artifact
        assert await store.get_by_type(A) == [A(), A(n=1)]
        assert len(await store.latest(limit=1)) == 1
        assert (await store.summary()).total == 2

    async def test_work_under_way_when_it_is_closed_is_finished(self, lifetime: Lifetime) -> None:
        store = lifetime.store
        made = [artifact(A(n=n)) for n in range(50)]
        commits = [Commit([each]) for each in made]
        tasks = [asyncio.ensure_future(store.commit(commit)) for commit in commits]
        await asyncio.sleep(0)
        await store.close()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert [commit.is_done for commit in commits] == [bool(a.seq) for a in made]
        assert await (await lifetime.reopened()).list() == [a for a in made if a.seq]

    async def test_it_can_be_opened_by_one_event_loop_after_the_other(
        self, store: BlackboardStore
    ) -> None:
        await published(store, artifact(A()))
        await store.close()

        async def add(n: int) -> None:
            await store.open()
            await store.commit(Commit([artifact(A(n=n))]))
            await store.close()

        for n in (1, 2):
            await asyncio.to_thread(asyncio.run, add(n))
        assert [a.payload["n"] for a in await store.list()] == [0, 1, 2]
