"""A board in memory on which a workflow of another one is run again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from flock.core.agent import Agent
from flock.core.settle import settle
from flock.errors import DeclarationError
from flock.orchestrator.flock import Flock
from flock.orchestrator.fork import (
    Changes,
    Consumptions,
    Fork,
    Point,
    Replacement,
    Rerun,
    Settings,
    foreign_to,
    fork_of,
    replace_with,
)
from flock.orchestrator.recorded import RecordedAgent

if TYPE_CHECKING:
    from flock.clock import Clock
    from flock.orchestrator.component_runner import ComponentRunner
    from flock.orchestrator.ledger import Ledger
    from flock.orchestrator.limits import Limits
    from flock.orchestrator.replay import Replay


class Scratch(Flock):
    """A board in memory on which a workflow of another one is run again.

    Attributes:
        origin: The other one, which nothing that runs here may change.
    """

    def __init__(self, origin: Flock, settings: Settings, clock: Clock) -> None:
        super().__init__(**settings, clock=clock)
        self._parts.schedules.is_off = True
        self.origin = origin
        self._parts.questions.expire = False  # nobody can answer on it, nor waits for years

    def share(self, components: ComponentRunner, ledger: Ledger, limits: Limits) -> None:
        """Have the components of the other board, and budgets and limits of the same size."""
        self._parts.components.share(components)
        self._parts.ledger.share(ledger)
        self._parts.limits.share(limits)

    def declare(
        self, agents: Mapping[str, Agent], changes: Changes | None, before: Replay | None
    ) -> None:
        """Declare the agents of the other board, changed.

        Args:
            agents: The agents of the other board.
            changes: What is changed.
            before: The workflow whose answers those that are not changed give again; None if
                they run as usual.

        Raises:
            NotFound: One of them is not declared.
            DeclarationError: One of them makes no sense.
        """
        by_name: Mapping[str, Replacement] = {}
        if isinstance(changes, Mapping):
            by_name = cast("Mapping[str, Replacement]", changes)
            for name in by_name:
                self.origin.get_agent(name)
        elif callable(changes):
            changes(self)
        elif changes is not None:
            msg = (
                "agents takes what computes agents by their names, or a function that declares "
                f"some on the board it is given, not {changes!r}"
            )
            raise DeclarationError(msg)
        new = dict(self._agents)
        self._agents.clear()
        for name, agent in agents.items():  # in their order, which decides who comes first
            if name in new:
                self._agents[name] = new.pop(name)
            elif name not in by_name:
                self._agents[name] = self._same(agent, before)
            elif (replacement := by_name[name]) is not None:
                changed = self._agents[name] = Agent.like(agent, self._make_engine)
                settle(changed)  # what it consumes and publishes stays, also by annotations
                changed.function, changed.engines, changed.asks = None, [], None
                replace_with(self._builder(changed), replacement)
        self._agents.update(new)
        self._settle()
        self._unsettle()

    def _same(self, agent: Agent, before: Replay | None) -> Agent:
        if before is None:
            return Agent.like(agent, self._make_engine)
        same = RecordedAgent.like(agent, self._make_engine)
        same.remember(before.of(agent.name))
        return same

    async def run_again(
        self, before: Replay, position: int, consumptions: Consumptions, span: float | None
    ) -> Fork:
        """Run a workflow again from a position, and compare what comes of it.

        Args:
            before: The workflow.
            position: Up to where everything is given.
            consumptions: Which runs used an artifact of it, by its id.
            span: How many seconds to wait at the most; without end if None.
        """
        streaming = {agent.name for agent in self.agents if agent.streams}
        point = Point(before, position, foreign_to(before), streaming)
        rerun = Rerun(self._parts, self._agents, point)
        try:
            await self._opening.open()
            report = await rerun.carry_out(consumptions, self.run_until_idle, span)
            after = await self.replay(before.correlation_id)
        finally:
            await self.shutdown(grace=0.0)
        spent = await self.store.spent()
        return fork_of(point, after, self.store, rerun.errors, report, spent)
