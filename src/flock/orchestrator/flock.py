"""The board: the user's verbs and the wiring, nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from typing import TYPE_CHECKING, Literal, Self
from uuid import UUID

from flock.clock import Clock, ShiftedClock, SystemClock
from flock.core.agent import Agent
from flock.core.artifacts import (
    EXTERNAL,
    Artifact,
    Publishable,
    checked_identifier,
    checked_tags,
    identifier,
    is_text,
)
from flock.core.builder import AgentBuilder, settle
from flock.core.conditions import Condition, asks_about_work, checked_condition
from flock.core.context import ContextProvider
from flock.core.lifecycle import Engine
from flock.core.question import Question
from flock.core.semantic import Embedder
from flock.core.spans import Span, seconds
from flock.core.usage import Budget, Spent
from flock.core.visibility import AgentIdentity, Visibility
from flock.core.words import Word, rate_limit
from flock.core.workflow import WorkflowStatus
from flock.engines.dspy import DSPyEngine
from flock.engines.function import FunctionEngine
from flock.engines.person import PersonEngine
from flock.errors import (
    DeclarationError,
    NotFound,
    NotIdle,
    PublishError,
    StoreError,
)
from flock.orchestrator import inside
from flock.orchestrator.calls import Calls
from flock.orchestrator.checks.board import check_board
from flock.orchestrator.checks.finding import CheckFinding
from flock.orchestrator.events import EventStream, Position
from flock.orchestrator.events.log import Kinds, chosen_kinds
from flock.orchestrator.events.position import position_of
from flock.orchestrator.fork import Changes, Fork, Settings, moment_of
from flock.orchestrator.graph.elements import Graph
from flock.orchestrator.graph.reading import graph_of
from flock.orchestrator.history import default_provider
from flock.orchestrator.idle import IdleReport
from flock.orchestrator.matcher import Matcher
from flock.orchestrator.opening import Opening
from flock.orchestrator.replay import Reader, Replay, checked_position, replayed
from flock.orchestrator.scheduler import UNLIMITED
from flock.orchestrator.tracing import TracingManager
from flock.orchestrator.wiring import Parts
from flock.orchestrator.workflow import Workflow, joining
from flock.orchestrator.workflows import redrive, status_of
from flock.store.protocol import BlackboardStore, DeadLetter
from flock.store.urls import store_from

if TYPE_CHECKING:
    from opentelemetry.trace import Span as TraceSpan
    from pydantic import BaseModel

    from flock.components.orchestrator import OrchestratorComponent
    from flock.core.rates import RateKey

_YIELD_EVERY = 128
"""After how many publishes in a row the event loop gets a turn."""


class Flock:
    """A blackboard and the agents around it.

    Args:
        model: The model of agents that have neither function nor engines, as
            `provider/name` or `local/name`; `"test"` needs no network, key or extra.
        store: Where the board lasts: a store, or a URL such as `"sqlite:///board.db"`; in memory
            unless said.
        name: Names the board.
        max_agent_iterations: How many hops deep one causal chain may go.
        max_concurrency: How many runs may go on at once on the whole board; no limit
            beside the agents' own unless said.
        max_pending: How much work may be open before publishing from outside waits.
        context_provider: Chooses the history that agents get.
        embedder: Compares texts for `semantic_match=`; unless said a small English model in the
            process, of the extra `semantic`. It is yours to close.
        clock: The board's time; the system's unless said.
        no_output: Whether the board keeps quiet on the console.

    Raises:
        DeclarationError: An argument makes no sense.

    Example:
        ```python
        from pydantic import BaseModel

        from flock import Flock


        class Order(BaseModel):
            total: float


        class Invoice(BaseModel):
            amount: float


        def bill(order: Order) -> Invoice:
            return Invoice(amount=order.total)


        flock = Flock()
        flock.agent("billing").calls(bill)  # Order -> Invoice, as it is annotated

        async with flock:
            await flock.publish(Order(total=12))
            await flock.run_until_idle()
            print(await flock.store.get_by_type(Invoice))  # -> [Invoice(amount=12.0)]
        ```
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        store: BlackboardStore | str | None = None,
        name: str = "flock",
        max_agent_iterations: int = 1000,
        max_concurrency: int | None = None,
        max_pending: int | None = None,
        context_provider: ContextProvider | None = None,
        embedder: Embedder | None = None,
        clock: Clock | None = None,
        no_output: bool = False,
    ) -> None:
        for limit, what in (
            (max_agent_iterations, "max_agent_iterations"),
            (max_concurrency, "max_concurrency"),
            (max_pending, "max_pending"),
        ):
            if limit is not None and (type(limit) is not int or limit < 1):
                msg = f"{what} must be a whole number from 1, not {limit!r}"
                raise DeclarationError(msg)
        for given, what, kind, is_right in (
            (model, "model", "a model string", isinstance(model, str)),
            (store, "store", "a store object", hasattr(store, "commit") or isinstance(store, str)),
            (clock, "clock", "a Clock", hasattr(clock, "call_at")),
            (context_provider, "context_provider", "an async callable", callable(context_provider)),
            (embedder, "embedder", "an Embedder", callable(getattr(embedder, "embed", None))),
        ):
            if given is not None and (isinstance(given, type) or not is_right):
                msg = f"{what} takes {kind}, not {given!r}"
                raise DeclarationError(msg)
        self.model = model
        self.name = name
        self.store: BlackboardStore = (
            store_from(store or "memory:") if (store is None or isinstance(store, str)) else store
        )
        self.clock: Clock = clock if clock is not None else SystemClock()
        self.no_output = no_output
        self._max_pending = UNLIMITED if max_pending is None else max_pending
        self._agents: dict[str, Agent] = {}
        self._parts = Parts(
            self,
            self.store,
            self.clock,
            self._agents,
            context_provider=context_provider or default_provider,
            max_depth=max_agent_iterations,
            max_concurrency=max_concurrency,
            embedder=embedder,
        )
        self._opening = Opening(self._parts, self._agents, self._settle, self, name)
        self._calls = Calls(self._parts, self)
        self._tracing = TracingManager()
        self._idle = self._parts.idle
        self._publisher = self._parts.publisher
        self._published_in_a_row = 0
        self.blocks = 0
        self._context_provider = context_provider or default_provider
        self._settings: Settings = {
            "model": model,
            "name": f"{name} (fork)",
            "max_agent_iterations": max_agent_iterations,
            "max_concurrency": max_concurrency,
            "context_provider": context_provider,
            "embedder": embedder,
            "no_output": no_output,
        }

    def __repr__(self) -> str:
        return f"Flock({self.name!r}, {len(self._agents)} agents, {self._opening.state})"

    # --- declaring ---

    def agent(self, name: str) -> AgentBuilder:
        """Declare an agent.

        Raises:
            DeclarationError: The name is taken, reserved or empty.
        """
        if not isinstance(name, str) or not name.strip():
            msg = f"an agent's name is a text, not {name!r}"
            raise DeclarationError(msg)
        if not is_text(name):
            msg = f"an agent's name may not hold a lone surrogate, as {name!r} does"
            raise DeclarationError(msg)
        if name == EXTERNAL:
            msg = f"no agent may be called {name!r}: that is who publishes from outside"
            raise DeclarationError(msg)
        if name in self._agents:
            msg = (
                f"there is an agent {name!r} already; choose another name, or change it with what "
                "agent() returned"
            )
            raise DeclarationError(msg)
        agent = self._agents[name] = Agent(name, self._make_engine)
        self._unsettle()
        return self._builder(agent)

    def _builder(self, agent: Agent) -> AgentBuilder:
        return AgentBuilder(agent, self._unsettle, self._parts.workbench)

    @property
    def agents(self) -> list[Agent]:
        """The agents, in the order they were declared."""
        return list(self._agents.values())

    def get_agent(self, name: str) -> Agent:
        """Return an agent.

        Raises:
            NotFound: There is none of that name.
        """
        agent = self._agents.get(name)
        if agent is None:
            known = ", ".join(map(repr, self._agents)) or "none"
            msg = f"there is no agent {name!r}; there are: {known}"
            raise NotFound(msg)
        return agent

    def add_component(self, component: OrchestratorComponent) -> Self:
        """Add hooks around the board, before it is opened.

        Raises:
            DeclarationError: The board is open, or it is no instance of a component.
        """
        if isinstance(component, type) or not hasattr(component, "on_artifact_published"):
            msg = f"{component!r} is no instance of an OrchestratorComponent"
            if hasattr(component, "on_pre_evaluate"):
                msg += ", but of an AgentComponent; give it to an agent, with_utilities()"
            raise DeclarationError(msg)
        if self._opening.state != "closed":
            msg = f"add component {component!r} before the board is opened"
            raise DeclarationError(msg)
        self._parts.components.add(component)
        return self

    def budget(
        self,
        *,
        tokens: int | None = None,
        usd: float | None = None,
        runs: int | None = None,
        per: Literal["board", "workflow"] = "board",
    ) -> Self:
        """Bound what all agents spend together; each agent has a `budget` of its own as well.

        A model call or a run that would go beyond it is not made: its run fails with
        `BudgetExceeded`, is not tried again, and waits as a dead letter to be redriven under
        a larger budget. What was spent lies in the store: the budget holds for as long as the
        board, however often it is opened. Budgets add up; the tightest one decides.

        Args:
            tokens: How many tokens model calls may take, in and out.
            usd: How many US dollars they may cost. Models of unknown price are refused.
            runs: How many runs may begin.
            per: `"board"` for all workflows together, `"workflow"` for each.

        Raises:
            DeclarationError: It bounds nothing, or by no positive number.
        """
        try:
            budget = Budget(tokens, usd, runs, per)
        except DeclarationError as error:
            msg = f"the board, budget: {error}"
            raise DeclarationError(msg) from None
        self._parts.ledger.add(budget)
        self._unsettle()
        return self

    def rate_limit(self, n: int, per: Span, key: RateKey | None = None) -> Self:
        """Let at most `n` runs of all agents together begin in any span of `per`.

        Each agent has a `rate_limit` of its own as well, which says more. All limits hold.

        Args:
            n: How many runs.
            per: The span: a `timedelta` or seconds of the board's clock.
            key: A function of a run's first input: the limit holds for each value by itself.

        Raises:
            DeclarationError: It makes no sense.
        """
        self._parts.limits.add(rate_limit(Word(None, "rate_limit"), n, per, key))
        self._unsettle()
        return self

    # --- looking at what is declared ---

    def graph(self) -> Graph:
        """Return who reads and writes what, as data: `as_dict()`, and `mermaid()` to draw it.

        Read from the declarations: the board is not opened, no model is made, no store touched,
        and no function of yours is called.

        Raises:
            DeclarationError: A declaration contradicts itself; `check` tells all of them.
        """
        return graph_of(self.name, self.model, self._agents.values())

    def check(self) -> list[CheckFinding]:
        """Return what looks wrong or is worth knowing about the declarations, errors first.

        Pure like `graph`: nothing runs, not even a predicate. An error is something that cannot
        work, a warning what is hardly meant, an info what holds and may surprise. What happens
        outside the declarations, such as who publishes what from outside or from inside a
        function, cannot be seen.

        Example:
            ```python
            from pydantic import BaseModel

            from flock import Flock


            class Scan(BaseModel):
                patient: str


            class Report(BaseModel):
                text: str


            flock = Flock("test")
            flock.agent("reader").consumes(Scan, where=lambda scan: scan.pateint).publishes(Report)
            [error] = [finding for finding in flock.check() if finding.level == "error"]
            print(error.code)  # -> predicate-field-missing
            ```
        """
        return check_board(self.model, self._agents.values())

    # --- opening and closing ---

    async def __aenter__(self) -> Self:
        await self._opening.open()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        if kind is None:
            await self.shutdown()
        else:  # nobody waits for results any more
            await self.shutdown(grace=0.0)

    async def shutdown(self, grace: float = 5.0) -> None:
        """Close the board: stop intake, let work end, cancel the rest, close the store.

        What is cancelled or still waits stays open, and goes on when the board is opened
        again. Without effect on a closed board.

        Args:
            grace: Seconds of real time that queued and running work may take to end.
        """
        await self._opening.close(grace)

    def _unsettle(self) -> None:
        self._opening.unsettle()

    def _settle(self) -> None:
        """Complete and check all declarations and index them.

        Raises:
            DeclarationError: A declaration is incomplete.
        """
        for agent in self._agents.values():
            settle(agent)
            agent.resolve()
            for engine in agent.chain:
                if isinstance(engine, DSPyEngine):
                    engine.bind(agent, self.model, self._parts.models)
        self._parts.ledger.settle(self._agents.values())
        self._parts.limits.settle(self._agents.values())
        if self._opening.state == "open":
            self._parts.scheduler.limit()
        matcher = Matcher(self._agents.values())
        self._parts.embeddings.declare(matcher.semantic)
        self._publisher.matcher = matcher

    def _make_engine(self, agent: Agent) -> Engine:
        if agent.asks is not None:
            return PersonEngine(self._parts.questions.answer_to)
        if agent.function is not None:
            return FunctionEngine(agent.function, self._parts.threads, self.clock.working)
        if self.model is None:
            msg = (
                f"agent {agent.name!r} has no function, no engine, and the board has no model; "
                "add calls(fn), with_engines(), or Flock(model)"
            )
            raise DeclarationError(msg)
        return DSPyEngine(self.model)

    # --- publishing ---

    async def publish(
        self,
        obj: Publishable,
        *,
        correlation_id: str | None = None,
        partition_key: str | None = None,
        tags: Iterable[str] = (),
        visibility: Visibility | None = None,
        idempotency_key: str | None = None,
        schedule_immediately: bool = True,
    ) -> Artifact:
        """Put something on the board, and start whoever consumes it.

        Returns when the artifact and its deliveries are committed; agents run on their
        own from then on. Cancelling it before that publishes nothing.

        Args:
            obj: A Pydantic model; a dict with `type` and `payload` or the fields beside it;
                or an `Artifact`. One that is on the board already starts nothing.
            correlation_id: The workflow it belongs to; unless said that of the `workflow()` block
                around it, or a new one.
            partition_key: What it is about, for the user's own use.
            tags: Words that subscriptions may ask for.
            visibility: Who may read it; everybody unless said.
            idempotency_key: Publishing under the same key again returns what was published
                first, and starts nothing. A key belongs to the board, and lasts as long as its
                artifact.
            schedule_immediately: False stores it without starting anybody.

        Returns:
            The artifact as it lies on the board.

        Raises:
            PublishError: It was refused, and nothing was stored: something else was published
                under the key, for example.
            TypeRegistryError: Its type is unknown or ambiguous.
        """
        depth = 0 if self._admits_at_once() else await self._admit()
        if self.blocks and correlation_id is None:
            obj, correlation_id = joining(self, obj)
        if isinstance(obj, Artifact):
            known = await self.store.get(obj.id)
            if known is not None:
                return known
        artifact = self._publisher.draft(
            obj, correlation_id, partition_key, tags, visibility, depth
        )
        if idempotency_key is not None:
            known = await self._publisher.published_as(idempotency_key, artifact)
            if known is not None:
                return known
        stored = [artifact]
        self._idle.reserved += 1
        try:
            await self._publisher.commit(
                stored, deliver=schedule_immediately, idempotency_key=idempotency_key
            )
        except StoreError:  # was it published a second time meanwhile?
            if idempotency_key is not None:
                known = await self._publisher.published_as(idempotency_key, artifact)
            else:
                known = await self.store.get(obj.id) if isinstance(obj, Artifact) else None
            if known is None:
                raise
            return known
        finally:
            self._idle.unreserve()
        return stored[0]

    async def publish_many(
        self,
        objs: Iterable[Publishable],
        *,
        correlation_id: str | None = None,
        partition_key: str | None = None,
        tags: Iterable[str] = (),
        visibility: Visibility | None = None,
        schedule_immediately: bool = True,
    ) -> list[Artifact]:
        """Put several things on the board, all or none; see `publish`.

        Returns:
            The artifacts, in the order of `objs`.
        """
        depth = await self._admit()
        objs = list(objs)
        tags = [tags] if isinstance(tags, str) else list(tags)
        joined = [
            joining(self, obj) if self.blocks and correlation_id is None else (obj, correlation_id)
            for obj in objs
        ]
        drafts = [
            self._publisher.draft(obj, workflow, partition_key, tags, visibility, depth)
            for obj, workflow in joined
        ]
        self._idle.reserved += 1
        try:
            return await self._publish_many(objs, drafts, schedule_immediately)
        finally:
            self._idle.unreserve()

    async def _publish_many(
        self,
        objs: list[Publishable],
        drafts: list[Artifact],
        deliver: bool,  # noqa: FBT001
    ) -> list[Artifact]:
        if not any(isinstance(obj, Artifact) for obj in objs):
            await self._publisher.commit(drafts, deliver=deliver)
            return drafts
        known: dict[int, Artifact] = {}
        for draft in drafts:
            found = await self.store.get(draft.id)
            if found is not None:
                known[draft.key] = found
        new = list({d.key: d for d in drafts if d.key not in known}.values())
        keys = [d.key for d in new]
        await self._publisher.commit(new, deliver=deliver)
        known.update(zip(keys, new, strict=True))
        return [known[draft.key] for draft in drafts]

    def _admits_at_once(self) -> bool:
        """Whether a publish from outside need not wait for anything; so it usually is."""
        self._published_in_a_row += 1
        opening = self._opening
        return (
            self._published_in_a_row < _YIELD_EVERY
            and self._idle.total + self._idle.reserved < self._max_pending
            and opening.loop is asyncio.get_running_loop()
            and opening.state == "open"
            and opening.is_settled
            and inside.place.get() is None
        )

    async def _admit(self) -> int:
        """Open the board if need be and wait for room; return the depth of what is published."""
        self.refuse_forks()
        place = inside.where(self)
        if place is None or self._opening.state not in {"opening", "closing"}:
            await self._opening.open()
        run = inside.current_run(self)
        if run is not None:
            await self._take_turns()
            return run.depth
        if place is not None:
            return 0
        if self._idle.pressure >= self._max_pending:
            self._published_in_a_row = 0
            await self._idle.wait_for_room(self._max_pending)
            if self._opening.state != "open":
                msg = "the board was shut down before there was room to publish"
                raise PublishError(msg)
        await self._take_turns()
        return 0

    async def _take_turns(self) -> None:
        """Let the event loop have a turn after many publishes in a row."""
        if self._published_in_a_row >= _YIELD_EVERY:
            self._published_in_a_row = 0
            await asyncio.sleep(0)

    # --- waiting ---

    async def run_until_idle(
        self, *, timeout: Span | None = None, raise_on_error: bool = False
    ) -> IdleReport:
        """Wait until nothing more can happen without new input.

        Half-filled joins and batches without a timeout do not hold it; the report counts
        what waits in them. A schedule with an end does. With one that has none the board is
        never idle: with a `timeout` it serves until then, and reports `timed_out`. Safe to call
        from several tasks at once.

        Args:
            timeout: How long to wait: a `timedelta` or seconds of the board's clock. Work
                goes on afterwards.
            raise_on_error: Whether runs that failed are raised, together.

        Raises:
            NotIdle: Called from inside an agent or a hook, which would wait for itself; or
                the board is shutting down, or was shut down before its work had ended; or,
                without a timeout, an agent is scheduled without an end.
            ExceptionGroup: Of `RunError`, with `raise_on_error`, each with the agent's
                exception as its cause.
        """
        place = inside.where(self)
        if place is not None:
            msg = (
                f"run_until_idle was called inside {inside.who(self)}, which would wait for "
                "itself; publish and return, or call another agent with arun"
            )
            raise NotIdle(msg)
        span = None if timeout is None else seconds(timeout, "timeout", zero=True)
        if self._opening.is_closing:
            msg = (
                "run_until_idle was called while the board is shutting down, which may cancel "
                "what is left; wait for idle before the shutdown"
            )
            raise NotIdle(msg)
        await self._opening.open()
        if span is None:
            self._parts.schedules.require_end()
        report = await self._parts.signal.wait(self.clock, span)
        if raise_on_error and report.errors:
            msg = f"{report.failed} run{'s' * (report.failed != 1)} failed"
            raise ExceptionGroup(msg, list(report.errors))
        return report

    async def run_forever(self) -> None:
        """Open the board and serve: run what is published, and what schedules start.

        Ends when the board is shut down, or its task is cancelled, as Ctrl-C does under
        `asyncio.run`. It closes nothing by itself; `async with flock:` around it does.

        Raises:
            NotIdle: Called from inside an agent or a hook, which the shutdown would wait for.
        """
        if inside.where(self) is not None:
            msg = (
                f"run_forever was called inside {inside.who(self)}, which would never end; the "
                "board is open, and serves already"
            )
            raise NotIdle(msg)
        await self._opening.open()
        await self._opening.serve()

    async def run_until(self, condition: Condition, *, timeout: Span | None = None) -> bool:
        """Wait until a condition holds, also on a board that is idle.

        It is looked at when something that it depends on happens, and after every single commit:
        one that holds for a moment only is seen. Any number of callers may wait.

        Args:
            condition: Made with `Until`, or one of your own (`Condition`); several are combined
                with `&`, `|` and `~`.
            timeout: How long to wait: a `timedelta` or seconds of the board's clock. 0 asks once.

        Returns:
            True as soon as it holds; False when the time is over. Work goes on either way.

        Raises:
            DeclarationError: It is no condition.
            NotIdle: The board is shutting down, or was shut down before; or it was called inside
                an agent or a hook and depends on work, which includes the caller's.
        """
        wanted = checked_condition(condition)
        span = None if timeout is None else seconds(timeout, "timeout", zero=True)
        if inside.where(self) is not None and asks_about_work(wanted):
            msg = (
                f"run_until({wanted!r}) was called inside {inside.who(self)}, which is work, "
                "so that it might wait for its own end; wait for artifacts, give a condition of "
                "your own the types it depends on, or wait outside"
            )
            raise NotIdle(msg)
        if self._opening.is_closing:
            msg = (
                "run_until was called while the board is shutting down, which may cancel what is "
                "left; wait before the shutdown"
            )
            raise NotIdle(msg)
        await self._opening.open()
        return await self._parts.awaiting.until(wanted, span)

    async def flush(self) -> int:
        """Run what partial batches hold now.

        What comes of it may fill other batches; wait for idle and flush again for those.

        Returns:
            How many batches were started.
        """
        await self._opening.open()
        return self._parts.gathering.flush()

    # --- calling an agent directly ---

    async def arun(self, agent: Agent | AgentBuilder | str, *inputs: Publishable) -> list[Artifact]:
        """Run one agent exactly once over these inputs.

        Inputs and outputs are committed to the board; whoever else consumes either runs
        as usual. An agent may call it for another one: the call uses the caller's slot, and
        inputs without a workflow of their own belong to the caller's, with its budgets.

        Returns:
            The outputs, as they lie on the board.

        Raises:
            PublishError: An input was refused, or is nothing that the agent consumes.
            Exception: Whatever the agent raised at its last attempt. There is no dead
                letter for it, since the caller has the error.
        """
        target = self._resolved(agent)
        return await self._calls.arun(target, inputs, await self._admit())

    def run(self, agent: Agent | AgentBuilder | str, *inputs: Publishable) -> list[Artifact]:
        """Do what `arun` does, for synchronous callers, and close the board afterwards.

        Raises:
            RuntimeError: An event loop is running; use `arun`.
        """
        if inside.where(self) is not None:
            msg = "run() was called inside an agent; make the function async and await arun()"
            raise NotIdle(msg)

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            msg = "run() is for synchronous callers, and an event loop is running; use await arun()"
            raise RuntimeError(msg)

        async def once() -> list[Artifact]:
            async with self:
                return await self.arun(agent, *inputs)

        with asyncio.Runner() as runner:
            return runner.run(once())

    async def invoke(
        self,
        agent: Agent | AgentBuilder | str,
        obj: Publishable,
        *,
        publish_outputs: bool = True,
        timeout: Span | None = None,
    ) -> list[Artifact]:
        """Run one agent over one input without regard to its subscriptions.

        Args:
            agent: Who runs.
            obj: The input. It is not stored.
            publish_outputs: False leaves the board untouched, but for the accounts: what the
                run spent is written down, and budgets hold.
            timeout: For the whole call, waiting for room and for a slot and all attempts
                included: a `timedelta` or seconds of the board's clock. The agent's own
                timeout goes on to bound each attempt.

        Returns:
            The outputs.

        Raises:
            RunTimeout: It took longer than `timeout`; the run was cancelled. What a generator
                had committed by then stays on the board.
            Exception: Whatever the agent raised at its last attempt.
        """
        target = self._resolved(agent)
        span = None if timeout is None else seconds(timeout, "timeout")
        return await self._calls.invoke(
            target, obj, self._admit, publish=publish_outputs, timeout=span
        )

    async def stream(
        self, agent: Agent | AgentBuilder | str, *inputs: Publishable
    ) -> AsyncGenerator[Artifact, None]:
        """Do what `arun` does, and yield the outputs as they are committed.

        Leaving the iteration early cancels the run.
        """
        target = self._resolved(agent)
        stream = self._calls.stream(target, inputs, await self._admit())
        async with aclosing(stream) as outputs:
            async for output in outputs:
                yield output

    def _resolved(self, agent: Agent | AgentBuilder | str) -> Agent:
        if isinstance(agent, str):
            return self.get_agent(agent)
        found = agent.agent if isinstance(agent, AgentBuilder) else agent
        if self._agents.get(found.name) is not found:
            msg = f"agent {found.name!r} was not declared on this board"
            raise NotFound(msg)
        return found

    # --- workflows ---

    async def status(self, correlation_id: str) -> WorkflowStatus:
        """Return what a workflow is doing.

        Raises:
            PublishError: The id is none.
        """
        workflow = identifier(correlation_id)
        await self._opening.open_to_read()
        return await status_of(self._parts, workflow)

    async def cancel(self, correlation_id: str) -> int:
        """Cancel a workflow: end its runs and close what waits of it.

        Outputs of runs that have not committed never appear; artifacts stay. Inputs of
        other workflows in a batch or join that is ended with it wait again. A board that is
        shutting down can still be told: what it would leave open is closed. One that is paused
        is not paused any more, and one with a deadline has none. An agent may cancel its own
        workflow, and ends with it.

        Its status is `"cancelled"` then, until something new comes into it.

        Returns:
            How many deliveries were closed.

        Raises:
            PublishError: The id is none, or the board was shut down before it was done.
        """
        self.refuse_forks()
        workflow = identifier(correlation_id)
        await self._opening.open_to_read()
        return await self._parts.control.cancel(workflow)

    async def pause(self, correlation_id: str) -> None:
        """Hold a workflow: no run of it begins any more until it is resumed.

        It is so once this returns, and stays so when the board is closed and opened again, or
        its process is killed. Attempts that go on by then end as they would, and commit. What
        is queued or backs off is held, and so is what comes in, from them or from outside, in
        its order. What waits in gates stays there, and time goes on: windows end and batches
        fall due, and the run over them is held. A run over inputs of several workflows belongs
        to that of its earliest input.

        Paused work does not hold `run_until_idle`, which counts it as waiting, nor publishers
        with `max_pending`. What an agent of it calls with `arun` goes on; from outside, a call
        with inputs of it is refused. It may be a workflow that is still to come. Pausing it
        twice is the same as once.

        Args:
            correlation_id: The workflow.

        Raises:
            PublishError: The id is empty, or holds what no store can keep.
        """
        self.refuse_forks()
        workflow = checked_identifier(correlation_id)
        await self._opening.open()
        await self._parts.control.pause(workflow)

    async def resume(self, correlation_id: str) -> None:
        """Let a paused workflow go on, in the order it would have had; else it does nothing.

        What was held begins behind what other workflows have queued by now.

        Raises:
            PublishError: The id is none.
        """
        self.refuse_forks()
        workflow = identifier(correlation_id)
        await self._opening.open()
        await self._parts.control.resume(workflow)

    async def set_deadline(self, correlation_id: str, timeout: Span | None) -> None:
        """Cancel a workflow if anything of it is open some time from now.

        It then counts as `"timed_out"`. The deadline lasts with the board: one that passes while
        the board is closed ends the workflow as soon as it is opened. If nothing of the
        workflow is open, or waits in a gate, or is paused by then, it passes without effect.
        It does not hold `run_until_idle` by itself.

        Args:
            correlation_id: The workflow, which may be still to come.
            timeout: From now on, a `timedelta` or seconds of the board's clock; in place of an
                earlier one. None for no deadline.

        Raises:
            PublishError: The id is empty, or holds what no store can keep.
            ValueError: `timeout` is no span of time.
        """
        self.refuse_forks()
        workflow = checked_identifier(correlation_id)
        span = None if timeout is None else seconds(timeout, "timeout")
        await self._opening.open()
        due = None if span is None else self.clock.time() + span
        await self._parts.control.set_deadline(workflow, due)

    def workflow(
        self, correlation_id: str | None = None, *, timeout: Span | None = None
    ) -> Workflow:
        """Return a block that groups what is published inside as one workflow.

        Leaving it waits until that workflow is done, whatever else goes on: nothing of it is
        queued, running, paused, or falls due. Then it knows what came of it:
        `wf.one(Diagnosis)`, `wf.outputs(XRay)` and `wf.failures` after
        `async with flock.workflow(timeout=60) as wf: await wf.publish(Scan(patient="p1"))`.

        `publish`, `publish_many`, `arun`, `invoke` and `stream` of the board belong to it as well
        when they are called inside, in the same task or one it started, and say no other
        workflow. What agents do is not inside. A body that raises, or is cancelled, cancels
        the workflow. Blocks may be nested, and several may be open at once.

        Args:
            correlation_id: The workflow; a new one unless said.
            timeout: Its deadline from now on, a `timedelta` or seconds of the board's clock; an
                earlier one stays. It is cancelled then, and leaving the block raises
                `WorkflowTimeout`.

        Raises:
            PublishError: The id is empty, or holds what no store can keep.
            ValueError: `timeout` is no span of time.
            NotIdle: On entering, when called inside an agent or a hook; on leaving, when the
                board is shut down before it is done.
            WorkflowTimeout: On leaving: it was not done by its deadline.
        """
        span = None if timeout is None else seconds(timeout, "timeout")
        return Workflow(self, self._parts, self._opening, correlation_id, span)

    async def spent(
        self,
        correlation_id: str | None = None,
        *,
        agent: str | None = None,
        run_id: str | None = None,
    ) -> Spent:
        """Return what model calls took: in a workflow, by an agent, in a run, or in all.

        Args:
            correlation_id: Only in this workflow.
            agent: Only by the agent of this name.
            run_id: Only in this run (`Context.run_id`).
        """
        await self._opening.open_to_read()
        workflow = None if correlation_id is None else str(correlation_id)
        return await self.store.spent(correlation_id=workflow, agent=agent, run_id=run_id)

    async def dead_letters(self) -> list[DeadLetter]:
        """Return the runs that failed for good, oldest first."""
        await self._opening.open_to_read()
        return await self.store.dead_letters()

    async def redrive(self, dead_letter_id: UUID | str) -> None:
        """Take a dead letter off the list and run it again, under the same run id.

        Raises:
            NotFound: There is no such dead letter, or its agent is not declared here.
            StoreError: The store cannot write it down (`StoreFull`); the dead letter stays.
        """
        await self._opening.open()
        await redrive(self._parts, self._agents, dead_letter_id)

    # --- people ---

    async def questions(
        self,
        correlation_id: str | None = None,
        agent: Agent | AgentBuilder | str | None = None,
    ) -> list[Question]:
        """Return the questions that wait for a person's answer, oldest first.

        Args:
            correlation_id: Only those of this workflow.
            agent: Only those of this agent.

        Raises:
            NotFound: The agent is not declared.
        """
        name = None if agent is None else self._resolved(agent).name
        await self._opening.open_to_read()
        workflow = None if correlation_id is None else str(correlation_id)
        return self._parts.questions.listed(workflow, name)

    async def answer(
        self,
        question_id: UUID | str,
        *models: BaseModel | Mapping[str, object],
        answered_by: str = "human",
        tags: Iterable[str] = (),
    ) -> list[Artifact]:
        """Answer a question: the run that asked it goes on with this as its result.

        Hooks, guards, and the checks of `publishes` hold for an answer as for what a model makes.
        Returns when the outputs are committed, together with the question's end. The run takes
        no slot. Of several answers at once the first that is accepted counts; the others wait for
        it. Cancelling this does not take an answer back that is on its way.

        Args:
            question_id: The `id` of the question.
            *models: The outputs: models, or dicts of the fields of what the agent publishes, with
                a `type` if it publishes several types. Nothing at all declines: the run succeeds
                and publishes nothing.
            answered_by: Who answers. The outputs' `produced_by` stays the agent; who answered is
                told by the event `QuestionAnswered` and kept in the board's log.
            tags: Tags of the outputs.

        Returns:
            The outputs, as they lie on the board.

        Raises:
            AlreadyAnswered: Somebody did; a `NotFound`.
            QuestionClosed: It expired or was cancelled; a `NotFound`.
            NotFound: There never was such a question, or it was closed long ago.
            PublishError: It is no answer that could be published.
            OutputContractError: The agent does not publish that, or a validation refuses it.
            Exception: Whatever else the answer makes the run fail with. It has not failed by
                that: whenever this raises for the answer, the question waits on.
        """
        self.refuse_forks()
        await self._opening.open()
        return await self._parts.questions.answer(
            question_id, models, answered_by, checked_tags(tags)
        )

    # --- the past ---

    async def replay(self, correlation_id: str, *, until: int | None = None) -> Replay:
        """Rebuild what was on the board for a workflow, and what each of its runs saw.

        The board is only read, and need not be open: nothing on it goes on for that. The
        artifacts and run records of the workflow are read page by page and held in memory.
        It shows everything, whoever may read it; each run's `history()` is what its agent
        could see.

        Args:
            correlation_id: The workflow.
            until: The position up to which it is shown, the `seq` of an artifact; to the
                newest unless said.

        Raises:
            NotFound: Nothing of the workflow is on the board.
            DeclarationError: `until` is no position.
        """
        end = None if until is None else checked_position(until, "until")
        return await replayed(self.store, str(correlation_id), end, self._reader_of)

    async def fork(
        self,
        correlation_id: str,
        *,
        at: int | None = None,
        agents: Changes | None = None,
        recorded: bool = False,
        timeout: Span | None = None,
    ) -> Fork:
        """Run a workflow again from a point of it, with changed agents, and compare the outcomes.

        It happens on a scratch board in memory; this one is only read, and need not be open.
        What lay on the board at `at` is given as it was, under its ids. What had been used by
        then is not used again; what was open, or matches a changed agent, is. What came from
        outside later comes again, once the scratch board is at rest. All else is made anew,
        with models, tools and outside effects as real as ever, under budgets of the same
        size. The scratch board's clock starts at that time.

        Args:
            correlation_id: The workflow.
            at: A position on the board, such as the `seen` of a replayed run; before
                everything but what came from outside unless said.
            agents: What is changed. By name: a function, an engine, a model string, or None
                for nobody; the agent keeps all else. Or a function that declares agents on
                the scratch board; they replace those of their names.
            recorded: Whether agents that are not changed answer as they did where their
                inputs are equal, instead of running again.
            timeout: How long to wait for the scratch board to be at rest: a `timedelta` or
                seconds.

        Raises:
            NotFound: Nothing of the workflow is on the board, or an agent is not declared.
            DeclarationError: `at` is no position, or a changed agent makes no sense.
        """
        from flock.orchestrator.scratch import Scratch

        position = 0 if at is None else checked_position(at, "at")
        span = None if timeout is None else seconds(timeout, "timeout", zero=True)
        before = await self.replay(correlation_id)
        shift = moment_of(before, position) - self.clock.time()
        scratch = Scratch(self, self._settings, ShiftedClock(self.clock, shift))
        scratch.share(self._parts.components, self._parts.ledger, self._parts.limits)
        scratch.declare(self._agents, agents, before if recorded else None)
        return await scratch.run_again(before, position, self.store.consumptions, span)

    def _reader_of(self, agent: str) -> Reader:
        found = self._agents.get(agent)
        if found is None:
            return AgentIdentity(agent), self._context_provider
        return found.identity, found.context_provider or self._context_provider

    def refuse_forks(self) -> None:
        """Let nothing that runs on a scratch board reach the board it was forked from.

        Raises:
            PublishError: It tried.
        """
        place = inside.place.get()
        board = None if place is None else place[0]
        if board is not None and getattr(board, "origin", None) is self:
            msg = (
                f"{inside.who(board)} runs on a fork of this board, and would change the board "
                "itself; let it return what it makes instead of publishing it through the board"
            )
            raise PublishError(msg)

    # --- watching ---

    def events(
        self,
        correlation_id: str | None = None,
        after: Position | str | int | None = None,
        *,
        kinds: Kinds | None = None,
    ) -> EventStream:
        """Return what happens, as typed events: from now on, or from a position on.

        Each event has the `position` after it. With `after`, first come all lasting events behind
        it that are on the board, whoever may see them, each once and in board order; then, without
        a gap, what happens from then on. Passing events are only told as they happen. Reading has
        no effect on the board, however slow it is: what a listener has no room for it reads from
        the store. The iteration ends when the board is shut down, after what happened by then.

        Args:
            correlation_id: Only of this workflow; of the whole board unless said.
            after: A position, its text, or the `seq` of an artifact; 0 for everything. The first
                event that is asked for opens the board. Unless said, it begins now, or once the
                board is opened.
            kinds: Only of these kinds: a class, several, or a union of some.

        Raises:
            DeclarationError: `after` is no position, or `kinds` are no kinds of events. When it is
                iterated: the board has not come as far as that position.
            StoreError: When it is iterated: what happened cannot be read.
        """
        return self._parts.events.listen(
            None if correlation_id is None else str(correlation_id),
            None if after is None else position_of(after),
            None if kinds is None else chosen_kinds(kinds),
            None if after is None else self._opening.open_to_read,
        )

    def traced_run(self, name: str = "workflow") -> AbstractAsyncContextManager[TraceSpan]:
        """Open one OpenTelemetry span around everything inside."""
        return self._tracing.traced_run(name, self.name)
