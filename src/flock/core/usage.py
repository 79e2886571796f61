"""What model calls cost: tokens, time and money."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """What one or more calls of one model took. Usages add up with `+`.

    Attributes:
        calls: How many requests were answered.
        input_tokens: Tokens of the prompts, cached ones included.
        output_tokens: Tokens of the answers, reasoning included.
        cached_tokens: How many of the input tokens the provider had cached.
        usd: The price in US dollars; 0.0 where a model is free, None where any part of it is
            not known.
        latency: Seconds from the requests to their complete answers, summed.
    """

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    usd: float | None = 0.0
    latency: float = 0.0

    @property
    def tokens(self) -> int:
        """All tokens, in and out."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        """Return what both took together."""
        usd = None if self.usd is None or other.usd is None else self.usd + other.usd
        return Usage(
            self.calls + other.calls,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            usd,
            self.latency + other.latency,
        )
