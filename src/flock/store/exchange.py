"""A board, or one workflow of it, to and from a file of JSON lines."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar
from uuid import UUID

from flock.clock import SystemClock
from flock.core.artifacts import Artifact
from flock.core.filters import FilterConfig
from flock.errors import DeclarationError, StoreError
from flock.store.lines import (
    BoardLine,
    EndLine,
    ExportReport,
    ImportReport,
    Line,
    encoded,
    read_lines,
)
from flock.store.rows import row_of
from flock.store.sqlite.exchange import artifact_line, file_lines, import_lines
from flock.store.sqlite.inspection import StoredArtifact
from flock.store.sqlite.store import SQLiteBlackboardStore

if TYPE_CHECKING:
    from collections.abc import Generator

    from flock.store.protocol import BlackboardStore, ConsumptionRecord, DeadLetter

T = TypeVar("T")


async def export_board(
    store: BlackboardStore,
    file: str | os.PathLike[str] | BinaryIO,
    *,
    correlation_id: str | None = None,
    skip_damaged: bool = False,
) -> ExportReport:
    """Write a board, or one workflow of it, as JSON lines.

    It shows one state of the board, and goes on beside whoever works on it. Of a workflow also
    that is written which its runs and dead letters used of others. A board in a file is read row
    by row, whatever its size and whether or not the classes of its artifacts can be imported;
    another store is asked for all of it at once, and does not tell everything: which run made an
    artifact, idempotency keys, and which attempt of a run succeeded.

    What is open is no part of it, nor what was spent.

    Args:
        store: The board.
        file: A path, at which a file is replaced once all is written; or a file that is open for
            writing bytes.
        correlation_id: The workflow; all of them unless said.
        skip_damaged: Whether to leave out what cannot be read, and count it, instead of failing.

    Raises:
        StoreCorrupt: Something is damaged.
        StoreError: There is no board, or it cannot be read.
        OSError: The file cannot be written.
    """
    if isinstance(store, SQLiteBlackboardStore):
        path = store.path

        def lines() -> Iterator[tuple[str, bytes]]:
            return file_lines(path, correlation_id, skip_damaged=skip_damaged)

        return await _in_thread(lambda go_on: _write(file, correlation_id, lines(), go_on))
    found = await _lines_of(store, correlation_id)
    return await _in_thread(lambda go_on: _write(file, correlation_id, iter(found), go_on))


async def import_board(
    store: SQLiteBlackboardStore, file: str | os.PathLike[str] | BinaryIO
) -> ImportReport:
    """Put on a board what `export_board` wrote: all of it, or nothing.

    What is there already, by its id, is skipped and counted, so that importing twice changes
    nothing. Ids, times, lineage and order are kept; positions too, on a board on which nothing
    ever was, and else it is appended. It starts no agent: nothing of it is open work. No class
    of the artifacts is needed.

    Args:
        store: A board in a file, which is made if it is not there, unless the import fails. Nobody
            may have it open.
        file: A path, or a file that is open for reading bytes.

    Raises:
        DeclarationError: The store is none in a file.
        StoreLocked: Somebody has it open.
        SchemaTooNew: A newer version of Flock wrote the board or the file.
        StoreError: A line of the file is broken; names it.
        OSError: The file cannot be read.
    """
    if not isinstance(store, SQLiteBlackboardStore):
        msg = f"import_board takes a SQLiteBlackboardStore, not {store!r}"
        raise DeclarationError(msg)
    if store.read_only:
        msg = f"{store!r} was opened to be read only, and cannot be imported into"
        raise DeclarationError(msg)
    path = store.path

    def work(go_on: Callable[[], None]) -> ImportReport:
        with _opened(file) as (source, name):
            return import_lines(path, _watched(read_lines(source, name), go_on), name)

    return await _in_thread(work)


def _watched(
    lines: Iterator[tuple[int, Line]], go_on: Callable[[], None]
) -> Iterator[tuple[int, Line]]:
    for line in lines:
        go_on()
        yield line


def _write(
    file: str | os.PathLike[str] | BinaryIO,
    correlation_id: str | None,
    lines: Iterator[tuple[str, bytes]],
    go_on: Callable[[], None],
) -> ExportReport:
    counts: dict[str, int] = dict.fromkeys(("artifact", "run", "dead_letter", "damaged"), 0)
    first = BoardLine(
        flock=version("flock"), exported=SystemClock().time(), correlation_id=correlation_id
    )
    begun = next(lines, None)  # what is no board is told before anything is written
    with _created(file) as target:
        target.write(encoded(first.model_dump()))
        for kind, line in () if begun is None else chain((begun,), lines):
            go_on()
            counts[kind] += 1
            target.write(line)
        report = ExportReport(
            counts["artifact"], counts["run"], counts["dead_letter"], counts["damaged"]
        )
        last = EndLine(
            artifacts=report.artifacts,
            runs=report.runs,
            dead_letters=report.dead_letters,
            damaged=report.damaged,
        )
        target.write(encoded(last.model_dump()))
    return report


@contextmanager
def _created(file: str | os.PathLike[str] | BinaryIO) -> Generator[BinaryIO]:
    """Give a file to write into, which takes its path once all is written."""
    if not isinstance(file, str | os.PathLike):
        yield file
        file.flush()
        return
    path = Path(file)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("xb") as target:
            yield target
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def _opened(file: str | os.PathLike[str] | BinaryIO) -> Generator[tuple[BinaryIO, str]]:
    if not isinstance(file, str | os.PathLike):
        yield file, str(getattr(file, "name", "the file"))
        return
    with Path(file).open("rb") as source:
        yield source, str(file)


async def _in_thread(work: Callable[[Callable[[], None]], T]) -> T:
    """Do something in a thread; a cancellation ends it there first.

    Args:
        work: Gets what it has to call now and then, which raises once it is not to go on.
    """
    is_over = False

    def go_on() -> None:
        if is_over:
            msg = "it was cancelled"
            raise StoreError(msg)

    doing = asyncio.get_running_loop().run_in_executor(None, work, go_on)
    try:
        return await asyncio.shield(doing)
    except asyncio.CancelledError:
        is_over = True
        await asyncio.wait([doing])
        doing.exception()  # seen
        raise


# --- a store that only has the protocol ---


async def _lines_of(store: BlackboardStore, correlation_id: str | None) -> list[tuple[str, bytes]]:
    """Return a board as lines, by what every store can be asked."""
    letters = [
        letter
        for letter in await store.dead_letters()
        if correlation_id in {None, letter.correlation_id}
    ]
    artifacts = await _all_of(store, None)
    runs: dict[str, list[ConsumptionRecord]] = {}
    for artifact in artifacts:
        for record in await store.consumptions(artifact.id):
            if correlation_id in {None, record.correlation_id}:
                runs.setdefault(record.run_id, []).append(record)
    if correlation_id is not None:
        used = {record.artifact_id for records in runs.values() for record in records}
        used.update(a.id for each in letters for a in (*each.artifacts, *each.delivered))
        artifacts = [a for a in artifacts if a.correlation_id == correlation_id or a.id in used]
    found = [("artifact", artifact_line(_stored(artifact), None)) for artifact in artifacts]
    ended = sorted(runs.values(), key=lambda records: records[0].consumed_at)
    found += [("run", _run_line(records)) for records in ended]
    found += [("dead_letter", _dead_letter_line(letter)) for letter in letters]
    return found


async def _all_of(store: BlackboardStore, where: FilterConfig | None) -> list[Artifact]:
    return (await store.query_artifacts(where, limit=sys.maxsize))[0]


def _stored(artifact: Artifact) -> StoredArtifact:
    row = row_of(artifact)
    return StoredArtifact(
        artifact.seq,
        artifact.id,
        *row[1:7],
        row[7] or (),
        row[8],
        row[9],
        artifact.parents,
        artifact.depth,
        None,
        is_damaged=False,
    )


def _run_line(records: list[ConsumptionRecord]) -> bytes:
    first = records[0]
    return encoded(
        {
            "kind": "run",
            "id": UUID(first.run_id),
            "agent": first.consumer,
            "correlation_id": first.correlation_id,
            "committed": first.consumed_at.timestamp(),
            "attempt": None,
            "seen": None,
            "inputs": [record.artifact_id for record in records],
        }
    )


def _dead_letter_line(letter: DeadLetter) -> bytes:
    run = letter.run
    is_same = [a.id for a in letter.artifacts] == [a.id for a in letter.delivered]
    return encoded(
        {
            "kind": "dead_letter",
            "id": letter.id,
            "run": UUID(letter.run_id),
            "agent": letter.agent,
            "subscription": letter.index,
            "correlation_id": letter.correlation_id,
            "is_batch": run.is_batch,
            "attempt": letter.attempt,
            "emitted": run.emitted,
            "delivered": [artifact.id for artifact in letter.delivered],
            "inputs": None if is_same else [_input(artifact) for artifact in letter.artifacts],
            "error_type": letter.error_type,
            "error_message": letter.error_message,
            "created": letter.created,
            "steps": {},
            "tick": run.tick,
        }
    )


def _input(artifact: Artifact) -> object:
    if artifact.seq:
        return str(artifact.id)
    visibility = None if artifact.visibility.kind == "Public" else artifact.visibility
    return {
        "id": artifact.id,
        "type": artifact.type,
        "version": artifact.version,
        "payload": artifact.payload,
        "produced_by": artifact.produced_by,
        "correlation_id": artifact.correlation_id,
        "partition_key": artifact.partition_key,
        "tags": sorted(artifact.tags),
        "visibility": visibility,
        "created": artifact.created,
        "parents": artifact.parents,
        "depth": artifact.depth,
    }
