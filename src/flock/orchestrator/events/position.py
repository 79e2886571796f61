"""Places on a board between any two lasting events, which a listener can come back to."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from flock.errors import DeclarationError
from flock.store.protocol import Mark

_TEXT: Final = re.compile(r"(\d{1,18})(?:\.(\d{1,18})\.(\d{1,18}))?")


class Position(NamedTuple):
    """A place in what happened on a board: after some event, and before the next.

    Positions of one board are in board order. `str(position)` is a short text to keep, which
    `Position.parse` reads; `Flock.events(after=)` takes either, and the `seq` of an artifact.

    What is published stands at `(seq, 0, 0)`; a run that succeeded at `(a, number, 0)`, `a` being
    the newest `seq` once it was committed; what is logged at `(a, r, number)`, with the newest
    `seq` and run by then. So each of them has one place, which follows from its own record, and
    the places are in the order in which all of it was committed.

    Attributes:
        artifacts: The `seq` of the newest artifact before it; 0 before the first.
        runs: The number of the newest run before it, or 0.
        logged: The number of the newest entry of the log before it, or 0.
    """

    artifacts: int = 0
    runs: int = 0
    logged: int = 0

    def __str__(self) -> str:
        return f"{self.artifacts}.{self.runs}.{self.logged}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Return the position that a text names, as `str` wrote it; or the `seq` of an artifact.

        Raises:
            DeclarationError: It names none.
        """
        found = _TEXT.fullmatch(text) if text.isascii() else None
        if found is None:
            msg = (
                f"a position is a text such as '12.3.4', as str(event.position) gives it, or the "
                f"seq of an artifact, not {text!r}"
            )
            raise DeclarationError(msg)
        artifacts, runs, logged = found.groups(default="0")
        return cls(int(artifacts), int(runs), int(logged))

    @classmethod
    def at(cls, mark: Mark) -> Position:
        """Return the place after all that a mark counts."""
        return cls(*mark)


START: Final = Position()
"""Before everything."""


def position_of(after: object) -> Position:
    """Return the position that a user gave: itself, its text, or the `seq` of an artifact.

    Raises:
        DeclarationError: It is none of these.
    """
    if isinstance(after, Position):
        return after
    if isinstance(after, str):
        return Position.parse(after)
    if isinstance(after, int) and not isinstance(after, bool) and after >= 0:
        return Position(after)
    msg = (
        f"events: after= takes a Position, its text, or the seq of an artifact, not {after!r}; "
        "an event has one as event.position"
    )
    raise DeclarationError(msg)
