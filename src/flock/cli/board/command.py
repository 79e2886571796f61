"""`flock board` and its commands."""

from __future__ import annotations

import typer

from flock.cli.board import changing, looking, telling

board = typer.Typer(
    name="board",
    help="Look at a board in a file, and take care of it: BOARD is a path or a URL.",
    no_args_is_help=True,
)
for look in (
    looking.info,
    looking.artifacts,
    looking.show,
    looking.workflows,
    looking.runs,
    looking.dead_letters,
    looking.questions,
    telling.events,
    looking.export,
):
    board.command()(look)
board.command("import")(changing.import_)
for change in (changing.redrive, changing.prune, changing.vacuum, changing.migrate):
    board.command()(change)
