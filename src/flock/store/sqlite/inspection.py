"""A board's file as its rows: looked at without the classes of what lies on it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast
from uuid import UUID
from zlib import crc32

from flock.core.usage import Spent
from flock.errors import StoreCorrupt, StoreError
from flock.store.protocol import LogEntry, Mark, RunRecord
from flock.store.sqlite.accounts import spent_by_run
from flock.store.sqlite.failures import named
from flock.store.sqlite.ownership import Holder, holder_of
from flock.store.sqlite.queries import EVERYTHING, Condition, query
from flock.store.sqlite.ran import read_log, read_runs
from flock.store.sqlite.reader import connect
from flock.store.sqlite.records import ARTIFACT, OF_A_TICK, Stored
from flock.store.sqlite.schema import require_current, version_of
from flock.store.sqlite.statements import Value

COLUMNS: Final = f"{ARTIFACT}, run"
"""What `stored_artifact` reads, for a SELECT."""


@dataclass(frozen=True, slots=True)
class StoredArtifact:
    """An artifact as it is stored.

    Attributes:
        seq: Position on the board, from 1.
        id: Its id.
        type: Name that its type had when it was stored.
        version: Version of the payload.
        data: The payload as canonical JSON.
        produced_by: Name of the agent that made it, or `"external"`.
        correlation_id: Its workflow.
        partition_key: What it is about.
        tags: Its tags, sorted.
        visibility: Who may read it, as JSON; None if everybody may.
        created: Seconds since the Unix epoch.
        parents: Ids of the inputs of the run that made it.
        depth: How many runs lie between it and the outside.
        run: The run that made it; None from outside, or if that was not kept.
        is_damaged: Whether its checksum does not fit its content.
    """

    seq: int
    id: UUID
    type: str
    version: int
    data: bytes
    produced_by: str
    correlation_id: str
    partition_key: str | None
    tags: tuple[str, ...]
    visibility: bytes | None
    created: float
    parents: tuple[UUID, ...]
    depth: int
    run: UUID | None
    is_damaged: bool

    @property
    def kind(self) -> str:
        """The kind of its visibility, such as `"Public"`."""
        if self.visibility is None:
            return "Public"
        return str(json.loads(self.visibility)["kind"])


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run that succeeded.

    Attributes:
        number: Its place among the board's runs, from 1.
        id: Its id.
        agent: Name of the agent.
        correlation_id: Its workflow.
        committed: When, in seconds since the Unix epoch.
        attempt: Which attempt succeeded, from 1.
        seen: The newest position on the board when that attempt began.
        inputs: How many of the artifacts that it used are on the board.
    """

    number: int
    id: UUID
    agent: str
    correlation_id: str
    committed: float
    attempt: int
    seen: int
    inputs: int


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run that was gathered or begun, and has not ended.

    Attributes:
        id: Its id.
        agent: Name of the agent.
        subscription: Which of the agent's subscriptions, from 0; None if a tick of a schedule
            started it.
        attempt: How many attempts were begun.
        due: When the next may begin, in seconds since the Unix epoch; 0 for at once.
        emitted: How many outputs of a stream are on the board.
        deliveries: Positions of what was delivered to it.
        correlation_id: The workflow of the earliest of these, or its own.
    """

    id: UUID
    agent: str
    subscription: int | None
    attempt: int
    due: float
    emitted: int
    deliveries: tuple[int, ...]
    correlation_id: str


@dataclass(frozen=True, slots=True)
class WaitingInput:
    """What waits before one subscription, in no run yet.

    Attributes:
        agent: Name of the agent.
        subscription: Which of the agent's subscriptions, from 0.
        deliveries: How many artifacts.
        oldest: Position of the oldest.
    """

    agent: str
    subscription: int
    deliveries: int
    oldest: int


@dataclass(frozen=True, slots=True)
class StoredDeadLetter:
    """A run that failed for good.

    Attributes:
        id: Its id, for `redrive`.
        run: Id of the run.
        agent: Name of the agent.
        subscription: Which of its subscriptions, from 0; None if it was called directly.
        correlation_id: Its workflow.
        is_batch: Whether the inputs were batched.
        attempt: How many attempts there were.
        emitted: How many outputs of a stream are on the board.
        delivered: Positions of what was delivered.
        inputs: Positions of what it was to use, and rows of what is not on the board; None if
            that is what was delivered.
        error_type: Name of the error's class.
        error_message: What the error said.
        created: When it was given up, in seconds since the Unix epoch.
    """

    id: UUID
    run: UUID
    agent: str
    subscription: int | None
    correlation_id: str
    is_batch: bool
    attempt: int
    emitted: int
    delivered: tuple[int, ...]
    inputs: tuple[int | list[Any], ...] | None
    error_type: str
    error_message: str
    created: float


@dataclass(frozen=True, slots=True)
class StoredQuestion:
    """A question that waits for a person's answer.

    Attributes:
        run: Id of the run that asks, which is the question's.
        agent: Name of the agent.
        question: What it asks.
        asked: When it was asked, in seconds since the Unix epoch.
        due: When it expires, in seconds since the Unix epoch; None for never.
        correlation_id: Workflow of the first artifact that the run uses.
        deliveries: Positions of what the run uses.
    """

    run: UUID
    agent: str
    question: str
    asked: float
    due: float | None
    correlation_id: str
    deliveries: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class WorkflowRow:
    """One workflow in numbers.

    Attributes:
        correlation_id: Its id.
        artifacts: How many artifacts it has.
        runs: How many runs succeeded.
        open: How many deliveries are open.
        dead_letters: How many runs failed for good.
        first: When its first artifact was published, in seconds since the Unix epoch.
        last: When its last one was.
        is_paused: Whether no run of it begins until it is resumed.
        deadline: When what is open of it is cancelled; None without a deadline.
    """

    correlation_id: str
    artifacts: int
    runs: int
    open: int
    dead_letters: int
    first: float
    last: float
    is_paused: bool = False
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class BoardInfo:
    """A board in numbers.

    Attributes:
        path: The file.
        schema: Version of its schema.
        size: Bytes of the file and of what is not in it yet (`-wal`).
        free: Bytes in the file that `vacuum` gives back.
        holder: Who opened it last; None if nobody did.
        is_open: Whether somebody has it open for writing; None if that cannot be told.
        position: Position of the newest artifact, deleted ones included.
        artifacts: How many artifacts there are.
        workflows: How many workflows they belong to.
        runs: How many runs succeeded.
        open_deliveries: How many deliveries are open.
        open_runs: How many runs were gathered or begun, and have not ended.
        dead_letters: How many runs failed for good.
        earliest: When the first artifact was published, in seconds since the epoch, or None.
        latest: When the last one was, or None.
        types: How many artifacts there are of each stored type.
        producers: How many each producer made.
    """

    path: str
    schema: int
    size: int
    free: int
    holder: Holder | None
    is_open: bool | None
    position: int
    artifacts: int
    workflows: int
    runs: int
    open_deliveries: int
    open_runs: int
    dead_letters: int
    earliest: float | None
    latest: float | None
    types: dict[str, int]
    producers: dict[str, int]


def stored_artifact(stored: Stored) -> StoredArtifact:
    """Return what `COLUMNS` selected.

    Raises:
        StoreCorrupt: It is so damaged that it makes no artifact.
    """
    try:
        identity, payload, parents, run = stored[1], stored[4], stored[12], stored[14]
        return StoredArtifact(
            stored[0],
            UUID(bytes=identity),
            stored[2],
            stored[3],
            payload,
            stored[6],
            stored[7],
            stored[8],
            () if stored[9] is None else tuple(json.loads(stored[9])),
            stored[10],
            stored[11],
            () if parents is None else _ids(parents),
            stored[13],
            None if run is None else UUID(bytes=run),
            crc32(payload, crc32(identity)) != stored[5],
        )
    except (ValueError, TypeError) as error:
        msg = f"the artifact at position {stored[0]} is damaged: {error}"
        raise StoreCorrupt(msg) from error


def stored_dead_letter(stored: Stored) -> StoredDeadLetter:
    """Return what the query `dead_letters` selected.

    Raises:
        StoreCorrupt: It is so damaged that it makes no dead letter.
    """
    try:
        return StoredDeadLetter(
            UUID(bytes=stored[0]),
            UUID(bytes=stored[1]),
            stored[2],
            stored[3],
            stored[4],
            bool(stored[5]),
            stored[6],
            stored[7],
            tuple(json.loads(stored[8])),
            None if stored[9] is None else tuple(json.loads(stored[9])),
            stored[10],
            stored[11],
            stored[12],
        )
    except (ValueError, TypeError) as error:
        msg = f"a dead letter of agent {stored[2]!r} is damaged: {error}"
        raise StoreCorrupt(msg) from error


@contextmanager
def inspect_board(path: Path) -> Generator[Inspection]:
    """Look at a board, also while another process works on it: one state of it, of one moment.

    Raises:
        StoreError: There is none, it is no board, it is damaged, or its schema is another one.
    """
    require_file(path)
    try:
        with closing(connect(path, read_only=True)) as connection:
            require_current(connection, path)
            connection.execute("BEGIN")
            yield Inspection(connection, path)
    except sqlite3.Error as error:
        raise named(error, path) from error


def require_file(path: Path) -> None:
    """Refuse a path at which there is no file.

    Raises:
        StoreError: There is none.
    """
    if path.is_dir():
        msg = f"{str(path)!r} is a folder; give the file of a board in it"
        raise StoreError(msg)
    if not path.exists():
        msg = (
            f"there is no board at {str(path)!r}; a program makes one with "
            f"Flock(store='sqlite:///{path}'), or `flock board import` from an export"
        )
        raise StoreError(msg)


class Inspection:
    """A board that is looked at, within one reading transaction."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def info(self) -> BoardInfo:
        """Return the board in numbers."""
        one = self._one
        wal = self._path.with_name(f"{self._path.name}-wal")
        size = self._path.stat().st_size + (wal.stat().st_size if wal.exists() else 0)
        artifacts, workflows, earliest, latest = self._connection.execute(
            query("extent")
        ).fetchone()
        holder, is_open = holder_of(self._connection, self._path)
        return BoardInfo(
            path=str(self._path),
            schema=version_of(self._connection, self._path),
            size=size,
            free=one("PRAGMA freelist_count") * one("PRAGMA page_size"),
            holder=holder,
            is_open=is_open,
            position=one(query("position")),
            artifacts=artifacts,
            workflows=workflows,
            runs=one("SELECT count(*) FROM runs"),
            open_deliveries=one("SELECT count(*) FROM deliveries"),
            open_runs=one("SELECT count(*) FROM open_runs"),
            dead_letters=one("SELECT count(*) FROM dead_letters"),
            earliest=earliest,
            latest=latest,
            types=self.counts("type"),
            producers=self.counts("produced_by"),
        )

    def counts(self, column: str) -> dict[str, int]:
        """Return how many artifacts there are of each value of a column, most first."""
        sql = f"SELECT {column}, count(*) FROM artifacts GROUP BY 1 ORDER BY 2 DESC, 1"
        return dict(self._connection.execute(sql).fetchall())

    def artifacts(
        self,
        where: Condition = EVERYTHING,
        *,
        newest_first: bool = False,
        limit: int = -1,
        offset: int = 0,
    ) -> Iterator[StoredArtifact]:
        """Yield a page of artifacts, oldest first unless said; all of them with `limit=-1`."""
        sql = where.page(COLUMNS, newest_first=newest_first)
        rows = self._connection.execute(sql, (*where.values, limit, offset))
        return map(stored_artifact, rows)

    def count(self, where: Condition = EVERYTHING) -> int:
        """Return how many artifacts a condition admits."""
        return self._one(f"SELECT count(*) FROM artifacts WHERE {where.sql}", *where.values)

    def artifact(self, wanted: UUID | int) -> StoredArtifact | None:
        """Return the artifact of an id or at a position, or None if there is none."""
        if isinstance(wanted, UUID):
            where = Condition("id = ?", (wanted.bytes,))
        else:
            where = Condition("seq = ?", (wanted,))
        return next(self.artifacts(where, limit=1), None)

    def made_by(self, run: UUID, correlation_id: str) -> list[StoredArtifact]:
        """Return what a run of a workflow made, oldest first."""
        where = Condition("correlation_id = ? AND run = ?", (correlation_id, run.bytes))
        return list(self.artifacts(where))

    def consumers(self, seq: int) -> list[FinishedRun]:
        """Return which runs used the artifact at a position, in the order they committed."""
        return self._runs("number IN (SELECT run FROM consumptions WHERE seq = ?)", seq)

    def run(self, wanted: UUID) -> FinishedRun | None:
        """Return a run that succeeded, or None if none of that id did."""
        return next(iter(self._runs("id = ?", wanted.bytes)), None)

    def runs(
        self,
        *,
        workflow: str | None = None,
        agent: str | None = None,
        newest_first: bool = False,
        limit: int = -1,
        offset: int = 0,
    ) -> list[FinishedRun]:
        """Return runs that succeeded, in the order they committed unless said."""
        found = [Condition("number > 0", ())] if workflow is None else []
        for column, value in (("correlation_id", workflow), ("agent", agent)):
            if value is not None:
                found.append(Condition(f"{column} = ?", (value,)))
        where = " AND ".join(each.sql for each in found)
        values = [value for each in found for value in each.values]
        order = "DESC" if newest_first else "ASC"
        tail = f"{where} ORDER BY number {order} LIMIT ? OFFSET ?"
        return self._runs(tail, *values, limit, offset)

    def mark(self) -> Mark:
        """Return how far the board is."""
        names = ("position", "last_run", "last_logged")
        return Mark(*(self._one(query(name)) for name in names))

    def ended(self, workflow: str | None, *, limit: int, after: int = 0) -> list[RunRecord]:
        """Return runs that succeeded, with their outputs, whose number is larger."""
        return read_runs(self._connection, workflow, limit, after)

    def logged(self, workflow: str | None, *, limit: int, after: int = 0) -> list[LogEntry]:
        """Return entries of the log whose number is larger."""
        return read_log(self._connection, workflow, limit, after)

    def spent_by(self, run_id: str) -> Spent:
        """Return what a run spent."""
        return spent_by_run(self._connection, run_id, None, None)

    def run_inputs(self, run: FinishedRun) -> list[int]:
        """Return the positions of what a run used, in the order the agent got it."""
        rows = self._connection.execute(query("run_inputs"), (run.number,))
        return [seq for (seq,) in rows]

    def open_runs(self, *, workflow: str | None = None, agent: str | None = None) -> list[OpenRun]:
        """Return the runs that were gathered or begun, and have not ended."""
        found: list[OpenRun] = []
        for stored in self._connection.execute(query("open_runs")).fetchall():
            identity, name, index, _, attempt, due, emitted, used, _ = stored
            seqs = tuple(cast("list[int]", json.loads(used)))
            is_tick = index == OF_A_TICK
            flow = identity.hex() if is_tick else self._workflow_at(min(seqs, default=0))
            index = None if is_tick else index
            if agent in {None, name} and workflow in {None, flow}:
                run = UUID(bytes=identity)
                found.append(OpenRun(run, name, index, attempt, due, emitted, seqs, flow))
        return found

    def questions(
        self, *, workflow: str | None = None, agent: str | None = None
    ) -> list[StoredQuestion]:
        """Return the questions that wait for a person's answer, oldest first."""
        kept = self._connection.execute(query("states"), ("question",)).fetchall()
        records = {UUID(hex=name): json.loads(data) for name, data in kept}
        found = [
            StoredQuestion(
                run.id,
                run.agent,
                record["question"],
                record["asked_at"],
                record["due"] or None,
                run.correlation_id,
                run.deliveries,
            )
            for run in (self.open_runs(workflow=workflow, agent=agent) if records else ())
            if (record := records.get(run.id)) is not None
        ]
        return sorted(found, key=lambda question: question.asked)

    def waiting(self) -> list[WaitingInput]:
        """Return what waits before each subscription, in no run yet."""
        return [WaitingInput(*row) for row in self._connection.execute(query("waiting"))]

    def dead_letters(self) -> Iterator[StoredDeadLetter]:
        """Yield the dead letters, oldest first."""
        return map(stored_dead_letter, self._connection.execute(query("dead_letters")))

    def open_for(self, seq: int) -> list[tuple[str, int]]:
        """Return before which agents' subscriptions the artifact at a position is open."""
        return self._connection.execute(query("open_for"), (seq,)).fetchall()

    def dead_letters_of(self, seq: int) -> list[UUID]:
        """Return which dead letters need the artifact at a position."""
        rows = self._connection.execute(query("dead_letters_of"), (seq,))
        return [UUID(bytes=letter) for (letter,) in rows]

    def workflows(
        self, *, newest_first: bool = False, limit: int = -1, offset: int = 0
    ) -> list[WorkflowRow]:
        """Return the workflows, by their first artifact, or by their last from the newest on."""
        order = "3 DESC" if newest_first else "2"
        sql = (
            "SELECT correlation_id, min(seq), max(seq), count(*) FROM artifacts"
            f" GROUP BY correlation_id ORDER BY {order} LIMIT ? OFFSET ?"
        )
        found: list[WorkflowRow] = []
        for name, first, last, count in self._connection.execute(sql, (limit, offset)).fetchall():
            runs, opened, letters, begun, ended = self._connection.execute(
                query("workflow"), {"workflow": name, "first": first, "last": last}
            ).fetchone()
            kept = self._connection.execute(query("state"), ("workflow", name)).fetchone()
            control: dict[str, Any] = {} if kept is None else json.loads(kept[0])
            is_paused, deadline = control.get("paused", False), control.get("deadline")
            row = WorkflowRow(name, count, runs, opened, letters, begun, ended, is_paused, deadline)
            found.append(row)
        return found

    def doomed(self, choose: str, limit: float) -> int:
        """Return how many artifacts a retention query (`doomed`, `surplus`) would delete."""
        self._connection.execute(query(choose), (limit,))
        count = self._one("SELECT count(*) FROM doomed")
        self._connection.execute(query("drop_doomed"))
        return count

    def _runs(self, tail: str, *values: Value) -> list[FinishedRun]:
        sql = (
            "SELECT number, id, agent, correlation_id, committed, attempt, seen,"
            " (SELECT count(*) FROM consumptions WHERE run = number) FROM runs WHERE "
        )
        rows = self._connection.execute(sql + tail, values)
        return [FinishedRun(row[0], UUID(bytes=row[1]), *row[2:]) for row in rows]

    def _workflow_at(self, seq: int) -> str:
        row = self._connection.execute(
            "SELECT correlation_id FROM artifacts WHERE seq = ?", (seq,)
        ).fetchone()
        return "" if row is None else row[0]

    def _one(self, sql: str, *values: Value) -> int:
        return int(self._connection.execute(sql, values).fetchone()[0])


def _ids(data: bytes) -> tuple[UUID, ...]:
    return tuple(UUID(bytes=data[at : at + 16]) for at in range(0, len(data), 16))
