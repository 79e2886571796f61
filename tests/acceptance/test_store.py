"""The store answers in board order, and nothing it returns is live."""

# Agents are short lambdas here.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportOptionalMemberAccess=false

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from pydantic import BaseModel

from flock import (
    Artifact,
    BatchSpec,
    FilterConfig,
    Flock,
    FlockError,
    InMemoryBlackboardStore,
    PrivateVisibility,
    StoreLocked,
)
from flock.testing import ManualClock

from .support import ids

NOTE = f"{__name__}.Note"
LETTER = f"{__name__}.Letter"
START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Note(BaseModel):
    n: int = 0
    words: list[str] = []


class Letter(BaseModel):
    n: int = 0


async def filled(board: Flock, clock: ManualClock) -> list[Artifact]:
    """Six artifacts, one an hour: notes 0 to 3 and letters 4 and 5."""
    artifacts: list[Artifact] = []
    for n in range(6):
        artifacts.append(
            await board.publish(
                Note(n=n) if n < 4 else Letter(n=n),
                correlation_id="even" if n % 2 == 0 else "odd",
                tags={"all", f"t{n % 3}"},
                visibility=PrivateVisibility(agents={"a"}) if n == 3 else None,
            )
        )
        await clock.advance(HOUR)
    return artifacts


async def test_get_list_and_by_type_are_in_board_order() -> None:
    clock = ManualClock(START)
    async with Flock(clock=clock) as board:
        artifacts = await filled(board, clock)
        store = board.store
        assert ids(await store.list()) == ids(artifacts)
        assert ids(await store.list_by_type(Note)) == ids(artifacts[:4])
        assert ids(await store.list_by_type(NOTE)) == ids(artifacts[:4])
        assert [m.n for m in await store.get_by_type(Note)] == [0, 1, 2, 3]
        assert [m.n for m in await store.get_by_type(Note, correlation_id="odd")] == [1, 3]
        assert await store.get_by_type(Note, correlation_id="none") == []
        one = await store.get(artifacts[2].id)
        assert one is not None
        assert (one.id, one.seq) == (artifacts[2].id, artifacts[2].seq)
        assert one.payload == artifacts[2].payload
        assert await store.get(uuid4()) is None


async def test_every_filter_alone_and_together() -> None:
    clock = ManualClock(START)
    async with Flock(clock=clock) as board:
        artifacts = await filled(board, clock)
        store = board.store
        private = artifacts[3].visibility

        async def query(**options: Any) -> list[int]:
            items, total = await store.query_artifacts(FilterConfig(**options), limit=100)
            assert total == len(items)
            return [a.payload["n"] for a in items]

        assert sorted(await query()) == [0, 1, 2, 3, 4, 5]
        assert sorted(await query(type_names={LETTER})) == [4, 5]
        assert sorted(await query(type_names={NOTE, LETTER})) == [0, 1, 2, 3, 4, 5]
        assert sorted(await query(correlation_id="odd")) == [1, 3, 5]
        assert sorted(await query(tags={"all"})) == [0, 1, 2, 3, 4, 5]
        assert sorted(await query(tags={"all", "t1"})) == [1, 4]
        assert sorted(await query(tags={"t0", "t1"})) == []
        assert sorted(await query(produced_by={"external"})) == [0, 1, 2, 3, 4, 5]
        assert sorted(await query(produced_by={"nobody"})) == []
        assert sorted(await query(visibility={private.kind})) == [3]
        half = timedelta(minutes=30)
        first = artifacts[0].created_at
        assert sorted(await query(start=first + HOUR + half)) == [2, 3, 4, 5]
        assert sorted(await query(end=first + HOUR + half)) == [0, 1]
        assert sorted(await query(start=first + half, end=first + 2 * HOUR + half)) == [1, 2]
        together = {"type_names": {NOTE}, "correlation_id": "odd", "tags": {"t0"}}
        assert sorted(await query(**together)) == [3]


async def test_pages_cover_everything_once_and_tell_the_total() -> None:
    async with Flock() as board:
        artifacts = await board.publish_many([Note(n=n) for n in range(25)])
        seen: list[Any] = []
        for offset in range(0, 30, 10):
            items, total = await board.store.query_artifacts(
                FilterConfig(), limit=10, offset=offset
            )
            assert total == 25
            seen += ids(items)
        assert len(seen) == 25
        assert set(seen) == set(ids(artifacts))
        assert seen == sorted(seen) or seen == sorted(seen, reverse=True)


@pytest.mark.parametrize("paging", [{"limit": -1}, {"offset": -1}])
async def test_negative_pages_are_refused(paging: dict[str, int]) -> None:
    async with Flock() as board:
        await board.publish(Note())
        with pytest.raises((FlockError, ValueError)):
            await board.store.query_artifacts(FilterConfig(), **paging)


def test_naive_times_and_unknown_filters_are_refused() -> None:
    naive = datetime(2024, 1, 1)  # noqa: DTZ001
    for wrong in ({"start": naive}, {"end": naive}, {"typo": 1}):
        with pytest.raises((FlockError, ValueError, TypeError)):
            FilterConfig(**wrong)  # pyright: ignore[reportArgumentType]


async def test_a_known_type_nobody_has_published_finds_nothing_and_an_unknown_is_an_error() -> None:
    async with Flock() as board:
        with pytest.raises(FlockError, match="nope"):
            await board.store.query_artifacts(FilterConfig(type_names={"nope"}))
        assert await board.store.get_by_type(Letter) == []
        assert await board.store.list_by_type(Letter) == []


async def test_consumption_records_name_consumer_and_run() -> None:
    async with Flock() as board:
        board.agent("one").consumes(Note).calls(lambda n: Letter(n=n.n))
        board.agent("two").consumes(Note, Letter).calls(lambda m: None)
        board.agent("bad").consumes(Letter).calls(lambda m: 1 / 0)
        note = await board.publish(Note(n=1))
        await board.run_until_idle()
        records = await board.store.consumptions(note.id)
        assert sorted(r.consumer for r in records) == ["one", "two"]
        assert {r.artifact_id for r in records} == {note.id}
        assert {r.correlation_id for r in records} == {note.correlation_id}
        assert len({r.run_id for r in records}) == 2
        assert all(r.consumed_at.tzinfo is not None for r in records)
        (letter,) = await board.store.list_by_type(Letter)
        assert [r.consumer for r in await board.store.consumptions(letter.id)] == ["two"]
        assert list(await board.store.consumptions(uuid4())) == []


async def test_a_summary_counts_by_everything() -> None:
    clock = ManualClock(START)
    async with Flock(clock=clock) as board:
        artifacts = await filled(board, clock)
        summary = await board.store.summary(FilterConfig())
        assert summary.total == 6
        assert dict(summary.by_type) == {NOTE: 4, LETTER: 2}
        assert dict(summary.by_producer) == {"external": 6}
        assert sorted(dict(summary.by_visibility).values()) == [1, 5]
        assert dict(summary.by_tag) == {"all": 6, "t0": 2, "t1": 2, "t2": 2}
        assert summary.earliest == artifacts[0].created_at
        assert summary.latest == artifacts[-1].created_at
        some = await board.store.summary(FilterConfig(type_names={LETTER}))
        assert (some.total, dict(some.by_type)) == (2, {LETTER: 2})
        none = await board.store.summary(FilterConfig(correlation_id="none"))
        assert (none.total, none.earliest, none.latest) == (0, None, None)


async def test_delete_before_removes_what_is_old_and_counts() -> None:
    clock = ManualClock(START)
    async with Flock(clock=clock) as board:
        artifacts = await filled(board, clock)
        cut = artifacts[3].created_at
        assert await board.store.delete_before(cut) == 3
        assert ids(await board.store.list()) == ids(artifacts[3:])
        assert await board.store.get(artifacts[0].id) is None
        assert await board.store.delete_before(cut) == 0
        newer = await board.publish(Note(n=9))
        assert newer.seq > artifacts[-1].seq


async def test_delete_before_never_removes_what_open_work_needs() -> None:
    clock = ManualClock(START)
    got: list[Any] = []
    broken = True

    def flaky(note: Note) -> None:
        if broken:
            raise ValueError
        got.append(("redriven", note.n))

    async with Flock(clock=clock) as board:
        board.agent("pair").consumes(Note, Letter).calls(
            lambda models: got.append(("pair", models[0].n))
        )
        board.agent("batch").consumes(Note, batch=BatchSpec(size=2), tags={"b"}).calls(
            lambda notes: got.append(("batch", [n.n for n in notes]))
        )
        board.agent("flaky").consumes(Note, tags={"f"}).calls(flaky)
        waiting = await board.publish(Note(n=1), correlation_id="w", tags={"b", "f"})
        done = await board.publish(Letter(n=0), correlation_id="other", schedule_immediately=False)
        await board.run_until_idle()
        await clock.advance(HOUR)
        await board.store.delete_before(START + HOUR / 2)
        assert await board.store.get(done.id) is None
        assert await board.store.get(waiting.id) is not None
        broken = False
        (letter,) = await board.dead_letters()
        await board.redrive(letter.id)
        await board.publish(Letter(n=2), correlation_id="w")
        await board.publish(Note(n=3), correlation_id="w", tags={"b"})
        await board.run_until_idle()
        assert sorted(got, key=str) == [("batch", [1, 3]), ("pair", 1), ("redriven", 1)]


async def test_naive_times_are_refused_by_delete_before() -> None:
    async with Flock() as board:
        await board.publish(Note())
        with pytest.raises((FlockError, ValueError)):
            await board.store.delete_before(datetime(2999, 1, 1))  # noqa: DTZ001
        assert len(await board.store.list()) == 1


async def test_nothing_the_store_returns_is_live() -> None:
    async with Flock() as board:
        artifact = await board.publish(Note(n=1, words=["a"]))
        listing = list(await board.store.list())
        (await board.store.list()).clear()
        (await board.store.list_by_type(Note)).clear()
        models = await board.store.get_by_type(Note)
        models[0].words.append("b")
        models.clear()
        items, _ = await board.store.query_artifacts(FilterConfig())
        items.clear()
        listing[0].payload["words"].append("c")
        summary = await board.store.summary(FilterConfig())
        with contextlib.suppress(TypeError, ValueError):
            summary.by_type[NOTE] = 99  # pyright: ignore[reportIndexIssue]
        assert ids(await board.store.list()) == [artifact.id]
        assert await board.store.get_by_type(Note) == [Note(n=1, words=["a"])]
        assert (await board.store.summary(FilterConfig())).total == 1
        assert dict((await board.store.summary(FilterConfig())).by_type) == {NOTE: 1}


async def test_watch_tells_what_is_newly_committed() -> None:
    async with Flock() as board:
        board.agent("copy").consumes(Note).calls(lambda n: Letter(n=n.n))
        await board.publish(Note(n=0))
        await board.run_until_idle()
        everything: Any = board.store.watch()
        letters: Any = board.store.watch(FilterConfig(type_names={LETTER}))
        for n in (1, 2):
            await board.publish(Note(n=n))
            await board.run_until_idle()
        seen = [(await anext(everything)).payload["n"] for _ in range(4)]
        only = [(await anext(letters)).type for _ in range(2)]
        assert sorted(seen) == [1, 1, 2, 2]
        assert only == [LETTER, LETTER]
        await everything.aclose()
        await letters.aclose()


async def test_a_store_of_ones_own_outlives_the_board_and_missing_agents_leave_work_open() -> None:
    store = InMemoryBlackboardStore()
    got: list[int] = []
    first = Flock(store=store)
    first.agent("pair").consumes(Note, Letter).calls(lambda m: got.append(m[0].n))
    async with first:
        await first.publish(Note(n=1), correlation_id="w")
        await first.run_until_idle()
    async with Flock(store=store) as second:
        assert [n.n for n in await second.store.get_by_type(Note)] == [1]
        await second.run_until_idle()
    third = Flock(store=store)
    third.agent("pair").consumes(Note, Letter).calls(lambda m: got.append(m[0].n))
    async with third:
        await third.publish(Letter(n=2), correlation_id="w")
        report = await third.run_until_idle()
        assert got == [1]
        assert report.waiting == 0


async def test_a_second_board_cannot_open_a_store_that_is_in_use_and_harms_nothing() -> None:
    store = InMemoryBlackboardStore()
    got: list[str] = []
    going, end = asyncio.Event(), asyncio.Event()

    def board(name: str) -> Flock:
        made = Flock(store=store, name=name)

        async def work(note: Note) -> None:
            going.set()
            await end.wait()
            got.append(name)

        made.agent("work").consumes(Note).calls(work)
        return made

    first, second = board("first"), board("second")
    watcher = store.watch()
    async with first:
        await first.publish(Note())
        await going.wait()
        for verb in (second.__aenter__, second.run_until_idle, lambda: second.publish(Note())):
            with pytest.raises(StoreLocked, match=r"board 'first'.* shutdown\(\)"):
                await verb()
        end.set()
        await first.publish(Note())
        await first.run_until_idle()
    assert [artifact.seq async for artifact in watcher] == [1, 2]
    async with second:
        await second.publish(Note())
        await second.run_until_idle()
    assert got == ["first", "first", "second"]


def test_a_store_can_be_opened_again_once_the_loop_of_its_board_has_ended() -> None:
    store = InMemoryBlackboardStore()
    got: list[str] = []

    def board(name: str, end: asyncio.Event | None = None) -> Flock:
        made = Flock(store=store, name=name)

        async def work(note: Note) -> None:
            if end is not None:
                await end.wait()
            got.append(name)

        made.agent("work").consumes(Note).calls(work)
        return made

    async def leave_open() -> Flock:
        left = board("left", asyncio.Event())
        await left.publish(Note())
        return left

    async def go_on(later: Flock) -> None:
        async with later:
            await later.run_until_idle()

    left = asyncio.run(leave_open())
    asyncio.run(go_on(board("next")))
    assert got == ["next"]
    asyncio.run(go_on(left))  # it takes nothing for its own that it has lost
    assert got == ["next"]
