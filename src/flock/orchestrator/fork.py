"""A workflow run again from a point of it, on a scratch board, with other agents."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, TypedDict, cast
from uuid import UUID

from flock.clock import as_datetime
from flock.core.artifacts import EXTERNAL
from flock.core.delivery import Delivery, Run, TickRun
from flock.core.lifecycle import Engine
from flock.core.subscription import salt_of
from flock.core.system import GroupExpired
from flock.core.types import registry
from flock.core.usage import Spent
from flock.engines.dspy import DSPyEngine
from flock.orchestrator.comparison import Comparison, compare
from flock.orchestrator.job import Call
from flock.orchestrator.scheduler import retrieve
from flock.store.protocol import Commit

if TYPE_CHECKING:
    from flock.core.agent import Agent
    from flock.core.artifacts import Artifact
    from flock.core.builder import AgentBuilder
    from flock.core.context import ContextProvider
    from flock.core.semantic import Embedder
    from flock.core.subscription import Subscription
    from flock.orchestrator.flock import Flock
    from flock.orchestrator.idle import IdleReport
    from flock.orchestrator.replay import Replay, ReplayedRun
    from flock.orchestrator.wiring import Parts
    from flock.store.protocol import BlackboardStore, ConsumptionRecord

Consumptions: TypeAlias = "Callable[[UUID], Awaitable[Sequence[ConsumptionRecord]]]"


Replacement: TypeAlias = Callable[..., Any] | Engine | str | None
"""What computes an agent in a fork: a function, an engine, or a model; None for nobody."""


Changes: TypeAlias = "Mapping[str, Replacement] | Callable[[Flock], object]"
"""What is changed in a fork: agents by name, or whatever declares others on the scratch board."""


class Settings(TypedDict):
    """What a scratch board has of the board it was forked from; see `Flock`."""

    model: str | None
    name: str
    max_agent_iterations: int
    max_concurrency: int | None
    context_provider: ContextProvider | None
    embedder: Embedder | None
    no_output: bool


class Wait(Protocol):
    """Waits until a board is at rest."""

    async def __call__(self, *, timeout: float | None) -> IdleReport:
        """Wait for at most so many seconds of the board's clock."""
        ...


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Fork:
    """What became of a workflow that was run again from a point of it.

    Attributes:
        correlation_id: The workflow.
        position: The `seq` up to which everything was given as it had been.
        before: The workflow as it lies on its board.
        after: The workflow as it lies on the scratch board; its runs are those made anew.
        given: What was not made anew: what lay on the board at `position`, and what came from
            outside later.
        comparison: How what was made anew differs from what had been made.
        store: The scratch board, to be read like any other.
        timed_out: Whether the time ran out before the scratch board was at rest.
        waiting: How many deliveries wait on it, in half-filled joins for example.
        spent: What model calls took.
        errors: What direct calls of agents raised, which leave no dead letter.
    """

    correlation_id: str
    position: int
    before: Replay
    after: Replay
    given: tuple[Artifact, ...]
    comparison: Comparison
    store: BlackboardStore
    timed_out: bool = False
    waiting: int = 0
    spent: Spent = field(default_factory=Spent)
    errors: tuple[Exception, ...] = ()

    @property
    def outputs(self) -> tuple[Artifact, ...]:
        """What was made anew, in the order it was made."""
        given = {artifact.key for artifact in self.given}
        return tuple(a for a in self.after.artifacts if a.key not in given)

    @property
    def failed(self) -> tuple[ReplayedRun, ...]:
        """The runs that failed in the fork."""
        return self.after.failed

    def __repr__(self) -> str:
        return f"Fork({self.correlation_id!r} at {self.position}: {len(self.outputs)} made anew)"

    def __str__(self) -> str:
        lines = [f"workflow {self.correlation_id}, run again from position {self.position}"]
        lines.append(str(self.comparison))
        lines += [f"  ! {run.agent!r} failed: {run.error}" for run in self.failed]
        lines += [f"  ! a direct call failed: {error!r}" for error in self.errors]
        if self.timed_out:
            lines.append("  ! the time ran out before the workflow was at rest")
        return "\n".join(lines)


class Point:
    """What is given of a workflow at a position, and what comes from outside later.

    Args:
        before: The workflow.
        position: Up to where everything is given.
        foreign: Artifacts of other workflows that runs of this one used.
        streaming: Names of the agents that put their outputs on the board one by one.
    """

    def __init__(
        self,
        before: Replay,
        position: int,
        foreign: Iterable[Artifact],
        streaming: Set[str],
    ) -> None:
        self.before = before
        self.position = position
        self.ended = [run for run in before.runs if run.position <= position]
        self.later = [run for run in before.runs if run.position > position]
        undone, self.streamed = self._undone(streaming)
        moment = as_datetime(moment_of(before, position))
        streams = {run.run_id for run in self.streamed.values()}
        self.going = [
            run
            for run in self.later
            if run.run_id in streams
            or (run.began_at and run.began_at <= moment and run.seen <= position)
        ]
        self.given: list[Artifact] = []
        outside: list[Artifact] = []
        self.foreign = {artifact.key for artifact in foreign}
        for artifact in sorted([*before.artifacts, *foreign], key=lambda a: a.seq):
            if artifact.key in undone:
                continue
            if artifact.seq <= position:
                self.given.append(artifact)
            elif _is_outside(artifact) or artifact.key in self.foreign:
                outside.append(artifact)
        self.at_once, *self.outside = _groups(outside, position, before)

    def _undone(self, streaming: Set[str]) -> tuple[set[int], dict[int, ReplayedRun]]:
        """Return what lay there of runs that had not ended, to be made again.

        A stream goes on behind what it had put on the board; of all others it is undone, and
        what was made of it.

        Returns:
            The keys of what is undone; and the runs of what stays of streams, by its key.
        """
        undone: set[int] = set()
        streamed: dict[int, ReplayedRun] = {}
        for run in self.later:
            early = [a for a in run.outputs if a.seq <= self.position]
            if run.agent in streaming:
                streamed |= {a.key: run for a in early}
            else:
                undone |= {a.key for a in early}
        for artifact in self.before.artifacts:
            if artifact.seq <= self.position and not undone.isdisjoint(artifact.parent_keys):
                undone.add(artifact.key)
        return undone, streamed


def moment_of(before: Replay, position: int) -> float:
    """Return when the newest artifact that lay there was published, or the first of all.

    Args:
        before: The workflow.
        position: A position on its board.

    Returns:
        Seconds since the Unix epoch.
    """
    known = [artifact.created for artifact in before.artifacts if artifact.seq <= position]
    return max(known or [artifact.created for artifact in before.artifacts[:1]])


def foreign_to(before: Replay) -> list[Artifact]:
    """Return what runs of a workflow used of other workflows."""
    used = {a.key: a for run in before.runs for a in run.inputs}
    return [a for a in used.values() if a.correlation_id != before.correlation_id]


def _is_outside(artifact: Artifact) -> bool:
    """Whether an artifact came from outside, and not from an agent that published by itself."""
    return artifact.produced_by == EXTERNAL and artifact.depth == 0


def _groups(outside: Sequence[Artifact], position: int, before: Replay) -> list[list[Artifact]]:
    """Part what came from outside wherever something had happened in between.

    The first group, which may be empty, came before anything else did.
    """
    made = [a.seq for a in before.artifacts if a.produced_by != EXTERNAL]
    ended = [run.position for run in before.runs if run.position > position]
    found: list[list[Artifact]] = [[]]
    last = position
    for artifact in outside:
        is_later = any(last < seq < artifact.seq for seq in made)
        if is_later or any(last <= end < artifact.seq for end in ended):
            found.append([])
        found[-1].append(artifact)
        last = artifact.seq
    return found


class Rerun:
    """Puts what is given on a scratch board that is open, and lets the rest happen."""

    def __init__(self, parts: Parts, agents: Mapping[str, Agent], point: Point) -> None:
        self._parts = parts
        self._agents = agents
        self._point = point
        self._used = _Used(point, agents)
        self._calls = _direct_calls(point.later, agents)
        self._lying: dict[int, Artifact] = {}
        self._waiters: list[asyncio.Future[list[Artifact]]] = []

    async def give(self, consumptions: Consumptions) -> None:
        """Put what lay on the board there, with what was open, and let runs go on.

        Args:
            consumptions: Which runs used an artifact, by its id.
        """
        opened: list[Delivery] = []
        numbers: Counter[tuple[str, int]] = Counter()
        for artifact in self._point.given:
            copy = artifact.replace()
            found = await self._deliveries([copy])
            for delivery in found:
                self._arrive(delivery, numbers)
            found = [delivery for delivery in found if not self._used.by(delivery)]
            if any(d.subscription.is_gated for d in found):
                elsewhere = {
                    record.consumer
                    for record in await consumptions(artifact.id)
                    if record.correlation_id != self._point.before.correlation_id
                }
                found = [d for d in found if d.agent not in elsewhere]
            maker = self._maker_of(artifact)
            now = self._parts.clock.time()
            await self._parts.store.commit(Commit([copy], found, at=now, maker=maker))
            self._lying[copy.key] = copy
            opened += found
        self._parts.gathering.count(numbers)
        for run in sorted(self._point.going, key=lambda run: run.began_at or run.ended_at):
            opened = self._go_on(run, opened)
        await self.come(self._point.at_once, opened)

    def _arrive(self, delivery: Delivery, numbers: Counter[tuple[str, int]]) -> None:
        """Let a delivery have come to its gate when it had, so that windows end when they did."""
        subscription = delivery.subscription
        if subscription.activation is not None:
            return  # its condition is asked on the scratch board
        if subscription.is_gated and delivery.opens_at <= self._parts.clock.time():
            delivery.arrived = delivery.opens_at or delivery.artifact.created
            if subscription.join is not None:
                numbers[delivery.agent, delivery.index] += 1
                delivery.number = numbers[delivery.agent, delivery.index]

    async def come(self, group: Sequence[Artifact], waiting: Sequence[Delivery] = ()) -> None:
        """Put what came from outside on the board, and start whoever consumes it.

        Args:
            group: What came.
            waiting: What was open before.
        """
        copies = [artifact.replace() for artifact in group]
        opened = await self._deliveries(copies)
        now = self._parts.clock.time()
        await self._parts.store.commit(Commit(copies, opened, at=now))
        self._lying.update((copy.key, copy) for copy in copies)
        self._parts.router.deliver([*waiting, *opened])
        self._call()

    async def carry_out(
        self, consumptions: Consumptions, wait: Wait, span: float | None
    ) -> IdleReport:
        """Give what lay on the board, and wait; then what came from outside, and wait again.

        Args:
            consumptions: Which runs used an artifact of the workflow, by its id.
            wait: Waits until the scratch board is at rest.
            span: For how many seconds of its clock, in all; without end if None.
        """
        now = self._parts.clock.time
        end = None if span is None else now() + span
        await self.give(consumptions)
        report = await wait(timeout=span)
        for group in self._point.outside:
            if report.timed_out:
                break
            await self.come(group)
            report = await wait(timeout=None if end is None else max(0.0, end - now()))
        return report

    @property
    def errors(self) -> tuple[Exception, ...]:
        """What direct calls raised."""
        done = (w for w in self._waiters if w.done() and not w.cancelled())
        errors = (waiter.exception() for waiter in done)
        return tuple(error for error in errors if isinstance(error, Exception))

    async def _deliveries(self, copies: Sequence[Artifact]) -> list[Delivery]:
        """Return who gets artifacts; of another workflow's, only those that got them before."""
        found = await self._parts.publisher.matched(copies)
        called = {(key, run.agent) for run in self._calls for key in (a.key for a in run.inputs)}
        return [
            delivery
            for delivery in found
            if (delivery.artifact.key, delivery.agent) not in called
            and (
                delivery.artifact.key not in self._point.foreign
                or self._used.ever(delivery.artifact.key, delivery.agent)
            )
        ]

    # --- runs that had begun ---

    def _maker_of(self, artifact: Artifact) -> Run | None:
        """Return the stream that had put an artifact on the board and goes on."""
        replayed = self._point.streamed.get(artifact.key)
        return None if replayed is None else self._as_begun(replayed)

    def _as_begun(self, replayed: ReplayedRun) -> Run:
        inputs = list(replayed.inputs)
        run = Run(int(replayed.run_id, 16), replayed.agent, None, (), inputs)
        run.emitted = sum(key in self._point.streamed for key in (a.key for a in replayed.outputs))
        return run

    def _go_on(self, replayed: ReplayedRun, opened: list[Delivery]) -> list[Delivery]:
        """Let a run begin that had begun, over the same inputs; return what else is open.

        Where its inputs are not open to one subscription any more, since its agent was changed,
        they go the way of all others.
        """
        wanted = {artifact.key: place for place, artifact in enumerate(replayed.inputs)}
        groups: dict[int, list[Delivery]] = defaultdict(list)
        for delivery in opened:
            if delivery.agent == replayed.agent and delivery.artifact.key in wanted:
                groups[delivery.index].append(delivery)
        agent = self._agents.get(replayed.agent)
        is_ungated = _is_ungated(replayed, replayed.agent)
        for index, group in sorted(groups.items()):
            assert agent is not None
            subscription = agent.subscriptions[index]
            if len(group) < len(wanted) or subscription.is_gated is is_ungated:
                continue
            group.sort(key=lambda delivery: wanted[delivery.artifact.key])
            self._parts.scheduler.submit(
                agent,
                subscription,
                group,
                [delivery.artifact for delivery in group],
                is_batch=subscription.batch is not None,
                run=self._as_begun(replayed),
            )
            return [delivery for delivery in opened if delivery not in group]
        return opened

    # --- agents that were called directly ---

    def _call(self) -> None:
        """Call agents directly that had been, once their inputs are there; and those by a tick."""
        lying = self._lying
        ready = [r for r in self._calls if all(a.key in lying for a in r.inputs)]
        for run in ready:
            self._calls.remove(run)
            if run.tick is not None:
                started = TickRun(int(run.run_id, 16), run.agent, run.tick)
                started.emitted = self._as_begun(run).emitted
                self._parts.scheduler.submit_tick(self._agents[run.agent], started)
                continue
            waiter: asyncio.Future[list[Artifact]] = asyncio.get_running_loop().create_future()
            waiter.add_done_callback(retrieve)
            self._waiters.append(waiter)
            agent = self._agents[run.agent]
            inputs = [lying[artifact.key] for artifact in run.inputs]
            job = self._parts.scheduler.call(agent, inputs, Call(waiter), is_stored=True)
            begun = self._as_begun(run)  # a stream goes on
            job.key, job.emitted = begun.key, begun.emitted


def _is_ungated(run: ReplayedRun, agent: str) -> bool:
    """Whether a run was started by one artifact: its id says so."""
    if len(run.inputs) != 1:
        return False
    key, run_key = run.inputs[0].key, int(run.run_id, 16)
    return key ^ run_key in _salts(agent)


@lru_cache(maxsize=256)
def _salts(agent: str) -> frozenset[int]:
    return frozenset(salt_of(agent, index) for index in range(_MOST_SUBSCRIPTIONS))


_MOST_SUBSCRIPTIONS: Final = 256


def _direct_calls(runs: Iterable[ReplayedRun], agents: Mapping[str, Agent]) -> list[ReplayedRun]:
    """Return the runs that somebody outside, or a tick, had started, and no subscription."""
    found: list[ReplayedRun] = []
    for run in runs:
        agent = agents.get(run.agent)
        if agent is not None and run.tick is not None:
            found.append(run)
            continue
        if agent is None or not run.inputs or run.missing or run.error is not None:
            continue
        is_outside = all(map(_is_outside, run.inputs))
        gated = any(s.is_gated and s.mode != "direct" for s in agent.subscriptions)
        if is_outside and not gated and not _is_ungated(run, run.agent):
            found.append(run)
    return found


class _Used:
    """Which deliveries had been used up at a point."""

    def __init__(self, point: Point, agents: Mapping[str, Agent]) -> None:
        self._agents = agents
        self._ended: dict[tuple[int, str], list[ReplayedRun]] = defaultdict(list)
        self._ever: set[tuple[int, str]] = set()
        for run in point.before.runs:
            self._ever |= {(artifact.key, run.agent) for artifact in run.inputs}
        for run in point.ended:
            for artifact in run.inputs:
                self._ended[artifact.key, run.agent].append(run)
        self._expired = _expired(point.given)

    def ever(self, key: int, agent: str) -> bool:
        """Whether an agent used an artifact at any time."""
        return (key, agent) in self._ever

    def by(self, delivery: Delivery) -> bool:
        """Whether the subscription of a delivery had used it up."""
        key, agent, subscription = delivery.artifact.key, delivery.agent, delivery.subscription
        join = subscription.join
        if join is not None and join.on_expired == "drop" and (key, agent) in self._expired:
            return True
        runs = self._ended.get((key, agent), ())
        if not runs:
            return False
        ungated = [run for run in runs if _is_ungated(run, agent)]
        if not subscription.is_gated:
            return len(ungated) > 0 or not self._has_gated(agent)
        gathered = [run for run in runs if run not in ungated and _fits(run, subscription)]
        earlier = [
            other
            for other in self._agents[agent].subscriptions[: subscription.index]
            if other.is_gated and delivery.artifact.entry.name in other.counts
        ]
        taken = sum(any(_fits(run, other) for run in gathered) for other in earlier)
        return len(gathered) > taken

    def _has_gated(self, agent: str) -> bool:
        return any(subscription.is_gated for subscription in self._agents[agent].subscriptions)


def _fits(run: ReplayedRun, subscription: Subscription) -> bool:
    """Whether a subscription can have gathered the inputs of a run."""
    return {artifact.entry.name for artifact in run.inputs} <= subscription.counts.keys()


def _expired(artifacts: Iterable[Artifact]) -> set[tuple[int, str]]:
    """Return what had come to joins whose window had closed, by agent."""
    name = registry.entry(GroupExpired).name
    records = [a.as_model(GroupExpired) for a in artifacts if a.entry.name == name]
    return {(key.int, record.agent) for record in records for key in record.artifact_ids}


def replace_with(builder: AgentBuilder, replacement: Callable[..., Any] | Engine | str) -> None:
    """Let something else compute an agent.

    Raises:
        DeclarationError: It computes nothing.
    """
    if isinstance(replacement, str):
        builder.with_engines(DSPyEngine(replacement))
    elif isinstance(replacement, type) or not hasattr(replacement, "evaluate"):
        builder.calls(cast("Callable[..., Any]", replacement))
    else:
        builder.with_engines(cast("Engine", replacement))


def fork_of(
    point: Point,
    after: Replay,
    store: BlackboardStore,
    errors: tuple[Exception, ...],
    report: IdleReport,
    spent: Spent,
) -> Fork:
    """Compare what was made anew with what had been made."""
    workflow = point.before.correlation_id
    outside = [a for group in (point.at_once, *point.outside) for a in group]
    given = tuple(a for a in (*point.given, *outside) if a.correlation_id == workflow)
    keys = {artifact.key for artifact in given}
    comparison = compare(
        [a for a in point.before.artifacts if a.key not in keys],
        [a for a in after.artifacts if a.key not in keys],
    )
    return Fork(
        workflow,
        point.position,
        point.before,
        after,
        given,
        comparison,
        store,
        report.timed_out,
        report.waiting,
        spent,
        errors,
    )
