"""The commands that change a board, for which no program may have it open."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from flock.cli.board import views
from flock.cli.board.arguments import (
    AsJson,
    BoardArgument,
    ago,
    board_path,
    board_store,
    explained,
    identity_of,
    moment_of,
    say,
)
from flock.errors import DeclarationError
from flock.store.exchange import import_board
from flock.store.lines import ImportReport
from flock.store.sqlite.inspection import inspect_board, require_file
from flock.store.sqlite.owned import migrate_board, reopen_dead_letter
from flock.store.sqlite.store import SQLiteBlackboardStore


def redrive(
    board: BoardArgument,
    dead_letter: Annotated[str, typer.Argument(metavar="ID", help="Id of the dead letter.")],
) -> None:
    """Let a run that failed for good be tried again when the board opens next.

    The run keeps its id, what its steps returned and what it emitted, and counts its attempts
    anew. Nothing runs now: the agents are your program's.
    """
    with explained():
        letter = reopen_dead_letter(board_path(board), identity_of(dead_letter, "a dead letter"))
    what = views.many(len(letter.delivered), "input")
    typer.echo(
        f"Run {letter.run.hex} of {views.plain(letter.agent)} over {what} is open again, and runs "
        "when the board opens next."
    )


def import_(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="What `flock board export` wrote; `-` is stdin.")
    ],
    board: BoardArgument,
    *,
    as_json: AsJson = False,
) -> None:
    """Put what was exported on a board: all of it, or nothing.

    What is there already is skipped. No agent is started by it. The board is made if it is not
    there.
    """
    source = typer.get_binary_stream("stdin") if file == "-" else file
    with explained():
        report = asyncio.run(import_board(board_store(board, read_only=False), source))
    if as_json:
        views.print_json(_report_data(report))
        return
    new = ", ".join(
        (
            views.many(report.artifacts, "artifact"),
            views.many(report.runs, "run"),
            views.many(report.dead_letters, "dead letter"),
        )
    )
    typer.echo(f"Imported {new}; {report.skipped} were there already.")
    if report.damaged:
        say(f"The export says that {report.damaged} that were damaged are not in it.")


def prune(
    board: BoardArgument,
    *,
    before: Annotated[
        str | None, typer.Option(metavar="TIME", help="Delete what was published before then.")
    ] = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="SPAN", help="Delete what is older: 30d, 36h, 2w.")
    ] = None,
    keep: Annotated[
        int | None, typer.Option(min=0, help="Delete all but the newest N of each workflow.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only count; also while the board is open.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Delete old artifacts, but nothing that open work or a dead letter needs.

    Takes one of `--before`, `--older-than` and `--keep`. The file becomes smaller by `flock board
    vacuum`.
    """
    with explained():
        if sum(option is not None for option in (before, older_than, keep)) != 1:
            msg = "prune takes one of --before, --older-than and --keep"
            raise DeclarationError(msg)
        moment = None
        if before is not None:
            moment = moment_of(before, "--before")
        elif older_than is not None:
            moment = ago(older_than, "--older-than")
        if dry_run:
            with inspect_board(board_path(board)) as found:
                if moment is not None:
                    count = found.doomed("doomed", moment.timestamp())
                else:
                    count = found.doomed("surplus", keep or 0)
        else:
            store = board_store(board, read_only=False)

            async def delete() -> int:
                if moment is not None:
                    return await store.delete_before(moment)
                return await store.keep_newest(keep or 0)

            count = asyncio.run(_opened(store, "flock board prune", delete))
    if as_json:
        views.print_json({"deleted": 0 if dry_run else count, "chosen": count})
    elif dry_run:
        typer.echo(f"Would delete {views.many(count, 'artifact')}.")
    else:
        typer.echo(f"Deleted {views.many(count, 'artifact')}.")


def vacuum(board: BoardArgument) -> None:
    """Give the room of what was deleted back to the system."""
    with explained():
        store = board_store(board, read_only=False)
        freed = asyncio.run(_opened(store, "flock board vacuum", store.vacuum))
    if freed:
        typer.echo(f"Gave back {views.bytes_text(freed)}.")
    else:
        typer.echo("There was nothing to give back.")


def migrate(board: BoardArgument) -> None:
    """Bring a board that an older Flock wrote up to the schema of this one."""
    with explained():
        applied = migrate_board(board_path(board))
    if applied:
        typer.echo(f"Applied {', '.join(applied)}.")
    else:
        typer.echo("The board is up to date.")


async def _opened(
    store: SQLiteBlackboardStore, holder: str, work: Callable[[], Awaitable[int]]
) -> int:
    """Do something with a board that is opened for it."""
    require_file(store.path)
    await store.open(holder)
    try:
        return await work()
    finally:
        await store.close()


def _report_data(report: ImportReport) -> dict[str, object]:
    return {
        "artifacts": report.artifacts,
        "runs": report.runs,
        "dead_letters": report.dead_letters,
        "skipped": report.skipped,
        "damaged": report.damaged,
    }
