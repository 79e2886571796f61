"""Agents that are called directly instead of being started by the board."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from flock.core.artifacts import Artifact
from flock.errors import PublishError, RunTimeout
from flock.orchestrator import inside
from flock.orchestrator.history import can_read
from flock.orchestrator.job import Call, Job
from flock.orchestrator.scheduler import retrieve
from flock.orchestrator.workflow import workflow_here

if TYPE_CHECKING:
    from flock.clock import Clock
    from flock.components.board import Board
    from flock.core.agent import Agent
    from flock.orchestrator.wiring import Parts

T = TypeVar("T")


class Calls:
    """Runs agents for callers who wait for the outputs.

    A call from inside a run uses that run's slot, so that agents that call each other
    cannot wait for each other's slots.
    """

    def __init__(self, parts: Parts, orchestrator: Board) -> None:
        self._parts = parts
        self._orchestrator = orchestrator

    async def arun(self, agent: Agent, inputs: Sequence[object], depth: int) -> list[Artifact]:
        """Commit inputs, run the agent once over them, and return the outputs."""
        return await self._outcome(*await self._begin(agent, inputs, depth))

    async def stream(
        self, agent: Agent, inputs: Sequence[object], depth: int
    ) -> AsyncGenerator[Artifact, None]:
        """Do what `arun` does, and yield the outputs as they are committed."""
        outputs: asyncio.Queue[Artifact | None] = asyncio.Queue()
        job, call = await self._begin(agent, inputs, depth, on_output=outputs.put_nowait)
        call.waiter.add_done_callback(lambda _: outputs.put_nowait(None))
        call.waiter.add_done_callback(retrieve)
        try:
            while (output := await outputs.get()) is not None:
                yield output
            await call.waiter
        finally:
            if not call.waiter.done():
                call.waiter.cancel()
                self._parts.scheduler.end(job, "cancel")

    async def invoke(
        self,
        agent: Agent,
        obj: object,
        admit: Callable[[], Awaitable[int]],
        *,
        publish: bool,
        timeout: float | None,
    ) -> list[Artifact]:
        """Run the agent over an input that is not stored, disregarding its subscriptions.

        Args:
            agent: Who runs.
            obj: The input.
            admit: Waits until the board takes something in, and returns the input's depth.
            publish: Whether the outputs go on the board.
            timeout: Seconds of the board's clock for all of it; no limit if None.

        Raises:
            RunTimeout: The time was over before the outputs were committed.
        """
        if timeout is None:
            return await self._outcome(*self._invoked(agent, obj, await admit(), publish=publish))
        clock = self._parts.clock
        due = clock.time() + timeout
        error = RunTimeout(
            f"invoke of agent {agent.name!r} did not end within its timeout of {timeout:g} seconds"
        )
        depth = await _before(due, clock, admit(), error)
        job, call = self._invoked(agent, obj, depth, publish=publish)
        timer = clock.call_at(due, partial(self._parts.scheduler.end, job, "cancel", error))
        try:
            return await self._outcome(job, call)
        finally:
            timer.cancel()

    def _invoked(self, agent: Agent, obj: object, depth: int, *, publish: bool) -> tuple[Job, Call]:
        call = Call(
            asyncio.get_running_loop().create_future(),
            is_published=publish,
            is_nested=self._is_nested,
        )
        draft = self._drafted(obj, self._workflow, depth)
        self._require_going([draft])
        return self._parts.scheduler.call(agent, [draft], call, is_stored=False), call

    @property
    def _is_nested(self) -> bool:
        return inside.current_run(self._orchestrator) is not None

    @property
    def _workflow(self) -> str | None:
        """The workflow of the run that calls, or of the block around: what is called belongs to it.

        None outside of both.
        """
        run = inside.current_run(self._orchestrator)
        return workflow_here(self._orchestrator) if run is None else run.correlation_id

    def _require_going(self, inputs: Sequence[Artifact]) -> None:
        """Refuse a call from outside into a workflow that is paused.

        Raises:
            PublishError: It is.
        """
        if not self._parts.holding.holds or self._is_nested:
            return
        stored = [artifact for artifact in inputs if artifact.seq] or inputs
        workflow = min(stored, key=lambda artifact: artifact.seq).correlation_id
        if self._parts.holding.is_paused(workflow):
            msg = (
                f"workflow {workflow!r} is paused, and no run of it begins; resume() it first, or "
                "publish the input, which then waits"
            )
            raise PublishError(msg)

    def _drafted(self, obj: object, workflow: str | None, depth: int) -> Artifact:
        """Make an artifact of an input; one whose workflow somebody chose stays in that."""
        if isinstance(obj, Artifact):
            if workflow is not None and not obj.seq and obj.correlation_id == f"{obj.key:032x}":
                obj = obj.replace(correlation_id=workflow)
            workflow = None
        return self._parts.publisher.draft(obj, workflow, depth=depth)

    async def _begin(
        self,
        agent: Agent,
        inputs: Sequence[object],
        depth: int,
        on_output: Callable[[Artifact], None] | None = None,
    ) -> tuple[Job, Call]:
        if not inputs:
            msg = f"give agent {agent.name!r} at least one input"
            raise PublishError(msg)
        self._parts.scheduler.require_going(agent)
        self._parts.idle.reserved += 1  # the board is not at rest between input and run
        try:
            return await self._begun(agent, inputs, depth, on_output)
        finally:
            self._parts.idle.unreserve()

    async def _begun(
        self,
        agent: Agent,
        inputs: Sequence[object],
        depth: int,
        on_output: Callable[[Artifact], None] | None,
    ) -> tuple[Job, Call]:
        artifacts = await self._stored(agent, inputs, depth)
        call = Call(
            asyncio.get_running_loop().create_future(),
            on_output=on_output,
            is_nested=self._is_nested,
        )
        job = self._parts.scheduler.call(agent, artifacts, call, is_stored=True)
        job.is_batch = _takes_batches(agent, artifacts)
        return job, call

    async def _stored(self, agent: Agent, inputs: Sequence[object], depth: int) -> list[Artifact]:
        """Return the inputs as they lie on the board, after putting there what is new.

        New inputs without a workflow of their own share one: that of the calling run, if there
        is one, so that its budgets and its end hold for them. None starts the agent itself.
        """
        caller = self._workflow
        drafts: list[Artifact] = []
        for obj in inputs:
            if isinstance(obj, Artifact):
                known = await self._parts.store.get(obj.id)
                draft = known or self._drafted(obj, caller, depth)
                drafts.append(next((d for d in drafts if d.key == draft.key), draft))
            else:
                workflow = drafts[0].correlation_id if drafts else caller
                drafts.append(self._drafted(obj, workflow, depth))
        self._check(agent, drafts)
        self._require_going(drafts)
        new = list({draft.key: draft for draft in drafts if not draft.seq}.values())
        keys = [draft.key for draft in new]
        await self._parts.publisher.commit(new, without=agent.name)
        stored = dict(zip(keys, new, strict=True))
        return [stored.get(draft.key, draft) for draft in drafts]

    def _check(self, agent: Agent, inputs: Sequence[Artifact]) -> None:
        """Refuse inputs that the agent does not consume or may not read.

        Raises:
            PublishError: There is one.
        """
        called = [s for s in agent.subscriptions if s.mode != "events"]
        if agent.subscriptions and not called:
            msg = f"agent {agent.name!r} is started by events only; use invoke() to disregard that"
            raise PublishError(msg)
        consumed = {entry.name for s in called for entry in s.types}
        for artifact in inputs:
            if consumed and artifact.entry.name not in consumed:
                msg = (
                    f"agent {agent.name!r} does not consume {artifact.entry.name!r}, but "
                    f"{', '.join(sorted(consumed))}; use invoke() to disregard its subscriptions"
                )
                raise PublishError(msg)
            now = self._parts.clock.time()
            if artifact.seq and not can_read(artifact, agent.identity, now):
                msg = (
                    f"agent {agent.name!r} may not read the {artifact.type!r} {artifact.id}, whose "
                    f"visibility is {artifact.visibility!r}"
                )
                raise PublishError(msg)

    async def _outcome(self, job: Job, call: Call) -> list[Artifact]:
        try:
            return await call.waiter
        except asyncio.CancelledError:
            self._parts.scheduler.end(job, "cancel")
            raise


async def _before(due: float, clock: Clock, work: Awaitable[T], error: Exception) -> T:
    """Await something until a time of the board's clock, and raise `error` then."""
    loop = asyncio.get_running_loop()
    limit = asyncio.timeout(None)
    try:
        async with limit:
            timer = clock.call_at(due, lambda: limit.reschedule(loop.time()))
            try:
                return await work
            finally:
                timer.cancel()
    except TimeoutError:
        if limit.expired():
            raise error from None
        raise


def _takes_batches(agent: Agent, inputs: Sequence[Artifact]) -> bool:
    """Whether the subscription that these inputs would come through gathers batches."""
    names = {artifact.entry.name for artifact in inputs}
    fitting = [s for s in agent.subscriptions if names <= {entry.name for entry in s.types}]
    return bool(fitting) and fitting[0].batch is not None
