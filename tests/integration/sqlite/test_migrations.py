"""A board that an older version of Flock wrote is brought up to date, and goes on."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from flock import Flock
from flock.core.filters import FilterConfig
from flock.errors import SchemaTooNew, StoreError
from flock.store.protocol import BlackboardStore
from flock.store.sqlite import SQLiteBlackboardStore, schema
from flock.store.sqlite.schema import Migration

from .stored_board import BOARDS, Broken, Count, Done, Order, Pair, Payment, board, restore

NEWEST = schema.migrations()[-1].version
SECOND = Migration(
    NEWEST + 1,
    "9001_colour",
    """
-- Boards have colours; a text may hold a semicolon.
CREATE TABLE colours (name TEXT PRIMARY KEY, note TEXT DEFAULT 'a; b') STRICT;
INSERT INTO colours (name) VALUES ('red');
ALTER TABLE runs ADD COLUMN colour TEXT;
CREATE TRIGGER painted AFTER INSERT ON runs BEGIN
    INSERT INTO colours (name) VALUES ('run ' || new.number);
    UPDATE colours SET note = 'c' WHERE name = 'red';
END;
""",
)
BROKEN = Migration(
    NEWEST + 2,
    "9002_broken",
    "CREATE TABLE half (n INTEGER) STRICT;\nINSERT INTO colours (name) VALUES ('blue');\n"
    "INSERT INTO nowhere VALUES (1);",
)


def known(monkeypatch: pytest.MonkeyPatch, *more: Migration) -> None:
    """Let this Flock know of more migrations."""
    found = [*schema.migrations(), *more]
    monkeypatch.setattr(schema, "migrations", lambda: found)


def state_of(path: Path) -> tuple[int, set[str]]:
    """Return the version of a board's schema, and its tables."""
    with closing(sqlite3.connect(path)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        names = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        return version, {name for (name,) in names}


def stored(folder: Path, version: int = NEWEST) -> Path:
    path = folder / "stored.db"
    restore(version, path)
    return path


def test_a_board_of_each_version_is_stored() -> None:
    assert sorted(int(file.stem[1:]) for file in BOARDS.iterdir()) == [*range(1, NEWEST + 1)]


@pytest.mark.parametrize("version", range(1, NEWEST + 1))
async def test_a_board_of_each_version_shows_what_it_held(tmp_path: Path, version: int) -> None:
    store = SQLiteBlackboardStore(stored(tmp_path, version))
    await store.open()
    try:
        assert state_of(store.path)[0] == NEWEST
        await check_stored(store)
    finally:
        await store.close()


async def check_stored(store: BlackboardStore) -> None:
    types = [artifact.type.removeprefix("stored.") for artifact in await store.list()]
    assert types == ["Order", "Payment", "Order", "Broken", "Pair", "flock.WorkflowError", "Slow"]
    assert store.position == 7
    assert await store.get_by_type(Order) == [Order(n=1), Order(n=2, note="waits")]
    order = await store.published_as("order 1")
    assert order is not None
    (record,) = await store.consumptions(order.id)
    assert (record.consumer, record.correlation_id) == ("pair", "first")
    (paid,), _ = await store.query_artifacts(FilterConfig(tags=["grün"]))
    assert paid.tags == {"paid", "grün"}
    (hidden,), total = await store.query_artifacts(FilterConfig(visibility=["Private"]))
    assert (hidden.as_model(Order).n, total) == (2, 1)
    (letter,) = await store.dead_letters()
    assert (letter.agent, letter.error_message) == ("broken", "number 3 is broken")
    assert letter.artifacts[0].partition_key == "p"
    assert letter.artifacts[0].as_model(Broken) == Broken(n=3)
    assert (await store.spent(agent="slow")).models["some/model"].usd == 0.25


@pytest.mark.parametrize("version", range(1, NEWEST + 1))
async def test_a_board_of_each_version_goes_on_where_it_was(tmp_path: Path, version: int) -> None:
    flock = board(stored(tmp_path, version))
    async with flock:
        await flock.run_until_idle()
        assert await flock.store.get_by_type(Done) == [Done(steps=["before", "after"])]
        await flock.publish(Payment(n=2))
        await flock.publish(Payment(n=3))
        again = await flock.publish(Order(n=1), idempotency_key="order 1", correlation_id="first")
        assert again.seq == 1
        (letter,) = await flock.dead_letters()
        await flock.redrive(letter.id)
        report = await flock.run_until_idle()
        assert await flock.store.get_by_type(Pair) == [Pair(n=1), Pair(n=2)]
        assert await flock.store.get_by_type(Count) == [Count(numbers=[1, 2, 3])]
        assert (await flock.store.get_by_type(Done))[1:] == [Done(steps=["repaired"])]
        assert await flock.dead_letters() == []
        assert report.waiting == 1  # the payment that no order came for


async def test_a_new_migration_is_applied_once_when_a_board_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = stored(tmp_path)
    known(monkeypatch, SECOND)
    for _ in range(2):
        store = SQLiteBlackboardStore(path)
        await store.open()
        await check_stored(store)
        await store.close()
        version, tables = state_of(path)
        assert version == NEWEST + 1
        assert "colours" in tables
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT * FROM colours").fetchall() == [("red", "a; b")]


async def test_a_new_board_goes_through_all_migrations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known(monkeypatch, SECOND)
    async with board(tmp_path / "new.db") as flock:
        await flock.publish(Order(n=1))
        await flock.publish(Payment(n=1))
        await flock.run_until_idle()
    with closing(sqlite3.connect(tmp_path / "new.db")) as connection:
        found = connection.execute("SELECT name, note FROM colours ORDER BY name").fetchall()
    assert found == [("red", "c"), ("run 1", "a; b")], "the trigger is one statement"


async def test_a_migration_that_fails_is_undone_and_those_before_it_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = stored(tmp_path)
    known(monkeypatch, SECOND, BROKEN)
    store = SQLiteBlackboardStore(path)
    with pytest.raises(StoreError, match=r"migration 9002_broken .* undone: .*nowhere"):
        await store.open()
    version, tables = state_of(path)
    assert version == NEWEST + 1
    assert "colours" in tables
    assert "half" not in tables
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM colours").fetchall() == [("red",)]
    repaired = BROKEN._replace(sql="CREATE TABLE half (n INTEGER) STRICT;")
    monkeypatch.undo()
    known(monkeypatch, SECOND, repaired)
    await store.open()  # the lock was let go of
    await check_stored(store)
    await store.close()
    assert state_of(path)[0] == NEWEST + 2


async def test_a_board_of_newer_code_is_refused_by_name_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = stored(tmp_path)
    with monkeypatch.context() as newer:
        known(newer, SECOND)
        store = SQLiteBlackboardStore(path)
        await store.open()
        await store.close()
    before = state_of(path)
    message = rf"stored\.db' has schema version {NEWEST + 1}.*up to {NEWEST}; upgrade Flock"
    for read_only in (False, True):
        store = SQLiteBlackboardStore(path, read_only=read_only)
        with pytest.raises(SchemaTooNew, match=message):
            await store.open()
        with pytest.raises(SchemaTooNew, match=message):
            await store.list()
    with pytest.raises(SchemaTooNew, match=message):
        async with Flock(store=f"sqlite:///{path}"):
            pass
    assert state_of(path) == before


async def test_an_older_board_that_is_only_read_is_not_changed_and_the_remedy_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = stored(tmp_path)
    known(monkeypatch, SECOND)
    before = path.read_bytes()
    message = rf"version {NEWEST}, and this Flock reads version {NEWEST + 1}.*flock board migrate"
    with pytest.raises(StoreError, match=message):
        await SQLiteBlackboardStore(path, read_only=True).open()
    for read_only in (False, True):
        with pytest.raises(StoreError, match=message):
            await SQLiteBlackboardStore(path, read_only=read_only).list()
    assert path.read_bytes() == before


# --- types that change ------------------------------------------------------------------------

WRITER = """
import asyncio, sys
from pydantic import BaseModel
from flock import Flock, flock_type

@flock_type(name="shop.Customer")
class Customer(BaseModel):
    name: str

async def main():
    async with Flock(store=f"sqlite:///{sys.argv[1]}") as flock:
        await flock.publish(Customer(name="Ada Lovelace"))

asyncio.run(main())
"""
READER = """
import asyncio, sys
from pydantic import BaseModel
from flock import Flock, FlockError, flock_type, upcasts

@flock_type(name="shop.Customer", version=2)
class Client(BaseModel):
    first: str
    last: str

if "lift" in sys.argv:
    @upcasts(Client, from_version=1)
    def split(payload):
        first, last = payload["name"].split()
        return {"first": first, "last": last}

async def main():
    flock = Flock(store=f"sqlite:///{sys.argv[1]}")
    async def greet(client: Client) -> None:
        print("hello", client.first)
    flock.agent("greeter").consumes(Client).calls(greet)
    async with flock:
        try:
            print(await flock.store.get_by_type(Client))
        except FlockError as error:
            print(type(error).__name__, error)
        await flock.publish(Client(first="Grace", last="Hopper"))
        await flock.run_until_idle()

asyncio.run(main())
"""
STRANGER = """
import asyncio, sys
from flock import Flock, FlockError

async def main():
    async with Flock(store=f"sqlite:///{sys.argv[1]}") as flock:
        print((await flock.store.spent()).runs)
        try:
            await flock.store.list()
        except FlockError as error:
            print(type(error).__name__, error)

asyncio.run(main())
"""


def run(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_another_process_stored_is_lifted_or_refused_by_name(tmp_path: Path) -> None:
    path = str(tmp_path / "shop.db")
    run(WRITER, path)
    refused = run(READER, path)
    assert "UpcastError a stored 'shop.Customer' has version 1" in refused
    assert "@upcasts(Client, from_version=1)" in refused
    assert "hello Grace" in refused, "one that cannot be read stops nothing else"
    lifted = run(READER, path, "lift")
    assert "[Client(first='Ada', last='Lovelace'), Client(first='Grace'" in lifted
    stranger = run(STRANGER, path)
    assert "TypeRegistryError no type goes by the name 'shop.Customer'" in stranger
    assert "register it" in stranger
