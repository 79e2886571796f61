"""Hands what changes on the board to the inquiries that it concerns, while there are any."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from flock.clock import Clock, as_datetime
from flock.orchestrator.inquiry import Inquiry

if TYPE_CHECKING:
    from datetime import datetime

    from flock.core.artifacts import Artifact
    from flock.core.conditions import Condition
    from flock.core.filters import FilterConfig
    from flock.orchestrator.idle import Idle, IdleSignal
    from flock.store.protocol import BlackboardStore


class View:
    """What conditions may ask of the board; see `BoardView`."""

    def __init__(
        self, store: BlackboardStore, clock: Clock, idle: Idle, signal: IdleSignal
    ) -> None:
        self._clock = clock
        self._idle = idle
        self._signal = signal
        self.count = store.count
        self._latest = store.latest

    @property
    def now(self) -> datetime:
        """The board's time, in UTC."""
        return as_datetime(self._clock.time())

    @property
    def is_idle(self) -> bool:
        """Whether nothing more can happen without new input."""
        return self._signal.is_idle and not self._idle.reserved

    @property
    def has_pending_work(self) -> bool:
        """Whether anything is queued, running or backing off, or being published."""
        return self._idle.pressure > 0

    async def latest(
        self, where: FilterConfig | None = None, *, limit: int = 1, before: int | None = None
    ) -> list[Artifact]:
        """Return the newest artifacts, newest first."""
        return await self._latest(where, limit=limit, before=before)


class Lookout:
    """Is told by the store and by the count of open work, as long as somebody asks.

    What is about one workflow costs nothing when something happens in another. Without an
    inquiry the store and the count tell nobody.

    Attributes:
        view: What conditions may ask of the board.
    """

    def __init__(
        self, store: BlackboardStore, clock: Clock, idle: Idle, signal: IdleSignal
    ) -> None:
        self.view = View(store, clock, idle, signal)
        self._store = store
        self._idle = idle
        self._signal = signal
        self._anywhere: dict[Inquiry, None] = {}
        self._by_workflow: dict[str, dict[Inquiry, None]] = {}
        self._about_work: dict[Inquiry, None] = {}
        self._is_look_due = False

    def clear(self) -> None:
        """Forget who asks, for a board that closes or opens anew."""
        self._anywhere.clear()
        self._by_workflow.clear()
        self._about_work.clear()
        self._is_look_due = False
        self._listen()

    def ask(self, condition: Condition, on_step: Callable[[], None]) -> Inquiry:
        """Begin to ask whether a condition holds.

        Args:
            condition: The condition.
            on_step: Called when the answer may have changed, after each single commit that
                concerns it. It must not raise.
        """
        inquiry = Inquiry(condition, self._store, self.view, on_step)
        if inquiry.workflows is None:
            self._anywhere[inquiry] = None
        else:
            for workflow in inquiry.workflows:
                self._by_workflow.setdefault(workflow, {})[inquiry] = None
        if inquiry.asks_about_work:
            self._about_work[inquiry] = None
        self._listen()
        return inquiry

    def close(self, inquiry: Inquiry) -> None:
        """Ask no longer."""
        inquiry.is_closed = True
        self._anywhere.pop(inquiry, None)
        self._about_work.pop(inquiry, None)
        for workflow in inquiry.workflows or ():
            asking = self._by_workflow.get(workflow, {})
            asking.pop(inquiry, None)
            if not asking:
                self._by_workflow.pop(workflow, None)
        self._listen()

    def _listen(self) -> None:
        """Be told of what somebody asks for, and of nothing else."""
        self._store.observe(self if self._anywhere or self._by_workflow else None)
        self._idle.on_change = self._work_changed if self._about_work else None
        self._signal.on_idle = self._look if self._about_work else None

    # --- what it is told ---

    def committed(self, artifacts: Sequence[Artifact]) -> None:
        """Hand a commit to those it may concern."""
        concerned = dict(self._anywhere)
        if self._by_workflow:
            for workflow in {artifact.correlation_id for artifact in artifacts}:
                concerned |= self._by_workflow.get(workflow, {})
        for inquiry in concerned:
            if not inquiry.is_closed:
                inquiry.committed(artifacts)

    def deleted(self) -> None:
        """Let all of them learn anew."""
        asking = dict(self._anywhere)
        for inquiries in self._by_workflow.values():
            asking |= inquiries
        for inquiry in asking:
            if not inquiry.is_closed:
                inquiry.deleted()

    def _work_changed(self) -> None:
        """Look once this turn of the event loop is over: one step often ends and begins work."""
        if not self._is_look_due:
            self._is_look_due = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        self._is_look_due = False
        for inquiry in list(self._about_work):
            if not inquiry.is_closed:
                inquiry.work_changed()
