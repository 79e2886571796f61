"""Turns are given in the order they were asked for, whatever is cancelled."""

from __future__ import annotations

import asyncio
import threading

import pytest

from flock.engines.local.turns import Turns


async def waiting(turns: Turns, order: list[int], number: int) -> None:
    await turns.take()
    order.append(number)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_they_are_given_in_order() -> None:
    turns, order = Turns(1), list[int]()
    await turns.take()
    tasks = [asyncio.create_task(waiting(turns, order, number)) for number in range(3)]
    await settle()

    for done in range(3):
        assert order == list(range(done))
        turns.give()
        await settle()
    await asyncio.gather(*tasks)


async def test_as_many_have_one_at_once_as_there_are() -> None:
    turns = Turns(2)
    await turns.take()
    await turns.take()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await turns.take()


async def test_who_is_cancelled_while_waiting_loses_its_place() -> None:
    turns, order = Turns(1), list[int]()
    await turns.take()
    first, second = (asyncio.create_task(waiting(turns, order, number)) for number in (1, 2))
    await settle()
    first.cancel()
    await settle()
    turns.give()
    await asyncio.wait([first, second])

    assert order == [2]


async def test_a_turn_given_to_who_is_cancelled_then_is_passed_on() -> None:
    turns, order = Turns(1), list[int]()
    await turns.take()
    first, second = (asyncio.create_task(waiting(turns, order, number)) for number in (1, 2))
    await settle()
    turns.give()
    first.cancel()
    await asyncio.wait([first, second])

    assert order == [2]


async def test_a_turn_is_given_from_another_thread() -> None:
    turns = Turns(1)
    await turns.take()
    thread = threading.Thread(target=turns.give)
    thread.start()
    await turns.take()
    thread.join()


def test_a_waiter_whose_loop_has_ended_is_passed_over() -> None:
    turns = Turns(1)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(turns.take())
    abandoned = loop.create_task(turns.take())
    loop.run_until_complete(asyncio.sleep(0))
    abandoned.get_coro().close()
    loop.close()
    turns.give()

    asyncio.run(turns.take())
