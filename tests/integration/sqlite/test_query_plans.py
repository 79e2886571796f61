"""Every statement finds what it is for by an index, but for those that visit everything."""

import asyncio
import itertools
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from flock.clock import as_datetime
from flock.core.delivery import Delivery
from flock.core.filters import FilterConfig
from flock.core.usage import Charge, Usage
from flock.core.visibility import PrivateVisibility
from flock.store.protocol import Commit, Step
from flock.store.sqlite import SQLiteBlackboardStore, owned, reader, schema
from flock.store.sqlite.queries import Condition, _statements, conditions, query
from flock.store.sqlite.records import ARTIFACT
from flock.testing.contract.samples import (
    READER,
    T0,
    A,
    B,
    artifact,
    declared,
    letter_of,
    published,
    run_over,
)

VISIT_EVERYTHING: Final = {
    "open_runs": "what is open is read as a whole when a board opens",
    "deliveries": "what is open is read as a whole when a board opens",
    "arrivals": "one row for each join",
    "dead_letters": "they are listed as a whole",
    "surplus": "keep_newest asks about every workflow",
    "export_dead_letters": "the export of a board has them all",
    "extent": "`flock board info` counts the whole board",
    "waiting": "`flock board info` counts what is open",
}
"""Named statements that go through a table, and why."""

SMALL: Final = {"doomed", "i", "new", "o", "ranked"}
"""What holds only what a statement was given or gathered itself, or open runs."""


def scanned(connection: sqlite3.Connection, sql: str) -> set[str]:
    """Return the tables that a statement goes through from end to end."""
    plain = re.sub(r"'[^']*'", "", sql)
    names = re.findall(r":(\w+)", plain)
    values = dict.fromkeys(names) if names else [None] * plain.count("?")
    rows = connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)
    found: set[str] = set()
    for *_, detail in rows:
        scan = re.match(r"SCAN (\S+)", detail)
        if scan is not None and "CONSTANT ROW" not in detail and scan[1][0] != "(":
            found.add(scan[1])
    return found - SMALL


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        schema.migrate(connection, Path("none"))
        connection.execute("CREATE TEMP TABLE doomed (seq INTEGER)")
        connection.execute(query("imported"))
        yield connection


@pytest.mark.parametrize("name", sorted(_statements()))
def test_each_named_statement_uses_an_index_or_is_known_to_visit_everything(
    connection: sqlite3.Connection, name: str
) -> None:
    if name in {"doomed", "surplus"}:
        connection.execute("DROP TABLE doomed")
    if name == "imported":
        connection.execute("DROP TABLE imported")
    assert bool(scanned(connection, query(name))) == (name in VISIT_EVERYTHING)


def test_whatever_is_asked_for_together_is_found_by_an_index(
    connection: sqlite3.Connection,
) -> None:
    several = [None, {"a"}, {"a", "b"}]
    kinds = [None, {"public"}, {"private"}, {"private", "tenant"}, {"private", "public"}]
    times = [None, 1.0]
    count = 0
    for types, producers, tags, kind, workflow, start, end in itertools.product(
        several, several, several, kinds, [None, "w"], times, times
    ):
        where = conditions(
            types=types,
            producers=producers,
            tags=tags,
            kinds=kind,
            workflow=workflow,
            start=start,
            end=end,
        )
        for sql in (
            where.page(ARTIFACT),
            where.page(ARTIFACT, newest_first=True),
            where.before(7).page(ARTIFACT, newest_first=True),
            f"SELECT count(*) FROM artifacts WHERE {where.sql}",
        ):
            assert scanned(connection, sql) == set(), (sql, where)
            count += 1
    assert count == 4 * 27 * 5 * 8


@pytest.mark.parametrize(
    ("where", "index"),
    [
        (conditions(start=1.0), "artifacts_by_time"),
        (conditions(end=1.0, kinds={"public"}), "artifacts_by_time"),
        (conditions(workflow="w"), "artifacts_by_workflow"),
        (conditions(types={"a", "b"}), "artifacts_by_type"),
        (conditions(producers={"a"}), "artifacts_by_producer"),
        (conditions(kinds={"private"}), "artifacts_by_kind"),
        (conditions(tags={"a"}), "artifact_tags USING PRIMARY KEY"),
    ],
)
@pytest.mark.parametrize("is_bounded", [False, True])
def test_one_option_of_a_filter_is_found_by_its_own_index(
    connection: sqlite3.Connection, where: Condition, index: str, is_bounded: bool
) -> None:
    sql = (where.before(7) if is_bounded else where).page(ARTIFACT, newest_first=is_bounded)
    plan = [
        row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", [None] * sql.count("?"))
    ]
    assert any(index in detail for detail in plan), plan


async def test_no_statement_of_a_boards_life_goes_through_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executed: list[str] = []
    opened = reader.connect

    def traced(path: Path, *, read_only: bool) -> sqlite3.Connection:
        connection = opened(path, read_only=read_only)
        connection.set_trace_callback(executed.append)
        return connection

    monkeypatch.setattr(reader, "connect", traced)
    monkeypatch.setattr(owned, "connect", traced)
    board = SQLiteBlackboardStore(tmp_path / "board.db")
    await board.open()
    executed.clear()  # the schema
    await live(board)
    await board.close()

    statements = {re.sub(r"\s+", " ", sql) for sql in executed}
    writes = {sql for sql in statements if re.match("INSERT|UPDATE|DELETE|WITH", sql)}
    reads = {sql for sql in statements if sql.startswith("SELECT")}
    assert len(writes) > 20
    assert len(reads) > 20
    known = {
        "SELECT id FROM open_runs",
        "SELECT 1 FROM steps LIMIT 1",
        *(re.sub(r"\s+", " ", query(name)) for name in VISIT_EVERYTHING),
    }
    with closing(sqlite3.connect(tmp_path / "board.db")) as connection:
        connection.execute("CREATE TEMP TABLE doomed (seq INTEGER)")
        for sql in (reads | writes) - known:
            assert scanned(connection, sql) == set(), sql


async def live(board: SQLiteBlackboardStore) -> None:
    """Do everything with a board that can be done with one, some of it many times at once."""
    made = [
        artifact(A(n=n), tags=["x", "y"], workflow=f"w{n % 3}", created=T0 + n) for n in range(90)
    ]
    hidden = artifact(B(), visibility=PrivateVisibility(agents=frozenset({"amy"})))
    deliveries = await published(board, *made)
    await board.commit(Commit([hidden], idempotency_key="key"))
    for number, delivery in enumerate(deliveries[:20], start=1):
        delivery.arrived, delivery.number = T0, number
        board.note(delivery)
    runs = [run_over(delivery) for delivery in deliveries[:80]]
    for run in runs[::2]:
        run.attempt = 1
        board.note(run)
    await board.commit(Commit(progress=runs[1::2]))
    await asyncio.gather(
        *(board.commit(Commit(step=Step(run.key, name, b"1"))) for run in runs for name in "ab")
    )
    await asyncio.gather(
        *(
            board.commit(
                Commit(
                    closed=run.deliveries,
                    run=run,
                    at=T0,
                    charges=[Charge(run.key, run.correlation_id, run.agent, "m", Usage(1))],
                )
            )
            for run in runs[:70]
        )
    )
    letters = [letter_of(run) for run in runs[70:]]
    await asyncio.gather(
        *(board.commit(Commit(closed=letter.run.deliveries, buried=letter)) for letter in letters)
    )
    again = [Delivery(letter.delivered[0], READER) for letter in letters[:5]]
    await asyncio.gather(
        *(
            board.commit(Commit(opened=[delivery], redriven=letter.id))
            for letter, delivery in zip(letters, again, strict=False)
        )
    )
    await board.commit(Commit(closed=deliveries[80:]))

    await board.open_work(declared)
    await board.dead_letters()
    await board.published_as("key")
    await board.get(hidden.id)
    await board.list()
    await board.list_by_type(A)
    await board.get_by_type(A, "w1")
    await board.consumptions(made[0].id)
    await board.spent()
    await board.spent(correlation_id="w1", agent="reader")
    await board.spent(run_id=runs[0].id)
    watcher = board.watch()
    await board.commit(Commit([artifact(A())]))
    await anext(watcher)
    for where in (
        None,
        FilterConfig(correlation_id="w1", tags=["x"]),
        FilterConfig(type_names=[A, B], produced_by=["external"]),
        FilterConfig(visibility=["Private"]),
        FilterConfig(visibility=["Public", "Private"]),
        FilterConfig(start=as_datetime(T0 + 3), end=as_datetime(T0) + timedelta(hours=1)),
    ):
        await board.query_artifacts(where, 7, 3)
        await board.latest(where, limit=5, before=40)
        if where is not None and not (where.visibility and "public" in where.visibility):
            await board.summary(where)  # of what is public, that is a look at everything
    await board.delete_before(as_datetime(T0 + 30))
    await board.keep_newest(5)
    await board.vacuum()
