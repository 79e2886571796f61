"""One artifact before a guard: what it holds, and what becomes of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Final, Literal

from pydantic import ValidationError
from pydantic_core import to_json

from flock.components.guards.content import KeyCollision, changed
from flock.components.guards.findings import Detector, Redactor
from flock.components.guards.pii import PiiDetector
from flock.components.guards.secrets import SecretDetector
from flock.core.artifacts import Artifact, set_seq
from flock.core.types import registry
from flock.errors import DeclarationError, FlockError, GuardBlocked

Action = Literal["block", "redact", "annotate"]
"""What a guard does with what it finds."""

ACTIONS: Final = ("block", "redact", "annotate")

LARGE: Final = 16 * 1024
"""Bytes of JSON above which an artifact is looked through in a thread."""


@dataclass(slots=True)
class Inspection:
    """What was found in an artifact.

    Attributes:
        artifact: What goes on: the artifact, redacted where that was asked for.
        counts: How much of each kind.
        places: The fields with findings and the kinds there, in order.
    """

    artifact: Artifact
    counts: Counter[str] = field(default_factory=Counter[str])
    places: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def __str__(self) -> str:
        found = ", ".join(f"{count} {kind}" for kind, count in sorted(self.counts.items()))
        fields = ", ".join(dict.fromkeys(repr(place) for place, _ in self.places[:10]))
        return f"{found} in {fields}"


class Inspector:
    """Looks through artifacts for one guard.

    Args:
        guard: Name of the guard, for errors.
        action: What becomes of what is found.
        detectors: What to look for: personal data and secrets if None.
    """

    def __init__(self, guard: str, action: Action, detectors: Sequence[Detector] | None) -> None:
        if action not in ACTIONS:
            msg = f"the action of {guard!r} is one of {', '.join(ACTIONS)}, not {action!r}"
            raise DeclarationError(msg)
        if detectors is None:
            detectors = (PiiDetector(), SecretDetector())
        for detector in detectors:
            if isinstance(detector, type) or not callable(getattr(detector, "find", None)):
                msg = f"{detector!r} is no detector for {guard!r}: it has no method find(text)"
                raise DeclarationError(msg)
        self.guard = guard
        self.action: Action = action
        self._detectors = tuple(detectors)

    def redactor(self) -> Redactor:
        """Return a redactor that numbers values from the start."""
        return Redactor(self._detectors)

    async def look(
        self,
        artifact: Artifact,
        redactor: Redactor,
        agent: str | None,
        side: str,
        working: AbstractContextManager[None] | None = None,
    ) -> Inspection:
        """Look through an artifact; a large one in a thread.

        Args:
            artifact: What to look at.
            redactor: Finds and numbers.
            agent: Name of the agent, for errors.
            side: `"input"` or `"output"`, for errors.
            working: Tells the board's clock that a thread works.

        Raises:
            GuardBlocked: It cannot be redacted.
        """
        if len(artifact.data) <= LARGE:
            return self._look(artifact, redactor, agent, side)
        with working or nullcontext():
            return await asyncio.to_thread(self._look, artifact, redactor, agent, side)

    def blocked(self, inspection: Inspection, agent: str | None, side: str) -> GuardBlocked:
        """Return the error that stops what was found. It tells kinds and places, no values."""
        place, kind = inspection.places[0]
        what = f"{side} {inspection.artifact.type!r}"
        msg = f"{self._who(agent)} blocked the {what}: it holds {inspection}"
        return _error(msg, agent, self.guard, place, kind)

    def _look(
        self, artifact: Artifact, redactor: Redactor, agent: str | None, side: str
    ) -> Inspection:
        entry = artifact.entry
        while entry.successor is not None:
            entry = entry.successor
        model = artifact.take(entry)
        if artifact.version != entry.version or entry is not artifact.entry:
            seq = artifact.seq
            artifact = artifact.replace(model)
            set_seq(artifact, seq)
        seen = Inspection(artifact)

        def change(text: str, place: str, name: str) -> str:
            if self.action == "redact":
                after, found = redactor.redact(text, name)
            else:
                after, found = text, redactor.find(text, name)
            seen.counts.update(finding.kind for finding in found)
            seen.places.extend((place, finding.kind) for finding in found)
            return after

        try:
            payload = changed(model, artifact.payload, change, lambda key: redactor.redact(key)[0])
            if self.action == "redact" and seen.places:
                redacted = registry.entry(type(model)).load(to_json(payload), entry.version)
                seen.artifact = artifact.replace(redacted)
                set_seq(seen.artifact, artifact.seq)  # still the one that lies on the board
        except KeyCollision as error:
            place, kind = seen.places[0]
            msg = f"{self._who(agent)} cannot redact the {side} {artifact.type!r}: {error}"
            raise _error(msg, agent, self.guard, place, kind) from None
        except FlockError as error:
            raise self._unfit(error, seen, agent, side) from None
        return seen

    def _unfit(
        self, error: FlockError, seen: Inspection, agent: str | None, side: str
    ) -> GuardBlocked:
        """Return the error that says where a placeholder does not fit. No value is told."""
        place, why = seen.places[0][0], "the placeholder is not valid there"
        if isinstance(error.__cause__, ValidationError):
            first = error.__cause__.errors(
                include_url=False, include_context=False, include_input=False
            )[0]
            place = _path(first["loc"]) or place
            why = f"the field takes no placeholder ({first['type']})"
        kind = next((k for p, k in seen.places if p == place), seen.places[0][1])
        msg = (
            f"{self._who(agent)} cannot redact field {place!r} of the {side} "
            f"{seen.artifact.type!r}, which holds {kind}: {why}; loosen the field's type, or "
            "let a guard with action='block' or 'annotate' take care of that kind"
        )
        return _error(msg, agent, self.guard, place, kind)

    def _who(self, agent: str | None) -> str:
        return (
            f"guard {self.guard!r}" if agent is None else f"agent {agent!r}: guard {self.guard!r}"
        )


def _error(msg: str, agent: str | None, guard: str, place: str, kind: str) -> GuardBlocked:
    error = GuardBlocked(msg)
    error.agent, error.component, error.field, error.kind = agent, guard, place, kind
    return error


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return path


def checked_flag(value: object, word: str, guard: str) -> bool:
    """Return a yes or no that a user gave.

    Raises:
        DeclarationError: It is neither.
    """
    if not isinstance(value, bool):
        msg = f"{word} of {guard!r} is True or False, not {value!r}"
        raise DeclarationError(msg)
    return value
