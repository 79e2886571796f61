"""The stores that the suite runs against. A new store adds its factory here, and nothing else."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from flock.store.memory import InMemoryBlackboardStore
from flock.store.protocol import BlackboardStore

Factory = Callable[[], AbstractAsyncContextManager[BlackboardStore]]
"""Opens an empty store and takes it away again, with all that it left behind."""


@asynccontextmanager
async def memory() -> AsyncGenerator[BlackboardStore]:
    store = InMemoryBlackboardStore()
    await store.open()
    yield store
    await store.close()


FACTORIES: dict[str, Factory] = {"memory": memory}
