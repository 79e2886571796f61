"""The base of hooks around the board."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from flock.components.board import Board
from flock.core.agent import Agent
from flock.core.artifacts import Artifact
from flock.core.lifecycle import left_out
from flock.core.subscription import Subscription


class ScheduleDecision(Enum):
    """What becomes of a delivery.

    Attributes:
        CONTINUE: It goes on.
        SKIP: It is closed without a run.
        DEFER: It is asked again whenever a run ends.
    """

    CONTINUE = "continue"
    SKIP = "skip"
    DEFER = "defer"


@dataclass(frozen=True, slots=True)
class CollectionResult:
    """What a component gathered in place of the gate.

    Attributes:
        artifacts: The inputs of the run.
        complete: Whether the run starts. If not, the component holds the delivery, until
            a later collection names its artifact.
    """

    artifacts: list[Artifact] = field(default_factory=list[Artifact])
    complete: bool = False


class OrchestratorComponent:
    """Hooks around a board; override what is needed, the rest costs nothing.

    Components run by ascending `priority`. The hooks' first argument is the `Flock`, as the
    `Board` that says what a hook may do with it.

    Attributes:
        name: Names the component in logs; its class does if None.
        priority: Lower runs first.

    Example:
        ```python
        from pydantic import BaseModel

        from flock import Flock, OrchestratorComponent, ScheduleDecision


        class Word(BaseModel):
            text: str


        class Quiet(OrchestratorComponent):
            async def on_before_schedule(self, orchestrator, artifact, agent, subscription):
                is_loud = artifact.payload["text"].isupper()
                return ScheduleDecision.SKIP if is_loud else ScheduleDecision.CONTINUE


        heard: list[str] = []
        flock = Flock().add_component(Quiet())
        flock.agent("listener").consumes(Word).calls(lambda word: heard.append(word.text))
        async with flock:
            await flock.publish_many([Word(text="HEY"), Word(text="hello")])
            await flock.run_until_idle()
        print(heard)  # -> ['hello']
        ```
    """

    name: str | None = None
    priority: int = 0

    def __init__(self, *, name: str | None = None, priority: int | None = None) -> None:
        if name is not None:
            self.name = name
        if priority is not None:
            self.priority = priority

    @left_out
    async def on_initialize(self, orchestrator: Board) -> None:
        """Prepare, as the board opens; raising keeps it from opening."""

    @left_out
    async def on_artifact_published(
        self,
        orchestrator: Board,
        artifact: Artifact,
    ) -> Artifact | None:
        """Return the artifact that is stored and matched; None stores it for nobody.

        Called before anything is committed; raising refuses the publish.
        """
        del orchestrator
        return artifact

    @left_out
    async def on_before_schedule(
        self,
        orchestrator: Board,
        artifact: Artifact,
        agent: Agent,
        subscription: Subscription,
    ) -> ScheduleDecision:
        """Decide over one delivery; raising makes it a dead letter."""
        del orchestrator, artifact, agent, subscription
        return ScheduleDecision.CONTINUE

    @left_out
    async def on_collect_artifacts(
        self,
        orchestrator: Board,
        artifact: Artifact,
        agent: Agent,
        subscription: Subscription,
    ) -> CollectionResult | None:
        """Gather in place of the gate; None leaves it to the gate. Raising: a dead letter."""
        del orchestrator, artifact, agent, subscription

    @left_out
    async def on_before_agent_schedule(
        self,
        orchestrator: Board,
        agent: Agent,
        artifacts: list[Artifact],
    ) -> list[Artifact] | None:
        """Return the inputs to run with; None closes them without a run."""
        del orchestrator, agent
        return artifacts

    @left_out
    async def on_agent_scheduled(
        self,
        orchestrator: Board,
        agent: Agent,
        artifacts: list[Artifact],
        task: asyncio.Task[Any],
    ) -> None:
        """Watch a run that begins in a task."""

    @left_out
    async def on_idle(self, orchestrator: Board) -> None:
        """Watch the board become idle; what is published here goes on."""

    @left_out
    async def on_shutdown(self, orchestrator: Board) -> None:
        """Clean up, as the board closes."""
