"""A board's file as lines of an export, and back: row by row, without the classes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn
from uuid import UUID
from zlib import crc32

from flock.core.types import MAX_PAYLOAD
from flock.errors import StoreCorrupt, StoreError
from flock.store.lines import (
    ArtifactLine,
    Content,
    DeadLetterLine,
    EndLine,
    ImportReport,
    Line,
    RunLine,
    canonical,
    encoded,
    visibility_json,
)
from flock.store.sqlite.failures import named
from flock.store.sqlite.inspection import (
    StoredArtifact,
    require_file,
    stored_artifact,
    stored_dead_letter,
)
from flock.store.sqlite.owned import owned
from flock.store.sqlite.queries import query
from flock.store.sqlite.reader import connect
from flock.store.sqlite.records import Stored, keys_of
from flock.store.sqlite.schema import require_current
from flock.store.sqlite.statements import Value
from flock.store.sqlite.transaction import ARTIFACTS, TAGS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_PAGE: Final = 256


def file_lines(
    path: Path, correlation_id: str | None, *, skip_damaged: bool
) -> Iterator[tuple[str, bytes]]:
    """Yield the lines of an export between the first and the last, with the kind of each.

    All of them show one state of the board. What is damaged and left out is yielded as an empty
    line of the kind `"damaged"`.

    Args:
        path: The file.
        correlation_id: The workflow to export; None for all of them.
        skip_damaged: Whether to go on where something is damaged.

    Raises:
        StoreCorrupt: Something is damaged, and that is not to be skipped.
        StoreError: There is no board, or it cannot be read.
    """
    require_file(path)
    try:
        with closing(connect(path, read_only=True)) as connection:
            require_current(connection, path)
            connection.execute("BEGIN")
            yield from _Export(connection, path, correlation_id, skip=skip_damaged).lines()
    except sqlite3.Error as error:
        raise named(error, path) from error


class _Export:
    """One reading of a board from its oldest row to its newest."""

    def __init__(
        self, connection: sqlite3.Connection, path: Path, workflow: str | None, *, skip: bool
    ) -> None:
        self._connection = connection
        self._path = path
        self._workflow = workflow
        self._skip = skip
        self._lost: set[int] = set()  # positions of artifacts that were left out

    def lines(self) -> Iterator[tuple[str, bytes]]:
        whole = self._workflow is None
        (position,) = self._connection.execute(query("position")).fetchone()
        (last_run,) = self._connection.execute(query("last_run")).fetchone()
        artifacts = query("export_board" if whole else "export_workflow")
        yield from self._each("artifact", artifacts, position, self._artifact)
        runs = query("export_runs" if whole else "export_workflow_runs")
        yield from self._each("run", runs, last_run, self._run)
        letters = query("export_dead_letters" if whole else "export_workflow_dead_letters")
        yield from self._dead_letters(letters)

    def _each(
        self, kind: str, sql: str, last: int, line_of: Callable[[Stored], bytes]
    ) -> Iterator[tuple[str, bytes]]:
        """Yield a line for each row of a table that is numbered from 1."""
        size = last or 1 if not self._skip else _PAGE
        for start in range(1, last + 1, size):
            values = {"workflow": self._workflow, "start": start, "end": start + size - 1}
            try:
                if not self._skip:  # row by row, however many there are
                    for row in self._connection.execute(sql, values):
                        yield kind, line_of(row)
                    continue
                made = [line_of(row) for row in self._connection.execute(sql, values)]
            except (sqlite3.DatabaseError, StoreCorrupt):
                if not self._skip:
                    raise
            else:
                for line in made:
                    yield kind, line
                continue
            for number in range(start, min(start + size, last + 1)):
                yield from self._salvaged(
                    kind, sql, {**values, "start": number, "end": number}, line_of
                )

    def _salvaged(
        self,
        kind: str,
        sql: str,
        values: Mapping[str, Any],
        line_of: Callable[[Stored], bytes],
    ) -> Iterator[tuple[str, bytes]]:
        try:
            for row in self._connection.execute(sql, values).fetchall():
                yield kind, line_of(row)
        except (sqlite3.DatabaseError, StoreCorrupt):
            if kind == "artifact":
                self._lost.add(values["start"])
            yield "damaged", b""

    def _artifact(self, row: Stored) -> bytes:
        artifact = stored_artifact(row[:15])
        if artifact.is_damaged:
            msg = (
                f"artifact {artifact.id} at position {artifact.seq} of {str(self._path)!r} is "
                "damaged: its checksum does not fit; export the rest with `flock board export "
                "--skip-damaged`"
            )
            raise StoreCorrupt(msg)
        return artifact_line(artifact, row[15])

    def _run(self, row: Stored) -> bytes:
        identity, agent, workflow, committed, attempt, seen, began, position, made, inputs = row
        return encoded(
            {
                "kind": "run",
                "id": UUID(bytes=identity),
                "agent": agent,
                "correlation_id": workflow,
                "committed": committed,
                "attempt": attempt,
                "seen": seen,
                "began": began,
                "position": position,
                "made": made,
                "inputs": [UUID(int=key) for key in keys_of(inputs)],
            }
        )

    def _dead_letters(self, sql: str) -> Iterator[tuple[str, bytes]]:
        rows = self._connection.execute(sql, {"workflow": self._workflow})
        while True:
            try:
                row = rows.fetchone()
            except sqlite3.DatabaseError:
                if not self._skip:
                    raise
                yield "damaged", b""
                return  # what follows cannot be reached
            if row is None:
                return
            try:
                line = self._dead_letter(row)
            except (sqlite3.DatabaseError, StoreCorrupt):
                if not self._skip:
                    raise
                yield "damaged", b""
            else:
                yield "dead_letter", line

    def _dead_letter(self, row: Stored) -> bytes:
        letter = stored_dead_letter(row[:13])
        seen, began, position = row[13:]
        steps = self._connection.execute(query("steps"), (letter.run.bytes,)).fetchall()
        tick = self._connection.execute(query("tick"), (letter.run.bytes,)).fetchone()
        inputs = None
        if letter.inputs is not None:
            inputs = [
                str(self._id_at(each)) if isinstance(each, int) else _loose_content(each)
                for each in letter.inputs
            ]
        return encoded(
            {
                "kind": "dead_letter",
                "id": letter.id,
                "run": letter.run,
                "agent": letter.agent,
                "subscription": letter.subscription,
                "correlation_id": letter.correlation_id,
                "is_batch": letter.is_batch,
                "attempt": letter.attempt,
                "seen": seen,
                "began": began,
                "position": position,
                "emitted": letter.emitted,
                "delivered": [self._id_at(seq) for seq in letter.delivered],
                "inputs": inputs,
                "error_type": letter.error_type,
                "error_message": letter.error_message,
                "created": letter.created,
                "steps": {name: json.loads(value) for name, value in steps},
                "tick": tick,
            }
        )

    def _id_at(self, seq: int) -> UUID:
        row = self._connection.execute(query("id_at"), (seq,)).fetchone()
        if row is None or seq in self._lost:
            msg = f"the artifact at position {seq} is missing, though a dead letter needs it"
            raise StoreCorrupt(msg)
        return UUID(bytes=row[0])


def artifact_line(artifact: StoredArtifact, idempotency_key: str | None) -> bytes:
    """Return an artifact as a line of an export."""
    fields: dict[str, object] = {
        "kind": "artifact",
        "seq": artifact.seq,
        "id": artifact.id,
        "type": artifact.type,
        "version": artifact.version,
        "produced_by": artifact.produced_by,
        "correlation_id": artifact.correlation_id,
        "partition_key": artifact.partition_key,
        "tags": artifact.tags,
        "created": artifact.created,
        "parents": artifact.parents,
        "depth": artifact.depth,
        "run": artifact.run,
        "idempotency_key": idempotency_key,
    }
    return encoded(fields, visibility=artifact.visibility, payload=artifact.data)


def _loose_content(row: list[Any]) -> dict[str, object]:
    """Return an input that is not on the board, from its row in a dead letter."""
    visibility = row[8]
    return {
        "id": UUID(int=row[0]),
        "type": row[1],
        "version": row[2],
        "payload": json.loads(row[3]),
        "produced_by": row[4],
        "correlation_id": row[5],
        "partition_key": row[6],
        "tags": row[7] or [],
        "visibility": None if visibility is None else json.loads(visibility),
        "created": row[9],
        "parents": [UUID(int=key) for key in row[10]],
        "depth": row[11],
    }


def import_lines(path: Path, lines: Iterator[tuple[int, Line]], name: str) -> ImportReport:
    """Put lines of an export on a board, in one transaction; see `import_board`.

    Args:
        path: The board's file, which is made if it is not there, unless the import fails.
        lines: The lines after the first, with their numbers.
        name: Where they are from, for errors.

    Raises:
        StoreLocked: Somebody has the board open.
        StoreError: A line cannot be imported, or the board not be written.
    """
    with owned(path, "flock board import", keeps_new=False) as (connection, _):
        connection.execute("BEGIN IMMEDIATE")
        report = _Import(connection, name).all_of(lines)
        connection.execute("COMMIT")
    return report


class _Import:
    """One file on its way to a board, within one transaction."""

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self._connection = connection
        self._name = name
        (self._seq,) = connection.execute(query("position")).fetchone()
        (self._run,) = connection.execute(query("last_run")).fetchone()
        self._keeps_positions = self._seq == 0
        kinds = ("artifacts", "runs", "dead_letters", "skipped")
        self._counts: dict[str, int] = dict.fromkeys(kinds, 0)
        self._damaged = 0

    def all_of(self, lines: Iterator[tuple[int, Line]]) -> ImportReport:
        self._connection.execute(query("imported"))
        for number, line in lines:
            match line:
                case ArtifactLine():
                    self._counted("artifacts", self._take_artifact(number, line))
                case RunLine():
                    self._counted("runs", self._take_run(line))
                case DeadLetterLine():
                    self._counted("dead_letters", self._take_dead_letter(number, line))
                case EndLine():
                    self._damaged = line.damaged
        self._connection.execute(query("drop_imported"))
        return ImportReport(**self._counts, damaged=self._damaged)

    def _counted(self, kind: str, is_new: bool) -> None:  # noqa: FBT001 - what became of a line
        self._counts[kind if is_new else "skipped"] += 1

    def _take_artifact(self, number: int, line: ArtifactLine) -> bool:
        data = canonical(line.payload)
        if len(data) > MAX_PAYLOAD:
            self._refuse(number, f"its payload takes {len(data)} bytes, and {MAX_PAYLOAD} is most")
        identity = line.id.bytes
        checksum = crc32(data, crc32(identity))
        known = self._connection.execute(query("stored_as"), (identity,)).fetchone()
        if known is not None:
            if known[1] != checksum:
                why = f"artifact {line.id} is on the board already, with another content"
                self._refuse(number, why)
            self._connection.execute(query("remember_imported"), (line.seq, known[0]))
            return False
        self._seq = line.seq if self._keeps_positions else self._seq + 1
        tags = sorted(set(line.tags))
        visibility = visibility_json(line.visibility)
        values = (
            self._seq,
            identity,
            line.type,
            line.version,
            data.decode(),
            checksum,
            line.produced_by,
            line.correlation_id,
            line.partition_key,
            json.dumps(tags) if tags else None,
            None if visibility is None else visibility.decode(),
            None if visibility is None else str((line.visibility or {})["kind"]).lower(),
            float(line.created),
            b"".join(parent.bytes for parent in line.parents) or None,
            line.depth,
            None if line.run is None else line.run.bytes,
        )
        ARTIFACTS.run(self._connection, [values])
        if tags:
            TAGS.run(self._connection, [(tag, self._seq) for tag in tags])
        if line.idempotency_key is not None:
            self._connection.execute(query("import_key"), (line.idempotency_key, self._seq))
        self._connection.execute(query("remember_imported"), (line.seq, self._seq))
        return True

    def _take_run(self, line: RunLine) -> bool:
        seen = self._seq if line.seen is None else self._newest(line.seen)
        values = (
            self._run + 1,
            line.id.bytes,
            line.agent,
            line.correlation_id,
            float(line.committed),
            1 if line.attempt is None else line.attempt,
            seen,
            float(line.committed if line.began is None else line.began),
            self._seq if line.position is None else self._newest(line.position),
            line.made or 0,
            b"".join(artifact.bytes for artifact in line.inputs),
        )
        if not self._connection.execute(query("import_run"), values).rowcount:
            return False
        self._run += 1
        for place, artifact in zip(count(), line.inputs):
            values = (self._run, place, artifact.bytes)
            self._connection.execute(query("import_input"), values)
        return True

    def _take_dead_letter(self, number: int, line: DeadLetterLine) -> bool:
        delivered = [self._position_of(number, each) for each in line.delivered]
        inputs: list[object] | None = None
        if line.inputs is not None:
            inputs = [
                self._position_of(number, each) if isinstance(each, UUID) else _loose_row(each)
                for each in line.inputs
            ]
        values: tuple[Value, ...] = (
            line.id.bytes,
            line.run.bytes,
            line.agent,
            line.subscription,
            line.correlation_id,
            line.is_batch,
            line.attempt,
            line.emitted,
            json.dumps(delivered),
            None if inputs is None else json.dumps(inputs),
            line.error_type,
            line.error_message,
            float(line.created),
            self._newest(line.seen),
            float(line.began),
            self._seq if line.position is None else self._newest(line.position),
        )
        if not self._connection.execute(query("import_dead_letter"), values).rowcount:
            return False
        needed = {*delivered, *(each for each in inputs or () if isinstance(each, int))}
        for seq in needed:
            self._connection.execute(query("need_for_dead_letter"), (seq, line.id.bytes))
        if line.tick is not None:
            self._connection.execute(query("import_tick"), (line.run.bytes, *line.tick))
        for name, value in line.steps.items():
            values = (line.run.bytes, name, canonical(value))
            self._connection.execute(query("import_step"), values)
        return True

    def _newest(self, old: int) -> int:
        """Return the position here of the newest artifact up to a position in the file."""
        row = self._connection.execute(query("newest_imported"), (old,)).fetchone()
        return 0 if row is None else row[0]

    def _position_of(self, number: int, artifact: UUID) -> int:
        row = self._connection.execute(query("stored_as"), (artifact.bytes,)).fetchone()
        if row is None:
            self._refuse(number, f"artifact {artifact} is neither in the file nor on the board")
        return row[0]

    def _refuse(self, number: int, why: str) -> NoReturn:
        msg = f"line {number} of {self._name} cannot be imported: {why}"
        raise StoreError(msg)


def _loose_row(content: Content) -> list[object]:
    """Return an input that is not on the board, as a dead letter keeps it."""
    visibility = visibility_json(content.visibility)
    return [
        content.id.int,
        content.type,
        content.version,
        canonical(content.payload).decode(),
        content.produced_by,
        content.correlation_id,
        content.partition_key,
        sorted(set(content.tags)) or None,
        None if visibility is None else visibility.decode(),
        content.created,
        [parent.int for parent in content.parents],
        content.depth,
    ]
