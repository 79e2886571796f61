"""The tools of one run, and how many calls it has left."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from flock.core.deltas import ToolCalled
from flock.core.tool import DEFAULT_TOOL_CALLS, ToolAnswer
from flock.errors import EngineError
from flock.tools.groups import root_cause

if TYPE_CHECKING:
    from flock.core.agent import Agent
    from flock.core.context import Context
    from flock.core.tool import Tool, ToolResource
    from flock.engines.chat import ToolRequest

_SHOWN: Final = 100
"""Characters of an unknown name that are said again."""


class ToolBox:
    """The tools that one run may call, and a bound on the calls.

    Args:
        tools: The tools.
        max_calls: How many calls one run may make in all, refused ones included; the boxes of
            its several model calls count together.
        resources: What the model is given to read beside its inputs.

    Attributes:
        resources: What the model is given to read beside its inputs.
        calls: How many calls the run has made, as far as this box knows.

    Raises:
        EngineError: Two tools have the same name.
    """

    def __init__(
        self,
        tools: Iterable[Tool],
        max_calls: int = DEFAULT_TOOL_CALLS,
        resources: Iterable[ToolResource] = (),
    ) -> None:
        self._tools: dict[str, Tool] = {}
        for tool in tools:
            other = self._tools.setdefault(tool.name, tool)
            if other is not tool:
                msg = (
                    f"two tools are called {tool.name!r}: {other!r} and {tool!r}; rename one, or "
                    "give their MCP server a prefix="
                )
                raise EngineError(msg)
        self.resources = tuple(resources)
        self.max_calls = max_calls
        self.calls = 0

    @property
    def tools(self) -> tuple[Tool, ...]:
        """The tools, in the order they were declared."""
        return tuple(self._tools.values())

    @property
    def left(self) -> int:
        """How many calls there may be yet."""
        return max(0, self.max_calls - self.calls)

    @property
    def specs(self) -> list[dict[str, Any]]:
        """The tools as functions of the chat completions API."""
        return [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": dict(tool.parameters),
                },
            }
            for tool in self._tools.values()
        ]

    async def answer(
        self, requests: Sequence[ToolRequest], ctx: Context | None = None
    ) -> list[ToolAnswer]:
        """Make the calls that one answer of a model asks for, side by side.

        Never raises for a call that fails: the model is told. Requests over the bound are
        answered with an error, the first ones in order are made.

        Args:
            requests: What the model asked for.
            ctx: The run's context.

        Returns:
            An answer to each request, in their order.

        Raises:
            CancelledError: The run was cancelled; so are the calls.
        """
        if ctx is not None:
            self.calls = ctx.tool_calls
        allowed = self.left
        self.calls += len(requests)
        if ctx is not None:
            ctx.tool_calls = self.calls
        if len(requests) == 1:
            return [await self._one(requests[0], ctx, is_allowed=allowed > 0)]
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._one(request, ctx, is_allowed=place < allowed))
                for place, request in enumerate(requests)
            ]
        return [task.result() for task in tasks]

    async def _one(
        self, request: ToolRequest, ctx: Context | None, *, is_allowed: bool
    ) -> ToolAnswer:
        if not is_allowed:
            msg = (
                f"No more tools may be called: all {self.max_calls} calls of this run are used. "
                "Answer with what you know."
            )
            return _refused(request, msg, ctx)
        tool = self._tools.get(request.name)
        if tool is None:
            known = ", ".join(map(repr, self._tools)) or "none"
            msg = f"There is no tool {request.name[:_SHOWN]!r}; there are: {known}"
            return _refused(request, msg, ctx)
        return await tool.call(request.arguments, ctx)


def _refused(request: ToolRequest, words: str, ctx: Context | None) -> ToolAnswer:
    if ctx is not None:
        ctx.emit(ToolCalled(request.name[:_SHOWN], {}, 0.0, words))
    return ToolAnswer(words, is_error=True)


async def toolbox_of(agent: Agent) -> ToolBox:
    """Return the tools of an agent for one run, those of its MCP servers as they are now.

    Connects to servers that nobody asked yet on this board.

    Raises:
        EngineError: A server cannot be reached (`ServerUnavailable`), or two tools have the
            same name.
    """
    sources = agent.tool_sources
    if not sources:
        return ToolBox(agent.tools, agent.max_tool_calls)
    try:
        async with asyncio.TaskGroup() as group:
            tools = [group.create_task(source.tools()) for source in sources]
            resources = [group.create_task(source.resources()) for source in sources]
    except ExceptionGroup as failures:
        raise root_cause(failures) from None
    return ToolBox(
        (*agent.tools, *(tool for task in tools for tool in task.result())),
        agent.max_tool_calls,
        (document for task in resources for document in task.result()),
    )
