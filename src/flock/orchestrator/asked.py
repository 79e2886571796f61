"""A question that is open, its answer on the way, and how it ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, cast
from uuid import UUID

from flock.clock import as_datetime
from flock.core.artifacts import Artifact
from flock.core.question import Question
from flock.errors import AlreadyAnswered, PublishError, QuestionClosed
from flock.orchestrator.scheduler import retrieve

if TYPE_CHECKING:
    from pydantic import BaseModel

    from flock.core.agent import Agent
    from flock.orchestrator.job import Job
    from flock.orchestrator.publisher import Publisher


class Answer:
    """What somebody answered, while it is being checked and committed.

    Attributes:
        artifacts: What was answered.
        by: Who answered.
        outcome: The outputs once they are on the board, or why they are not.
    """

    __slots__ = ("artifacts", "by", "outcome")

    def __init__(self, artifacts: Sequence[Artifact], by: str) -> None:
        self.artifacts = artifacts
        self.by = by
        self.outcome: asyncio.Future[list[Artifact]] = asyncio.get_running_loop().create_future()
        self.outcome.add_done_callback(retrieve)


class Asked:
    """A question that is open.

    Attributes:
        job: The run that asks.
        text: What it asks.
        at: When it was asked, in seconds since the Unix epoch.
        due: When it expires; 0 for never.
        answer: The answer that is being taken; None while it waits.
    """

    __slots__ = ("answer", "at", "due", "job", "text")

    def __init__(self, job: Job, text: str, at: float, due: float) -> None:
        self.job = job
        self.text = text
        self.at = at
        self.due = due
        self.answer: Answer | None = None

    @property
    def weight(self) -> int:
        """How many deliveries wait with it; a direct call counts as one."""
        return len(self.job.deliveries) or 1

    def shown(self) -> Question:
        """Return it as users see it."""
        job = self.job
        groups = job.lane.agent.output_groups
        return Question(
            job.id,
            job.agent,
            self.text,
            tuple(job.artifacts),
            job.correlation_id,
            as_datetime(self.at),
            as_datetime(self.due) if self.due else None,
            tuple(dict.fromkeys(spec.model for group in groups for spec in group.outputs)),
        )

    def data(self) -> bytes:
        """Return what is kept of it, as JSON, beside the record of its run."""
        subscription = self.job.subscription
        record = {
            "agent": self.job.agent,
            "subscription": None if subscription is None else subscription.index,
            "question": self.text,
            "asked_at": self.at,
            "due": self.due,
        }
        return json.dumps(record).encode()


class Closed(NamedTuple):
    """How a question ended.

    Attributes:
        why: What became of it, for an error.
        by: Who answered it, if anybody did.
    """

    why: str
    by: str | None = None

    def error(self) -> QuestionClosed:
        """Return what whoever answers it again is told."""
        if self.by is None:
            return QuestionClosed(self.why)
        error = AlreadyAnswered(self.why)
        error.answered_by = self.by
        return error


def answered_by(name: str, by: str) -> Closed:
    """Return how a question ended that somebody answered."""
    return Closed(f"question {name} was answered already, by {by!r}", by)


def key_of(wanted: UUID | str) -> int | None:
    """Return the number of a run whose id a user gave, or None if it is none."""
    if isinstance(wanted, UUID):
        return wanted.int
    try:
        return UUID(wanted).int
    except (ValueError, AttributeError, TypeError):
        return None


def drafted(publisher: Publisher, agent: Agent, given: object, tags: frozenset[str]) -> Artifact:
    """Make an artifact of a part of an answer, as it is now.

    Raises:
        PublishError: It cannot be one.
    """
    if isinstance(given, Mapping):
        given = _typed(agent, dict(cast("Mapping[str, object]", given)))
    elif isinstance(given, Artifact):
        msg = f"answer with models or dicts, not with the artifact {given!r}"
        raise PublishError(msg)
    return publisher.draft(given, tags=tags)


def _typed(agent: Agent, fields: dict[str, object]) -> BaseModel | dict[str, object]:
    """Return what a dict stands for among the types that an agent publishes.

    Raises:
        PublishError: It does not say which of them, or is not valid.
    """
    entries = {spec.entry.name: spec.entry for g in agent.output_groups for spec in g.outputs}
    if len(entries) == 1:
        (entry,) = entries.values()
        if "type" not in fields or "type" in entry.cls.model_fields:
            return entry.parse(fields)
    if "type" not in fields:
        names = ", ".join(sorted(entry.cls.__name__ for entry in entries.values()))
        msg = (
            f"agent {agent.name!r} publishes {names}; say which of them a dict is, by its 'type', "
            f"or answer with a model; this one has {sorted(map(str, fields))}"
        )
        raise PublishError(msg)
    named = [e for e in entries.values() if fields["type"] in {e.name, e.cls.__name__}]
    # a short name need only be unique among what the agent publishes
    return {**fields, "type": named[0].name} if len(named) == 1 else fields
