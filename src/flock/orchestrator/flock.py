"""The board: the user's verbs and the wiring, nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, NoReturn, Self
from uuid import UUID

from flock.clock import Clock, SystemClock, as_datetime
from flock.core.agent import Agent
from flock.core.artifacts import EXTERNAL, Artifact
from flock.core.builder import AgentBuilder, settle
from flock.core.context import ContextProvider
from flock.core.delivery import Delivery
from flock.core.filters import FilterConfig
from flock.core.lifecycle import Engine
from flock.core.spans import Span, seconds
from flock.core.visibility import Visibility
from flock.engines.dspy import DSPyEngine
from flock.engines.function import FunctionEngine
from flock.engines.threads import ThreadPool
from flock.errors import (
    DeclarationError,
    NotFound,
    NotIdle,
    NotYetAvailable,
    PublishError,
    StoreError,
)
from flock.orchestrator import inside
from flock.orchestrator.attempts import Attempts
from flock.orchestrator.component_runner import ComponentRunner
from flock.orchestrator.events import BoardIdle, EventBus, EventStream, WorkflowIdle
from flock.orchestrator.gathering import Gathering
from flock.orchestrator.history import can_read, default_provider, load_history
from flock.orchestrator.idle import Idle, IdleReport, IdleSignal
from flock.orchestrator.job import Call, Job
from flock.orchestrator.lifecycle_manager import LifecycleManager
from flock.orchestrator.matcher import Matcher
from flock.orchestrator.outcomes import Outcomes
from flock.orchestrator.publisher import Publisher
from flock.orchestrator.router import Router
from flock.orchestrator.scheduler import UNLIMITED, Scheduler, retrieve
from flock.orchestrator.tracing import TracingManager
from flock.store.memory import InMemoryBlackboardStore
from flock.store.protocol import BlackboardStore, Commit, DeadLetter

if TYPE_CHECKING:
    from opentelemetry.trace import Span as TraceSpan

    from flock.components.orchestrator import OrchestratorComponent

_YIELD_EVERY = 128
"""After how many publishes in a row the event loop gets a turn."""


@dataclass(frozen=True, slots=True)
class WorkflowStatus:
    """What a workflow is doing.

    Attributes:
        correlation_id: The workflow.
        state: `"running"` while work is open, `"waiting"` if only gates hold something of
            it, `"idle"` if nothing does, `"unknown"` if the board knows nothing of it.
        running: Runs that go on.
        queued: Runs that wait for a slot or for their next attempt.
        waiting: Deliveries that wait in gates, held back or deferred.
        artifacts: Artifacts on the board.
    """

    correlation_id: str
    state: Literal["running", "waiting", "idle", "unknown"]
    running: int
    queued: int
    waiting: int
    artifacts: int


class Flock:
    """A blackboard and the agents around it.

    Args:
        model: The model of agents that have neither function nor engines; `"test"` needs
            no network, key or extra.
        store: Where the board lasts; in memory unless said.
        name: Names the board.
        max_agent_iterations: How many hops deep one causal chain may go.
        max_concurrency: How many runs may go on at once on the whole board; no limit
            beside the agents' own unless said.
        max_pending: How much work may be open before publishing from outside waits.
        context_provider: Chooses the history that agents get.
        clock: The board's time; the system's unless said.
        no_output: Whether the board keeps quiet on the console.

    Raises:
        DeclarationError: An argument makes no sense.
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
        if isinstance(store, str):
            msg = (
                f"the store {store!r} comes with a later version; leave it out to keep the board "
                "in memory"
            )
            raise NotYetAvailable(msg)
        self.model = model
        self.name = name
        self.store: BlackboardStore = store if store is not None else InMemoryBlackboardStore()
        self.clock: Clock = clock if clock is not None else SystemClock()
        self.no_output = no_output
        self._context_provider = context_provider or default_provider
        self._max_pending = max_pending
        self._room = UNLIMITED if max_pending is None else max_pending
        self._agents: dict[str, Agent] = {}
        self._threads = ThreadPool()
        self._tracing = TracingManager()
        self._events = EventBus()
        self._components = ComponentRunner()
        self._lifecycle = LifecycleManager(self.clock)
        self._idle = Idle(self._on_zero, self._on_workflow_zero)
        self._signal = IdleSignal(
            self._idle,
            self.clock.time,
            lambda: bool(self._components.having["on_idle"]),
            partial(self._run_hooks, "on_idle"),
            self._lifecycle.spawn,
            self._announce_idle,
        )
        self._publisher = Publisher(
            self.store, self.clock, self._components, self._events, self, Matcher(())
        )
        self._outcomes = Outcomes(
            self.store,
            self._publisher,
            self.clock,
            self._events,
            self._idle,
            self._lifecycle,
            lambda: [agent.identity for agent in self._agents.values()],
        )
        self._attempts = Attempts(
            self.clock,
            self._events,
            self._idle,
            self._components,
            self._lifecycle,
            self._outcomes,
            self._publisher,
            self._load_history,
            self,
            max_depth=max_agent_iterations,
        )
        self._scheduler = Scheduler(
            self.clock,
            self._events,
            self._idle,
            self._attempts,
            max_concurrency=max_concurrency,
        )
        self._gathering = Gathering(
            self.clock,
            self._events,
            self._idle,
            self._lifecycle,
            self._scheduler,
            self._outcomes,
        )
        self._router = Router(
            self.clock,
            self._idle,
            self._components,
            self._lifecycle,
            self._scheduler,
            self._attempts,
            self._gathering,
            self._outcomes,
            self,
            self._agents.get,
        )
        self._publisher.route = self._router.deliver
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening: asyncio.Future[None] | None = None
        self._closing: asyncio.Future[None] | None = None
        self._state: Literal["closed", "opening", "open", "closing"] = "closed"
        self._is_settled = False
        self._published_in_a_row = 0

    def __repr__(self) -> str:
        return f"Flock({self.name!r}, {len(self._agents)} agents, {self._state})"

    # --- declaring ---

    def agent(self, name: str) -> AgentBuilder:
        """Declare an agent.

        Raises:
            DeclarationError: The name is taken, reserved or empty.
        """
        if not isinstance(name, str) or not name.strip():
            msg = f"an agent's name is a text, not {name!r}"
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
        return AgentBuilder(agent, self._unsettle)

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
            raise DeclarationError(msg)
        if self._state != "closed":
            msg = f"add component {component!r} before the board is opened"
            raise DeclarationError(msg)
        self._components.add(component)
        return self

    # --- opening and closing ---

    async def __aenter__(self) -> Self:
        await self._open()
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
        place = inside.where(self)
        if place is not None:
            msg = (
                f"shutdown was called inside {self._who(place)}, which it would wait for; publish "
                "what shall end the board, and close it from outside"
            )
            raise NotIdle(msg)
        if self._state == "closing" and self._closing is not None:
            await asyncio.wait([self._closing])
        loop = asyncio.get_running_loop()
        if self._state != "open" or self._loop is not loop:
            return
        self._state = "closing"
        self._closing = loop.create_future()
        async with AsyncExitStack() as steps:  # each is taken, last first, whatever happens
            self._push_closing(steps)
            steps.push_async_callback(self._run_hooks, "on_shutdown")
            steps.push_async_callback(self._scheduler.stop)
            await self._scheduler.drain(grace, self._lifecycle.spawned)

    def _push_closing(self, steps: AsyncExitStack) -> None:
        """Say what has to be done when the board closes, or could not be opened."""
        steps.callback(self._closed)
        steps.push_async_callback(self.store.close)
        steps.callback(self._threads.close)
        steps.push_async_callback(self._lifecycle.shutdown)

    def _who(self, place: str) -> str:
        """Name the agent that the caller is inside of, or the hook."""
        run = inside.current_run(self)
        return place if run is None else f"agent {run.agent!r}"

    def _closed(self) -> None:
        if self._closing is not None:
            self._closing.set_result(None)
            self._closing = None
        self._state = "closed"
        self._loop = None
        self._signal.fail(NotIdle("the board was shut down before it became idle"))
        self._idle.release()
        self._events.end()

    async def _open(self) -> None:
        """Open the board on the running event loop, unless it is open there."""
        loop = asyncio.get_running_loop()
        while self._loop is loop and self._state == "opening" and self._opening is not None:
            if inside.where(self) is not None:
                return  # a component that is initialized
            await asyncio.wait([self._opening])
        if self._loop is loop and self._state == "open":
            if not self._is_settled:
                self._settle()
            return
        if self._loop is loop and self._state == "closing":
            msg = "the board is shutting down and takes nothing in; open it again afterwards"
            raise PublishError(msg)
        if self._loop is not None and self._loop is not loop and self._loop.is_running():
            msg = (
                "the board is open on another event loop that is running; hand the call over "
                "with asyncio.run_coroutine_threadsafe, or make the agent's function async"
            )
            raise RuntimeError(msg)
        self._settle()
        self._loop, self._state, self._opening = loop, "opening", loop.create_future()
        try:
            async with AsyncExitStack() as steps:
                self._push_closing(steps)
                steps.push_async_callback(self._scheduler.stop)
                await self._start(loop)
                steps.pop_all()
        finally:
            opening, self._opening = self._opening, None
            opening.set_result(None)

    async def _open_to_read(self) -> None:
        """Open the board if need be; one that is closing can still be asked."""
        if self._state != "closing" or self._loop is not asyncio.get_running_loop():
            await self._open()

    async def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._lifecycle.forget()
        self._router.clear()
        self._signal.clear()
        self._idle.clear(self.clock.time())
        self._events.bind(loop)
        self._threads.open()
        await self.store.open()
        await self._lifecycle.start()
        self._scheduler.start()
        known = [d for d in await self.store.open_deliveries() if self._knows(d)]
        token = inside.enter(self, "the hook on_initialize of an OrchestratorComponent")
        try:
            for component in self._components.having["on_initialize"]:
                await component.on_initialize(self)
        finally:
            inside.leave(token)
        self._state = "open"
        self._router.resume(known)

    def _knows(self, delivery: Delivery) -> bool:
        """Whether the delivery's subscription is declared here; binds it to that one."""
        agent = self._agents.get(delivery.agent)
        if agent is None or delivery.index >= len(agent.subscriptions):
            return False
        delivery.subscription = agent.subscriptions[delivery.index]
        return True

    def _unsettle(self) -> None:
        self._is_settled = False

    def _settle(self) -> None:
        """Complete and check all declarations and index them.

        Raises:
            DeclarationError: A declaration is incomplete.
        """
        for agent in self._agents.values():
            settle(agent)
            agent.resolve()
        self._publisher.matcher = Matcher(self._agents.values())
        self._is_settled = True

    def _make_engine(self, agent: Agent) -> Engine:
        if agent.function is not None:
            return FunctionEngine(agent.function, self._threads, self.clock.working)
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
        obj: object,
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
            correlation_id: The workflow it belongs to; a new one unless said.
            partition_key: What it is about, for the user's own use.
            tags: Words that subscriptions may ask for.
            visibility: Who may read it; everybody unless said.
            idempotency_key: Comes with a later version.
            schedule_immediately: False stores it without starting anybody.

        Returns:
            The artifact as it lies on the board.

        Raises:
            PublishError: It was refused, and nothing was stored.
            TypeRegistryError: Its type is unknown or ambiguous.
        """
        if idempotency_key is not None:
            msg = "publish: idempotency_key= comes with a later version"
            raise NotYetAvailable(msg)
        depth = 0 if self._admits_at_once() else await self._admit()
        if isinstance(obj, Artifact):
            known = await self.store.get(obj.id)
            if known is not None:
                return known
        artifact = self._publisher.draft(
            obj, correlation_id, partition_key, tags, visibility, depth
        )
        stored = [artifact]
        self._idle.reserved += 1
        try:
            await self._publisher.commit(stored, deliver=schedule_immediately)
        finally:
            self._idle.reserved -= 1
        return stored[0]

    async def publish_many(
        self,
        objs: Iterable[object],
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
        drafts = [
            self._publisher.draft(obj, correlation_id, partition_key, tags, visibility, depth)
            for obj in objs
        ]
        if not any(isinstance(obj, Artifact) for obj in objs):
            await self._publisher.commit(drafts, deliver=schedule_immediately)
            return drafts
        known: dict[int, Artifact] = {}
        for draft in drafts:
            found = await self.store.get(draft.id)
            if found is not None:
                known[draft.key] = found
        new = list({d.key: d for d in drafts if d.key not in known}.values())
        keys = [d.key for d in new]
        await self._publisher.commit(new, deliver=schedule_immediately)
        known.update(zip(keys, new, strict=True))
        return [known[draft.key] for draft in drafts]

    def _admits_at_once(self) -> bool:
        """Whether a publish from outside need not wait for anything; so it usually is."""
        self._published_in_a_row += 1
        return (
            self._published_in_a_row < _YIELD_EVERY
            and self._idle.pressure < self._room
            and self._loop is asyncio.get_running_loop()
            and self._state == "open"
            and self._is_settled
            and inside.place.get() is None
        )

    async def _admit(self) -> int:
        """Open the board if need be and wait for room; return the depth of what is published."""
        if self._state != "open" or not self._is_settled:
            if not (self._state in {"opening", "closing"} and inside.where(self)):
                await self._open()
        elif self._loop is not asyncio.get_running_loop():
            await self._open()
        run = inside.current_run(self)
        if run is not None:
            await self._take_turns()
            return run.depth
        if inside.where(self) is not None:
            return 0
        if self._max_pending is not None and self._idle.pressure >= self._max_pending:
            self._published_in_a_row = 0
            await self._idle.wait_for_room(self._max_pending)
            if self._state != "open":
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
        what waits in them. Safe to call from several tasks at once.

        Args:
            timeout: How long to wait: a `timedelta` or seconds of the board's clock. Work
                goes on afterwards.
            raise_on_error: Whether runs that failed are raised, together.

        Raises:
            NotIdle: Called from inside an agent or a hook, which would wait for itself; or
                the board was shut down meanwhile.
            ExceptionGroup: Of `RunError`, with `raise_on_error`, each with the agent's
                exception as its cause.
        """
        place = inside.where(self)
        if place is not None:
            msg = (
                f"run_until_idle was called inside {self._who(place)}, which would wait for "
                "itself; publish and return, or call another agent with arun"
            )
            raise NotIdle(msg)
        span = None if timeout is None else seconds(timeout, "timeout", zero=True)
        await self._open_to_read()
        report = await self._signal.wait(self.clock, span)
        if raise_on_error and report.errors:
            msg = f"{report.failed} runs failed"
            raise ExceptionGroup(msg, list(report.errors))
        return report

    async def flush(self) -> int:
        """Run what partial batches hold now.

        What comes of it may fill other batches; wait for idle and flush again for those.

        Returns:
            How many batches were started.
        """
        await self._open()
        return self._gathering.flush()

    # --- calling an agent directly ---

    async def arun(self, agent: Agent | AgentBuilder | str, *inputs: object) -> list[Artifact]:
        """Run one agent exactly once over these inputs.

        Inputs and outputs are committed to the board; whoever else consumes either runs
        as usual. An agent may call it for another one: the call uses the caller's slot.

        Returns:
            The outputs, as they lie on the board.

        Raises:
            PublishError: An input was refused, or is nothing that the agent consumes.
            Exception: Whatever the agent raised at its last attempt. There is no dead
                letter for it, since the caller has the error.
        """
        return await self._outcome(*await self._call(agent, inputs))

    def run(self, agent: Agent | AgentBuilder | str, *inputs: object) -> list[Artifact]:
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
        obj: object,
        *,
        publish_outputs: bool = True,
        timeout: Span | None = None,
    ) -> list[Artifact]:
        """Run one agent over one input without regard to its subscriptions.

        Args:
            agent: Who runs.
            obj: The input. It is not stored.
            publish_outputs: False leaves the board untouched.
            timeout: In place of the agent's own.

        Returns:
            The outputs.

        Raises:
            RunTimeout: It took longer than `timeout`.
            Exception: Whatever the agent raised at its last attempt.
        """
        depth = await self._admit()
        span = None if timeout is None else seconds(timeout, "timeout")
        call = Call(
            asyncio.get_running_loop().create_future(),
            is_published=publish_outputs,
            is_nested=inside.current_run(self) is not None,
            timeout=span,
        )
        target = self._resolved(agent)
        draft = self._publisher.draft(obj, depth=depth)
        job = self._scheduler.call(target, [draft], call, is_stored=False)
        return await self._outcome(job, call)

    async def stream(
        self, agent: Agent | AgentBuilder | str, *inputs: object
    ) -> AsyncGenerator[Artifact, None]:
        """Do what `arun` does, and yield the outputs as they are committed.

        Leaving the iteration early cancels the run.
        """
        outputs: asyncio.Queue[Artifact | None] = asyncio.Queue()
        job, call = await self._call(agent, inputs, on_output=outputs.put_nowait)
        call.waiter.add_done_callback(lambda _: outputs.put_nowait(None))
        call.waiter.add_done_callback(retrieve)
        try:
            while (output := await outputs.get()) is not None:
                yield output
            await call.waiter
        finally:
            if not call.waiter.done():
                call.waiter.cancel()
                self._scheduler.end(job, "cancel")

    async def _call(
        self,
        agent: Agent | AgentBuilder | str,
        inputs: Sequence[object],
        on_output: Callable[[Artifact], None] | None = None,
    ) -> tuple[Job, Call]:
        if not inputs:
            msg = "give the agent at least one input"
            raise PublishError(msg)
        depth = await self._admit()
        target = self._resolved(agent)
        drafts: list[Artifact] = []
        for obj in inputs:
            known = await self.store.get(obj.id) if isinstance(obj, Artifact) else None
            workflow = drafts[0].correlation_id if drafts and known is None else None
            fresh = isinstance(obj, Artifact)
            drafts.append(
                known or self._publisher.draft(obj, None if fresh else workflow, depth=depth)
            )
        _check_consumed(target, drafts)
        now = self.clock.time()
        hidden = [a for a in drafts if a.seq and not can_read(a, target.identity, now)]
        if hidden:
            seen = hidden[0]
            msg = (
                f"agent {target.name!r} may not read the {seen.type!r} {seen.id}, whose visibility "
                f"is {seen.visibility!r}"
            )
            raise PublishError(msg)
        new = [draft for draft in drafts if not draft.seq]
        await self._publisher.commit(new, without=target.name)
        stored = iter(new)
        artifacts = [draft if draft.seq else next(stored) for draft in drafts] if new else drafts
        call = Call(
            asyncio.get_running_loop().create_future(),
            on_output=on_output,
            is_nested=inside.current_run(self) is not None,
        )
        job = self._scheduler.call(target, artifacts, call, is_stored=True)
        job.is_batch = _takes_batches(target, artifacts)
        return job, call

    async def _outcome(self, job: Job, call: Call) -> list[Artifact]:
        try:
            return await call.waiter
        except asyncio.CancelledError:
            self._scheduler.end(job, "cancel")
            raise

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
        """Return what a workflow is doing."""
        await self._open_to_read()
        workflow = str(correlation_id)
        jobs = self._scheduler.jobs(workflow)
        running = sum(job.state == "running" for job in jobs)
        waiting = self._router.waiting(workflow)
        _, artifacts = await self.store.query_artifacts(
            FilterConfig(correlation_id=workflow), limit=0
        )
        state: Literal["running", "waiting", "idle", "unknown"] = "unknown"
        if jobs:
            state = "running"
        elif waiting:
            state = "waiting"
        elif self._idle.open_in(workflow):
            state = "running"
        elif artifacts:
            state = "idle"
        return WorkflowStatus(workflow, state, running, len(jobs) - running, waiting, artifacts)

    async def cancel(self, correlation_id: str) -> int:
        """Cancel a workflow: end its runs and close what waits of it.

        Outputs of runs that have not committed never appear; artifacts stay. Inputs of
        other workflows in a batch or join that is ended with it wait again.

        Returns:
            How many deliveries were closed.
        """
        await self._open()
        workflow = str(correlation_id)
        count = 0
        while True:  # what committed meanwhile may have started something else
            jobs = [job for job in self._scheduler.jobs(workflow) if job.ending != "cancel"]
            await self._scheduler.cancel(jobs)
            found = [d for job in jobs for d in job.deliveries if d.is_open]
            found += self._router.discard(workflow)
            if not jobs and not found:
                return count
            mine = [d for d in found if d.artifact.correlation_id == workflow]
            await self._outcomes.close(mine)
            count += len(mine)
            self._router.regather(d for d in found if d.artifact.correlation_id != workflow)

    async def dead_letters(self) -> list[DeadLetter]:
        """Return the runs that failed for good, oldest first."""
        await self._open_to_read()
        return await self.store.dead_letters()

    async def redrive(self, dead_letter_id: UUID | str) -> None:
        """Take a dead letter off the list and run it again, under the same run id.

        Raises:
            NotFound: There is no such dead letter, or its agent is not declared here.
        """
        await self._open()
        wanted = str(dead_letter_id)
        letters = [x for x in await self.store.dead_letters() if wanted in {str(x.id), x.id.hex}]
        if not letters:
            msg = f"there is no dead letter {wanted}; dead_letters() lists them"
            raise NotFound(msg)
        run = letters[0].run
        agent = self.get_agent(run.agent)
        try:
            await self.store.commit(
                Commit(opened=run.deliveries, at=self.clock.time(), redriven=letters[0].id)
            )
        except StoreError as error:
            raise NotFound(str(error)) from error
        if not run.attempt:  # it never came as far as a run
            for delivery in run.deliveries:
                delivery.run = None
            self._router.deliver(run.deliveries)
            return
        job = self._scheduler.submit(
            agent,
            run.subscription,
            run.deliveries,
            run.artifacts,
            is_batch=run.is_batch,
            run=run,
        )
        job.attempt = 0

    # --- watching ---

    def events(self, correlation_id: str | None = None, after: object = None) -> EventStream:
        """Return what happens from now on, as typed events.

        Args:
            correlation_id: Only of this workflow; of the whole board unless said.
            after: Comes with a later version.
        """
        if after is not None:
            msg = "events: after= comes with a later version"
            raise NotYetAvailable(msg)
        return self._events.listen(None if correlation_id is None else str(correlation_id))

    def traced_run(self, name: str = "workflow") -> AbstractAsyncContextManager[TraceSpan]:
        """Open one OpenTelemetry span around everything inside."""
        return self._tracing.traced_run(name, self.name)

    # --- verbs whose machinery comes later ---

    async def run_until(self, condition: object, *, timeout: Span | None = None) -> NoReturn:
        """Wait until a condition holds. Comes with a later version."""
        del condition, timeout
        _later("run_until")

    async def run_forever(self) -> NoReturn:
        """Serve until cancelled. Comes with a later version."""
        _later("run_forever")

    async def pause(self, correlation_id: str) -> NoReturn:
        """Hold a workflow. Comes with a later version."""
        del correlation_id
        _later("pause")

    async def resume(self, correlation_id: str) -> NoReturn:
        """Let a held workflow go on. Comes with a later version."""
        del correlation_id
        _later("resume")

    # --- wiring ---

    def _on_zero(self) -> None:
        self._signal.on_zero()

    def _on_workflow_zero(self, workflow: str) -> None:
        if self._events.is_heard:
            self._events.tell(WorkflowIdle(as_datetime(self.clock.time()), workflow))

    def _announce_idle(self) -> None:
        if self._events.is_heard:
            self._events.tell(BoardIdle(as_datetime(self.clock.time()), None))

    async def _run_hooks(self, hook: str) -> None:
        token = inside.enter(self, f"the hook {hook} of an OrchestratorComponent")
        try:
            async for _ in self._components.run_hook(hook, self):
                pass
        finally:
            inside.leave(token)

    async def _load_history(self, job: Job) -> tuple[Artifact, ...]:
        agent = job.lane.agent
        provider = agent.context_provider or self._context_provider
        return await load_history(job, agent.identity, provider, self.store, self.clock.time)


def _later(verb: str) -> NoReturn:
    msg = f"{verb} comes with a later version"
    raise NotYetAvailable(msg)


def _check_consumed(agent: Agent, inputs: Iterable[Artifact]) -> None:
    called = [s for s in agent.subscriptions if s.mode != "events"]
    consumed = {entry.name for s in called for entry in s.types}
    if agent.subscriptions and not called:
        msg = f"agent {agent.name!r} is started by events only; use invoke() to disregard that"
        raise PublishError(msg)
    for artifact in inputs:
        if consumed and artifact.entry.name not in consumed:
            msg = (
                f"agent {agent.name!r} does not consume {artifact.entry.name!r}, but "
                f"{', '.join(sorted(consumed))}; use invoke() to disregard its subscriptions"
            )
            raise PublishError(msg)


def _takes_batches(agent: Agent, inputs: Sequence[Artifact]) -> bool:
    """Whether the subscription that these inputs would come through gathers batches."""
    names = {artifact.entry.name for artifact in inputs}
    fitting = [s for s in agent.subscriptions if names <= s.counts.keys()]
    return bool(fitting) and fitting[0].batch is not None
