"""The reference store: everything in memory, for as long as the object lives."""

from __future__ import annotations

import asyncio
import builtins
from collections import Counter, deque
from typing import TYPE_CHECKING, Self, TypeVar, cast
from uuid import UUID

from pydantic import BaseModel

from flock.clock import as_datetime
from flock.core.artifacts import Artifact, set_seq
from flock.core.filters import FilterConfig, require_aware
from flock.core.types import registry
from flock.errors import StoreError
from flock.store.protocol import ArtifactSummary, Commit, ConsumptionRecord, DeadLetter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence, ValuesView
    from datetime import datetime

    from flock.core.delivery import Delivery

M = TypeVar("M", bound=BaseModel)

_EVERYTHING = FilterConfig()


class InMemoryBlackboardStore:
    """Keeps a board in memory. A commit is one step of the event loop.

    Boards opened one after the other on the same store go on with its open work.
    """

    def __init__(self) -> None:
        self._by_key: dict[int, Artifact] = {}
        self._by_type: dict[str, list[Artifact]] = {}
        self._by_workflow: dict[str, list[Artifact]] = {}
        self._seq = 0
        self._open: dict[Delivery, None] = {}
        self._consumed: builtins.list[tuple[int, str, int, str, float]] = []
        self._consumed_by_key: dict[int, list[int]] = {}
        self._indexed = 0
        self._dead: dict[UUID, DeadLetter] = {}
        self._watchers: set[_Watch] = set()

    def __repr__(self) -> str:
        return f"InMemoryBlackboardStore({len(self._by_key)} artifacts, {len(self._open)} open)"

    async def open(self) -> None:
        """Do nothing: memory is always open."""

    async def close(self) -> None:
        """End what watches it; what it holds can still be read."""
        for watcher in list(self._watchers):
            watcher.end()

    async def commit(self, commit: Commit) -> None:
        """Make all of it true at once and number the artifacts.

        Raises:
            StoreError: An artifact is on the board already.
        """
        by_key = self._by_key
        for artifact in commit.artifacts:
            if artifact.key in by_key:
                msg = f"artifact {artifact.id} is on the board already"
                raise StoreError(msg)
        for artifact in commit.artifacts:
            self._seq += 1
            set_seq(artifact, self._seq)
            by_key[artifact.key] = artifact
            name = artifact.entry.name
            same_type = self._by_type.get(name)
            if same_type is None:
                same_type = self._by_type[name] = []
            same_type.append(artifact)
            workflow = self._by_workflow.get(artifact.correlation_id)
            if workflow is None:
                self._by_workflow[artifact.correlation_id] = [artifact]
            else:
                workflow.append(artifact)
        for delivery in commit.closed:
            delivery.is_open = False
            self._open.pop(delivery, None)
        for delivery in commit.opened:
            delivery.is_open = True
            self._open[delivery] = None
        run = commit.run
        if run is not None:
            for key in run.parent_keys:
                self._consumed.append((key, run.agent, run.key, run.correlation_id, commit.at))
        if commit.buried is not None:
            self._dead[commit.buried.id] = commit.buried
        if commit.redriven is not None:
            self._dead.pop(commit.redriven, None)
        if self._watchers:
            for watcher in self._watchers:
                watcher.offer(commit.artifacts)

    async def open_deliveries(self) -> builtins.list[Delivery]:
        """Return what is still open, in board order."""
        return sorted(self._open, key=lambda d: (d.artifact.seq, d.agent, d.index))

    async def get(self, artifact_id: UUID | str) -> Artifact | None:
        """Return an artifact, or None if there is none of that id."""
        return self._by_key.get(_key(artifact_id))

    async def list(self) -> builtins.list[Artifact]:
        """Return all artifacts, oldest first."""
        return [*self._by_key.values()]

    async def list_by_type(self, model: type[BaseModel] | str) -> builtins.list[Artifact]:
        """Return all artifacts of a type (a class or a name), oldest first."""
        return [*self._by_type.get(_type_name(model), ())]

    async def get_by_type(
        self, model: type[M], correlation_id: str | None = None
    ) -> builtins.list[M]:
        """Return all models of a type, of one workflow if it is named, oldest first."""
        name = _type_name(model)
        if correlation_id is None:
            found: Iterable[Artifact] = self._by_type.get(name, ())
        else:
            found = self._by_workflow.get(str(correlation_id), ())
        entry = registry.entry(model)
        return [
            cast("M", entry.load(a.data, a.version)) for a in found if a.entry.name == name
        ]

    async def query_artifacts(
        self, where: FilterConfig | None = None, limit: int = 100, offset: int = 0
    ) -> tuple[builtins.list[Artifact], int]:
        """Return a page of artifacts, oldest first, and how many there are in all.

        Raises:
            ValueError: `limit` or `offset` is negative.
        """
        if limit < 0 or offset < 0:
            msg = f"limit and offset are at least 0, not {limit} and {offset}"
            raise ValueError(msg)
        where = where or _EVERYTHING
        found = [a for a in self._candidates(where) if where.admits(a)]
        return found[offset : offset + limit], len(found)

    async def latest(
        self, where: FilterConfig | None = None, *, limit: int, before: int | None = None
    ) -> builtins.list[Artifact]:
        """Return the newest artifacts, newest first, of those with `seq < before`."""
        where = where or _EVERYTHING
        found: builtins.list[Artifact] = []
        for artifact in reversed(self._candidates(where)):
            if len(found) >= limit:
                break
            if (before is None or artifact.seq < before) and where.admits(artifact):
                found.append(artifact)
        return found

    async def consumptions(self, artifact_id: UUID | str) -> builtins.list[ConsumptionRecord]:
        """Return which runs used an artifact, in the order they committed."""
        for position in range(self._indexed, len(self._consumed)):
            key = self._consumed[position][0]
            self._consumed_by_key.setdefault(key, []).append(position)
        self._indexed = len(self._consumed)
        records: builtins.list[ConsumptionRecord] = []
        for position in self._consumed_by_key.get(_key(artifact_id), ()):
            key, agent, run_key, correlation_id, at = self._consumed[position]
            records.append(
                ConsumptionRecord(
                    UUID(int=key), agent, f"{run_key:032x}", correlation_id, as_datetime(at)
                )
            )
        return records

    async def summary(self, where: FilterConfig | None = None) -> ArtifactSummary:
        """Return how many artifacts there are, and of what kinds."""
        where = where or _EVERYTHING
        found = [a for a in self._candidates(where) if where.admits(a)]
        times = [a.created for a in found]
        return ArtifactSummary(
            total=len(found),
            by_type=Counter(a.type for a in found),
            by_producer=Counter(a.produced_by for a in found),
            by_visibility=Counter(a.visibility.kind for a in found),
            by_tag=Counter(tag for a in found for tag in a.tags),
            earliest=as_datetime(min(times)) if times else None,
            latest=as_datetime(max(times)) if times else None,
        )

    async def dead_letters(self) -> builtins.list[DeadLetter]:
        """Return the dead letters, oldest first."""
        return [*self._dead.values()]

    async def delete_before(self, moment: datetime) -> int:
        """Delete artifacts published before a moment, but nothing that open work needs.

        Raises:
            ValueError: The time is naive.
        """
        require_aware(moment, "delete_before")
        limit = moment.timestamp()
        needed = {delivery.artifact.key for delivery in self._open}
        for letter in self._dead.values():
            needed.update(artifact.key for artifact in letter.artifacts)
        doomed = {
            a.key for a in self._by_key.values() if a.created < limit and a.key not in needed
        }
        for key in doomed:
            del self._by_key[key]
        for index in (self._by_type, self._by_workflow):
            for name, artifacts in list(index.items()):
                kept = [a for a in artifacts if a.key not in doomed]
                if kept:
                    index[name] = kept
                else:
                    del index[name]
        self._consumed = [record for record in self._consumed if record[0] not in doomed]
        self._consumed_by_key.clear()
        self._indexed = 0
        return len(doomed)

    def watch(self, where: FilterConfig | None = None) -> AsyncIterator[Artifact]:
        """Yield artifacts as they are committed, from the call on, until the store closes."""
        watcher = _Watch(where or _EVERYTHING, self._watchers)
        self._watchers.add(watcher)
        return watcher

    def _candidates(self, where: FilterConfig) -> Sequence[Artifact] | ValuesView[Artifact]:
        """Return the shortest list that holds all that can be asked for, in board order."""
        if where.correlation_id is not None:
            return self._by_workflow.get(str(where.correlation_id), [])
        if where.type_names is not None:
            lists = [self._by_type.get(str(name), []) for name in where.type_names]
            if len(lists) == 1:
                return lists[0]
            return sorted((a for found in lists for a in found), key=lambda a: a.seq)
        return self._by_key.values()


class _Watch:
    """One watcher's place: what it has not taken yet."""

    def __init__(self, where: FilterConfig, watchers: set[_Watch]) -> None:
        self._where = where
        self._watchers = watchers
        self._ready: deque[Artifact] = deque()
        self._more = asyncio.Event()
        self._ended = False

    def offer(self, artifacts: Sequence[Artifact]) -> None:
        self._ready.extend(a for a in artifacts if self._where.admits(a))
        self._more.set()

    def end(self) -> None:
        self._ended = True
        self._watchers.discard(self)
        self._more.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Artifact:
        while not self._ready:
            if self._ended:
                raise StopAsyncIteration
            self._more.clear()
            await self._more.wait()
        return self._ready.popleft()

    async def aclose(self) -> None:
        self.end()


def _key(artifact_id: UUID | str) -> int:
    if isinstance(artifact_id, UUID):
        return artifact_id.int
    try:
        return UUID(artifact_id).int
    except (ValueError, AttributeError, TypeError):
        return -1


def _type_name(model: type[BaseModel] | str) -> str:
    return registry.resolve(model).name if isinstance(model, str) else registry.entry(model).name
