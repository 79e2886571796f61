"""Subscriptions by meaning: what a text has to be about, and what measures that."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, cast

from flock.core.texts import MAX_PASSAGE, unreadable
from flock.errors import DeclarationError

if TYPE_CHECKING:
    from flock.core.types import TypeEntry

DEFAULT_THRESHOLD: Final = 0.35
"""Where, with the default model, most of what passes is about the query: docs/semantic.md."""

Vector = Sequence[float]
Scores = Mapping["SemanticMatch", float]
"""How near one artifact comes to each criterion that was asked of it, from -1 to 1."""


class Embedder(Protocol):
    """Turns texts into vectors that lie near each other when the texts mean the same."""

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return one vector for each text, in their order.

        The board asks for one batch at a time, of at most 64 different texts of at most 500
        characters, and keeps the answers. It cancels the call when nobody waits for it any more.

        Args:
            texts: At least one, none of them blank.

        Returns:
            As many vectors as texts, all of the same length, of finite numbers; they need
            not be normalised. They are compared by the cosine of their angle.

        Raises:
            Exception: What was to be published is refused then, and not stored.
        """
        ...


@dataclass(frozen=True, slots=True, init=False)
class SemanticMatch:
    """A criterion that an artifact meets when its text is about what a query says.

    Attributes:
        queries: What the text has to be about; one of several is enough.
        threshold: How near it has to be: the least cosine similarity, above 0 and up to 1.
        fields: Whose text counts, as field names or dotted paths; None for all.
    """

    queries: tuple[str, ...]
    threshold: float
    fields: tuple[str, ...] | None

    def __init__(
        self,
        query: str | Iterable[str],
        threshold: float = DEFAULT_THRESHOLD,
        *,
        fields: str | Iterable[str] | None = None,
    ) -> None:
        """Say what a text has to be about.

        Args:
            query: A text of at most 500 characters, or several of which one is enough.
            threshold: The least cosine similarity, above 0 and up to 1.
            fields: A field's name, a dotted path (`"ticket.body"`, which goes through lists
                and dicts, too), or several; all text of the artifact unless said.

        Raises:
            DeclarationError: One of them makes no sense.
        """
        queries = _texts("query", query)
        for text in queries:
            if len(text) > MAX_PASSAGE:
                msg = (
                    f"a query has at most {MAX_PASSAGE} characters, since texts are compared "
                    f"in passages of that length, not {len(text)} ({text[:40]!r}...); shorten it, "
                    "or give several queries"
                )
                raise DeclarationError(msg)
        is_number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
        if not is_number or not 0 < threshold <= 1:
            msg = (
                "threshold is a cosine similarity above 0 and up to 1, such as "
                f"{DEFAULT_THRESHOLD}, not {threshold!r}"
            )
            raise DeclarationError(msg)
        object.__setattr__(self, "queries", queries)
        object.__setattr__(self, "threshold", float(threshold))
        paths = None if fields is None else _texts("fields", fields)
        object.__setattr__(self, "fields", paths)


def semantic_criteria(given: object, entries: Iterable[TypeEntry]) -> tuple[SemanticMatch, ...]:
    """Return the criteria of a subscription, all of which have to be met.

    Args:
        given: A query, a `SemanticMatch`, several of them, or None.
        entries: The types of the subscription.

    Raises:
        DeclarationError: It is something else, or a type lacks the text that is asked for.
    """
    if given is None:
        return ()
    several: list[object] = [given]
    if isinstance(given, Iterable) and not isinstance(given, str | bytes | Mapping):
        several = list(cast("Iterable[object]", given))
    entries = tuple(entries)
    found: list[SemanticMatch] = []
    for one in several:
        if not isinstance(one, str | SemanticMatch):
            msg = f"takes a query, a SemanticMatch, or several of them, not {one!r}"
            raise DeclarationError(msg)
        criterion = SemanticMatch(one) if isinstance(one, str) else one
        for entry in entries:
            reason = unreadable(entry.cls, criterion.fields)
            if reason is not None:
                msg = f"{entry.name!r} {reason}"
                raise DeclarationError(msg)
        found.append(criterion)
    if not found:
        msg = "needs at least one query; leave it out to take every artifact"
        raise DeclarationError(msg)
    return tuple(dict.fromkeys(found))


def meets(criteria: Iterable[SemanticMatch], scores: Scores) -> bool:
    """Return whether scores reach the thresholds of all criteria."""
    return all(scores[criterion] >= criterion.threshold for criterion in criteria)


def direction(vector: Vector) -> tuple[float, ...]:
    """Return a vector of length 1 in the same direction; a zero vector stays as it is.

    Raises:
        ValueError: It is empty, or a number is not finite.
    """
    numbers = tuple(map(float, vector))
    length = math.hypot(*numbers)
    if not numbers or not math.isfinite(length):
        msg = f"a vector of {len(numbers)} numbers that are not all finite"
        raise ValueError(msg)
    return tuple(number / length for number in numbers) if length else numbers


def similarity(a: Vector, b: Vector) -> float:
    """Return the cosine of the angle between two vectors of length 1.

    Rounded to six digits, which is what vectors of 32-bit numbers carry, so that equal texts
    are exactly 1 apart.
    """
    return round(sum(map(operator.mul, a, b)), 6)


def _texts(option: str, given: object) -> tuple[str, ...]:
    """Return one or several texts that are not blank, each once."""
    found: list[object] = [given]
    if isinstance(given, Iterable) and not isinstance(given, str):
        found = list(cast("Iterable[object]", given))
    if not found or not all(isinstance(text, str) and text.strip() for text in found):
        msg = f"{option} takes a text or several, none of them blank, not {given!r}"
        raise DeclarationError(msg)
    return tuple(dict.fromkeys(cast("list[str]", found)))
