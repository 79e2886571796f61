"""One review from order to report, with somebody watching."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from typing import Final, NamedTuple

from pydantic import BaseModel

from flock import BlackboardStore, DeadLetter, FilterConfig, Flock
from flock.cli.demo.pipeline import review, review_board
from flock.cli.demo.progress import Display, Tally, follow
from flock.cli.demo.report import Statistics
from flock.cli.demo.thinking import THINKERS, add_thinkers
from flock.cli.demo.thoughts import Thoughts, thoughts_on
from flock.cli.demo.types import (
    ComplexityReview,
    DocumentationReview,
    Report,
    ReviewedFile,
    SecurityReview,
    SourceFile,
    SourceTree,
)


class Outcome(NamedTuple):
    """What came of a review.

    Attributes:
        report: The report; None without a single file to review.
        statistics: What the board did.
        failures: Reviews that failed.
        thoughts: What a model said; None if none was asked.
        is_interrupted: Whether it was cancelled while the model was at work.
    """

    report: Report | None
    statistics: Statistics
    failures: list[DeadLetter]
    thoughts: Thoughts | None = None
    is_interrupted: bool = False


class OtherReview(Exception):
    """A board holds the review of another tree.

    Attributes:
        tree: That one.
    """

    def __init__(self, tree: SourceTree) -> None:
        super().__init__(tree)
        self.tree = tree


_MADE: Final = {
    "complexity": ComplexityReview,
    "security": SecurityReview,
    "documentation": DocumentationReview,
    "binder": ReviewedFile,
}
"""Of which type each run of an agent makes one."""


class Session:
    """A review on a board of its own.

    Args:
        tree: What to review.
        model: The model that reads the report, ready to be asked; None for none.
        tally: Counts what is done.
        display: Shows it meanwhile.
        store: Where the review lasts; in memory if None. One that was interrupted goes on.

    Attributes:
        tree: What to review.
        outcome: What came of it. After a cancellation there is one if the report was written.
    """

    def __init__(
        self,
        tree: SourceTree,
        model: str | None,
        tally: Tally,
        display: AbstractContextManager[Display],
        store: BlackboardStore | None = None,
    ) -> None:
        self.outcome: Outcome | None = None
        self.tree = tree
        self._model = model
        self._tally = tally
        self._display = display
        self._store = store

    async def run(self) -> Outcome:
        """Review the tree.

        When it is cancelled, nothing more is started and nobody waits for what is running; a
        report that lies on the board already is kept with what was thought of it so far.
        """
        reports = await self._take_up() if self._store is not None else []
        board = review_board(self._store)
        if self._model is not None:  # then some think of the report
            add_thinkers(board, self._model, reports)
        async with asyncio.TaskGroup() as tasks, board as flock:
            tasks.create_task(follow(flock.events(), self._tally, self._display))
            start = flock.clock.time()
            try:
                idle = await review(flock, self.tree)
            except asyncio.CancelledError:
                self._tally.writing.stop()
                await flock.shutdown(grace=0)
                seconds = flock.clock.time() - start
                outcome = await self._gather(flock, self._tally.runs, seconds, is_interrupted=True)
                self.outcome = outcome if outcome.report is not None else None
                raise
            runs, seconds = sum(each.runs for each in idle), sum(each.elapsed for each in idle)
            self.outcome = await self._gather(flock, runs, seconds)
            return self.outcome

    async def _take_up(self) -> list[Report]:
        """Count what an earlier session did, and return the report that it came to.

        Raises:
            OtherReview: It was a review of another tree.
        """
        store = self._store
        assert store is not None
        trees = await store.get_by_type(SourceTree)
        if not trees:
            return []
        if trees[0] != self.tree:
            raise OtherReview(trees[0])
        counts = (await store.summary()).by_type
        files = counts.get(_name(SourceFile), 0)
        notices = FilterConfig(produced_by=["collector"], type_names=[ReviewedFile])
        _, unreadable = await store.query_artifacts(notices, limit=0)
        done = {agent: counts.get(_name(made), 0) for agent, made in _MADE.items()}
        done["binder"] -= unreadable
        self._tally.take_up(files, unreadable, {a: n for a, n in done.items() if n > 0})
        return await store.get_by_type(Report)

    async def _gather(
        self, flock: Flock, runs: int, seconds: float, *, is_interrupted: bool = False
    ) -> Outcome:
        store, model = flock.store, self._model
        letters = await store.dead_letters()
        failures = [letter for letter in letters if letter.agent not in THINKERS]
        unreviewed: set[str] = set()
        if failures:
            found = await store.get_by_type(SourceFile)
            done = await store.get_by_type(ReviewedFile)
            unreviewed = {file.path for file in found} - {file.path for file in done}
        reports = await store.get_by_type(Report)
        return Outcome(
            report=reports[0] if reports else None,
            statistics=Statistics(runs, len(letters), seconds, tuple(sorted(unreviewed))),
            failures=failures,
            thoughts=await thoughts_on(flock, model, is_interrupted=is_interrupted)
            if model is not None
            else None,
            is_interrupted=is_interrupted,
        )


def _name(model: type[BaseModel]) -> str:
    return f"{model.__module__}.{model.__qualname__}"
