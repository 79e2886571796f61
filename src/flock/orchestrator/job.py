"""A run on its way through the scheduler, and the lane it waits in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import Context as Variables
from contextvars import copy_context
from typing import TYPE_CHECKING, Final, Literal

from flock.core.agent import Agent
from flock.core.artifacts import Artifact
from flock.core.context import Context
from flock.core.delivery import Delivery, Run
from flock.orchestrator.ready import Ready

if TYPE_CHECKING:
    from flock.core.subscription import Subscription
    from flock.orchestrator.lifecycle_manager import Deadline

_NOTHING: Final[list[Artifact]] = []

NO_VARIABLES: Final = Variables()
"""Context variables of a run that has ended."""

Ending = Literal["timeout", "cancel", "shutdown"]


class Lane:
    """One agent's runs.

    Attributes:
        agent: The agent.
        ready: Its runs that wait for a slot.
        slots: How many of them may go on at once.
        offered: The urgency under which the scheduler knows the lane; None if it does not.
        waits: Whether a run of it ever waited for something, so that each gets its own task;
            None before the first.
    """

    __slots__ = ("agent", "offered", "ready", "slots", "waits")

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.slots = agent.slots
        self.ready = Ready()
        self.offered: tuple[int, int] | None = None
        self.waits: bool | None = None


class Call:
    """What a direct caller of an agent asked for, and gets.

    Attributes:
        waiter: Resolved with the outputs or the error.
        on_output: Told of each output as it is committed.
        is_published: Whether the outputs go on the board.
        is_nested: Whether the call came from another run, whose slot it uses.
    """

    __slots__ = ("is_nested", "is_published", "on_output", "waiter")

    def __init__(
        self,
        waiter: asyncio.Future[list[Artifact]],
        *,
        on_output: Callable[[Artifact], None] | None = None,
        is_published: bool = True,
        is_nested: bool = False,
    ) -> None:
        self.waiter = waiter
        self.on_output = on_output
        self.is_published = is_published
        self.is_nested = is_nested

    def tell(self, outputs: Sequence[Artifact]) -> None:
        """Let the caller know of outputs that are committed."""
        if self.on_output is not None:
            for output in outputs:
                self.on_output(output)


class Job(Run):
    """A run on its way through the scheduler.

    Attributes:
        lane: Its agent's lane.
        state: Where it is.
        ending: Why it is being ended from outside, if it is.
        error: What a direct caller gets when it is ended from outside.
        task: The task of the attempt that goes on.
        deadline: When it times out, or is tried again.
        context: The context of the attempt that goes on.
        call: What a direct caller asked for; None for what the board runs by itself.
        outputs: What it committed so far.
        order: Its place among the runs that were queued.
        variables: The context variables of who published the last input, for its tasks.
    """

    __slots__ = (
        "call",
        "context",
        "deadline",
        "ending",
        "error",
        "lane",
        "order",
        "outputs",
        "state",
        "task",
        "variables",
    )

    def __init__(
        self,
        key: int,
        lane: Lane,
        subscription: Subscription | None,
        deliveries: Sequence[Delivery],
        artifacts: list[Artifact],
        is_batch: bool = False,  # noqa: FBT001, FBT002 - called once per run
    ) -> None:
        self.key = key
        self.agent = lane.agent.name
        self.subscription = subscription
        self.deliveries = deliveries
        self.is_batch = is_batch
        self.attempt = 0
        self.emitted = 0
        self.due = 0.0
        self.steps = None
        self.kept_steps = None
        self.seen = 0
        self.began = 0.0
        self.usage = None
        self.has_begun = False
        self.use(artifacts)
        self.lane = lane
        self.state: Literal["queued", "running", "failing", "backing off", "ended"] = "queued"
        self.ending: Ending | None = None
        self.error: Exception | None = None
        self.task: asyncio.Task[None] | None = None
        self.deadline: Deadline | None = None
        self.context: Context | None = None
        self.call: Call | None = None
        self.is_committed = False
        self.outputs: list[Artifact] = _NOTHING
        self.order = 0
        self.variables = copy_context()

    @property
    def mixed(self) -> set[str]:
        """The workflows whose deliveries it uses, if they are several; none of them has ended."""
        found = {delivery.artifact.correlation_id for delivery in self.deliveries}
        return found if len(found) > 1 else set()

    @property
    def workflows(self) -> set[str]:
        """The workflows it has to do with: its own, or all that are mixed in a batch."""
        if not self.is_batch:
            return {self.correlation_id}
        return {artifact.correlation_id for artifact in self.artifacts}
