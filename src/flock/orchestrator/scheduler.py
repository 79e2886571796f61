"""Ready runs become tasks: limits, priority, timeout, retry, cancellation."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context as Variables
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from flock.clock import Clock, as_datetime
from flock.core.agent import Agent
from flock.core.artifacts import Artifact, new_key
from flock.core.context import Context
from flock.core.delivery import Delivery, Run
from flock.core.lifecycle import label_of
from flock.core.slots import Slots
from flock.errors import EngineError, LoopLimitExceeded, RunError, RunTimeout
from flock.orchestrator import inside
from flock.orchestrator.events import (
    EventBus,
    RunCancelled,
    RunEmitted,
    RunFailed,
    RunQueued,
    RunRetrying,
    RunStarted,
    RunSucceeded,
)
from flock.orchestrator.idle import Idle
from flock.orchestrator.ready import Ready

if TYPE_CHECKING:
    from flock.core.subscription import Subscription
    from flock.orchestrator.component_runner import ComponentRunner
    from flock.orchestrator.lifecycle_manager import Deadline, Deadlines

logger = logging.getLogger(__name__)

Ending = Literal["timeout", "cancel", "shutdown"]


class Lane:
    """One agent's runs.

    Attributes:
        agent: The agent.
        ready: Its runs that wait for a slot.
        offered: The urgency under which the scheduler knows the lane; None if it does not.
    """

    __slots__ = ("agent", "offered", "ready")

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.ready: Ready[Job] = Ready()
        self.offered: tuple[int, int] | None = None


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
        timeout: Seconds, in place of the agent's own timeout.
        waiter: Resolved with the outputs or the error, for a direct call.
        on_output: Told of each output as it is committed, for a direct call.
        is_committed: Whether its commit is done: from there on it has succeeded.
        is_published: Whether its outputs go on the board.
        is_nested: Whether it was called by another run, whose slot it uses.
        outputs: What it committed so far.
        workflow: The workflow it is counted under.
    """

    __slots__ = (
        "context",
        "deadline",
        "ending",
        "error",
        "is_committed",
        "is_nested",
        "is_published",
        "lane",
        "on_output",
        "outputs",
        "state",
        "task",
        "timeout",
        "waiter",
        "workflow",
    )

    def __init__(
        self,
        key: int,
        lane: Lane,
        subscription: Subscription | None,
        deliveries: Sequence[Delivery],
        artifacts: list[Artifact],
        *,
        is_batch: bool = False,
    ) -> None:
        super().__init__(
            key, lane.agent.name, subscription, deliveries, artifacts, is_batch=is_batch
        )
        self.lane = lane
        self.state: Literal["queued", "running", "backing off", "ended"] = "queued"
        self.ending: Ending | None = None
        self.error: Exception | None = None
        self.task: asyncio.Task[None] | None = None
        self.deadline: Deadline | None = None
        self.context: Context | None = None
        self.waiter: asyncio.Future[list[Artifact]] | None = None
        self.on_output: Callable[[Artifact], None] | None = None
        self.timeout: float | None = None
        self.is_published = True
        self.is_committed = False
        self.is_nested = False
        self.outputs: list[Artifact] = []
        self.workflow = self.correlation_id


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
        components: ComponentRunner,
        timers: Deadlines,
        orchestrator: object,
        *,
        max_depth: int,
        max_concurrency: int | None,
        commit: Callable[[Job, list[Artifact], bool], Awaitable[list[Artifact]]],
        close: Callable[[Job, str], Awaitable[None]],
        bury: Callable[[Run, Exception], Awaitable[None]],
        load_history: Callable[[Job], Awaitable[tuple[Artifact, ...]]],
        on_run_end: Callable[[], None],
        is_torn_down: Callable[[], bool],
    ) -> None:
        self._clock = clock
        self._events = events
        self._idle = idle
        self._components = components
        self._timers = timers
        self._orchestrator = orchestrator
        self._max_depth = max_depth
        self._slots = Slots(max_concurrency) if max_concurrency is not None else None
        self._commit = commit
        self._close = close
        self._bury = bury
        self._load_history = load_history
        self._on_run_end = on_run_end
        self._is_torn_down = is_torn_down
        self._lanes: dict[str, Lane] = {}
        self._offers: list[tuple[tuple[int, int], int, Lane]] = []
        self._order = itertools.count(1)
        self._is_pump_due = False
        self._is_stopped = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._jobs: dict[Job, None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._variables = Variables()

    # --- the life of the scheduler -----------------------------------------------------------

    def start(self, variables: Variables) -> None:
        """Begin on the running event loop; `variables` is what agents' tasks see."""
        self._loop = asyncio.get_running_loop()
        self._variables = variables
        self._is_stopped = False
        self._is_pump_due = False
        self._offers.clear()
        self._jobs.clear()
        self._tasks.clear()
        for lane in self._lanes.values():
            lane.ready = Ready()
            lane.offered = None
            lane.agent.slots.clear()
        if self._slots is not None:
            self._slots.clear()

    async def drain(self, grace: float) -> None:
        """Let queued and running work end for `grace` seconds of real time."""
        loop = asyncio.get_running_loop()
        end = loop.time() + grace
        while (left := end - loop.time()) > 0:
            if self._is_pump_due:
                await asyncio.sleep(0)
            tasks = [task for task in self._tasks if task is not asyncio.current_task()]
            if not tasks:
                if not self._is_pump_due:
                    return
                continue
            await asyncio.wait(tasks, timeout=left)

    async def stop(self) -> None:
        """Cancel what runs and wait for it to end; its deliveries stay open."""
        self._is_stopped = True
        for job in list(self._jobs):
            self.end(job, "shutdown")
        for _ in range(_ENDINGS):
            tasks = [task for task in self._tasks if task is not asyncio.current_task()]
            if not tasks:
                break
            _, pending = await asyncio.wait(tasks, timeout=_PATIENCE)
            for task in pending:
                task.cancel()
        else:
            logger.error(
                "Runs that ignore their cancellation were left behind: %s",
                ", ".join(sorted(task.get_name() for task in self._tasks)),
            )

    # --- queueing ------------------------------------------------------------------------------

    def lane_of(self, agent: Agent) -> Lane:
        """Return the lane of an agent."""
        lane = self._lanes.get(agent.name)
        if lane is None:
            lane = self._lanes[agent.name] = Lane(agent)
            agent.slots.on_free = partial(self._offer, lane)
        return lane

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
        lane = self._lanes.get(agent.name) or self.lane_of(agent)
        key = new_key(self._clock.time()) if run is None else run.key
        job = Job(key, lane, subscription, deliveries, artifacts, is_batch=is_batch)
        if run is not None:
            job.attempt = run.attempt
            job.emitted = run.emitted
            job.steps = run.steps
        for delivery in deliveries:
            delivery.run = job
        self._idle.begin(job.workflow)
        self._jobs[job] = None
        if self._events.is_heard:
            self._events.tell(
                RunQueued(as_datetime(self._clock.time()), job.workflow, job.agent, job.id)
            )
        self._push(job)
        return job

    def call(
        self,
        agent: Agent,
        artifacts: list[Artifact],
        *,
        is_published: bool,
        is_nested: bool,
        is_stored: bool,
        timeout: float | None = None,
        on_output: Callable[[Artifact], None] | None = None,
    ) -> Job:
        """Run an agent directly, once, over these inputs.

        Args:
            agent: Who runs.
            artifacts: The inputs.
            is_published: Whether the outputs go on the board.
            is_nested: Whether the call uses the slot of the run that makes it.
            is_stored: Whether the inputs are on the board, as parents of the outputs.
            timeout: Seconds, in place of the agent's own timeout.
            on_output: Told of each output as it is committed.

        Returns:
            The run; its `waiter` is resolved with the outputs or the error.
        """
        lane = self.lane_of(agent)
        job = Job(new_key(self._clock.time()), lane, None, (), artifacts)
        if not is_stored:
            job.parent_keys = ()
        job.timeout = timeout
        job.waiter = asyncio.get_running_loop().create_future()
        job.on_output = on_output
        job.is_published = is_published
        job.is_nested = is_nested
        self._idle.begin(job.workflow)
        self._jobs[job] = None
        if is_nested:
            self._start(job)
        else:
            self._push(job)
        return job

    def schedule_task(
        self, agent: Agent, artifacts: list[Artifact], is_batch: bool = False  # noqa: FBT001, FBT002
    ) -> asyncio.Task[Any]:
        """Run an agent over these inputs at once, in a tracked task, and commit its outputs.

        It does not wait for a slot; `drain` and `stop` see it like any other run.
        """
        lane = self.lane_of(agent)
        job = Job(new_key(self._clock.time()), lane, None, (), artifacts, is_batch=is_batch)
        job.is_nested = True
        self._idle.begin(job.workflow)
        self._jobs[job] = None
        return self._start(job)

    async def cancel(self, jobs: Sequence[Job]) -> None:
        """End runs, whose deliveries are closed, and wait for those that go on to stop.

        A run that ignores its cancellation is not waited for longer than a moment; its
        outputs do not appear.
        """
        tasks = {job.task for job in jobs if job.task is not None}
        for job in jobs:
            self.end(job, "cancel")
        tasks.discard(asyncio.current_task())
        waiting = [task for task in tasks if task is not None]
        if waiting:
            await asyncio.wait(waiting, timeout=_PATIENCE)

    def jobs(self, workflow: str | None = None) -> list[Job]:
        """Return the runs that have not ended, of one workflow if it is named."""
        return [job for job in self._jobs if workflow is None or job.workflow == workflow]

    def end(self, job: Job, why: Ending, error: Exception | None = None) -> None:
        """End a run from outside, wherever it is.

        `"timeout"` fails it; `"cancel"` closes its deliveries; `"shutdown"` leaves them open.
        """
        if job.ending is not None or job.state == "ended":
            return
        job.ending = why
        job.error = error
        if job.context is not None:
            job.context.ended_by = error
        if job.state == "running":
            if job.task is not None and job.context is not None:
                job.task.cancel()
            return
        if job.deadline is not None:
            job.deadline.cancel()
        self._leave(job)

    # --- from ready to running -------------------------------------------------------------------

    def _push(self, job: Job) -> None:
        lane = job.lane
        priority = 0 if job.subscription is None else job.subscription.priority
        lane.ready.push(priority, next(self._order), job)
        if not self._is_pump_due:
            self._wake()
        if lane.offered is None or (priority and lane.offered != lane.ready.key):
            self._offer(lane)

    def _offer(self, lane: Lane) -> None:
        """Let the pump know of a lane that can start a run."""
        if lane.ready and lane.agent.slots.used < lane.agent.slots.limit:
            key = lane.ready.key
            if lane.offered != key:
                lane.offered = key
                heapq.heappush(self._offers, (key, next(self._order), lane))
            if not self._is_pump_due:
                self._wake()

    def _wake(self) -> None:
        assert self._loop is not None
        self._is_pump_due = True
        self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        """Start what can start, the most urgent first, in one step of the event loop."""
        self._is_pump_due = False
        offers = self._offers
        board = self._slots
        while offers and not self._is_stopped:
            key, _, lane = offers[0]
            if lane.offered != key:
                heapq.heappop(offers)
                continue
            if board is not None and board.used >= board.limit:
                return
            heapq.heappop(offers)
            lane.offered = None
            ready = lane.ready
            slots = lane.agent.slots
            while ready and slots.used < slots.limit:
                if offers and ready.key > offers[0][0]:
                    self._offer(lane)
                    break
                if board is not None and board.used >= board.limit:
                    self._offer(lane)
                    return
                job = ready.pop()
                if job.state != "queued":
                    continue
                slots.used += 1
                if board is not None:
                    board.used += 1
                self._start(job)

    def _start(self, job: Job) -> asyncio.Task[None]:
        assert self._loop is not None
        job.attempt += 1
        job.state = "running"
        task = job.task = self._loop.create_task(
            self._run_agent_task(job), context=self._variables.copy()
        )
        self._tasks.add(task)
        return task

    # --- one attempt -------------------------------------------------------------------------------

    async def _run_agent_task(self, job: Job) -> None:
        agent = job.lane.agent
        started = self._clock.time()
        try:
            if job.ending is not None:
                await self._interrupted(job)
                return
            ctx = job.context = self._context_for(job, agent)
            inside.enter(self._orchestrator, f"agent {agent.name!r}", job)
            timeout = agent.timeout if job.timeout is None else job.timeout
            if timeout is not None:
                error = RunTimeout(
                    f"agent {agent.name!r} did not finish within its timeout of {timeout:g} seconds"
                )
                job.deadline = self._timers.add(
                    started + timeout, partial(self.end, job, "timeout", error)
                )
            if self._events.is_heard:
                self._tell_started(job)
            if job.depth > self._depth_limit(job):
                msg = (
                    f"agent {agent.name!r} would run {job.depth} hops deep, and "
                    f"max_agent_iterations is {self._max_depth}; end the loop with a "
                    "predicate, or allow more"
                )
                raise LoopLimitExceeded(msg)
            if job.subscription is not None and not await self._before(job, agent):
                return
            commit = self._stream_commit if agent.streams else self._full_commit
            await agent.live(ctx, job.artifacts, partial(commit, job))
            if agent.streams and job.ending is None:
                await self._commit(job, [], True)  # noqa: FBT003
                job.is_committed = True
            if not job.is_committed:
                await self._interrupted(job)
                return
            self._succeeded(job, started)
        except asyncio.CancelledError as error:
            if job.is_committed:
                self._succeeded(job, started)
            elif job.ending is None:
                await self._cancelled_from_outside(job, error)
            else:
                task = asyncio.current_task()
                if task is not None:
                    task.uncancel()
                await self._interrupted(job)
        except Exception as error:
            if job.is_committed:
                self._succeeded(job, started)
            elif job.ending is not None:
                await self._interrupted(job)
            else:
                await self._failed(job, error)
        finally:
            self._give_back(job)

    def _context_for(self, job: Job, agent: Agent) -> Context:
        ctx = Context(
            job.correlation_id,
            run_key=job.key,
            attempt=job.attempt,
            agent_identity=agent.identity,
            is_batch=job.is_batch,
            trigger_type="artifact" if job.subscription is not None else "direct",
            depth=job.depth,
            parent_keys=job.parent_keys,
            now=self._clock.time,
            steps=job.steps,
            emit=partial(self._emit, job) if self._events.is_heard else None,
        )
        if agent.reads_history:
            ctx.load_history = partial(self._load_history, job)
        return ctx

    def _depth_limit(self, job: Job) -> int:
        """A handler of errors may run one hop deeper, to be told of the limit itself."""
        handles_error = any(a.entry.name == "flock.WorkflowError" for a in job.artifacts)
        return self._max_depth + 1 if handles_error else self._max_depth

    async def _before(self, job: Job, agent: Agent) -> bool:
        """Ask and tell the components about a run that begins; False if it is not to."""
        for component in self._components.having["on_before_agent_schedule"]:
            try:
                chosen = await component.on_before_agent_schedule(
                    self._orchestrator, agent, list(job.artifacts)
                )
            except Exception as error:
                msg = (
                    f"component {label_of(component)!r} failed in on_before_agent_schedule "
                    f"for agent {agent.name!r}: {error!r}"
                )
                raise ComponentFailed(msg) from error
            if not chosen:
                await self._close(job, f"component {label_of(component)!r} dropped it")
                self._ended(job)
                return False
            job.use(list(chosen))
            assert job.context is not None
            job.context.parent_keys = job.parent_keys
        if self._components.having["on_agent_scheduled"]:
            await _exhaust(
                self._components.run_hook(
                    "on_agent_scheduled",
                    self._orchestrator,
                    agent,
                    list(job.artifacts),
                    asyncio.current_task(),
                )
            )
        return True

    async def _full_commit(self, job: Job, outputs: list[Artifact]) -> list[Artifact]:
        if job.ending is not None:
            raise asyncio.CancelledError
        committed = await self._commit(job, outputs, True)  # noqa: FBT003
        job.is_committed = True
        job.outputs = committed
        return committed

    async def _stream_commit(self, job: Job, outputs: list[Artifact]) -> list[Artifact]:
        """Commit one output of a stream, unless an earlier attempt did."""
        if job.ending is not None:
            raise asyncio.CancelledError
        committed: list[Artifact] = []
        assert job.context is not None
        for output in outputs:
            place = job.context.emitted
            job.context.emitted += 1
            if place < job.emitted:
                continue
            committed += await self._commit(job, [output], False)  # noqa: FBT003
            job.emitted += 1
        job.outputs += committed
        return committed

    # --- how it ends -------------------------------------------------------------------------------

    def _succeeded(self, job: Job, started: float) -> None:
        if self._events.is_heard:
            now = self._clock.time()
            self._events.tell(
                RunSucceeded(
                    as_datetime(now),
                    job.workflow,
                    job.agent,
                    job.id,
                    job.attempt,
                    tuple(job.outputs),
                    now - started,
                )
            )
        self._idle.runs += 1
        for delivery in job.deliveries:
            delivery.run = None  # no reference cycle keeps what is done with
        self._ended(job)
        if job.waiter is not None and not job.waiter.done():
            job.waiter.set_result(job.outputs)

    async def _failed(self, job: Job, error: Exception) -> None:
        policy = job.lane.agent.retry
        try:
            again = not isinstance(error, LoopLimitExceeded | ComponentFailed) and policy.again(
                job.attempt, error
            )
        except Exception:
            logger.exception("The retry predicate of agent %r failed", job.agent)
            again = False
        if not again or self._is_stopped:
            await self._give_up(job, error)
            return
        delay = policy.backoff.delay(job.attempt)
        if self._events.is_heard:
            self._events.tell(
                RunRetrying(
                    as_datetime(self._clock.time()),
                    job.workflow,
                    job.agent,
                    job.id,
                    job.attempt,
                    delay,
                    error,
                )
            )
        self._withdraw_deadline(job)
        job.state = "backing off"
        job.deadline = self._timers.add(self._clock.time() + delay, partial(self._again, job))

    def _again(self, job: Job) -> None:
        job.deadline = None
        job.context = None
        job.task = None
        if job.is_nested:
            self._start(job)
            return
        job.state = "queued"
        self._push(job)

    async def _give_up(self, job: Job, error: Exception) -> None:
        self._idle.runs += 1
        failure = as_run_error(error, job)
        if job.waiter is not None:
            self._idle.failed += 1
            self._tell_failed(job, error)
            self._ended(job)
            if not job.waiter.done():
                job.waiter.set_exception(error)
            return
        self._idle.record_failure(failure)
        self._tell_failed(job, error)
        try:
            await self._bury(job, error)
        except Exception:
            logger.exception("A failed run of agent %r could not be put away", job.agent)
        self._ended(job)

    async def _interrupted(self, job: Job) -> None:
        """End an attempt that was ended from outside."""
        if job.ending == "timeout":
            error = job.error or RunTimeout(f"agent {job.agent!r} timed out")
            job.ending = None
            job.error = None
            await self._failed(job, error)
            return
        self._leave(job)

    async def _cancelled_from_outside(self, job: Job, error: BaseException) -> None:
        """End an attempt whose task was cancelled, but not by the board.

        When the event loop ends, it cancels every task: then the deliveries stay open for
        the next one. Otherwise somebody cancelled this task, which is a failure.
        """
        if self._is_torn_down():
            raise error
        failure = EngineError(f"the task of agent {job.agent!r} was cancelled by other code")
        failure.__cause__ = error
        await self._failed(job, failure)

    def _leave(self, job: Job) -> None:
        """Forget a run that was cancelled or is left for the next opening."""
        if self._events.is_heard:
            self._events.tell(
                RunCancelled(as_datetime(self._clock.time()), job.workflow, job.agent, job.id)
            )
        self._ended(job)
        if job.waiter is not None and not job.waiter.done():
            job.waiter.set_exception(
                RunError(f"the run of agent {job.agent!r} was ended by {job.ending} of the board")
            )

    def _ended(self, job: Job) -> None:
        self._withdraw_deadline(job)
        job.state = "ended"
        job.task = None
        job.context = None
        self._jobs.pop(job, None)
        self._on_run_end()
        self._idle.end(job.workflow)

    def _give_back(self, job: Job) -> None:
        """Give the slots back and let the next run start."""
        current = asyncio.current_task()
        if current is not None:
            self._tasks.discard(current)
        if job.is_nested:
            return
        lane = job.lane
        lane.agent.slots.give()
        if self._slots is not None:
            self._slots.give()
            if self._offers and not self._is_pump_due:
                self._wake()
        if lane.ready:
            self._offer(lane)

    def _withdraw_deadline(self, job: Job) -> None:
        if job.deadline is not None:
            job.deadline.cancel()
            job.deadline = None

    # --- telling -----------------------------------------------------------------------------------

    def _emit(self, job: Job, delta: object) -> None:
        self._events.tell(
            RunEmitted(as_datetime(self._clock.time()), job.workflow, job.agent, job.id, delta)
        )

    def _tell_started(self, job: Job) -> None:
        self._events.tell(
            RunStarted(
                as_datetime(self._clock.time()),
                job.workflow,
                job.agent,
                job.id,
                job.attempt,
                tuple(artifact.id for artifact in job.artifacts),
            )
        )

    def _tell_failed(self, job: Job, error: BaseException) -> None:
        if self._events.is_heard:
            self._events.tell(
                RunFailed(
                    as_datetime(self._clock.time()),
                    job.workflow,
                    job.agent,
                    job.id,
                    job.attempt,
                    error,
                )
            )


class ComponentFailed(RunError):
    """A component's hook that decides over a run raised."""


def as_run_error(error: BaseException, run: Run) -> RunError:
    """Return a `RunError` that names the run, with the agent's exception as its cause."""
    message = f"agent {run.agent!r} failed: {error!r}"
    failure = RunError(message)
    failure.agent = run.agent
    failure.run_id = run.id
    failure.__cause__ = error
    return failure


_ENDINGS = 3
_PATIENCE = 1.0


async def _exhaust(results: Any) -> None:  # noqa: ANN401 - whatever the hooks returned
    async for _ in results:
        pass

