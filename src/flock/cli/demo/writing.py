"""What the thinking agents write right now, from the board's events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, cast
from uuid import UUID

from rich.cells import cell_len

from flock import (
    ArtifactPublished,
    Event,
    PartialOutput,
    RunCancelled,
    RunEmitted,
    RunFailed,
    RunRetrying,
    RunStarted,
    RunSucceeded,
    Token,
)
from flock.cli.demo.report import counted
from flock.cli.demo.thinking import JUDGE, PICKER

_STOPPING: Final = "Interrupted: waiting for the model to stop ..."


@dataclass
class Draft:
    """An answer in the making.

    Attributes:
        agent: Who writes it.
        subject: What it is about: a place in the code; empty for the report.
        text: What can be read of it so far.
        tokens: How many pieces have come.
        call: Which of the run's model calls it is.
    """

    agent: str
    subject: str
    text: str = ""
    tokens: int = 0
    call: int = 0

    def take(self, delta: object) -> None:
        """Take in what the run tells of its answer."""
        match delta:
            case Token(call=call):
                if call != self.call:  # it begins again: the last answer was not valid
                    self.text, self.call = "", call
                self.tokens += 1
            case PartialOutput(fields=fields):
                self.text = " ".join(_texts(fields))
            case _:
                pass

    def line(self, width: int) -> str:
        """Return who writes what, with as much of the end as fits.

        Args:
            width: Columns of the terminal.
        """
        head = " ".join(filter(None, [self.agent, self.subject])) + ": "
        room = max(width - cell_len(head) - 1, 10)
        text = self.text or f"{counted(self.tokens, 'token')} ..."
        return head + (text if cell_len(text) <= room else f"…{_tail(text, room - 1)}")


class Writing:
    """All answers in the making, and those that are done."""

    def __init__(self) -> None:
        self.drafts: dict[str, Draft] = {}
        """By run id, in the order in which the runs began."""
        self.sentences: list[str] = []
        """What has happened so far."""
        self._subjects: dict[UUID, str] = {}
        self._explained = 0
        self._is_stopping = False

    @property
    def has_begun(self) -> bool:
        """Whether the report has come to those that think."""
        return bool(self.sentences)

    @property
    def waiting(self) -> int:
        """How many answers have not begun: the model is reading, or busy with others."""
        return sum(not draft.tokens for draft in self.drafts.values())

    def lines(self, width: int) -> Iterator[str]:
        """Yield a line for each answer that has begun, and one for those that have not.

        Args:
            width: Columns of the terminal.
        """
        if self._is_stopping:
            yield _STOPPING
            return
        yield from (draft.line(width) for draft in self.drafts.values() if draft.tokens)
        if self.waiting:
            yield f"{counted(self.waiting, 'answer')} to begin: the model reads, or is busy"

    def stop(self) -> None:
        """Say that the rest is not wanted; a model inside the process stops between two steps."""
        if self.has_begun and not self._is_stopping:
            self._is_stopping = True
            self.sentences.append(_STOPPING)

    def count(self, event: Event) -> None:
        """Take one event in."""
        match event:
            case ArtifactPublished(artifact=artifact) if artifact.produced_by == PICKER:
                if "line" in (about := artifact.payload):
                    self._subjects[artifact.id] = f"{about['path']}:{about['line']}"
            case RunStarted(
                agent="explainer" | "judge" as agent, run_id=run, artifact_ids=(it, *_)
            ):
                self.drafts[run] = Draft(agent, self._subjects.get(it, ""))
            case RunEmitted(run_id=run, delta=delta) if draft := self.drafts.get(run):
                draft.take(delta)
            case RunSucceeded(agent="picker"):
                self.sentences.append(self._plan())
            case RunSucceeded(run_id=run) if draft := self.drafts.pop(run, None):
                self.sentences.append(self._done(draft))
            case RunFailed(run_id=run) | RunCancelled(run_id=run) | RunRetrying(run_id=run):
                self.drafts.pop(run, None)
            case _:
                pass

    def _plan(self) -> str:
        explanations = counted(len(self._subjects), "explanation")
        return f"The model writes {explanations} and the verdict."

    def _done(self, draft: Draft) -> str:
        if draft.agent == JUDGE:
            return "The verdict is written."
        self._explained += 1
        return f"Explained {draft.subject} ({self._explained} of {len(self._subjects)})."


def _texts(fields: Mapping[str, object]) -> Iterator[str]:
    for value in fields.values():
        values = cast("list[object]", value) if isinstance(value, list) else [value]
        yield from (" ".join(each.split()) for each in values if isinstance(each, str))


def _tail(text: str, room: int) -> str:
    """Return the end of a text that fills no more columns than there are."""
    start = max(len(text) - room, 0)
    while cell_len(text[start:]) > room:
        start += 1
    return text[start:]
