"""What a tool returned, as a model reads it."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pydantic_core import PydanticSerializationError, to_json

from flock.core.tool import ToolAnswer

MAX_CHARS: Final = 20_000
"""How many characters of an answer the model is told, unless the tool says otherwise."""


def answer_of(value: object) -> ToolAnswer:
    """Return what a function returned as an answer: a text as it is, all else as JSON.

    Raises:
        TypeError: It has no JSON.
    """
    if isinstance(value, ToolAnswer):
        return value
    if isinstance(value, str):
        return ToolAnswer(value)
    if value is None:
        return ToolAnswer("Done; there is nothing to return.")
    try:
        return ToolAnswer(to_json(value, by_alias=True, inf_nan_mode="constants").decode())
    except (PydanticSerializationError, ValueError) as error:
        msg = (
            f"it returned {type(value).__qualname__}, which has no JSON ({error}); return text, "
            "a model, or plain values"
        )
        raise TypeError(msg) from None


def shortened(answer: ToolAnswer, max_chars: int) -> ToolAnswer:
    """Return an answer of at most so many characters; one that is cut says so at its end."""
    length = len(answer.text)
    if length <= max_chars:
        return answer
    note = f"\n[Cut: these are the first {max_chars:,} of {length:,} characters]"
    return replace(answer, text=answer.text[:max_chars] + note)
