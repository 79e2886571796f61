"""One request on its way: from the queue over its workflow to what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self, cast

from flock.clock import Clock, as_datetime
from flock.core.slots import Slots
from flock.errors import PublishError, RequestConflict
from flock.orchestrator.application.door import at_rest, write_down
from flock.orchestrator.application.outputs import Outputs
from flock.orchestrator.application.result import Record, Status
from flock.orchestrator.events import RequestEnded, logged
from flock.orchestrator.events.log import event_as
from flock.orchestrator.scheduler import retrieve
from flock.tools.deadline import expire

if TYPE_CHECKING:
    from types import TracebackType

    from pydantic import BaseModel

    from flock.core.artifacts import Artifact
    from flock.core.visibility import AgentIdentity, Visibility
    from flock.core.workflow import WorkflowStatus
    from flock.orchestrator.application.boards import OwnBoards, SharedBoard
    from flock.orchestrator.flock import Flock
    from flock.store.protocol import BlackboardStore, DeadLetter

Success = Literal["any", "all", "clean"]
Early = Literal["cancelled", "timed_out"]


class Limit:
    """Ends what goes on inside it from outside, once.

    Attributes:
        why: Why it was ended; None if it was not.
    """

    def __init__(self) -> None:
        self.why: Early | None = None
        self._scope: asyncio.Timeout | None = None

    def end(self, why: Early) -> None:
        """End what goes on inside, or will; the first reason counts."""
        if self.why is None:
            self.why = why
            if self._scope is not None:
                expire(self._scope)

    async def __aenter__(self) -> Self:
        self._scope = asyncio.timeout(None)
        await self._scope.__aenter__()
        if self.why is not None:
            expire(self._scope)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        scope, self._scope = self._scope, None
        assert scope is not None
        return await scope.__aexit__(kind, error, traceback)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a caller asks for.

    Attributes:
        id: The request's id.
        model: The input.
        workflow: The workflow that it begins.
        tags: Its tags.
        visibility: Who may read it.
        principal: On whose behalf.
        key: Names a request with an id that a caller gave, among those of its principal.
        timeout: Seconds that it may take, waiting for its turn included.
    """

    id: str
    model: BaseModel
    workflow: str
    tags: Iterable[str]
    visibility: Visibility | None
    principal: AgentIdentity | None
    key: str | None
    timeout: float | None


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for all requests of an application.

    Attributes:
        boards: Where they run.
        slots: How many may go on at once.
        types: Stable names of the output types.
        success: What has to be there for a request to have succeeded.
    """

    boards: OwnBoards | SharedBoard
    slots: Slots
    types: Collection[str]
    success: Success


class Request:
    """One request, with all who wait for it.

    It ends when its workflow is at rest, when its time is over, or when the last caller left.

    Attributes:
        asked: What was asked for.
        callers: How many wait for it.
        ended: What came of it.
        has_begun: Whether it has had its turn.
        outputs: Its outputs, once it has been published.
        task: Who carries it out.
        board: The board it runs on, once it does.
    """

    def __init__(self, asked: Asked, terms: Terms, clock: Clock) -> None:
        self.asked = asked
        self.callers = 0
        self.ended: asyncio.Future[Record] = asyncio.get_running_loop().create_future()
        self.ended.add_done_callback(retrieve)
        self._published: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.has_begun = False
        self.workflow = asked.workflow
        self.outputs: Outputs | None = None
        self.task: asyncio.Task[None] | None = None
        self.board: Flock | None = None
        self._terms = terms
        self._clock = clock
        self._began = clock.time()
        self._limit = Limit()
        self._early: tuple[Early, str] | None = None
        self._found: Artifact | None = None
        self._timer = None
        if asked.timeout is not None:
            due = self._began + asked.timeout
            self._timer = clock.call_at(due, lambda: self.end("timed_out"))

    def end(self, why: Early) -> None:
        """Cancel it: its workflow is cancelled, and that is what came of it."""
        self._limit.end(why)

    # --- who waits for it ---

    def join(self) -> None:
        """Wait for it from here on."""
        self.callers += 1

    def leave(self) -> None:
        """Wait for it no longer; when nobody does, it is cancelled."""
        self.callers -= 1
        if not self.callers and not self.ended.done():
            self.end("cancelled")

    async def left(self) -> None:
        """Leave it, and let it end first if nobody else waits for it, come what may."""
        self.leave()
        while not self.callers and self.task is not None and not self.task.done():
            try:
                await asyncio.wait([self.task])
            except asyncio.CancelledError:
                continue  # the caller is being cancelled already, and nothing may run on

    async def moved(self) -> None:
        """Wait until it is published; once it is, until it has ended."""
        await asyncio.wait([self.ended if self._published.done() else self._published])

    # --- what is done for it ---

    async def carry_out(self, keep: Callable[[Request], Awaitable[None]]) -> None:
        """Do all of it, and say in `ended` what came of it.

        Args:
            keep: Told of it before the callers are.
        """
        try:
            record = await self._carried_out()
            await keep(self)
        except Exception as error:  # noqa: BLE001 - whoever waits for it gets it
            self.ended.set_exception(error)
        else:
            self.ended.set_result(record)
        finally:
            if not self.ended.done():
                self.ended.cancel()
            if not self._published.done():
                self._published.set_result(None)
            if self._timer is not None:
                self._timer.cancel()

    async def _carried_out(self) -> Record:
        async with AsyncExitStack() as stack:
            try:
                async with self._limit:
                    await stack.enter_async_context(self._terms.slots)
                    if self._limit.why is None:
                        self.has_begun = True
                        board = await stack.enter_async_context(self._terms.boards.lend())
                        await self._begin(board)
                        if self._early is None:
                            await at_rest(board, self.workflow)
            except TimeoutError:
                if self._limit.why is None:
                    raise
            if self._limit.why is not None and self._early is None:
                self._early = await self._cut_short(self._limit.why)
            return await self._assessed()

    async def _begin(self, board: Flock) -> None:
        """Publish the input, unless that was done under the same id before."""
        asked, principal = self.asked, self.asked.principal
        if principal is not None and any(principal.name == it.name for it in board.agents):
            msg = (
                f"the principal {principal.name!r} bears the name of an agent, and could read what "
                f"is private to it; give principals names of their own, as 'user:{principal.name}'"
            )
            raise PublishError(msg)
        self.board = board
        if asked.key is None or not self._terms.boards.is_shared:
            published = await board.publish(
                asked.model,
                correlation_id=asked.workflow,
                tags=asked.tags,
                visibility=asked.visibility,
            )
        else:
            published = await board.store.published_as(asked.key)
            if published is not None:
                self._find(published)
            else:
                published = await board.publish(
                    asked.model,
                    correlation_id=asked.workflow,
                    tags=asked.tags,
                    visibility=asked.visibility,
                    idempotency_key=asked.key,
                )
        self._reads(board.store, published)
        if self._found is not None:
            self._early = await _recorded(board.store, self.workflow)

    def _find(self, published: Artifact) -> None:
        """Go on with what was published under the same id before.

        Raises:
            RequestConflict: That was something else.
        """
        if published.correlation_id != self.asked.workflow:
            raise RequestConflict(conflict(self.asked.id))
        self._found = published

    def _reads(self, store: BlackboardStore, published: Artifact) -> None:
        self.workflow = published.correlation_id
        self.outputs = Outputs(store, self.workflow, self._terms.types, published.key)
        self._published.set_result(None)

    async def _cut_short(self, why: Early) -> tuple[Early, str]:
        """Cancel what was begun; return why, and write that down if anybody may ask again."""
        reason = "it was cancelled"
        if why == "timed_out":
            reason = f"it did not end within its timeout of {self.asked.timeout:g} seconds"
        if self.board is None:
            return why, f"{reason}, before it had begun"
        await self.board.cancel(self.workflow)
        if self.asked.key is not None and self._terms.boards.is_shared:
            at = as_datetime(self._clock.time())
            await write_down(self.board, logged(RequestEnded(at, self.workflow, why, reason)))
        return why, reason

    # --- what came of it ---

    async def _assessed(self) -> Record:
        """Say what came of it."""
        asked, board, outputs = self.asked, self.board, self.outputs
        if board is None or outputs is None:
            assert self._early is not None
            return Record(asked.id, self._early[0], self.workflow, self._early[1])
        types = await outputs.types()
        letters = await board.store.dead_letters(self.workflow)
        doing = await board.status(self.workflow)
        spent = await board.spent(self.workflow)
        status, reason = self._early or self._verdict(types, letters, doing)
        return Record(
            id=asked.id,
            status=status,
            correlation_id=self.workflow,
            reason=reason,
            letters=tuple(letters),
            waiting=doing.waiting,
            usage=spent.models,
            elapsed=await self._elapsed(board.store),
        )

    def _verdict(
        self, seen: set[str], letters: list[DeadLetter], doing: WorkflowStatus
    ) -> tuple[Status, str | None]:
        if doing.state in {"cancelled", "timed_out"}:  # by others than this request
            how = "cancelled" if doing.state == "cancelled" else "ended at its deadline"
            return cast("Early", doing.state), f"workflow {self.workflow!r} was {how} on its board"
        missing = sorted(set(self._terms.types) - seen)
        is_there = not missing or (self._terms.success == "any" and bool(seen))
        if is_there and not (letters and self._terms.success == "clean"):
            return "succeeded", None
        reason = f"there is no output of type {', '.join(map(repr, missing))}"
        if letters:
            return "failed", reason
        if doing.waiting and self._terms.boards.is_shared:
            return "waiting", f"{reason} yet, and {doing.waiting} inputs wait in it"
        if doing.waiting:
            reason += (
                f", and {doing.waiting} inputs wait in vain on the board of the request, which "
                "ends with it; isolation='shared' lets what waits go on later"
            )
        elif doing.artifacts == 1:
            reason += (
                "; nobody made anything of the input, so see which agents consume it and may read "
                f"what is visible as {self.asked.visibility or 'Public'!r}"
            )
        return "failed", reason

    async def _elapsed(self, store: BlackboardStore) -> float:
        if self._found is None:
            return self._clock.time() - self._began
        assert self.outputs is not None
        last = await self.outputs.last()
        return 0.0 if last is None else max(0.0, last.created - self._found.created)


async def _recorded(store: BlackboardStore, workflow: str) -> tuple[Early, str] | None:
    """Return why a workflow was cut short, if it was."""
    after = 0
    while entries := await store.log(workflow, limit=100, after=after):
        for entry in entries:
            ended = event_as(entry, RequestEnded)
            if ended is not None:
                return ended.status, ended.reason
        after = entries[-1].number
    return None


def conflict(request_id: str) -> str:
    """Say that an id was used for something else."""
    return (
        f"under the id {request_id!r} something else was asked before; give each request an id of "
        "its own, and the same one only to ask the same thing again"
    )
