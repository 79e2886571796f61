"""What engines emit while a run goes on, for whoever watches (`RunEmitted.delta`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flock.core.usage import Usage


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a model's answer, as it arrives.

    Attributes:
        text: The piece, one token or a few.
        call: Counts the model calls of the run from 0, so that repairs can be told apart.
    """

    text: str
    call: int = 0


@dataclass(frozen=True, slots=True)
class PartialOutput:
    """What can be read of an unfinished output so far.

    Attributes:
        type: Stable name of the output type.
        fields: The fields that have begun, by name; not validated, the last one may be cut.
        index: Which output of the type, from 0.
    """

    type: str
    fields: dict[str, Any]
    index: int = 0


@dataclass(frozen=True, slots=True)
class ModelCalled:
    """A model answered.

    Attributes:
        model: The model string.
        usage: What this call took.
        call: Counts the model calls of the run from 0.
    """

    model: str
    usage: Usage
    call: int = 0


@dataclass(frozen=True, slots=True)
class ToolCalled:
    """A tool was called by a model, and answered.

    Attributes:
        tool: Name of the tool.
        arguments: What the model asked with.
        seconds: How long it took.
        error: Why it failed or was refused, as the model was told; None if it answered.
    """

    tool: str
    arguments: dict[str, Any]
    seconds: float
    error: str | None = None


@dataclass(frozen=True, slots=True)
class GuardFound:
    """A guard found something in the inputs or outputs of a run. No value is told.

    Attributes:
        guard: Name of the guard.
        side: `"input"` or `"output"`.
        action: What it did: `"block"`, `"redact"` or `"annotate"`.
        counts: How much it found of each kind, such as `{"EMAIL": 2}`.
        types: Stable names of the types with findings.
    """

    guard: str
    side: str
    action: str
    counts: dict[str, int]
    types: tuple[str, ...]
