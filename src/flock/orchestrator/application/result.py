"""What came of a request, and what of it a principal may read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NoReturn, Self, TypeVar

from pydantic import BaseModel

from flock.core.artifacts import Artifact
from flock.core.types import registry
from flock.core.usage import Usage
from flock.core.visibility import AgentIdentity
from flock.errors import NotFound, RequestCancelled, RequestFailed, RequestTimeout
from flock.store.protocol import DeadLetter

M = TypeVar("M", bound=BaseModel)

Status = Literal["succeeded", "failed", "cancelled", "timed_out", "waiting"]

_ERRORS: Final[Mapping[str, type[RequestFailed]]] = {
    "cancelled": RequestCancelled,
    "timed_out": RequestTimeout,
}


@dataclass(frozen=True, slots=True)
class RequestFailure:
    """A run of a request's workflow that failed for good, a dead letter on the board.

    Attributes:
        agent: Name of the agent.
        error_type: Name of the error's class.
        message: What the error said; None for a principal who may not read all of the run's
            inputs, which it may quote.
        run_id: The run.
        dead_letter_id: What `Flock.redrive` takes, on a board that lasts.
    """

    agent: str
    error_type: str
    message: str | None
    run_id: str
    dead_letter_id: str

    def __str__(self) -> str:
        what = f"agent {self.agent!r} failed with {self.error_type}"
        return what if self.message is None else f"{what}: {self.message}"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a request.

    Attributes:
        id: The request's id, as it was given or made.
        status: `"succeeded"`, `"failed"`, `"cancelled"` or `"timed_out"`; or `"waiting"` if it
            has not succeeded yet and waits for input, such as a person's answer.
        correlation_id: Its workflow on the board.
        outputs: Artifacts of the application's output types that the principal may read, in
            board order; what a stream yielded is not kept in its result again.
        error: Why it did not succeed; None if it did.
        failures: Runs that failed for good, also of a request that succeeded all the same.
        waiting: Deliveries that wait in gates, for people or for time.
        usage: What model calls took, by model string.
        elapsed: Seconds from the call to its end; of a result that was recorded, from its input
            to the last output.
    """

    id: str
    status: Status
    correlation_id: str
    outputs: tuple[Artifact, ...] = ()
    error: str | None = None
    failures: tuple[RequestFailure, ...] = ()
    waiting: int = 0
    usage: Mapping[str, Usage] = field(default_factory=dict[str, Usage])
    elapsed: float = 0.0

    def of(self, model: type[M]) -> list[M]:
        """Return the outputs of a type as models, in board order."""
        name = registry.entry(model).name
        return [output.as_model(model) for output in self.outputs if output.type == name]

    def one(self, model: type[M]) -> M:
        """Return the only output of a type.

        Raises:
            NotFound: There is none, or there are several.
        """
        found = self.of(model)
        if len(found) == 1:
            return found[0]
        there = ", ".join(sorted({repr(output.type) for output in self.outputs})) or "nothing"
        name = registry.entry(model).name
        many = (
            f"{len(found)} outputs of type {name!r}, not one"
            if found
            else (f"no output of type {name!r}")
        )
        msg = (
            f"request {self.id!r} has {many}; its status is {self.status!r}, its outputs are of "
            f"{there}"
        )
        if self.error is not None:
            msg += f"; {self.error}"
        raise NotFound(msg)

    def raise_for_status(self) -> Self:
        """Return the result itself if the request succeeded.

        Raises:
            RequestTimeout: It timed out.
            RequestCancelled: It was cancelled.
            RequestFailed: It failed, or waits for input.
        """
        if self.status != "succeeded":
            self._raise()
        return self

    def _raise(self) -> NoReturn:
        kind = _ERRORS.get(self.status, RequestFailed)
        state = "waits for input" if self.status == "waiting" else self.status.replace("_", " ")
        msg = f"request {self.id!r} {state}: {self.error}"
        raise kind(msg)


@dataclass(frozen=True, slots=True)
class Record:
    """What came of a request, whoever may read it.

    Attributes:
        id: The request's id.
        status: What became of it.
        correlation_id: Its workflow.
        reason: Why it did not succeed, if not for a run that failed.
        letters: The runs that failed for good.
        waiting: Deliveries that wait.
        usage: What model calls took.
        elapsed: Seconds it took.
    """

    id: str
    status: Status
    correlation_id: str
    reason: str | None = None
    letters: tuple[DeadLetter, ...] = ()
    waiting: int = 0
    usage: Mapping[str, Usage] = field(default_factory=dict[str, Usage])
    elapsed: float = 0.0

    def seen_by(
        self, principal: AgentIdentity | None, outputs: tuple[Artifact, ...], now: float
    ) -> Result:
        """Return what a principal may read of it at a time, in seconds since the epoch."""
        failures = tuple(_failure(letter, principal, now) for letter in self.letters)
        error = None
        if self.status != "succeeded":
            told = self.status == "failed" and bool(failures)
            error = str(failures[0]) if told else self.reason
        return Result(
            id=self.id,
            status=self.status,
            correlation_id=self.correlation_id,
            outputs=tuple(output for output in outputs if may_read(principal, output, now)),
            error=error,
            failures=failures,
            waiting=self.waiting,
            usage=self.usage,
            elapsed=self.elapsed,
        )


def may_read(principal: AgentIdentity | None, artifact: Artifact, now: float) -> bool:
    """Return whether a principal may read an artifact at a time, in seconds since the epoch.

    Without a principal it is the host itself that asks, who may. That an agent can always read
    what it produced gives nothing to a principal of the same name.
    """
    if principal is None:
        return True
    delay = artifact.visibility.delay_for(principal)
    return delay is not None and artifact.created + delay <= now


def _failure(letter: DeadLetter, principal: AgentIdentity | None, now: float) -> RequestFailure:
    seen = (*letter.artifacts, *letter.delivered)
    is_open = all(may_read(principal, artifact, now) for artifact in seen)
    return RequestFailure(
        agent=letter.agent,
        error_type=letter.error_type,
        message=letter.error_message if is_open else None,
        run_id=letter.run_id,
        dead_letter_id=str(letter.id),
    )
