"""What happened on a board in a file: the runs that succeeded, and what was logged."""

from __future__ import annotations

import sqlite3
from typing import Any
from uuid import UUID

from flock.store.protocol import LogEntry, Mark, RunRecord
from flock.store.sqlite.failures import undamaged
from flock.store.sqlite.queries import query, sought
from flock.store.sqlite.records import keys_of


def read_runs(
    connection: sqlite3.Connection, workflow: str | None, limit: int, after: int
) -> list[RunRecord]:
    """Return a page of runs, in the order they were committed.

    Args:
        connection: Reads the board.
        workflow: The workflow; None for all of them.
        limit: How many at the most.
        after: Only those with a larger number.
    """
    rows: list[tuple[Any, ...]]
    if workflow is None:
        rows = connection.execute(query("all_runs"), (after, max(limit, 0))).fetchall()
    else:
        page = connection.execute(query("workflow_runs"), (workflow, after, max(limit, 0)))
        rows = [(*row, workflow) for row in page]
    if not rows:
        return []
    last = max(row[7] for row in rows)
    first = min(row[7] - row[4] for row in rows)
    outputs = _outputs(connection, workflow, first, last)
    # a stream puts its outputs on the board one by one, long before it ends
    short: set[str] = set()
    if first:
        short = {row[10] for row in rows if len(outputs.get(row[1], ())) < row[4]}
    for each in short:
        outputs |= _outputs(connection, each, 0, last)
    return [
        RunRecord(
            number,
            identity.hex(),
            agent,
            of_workflow,
            tuple(UUID(int=key) for key in keys_of(inputs)),
            tuple(outputs.get(identity, ())),
            *rest,
        )
        for number, identity, agent, inputs, *rest, of_workflow in rows
    ]


def _outputs(
    connection: sqlite3.Connection, workflow: str | None, after: int, until: int
) -> dict[bytes, list[UUID]]:
    """Return what runs put on the board between two positions, by run."""
    rows = (
        connection.execute(query("all_outputs"), (after, until))
        if workflow is None
        else connection.execute(query("workflow_outputs"), (workflow, after, until))
    )
    found: dict[bytes, list[UUID]] = {}
    for run, identity in rows:
        found.setdefault(run, []).append(UUID(bytes=identity))
    return found


@undamaged("what happened on the board")
def read_log(
    connection: sqlite3.Connection, workflow: str | None, limit: int, after: int
) -> list[LogEntry]:
    """Return a page of the log, oldest first."""
    if workflow is None:
        rows = connection.execute(query("log"), (after, max(limit, 0)))
    else:
        rows = connection.execute(query("workflow_log"), (sought(workflow), after, max(limit, 0)))
    return [
        LogEntry(kind, at, of_workflow, data, number, Mark(position, run, number))
        for kind, at, of_workflow, data, number, position, run in rows
    ]
