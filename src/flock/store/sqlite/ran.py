"""The runs of a workflow that succeeded, with what they used and made."""

from __future__ import annotations

import sqlite3
from uuid import UUID

from flock.store.protocol import RunRecord
from flock.store.sqlite.queries import query
from flock.store.sqlite.records import keys_of


def read_runs(
    connection: sqlite3.Connection, workflow: str, limit: int, after: int
) -> list[RunRecord]:
    """Return a page of the runs of a workflow, in the order they were committed.

    Args:
        connection: Reads the board.
        workflow: The workflow.
        limit: How many at the most.
        after: Only those with a larger number.
    """
    rows = connection.execute(query("workflow_runs"), (workflow, after, max(limit, 0))).fetchall()
    if not rows:
        return []
    last = max(row[7] for row in rows)
    first = min(row[7] - row[4] for row in rows)
    outputs = _outputs(connection, workflow, first, last)
    if first and any(len(outputs.get(row[1], ())) < row[4] for row in rows):
        # a stream puts its outputs on the board one by one, long before it ends
        outputs = _outputs(connection, workflow, 0, last)
    return [
        RunRecord(
            number,
            identity.hex(),
            agent,
            workflow,
            tuple(UUID(int=key) for key in keys_of(inputs)),
            tuple(outputs.get(identity, ())),
            *rest,
        )
        for number, identity, agent, inputs, *rest in rows
    ]


def _outputs(
    connection: sqlite3.Connection, workflow: str, after: int, until: int
) -> dict[bytes, list[UUID]]:
    """Return what runs put on the board between two positions, by run."""
    found: dict[bytes, list[UUID]] = {}
    for run, identity in connection.execute(query("workflow_outputs"), (workflow, after, until)):
        found.setdefault(run, []).append(UUID(bytes=identity))
    return found
