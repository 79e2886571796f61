"""Many at once: each commit is true or not on its own, whoever is cancelled meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from flock.core.delivery import Delivery
from flock.errors import StoreError
from flock.store.protocol import BlackboardStore, Commit
from flock.testing.contract.foundation import Foundation, Lifetime
from flock.testing.contract.samples import (
    READER,
    T0,
    A,
    Seen,
    artifact,
    letter_of,
    opened_on,
    published,
    run_over,
)


class Crowds(Foundation):
    """Many at once: each commit is true or not on its own, whoever is cancelled meanwhile."""

    async def test_of_many_commits_at_once_those_that_contradict_the_board_fail_alone(
        self, lifetime: Lifetime
    ) -> None:
        store = lifetime.store
        known, used = artifact(A(n=-1)), artifact(A(n=-2))
        _, delivery = await published(store, known, used)
        run = run_over(delivery)
        await store.commit(Commit([artifact(A(n=-3))], idempotency_key="taken"))
        commits: list[Commit] = []
        bad: set[int] = set()
        for n in range(500):
            made = artifact(A(n=n))
            commit = Commit([made], [Delivery(made, READER)], at=T0)
            match n % 50:
                case 7:
                    commit.artifacts = [made, known]
                case 19:
                    commit.idempotency_key = "taken"
                case 31:
                    commit.redriven = letter_of(run).id
                case 43:
                    commit.run, commit.closed = run, [delivery]
                case _:
                    pass
            if n % 50 in {7, 19, 31} or (n % 50 == 43 and n > 43):
                bad.add(n)
            commits.append(commit)
        outcomes = await asyncio.gather(*map(store.commit, commits), return_exceptions=True)
        failed = {n for n, outcome in enumerate(outcomes) if outcome is not None}
        assert failed == bad
        assert {type(outcomes[n]) for n in bad if not isinstance(outcomes[n], StoreError)} == set()
        assert [commit.is_done for commit in commits] == [n not in bad for n in range(500)]
        before = await Seen.of(store)
        numbers = [a.payload["n"] for a in await store.list()]
        assert numbers == [-1, -2, -3, *(n for n in range(500) if n not in bad)]
        assert [a.seq for a in await store.list()] == [*range(1, len(numbers) + 1)]
        assert len(await store.consumptions(used.id)) == 1
        assert len(await opened_on(store)) == 501 - len(bad)
        assert await Seen.of(await lifetime.reopened()) == before

    @pytest.mark.parametrize("turns", range(12))
    async def test_whoever_is_cancelled_knows_whether_its_commit_is_true(
        self, lifetime: Lifetime, turns: int
    ) -> None:
        store = lifetime.store
        (delivery,) = await published(store, artifact(A()))
        made = [artifact(A(n=n)) for n in range(1, 6)]
        commits = [Commit([each], [Delivery(each, READER)]) for each in made]
        commits[2].closed = [delivery]
        tasks = [asyncio.ensure_future(store.commit(commit)) for commit in commits]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert [c.is_done for c in commits[1::2]] == [True, True]
        assert [bool(a.seq) for a in made] == [c.is_done for c in commits]
        assert delivery.is_open != commits[2].is_done
        on_board = [a for a in made if a.seq]
        assert (await store.list())[1:] == sorted(on_board, key=lambda a: a.seq)
        before = await Seen.of(store)
        assert await Seen.of(await lifetime.reopened()) == before

    async def test_a_delivery_ends_as_the_last_of_several_commits_at_once_says(
        self, lifetime: Lifetime
    ) -> None:
        store = lifetime.store
        first, second, third = await published(store, *(artifact(A(n=n)) for n in range(3)))
        await store.commit(Commit(closed=[second]))
        await asyncio.gather(
            store.commit(Commit(closed=[first])),
            store.commit(Commit(opened=[first])),
            store.commit(Commit(opened=[second])),
            store.commit(Commit(closed=[second])),
            store.commit(Commit(closed=[third])),
            store.commit(Commit(opened=[third])),
            store.commit(Commit(closed=[third], buried=letter_of(run_over(third)))),
        )
        assert [d.is_open for d in (first, second, third)] == [True, False, False]
        before = await Seen.of(store)
        assert [d.artifact for d in await opened_on(store)] == [first.artifact]
        assert await Seen.of(await lifetime.reopened()) == before

    async def test_of_several_that_use_the_same_delivery_one_succeeds(
        self, store: BlackboardStore
    ) -> None:
        (delivery,) = await published(store, artifact(A()))
        made = [artifact(A(n=n)) for n in range(5)]
        commits = [
            Commit([each], closed=[delivery], run=run_over(delivery), at=T0) for each in made
        ]
        await asyncio.gather(*map(store.commit, commits), return_exceptions=True)
        assert Counter(commit.is_done for commit in commits) == {True: 1, False: 4}
        assert len(await store.consumptions(delivery.artifact.id)) == 1
        assert len(await store.list()) == 2

    async def test_of_several_under_one_key_one_succeeds(self, store: BlackboardStore) -> None:
        made = [artifact(A(n=n)) for n in range(5)]
        commits = [Commit([each], idempotency_key="key") for each in made]
        await asyncio.gather(*map(store.commit, commits), return_exceptions=True)
        (kept,) = await store.list()
        assert await store.published_as("key") == kept
        assert [commit.is_done for commit in commits] == [a == kept for a in made]

    async def test_whoever_reads_while_others_write_sees_whole_commits(
        self, store: BlackboardStore
    ) -> None:
        async def write() -> None:
            for start in range(0, 300, 3):
                await store.commit(Commit([artifact(A(n=n)) for n in range(start, start + 3)]))

        async def read() -> None:
            for _ in range(60):
                numbers = [a.payload["n"] for a in await store.list()]
                assert len(numbers) % 3 == 0
                assert numbers == [*range(len(numbers))]
                page, total = await store.query_artifacts(limit=5000)
                assert len(page) == total
                summary = await store.summary()
                assert summary.total == sum(summary.by_type.values())

        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            for _ in range(3):
                group.create_task(read())
        assert len(await store.list()) == 300
