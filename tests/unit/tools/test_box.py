"""The tools of one run: found by their exact names, side by side, and not too often."""

import asyncio
from typing import Any

import pytest

from flock import Context, EngineError, ToolAnswer, ToolBox, ToolCalled, flock_tool
from flock.core.delivery import Run
from flock.engines.chat import ToolRequest
from tests.unit.support import Host


@flock_tool
async def echo(text: str) -> str:
    """Say it again."""
    return text


@flock_tool
async def fail() -> None:
    """Fail."""
    raise ValueError("broken")


def request(name: str, arguments: str = "{}") -> ToolRequest:
    return ToolRequest("1", name, arguments)


def test_the_specs_are_functions_of_the_chat_api() -> None:
    assert ToolBox([echo]).specs == [
        {
            "type": "function",
            "function": {
                "name": "echo",
                "description": "Say it again.",
                "parameters": {
                    "type": "object",
                    "properties": {"text": {"type": "string"}},
                    "required": ["text"],
                    "additionalProperties": False,
                },
            },
        }
    ]


async def test_answers_come_in_the_order_of_the_requests() -> None:
    first_may_end = asyncio.Event()

    @flock_tool
    async def first() -> str:
        await first_may_end.wait()
        return "first"

    @flock_tool
    async def second() -> str:
        first_may_end.set()  # or neither would end: they run side by side
        return "second"

    box = ToolBox([first, second, fail])
    answers = await box.answer([request("first"), request("second"), request("fail")])
    assert [a.text for a in answers] == ["first", "second", "ValueError: broken"]
    assert [a.is_error for a in answers] == [False, False, True]
    assert box.left == 17


async def test_no_request_is_no_call() -> None:
    box = ToolBox([echo])
    assert await box.answer([]) == []
    assert box.left == 20


@pytest.mark.parametrize(
    "name",
    [
        "Echo",
        "ECHO",
        " echo",
        "echo ",
        "echo\n",
        "\u0435cho",
        "echo\u200b",
        "\uff45cho",
        "",
        "fail",
    ],
)
async def test_only_the_exact_name_finds_a_tool(name: str) -> None:
    [answer] = await ToolBox([echo]).answer([request(name, '{"text": "x"}')])
    assert answer.is_error
    assert answer.text.startswith("There is no tool")
    assert answer.text.endswith("there are: 'echo'")


async def test_calls_over_the_bound_are_refused_in_order() -> None:
    box = ToolBox([echo], max_calls=2)
    requests = [request("echo", f'{{"text": "{n}"}}') for n in range(3)]
    answers = await box.answer(requests)
    assert [a.is_error for a in answers] == [False, False, True]
    assert "all 2 calls of this run are used" in answers[2].text
    [again] = await box.answer(requests[:1])
    assert again.is_error
    assert box.left == 0


async def test_a_call_that_is_refused_counts_too() -> None:
    box = ToolBox([echo], max_calls=1)
    assert [a.is_error for a in await box.answer([request("nothing"), request("echo")])] == [
        True,
        True,
    ]


async def test_observers_are_told_of_tools_that_are_not_there() -> None:
    ctx = Context()
    ctx.host = host = Host()
    ctx.run = object.__new__(Run)
    seen: list[Any] = host.emitted
    await ToolBox([echo], max_calls=1).answer([request("rm -rf"), request("echo")], ctx)
    assert [(type(d), d.tool, d.error is None) for d in seen] == [
        (ToolCalled, "rm -rf", False),
        (ToolCalled, "echo", False),
    ]


def test_two_tools_of_one_name_are_refused() -> None:
    other = flock_tool(name="echo")(lambda: None)
    with pytest.raises(EngineError, match=r"two tools are called 'echo'.*prefix="):
        ToolBox([echo, other])
    assert len(ToolBox([echo, echo]).tools) == 1


async def test_a_cancellation_ends_all_calls() -> None:
    running: set[str] = set()
    both = asyncio.Event()

    async def wait(name: str) -> None:
        running.add(name)
        if len(running) == 2:
            both.set()
        try:
            await asyncio.Event().wait()
        finally:
            running.discard(name)

    box = ToolBox([flock_tool(wait)])
    task = asyncio.create_task(
        box.answer([request("wait", '{"name": "a"}'), request("wait", '{"name": "b"}')])
    )
    await both.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not running


async def test_a_tool_that_cancels_itself_ends_no_other() -> None:
    @flock_tool
    async def odd() -> None:
        raise asyncio.CancelledError

    answers = await ToolBox([odd, echo]).answer([request("odd"), request("echo", '{"text": "x"}')])
    assert answers[0].is_error
    assert answers[1] == ToolAnswer("x")
