"""Files that are damaged, of something else, or newer: a named error, and never a wrong answer."""

import asyncio
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest
from pydantic import BaseModel

from flock import (
    BatchSpec,
    Context,
    FilterConfig,
    Flock,
    FlockError,
    JoinSpec,
    SchemaTooNew,
    SQLiteBlackboardStore,
    StoreCorrupt,
)


class Ask(BaseModel):
    n: int


class Answer(BaseModel):
    n: int
    text: str


class Other(BaseModel):
    n: int


def board(path: Path) -> Flock:
    """A board with something of every kind on it: failures, steps, what waits in gates."""
    flock = Flock(store=SQLiteBlackboardStore(path))

    async def answer(ask: Ask, ctx: Context) -> Answer:
        text = await ctx.step("text", lambda: "text" * ask.n)
        if ask.n % 5 == 0:
            raise ValueError(text)
        return Answer(n=ask.n, text=text)

    async def join(one: Answer, other: Other) -> Ask:
        return Ask(n=one.n + other.n)

    async def gather(answers: list[Answer]) -> Other:
        return Other(n=len(answers))

    flock.agent("answer").consumes(Ask).publishes(Answer).calls(answer)
    by = JoinSpec(by="n", within=1000)
    flock.agent("join").consumes(Answer, Other, join=by).publishes(Ask).calls(join)
    batch = BatchSpec(size=1000)
    flock.agent("gather").consumes(Answer, batch=batch).publishes(Other).calls(gather)
    return flock


async def fill(path: Path) -> dict[UUID, object]:
    async with board(path) as flock:
        for n in range(30):
            tags = {"one", "two"} if n % 2 else ()
            await flock.publish(Ask(n=n), tags=tags, idempotency_key=f"key {n}")
        await flock.run_until_idle()
        return {a.id: (a.type, a.payload) for a in await flock.store.list()}


async def use(path: Path, known: dict[UUID, object]) -> None:
    """Do all that may be done with a board; fail if what it says of an artifact is wrong."""
    async with board(path) as flock:
        assert not (await flock.run_until_idle(timeout=20)).timed_out
        for artifact in await flock.store.list():
            if artifact.id in known:
                assert (artifact.type, artifact.payload) == known[artifact.id]
        await flock.store.summary()
        await flock.dead_letters()
        await flock.spent()
        await flock.store.query_artifacts(FilterConfig(tags={"one"}))
        await flock.publish(Ask(n=1), idempotency_key="key 1")
        await flock.publish(Ask(n=100))
        assert not (await flock.run_until_idle(timeout=20)).timed_out


def flip(data: bytearray, luck: random.Random) -> None:
    for _ in range(luck.choice([1, 1, 3, 20])):
        data[luck.randrange(len(data))] ^= 1 << luck.randrange(8)


def cut(data: bytearray, luck: random.Random) -> None:
    del data[luck.randrange(len(data)) :]


def zero(data: bytearray, luck: random.Random) -> None:
    start = luck.randrange(len(data))
    end = min(len(data), start + luck.choice([16, 512, 4096]))
    data[start:end] = bytes(end - start)


@pytest.mark.parametrize("damage", [flip, cut, zero])
def test_a_damaged_file_is_a_named_error_or_does_no_harm(
    tmp_path: Path, damage: Callable[[bytearray, random.Random], None]
) -> None:
    whole = tmp_path / "whole.db"
    known = asyncio.run(fill(whole))
    data = whole.read_bytes()
    errors = 0
    for number in range(25):
        folder = tmp_path / str(number)
        folder.mkdir()
        damaged = bytearray(data)
        damage(damaged, random.Random(number))
        (folder / "board.db").write_bytes(damaged)
        try:
            asyncio.run(use(folder / "board.db", known))
        except FlockError:
            errors += 1
    assert errors


def test_a_payload_that_was_changed_is_told_from_what_was_published(tmp_path: Path) -> None:
    path = tmp_path / "board.db"
    asyncio.run(fill(path))
    with closing(sqlite3.connect(path)) as c:
        c.execute("""UPDATE artifacts SET payload = '{"n":77}' WHERE seq = 1""")
        c.commit()
    with pytest.raises(StoreCorrupt, match="position 1 is damaged: its checksum"):
        asyncio.run(use(path, {}))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ("UPDATE artifacts SET tags = '[' WHERE seq = 2", "artifact at position 2 is damaged"),
        ("UPDATE artifacts SET created = 1e300 WHERE seq = 2", "is damaged"),
        ("UPDATE dead_letters SET deliveries = 'x'", "a dead letter of the board is damaged"),
        ("DELETE FROM artifacts WHERE seq IN (SELECT seq FROM deliveries)", "is missing"),
    ],
)
def test_damage_is_named(tmp_path: Path, change: str, error: str) -> None:
    path = tmp_path / "board.db"
    known = asyncio.run(fill(path))
    with closing(sqlite3.connect(path)) as c:
        assert c.execute(change).rowcount
        c.commit()
    with pytest.raises(StoreCorrupt, match=error):
        asyncio.run(use(path, known))


def test_a_database_of_something_else_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as c:
        c.execute("CREATE TABLE t (x)")
    before = path.read_bytes()
    with pytest.raises(StoreCorrupt, match="no board of Flock's"):
        asyncio.run(use(path, {}))
    assert path.read_bytes() == before


def test_a_newer_schema_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "board.db"
    asyncio.run(fill(path))
    with closing(sqlite3.connect(path)) as c:
        c.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(SchemaTooNew, match=r"schema version 99.*upgrade Flock"):
        asyncio.run(use(path, {}))
    assert path.read_bytes() == before
