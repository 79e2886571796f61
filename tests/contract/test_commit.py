"""A commit makes all of it true at once, or nothing."""

import asyncio
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from flock.core.artifacts import Artifact, new_key
from flock.core.delivery import Delivery, Run
from flock.core.filters import FilterConfig
from flock.core.subscription import Subscription
from flock.core.types import registry
from flock.core.usage import Charge, Spent, Usage
from flock.errors import StoreError, StoreLocked
from flock.store.protocol import BlackboardStore, Commit, ConsumptionRecord, DeadLetter
from tests.unit.support import T0, A, B, artifact, subscription

SUBSCRIPTION = subscription(A, agent="reader")


def run_over(*deliveries: Delivery) -> Run:
    inputs = [delivery.artifact for delivery in deliveries]
    return Run(new_key(T0), "reader", SUBSCRIPTION, deliveries, inputs)


def letter_of(run: Run, message: str = "broken") -> DeadLetter:
    return DeadLetter(UUID(int=new_key(T0)), run, "ValueError", message, T0 + 1)


async def opened_on(store: BlackboardStore) -> list[Delivery]:
    """Return what is open."""
    entry = registry.entry(A)
    work = await store.open_work(lambda agent, index: Subscription(agent, index, (entry,)))
    return list(work.deliveries)


async def published(store: BlackboardStore, *made: Artifact) -> list[Delivery]:
    """Put artifacts on the board, each with a delivery that is open."""
    opened = [Delivery(each, SUBSCRIPTION) for each in made]
    await store.commit(Commit(made, opened, at=T0))
    return opened


@dataclass
class Seen:
    """Everything that a store shows."""

    artifacts: list[tuple[UUID, int]]
    by_type: list[UUID]
    total: int
    opened: list[tuple[UUID, str, bool]]
    consumed: list[ConsumptionRecord]
    dead: list[UUID]

    @classmethod
    async def of(cls, store: BlackboardStore) -> "Seen":
        artifacts = await store.list()
        _, total = await store.query_artifacts()
        return cls(
            [(a.id, a.seq) for a in artifacts],
            [a.id for a in await store.list_by_type(A)],
            total,
            [(d.artifact.id, d.agent, d.is_open) for d in await opened_on(store)],
            [record for a in artifacts for record in await store.consumptions(a.id)],
            [letter.id for letter in await store.dead_letters()],
        )


async def test_an_empty_store_shows_nothing(store: BlackboardStore) -> None:
    assert await Seen.of(store) == Seen([], [], 0, [], [], [])


async def test_artifacts_are_numbered_from_one_in_the_order_they_are_committed(
    store: BlackboardStore,
) -> None:
    made = [artifact(A(n=n)) for n in range(4)]
    await store.commit(Commit(made[:3]))
    await store.commit(Commit(made[3:]))
    assert [a.seq for a in made] == [1, 2, 3, 4]
    assert [(a.seq, a.id) for a in await store.list()] == [(a.seq, a.id) for a in made]


async def test_the_place_on_the_board_follows_the_commit_not_the_time_or_id(
    store: BlackboardStore,
) -> None:
    late, early = artifact(A(), created=T0 + 9), artifact(A(), created=T0)
    await store.commit(Commit([late]))
    await store.commit(Commit([early]))
    assert await store.list() == [late, early]


async def test_an_empty_commit_changes_nothing(store: BlackboardStore) -> None:
    await published(store, artifact(A()))
    before = await Seen.of(store)
    await store.commit(Commit())
    assert await Seen.of(store) == before


async def test_a_runs_commit_writes_outputs_consumption_and_deliveries_together(
    store: BlackboardStore,
) -> None:
    source = artifact(A())
    (delivery,) = await published(store, source)
    output = artifact(A(n=1), parents=[source])
    follow_up = Delivery(output, SUBSCRIPTION)
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
    store: BlackboardStore, order: tuple[str, str]
) -> None:
    known, other, fresh = artifact(A()), artifact(A(n=1)), artifact(A(n=2))
    first, second = await published(store, known, other)
    dead = letter_of(run_over(second))
    await store.commit(Commit(closed=[second], buried=dead))
    before = await Seen.of(store)
    watcher = store.watch()

    by_name = {"known": known, "fresh": fresh}
    with pytest.raises(StoreError):
        await store.commit(
            Commit(
                [by_name[name] for name in order],
                [Delivery(fresh, SUBSCRIPTION)],
                [first],
                run_over(first),
                T0 + 1,
                buried=letter_of(run_over(first)),
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


async def test_what_failed_can_be_committed_later(store: BlackboardStore) -> None:
    known, fresh = artifact(A()), artifact(A(n=2))
    await published(store, known)
    with pytest.raises(StoreError):
        await store.commit(Commit([fresh, known]))
    await store.commit(Commit([fresh]))
    assert await store.list() == [known, fresh]


async def test_an_artifact_cannot_be_committed_twice_and_is_named(store: BlackboardStore) -> None:
    known = artifact(A())
    await store.commit(Commit([known]))
    with pytest.raises(StoreError, match=str(known.id)):
        await store.commit(Commit([known]))


# --- open deliveries --------------------------------------------------------------------------


async def test_open_deliveries_come_in_board_order_then_by_agent_and_subscription(
    store: BlackboardStore,
) -> None:
    one, two = artifact(A()), artifact(A(n=1))
    zed, amy = subscription(A, agent="zed"), subscription(A, agent="amy")
    deliveries = [Delivery(two, zed), Delivery(one, zed), Delivery(two, amy), Delivery(one, amy)]
    await store.commit(Commit([one, two], deliveries))
    found = [(d.artifact.id, d.agent, d.index) for d in await opened_on(store)]
    assert found == [
        (one.id, "amy", 0),
        (one.id, "zed", 0),
        (two.id, "amy", 0),
        (two.id, "zed", 0),
    ]


async def test_a_delivery_is_open_from_its_commit_until_it_is_closed(
    store: BlackboardStore,
) -> None:
    first, second = await published(store, artifact(A()), artifact(A(n=1)))
    await store.commit(Commit(closed=[first]))
    assert [d.artifact.id for d in await opened_on(store)] == [second.artifact.id]
    assert (first.is_open, second.is_open) == (False, True)


async def test_closing_without_a_run_records_no_consumption(store: BlackboardStore) -> None:
    (delivery,) = await published(store, artifact(A()))
    await store.commit(Commit(closed=[delivery]))
    assert await store.consumptions(delivery.artifact.id) == []


async def test_a_closed_delivery_can_be_opened_again(store: BlackboardStore) -> None:
    (delivery,) = await published(store, artifact(A()))
    await store.commit(Commit(closed=[delivery]))
    await store.commit(Commit(opened=[delivery]))
    assert [d.artifact.id for d in await opened_on(store)] == [delivery.artifact.id]


async def test_open_work_outlives_closing_and_opening_the_store(store: BlackboardStore) -> None:
    (delivery,) = await published(store, artifact(A()))
    before = await Seen.of(store)
    await store.close()
    await store.open()
    assert await Seen.of(store) == before
    assert [d.artifact.id for d in await opened_on(store)] == [delivery.artifact.id]


async def test_an_open_store_is_locked_and_names_its_holder(store: BlackboardStore) -> None:
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
    store: BlackboardStore,
) -> None:
    await published(store, artifact(A()))
    before = await Seen.of(store)
    await store.close()
    await asyncio.to_thread(asyncio.run, store.open("board 'gone'"))
    await store.open("board 'next'")
    assert await Seen.of(store) == before
    with pytest.raises(StoreLocked, match="by board 'next'"):
        await store.open("board 'gone'")


async def test_closing_twice_does_no_harm(store: BlackboardStore) -> None:
    await published(store, artifact(A()))
    before = await Seen.of(store)
    await store.close()
    await store.close()
    await store.open()
    assert await Seen.of(store) == before


# --- consumption ------------------------------------------------------------------------------


async def test_every_input_of_a_run_is_consumed_by_it(store: BlackboardStore) -> None:
    deliveries = await published(store, artifact(A()), artifact(A(n=1)))
    run = run_over(*deliveries)
    await store.commit(Commit(closed=deliveries, run=run, at=T0))
    for delivery in deliveries:
        (record,) = await store.consumptions(delivery.artifact.id)
        assert record.run_id == run.id


async def test_consumptions_come_in_the_order_the_runs_committed(store: BlackboardStore) -> None:
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
    store: BlackboardStore, unknown: UUID | str
) -> None:
    assert await store.consumptions(unknown) == []


# --- dead letters -----------------------------------------------------------------------------


async def test_a_dead_letter_keeps_the_inputs_and_what_went_wrong(store: BlackboardStore) -> None:
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
    store: BlackboardStore,
) -> None:
    deliveries = await published(store, *(artifact(A(n=n)) for n in range(3)))
    letters = [letter_of(run_over(d)) for d in deliveries]
    for letter, delivery in zip(letters, deliveries, strict=True):
        await store.commit(Commit(closed=[delivery], buried=letter))
    await store.commit(Commit(opened=[deliveries[1]], redriven=letters[1].id))
    assert [found.id for found in await store.dead_letters()] == [letters[0].id, letters[2].id]
    assert [d.artifact.id for d in await opened_on(store)] == [deliveries[1].artifact.id]


# --- watching ---------------------------------------------------------------------------------


async def test_a_watcher_sees_what_is_committed_from_the_call_on(store: BlackboardStore) -> None:
    await store.commit(Commit([artifact(A())]))
    watcher = store.watch()
    made = [artifact(A(n=n)) for n in range(3)]
    await store.commit(Commit(made[:2]))
    await store.commit(Commit(made[2:]))
    seen = [await anext(watcher) for _ in range(3)]
    assert [(a.id, a.seq) for a in seen] == [(a.id, a.seq) for a in made]


async def test_a_watcher_sees_only_what_its_filter_admits(store: BlackboardStore) -> None:
    watcher = store.watch(FilterConfig(type_names=[B]))
    await store.commit(Commit([artifact(A()), wanted := artifact(B()), artifact(A())]))
    await store.commit(Commit([artifact(A()), second := artifact(B())]))
    assert [await anext(watcher), await anext(watcher)] == [wanted, second]


async def test_watchers_do_not_take_from_each_other(store: BlackboardStore) -> None:
    first, second = store.watch(), store.watch()
    await store.commit(Commit([made := artifact(A())]))
    assert await anext(first) == await anext(second) == made


async def test_closing_the_store_ends_watching_after_what_is_there(store: BlackboardStore) -> None:
    watcher = store.watch()
    await store.commit(Commit([made := artifact(A())]))
    await store.close()
    assert [seen async for seen in watcher] == [made]


async def test_a_watcher_that_was_ended_sees_nothing_of_what_comes_later(
    store: BlackboardStore,
) -> None:
    watcher = store.watch()
    await store.commit(Commit([before := artifact(A())]))
    await store.close()
    await store.open()
    await store.commit(Commit([artifact(A(n=1))]))
    assert [seen async for seen in watcher] == [before]


# --- nothing is a live object -----------------------------------------------------------------


async def test_changing_what_a_store_returns_changes_nothing(store: BlackboardStore) -> None:
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


async def test_an_artifact_that_was_read_stays_as_it_was(store: BlackboardStore) -> None:
    source = artifact(A())
    await store.commit(Commit([source]))
    first, second = await store.get(source.id), await store.get(str(source.id))
    assert first == second == source
    assert first is not None
    with pytest.raises(AttributeError, match="frozen"):
        first.seq = 7


async def test_what_was_spent_is_kept_by_workflow_agent_run_and_model(
    store: BlackboardStore,
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


async def test_a_commit_that_fails_charges_nothing(store: BlackboardStore) -> None:
    made = artifact(A())
    await published(store, made)
    with pytest.raises(StoreError):
        await store.commit(Commit([made], charges=[Charge(1, "w", "amy", "m", Usage(1))], at=T0))
    assert await store.spent() == Spent()
