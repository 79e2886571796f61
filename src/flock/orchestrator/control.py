"""Workflows that are paused, ended or bounded in time, and who waits for one to be done."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, Literal
from weakref import WeakValueDictionary

from flock.clock import as_datetime
from flock.errors import PublishError
from flock.orchestrator.events import (
    Event,
    RunCancelled,
    WorkflowCancelled,
    WorkflowPaused,
    WorkflowResumed,
    logged,
)
from flock.orchestrator.holding import Hold
from flock.orchestrator.job import Job
from flock.store.protocol import Commit, State

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from flock.core.delivery import Delivery
    from flock.orchestrator.lifecycle_manager import Deadline
    from flock.orchestrator.wiring import Parts

Reason = Literal["cancel", "deadline"]

CONTROLLED: Final = "workflow"
"""Kind of what is kept of workflows that are paused or have a deadline."""
ENDED: Final = "workflow_end"
"""Kind of what is kept of workflows that were ended."""


class _Pass:
    """A cancel that has taken inputs of other workflows with it, until they wait again."""

    def __init__(self) -> None:
        self.workflows: set[str] = set()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Control:
    """Pauses, resumes and ends workflows, one thing at a time for each.

    Attributes:
        holds: What is held of the workflows that are paused, or being ended.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._holding = parts.holding
        self._idle = parts.idle
        self.holds = parts.holding.holds
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.clear()

    def clear(self) -> None:
        """Forget everything, for a board that opens anew."""
        self._holding.clear()
        self._locks.clear()
        self._deadlines: dict[str, Deadline] = {}
        self._restored: list[tuple[str, Deadline]] = []
        self._passes: list[_Pass] = []
        self._ending: set[asyncio.Task[None]] = set()
        self._waiters: dict[str, list[asyncio.Future[None]]] = {}
        self._on_end: dict[str, list[Callable[[Reason], None]]] = {}
        self._parts.gathering.on_left = None

    # --- what the board knows when it opens ---

    def restore(self, states: Mapping[str, bytes]) -> None:
        """Take up what was paused or had a deadline, before any work goes on.

        Nothing begins of a workflow whose deadline passed while the board was closed.
        """
        now = self._parts.clock.time()
        for workflow, data in states.items():
            kept = json.loads(data)
            due, is_paused = kept.get("deadline"), kept.get("paused", False)
            if due is not None:
                known = self._deadlines[workflow] = self._deadline(workflow, due)
                known.cancel()  # until there is something to end
                self._restored.append((workflow, known))
            if is_paused or (due is not None and due <= now):
                self.holds[workflow] = Hold(is_paused=is_paused)

    def begin(self) -> None:
        """Let deadlines fall due, once the work that was open goes on or is held."""
        restored, self._restored = self._restored, []
        now = self._parts.clock.time()
        for workflow, known in restored:
            if self._deadlines.get(workflow) is not known:  # a hook set another one
                if not self._holding.is_paused(workflow):
                    self._release(workflow)
            elif known.when <= now:
                self._falls_due(workflow)
            else:
                self._deadlines[workflow] = self._deadline(workflow, known.when)

    # --- pausing ---

    async def pause(self, workflow: str) -> None:
        """Let no run of a workflow begin from now on; see `Flock.pause`."""
        async with self._turn(workflow):
            if self._holding.is_paused(workflow):
                return
            hold = self.holds.setdefault(workflow, Hold(is_paused=True))
            hold.is_paused = True
            self._parts.scheduler.hold_back(workflow)
            self._parts.router.hold_back(workflow)
            self._parts.gathering.count_due()
            self.on_zero(workflow)
            commit = self._commit(workflow, WorkflowPaused(self._now, workflow))
            try:
                await self._parts.patience.commit(commit)
            finally:
                if not commit.is_done:
                    self._release(workflow)
        await self._parts.scheduler.until_begun(workflow)

    async def resume(self, workflow: str) -> None:
        """Let a workflow go on that was paused; see `Flock.resume`."""
        async with self._turn(workflow):
            hold = self.holds.get(workflow)
            if hold is None or not hold.is_paused:
                return
            happened = WorkflowResumed(self._now, workflow)
            commit = self._commit(workflow, happened, is_paused=False)
            try:
                await self._parts.patience.commit(commit)
            finally:
                if commit.is_done:
                    self._release(workflow)

    def _release(self, workflow: str) -> None:
        """Let what is held of a workflow go on, in the order it came."""
        hold = self.holds.pop(workflow, None)
        if hold is None:
            return
        for item in list(hold.items):
            if isinstance(item, Job):
                self._parts.scheduler.let_go(item)
            else:
                self._idle.waiting -= 1
                self._parts.router.deliver([item])
        self._parts.gathering.count_due()
        self.on_zero(workflow)

    # --- ending ---

    async def cancel(self, workflow: str) -> int:
        """End a workflow; return how many deliveries were closed; see `Flock.cancel`.

        It goes on though its caller is cancelled, who may be an agent that is ended with it.

        Raises:
            PublishError: The board was shut down before it was done.
            StoreError: The store could not close what was open.
        """
        return await self.end(workflow, "cancel")

    async def end(self, workflow: str, reason: Reason) -> int:
        """End a workflow for a reason; see `cancel`."""
        closed: list[int] = []
        errors: list[Exception] = []
        task = self._spawn_end(workflow, reason, closed, errors)
        await asyncio.wait([task])
        if errors:
            raise errors[0]
        if not closed:
            msg = (
                f"the board was shut down before workflow {workflow!r} was cancelled; what is left "
                "of it stays open: cancel it again when the board is open"
            )
            raise PublishError(msg)
        return closed[0]

    def _spawn_end(
        self, workflow: str, reason: Reason, closed: list[int], errors: list[Exception] | None
    ) -> asyncio.Task[None]:
        """End a workflow in a task that the board owns, and that is open work if there is any."""
        is_counted = self._is_open(workflow)
        if is_counted:
            self._idle.begin(workflow)
        begun: list[Job] = []
        if reason == "cancel":  # what has not begun by now does not
            begun = [j for j in self._parts.scheduler.jobs(workflow) if j.ending != "cancel"]
            for job in begun:
                self._parts.scheduler.end(job, "cancel")
        work = self._carry_out(workflow, reason, begun, closed, errors, is_counted=is_counted)
        task = self._parts.lifecycle.spawn(work, f"{reason} of a workflow")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return task

    async def finish(self) -> None:
        """Let what is being ended be closed, before the store is."""
        while self._ending:
            await asyncio.wait(self._ending)

    def _is_open(self, workflow: str) -> bool:
        """Return whether anything of a workflow goes on, is held or waits."""
        hold = self.holds.get(workflow)
        is_going = self._idle.open_in(workflow) or (hold is not None and hold.items)
        return bool(is_going or self._parts.router.waiting(workflow))

    async def _carry_out(
        self,
        workflow: str,
        reason: Reason,
        begun: list[Job],
        closed: list[int],
        errors: list[Exception] | None,
        *,
        is_counted: bool,
    ) -> None:
        try:
            async with self._turn(workflow):
                closed.append(await self._end_all(workflow, reason, begun))
        except Exception as error:
            if errors is None:
                raise
            errors.append(error)
        finally:
            if is_counted:
                self._idle.end(workflow)
            self.on_zero(workflow)

    async def _end_all(self, workflow: str, reason: Reason, begun: list[Job]) -> int:
        """End all that is open of a workflow, also what follows from what commits meanwhile.

        All of it is held until then, so that nothing of it begins.
        """
        deadline = self._deadlines.get(workflow)
        now = self._parts.clock.time()
        if reason == "deadline" and deadline is not None and deadline.when > now:
            return 0  # it was put off meanwhile
        hold = self.holds.setdefault(workflow, Hold(is_paused=False))
        was_paused, hold.is_paused = hold.is_paused, False
        is_ended = was_paused and reason == "cancel"
        count, is_recorded = 0, False
        seen: set[Job] = set()  # one that is ended by the shutdown stays so
        try:
            while True:
                closed = await self._end_open(workflow, seen, begun)
                begun = []
                if closed is not None:
                    is_ended = True
                    count += closed
                elif is_recorded or not (is_ended or deadline):
                    break
                else:
                    stays_paused = was_paused and not is_ended
                    await self._record_end(workflow, reason if is_ended else None, stays_paused)
                    is_recorded = True
        finally:
            if was_paused and not (is_recorded and is_ended):
                hold.is_paused = True
            else:
                self._release(workflow)
        if is_ended:
            for told in list(self._on_end.get(workflow, ())):
                told(reason)
        return count

    async def _end_open(self, workflow: str, seen: set[Job], begun: list[Job]) -> int | None:
        """End what is open of a workflow now; return how many deliveries, None if nothing was."""
        while (
            other := next((p for p in self._passes if workflow in p.workflows), None)
        ) is not None:
            await asyncio.wait([other.done])
        parts = self._parts
        seen.update(begun)
        jobs = begun + [
            job
            for job in parts.scheduler.jobs(workflow)
            if job.ending != "cancel" and job not in seen
        ]
        seen.update(jobs)
        mine = _Pass()
        mine.workflows |= _workflows_of(d for job in jobs for d in job.deliveries) - {workflow}
        self._passes.append(mine)
        try:
            await parts.scheduler.cancel(jobs)
            await parts.schedules.cancel(jobs)
            found = [d for job in jobs for d in job.deliveries if d.is_open]
            found += parts.router.discard(workflow)
            mine.workflows |= _workflows_of(found) - {workflow}
            if not jobs and not found:
                return None
            own = [d for d in found if d.artifact.correlation_id == workflow]
            now = self._now
            cancelled = [job for job in jobs if job.call is None and job.ending == "cancel"]
            events = [RunCancelled(now, job.correlation_id, job.agent, job.id) for job in cancelled]
            states = [state for job in jobs for state in job.forgets]
            await parts.outcomes.close(own, events, states)
            others = (d for d in found if d.artifact.correlation_id != workflow)
            parts.router.regather(d for d in others if d.is_open)
            return len(own)
        finally:
            self._passes.remove(mine)
            mine.done.set_result(None)
            for other in mine.workflows:
                self.on_zero(other)

    async def _record_end(self, workflow: str, reason: Reason | None, stays_paused: bool) -> None:  # noqa: FBT001
        """Have it last that a workflow was ended, or only that its deadline is over."""
        deadline = self._deadlines.pop(workflow, None)
        if deadline is not None:
            deadline.cancel()
        if reason is None:
            states = [self._state(workflow, is_paused=stays_paused)]
            await self._parts.patience.commit(Commit(at=self._parts.clock.time(), states=states))
            return
        mark = self._parts.store.mark
        end = {"reason": reason, "artifacts": mark.artifacts, "runs": mark.runs}
        happened = WorkflowCancelled(self._now, workflow, reason)
        commit = self._commit(workflow, happened, is_paused=False)
        commit.states = [*commit.states, State(ENDED, workflow, json.dumps(end).encode())]
        await self._parts.patience.commit(commit)

    # --- deadlines ---

    def deadline_of(self, workflow: str) -> float | None:
        """Return when a workflow is ended, in seconds since the epoch; None without a deadline."""
        deadline = self._deadlines.get(workflow)
        return None if deadline is None else deadline.when

    async def set_deadline(self, workflow: str, due: float | None) -> None:
        """End a workflow at a time of the board's clock, or not any more."""
        async with self._turn(workflow):
            before = self._deadlines.pop(workflow, None)
            if due is not None:
                self._deadlines[workflow] = self._deadline(workflow, due)
            elif before is None:
                return
            commit = self._commit(workflow, None)
            try:
                await self._parts.patience.commit(commit)
            finally:
                gone = before if commit.is_done else self._deadlines.pop(workflow, None)
                if gone is not None:
                    gone.cancel()
                if before is not None and not commit.is_done:
                    self._deadlines[workflow] = before

    def _deadline(self, workflow: str, due: float) -> Deadline:
        return self._parts.lifecycle.timers.add(due, partial(self._falls_due, workflow))

    def _falls_due(self, workflow: str) -> None:
        self._spawn_end(workflow, "deadline", [], None)

    # --- waiting for one workflow ---

    @property
    def is_watched(self) -> bool:
        """Whether somebody waits for a workflow to be done."""
        return bool(self._waiters)

    async def wait_until_done(self, workflow: str) -> None:
        """Wait until nothing of a workflow goes on, falls due or is held.

        Raises:
            NotIdle: The board was shut down before.
        """
        while not self._is_done(workflow):
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.setdefault(workflow, []).append(waiter)
            self._parts.gathering.on_left = self._on_left
            try:
                await waiter
            finally:
                self._forget(workflow, waiter)

    def on_zero(self, workflow: str) -> None:
        """Look, once this turn of the event loop is over, whether a workflow is done."""
        if workflow in self._waiters:
            asyncio.get_running_loop().call_soon(self._check, workflow)

    def fail(self, error: Exception) -> None:
        """Let everybody know who waits that no workflow goes on here."""
        for waiters in self._waiters.values():
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_exception(error)

    def watch_end(self, workflow: str, told: Callable[[Reason], None]) -> Callable[[], None]:
        """Have it told when a workflow is ended; return what ends that."""
        self._on_end.setdefault(workflow, []).append(told)

        def stop() -> None:
            listeners = self._on_end.get(workflow, [])
            if told in listeners:
                listeners.remove(told)
            if not listeners:
                self._on_end.pop(workflow, None)

        return stop

    def _is_done(self, workflow: str) -> bool:
        hold = self.holds.get(workflow)
        if self._idle.open_in(workflow) or (hold is not None and hold.items):
            return False
        if any(workflow in each.workflows for each in self._passes):
            return False  # what a cancel of another workflow took of it waits again soon
        return not self._parts.gathering.falls_due(workflow)

    def _check(self, workflow: str) -> None:
        if workflow in self._waiters and self._is_done(workflow):
            for waiter in self._waiters[workflow]:
                if not waiter.done():
                    waiter.set_result(None)

    def _on_left(self, deliveries: Iterable[Delivery]) -> None:
        for workflow in _workflows_of(deliveries):
            self.on_zero(workflow)

    def _forget(self, workflow: str, waiter: asyncio.Future[None]) -> None:
        waiters = self._waiters.get(workflow, [])
        if waiter in waiters:
            waiters.remove(waiter)
        if not waiters:
            self._waiters.pop(workflow, None)
        if not self._waiters:
            self._parts.gathering.on_left = None

    # --- what is kept ---

    @property
    def _now(self) -> datetime:
        return as_datetime(self._parts.clock.time())

    @asynccontextmanager
    async def _turn(self, workflow: str) -> AsyncGenerator[None]:
        """Do one thing at a time with a workflow, in the order it was asked for."""
        lock = self._locks.setdefault(workflow, asyncio.Lock())
        async with lock:
            yield

    def _state(self, workflow: str, *, is_paused: bool) -> State:
        kept: dict[str, object] = {"paused": True} if is_paused else {}
        if (due := self.deadline_of(workflow)) is not None:
            kept["deadline"] = due
        return State(CONTROLLED, workflow, json.dumps(kept).encode() if kept else None)

    def _commit(
        self,
        workflow: str,
        happened: Event | None,
        *,
        is_paused: bool | None = None,
    ) -> Commit:
        """Return the commit of what is kept of a workflow, and what is logged of it."""
        now = self._parts.clock.time()
        if is_paused is None:
            is_paused = self._holding.is_paused(workflow)
        states = [self._state(workflow, is_paused=is_paused)]
        if happened is None:
            return Commit(at=now, states=states)
        return Commit(at=now, states=states, logged=[logged(happened)])


def _workflows_of(deliveries: Iterable[Delivery]) -> set[str]:
    return {delivery.artifact.correlation_id for delivery in deliveries}
