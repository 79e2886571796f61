"""What a model call may take: asked of the budgets before it, charged after it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from flock.core.context import Context
    from flock.core.usage import Reservation, Usage
    from flock.engines.chat import ChatAnswer, ChatModel, ChatRequest

_BYTES: Final = 3
"""A token has about four characters of English, fewer of code, and about one of Chinese, which has
three bytes. An estimate that is too high only stops a call somewhat early."""

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


def counted(request: ChatRequest, answer: ChatAnswer) -> Usage:
    """Return what a call took; an estimate where the server does not say.

    A budget would never be used up by a server that counts nothing.
    """
    usage = answer.usage
    if usage.tokens or not usage.calls:
        return usage
    asked = "".join(each.arguments for each in answer.tool_requests)
    given = math.ceil(_size(answer.text + asked) / _BYTES)
    return replace(usage, input_tokens=prompt_tokens(request), output_tokens=given)


def prompt_tokens(request: ChatRequest) -> int:
    """Return an estimate of the tokens of a prompt, rather too high than too low."""
    messages = cast("Iterable[Mapping[str, Any]]", request.messages)
    size = sum(_size(str(tool)) for tool in request.tools)
    tokens = 0
    for message in messages:
        tokens += _PER_MESSAGE
        size += _size(str(message.get("tool_calls", "")))
        content = message.get("content")
        parts = [content] if isinstance(content, str) else list(content or ())
        for part in parts:
            if isinstance(part, str):
                size += _size(part)
            elif part.get("type") == "text":
                size += _size(part["text"])
            else:
                tokens += _PER_IMAGE
    return tokens + math.ceil(size / _BYTES)


def _size(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))


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
