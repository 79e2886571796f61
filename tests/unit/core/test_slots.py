"""Slots are served in the order they were asked for, and none is ever lost."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from flock.core.slots import Slots
from tests.unit.support import turns


async def hold(slots: Slots, name: str, log: list[str], release: asyncio.Event) -> None:
    async with slots:
        log.append(name)
        await release.wait()


def test_there_are_as_many_as_the_limit_says() -> None:
    slots = Slots(2)
    assert [slots.take() for _ in range(3)] == [True, True, False]
    slots.give()
    assert slots.take()
    assert slots.used == 2


async def test_waiters_are_served_in_the_order_they_came() -> None:
    slots, log = Slots(1), list[str]()
    releases = [asyncio.Event() for _ in range(4)]
    async with asyncio.TaskGroup() as group:
        for number, release in enumerate(releases):
            group.create_task(hold(slots, str(number), log, release))
        for count, release in enumerate(releases, 1):
            await turns()
            assert log == [str(n) for n in range(count)]
            assert slots.used == 1
            release.set()
    assert slots.used == 0


async def test_nobody_overtakes_a_waiter() -> None:
    slots, log, release = Slots(1), list[str](), asyncio.Event()
    assert slots.take()
    waiter = asyncio.create_task(hold(slots, "waiter", log, release))
    await turns()
    slots.give()
    assert not slots.take(), "the slot is the waiter's already, though it has not run yet"
    await turns()
    assert log == ["waiter"]
    release.set()
    await waiter
    assert slots.used == 0


async def test_a_waiter_that_is_cancelled_is_passed_over() -> None:
    slots, log, release = Slots(1), list[str](), asyncio.Event()
    assert slots.take()
    first = asyncio.create_task(hold(slots, "first", log, release))
    second = asyncio.create_task(hold(slots, "second", log, release))
    await turns()
    first.cancel()
    await turns()
    slots.give()
    await turns()
    assert log == ["second"]
    release.set()
    await second
    assert first.cancelled()
    assert slots.used == 0


async def test_a_waiter_cancelled_as_it_is_served_hands_the_slot_on() -> None:
    slots, log, release = Slots(1), list[str](), asyncio.Event()
    assert slots.take()
    first = asyncio.create_task(hold(slots, "first", log, release))
    second = asyncio.create_task(hold(slots, "second", log, release))
    await turns()
    slots.give()
    first.cancel()
    await turns()
    assert first.cancelled()
    assert log == ["second"]
    release.set()
    await second
    assert slots.used == 0


async def test_the_last_waiter_cancelled_as_it_is_served_gives_the_slot_back() -> None:
    slots, freed = Slots(1), list[int]()
    slots.on_free = lambda: freed.append(slots.used)
    assert slots.take()
    waiter = asyncio.create_task(hold(slots, "waiter", [], asyncio.Event()))
    await turns()
    slots.give()
    waiter.cancel()
    await turns()
    assert slots.used == 0
    assert freed, "whoever starts runs has to learn that a slot is free"


async def test_holders_that_fail_or_are_cancelled_give_their_slot_back() -> None:
    slots = Slots(1)

    async def fail() -> None:
        async with slots:
            raise ValueError

    task = asyncio.create_task(fail())
    await asyncio.wait([task])
    assert isinstance(task.exception(), ValueError)
    assert slots.used == 0
    holder = asyncio.create_task(hold(slots, "x", [], asyncio.Event()))
    await turns()
    assert slots.used == 1
    holder.cancel()
    await asyncio.wait([holder])
    assert slots.used == 0


async def test_it_tells_when_one_is_free() -> None:
    slots, freed = Slots(1), list[int]()
    slots.on_free = lambda: freed.append(slots.used)
    async with slots:
        assert freed == []
    assert freed == [0]


async def test_clearing_forgets_what_a_loop_that_ended_held() -> None:
    slots = Slots(1)
    assert slots.take()
    slots.clear()
    assert slots.used == 0
    assert slots.take()


@given(
    limit=st.integers(1, 3),
    steps=st.lists(
        st.tuples(st.sampled_from(["ask", "release", "cancel", "turn"]), st.integers(0, 9)),
        max_size=40,
    ),
)
def test_whatever_happens_no_slot_is_lost_or_given_twice(
    limit: int, steps: list[tuple[str, int]]
) -> None:
    async def check() -> None:
        slots, log = Slots(limit), list[str]()
        asked: list[tuple[asyncio.Task[None], asyncio.Event]] = []
        holding = 0

        async def work(name: str, release: asyncio.Event) -> None:
            nonlocal holding
            async with slots:
                log.append(name)
                holding += 1
                assert holding <= limit
                try:
                    await release.wait()
                finally:
                    holding -= 1

        for step, number in steps:
            if step == "ask":
                release = asyncio.Event()
                task = asyncio.create_task(work(str(len(asked)), release))
                asked.append((task, release))
            elif step == "turn":
                await turns(number % 3)
            elif asked:
                task, release = asked[number % len(asked)]
                _ = release.set() if step == "release" else task.cancel()
        for _, release in asked:
            release.set()
        if asked:
            await asyncio.wait([task for task, _ in asked])
        if limit == 1:
            assert log == sorted(log, key=int), "served in the order they asked"
        assert slots.used == 0
        assert all(task.cancelled() or task.exception() is None for task, _ in asked)

    asyncio.run(check())
