"""What is the memory store's own; what every store promises is in `tests/contract`."""

import asyncio
from collections.abc import AsyncIterator

from flock.core.artifacts import Artifact, new_key
from flock.core.delivery import Delivery, Run
from flock.store.memory import InMemoryBlackboardStore
from flock.store.protocol import Commit
from tests.unit.support import T0, A, artifact, subscription, turns


async def test_making_one_needs_no_event_loop_and_its_repr_counts() -> None:
    store = InMemoryBlackboardStore()
    made = artifact(A())
    await store.commit(Commit([made], [Delivery(made, subscription(A))]))
    assert repr(store) == "InMemoryBlackboardStore(1 artifacts, 1 open)"


def test_it_serves_one_event_loop_after_another() -> None:
    store = InMemoryBlackboardStore()

    async def publish(n: int) -> list[int]:
        await store.open()
        await store.commit(Commit([artifact(A(n=n))]))
        numbers = [it.payload["n"] for it in await store.list()]
        await store.close()
        return numbers

    assert [asyncio.run(publish(n)) for n in range(3)] == [[0], [0, 1], [0, 1, 2]]


async def test_a_commit_is_one_step_of_the_event_loop() -> None:
    store, steps = InMemoryBlackboardStore(), list[int]()

    async def look() -> None:
        while True:
            steps.append(len(await store.list()))
            await asyncio.sleep(0)

    watcher = asyncio.create_task(look())
    await turns(3)
    await store.commit(Commit([artifact(A()) for _ in range(1500)]))
    await turns(3)
    watcher.cancel()
    await asyncio.wait([watcher])
    assert set(steps) == {0, 1500}


async def test_consumptions_are_found_whenever_they_are_asked_for() -> None:
    store = InMemoryBlackboardStore()
    made = [artifact(A(n=n)) for n in range(3)]
    await store.commit(Commit(made))
    for round_ in range(1, 4):
        for it in made:
            await store.commit(Commit(run=Run(new_key(T0), "amy", None, (), [it])))
        assert [len(await store.consumptions(it.id)) for it in made] == [round_] * 3


async def test_a_watcher_that_waits_is_ended_by_closing() -> None:
    store = InMemoryBlackboardStore()
    watcher = store.watch()
    reader = asyncio.create_task(drained(watcher))
    await turns()
    assert not reader.done()
    await store.close()
    assert await reader == 0


async def drained(watcher: AsyncIterator[Artifact]) -> int:
    count = 0
    async for _ in watcher:
        count += 1
    return count


async def test_a_watcher_that_was_closed_sees_nothing_more() -> None:
    store = InMemoryBlackboardStore()
    watcher = store.watch()
    close = getattr(watcher, "aclose")  # noqa: B009 - an AsyncIterator need not have one
    await close()
    await store.commit(Commit([artifact(A())]))
    assert [it async for it in watcher] == []


async def test_a_watcher_that_was_dropped_is_forgotten() -> None:
    import gc

    store = InMemoryBlackboardStore()
    watcher = store.watch()
    del watcher
    gc.collect()
    await store.commit(Commit([artifact(A())]))
    assert not store._watchers
