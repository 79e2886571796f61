"""The review as a flock: each agent says what it reads and writes, none knows another."""

from __future__ import annotations

from datetime import timedelta

from flock import BatchSpec, BlackboardStore, Flock, IdleReport, JoinSpec
from flock.cli.demo.collector import collect
from flock.cli.demo.complexity import review_complexity
from flock.cli.demo.documentation import review_documentation
from flock.cli.demo.editing import bring_together, write_chapter, write_report
from flock.cli.demo.security import review_security
from flock.cli.demo.types import (
    Chapter,
    ComplexityReview,
    DocumentationReview,
    ReviewedFile,
    SecurityReview,
    SourceTree,
)


def review_board(store: BlackboardStore | None = None) -> Flock:
    """Declare who takes part. What is not declared here, the functions' annotations say."""
    # at most 8 at once: they compute, on one interpreter
    flock = Flock(name="review", store=store, max_concurrency=8)

    # One agent collects the files of a tree, publishing each as soon as it is read.
    flock.agent("collector").calls(collect)  # SourceTree -> SourceFile, SourceFile, ...

    # Three agents review every file, side by side.
    flock.agent("complexity").calls(review_complexity)  # SourceFile -> ComplexityReview
    flock.agent("security").calls(review_security)  # SourceFile -> SecurityReview
    flock.agent("documentation").calls(review_documentation)  # SourceFile -> DocumentationReview

    # One waits until all three reviews of the same file are there.
    same_file = JoinSpec(by="path", within=timedelta(hours=1))
    flock.agent("binder").consumes(
        ComplexityReview, SecurityReview, DocumentationReview, join=same_file
    ).calls(bring_together)  # -> ReviewedFile

    # One writes a chapter on every 25 files, and on what is left when no more come.
    some_files = BatchSpec(size=25, timeout=0.5)
    flock.agent("editor").consumes(ReviewedFile, batch=some_files).calls(write_chapter)

    # One gathers the chapters until it is told that no more will come, and writes the report.
    every_chapter = BatchSpec(size=1_000_000)
    flock.agent("author").consumes(Chapter, batch=every_chapter).calls(write_report)
    return flock


async def review(flock: Flock, tree: SourceTree) -> tuple[IdleReport, IdleReport]:
    """Publish a tree, and let the board find out the rest, or go on with what is left of it."""
    await flock.publish(tree, idempotency_key="tree")
    reviewed = await flock.run_until_idle()  # nothing is left to do: no more chapters
    await flock.flush()
    return reviewed, await flock.run_until_idle()  # the report lies on the board
