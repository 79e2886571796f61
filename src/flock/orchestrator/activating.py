"""When what waits for a condition on its workflow goes on."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from flock.clock import Clock, pause
from flock.errors import StoreError

if TYPE_CHECKING:
    from flock.core.conditions import Activation as Condition
    from flock.core.delivery import Delivery
    from flock.orchestrator.gates.activation import Activation
    from flock.orchestrator.idle import Idle
    from flock.orchestrator.inquiry import Inquiry
    from flock.orchestrator.lookout import Lookout

logger = logging.getLogger(__name__)

_DELAYS: Final = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0)
"""Seconds of the board's clock after which a store that could not be read is asked again."""


class Activating:
    """Asks about a workflow from the first delivery that waits in it until it comes to rest.

    A delivery is held against the state of its workflow when it arrives, and against each state
    after that, commit by commit. What the workflow has on the board is counted once; meanwhile
    the workflow counts as busy.

    Attributes:
        is_used: Whether anything is asked about any workflow.
    """

    def __init__(
        self,
        lookout: Lookout,
        idle: Idle,
        clock: Clock,
        spawn: Callable[[Coroutine[Any, Any, None], str], object],
        tell_waiting: Callable[[Delivery], None],
    ) -> None:
        self._lookout = lookout
        self._idle = idle
        self._spawn = spawn
        self._tell_waiting = tell_waiting
        self._clock = clock
        self.clear()

    def clear(self) -> None:
        """Forget what is asked, for a board that opens anew."""
        self._asked: dict[str, dict[Activation, _Asked]] = {}
        self._to_learn: deque[_Asked] = deque()
        self._learning: object | None = None
        self.is_used = False

    def hold(
        self,
        gate: Activation,
        condition: Condition,
        delivery: Delivery,
        go_on: Callable[[], None],
    ) -> None:
        """Take a delivery in, and let it go on as soon as its workflow is ready.

        Args:
            gate: Where it waits, and others of its subscription do.
            condition: What has to hold in its workflow.
            delivery: What arrived.
            go_on: Takes it on; under the context variables of now.
        """
        workflow = delivery.artifact.correlation_id
        gates = self._asked.setdefault(workflow, {})
        asked = gates.get(gate)
        if asked is None:
            asked = gates[gate] = _Asked(workflow, gate)
            on_step = partial(self._look, asked)
            asked.inquiry = self._lookout.ask(condition.of_workflow(workflow), on_step)
            self.is_used = True
        gate.add(delivery, asked.inquiry.told)
        self._idle.waiting += 1
        asked.ways[delivery] = partial(copy_context().run, go_on)
        asked.untold.append(delivery)
        self._look(asked)

    def forget(self, workflow: str) -> None:
        """Stop asking about a workflow that came to rest, but for what still waits in it."""
        for asked in list(self._asked.get(workflow, {}).values()):
            if not asked.gate.holds(workflow):
                self._close(asked)

    def _close(self, asked: _Asked) -> None:
        self._lookout.close(asked.inquiry)
        gates = self._asked[asked.workflow]
        del gates[asked.gate]
        if not gates:
            del self._asked[asked.workflow]
            self.is_used = bool(self._asked)

    def _look(self, asked: _Asked) -> None:
        """Let go on what may, learn what is not known, or tell of what has to wait."""
        inquiry = asked.inquiry
        if inquiry.is_stale:
            self._learn_later(asked)
            return
        if inquiry.verdict:
            ready = asked.gate.take(asked.workflow, inquiry.step)
            self._idle.waiting -= len(ready)
            for delivery in ready:
                asked.ways.pop(delivery)()
        waiting, asked.untold = asked.untold, []
        for delivery in waiting:
            if delivery in asked.gate:
                self._tell_waiting(delivery)
        if not self._idle.open_in(asked.workflow):
            self.forget(asked.workflow)

    def _learn_later(self, asked: _Asked) -> None:
        if asked.is_learning:
            return
        asked.is_learning = True
        self._idle.begin(asked.workflow)
        self._to_learn.append(asked)
        if self._learning is None:
            self._learning = self._spawn(self._learn_all(), "activation conditions")

    async def _learn_all(self) -> None:
        try:
            while self._to_learn:
                asked = self._to_learn.popleft()
                try:
                    await self._learn(asked)
                finally:
                    asked.is_learning = False
                    self._idle.end(asked.workflow)
                await asyncio.sleep(0)
        finally:
            self._learning = None

    async def _learn(self, asked: _Asked) -> None:
        """Count what the workflow has on the board, as soon as the store can be read."""
        for delay in (*_DELAYS, None):
            try:
                await asked.inquiry.learn_stored()
            except StoreError:
                if delay is None:
                    logger.exception(
                        "What workflow %r has on the board could not be counted; what waits there "
                        "for an activation is looked at again when more comes, or the board opens",
                        asked.workflow,
                    )
                    return
                await pause(self._clock, delay)
            else:
                return


class _Asked:
    """What is asked about one workflow for one gate.

    Attributes:
        inquiry: The question.
        ways: What takes those on that wait.
        untold: What arrived and was not told to be waiting.
        is_learning: Whether it is being learned what the workflow has on the board.
    """

    inquiry: Inquiry

    def __init__(self, workflow: str, gate: Activation) -> None:
        self.workflow = workflow
        self.gate = gate
        self.ways: dict[Delivery, Callable[[], None]] = {}
        self.untold: list[Delivery] = []
        self.is_learning = False
