"""Code knows whether it runs inside an agent or a hook, and of which board."""

import asyncio

from flock.core.delivery import Run
from flock.orchestrator import inside
from tests.unit.support import A, artifact


def test_outside_it_is_nowhere() -> None:
    assert inside.where(object()) is None
    assert inside.current_run(object()) is None


def test_inside_it_knows_board_place_and_run() -> None:
    board, other = object(), object()
    run = Run(1, "amy", None, (), [artifact(A())])
    token = inside.enter(board, "an agent", run)
    try:
        assert inside.where(board) == "an agent"
        assert inside.current_run(board) is run
        assert inside.where(other) is None
        assert inside.current_run(other) is None
    finally:
        inside.leave(token)
    assert inside.where(board) is None


def test_a_hook_is_a_place_without_a_run() -> None:
    board = object()
    token = inside.enter(board, "a hook")
    try:
        assert inside.where(board) == "a hook"
        assert inside.current_run(board) is None
    finally:
        inside.leave(token)


async def test_tasks_started_inside_are_inside_and_others_are_not() -> None:
    board = object()

    async def look() -> str | None:
        await asyncio.sleep(0)
        return inside.where(board)

    before = asyncio.create_task(look())
    token = inside.enter(board, "an agent")
    within = asyncio.create_task(look())
    inside.leave(token)
    assert (await before, await within) == (None, "an agent")


async def test_leaving_goes_back_to_the_place_outside() -> None:
    outer, inner = object(), object()
    first = inside.enter(outer, "outer")
    second = inside.enter(inner, "inner")
    inside.leave(second)
    assert inside.where(outer) == "outer"
    inside.leave(first)
