"""What the inspection and the export of a board ask is answered by indices."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from flock.store.sqlite.queries import query
from flock.store.sqlite.schema import migrate


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    opened = sqlite3.connect(":memory:", isolation_level=None)
    migrate(opened, Path("a board in memory"))
    opened.execute(query("imported"))
    yield opened
    opened.close()


@pytest.mark.parametrize(
    "name",
    [
        "dead_letter",
        "dead_letters_of",
        "drop_dead_letter",
        "drop_dead_letter_inputs",
        "export_board",
        "export_inputs",
        "export_runs",
        "export_workflow",
        "export_workflow_dead_letters",
        "export_workflow_runs",
        "id_at",
        "newest_imported",
        "open_for",
        "run_inputs",
        "stored_as",
        "workflow",
    ],
)
def test_it_scans_no_table(name: str, connection: sqlite3.Connection) -> None:
    sql = query(name)
    names = ("start", "end", "workflow", "first", "last")
    values = dict.fromkeys(names, 1) if ":" in sql else (1,)

    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]

    assert plan
    scans = [step for step in plan if step.startswith("SCAN") and "CONSTANT ROW" not in step]
    assert not scans
