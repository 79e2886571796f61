"""A commit makes all of it true at once, or nothing."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from flock.core.artifacts import new_key
from flock.core.delivery import Delivery, Run
from flock.core.usage import Charge, Spent, Usage
from flock.errors import StoreError
from flock.store.protocol import BlackboardStore, Commit
from flock.testing.contract.foundation import Foundation
from flock.testing.contract.samples import (
    READER,
    T0,
    A,
    Seen,
    artifact,
    letter_of,
    of_letter,
    opened_on,
    published,
    run_over,
    subscription,
)


class Commits(Foundation):
    """A commit makes all of it true at once, or nothing."""

    async def test_an_empty_store_shows_nothing(self, store: BlackboardStore) -> None:
        assert await Seen.of(store) == Seen([], [], 0, [], {}, [], [], 0)

    async def test_artifacts_are_numbered_from_one_in_the_order_they_are_committed(
        self, store: BlackboardStore
    ) -> None:
        made = [artifact(A(n=n)) for n in range(4)]
        await store.commit(Commit(made[:3]))
        await store.commit(Commit(made[3:]))
        assert [a.seq for a in made] == [1, 2, 3, 4]
        assert [(a.seq, a.id) for a in await store.list()] == [(a.seq, a.id) for a in made]

    async def test_the_place_on_the_board_follows_the_commit_not_the_time_or_id(
        self, store: BlackboardStore
    ) -> None:
        late, early = artifact(A(), created=T0 + 9), artifact(A(), created=T0)
        await store.commit(Commit([late]))
        await store.commit(Commit([early]))
        assert await store.list() == [late, early]

    async def test_an_empty_commit_changes_nothing(self, store: BlackboardStore) -> None:
        await published(store, artifact(A()))
        before = await Seen.of(store)
        await store.commit(Commit())
        assert await Seen.of(store) == before

    async def test_a_runs_commit_writes_outputs_consumption_and_deliveries_together(
        self, store: BlackboardStore
    ) -> None:
        source = artifact(A())
        (delivery,) = await published(store, source)
        output = artifact(A(n=1), parents=[source])
        follow_up = Delivery(output, READER)
        run = run_over(delivery)
        await store.commit(Commit([output], [follow_up], [delivery], run, T0 + 5))

        assert [a.id for a in await store.list()] == [source.id, output.id]
        assert [d.artifact.id for d in await opened_on(store)] == [output.id]
        (record,) = await store.consumptions(source.id)
        assert (record.artifact_id, record.consumer, record.run_id) == (source.id, "reader", run.id)
        assert record.correlation_id == source.correlation_id
        assert record.consumed_at.timestamp() == T0 + 5
        assert record.consumed_at.tzinfo is not None
        assert await store.consumptions(output.id) == []

    @pytest.mark.parametrize(
        "order",
        [("fresh", "known"), ("known", "fresh"), ("fresh", "fresh")],
        ids=["known-last", "known-first", "twice-in-one"],
    )
    async def test_a_failing_commit_changes_nothing(
        self, store: BlackboardStore, order: tuple[str, str]
    ) -> None:
        known, other, fresh = artifact(A()), artifact(A(n=1)), artifact(A(n=2))
        first, second = await published(store, known, other)
        dead = letter_of(run_over(second))
        await store.commit(Commit(closed=[second], buried=dead))
        run = run_over(first)
        before = await Seen.of(store)
        watcher = store.watch()

        by_name = {"known": known, "fresh": fresh}
        with pytest.raises(StoreError):
            await store.commit(
                Commit(
                    [by_name[name] for name in order],
                    [Delivery(fresh, READER)],
                    [first],
                    run,
                    T0 + 1,
                    buried=letter_of(run),
                    redriven=dead.id,
                )
            )
        assert await Seen.of(store) == before
        assert first.is_open
        assert fresh.seq == 0
        assert await store.get(fresh.id) is None

        after = artifact(A(n=3))
        await store.commit(Commit([after]))
        assert after.seq == 3, "a failed commit uses up no place on the board"
        assert await anext(watcher) == after, "nobody is told of what failed"

    async def test_what_failed_can_be_committed_later(self, store: BlackboardStore) -> None:
        known, fresh = artifact(A()), artifact(A(n=2))
        await published(store, known)
        with pytest.raises(StoreError):
            await store.commit(Commit([fresh, known]))
        await store.commit(Commit([fresh]))
        assert await store.list() == [known, fresh]

    async def test_an_artifact_cannot_be_committed_twice_and_is_named(
        self, store: BlackboardStore
    ) -> None:
        known = artifact(A())
        await store.commit(Commit([known]))
        with pytest.raises(StoreError, match=str(known.id)):
            await store.commit(Commit([known]))

    async def test_open_deliveries_come_in_board_order_then_by_agent_and_subscription(
        self, store: BlackboardStore
    ) -> None:
        one, two = artifact(A()), artifact(A(n=1))
        zed, amy = subscription(A, agent="zed"), subscription(A, agent="amy")
        deliveries = [
            Delivery(two, zed),
            Delivery(one, zed),
            Delivery(two, amy),
            Delivery(one, amy),
        ]
        await store.commit(Commit([one, two], deliveries))
        found = [(d.artifact.id, d.agent, d.index) for d in await opened_on(store)]
        assert found == [
            (one.id, "amy", 0),
            (one.id, "zed", 0),
            (two.id, "amy", 0),
            (two.id, "zed", 0),
        ]

    async def test_a_delivery_is_open_from_its_commit_until_it_is_closed(
        self, store: BlackboardStore
    ) -> None:
        first, second = await published(store, artifact(A()), artifact(A(n=1)))
        await store.commit(Commit(closed=[first]))
        assert [d.artifact.id for d in await opened_on(store)] == [second.artifact.id]
        assert (first.is_open, second.is_open) == (False, True)

    async def test_closing_without_a_run_records_no_consumption(
        self, store: BlackboardStore
    ) -> None:
        (delivery,) = await published(store, artifact(A()))
        await store.commit(Commit(closed=[delivery]))
        assert await store.consumptions(delivery.artifact.id) == []

    async def test_a_closed_delivery_can_be_opened_again(self, store: BlackboardStore) -> None:
        (delivery,) = await published(store, artifact(A()))
        await store.commit(Commit(closed=[delivery]))
        await store.commit(Commit(opened=[delivery]))
        assert [d.artifact.id for d in await opened_on(store)] == [delivery.artifact.id]

    async def test_every_input_of_a_run_is_consumed_by_it(self, store: BlackboardStore) -> None:
        deliveries = await published(store, artifact(A()), artifact(A(n=1)))
        run = run_over(*deliveries)
        await store.commit(Commit(closed=deliveries, run=run, at=T0))
        for delivery in deliveries:
            (record,) = await store.consumptions(delivery.artifact.id)
            assert record.run_id == run.id

    async def test_an_input_that_a_hook_chose_twice_is_consumed_once(
        self, store: BlackboardStore
    ) -> None:
        (delivery,) = await published(store, artifact(A()))
        run = run_over(delivery)
        run.use([delivery.artifact, delivery.artifact])
        await store.commit(Commit(closed=[delivery], run=run, at=T0))
        assert len(await store.consumptions(delivery.artifact.id)) == 1

    async def test_consumptions_come_in_the_order_the_runs_committed(
        self, store: BlackboardStore
    ) -> None:
        source = artifact(A())
        await store.commit(Commit([source]))
        runs = [Run(new_key(T0), name, None, (), [source]) for name in ("zed", "amy", "bob")]
        for at, run in enumerate(runs):
            assert len(await store.consumptions(source.id)) == at
            await store.commit(Commit(run=run, at=T0 + at))
        found = await store.consumptions(str(source.id))
        assert [record.consumer for record in found] == ["zed", "amy", "bob"]
        assert [record.consumed_at.timestamp() for record in found] == [T0, T0 + 1, T0 + 2]

    @pytest.mark.parametrize("unknown", [UUID(int=1), "no id", ""])
    async def test_what_is_unknown_was_consumed_by_nobody(
        self, store: BlackboardStore, unknown: UUID | str
    ) -> None:
        assert await store.consumptions(unknown) == []

    async def test_a_dead_letter_keeps_the_inputs_and_what_went_wrong(
        self, store: BlackboardStore
    ) -> None:
        source = artifact(A(n=7))
        (delivery,) = await published(store, source)
        run = run_over(delivery)
        run.attempt = 3
        letter = letter_of(run, "it broke")
        await store.commit(Commit(closed=[delivery], buried=letter))

        (found,) = await store.dead_letters()
        assert (found.id, found.agent, found.run_id) == (letter.id, "reader", run.id)
        assert (found.error_type, found.error_message) == ("ValueError", "it broke")
        assert (found.attempt, found.correlation_id) == (3, source.correlation_id)
        assert [a.as_model(A) for a in found.artifacts] == [A(n=7)]
        assert found.created_at.timestamp() == T0 + 1
        assert found.created_at.tzinfo is not None
        assert await opened_on(store) == []

    async def test_dead_letters_come_oldest_first_and_leave_when_redriven(
        self, store: BlackboardStore
    ) -> None:
        deliveries = await published(store, *(artifact(A(n=n)) for n in range(3)))
        letters = [letter_of(run_over(d)) for d in deliveries]
        for letter, delivery in zip(letters, deliveries, strict=True):
            await store.commit(Commit(closed=[delivery], buried=letter))
        await store.commit(Commit(opened=[deliveries[1]], redriven=letters[1].id))
        assert [found.id for found in await store.dead_letters()] == [letters[0].id, letters[2].id]
        assert [d.artifact.id for d in await opened_on(store)] == [deliveries[1].artifact.id]

    async def test_changing_what_a_store_returns_changes_nothing(
        self, store: BlackboardStore
    ) -> None:
        source = artifact(A(n=1))
        (delivery,) = await published(store, source)
        await store.commit(
            Commit(closed=[delivery], run=run_over(delivery), buried=letter_of(run_over(delivery)))
        )
        before = await Seen.of(store)
        everything: list[list[Any]] = [
            await store.list(),
            await store.list_by_type(A),
            await store.get_by_type(A),
            (await store.query_artifacts())[0],
            await store.latest(limit=9),
            await store.consumptions(source.id),
            await store.dead_letters(),
            await opened_on(store),
        ]
        for found in everything:
            found.clear()
        (model,) = await store.get_by_type(A)
        model.n = 99
        payload = (await store.list())[0].payload
        payload["n"] = 99
        assert await Seen.of(store) == before
        assert await store.get_by_type(A) == [A(n=1)]

    async def test_an_artifact_that_was_read_stays_as_it_was(self, store: BlackboardStore) -> None:
        source = artifact(A())
        await store.commit(Commit([source]))
        first, second = await store.get(source.id), await store.get(str(source.id))
        assert first == second == source
        assert first is not None
        with pytest.raises(AttributeError, match="frozen"):
            first.seq = 7

    async def test_what_was_spent_is_kept_by_workflow_agent_run_and_model(
        self, store: BlackboardStore
    ) -> None:
        one, two = Usage(1, 10, 5, 2, 0.25, 1.5), Usage(2, 1, 1, 0, None, 0.5)
        charges = [
            Charge(1, "w1", "amy", None),
            Charge(1, "w1", "amy", "m", one),
            Charge(1, "w1", "amy", "m", one),
            Charge(2, "w2", "amy", "n", two),
            Charge(3, "w1", "bob", "m", two),
        ]
        await store.commit(Commit(charges=charges[:2], at=T0))
        await store.commit(Commit(charges=charges[2:], at=T0))
        assert await store.spent() == Spent(1, {"m": one + one + two, "n": two})
        assert await store.spent(correlation_id="w1") == Spent(1, {"m": one + one + two})
        assert await store.spent(agent="amy") == Spent(1, {"m": one + one, "n": two})
        assert await store.spent(correlation_id="w2", agent="bob") == Spent()
        assert await store.spent(run_id=f"{1:032x}") == Spent(0, {"m": one + one})
        assert await store.spent(run_id=f"{1:032x}", agent="bob") == Spent()
        assert await store.spent(run_id=f"{9:032x}") == Spent()

    async def test_a_commit_that_fails_charges_nothing(self, store: BlackboardStore) -> None:
        made = artifact(A())
        await published(store, made)
        with pytest.raises(StoreError):
            await store.commit(
                Commit([made], charges=[Charge(1, "w", "amy", "m", Usage(1))], at=T0)
            )
        assert await store.spent() == Spent()

    async def test_a_run_commits_only_while_all_that_it_uses_is_open(
        self, store: BlackboardStore
    ) -> None:
        first, second = await published(store, artifact(A()), artifact(A(n=1)))
        run = run_over(first, second)
        await store.commit(Commit(closed=[second]))
        before = await Seen.of(store)
        output = artifact(A(n=2))
        late = Commit([output], closed=[first, second], run=run, at=T0)
        with pytest.raises(StoreError, match="closed"):
            await store.commit(late)
        assert (late.is_done, output.seq, first.is_open) == (False, 0, True)
        assert await Seen.of(store) == before

    async def test_a_dead_letter_can_be_redriven_once(self, store: BlackboardStore) -> None:
        (delivery,) = await published(store, artifact(A()))
        letter = letter_of(run_over(delivery))
        await store.commit(Commit(closed=[delivery], buried=letter))
        (found,) = await store.dead_letters()
        assert of_letter(found) == of_letter(letter)
        await store.commit(Commit(opened=[delivery], redriven=letter.id))
        before = await Seen.of(store)
        with pytest.raises(StoreError, match=str(letter.id)):
            await store.commit(Commit([artifact(A())], redriven=letter.id))
        assert await Seen.of(store) == before

    async def test_what_was_published_under_a_key_is_found_by_it(
        self, store: BlackboardStore
    ) -> None:
        one, two = artifact(A()), artifact(A(n=1))
        await store.commit(Commit([one], idempotency_key="one"))
        await store.commit(Commit([two], idempotency_key="zwei \x00 ü"))
        await store.commit(Commit([artifact(A(n=2))]))
        assert await store.published_as("one") == one
        assert await store.published_as("zwei \x00 ü") == two
        assert await store.published_as("three") is None
        assert await store.published_as("") is None

    async def test_a_key_that_is_taken_makes_a_commit_fail(self, store: BlackboardStore) -> None:
        one, two = artifact(A()), artifact(A(n=1))
        await store.commit(Commit([one], [Delivery(one, READER)], idempotency_key="key"))
        before = await Seen.of(store)
        with pytest.raises(StoreError, match="key"):
            await store.commit(Commit([two], [Delivery(two, READER)], idempotency_key="key"))
        assert await Seen.of(store) == before
        assert await store.published_as("key") == one
        await store.commit(Commit([two], idempotency_key="other"))
        assert two.seq == 2

    async def test_the_key_of_a_commit_that_failed_is_free(self, store: BlackboardStore) -> None:
        known, fresh = artifact(A()), artifact(A(n=1))
        await published(store, known)
        with pytest.raises(StoreError):
            await store.commit(Commit([known], idempotency_key="key"))
        assert await store.published_as("key") is None
        await store.commit(Commit([fresh], idempotency_key="key"))
        assert await store.published_as("key") == fresh
