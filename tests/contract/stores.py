"""The stores that the suite runs against. A new store adds its factory here, and nothing else."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from flock.store.memory import InMemoryBlackboardStore
from flock.store.protocol import BlackboardStore
from flock.store.sqlite import SQLiteBlackboardStore

Factory = Callable[[], AbstractAsyncContextManager[BlackboardStore]]
"""Opens an empty store and takes it away again, with all that it left behind."""


@asynccontextmanager
async def memory() -> AsyncGenerator[BlackboardStore]:
    store = InMemoryBlackboardStore()
    await store.open()
    yield store
    await store.close()


@asynccontextmanager
async def sqlite() -> AsyncGenerator[BlackboardStore]:
    with TemporaryDirectory() as folder:
        store = SQLiteBlackboardStore(Path(folder) / "board.db")
        await store.open()
        yield store
        await store.close()


FACTORIES: dict[str, Factory] = {"memory": memory, "sqlite": sqlite}
