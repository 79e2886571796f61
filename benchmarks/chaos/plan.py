"""What one process does until it is killed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from flock.store.sqlite.store import Durability

Kind: TypeAlias = Literal["gates", "steering"]
"""Which board it is."""


class Plan(NamedTuple):
    """What one process does.

    Attributes:
        folder: Where the board and the journal lie.
        seed: What the whole board is made from.
        kind: Which board it is.
        round: Which process on this board it is, from 1.
        first: The first order it publishes.
        last: One more than the last.
        durability: The store's.
        closes_after: Seconds after which it closes the board; None to finish everything first.
        grace: Seconds that closing may take.
        dies_at: At which point of a transaction it ends itself; see `dying`.
    """

    folder: Path
    seed: int
    kind: Kind
    round: int
    first: int
    last: int
    durability: Durability = "process"
    closes_after: float | None = None
    grace: float = 0.0
    dies_at: int | None = None

    @property
    def board(self) -> Path:
        """The board's file."""
        return self.folder / "board.db"

    @property
    def journal(self) -> Path:
        """The journal's file."""
        return self.folder / "journal"
