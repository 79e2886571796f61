"""A model whose calls are counted and bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from flock.core.usage import Usage
from flock.engines.dspy.allowance import prompt_tokens
from flock.errors import TuningError

if TYPE_CHECKING:
    from flock.engines.chat import ChatAnswer, ChatModel, ChatRequest

_ANSWER = 1_024
"""Tokens that are reckoned for an answer without a bound of its own."""


class Stopped(Exception):
    """No more model calls may be made.

    Attributes:
        reason: Why.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Meter:
    """Counts model calls, and says when there may be no more.

    Args:
        max_calls: How many calls there may be; None for any number.
        max_usd: What they may cost in US dollars; None for any amount.
        stop: Set by whoever wants no more of them.

    Attributes:
        usage: What all calls took so far.
        calls: How many were begun.
        kept: How many calls are kept for later.
        on_call: Called after each call.
    """

    def __init__(
        self,
        max_calls: int | None = None,
        max_usd: float | None = None,
        stop: asyncio.Event | None = None,
    ) -> None:
        self.max_calls = max_calls
        self.max_usd = max_usd
        self.usage = Usage()
        self.calls = 0
        self.kept = 0
        self.on_call: Callable[[], None] | None = None
        self._stop = stop
        self._running = 0.0
        self._spent = 0.0

    @property
    def is_interrupted(self) -> bool:
        """Whether somebody wants no more calls."""
        return self._stop is not None and self._stop.is_set()

    @property
    def reason(self) -> str | None:
        """Why no more calls may be made now; None if they may."""
        if self.is_interrupted:
            return "interrupted"
        if self.max_calls is not None and self.calls >= self.max_calls - self.kept:
            return f"the {self.max_calls} model calls are used up"
        if self.max_usd is not None and self._spent >= self.max_usd:
            return f"the {self.max_usd:g} US dollars are used up"
        return None

    def begin(self, model: ChatModel, request: ChatRequest) -> float:
        """Take a call into account before it is made, and return what it may cost.

        Raises:
            Stopped: It may not be made.
            TuningError: Money is bounded, and the model's price is not known.
        """
        if (reason := self.reason) is not None:
            raise Stopped(reason)
        price = 0.0
        if self.max_usd is not None:
            known = model.price(prompt_tokens(request), request.max_tokens or _ANSWER)
            if known is None:
                msg = (
                    f"the price of model {model.name!r} is not known, so that max_usd cannot bound "
                    "it; bound the calls instead (max_calls, --max-calls)"
                )
                raise TuningError(msg)
            price = known
            if self._spent + self._running + price > self.max_usd:
                msg = f"the next call could exceed the {self.max_usd:g} US dollars"
                raise Stopped(msg)
        self.calls += 1
        self._running += price
        return price

    def end(self, price: float, usage: Usage | None) -> None:
        """Write down what a call took; None if it failed.

        One whose price the provider does not tell counts as the most that it could cost.
        """
        self._running -= price
        if usage is not None:
            self.usage += usage
            self._spent += price if usage.usd is None else usage.usd
        if self.on_call is not None:
            self.on_call()


class MeteredModel:
    """Asks a model as far as a meter lets it.

    Args:
        model: Whom to ask; it is not closed.
        meter: Counts and bounds the calls.
    """

    def __init__(self, model: ChatModel, meter: Meter) -> None:
        self._model = model
        self._meter = meter
        self.name = model.name
        self.calls_tools = model.calls_tools
        self.takes_images = model.takes_images

    @property
    def keeps_schema(self) -> bool:
        """Whether the model enforces schemas."""
        return self._model.keeps_schema

    def price(self, input_tokens: int, output_tokens: int) -> float | None:
        """Return the model's price."""
        return self._model.price(input_tokens, output_tokens)

    async def chat(
        self, request: ChatRequest, on_token: Callable[[str], None] | None = None
    ) -> ChatAnswer:
        """Ask; see `ChatModel.chat`.

        Raises:
            Stopped: No more calls may be made.
            TuningError: The price of the call is not known, and bounded.
        """
        price = self._meter.begin(self._model, request)
        usage: Usage | None = None
        try:
            answer = await self._model.chat(request, on_token)
            usage = answer.usage
            return answer
        finally:
            self._meter.end(price, usage)

    async def aclose(self) -> None:
        """Do nothing: the model is its owner's."""
