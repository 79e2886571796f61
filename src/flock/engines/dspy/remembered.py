"""Answers used again for the same request, within the process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from pydantic_core import to_json

from flock.core.usage import Usage
from flock.engines.chat import ChatAnswer, ChatModel, ChatRequest

MAX_ANSWERS: Final = 1000
"""How many answers are kept; the one that was not used longest goes first."""


class RememberingModel:
    """Asks a model, and answers the same request from memory after that.

    A remembered answer costs nothing: no call, no tokens. It comes as one piece.

    Args:
        model: Whom to ask.
    """

    def __init__(self, model: ChatModel) -> None:
        self._model = model
        self._answers: OrderedDict[bytes, ChatAnswer] = OrderedDict()
        self.name = model.name
        self.calls_tools = model.calls_tools
        self.takes_images = model.takes_images

    def __repr__(self) -> str:
        return f"RememberingModel({self._model!r})"

    @property
    def keeps_schema(self) -> bool:
        """Whether the model enforces schemas."""
        return self._model.keeps_schema

    def price(self, input_tokens: int, output_tokens: int) -> float | None:
        """Return the model's price; what is answered from memory costs nothing."""
        return self._model.price(input_tokens, output_tokens)

    async def chat(
        self, request: ChatRequest, on_token: Callable[[str], None] | None = None
    ) -> ChatAnswer:
        """Answer from memory, or ask; see `ChatModel.chat`."""
        key = to_json(request, fallback=repr)
        known = self._answers.get(key)
        if known is not None:
            self._answers.move_to_end(key)
            if on_token is not None and known.text:
                on_token(known.text)
            return replace(known, usage=Usage())
        answer = await self._model.chat(request, on_token)
        if answer.refusal is None and answer.finish_reason in {"stop", "tool_calls"}:
            self._answers[key] = answer
            if len(self._answers) > MAX_ANSWERS:
                self._answers.popitem(last=False)
        return answer

    async def aclose(self) -> None:
        """Close the model, and forget."""
        self._answers.clear()
        await self._model.aclose()
