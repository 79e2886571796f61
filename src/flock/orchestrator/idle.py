"""What is still open, per workflow and in all, and who waits for it to end."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from flock.clock import Clock
from flock.core.usage import Usage
from flock.errors import RunError

KEPT_ERRORS: Final = 1_000
"""How many errors are kept for the next report; all are counted."""


@dataclass(frozen=True, slots=True)
class IdleReport:
    """What happened since the board opened or the last report.

    Attributes:
        runs: Runs that ended, failed ones included.
        failed: Runs that failed for good.
        dead_letters: Runs put on the list of dead letters.
        waiting: Deliveries that wait now: in gates, held back or deferred.
        elapsed: Seconds of the board's clock.
        timed_out: Whether the time ran out first; work goes on.
        errors: The failures, as far as they were kept.
        usage: What model calls took, by model string.
    """

    runs: int = 0
    failed: int = 0
    dead_letters: int = 0
    waiting: int = 0
    elapsed: float = 0.0
    timed_out: bool = False
    errors: Sequence[RunError] = field(default=(), repr=False)
    usage: Mapping[str, Usage] = field(default_factory=dict[str, Usage])


class Idle:
    """Counts open work: what goes on, or falls due, without new input.

    Attributes:
        total: Pieces of open work.
        ahead: Those of them that only wait until something falls due.
        reserved: Publishers from outside that are admitted and have not committed yet.
        waiting: Deliveries that wait for input that may never come.
        runs: Runs that ended since the last report.
        failed: Runs that failed for good since the last report.
        dead_letters: Dead letters since the last report.
        usage: What model calls took since the last report, by model.
        on_zero: Called when the last open piece ended.
        on_workflow_zero: Called with a workflow of which the last open piece ended.
    """

    __slots__ = (
        "_by_workflow",
        "_errors",
        "_publishers",
        "_since",
        "_unreserved",
        "ahead",
        "dead_letters",
        "failed",
        "on_workflow_zero",
        "on_zero",
        "reserved",
        "runs",
        "total",
        "usage",
        "waiting",
    )

    def __init__(
        self, on_zero: Callable[[], None], on_workflow_zero: Callable[[str], None]
    ) -> None:
        self.on_zero = on_zero
        self.on_workflow_zero = on_workflow_zero
        self.clear(0.0)

    def clear(self, now: float) -> None:
        """Begin anew, with nothing open."""
        self._publishers: deque[asyncio.Future[None]] = deque()
        self._unreserved: asyncio.Future[None] | None = None
        self.total = 0
        self.ahead = 0
        self.reserved = 0
        self.waiting = 0
        self._by_workflow: dict[str, int] = {}
        self.start_report(now)

    def start_report(self, now: float) -> None:
        """Count for the next report from here."""
        self._since = now
        self.runs = 0
        self.failed = 0
        self.dead_letters = 0
        self._errors: list[RunError] = []
        self.usage: Mapping[str, Usage] = {}

    def begin(self, workflow: str) -> None:
        """Count a piece of open work."""
        self.total += 1
        by_workflow = self._by_workflow
        by_workflow[workflow] = by_workflow.get(workflow, 0) + 1

    def end(self, workflow: str) -> None:
        """Take a piece of open work off the count."""
        by_workflow = self._by_workflow
        left = by_workflow[workflow] - 1
        if left:
            by_workflow[workflow] = left
        else:
            del by_workflow[workflow]
            self.on_workflow_zero(workflow)
        self.total -= 1
        if self._publishers:
            self.wake_publisher()
        if not self.total:
            self.on_zero()

    def hold(self, workflow: str) -> None:
        """Count for a workflow what another one has as a piece of open work."""
        self._by_workflow[workflow] = self._by_workflow.get(workflow, 0) + 1

    def let_go(self, workflow: str) -> None:
        """Take off what `hold` counted, unless the board was opened anew since."""
        left = self._by_workflow.get(workflow, 1) - 1
        if left:
            self._by_workflow[workflow] = left
        else:
            self._by_workflow.pop(workflow, None)
            self.on_workflow_zero(workflow)

    def begin_due(self, workflow: str | None) -> None:
        """Count something that falls due later; of the whole board without a workflow."""
        self.ahead += 1
        if workflow is None:
            self.total += 1
        else:
            self.begin(workflow)

    def end_due(self, workflow: str | None) -> None:
        """Take something that fell due, or was called off, off the count."""
        self.ahead -= 1
        if workflow is not None:
            self.end(workflow)
            return
        self.total -= 1
        if not self.total:
            self.on_zero()

    def open_in(self, workflow: str) -> int:
        """Return how many pieces of work a workflow has open."""
        return self._by_workflow.get(workflow, 0)

    def record_failure(self, error: RunError) -> None:
        """Count a failure, and keep the error for the next report."""
        self.failed += 1
        if len(self._errors) < KEPT_ERRORS:
            self._errors.append(error)

    def report(self, now: float, *, timed_out: bool = False) -> IdleReport:
        """Return what happened since the last report, and begin the next."""
        report = IdleReport(
            self.runs,
            self.failed,
            self.dead_letters,
            self.waiting,
            now - self._since,
            timed_out,
            tuple(self._errors),
            self.usage,
        )
        self.start_report(now)
        return report

    @property
    def pressure(self) -> int:
        """How much work is open or being committed, besides what only waits to fall due."""
        return self.total - self.ahead + self.reserved

    def unreserve(self) -> None:
        """Count that a publish has committed, or was refused."""
        if self.reserved:  # not one of a board that was closed since
            self.reserved -= 1
        if self._unreserved is not None and not self.reserved:
            done, self._unreserved = self._unreserved, None
            if not done.done():
                done.set_result(None)

    def under_way(self) -> list[asyncio.Future[None]]:
        """Return what is done when no publish is under way; nothing if none is now."""
        if not self.reserved:
            return []
        if self._unreserved is None or self._unreserved.done():
            self._unreserved = asyncio.get_running_loop().create_future()
        return [self._unreserved]

    async def wait_for_room(self, limit: int) -> None:
        """Wait until the pressure is below a limit, behind those who came before."""
        comes_first = False
        while (self._publishers and not comes_first) or self.pressure >= limit:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            if comes_first:
                self._publishers.appendleft(turn)
            else:
                self._publishers.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if not turn.cancelled():
                    self.wake_publisher()
                raise
            comes_first = True
        if self.pressure + 1 < limit:
            self.wake_publisher()

    def release(self) -> None:
        """Let everybody look who waits for room, for the board closes."""
        self.total = self.ahead = self.reserved = 0
        while self._publishers:
            self.wake_publisher()

    def wake_publisher(self) -> None:
        """Wake the first publisher, who looks for itself and then wakes the next."""
        while self._publishers:
            turn = self._publishers.popleft()
            if not turn.done():
                turn.set_result(None)
                return


class IdleSignal:
    """Tells whoever waits that the board became idle, after the components heard of it.

    Components may publish when they are told; then the board is not idle yet.
    """

    def __init__(
        self,
        idle: Idle,
        now: Callable[[], float],
        has_hooks: Callable[[], bool],
        run_hooks: Callable[[], Awaitable[None]],
        spawn: Callable[[Coroutine[Any, Any, None], str], object],
        announce: Callable[[], None],
    ) -> None:
        self._idle = idle
        self._now = now
        self._has_hooks = has_hooks
        self._run_hooks = run_hooks
        self._spawn = spawn
        self._announce = announce
        self.clear()

    def clear(self) -> None:
        """Forget who waits, for a board that opens anew."""
        self._waiters: list[asyncio.Future[IdleReport]] = []
        self._is_silent = False
        self._is_check_due = False
        self._is_telling = False
        self._became_idle_again = False

    def on_zero(self) -> None:
        """Look, once this turn of the event loop is over, whether nothing is open still."""
        if self._is_silent:
            return
        if self._is_telling:
            self._became_idle_again = True
        elif not self._is_check_due:
            self._is_check_due = True
            asyncio.get_running_loop().call_soon(self._check)

    async def wait(self, clock: Clock, timeout: float | None) -> IdleReport:
        """Wait until the board is idle, or for `timeout` seconds of its clock."""
        if not (self._idle.total or self._is_check_due or self._is_telling):
            return self._idle.report(self._now())
        waiter: asyncio.Future[IdleReport] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        timer = None
        if timeout is not None:
            timer = clock.call_at(self._now() + timeout, partial(self._time_out, waiter))
        try:
            return await waiter
        finally:
            if timer is not None:
                timer.cancel()
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def fail(self, error: Exception) -> None:
        """Let everybody who waits know that the board will not become idle, and fall silent."""
        self._is_silent = True
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(error)
        self._waiters.clear()

    def _check(self) -> None:
        self._is_check_due = False
        if self._idle.total:
            return
        if self._has_hooks():
            self._is_telling = True
            self._became_idle_again = False
            self._spawn(self._tell(), "idle hooks")
        else:
            self._wake()

    async def _tell(self) -> None:
        try:
            await self._run_hooks()
        finally:
            self._is_telling = False
        if self._idle.total:
            return
        if self._became_idle_again:
            self.on_zero()
        else:
            self._wake()

    def _wake(self) -> None:
        self._announce()
        if not self._waiters:
            return
        report = self._idle.report(self._now())
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(report)
        self._waiters.clear()

    def _time_out(self, waiter: asyncio.Future[IdleReport]) -> None:
        if not waiter.done():
            waiter.set_result(self._idle.report(self._now(), timed_out=True))
