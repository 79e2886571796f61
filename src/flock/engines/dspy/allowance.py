"""What a model call may take: asked of the budgets before it, charged after it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from flock.core.context import Context
    from flock.core.usage import Reservation
    from flock.engines.chat import ChatModel, ChatRequest

_CHARACTERS: Final = 3
"""A token has about four characters of English, fewer of other languages and of code. An
estimate that is too high only stops a call somewhat early."""

_PER_MESSAGE: Final = 8
_PER_IMAGE: Final = 1_600
"""The most that a provider counts for an image of usual size:
https://docs.anthropic.com/en/docs/build-with-claude/vision#evaluate-image-size."""

_ANSWER: Final = 4_096
"""Tokens set aside for an answer without a bound of its own."""


async def reserve(
    ctx: Context, model: ChatModel, request: ChatRequest
) -> tuple[ChatRequest, Reservation | None]:
    """Have set aside what a call may take, and return the request bounded to that.

    Where no budget bounds the run, the request is returned as it is.

    Raises:
        BudgetExceeded: A budget does not leave enough for the prompt and one token.
    """
    prompt = prompt_tokens(request)
    free = await ctx.reserve(model.name)
    if free is None:
        return request, None
    free.release()  # it was only asked what is left
    answer = _answer_tokens(model, request, prompt, free)
    usd = model.price(prompt, answer)
    held = await ctx.reserve(model.name, tokens=prompt + answer, usd=usd)
    return replace(request, max_tokens=answer), held


def prompt_tokens(request: ChatRequest) -> int:
    """Return an estimate of the tokens of a prompt, rather too high than too low."""
    messages = cast("Iterable[Mapping[str, Any]]", request.messages)
    characters = sum(len(str(tool)) for tool in request.tools)
    tokens = 0
    for message in messages:
        tokens += _PER_MESSAGE
        content = message.get("content")
        parts = [content] if isinstance(content, str) else list(content or ())
        for part in parts:
            if isinstance(part, str):
                characters += len(part)
            elif part.get("type") == "text":
                characters += len(part["text"])
            else:
                tokens += _PER_IMAGE
    return tokens + math.ceil(characters / _CHARACTERS)


def _answer_tokens(model: ChatModel, request: ChatRequest, prompt: int, free: Reservation) -> int:
    """Return how long an answer may be, at least one token."""
    bounds = [request.max_tokens or _ANSWER]
    if free.tokens_left is not None:
        bounds.append(free.tokens_left - prompt)
    per_million = model.price(0, 1_000_000)
    asked = model.price(prompt, 0)
    if free.usd_left is not None and per_million and asked is not None:
        bounds.append(int((free.usd_left - asked) / (per_million / 1_000_000)))
    return max(1, min(bounds))
