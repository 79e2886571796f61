"""Deliveries and runs: the two records that make a board restartable and exact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flock.core.artifacts import Artifact
    from flock.core.schedule import Tick
    from flock.core.subscription import Subscription
    from flock.core.usage import Usage


class Delivery:
    """One artifact before one subscription, open until the run that used it commits.

    Attributes:
        artifact: The artifact.
        subscription: The subscription.
        opens_at: Seconds since the epoch from which the agent may see the artifact.
        arrived: When it came to the gate, in seconds since the epoch; 0 before.
        number: Which arrival at a join it was, from 1.
        run: The run it was gathered into; None while it waits.
        is_open: Whether it still has to be used.
    """

    __slots__ = (
        "arrived",
        "artifact",
        "is_open",
        "number",
        "opens_at",
        "run",
        "subscription",
    )

    def __init__(
        self, artifact: Artifact, subscription: Subscription, opens_at: float = 0.0
    ) -> None:
        self.artifact = artifact
        self.subscription = subscription
        self.opens_at = opens_at
        self.arrived = 0.0
        self.number = 0
        self.run: Run | None = None
        self.is_open = True

    @property
    def agent(self) -> str:
        """Name of the agent."""
        return self.subscription.agent

    @property
    def index(self) -> int:
        """Which of the agent's subscriptions, from 0."""
        return self.subscription.index

    def __repr__(self) -> str:
        return f"Delivery({self.artifact.type} -> {self.agent!r}[{self.index}])"


class Run:
    """One invocation of one agent over one group of deliveries.

    Attributes:
        key: Its id as a number of 128 bits, the same for every attempt.
        agent: Name of the agent.
        subscription: The subscription that gathered it; None when called directly.
        deliveries: What it uses, closed by its commit; empty when called directly.
        artifacts: The inputs, in the order the agent gets them.
        correlation_id: The workflow of its earliest input on the board.
        depth: Hops from the outside: one more than its deepest input.
        is_batch: Whether the inputs were batched.
        attempt: How many times it was begun.
        emitted: How many outputs of a stream are on the board already.
        is_committed: Whether its outputs and its end are on the board.
        due: When its next attempt may begin, in seconds since the epoch; 0 for at once.
        steps: What `ctx.step` remembers, by name; None before the first.
        kept_steps: The same as a store kept it, encoded, of a run that another process began.
        seen: The newest position on the board when its attempt was begun.
        began: When its attempt was begun, in seconds since the epoch; 0 before the first.
        usage: What its model calls took, of all attempts, by model; None before the first.
        has_begun: Whether it was counted by budgets that bound runs.
        tick: The tick of a schedule that started it; None for all others.
    """

    tick: Tick | None = None  # no slot: a `TickRun` has one

    __slots__ = (
        "agent",
        "artifacts",
        "attempt",
        "began",
        "correlation_id",
        "deliveries",
        "depth",
        "due",
        "emitted",
        "has_begun",
        "is_batch",
        "is_committed",
        "kept_steps",
        "key",
        "parent_keys",
        "seen",
        "steps",
        "subscription",
        "usage",
    )

    def __init__(
        self,
        key: int,
        agent: str,
        subscription: Subscription | None,
        deliveries: Sequence[Delivery],
        artifacts: list[Artifact],
        *,
        is_batch: bool = False,
    ) -> None:
        self.key = key
        self.agent = agent
        self.subscription = subscription
        self.deliveries = deliveries
        self.is_batch = is_batch
        self.is_committed = False
        self.attempt = 0
        self.emitted = 0
        self.due = 0.0
        self.steps: dict[str, Any] | None = None
        self.kept_steps: Mapping[str, bytes] | None = None
        self.seen = 0
        self.began = 0.0
        self.usage: Mapping[str, Usage] | None = None
        self.has_begun = False
        self.use(artifacts)

    @property
    def id(self) -> str:
        """The id in hexadecimal."""
        return f"{self.key:032x}"

    @property
    def lasts(self) -> bool:
        """Whether it goes on after a restart: its deliveries are open, or its tick is."""
        return bool(self.deliveries) or self.tick is not None

    def once_more(self, subscription: Subscription, deliveries: Sequence[Delivery]) -> Run:
        """Return the same run over its inputs, before its first attempt."""
        run = Run(
            self.key,
            self.agent,
            subscription,
            deliveries,
            list(self.artifacts),
            is_batch=self.is_batch,
        )
        run.take_over(self)
        run.attempt, run.due = 0, 0.0
        return run

    def take_over(self, before: Run) -> None:
        """Go on where a run of the same id was left."""
        self.attempt = before.attempt
        self.emitted = before.emitted
        self.steps = before.steps
        self.kept_steps = before.kept_steps
        self.usage = before.usage
        self.has_begun = before.has_begun
        self.due = before.due

    def use(self, artifacts: list[Artifact]) -> None:
        """Take these artifacts as inputs, and workflow, depth and lineage from them.

        A run without inputs begins a workflow of its own, which has its id.
        """
        self.artifacts = artifacts
        if len(artifacts) == 1:
            first = artifacts[0]
            self.correlation_id = first.correlation_id
            self.depth = first.depth + 1
            self.parent_keys: tuple[int, ...] = (first.key,)
        elif not artifacts:
            self.correlation_id = self.id
            self.depth = 1
            self.parent_keys = ()
        else:
            earliest = min(artifacts, key=_position)
            self.correlation_id = earliest.correlation_id
            self.depth = max(artifact.depth for artifact in artifacts) + 1
            self.parent_keys = tuple(artifact.key for artifact in artifacts)


class TickRun(Run):
    """A run that a tick of a schedule started: without inputs, in a workflow of its own."""

    __slots__ = ("tick",)

    def __init__(self, key: int, agent: str, tick: Tick) -> None:
        super().__init__(key, agent, None, (), [])
        self.tick: Tick | None = tick


def _position(artifact: Artifact) -> int:
    return artifact.seq
