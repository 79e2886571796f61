"""What runs and model calls cost: tokens, time and money; and what they may."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from flock.errors import DeclarationError


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


@dataclass(frozen=True, slots=True)
class Spent:
    """What was spent, on a board, in a workflow or by an agent.

    Attributes:
        runs: How many runs began. They are only counted where a budget bounds runs.
        models: What each model took, by its model string.
    """

    runs: int = 0
    models: Mapping[str, Usage] = field(default_factory=dict[str, Usage])

    @property
    def total(self) -> Usage:
        """What all models took together."""
        return sum(self.models.values(), start=Usage())


@dataclass(frozen=True, slots=True)
class Charge:
    """What one model call took, or that a run began: one line of a board's accounts.

    Attributes:
        run_key: The run's id as a number of 128 bits.
        correlation_id: Its workflow.
        agent: Name of its agent.
        model: The model string; None for the beginning of a run.
        usage: What the call took.
    """

    run_key: int
    correlation_id: str
    agent: str
    model: str | None
    usage: Usage = Usage()


@dataclass(frozen=True, slots=True)
class Budget:
    """How much may be spent, in all or in each workflow.

    Attributes:
        tokens: How many tokens model calls may take, in and out.
        usd: How many US dollars they may cost.
        runs: How many runs may begin.
        per: `"board"` for all workflows together, `"workflow"` for each.

    Raises:
        DeclarationError: It bounds nothing, or by no positive number.
    """

    tokens: int | None = None
    usd: float | None = None
    runs: int | None = None
    per: Literal["board", "workflow"] = "board"

    def __post_init__(self) -> None:
        bounds = {"tokens": self.tokens, "usd": self.usd, "runs": self.runs}
        if all(bound is None for bound in bounds.values()):
            msg = "give at least one of tokens, usd and runs"
            raise DeclarationError(msg)
        for name, bound in bounds.items():
            kinds = int | float if name == "usd" else int
            is_number = isinstance(bound, kinds) and not isinstance(bound, bool)
            if bound is not None and not (is_number and 0 < bound < float("inf")):
                what = "an amount in US dollars" if name == "usd" else "a whole number"
                msg = f"{name} is {what} above 0, not {bound!r}"
                raise DeclarationError(msg)
        if self.per not in PERS:
            msg = f"per is one of {', '.join(PERS)}, not {self.per!r}"
            raise DeclarationError(msg)


PERS: Final = ("board", "workflow")


class Reservation(Protocol):
    """What budgets set aside for one model call."""

    @property
    def tokens_left(self) -> int | None:
        """How many tokens the call may take by the tightest budget; None without one."""
        ...

    @property
    def usd_left(self) -> float | None:
        """How many US dollars the call may cost by the tightest budget; None without one."""
        ...

    def release(self) -> None:
        """Give back what was set aside: the call is over, or was not made."""
        ...
