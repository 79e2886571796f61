"""What a board keeps beside artifacts and runs, and its log, change with its commits."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from flock.clock import as_datetime
from flock.errors import StoreError
from flock.store.protocol import BlackboardStore, Commit, LogEntry, Mark, State
from flock.testing.contract.foundation import Foundation, Lifetime
from flock.testing.contract.runs import committed, run_of
from flock.testing.contract.samples import T0, A, B, artifact


def entry(kind: str = "happened", workflow: str | None = "w", at: float = T0) -> LogEntry:
    """Return an entry as it is given to a commit."""
    return LogEntry(kind, at, workflow, b'{"why":"\\u00fc"}')


class States(Foundation):
    """What a board keeps beside artifacts and runs, and its log, change with its commits."""

    async def test_a_state_is_kept_replaced_and_forgotten(self, lifetime: Lifetime) -> None:
        store = lifetime.store
        assert await store.states("schedule") == {}
        first = [State("schedule", "a", b"1"), State("schedule", "b", b"[2]")]
        await store.commit(Commit(states=[*first, State("pause", "a", b"true")]))
        await store.commit(Commit(states=[State("schedule", "a", b'"new"')]))
        await store.commit(Commit(states=[State("schedule", "b", None), State("none", "c", None)]))
        store = await lifetime.reopened()
        assert await store.states("schedule") == {"a": b'"new"'}
        assert await store.states("pause") == {"a": b"true"}
        assert await store.states("none") == {}

    async def test_one_state_is_found_by_its_key(self, lifetime: Lifetime) -> None:
        store = lifetime.store
        assert await store.state("k", "a") is None
        await store.commit(Commit(states=[State("k", "a", b"1"), State("other", "a", b"2")]))
        store = await lifetime.reopened()
        assert await store.state("k", "a") == b"1"
        assert await store.state("k", "b") is None
        assert await store.state("k", "\ud800") is None
        await store.commit(Commit(states=[State("k", "a", None)]))
        assert await store.state("k", "a") is None

    async def test_the_last_of_one_commit_counts(self, store: BlackboardStore) -> None:
        a, b = [State("k", "key", b"1"), State("k", "key", None)], State("k", "key", b"2")
        await store.commit(Commit(states=[*a, b]))
        assert await store.states("k") == {"key": b"2"}
        await store.commit(Commit(states=[b, *a]))
        assert await store.states("k") == {}

    async def test_states_are_no_live_objects(self, store: BlackboardStore) -> None:
        await store.commit(Commit(states=[State("k", "a", b"1")]))
        (await store.states("k")).clear()
        assert await store.states("k") == {"a": b"1"}

    async def test_what_is_refused_keeps_and_logs_nothing(self, store: BlackboardStore) -> None:
        await store.commit(Commit([there := artifact(A())]))
        told: list[int] = []
        for _ in range(2):
            commit = Commit([there], states=[State("k", "a", b"1")], logged=[entry()])
            commit.then = lambda: told.append(1)
            with pytest.raises(StoreError):
                await store.commit(commit)
        assert (await store.states("k"), await store.log(), told) == ({}, [], [])
        assert store.mark == Mark(1, 0, 0)

    async def test_what_happened_is_logged_in_order_with_its_place(
        self, lifetime: Lifetime
    ) -> None:
        store = lifetime.store
        source = artifact(A(), workflow="w")
        await store.commit(Commit([source], logged=[entry("first"), entry("other", "v")]))
        await committed(store, run_of(source), artifact(B(), workflow="w"))
        await store.commit(Commit(logged=[entry("whole", None, T0 + 1)], at=T0 + 1))
        store = await lifetime.reopened()
        first, other, whole = await store.log()
        assert first == LogEntry("first", T0, "w", b'{"why":"\\u00fc"}', 1, Mark(1, 0, 1))
        assert (other.kind, other.correlation_id, other.number) == ("other", "v", 2)
        assert (whole.correlation_id, whole.at, whole.mark) == (None, T0 + 1, Mark(2, 1, 3))
        assert await store.log("v") == [other]
        assert await store.log(limit=2) == [first, other]
        assert await store.log(after=1, limit=1) == [other]
        assert await store.log("w", after=1) == []
        assert await store.log("unheard") == []
        assert store.mark == Mark(2, 1, 3)
        await store.commit(Commit(logged=[entry("again")]))
        assert [each.number for each in await store.log("w")] == [1, 4]

    async def test_the_log_is_deleted_with_its_time_and_numbers_go_on(
        self, lifetime: Lifetime
    ) -> None:
        store = lifetime.store
        await store.commit(Commit(logged=[entry(at=T0 + n) for n in range(3)]))
        await store.delete_before(as_datetime(T0 + 1))
        assert [each.number for each in await store.log()] == [2, 3]
        await store.delete_before(as_datetime(T0) + timedelta(days=1))
        store = await lifetime.reopened()
        await store.commit(Commit(logged=[entry()]))
        [kept] = await store.log()
        assert (kept.number, store.mark) == (4, Mark(0, 0, 4))

    async def test_each_commit_is_told_of_in_board_order(self, store: BlackboardStore) -> None:
        source = artifact(A(), workflow="w")
        await store.commit(Commit([source]))
        told: list[tuple[int, Mark | None, bool]] = []

        async def do(number: int) -> None:
            run = run_of(source) if number % 3 == 0 else None
            logged = [entry()] * (number % 2)
            commit = Commit([artifact(A())] * (number % 4 == 1), run=run, at=T0, logged=logged)
            commit.then = lambda: told.append((number, commit.mark, commit.is_done))
            waiting = store.commit(commit)
            if number % 5:
                await asyncio.sleep(0)
            await waiting
            assert told.count((number, commit.mark, True)) == 1  # before who awaits it goes on

        async with asyncio.TaskGroup() as group:
            for number in range(60):
                group.create_task(do(number))
        marks = [mark for _, mark, _ in told if mark is not None]
        assert len(marks) == len(told) == 60
        assert marks == sorted(marks)
        assert marks[-1] == store.mark == Mark(1 + 15, 20, 30)
        assert [each.mark.logged for each in await store.log()] == [*range(1, 31)]

    async def test_the_runs_of_all_workflows_come_page_by_page(
        self, store: BlackboardStore
    ) -> None:
        sources = [artifact(A(), workflow=f"w{n}") for n in range(3)]
        await store.commit(Commit(sources))
        for n in range(9):
            source = sources[n % 3]
            run = run_of(source)
            if n % 4 == 3:
                run.emitted = 1
                part = artifact(B(), workflow=source.correlation_id)
                await store.commit(Commit([part], maker=run))
                await store.commit(Commit([artifact(A())]))
            await committed(store, run, artifact(B(n=n), workflow=source.correlation_id))
        everything = await store.runs(None)
        assert [each.number for each in everything] == [*range(1, 10)]
        assert await store.runs(None, after=2, limit=3) == everything[2:5]
        assert await store.runs(None, after=9) == []
        assert [len(each.outputs) for each in everything] == [1, 1, 1, 2, 1, 1, 1, 2, 1]
        for n in range(3):
            assert await store.runs(f"w{n}") == everything[n::3]
