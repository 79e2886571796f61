"""How far runs and deliveries are is kept, where the store outlives the process."""

from __future__ import annotations

import pytest

from flock.core.artifacts import Artifact, new_key
from flock.core.delivery import Delivery, Run
from flock.core.subscription import Subscription
from flock.core.usage import Charge, Usage
from flock.errors import StoreError
from flock.store.protocol import BlackboardStore, Commit, Step
from flock.testing.contract.foundation import Foundation, Lifetime
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
    work_on,
)


async def begun(store: BlackboardStore, count: int = 2, *, is_batch: bool = False) -> Run:
    """Put artifacts on the board and begin a run over them, which is on record."""
    deliveries = await published(store, *(artifact(A(n=n)) for n in range(count)))
    run = run_over(*deliveries, is_batch=is_batch)
    run.attempt = 1
    await store.commit(Commit(progress=(run,)))
    return run


async def run_of(store: BlackboardStore) -> Run | None:
    """Return the run that all that is open was gathered into."""
    runs = [delivery.run for delivery in await opened_on(store)]
    assert runs
    assert all(run is runs[0] for run in runs)
    return runs[0]


class Progress(Foundation):
    """How far runs and deliveries are is kept, where the store outlives the process."""

    @pytest.mark.parametrize("is_noted", [False, True], ids=["committed", "noted"])
    @pytest.mark.parametrize("is_batch", [False, True], ids=["one by one", "batch"])
    async def test_a_run_that_was_begun_is_open_as_far_as_it_was(
        self, lifetime: Lifetime, is_noted: bool, is_batch: bool
    ) -> None:
        store = lifetime.store
        run = await begun(store, is_batch=is_batch)
        assert [*map(of_delivery, await opened_on(await lifetime.reopened()))] == [
            of_delivery(delivery) for delivery in run.deliveries
        ]
        store = lifetime.store
        run = await run_of(store) or run
        run.attempt, run.due, run.emitted = 3, T0 + 7.25, 2
        if is_noted:
            store.note(run)
        else:
            await store.commit(Commit(progress=(run,)))
        run.attempt += 0
        expected = [of_delivery(delivery) for delivery in run.deliveries]
        store = await lifetime.reopened()
        assert [*map(of_delivery, await opened_on(store))] == expected
        assert (await run_of(store)) is not None

    async def test_progress_is_what_it_was_when_it_was_told(self, lifetime: Lifetime) -> None:
        run = await begun(lifetime.store)
        run.attempt = 2
        lifetime.store.note(run)
        if not lifetime.store.is_durable:
            return
        run.attempt, run.emitted = 9, 9  # nobody wrote that down
        found = await run_of(await lifetime.reopened())
        assert found is not None
        assert (found.attempt, found.emitted) == (2, 0)

    async def test_when_a_delivery_opens_came_and_which_it_was_is_kept(
        self, lifetime: Lifetime
    ) -> None:
        store = lifetime.store
        made = [artifact(A(n=n)) for n in range(3)]
        pair = subscription(A, agent="pair", index=1)
        deliveries = [Delivery(it, pair, opens_at=T0 + n * 1.5) for n, it in enumerate(made)]
        deliveries[0].arrived, deliveries[0].number = T0 + 1, 1  # with the commit
        await store.commit(Commit(made, deliveries, at=T0))
        deliveries[1].arrived, deliveries[1].number = T0 + 2, 2
        store.note(deliveries[1])
        expected = [*map(of_delivery, deliveries)]
        store = await lifetime.reopened()
        assert [*map(of_delivery, await opened_on(store))] == expected

    async def test_how_many_came_to_a_join_outlives_what_came(self, lifetime: Lifetime) -> None:
        store = lifetime.store
        one, other = subscription(A, agent="one"), subscription(A, agent="one", index=1)
        made = [artifact(A(n=n)) for n in range(4)]
        deliveries = [Delivery(it, one) for it in made] + [Delivery(made[0], other)]
        await store.commit(Commit(made, deliveries))
        for number, delivery in enumerate(deliveries[:4], start=1):
            delivery.arrived, delivery.number = T0, number
            store.note(delivery)
        deliveries[4].arrived, deliveries[4].number = T0, 1
        store.note(deliveries[4])
        await store.commit(Commit(closed=deliveries))
        store = await lifetime.reopened()
        work = await work_on(store)
        assert list(work.deliveries) == []
        assert dict(work.arrivals) == {("one", 0): 4, ("one", 1): 1}

    async def test_inputs_that_a_hook_chose_are_kept_in_their_order(
        self, lifetime: Lifetime
    ) -> None:
        store = lifetime.store
        await store.commit(Commit([other := artifact(A(n=9), tags=["x"])]))
        run = await begun(store)
        foreign = artifact(
            A(n=7),
            tags=["é", "\x00"],
            partition_key="p",
            produced_by="amy",
            parents=[other],
            created=T0 + 0.125,
        )
        first, second = (delivery.artifact for delivery in run.deliveries)
        for chosen in ([second, first], [first], [other, first], [foreign, second], [foreign]):
            run.use(list[Artifact](chosen))
            lifetime.store.note(run)
            expected = [of_delivery(delivery) for delivery in run.deliveries]
            assert foreign.seq == 0
            store = await lifetime.reopened()
            assert [*map(of_delivery, await opened_on(store))] == expected
            run = await run_of(store) or run
        run.attempt = 5
        letter = letter_of(run)
        await store.commit(Commit(closed=run.deliveries, buried=letter))
        store = await lifetime.reopened()
        (found,) = await store.dead_letters()
        assert of_letter(found) == of_letter(letter)
        assert shown(found.artifacts) == shown([foreign])
        assert shown(found.delivered) == shown([first, second])

    async def test_what_is_open_for_an_agent_that_is_not_declared_stays_open(
        self, lifetime: Lifetime
    ) -> None:
        run = await begun(lifetime.store)
        expected = [of_delivery(delivery) for delivery in run.deliveries]

        def nobody(agent: str, index: int) -> Subscription | None:
            assert (agent, index) == ("reader", 0)
            return None

        for _ in range(2):
            store = await lifetime.reopened()
            assert list((await store.open_work(nobody)).deliveries) == []
        assert [*map(of_delivery, await opened_on(lifetime.store))] == expected

    @pytest.mark.parametrize("end", ["succeeded", "closed", "buried", "closed in part"])
    async def test_a_run_that_ended_is_begun_no_more(self, lifetime: Lifetime, end: str) -> None:
        store = lifetime.store
        run = await begun(store)
        await store.commit(Commit(step=Step(run.key, "step", b"1")))
        match end:
            case "succeeded":
                await store.commit(Commit(closed=run.deliveries, run=run, at=T0))
            case "closed":
                await store.commit(Commit(closed=run.deliveries))
            case "buried":
                await store.commit(Commit(closed=run.deliveries, buried=letter_of(run)))
            case _:
                await store.commit(Commit(closed=run.deliveries[:1]))
        store = await lifetime.reopened()
        left = await opened_on(store)
        assert [d.artifact for d in left] == [
            d.artifact for d in run.deliveries[1:] if end == "closed in part"
        ]
        if store.is_durable:
            assert [d.run for d in left] == [None] * len(left)

    async def test_progress_of_a_commit_that_fails_is_not_kept(self, lifetime: Lifetime) -> None:
        run = await begun(lifetime.store)
        attempt = run.attempt
        run.attempt = 8
        known = run.artifacts[0]
        step = Step(run.key, "step", b"1")
        with pytest.raises(StoreError):
            await lifetime.store.commit(Commit([known], progress=(run,), step=step))
        run.attempt = attempt
        found = await run_of(await lifetime.reopened())
        assert found is not None
        assert (found.attempt, found.kept_steps) == (attempt, None)

    async def test_what_steps_returned_is_kept_until_the_run_ends(self, lifetime: Lifetime) -> None:
        store = lifetime.store
        if not store.is_durable:
            pytest.skip("the run itself holds what its steps returned")
        run = await begun(store)
        steps = {"one": b"1", "two": '{"é":"\\u0000"}'.encode(), "": b"null"}
        for name, data in steps.items():
            await store.commit(Commit(step=Step(run.key, name, data)))
        await store.commit(Commit(step=Step(new_key(T0), "one", b"of another run")))
        await store.commit(Commit(step=Step(run.key, "one", b"1")))  # it was taken once more
        store = await lifetime.reopened()
        found = await run_of(store)
        assert found is not None
        assert found.kept_steps == steps
        await store.commit(Commit(closed=found.deliveries, run=found, at=T0))
        await store.commit(Commit(opened=run.deliveries, progress=(run,)))
        found = await run_of(await lifetime.reopened())
        assert found is not None
        assert found.kept_steps is None

    async def test_a_redriven_run_goes_on_with_its_steps(self, lifetime: Lifetime) -> None:
        store = lifetime.store
        if not store.is_durable:
            pytest.skip("the run itself holds what its steps returned")
        run = await begun(store)
        run.emitted = 1
        await store.commit(Commit(step=Step(run.key, "step", b"[1]")))
        letter = letter_of(run)
        await store.commit(Commit(closed=run.deliveries, buried=letter))
        store = await lifetime.reopened()
        (found,) = await store.dead_letters()
        assert (found.run.kept_steps, found.run.emitted) == ({"step": b"[1]"}, 1)
        assert found.index is not None
        again = [Delivery(it, subscription(A)) for it in found.delivered]
        once_more = found.run.once_more(again[0].subscription, again)
        await store.commit(Commit(opened=again, redriven=found.id, progress=(once_more,)))
        store = await lifetime.reopened()
        assert await store.dead_letters() == []
        resumed = await run_of(store)
        assert resumed is not None
        assert (resumed.key, resumed.attempt, resumed.emitted) == (run.key, 0, 1)
        assert resumed.kept_steps == {"step": b"[1]"}

    async def test_what_an_open_run_spent_is_known_to_it(self, lifetime: Lifetime) -> None:
        store = lifetime.store
        if not store.is_durable:
            pytest.skip("the run itself holds what it spent")
        run, usage = await begun(store), Usage(1, 20, 10, 5, None, 0.5)
        who = (run.key, run.correlation_id, run.agent)
        await store.commit(Commit(charges=[Charge(*who, None), Charge(*who, "m", usage)]))
        found = await run_of(await lifetime.reopened())
        assert found is not None
        assert (found.usage, found.has_begun) == ({"m": usage}, True)
