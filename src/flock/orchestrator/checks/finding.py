"""One thing that a check found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

Level = Literal["error", "warning", "info"]
LEVELS: Final = ("error", "warning", "info")


@dataclass(frozen=True, slots=True)
class CheckFinding:
    """Something that `Flock.check` found about the declarations of a board.

    Attributes:
        level: `"error"`: it cannot work; `"warning"`: it is hardly meant so; `"info"`: it may be
            meant, and is worth knowing.
        code: What kind of finding it is: a word that stays the same, for scripts.
        message: What was found.
        remedy: What to do about it.
        agents: Names of the agents it is about.
        types: Stable names of the types it is about.
    """

    level: Level
    code: str
    message: str
    remedy: str
    agents: tuple[str, ...] = ()
    types: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-compatible data."""
        data: dict[str, Any] = asdict(self)
        return data | {"agents": list(self.agents), "types": list(self.types)}
