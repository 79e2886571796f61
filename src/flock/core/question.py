"""What an agent that is a person asks, and a question that waits for its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

    from pydantic import BaseModel

    from flock.core.artifacts import Artifact
    from flock.core.signature import FunctionSignature


@dataclass(frozen=True, slots=True)
class Asking:
    """What `asks_human` declares.

    Attributes:
        text: The question, if it is always the same.
        function: Makes the question of a run's inputs, if it is not.
        timeout: Seconds of the board's clock within which the answer must come; None for never.
    """

    text: str = ""
    function: FunctionSignature | None = None
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A question that waits for a person's answer.

    Attributes:
        id: Its id, which `Flock.answer` takes: that of the run that asks.
        agent: Name of the agent that asks.
        question: What it asks.
        inputs: What it is about, in the order the agent declared their types.
        correlation_id: The workflow of the run.
        asked_at: When it was asked, in UTC.
        due: When it expires, in UTC; None if it waits for ever.
        answers: The types of which an answer may be made.
    """

    id: str
    agent: str
    question: str
    inputs: tuple[Artifact, ...]
    correlation_id: str
    asked_at: datetime
    due: datetime | None
    answers: tuple[type[BaseModel], ...]

    @property
    def schemas(self) -> dict[str, dict[str, Any]]:
        """The JSON schemas of `answers`, by the names of the classes: what a form needs."""
        return {model.__name__: model.model_json_schema() for model in self.answers}
