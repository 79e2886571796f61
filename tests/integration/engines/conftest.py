"""One engine suite, every kind of model."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from tests.integration.engines import schemas
from tests.integration.engines.chat_server import ChatServer
from tests.integration.engines.factories import FACTORIES, EngineFactory

_KINDS = [
    pytest.param(name, marks=pytest.mark.local_model) if name == "local" else name
    for name in FACTORIES
]


@pytest.fixture(params=_KINDS)
async def make_engine(request: pytest.FixtureRequest) -> AsyncGenerator[EngineFactory]:
    async with FACTORIES[request.param]([*schemas.EVERY, schemas.Address]) as make:
        yield make


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[ChatServer]:
    for name in ("OPENAI_API_KEY", "OPENAI_API_BASE", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    async with ChatServer(*schemas.EVERY, schemas.Address) as chat_server:
        yield chat_server
