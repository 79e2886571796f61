"""What becomes of a run or a group: committed, put away, expired, dropped."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from pydantic import BaseModel

from flock.clock import Clock, as_datetime
from flock.core.artifacts import Artifact, new_key
from flock.core.delivery import Run
from flock.core.system import GroupExpired, WorkflowError
from flock.core.types import registry
from flock.core.visibility import AgentIdentity, Visibility, narrowest, remaining
from flock.errors import GuardBlocked
from flock.orchestrator.events import (
    DeadLettered,
    Event,
    GroupSkipped,
    JoinExpired,
    RunFailed,
    logged,
)
from flock.orchestrator.failures import ComponentFailed, text_of
from flock.orchestrator.patience import was_awaited
from flock.store.protocol import BlackboardStore, Commit, DeadLetter, State

if TYPE_CHECKING:
    from flock.core.delivery import Delivery
    from flock.core.subscription import Subscription
    from flock.orchestrator.idle import Idle
    from flock.orchestrator.lifecycle_manager import LifecycleManager
    from flock.orchestrator.patience import Patience
    from flock.orchestrator.publisher import Publisher
    from flock.store.protocol import State

logger = logging.getLogger(__name__)


class Outcomes:
    """Makes what happened true on the board, in one commit each.

    What gathering decides is made true in tasks of their own, counted as open work.
    """

    def __init__(
        self,
        store: BlackboardStore,
        patience: Patience,
        publisher: Publisher,
        clock: Clock,
        idle: Idle,
        lifecycle: LifecycleManager,
        identities: Callable[[], Iterable[AgentIdentity]],
    ) -> None:
        self._store = store
        self._patience = patience
        self._publisher = publisher
        self._clock = clock
        self._idle = idle
        self._lifecycle = lifecycle
        self._identities = identities

    # --- in the caller's task ---

    async def close(
        self,
        deliveries: Sequence[Delivery],
        events: Iterable[Event] = (),
        states: Sequence[State] = (),
    ) -> None:
        """Close deliveries without a run, with what happened, and with what is kept of it."""
        entries = [logged(event) for event in events]
        await self._patience.commit(
            Commit(closed=deliveries, at=self._clock.time(), logged=entries, states=states)
        )

    async def drop(self, run: Run, reason: str) -> None:
        """Close a run's deliveries, since a component wants no run."""
        await self._skip(run.deliveries, reason)

    async def bury(
        self, run: Run, error: Exception, states: Sequence[State] = (), *, has_run: bool = False
    ) -> None:
        """Put a run that failed for good on the list of dead letters, with its inputs.

        Agents learn of it by a `WorkflowError`, unless the run handled one itself.

        Args:
            run: The run.
            error: Why it failed.
            has_run: Whether it came as far as an attempt, or is only what could not become a run.
            states: What is kept or forgotten with that.
        """
        now = self._clock.time()
        origin = error.__cause__ if isinstance(error, ComponentFailed) else error
        letter = DeadLetter(
            UUID(int=new_key(now)),
            run,
            type(origin or error).__name__,
            text_of(error),
            now,
            None if run.subscription is None else run.subscription.index,
            tuple(delivery.artifact for delivery in run.deliveries),
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
        events = partial(_buried, run=run, error=error, has_run=has_run)
        await self._tell_of(
            run,
            failure,
            run.deliveries,
            letter,
            events,
            is_told=not is_handler,
            states=states,
        )
        self._idle.dead_letters += 1

    # --- in a task of their own ---

    def bury_group(self, group: Sequence[Delivery], error: Exception) -> None:
        """Make a dead letter of deliveries that cannot go on."""
        key = new_key(self._clock.time())
        artifacts = [delivery.artifact for delivery in group]
        run = Run(key, group[0].agent, group[0].subscription, group, artifacts)
        self._later(partial(self.bury, run, error), run.correlation_id)

    def skip(self, group: Sequence[Delivery], reason: str) -> None:
        """Close a group without a run."""
        self._later(partial(self._skip, group, reason), group[0].artifact.correlation_id)

    def expire(
        self,
        subscription: Subscription,
        deliveries: Sequence[Delivery],
        key: object,
        begun: Run | None,
        gone: Callable[[], Sequence[Delivery]] | None,
        then: Callable[[], None] | None,
    ) -> None:
        """Record that a join group was not completed in time.

        Args:
            subscription: Whose group it is.
            deliveries: What had come.
            key: The key of the group.
            begun: The run over what had come, to be on record with it.
            gone: What of it was cancelled until then; its part of the record is undone.
            then: Called when that is on the board; None to close the group with it.
        """
        workflow = deliveries[0].artifact.correlation_id
        work = partial(self._expire, subscription, deliveries, key, begun, gone, then)
        self._later(work, workflow)

    def _later(self, work: Callable[[], Awaitable[None]], workflow: str) -> None:
        self._idle.begin(workflow)
        self._lifecycle.spawn(self._carry_out(work, workflow), "outcome")

    async def _carry_out(self, work: Callable[[], Awaitable[None]], workflow: str) -> None:
        try:
            await work()
        except Exception:
            logger.exception("What a group came to could not be stored; it stays open")
        finally:
            self._idle.end(workflow)

    async def _skip(self, group: Sequence[Delivery], reason: str) -> None:
        ids = tuple(delivery.artifact.id for delivery in group)
        now = as_datetime(self._clock.time())
        first = group[0]
        skipped = GroupSkipped(now, first.artifact.correlation_id, first.agent, ids, reason)
        await self.close(group, [skipped])

    async def _expire(
        self,
        subscription: Subscription,
        deliveries: Sequence[Delivery],
        key: object,
        begun: Run | None,
        gone: Callable[[], Sequence[Delivery]] | None,
        then: Callable[[], None] | None,
    ) -> None:
        # The same in each process, so that a group that is still to run is recorded once.
        record_key = deliveries[0].artifact.key ^ subscription.salt
        if then is not None and await self._store.get(UUID(int=record_key)) is not None:
            then()
            return
        now = as_datetime(self._clock.time())
        artifacts = [delivery.artifact for delivery in deliveries]
        run = Run(0, subscription.agent, subscription, deliveries, artifacts)
        ids = [artifact.id for artifact in artifacts]
        name = text_of(key)
        record = GroupExpired(agent=subscription.agent, key=name, artifact_ids=ids, expired_at=now)
        closed = deliveries if then is None else ()
        expired = JoinExpired(now, run.correlation_id, subscription.agent, name, tuple(ids))
        await self._tell_of(run, record, closed, None, lambda _: [expired], record_key, begun)
        if gone is not None and (cancelled := gone()):
            await self.close(cancelled)  # again: the run that was on record only now ends with it
        if then is not None:
            then()

    async def _tell_of(
        self,
        run: Run,
        record: BaseModel,
        closed: Sequence[Delivery],
        letter: DeadLetter | None,
        events: Callable[[DeadLetter | None], list[Event]],
        record_key: int | None = None,
        begun: Run | None = None,
        *,
        is_told: bool = True,
        states: Sequence[State] = (),
    ) -> None:
        """Commit what is to be closed together with a record that agents can consume.

        A component that refuses the record does not keep the rest from being true. What
        components withhold of it, the dead letter does not say either.

        Args:
            run: What it is about.
            record: What agents are told.
            closed: What is closed.
            letter: A dead letter to keep.
            events: What is logged with it, given the dead letter as it is kept.
            record_key: The record's id as a number; a new one if None.
            begun: A run that is to be on record with it.
            is_told: Whether the record goes on the board.
            states: What is kept or forgotten with it.
        """
        told = [
            self._publisher.system_artifact(
                record,
                agent=run.agent,
                correlation_id=run.correlation_id,
                visibility=self._narrowest(run.artifacts),
                parents=run.artifacts,
                depth=run.depth,
                key=record_key,
            )
        ]
        commit = partial(
            self._publisher.commit, closed=closed, begun=begun, on_wait=_wait, states=states
        )
        try:
            starting = await self._publisher.accept(told)
            letter = _worded(letter, told[0])
            if is_told:
                entries = [logged(event) for event in events(letter)]
                await commit(told, starting=starting, buried=letter, logged=entries)
                return
        except Exception as error:
            if was_awaited(error):
                raise
            logger.exception("The record of a failure of agent %r was refused", run.agent)
            if letter is not None and isinstance(error.__cause__, GuardBlocked):
                letter = replace(letter, error_message=text_of(error.__cause__))
        await commit([], buried=letter, logged=[logged(event) for event in events(letter)])

    def _narrowest(self, inputs: Iterable[Artifact]) -> Visibility:
        now = self._clock.time()
        left = (remaining(artifact.visibility, now - artifact.created) for artifact in inputs)
        return narrowest(left, self._identities())


def _buried(letter: DeadLetter | None, run: Run, error: Exception, *, has_run: bool) -> list[Event]:
    """Return what is told of a run that is put away."""
    assert letter is not None
    at, workflow = letter.created_at, run.correlation_id
    kind, message = letter.error_type, letter.error_message
    dead = DeadLettered(at, workflow, run.agent, letter.id, kind, message, error=error)
    if not has_run:
        return [dead]
    failed = RunFailed(
        at, workflow, run.agent, run.id, run.attempt, kind, message, run.usage or {}, error=error
    )
    return [failed, dead]


def _worded(letter: DeadLetter | None, told: Artifact) -> DeadLetter | None:
    """Return a dead letter that says what components left of the record's message."""
    if letter is None or told.entry is not registry.entry(WorkflowError):
        return letter
    return replace(letter, error_message=told.payload["error_message"])


def _wait() -> None:
    """Do nothing else while the store is waited for."""
