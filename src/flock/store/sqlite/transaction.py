"""Many commits as the rows of one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Final, NamedTuple, TypeAlias
from uuid import UUID

from flock.core.delivery import Delivery, Run
from flock.core.usage import Charge
from flock.errors import StoreError
from flock.store.protocol import Commit, DeadLetter, Mark
from flock.store.sqlite.queries import query
from flock.store.sqlite.records import (
    Progress,
    artifact_values,
    dead_letter_values,
    delivery_key,
    delivery_values,
    id_of,
    seqs_in,
)
from flock.store.sqlite.statements import Many, Value, Values, delete, insert

ARTIFACTS: Final = insert(
    "artifacts",
    "seq",
    "id",
    "type",
    "version",
    "payload",
    "checksum",
    "produced_by",
    "correlation_id",
    "partition_key",
    "tags",
    "visibility",
    "kind",
    "created",
    "parents",
    "depth",
    "run",
)
TAGS: Final = insert("artifact_tags", "tag", "seq")
_KEYS: Final = insert("idempotency_keys", "key", "seq")
_DELIVERIES: Final = insert(
    "deliveries", "seq", "agent", "subscription", "opens_at", "arrived", "number"
)
_CLOSED: Final = delete("deliveries", "seq", "agent", "subscription")
_ARRIVED: Final = Many(
    "UPDATE deliveries SET arrived = new.column4, number = new.column5 FROM (VALUES ",
    "(?, ?, ?, ?, ?)",
    ") AS new WHERE seq = new.column1 AND agent = new.column2 AND subscription = new.column3",
)
_ARRIVALS: Final = insert(
    "arrivals",
    "agent",
    "subscription",
    "number",
    after="ON CONFLICT DO UPDATE SET number = max(number, excluded.number)",
)
_RUNS: Final = insert(
    "runs",
    "number",
    "id",
    "agent",
    "correlation_id",
    "committed",
    "attempt",
    "seen",
    "began",
    "position",
    "made",
    "inputs",
)
_CONSUMPTIONS: Final = insert("consumptions", "seq", "run", "place")
_OPEN_RUNS: Final = insert(
    "open_runs",
    "id",
    "agent",
    "subscription",
    "is_batch",
    "attempt",
    "due",
    "emitted",
    "deliveries",
    "inputs",
    after="ON CONFLICT DO UPDATE SET attempt = excluded.attempt, due = excluded.due,"
    " emitted = excluded.emitted, inputs = excluded.inputs",
)
_ENDED_RUNS: Final = delete("open_runs", "id")
_STEPS: Final = insert(
    "steps",
    "run",
    "name",
    "value",
    after="ON CONFLICT DO UPDATE SET value = excluded.value",
    value="TEXT",
)
_ENDED_STEPS: Final = delete("steps", "run")
_TICKS: Final = insert(
    "ticks", "run", "fire_time", "iteration", "missed", after="ON CONFLICT DO NOTHING"
)
_ENDED_TICKS: Final = delete("ticks", "run")
_LETTERS: Final = insert(
    "dead_letters",
    "id",
    "run",
    "agent",
    "subscription",
    "correlation_id",
    "is_batch",
    "attempt",
    "emitted",
    "deliveries",
    "inputs",
    "error_type",
    "error_message",
    "created",
    "seen",
    "began",
    "position",
)
_LETTER_INPUTS: Final = insert("dead_letter_inputs", "seq", "letter")
_REDRIVEN: Final = delete("dead_letters", "id")
_REDRIVEN_INPUTS: Final = delete("dead_letter_inputs", "letter")
_ACCOUNTS: Final = insert(
    "accounts",
    "correlation_id",
    "agent",
    "run",
    "model",
    "calls",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "usd",
    "unpriced",
    "latency",
    after="ON CONFLICT DO UPDATE SET calls = calls + excluded.calls,"
    " input_tokens = input_tokens + excluded.input_tokens,"
    " output_tokens = output_tokens + excluded.output_tokens,"
    " cached_tokens = cached_tokens + excluded.cached_tokens,"
    " usd = usd + excluded.usd, unpriced = unpriced + excluded.unpriced,"
    " latency = latency + excluded.latency",
)
_STATES: Final = insert(
    "states",
    "kind",
    "key",
    "data",
    after="ON CONFLICT DO UPDATE SET data = excluded.data",
    data="TEXT",
)
_FORGOTTEN: Final = delete("states", "kind", "key")
_LOG: Final = insert(
    "log", "number", "kind", "at", "correlation_id", "data", "position", "run", data="TEXT"
)


class Conflict(StoreError):
    """One commit of several cannot be true beside what is on the board."""


class Arrival(NamedTuple):
    """When a delivery came to its gate, as a row: its key, the time, and its number."""

    seq: int
    agent: str
    subscription: int
    arrived: float
    number: int


Noted: TypeAlias = Progress | Arrival
"""What is written down without anybody waiting for it."""


class Counters:
    """What the rows of a board are numbered by, known by its one writer.

    Attributes:
        seq: Position of the newest artifact.
        run: Number of the newest run.
        logged: Number of the newest entry of the log.
        open_runs: Ids of the runs that have a row in `open_runs`, as numbers.
    """

    __slots__ = ("logged", "open_runs", "run", "seq")

    def __init__(self, seq: int, run: int, logged: int, open_runs: set[int]) -> None:
        self.seq = seq
        self.run = run
        self.logged = logged
        self.open_runs = open_runs


class Transaction:
    """Gathers what commits and notes write, table by table, and writes it.

    What one commit of a transaction opens, a later one of it may close: rows are inserted
    before any is deleted.

    Attributes:
        marks: How far the board is with each commit, in their order.
    """

    def __init__(self, counters: Counters) -> None:
        self._seq = counters.seq
        self._run = counters.run
        self._logged = counters.logged
        self._counters = counters
        self.marks: list[Mark] = []
        self._seq_of: dict[int, int] = {}
        self._artifacts: list[Values] = []
        self._tags: list[Values] = []
        self._keys: list[Values] = []
        self._deliveries: list[Values] = []
        self._used: list[Values] = []
        self._closed: list[Values] = []
        self._arrived: list[Values] = []
        self._arrivals: list[Values] = []
        self._runs: list[Values] = []
        self._consumptions: list[Values] = []
        self._open_runs: dict[int, Progress] = {}
        self._ended: set[int] = set()
        self._steps: list[Values] = []
        self._ticks: list[Values] = []
        self._ended_ticks: list[Values] = []
        self._letters: list[Values] = []
        self._letter_inputs: list[Values] = []
        self._redriven: list[Values] = []
        self._accounts: list[Values] = []
        self._states: dict[tuple[str, str], bytes | None] = {}
        self._log: list[Values] = []

    def note(self, noted: Noted) -> None:
        """Add progress that nobody waits for."""
        if isinstance(noted, Progress):
            key = noted.run.key
            self._open_runs[key] = noted
            self._ended.discard(key)
            if noted.run.tick is not None:
                self._ticks.append((id_of(key), *noted.run.tick))
            return
        self._arrived.append(noted)
        if noted.number:
            self._arrivals.append((noted.agent, noted.subscription, noted.number))

    def add(self, commit: Commit, progress: Iterable[Noted]) -> None:
        """Add a commit.

        Args:
            commit: The commit.
            progress: Its runs that go on, as they were when it was made.
        """
        self._put(commit)
        for noted in progress:
            self.note(noted)
        if commit.run is not None:
            self._succeed(commit, commit.run)
        elif commit.closed:
            self._close(commit.closed)
        if commit.step is not None:
            self._steps.append((id_of(commit.step.run_key), *commit.step[1:]))
        if commit.buried is not None:
            self._bury(commit.buried)
        if commit.redriven is not None:
            self._redriven.append((commit.redriven.bytes,))
        for charge in commit.charges:
            self._charge(charge)
        self._give_up(commit.ended)
        for state in commit.states:
            self._states[state.kind, state.key] = state.data
        for entry in commit.logged:
            self._logged += 1
            self._log.append((self._logged, *entry[:4], self._seq, self._run))
        self.marks.append(Mark(self._seq, self._run, self._logged))

    def _put(self, commit: Commit) -> None:
        """Put artifacts on the board, with the deliveries that they open."""
        made_by = commit.run or commit.maker
        maker = None if made_by is None else id_of(made_by.key)
        for artifact in commit.artifacts:
            self._seq += 1
            seq = self._seq_of[artifact.key] = self._seq
            self._artifacts.append(artifact_values(artifact, seq, maker))
            if artifact.tags:
                self._tags += [(tag, seq) for tag in artifact.tags]
        if commit.idempotency_key is not None:
            self._keys.append((commit.idempotency_key, self._seq))
        for delivery in commit.opened:
            artifact = delivery.artifact
            seq = self._seq_of.get(artifact.key) or artifact.seq
            self._deliveries.append(delivery_values(delivery, seq))

    def _succeed(self, commit: Commit, run: Run) -> None:
        """End a run that succeeded, and close what it used."""
        self._run += 1
        self._runs.append(
            (
                self._run,
                id_of(run.key),
                run.agent,
                run.correlation_id,
                commit.at,
                run.attempt,
                run.seen,
                run.began,
                self._seq,
                run.emitted + len(commit.artifacts),
                b"".join(map(id_of, run.parent_keys)),
            )
        )
        if run.parent_keys:
            places = {a.seq: place for place, a in enumerate(run.artifacts) if a.seq}
            self._consumptions += [(seq, self._run, place) for seq, place in places.items()]
        if run.tick is not None:
            self._ended_ticks.append((id_of(run.key),))
        self._used += map(delivery_key, run.deliveries)
        self._end(run.key)
        if commit.closed is not run.deliveries:
            self._close({*commit.closed} - {*run.deliveries})

    def _close(self, deliveries: Iterable[Delivery]) -> None:
        for delivery in deliveries:
            self._closed.append(delivery_key(delivery))
            if delivery.run is not None:
                self._end(delivery.run.key)

    def _give_up(self, runs: Iterable[Run]) -> None:
        """End runs of ticks that neither succeeded nor are dead letters."""
        for run in runs:
            self._end(run.key)
            self._ended_ticks.append((id_of(run.key),))

    def _end(self, run_key: int) -> None:
        self._ended.add(run_key)
        self._open_runs.pop(run_key, None)

    def _bury(self, letter: DeadLetter) -> None:
        values = dead_letter_values(letter, self._seq)
        self._letters.append(values)
        needed = seqs_in(text for text in (values[8], values[9]) if isinstance(text, str))
        self._letter_inputs += [(seq, letter.id.bytes) for seq in needed]
        self._end(letter.run.key)

    def _charge(self, charge: Charge) -> None:
        usage = charge.usage
        sums: tuple[Value, ...] = (
            usage.calls if charge.model is not None else 1,
            usage.input_tokens,
            usage.output_tokens,
            usage.cached_tokens,
            usage.usd or 0.0,
            int(usage.usd is None),
            usage.latency,
        )
        model = charge.model or ""
        workflow, agent = charge.correlation_id, charge.agent
        for scope in {("", ""), (workflow, ""), ("", agent), (workflow, agent)}:
            self._accounts.append((*scope, b"", model, *sums))
        self._accounts.append((workflow, agent, id_of(charge.run_key), model, *sums))

    def write(self, connection: sqlite3.Connection) -> None:
        """Write all of it; the connection is in a transaction.

        Raises:
            Conflict: Something of it cannot be true beside what is on the board.
            sqlite3.Error: It could not be written.
        """
        try:
            self._insert(connection)
        except sqlite3.IntegrityError as error:
            raise Conflict(self._reason(connection, error)) from error
        if self._used and _CLOSED.run(connection, self._used) < len(self._used):
            msg = "a delivery that a run used up was closed already, by another run or a cancel"
            raise Conflict(msg)
        if self._closed:
            _CLOSED.run(connection, self._closed)
        forgotten = [key for key, data in self._states.items() if data is None]
        if forgotten:
            _FORGOTTEN.run(connection, forgotten)
        ended = [key for key in self._ended if key in self._counters.open_runs]
        if ended:
            _ENDED_RUNS.run(connection, [(id_of(key),) for key in ended])
        if self._ended_ticks:
            _ENDED_TICKS.run(connection, self._ended_ticks)
        if self._ended and self._has_steps(connection):
            # also of a run whose record is missing: it may have been noted while there was no room
            buried = {values[1] for values in self._letters}
            ids: list[Values] = [(id_of(key),) for key in self._ended]
            _ENDED_STEPS.run(connection, [each for each in ids if each[0] not in buried])

    def _insert(self, connection: sqlite3.Connection) -> None:
        if self._redriven and _REDRIVEN.run(connection, self._redriven) < len(self._redriven):
            letters = ", ".join(str(UUID(bytes=row[0])) for row in self._redriven)  # pyright: ignore[reportArgumentType]
            msg = f"there is no dead letter {letters}; somebody may have redriven it"
            raise Conflict(msg)
        for statement, rows in (
            (_REDRIVEN_INPUTS, self._redriven),
            (ARTIFACTS, self._artifacts),
            (TAGS, self._tags),
            (_KEYS, self._keys),
            (_DELIVERIES, self._deliveries),
            (_ARRIVED, self._arrived),
            (_ARRIVALS, self._arrivals),
            (_RUNS, self._runs),
            (_CONSUMPTIONS, self._consumptions),
            (_OPEN_RUNS, [progress.values() for progress in self._open_runs.values()]),
            (_STEPS, self._steps),
            (_TICKS, self._ticks),
            (_LETTERS, self._letters),
            (_LETTER_INPUTS, self._letter_inputs),
            (_ACCOUNTS, self._accounts),
            (_STATES, [(*key, data) for key, data in self._states.items() if data is not None]),
            (_LOG, self._log),
        ):
            if rows:
                statement.run(connection, rows)

    def _reason(self, connection: sqlite3.Connection, error: sqlite3.IntegrityError) -> str:
        text = str(error)
        if "artifacts.id" in text:
            ids = [row[1] for row in self._artifacts]
            known = (i for i in ids if connection.execute(query("get"), (i,)).fetchone())
            twice = (i for i in ids if ids.count(i) > 1)
            named = next((i for i in (*known, *twice) if isinstance(i, bytes)), None)
            which = "an artifact" if named is None else f"artifact {UUID(bytes=named)}"
            return f"{which} is on the board already, or twice in one commit"
        if "runs.id" in text:
            return "the run was committed already"
        if "idempotency_keys.key" in text:
            return "something was published under that idempotency key already"
        return f"the commit contradicts what is on the board: {text}"

    def _has_steps(self, connection: sqlite3.Connection) -> bool:
        return connection.execute("SELECT 1 FROM steps LIMIT 1").fetchone() is not None

    def settle(self) -> None:
        """Take over what the rows are numbered by, once they are written."""
        counters = self._counters
        counters.seq, counters.run, counters.logged = self._seq, self._run, self._logged
        counters.open_runs -= self._ended
        counters.open_runs |= self._open_runs.keys()
