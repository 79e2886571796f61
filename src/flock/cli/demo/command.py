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
from flock import SQLiteBlackboardStore, StoreError
from flock.cli.demo.collector import EXCLUDED
from flock.cli.demo.progress import Tally, choose_display
from flock.cli.demo.readiness import ModelNotReady, make_ready
from flock.cli.demo.report import counted, write_markdown
from flock.cli.demo.session import OtherReview, Outcome, Session
from flock.cli.demo.table import print_summary
from flock.cli.demo.types import Report, SourceTree
from flock.errors import DeclarationError

FAILED, MISUSED, INTERRUPTED = 1, 2, 130
SHOWN_FAILURES = 10
MODEL = "local/qwen2.5-coder-1.5b"
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
    model: Annotated[
        str,
        typer.Option(
            help="The model that explains the worst findings and writes the verdict: "
            "`local/smollm2-135m`, `openai/gpt-4.1`, `test`, ...",
            metavar="MODEL",
        ),
    ] = MODEL,
    no_model: Annotated[
        bool, typer.Option("--no-model", help="Ask no model: a report without a verdict.")
    ] = False,
    store: Annotated[
        Path | None,
        typer.Option(
            help="Keep the review in this file. One that was interrupted, or whose process died, "
            "goes on where it was, and does nothing twice.",
            metavar="FILE",
        ),
    ] = None,
    progress: Annotated[bool, typer.Option(help="Show the progress.")] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON instead of tables.")
    ] = False,
) -> None:
    """Review a Python source tree with a flock of agents.

    Three reviewers read every file in parallel: one measures complexity, one looks for
    security problems, one checks the documentation. Their findings, with file and line,
    come as tables and as a report in Markdown. Then a language model explains the worst of
    them and writes the verdict; without one, the report comes without.

    Exits with 0 when all went well, whatever was found and whether or not the model answered;
    1 when a review failed; 2 when PATH or an option is of no use.
    """
    problems = Console(stderr=True)
    root = path if path is not None else _own_source()
    if complaint := _complaint(root, output) or _complaint_about_store(store, output):
        _say(problems, complaint)
        raise typer.Exit(MISUSED)
    thinker = None if no_model else _ready(model, problems, wanted=progress)
    tree = SourceTree(root=str(root), exclude=tuple(exclude or ()), max_files=max_files)
    tally = Tally()
    display = choose_display(tally, problems, wanted=progress)
    board = None if store is None else SQLiteBlackboardStore(store)
    session = Session(tree, thinker, tally, display, board)
    _carry_out(session, tally, store, problems)
    outcome = session.outcome
    assert outcome is not None
    if outcome.report is None and not outcome.failures:
        _say(problems, f"There is no Python file to review in {str(root)!r}.")
        hint = "Never looked into: " + ", ".join((*EXCLUDED, *tree.exclude))
        _say(problems, f"{hint}, virtual environments.")
        raise typer.Exit(MISUSED)
    is_written = outcome.report is None or _deliver(
        outcome.report, outcome, root, output, problems, as_json=as_json
    )
    for part in outcome.thoughts.missing if outcome.thoughts is not None else ():
        _say(problems, f"The report lacks {part}")
    if outcome.failures:
        _report_failures(outcome, problems)
    raise typer.Exit(_code(outcome, is_written=is_written))


def _carry_out(session: Session, tally: Tally, store: Path | None, problems: Console) -> None:
    """Review the tree; leave the program when it was interrupted or the board is of no use."""
    try:
        with _quiet_parser():
            asyncio.run(session.run())
    except OtherReview as other:
        tree = other.tree
        with_options = " with other options" if tree.root == session.tree.root else ""
        what = f"holds a review of {tree.root!r}{with_options}; name another file for this one."
        _say(problems, f"--store {str(store)!r} {what}")
        raise typer.Exit(MISUSED) from None
    except StoreError as error:
        _say(problems, f"--store {str(store)!r}: {error}")
        raise typer.Exit(MISUSED) from None
    except KeyboardInterrupt:
        if session.outcome is None:
            rest = "" if store is None else f" It goes on with --store {str(store)!r}."
            _say(problems, f"Interrupted: {tally.sentence()}. No report was written.{rest}")
            raise typer.Exit(INTERRUPTED) from None


def _complaint_about_store(store: Path | None, output: Path) -> str:
    if store is None:
        return ""
    option = f"--store {str(store)!r}"
    if store.is_dir():
        return f"{option} is a folder. Name a file in it."
    if store.resolve() == output.resolve():
        return f"{option} is where the report goes. Name another file."
    if not store.parent.is_dir():
        return f"{option}: there is no folder {str(store.parent)!r}. Make it first."
    return ""


def _code(outcome: Outcome, *, is_written: bool) -> int:
    if outcome.is_interrupted:
        return INTERRUPTED
    if outcome.failures:
        return FAILED
    return 0 if is_written else MISUSED


def _deliver(
    report: Report,
    outcome: Outcome,
    root: Path,
    output: Path,
    problems: Console,
    *,
    as_json: bool,
) -> bool:
    """Write the report and show it; return whether it could be written."""
    is_written = _write(report, outcome, root, output, problems)
    if as_json:
        typer.echo(json.dumps(_as_data(report, outcome, root), indent=2))
    else:
        _present(report, outcome, root, output if is_written else None)
    return is_written


def _ready(model: str, problems: Console, *, wanted: bool) -> str | None:
    """Return the model if it can be asked, or say why it cannot."""
    try:
        make_ready(model, problems, shows_progress=wanted)
    except ModelNotReady as error:
        _say(problems, f"Goes on without a verdict: {error}")
        return None
    except DeclarationError as error:
        _say(problems, f"--model {model!r}: {error}")
        raise typer.Exit(MISUSED) from None
    except KeyboardInterrupt:
        _say(
            problems,
            "Interrupted; what has been pulled is kept. `flock demo --no-model` needs none of it.",
        )
        raise typer.Exit(INTERRUPTED) from None
    return model


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


def _write(report: Report, outcome: Outcome, root: Path, output: Path, problems: Console) -> bool:
    text = write_markdown(report, root.resolve().name, outcome.statistics, outcome.thoughts)
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        _say(problems, f"The report could not be written to {str(output)!r}: {error.strerror}.")
        return False
    return True


def _as_data(report: Report, outcome: Outcome, root: Path) -> dict[str, object]:
    about = {"tree": root.resolve().name, **outcome.statistics._asdict()}
    if outcome.thoughts is not None:
        about["model"] = outcome.thoughts.as_data()
    return about | report.model_dump(mode="json")


def _present(report: Report, outcome: Outcome, root: Path, output: Path | None) -> None:
    console = Console()
    base = root if root.is_dir() else root.parent
    if console.is_terminal:
        console.print()  # below the bars
    thoughts, statistics = outcome.thoughts, outcome.statistics
    print_summary(report, console, lambda path: str(base / path), thoughts)
    parts = [f"{statistics.runs:,} runs in {statistics.seconds:.1f} s."]
    parts.append("" if thoughts is None else thoughts.sentence())
    parts.append("" if output is None else f"The whole report: {output}")
    _say(console, "\n" + " ".join(filter(None, parts)))


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
