"""The kinds of models that the engine suite runs against; add a factory for another one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from pydantic import BaseModel

from flock import DSPyEngine
from tests.integration.engines.chat_server import ChatServer, Exchange, good
from tests.models import pulled

EngineFactory = Callable[..., DSPyEngine]
"""Makes an engine of options, whose model can answer with the types of the suite."""

Opened = Callable[[Sequence[type[BaseModel]]], AbstractAsyncContextManager[EngineFactory]]


@asynccontextmanager
async def offline(types: Sequence[type[BaseModel]]) -> AsyncGenerator[EngineFactory]:
    """The model that samples the types."""
    del types

    def make(**options: Any) -> DSPyEngine:
        return DSPyEngine("test", **options)

    yield make


@asynccontextmanager
async def server(types: Sequence[type[BaseModel]]) -> AsyncGenerator[EngineFactory]:
    """A server that keeps schemas."""
    async with ChatServer(*types) as chat_server:

        def make(**options: Any) -> DSPyEngine:
            return DSPyEngine("openai/any", api_base=chat_server.url, **options)

        yield make


@asynccontextmanager
async def old_server(types: Sequence[type[BaseModel]]) -> AsyncGenerator[EngineFactory]:
    """A server that knows no schemas: it refuses to be asked with one."""

    async def act(exchange: Exchange) -> None:
        exchange.server.acts.append(act)
        if "response_format" in exchange.body:
            await exchange.fail(400, "Unrecognized request argument: response_format")
        else:
            await good(exchange)

    async with ChatServer(*types) as chat_server:
        chat_server.acts.append(act)

        def make(**options: Any) -> DSPyEngine:
            return DSPyEngine("openai/any", api_base=chat_server.url, **options)

        yield make


@asynccontextmanager
async def local(types: Sequence[type[BaseModel]]) -> AsyncGenerator[EngineFactory]:
    """A small model inside the process."""
    del types
    name = await asyncio.to_thread(pulled)

    def make(**options: Any) -> DSPyEngine:
        options = {"temperature": 0.0, "max_tokens": 512} | options
        return DSPyEngine(name, **options)

    yield make


FACTORIES: dict[str, Opened] = {
    "test": offline,
    "server": server,
    "server without schemas": old_server,
    "local": local,
}
