"""What a workflow is doing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class WorkflowStatus:
    """What a workflow is doing.

    Attributes:
        correlation_id: The workflow.
        state: `"running"` while work is open, `"waiting"` if only gates or questions to people
            hold something of it, `"idle"` if nothing does, `"unknown"` if the board knows
            nothing of it.
        running: Runs that go on.
        queued: Runs that wait for a slot or for their next attempt.
        waiting: Deliveries that wait in gates or for a person, held back or deferred.
        artifacts: Artifacts on the board.
    """

    correlation_id: str
    state: Literal["running", "waiting", "idle", "unknown"]
    running: int
    queued: int
    waiting: int
    artifacts: int
