"""Tools for a model: offered natively or through its answers, and called as it asks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from flock.engines.chat import ChatAnswer, ToolRequest
from flock.engines.dspy.json_schema import JsonSchema, rewritten

if TYPE_CHECKING:
    from flock.core.agent import Agent
    from flock.core.context import Context

DEFAULT_LIMIT: Final = 20
"""How many tool calls an evaluation may take if the agent does not say."""

CALLS: Final = "tool_calls"
"""Key of the answers of models that cannot call tools natively, with what they want called."""


class Answered(Protocol):
    """What a tool answered."""

    @property
    def text(self) -> str:
        """For the model to read."""
        ...

    @property
    def is_error(self) -> bool:
        """Whether the text says why there is no answer."""
        ...


class ToolLike(Protocol):
    """A tool, as far as a model's wish to call it needs one."""

    @property
    def name(self) -> str:
        """What the model calls it by."""
        ...

    @property
    def description(self) -> str:
        """What it does."""
        ...

    @property
    def parameters(self) -> Mapping[str, Any]:
        """JSON Schema of its arguments."""
        ...

    def call(self, arguments: str | Mapping[str, object], ctx: Context) -> Awaitable[Answered]:
        """Call it; its own failure is an answer, too."""
        ...


@dataclass
class ToolBox:
    """The tools of one evaluation, and how often they may still be called.

    Attributes:
        tools: The tools by name.
        is_native: Whether the model takes them as such; otherwise through its answers.
        left: How many calls are left.
    """

    tools: Mapping[str, ToolLike]
    is_native: bool
    left: int
    limit: int

    @classmethod
    def of(cls, agent: Agent, *, is_native: bool) -> ToolBox:
        """Return the tools of an agent."""
        tools = cast("Sequence[ToolLike]", getattr(agent, "tools", ()))
        limit = int(getattr(agent, "max_tool_calls", DEFAULT_LIMIT))
        return cls({tool.name: tool for tool in tools}, is_native, limit, limit)

    @property
    def is_open(self) -> bool:
        """Whether the model may call tools now."""
        return bool(self.tools) and self.left > 0

    def declared(self) -> list[dict[str, Any]]:
        """Return the tools as the chat completions API declares them."""
        return [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": dict(tool.parameters),
                },
            }
            for tool in self.tools.values()
        ]

    def described(self) -> str:
        """Return the tools in words, for a model that has to ask for them in its answer."""
        example = json.dumps({CALLS: [{"name": "...", "arguments": {}}]})
        lines = [
            "Before you answer you may call tools. To do so, answer with the JSON object "
            f"{example} alone; you are then told what they returned. The tools are:"
        ]
        for tool in self.tools.values():
            arguments = json.dumps(dict(tool.parameters), ensure_ascii=False)
            about = " ".join(tool.description.split())
            lines.append(f"- {tool.name}: {about} Its arguments: {arguments}")
        return "\n".join(lines)

    def joined(self, outputs: Mapping[str, Any]) -> JsonSchema:
        """Return the schema of answers that are either the outputs or a wish to call tools."""
        definitions: JsonSchema = dict(outputs.get("$defs", {}))
        calls: list[JsonSchema] = []
        for number, tool in enumerate(self.tools.values()):
            parameters = _moved(tool.parameters, f"tool_{number}_")
            definitions.update(parameters.pop("$defs", {}))
            calls.append(
                {
                    "type": "object",
                    "properties": {"name": {"const": tool.name}, "arguments": parameters},
                    "required": ["name", "arguments"],
                    "additionalProperties": False,
                }
            )
        wish: JsonSchema = {
            "type": "object",
            "properties": {
                CALLS: {"type": "array", "items": {"anyOf": calls}, "minItems": 1},
            },
            "required": [CALLS],
            "additionalProperties": False,
        }
        own = {key: value for key, value in outputs.items() if key != "$defs"}
        joined: JsonSchema = {"anyOf": [wish, own]}
        if definitions:
            joined["$defs"] = definitions
        return joined

    def wanted(self, answer: ChatAnswer) -> tuple[ToolRequest, ...]:
        """Return the tools that an answer asks for."""
        if answer.tool_requests or self.is_native or not self.tools:
            return answer.tool_requests
        return _wished(answer.text)

    async def call(self, requests: Sequence[ToolRequest], ctx: Context) -> list[str]:
        """Call tools at the same time, as far as calls are left.

        Returns:
            What to tell the model of each, in order.
        """
        granted = requests[: max(self.left, 0)]
        self.left -= len(granted)
        async with asyncio.TaskGroup() as tg:
            tasks = [tg.create_task(self._answer(request, ctx)) for request in granted]
        over = f"Error: not called, since the limit of {self.limit} tool calls is reached."
        return [task.result() for task in tasks] + [over] * (len(requests) - len(granted))

    async def _answer(self, request: ToolRequest, ctx: Context) -> str:
        tool = self.tools.get(request.name)
        if tool is None:
            known = ", ".join(map(repr, self.tools))
            return f"Error: there is no tool {request.name!r}; there are: {known}."
        answer = await tool.call(request.arguments, ctx)
        return f"Error: {answer.text}" if answer.is_error else answer.text

    def told(
        self, answer: ChatAnswer, requests: Sequence[ToolRequest], results: Sequence[str]
    ) -> list[dict[str, Any]]:
        """Return the messages that tell a model what the tools it asked for returned."""
        if not self.is_native:
            lines = [
                f"{request.name} returned:\n{result}"
                for request, result in zip(requests, results, strict=True)
            ]
            return [
                {"role": "assistant", "content": answer.text},
                {"role": "user", "content": "\n\n".join(lines)},
            ]
        asked = {
            "role": "assistant",
            "content": answer.text or None,
            "tool_calls": [
                {
                    "id": request.id,
                    "type": "function",
                    "function": {"name": request.name, "arguments": request.arguments},
                }
                for request in requests
            ],
        }
        return [
            asked,
            *(
                {"role": "tool", "tool_call_id": request.id, "content": result}
                for request, result in zip(requests, results, strict=True)
            ),
        ]


def _moved(schema: Mapping[str, Any], prefix: str) -> JsonSchema:
    """Return a schema whose definitions have names that no other schema's have."""

    def move(part: JsonSchema) -> JsonSchema:
        reference = part.get("$ref")
        if isinstance(reference, str) and reference.startswith("#/$defs/"):
            part["$ref"] = f"#/$defs/{prefix}{reference.removeprefix('#/$defs/')}"
        return part

    made = rewritten(schema, move)
    if "$defs" in made:
        made["$defs"] = {f"{prefix}{name}": part for name, part in made["$defs"].items()}
    return made


def _wished(text: str) -> tuple[ToolRequest, ...]:
    """Return what an answer of a model without native tools asks for."""
    start, end = text.find("{"), text.rfind("}")
    try:
        found: object = json.loads(text[start : end + 1])
    except ValueError:
        return ()
    calls = cast("dict[str, object]", found).get(CALLS) if isinstance(found, dict) else None
    if not isinstance(calls, list):
        return ()
    requests: list[ToolRequest] = []
    for number, call in enumerate(cast("list[object]", calls)):
        wish = cast("dict[str, object]", call) if isinstance(call, dict) else {}
        name, arguments = str(wish.get("name", "")), wish.get("arguments", {})
        requests.append(ToolRequest(f"call_{number}", name, json.dumps(arguments)))
    return tuple(requests)
