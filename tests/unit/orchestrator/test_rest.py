"""Rest tells who waits for a workflow when nothing of it can happen any more."""

import asyncio

import pytest

from flock.errors import NotIdle
from flock.orchestrator.idle import Idle
from flock.orchestrator.rest import Rest
from tests.acceptance.support import turns


def made(due: set[str]) -> tuple[Idle, Rest]:
    idle = Idle(lambda: None, lambda workflow: rest.on_zero(workflow))
    rest = Rest(idle, due.__contains__)
    return idle, rest


async def test_a_workflow_with_nothing_open_is_at_rest_at_once() -> None:
    _, rest = made(set())
    await rest.wait("w")
    assert not rest.is_awaited


async def test_it_waits_for_what_is_open_of_its_own_workflow() -> None:
    idle, rest = made(set())
    idle.begin("other")
    idle.begin("w")
    task = asyncio.ensure_future(rest.wait("w"))
    await turns(3)
    assert not task.done()
    idle.end("w")
    idle.begin("w")  # in the same turn: it only seemed to end
    await turns(3)
    assert not task.done()
    idle.end("w")
    await task
    assert not rest.is_awaited
    assert not rest._waiters


async def test_it_waits_for_what_falls_due_until_something_ends() -> None:
    due = {"w"}
    idle, rest = made(due)
    task = asyncio.ensure_future(rest.wait("w"))
    await turns(3)
    idle.begin("other")
    idle.end("other")
    await turns(3)
    assert not task.done()
    due.clear()
    idle.begin("other")
    idle.end("other")
    await task


async def test_what_another_workflow_has_open_holds_it() -> None:
    idle, rest = made(set())
    idle.hold("w")
    task = asyncio.ensure_future(rest.wait("w"))
    await turns(3)
    assert not task.done()
    assert idle.total == 0
    idle.let_go("w")
    await task
    idle.let_go("w")  # of a board that was opened anew since
    assert idle.open_in("w") == 0


async def test_several_wait_and_one_who_is_cancelled_takes_nothing_from_the_others() -> None:
    idle, rest = made(set())
    idle.begin("w")
    one, two = (asyncio.ensure_future(rest.wait("w")) for _ in range(2))
    await turns(3)
    one.cancel()
    await turns(3)
    assert rest.is_awaited
    idle.end("w")
    await two


async def test_a_board_that_closes_tells_who_waits() -> None:
    idle, rest = made(set())
    idle.begin("w")
    task = asyncio.ensure_future(rest.wait("w"))
    await turns(3)
    rest.fail(NotIdle("closed"))
    with pytest.raises(NotIdle):
        await task
