"""Whether code runs inside an agent or a hook, where waiting for idle would deadlock."""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flock.core.delivery import Run

Place = tuple[object, str, "Run | None"]
"""A board, what of it, and the run if it is one."""

place: ContextVar[Place | None] = ContextVar("flock_inside", default=None)


def enter(board: object, what: str, run: Run | None = None) -> Token[Place | None]:
    """Say that from here on this context is inside a run or hook of a board."""
    return place.set((board, what, run))


def leave(token: Token[Place | None]) -> None:
    """Say that it is no longer."""
    place.reset(token)


def where(board: object) -> str | None:
    """Return what of this board the caller is inside of, or None."""
    found = place.get()
    return found[1] if found is not None and found[0] is board else None


def current_run(board: object) -> Run | None:
    """Return the run of this board that the caller is inside of, or None."""
    found = place.get()
    return found[2] if found is not None and found[0] is board else None


def who(board: object) -> str:
    """Name the agent of this board that the caller is inside of, or the hook."""
    run = current_run(board)
    return where(board) or "nothing" if run is None else f"agent {run.agent!r}"
