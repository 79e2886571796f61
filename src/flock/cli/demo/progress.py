"""How far the review is: counted from the board's events, shown live or line by line."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from flock import (
    Artifact,
    ArtifactPublished,
    DeadLettered,
    Event,
    EventsMissed,
    RunCancelled,
    RunEmitted,
    RunFailed,
    RunStarted,
    RunSucceeded,
)
from flock.cli.demo.report import counted
from flock.cli.demo.thinking import THINKERS
from flock.cli.demo.writing import Writing

REVIEWERS = ("complexity", "security", "documentation")
STAGES = (*REVIEWERS, "binder")
EVERY = timedelta(seconds=2)


class Tally:
    """What has been found and done so far."""

    def __init__(self) -> None:
        self.found = 0
        """Files, readable or not, once the collector has counted them."""
        self.unreadable = 0
        self.done: Counter[str] = Counter()
        """Runs that succeeded, by agent."""
        self.failed = 0
        self.now: dict[str, str] = {}
        """What is being reviewed: run id to path."""
        self.missed = 0
        self.writing = Writing()
        """What a model writes of the report."""
        self._failed_runs = 0
        self._before = 0
        self._paths: dict[UUID, str] = {}

    @property
    def to_review(self) -> int:
        """Files that a reviewer can read, as far as is known."""
        return self.found - self.unreadable

    @property
    def runs(self) -> int:
        """Runs that have ended in this session."""
        return self.done.total() + self._failed_runs - self._before

    def take_up(self, to_review: int, unreadable: int, done: Mapping[str, int]) -> None:
        """Begin with what an earlier session found and did.

        Args:
            to_review: Files that a reviewer can read.
            unreadable: Files that none can.
            done: Runs that succeeded, by agent.
        """
        self.found, self.unreadable = to_review + unreadable, unreadable
        self.done.update(done)
        self._before = self.done.total()

    def count(self, event: Event) -> None:
        """Take one event in."""
        self.writing.count(event)
        match event:
            case ArtifactPublished(artifact=artifact) if artifact.produced_by == "collector":
                self._collected(artifact)
            case RunEmitted(agent="collector", delta=int(found)):
                self.found = found
            case RunStarted(agent=agent, run_id=run, artifact_ids=(file, *_)) if agent in REVIEWERS:
                self.now[run] = self._paths.get(file, "")
            case RunSucceeded(agent=agent, run_id=run):
                self.now.pop(run, None)
                self.done[agent] += 1
            case RunFailed(run_id=run):
                self.now.pop(run, None)
                self._failed_runs += 1
            case RunCancelled(run_id=run):
                self.now.pop(run, None)
            case DeadLettered(agent=agent) if agent not in THINKERS:
                self.failed += 1
            case EventsMissed(count=count):
                self.missed += count
            case _:
                pass

    def _collected(self, artifact: Artifact) -> None:
        if artifact.type.endswith("SourceFile"):
            self._paths[artifact.id] = artifact.payload["path"]
        elif artifact.type.endswith("ReviewedFile"):
            self.unreadable += 1

    def sentence(self) -> str:
        """Say how far it is."""
        done, to_review = self.done["binder"], self.to_review
        all_of = f"{done:,} of {counted(to_review, 'file')} reviewed"
        parts = [all_of if done or to_review else "No file reviewed"]
        if self.unreadable:
            parts.append(f"{self.unreadable:,} could not be read")
        if self.failed:
            parts.append(f"{counted(self.failed, 'run')} failed")
        if self.missed:
            parts.append(f"{self.missed:,} events were missed, so this is too low")
        return ", ".join(parts)


class Display(Protocol):
    """Where the progress is shown."""

    def show(self, at: datetime) -> None:
        """Show the tally as it is at this time."""
        ...


async def follow(
    events: AsyncIterable[Event], tally: Tally, display: AbstractContextManager[Display]
) -> None:
    """Count the events and show the progress, until the board closes."""
    with display as shown:
        async for event in events:
            tally.count(event)
            shown.show(event.at)


class Bars(Progress):
    """One bar a stage, and below them what is going on right now."""

    def __init__(self, tally: Tally, console: Console) -> None:
        self._tally = tally
        self._terminal = console
        super().__init__(
            TextColumn("[bold]{task.description:<13}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._bars = {stage: self.add_task(stage, total=None) for stage in STAGES}

    def show(self, at: datetime) -> None:
        """Move the bars; they are drawn several times a second, not with every event."""
        del at
        for stage, bar in self._bars.items():
            self.update(bar, completed=self._tally.done[stage], total=self._tally.to_review or None)

    def stop(self) -> None:
        """Leave the bars as they are, or nothing of them if there is nothing to review."""
        self.live.transient = not self._tally.found
        super().stop()

    def get_renderables(self) -> Iterable[RenderableType]:
        """Draw the bars, the line below, and what is being written."""
        yield self.make_tasks_table(self.tasks)
        yield Text(self._line(), style="dim", no_wrap=True, overflow="ellipsis")
        for line in self._tally.writing.lines(self._terminal.width):
            yield Text(line, style="cyan", no_wrap=True, overflow="ellipsis")

    def _line(self) -> str:
        tally = self._tally
        if now := sorted(set(tally.now.values())):
            return f"{tally.sentence()} · now {', '.join(now)}"
        return tally.sentence()


class Lines:
    """A line every two seconds, and one for each text that is done: for logs and pipes."""

    def __init__(self, tally: Tally, console: Console) -> None:
        self._tally = tally
        self._console = console
        self._last: datetime | None = None
        self._is_reviewed = False
        self._told = 0

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *error: object) -> None:
        self._tell()
        self._close()

    def show(self, at: datetime) -> None:
        """Print what is new, or a line on how far it is if the last one is old enough."""
        if self._tally.writing.has_begun:
            self._close()
            self._tell()
        elif self._last is None:
            self._last = at
        elif at - self._last >= EVERY:
            self._last = at
            self._say(f"{self._tally.sentence()} ...")

    def _close(self) -> None:
        """Say that the review is done, before a model has its word."""
        if self._tally.found and not self._is_reviewed:
            self._is_reviewed = True
            self._say(f"{self._tally.sentence()}.")

    def _tell(self) -> None:
        sentences = self._tally.writing.sentences
        for sentence in sentences[self._told :]:
            self._say(sentence)
        self._told = len(sentences)

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class Silence:
    """No progress at all."""

    def show(self, at: datetime) -> None:
        """Show nothing."""


def choose_display(
    tally: Tally, console: Console, *, wanted: bool
) -> AbstractContextManager[Display]:
    """Choose bars on a terminal, lines elsewhere, nothing if that is wanted."""
    if not wanted:
        return nullcontext(Silence())
    has_bars = console.is_terminal and not console.is_dumb_terminal
    return Bars(tally, console) if has_bars else Lines(tally, console)
