"""Asking a model again when its provider is busy or ails."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from flock.clock import pause
from flock.core.retry import Backoff
from flock.errors import ModelUnavailable, RateLimited

if TYPE_CHECKING:
    from flock.clock import Clock
    from flock.engines.chat import ChatAnswer, ChatModel, ChatRequest

logger = logging.getLogger(__name__)

_SPREAD: Final = 0.1
"""By how much a wait that a provider asked for is lengthened at random, so that many who were
turned away together do not come back together."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a model is asked when it is busy or cannot be reached, and how long apart.

    Attributes:
        attempts: How often in all, from 1.
        backoff: The waits between, where the provider names none.
        longest: The longest wait in seconds that a provider may ask for; beyond it the call
            fails at once.
    """

    attempts: int = 6
    backoff: Backoff = field(default_factory=lambda: Backoff(initial=1.0, maximum=60.0))
    longest: float = 300.0

    def wait(self, attempt: int, error: RateLimited | ModelUnavailable) -> float | None:
        """Return the seconds to wait after attempt number `attempt`; None to give up."""
        if attempt >= self.attempts:
            return None
        asked = error.retry_after
        if asked is None:
            return self.backoff.delay(attempt)
        if asked > self.longest:
            return None
        return asked * (1 + random.uniform(0, _SPREAD))

    async def ask(
        self,
        model: ChatModel,
        request: ChatRequest,
        clock: Clock,
        listener: Callable[[], Callable[[str], None] | None],
    ) -> ChatAnswer:
        """Ask, and ask again where that may help.

        Args:
            model: Whom to ask.
            request: What to ask.
            clock: What the waits go by.
            listener: Called before each attempt for its `on_token`.

        Raises:
            RateLimited: It is still busy after the last attempt, or asks to wait too long.
            ModelUnavailable: It still cannot be reached after the last attempt.
            EngineError: It failed in a way that asking again does not cure.
        """
        attempt = 1
        while True:
            try:
                with clock.working():
                    return await model.chat(request, listener())
            except (RateLimited, ModelUnavailable) as error:
                wait = self.wait(attempt, error)
                if wait is None:
                    raise self._given_up(attempt, error) from error
                # A provider is often busy. One that is away may be a wrong address, and who waits
                # for it shall not have to wait for the last attempt to find out.
                level = logging.WARNING if isinstance(error, ModelUnavailable) else logging.INFO
                logger.log(
                    level,
                    "Model %s failed at attempt %d and is asked again in %.1f s: %s",
                    model.name,
                    attempt,
                    wait,
                    error,
                )
            await pause(clock, wait)
            attempt += 1

    def _given_up(
        self, attempt: int, error: RateLimited | ModelUnavailable
    ) -> RateLimited | ModelUnavailable:
        if attempt < self.attempts:
            why = f"to wait {error.retry_after:.0f} s is longer than {self.longest:.0f} s"
        else:
            why = f"asked {attempt} times" if attempt > 1 else "asked once"
        last = type(error)(f"{error} ({why})")
        last.retry_after = error.retry_after
        return last
