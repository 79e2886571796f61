"""One attempt of a run: what goes on in its task, and how it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from flock.clock import Clock, as_datetime
from flock.core.artifacts import Artifact
from flock.core.context import Context, context_of
from flock.core.failure import failure_of
from flock.core.lifecycle import label_of
from flock.core.system import WorkflowError
from flock.core.types import registry
from flock.errors import (
    BudgetExceeded,
    EngineError,
    LoopLimitExceeded,
    RateKeyError,
    RunError,
    RunTimeout,
)
from flock.orchestrator import inside
from flock.orchestrator.events import (
    EventBus,
    RunCancelled,
    RunFailed,
    RunRetrying,
    RunStarted,
    RunSucceeded,
)
from flock.orchestrator.failures import ComponentFailed, as_run_error, naming, text_of
from flock.orchestrator.host import RunHost
from flock.orchestrator.job import NO_VARIABLES, TickJob
from flock.orchestrator.patience import was_awaited
from flock.store.protocol import Commit

if TYPE_CHECKING:
    from flock.components.board import Board
    from flock.core.agent import Agent
    from flock.orchestrator.component_runner import ComponentRunner
    from flock.orchestrator.holding import Holding
    from flock.orchestrator.idle import Idle
    from flock.orchestrator.job import Ending, Job
    from flock.orchestrator.ledger import Ledger
    from flock.orchestrator.lifecycle_manager import LifecycleManager
    from flock.orchestrator.limits import Limits
    from flock.orchestrator.outcomes import Outcomes
    from flock.orchestrator.patience import Patience
    from flock.orchestrator.publisher import Publisher
    from flock.orchestrator.questions import Questions
    from flock.orchestrator.schedules import Schedules
    from flock.store.protocol import BlackboardStore

logger = logging.getLogger(__name__)

_YIELD_EVERY: Final = 128
"""After how many outputs in a row a stream lets the event loop have a turn."""


class Attempts:
    """Carries out attempts in tasks that the scheduler owns, and decides what follows.

    Attributes:
        end: Ends a run from outside; the scheduler's.
        enqueue: Lets a run wait for its next attempt; the scheduler's.
        jobs: The runs that have not ended; the scheduler's.
        holding: What is held of paused workflows; the scheduler's.
        on_mixed_end: Told of a run over a batch of several workflows that ended; the scheduler's.
        questions: Where runs of agents that are people ask, and wait.
        ticks: The schedules whose ticks start runs.
        on_run_end: Called when a run ended while something waits for that; else None.
        preparing: Runs that have a slot and are being written down, before their agent sees them.
        is_stopped: Whether the board closes, so that nothing is tried again.
        opened_at: The newest position on the board when it was opened.
    """

    end: Callable[[Job, Ending, Exception | None], None]
    enqueue: Callable[[Job], None]
    jobs: dict[Job, None]
    holding: Holding
    on_mixed_end: Callable[[Job], None]
    questions: Questions
    ticks: Schedules

    def __init__(
        self,
        clock: Clock,
        events: EventBus,
        idle: Idle,
        components: ComponentRunner,
        lifecycle: LifecycleManager,
        outcomes: Outcomes,
        publisher: Publisher,
        ledger: Ledger,
        limits: Limits,
        load_history: Callable[[Job], Awaitable[tuple[Artifact, ...]]],
        orchestrator: Board,
        store: BlackboardStore,
        patience: Patience,
        *,
        max_depth: int,
    ) -> None:
        self._store = store
        self._patience = patience
        self._keeps_progress = store.is_durable
        self._clock = clock
        self._now = clock.time
        self._events = events
        self._idle = idle
        self._components = components
        self._lifecycle = lifecycle
        self._outcomes = outcomes
        self._publisher = publisher
        self._ledger = ledger
        self._limits = limits
        self._load_history = load_history
        self._orchestrator = orchestrator
        self._max_depth = max_depth
        self.on_run_end: Callable[[], None] | None = None
        self.is_stopped = False
        self.preparing: dict[Job, None] = {}
        self._waiters: list[asyncio.Future[None]] = []
        self.opened_at = 0
        self.is_torn_down = lifecycle.is_torn_down
        self._host = RunHost(clock, events, ledger, store, patience)

    @property
    def is_attended(self) -> bool:
        """Whether components are asked about each run and given its task."""
        return self._components.attends_runs

    async def run_agent_task(self, job: Job) -> None:
        """Carry out one attempt, from its first hook to its commit; never raises."""
        if job.ending is not None:  # before it began: that is no attempt
            await self._interrupted(job)
            return
        job.attempt += 1
        job.seen = self._store.position
        job.began = self._now()
        agent = job.lane.agent
        is_heard = self._events.is_heard
        started = job.began if is_heard else 0.0
        try:
            ctx = job.context = context_of(job, agent.identity, self._clock, self._host)
            inside.enter(self._orchestrator, "an agent", job)
            if (
                agent.timeout is not None
                or job.depth > self._max_depth
                or self._ledger.counts_runs
                or self._keeps_progress
                or job.lane.nested is not None
                or job.tick is not None
            ):
                self.preparing[job] = None
                try:
                    await self._prepare(job, agent)
                finally:
                    self._prepared(job)
            if is_heard:
                self._tell_started(job)
            if self._components.attends_runs and not await self._attended(job, agent):
                return
            ctx.load_history = partial(self._load_history, job) if agent.reads_history else None
            if agent.streams or agent.asks is not None:
                if not await self._live_in_steps(job, agent, ctx):
                    return
            else:
                await agent.live(ctx, job.artifacts, self.commit_run)
            self._succeeded(job, started)
        except asyncio.CancelledError as error:
            await self._cancelled(job, error, started)
        except BaseException as error:
            failure = failure_of(error, f"agent {agent.name!r}")
            if failure is None:
                raise
            await self._raised(job, failure, started)

    async def _live_in_steps(self, job: Job, agent: Agent, ctx: Context) -> bool:
        """Carry out a run that commits more than once; False if it waits for a person."""
        if agent.asks is not None:
            return await self.questions.take_turn(job, ctx)
        await agent.live(ctx, job.artifacts, self._commit_part)
        await self.commit_run(ctx, [])
        return True

    # --- before ---

    async def until_begun(self, workflow: str) -> None:
        """Wait until the runs of a workflow that are being written down have begun, or failed."""
        while any(job.correlation_id == workflow for job in self.preparing):
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    def _prepared(self, job: Job) -> None:
        self.preparing.pop(job, None)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _write_down(self, job: Job) -> None:
        """Have it last that an attempt begins.

        A run's id is what keeps effects outside the board from happening twice. That of an
        ungated run follows from its input, and nobody waits for the record of its first
        attempt; what a gate gathered has to be on record before the agent sees the id. So has
        an attempt of a run that was begun before, by an earlier process maybe: no process
        counts it again. While the store is out of order, no agent works for nothing: each waits
        until its beginning is on record.
        """
        subscription = job.subscription
        is_gated = subscription is not None and subscription.is_gated
        if (
            is_gated
            or job.tick is not None
            or job.attempt > 1
            or job.artifacts[0].seq <= self.opened_at
            or self._patience.is_tried
        ):
            await self._patience.commit(Commit(at=self._now(), progress=(job,)))
        else:
            self._store.note(job)

    async def _prepare(self, job: Job, agent: Agent) -> None:
        """Let the run time out when its time is over, refuse what is too much, write it down.

        What counts when runs begin counts it last: then it begins.

        Raises:
            LoopLimitExceeded: It is. A handler may be told of a refusal itself.
            BudgetExceeded: It is one run too many.
            RateKeyError: It is not known which limits hold for it.
        """
        timeout = agent.timeout
        if timeout is not None:
            error = RunTimeout(
                f"agent {agent.name!r} did not finish within its timeout of {timeout:g} seconds"
            )
            job.deadline = self._lifecycle.timers.add(
                self._now() + timeout, partial(self.end, job, "timeout", error)
            )
        if job.depth > self._max_depth:
            self._check_depth(job)
        if self._ledger.counts_runs:
            await self._ledger.begin(job)
        if job.tick is not None or (self._keeps_progress and job.deliveries):
            await self._write_down(job)
        if job.lane.nested is not None:
            await self._limits.begin(job)

    def _check_depth(self, job: Job) -> None:
        errors = registry.entry(WorkflowError).name
        is_handler = any(artifact.entry.name == errors for artifact in job.artifacts)
        if job.depth > self._max_depth + 2 * is_handler:
            msg = (
                f"agent {job.agent!r} would run {job.depth} hops deep, and max_agent_iterations "
                f"is {self._max_depth}; end the loop with a predicate, or allow more"
            )
            raise LoopLimitExceeded(msg)

    async def _attended(self, job: Job, agent: Agent) -> bool:
        """Ask and tell the components about a run that begins; False if it is not to."""
        if (job.subscription is None and job.tick is None) or self.questions.has_asked(job):
            return True
        for component in self._components.having["on_before_agent_schedule"]:
            with naming(component, "on_before_agent_schedule", agent.name):
                chosen = await component.on_before_agent_schedule(
                    self._orchestrator, agent, list(job.artifacts)
                )
                if chosen is not None and not all(isinstance(a, Artifact) for a in chosen):
                    msg = f"it returned {chosen!r}, which are no artifacts"
                    raise TypeError(msg)
                if chosen and job.tick is not None:
                    msg = f"it returned {chosen!r} for a tick of a schedule, which has no inputs"
                    raise TypeError(msg)
            if chosen is None or not (chosen or job.tick is not None):
                if job.tick is not None:
                    await self.ticks.give_up(job)
                else:
                    await self._outcomes.drop(job, f"component {label_of(component)!r} dropped it")
                self._ended(job)
                return False
            if chosen:
                self._use(job, list(chosen))
        task = asyncio.current_task()
        hook = self._components.run_hook(
            "on_agent_scheduled", self._orchestrator, agent, list(job.artifacts), task
        )
        async for _ in hook:
            pass
        return True

    def _use(self, job: Job, artifacts: list[Artifact]) -> None:
        """Let a run use other inputs, and belong to their workflow."""
        before = job.correlation_id
        job.use(artifacts)
        self._idle.begin(job.correlation_id)
        self._idle.end(before)
        if job.context is not None:
            job.context.parent_keys = job.parent_keys
            job.context.correlation_id = job.correlation_id
            job.context.depth = job.depth

    # --- commit ---

    async def commit_run(self, ctx: Context, outputs: list[Artifact]) -> list[Artifact]:
        """Commit a run's outputs and close its deliveries."""
        job: Job = ctx.run  # pyright: ignore[reportAssignmentType] - it made the context
        if job.ending is not None:
            raise asyncio.CancelledError
        if not job.lane.agent.streams:
            job.outputs = outputs
        call = job.call
        if call is None:
            on_wait = partial(_has_worked, job) if self._keeps_progress else None
            states = () if job.tick is None else self.ticks.states_after(job)
            await self._publisher.commit(
                outputs, closed=job.deliveries, run=job, on_wait=on_wait, states=states
            )
        elif call.is_published:
            await self._publisher.commit(
                outputs,
                run=job,
                on_stored=partial(call.tell, outputs),
                on_wait=partial(_has_worked, job),
            )
        else:
            job.is_committed = True
            call.tell(outputs)
        if job.deadline is not None:  # from here on it has succeeded
            _has_worked(job)
        return outputs

    async def _commit_part(self, ctx: Context, outputs: list[Artifact]) -> list[Artifact]:
        """Commit one output of a stream, unless an earlier attempt did."""
        job = cast("Job", ctx.run)
        call = job.call
        if job.ending is not None:
            raise asyncio.CancelledError
        place = ctx.emitted
        ctx.emitted += 1
        if place < job.emitted:
            return []
        if not job.emitted or not job.outputs:  # a run that goes on has none of its own yet
            job.outputs = []
        is_stored = False

        def stored() -> None:
            nonlocal is_stored
            is_stored = True
            job.outputs.extend(outputs)
            if call is not None:
                call.tell(outputs)

        job.emitted += 1  # before it is committed, which makes it last with the output
        try:
            if call is not None and not call.is_published:
                stored()
            else:
                await self._publisher.commit(
                    outputs, on_stored=stored, maker=job, on_wait=_go_on_counting
                )
        finally:
            if not is_stored:
                job.emitted -= 1
        if job.emitted % _YIELD_EVERY == 0:
            await asyncio.sleep(0)
        return outputs

    # --- how it ends ---

    def _succeeded(self, job: Job, started: float) -> None:
        call = job.call
        if call is not None and not call.is_published and self._events.is_heard:
            now = self._now()  # nothing of it is on the board: no commit tells of it
            self._events.tell(
                RunSucceeded(
                    as_datetime(now),
                    job.correlation_id,
                    job.agent,
                    job.id,
                    job.attempt,
                    tuple(job.outputs),
                    now - started if started else 0.0,
                    job.usage or {},
                )
            )
        self._idle.runs += 1
        for delivery in job.deliveries:
            delivery.run = None  # no reference cycle keeps what is done with
        self._ended(job)
        if job.call is not None and not job.call.waiter.done():
            job.call.waiter.set_result(job.outputs)

    async def _failed(self, job: Job, error: Exception) -> None:
        """Try a failed attempt again, or give the run up. Nothing cancels it any more."""
        if job.lane.agent.asks is not None and self.questions.refuse(job, error):
            return
        job.state = "failing"
        self.rest(job)
        policy = job.lane.agent.retry
        again = False
        if not (self.is_stopped or _is_final(error) or was_awaited(error)):
            try:
                again = policy.again(job.attempt, error)
            except Exception:
                logger.exception("The retry predicate of agent %r failed", job.agent)
        if not again:
            await self.give_up(job, error)
            return
        delay = policy.backoff.delay(job.attempt)
        if self._events.is_heard:
            self._events.tell(
                RunRetrying(
                    as_datetime(self._now()),
                    job.correlation_id,
                    job.agent,
                    job.id,
                    job.attempt,
                    delay,
                    type(error).__name__,
                    text_of(error),
                    error=error,
                )
            )
        job.due = self._now() + delay
        if self._keeps_progress and job.lasts:
            self._store.note(job)
        self.back_off(job)

    def back_off(self, job: Job) -> None:
        """Let a run wait until its next attempt is due, and its workflow goes on."""
        job.task = None
        if self.holding.holds and self.holding.holds_run(job):
            self.holding.keep(job)
            return
        job.state = "backing off"
        job.deadline = self._lifecycle.timers.add(job.due, partial(self._again, job))

    def _again(self, job: Job) -> None:
        job.deadline = None
        job.due = 0.0
        self.enqueue(job)

    async def give_up(self, job: Job, error: Exception) -> None:
        """End a run that failed for good."""
        self._idle.runs += 1
        if job.call is not None:
            self._tell_failed(job, error)  # its caller has the error: the board keeps nothing
            if not job.call.waiter.done():
                job.call.waiter.set_exception(error)
        else:
            self._idle.record_failure(as_run_error(error, job))
            await self._put_away(job, error)
        self._ended(job)

    async def _put_away(self, job: Job, error: Exception) -> None:
        """Make a dead letter of a run that failed for good, unless its store is to blame."""
        if was_awaited(error):
            self._tell_failed(job, error)
            logger.error(
                "A run of agent %r stays open until the board is opened again: %s", job.agent, error
            )
            return
        states = () if job.tick is None else self.ticks.states_after(job)
        try:
            await self._outcomes.bury(job, error, (*job.forgets, *states), has_run=True)
        except Exception:
            self._tell_failed(job, error)
            logger.exception("A failed run of agent %r could not be put away", job.agent)
            return
        if isinstance(job, TickJob):
            job.is_closed = True

    async def _raised(self, job: Job, error: Exception, started: float) -> None:
        """End an attempt that raised."""
        if job.is_committed:
            logger.error("What followed the commit of agent %r failed", job.agent, exc_info=error)
            self._succeeded(job, started)
        elif job.ending is not None:
            await self._interrupted(job)
        else:
            await self._failed(job, error)

    async def _cancelled(self, job: Job, error: asyncio.CancelledError, started: float) -> None:
        """End an attempt whose task was cancelled."""
        if job.is_committed:
            self._succeeded(job, started)
        elif job.ending is not None:
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
            await self._interrupted(job)
        elif self._lifecycle.is_torn_down():
            raise error  # the event loop ends: the deliveries stay open for the next one
        else:
            failure = EngineError(f"the task of agent {job.agent!r} was cancelled by other code")
            failure.__cause__ = error
            await self._failed(job, failure)

    async def _interrupted(self, job: Job) -> None:
        """End an attempt that was ended from outside."""
        if job.ending == "timeout":
            error = job.error or RunTimeout(f"agent {job.agent!r} timed out")
            job.ending = None
            job.error = None
            await self._failed(job, error)
        else:
            self.leave(job)

    def leave(self, job: Job) -> None:
        """Forget a run that was cancelled, or is left for the next opening."""
        if job.lane.agent.asks is not None:
            self.questions.leave(job)
        is_logged = job.ending == "cancel" and job.call is None  # see `control`
        if self._events.is_heard and not is_logged:
            now = as_datetime(self._now())
            self._events.tell(RunCancelled(now, job.correlation_id, job.agent, job.id))
        self._ended(job)
        if job.call is not None and not job.call.waiter.done():
            why = "cancelled" if job.ending == "cancel" else "ended by the board's shutdown"
            ended = RunError(f"the run of agent {job.agent!r} was {why}")
            job.call.waiter.set_exception(job.error or ended)

    def _ended(self, job: Job) -> None:
        if self.jobs.pop(job, job) is job:
            return  # left behind by a board that was closed since
        if job.deadline is not None:
            job.deadline.cancel()
            job.deadline = None
        if self._limits.is_any:
            self._limits.release(job)
        job.context = None
        job.state = "ended"
        job.task = None
        job.variables = NO_VARIABLES  # they know of the job: no reference cycle keeps it
        if self.on_run_end is not None:
            self.on_run_end()
        if job.others:
            self.on_mixed_end(job)
        if job.tick is not None:
            self.ticks.ended(job)
        self._idle.end(job.correlation_id)

    def rest(self, job: Job) -> None:
        """Let go of what belongs to one attempt."""
        if job.deadline is not None:
            job.deadline.cancel()
            job.deadline = None
        if self._limits.is_any:
            self._limits.release(job)
        job.context = None

    # --- telling ---

    def _tell_failed(self, job: Job, error: Exception) -> None:
        """Tell of a run that failed and that no dead letter is kept of."""
        if self._events.is_heard:
            self._events.tell(
                RunFailed(
                    as_datetime(self._now()),
                    job.correlation_id,
                    job.agent,
                    job.id,
                    job.attempt,
                    type(error).__name__,
                    text_of(error),
                    job.usage or {},
                    error=error,
                )
            )

    def _tell_started(self, job: Job) -> None:
        self._events.tell(
            RunStarted(
                as_datetime(self._now()),
                job.correlation_id,
                job.agent,
                job.id,
                job.attempt,
                tuple(artifact.id for artifact in job.artifacts),
            )
        )


def _has_worked(job: Job) -> None:
    """End the time that a run may take: it has done its part."""
    if job.deadline is not None:
        job.deadline.cancel()
        job.deadline = None


def _go_on_counting() -> None:
    """Let the time that a run may take go on: it has not done its part yet."""


def _is_final(error: Exception) -> bool:
    """Whether another attempt would fail in the same way; of a group, whether each would."""
    if isinstance(error, ExceptionGroup):
        group = cast("ExceptionGroup[Exception]", error)
        return all(map(_is_final, group.exceptions))
    return isinstance(error, LoopLimitExceeded | ComponentFailed | BudgetExceeded | RateKeyError)
