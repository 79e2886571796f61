"""What becomes of a run or a group: committed, put away, expired, dropped."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from pydantic import BaseModel

from flock.clock import Clock, as_datetime
from flock.core.artifacts import Artifact, new_key
from flock.core.delivery import Run
from flock.core.system import GroupExpired, WorkflowError
from flock.core.types import registry
from flock.core.visibility import AgentIdentity, Visibility, narrowest
from flock.errors import PublishError
from flock.orchestrator.events import DeadLettered, EventBus, GroupSkipped, JoinExpired
from flock.orchestrator.failures import ComponentFailed, text_of
from flock.store.protocol import BlackboardStore, Commit, DeadLetter

if TYPE_CHECKING:
    from flock.core.delivery import Delivery
    from flock.core.subscription import Subscription
    from flock.orchestrator.gates.join import Group
    from flock.orchestrator.idle import Idle
    from flock.orchestrator.job import Call, Job
    from flock.orchestrator.publisher import Publisher

logger = logging.getLogger(__name__)


class Outcomes:
    """Makes what happened true on the board, in one commit each, and routes what it opens.

    Attributes:
        route: Takes the deliveries of a commit on their way.
    """

    def __init__(
        self,
        store: BlackboardStore,
        publisher: Publisher,
        clock: Clock,
        events: EventBus,
        idle: Idle,
        identities: Callable[[], Iterable[AgentIdentity]],
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._clock = clock
        self._events = events
        self._idle = idle
        self._identities = identities
        self.route: Callable[[Sequence[Delivery]], Awaitable[None]]

    async def commit(
        self, job: Job, call: Call | None, outputs: list[Artifact], *, is_last: bool
    ) -> list[Artifact]:
        """Put a run's outputs on the board, and close its deliveries if these are the last.

        A direct caller hears of each output, and may want them kept off the board.
        """
        if call is None or call.is_published:
            opened = await self._publisher.commit(
                outputs,
                closed=job.deliveries if is_last else (),
                run=job if is_last else None,
            )
            if opened:
                await self.route(opened)
        if call is not None and call.on_output is not None:
            for output in outputs:
                call.on_output(output)
        return outputs

    async def close(self, deliveries: Sequence[Delivery]) -> None:
        """Close deliveries without a run."""
        await self._store.commit(Commit(closed=deliveries, at=self._clock.time()))

    async def drop(self, run: Run, reason: str) -> None:
        """Close a run's deliveries, since a component wants no run."""
        await self.close(run.deliveries)
        if self._events.is_heard:
            ids = tuple(artifact.id for artifact in run.artifacts)
            now = as_datetime(self._clock.time())
            self._events.tell(GroupSkipped(now, run.correlation_id, run.agent, ids, reason))

    async def bury(self, run: Run, error: Exception) -> None:
        """Put a run that failed for good on the list of dead letters, with its inputs.

        Agents learn of it by a `WorkflowError`, unless the run handled one itself.
        """
        now = self._clock.time()
        origin = error.__cause__ if isinstance(error, ComponentFailed) else error
        letter = DeadLetter(
            UUID(int=new_key(now)), run, type(origin or error).__name__, text_of(error), now
        )
        failure = WorkflowError(
            failed_agent=run.agent,
            error_type=letter.error_type,
            error_message=letter.error_message,
            timestamp=as_datetime(now),
            task_id=f"{run.id}.{max(run.attempt, 1)}",
            run_id=run.id,
            attempt=max(run.attempt, 1),
        )
        handled = registry.entry(WorkflowError).name
        is_handler = any(artifact.entry.name == handled for artifact in run.artifacts)
        await self._tell_of(run, None if is_handler else failure, run.deliveries, letter)
        self._idle.dead_letters += 1
        if self._events.is_heard:
            self._events.tell(
                DeadLettered(as_datetime(now), run.correlation_id, run.agent, letter.id, error)
            )

    async def expire(self, subscription: Subscription, group: Group, now: float) -> None:
        """Record that a join group was not completed in time, and close it unless it runs."""
        deliveries = group.deliveries
        artifacts = [delivery.artifact for delivery in deliveries]
        run = Run(0, subscription.agent, subscription, deliveries, artifacts)
        ids = [artifact.id for artifact in artifacts]
        key = str(group.key)
        record = GroupExpired(
            agent=subscription.agent, key=key, artifact_ids=ids, expired_at=as_datetime(now)
        )
        assert subscription.join is not None
        closed = deliveries if subscription.join.on_expired == "drop" else ()
        await self._tell_of(run, record, closed, None)
        if self._events.is_heard:
            self._events.tell(
                JoinExpired(
                    as_datetime(now), run.correlation_id, subscription.agent, key, tuple(ids)
                )
            )

    async def _tell_of(
        self,
        run: Run,
        record: BaseModel | None,
        closed: Sequence[Delivery],
        letter: DeadLetter | None,
    ) -> None:
        """Commit what is to be closed together with a record that agents can consume.

        A component that refuses the record does not keep the rest from being true.
        """
        told: list[Artifact] = []
        if record is not None:
            told.append(
                self._publisher.system_artifact(
                    record,
                    agent=run.agent,
                    correlation_id=run.correlation_id,
                    visibility=self._narrowest(run.artifacts),
                    parents=run.artifacts,
                    depth=run.depth,
                )
            )
        try:
            opened = await self._publisher.commit(told, closed=closed, buried=letter)
        except PublishError:
            logger.exception("A component refused the record of a failure of %r", run.agent)
            opened = await self._publisher.commit([], closed=closed, buried=letter)
        if opened:
            await self.route(opened)

    def _narrowest(self, inputs: Iterable[Artifact]) -> Visibility:
        return narrowest((artifact.visibility for artifact in inputs), self._identities())
