"""The reference store: everything in memory, for as long as the object lives."""

from __future__ import annotations

import asyncio
import builtins
import logging
import weakref
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import chain, islice, takewhile
from typing import TYPE_CHECKING, Self, TypeAlias, TypeVar, cast
from uuid import UUID

from pydantic import BaseModel

from flock.clock import as_datetime
from flock.core.artifacts import Artifact, set_seq
from flock.core.delivery import Delivery, TickRun
from flock.core.filters import FilterConfig, require_aware
from flock.core.types import registry
from flock.errors import StoreError, StoreLocked
from flock.store.accounts import Accounts
from flock.store.chunks import Chunks
from flock.store.protocol import (
    ArtifactSummary,
    Commit,
    ConsumptionRecord,
    DeadLetter,
    LogEntry,
    Mark,
    Observer,
    OpenWork,
    RunRecord,
    locked_by,
    require_count,
)
from flock.store.rows import Row, artifact_of, row_of

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Callable,
        Iterable,
        Iterator,
        Mapping,
        Sequence,
        Set,
    )
    from datetime import datetime

    from flock.core.delivery import Run
    from flock.core.subscription import Subscription
    from flock.core.types import TypeEntry
    from flock.core.usage import Spent

logger = logging.getLogger(__name__)

M = TypeVar("M", bound=BaseModel)

_EVERYTHING = FilterConfig()

_Ran: TypeAlias = tuple[int | tuple[int, ...], str, int, str, float, int, int, int, int, float]
"""Keys of the inputs (the key alone if it is one), agent, run key, workflow, when it was committed;
what it had seen, the position after it, how many artifacts it made, its attempt, and when that
began."""


class InMemoryBlackboardStore:
    """Keeps a board in memory. A commit is one step of the event loop.

    Boards opened one after the other on the same store go on with its open work; two at
    once are refused.

    Attributes:
        position: The `seq` of the newest artifact of all; 0 before the first.
    """

    def __init__(self) -> None:
        self._holder = ""
        self.position = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._rows: Chunks[Row | None] = Chunks()
        self._seq_by_key: dict[int, int] = {}
        self._by_type: dict[str, array[int]] = {}
        self._last_of_workflow: dict[str, int] = {}
        self._before_in_workflow = array("q")
        self._open: dict[Delivery, None] = {}
        self._ticks: dict[int, Run] = {}
        self._ran: Chunks[_Ran | None] = Chunks()
        self._emitted: dict[int, array[int]] = {}
        self._ran_over: dict[int, array[int]] = {}
        self._ran_in: dict[str, array[int]] = {}
        self._indexed = 0
        self._dead: dict[UUID, DeadLetter] = {}
        self._accounts = Accounts()
        self._arrivals: dict[tuple[str, int], int] = {}
        self._seq_by_idempotency_key: dict[str, int] = {}
        self._states: dict[str, dict[str, bytes]] = {}
        self._log: builtins.list[LogEntry] = []
        self._logged = 0
        self._watchers: weakref.WeakSet[_Watch] = weakref.WeakSet()
        self._observer: Observer | None = None
        self._is_watched = False

    @property
    def is_durable(self) -> bool:
        """No: it lasts as long as the object."""
        return False

    @property
    def mark(self) -> Mark:
        """How far the board is."""
        return Mark(self.position, len(self._ran), self._logged)

    def __repr__(self) -> str:
        return f"InMemoryBlackboardStore({len(self._seq_by_key)} artifacts, {len(self._open)} open)"

    async def open(self, holder: str = "a program") -> None:
        """Take the store, for one board at a time: two would both run its open work.

        Raises:
            StoreLocked: It is open already, on an event loop that runs.
        """
        if self._loop is not None and self._loop.is_running():
            raise StoreLocked(locked_by(self, self._holder))
        self._holder, self._loop = holder, asyncio.get_running_loop()
        self._observer = None

    async def close(self) -> None:
        """Let go of it and end what watches it; what it holds can still be read."""
        self._loop = None
        for watcher in list(self._watchers):
            watcher.end()

    async def commit(self, commit: Commit) -> None:
        """Make all of it true at once and number the artifacts.

        Raises:
            StoreError: It contradicts the board: an artifact is on it already, what a run used
                is not open any more, a key is taken, a dead letter is gone.
        """
        run, open_deliveries = commit.run, self._open
        is_plain = commit.redriven is None and commit.idempotency_key is None
        if not is_plain or not (
            run is None or all(map(open_deliveries.__contains__, run.deliveries))
        ):
            self._check(commit, run)
        self._add(commit.artifacts)
        for delivery in commit.closed:
            delivery.is_open = False
            open_deliveries.pop(delivery, None)
        for delivery in commit.opened:
            delivery.is_open = True
            open_deliveries[delivery] = None
        if run is not None:
            keys = run.parent_keys
            inputs = keys[0] if len(keys) == 1 else keys
            self._ran.append(
                (
                    inputs,
                    run.agent,
                    run.key,
                    run.correlation_id,
                    commit.at,
                    run.seen,
                    self.position,
                    run.emitted + len(commit.artifacts),
                    run.attempt,
                    run.began,
                )
            )
        elif commit.maker is not None and commit.artifacts:
            emitted = self._emitted.setdefault(commit.maker.key, array("q"))
            emitted.extend(artifact.seq for artifact in commit.artifacts)
        if commit.buried or commit.redriven or commit.charges or commit.idempotency_key:
            self._keep_books(commit)
        if commit.states or commit.logged or commit.progress or self._ticks:
            self._keep_states(commit)
        commit.is_done = True
        if commit.then is not None:
            commit.mark = self.mark
            self._tell(commit.then)
        if self._is_watched:
            self._tell(partial(self._tell_all, commit.artifacts))

    def _tell(self, told: Callable[[], None]) -> None:
        """Tell somebody of a commit, which is true whatever comes of that."""
        try:
            told()
        except Exception:
            logger.exception("Who was to be told of a commit failed; it is true")

    def _tell_all(self, artifacts: Sequence[Artifact]) -> None:
        """Let those who watch know of a commit."""
        for watcher in list(self._watchers):
            watcher.tell()
        if self._observer is not None and artifacts:
            self._observer.committed(artifacts)
        self._is_watched = bool(self._watchers) or self._observer is not None

    def observe(self, observer: Observer | None) -> None:
        """Tell somebody of commits and deletions; see `BlackboardStore.observe`."""
        self._observer = observer
        self._is_watched = self._is_watched or observer is not None

    def _check(self, commit: Commit, run: Run | None) -> None:
        """Refuse what contradicts what is open, dead or published under a key."""
        for delivery in () if run is None else run.deliveries:
            if delivery not in self._open:
                msg = f"{delivery!r} was closed already, by another run or a cancel"
                raise StoreError(msg)
        if commit.redriven is not None and commit.redriven not in self._dead:
            msg = f"there is no dead letter {commit.redriven}; somebody may have redriven it"
            raise StoreError(msg)
        if commit.idempotency_key in self._seq_by_idempotency_key:
            msg = f"something was published under the key {commit.idempotency_key!r} already"
            raise StoreError(msg)

    def _keep_books(self, commit: Commit) -> None:
        if commit.buried is not None:
            self._dead[commit.buried.id] = replace(commit.buried, position=self.position)
        if commit.redriven is not None:
            del self._dead[commit.redriven]
        for charge in commit.charges:
            self._accounts.add(charge)
        if commit.idempotency_key is not None:
            self._seq_by_idempotency_key[commit.idempotency_key] = commit.artifacts[0].seq

    def _keep_states(self, commit: Commit) -> None:
        """Keep what few commits have; also which runs of ticks are open."""
        for state in commit.states:
            of_kind = self._states.setdefault(state.kind, {})
            if state.data is None:
                of_kind.pop(state.key, None)
            else:
                of_kind[state.key] = state.data
        for entry in commit.logged:
            self._logged += 1
            self._log.append(entry._replace(number=self._logged, mark=self.mark))
        for run in commit.progress:
            if run.tick is not None:
                self._ticks[run.key] = run
        ended = [*commit.ended, commit.run, None if commit.buried is None else commit.buried.run]
        for run in filter(None, ended):
            self._ticks.pop(run.key, None)

    def note(self, what: Run | Delivery) -> None:
        """Keep how many artifacts came to a join; runs and deliveries are their own records."""
        if isinstance(what, Delivery) and what.number:
            join = (what.agent, what.index)
            self._arrivals[join] = max(what.number, self._arrivals.get(join, 0))

    def _add(self, artifacts: Sequence[Artifact]) -> None:
        known = self._seq_by_key
        for artifact in artifacts:
            if artifact.key in known:
                msg = f"artifact {artifact.id} is on the board already"
                raise StoreError(msg)
        if len(artifacts) == 1:
            self._place(artifacts[0], row_of(artifacts[0]))
            return
        if len({a.key for a in artifacts}) < len(artifacts):
            msg = "one commit holds the same artifact twice"
            raise StoreError(msg)
        rows = [*map(row_of, artifacts)]  # what can fail comes first
        for artifact, row in zip(artifacts, rows, strict=True):
            self._place(artifact, row)

    def _place(self, artifact: Artifact, row: Row) -> None:
        before, last_of = self._before_in_workflow, self._last_of_workflow
        workflow = artifact.correlation_id
        before.append(last_of.get(workflow, 0))
        seq = len(before)
        set_seq(artifact, seq)
        self.position = seq
        self._rows.append(row)
        self._seq_by_key[artifact.key] = last_of[workflow] = seq
        try:
            self._by_type[row[1]].append(seq)
        except KeyError:
            self._by_type[row[1]] = array("q", (seq,))

    async def open_work(
        self, subscription_of: Callable[[str, int], Subscription | None]
    ) -> OpenWork:
        """Return what is still open, for a board that opens."""
        found: builtins.list[Delivery] = []
        for delivery in sorted(self._open, key=lambda d: (d.artifact.seq, d.agent, d.index)):
            subscription = subscription_of(delivery.agent, delivery.index)
            if subscription is not None:
                delivery.subscription = subscription
                found.append(delivery)
        ticks: builtins.list[TickRun] = []
        for run in self._ticks.values():
            assert run.tick is not None
            ticks.append(TickRun(run.key, run.agent, run.tick))
            ticks[-1].take_over(run)
        return OpenWork(found, dict(self._arrivals), ticks)

    async def get(self, artifact_id: UUID | str) -> Artifact | None:
        """Return an artifact, or None if there is none of that id."""
        seq = self._seq_by_key.get(_key(artifact_id))
        return None if seq is None else self._at(seq)

    async def published_as(self, idempotency_key: str) -> Artifact | None:
        """Return what was published under a key, or None if nothing on the board was."""
        seq = self._seq_by_idempotency_key.get(idempotency_key)
        return None if seq is None else self._at(seq)

    async def list(self) -> builtins.list[Artifact]:
        """Return all artifacts, oldest first."""
        return [*map(self._at, self._seq_by_key.values())]

    async def list_by_type(self, model: type[BaseModel] | str) -> builtins.list[Artifact]:
        """Return all artifacts of a type (a class or a name), oldest first."""
        return [*map(self._at, self._of_type(_entry_of(model)))]

    async def get_by_type(
        self, model: type[M], correlation_id: str | None = None
    ) -> builtins.list[M]:
        """Return all models of a type, of one workflow if it is named, oldest first."""
        entry = registry.entry(model)
        found = (
            self._of_type(entry) if correlation_id is None else self._in_workflow(correlation_id)
        )
        rows, names = map(self._row, found), entry.names
        return [cast("M", entry.load(row[3], row[2])) for row in rows if row[1] in names]

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
        candidates, is_exact = self._candidates(where)
        if is_exact:
            page = islice(candidates, offset, offset + limit)
            return [*map(self._at, page)], len(candidates)
        found = self._admitted(where, candidates)
        return found[offset : offset + limit], len(found)

    async def count(self, where: FilterConfig | None = None, *, until: int | None = None) -> int:
        """Return how many artifacts there are; see `BlackboardStore.count`."""
        where = where or _EVERYTHING
        candidates, is_exact = self._candidates(where)
        if until is not None:
            candidates = candidates[: bisect_right(candidates, until)]
        if is_exact:
            return len(candidates)
        if where.visibility is not None or where.start is not None or where.end is not None:
            return sum(map(where.admits, map(self._at, candidates)))
        return sum(map(_row_filter(where), map(self._row, candidates)))

    async def latest(
        self, where: FilterConfig | None = None, *, limit: int, before: int | None = None
    ) -> builtins.list[Artifact]:
        """Return the newest artifacts, newest first, of those with `seq < before`."""
        where = where or _EVERYTHING
        found: builtins.list[Artifact] = []
        is_exact = self._candidates_are_exact(where)
        for seq in self._newest_first(where, before):
            if len(found) >= limit:
                break
            artifact = self._at(seq)
            if is_exact or where.admits(artifact):
                found.append(artifact)
        return found

    async def earliest(
        self, where: FilterConfig | None = None, *, limit: int, after: int = 0
    ) -> builtins.list[Artifact]:
        """Return the oldest artifacts, oldest first, of those with `seq > after`."""
        where = where or _EVERYTHING
        is_exact = self._candidates_are_exact(where)
        found = (
            artifact
            for artifact in map(self._at, self._oldest_first(where, after))
            if is_exact or where.admits(artifact)
        )
        return [*islice(found, max(limit, 0))]

    async def consumptions(self, artifact_id: UUID | str) -> builtins.list[ConsumptionRecord]:
        """Return which runs used an artifact, in the order they committed."""
        key = _key(artifact_id)
        if key not in self._seq_by_key:
            return []
        self._index_runs()
        found = map(self._ran.__getitem__, self._ran_over.get(key, ()))
        return [
            ConsumptionRecord(UUID(int=key), agent, f"{run:032x}", workflow, as_datetime(at))
            for _, agent, run, workflow, at, *_ in filter(None, found)
        ]

    async def runs(
        self, correlation_id: str | None, *, limit: int = 100, after: int = 0
    ) -> builtins.list[RunRecord]:
        """Return a page of the runs of a workflow that succeeded; see `BlackboardStore.runs`."""
        if correlation_id is None:
            rest = range(after, len(self._ran))
            kept = (place for place in rest if self._ran[place] is not None)
            return [*map(self._run_at, islice(kept, max(limit, 0)))]
        self._index_runs()
        places = self._ran_in.get(correlation_id, array("q"))
        first = bisect_left(places, after)  # a run's number is its place, from 1
        return [*map(self._run_at, places[first : first + max(limit, 0)])]

    def _run_at(self, place: int) -> RunRecord:
        ran = self._ran[place]
        assert ran is not None
        inputs, agent, run, workflow, at, seen, position, made, attempt, began = ran
        emitted = self._emitted.get(run, ())
        seqs = (*emitted, *range(position + 1 - made + len(emitted), position + 1))
        rows = (self._rows[seq - 1] for seq in seqs)
        return RunRecord(
            place + 1,
            f"{run:032x}",
            agent,
            workflow,
            tuple(UUID(int=key) for key in _keys(inputs)),
            tuple(UUID(int=row[0]) for row in rows if row is not None),
            made,
            attempt,
            seen,
            position,
            began,
            at,
        )

    def _index_runs(self) -> None:
        """Note which runs used what, and which are of a workflow, for those since the last time."""
        for place in range(self._indexed, len(self._ran)):
            ran = self._ran[place]
            if ran is not None:
                for key in dict.fromkeys(_keys(ran[0])):
                    self._ran_over.setdefault(key, array("q")).append(place)
                self._ran_in.setdefault(ran[3], array("q")).append(place)
        self._indexed = len(self._ran)

    async def states(self, kind: str) -> dict[str, bytes]:
        """Return what is kept of a kind, by key, as it was committed last."""
        return dict(self._states.get(kind, ()))

    async def state(self, kind: str, key: str) -> bytes | None:
        """Return what is kept of a kind under one key, or None if nothing is."""
        return self._states.get(kind, {}).get(key)

    async def log(
        self, correlation_id: str | None = None, *, limit: int = 100, after: int = 0
    ) -> builtins.list[LogEntry]:
        """Return what was logged, oldest first; see `BlackboardStore.log`."""
        first = bisect_right(self._log, after, key=lambda entry: entry.number)
        rest = islice(self._log, first, None)
        wanted = (e for e in rest if correlation_id in {None, e.correlation_id})
        return [*islice(wanted, max(limit, 0))]

    async def summary(self, where: FilterConfig | None = None) -> ArtifactSummary:
        """Return how many artifacts there are, and of what kinds."""
        where = where or _EVERYTHING
        found = self._admitted(where, self._candidates(where)[0])
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

    async def spent(
        self,
        *,
        correlation_id: str | None = None,
        agent: str | None = None,
        run_id: str | None = None,
    ) -> Spent:
        """Return what was spent: in a workflow, by an agent, in a run, or in all."""
        return self._accounts.spent(correlation_id, agent, run_id)

    async def dead_letters(self, correlation_id: str | None = None) -> builtins.list[DeadLetter]:
        """Return the dead letters, of one workflow if it is named, oldest first."""
        letters = self._dead.values()
        return [x for x in letters if correlation_id in {None, x.correlation_id}]

    async def delete_before(self, moment: datetime) -> int:
        """Delete artifacts published before a moment, but nothing that open work needs.

        Raises:
            ValueError: The time is naive.
        """
        require_aware(moment, "delete_before")
        limit = moment.timestamp()
        self._log = [entry for entry in self._log if entry.at >= limit]
        everything = self._seq_by_key.items()
        return self._delete({key: seq for key, seq in everything if self._row(seq)[9] < limit})

    async def keep_newest(self, count: int) -> int:
        """Delete all but the newest artifacts of each workflow, but nothing that open work needs.

        Raises:
            ValueError: `count` is no number from 0.
        """
        require_count(count)
        seen: Counter[str] = Counter()
        surplus: dict[int, int] = {}
        for key, seq in reversed(self._seq_by_key.items()):
            workflow = self._row(seq)[5]
            seen[workflow] += 1
            if seen[workflow] > count:
                surplus[key] = seq
        return self._delete(surplus)

    def _delete(self, unwanted: Mapping[int, int]) -> int:
        """Delete artifacts, by key and position, unless they are needed."""
        needed = self._needed()
        doomed = {key: seq for key, seq in unwanted.items() if key not in needed}
        if not doomed:
            return 0
        for key in doomed:
            del self._seq_by_key[key]
        self._rows.replace({seq - 1: None for seq in doomed.values()})
        gone = set(doomed.values())
        keys = self._seq_by_idempotency_key
        self._seq_by_idempotency_key = {key: seq for key, seq in keys.items() if seq not in gone}
        for name, seqs in self._by_type.items():
            self._by_type[name] = array("q", (seq for seq in seqs if seq not in gone))
        self._last_of_workflow.clear()
        for seq in self._seq_by_key.values():
            workflow = self._row(seq)[5]
            self._before_in_workflow[seq - 1] = self._last_of_workflow.get(workflow, 0)
            self._last_of_workflow[workflow] = seq
        self._forget_runs(doomed.keys())
        if self._observer is not None:
            self._observer.deleted()
        return len(doomed)

    def _needed(self) -> set[int]:
        """Return the keys of what open work and dead letters need."""
        needed = {delivery.artifact.key for delivery in self._open}
        runs = {delivery.run for delivery in self._open if delivery.run is not None}
        needed.update(artifact.key for run in runs for artifact in run.artifacts)
        for letter in self._dead.values():
            needed.update(a.key for a in (*letter.artifacts, *letter.delivered))
        return needed

    def _forget_runs(self, doomed: Set[int]) -> None:
        """Forget runs that used something of what is deleted, and nothing that is left."""
        left = self._seq_by_key
        gone: dict[int, _Ran | None] = {}
        for place in range(len(self._ran)):
            ran = self._ran[place]
            if ran is not None:
                keys = _keys(ran[0])
                if not doomed.isdisjoint(keys) and left.keys().isdisjoint(keys):
                    gone[place] = None
                    self._emitted.pop(ran[2], None)
        self._ran.replace(gone)
        self._ran_over.clear()
        self._ran_in.clear()
        self._indexed = 0

    def watch(self, where: FilterConfig | None = None) -> AsyncIterator[Artifact]:
        """Yield artifacts as they are committed, from the call on, until the store closes."""
        watcher = _Watch(where or _EVERYTHING, self._rows.__len__, self._first_from)
        self._watchers.add(watcher)
        self._is_watched = True
        return watcher

    def _candidates(self, where: FilterConfig) -> tuple[Sequence[int], bool]:
        """Return the shortest run of positions that holds all that is asked for, in order.

        Also whether all of them are asked for, so that none need be looked at.
        """
        is_exact = self._candidates_are_exact(where)
        if where.correlation_id is not None:
            return self._in_workflow(where.correlation_id), is_exact
        if where.type_names is not None:
            entries = {registry.resolve(str(name)) for name in where.type_names}
            lists = [*map(self._of_type, entries)]
            return (lists[0] if len(lists) == 1 else sorted(chain(*lists))), is_exact
        return self._everything(), is_exact

    def _of_type(self, entry: TypeEntry) -> Sequence[int]:
        """Return the positions of a type's artifacts, under whatever name they were stored."""
        lists = [self._by_type[name] for name in entry.names if name in self._by_type]
        if len(lists) < 2:
            return lists[0] if lists else ()
        return sorted(chain(*lists))

    def _everything(self) -> Sequence[int]:
        if len(self._seq_by_key) == len(self._rows):
            return range(1, len(self._rows) + 1)
        return [*self._seq_by_key.values()]

    def _candidates_are_exact(self, where: FilterConfig) -> bool:
        others = (where.produced_by, where.tags, where.visibility, where.start, where.end)
        narrows_twice = where.correlation_id is not None and where.type_names is not None
        return not narrows_twice and all(other is None for other in others)

    def _in_workflow(self, correlation_id: str) -> Sequence[int]:
        return [*self._backwards(correlation_id)][::-1]

    def _newest_first(self, where: FilterConfig, before: int | None) -> Iterator[int]:
        """Yield the positions of what can be asked for, backwards from a position."""
        workflow = where.correlation_id
        if workflow is None:
            candidates = self._candidates(where)[0]
            end = len(candidates) if before is None else bisect_left(candidates, before)
            return (candidates[place] for place in range(end - 1, -1, -1))
        if before is None:
            return self._backwards(workflow)
        row = self._rows[before - 1] if 0 < before <= len(self._rows) else None
        if row is not None and row[5] == workflow:
            return self._backwards(workflow, self._before_in_workflow[before - 1])
        return (seq for seq in self._backwards(workflow) if seq < before)

    def _oldest_first(self, where: FilterConfig, after: int) -> Iterator[int]:
        """Yield the positions of what can be asked for, from behind a position on."""
        if where.correlation_id is not None:
            later = takewhile(lambda seq: seq > after, self._backwards(where.correlation_id))
            return reversed([*later])
        if where.type_names is not None:
            candidates = self._candidates(where)[0]
            places = range(bisect_right(candidates, after), len(candidates))
            return (candidates[place] for place in places)
        rest = range(max(after, 0) + 1, len(self._rows) + 1)
        return (seq for seq in rest if self._rows[seq - 1] is not None)

    def _backwards(self, workflow: str, seq: int | None = None) -> Iterator[int]:
        seq = self._last_of_workflow.get(str(workflow), 0) if seq is None else seq
        while seq:
            yield seq
            seq = self._before_in_workflow[seq - 1]

    def _first_from(self, seq: int) -> Artifact | None:
        """Return the first artifact at or after a position, or None if there is none yet."""
        for place in range(seq, len(self._rows) + 1):
            row = self._rows[place - 1]
            if row is not None:
                return artifact_of(row, place)
        return None

    def _row(self, seq: int) -> Row:
        row = self._rows[seq - 1]
        assert row is not None
        return row

    def _at(self, seq: int) -> Artifact:
        return artifact_of(self._row(seq), seq)

    def _admitted(self, where: FilterConfig, candidates: Iterable[int]) -> builtins.list[Artifact]:
        return [artifact for artifact in map(self._at, candidates) if where.admits(artifact)]


class _Watch:
    """One watcher's place on the board: it reads from the store, however slow it is."""

    def __init__(
        self,
        where: FilterConfig,
        count: Callable[[], int],
        read: Callable[[int], Artifact | None],
    ) -> None:
        self._where = where
        self._count = count
        self._read = read
        self._last = count()
        self._end: int | None = None
        self._more = asyncio.Event()

    def tell(self) -> None:
        self._more.set()

    def end(self) -> None:
        """Let the iteration end with what is committed by now."""
        if self._end is None:
            self._end = self._count()
        self._more.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Artifact:
        while True:
            self._more.clear()
            artifact = self._read(self._last + 1)
            if self._end is not None and (artifact is None or artifact.seq > self._end):
                raise StopAsyncIteration
            if artifact is None:
                await self._more.wait()
                continue
            self._last = artifact.seq
            if self._where.admits(artifact):
                return artifact

    async def aclose(self) -> None:
        self.end()


def _row_filter(where: FilterConfig) -> Callable[[Row], bool]:
    """Return what tells whether a row is asked for, without making an artifact of it.

    Args:
        where: What is asked for, but no visibility and no time.
    """
    wanted = where.type_names
    types = None if wanted is None else {n for t in wanted for n in registry.resolve(str(t)).names}
    producers = where.produced_by
    tags = frozenset(where.tags or ())

    def admits(row: Row) -> bool:
        return (
            (types is None or row[1] in types)
            and (producers is None or row[4] in producers)
            and tags.issubset(row[7] or ())
        )

    return admits


def _keys(inputs: int | tuple[int, ...]) -> tuple[int, ...]:
    return (inputs,) if isinstance(inputs, int) else inputs


def _key(artifact_id: UUID | str) -> int:
    if isinstance(artifact_id, UUID):
        return artifact_id.int
    try:
        return UUID(artifact_id).int
    except (ValueError, AttributeError, TypeError):
        return -1


def _entry_of(model: type[BaseModel] | str) -> TypeEntry:
    return registry.resolve(model) if isinstance(model, str) else registry.entry(model)
