"""Ready runs become tasks: limits, priority, cancellation."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import random
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextvars import Context as Variables
from functools import partial
from sys import getrefcount
from types import coroutine
from typing import TYPE_CHECKING, Any, Final

from flock.clock import Clock, as_datetime
from flock.core.slots import Slots
from flock.errors import PublishError
from flock.orchestrator.attempts import Attempts
from flock.orchestrator.events import EventBus, RunQueued
from flock.orchestrator.job import Call, Ending, Job, Lane, TickJob
from flock.orchestrator.limits import Strands
from flock.orchestrator.ready import Ready

if TYPE_CHECKING:
    from flock.core.agent import Agent
    from flock.core.artifacts import Artifact
    from flock.core.delivery import Delivery, Run, TickRun
    from flock.core.subscription import Subscription
    from flock.orchestrator.holding import Holding
    from flock.orchestrator.idle import Idle
    from flock.orchestrator.limits import Limits

logger = logging.getLogger(__name__)

_random = random.SystemRandom()  # never the generator that users seed

_CANCELLATIONS: Final = 3
"""How often a task that ignores its cancellation is cancelled before it is left behind."""
_TURN: Final = 0.001
"""Seconds of real time after which short runs in a row let the event loop have a turn."""
_PATIENCE: Final = 1.0
"""Seconds of real time that a cancelled task may take to end."""


class Scheduler:
    """Owns every task that runs an agent.

    A run is queued, gets a slot of its agent and of the board, and becomes a task; the
    task ends by committing, by failing or by being cancelled, and gives the slots back.
    """

    def __init__(
        self,
        clock: Clock,
        events: EventBus,
        idle: Idle,
        attempts: Attempts,
        holding: Holding,
        limits: Limits,
        *,
        max_concurrency: int | None,
    ) -> None:
        self._holding = holding
        self._holds = holding.holds
        self._clock = clock
        self._events = events
        self._idle = idle
        self._attempts = attempts
        self._limits = limits
        self._board = Slots(max_concurrency if max_concurrency is not None else UNLIMITED)
        self._lanes: dict[str, Lane] = {}
        self._offers: list[tuple[tuple[int, int], int, Lane]] = []
        self._order = itertools.count(1)
        self._run_keys = itertools.count(1)
        self._is_looking = False
        self._is_stopped = False
        self._jobs: dict[Job, None] = {}
        self._mixed: dict[Job, None] = {}
        self._asking: dict[Job, None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._has_task_factory = False
        self._no_variables = Variables()
        self._held: list[Job] = []
        attempts.end = self.end
        attempts.enqueue = self.enqueue
        attempts.jobs = self._jobs
        attempts.holding = holding
        attempts.on_mixed_end = self._mixed_ended

    # --- the life of the scheduler ---

    def start(self) -> None:
        """Begin on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._has_task_factory = self._loop.get_task_factory() is not None
        self._is_stopped = self._attempts.is_stopped = False
        self._attempts.preparing.clear()
        self._is_looking = False
        self._run_keys = itertools.count(_random.getrandbits(127))
        self._offers.clear()
        self._held.clear()
        self._jobs.clear()
        self._mixed.clear()
        self._asking.clear()
        for lane in self._lanes.values():
            lane.slots.clear()
        self._lanes.clear()
        self._board.clear()

    def opened_at(self, position: int) -> None:
        """Say up to which position on the board an earlier process may have begun runs."""
        self._attempts.opened_at = position

    async def drain(
        self, grace: float, others: Callable[[], Sequence[asyncio.Future[None]]]
    ) -> None:
        """Let queued and running work end, for at most `grace` seconds of real time.

        Args:
            grace: Seconds of real time.
            others: What else goes on that may start runs.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + grace
        # where the event loop ends, nothing goes on
        while (left := end - loop.time()) > 0 and not self._attempts.is_torn_down():
            if self._is_looking:
                await asyncio.sleep(0)
                continue
            tasks: list[asyncio.Future[None]] = [*self._tasks(), *others()]
            if not tasks:
                return
            await asyncio.wait(tasks, timeout=left)

    async def stop(self) -> None:
        """Cancel what runs and wait for it to end; its deliveries stay open."""
        self._is_stopped = self._attempts.is_stopped = True
        for job in list(self._jobs):
            self.end(job, "shutdown")
        for _ in range(_CANCELLATIONS):
            tasks = self._tasks()
            if not tasks:
                break
            _, pending = await asyncio.wait(tasks, timeout=_PATIENCE)
            for task in pending:
                task.cancel()
        left: list[str] = []
        for job in list(self._jobs):
            if job.task is not None and job.task.done():  # cancelled before its first step
                self._attempts.leave(job)
            elif job.task is not None:
                left.append(job.agent)
        if left:
            logger.error("Runs that ignore their cancellation were left behind: %s", sorted(left))

    def _tasks(self) -> list[asyncio.Task[None]]:
        current = asyncio.current_task()
        tasks = {job.task for job in self._jobs if job.task is not None}
        return [task for task in tasks if not task.done() and task is not current]

    # --- queueing ---

    def submit_one(self, agent: Agent, delivery: Delivery) -> None:
        """Queue a run over one delivery.

        Its id is a function of the artifact and the subscription, so that it is the same in
        another process, though nothing was written down when it was begun.
        """
        lane = self._lanes.get(agent.name) or self._lane_of(agent)
        artifact, subscription = delivery.artifact, delivery.subscription
        job = Job(artifact.key ^ subscription.salt, lane, subscription, (delivery,), [artifact])
        delivery.run = job
        self._idle.begin(job.correlation_id)
        self._jobs[job] = None
        self._queue(job)

    def new_key(self) -> int:
        """Return the id of a run that has none yet, as a number."""
        return next(self._run_keys)

    def submit(
        self,
        agent: Agent,
        subscription: Subscription | None,
        deliveries: Sequence[Delivery],
        artifacts: list[Artifact],
        *,
        is_batch: bool = False,
        run: Run | None = None,
    ) -> Job:
        """Queue a run over these inputs.

        Args:
            agent: Who runs.
            subscription: What gathered the inputs; None for a direct call.
            deliveries: What the run uses up.
            artifacts: The inputs, in the agent's order.
            is_batch: Whether they were batched.
            run: The same run, if it was begun before: it keeps its id and progress.
        """
        lane = self._lanes.get(agent.name) or self._lane_of(agent)
        key = next(self._run_keys) if run is None else run.key
        job = Job(key, lane, subscription, deliveries, artifacts, is_batch)
        if run is not None:
            job.take_over(run)
        for delivery in deliveries:
            delivery.run = job
        self._idle.begin(job.correlation_id)
        self._jobs[job] = None
        if is_batch:
            self._mix(job)
            for workflow in job.others:
                self._idle.begin_due(workflow)
        self._queue(job)
        return job

    def _queue(self, job: Job) -> None:
        """Queue a run, or let it wait until its next attempt is due."""
        if self._holds and self._holding.holds_run(job):
            self._holding.keep(job)
        elif job.due and job.due > self._clock.time():
            self._attempts.back_off(job)
        else:
            job.due = 0.0
            self.enqueue(job)

    def _mix(self, job: Job) -> None:
        """Let a batch be known to all workflows that are mixed in it."""
        if others := job.workflows - {job.correlation_id}:
            job.others = tuple(others)
            self._mixed[job] = None

    def _mixed_ended(self, job: Job) -> None:
        """Let the other workflows of a batch know that its run ended."""
        del self._mixed[job]
        for workflow in job.others:
            self._idle.end_due(workflow)

    def take_over(self, agent: Agent, run: Run) -> Job:
        """Return a run that was begun before, to be queued no more: it waits for a person."""
        lane = self._lanes.get(agent.name) or self._lane_of(agent)
        job = Job(run.key, lane, run.subscription, run.deliveries, run.artifacts, run.is_batch)
        job.take_over(run)
        if job.is_batch:
            self._mix(job)
        for delivery in run.deliveries:
            delivery.run = job
        self._jobs[job] = None
        return job

    def set_aside(self, job: Job, *, is_counted: bool) -> None:
        """Let a run wait for a person, as no open work.

        Args:
            job: The run.
            is_counted: Whether it is open work until now.
        """
        job.task = None
        job.state = "waiting"
        self._asking[job] = None
        if is_counted:
            for workflow in job.others:
                self._idle.end_due(workflow)
            self._idle.end(job.correlation_id)

    def take_up(self, job: Job) -> None:
        """Count a run that waited for a person as open work again."""
        self._asking.pop(job, None)
        self._idle.begin(job.correlation_id)
        for workflow in job.others:
            self._idle.begin_due(workflow)

    def carry_on(self, job: Job) -> None:
        """Go on with a run that waited for a person, at once.

        It takes no slot: what a person answers does not wait for agents that are busy, nor for
        the one that hands the answer on.
        """
        job.state = "running"
        job.task = self._task(self._attempts.run_agent_task(job), _variables_of(job))

    def submit_tick(self, agent: Agent, run: TickRun) -> TickJob:
        """Queue a run that a tick of a schedule started; it keeps its id and progress."""
        assert run.tick is not None
        job = TickJob(run, self._lane_of(agent), run.tick)
        self._idle.begin(job.correlation_id)
        self._jobs[job] = None
        self._queue(job)
        return job

    def call(self, agent: Agent, artifacts: list[Artifact], call: Call, *, is_stored: bool) -> Job:
        """Run an agent directly, once, over these inputs.

        Args:
            agent: Who runs.
            artifacts: The inputs.
            call: What the caller asks for; its `waiter` gets the outcome.
            is_stored: Whether the inputs are on the board, as parents of the outputs.

        Raises:
            PublishError: The board shuts down and starts no run any more.
        """
        self.require_going(agent)
        job = Job(next(self._run_keys), self._lane_of(agent), None, (), artifacts)
        job.call = call
        if not is_stored:
            job.parent_keys = ()
        self._idle.begin(job.correlation_id)
        self._jobs[job] = None
        if self._is_stopped:  # the board was closed while the inputs were being stored
            self.end(job, "shutdown")
        else:
            self.enqueue(job)
        return job

    def require_going(self, agent: Agent) -> None:
        """Refuse to run an agent on a board whose runs are ended.

        Raises:
            PublishError: They are.
        """
        if self._is_stopped:
            msg = (
                f"agent {agent.name!r} was called while the board shuts down, which starts no run "
                "any more; publish its input instead, and it runs when the board is open again"
            )
            raise PublishError(msg)

    def schedule_task(
        self,
        agent: Agent,
        artifacts: list[Artifact],
        is_batch: bool = False,  # noqa: FBT001, FBT002 - as the guide shows it
    ) -> asyncio.Task[Any]:
        """Run an agent over these inputs at once, in a tracked task, and commit its outputs.

        It waits neither for a slot nor for its turn under limits, which count it all the same;
        `drain` and `stop` see it like any other run.
        """
        lane = self._lane_of(agent)
        job = Job(next(self._run_keys), lane, None, (), artifacts, is_batch)
        waiter: asyncio.Future[list[Artifact]] = asyncio.get_running_loop().create_future()
        waiter.add_done_callback(retrieve)
        job.call = Call(waiter, is_nested=True)
        self._idle.begin(job.correlation_id)
        self._jobs[job] = None
        job.state = "running"
        if lane.nested is not None:
            lane.nested.force(job)
        return self._start(job)

    def jobs(self, workflow: str) -> list[Job]:
        """Return the runs that have not ended and have to do with a workflow.

        All runs are looked at, unless the workflow has none.
        """
        hold = self._holds.get(workflow)
        if not self._idle.open_in(workflow) and not (hold and hold.items):
            asking = [job for job in self._asking if job.correlation_id == workflow]
            return [*asking, *(job for job in self._mixed if workflow in job.others)]
        return [
            job
            for job in self._jobs
            if job.correlation_id == workflow or (job.is_batch and workflow in job.workflows)
        ]

    # --- holding a workflow back ---

    def hold_back(self, workflow: str) -> None:
        """Hold the runs of a workflow that wait for a slot or for their next attempt."""
        found = [
            job
            for job in self._jobs
            if job.correlation_id == workflow and self._holding.holds_run(job)
        ]
        lanes = dict.fromkeys(job.lane for job in found if job.state == "queued")
        queued = [job for lane in lanes for job in self._taken_out(lane, workflow)]
        later = sorted((job for job in found if job.state == "backing off"), key=_due)
        for job in [*queued, *later]:
            if job.deadline is not None:
                job.deadline.cancel()
                job.deadline = None
            self._holding.keep(job)

    def _taken_out(self, lane: Lane, workflow: str) -> list[Job]:
        """Take out and return the runs of a workflow that wait in a lane, in their order."""
        if isinstance(lane.ready, Ready):
            return lane.ready.take_out(workflow)
        queued = [*lane.ready.drained()]
        lane.ready, lane.offered = self._strands(lane), None
        for job in queued:
            if job.correlation_id != workflow:
                self._line_up(job, is_told=True)
        return [job for job in queued if job.correlation_id == workflow]

    async def until_begun(self, workflow: str) -> None:
        """Wait until what has a slot of a workflow has begun."""
        for _ in range(2):  # what has a task already
            await asyncio.sleep(0)
        await self._attempts.until_begun(workflow)

    def let_go(self, job: Job) -> None:
        """Let a run that was held go on."""
        self._holding.give_back(job)
        self._queue(job)

    # --- ending from outside ---

    def end(self, job: Job, why: Ending, error: Exception | None = None) -> None:
        """End a run from outside, wherever it is.

        `"timeout"` fails it with `error`; `"cancel"` is for runs whose deliveries are
        closed; `"shutdown"` leaves them open.
        """
        if job.state == "ended" or job.is_committed or job.ending in {"cancel", "shutdown"}:
            return
        is_ending = job.ending is not None
        job.ending = why
        job.error = error
        if job.state == "held":
            self._holding.give_back(job)
            self._attempts.leave(job)
        elif job.state in {"queued", "backing off", "waiting"}:
            if job.state == "queued" and job.lane.nested is not None:
                job.lane.queue_of(job).ended()
            self._attempts.leave(job)
        elif job.state == "running" and job.task and job.context and not is_ending:
            job.context.ended_by = error
            job.task.cancel()

    async def cancel(self, jobs: Sequence[Job]) -> None:
        """End runs, whose deliveries are closed, and wait for those that go on to stop.

        A run that ignores its cancellation is not waited for longer than a moment; its
        outputs do not appear.
        """
        tasks = {job.task for job in jobs if job.task is not None}
        for job in jobs:
            self.end(job, "cancel")
        current = asyncio.current_task()
        waiting = [task for task in tasks if task is not current]
        if waiting:
            await asyncio.wait(waiting, timeout=_PATIENCE)

    # --- from ready to running ---

    def enqueue(self, job: Job, *, is_told: bool = False) -> None:
        """Let a run wait for its slots, or take its caller's; limits it waits for in any case.

        Args:
            job: The run.
            is_told: Whether it was queued before, and that was told of.
        """
        if self._holds and self._holding.holds_run(job):
            self._holding.keep(job)
            return
        job.state = "queued"
        lane = job.lane
        if job.call is not None and job.call.is_nested:
            if lane.nested is None:
                job.state = "running"
                self._start(job)
            else:
                lane.nested.push(0, job)
                self._start_nested(lane.nested)
        else:
            self._line_up(job, is_told=is_told)

    def _line_up(self, job: Job, *, is_told: bool) -> None:
        lane = job.lane
        ready = lane.ready
        if not ready.first:
            lane.turn = next(self._order)
        subscription = job.subscription
        priority = 0 if subscription is None else subscription.priority
        ready.push(priority, job)
        if self._events.is_heard and not is_told:
            self._events.tell(
                RunQueued(as_datetime(self._clock.time()), job.correlation_id, job.agent, job.id)
            )
        if lane.offered is None or priority > -lane.offered[0]:
            self._offer(lane)

    def _free(self, job: Job) -> None:
        """Give the slots of a run that ended back, and let the next one start."""
        lane = job.lane
        if (job.call is not None and job.call.is_nested) or (
            self._lanes.get(job.agent) is not lane
        ):
            return  # it had its caller's slot, or one of a board that was closed since
        lane.slots.give()
        self._board.used -= 1
        if lane.offered is None and lane.ready.first:
            self._offer(lane)
        if self._offers and not self._is_looking:
            self._wake()

    def _lane_of(self, agent: Agent) -> Lane:
        lane = self._lanes.get(agent.name)
        if lane is None:
            lane = self._lanes[agent.name] = Lane(agent)
            agent.slots.on_free = partial(self._offer, lane)
            self._limit(lane)
        return lane

    def limit(self) -> None:
        """Let the limits hold that are declared by now, also for what is queued."""
        for lane in self._lanes.values():
            self._limit(lane)

    def _limit(self, lane: Lane) -> None:
        rules = self._limits.of(lane.agent.name)
        if rules == (lane.nested.rules if lane.nested is not None else ()):
            return
        queued = [*lane.ready.drained(), *(lane.nested.drained() if lane.nested else ())]
        lane.offered = None
        if rules:
            lane.ready = self._strands(lane)
            lane.nested = Strands(self._limits, rules, self._clock, lambda: None)
            lane.nested.on_open = partial(self._start_nested, lane.nested)
            lane.waits = True  # each in a task of its own
        else:
            lane.ready, lane.nested = Ready(), None
        for job in queued:
            self.enqueue(job, is_told=True)

    def _strands(self, lane: Lane) -> Strands:
        rules = self._limits.of(lane.agent.name)
        return Strands(self._limits, rules, self._clock, partial(self._offer, lane))

    def _start_nested(self, queue: Strands) -> None:
        """Start calls from inside other runs, whose slots they have, as far as limits let them."""
        while queue.first and not self._is_stopped:
            job = queue.pop()
            if job is not None:
                job.state = "running"
                self._start(job)

    def _offer(self, lane: Lane) -> None:
        """Let the pump know of a lane that can start a run."""
        if lane.ready.first and lane.slots.used < lane.slots.limit:
            key = -lane.ready.priority, lane.turn
            if lane.offered != key:
                lane.offered = key
                heapq.heappush(self._offers, (key, next(self._order), lane))
            if not self._is_looking:
                self._wake()

    def _wake(self) -> None:
        if self._loop is not None:
            self._is_looking = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        """Start what can start, the most urgent first, in one step of the event loop."""
        self._is_looking = False
        if self._attempts.is_torn_down():
            return  # the event loop is ending, and what starts now would never end
        is_attended = self._attempts.is_attended
        while (job := self._next()) is not None:
            waits = job.lane.waits
            if waits or is_attended:
                self._start(job)
                continue
            job.task = self._task(self._run_in_a_row(job), self._no_variables)
            if waits is not None:
                self._is_looking = True
                return  # that task goes on with the others

    def _next(self) -> Job | None:
        """Take the most urgent run that can start out of its queue, and give it its slots.

        Of equally urgent ones it is that of the lane that has waited longest since it started
        one: lanes take turns, however much is queued in one of them.
        """
        offers = self._offers
        board = self._board
        while offers and not self._is_stopped and board.used < board.limit:
            key, _, lane = offers[0]
            ready, slots = lane.ready, lane.slots
            if lane.offered != key or not ready.first or slots.used >= slots.limit:
                heapq.heappop(offers)
                if lane.offered == key:
                    lane.offered = None
            elif len(offers) > 1 and ready.priority != -key[0]:  # what made it so urgent was taken
                self._offer_again(lane)
            else:
                job = ready.pop()
                if job is not None and job.state == "queued":
                    job.state = "running"
                    slots.used += 1
                    board.used += 1
                    if len(offers) > 1:
                        lane.turn = next(self._order)
                        self._offer_again(lane)
                    return job
        return None

    def _offer_again(self, lane: Lane) -> None:
        """Put a lane that was offered first where it belongs now, if it has more to start."""
        if not lane.ready.first:
            return
        lane.offered = key = -lane.ready.priority, lane.turn
        entry = key, next(self._order), lane
        if self._offers[0][2] is lane:
            heapq.heapreplace(self._offers, entry)
        else:  # what it left of a limit woke a more urgent one
            heapq.heappush(self._offers, entry)

    def _start(self, job: Job) -> asyncio.Task[None]:
        """Carry out an attempt in a task of its own."""
        job.task = self._task(self._run_alone(job), _variables_of(job))
        return job.task

    async def _run_alone(self, job: Job) -> None:
        try:
            await self._attempts.run_agent_task(job)
        finally:
            self._free(job)

    def _task(self, work: Coroutine[Any, Any, None], variables: Variables) -> asyncio.Task[None]:
        assert self._loop is not None
        if self._has_task_factory:  # it may take no context of its own
            return variables.copy().run(self._loop.create_task, _a_step_later(work))
        # what `create_task` does then, without its detours
        return asyncio.Task(work, loop=self._loop, context=variables)

    # --- short runs, which never wait ---

    async def _run_in_a_row(self, job: Job | None) -> None:
        """Carry out attempts one after the other, in this task, until one has waited.

        A task costs as much as all else that a short run needs. A run that never waits leaves
        its task to the next one: it never gave the event loop a turn, so nobody can know the
        task by now, unless the run itself handed it out. Each run has its own context variables
        all the same.
        """
        task = asyncio.current_task()
        assert task is not None
        assert self._loop is not None
        end = self._loop.time() + _TURN
        known_by = getrefcount(task) - 1  # but for the run, which forgets it when it ends
        self._is_looking = True
        while job is not None:
            job.task = task
            if await self._run_here(job):
                return
            # a run that ended may have been waited for, or have left a cancellation that did not
            # reach it, or its task with somebody who cancels it later: not for the next one
            if (
                job.ending is not None
                or task.cancelling()
                or getrefcount(task) > known_by
                or self._loop.time() > end
            ):
                self._held.append(job)  # who is next is known when the next row begins
                break
            job = self._following(job)
        self._let_go()
        self._is_looking = False
        if self._offers:
            self._wake()

    def _following(self, job: Job) -> Job | None:
        """Return the run that goes on where one ended, in its slots where it can.

        Where several lanes have runs that are ready, one that ended holds its slots until no
        more can start, as if they all went on at once. Otherwise an agent whose runs never
        wait would never have used up its slots, and no other agent would get its turn.
        """
        offers = self._offers
        if len(offers) == 1 and not self._held and not self._is_stopped:
            lane = offers[0][2]
            slots = lane.slots
            is_mine = lane is job.lane and lane.offered is not None
            if is_mine and lane.ready.first and slots.used <= slots.limit and not slots.waiters:
                following = lane.ready.pop()
                if following is not None and following.state == "queued":
                    following.state = "running"
                    return following
        self._held.append(job)
        following = self._next()
        if following is None:
            self._let_go()
            following = self._next()
        return following

    def _let_go(self) -> None:
        """Give back the slots that runs in a row held on to."""
        held = self._held
        while held:
            self._free(held.pop())

    @coroutine
    def _run_here(self, job: Job) -> Generator[Any, Any, bool]:
        """Carry out an attempt under its own context variables; return whether it waited."""
        run = job.variables.copy().run
        work = self._attempts.run_agent_task(job)
        lane = job.lane
        try:
            waits_for = run(work.send, None)
        except StopIteration:
            if lane.waits is None:
                lane.waits = False
            return False
        except BaseException:
            self._is_looking = False
            self._let_go()
            self._free(job)
            raise
        lane.waits = True
        self._let_go()
        self._is_looking = False
        if self._offers:
            self._pump()
        try:
            yield from _rest_of(work, run, waits_for)
        finally:
            self._free(job)
        return True


def _rest_of(
    work: Coroutine[Any, Any, None], run: Callable[..., Any], waits_for: object
) -> Generator[Any, Any, None]:
    """Go on with a coroutine that waits for something, each step under its variables."""
    while True:
        result: object = None
        thrown: BaseException | None = None
        try:
            result = yield waits_for
        except BaseException as error:  # noqa: BLE001 - the run's own
            thrown = error
        try:
            step = work.send if thrown is None else work.throw
            waits_for = run(step, result if thrown is None else thrown)
        except StopIteration:
            return
        finally:
            thrown = None  # its traceback knows this frame: no reference cycle keeps both


async def _a_step_later(work: Coroutine[Any, Any, None]) -> None:
    """Begin in the next turn of the event loop, also where tasks are started eagerly.

    Whoever makes a task for a run has to know it before the run begins.
    """
    try:
        await asyncio.sleep(0)
    except BaseException:
        work.close()
        raise
    await work


def _due(job: Job) -> float:
    """When the next attempt of a run may begin."""
    return job.due


def _variables_of(job: Job) -> Variables:
    """Return the context variables for an attempt; what one sets, the next does not see."""
    return job.variables.copy()


UNLIMITED: Final = 1 << 62
"""A board without a limit of its own."""


def retrieve(waiter: asyncio.Future[Any]) -> None:
    """Look at an outcome that nobody may ask for; events and the report tell of it."""
    if not waiter.cancelled():
        waiter.exception()
