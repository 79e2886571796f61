"""What came of tuning an agent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flock.core.usage import Usage

if TYPE_CHECKING:
    from flock.engines.dspy.tuned import TunedPrompt


@dataclass(frozen=True, slots=True)
class Candidate:
    """A prompt that was tried on the whole validation part.

    Attributes:
        what: What it is, in a few words.
        score: Its mean score there.
    """

    what: str
    score: float


@dataclass(frozen=True, slots=True)
class TuningProgress:
    """How far tuning is.

    Attributes:
        stage: What is going on, in a few words.
        calls: How many model calls were made.
        expected: How many there will be, roughly.
        best: The best mean score on the validation part so far; None before the first.
    """

    stage: str
    calls: int
    expected: int
    best: float | None


@dataclass(frozen=True, slots=True)
class TuningReport:
    """What came of tuning an agent.

    Attributes:
        agent: Its name.
        model: The model string.
        metric: What was measured.
        how: What was changed.
        seed: What was drawn with.
        examples: How many past runs were used.
        left_out: How many were not, since nobody said whether they were good.
        train: How many of them taught.
        validation: How many compared the candidates.
        held_out: How many nothing was chosen by.
        before: Mean score on the held-out part without a tuned prompt; None if not measured.
        after: Mean score there with the prompt found; None if not measured.
        validation_before: Mean score on the validation part without a tuned prompt.
        validation_after: The best mean score there.
        candidates: What was tried, in order.
        prompt: What was found; None if nothing was better.
        usage: What the model calls took.
        seconds: How long it took.
        stopped: Why it ended early; None if it did not.
    """

    agent: str
    model: str
    metric: str
    how: str
    seed: int
    examples: int
    left_out: int
    train: int
    validation: int
    held_out: int
    before: float | None = None
    after: float | None = None
    validation_before: float | None = None
    validation_after: float | None = None
    candidates: tuple[Candidate, ...] = ()
    prompt: TunedPrompt | None = field(default=None, repr=False)
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    stopped: str | None = None

    @property
    def is_worth_keeping(self) -> bool:
        """Whether a prompt was found that did no worse on what it was not chosen by.

        One that could not be measured there, since tuning was stopped, is kept.
        """
        if self.prompt is None:
            return False
        return self.before is None or self.after is None or self.after >= self.before
