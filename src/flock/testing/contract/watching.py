"""Whoever watches sees each artifact once, in board order."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, cast

from flock.clock import as_datetime
from flock.core.filters import FilterConfig
from flock.store.protocol import BlackboardStore, Commit
from flock.testing.contract.foundation import Foundation
from flock.testing.contract.samples import T0, A, B, artifact, shown

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from flock.core.artifacts import Artifact


class Watching(Foundation):
    """Whoever watches sees each artifact once, in board order."""

    async def test_a_watcher_sees_what_is_committed_from_the_call_on(
        self, store: BlackboardStore
    ) -> None:
        await store.commit(Commit([artifact(A())]))
        watcher = store.watch()
        made = [artifact(A(n=n)) for n in range(3)]
        await store.commit(Commit(made[:2]))
        await store.commit(Commit(made[2:]))
        seen = [await anext(watcher) for _ in range(3)]
        assert [(a.id, a.seq) for a in seen] == [(a.id, a.seq) for a in made]

    async def test_a_watcher_sees_only_what_its_filter_admits(self, store: BlackboardStore) -> None:
        watcher = store.watch(FilterConfig(type_names=[B]))
        await store.commit(Commit([artifact(A()), wanted := artifact(B()), artifact(A())]))
        await store.commit(Commit([artifact(A()), second := artifact(B())]))
        assert [await anext(watcher), await anext(watcher)] == [wanted, second]

    async def test_watchers_do_not_take_from_each_other(self, store: BlackboardStore) -> None:
        first, second = store.watch(), store.watch()
        await store.commit(Commit([made := artifact(A())]))
        assert await anext(first) == await anext(second) == made

    async def test_closing_the_store_ends_watching_after_what_is_there(
        self, store: BlackboardStore
    ) -> None:
        watcher = store.watch()
        await store.commit(Commit([made := artifact(A())]))
        await store.close()
        assert [seen async for seen in watcher] == [made]

    async def test_a_watcher_that_was_ended_sees_nothing_of_what_comes_later(
        self, store: BlackboardStore
    ) -> None:
        watcher = store.watch()
        await store.commit(Commit([before := artifact(A())]))
        await store.close()
        await store.open()
        await store.commit(Commit([artifact(A(n=1))]))
        assert [seen async for seen in watcher] == [before]

    async def test_a_watcher_that_waits_is_told(self, store: BlackboardStore) -> None:
        watcher = store.watch()
        first = asyncio.ensure_future(anext(watcher))
        await asyncio.sleep(0)
        await store.commit(Commit([made := artifact(A(), tags=["x"])]))
        assert shown([await first]) == shown([made])

    async def test_a_slow_watcher_misses_nothing(self, store: BlackboardStore) -> None:
        watcher = store.watch()
        made: list[Artifact] = []
        for size in (1, 400, 3, 300):
            more = [artifact(A(n=n)) for n in range(size)]
            await store.commit(Commit(more))
            made += more
        assert [(await anext(watcher)).seq for _ in made] == [a.seq for a in made]

    async def test_what_is_deleted_before_it_is_seen_is_passed_over(
        self, store: BlackboardStore
    ) -> None:
        watcher = store.watch()
        old = [artifact(A(n=n)) for n in range(3)]
        await store.commit(Commit([*old, kept := artifact(A(), created=T0 + 9)]))
        assert await anext(watcher) == old[0]
        await store.delete_before(as_datetime(T0 + 5))
        await store.commit(Commit([late := artifact(A())]))
        seen = [await anext(watcher)]
        while seen[-1] != late:
            seen.append(await anext(watcher))
        assert kept in seen
        assert seen == [it for it in (*old[1:], kept, late) if it in seen], "each once, in order"

    async def test_a_watcher_that_its_user_closes_ends(self, store: BlackboardStore) -> None:
        watcher = cast("AsyncGenerator[Artifact]", store.watch())
        await store.commit(Commit([made := artifact(A())]))
        async with aclosing(watcher):
            assert await anext(watcher) == made
        await store.commit(Commit([artifact(A(n=1))]))
        assert [seen async for seen in watcher] == []
