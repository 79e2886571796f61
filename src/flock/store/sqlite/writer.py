"""The one writer of a board: what has queued since the last transaction goes into the next."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

from flock.core.artifacts import set_seq
from flock.core.delivery import Delivery, Run
from flock.errors import StoreError
from flock.store.protocol import Commit, Mark, Observer
from flock.store.sqlite.failures import ERRORS, named
from flock.store.sqlite.records import Progress
from flock.store.sqlite.transaction import Arrival, Conflict, Counters, Noted, Transaction

logger = logging.getLogger(__name__)

T = TypeVar("T")

_MOST: Final = 1000
"""How many commits go into one transaction at the most."""


class _Uncancellable(asyncio.Future[None]):
    """The outcome of a commit, which is waited for whatever happens to who waits.

    A task that is cancelled meanwhile gets its cancellation when the outcome is there: a future
    that refuses to be cancelled lets `Task.cancel` put it off until then.
    """

    def cancel(self, msg: object = None) -> bool:
        """Refuse."""
        del msg
        return False


class _Pending(_Uncancellable):
    """A commit on its way, which is its own outcome.

    Attributes:
        commit: The commit.
        progress: Its runs that go on, as they were when it was made.
    """

    __slots__ = ("commit", "progress")

    def __init__(
        self, commit: Commit, progress: Sequence[Noted], loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(loop=loop)
        self.commit = commit
        self.progress = progress


_Item: TypeAlias = _Pending | Noted
_Outcome: TypeAlias = tuple[_Pending, Mark | StoreError]


class Writer:
    """Commits in order of arrival, in a thread of its own, many in one transaction.

    While a transaction is being written, what comes queues for the next one. A commit that
    cannot be true beside the others fails alone.

    Attributes:
        observer: Is told of each commit that put artifacts on the board.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        thread: ThreadPoolExecutor,
        path: Path,
        counters: Counters,
        on_commits: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._path = path
        self._counters = counters
        self._on_commits = on_commits
        self._thread = thread
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Item] = deque()
        self._is_busy = False
        self.observer: Observer | None = None

    @property
    def position(self) -> int:
        """Position of the newest artifact."""
        return self._counters.seq

    def commit(self, commit: Commit) -> asyncio.Future[None]:
        """Make a commit true; see `BlackboardStore.commit`."""
        progress = [Progress(run) for run in commit.progress] if commit.progress else ()
        pending = _Pending(commit, progress, self._loop)
        self._queue.append(pending)
        if not self._is_busy:
            self._start()
        return pending

    def note(self, what: Run | Delivery) -> None:
        """Write progress down soon."""
        if isinstance(what, Run):
            self._queue.append(Progress(what))
        else:
            artifact, arrived = what.artifact, what.arrived
            arrival = Arrival(artifact.seq, what.agent, what.index, arrived, what.number)
            self._queue.append(arrival)
        if not self._is_busy:
            self._start()

    async def call(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do something else with the connection, between two transactions, and return its result.

        Raises:
            StoreError: SQLite could not do it; a transaction that it began was undone.
        """
        return await self._loop.run_in_executor(self._thread, self._called, work)

    async def close(self) -> None:
        """Write what is queued, and let go of the thread and the connection."""
        while self._is_busy or self._queue:
            await self.commit(Commit())
        self.abandon()

    def abandon(self) -> None:
        """Let go of the thread and the connection once the transaction that goes on has ended."""
        self._thread.shutdown(wait=True)
        self._connection.close()

    # --- on the event loop ---

    def _start(self) -> None:
        self._is_busy = True
        self._loop.call_soon(self._write_next)

    def _write_next(self) -> None:
        queue = self._queue
        batch = [queue.popleft() for _ in range(min(len(queue), _MOST))]
        try:
            written = self._loop.run_in_executor(self._thread, self._write, batch)
        except RuntimeError as error:  # the thread was let go of: nothing is written any more
            self._is_busy = False
            _fail([*batch, *queue], self._path, error)
            queue.clear()
            return
        written.add_done_callback(partial(self._written, batch))

    def _written(self, batch: Sequence[_Item], written: asyncio.Future[list[_Outcome]]) -> None:
        if self._queue:
            self._write_next()
        else:
            self._is_busy = False
        error = asyncio.CancelledError() if written.cancelled() else written.exception()
        if error is not None:
            _fail(batch, self._path, error)
            return
        for pending, result in written.result():
            if isinstance(result, StoreError):
                pending.set_exception(result)
            else:
                try:
                    self._settle(pending.commit, result)
                except Exception:  # it is on the board, and others of its transaction are
                    logger.exception("Who was to be told of a commit failed; it is true")
                pending.set_result(None)
        self._on_commits()

    def _settle(self, commit: Commit, mark: Mark) -> None:
        """Let the objects of a commit know that it is true, and who is to be told of it."""
        try:
            _settle(commit, mark)
        finally:
            if self.observer is not None and commit.artifacts:
                self.observer.committed(commit.artifacts)

    # --- in the thread ---

    def _write(self, batch: Sequence[_Item]) -> list[_Outcome]:
        """Write a batch; return what became of each commit of it. It never raises."""
        commits = [item for item in batch if isinstance(item, _Pending)]
        try:
            return [*zip(commits, self._transact(batch), strict=True)]
        except StoreError as error:
            if not commits:
                logger.exception("The progress of runs could not be written down")
            if not isinstance(error, Conflict) or len(batch) == 1:
                return [(pending, error) for pending in commits]
        found: list[_Outcome] = []
        for item in batch:  # one of them is at fault
            found += self._write([item])
        return found

    def _transact(self, batch: Sequence[_Item]) -> list[Mark]:
        """Write a batch in one transaction; return how far the board is with each commit.

        Raises:
            StoreError: It could not be written, and nothing of it was.
        """
        transaction = Transaction(self._counters)
        connection = self._connection
        try:
            for item in batch:
                if isinstance(item, _Pending):
                    transaction.add(item.commit, item.progress)
                else:
                    transaction.note(item)
            connection.execute("BEGIN IMMEDIATE")
            transaction.write(connection)
            connection.execute("COMMIT")
        except BaseException as error:
            self._undo()
            if isinstance(error, StoreError):
                raise
            if isinstance(error, ERRORS):
                raise named(error, self._path) from error
            msg = f"a commit could not be written to {str(self._path)!r}: {error!r}"
            raise Conflict(msg) from error  # by its own fault, not the file's
        transaction.settle()
        return transaction.marks

    def _called(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return work(self._connection)
        except ERRORS as error:
            raise named(error, self._path) from error
        finally:
            self._undo()

    def _undo(self) -> None:
        """End a transaction that could not be committed; a full disk may have ended it."""
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error:
                logger.exception("A transaction on %s could not be undone", self._path)


def _fail(items: Iterable[_Item], path: Path, error: BaseException) -> None:
    """Let whoever waits for one of these commits know that it is not known to be true."""
    for item in items:
        if isinstance(item, _Pending) and not item.done():
            msg = f"a commit to {str(path)!r} was not carried out: {error!r}; open the board again"
            failure = StoreError(msg)
            failure.__cause__ = error
            item.set_exception(failure)


def _settle(commit: Commit, mark: Mark) -> None:
    """Let the objects of a commit know that it is true."""
    place = mark.artifacts - len(commit.artifacts) + 1
    for artifact in commit.artifacts:
        set_seq(artifact, place)
        place += 1
    for delivery in commit.closed:
        delivery.is_open = False
    for delivery in commit.opened:
        delivery.is_open = True
    commit.is_done = True
    if commit.then is not None:
        commit.mark = mark
        commit.then()
