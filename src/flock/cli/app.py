"""The commands of `flock`, each in a module of its own."""

from __future__ import annotations

from typing import Annotated

import typer

from flock.cli.board.command import board
from flock.cli.demo.command import demo
from flock.cli.graph import check, graph
from flock.cli.models import models
from flock.cli.tune import tune
from flock.cli.version import print_version, version

app = typer.Typer(
    name="flock",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo)
app.command()(check)
app.command()(graph)
app.command()(tune)
app.command()(version)
app.add_typer(board)
app.add_typer(models)


@app.callback()
def flock(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", callback=print_version, is_eager=True, help="Show the version."
        ),
    ] = False,
) -> None:
    """A blackboard for agents: they declare the types they read and write, the board runs them."""
    del version
