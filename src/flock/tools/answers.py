"""What a tool returned, as a model reads it."""

from __future__ import annotations

from dataclasses import replace
from json import dumps
from typing import Final

from pydantic_core import PydanticSerializationError, to_jsonable_python

from flock.core.tool import ToolAnswer

MAX_CHARS: Final = 20_000
"""How many characters of an answer the model is told, unless the tool says otherwise."""


def answer_of(value: object) -> ToolAnswer:
    """Return what a function returned as an answer: a text as it is, all else as JSON.

    Raises:
        TypeError: It has no JSON, or is an answer whose text is none.
    """
    if isinstance(value, ToolAnswer):
        if not isinstance(value.text, str):
            msg = f"it returned a ToolAnswer whose text is {value.text!r}; give it a text"
            raise TypeError(msg)
        return value
    if isinstance(value, str):
        return ToolAnswer(value)
    if value is None:
        return ToolAnswer("Done; there is nothing to return.")
    try:
        plain = to_jsonable_python(value, by_alias=True, inf_nan_mode="constants")
        return ToolAnswer(dumps(plain, ensure_ascii=False, separators=(",", ":")))
    except (PydanticSerializationError, ValueError) as error:
        msg = (
            f"it returned {type(value).__qualname__}, which has no JSON ({error}); return text, "
            "a model, or plain values"
        )
        raise TypeError(msg) from None


def told(answer: ToolAnswer, max_chars: int) -> ToolAnswer:
    """Return an answer as a model can be sent it.

    It has at most so many characters, and says so at its end if it was cut. What UTF-8 cannot
    carry, such as the bytes in odd file names, becomes `?`.
    """
    text = answer.text
    if len(text) > max_chars:
        note = f"\n[Cut: these are the first {max_chars:,} of {len(text):,} characters]"
        text = text[:max_chars] + note
    text = text.encode(errors="replace").decode()
    return answer if text == answer.text else replace(answer, text=text)
