"""The command line of `flock demo`: its options, its messages, its exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import flock
from flock.cli.demo.collector import EXCLUDED
from flock.cli.demo.progress import Tally, choose_display
from flock.cli.demo.report import Statistics, counted, write_markdown
from flock.cli.demo.session import Outcome, run_review
from flock.cli.demo.table import print_summary
from flock.cli.demo.types import Report, SourceTree

FAILED, MISUSED, INTERRUPTED = 1, 2, 130
SHOWN_FAILURES = 10
PYTHON = (".py", ".pyw", ".pyi")


def demo(
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="PATH", help="A folder or a Python file.", show_default="Flock's own source"
        ),
    ] = None,
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where the report goes.", metavar="FILE")
    ] = Path("flock-report.md"),
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            "--exclude",
            "-x",
            metavar="GLOB",
            help="Leave out files and folders of this name or path, such as `tests` or "
            "`*/migrations/*`. May be given several times.",
        ),
    ] = None,
    max_files: Annotated[
        int | None, typer.Option(min=1, help="Review no more files than this.", metavar="N")
    ] = None,
    progress: Annotated[bool, typer.Option(help="Show the progress.")] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON instead of tables.")
    ] = False,
) -> None:
    """Review a Python source tree with a flock of agents.

    Three reviewers read every file in parallel: one measures complexity, one looks for
    security problems, one checks the documentation. Their findings, with file and line,
    come as tables and as a report in Markdown.

    Exits with 0 when all went well, whatever was found; 1 when a run failed; 2 when PATH
    or an option is of no use.
    """
    problems = Console(stderr=True)
    root = path if path is not None else _own_source()
    if complaint := _complaint(root, output):
        _say(problems, complaint)
        raise typer.Exit(MISUSED)
    tree = SourceTree(root=str(root), exclude=tuple(exclude or ()), max_files=max_files)
    tally = Tally()
    display = choose_display(tally, problems, wanted=progress)
    try:
        with _quiet_parser():
            outcome = asyncio.run(run_review(tree, tally, display))
    except KeyboardInterrupt:
        _say(problems, f"Interrupted: {tally.sentence()}. No report was written.")
        raise typer.Exit(INTERRUPTED) from None
    if outcome.report is None and not outcome.failures:
        _say(problems, f"There is no Python file to review in {str(root)!r}.")
        hint = "Never looked into: " + ", ".join((*EXCLUDED, *tree.exclude))
        _say(problems, f"{hint}, virtual environments.")
        raise typer.Exit(MISUSED)
    is_written = True
    if outcome.report is not None:
        is_written = _write(outcome.report, outcome.statistics, root, output, problems)
        if as_json:
            about = {"tree": root.resolve().name, **outcome.statistics._asdict()}
            about |= outcome.report.model_dump(mode="json")
            typer.echo(json.dumps(about, indent=2))
        else:
            _present(outcome.report, outcome.statistics, root, output if is_written else None)
    if outcome.failures:
        _report_failures(outcome, problems)
        raise typer.Exit(FAILED)
    if not is_written:
        raise typer.Exit(MISUSED)


def _complaint(root: Path, output: Path) -> str:
    try:
        str(root).encode()
        if not root.exists():
            return f"There is no file or folder {str(root)!r}."
    except (UnicodeEncodeError, ValueError, OSError) as error:
        return f"{str(root)!a} cannot be read: {error}"
    if not root.is_dir() and (not root.is_file() or root.suffix not in (*PYTHON, "")):
        return f"{str(root)!r} is no Python file. Give a folder or a .py file."
    if not os.access(root, os.R_OK | os.X_OK if root.is_dir() else os.R_OK):
        return f"{str(root)!r} may not be read by this user."
    return _complaint_about_output(root, output)


def _complaint_about_output(root: Path, output: Path) -> str:
    """Say before the work what would keep the report from being written after it."""
    folder, option = output.parent, f"--output {str(output)!r}"
    if output.is_dir():
        return f"{option} is a folder. Name a file in it."
    if output.suffix in PYTHON or (output.exists() and output.samefile(root)):
        return f"{option} is source code, which the report would replace. Name another file."
    if not folder.is_dir():
        return f"{option}: there is no folder {str(folder)!r}. Make it first."
    if not os.access(output if output.exists() else folder, os.W_OK):
        return f"{option} may not be written by this user. Name another file."
    return ""


@contextmanager
def _quiet_parser() -> Generator[None]:
    """Keep the parser's warnings about the reviewed code off the terminal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def _write(
    report: Report, statistics: Statistics, root: Path, output: Path, problems: Console
) -> bool:
    text = write_markdown(report, root.resolve().name, statistics)
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        _say(problems, f"The report could not be written to {str(output)!r}: {error.strerror}.")
        return False
    return True


def _present(report: Report, statistics: Statistics, root: Path, output: Path | None) -> None:
    console = Console()
    base = root if root.is_dir() else root.parent
    if console.is_terminal:
        console.print()  # below the bars
    print_summary(report, console, lambda path: str(base / path))
    runs = f"{statistics.runs:,} runs in {statistics.seconds:.1f} s"
    where = "" if output is None else f" The whole report: {output}"
    _say(console, f"\n{runs}.{where}")


def _own_source() -> Path:
    own = Path(flock.__file__).parent
    return own.relative_to(Path.cwd()) if own.is_relative_to(Path.cwd()) else own


def _report_failures(outcome: Outcome, problems: Console) -> None:
    _say(problems, f"\n{counted(len(outcome.failures), 'run')} failed:")
    for letter in outcome.failures[:SHOWN_FAILURES]:
        about = letter.artifacts[0].payload.get("path", "") if letter.artifacts else ""
        where = f" on {about}" if about else ""
        what = " ".join(letter.error_message.split())
        _say(problems, f"  {letter.agent}{where}: {letter.error_type}: {what}")
    if (more := len(outcome.failures) - SHOWN_FAILURES) > 0:
        _say(problems, f"  ... and {more:,} more")
    _say(
        problems,
        "The report leaves these files out. Leave them out of the review with --exclude, or "
        "tell the developers of Flock what the message says.",
    )


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
