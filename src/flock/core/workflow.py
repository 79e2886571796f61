"""What a workflow is doing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

WorkflowState: TypeAlias = Literal[
    "running", "waiting", "paused", "idle", "cancelled", "timed_out", "unknown"
]


@dataclass(frozen=True, slots=True)
class WorkflowStatus:
    """What a workflow is doing.

    Attributes:
        correlation_id: The workflow.
        state: `"paused"` from `pause` to `resume`; else `"running"` while work is open,
            `"waiting"` if only gates or questions to people hold something of it. If nothing is
            open: `"cancelled"` or `"timed_out"` if it was ended and nothing new came since,
            `"idle"` if not, `"unknown"` if the board knows nothing of it.
        running: Runs that go on.
        queued: Runs that wait for a slot, for their next attempt, or to be resumed.
        waiting: Deliveries that wait in gates or for a person, held back or deferred.
        artifacts: Artifacts on the board.
        deadline: When what is open of it will be cancelled, in UTC; None without a deadline.
    """

    correlation_id: str
    state: WorkflowState
    running: int
    queued: int
    waiting: int
    artifacts: int
    deadline: datetime | None = None
