"""Tools: offered natively or through the answers, called at the same time, bounded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import BaseModel

from flock import ChatAnswer, DSPyEngine, EngineError, Flock, ToolAnswer, ToolImage, flock_tool
from tests.unit.engines.dspy.json_schemas import satisfies
from tests.unit.engines.dspy.scripted_model import ScriptedModel, answer, asking


class Question(BaseModel):
    text: str = "how many?"


class Reply(BaseModel):
    text: str


GOOD = '{"reply": {"text": "42"}}'
SCHEMA = {
    "type": "object",
    "properties": {"city": {"$ref": "#/$defs/City"}},
    "required": ["city"],
    "$defs": {"City": {"type": "string", "minLength": 2}},
}


@dataclass
class FakeTool:
    """A tool of the shape that the loop asks for."""

    name: str = "weather"
    description: str = "Says what the weather is."
    parameters: Mapping[str, Any] = field(default_factory=lambda: SCHEMA)
    answer: ToolAnswer = field(default_factory=lambda: ToolAnswer("sunny"))
    calls: list[object] = field(default_factory=list[object])
    barrier: asyncio.Barrier | None = None

    async def call(self, arguments: str | Mapping[str, object], ctx: object) -> ToolAnswer:
        del ctx
        self.calls.append(arguments)
        if self.barrier is not None:
            await self.barrier.wait()
        return self.answer


def board_of(model: ScriptedModel, *tools: FakeTool, limit: int = 20) -> Flock:
    board = Flock()
    board.agent("thinker").consumes(Question).publishes(Reply).with_engines(DSPyEngine(model))
    agent: Any = board.get_agent("thinker")
    agent.tools = tools
    agent.max_tool_calls = limit
    return board


async def replied(board: Flock) -> str:
    async with board:
        [artifact] = await board.arun("thinker", Question())
        return artifact.as_model(Reply).text


async def test_a_native_tool_is_offered_called_and_its_answer_told() -> None:
    tool = FakeTool()
    model = ScriptedModel([asking(("weather", '{"city": "Rome"}')), GOOD])
    assert await replied(board_of(model, tool)) == "42"
    assert tool.calls == ['{"city": "Rome"}']
    first, second = model.requests
    assert first.tools == [
        {
            "type": "function",
            "function": {
                "name": "weather",
                "description": "Says what the weather is.",
                "parameters": SCHEMA,
            },
        }
    ]
    asked, told = second.messages[-2:]
    assert asked["tool_calls"][0]["id"] == told["tool_call_id"] == "id-0"
    assert told == {"role": "tool", "tool_call_id": "id-0", "content": "sunny"}


async def test_the_schema_stands_in_the_prompt_while_tools_are_offered() -> None:
    model = ScriptedModel([GOOD])
    await replied(board_of(model, FakeTool()))
    [request] = model.requests
    assert request.schema is None
    assert "JSON Schema" in request.messages[0]["content"]


async def test_tools_of_one_answer_are_called_at_the_same_time() -> None:
    barrier = asyncio.Barrier(3)  # passes only if all three are called together
    tool = FakeTool(barrier=barrier)
    model = ScriptedModel([asking(*[("weather", "{}")] * 3), GOOD])
    assert await replied(board_of(model, tool)) == "42"
    assert len(tool.calls) == 3


async def test_a_tool_that_failed_is_told_as_an_error() -> None:
    tool = FakeTool(answer=ToolAnswer("no such city", is_error=True))
    model = ScriptedModel([asking(("weather", "{}")), GOOD])
    await replied(board_of(model, tool))
    assert model.requests[1].messages[-1]["content"] == "Error: no such city"


async def test_an_unknown_tool_is_told_with_the_known_ones() -> None:
    model = ScriptedModel([asking(("whether", "{}")), GOOD])
    await replied(board_of(model, FakeTool()))
    assert "no tool 'whether'; there are: 'weather'" in model.requests[1].messages[-1]["content"]


@pytest.mark.parametrize("is_native", [True, False])
async def test_calls_beyond_the_bound_are_not_made(*, is_native: bool) -> None:
    tool = FakeTool()
    wish = ("weather", "{}")
    both = asking(wish, wish) if is_native else answer(_wish("weather", "weather"))
    model = ScriptedModel([both, both, GOOD], calls_tools=is_native)
    assert await replied(board_of(model, tool, limit=3)) == "42"
    assert len(tool.calls) == 3
    last = model.requests[-1]
    assert "all 3 calls of this run are used" in json.dumps(list(last.messages))
    assert last.tools == ()
    assert last.schema is not None
    assert "anyOf" not in last.schema


async def test_a_model_that_asks_for_tools_without_end_fails_by_name() -> None:
    model = ScriptedModel([asking(("weather", "{}"))] * 4)
    with pytest.raises(EngineError, match="no more tools may be called"):
        await replied(board_of(model, FakeTool(), limit=1))


async def test_a_function_with_its_schema_is_a_tool() -> None:
    asked: list[str] = []

    @flock_tool
    async def weather(city: str) -> str:
        """Say what the weather is.

        Args:
            city: Where.
        """
        asked.append(city)
        return f"sunny in {city}"

    model = ScriptedModel([asking(("weather", '{"city": "Rome"}'), ("weather", "{}")), GOOD])
    board = Flock()
    thinker = board.agent("thinker").consumes(Question).publishes(Reply)
    thinker.with_engines(DSPyEngine(model)).with_tools([weather])
    assert await replied(board) == "42"
    good, bad = model.requests[1].messages[-2:]
    assert (asked, good["content"]) == (["Rome"], "sunny in Rome")
    assert bad["content"].startswith("Error:")
    assert "city" in bad["content"]


async def test_an_image_is_shown_to_a_model_that_sees_and_told_of_to_another() -> None:
    tool = FakeTool(answer=ToolAnswer("a map", images=(ToolImage(b"png", "image/png"),)))
    for sees in (True, False):
        model = ScriptedModel([asking(("weather", "{}")), GOOD])
        model.takes_images = sees
        await replied(board_of(model, tool))
        last = model.requests[1].messages[-1]
        if sees:
            assert last["content"][1]["image_url"]["url"] == "data:image/png;base64,cG5n"
        else:
            assert "cannot be shown to this model" in last["content"]


# --- through the answers ---


def _wish(*names: str) -> str:
    return json.dumps({"tool_calls": [{"name": n, "arguments": {"city": "Rome"}} for n in names]})


async def test_a_model_without_native_tools_asks_for_them_in_its_answer() -> None:
    tool = FakeTool()
    model = ScriptedModel([_wish("weather"), GOOD], calls_tools=False)
    assert await replied(board_of(model, tool)) == "42"
    assert [json.loads(str(call)) for call in tool.calls] == [{"city": "Rome"}]
    first, second = model.requests
    assert first.tools == ()
    assert "Says what the weather is." in first.messages[0]["content"]
    assert second.messages[-1]["content"] == "weather returned:\nsunny"


async def test_the_joined_schema_takes_outputs_and_wishes_and_nothing_else() -> None:
    other = FakeTool("other", parameters={"type": "object", "additionalProperties": False})
    model = ScriptedModel([GOOD], calls_tools=False)
    await replied(board_of(model, FakeTool(), other))
    schema = model.requests[0].schema
    assert schema is not None
    assert satisfies(schema, json.loads(GOOD))
    assert satisfies(schema, json.loads(_wish("weather")))
    assert satisfies(schema, {"tool_calls": [{"name": "other", "arguments": {}}]})
    wrongs: list[Any] = [
        {"tool_calls": []},
        {"tool_calls": [{"name": "nobody", "arguments": {}}]},
        {"tool_calls": [{"name": "weather", "arguments": {"city": "R"}}]},
        {"tool_calls": [{"name": "other", "arguments": {"city": "Rome"}}]},
        {"reply": {"text": "42"}, "tool_calls": []},
        {},
    ]
    for wrong in wrongs:
        assert not satisfies(schema, wrong)


@pytest.mark.parametrize(
    "text",
    ['{"tool_calls": 3}', '{"tool_calls": [', '{"tool_calls": [7]}', "[]", "3"],
)
async def test_a_wish_that_cannot_be_read_is_repaired(text: str) -> None:
    model = ScriptedModel([text, GOOD], calls_tools=False)
    assert await replied(board_of(model, FakeTool())) == "42"


async def test_an_answer_with_text_beside_the_wish_keeps_it() -> None:
    wish = asking(("weather", "{}"))
    spoken = ChatAnswer("Let me look.", wish.usage, wish.tool_requests, "tool_calls")
    model = ScriptedModel([spoken, GOOD])
    await replied(board_of(model, FakeTool()))
    assert model.requests[1].messages[-2]["content"] == "Let me look."
