"""A board under test: publish, let it run, and say what must have come of it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, cast, overload

from pydantic import BaseModel

from flock.core.artifacts import Artifact, Publishable
from flock.core.builder import AgentBuilder
from flock.core.settle import settle
from flock.core.signature import read_signature
from flock.core.spans import Span
from flock.core.types import registry
from flock.core.visibility import Visibility
from flock.errors import DeclarationError
from flock.orchestrator.flock import Flock
from flock.testing import telling
from flock.testing.clock import ManualClock
from flock.testing.scripted import ScriptedEngine

if TYPE_CHECKING:
    from types import FrameType

    from flock.core.agent import Agent
    from flock.core.lifecycle import Engine
    from flock.orchestrator.idle import IdleReport

M = TypeVar("M", bound=BaseModel)

_COMPUTES = ("function", "engines", "tools", "tool_sources", "subscriptions", "output_groups")
_BY_PEOPLE = "asks"


class TestBoard:
    """A board in a test. What an assertion finds wrong, it tells with what is on the board.

    Give it the board that you test, or none for a new one in memory on a
    `ManualClock(autojump=True)`, on which nothing waits for real time. Use it with `async with`;
    without, the first `await` opens it and `aclose` closes it.

    Every assertion is a coroutine: `await` it. Agents that were replaced compute as before once
    it is closed.

    Args:
        flock: The board under test.
        model: The model of a new board: `"test"` answers with samples.

    Attributes:
        flock: The board.
        clock: Its clock, if that is a `ManualClock`.
        report: What the last `run` reported.

    Raises:
        DeclarationError: Both a board and a model are given.

    Example:
        ```python
        from pydantic import BaseModel

        from flock.testing import TestBoard


        class Order(BaseModel):
            total: float


        class Invoice(BaseModel):
            amount: float


        async with TestBoard() as board:
            board.agent("billing").consumes(Order).publishes(Invoice).calls(
                lambda order: Invoice(amount=order.total)
            )
            await board.publish(Order(total=3))
            await board.run()
            invoice = await board.assert_published(Invoice, where=lambda i: i.amount == 3)
            await board.assert_ran("billing", times=1)
            await board.assert_no_failures()
        ```
    """

    __test__ = False

    def __init__(self, flock: Flock | None = None, *, model: str | None = None) -> None:
        if flock is not None and (not isinstance(flock, Flock) or model is not None):
            msg = f"TestBoard takes a Flock, or the model of a new one, not {flock!r} and {model!r}"
            raise DeclarationError(msg)
        self.flock = Flock(model, clock=ManualClock(autojump=True)) if flock is None else flock
        clock = self.flock.clock
        self.clock = clock if isinstance(clock, ManualClock) else None
        self.report: IdleReport | None = None
        self._errors: list[Exception] = []
        self._replaced: dict[str, dict[str, object]] = {}
        self._is_settled = True
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"TestBoard({self.flock!r})"

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        await self.flock.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the board, cancel what still runs, and give replaced agents back what they had."""
        try:
            await self.flock.shutdown(grace=0.0)
        finally:
            self._loop = None
            self._restore()

    def close(self) -> None:
        """Do what `aclose` does, after the test has ended: for fixtures that are not async.

        A board whose event loop has been closed is left as it is.
        """
        loop = self._loop
        if loop is not None and not loop.is_closed() and not loop.is_running():
            loop.run_until_complete(self.aclose())
        self._restore()

    # --- arranging ---

    def agent(self, name: str) -> AgentBuilder:
        """Declare an agent; see `Flock.agent`."""
        return self.flock.agent(name)

    def replace(
        self,
        agent: str | Agent | AgentBuilder,
        script: Callable[..., Any] | Engine | Iterable[object],
    ) -> Self:
        """Let something else compute an agent in this test; what it consumes and publishes stays.

        Args:
            agent: The agent.
            script: A function, bound as `calls` does; an engine; or answers in turn, as
                `ScriptedEngine` takes them.

        Raises:
            NotFound: There is no such agent.
            DeclarationError: The script cannot compute it.
        """
        target = self.flock.get_agent(agent if isinstance(agent, str) else agent.name)
        settle(target, warns=False)  # what is declared by the annotations of its function stays
        kept = {
            name: getattr(target, name)
            for name in (*_COMPUTES, _BY_PEOPLE)
            if hasattr(target, name)
        }
        target.function, target.engines, target.tools, target.tool_sources = None, [], (), ()
        if hasattr(target, _BY_PEOPLE):
            setattr(target, _BY_PEOPLE, None)
        here = inspect.currentframe()
        try:
            _compute(target, script, None if here is None else here.f_back)
            settle(target, warns=False)
        except BaseException:
            _give_back(target, kept)
            raise
        self._replaced.setdefault(target.name, kept)
        target.changed()
        return self

    def _restore(self) -> None:
        for name, kept in self._replaced.items():
            _give_back(self.flock.get_agent(name), kept)
        self._replaced.clear()

    # --- acting ---

    async def publish(
        self,
        obj: Publishable,
        *,
        correlation_id: str | None = None,
        partition_key: str | None = None,
        tags: Iterable[str] = (),
        visibility: Visibility | None = None,
        idempotency_key: str | None = None,
    ) -> Artifact:
        """Put something on the board; see `Flock.publish`."""
        self._loop = asyncio.get_running_loop()
        self._is_settled = False
        return await self.flock.publish(
            obj,
            correlation_id=correlation_id,
            partition_key=partition_key,
            tags=tags,
            visibility=visibility,
            idempotency_key=idempotency_key,
        )

    async def run(self, *, timeout: Span | None = None) -> IdleReport:
        """Let the board run until nothing more can happen; see `Flock.run_until_idle`.

        Failures are not raised: see `assert_no_failures`.
        """
        self._loop = asyncio.get_running_loop()
        self.report = await self.flock.run_until_idle(timeout=timeout)
        self._errors += self.report.errors
        self._is_settled = not self.report.timed_out
        return self.report

    async def advance(self, span: Span) -> None:
        """Move time forward, and let what falls due happen; see `ManualClock.advance`.

        Raises:
            DeclarationError: The board's clock is none that can be moved.
        """
        self._loop = asyncio.get_running_loop()
        if self.clock is None:
            msg = (
                f"the clock of {self.flock!r} cannot be moved; make the board with "
                "Flock(clock=ManualClock())"
            )
            raise DeclarationError(msg)
        await self.clock.advance(span)
        self._is_settled = True

    # --- looking ---

    async def published(
        self, model: type[M], *, by: str | None = None, correlation_id: str | None = None
    ) -> list[M]:
        """Return what lies on the board of a type, oldest first.

        Args:
            model: The type.
            by: Only what this agent published; `"external"` is the outside.
            correlation_id: Only of this workflow.
        """
        record = await self._record()
        return [
            artifact.as_model(model)
            for artifact in _of(record, model)
            if _mismatch(artifact, by, correlation_id) is None
        ]

    async def timeline(self) -> list[str]:
        """Return what happened in board order, one line for each artifact and each ended run."""
        return telling.timeline(await self._record())

    # --- asserting ---

    @overload
    async def assert_published(
        self,
        model: type[M],
        *,
        where: Callable[[M], object] | None = None,
        count: None = None,
        by: str | None = None,
        correlation_id: str | None = None,
    ) -> M: ...
    @overload
    async def assert_published(
        self,
        model: type[M],
        *,
        where: Callable[[M], object] | None = None,
        count: int,
        by: str | None = None,
        correlation_id: str | None = None,
    ) -> list[M]: ...
    async def assert_published(
        self,
        model: type[M],
        *,
        where: Callable[[M], object] | None = None,
        count: int | None = None,
        by: str | None = None,
        correlation_id: str | None = None,
    ) -> M | list[M]:
        """Assert that something was published.

        Args:
            model: Its type, exactly.
            where: What must hold of it.
            count: How many there are; at least one unless said.
            by: Who published it; `"external"` is the outside.
            correlation_id: Its workflow.

        Returns:
            The oldest that fits; all of them, oldest first, if a count was asked for.

        Raises:
            AssertionError: There are none, or not so many. It tells what comes near, and what is
                on the board.
        """
        __tracebackhide__ = True
        record = await self._record()
        found, near = _sorted_out(record, model, where, by, correlation_id)
        if len(found) == count or (count is None and found):
            models = [artifact.as_model(model) for artifact in found]
            return models if count is not None else models[0]
        wanted = _wanted(model, where, by, correlation_id)
        if not found:
            lines = [f"no {wanted} was published."]
        else:
            were = "was" if len(found) == 1 else "were"
            lines = [f"{len(found)} {wanted} {were} published, not {count}:"]
            lines += _indented([telling.shown(artifact) for artifact in found])
        if near and len(found) < (count or 1):
            lines.append("These come near:")
            lines += _indented([f"{telling.shown(a)}: {reason}" for a, reason in near])
        raise AssertionError(self._told(lines, record, model))

    async def assert_not_published(
        self,
        model: type[M],
        *,
        where: Callable[[M], object] | None = None,
        by: str | None = None,
        correlation_id: str | None = None,
    ) -> None:
        """Assert that nothing of the kind was published; see `assert_published`.

        Raises:
            AssertionError: Something was. It tells what. Also where `where` itself raised.
        """
        __tracebackhide__ = True
        record = await self._record()
        found, near = _sorted_out(record, model, where, by, correlation_id)
        raised = [pair for pair in near if "raised" in pair[1]]
        if not found and not raised:
            return
        wanted = _wanted(model, where, by, correlation_id)
        if found:
            lines = [f"{len(found)} {wanted} should not have been published:"]
            lines += _indented([telling.shown(artifact) for artifact in found])
        else:
            lines = ["whether it was published cannot be told:"]
            lines += _indented([f"{telling.shown(a)}: {reason}" for a, reason in raised])
        raise AssertionError(self._told(lines, record, None))

    async def assert_ran(
        self, agent: str | Agent | AgentBuilder, *, times: int | None = None
    ) -> None:
        """Assert that runs of an agent ended, failed ones included; attempts of one count once.

        Args:
            agent: The agent.
            times: How many; at least one unless said. 0 asserts that it did not run.

        Raises:
            AssertionError: There were none, or not so many.
            NotFound: There is no such agent.
        """
        __tracebackhide__ = True
        target = self.flock.get_agent(agent if isinstance(agent, str) else agent.name)
        record = await self._record()
        ran = record.ended()[target.name]
        if ran == times or (times is None and ran):
            return
        often = "did not run" if not ran else f"ran {_times(ran)}"
        lines = [
            f"agent {target.name!r} {often}{'' if times is None else f', not {_times(times)}'}."
        ]
        if ran < (times or 1):
            lines += _indented(_waits_for(target, record))
        raise AssertionError(self._told(lines, record, None))

    async def assert_no_failures(self) -> None:
        """Assert that no run failed for good since the board is under test.

        Raises:
            AssertionError: Some did. It tells which, and has the first error as its cause.
        """
        __tracebackhide__ = True
        record = await self._record()
        if not record.failures and not self._errors:
            return
        told = telling.failures(record) or [telling.clipped(str(e)) for e in self._errors]
        lines = [f"{len(told)} run{'s' * (len(told) != 1)} failed:", *_indented(told)]
        first = self._errors[0].__cause__ if self._errors else None
        raise AssertionError("\n".join(lines)) from first

    async def _record(self) -> telling.Record:
        self._loop = asyncio.get_running_loop()
        return await telling.record_of(self.flock)

    def _told(self, lines: list[str], record: telling.Record, model: type[BaseModel] | None) -> str:
        if not self._is_settled:
            lines.append("Work may still go on: await run() before what you assert.")
        if model is not None:
            lines += _hints(self.flock, record, model)
        return "\n".join([*lines, telling.contents(record)])


def _compute(agent: Agent, script: object, frame: FrameType | None) -> None:
    """Let a script compute an agent.

    Raises:
        DeclarationError: It is none.
    """
    if hasattr(script, "evaluate") and not isinstance(script, type):
        agent.engines = [cast("Engine", script)]
    elif callable(script):
        agent.function = read_signature(script, frame=frame)
    elif isinstance(script, Iterable) and not isinstance(script, str | bytes):
        agent.engines = [ScriptedEngine(cast("Iterable[object]", script))]
    else:
        msg = (
            f"agent {agent.name!r} cannot be replaced by {script!r}; give a function, an engine, "
            "or a list of answers"
        )
        raise DeclarationError(msg)


def _give_back(agent: Agent, kept: dict[str, Any]) -> None:
    for name, value in kept.items():
        setattr(agent, name, value)
    agent.changed()


def _of(record: telling.Record, model: type[BaseModel]) -> list[Artifact]:
    entry = registry.entry(model)
    names = set(entry.names)
    return [artifact for artifact in record.artifacts if artifact.type in names]


def _mismatch(artifact: Artifact, by: str | None, correlation_id: str | None) -> str | None:
    if by is not None and artifact.produced_by != by:
        return f"it is not by {by!r}"
    if correlation_id is not None and artifact.correlation_id != correlation_id:
        return f"its workflow is {artifact.correlation_id!r}"
    return None


def _sorted_out(
    record: telling.Record,
    model: type[M],
    where: Callable[[M], object] | None,
    by: str | None,
    correlation_id: str | None,
) -> tuple[list[Artifact], list[tuple[Artifact, str]]]:
    """Return the artifacts that fit, and those of the type that do not, each with a reason."""
    found: list[Artifact] = []
    near: list[tuple[Artifact, str]] = []
    for artifact in _of(record, model):
        reason = _mismatch(artifact, by, correlation_id)
        if reason is None and where is not None:
            reason = telling.why_not(where, artifact.as_model(model))
        if reason is None:
            found.append(artifact)
        else:
            near.append((artifact, reason))
    return found, near


def _wanted(
    model: type[BaseModel], where: object, by: str | None, correlation_id: str | None
) -> str:
    return telling.joined(
        (
            model.__name__,
            telling.named(where) if where is not None else "",
            f"by {by!r}" if by is not None else "",
            f"in workflow {correlation_id!r}" if correlation_id is not None else "",
        )
    )


def _hints(flock: Flock, record: telling.Record, model: type[BaseModel]) -> list[str]:
    """Return who should have published a type, and look-alikes of it."""
    name = registry.entry(model).name
    twins = {a.type for a in record.artifacts if telling.short(a.type) == telling.short(name)}
    hints = [
        f"There is another class of that name on the board: {twin}, and this one is {name}."
        for twin in sorted(twins - {name})
    ]
    makers = [
        agent.name
        for agent in flock.agents
        if any(spec.entry.current.name == name for g in agent.output_groups for spec in g.outputs)
    ]
    ran = record.ended()
    idle = [maker for maker in makers if not ran[maker]]
    if makers and len(idle) == len(makers):
        hints.append(f"Of its producers none ran: {', '.join(map(repr, makers))}.")
    return hints


def _waits_for(agent: Agent, record: telling.Record) -> list[str]:
    """Return what starts an agent, and how much of it there is."""
    if not agent.subscriptions:
        return ["It consumes nothing, so that only a direct call starts it."]
    lines: list[str] = []
    for subscription in agent.subscriptions:
        parts = [
            f"{telling.short(entry.current.name)} ({len(_of(record, entry.cls))} on the board)"
            for entry in dict.fromkeys(subscription.types)
        ]
        filters: list[tuple[bool, Literal["where", "tags", "from_agents", "semantic_match"]]] = [
            (bool(subscription.each or subscription.group), "where"),
            (subscription.tags is not None, "tags"),
            (subscription.from_agents is not None, "from_agents"),
            (bool(subscription.semantic), "semantic_match"),
        ]
        given = [name for is_given, name in filters if is_given]
        narrowed = f", narrowed by {' and '.join(given)}" if given else ""
        lines.append(f"It consumes {' and '.join(parts)}{narrowed}.")
    return lines


def _indented(lines: list[str]) -> list[str]:
    return [f"  {line}" for line in telling.bounded(lines)]


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
