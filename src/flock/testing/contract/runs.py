"""What runs used, saw and made is on record for as long as anything of it is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

import pytest

from flock.clock import as_datetime
from flock.core.artifacts import Artifact, new_key
from flock.core.delivery import Run
from flock.store.protocol import BlackboardStore, Commit, DeadLetter, RunRecord
from flock.testing.contract.foundation import Foundation
from flock.testing.contract.samples import T0, A, B, artifact


def run_of(*inputs: Artifact, agent: str = "reader", attempt: int = 1, seen: int = 0) -> Run:
    """Return a run over these inputs that has come so far."""
    run = Run(new_key(T0), agent, None, (), list(inputs))
    run.attempt, run.seen, run.began = attempt, seen, T0 + 1
    return run


async def committed(store: BlackboardStore, run: Run, *outputs: Artifact, at: float = T0) -> None:
    """Commit a run's success."""
    commit = Commit(outputs, run=run, at=at)
    commit.maker = run
    await store.commit(commit)


def ids(artifacts: Sequence[Artifact]) -> tuple[UUID, ...]:
    """Return the ids of artifacts, in their order."""
    return tuple(made.id for made in artifacts)


class Runs(Foundation):
    """What runs used, saw and made is on record for as long as anything of it is left."""

    async def test_a_run_is_on_record_with_what_it_used_saw_and_made(
        self, store: BlackboardStore
    ) -> None:
        inputs = [artifact(A(n=n), workflow="w") for n in range(3)]
        await store.commit(Commit(inputs))
        outputs = [artifact(B(n=n), workflow="w", parents=inputs) for n in range(2)]
        run = run_of(inputs[2], inputs[0], inputs[1], attempt=3, seen=3)
        await committed(store, run, *outputs, at=T0 + 2)

        [record] = await store.runs("w")
        assert record == RunRecord(
            record.number,
            run.id,
            "reader",
            "w",
            ids([inputs[2], inputs[0], inputs[1]]),
            ids(outputs),
            made=2,
            attempt=3,
            seen=3,
            position=5,
            began=T0 + 1,
            committed=T0 + 2,
        )
        assert (record.began_at, record.committed_at) == (as_datetime(T0 + 1), as_datetime(T0 + 2))

    async def test_a_run_that_made_nothing_or_used_nothing_is_on_record_too(
        self,
        store: BlackboardStore,
    ) -> None:
        source = artifact(A(), workflow="w")
        await store.commit(Commit([source, artifact(A())]))
        await committed(store, run_of(source))
        called = run_of(artifact(A(), workflow="w"))
        called.parent_keys = ()
        await committed(store, called, output := artifact(B(), workflow="w"))
        declined, invoked = await store.runs("w")
        assert (declined.inputs, declined.outputs, declined.position) == ((source.id,), (), 2)
        assert (invoked.inputs, invoked.outputs, invoked.position) == ((), (output.id,), 3)

    async def test_a_stream_made_what_it_put_on_the_board_one_by_one(
        self, store: BlackboardStore
    ) -> None:
        source = artifact(A(), workflow="w")
        await store.commit(Commit([source]))
        run, other = run_of(source), run_of(source, agent="other")
        parts = [artifact(B(n=n), workflow="w", parents=[source]) for n in range(3)]
        between = [artifact(B(n=9), workflow="w", parents=[source]) for _ in parts]
        for part, noise in zip(parts, between, strict=True):
            run.emitted += 1
            await store.commit(Commit([part], maker=run))
            await store.commit(Commit([noise], maker=other if noise is between[1] else None))
        await committed(store, run)
        await committed(store, other)  # it began, and emitted, in vain: its count says so
        streamed, rest = await store.runs("w")
        assert (streamed.outputs, streamed.made, streamed.position) == (ids(parts), 3, 7)
        assert (rest.outputs, rest.made) == ((between[1].id,), 0)

    async def test_runs_come_page_by_page_in_the_order_they_were_committed(
        self,
        store: BlackboardStore,
    ) -> None:
        source, elsewhere = artifact(A(), workflow="w"), artifact(A(), workflow="other")
        await store.commit(Commit([source, elsewhere]))
        runs = [run_of(elsewhere if n % 3 == 2 else source) for n in range(10)]
        for run in runs:
            await committed(store, run, artifact(B(), workflow=run.correlation_id))
        wanted = [run.id for run in runs if run.correlation_id == "w"]

        found: list[RunRecord] = []
        while page := await store.runs("w", limit=3, after=found[-1].number if found else 0):
            assert len(page) <= 3
            found += page
        assert [record.run_id for record in found] == wanted
        assert found == await store.runs("w")
        assert all(len(record.outputs) == 1 for record in found)
        assert await store.runs("unheard") == []
        assert await store.runs("w", limit=0) == []

    async def test_what_was_deleted_is_still_named_until_nothing_used_is_left(
        self,
        store: BlackboardStore,
    ) -> None:
        old, new = artifact(A(), workflow="w"), artifact(A(), workflow="w", created=T0 + 9)
        await store.commit(Commit([old, new]))
        lost = artifact(B(), workflow="w", created=T0)
        kept = artifact(B(), workflow="w", created=T0 + 9)
        await committed(store, run_of(old, new), lost, kept)
        await committed(store, run_of(old, agent="gone"))
        both, gone = await store.runs("w")
        assert (both.outputs, gone.agent) == ((lost.id, kept.id), "gone")

        await store.delete_before(as_datetime(T0 + 5))
        [left] = await store.runs("w")
        assert left == replace(both, outputs=(kept.id,))
        assert left.inputs == (old.id, new.id)

    async def test_records_outlive_closing_and_opening(self, store: BlackboardStore) -> None:
        source = artifact(A(), workflow="w")
        await store.commit(Commit([source]))
        await committed(store, run_of(source), artifact(B(), workflow="w"))
        before = await store.runs("w")
        await store.close()
        assert await store.runs("w") == before
        await store.open()
        await committed(store, run_of(source))
        assert (await store.runs("w"))[:1] == before

    @pytest.mark.parametrize("seen", [0, 7])
    async def test_a_dead_letter_keeps_what_its_run_saw(
        self, store: BlackboardStore, seen: int
    ) -> None:
        source = artifact(A())
        await store.commit(Commit([source]))
        run = run_of(source, seen=seen)
        await store.commit(Commit(buried=DeadLetter(UUID(int=1), run, "ValueError", "broken", T0)))
        await store.commit(Commit([artifact(A())]))
        [letter] = await store.dead_letters()
        assert (letter.run.seen, letter.run.began, letter.position) == (seen, T0 + 1, 1)
        assert [x.id for x in await store.dead_letters(source.correlation_id)] == [letter.id]
        assert await store.dead_letters("unheard") == []
