"""What is kept of each workflow, and what is never deleted."""

import io
from pathlib import Path
from uuid import UUID

import pytest

from flock.core.delivery import Delivery, Run
from flock.core.filters import FilterConfig
from flock.store.exchange import export_board, import_board
from flock.store.protocol import BlackboardStore, Commit, DeadLetter
from flock.store.sqlite.store import SQLiteBlackboardStore
from tests.unit.support import T0, A, artifact, subscription

SUBSCRIPTION = subscription(A, agent="reader")


async def test_the_newest_of_each_workflow_are_kept(store: BlackboardStore) -> None:
    made = [artifact(A(n=n), workflow="even" if n % 2 == 0 else "odd") for n in range(10)]
    await store.commit(Commit([*made, artifact(A(n=99), workflow="lone")]))

    assert await store.keep_newest(2) == 6

    assert [a.n for a in await store.get_by_type(A)] == [6, 7, 8, 9, 99]
    assert [a.n for a in await store.get_by_type(A, "even")] == [6, 8]
    assert await store.keep_newest(2) == 0
    assert (await store.latest(FilterConfig(correlation_id="odd"), limit=9))[-1].seq == 8


async def test_keeping_none_leaves_what_is_open_and_what_a_dead_letter_needs(
    store: BlackboardStore,
) -> None:
    opened, used, other, gone = (artifact(A(n=n), workflow="w") for n in range(4))
    await store.commit(Commit([opened, used, other, gone], [Delivery(opened, SUBSCRIPTION)]))
    run = Run(7, "reader", SUBSCRIPTION, (), [used])
    letter = DeadLetter(UUID(int=1), run, "ValueError", "no", T0, 0, (other,))
    await store.commit(Commit(buried=letter))

    assert await store.keep_newest(0) == 1

    assert [a.n for a in await store.get_by_type(A)] == [0, 1, 2]


async def test_positions_go_on_after_what_was_deleted(store: BlackboardStore) -> None:
    await store.commit(Commit([artifact(A(n=n)) for n in range(3)]))
    assert await store.keep_newest(0) == 3

    last = artifact(A(n=3))
    await store.commit(Commit([last]))

    assert (last.seq, store.position) == (4, 4)


@pytest.mark.parametrize("count", [-1, True, 1.5, "2", None])
async def test_what_is_no_count_is_refused(store: BlackboardStore, count: object) -> None:
    with pytest.raises(ValueError, match="how many artifacts of each workflow to keep"):
        await store.keep_newest(count)  # pyright: ignore[reportArgumentType]


async def test_every_store_can_be_exported_and_is_read_again_from_a_file(
    store: BlackboardStore, tmp_path: Path
) -> None:
    first, second = artifact(A(n=1), workflow="w", tags={"b", "a"}), artifact(A(n=2), workflow="v")
    opened = Delivery(first, SUBSCRIPTION)
    await store.commit(Commit([first, second], [opened]))
    run = Run(7, "reader", SUBSCRIPTION, [opened], [first])
    out = artifact(A(n=3), workflow="w", parents=[first], produced_by="reader")
    await store.commit(Commit([out], closed=[opened], run=run, at=T0 + 1, maker=run))
    failed = Run(8, "reader", SUBSCRIPTION, (), [second, artifact(A(n=9))])
    letter = DeadLetter(UUID(int=1), failed, "ValueError", "no", T0 + 2, 0, (second,))
    await store.commit(Commit(buried=letter))
    file = io.BytesIO()

    told = await export_board(store, file)

    assert (told.artifacts, told.runs, told.dead_letters, told.damaged) == (3, 1, 1, 0)
    file.seek(0)
    again = SQLiteBlackboardStore(tmp_path / "again.db")
    report = await import_board(again, file)
    assert (report.artifacts, report.runs, report.dead_letters, report.skipped) == (3, 1, 1, 0)
    assert await again.list() == await store.list()
    assert [(a.seq, a.tags, a.created, a.parents, a.payload) for a in await again.list()] == [
        (a.seq, a.tags, a.created, a.parents, a.payload) for a in await store.list()
    ]
    assert await again.consumptions(first.id) == await store.consumptions(first.id)
    [kept] = await again.dead_letters()
    assert (kept.id, kept.artifacts, kept.delivered) == (letter.id, letter.artifacts, (second,))
    assert [a.payload["n"] for a in kept.artifacts] == [2, 9]


async def test_a_workflow_is_exported_with_what_it_used_of_others(
    store: BlackboardStore,
) -> None:
    mine, foreign, other = (artifact(A(n=n), workflow=w) for n, w in enumerate("wvu"))
    opened = [Delivery(each, SUBSCRIPTION) for each in (mine, foreign)]
    await store.commit(Commit([mine, foreign, other], opened))
    run = Run(7, "reader", SUBSCRIPTION, opened, [mine, foreign])
    await store.commit(Commit(closed=opened, run=run, at=T0))
    file = io.BytesIO()

    told = await export_board(store, file, correlation_id="w")

    assert (told.artifacts, told.runs) == (2, 1)
    assert other.id.hex not in file.getvalue().decode().replace("-", "")
