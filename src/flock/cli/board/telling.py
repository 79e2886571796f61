"""The command that lists what happened on a board, also while a program has it open."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from flock.cli.board import views
from flock.cli.board.arguments import (
    AsJson,
    BoardArgument,
    Limit,
    Workflow,
    board_path,
    explained,
    say,
)
from flock.errors import DeclarationError
from flock.orchestrator.events.log import event_of, kinds
from flock.orchestrator.events.merging import Fetch, Kept, Merged
from flock.orchestrator.events.position import START, Position
from flock.store.protocol import LogEntry, RunRecord
from flock.store.sqlite.inspection import Inspection, StoredArtifact, inspect_board
from flock.store.sqlite.queries import EVERYTHING, conditions

if TYPE_CHECKING:
    from collections.abc import Iterator

_Item: TypeAlias = StoredArtifact | RunRecord | LogEntry


def events(
    board: BoardArgument,
    *,
    workflow: Workflow = None,
    after: Annotated[
        str | None,
        typer.Option(metavar="POSITION", help="Only behind this position, or artifact (seq)."),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", "-k", metavar="NAME", help="Only of this kind: run_failed."),
    ] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List what happened and lasts, in order: published artifacts, runs, failures and the like.

    Of `--kind` several mean any of them. What only passes, such as a run that starts, is told to
    who listens while it happens, by `Flock.events()`.
    """
    with explained(), inspect_board(board_path(board)) as found:
        start = START if after is None else Position.parse(after)
        wanted = {each.strip().lower().replace("-", "_") for each in kind or ()}
        _require_kinds(wanted)
        past = _Past(found, start, workflow)
        listed = list(islice(past.events(wanted), limit + 1))
        mark = Position.at(found.mark())
    shown = listed[:limit]
    if as_json:
        views.print_json(shown)
        return
    if shown:
        views.print_rows(
            ("position", "at", "event", "agent", "workflow", "about"), map(_cells, shown)
        )
    if len(listed) > len(shown):
        last = shown[-1]["position"] if shown else start
        say(f"There is more: go on with --after {last}, or see more at once with --limit.")
    elif not shown:
        say(_nothing(mark, start, is_narrowed=bool(wanted) or workflow is not None))
    if past.deleted and workflow is None:
        say(f"{views.many(past.deleted, 'event')} in between were deleted from the board.")


def _require_kinds(wanted: set[str]) -> None:
    unknown = sorted(wanted - kinds().keys())
    if unknown:
        known = ", ".join(sorted(kinds()))
        msg = f"there is no kind of event {unknown[0]!r}; there are: {known}"
        raise DeclarationError(msg)


def _nothing(mark: Position, start: Position, *, is_narrowed: bool) -> str:
    if mark == START:
        return "Nothing happened on this board yet: publish something."
    if start >= mark:
        return f"Nothing happened after {start}: the board is at position {mark}."
    if is_narrowed:
        return "Nothing like that happened on this board; leave out --kind or --workflow."
    return "What happened there was deleted from the board."


class _Past:
    """Reads what lasts of a board that is looked at, without the classes of its artifacts.

    Attributes:
        deleted: How many rows were missing in between.
    """

    def __init__(self, board: Inspection, start: Position, workflow: str | None) -> None:
        self._board = board
        self._start = start
        self._where = EVERYTHING if workflow is None else conditions(workflow=workflow)
        self._workflow = workflow
        self.deleted = 0

    def events(self, wanted: set[str]) -> Iterator[dict[str, Any]]:
        """Yield events in board order as JSON can carry them."""
        tables: dict[Kept, Fetch[_Item]] = {
            "artifacts": self._artifacts,
            "runs": self._runs,
            "logged": self._log,
        }
        merged: Merged[_Item] = Merged(tables, self._start)
        until = Position.at(self._board.mark())
        reached = self._start
        while reached < until:
            page, deleted, reached = asyncio.run(merged.next_page(until))
            for _, row, missed in page:
                self.deleted += missed
                said = self._said(row.item, row.place)
                if not wanted or said["kind"] in wanted:
                    yield said
            self.deleted += deleted
            merged.take(page, reached, until)

    def _said(self, item: _Item, place: Position) -> dict[str, Any]:
        if isinstance(item, LogEntry):
            return event_of(item).as_dict()
        if isinstance(item, StoredArtifact):
            common = _common("artifact_published", item.created, item.correlation_id, place)
            return {**common, "artifact": views.artifact_data(item)}
        spent = self._board.spent_by(item.run_id)
        return {
            **_common("run_succeeded", item.committed, item.correlation_id, place),
            "agent": item.agent,
            "run_id": item.run_id,
            "attempt": item.attempt,
            "outputs": [str(output) for output in item.outputs],
            "duration": max(item.committed - item.began, 0.0),
            "usage": {model: asdict(usage) for model, usage in spent.models.items()},
        }

    async def _artifacts(self, after: int, limit: int) -> Sequence[tuple[Position, int, _Item]]:
        rows = self._board.artifacts(self._where.after(after), limit=limit)
        return [(Position(row.seq), row.seq, row) for row in rows]

    async def _runs(self, after: int, limit: int) -> Sequence[tuple[Position, int, _Item]]:
        rows = self._board.ended(self._workflow, limit=limit, after=after)
        return [(Position(row.position, row.number), row.number, row) for row in rows]

    async def _log(self, after: int, limit: int) -> Sequence[tuple[Position, int, _Item]]:
        rows = self._board.logged(self._workflow, limit=limit, after=after)
        return [(Position.at(row.mark), row.number, row) for row in rows]


def _common(kind: str, at: float, workflow: str, place: Position) -> dict[str, Any]:
    return {
        "kind": kind,
        "version": kinds()[kind].VERSION,
        "at": views.iso(at),
        "correlation_id": workflow,
        "position": str(place),
    }


def _cells(said: dict[str, Any]) -> Sequence[object]:
    artifact: dict[str, Any] = said.get("artifact", {})
    if artifact:
        about = artifact["type"]
    elif "error_type" in said:
        about = f"{said['error_type']}: {said['error_message']}"
    elif "outputs" in said:
        about = views.many(len(said["outputs"]), "output")
    else:
        about = said.get("reason") or said.get("key") or said.get("run_id") or ""
    agent = artifact.get("produced_by") or said.get("agent")
    at = str(said["at"])[:19].replace("T", " ")
    return (said["position"], at, said["kind"], agent, said["correlation_id"], about)
