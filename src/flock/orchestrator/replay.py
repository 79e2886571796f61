"""What was on the board for a workflow at a position, and what each of its runs saw."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, TypeAlias
from uuid import UUID

from pydantic_core import to_jsonable_python

from flock.clock import as_datetime
from flock.core.filters import FilterConfig
from flock.core.system import WorkflowError
from flock.core.types import registry
from flock.errors import DeclarationError, NotFound
from flock.orchestrator.history import Request
from flock.orchestrator.schedules import ticks_of

if TYPE_CHECKING:
    from datetime import datetime

    from flock.core.artifacts import Artifact
    from flock.core.context import ContextProvider
    from flock.core.delivery import Run
    from flock.core.schedule import Tick
    from flock.core.visibility import AgentIdentity
    from flock.store.protocol import BlackboardStore, DeadLetter, RunRecord

_PAGE: Final = 1000

Reader: TypeAlias = "tuple[AgentIdentity, ContextProvider]"
"""Who reads a history, and who chooses it."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ReplayedRun:
    """One run as it was: what it was given and saw, and what it came to.

    Attributes:
        agent: Name of the agent.
        run_id: Its id, the same for every attempt.
        correlation_id: Its workflow.
        attempt: Which attempt was the last, from 1; 0 for one that failed before the first.
        inputs: The inputs in the order the agent got them, as far as they are on the board.
        missing: Ids of the inputs that are not: deleted since, or never stored.
        outputs: What it put on the board, as far as it is still there, in board order.
        made: How many outputs it put on the board.
        seen: The newest `seq` on the board when its last attempt began.
        position: The `seq` of the board at which it had ended.
        began_at: When its last attempt began, in UTC; None if there was none.
        ended_at: When its end was committed, in UTC.
        error: Why it failed, as `"ValueError: no such thing"`; None if it succeeded.
        steps: What the steps of a run that failed had returned, by name, as JSON values.
            Those of one that succeeded are not kept.
    """

    agent: str
    run_id: str
    correlation_id: str
    attempt: int
    inputs: tuple[Artifact, ...]
    missing: tuple[UUID, ...]
    outputs: tuple[Artifact, ...]
    made: int
    seen: int
    position: int
    began_at: datetime | None
    ended_at: datetime
    error: str | None
    steps: Mapping[str, object]
    _store: BlackboardStore
    _reader: Reader
    _began: float  # to the last bit: what was published then could be seen
    _tick: Tick | None = None

    @property
    def tick(self) -> Tick | None:
        """The tick of a schedule that started it; None for all others."""
        return self._tick

    @property
    def succeeded(self) -> bool:
        """Whether it succeeded."""
        return self.error is None

    async def history(self) -> tuple[Artifact, ...]:
        """Return the history that the run's agent could see when its last attempt began.

        It is what the agent's context provider chooses of the board as of then: of what had
        been committed, what was open to the agent. An agent that is not declared on this board
        counts as one without labels and tenant. Only engines with `enable_context` ask for it.
        """
        identity, provider = self._reader
        request = Request(
            identity, self.correlation_id, self.inputs, self._store, self._began, self.seen
        )
        return await request.answered_by(provider)

    def __repr__(self) -> str:
        outcome = "succeeded" if self.error is None else f"failed: {self.error}"
        return f"ReplayedRun({self.agent!r}, {self.run_id!r}, attempt={self.attempt}, {outcome})"


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Replay:
    """A workflow as it lay on the board at a position.

    Attributes:
        correlation_id: The workflow.
        position: The `seq` of the board up to which it is shown.
        artifacts: What lay there, in board order, whoever may read it.
        runs: The runs that had ended by then, in the order of their ends: those that
            succeeded, and those that are dead letters.
    """

    correlation_id: str
    position: int
    artifacts: tuple[Artifact, ...]
    runs: tuple[ReplayedRun, ...]
    _by_id: Mapping[UUID, ReplayedRun] = field(default_factory=dict[UUID, ReplayedRun])

    @property
    def failed(self) -> tuple[ReplayedRun, ...]:
        """The runs that failed for good."""
        return tuple(run for run in self.runs if run.error is not None)

    @property
    def missing(self) -> frozenset[UUID]:
        """Ids of inputs that are not on the board any more, or were never stored."""
        return frozenset(key for run in self.runs for key in run.missing)

    def at(self, seq: int) -> Replay:
        """Return the same workflow as it lay at an earlier position.

        Raises:
            DeclarationError: `seq` is no position.
        """
        end = min(checked_position(seq, "at"), self.position)
        return replace(
            self,
            position=end,
            artifacts=tuple(a for a in self.artifacts if a.seq <= end),
            runs=tuple(run for run in self.runs if run.position <= end),
        )

    def of(self, agent: str) -> tuple[ReplayedRun, ...]:
        """Return the runs of one agent."""
        return tuple(run for run in self.runs if run.agent == agent)

    def run(self, run_id: str) -> ReplayedRun:
        """Return a run by its id.

        Raises:
            NotFound: There is none, or it had not ended.
        """
        for run in self.runs:
            if run.run_id == run_id:
                return run
        msg = (
            f"no run {run_id!r} of workflow {self.correlation_id!r} had ended at position "
            f"{self.position}; runs lists those that had"
        )
        raise NotFound(msg)

    def maker_of(self, artifact: Artifact) -> ReplayedRun | None:
        """Return the run that made an artifact; None if it came from outside, or none is known."""
        return self._by_id.get(artifact.id)

    def users_of(self, artifact: Artifact) -> tuple[ReplayedRun, ...]:
        """Return the runs of this workflow that used an artifact."""
        return tuple(run for run in self.runs if artifact in run.inputs)

    def __repr__(self) -> str:
        return (
            f"Replay({self.correlation_id!r} at {self.position}: {len(self.artifacts)} artifacts, "
            f"{len(self.runs)} runs, {len(self.failed)} of them failed)"
        )

    def __str__(self) -> str:
        lines = [f"workflow {self.correlation_id} at position {self.position}"]
        events = [(a.seq, 0, _artifact_line(a)) for a in self.artifacts]
        events += [(run.position, 1, _run_line(run)) for run in self.runs]
        events.sort(key=lambda event: event[:2])
        return "\n".join([*lines, *(line for *_, line in events)])


def _artifact_line(artifact: Artifact) -> str:
    text = artifact.data.decode(errors="replace")
    content = text if len(text) <= _WIDEST else f"{text[: _WIDEST - 3]}..."
    return f"{artifact.seq:6}  {artifact.type} by {artifact.produced_by!r}  {content}"


def _run_line(run: ReplayedRun) -> str:
    used = ", ".join([str(a.seq) for a in run.inputs] + ["?"] * len(run.missing)) or "-"
    made = ", ".join(str(a.seq) for a in run.outputs) or "nothing"
    attempt = f", attempt {run.attempt}" if run.attempt > 1 else ""
    end = f"-> {made}" if run.error is None else f"failed, {run.error}"
    return f"        {run.agent!r} over {used}, which saw {run.seen}{attempt}: {end}"


_WIDEST: Final = 80


def checked_position(value: object, option: str) -> int:
    """Return a position on the board that a user gave.

    Raises:
        DeclarationError: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        msg = f"{option} takes a position on the board, the seq of an artifact, not {value!r}"
        raise DeclarationError(msg)
    return value


async def replayed(
    store: BlackboardStore,
    workflow: str,
    until: int | None,
    reader_of: Callable[[str], Reader],
) -> Replay:
    """Read a workflow back from its board.

    Args:
        store: Where the board lasts; it need not be open.
        workflow: The workflow.
        until: The position up to which it is read; to its end if None.
        reader_of: Who an agent is to visibilities, and who chooses its history.

    Raises:
        NotFound: Nothing of it is on the board.
    """
    artifacts = await _artifacts(store, workflow, until)
    if not artifacts and not await store.latest(FilterConfig(correlation_id=workflow), limit=1):
        msg = (
            f"nothing of workflow {workflow!r} is on the board; it never was, or was deleted. "
            "An artifact's correlation_id names its workflow"
        )
        raise NotFound(msg)
    shelf = _Shelf(store, artifacts, reader_of, await ticks_of(store, workflow))
    runs: list[ReplayedRun] = []
    after = 0
    while page := await store.runs(workflow, limit=_PAGE, after=after):
        ended = [r for r in page if until is None or r.position <= until]
        runs += [await shelf.succeeded(record) for record in ended]
        if len(ended) < len(page):
            break
        after = page[-1].number
    for letter in await store.dead_letters(workflow):
        run = await shelf.failed(letter)
        if until is None or run.position <= until:
            runs.append(run)
    runs.sort(key=lambda run: (run.position, run.ended_at))
    newest = max([a.seq for a in artifacts[-1:]] + [run.position for run in runs], default=0)
    makers = {output.id: run for run in runs for output in run.outputs}
    position = newest if until is None else until
    return Replay(workflow, position, tuple(artifacts), tuple(runs), makers)


async def _artifacts(store: BlackboardStore, workflow: str, until: int | None) -> list[Artifact]:
    """Read a workflow's artifacts, backwards and page by page."""
    where = FilterConfig(correlation_id=workflow)
    found: list[Artifact] = []
    before = None if until is None else until + 1
    while page := await store.latest(where, limit=_PAGE, before=before):
        found += page
        before = page[-1].seq
    found.reverse()
    return found


class _Shelf:
    """The artifacts that runs name, each read once."""

    def __init__(
        self,
        store: BlackboardStore,
        artifacts: Sequence[Artifact],
        reader_of: Callable[[str], Reader],
        ticks: Mapping[str, Tick],
    ) -> None:
        self._ticks = ticks
        self._store = store
        self._workflow = artifacts
        self._known: dict[UUID, Artifact | None] = {a.id: a for a in artifacts}
        self._reader_of = reader_of

    async def succeeded(self, record: RunRecord) -> ReplayedRun:
        """Return a run that succeeded."""
        inputs = [await self._get(key) for key in record.inputs]
        outputs = [await self._get(key) for key in record.outputs]
        return ReplayedRun(
            record.agent,
            record.run_id,
            record.correlation_id,
            record.attempt,
            tuple(each for each in inputs if each is not None),
            tuple(k for k, a in zip(record.inputs, inputs, strict=True) if a is None),
            tuple(each for each in outputs if each is not None),
            record.made,
            record.seen,
            record.position,
            record.began_at,
            record.committed_at,
            None,
            {},
            self._store,
            self._reader_of(record.agent),
            record.began,
            self._ticks.get(record.run_id),
        )

    async def failed(self, letter: DeadLetter) -> ReplayedRun:
        """Return a run that failed, as its dead letter tells of it."""
        run = letter.run
        inputs = [(artifact, await self._get(artifact.id)) for artifact in run.artifacts]
        emitted = self._emitted(run)
        return ReplayedRun(
            letter.agent,
            letter.run_id,
            letter.correlation_id,
            letter.attempt,
            tuple(stored for _, stored in inputs if stored is not None),
            tuple(artifact.id for artifact, stored in inputs if stored is None),
            emitted,
            run.emitted,
            run.seen,
            letter.position,
            as_datetime(run.began) if run.attempt else None,
            letter.created_at,
            f"{letter.error_type}: {letter.error_message}",
            _steps(run),
            self._store,
            self._reader_of(letter.agent),
            run.began,
            run.tick,
        )

    def _emitted(self, run: Run) -> tuple[Artifact, ...]:
        """Return what a stream had put on the board before it failed."""
        if not run.emitted:
            return ()
        told = registry.entry(WorkflowError).name
        made = (
            a
            for a in self._workflow
            if a.produced_by == run.agent
            and a.parent_keys == run.parent_keys
            and a.entry.name != told
        )
        return tuple(made)[: run.emitted]

    async def _get(self, key: UUID) -> Artifact | None:
        if key not in self._known:
            self._known[key] = await self._store.get(key)
        return self._known[key]


def _steps(run: Run) -> dict[str, object]:
    """Return what the steps of a run returned, as JSON values."""
    kept = run.kept_steps or {}
    found: dict[str, object] = {name: json.loads(data)["$value"] for name, data in kept.items()}
    for name, value in (run.steps or {}).items():
        found[name] = to_jsonable_python(value, fallback=repr)
    return found
