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
from flock.store.protocol import State

if TYPE_CHECKING:
    from flock.core.schedule import Tick
    from flock.core.subscription import Subscription
    from flock.orchestrator.lifecycle_manager import Deadline
    from flock.orchestrator.limits import Strands

_NOTHING: Final[list[Artifact]] = []

NO_VARIABLES: Final = Variables()
"""Context variables of a run that has ended."""

NO_OTHERS: Final = ()

QUESTION: Final = "question"
"""The kind of state that a question is kept as, under the id of the run that asked it."""

Ending = Literal["timeout", "cancel", "shutdown"]
JobState = Literal["queued", "running", "failing", "backing off", "held", "waiting", "ended"]
"""Where a run is. One that is held is of a paused workflow; one that waits does so for a person."""


class Lane:
    """One agent's runs.

    Attributes:
        agent: The agent.
        ready: Its runs that wait for a slot.
        nested: Its runs that were called from inside other runs and wait for their turn under
            limits; None if nothing limits it.
        slots: How many of them may go on at once.
        turn: When it started its last run, or got its first since it had none, as a number that
            grows: of equally urgent lanes the one that waits longest is next.
        offered: The urgency under which the scheduler knows the lane; None if it does not.
        waits: Whether a run of it ever waited for something, so that each gets its own task;
            None before the first.
    """

    __slots__ = ("agent", "nested", "offered", "ready", "slots", "turn", "waits")

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.slots = agent.slots
        self.ready: Ready | Strands = Ready()
        self.nested: Strands | None = None
        self.turn = 0
        self.offered: tuple[int, int] | None = None
        self.waits: bool | None = None

    def queue_of(self, job: Job) -> Strands | Ready:
        """Return where a run of it waits."""
        is_nested = job.call is not None and job.call.is_nested
        return self.nested if is_nested and self.nested is not None else self.ready


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
        others: The other workflows that are mixed in its batch, for which it is open work too.
        variables: The context variables of who published the last input, for its tasks.
    """

    __slots__ = (
        "call",
        "context",
        "deadline",
        "ending",
        "error",
        "lane",
        "others",
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
        self.state: JobState = "queued"
        self.ending: Ending | None = None
        self.error: Exception | None = None
        self.task: asyncio.Task[None] | None = None
        self.deadline: Deadline | None = None
        self.context: Context | None = None
        self.call: Call | None = None
        self.is_committed = False
        self.outputs: list[Artifact] = _NOTHING
        self.others: tuple[str, ...] = NO_OTHERS
        self.variables = copy_context()

    @property
    def forgets(self) -> tuple[State, ...]:
        """What is kept of it beside its record, to be forgotten when it ends: its question."""
        if self.lane.agent.asks is None or not self.deliveries:
            return ()
        return (State(QUESTION, self.id, None),)

    @property
    def workflows(self) -> set[str]:
        """The workflows it has to do with: its own, or all that are mixed in a batch."""
        if not self.is_batch:
            return {self.correlation_id}
        return {artifact.correlation_id for artifact in self.artifacts}


class TickJob(Job):
    """A run that a tick of a schedule started, on its way through the scheduler.

    Attributes:
        tick: The tick.
        is_closed: Whether it was given up, and the store knows.
    """

    __slots__ = ("is_closed", "tick")

    def __init__(self, run: Run, lane: Lane, tick: Tick) -> None:
        self.tick: Tick | None = tick
        self.is_closed = False
        super().__init__(run.key, lane, None, (), [])
        self.take_over(run)
