"""What is open on a board that was closed, or whose process died."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import UUID

from flock.core.artifacts import Artifact
from flock.core.delivery import Delivery, Run, TickRun
from flock.core.schedule import Tick
from flock.errors import StoreCorrupt
from flock.store.protocol import DeadLetter, OpenWork
from flock.store.sqlite.accounts import has_begun, spent_by_run
from flock.store.sqlite.failures import undamaged
from flock.store.sqlite.queries import query
from flock.store.sqlite.records import OF_A_TICK, artifact_from, inputs_from

if TYPE_CHECKING:
    from flock.core.subscription import Subscription


@undamaged("what is open on the board")
def read_open_work(
    connection: sqlite3.Connection,
    subscription_of: Callable[[str, int], Subscription | None],
) -> tuple[OpenWork, set[int]]:
    """Return what is open, and the ids of the runs that were begun, as numbers.

    A run whose deliveries are not all open any more was cancelled while it was written down:
    what is left of it is delivered anew.
    """
    artifacts = Artifacts(connection)
    deliveries: dict[tuple[int, str, int], Delivery] = {}
    for agent, index, opens_at, arrived, number, seq in connection.execute(query("deliveries")):
        subscription = subscription_of(agent, index)
        if subscription is None:
            continue
        delivery = Delivery(artifacts.at(seq), subscription, opens_at)
        delivery.arrived, delivery.number = arrived, number
        deliveries[seq, agent, index] = delivery
    begun: set[int] = set()
    ticks: list[TickRun] = []
    for stored in connection.execute(query("open_runs")).fetchall():
        identity, agent, index, is_batch, attempt, due, emitted, used, inputs = stored
        key = int.from_bytes(identity)
        begun.add(key)
        if index == OF_A_TICK:
            started = TickRun(key, agent, _tick_of(connection, key))
            started.attempt, started.due, started.emitted = attempt, due, emitted
            _read_progress(connection, started)
            ticks.append(started)
            continue
        subscription = subscription_of(agent, index)
        if subscription is None:
            continue
        members = [deliveries.get((seq, agent, index)) for seq in json.loads(used)]
        group = [delivery for delivery in members if delivery is not None]
        if len(group) < len(members) or any(d.run is not None for d in group):
            continue
        chosen = (
            [delivery.artifact for delivery in group]
            if inputs is None
            else inputs_from(inputs, artifacts.at)
        )
        run = Run(key, agent, subscription, group, chosen, is_batch=bool(is_batch))
        run.attempt, run.due, run.emitted = attempt, due, emitted
        _read_progress(connection, run)
        for delivery in group:
            delivery.run = run
    arrivals = {(a, i): number for a, i, number in connection.execute(query("arrivals"))}
    return OpenWork(list(deliveries.values()), arrivals, ticks), begun


@undamaged("a dead letter of the board")
def read_dead_letters(
    connection: sqlite3.Connection, workflow: str | None = None
) -> list[DeadLetter]:
    """Return the dead letters, of one workflow if it is named, oldest first."""
    artifacts = Artifacts(connection)
    found = (
        connection.execute(query("dead_letters"))
        if workflow is None
        else connection.execute(query("workflow_dead_letters"), (workflow,))
    )
    return [_dead_letter(connection, stored, artifacts) for stored in found.fetchall()]


def _dead_letter(
    connection: sqlite3.Connection, stored: tuple[Any, ...], artifacts: Artifacts
) -> DeadLetter:
    identity, run_id, agent, index, workflow, is_batch, attempt, emitted, used, inputs = stored[:10]
    error_type, error_message, created, seen, began, position = stored[10:]
    delivered = [artifacts.at(seq) for seq in json.loads(used)]
    chosen = delivered if inputs is None else inputs_from(inputs, artifacts.at)
    key = int.from_bytes(run_id)
    tick = None if chosen or index is not None else _stored_tick(connection, key)
    if tick is None:
        run = Run(key, agent, None, (), list(chosen), is_batch=bool(is_batch))
    else:
        run = TickRun(key, agent, tick)
    run.correlation_id = workflow
    run.attempt, run.emitted = attempt, emitted
    run.seen, run.began = seen, began
    _read_progress(connection, run)
    return DeadLetter(
        UUID(bytes=identity),
        run,
        error_type,
        error_message,
        created,
        index,
        tuple(delivered),
        position,
    )


def _stored_tick(connection: sqlite3.Connection, run_key: int) -> Tick | None:
    """Return the tick that started a run; None if none did."""
    row = connection.execute(query("tick"), (run_key.to_bytes(16),)).fetchone()
    return None if row is None else Tick(*row)


def _tick_of(connection: sqlite3.Connection, run_key: int) -> Tick:
    tick = _stored_tick(connection, run_key)
    if tick is None:
        msg = f"the tick of run {run_key:032x} is missing, though the run is open"
        raise StoreCorrupt(msg)
    return tick


def _read_progress(connection: sqlite3.Connection, run: Run) -> None:
    """Read what the steps of a run returned, and what it spent."""
    identity = run.key.to_bytes(16)
    steps = dict(connection.execute(query("steps"), (identity,)).fetchall())
    run.kept_steps = steps or None
    run.usage = spent_by_run(connection, run.id, None, None).models or None
    run.has_begun = has_begun(connection, run.key)


class Artifacts:
    """Artifacts by position, each read once."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._known: dict[int, Artifact] = {}

    def at(self, seq: int) -> Artifact:
        """Return the artifact at a position.

        Raises:
            StoreCorrupt: There is none, though something open needs it.
        """
        known = self._known.get(seq)
        if known is None:
            stored = self._connection.execute(query("at"), (seq,)).fetchone()
            if stored is None:
                msg = f"the artifact at position {seq} is missing, though open work needs it"
                raise StoreCorrupt(msg)
            known = self._known[seq] = artifact_from(stored)
        return known
