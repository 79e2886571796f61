import asyncio
from typing import cast

import pytest

from flock import StoreError, StoreFull
from flock.orchestrator.events import EventBus
from flock.orchestrator.patience import Patience
from flock.store.memory import InMemoryBlackboardStore
from flock.store.protocol import BlackboardStore, Commit
from flock.testing import ManualClock


class OutOfOrder:
    """A store that fails as often as it is told."""

    def __init__(self, *errors: StoreError) -> None:
        self.errors = list(errors)
        self.tries = 0

    async def commit(self, commit: Commit) -> None:
        self.tries += 1
        if self.errors:
            raise self.errors.pop(0)
        commit.is_done = True


def unheard() -> EventBus:
    return EventBus(InMemoryBlackboardStore(), ManualClock().time)


def patient(store: OutOfOrder) -> Patience:
    return Patience(cast("BlackboardStore", store), ManualClock(autojump=True), unheard())


async def test_a_commit_is_tried_again_until_there_is_room() -> None:
    store = OutOfOrder(*[StoreFull("full")] * 4)
    waits: list[int] = []
    patience = patient(store)
    commit = Commit()
    await patience.commit(commit, lambda: waits.append(store.tries))
    assert commit.is_done
    assert waits == [1, 2, 3, 4]
    assert not patience.is_tried


async def test_what_never_can_be_true_fails_at_once() -> None:
    store = OutOfOrder(StoreError("it was closed already"))
    with pytest.raises(StoreError, match="closed already"):
        await patient(store).commit(Commit())
    assert store.tries == 1


async def test_all_commits_share_the_patience_until_one_succeeds() -> None:
    store = OutOfOrder(*[StoreFull("full")] * 10)
    patience = patient(store)
    with pytest.raises(StoreFull):
        await patience.commit(Commit())
    assert store.tries == 9
    with pytest.raises(StoreFull):
        await patience.commit(Commit())
    assert store.tries == 10
    assert patience.is_tried
    await patience.commit(Commit())
    assert not patience.is_tried
    store.errors.append(StoreFull("full"))
    await patience.commit(Commit())
    assert store.tries == 13


async def test_who_waits_can_be_cancelled() -> None:
    store = OutOfOrder(*[StoreFull("full")] * 4)
    patience = Patience(cast("BlackboardStore", store), ManualClock(), unheard())
    waiting = asyncio.ensure_future(patience.commit(Commit()))
    while not store.tries:  # noqa: ASYNC110
        await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert store.tries == 1
