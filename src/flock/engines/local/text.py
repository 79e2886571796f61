"""Strings with an end, and the keys of mappings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from flock.engines.local.formats import FORMATS, FREE, Format, within
from flock.engines.local.json_types import Schema
from flock.engines.local.limits import PER_CHARACTER, Bounded, Limits
from flock.engines.local.windows import LIMITS

KEY_LENGTH: Final = 40
"""The longest key of a mapping that sets no lower limit, in characters."""

_HTTP_URL: Final = 2083

Accepts = Callable[[Schema], bool]
Note = Callable[[str], None]


def bound_text(said: Schema, limits: Limits, accepts: Accepts, note: Note) -> Bounded | None:
    """Return what a grammar enforces for a string, None if none fits.

    Args:
        said: The keywords of the schema.
        limits: Where it sets none.
        accepts: Whether the grammar engine takes a schema.
        note: Told of what cannot be enforced.
    """
    least, given = said.get("minLength", 0), said.get("maxLength")
    if given is not None and given < least:
        return None
    most = max(least, limits.text if given is None else min(limits.text, given))
    closed: Schema = {"minLength": least, "maxLength": most}
    if (pattern := said.get("pattern")) is not None:
        found = _patterned(said, pattern, closed, accepts)
        if found is not None and "format" in said:
            note(f"the format {said['format']!r} beside a pattern")
        if found is None:
            note(f"the pattern {pattern!r}")
    else:
        found = _formatted(said, accepts, note)
    return found or Bounded({"type": "string"} | closed, most * PER_CHARACTER)


def _patterned(said: Schema, pattern: str, closed: Schema, accepts: Accepts) -> Bounded | None:
    own: Schema = {"type": "string", "pattern": pattern}
    # What the pattern asks for may be longer than the limit, so the schema's own comes next.
    for length in (closed, _lengths(said)):
        if accepts(own | length):
            return Bounded(own | length, closed["maxLength"] * PER_CHARACTER)
    return None


def _formatted(said: Schema, accepts: Accepts, note: Note) -> Bounded | None:
    name = said.get("format")
    if name is None or name in FREE:
        return None
    if (known := _format(name, said.get("maxLength"))) is None:
        note(f"the format {name!r}")
        return None
    if LIMITS & said.keys():
        if (bounded := within(said)) is not None:
            known = bounded
        else:
            note(f"the limits of the format {name!r}")
    own: Schema = {"type": "string"} | known.schema
    if not accepts(own | _lengths(said)):
        note(f"the length beside the format {name!r}")
        return Bounded(own, known.length / 1.5)
    return Bounded(own | _lengths(said), known.length / 1.5)


def _lengths(said: Schema) -> Schema:
    return {key: said[key] for key in ("minLength", "maxLength") if key in said}


def _format(name: str, longest: int | None) -> Format | None:
    # Pydantic says no more of the difference between an HttpUrl and any other.
    return FORMATS.get("http-uri" if name == "uri" and longest == _HTTP_URL else name)


def any_key(least: int, most: int) -> str:
    """Return the pattern of keys of a length."""
    return rf'^[^\x00-\x1f\x7f"\\]{{{least},{most}}}$'


def key_pattern(pattern: str | None, names: Schema, accepts: Accepts, note: Note) -> str:
    """Return a pattern of keys that end soon.

    Args:
        pattern: What keys have to match; None for any.
        names: The schema of the keys otherwise.
        accepts: Whether the grammar engine takes a schema.
        note: Told of what cannot be enforced.
    """
    least = names.get("minLength", 0)
    most = max(least, min(names.get("maxLength", KEY_LENGTH), KEY_LENGTH))
    if pattern is None:
        return any_key(least, most)
    if not accepts({"type": "string", "pattern": pattern}):
        note(f"the pattern {pattern!r} of keys")
        return any_key(least, most)
    if _lengths(names):
        note("the length of keys with a pattern")
    if not pattern.startswith("^") or pattern.endswith("$") or "|" in pattern:
        return pattern
    return rf'{pattern}[^\x00-\x1f\x7f"\\]{{0,{max(most - 1, 0)}}}$'
