"""One review from order to report, with somebody watching."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from typing import NamedTuple

from flock import DeadLetter, Flock, IdleReport
from flock.cli.demo.pipeline import review, review_board
from flock.cli.demo.progress import Display, Tally, follow
from flock.cli.demo.report import Statistics
from flock.cli.demo.types import Report, ReviewedFile, SourceFile, SourceTree


class Outcome(NamedTuple):
    """What came of a review. Without a single file to review there is no report."""

    report: Report | None
    statistics: Statistics
    failures: list[DeadLetter]


async def run_review(
    tree: SourceTree, tally: Tally, display: AbstractContextManager[Display]
) -> Outcome:
    """Review a tree on a board of its own and show the progress meanwhile.

    When it is cancelled, nothing more is started and nobody waits for what is running.
    """
    async with asyncio.TaskGroup() as tasks, review_board() as flock:
        tasks.create_task(follow(flock.events(), tally, display))
        try:
            idle = await review(flock, tree)
        except asyncio.CancelledError:
            await flock.shutdown(grace=0)
            raise
        return await _outcome(flock, idle)


async def _outcome(flock: Flock, idle: tuple[IdleReport, ...]) -> Outcome:
    failures = await flock.dead_letters()
    unreviewed: set[str] = set()
    if failures:
        found = await flock.store.get_by_type(SourceFile)
        done = await flock.store.get_by_type(ReviewedFile)
        unreviewed = {file.path for file in found} - {file.path for file in done}
    statistics = Statistics(
        runs=sum(each.runs for each in idle),
        failed=sum(each.failed for each in idle),
        seconds=sum(each.elapsed for each in idle),
        unreviewed=tuple(sorted(unreviewed)),
    )
    reports = await flock.store.get_by_type(Report)
    return Outcome(reports[0] if reports else None, statistics, failures)
