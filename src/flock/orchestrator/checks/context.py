"""What every check looks at, and how it tells what it found."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from flock.orchestrator.checks.finding import CheckFinding, Level
from flock.orchestrator.graph.flow import Flow
from flock.orchestrator.graph.reading import labels_of

if TYPE_CHECKING:
    from flock.core.agent import Agent


class Checking:
    """One check of a board.

    Attributes:
        model: The board's model.
        flow: What can come from whom.
        outside: Types that have to come from outside.
        either: Types that agents make, and of which the first comes from outside.
        findings: What was found so far.
    """

    def __init__(self, model: str | None, agents: Iterable[Agent]) -> None:
        self.model = model
        self.flow = Flow(agents)
        self.outside, self.either = self.flow.from_outside()
        self.findings: list[CheckFinding] = []
        self._labels = labels_of(self.flow.types.values())

    def label(self, name: str) -> str:
        """Return the short name of a type, for messages."""
        return self._labels.get(name, name)

    def labels(self, names: Iterable[str]) -> str:
        """Return the short names of types, for messages."""
        return listed(self.label(name) for name in names)

    def tell(
        self,
        level: Level,
        code: str,
        message: str,
        remedy: str,
        *,
        agents: Iterable[str] = (),
        types: Iterable[str] = (),
    ) -> None:
        """Add a finding."""
        found = CheckFinding(
            level,
            code,
            message,
            remedy,
            tuple(dict.fromkeys(agents)),
            tuple(dict.fromkeys(types)),
        )
        if found not in self.findings:
            self.findings.append(found)


def listed(words: Iterable[str], joint: str = "and") -> str:
    """Return words as a list in a sentence."""
    found = list(words)
    if len(found) < 2:
        return "".join(found)
    return f"{', '.join(found[:-1])} {joint} {found[-1]}"


def quoted(names: Iterable[str], joint: str = "and") -> str:
    """Return names as a list in a sentence, in quotes."""
    return listed((repr(name) for name in names), joint)
