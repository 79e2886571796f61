"""What is deleted is gone, and nothing that somebody still needs is deleted."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import Final
from uuid import UUID

import pytest

from flock.clock import as_datetime
from flock.core.artifacts import new_key
from flock.core.delivery import Delivery, Run
from flock.core.filters import FilterConfig
from flock.core.usage import Charge, Usage
from flock.store.protocol import BlackboardStore, Commit, DeadLetter
from flock.testing.contract.foundation import Foundation, Lifetime
from flock.testing.contract.queries import some_of_each
from flock.testing.contract.samples import (
    T0,
    A,
    artifact,
    letter_of,
    of_delivery,
    of_letter,
    opened_on,
    published,
    run_over,
    shown,
    subscription,
)

EVER: Final = datetime.max.replace(tzinfo=UTC)


class Deletions(Foundation):
    """What is deleted is gone, and nothing that somebody still needs is deleted."""

    async def test_deleting_keeps_what_open_work_needs(self, store: BlackboardStore) -> None:
        reader = subscription(A)
        waiting, used, dead, plain = (artifact(A(n=n)) for n in range(4))
        deliveries = [Delivery(it, reader) for it in (waiting, used, dead)]
        await store.commit(Commit([waiting, used, dead, plain], deliveries))
        run = Run(new_key(T0), "agent", reader, deliveries[1:2], [used])
        await store.commit(Commit(closed=deliveries[1:2], run=run))
        failed = Run(new_key(T0), "agent", reader, deliveries[2:], [dead])
        letter = DeadLetter(UUID(int=1), failed, "ValueError", "broken", T0)
        await store.commit(Commit(closed=deliveries[2:], buried=letter))

        later = as_datetime(T0 + 1)
        assert await store.delete_before(later) == 2
        assert await store.list() == [waiting, dead]
        assert await store.get(used.id) is None
        assert await store.consumptions(used.id) == []

        await store.commit(Commit(closed=deliveries[:1], redriven=letter.id))
        assert await store.delete_before(later) == 2
        assert await store.list() == []

    async def test_deleting_goes_by_time_and_spares_the_moment_itself(
        self, store: BlackboardStore
    ) -> None:
        made = await some_of_each(store)
        assert await store.delete_before(as_datetime(T0)) == 0
        assert await store.delete_before(as_datetime(T0 + 5)) == 2
        assert await store.list() == [made[2]]
        assert await store.delete_before(as_datetime(T0 + 5)) == 0

    async def test_places_on_the_board_are_never_given_again(self, store: BlackboardStore) -> None:
        await some_of_each(store)
        await store.delete_before(datetime.max.replace(tzinfo=UTC))
        await store.commit(Commit([fresh := artifact(A())]))
        assert fresh.seq == 4
        assert (await store.query_artifacts())[1] == 1

    async def test_deleting_keeps_the_consumption_of_what_stays(
        self, store: BlackboardStore
    ) -> None:
        old, new = artifact(A()), artifact(A(), created=T0 + 9)
        await store.commit(Commit([old, new]))
        for it in (old, new):
            await store.commit(Commit(run=Run(new_key(T0), "agent", None, (), [it]), at=T0))
        assert len(await store.consumptions(old.id)) == 1
        await store.delete_before(as_datetime(T0 + 5))
        assert await store.consumptions(old.id) == []
        assert len(await store.consumptions(new.id)) == 1
        await store.commit(Commit(run=Run(new_key(T0), "other", None, (), [new]), at=T0))
        assert [r.consumer for r in await store.consumptions(new.id)] == ["agent", "other"]

    async def test_a_naive_time_is_refused(self, store: BlackboardStore) -> None:
        await some_of_each(store)
        with pytest.raises(ValueError, match="time zone"):
            await store.delete_before(datetime(2030, 1, 1))  # noqa: DTZ001 - a naive time
        assert (await store.query_artifacts())[1] == 3

    async def test_order_is_kept_over_many_artifacts_and_deletions(
        self, store: BlackboardStore
    ) -> None:
        for start in range(0, 2500, 250):
            made = [artifact(A(n=n), created=T0 + n % 2) for n in range(start, start + 250)]
            await store.commit(Commit(made))
        assert await store.delete_before(as_datetime(T0 + 1)) == 1250
        kept = await store.list()
        assert [it.payload["n"] for it in kept] == [*range(1, 2500, 2)]
        assert all(one.seq < two.seq for one, two in pairwise(kept))
        assert [m.n for m in await store.get_by_type(A)] == [*range(1, 2500, 2)]

    async def test_a_key_ends_with_its_artifact(self, store: BlackboardStore) -> None:
        old, new = artifact(A()), artifact(A(), created=T0 + 9)
        await store.commit(Commit([old], idempotency_key="old"))
        await store.commit(Commit([new], idempotency_key="new"))
        await store.delete_before(as_datetime(T0 + 5))
        assert await store.published_as("old") is None
        assert await store.published_as("new") == new
        await store.commit(Commit([again := artifact(A())], idempotency_key="old"))
        assert await store.published_as("old") == again

    async def test_inputs_that_were_chosen_for_open_work_are_kept(self, lifetime: Lifetime) -> None:
        store = lifetime.store
        chosen, other, plain = (artifact(A(n=n)) for n in (1, 2, 3))
        await store.commit(Commit([chosen, other, plain]))
        first, second = await published(store, artifact(A(n=4)), artifact(A(n=5)))
        run, failed = run_over(first), run_over(second)
        run.use([chosen])
        failed.use([other])
        await store.commit(Commit(progress=(run,)))
        letter = letter_of(failed)
        await store.commit(Commit(closed=[second], buried=letter))
        assert await store.delete_before(EVER) == 1
        assert await store.keep_newest(0) == 0
        store = await lifetime.reopened()
        kept = [chosen, other, first.artifact, second.artifact]
        assert shown(await store.list()) == shown(kept)
        assert [*map(of_delivery, await opened_on(store))] == [of_delivery(first)]
        assert [*map(of_letter, await store.dead_letters())] == [of_letter(letter)]

    async def test_the_newest_of_each_workflow_are_kept(self, store: BlackboardStore) -> None:
        made = [
            artifact(A(n=n), workflow=f"w{n % 2}", created=T0 - n, tags=["t"]) for n in range(9)
        ]
        await store.commit(Commit(made))
        assert await store.keep_newest(2) == 5
        assert shown(await store.list()) == shown(made[5:])
        assert await store.query_artifacts(FilterConfig(tags=["t"], correlation_id="w0")) == (
            [made[6], made[8]],
            2,
        )
        assert await store.keep_newest(2) == 0
        assert await store.keep_newest(0) == 4
        assert await store.list() == []
        assert store.position == 9

    @pytest.mark.parametrize("count", [-1, True, 1.5, "2"])
    async def test_what_is_no_count_is_refused(self, store: BlackboardStore, count: int) -> None:
        await some_of_each(store)
        with pytest.raises(ValueError, match="keep_newest"):
            await store.keep_newest(count)
        assert (await store.query_artifacts())[1] == 3

    async def test_keeping_the_newest_never_touches_open_work_or_dead_letters(
        self, store: BlackboardStore
    ) -> None:
        waiting, dead, plain = (artifact(A(n=n), workflow="w") for n in range(3))
        first, second = await published(store, waiting, dead)
        await store.commit(Commit([plain]))
        letter = letter_of(run_over(second))
        await store.commit(Commit(closed=[second], buried=letter))
        assert await store.keep_newest(0) == 1
        assert shown(await store.list()) == shown([waiting, dead])
        await store.commit(Commit(opened=[second], redriven=letter.id))
        assert await store.keep_newest(0) == 0
        await store.commit(Commit(closed=[first, second]))
        assert await store.keep_newest(0) == 2

    async def test_what_was_spent_outlives_what_it_was_spent_on(self, lifetime: Lifetime) -> None:
        (delivery,) = await published(lifetime.store, artifact(A(), workflow="w"))
        run = run_over(delivery)
        charge = Charge(run.key, "w", "reader", "m", Usage(1, 2, 3, 0, 0.5, 1.0))
        await lifetime.store.commit(Commit(closed=[delivery], run=run, at=T0, charges=[charge]))
        assert await lifetime.store.delete_before(EVER) == 1
        store = await lifetime.reopened()
        assert (await store.spent(correlation_id="w")).models == {"m": charge.usage}
        assert (await store.spent(run_id=run.id)).models == {"m": charge.usage}
