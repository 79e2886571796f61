"""What was spent on a board in a file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from flock.core.usage import Spent, Usage
from flock.store.sqlite.failures import undamaged
from flock.store.sqlite.queries import query, sought


@undamaged("what was spent")
def spent(connection: sqlite3.Connection, workflow: str | None, agent: str | None) -> Spent:
    """Return what was spent in a workflow, by an agent, or in all."""
    return _spent(connection.execute(query("spent"), (sought(workflow or ""), sought(agent or ""))))


@undamaged("what was spent")
def spent_by_run(
    connection: sqlite3.Connection, run_id: str, workflow: str | None, agent: str | None
) -> Spent:
    """Return what a run spent, if it belongs to what else is asked for."""
    try:
        identity = UUID(run_id).bytes
    except (ValueError, AttributeError, TypeError):
        return Spent()
    rows = connection.execute(query("spent_by_run"), (identity,)).fetchall()
    rows = [row for row in rows if row[0]]  # what a run costs is told by model
    return _spent(row for row in rows if workflow in {None, row[8]} and agent in {None, row[9]})


def has_begun(connection: sqlite3.Connection, run_key: int) -> bool:
    """Return whether a run was counted by budgets that bound runs."""
    rows = connection.execute(query("spent_by_run"), (run_key.to_bytes(16),))
    return any(not row[0] for row in rows)


def _spent(rows: Iterable[tuple[Any, ...]]) -> Spent:
    runs = 0
    models: dict[str, Usage] = {}
    for model, calls, tokens_in, tokens_out, cached, usd, unpriced, latency, *_ in rows:
        if model:
            price = None if unpriced else usd
            models[model] = Usage(calls, tokens_in, tokens_out, cached, price, latency)
        else:
            runs = calls
    return Spent(runs, models)
