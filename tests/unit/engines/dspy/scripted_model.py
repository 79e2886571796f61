"""A chat model that answers by script: no network, no server."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flock import ChatAnswer, ChatRequest, ToolRequest, Usage

USAGE = Usage(calls=1, input_tokens=10, output_tokens=5, usd=0.25, latency=0.5)


def answer(text: str = "", **rest: Any) -> ChatAnswer:
    """Make an answer."""
    return ChatAnswer(text, USAGE, **rest)


def asking(*calls: tuple[str, str]) -> ChatAnswer:
    """Make an answer that asks for tools: names and arguments."""
    requests = tuple(ToolRequest(f"id-{n}", name, args) for n, (name, args) in enumerate(calls))
    return answer("", tool_requests=requests, finish_reason="tool_calls")


class ScriptedModel:
    """Answers in turn; an exception is raised. Streams in pieces of four letters."""

    name = "scripted"
    takes_images = False

    def __init__(
        self,
        answers: Iterable[str | ChatAnswer | Exception],
        *,
        calls_tools: bool = True,
        keeps_schema: bool = True,
    ) -> None:
        self.answers = list(answers)
        self.requests: list[ChatRequest] = []
        self.calls_tools = calls_tools
        self.keeps_schema = keeps_schema
        self.closed = 0
        self.per_token: float | None = 0.0

    def price(self, input_tokens: int, output_tokens: int) -> float | None:
        return None if self.per_token is None else self.per_token * (input_tokens + output_tokens)

    async def chat(
        self, request: ChatRequest, on_token: Callable[[str], None] | None = None
    ) -> ChatAnswer:
        self.requests.append(request)
        given = self.answers.pop(0)
        if isinstance(given, Exception):
            raise given
        made = answer(given) if isinstance(given, str) else given
        if on_token is not None:
            for start in range(0, len(made.text), 4):
                on_token(made.text[start : start + 4])
        return made

    async def aclose(self) -> None:
        self.closed += 1
