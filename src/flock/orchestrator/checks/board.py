"""All checks of a board's declarations."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from flock.errors import DeclarationError
from flock.orchestrator.checks.context import Checking
from flock.orchestrator.checks.fields import check_fields
from flock.orchestrator.checks.finding import LEVELS, CheckFinding
from flock.orchestrator.checks.sources import (
    check_agents,
    check_ends,
    check_listening,
    check_meetings,
    check_visibility,
)
from flock.orchestrator.checks.work import (
    check_doubles,
    check_loops,
    check_shadows,
    check_waiting,
)
from flock.orchestrator.graph.declared import declared

if TYPE_CHECKING:
    from flock.core.agent import Agent

_CHECKS: Final[tuple[Callable[[Checking], None], ...]] = (
    check_agents,
    check_fields,
    check_listening,
    check_visibility,
    check_meetings,
    check_loops,
    check_shadows,
    check_doubles,
    check_waiting,
    check_ends,
)


def check_board(model: str | None, agents: Iterable[Agent]) -> list[CheckFinding]:
    """Return what was found about declarations, errors first, each level in a fixed order.

    Args:
        model: The board's model.
        agents: Its agents, which stay as they are.
    """
    refused: list[tuple[Agent, DeclarationError]] = []
    copies = declared(agents, lambda agent, error: refused.append((agent, error)))
    checking = Checking(model, copies)
    for agent, error in refused:
        checking.tell(
            "error",
            "contradiction",
            str(error),
            "change the declaration as the message says; the board does not open before",
            agents=[agent.name],
        )
    for check in _CHECKS:
        check(checking)
    return sorted(checking.findings, key=lambda finding: LEVELS.index(finding.level))
