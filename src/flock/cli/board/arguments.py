"""What the commands take: boards, times and ids, and how they tell what is wrong."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final
from uuid import UUID

import typer
from rich.console import Console

from flock.clock import SystemClock, as_datetime
from flock.errors import DeclarationError, FlockError
from flock.store.sqlite.inspection import Inspection
from flock.store.sqlite.queries import Condition, conditions
from flock.store.sqlite.store import SQLiteBlackboardStore
from flock.store.urls import store_from

MISUSED, INTERRUPTED = 2, 130
KINDS: Final = ("public", "private", "labelled", "tenant", "after")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SPAN: Final = re.compile(r"(\d{1,9})([smhdw])")

BoardArgument = Annotated[
    str,
    typer.Argument(metavar="BOARD", help="The board's file, or its URL: `sqlite:///board.db`."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=0, help="Show at most so many.")]
Offset = Annotated[int, typer.Option(min=0, help="Leave out so many first.")]
Oldest = Annotated[
    bool, typer.Option("--oldest/--newest", help="Begin with the oldest, or with the newest.")
]
Workflow = Annotated[
    str | None, typer.Option("--workflow", "-w", metavar="ID", help="Only of this workflow.")
]


def board_store(board: str, *, read_only: bool = True) -> SQLiteBlackboardStore:
    """Return the store that a path or URL names.

    Raises:
        DeclarationError: It names none in a file.
    """
    if "://" not in board and not board.startswith("memory:"):
        return SQLiteBlackboardStore(board, read_only=read_only)
    store = store_from(board)
    if not isinstance(store, SQLiteBlackboardStore):
        msg = f"{board!r} lies in the memory of a program; give the file of a board"
        raise DeclarationError(msg)
    durability = store.durability
    return SQLiteBlackboardStore(store.path, durability=durability, read_only=read_only)


def board_path(board: str) -> Path:
    """Return the file that a path or URL names.

    Raises:
        DeclarationError: It names none.
    """
    return board_store(board).path


def moment_of(text: str, option: str) -> datetime:
    """Return a time that a user gave: a date, a time (UTC unless said), or how long ago it was.

    Raises:
        DeclarationError: It is none of these.
    """
    if _SPAN.fullmatch(text):
        return ago(text, option)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        msg = (
            f"{option} takes a date, a time, or how long ago it was, such as 2026-01-31, "
            f"2026-01-31T12:00:00+01:00 or 36h, not {text!r}"
        )
        raise DeclarationError(msg) from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def ago(text: str, option: str) -> datetime:
    """Return the time that lies so long before now.

    Raises:
        DeclarationError: It is no span of time, or longer than there is a past.
    """
    found = _SPAN.fullmatch(text)
    if found is None:
        msg = f"{option} takes a span such as 30d, 36h, 90m, 45s or 2w, not {text!r}"
        raise DeclarationError(msg)
    try:
        span = timedelta(**{_UNITS[found[2]]: int(found[1])})
        return as_datetime(SystemClock().time()) - span
    except OverflowError:
        msg = f"{option} {text!r} lies before the beginning of time"
        raise DeclarationError(msg) from None


def identity_of(text: str, what: str) -> UUID:
    """Return an id that a user gave.

    Raises:
        DeclarationError: It is none.
    """
    try:
        return UUID(text)
    except ValueError:
        msg = f"{what} has an id such as 0197a6d2-7c1e-7b52-8f0a-6f1d2c3b4a59, not {text!r}"
        raise DeclarationError(msg) from None


def condition_of(
    board: Inspection,
    *,
    types: list[str],
    producers: list[str],
    workflow: str | None,
    tags: list[str],
    visibility: list[str],
    since: str | None,
    until: str | None,
) -> Condition:
    """Return a user's filters as a condition; short type names stand for all that end so.

    Raises:
        DeclarationError: A time or a kind of visibility is none.
    """
    kinds = {kind.lower() for kind in visibility}
    if not kinds <= set(KINDS):
        unknown = ", ".join(map(repr, sorted(kinds - set(KINDS))))
        msg = f"--visibility takes {', '.join(KINDS)}, not {unknown}"
        raise DeclarationError(msg)
    named: set[str] | None = None
    if types:
        known = board.counts("type")
        named = {name for name in known for t in types if name == t or name.endswith(f".{t}")}
    return conditions(
        types=named,
        producers=set(producers) or None,
        workflow=workflow,
        tags=set(tags) or None,
        kinds=kinds or None,
        start=None if since is None else moment_of(since, "--since").timestamp(),
        end=None if until is None else moment_of(until, "--until").timestamp(),
    )


@contextmanager
def explained() -> Generator[None]:
    """Turn errors into their message and an exit code."""
    try:
        yield
    except FlockError as error:
        say(str(error))
        raise typer.Exit(MISUSED) from None
    except BrokenPipeError:
        raise
    except OSError as error:
        say(f"{error.filename or 'a file'!r} cannot be used: {error.strerror or error}")
        raise typer.Exit(MISUSED) from None
    except KeyboardInterrupt:
        say("Interrupted.")
        raise typer.Exit(INTERRUPTED) from None


def say(text: str) -> None:
    """Tell people something beside the output."""
    Console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)
