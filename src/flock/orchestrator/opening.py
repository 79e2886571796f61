"""When a board is open: on which event loop, from the first await to its shutdown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Literal

from flock.errors import NotIdle, PublishError
from flock.orchestrator import inside

if TYPE_CHECKING:
    from flock.components.board import Board
    from flock.core.agent import Agent
    from flock.core.subscription import Subscription
    from flock.orchestrator.wiring import Parts

State = Literal["closed", "opening", "open", "closing"]


class Opening:
    """Opens and closes a board, once at a time, whoever asks for it.

    Attributes:
        state: Where the board is.
        loop: The event loop it is open on.
        is_settled: Whether all declarations are complete, checked and indexed.
    """

    def __init__(
        self,
        parts: Parts,
        agents: Mapping[str, Agent],
        settle: Callable[[], None],
        orchestrator: Board,
        name: str,
    ) -> None:
        self._parts = parts
        self._agents = agents
        self._settle = settle
        self._orchestrator = orchestrator
        self._name = name
        self._done: asyncio.Future[None] | None = None
        self.state: State = "closed"
        self.loop: asyncio.AbstractEventLoop | None = None
        self.is_settled = False

    async def open(self) -> None:
        """Open the board on the running event loop, unless it is open there.

        Raises:
            PublishError: It is closing.
            RuntimeError: It is open on another event loop that is running.
            StoreLocked: Another board has its store open.
            DeclarationError: A declaration is incomplete.
        """
        loop = asyncio.get_running_loop()
        while self.loop is loop and self.state == "opening" and self._done is not None:
            if inside.where(self._orchestrator) is not None:
                return  # a component that is initialized
            await asyncio.wait([self._done])
        if self.loop is loop and self.state == "open":
            if not self.is_settled:
                self._settle()
                self.is_settled = True
            return
        if self.is_closing:
            msg = "the board is shutting down and takes nothing in; open it again afterwards"
            raise PublishError(msg)
        if self.loop is not None and self.loop is not loop and self.loop.is_running():
            msg = (
                "the board is open on another event loop that is running; hand the call over "
                "with asyncio.run_coroutine_threadsafe, or make the agent's function async"
            )
            raise RuntimeError(msg)
        self._settle()
        self.is_settled = True
        self.loop, self.state, self._done = loop, "opening", loop.create_future()
        done = self._done
        try:
            async with AsyncExitStack() as steps:
                steps.callback(self._closed)
                self._begin_anew(loop)
                await self._parts.store.open(f"board {self._name!r}")
                self._push_closing(steps)
                steps.push_async_callback(self._parts.scheduler.stop)
                await self._start()
                steps.pop_all()
        finally:
            done.set_result(None)

    @property
    def is_closing(self) -> bool:
        """Whether it closes on the running event loop."""
        return self.state == "closing" and self.loop is asyncio.get_running_loop()

    async def open_to_read(self) -> None:
        """Open the board if need be; one that is closing can still be asked."""
        if not self.is_closing:
            await self.open()

    async def close(self, grace: float) -> None:
        """Close the board; see `Flock.shutdown`.

        Raises:
            NotIdle: Called from inside an agent or a hook, which it would wait for.
        """
        place = inside.where(self._orchestrator)
        if place is not None:
            msg = (
                f"shutdown was called inside {inside.who(self._orchestrator)}, which it would wait "
                "for; publish what shall end the board, and close it from outside"
            )
            raise NotIdle(msg)
        if self.state == "closing" and self._done is not None:
            await asyncio.wait([self._done])
        loop = asyncio.get_running_loop()
        if self.state != "open" or self.loop is not loop:
            return
        self.state, self._done = "closing", loop.create_future()
        done = self._done
        parts = self._parts
        try:
            async with AsyncExitStack() as steps:  # each is taken, last first, whatever happens
                steps.callback(self._closed)
                self._push_closing(steps)
                steps.push_async_callback(parts.run_hooks, "on_shutdown")
                steps.push_async_callback(parts.scheduler.stop)
                steps.callback(self._give_up_idle)
                await parts.scheduler.drain(grace, self._others)
        finally:
            done.set_result(None)

    def _others(self) -> list[asyncio.Future[None]]:
        """Return what goes on beside the runs and may start some."""
        return [*self._parts.lifecycle.spawned(), *self._parts.idle.under_way()]

    def _push_closing(self, steps: AsyncExitStack) -> None:
        """Say what has to be done when the board closes, or could not be opened."""
        steps.push_async_callback(self._parts.store.close)
        steps.callback(self._parts.threads.close)
        steps.push_async_callback(self._parts.models.aclose)
        steps.push_async_callback(self._parts.embeddings.close)
        steps.push_async_callback(self._parts.lifecycle.shutdown)
        steps.callback(self._parts.embeddings.stop)
        steps.push_async_callback(self._parts.workbench.close)

    def _give_up_idle(self) -> None:
        """Let nobody take it for idle when what is left of its work is cancelled."""
        self._parts.rest.fail(NotIdle("the board was shut down before the workflow was at rest"))
        if self._parts.idle.total:
            self._parts.signal.fail(NotIdle("the board was shut down before it became idle"))

    def _closed(self) -> None:
        self.state, self.loop, self._done = "closed", None, None
        self._parts.rest.fail(NotIdle("the board was shut down before the workflow was at rest"))
        self._parts.signal.fail(NotIdle("the board was shut down before it became idle"))
        self._parts.idle.release()
        self._parts.events.end()

    def _begin_anew(self, loop: asyncio.AbstractEventLoop) -> None:
        """Forget what an event loop that ended without a shutdown left behind."""
        parts = self._parts
        parts.lifecycle.forget()
        parts.workbench.forget()
        parts.router.clear()
        parts.signal.clear()
        parts.rest.clear()
        parts.idle.clear(parts.clock.time())
        parts.ledger.clear()
        parts.patience.renew()
        parts.events.bind(loop)
        parts.threads.open()
        parts.embeddings.open()

    async def _start(self) -> None:
        parts = self._parts
        await parts.lifecycle.start()
        parts.scheduler.start()
        work = await parts.store.open_work(self._subscription_of)
        parts.gathering.count(work.arrivals)
        parts.scheduler.opened_at(parts.store.position)
        what = "the hook on_initialize of an OrchestratorComponent"
        token = inside.enter(self._orchestrator, what)
        try:
            for component in parts.components.having["on_initialize"]:
                await component.on_initialize(self._orchestrator)
        finally:
            inside.leave(token)
        self.state, self._done = "open", None
        parts.router.resume(work.deliveries)

    def _subscription_of(self, agent: str, index: int) -> Subscription | None:
        """Return the subscription that is declared here under an agent's name."""
        found = self._agents.get(agent)
        if found is None or index >= len(found.subscriptions):
            return None
        return found.subscriptions[index]
