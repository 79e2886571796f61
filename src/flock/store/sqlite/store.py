"""The embedded durable store: one file, one process that writes, any number that read."""

from __future__ import annotations

import asyncio
import builtins
import sqlite3
import weakref
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Protocol, Self, TypeVar, cast, get_args
from uuid import UUID

from pydantic import BaseModel

from flock.clock import as_datetime
from flock.core.artifacts import Artifact
from flock.core.delivery import Delivery, Run
from flock.core.filters import FilterConfig, require_aware
from flock.core.types import registry
from flock.errors import DeclarationError, StoreError, StoreLocked, StoreReadOnly, TypeRegistryError
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
from flock.store.sqlite import accounts, schema
from flock.store.sqlite.failures import ERRORS, named, undamaged
from flock.store.sqlite.openwork import read_dead_letters, read_open_work
from flock.store.sqlite.owned import open_for_writing
from flock.store.sqlite.ownership import Ownership
from flock.store.sqlite.queries import condition, query, sought
from flock.store.sqlite.ran import read_log, read_runs
from flock.store.sqlite.reader import Reader, read_empty, read_once
from flock.store.sqlite.records import ARTIFACT, artifact_from
from flock.store.sqlite.transaction import Counters
from flock.store.sqlite.writer import Writer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from flock.core.subscription import Subscription
    from flock.core.usage import Spent

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

Durability = Literal["process", "power"]

_PAGE: Final = 256


class SQLiteBlackboardStore:
    """Keeps a board in one file, which survives the process at any moment.

    One process has it open for writing; a second one gets `StoreLocked`. It can be read at any
    time, also while nobody has it open.

    Args:
        path: The file. It is made when the store is opened; its folder has to exist. Beside it
            lie `-wal` and `-shm` while it is open, and `.lock`.
        durability: What a commit survives. `"process"`: the end of the process, however it
            comes; after a power failure the last moments may be missing, but the board is
            whole. `"power"`: also that, by one `fsync` for each group of commits.
        read_only: Whether it is only looked at, also while another process works on it.

    Raises:
        DeclarationError: An argument makes no sense.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        durability: Durability = "process",
        read_only: bool = False,
    ) -> None:
        if not isinstance(path, str | PathLike) or not fspath(path):
            msg = f"SQLiteBlackboardStore takes the path of a file, not {path!r}"
            raise DeclarationError(msg)
        if str(path).startswith(":memory:"):
            msg = "a board in memory needs no file: leave the store out, or use 'memory:'"
            raise DeclarationError(msg)
        if durability not in get_args(Durability):
            msg = f"durability is one of {', '.join(get_args(Durability))}, not {durability!r}"
            raise DeclarationError(msg)
        self.path = Path(path)
        self.durability: Durability = durability
        self.read_only = read_only
        self._ownership = Ownership(self.path.resolve())
        self._holder = ""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writer: Writer | None = None
        self._reader: Reader | None = None
        self._counters = Counters(0, 0, 0, set())
        self._watchers: weakref.WeakSet[_Watch] = weakref.WeakSet()
        self._observer: Observer | None = None

    def __repr__(self) -> str:
        return f"SQLiteBlackboardStore({str(self.path)!r})"

    @property
    def is_durable(self) -> bool:
        """Yes: it outlives the process."""
        return True

    @property
    def position(self) -> int:
        """The `seq` of the newest artifact of all; 0 before the first, and before it is open."""
        return self._counters.seq

    @property
    def mark(self) -> Mark:
        """How far the board is; nowhere before it is open."""
        counters = self._counters
        return Mark(counters.seq, counters.run, counters.logged)

    # --- open and closed ---

    async def open(self, holder: str = "a program") -> None:
        """Take the file, bring it up to the newest schema, and make it ready.

        Args:
            holder: Who takes it, for the error of the next one.

        Raises:
            StoreLocked: Another board has it open; names it.
            SchemaTooNew: It was written by a newer version of Flock.
            StoreError: It cannot be opened, or is no board.
        """
        if self._loop is not None and self._loop.is_running():
            raise StoreLocked(locked_by(self, self._holder))
        self._abandon()  # what an event loop that ended left open
        loop = asyncio.get_running_loop()
        if self.read_only:
            await self._read(self._check)
        else:
            thread = ThreadPoolExecutor(1, "flock-writer")
            try:
                connection = await self._connected(thread, holder)
            except BaseException:
                thread.shutdown(wait=False)
                raise
            self._writer = Writer(
                connection, thread, self.path, self._counters, self._tell_watchers
            )
        self._reader = Reader(self.path)
        self._holder, self._loop, self._observer = holder, loop, None

    async def _connected(self, thread: ThreadPoolExecutor, holder: str) -> sqlite3.Connection:
        """Take the file in a thread; whoever is cancelled meanwhile lets go of it again."""
        opening = asyncio.get_running_loop().run_in_executor(thread, self._connect, holder)
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            await asyncio.wait([opening])
            if opening.exception() is None:
                opening.result().close()
                self._ownership.release()
            raise

    def _check(self, connection: sqlite3.Connection) -> None:
        schema.require_current(connection, self.path)
        self._read_counters(connection)

    def _read_counters(self, connection: sqlite3.Connection) -> None:
        counters = self._counters
        (counters.seq,) = connection.execute(query("position")).fetchone()
        (counters.run,) = connection.execute(query("last_run")).fetchone()
        (counters.logged,) = connection.execute(query("last_logged")).fetchone()

    def _connect(self, holder: str) -> sqlite3.Connection:
        """Take the lock and open the file for writing."""
        self._ownership.take()
        try:
            connection = self._ready(holder)
        except BaseException:
            self._ownership.release()
            raise
        return connection

    def _ready(self, holder: str) -> sqlite3.Connection:
        connection, _ = open_for_writing(self.path, self.durability)
        try:
            self._ownership.sign(connection, holder)
            self._read_counters(connection)
            open_runs = connection.execute("SELECT id FROM open_runs")
            self._counters.open_runs = {int.from_bytes(row[0]) for row in open_runs}
        except BaseException as error:
            connection.close()
            if isinstance(error, ERRORS):
                raise named(error, self.path) from error
            raise
        return connection

    async def close(self) -> None:
        """Write what is queued, and let go of the file; it can still be read."""
        for watcher in list(self._watchers):
            watcher.end()
        writer, reader = self._writer, self._reader
        self._writer = self._reader = self._loop = None
        try:
            # The last connection to be closed moves the journal into the file: one that may write.
            if reader is not None:
                reader.close()
            if writer is not None:
                await writer.close()
        finally:
            self._ownership.release()

    def _abandon(self) -> None:
        if self._reader is not None:
            self._reader.close()
        if self._writer is not None:
            self._writer.abandon()
        self._writer = self._reader = self._loop = None
        self._ownership.release()

    # --- writing ---

    def commit(self, commit: Commit) -> Awaitable[None]:
        """Make all of it true at once and number the artifacts; see `BlackboardStore.commit`.

        Raises:
            StoreError: It could not be done, and nothing of it was.
        """
        return (self._writer or self._writing).commit(commit)

    def note(self, what: Run | Delivery) -> None:
        """Write progress down soon; see `BlackboardStore.note`."""
        (self._writer or self._writing).note(what)

    @property
    def _writing(self) -> Writer:
        if self._writer is None:
            if self.read_only:
                msg = f"the board {str(self.path)!r} was opened to be read only"
                raise StoreReadOnly(msg)
            msg = f"the board {str(self.path)!r} is not open; open it with `async with`, or open()"
            raise StoreError(msg)
        return self._writer

    async def delete_before(self, moment: datetime) -> int:
        """Delete artifacts published before a moment, but nothing that open work needs.

        Raises:
            ValueError: The time is naive.
            StoreError: It could not be done.
        """
        require_aware(moment, "delete_before")
        return await self._delete(query("doomed"), moment.timestamp(), with_log=True)

    async def keep_newest(self, count: int) -> int:
        """Delete all but the newest artifacts of each workflow, but nothing that open work needs.

        Args:
            count: How many of each workflow to keep.

        Raises:
            ValueError: `count` is no number from 0.
            StoreError: It could not be done.
        """
        require_count(count)
        return await self._delete(query("surplus"), count)

    async def _delete(self, choose: str, limit: float, *, with_log: bool = False) -> int:
        counters, loop = self._counters, asyncio.get_running_loop()

        def delete(connection: sqlite3.Connection) -> int:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(choose, (limit,))
            for part in ("runs", "consumptions", "tags", "keys"):
                connection.execute(query(f"delete_doomed_{part}"))
            count = connection.execute(query("delete_doomed")).rowcount
            connection.execute(query("drop_doomed"))
            if with_log:
                connection.execute(query("delete_log"), (limit,))
            for name, number in (
                ("position", counters.seq),
                ("last_run", counters.run),
                ("last_logged", counters.logged),
            ):
                connection.execute(query("set_meta"), (name, str(number)))
            connection.execute("COMMIT")
            if count:  # whoever asked for it may be cancelled by now
                loop.call_soon_threadsafe(self._tell_deleted)
            return count

        return await self._writing.call(delete)

    def _tell_deleted(self) -> None:
        if self._observer is not None:
            self._observer.deleted()

    async def vacuum(self) -> int:
        """Give the room of what was deleted back to the system; return how many bytes it was.

        Other work goes on in between.
        """
        freed = 0
        while True:
            pages, size = await self._writing.call(_vacuum_some)
            freed += pages * size
            if not pages:
                return freed

    # --- reading ---

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._reader is not None and self._loop is asyncio.get_running_loop():
            return await self._reader.read(work)
        thread = ThreadPoolExecutor(1, "flock-reader")
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(thread, self._read_closed, work)
        finally:
            thread.shutdown(wait=False)

    def _read_closed(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Read a board that is not open here; one that was never open is empty."""
        if not self.read_only and not self.path.exists():
            return read_empty(work)
        return read_once(self.path, work)

    async def open_work(
        self, subscription_of: Callable[[str, int], Subscription | None]
    ) -> OpenWork:
        """Return what is still open, for a board that opens."""
        work, _ = await self._read(lambda c: read_open_work(c, subscription_of))
        return work

    async def get(self, artifact_id: UUID | str) -> Artifact | None:
        """Return an artifact, or None if there is none of that id."""
        identity = _identity(artifact_id)
        return None if identity is None else await self._one(query("get"), identity)

    async def published_as(self, idempotency_key: str) -> Artifact | None:
        """Return what was published under a key, or None if nothing on the board was."""
        return await self._one(query("published_as"), sought(idempotency_key))

    async def _one(self, sql: str, value: bytes | str | None) -> Artifact | None:
        def read(connection: sqlite3.Connection) -> Artifact | None:
            stored = connection.execute(sql, (value,)).fetchone()
            return None if stored is None else artifact_from(stored)

        return await self._read(read)

    async def list(self) -> builtins.list[Artifact]:
        """Return all artifacts, oldest first."""
        found, _ = await self._page(None, -1, 0)
        return found

    async def list_by_type(self, model: type[BaseModel] | str) -> builtins.list[Artifact]:
        """Return all artifacts of a type (a class or a name), oldest first."""
        found, _ = await self._page(FilterConfig(type_names=[model]), -1, 0)
        return found

    async def get_by_type(
        self, model: type[M], correlation_id: str | None = None
    ) -> builtins.list[M]:
        """Return all models of a type, of one workflow if it is named, oldest first."""
        entry = registry.entry(model)
        where = condition(FilterConfig(type_names=[model], correlation_id=correlation_id))

        def read(connection: sqlite3.Connection) -> builtins.list[M]:
            rows = connection.execute(where.page(ARTIFACT), (*where.values, -1, 0))
            artifacts = map(artifact_from, rows)
            return [cast("M", entry.load(a.data, a.version)) for a in artifacts]

        return await self._read(read)

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
        return await self._page(where, limit, offset)

    async def _page(
        self, where: FilterConfig | None, limit: int, offset: int
    ) -> tuple[builtins.list[Artifact], int]:
        wanted = condition(where)

        def read(connection: sqlite3.Connection) -> tuple[builtins.list[Artifact], int]:
            rows = connection.execute(wanted.page(ARTIFACT), (*wanted.values, limit, offset))
            found = [*map(artifact_from, rows)] if limit else []
            if limit < 0:
                return found, len(found)
            count = f"SELECT count(*) FROM artifacts WHERE {wanted.sql}"
            return found, connection.execute(count, wanted.values).fetchone()[0]

        return await self._read(read)

    async def count(self, where: FilterConfig | None = None, *, until: int | None = None) -> int:
        """Return how many artifacts there are; see `BlackboardStore.count`."""
        wanted = condition(where)
        if until is not None:
            wanted = wanted.before(until + 1)
        sql = f"SELECT count(*) FROM artifacts WHERE {wanted.sql}"
        return await self._read(lambda c: c.execute(sql, wanted.values).fetchone()[0])

    async def latest(
        self, where: FilterConfig | None = None, *, limit: int, before: int | None = None
    ) -> builtins.list[Artifact]:
        """Return the newest artifacts, newest first, of those with `seq < before`."""
        wanted = condition(where)
        if before is not None:
            wanted = wanted.before(before)

        def read(connection: sqlite3.Connection) -> builtins.list[Artifact]:
            page = wanted.page(ARTIFACT, newest_first=True)
            rows = connection.execute(page, (*wanted.values, max(limit, 0), 0))
            return [*map(artifact_from, rows)]

        return await self._read(read)

    async def earliest(
        self, where: FilterConfig | None = None, *, limit: int, after: int = 0
    ) -> builtins.list[Artifact]:
        """Return the oldest artifacts, oldest first, of those with `seq > after`."""
        wanted = condition(where).after(after)

        def read(connection: sqlite3.Connection) -> builtins.list[Artifact]:
            rows = connection.execute(wanted.page(ARTIFACT), (*wanted.values, max(limit, 0), 0))
            return [*map(artifact_from, rows)]

        return await self._read(read)

    async def consumptions(self, artifact_id: UUID | str) -> builtins.list[ConsumptionRecord]:
        """Return which runs used an artifact, in the order they committed."""
        identity = _identity(artifact_id)
        if identity is None:
            return []

        @undamaged("a record of what was consumed")
        def read(connection: sqlite3.Connection) -> builtins.list[ConsumptionRecord]:
            return [
                ConsumptionRecord(UUID(bytes=identity), agent, run.hex(), workflow, as_datetime(at))
                for agent, run, workflow, at in connection.execute(
                    query("consumptions"), (identity,)
                )
            ]

        return await self._read(read)

    async def runs(
        self, correlation_id: str | None, *, limit: int = 100, after: int = 0
    ) -> builtins.list[RunRecord]:
        """Return a page of the runs of a workflow that succeeded; see `BlackboardStore.runs`."""
        return await self._read(lambda c: read_runs(c, correlation_id, limit, after))

    async def states(self, kind: str) -> dict[str, bytes]:
        """Return what is kept of a kind, by key, as it was committed last."""

        def read(connection: sqlite3.Connection) -> dict[str, bytes]:
            return dict(connection.execute(query("states"), (kind,)).fetchall())

        return await self._read(read)

    async def state(self, kind: str, key: str) -> bytes | None:
        """Return what is kept of a kind under one key, or None if nothing is."""

        def read(connection: sqlite3.Connection) -> bytes | None:
            row = connection.execute(query("state"), (kind, sought(key))).fetchone()
            return None if row is None else row[0]

        return await self._read(read)

    async def log(
        self, correlation_id: str | None = None, *, limit: int = 100, after: int = 0
    ) -> builtins.list[LogEntry]:
        """Return what was logged, oldest first; see `BlackboardStore.log`."""
        return await self._read(lambda c: read_log(c, correlation_id, limit, after))

    async def summary(self, where: FilterConfig | None = None) -> ArtifactSummary:
        """Return how many artifacts there are, and of what kinds."""
        wanted = condition(where)
        return await self._read(lambda connection: _summary(connection, wanted.sql, wanted.values))

    async def spent(
        self,
        *,
        correlation_id: str | None = None,
        agent: str | None = None,
        run_id: str | None = None,
    ) -> Spent:
        """Return what was spent: in a workflow, by an agent, in a run, or in all."""
        if run_id is not None:
            return await self._read(
                lambda c: accounts.spent_by_run(c, run_id, correlation_id, agent)
            )
        return await self._read(lambda c: accounts.spent(c, correlation_id, agent))

    async def dead_letters(self, correlation_id: str | None = None) -> builtins.list[DeadLetter]:
        """Return the dead letters, of one workflow if it is named, oldest first."""
        return await self._read(lambda c: read_dead_letters(c, correlation_id))

    # --- watching ---

    def watch(self, where: FilterConfig | None = None) -> AsyncIterator[Artifact]:
        """Yield artifacts as they are committed, from the call on, until the store closes."""
        watcher = _Watch(where or FilterConfig(), self.position, self.earliest)
        self._watchers.add(watcher)
        return watcher

    def observe(self, observer: Observer | None) -> None:
        """Tell somebody of commits and deletions; see `BlackboardStore.observe`."""
        self._observer = observer
        if self._writer is not None:
            self._writer.observer = observer

    def _tell_watchers(self) -> None:
        for watcher in self._watchers:
            watcher.tell(self.position)


class _Earliest(Protocol):
    """Reads the oldest artifacts behind a position."""

    def __call__(self, *, limit: int, after: int) -> Awaitable[builtins.list[Artifact]]: ...


class _Watch:
    """One watcher's place on the board: it reads page by page, however slow it is."""

    def __init__(
        self,
        where: FilterConfig,
        last: int,
        read: _Earliest,
    ) -> None:
        self._where = where
        self._read = read
        self._last = last
        self._newest = last
        self._page: builtins.list[Artifact] = []
        self._is_over = False
        self._more = asyncio.Event()

    def tell(self, newest: int) -> None:
        """Let it know of the newest position."""
        if newest > self._newest and not self._is_over:
            self._newest = newest
            self._more.set()

    def end(self) -> None:
        """Let the iteration end with what is committed by now."""
        self._is_over = True
        self._more.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Artifact:
        while True:
            while self._page:
                artifact = self._page.pop()
                self._last = artifact.seq
                if self._where.admits(artifact):
                    return artifact
            if self._last < self._newest:
                page = await self._read(limit=_PAGE, after=self._last)
                self._page = [a for a in reversed(page) if a.seq <= self._newest]
                if not self._page:  # what was there was deleted
                    self._last = self._newest
                continue
            if self._is_over:
                raise StopAsyncIteration
            self._more.clear()
            await self._more.wait()

    async def aclose(self) -> None:
        """End the iteration."""
        self.end()


@undamaged("what the board is summed up by")
def _summary(
    connection: sqlite3.Connection, where: str, values: tuple[object, ...]
) -> ArtifactSummary:
    def counts(column: str) -> dict[str, int]:
        sql = f"SELECT {column}, count(*) FROM artifacts WHERE {where} GROUP BY 1"
        return dict(connection.execute(sql, values).fetchall())

    tags = (
        "SELECT tag, count(*) FROM artifact_tags"
        f" WHERE seq IN (SELECT seq FROM artifacts WHERE {where}) GROUP BY tag"
    )
    bounds = f"SELECT count(*), min(created), max(created) FROM artifacts WHERE {where}"
    total, earliest, latest = connection.execute(bounds, values).fetchone()
    types: Counter[str] = Counter()
    for name, count in counts("type").items():
        types[_present_name(name)] += count
    kinds = counts("coalesce(kind, 'public')")
    return ArtifactSummary(
        total=total,
        by_type=types,
        by_producer=counts("produced_by"),
        by_visibility={kind.capitalize(): count for kind, count in kinds.items()},
        by_tag=dict(connection.execute(tags, values).fetchall()),
        earliest=None if earliest is None else as_datetime(earliest),
        latest=None if latest is None else as_datetime(latest),
    )


def _present_name(stored: str) -> str:
    """Return by which name a type goes now; the stored one where this process does not know it."""
    try:
        return registry.resolve(stored).name
    except TypeRegistryError:
        return stored


def _vacuum_some(connection: sqlite3.Connection) -> tuple[int, int]:
    (before,) = connection.execute("PRAGMA freelist_count").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.execute(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})").fetchall()
    (after,) = connection.execute("PRAGMA freelist_count").fetchone()
    return before - after, size


_PAGES_AT_ONCE: Final = 4096


def _identity(artifact_id: UUID | str) -> bytes | None:
    if isinstance(artifact_id, UUID):
        return artifact_id.bytes
    try:
        return UUID(artifact_id).bytes
    except (ValueError, AttributeError, TypeError):
        return None
