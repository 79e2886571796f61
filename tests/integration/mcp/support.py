"""Boards with real MCP servers, and an engine that calls tools as a model's loop does."""

import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
from pydantic import BaseModel

from flock import (
    Agent,
    Context,
    EngineComponent,
    EvalInputs,
    Flock,
    MCPServer,
    OutputGroup,
    ToolAnswer,
    ToolBox,
    toolbox_of,
)
from flock.engines.chat import ToolRequest

SERVERS = Path(__file__).parent / "servers"


class Ask(BaseModel):
    tool: str
    arguments: dict[str, Any] = {}


class Told(BaseModel):
    text: str
    is_error: bool = False


class Caller(EngineComponent):
    """Calls the tool that the input names."""

    async def evaluate(
        self, agent: Agent, ctx: Context, inputs: EvalInputs, output_group: OutputGroup
    ) -> Told:
        ask = inputs.first_as(Ask)
        assert ask is not None
        box = await toolbox_of(agent)
        [answer] = await box.answer([ToolRequest("1", ask.tool, json.dumps(ask.arguments))], ctx)
        return Told(text=answer.text, is_error=answer.is_error)


def stdio(script: str = "good", *args: str, name: str = "files", **options: Any) -> MCPServer:
    """Declare one of the servers beside this file, started as a process."""
    return MCPServer.stdio(name, sys.executable, [str(SERVERS / f"{script}.py"), *args], **options)


def agent_of(flock: Flock, *servers: MCPServer, name: str = "caller", **options: Any) -> Agent:
    """Declare an agent that calls the tools of servers."""
    builder = flock.agent(name).consumes(Ask).publishes(Told).with_engines(Caller())
    return builder.with_mcps(servers, **options).agent


class Desk:
    """Calls tools of one agent by hand."""

    def __init__(self, flock: Flock, agent: Agent) -> None:
        self.flock = flock
        self.agent = agent

    async def box(self) -> ToolBox:
        return await toolbox_of(self.agent)

    async def names(self) -> list[str]:
        return [tool.name for tool in (await self.box()).tools]

    async def ask(self, name: str, /, **arguments: Any) -> ToolAnswer:
        box = await self.box()
        [answer] = await box.answer([ToolRequest("1", name, json.dumps(arguments))])
        return answer

    async def text(self, name: str, /, **arguments: Any) -> str:
        answer = await self.ask(name, **arguments)
        assert not answer.is_error, answer.text
        return answer.text

    async def error(self, name: str, /, **arguments: Any) -> str:
        answer = await self.ask(name, **arguments)
        assert answer.is_error, answer.text
        return answer.text


@asynccontextmanager
async def desk(
    *servers: MCPServer, flock: Flock | None = None, **options: Any
) -> AsyncGenerator[Desk]:
    """Open a board with one agent of these servers; no process is left behind it."""
    flock = flock if flock is not None else Flock()
    agent = agent_of(flock, *servers, **options)
    async with flock:
        yield Desk(flock, agent)
    assert children() == []


def children() -> list[psutil.Process]:
    """Return the processes that this one has started and that go on."""
    return psutil.Process().children(recursive=True)
