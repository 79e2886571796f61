"""Decimals, which JSON has not: written as numbers with their digits."""

from __future__ import annotations

import re
from typing import Final

from flock.engines.local.json_types import AnySchema, Schema

# A decimal as text, as Pydantic writes it (with a look-ahead, which no automaton has) and as
# `flock.engines.dspy.answer_schema` does: how many digits there are before and behind its point.
_DECIMAL: Final = re.compile(r"^\^(?:\(\?!\^\[-\+\.\]\*\$\)\[\+-\]\?0\*|-\?(?:\(\?:)?(?:\\d|0))")
_PLACES: Final = re.compile(r"\\\.\\d\{[01],(\d+)\}")
_WHOLE: Final = re.compile(r"\\d\{[01],(\d+)\}|-\?0\(")
_MOST_DIGITS: Final = 12


def without_decimal_text(options: list[AnySchema]) -> list[AnySchema]:
    """Write decimals as numbers: Pydantic takes both, and only a number keeps its bounds."""
    patterns = [
        option["pattern"]
        for option in options
        if isinstance(option, dict) and _DECIMAL.match(option.get("pattern", ""))
    ]
    if not patterns or not any(_is_number(option) for option in options):
        return options
    return [
        {"allOf": [option, _digits(patterns[0])]} if _is_number(option) else option
        for option in options
        if not (isinstance(option, dict) and option.get("pattern") in patterns)
    ]


def _is_number(option: AnySchema) -> bool:
    return isinstance(option, dict) and option.get("type") == "number"


def _digits(pattern: str) -> Schema:
    """Return the schema of the numbers that have as many digits as the pattern allows."""
    places, whole = _PLACES.search(pattern), _WHOLE.search(pattern)
    step: float | None = None if "." in pattern else 1
    if places is not None:
        step = 10 ** -int(places[1])
    limits: Schema = {"multipleOf": step} if step else {}
    if whole and (digits := int(whole[1] or 0)) <= _MOST_DIGITS:
        widest = 10**digits - (step or 1)
        limits |= {"minimum": -widest, "maximum": widest}
    return limits
