"""The lasting events of a board, read from its store in board order, page by page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, TypeAlias
from uuid import UUID

from flock.clock import as_datetime
from flock.core.artifacts import Artifact
from flock.core.filters import FilterConfig
from flock.orchestrator.events.base import BoardEvent
from flock.orchestrator.events.kinds import ArtifactPublished, Event, EventsMissed, RunSucceeded
from flock.orchestrator.events.log import event_of
from flock.orchestrator.events.merging import PAGE, Fetch, Kept, Merged
from flock.orchestrator.events.position import Position
from flock.store.protocol import LogEntry, RunRecord

if TYPE_CHECKING:
    from flock.core.usage import Usage
    from flock.store.protocol import BlackboardStore

_Item: TypeAlias = Artifact | RunRecord | LogEntry


class Past:
    """Reads lasting events behind a position.

    Args:
        store: Where the board lies.
        start: Only what comes after it.
        correlation_id: Only of this workflow; of the whole board if None. What was deleted can
            only be told of the whole board.
        kinds: Only of these kinds; of all if None.
    """

    def __init__(
        self,
        store: BlackboardStore,
        start: Position,
        correlation_id: str | None = None,
        kinds: tuple[type[BoardEvent], ...] | None = None,
    ) -> None:
        self._store = store
        self._workflow = correlation_id
        self._kinds = kinds
        self._place = start
        self._recent: dict[UUID, Artifact] = {}
        wanted = set(kinds or ())
        tables: dict[Kept, Fetch[_Item]] = {}
        if kinds is None or ArtifactPublished in wanted:
            where = None if correlation_id is None else FilterConfig(correlation_id=correlation_id)
            tables["artifacts"] = partial(_artifacts, store, where)
        if kinds is None or RunSucceeded in wanted:
            tables["runs"] = partial(_runs, store, correlation_id)
        if kinds is None or wanted - {ArtifactPublished, RunSucceeded}:
            tables["logged"] = partial(_log, store, correlation_id)
        self._merged: Merged[_Item] = Merged(tables, start)

    async def read(
        self, until: Position, now: Callable[[], float], put: Callable[[Sequence[Event]], None]
    ) -> Position:
        """Read a page of events; return how far they reach.

        Args:
            until: The place up to which to read, a mark of the board.
            now: The time, for what has none of its own.
            put: Takes the events. It is called last: if this raises or is cancelled, nothing of
                it was done.
        """
        page, deleted, covered = await self._merged.next_page(until)
        events: list[Event] = []
        place, at = self._place, None
        priced = any(name == "runs" for name, *_ in page) and (await self._store.spent()).models
        for _, row, missed in page:
            event = await self._event(row.item, row.place, is_priced=bool(priced))
            if missed and self._workflow is None:
                events.append(EventsMissed(event.at, None, missed, position=place))
            place, at = row.place, event.at
            if self._kinds is None or isinstance(event, self._kinds):
                events.append(event)
        if deleted and self._workflow is None:
            at = as_datetime(now()) if at is None else at
            events.append(EventsMissed(at, None, deleted, position=place))
        self._merged.take(page, covered, until)
        self._place = place
        put(events)
        return covered

    async def _event(self, item: _Item, place: Position, *, is_priced: bool) -> Event:
        if isinstance(item, Artifact):
            self._remember(item)
            return published(item)
        if isinstance(item, LogEntry):
            return event_of(item)
        run = item
        outputs = [await self._artifact(each) for each in run.outputs]
        usage: dict[str, Usage] = {}
        if is_priced:
            usage = dict((await self._store.spent(run_id=run.run_id)).models)
        return RunSucceeded(
            as_datetime(run.committed),
            run.correlation_id,
            run.agent,
            run.run_id,
            run.attempt,
            tuple(output for output in outputs if output is not None),
            max(run.committed - run.began, 0.0),
            usage,
            position=place,
        )

    def _remember(self, artifact: Artifact) -> None:
        """Keep some artifacts, since the run that made them usually follows."""
        recent = self._recent
        recent[artifact.id] = artifact
        if len(recent) > 2 * PAGE:
            del recent[next(iter(recent))]

    async def _artifact(self, artifact_id: UUID) -> Artifact | None:
        return self._recent.get(artifact_id) or await self._store.get(artifact_id)


def published(artifact: Artifact) -> ArtifactPublished:
    """Return the event of an artifact that lies on the board."""
    at: datetime = artifact.created_at
    place = Position(artifact.seq)
    return ArtifactPublished(at, artifact.correlation_id, artifact, position=place)


async def _artifacts(
    store: BlackboardStore, where: FilterConfig | None, after: int, limit: int
) -> list[tuple[Position, int, _Item]]:
    found = await store.earliest(where, limit=limit, after=after)
    return [(Position(artifact.seq), artifact.seq, artifact) for artifact in found]


async def _runs(
    store: BlackboardStore, workflow: str | None, after: int, limit: int
) -> list[tuple[Position, int, _Item]]:
    found = await store.runs(workflow, after=after, limit=limit)
    return [(Position(run.position, run.number), run.number, run) for run in found]


async def _log(
    store: BlackboardStore, workflow: str | None, after: int, limit: int
) -> list[tuple[Position, int, _Item]]:
    found = await store.log(workflow, after=after, limit=limit)
    return [(Position.at(entry.mark), entry.number, entry) for entry in found]
