"""`flock graph` and `flock check`: what is declared, before anything runs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Final

import typer

from flock.cli.board.arguments import AsJson, explained
from flock.cli.board.views import many, plain, print_json
from flock.cli.loading import load_board
from flock.errors import DeclarationError
from flock.orchestrator.checks.finding import LEVELS
from flock.orchestrator.graph.drawing import DIRECTIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flock.orchestrator.checks.finding import CheckFinding

FAILED: Final = 1
_COLOURS: Final = {"error": "bold red", "warning": "yellow", "info": "dim"}

BoardName = Annotated[
    str,
    typer.Argument(
        metavar="BOARD",
        help="`MODULE:ATTRIBUTE` or `FILE.py:ATTRIBUTE`: a Flock, or a function that returns one, "
        "also async.",
    ),
]


def graph(
    board: BoardName,
    *,
    direction: Annotated[
        str,
        typer.Option(metavar="|".join(DIRECTIONS), help="Whither the drawing flows."),
    ] = "LR",
    as_json: AsJson = False,
) -> None:
    """Print who reads and writes what, as a Mermaid flowchart.

    Types are rounded, agents are boxes, gates are hexagons; a dotted line is one that not every
    artifact takes. GitHub and many editors draw it in Markdown, between lines of three backquotes
    of which the first says `mermaid`; so does https://mermaid.live.

    The module is imported; nothing else runs, and no store is opened.

    Exits with 0; 2 when there is no such board, or its declarations contradict themselves.

    *Examples*

    `flock graph app:board`

    `flock graph app.py:make_board --direction TB`

    `flock graph app:board --json`
    """
    with explained():
        if direction not in DIRECTIONS:
            msg = f"--direction is one of {', '.join(DIRECTIONS)}, not {direction!r}"
            raise DeclarationError(msg)
        found = load_board(board).graph()
    if as_json:
        print_json(found.as_dict())
        return
    typer.echo(found.mermaid(direction=direction), nl=False)
    if not found.agents:
        typer.echo("The board has no agents.", err=True)


def check(
    board: BoardName,
    *,
    strict: Annotated[bool, typer.Option("--strict", help="Let warnings fail as well.")] = False,
    ignore: Annotated[
        list[str] | None,
        typer.Option("--ignore", metavar="CODE", help="Leave out findings of this code."),
    ] = None,
    infos: Annotated[
        bool, typer.Option("--infos/--no-infos", help="Whether to show what is only worth knowing.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Look for what cannot work, or is hardly meant, in the declarations of a board.

    Errors are what cannot work, warnings what is hardly meant, infos what holds and may surprise.
    The module is imported; nothing else runs, and no store is opened.

    Exits with 0; 1 when there are errors, or warnings with `--strict`; 2 when there is no such
    board.

    *Examples*

    `flock check app:board`

    `flock check app.py:make_board --strict --ignore never-meet`

    `flock check app:board --json`
    """
    ignored = set(ignore or ())
    with explained():
        loaded = load_board(board)
        findings = [finding for finding in loaded.check() if finding.code not in ignored]
    counts = Counter(finding.level for finding in findings)
    shown = [finding for finding in findings if infos or finding.level != "info"]
    if as_json:
        print_json([finding.as_dict() for finding in shown])
    else:
        _print(shown)
        summary = ", ".join(many(counts[level], level) for level in LEVELS)
        typer.echo(f"{many(len(loaded.agents), 'agent')}: {summary}.")
    if counts["error"] or (strict and counts["warning"]):
        raise typer.Exit(FAILED)


def _print(findings: Sequence[CheckFinding]) -> None:
    """Print a table on a terminal, and elsewhere a line for each finding, its cells by tabs."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        for finding in findings:
            cells = (finding.level, finding.code, finding.message, finding.remedy)
            typer.echo("\t".join(map(plain, cells)))
        return
    if not findings:
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("level", no_wrap=True)
    table.add_column("code", no_wrap=True)
    table.add_column("found", overflow="fold")
    for finding in findings:
        text = Text(plain(finding.message))
        text.append(f"\n{plain(finding.remedy)}", style="italic")
        table.add_row(Text(finding.level, style=_COLOURS[finding.level]), finding.code, text)
    console.print(table)
