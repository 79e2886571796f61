"""The outputs of a request, one by one as they are committed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Self

from flock.errors import NotIdle
from flock.orchestrator.application.result import may_read
from flock.orchestrator.events import ArtifactPublished

if TYPE_CHECKING:
    from types import TracebackType

    from flock.core.artifacts import Artifact
    from flock.core.visibility import AgentIdentity
    from flock.orchestrator.application.outputs import Outputs
    from flock.orchestrator.application.request import Request
    from flock.orchestrator.application.result import Result
    from flock.orchestrator.flock import Flock


class RequestStream:
    """The outputs of a request as they appear: an async iterator, and a context manager.

    The request begins with the first step. It reads from the board when it is asked, so that a
    slow reader holds up nobody and nothing piles up. Leaving the context, `aclose()`, or
    dropping a stream that has not ended cancels the request; leaving waits for that.
    """

    def __init__(
        self,
        ask: Callable[[], Awaitable[Request]],
        principal: AgentIdentity | None,
        now: Callable[[], float],
    ) -> None:
        self._ask = ask
        self._principal = principal
        self._now = now
        self._request: Request | None = None
        self._outputs: Outputs | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._page: deque[Artifact] = deque()
        self._offset = 0
        self._result: Result | None = None
        self._is_closed = False

    @property
    def result(self) -> Result:
        """What came of the request, without the outputs, which were yielded.

        Raises:
            NotIdle: The stream has not ended, or was left early.
        """
        if self._result is None:
            msg = "the stream has no result yet; iterate it to its end first"
            raise NotIdle(msg)
        return self._result

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Artifact:
        if self._is_closed:
            raise StopAsyncIteration
        request = await self._begun()
        try:
            while True:
                while self._page:
                    output = self._page.popleft()
                    if may_read(self._principal, output, self._now()):
                        return output
                if not await self._read(request):
                    break
            self._result = request.ended.result().seen_by(self._principal, (), self._now())
        except asyncio.CancelledError:
            await self.aclose()
            raise
        except BaseException:
            self._leave()
            raise
        self._leave()
        raise StopAsyncIteration

    async def _begun(self) -> Request:
        if self._request is None:
            self._loop = asyncio.get_running_loop()
            self._request = await self._ask()
        return self._request

    async def _read(self, request: Request) -> bool:
        """Read on, waiting for more if need be; return whether there was more."""
        while True:
            has_ended = request.ended.done()
            if self._outputs is None:
                self._outputs = request.outputs
            if self._outputs is not None and await self._has_more(self._outputs):
                return True
            if has_ended:
                return False
            if request.board is None or self._outputs is None:
                await request.moved()
            elif await self._hears_of_more(self._outputs, request, request.board):
                return True

    async def _has_more(self, outputs: Outputs) -> bool:
        page, offset = await outputs.page(self._offset)
        has_more = offset > self._offset
        self._page.extend(page)
        self._offset = offset
        return has_more

    async def _hears_of_more(self, outputs: Outputs, request: Request, board: Flock) -> bool:
        """Wait until the workflow goes on or ends; return whether there is something to read.

        It listens only while it waits: what happens between two steps lies on the board.
        """
        events = board.events(request.workflow)

        def ended(_: object) -> None:
            events.end()

        request.ended.add_done_callback(ended)
        try:
            if await self._has_more(outputs):  # it came before anybody listened
                return True
            async for event in events:
                if isinstance(event, ArtifactPublished) and await self._has_more(outputs):
                    return True
        finally:
            request.ended.remove_done_callback(ended)
            await events.aclose()
        return False

    async def aclose(self) -> None:
        """Leave the stream; a request that nobody else waits for is cancelled first."""
        if not self._is_closed and self._request is not None:
            self._is_closed = True
            await self._request.left()
        self._is_closed = True

    def _leave(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            if self._request is not None:
                self._request.leave()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        request = self._request
        if self._is_closed or request is None or self._loop is None or self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(request.leave)
