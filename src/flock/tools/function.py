"""Functions as tools."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from flock.core.hints import innermost, without_partials
from flock.core.spans import Span, seconds
from flock.errors import DeclarationError
from flock.tools.answers import MAX_CHARS, answer_of
from flock.tools.arguments import Arguments
from flock.tools.guarded import GuardedTool, Prepared, checked_name

if TYPE_CHECKING:
    from types import FrameType

    from flock.core.context import Context
    from flock.core.tool import Approve

P = ParamSpec("P")
R = TypeVar("R")


class FunctionTool(GuardedTool, Generic[P, R]):
    """A function that a model may call; made by `flock_tool` or of what `with_tools` is given.

    It can still be called as the function it was made of, and decorates methods as well: the
    tool is then that of an object, `obj.method`.
    """

    def __init__(
        self,
        function: Callable[P, R],
        *,
        name: str | None = None,
        description: str | None = None,
        timeout: Span | None = None,
        approve: Approve | None = None,
        max_chars: int = MAX_CHARS,
        frame: FrameType | None = None,
    ) -> None:
        if not callable(function) or isinstance(function, type):
            msg = f"a tool is made of a function, not of {function!r}"
            raise DeclarationError(msg)
        given = name if name is not None else getattr(innermost(function), "__name__", None)
        self.name = checked_name(given)
        if description is not None and not isinstance(description, str):
            msg = f"tool {self.name!r}: description takes a text, not {description!r}"
            raise DeclarationError(msg)
        if approve is not None and (not callable(approve) or isinstance(approve, type)):
            msg = f"tool {self.name!r}: approve takes a function, not {approve!r}"
            raise DeclarationError(msg)
        if type(max_chars) is not int or max_chars < 1:
            msg = f"tool {self.name!r}: max_chars is a whole number from 1, not {max_chars!r}"
            raise DeclarationError(msg)
        target = without_partials(function)
        if inspect.isgeneratorfunction(target) or inspect.isasyncgenfunction(target):
            msg = f"tool {self.name!r} is a generator, and a model gets one answer; return a list"
            raise DeclarationError(msg)
        try:
            self.timeout = None if timeout is None else seconds(timeout, "timeout")
        except ValueError as error:
            msg = f"tool {self.name!r}: {error}"
            raise DeclarationError(msg) from None
        self.approvals = () if approve is None else (approve,)
        self.max_chars = max_chars
        self.function = function
        self._description = description
        self._is_async = inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(
            getattr(target, "__call__", None)  # noqa: B004 - a callable object may be async
        )
        self._arguments: Arguments | None = None
        functools.update_wrapper(self, innermost(function), updated=())
        if frame is not None:
            self._read_if_known(frame)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself."""
        return self.function(*args, **kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> FunctionTool[..., R]:
        """Return the tool of a method of one object."""
        bind = getattr(self.function, "__get__", None)
        if instance is None or bind is None:
            return self
        bound: FunctionTool[..., R] = FunctionTool(
            bind(instance, owner),
            name=self.name,
            description=self._description,
            timeout=self.timeout,
            max_chars=self.max_chars,
        )
        bound.approvals = self.approvals
        return bound

    def read(self, frame: FrameType | None = None) -> Arguments:
        """Return what the function takes, read once.

        Raises:
            DeclarationError: A parameter cannot be filled from JSON.
        """
        if self._arguments is None:
            self._arguments = Arguments(self.name, self.function, frame)
        return self._arguments

    def settle(self, frame: FrameType | None) -> None:
        """Read the function, if that is not done yet."""
        self.read(frame)

    @property
    def description(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What it does: as it was said, or the docstring up to its first section."""
        return self._description if self._description is not None else self.read().description

    @property
    def parameters(self) -> dict[str, Any]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """JSON Schema of its arguments."""
        return self.read().schema

    def _read_if_known(self, frame: FrameType) -> None:
        """Read the function where it is decorated, unless a name comes later in its module."""
        try:
            self.read(frame)
        except DeclarationError:
            self._arguments = None  # said again where an agent is given the tool

    def _prepare(self, given: dict[str, Any], ctx: Context | None) -> Prepared:
        args, kwargs, read = self.read().bind(given, ctx)
        function: Callable[..., Any] = self.function

        async def work() -> object:
            if self._is_async:
                return await function(*args, **kwargs)

            def whole() -> object:  # what is made lazily is made in the thread, too
                returned = function(*args, **kwargs)
                return returned if inspect.isawaitable(returned) else answer_of(returned)

            answer = await self._in_thread(whole, ctx)
            while inspect.isawaitable(answer):
                answer = await answer
            return answer

        return Prepared(work, read)


@overload
def flock_tool(function: Callable[P, R], /) -> FunctionTool[P, R]: ...
@overload
def flock_tool(
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: Span | None = None,
    approve: Approve | None = None,
    max_chars: int = MAX_CHARS,
) -> Callable[[Callable[P, R]], FunctionTool[P, R]]: ...
def flock_tool(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: Span | None = None,
    approve: Approve | None = None,
    max_chars: int = MAX_CHARS,
) -> FunctionTool[P, R] | Callable[[Callable[P, R]], FunctionTool[P, R]]:
    """Make a function a tool that models may call, and say more than the function does.

    The model reads what the function does and takes: its docstring in Google style, its
    annotations with their `Field` descriptions and bounds, its defaults. A `Context` parameter
    gets the run's context, and the model does not see it. A parameter with a default whose type
    has no JSON keeps its default. A synchronous function runs in a thread.

    Args:
        function: The function; without options the decorator needs no parentheses.
        name: What the model calls it by; the function's name unless said.
        description: What it does; the docstring unless said.
        timeout: How long a call may take on the board's clock: a `timedelta` or seconds. A
            minute unless the tool or the agent says. A synchronous function is given up, but
            cannot be stopped.
        approve: Called as `approve(tool, arguments, ctx)` before each call, sync (in a thread)
            or async. Only True lets the call through; False refuses it, and a text refuses it
            with that reason. One that raises refuses, too.
        max_chars: How many characters of the answer the model is told.

    Raises:
        DeclarationError: A model could not call it.
    """
    here = inspect.currentframe()
    frame = None if here is None else here.f_back

    def tool_of(given: Callable[P, R]) -> FunctionTool[P, R]:
        return FunctionTool(
            given,
            name=name,
            description=description,
            timeout=timeout,
            approve=approve,
            max_chars=max_chars,
            frame=frame,
        )

    return tool_of if function is None else tool_of(function)
