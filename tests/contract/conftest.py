"""Runs every test of this folder once for each store."""

from collections.abc import AsyncIterator

import pytest

from flock.store.protocol import BlackboardStore
from tests.contract.stores import FACTORIES, Factory


@pytest.fixture(params=list(FACTORIES))
def factory(request: pytest.FixtureRequest) -> Factory:
    return FACTORIES[request.param]


@pytest.fixture
async def store(factory: Factory) -> AsyncIterator[BlackboardStore]:
    async with factory() as opened:
        yield opened
