"""What the board asks of a store: one commit at a time, and queries."""

from __future__ import annotations

import builtins
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypedDict, TypeVar, Unpack
from uuid import UUID

from pydantic import BaseModel

from flock.clock import as_datetime
from flock.core.artifacts import Artifact
from flock.core.delivery import Delivery, Run, TickRun
from flock.core.filters import FilterConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from datetime import datetime

    from flock.core.subscription import Subscription
    from flock.core.usage import Charge, Spent

M = TypeVar("M", bound=BaseModel)


class Commit:
    """What becomes true at once, or not at all.

    Attributes:
        artifacts: What is put on the board, in this order; the store numbers them.
        opened: Deliveries that are open from now on.
        closed: Deliveries that are used up, or given up.
        run: The run whose success this is; its deliveries' artifacts are consumed by it.
        at: Seconds since the Unix epoch.
        buried: A dead letter to keep.
        redriven: A dead letter to take off the list.
        charges: What was spent.
        progress: Runs that go on, whose state is to last: how often they were begun, when they
            are due, how many outputs they emitted, what their steps returned.
        step: What a step of a run returned.
        maker: The run that makes the artifacts and goes on; None for one that ends, or from
            outside.
        idempotency_key: The key under which the one artifact was published, if any.
        states: What is kept of schedules, workflows and the like, or forgotten.
        ended: Runs of ticks that are given up; others end with their deliveries.
        logged: What happened that nothing else on the board tells of.
        then: Called by the store on its event loop once the commit is true, in board order, and
            before whoever awaits it goes on. It must not raise.
        mark: How far the board was with it; set by the store, if there is a `then`.
        is_done: Whether it is true; set by the store.
    """

    # what few commits have is left to the class: one is made for each publish and each run
    buried: DeadLetter | None = None
    redriven: UUID | None = None
    charges: Sequence[Charge] = ()
    progress: Sequence[Run] = ()
    step: Step | None = None
    maker: Run | None = None
    idempotency_key: str | None = None
    states: Sequence[State] = ()
    ended: Sequence[Run] = ()
    logged: Sequence[LogEntry] = ()
    then: Callable[[], None] | None = None
    mark: Mark | None = None
    is_done: bool = False

    def __init__(
        self,
        artifacts: Sequence[Artifact] = (),
        opened: Sequence[Delivery] = (),
        closed: Sequence[Delivery] = (),
        run: Run | None = None,
        at: float = 0.0,
        **rest: Unpack[_Rest],
    ) -> None:
        self.artifacts = artifacts
        self.opened = opened
        self.closed = closed
        self.run = run
        self.at = at
        if rest:
            self.__dict__.update(rest)


class _Rest(TypedDict, total=False):
    buried: DeadLetter | None
    redriven: UUID | None
    charges: Sequence[Charge]
    progress: Sequence[Run]
    step: Step | None
    maker: Run | None
    idempotency_key: str | None
    states: Sequence[State]
    ended: Sequence[Run]
    logged: Sequence[LogEntry]
    then: Callable[[], None] | None


class Mark(NamedTuple):
    """How far a board is: a place between two of its commits.

    Attributes:
        artifacts: The `seq` of the newest artifact; 0 before the first.
        runs: The number of the newest run that succeeded; 0 before the first.
        logged: The number of the newest entry of the log; 0 before the first.
    """

    artifacts: int = 0
    runs: int = 0
    logged: int = 0


class State(NamedTuple):
    """Something small that a board has to know after a restart, beside its artifacts and runs.

    Attributes:
        kind: What it is of, such as `"schedule"`.
        key: Names it within its kind.
        data: JSON; None forgets it.
    """

    kind: str
    key: str
    data: bytes | None


class LogEntry(NamedTuple):
    """Something that happened, and that neither artifacts nor runs tell of.

    Attributes:
        kind: What happened, such as `"run_failed"`.
        at: When, in seconds since the Unix epoch.
        correlation_id: Its workflow; None for the whole board.
        data: More about it, as JSON.
        number: Its place among the entries, from 1; set by the store.
        mark: How far the board was with it; set by the store.
    """

    kind: str
    at: float
    correlation_id: str | None
    data: bytes
    number: int = 0
    mark: Mark = Mark()


class Step(NamedTuple):
    """What a step of a run returned, encoded.

    Attributes:
        run_key: The run's id as a number of 128 bits.
        name: Names the step within the run.
        data: JSON.
    """

    run_key: int
    name: str
    data: bytes


@dataclass(frozen=True, slots=True, repr=False)
class DeadLetter:
    """A run that failed for good, with the inputs it could not use.

    Attributes:
        id: Its id; `Flock.redrive` takes it.
        run: The run, to be driven again under the same id.
        error_type: Name of the error's class.
        error_message: What the error said.
        created: Seconds since the Unix epoch.
        index: Which of the agent's subscriptions gathered the run, from 0; None if it was
            called directly.
        delivered: What was delivered to the subscription. A hook may have chosen other inputs.
        position: The newest `seq` on the board once it was kept; set by the store.
    """

    id: UUID
    run: Run = field(repr=False)
    error_type: str
    error_message: str
    created: float
    index: int | None = None
    delivered: tuple[Artifact, ...] = ()
    position: int = 0

    def __repr__(self) -> str:
        inputs = ", ".join(artifact.type for artifact in self.run.artifacts)
        return (
            f"DeadLetter({self.agent!r} over {inputs}: {self.error_type}: "
            f"{self.error_message[:200]!r}, attempt={self.attempt}, id={str(self.id)!r})"
        )

    @property
    def agent(self) -> str:
        """Name of the agent that failed."""
        return self.run.agent

    @property
    def run_id(self) -> str:
        """Id of the run, which `redrive` keeps."""
        return self.run.id

    @property
    def correlation_id(self) -> str:
        """The workflow of the run."""
        return self.run.correlation_id

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """The inputs."""
        return tuple(self.run.artifacts)

    @property
    def attempt(self) -> int:
        """How many attempts there were."""
        return self.run.attempt

    @property
    def created_at(self) -> datetime:
        """When the run was given up, in UTC."""
        return as_datetime(self.created)


@dataclass(frozen=True, slots=True)
class ConsumptionRecord:
    """That a run used an artifact.

    Attributes:
        artifact_id: The artifact.
        consumer: Name of the agent.
        run_id: The run.
        correlation_id: The run's workflow.
        consumed_at: When the run was committed, in UTC.
    """

    artifact_id: UUID
    consumer: str
    run_id: str
    correlation_id: str
    consumed_at: datetime


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What a run that succeeded used and made, as the board kept it.

    Attributes:
        number: Its place among the runs of the board, in the order they were committed.
        run_id: Its id, the same for every attempt.
        agent: Name of the agent.
        correlation_id: Its workflow.
        inputs: Ids of the inputs in the order the agent got them, also of those that were
            deleted or never lay on the board; empty for `invoke`, whose input is not stored.
        outputs: Ids of the outputs that are on the board, in board order.
        made: How many outputs it put on the board, deleted ones included.
        attempt: Which attempt succeeded, from 1.
        seen: The newest `seq` on the board when that attempt began.
        position: The newest `seq` on the board once its end was committed.
        began: When that attempt began, in seconds since the Unix epoch.
        committed: When its end was committed, in seconds since the Unix epoch.
    """

    number: int
    run_id: str
    agent: str
    correlation_id: str
    inputs: tuple[UUID, ...]
    outputs: tuple[UUID, ...]
    made: int
    attempt: int
    seen: int
    position: int
    began: float
    committed: float

    @property
    def began_at(self) -> datetime:
        """When its last attempt began, in UTC."""
        return as_datetime(self.began)

    @property
    def committed_at(self) -> datetime:
        """When its end was committed, in UTC."""
        return as_datetime(self.committed)


@dataclass(frozen=True, slots=True)
class ArtifactSummary:
    """How many artifacts there are, and of what kinds.

    Attributes:
        total: How many there are.
        by_type: Counts by stable type name.
        by_producer: Counts by producer.
        by_visibility: Counts by kind of visibility.
        by_tag: Counts by tag.
        earliest: When the first was published; None without any.
        latest: When the last was published; None without any.
    """

    total: int
    by_type: Mapping[str, int]
    by_producer: Mapping[str, int]
    by_visibility: Mapping[str, int]
    by_tag: Mapping[str, int]
    earliest: datetime | None
    latest: datetime | None


@dataclass(frozen=True, slots=True)
class OpenWork:
    """What a board that opens goes on with.

    Attributes:
        deliveries: What is open, in board order; those that a run was begun with have it.
        arrivals: How many artifacts had come to each join, by agent and position of the
            subscription, where that matters.
        runs: Runs of ticks that were begun and have not ended, whoever is declared here.
    """

    deliveries: Sequence[Delivery]
    arrivals: Mapping[tuple[str, int], int]
    runs: Sequence[TickRun] = ()


def locked_by(store: object, holder: str) -> str:
    """Return what a store says, as a `StoreLocked`, to whoever opens it beside its holder."""
    return (
        f"{store!r} is open already, by {holder}; shut that down first (leave its `async with`, "
        "or await shutdown()), or use another store"
    )


def require_count(count: object) -> None:
    """Refuse what `keep_newest` cannot keep.

    Raises:
        ValueError: It is no number from 0.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        msg = f"keep_newest takes how many artifacts of each workflow to keep, not {count!r}"
        raise ValueError(msg)


class Observer(Protocol):
    """Is told by a store, on its event loop, of what changes on the board. It never raises."""

    def committed(self, artifacts: Sequence[Artifact]) -> None:
        """Take note of what one commit put on the board, numbered: one artifact at least."""
        ...

    def deleted(self) -> None:
        """Take note that artifacts were deleted, whichever."""
        ...


class BlackboardStore(Protocol):
    """Keeps artifacts, deliveries and dead letters.

    Order is board order. Nothing that a store returns changes later, and changing it
    changes nothing on the board. Texts are what UTF-8 can carry: what holds a lone surrogate is
    published by nobody, and is found under nothing.

    `flock.testing.StoreContract` is what all of this means, as tests.
    """

    @property
    def is_durable(self) -> bool:
        """Whether it outlives the process, so that the progress of runs has to be kept."""
        ...

    @property
    def mark(self) -> Mark:
        """How far the board is."""
        ...

    @property
    def position(self) -> int:
        """The `seq` of the newest artifact of all, deleted ones included; 0 before the first."""
        ...

    async def open(self, holder: str = "a program") -> None:
        """Take the store, for one holder at a time, and make it ready.

        Whose event loop does not run any more holds nothing: what it left open is taken over.
        One that raises, or is cancelled, leaves nothing open.

        Args:
            holder: Who takes it, such as `"board 'orders'"`, for the error of the next one.

        Raises:
            StoreLocked: It is open already; names its holder.
        """
        ...

    async def close(self) -> None:
        """Let go of files, connections and threads; the store can be opened again.

        What it holds can still be read where that needs none of them. A second call does
        nothing.
        """
        ...

    def commit(self, commit: Commit) -> Awaitable[None]:
        """Make all of it true at once and number the artifacts.

        It begins when it is called, and is done when it was awaited. A commit in progress is
        finished or undone even when its caller is cancelled: the cancellation is raised only
        then, and `commit.is_done` says which it was.

        Raises:
            StoreError: It could not be done, and nothing of it was.
        """
        ...

    def note(self, what: Run | Delivery) -> None:
        """Write down soon how far a run is, or when a delivery came to its gate.

        It is in order with the commits, and nobody waits for it. What of it is lost when the
        process dies is done again.
        """
        ...

    async def open_work(
        self, subscription_of: Callable[[str, int], Subscription | None]
    ) -> OpenWork:
        """Return what is still open, for a board that opens.

        Args:
            subscription_of: The subscription of an agent's name and its position among the
                agent's, or None if it is not declared here: what is open for it stays so.
        """
        ...

    async def get(self, artifact_id: UUID | str) -> Artifact | None:
        """Return an artifact, or None if there is none of that id."""
        ...

    async def published_as(self, idempotency_key: str) -> Artifact | None:
        """Return what was published under a key, or None if nothing on the board was."""
        ...

    async def list(self) -> builtins.list[Artifact]:
        """Return all artifacts, oldest first."""
        ...

    async def list_by_type(self, model: type[BaseModel] | str) -> builtins.list[Artifact]:
        """Return all artifacts of a type (a class or a name), oldest first."""
        ...

    async def get_by_type(
        self, model: type[M], correlation_id: str | None = None
    ) -> builtins.list[M]:
        """Return all models of a type, of one workflow if it is named, oldest first."""
        ...

    async def query_artifacts(
        self, where: FilterConfig | None = None, limit: int = 100, offset: int = 0
    ) -> tuple[builtins.list[Artifact], int]:
        """Return a page of artifacts, oldest first, and how many there are in all."""
        ...

    async def count(self, where: FilterConfig | None = None, *, until: int | None = None) -> int:
        """Return how many artifacts there are, of those with `seq <= until`.

        It loads none. What is committed meanwhile does not change the answer for a position
        that the board has reached.
        """
        ...

    async def latest(
        self, where: FilterConfig | None = None, *, limit: int, before: int | None = None
    ) -> builtins.list[Artifact]:
        """Return the newest artifacts, newest first, of those with `seq < before`."""
        ...

    async def earliest(
        self, where: FilterConfig | None = None, *, limit: int, after: int = 0
    ) -> builtins.list[Artifact]:
        """Return the oldest artifacts, oldest first, of those with `seq > after`."""
        ...

    async def consumptions(self, artifact_id: UUID | str) -> builtins.list[ConsumptionRecord]:
        """Return which runs used an artifact, in the order they committed."""
        ...

    async def runs(
        self, correlation_id: str | None, *, limit: int = 100, after: int = 0
    ) -> builtins.list[RunRecord]:
        """Return the runs of a workflow that succeeded, in the order they were committed.

        A run is forgotten once all that it used was deleted.

        Args:
            correlation_id: The workflow; None for all of them.
            limit: How many at the most.
            after: Only those whose `number` is larger.
        """
        ...

    async def states(self, kind: str) -> dict[str, bytes]:
        """Return what is kept of a kind, by key, as it was committed last."""
        ...

    async def state(self, kind: str, key: str) -> bytes | None:
        """Return what is kept of a kind under one key, or None if nothing is."""
        ...

    async def log(
        self, correlation_id: str | None = None, *, limit: int = 100, after: int = 0
    ) -> builtins.list[LogEntry]:
        """Return what was logged, oldest first.

        Entries are deleted by `delete_before`, as artifacts are.

        Args:
            correlation_id: Only of this workflow; of the whole board unless said.
            limit: How many at the most.
            after: Only those whose `number` is larger.
        """
        ...

    async def summary(self, where: FilterConfig | None = None) -> ArtifactSummary:
        """Return how many artifacts there are, and of what kinds."""
        ...

    async def spent(
        self,
        *,
        correlation_id: str | None = None,
        agent: str | None = None,
        run_id: str | None = None,
    ) -> Spent:
        """Return what was spent: in a workflow, by an agent, in a run, or in all.

        What was spent stays known when its artifacts are deleted. Several arguments narrow it.
        """
        ...

    async def dead_letters(self, correlation_id: str | None = None) -> builtins.list[DeadLetter]:
        """Return the dead letters, of one workflow if it is named, oldest first."""
        ...

    async def delete_before(self, moment: datetime) -> int:
        """Delete artifacts published before a moment, but nothing that open work needs.

        Returns:
            How many were deleted.

        Raises:
            ValueError: The time is naive.
        """
        ...

    async def keep_newest(self, count: int) -> int:
        """Delete all but the newest artifacts of each workflow, but nothing that open work needs.

        Args:
            count: How many of each workflow to keep.

        Returns:
            How many were deleted.

        Raises:
            ValueError: `count` is no number from 0.
        """
        ...

    def watch(self, where: FilterConfig | None = None) -> AsyncIterator[Artifact]:
        """Yield artifacts as they are committed, from the call on."""
        ...

    def observe(self, observer: Observer | None) -> None:
        """Tell somebody of each commit that puts artifacts on the board, and of deletions.

        There is one observer at a time, or None; opening the store forgets it. It is told in
        board order, of what is true, before whoever awaits the commit or the deletion goes on.
        """
        ...
