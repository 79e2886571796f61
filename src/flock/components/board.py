"""The board as hooks see it: the verbs that they may use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable
    from uuid import UUID

    from flock.clock import Clock
    from flock.core.agent import Agent
    from flock.core.artifacts import Artifact, Publishable
    from flock.core.builder import AgentBuilder
    from flock.core.spans import Span
    from flock.core.visibility import Visibility
    from flock.core.workflow import WorkflowStatus
    from flock.store.protocol import BlackboardStore, DeadLetter


class Board(Protocol):
    """What the first argument of each hook of an `OrchestratorComponent` can do.

    It is the `Flock` that the component was added to, without the verbs that would wait for
    the hook itself (`run_until_idle`, `run`, `shutdown`) and without those that declare. What
    each verb does, and what it raises, is said at `Flock`. In `on_shutdown` no agent runs any
    more: what is published there goes on when the board is opened again, and `arun`, `invoke`
    and `stream` are refused.
    """

    @property
    def name(self) -> str:
        """The board's name."""
        ...

    @property
    def store(self) -> BlackboardStore:
        """Where the board lasts, for queries."""
        ...

    @property
    def clock(self) -> Clock:
        """The board's time."""
        ...

    @property
    def agents(self) -> list[Agent]:
        """The agents, in the order they were declared."""
        ...

    def get_agent(self, name: str) -> Agent:
        """Return an agent."""
        ...

    async def publish(
        self,
        obj: Publishable,
        *,
        correlation_id: str | None = None,
        partition_key: str | None = None,
        tags: Iterable[str] = (),
        visibility: Visibility | None = None,
        idempotency_key: str | None = None,
        schedule_immediately: bool = True,
    ) -> Artifact:
        """Put something on the board, and start whoever consumes it."""
        ...

    async def publish_many(
        self,
        objs: Iterable[Publishable],
        *,
        correlation_id: str | None = None,
        partition_key: str | None = None,
        tags: Iterable[str] = (),
        visibility: Visibility | None = None,
        schedule_immediately: bool = True,
    ) -> list[Artifact]:
        """Put several things on the board, all or none."""
        ...

    async def arun(self, agent: Agent | AgentBuilder | str, *inputs: Publishable) -> list[Artifact]:
        """Run one agent exactly once over these inputs."""
        ...

    async def invoke(
        self,
        agent: Agent | AgentBuilder | str,
        obj: Publishable,
        *,
        publish_outputs: bool = True,
        timeout: Span | None = None,
    ) -> list[Artifact]:
        """Run one agent over one input without regard to its subscriptions."""
        ...

    def stream(
        self, agent: Agent | AgentBuilder | str, *inputs: Publishable
    ) -> AsyncGenerator[Artifact, None]:
        """Do what `arun` does, and yield the outputs as they are committed."""
        ...

    async def flush(self) -> int:
        """Run what partial batches hold now."""
        ...

    async def status(self, correlation_id: str) -> WorkflowStatus:
        """Return what a workflow is doing."""
        ...

    async def cancel(self, correlation_id: str) -> int:
        """Cancel a workflow: end its runs and close what waits of it."""
        ...

    async def pause(self, correlation_id: str) -> None:
        """Hold a workflow: no run of it begins any more until it is resumed."""
        ...

    async def resume(self, correlation_id: str) -> None:
        """Let a paused workflow go on."""
        ...

    async def set_deadline(self, correlation_id: str, timeout: Span | None) -> None:
        """Cancel a workflow if anything of it is open some time from now."""
        ...

    async def dead_letters(self) -> list[DeadLetter]:
        """Return the runs that failed for good, oldest first."""
        ...

    async def redrive(self, dead_letter_id: UUID | str) -> None:
        """Take a dead letter off the list and run it again, under the same run id."""
        ...
