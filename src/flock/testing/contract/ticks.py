"""A run that a tick of a schedule started is open until it ends, though nothing was delivered."""

from __future__ import annotations

import pytest

from flock.core.artifacts import new_key
from flock.core.delivery import Run, TickRun
from flock.core.schedule import Tick
from flock.store.protocol import BlackboardStore, Commit, State, Step
from flock.testing.contract.foundation import Foundation, Lifetime
from flock.testing.contract.samples import T0, A, artifact, letter_of, work_on

TICK = Tick(T0 + 0.25, 3, 2)


def ticked(tick: Tick = TICK) -> TickRun:
    """Make a run that a tick started."""
    return TickRun(new_key(T0), "clockwork", tick)


async def open_runs(store: BlackboardStore) -> list[tuple[object, ...]]:
    """Return what is to be known of the runs of ticks that are open."""
    return [
        (run.key, run.agent, run.tick, run.attempt, run.due, run.emitted, run.correlation_id)
        for run in (await work_on(store)).runs
    ]


def known(run: Run) -> tuple[object, ...]:
    """Return the same of a run."""
    return (run.key, run.agent, run.tick, run.attempt, run.due, run.emitted, run.correlation_id)


class Ticks(Foundation):
    """A run that a tick of a schedule started is open until it ends."""

    async def test_a_run_of_a_tick_is_open_as_far_as_it_was(self, lifetime: Lifetime) -> None:
        run, other = ticked(), ticked(Tick(T0, 1, 0))
        await lifetime.store.commit(Commit(progress=(run, other), states=[State("s", "k", b"1")]))
        store = await lifetime.reopened()
        assert sorted(await open_runs(store)) == sorted([known(run), known(other)])
        assert list((await work_on(store)).deliveries) == []
        run.attempt, run.due, run.emitted = 2, T0 + 7.5, 1
        await store.commit(Commit(progress=(run,)))
        store = await lifetime.reopened()
        assert sorted(await open_runs(store)) == sorted([known(run), known(other)])

    async def test_what_its_steps_returned_is_kept(self, lifetime: Lifetime) -> None:
        run = ticked()
        await lifetime.store.commit(Commit(progress=(run,)))
        if lifetime.store.is_durable:
            await lifetime.store.commit(Commit(step=Step(run.key, "first", b"[1]")))
        else:  # the run itself holds them
            run.steps = {"first": [1]}
        [found] = (await work_on(await lifetime.reopened())).runs
        assert "first" in {**(found.steps or {}), **(found.kept_steps or {})}

    @pytest.mark.parametrize("end", ["success", "failure", "given up"])
    async def test_it_is_open_until_it_ends(self, lifetime: Lifetime, end: str) -> None:
        run, other = ticked(), ticked()
        await lifetime.store.commit(Commit(progress=(run, other)))
        store = await lifetime.reopened()
        advanced = [State("schedule", "k", b"2")]
        run.attempt = 1
        match end:
            case "success":
                made = artifact(A(n=1), workflow=run.correlation_id)
                await store.commit(Commit([made], run=run, at=T0, states=advanced))
            case "failure":
                await store.commit(Commit(buried=letter_of(run), states=advanced))
            case _:
                await store.commit(Commit(ended=(run,), states=advanced))
        store = await lifetime.reopened()
        assert await open_runs(store) == [known(other)]
        assert await store.states("schedule") == {"k": b"2"}
        runs = await store.runs(run.correlation_id)
        assert [each.run_id for each in runs] == ([run.id] if end == "success" else [])

    async def test_its_dead_letter_has_the_tick_and_is_redriven_with_it(
        self, lifetime: Lifetime
    ) -> None:
        run = ticked()
        run.attempt = 3
        await lifetime.store.commit(Commit(buried=letter_of(run), progress=(run,)))
        store = await lifetime.reopened()
        [letter] = await store.dead_letters(run.correlation_id)
        assert (letter.run.tick, letter.run_id, letter.artifacts) == (TICK, run.id, ())
        assert (letter.index, letter.delivered, letter.attempt) == (None, (), 3)
        assert await open_runs(store) == []
        run.attempt = 0
        await store.commit(Commit(redriven=letter.id, progress=(run,)))
        store = await lifetime.reopened()
        assert await open_runs(store) == [known(run)]
        assert await store.dead_letters() == []

    async def test_other_runs_are_of_no_tick(self, store: BlackboardStore) -> None:
        run = Run(new_key(T0), "reader", None, (), [artifact(A())])
        await store.commit(Commit(buried=letter_of(run)))
        [letter] = await store.dead_letters()
        assert letter.run.tick is None
        assert list((await work_on(store)).runs) == []
