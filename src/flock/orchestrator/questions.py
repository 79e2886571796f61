"""Runs that wait for a person: their questions are asked, answered, expire, and last."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, cast
from uuid import UUID

from flock.clock import Clock, as_datetime
from flock.core.artifacts import Artifact, is_text, require_text
from flock.core.context import EvalInputs
from flock.core.outputs import OutputGroup
from flock.core.question import Question
from flock.engines.function import FunctionEngine
from flock.errors import (
    EngineError,
    NotFound,
    PublishError,
    QuestionClosed,
    QuestionExpired,
)
from flock.orchestrator import inside
from flock.orchestrator.asked import Answer, Asked, Closed, answered_by, drafted, key_of
from flock.orchestrator.events import EventBus, QuestionAnswered, QuestionAsked, logged
from flock.orchestrator.events.log import event_as
from flock.orchestrator.job import QUESTION
from flock.store.protocol import BlackboardStore, Commit, State

if TYPE_CHECKING:
    from flock.components.board import Board
    from flock.core.agent import Agent
    from flock.core.context import Context
    from flock.core.delivery import Delivery, Run
    from flock.core.question import Asking
    from flock.engines.threads import ThreadPool
    from flock.orchestrator.attempts import Attempts
    from flock.orchestrator.idle import Idle
    from flock.orchestrator.job import Job
    from flock.orchestrator.lifecycle_manager import LifecycleManager
    from flock.orchestrator.patience import Patience
    from flock.orchestrator.publisher import Publisher
    from flock.orchestrator.scheduler import Scheduler

logger = logging.getLogger(__name__)

_REMEMBERED: Final = 10_000
"""How many questions that are closed are known by how they ended."""
_LOOKED_BACK: Final = 1_000
"""How many entries of the log are looked through for who answered before the board was opened."""
_ANY: Final = OutputGroup(is_open=True)


class Questions:
    """Keeps the runs that wait for a person. None of them has a task, a timer or a slot.

    That a question was asked is one commit: the run is on record with it. That it was answered is
    one as well: the outputs, the run's success, and the question's end.

    Attributes:
        expire: Whether questions expire; those of a fork do not.
    """

    def __init__(
        self,
        clock: Clock,
        events: EventBus,
        idle: Idle,
        lifecycle: LifecycleManager,
        threads: ThreadPool,
        store: BlackboardStore,
        patience: Patience,
        publisher: Publisher,
        attempts: Attempts,
        scheduler: Scheduler,
        orchestrator: Board,
        agent_of: Callable[[str], Agent | None],
    ) -> None:
        self._clock = clock
        self._events = events
        self._idle = idle
        self._lifecycle = lifecycle
        self._threads = threads
        self._store = store
        self._patience = patience
        self._publisher = publisher
        self._attempts = attempts
        self._scheduler = scheduler
        self._orchestrator = orchestrator
        self._agent_of = agent_of
        self._askers: dict[str, tuple[Asking, FunctionEngine]] = {}
        self.expire = True
        attempts.questions = self
        self.clear()

    def clear(self) -> None:
        """Forget all, for a board that opens anew."""
        self._open: dict[int, Asked] = {}
        self._closed: OrderedDict[int, Closed] = OrderedDict()
        self._expired: deque[tuple[Job, QuestionExpired]] = deque()
        self._burying: asyncio.Task[None] | None = None

    # --- in the run's task ---

    async def take_turn(self, job: Job, ctx: Context) -> bool:
        """Ask what a run is to ask, or carry it out with the answer.

        Returns:
            Whether it was carried out; it waits for an answer otherwise.
        """
        agent = job.lane.agent
        if self._is_answered(job):
            await agent.live(ctx, job.artifacts, self._commit)
            return True
        if not agent.needs_person(job.artifacts):
            await agent.live(ctx, job.artifacts, self._attempts.commit_run)
            return True
        await self._ask(job, ctx, agent)
        return False

    def has_asked(self, job: Job) -> bool:
        """Return whether a run has asked already."""
        return job.key in self._open

    def _is_answered(self, job: Job) -> bool:
        asked = self._open.get(job.key)
        return asked is not None and asked.answer is not None

    def answer_to(self, run: Run) -> Sequence[Artifact] | None:
        """Return what was answered in a run; None if nothing was."""
        asked = self._open.get(run.key)
        return None if asked is None or asked.answer is None else asked.answer.artifacts

    async def _ask(self, job: Job, ctx: Context, agent: Agent) -> None:
        asks = agent.asks
        assert asks is not None
        try:
            text = await self._text(asks, job, ctx, agent)
        except Exception as error:
            error.add_note(f"(raised by the question of agent {agent.name!r}, asks_human)")
            raise
        now = self._clock.time()
        due = 0.0 if asks.timeout is None else now + asks.timeout
        asked = Asked(job, text, now, due)
        told = QuestionAsked(as_datetime(now), job.correlation_id, job.agent, job.id, text)
        if not job.deliveries:  # its caller waits for it, and it ends with the process
            self._stand(asked)
            if self._events.is_heard:
                self._events.tell(told)
            return
        state = State(QUESTION, job.id, asked.data())
        commit = Commit(at=now, progress=(job,), states=(state,), logged=[logged(told)])
        commit.then = partial(self._stand, asked)  # whoever is told of it can answer at once
        await self._patience.commit(commit)

    def _stand(self, asked: Asked) -> None:
        """Let a question that was asked wait for its answer, unless its run is being ended."""
        job = asked.job
        if job.ending is None:
            self._open[job.key] = asked
            self._closed.pop(job.key, None)  # a dead letter that was redriven asks once more
            self._park(asked)

    async def _text(self, asks: Asking, job: Job, ctx: Context, agent: Agent) -> str:
        if asks.function is None:
            return asks.text
        known = self._askers.get(agent.name)
        if known is None or known[0] is not asks:
            engine = FunctionEngine(asks.function, self._threads, self._clock.working)
            known = self._askers[agent.name] = (asks, engine)
        said = await known[1].evaluate(agent, ctx, EvalInputs(list(job.artifacts), {}), _ANY)
        if not isinstance(said, str) or not said.strip() or not is_text(said):
            msg = f"the question of agent {agent.name!r} must be a text, not {said!r}"
            raise EngineError(msg)
        return said

    async def _commit(self, ctx: Context, outputs: list[Artifact]) -> list[Artifact]:
        """Commit what came of an answer, and that the question is closed."""
        job = cast("Job", ctx.run)
        asked = self._open.get(job.key)
        if job.ending is not None or asked is None or asked.answer is None:
            raise asyncio.CancelledError
        job.outputs = outputs
        stored = partial(self._answered, asked, asked.answer, outputs)
        now, by = as_datetime(self._clock.time()), asked.answer.by
        told = QuestionAnswered(now, job.correlation_id, job.agent, job.id, by)
        if job.call is not None and not job.call.is_published:
            job.is_committed = True
            stored()
            if self._events.is_heard:
                self._events.tell(told)
        else:
            await self._publisher.commit(
                outputs,
                closed=job.deliveries,
                run=job,
                on_stored=stored,
                on_wait=partial(_stop_timing, job),
                states=job.forgets,
                logged=[logged(told)],
            )
        _stop_timing(job)
        return outputs

    def _answered(self, asked: Asked, answer: Answer, outputs: list[Artifact]) -> None:
        """Do what follows from an answer that is on the board."""
        job = asked.job
        self._close(asked, answered_by(job.id, answer.by))
        if job.call is not None:
            job.call.tell(outputs)
        if not answer.outcome.done():
            answer.outcome.set_result(list(outputs))

    # --- how an answer fails, or the run ends without one ---

    def refuse(self, job: Job, error: Exception) -> bool:
        """Let whoever answered have the error, and the question wait on.

        Returns:
            Whether somebody had answered; it is the run that has failed otherwise.
        """
        asked = self._open.get(job.key)
        if asked is None or asked.answer is None:
            return False
        answer, asked.answer = asked.answer, None
        self._park(asked)
        if not answer.outcome.done():
            answer.outcome.set_exception(error)
        return True

    def leave(self, job: Job) -> None:
        """Forget a question whose run is cancelled, or left for the next opening."""
        asked = self._open.get(job.key)
        if asked is None or asked.job is not job:
            return
        answer = asked.answer
        if answer is None:
            self._unpark(asked)
        why = "was cancelled with its workflow"
        if job.ending == "shutdown":
            why = "was left open by the board's shutdown, and is there when it is opened again"
            if not job.deliveries:
                why = "ended with the board's shutdown, as its caller did"
        elif job.call is not None:
            why = "was withdrawn by the caller of its agent"
        closed = Closed(f"question {job.id} of agent {job.agent!r} {why}")
        self._close(asked, closed)
        if answer is not None and not answer.outcome.done():
            answer.outcome.set_exception(closed.error())

    def _close(self, asked: Asked, how: Closed) -> None:
        key = asked.job.key
        self._open.pop(key, None)
        self._closed[key] = how
        if len(self._closed) > _REMEMBERED:
            self._closed.popitem(last=False)

    # --- waiting ---

    def _park(self, asked: Asked, *, is_counted: bool = True) -> None:
        """Let a run wait for its answer, as no open work but for the time when it expires."""
        job = asked.job
        self._attempts.rest(job)
        self._idle.waiting += asked.weight
        if asked.due and self.expire:
            self._idle.begin_due(job.correlation_id)
            job.deadline = self._lifecycle.timers.add(asked.due, partial(self._expires, asked))
        self._scheduler.set_aside(job, is_counted=is_counted)

    def _unpark(self, asked: Asked) -> None:
        """Count a run that waited as open work again."""
        job = asked.job
        self._idle.waiting -= asked.weight
        self._scheduler.take_up(job)
        if job.deadline is not None:
            job.deadline.cancel()
            job.deadline = None
            self._idle.end_due(job.correlation_id)

    def _expires(self, asked: Asked) -> None:
        """Fail a run whose question nobody answered in time."""
        job = asked.job
        self._unpark(asked)
        job.state = "failing"
        span = asked.due - asked.at
        error = QuestionExpired(
            f"nobody answered the question of agent {job.agent!r} within {span:g} seconds: "
            f"{asked.text!r}"
        )
        gone = f"question {job.id} of agent {job.agent!r} expired at {as_datetime(asked.due)}"
        if job.deliveries:
            gone += "; redrive its dead letter to have it asked again"
        self._close(asked, Closed(gone))
        self._expired.append((job, error))
        if self._burying is None:
            self._burying = self._lifecycle.spawn(self._bury_all(), "expired questions")

    async def _bury_all(self) -> None:
        while self._expired:
            await self._attempts.give_up(*self._expired.popleft())
        self._burying = None

    # --- the user's verbs ---

    def listed(self, workflow: str | None, agent: str | None) -> list[Question]:
        """Return the questions that are open, of a workflow or an agent if named, oldest first."""
        found = [
            asked
            for asked in self._open.values()
            if (workflow is None or workflow in asked.job.workflows | {asked.job.correlation_id})
            and agent in {None, asked.job.agent}
        ]
        found.sort(key=lambda asked: asked.at)
        return [asked.shown() for asked in found]

    async def answer(
        self, wanted: UUID | str, models: Sequence[object], by: str, tags: frozenset[str]
    ) -> list[Artifact]:
        """Carry out the run of a question with an answer, and return its outputs.

        Raises:
            NotFound: No such question is open.
            PublishError: Something of the answer is no model that could be published.
            Exception: What the run made of the answer; the question stays open.
        """
        if not isinstance(by, str) or not by:
            msg = f"answered_by is the name of whoever answers, not {by!r}"
            raise PublishError(msg)
        require_text(by, "answered_by")
        key = key_of(wanted)
        asked = await self._found(key, wanted)
        agent = asked.job.lane.agent
        artifacts = [drafted(self._publisher, agent, model, tags) for model in models]
        while (before := asked.answer) is not None:
            if inside.current_run(self._orchestrator) is asked.job:
                raise answered_by(
                    asked.job.id, before.by
                ).error()  # a hook of the very run: no deadlock
            await asyncio.wait([before.outcome])
            asked = await self._found(key, wanted)
        if asked.due and self.expire and asked.due <= self._clock.time():
            msg = f"question {asked.job.id} of agent {agent.name!r} has just expired"
            raise QuestionClosed(msg)
        answer = asked.answer = Answer(artifacts, by)
        self._unpark(asked)
        asked.job.attempt -= 1  # it is still the attempt that asked
        self._scheduler.carry_on(asked.job)
        try:
            return await asyncio.shield(answer.outcome)
        except asyncio.CancelledError:
            answer.outcome.add_done_callback(partial(_tell_of_refusal, asked.job, by))
            raise

    async def _found(self, key: int | None, wanted: object) -> Asked:
        """Return an open question.

        Raises:
            NotFound: There is none.
        """
        if key is not None:
            asked = self._open.get(key)
            if asked is not None:
                return asked
            closed = self._closed.get(key) or await self._from_log(key)
            if closed is not None:
                raise closed.error()
        if isinstance(wanted, Question):
            msg = f"answer takes the id of a question, not the Question: give it {wanted.id!r}"
            raise NotFound(msg)
        msg = (
            f"there is no open question {str(wanted)!r}: it was never asked here, or was closed; "
            "questions() lists those that are open"
        )
        raise NotFound(msg)

    async def _from_log(self, key: int) -> Closed | None:
        """Return who answered a question a while ago, if that is not too long ago."""
        name = f"{key:032x}"
        after = max(0, self._store.mark.logged - _LOOKED_BACK)
        for entry in await self._store.log(limit=_LOOKED_BACK, after=after):
            told = event_as(entry, QuestionAnswered)
            if told is not None and told.run_id == name:
                return answered_by(name, told.answered_by)
        return None

    # --- after a restart ---

    async def resume(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Take up the questions that were open when the board was closed.

        What is kept of a question whose run is not open any more, or whose agent asks nobody any
        more, is forgotten. Questions of agents that are not declared here stay as they are.

        Returns:
            The deliveries that no question waits with.
        """
        kept = await self._store.states(QUESTION)
        if not kept:
            return list(deliveries)
        runs = {d.run.id: d.run for d in deliveries if d.run is not None}
        obsolete: list[State] = []
        found: list[tuple[Run, Mapping[str, object]]] = []
        for name, data in kept.items():
            record = cast("Mapping[str, object]", json.loads(data))
            agent = self._agent_of(str(record["agent"]))
            if agent is None or cast("int", record["subscription"]) >= len(agent.subscriptions):
                continue  # as its run
            if name not in runs or agent.asks is None:
                obsolete.append(State(QUESTION, name, None))
            else:
                found.append((runs[name], record))
        if obsolete:
            await self._patience.commit(Commit(at=self._clock.time(), states=obsolete))
        for run, record in sorted(found, key=_moment):
            self._take_up(run, record)
        asking = {run.key for run, _ in found}
        return [d for d in deliveries if d.run is None or d.run.key not in asking]

    def _take_up(self, run: Run, record: Mapping[str, object]) -> None:
        agent = self._agent_of(run.agent)
        assert agent is not None
        job = self._scheduler.take_over(agent, run)
        at, due = cast("float", record["asked_at"]), cast("float", record["due"])
        asked = self._open[job.key] = Asked(job, str(record["question"]), at, due)
        self._park(asked, is_counted=False)


def _moment(found: tuple[Run, Mapping[str, object]]) -> float:
    return cast("float", found[1]["asked_at"])


def _stop_timing(job: Job) -> None:
    """End the time that the run may take: it has done its part."""
    if job.deadline is not None:
        job.deadline.cancel()
        job.deadline = None


def _tell_of_refusal(job: Job, by: str, outcome: asyncio.Future[list[Artifact]]) -> None:
    """Log that an answer was refused, since whoever gave it does not wait for that any more."""
    if not outcome.cancelled() and (error := outcome.exception()) is not None:
        logger.warning(
            "What %r answered to question %s of agent %r was refused: %s",
            by,
            job.id,
            job.agent,
            error,
        )
