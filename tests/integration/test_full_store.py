"""A disk that is full for a while, or for good."""

import sqlite3
from pathlib import Path

import pytest
from pydantic import BaseModel

from flock import Context, Flock, NotFound, SQLiteBlackboardStore, StoreFull
from flock.store.protocol import Commit
from flock.testing import ManualClock

LARGE = "x" * 200_000


class Ask(BaseModel):
    n: int


class Answer(BaseModel):
    n: int
    text: str


class Limited(SQLiteBlackboardStore):
    """A board whose file may not grow while it is bounded: SQLite says that the disk is full."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.refused = 0
        self.gives_way_after = 0
        self.is_full = False

    async def bound(self, pages: int) -> None:
        def bound(connection: sqlite3.Connection) -> None:
            connection.execute(f"PRAGMA max_page_count = {pages}")

        await self._writing.call(bound)

    async def commit(self, commit: Commit) -> None:
        if self.is_full:  # also for what would find room in a page that is there
            msg = "the disk is full; make room"
            raise StoreFull(msg)
        try:
            await super().commit(commit)
        except StoreFull:
            self.refused += 1
            if self.refused == self.gives_way_after:
                await self.bound(1_000_000)
            raise


def board(store: Limited, asked: list[int], *, timeout: float = 100.0) -> Flock:
    flock = Flock(store=store, clock=ManualClock(autojump=True))

    async def answer(ask: Ask) -> Answer:
        asked.append(ask.n)
        return Answer(n=ask.n, text=LARGE)

    agent = flock.agent("answer").consumes(Ask).publishes(Answer).calls(answer)
    agent.retry(5, 0).timeout(timeout)
    return flock


@pytest.mark.parametrize("timeout", [100.0, 0.01])
async def test_a_run_whose_outputs_find_no_room_is_committed_when_there_is_some(
    tmp_path: Path, timeout: float
) -> None:
    store, asked = Limited(tmp_path / "board.db"), list[int]()
    async with board(store, asked, timeout=timeout) as flock:
        await flock.publish(Ask(n=1))
        await store.bound(1)
        store.gives_way_after = 4
        report = await flock.run_until_idle()
        assert (report.runs, report.failed) == (1, 0)
        assert [each.text for each in await store.get_by_type(Answer)] == [LARGE]
    assert asked == [1]
    assert store.refused == 4


async def test_a_run_for_which_there_never_is_room_stays_open_for_the_next_opening(
    tmp_path: Path,
) -> None:
    store, asked = Limited(tmp_path / "board.db"), list[int]()
    async with board(store, asked) as flock:
        await flock.publish_many([Ask(n=1), Ask(n=2)])
        await store.bound(1)
        report = await flock.run_until_idle()
        assert (report.runs, report.failed, report.dead_letters) == (2, 2, 0)
        assert all(isinstance(error.__cause__, StoreFull) for error in report.errors)
        assert await flock.dead_letters() == []
        assert await store.get_by_type(Answer) == []
        assert sorted(asked) == [1, 2], "nothing is asked again while there is no room"
        await store.bound(1_000_000)
        await flock.publish(Ask(n=3))
        assert (await flock.run_until_idle()).failed == 0, "what comes then goes on"
    asked.clear()
    async with board(store, asked) as flock:
        await flock.run_until_idle()
        assert sorted(each.n for each in await store.get_by_type(Answer)) == [1, 2, 3]
    assert sorted(asked) == [1, 2]


async def test_what_an_agent_says_of_another_store_is_a_failure_of_its_own(tmp_path: Path) -> None:
    attempts: list[int] = []

    async def answer(ask: Ask, ctx: Context) -> Answer:
        attempts.append(ctx.attempt)
        raise StoreFull(f"no room for {ask.n} elsewhere")

    flock = Flock(store=SQLiteBlackboardStore(tmp_path / "board.db"))
    flock.agent("answer").consumes(Ask).publishes(Answer).calls(answer).retry(2, 0)
    async with flock:
        await flock.publish(Ask(n=1))
        assert (await flock.run_until_idle()).dead_letters == 1
    assert attempts == [1, 2]


async def test_publishing_from_outside_without_room_fails_at_once_and_stores_nothing(
    tmp_path: Path,
) -> None:
    store = Limited(tmp_path / "board.db")
    async with board(store, []) as flock:
        await flock.publish(Ask(n=1))
        await flock.run_until_idle()
        before = [artifact.id for artifact in await store.list()]
        await store.bound(1)
        large = Answer(n=1, text=LARGE)
        with pytest.raises(StoreFull, match=r"board\.db.*make room"):
            await flock.publish(large, idempotency_key="one")
        assert store.refused == 1
        assert [artifact.id for artifact in await store.list()] == before
        await store.bound(1_000_000)
        artifact = await flock.publish(large, idempotency_key="one")
        assert (await flock.publish(large, idempotency_key="one")).id == artifact.id


async def test_a_dead_letter_that_cannot_be_taken_off_the_list_is_not_said_to_be_gone(
    tmp_path: Path,
) -> None:
    store = Limited(tmp_path / "board.db")
    flock = Flock(store=store, clock=ManualClock(autojump=True))
    is_full = True

    def answer(ask: Ask) -> None:
        if is_full:
            raise ValueError(LARGE)

    flock.agent("answer").consumes(Ask).calls(answer)
    async with flock:
        await flock.publish(Ask(n=1))
        await flock.run_until_idle()
        [letter] = await flock.dead_letters()
        store.is_full = True
        with pytest.raises(StoreFull, match="make room"):
            await flock.redrive(letter.id)
        assert [left.id for left in await flock.dead_letters()] == [letter.id]

        store.is_full = is_full = False
        await flock.redrive(letter.id)
        report = await flock.run_until_idle()
        assert (report.runs, report.failed) == (1, 0)
        with pytest.raises(NotFound, match=f"no dead letter '{letter.id}'"):
            await flock.redrive(letter.id)
