"""A tool whose calls are checked, approved, bounded, and told to observers."""

from __future__ import annotations

import asyncio
import copy
import inspect
import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from flock.clock import SystemClock
from flock.core.agent import failure_of
from flock.core.deltas import ToolCalled
from flock.core.tool import ToolAnswer
from flock.engines.threads import ThreadPool
from flock.errors import DeclarationError
from flock.tools.answers import MAX_CHARS, answer_of, told
from flock.tools.arguments import Refused, parse_arguments
from flock.tools.deadline import deadline

if TYPE_CHECKING:
    from types import FrameType

    from opentelemetry.trace import Span as TraceSpan

    from flock.core.context import Context
    from flock.core.tool import Approve

logger = logging.getLogger(__name__)

DEFAULT_TIMEOUT: Final = 60.0
"""Seconds that a call may take unless the tool or the agent says otherwise."""
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
"""What the chat completions API takes as the name of a function."""
_MAX_ERROR: Final = 2000
"""Characters of an exception's message that the model is told."""


class Prepared(NamedTuple):
    """A call whose arguments are right.

    Attributes:
        work: Makes the call.
        read: The arguments as the call takes them, as JSON: who approves is asked about these.
    """

    work: Callable[[], Awaitable[object]]
    read: dict[str, Any]


class GuardedTool(ABC):
    """What all tools have in common: one call, from the model's text to the answer.

    Attributes:
        name: What the model calls it by.
        description: What it does.
        parameters: JSON Schema of its arguments.
        timeout: Seconds that a call may take; `DEFAULT_TIMEOUT` if None.
        approvals: Who is asked before each call, in order; all have to say True.
        max_chars: How many characters of an answer the model is told.
        threads: Where synchronous functions run; threads of its own if None.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    timeout: float | None = None
    approvals: tuple[Approve, ...] = ()
    max_chars: int = MAX_CHARS
    threads: ThreadPool | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    @abstractmethod
    def _prepare(self, given: dict[str, Any], ctx: Context | None) -> Prepared:
        """Check the arguments and return what makes the call.

        Raises:
            Refused: They are wrong.
            Exception: Whatever the user's own validation raised.
        """

    def settle(self, frame: FrameType | None) -> None:
        """Read what is not read yet of the declaration; `frame` is the call under way.

        Raises:
            DeclarationError: A model could not call it.
        """
        del frame

    def guarded(self, threads: ThreadPool, approve: Approve | None, timeout: float | None) -> Self:
        """Return the same tool for one agent.

        Args:
            threads: Where synchronous functions run.
            approve: Is asked besides, after the tool's own.
            timeout: Bounds a call in seconds, unless the tool says how long it may take.
        """
        mine = copy.copy(self)
        mine.threads = threads
        mine.approvals = (*self.approvals, *([approve] if approve is not None else []))
        mine.timeout = self.timeout if self.timeout is not None else timeout
        return mine

    async def call(
        self, arguments: str | Mapping[str, object], ctx: Context | None = None
    ) -> ToolAnswer:
        """Call it as a model asked.

        The call is refused with words for the model when the arguments are no JSON or do not
        fit the schema, and when `approve` does not say True. What the tool raises is told to
        the model by class and message, and logged. Observers get a `ToolCalled`.

        Args:
            arguments: JSON text of one object, as the model wrote it, or the object.
            ctx: The run's context; None outside a run.

        Returns:
            The answer, or the error as the model is to read it.

        Raises:
            CancelledError: The run was cancelled.
        """
        clock = ctx.clock if ctx is not None else SystemClock()
        started = clock.time()
        given: dict[str, Any] = {}
        with _span(self.name) as span:
            try:
                given = parse_arguments(arguments)
                work, read = self._prepare(given, ctx)
                await self._be_approved(read, ctx)
                answer = await self._answer(work, ctx)
            except Refused as refusal:
                answer = ToolAnswer(str(refusal), is_error=True)
            except Exception as error:  # noqa: BLE001 - of the user's validation
                answer = self._failed(error, ctx)
            answer = told(answer, self.max_chars)
            if answer.is_error:
                _mark_failed(span, answer.text)
            if ctx is not None:
                error = answer.text if answer.is_error else None
                ctx.emit(ToolCalled(self.name, given, clock.time() - started, error))
        return answer

    async def _answer(
        self, work: Callable[[], Awaitable[object]], ctx: Context | None
    ) -> ToolAnswer:
        clock = ctx.clock if ctx is not None else SystemClock()
        span = self.timeout if self.timeout is not None else DEFAULT_TIMEOUT
        scope: asyncio.Timeout | None = None
        try:
            async with deadline(clock, span) as scope:
                return answer_of(await work())
        except BaseException as raised:
            if isinstance(raised, TimeoutError) and scope is not None and scope.expired():
                logger.warning("Tool %r did not answer within %g seconds", self.name, span)
                msg = f"{self.name!r} did not answer within {span:g} seconds, and was given up."
                return ToolAnswer(msg, is_error=True)
            if isinstance(raised, Refused):
                raise
            failure = failure_of(raised, f"tool {self.name!r}")
            if failure is None:
                raise
            return self._failed(failure, ctx)

    def _failed(self, failure: Exception, ctx: Context | None) -> ToolAnswer:
        who = ctx.agent_identity.name if ctx is not None else ""
        logger.warning("Tool failed: tool=%s, agent=%s", self.name, who, exc_info=failure)
        words = str(failure)
        words = words if len(words) <= _MAX_ERROR else f"{words[:_MAX_ERROR]}..."
        return ToolAnswer(f"{type(failure).__name__}: {words}", is_error=True)

    async def _be_approved(self, given: dict[str, Any], ctx: Context | None) -> None:
        """Ask everybody who has to approve; a predicate that raises has not.

        Raises:
            Refused: One did not say True.
        """
        for approve in self.approvals:
            asked = copy.deepcopy(given)  # what is approved is what is called with
            try:
                if inspect.iscoroutinefunction(approve):
                    said: object = await approve(self, asked, ctx)
                else:
                    said = await self._in_thread(approve, ctx, self, asked, ctx)
                    if inspect.isawaitable(said):
                        said = await said
            except BaseException as raised:
                failure = failure_of(raised, f"approve of tool {self.name!r}")
                if failure is None:
                    raise
                logger.exception("Approving a call of tool %r failed", self.name)
                msg = f"The call of {self.name!r} was refused: it could not be approved."
                raise Refused(msg) from None
            if said is True:
                continue
            if isinstance(said, str) and said:
                msg = f"The call of {self.name!r} was refused: {said}"
                raise Refused(msg)
            if said is not False:
                logger.error(
                    "approve of tool %r returned %r, and only True lets a call through; return "
                    "True, False, or the reason as a text",
                    self.name,
                    said,
                )
            msg = f"The call of {self.name!r} was refused. Go on without it."
            raise Refused(msg)

    async def _in_thread(
        self, fn: Callable[..., Any], ctx: Context | None, *args: object, **kwargs: object
    ) -> object:
        """Call a synchronous function in a thread, while a clock that jumps waits for it."""
        clock = ctx.clock if ctx is not None else SystemClock()
        with clock.working():
            if self.threads is not None:
                return await self.threads.call(fn, *args, **kwargs)
            threads = ThreadPool()  # a tool that is called by hand, without a board
            try:
                return await threads.call(fn, *args, **kwargs)
            finally:
                threads.close()


def checked_name(name: object) -> str:
    """Return the name of a tool that a model can call.

    Raises:
        DeclarationError: No model's API takes it.
    """
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        msg = (
            f"a tool cannot be called {name!r}: models take 1 to 64 of a-z, A-Z, 0-9, _ and -; "
            "name it with flock_tool(name=...)"
        )
        raise DeclarationError(msg)
    return name


def is_name(name: str) -> bool:
    """Return whether a model can call a tool by this name."""
    return _NAME.fullmatch(name) is not None


def _span(name: str) -> Any:  # noqa: ANN401 - a context manager of a span
    """Open a span around one call; without an SDK this is a no-op.

    The names are those of https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/.
    """
    from opentelemetry import trace

    return trace.get_tracer(__name__).start_as_current_span(
        f"execute_tool {name}",
        attributes={"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name},
    )


def _mark_failed(span: TraceSpan, words: str) -> None:
    from opentelemetry.trace import StatusCode

    span.set_attribute("error.type", "tool_error")
    span.set_status(StatusCode.ERROR, words[:200])
