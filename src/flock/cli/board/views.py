"""What lies on a board, for people and as JSON."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flock.clock import as_datetime
from flock.store.sqlite.inspection import (
    BoardInfo,
    FinishedRun,
    OpenRun,
    StoredArtifact,
    StoredDeadLetter,
    StoredQuestion,
    WorkflowRow,
)

if TYPE_CHECKING:
    from uuid import UUID

_PREVIEW: Final = 60
_UNITS: Final = ("B", "kB", "MB", "GB", "TB")


def print_json(data: object) -> None:
    """Print data for scripts."""
    typer.echo(json.dumps(data, indent=2, ensure_ascii=False, default=str))


def print_rows(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table on a terminal, and elsewhere a line for each row, its cells by tabs."""
    console = Console()
    if not console.is_terminal:
        for row in rows:
            typer.echo("\t".join(plain(cell) for cell in row))
        return
    table = Table(box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    console.print(table)


def plain(value: object) -> str:
    """Return a cell's text on one line, without what a terminal would obey."""
    text = "-" if value is None or value == "" else str(value)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def time_text(seconds: float | None) -> str:
    """Return a time in UTC, to the second."""
    if seconds is None:
        return "-"
    return f"{as_datetime(seconds):%Y-%m-%d %H:%M:%S}Z"


def iso(seconds: float | None) -> str | None:
    """Return a time in UTC for scripts."""
    return None if seconds is None else as_datetime(seconds).isoformat()


def bytes_text(count: float) -> str:
    """Return a size for people, in powers of 1000."""
    for unit in _UNITS[:-1]:
        if count < 1000:
            return f"{count:.3g} {unit}" if unit != "B" else f"{count:.0f} B"
        count /= 1000
    return f"{count:.3g} {_UNITS[-1]}"


def many(count: int, noun: str) -> str:
    """Return a count with its noun."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


# --- artifacts ---


def artifact_data(artifact: StoredArtifact) -> dict[str, object]:
    """Return an artifact for scripts."""
    seen_by: object = {"kind": "Public"}
    if artifact.visibility is not None:
        seen_by = json.loads(artifact.visibility)
    return {
        "seq": artifact.seq,
        "id": str(artifact.id),
        "type": artifact.type,
        "version": artifact.version,
        "payload": payload_of(artifact),
        "produced_by": artifact.produced_by,
        "correlation_id": artifact.correlation_id,
        "partition_key": artifact.partition_key,
        "tags": list(artifact.tags),
        "visibility": seen_by,
        "created_at": iso(artifact.created),
        "parents": [str(parent) for parent in artifact.parents],
        "depth": artifact.depth,
        "run": None if artifact.run is None else artifact.run.hex,
        "is_damaged": artifact.is_damaged,
    }


def payload_of(artifact: StoredArtifact) -> object:
    """Return what an artifact holds; its text where that is damaged so that it is no JSON."""
    text = artifact.data.decode(errors="replace")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def artifact_cells(artifact: StoredArtifact) -> Sequence[object]:
    """Return an artifact as a row of a table."""
    text = artifact.data[: 4 * _PREVIEW].decode(errors="replace")
    preview = text if len(text) <= _PREVIEW else f"{text[: _PREVIEW - 3]}..."
    about = "DAMAGED" if artifact.is_damaged else preview
    seq, kind, by = artifact.seq, artifact.type, artifact.produced_by
    return (seq, kind, by, time_text(artifact.created), artifact.correlation_id, about)


ARTIFACT_COLUMNS: Final = ("seq", "type", "by", "published", "workflow", "payload")


# --- the rest ---


def info_data(info: BoardInfo) -> dict[str, object]:
    """Return a board in numbers for scripts."""
    return {**asdict(info), "earliest": iso(info.earliest), "latest": iso(info.latest)}


def info_lines(info: BoardInfo) -> list[tuple[str, object]]:
    """Return a board in numbers for people."""
    opened = {True: "yes", False: "no", None: "perhaps"}[info.is_open]
    who = "" if info.holder is None else f"{', ' if info.is_open else '; last '}by {info.holder}"
    types = ", ".join(f"{name} {count}" for name, count in info.types.items())
    producers = ", ".join(f"{name} {count}" for name, count in info.producers.items())
    free = f", of which vacuum gives back {bytes_text(info.free)}" if info.free else ""
    found: list[tuple[str, object]] = [
        ("board", info.path),
        ("schema", f"version {info.schema}"),
        ("size", f"{bytes_text(info.size)}{free}"),
        ("open", f"{opened}{who}"),
        ("artifacts", f"{info.artifacts} in {many(info.workflows, 'workflow')}"),
        ("types", types),
        ("producers", producers),
        ("runs", f"{info.runs} finished, {info.open_runs} open"),
        ("open work", many(info.open_deliveries, "delivery").replace("deliverys", "deliveries")),
        ("dead letters", info.dead_letters),
    ]
    if info.earliest is not None:
        found.append(("published", f"{time_text(info.earliest)} to {time_text(info.latest)}"))
    return found


def finished_data(run: FinishedRun) -> dict[str, object]:
    """Return a run that succeeded for scripts."""
    return {
        "id": run.id.hex,
        "agent": run.agent,
        "state": "finished",
        "correlation_id": run.correlation_id,
        "attempt": run.attempt,
        "inputs": run.inputs,
        "committed_at": iso(run.committed),
    }


def state_of(run: OpenRun, asked: Container[UUID] = ()) -> str:
    """Return what a run that has not ended does, as far as its row tells.

    Args:
        run: The run.
        asked: The runs that wait for a person's answer.
    """
    if run.id in asked:
        return "asked"
    if not run.attempt:
        return "queued"
    return "retrying" if run.due else "begun"


def open_data(run: OpenRun, asked: Container[UUID] = ()) -> dict[str, object]:
    """Return a run that has not ended for scripts."""
    return {
        "id": run.id.hex,
        "agent": run.agent,
        "state": state_of(run, asked),
        "subscription": run.subscription,
        "correlation_id": run.correlation_id,
        "attempt": run.attempt,
        "inputs": len(run.deliveries),
        "deliveries": list(run.deliveries),
        "due_at": iso(run.due) if run.due else None,
    }


def dead_letter_data(letter: StoredDeadLetter) -> dict[str, object]:
    """Return a dead letter for scripts."""
    return {
        "id": str(letter.id),
        "run": letter.run.hex,
        "agent": letter.agent,
        "subscription": letter.subscription,
        "correlation_id": letter.correlation_id,
        "attempt": letter.attempt,
        "delivered": list(letter.delivered),
        "error_type": letter.error_type,
        "error_message": letter.error_message,
        "created_at": iso(letter.created),
    }


def question_data(question: StoredQuestion) -> dict[str, object]:
    """Return a question for scripts."""
    return {
        "id": question.run.hex,
        "agent": question.agent,
        "question": question.question,
        "correlation_id": question.correlation_id,
        "inputs": list(question.deliveries),
        "asked_at": iso(question.asked),
        "due": iso(question.due),
    }


def workflow_data(row: WorkflowRow) -> dict[str, object]:
    """Return a workflow in numbers for scripts."""
    deadline = None if row.deadline is None else iso(row.deadline)
    return {
        **asdict(row),
        "first": iso(row.first),
        "last": iso(row.last),
        "deadline": deadline,
    }
