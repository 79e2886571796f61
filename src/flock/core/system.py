"""What the board itself publishes about failures, for agents to consume like anything else."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel

from flock.core.types import flock_type


@flock_type(name="flock.WorkflowError")
class WorkflowError(BaseModel):
    """A run failed for good.

    Attributes:
        failed_agent: Name of the agent.
        error_type: Name of the exception's class.
        error_message: What it said.
        timestamp: When it failed, in UTC.
        task_id: Id of the last attempt.
        run_id: Id of the run; `redrive` keeps it.
        attempt: How many attempts there were.
    """

    failed_agent: str
    error_type: str
    error_message: str
    timestamp: datetime
    task_id: str
    run_id: str
    attempt: int


@flock_type(name="flock.GroupExpired")
class GroupExpired(BaseModel):
    """A join's window closed before its group was complete.

    Attributes:
        agent: Name of the agent whose join it was.
        key: The key, as text.
        artifact_ids: What had come.
        expired_at: When the window closed, in UTC.
    """

    agent: str
    key: str
    artifact_ids: list[UUID]
    expired_at: datetime
