"""How reviews become a report: per file, per chapter, in all."""

from __future__ import annotations

from functools import reduce
from operator import add, attrgetter

from flock.cli.demo.types import (
    Chapter,
    ComplexityReview,
    DocumentationReview,
    Metrics,
    Report,
    ReviewedFile,
    SecurityReview,
)


def bring_together(
    complexity: ComplexityReview, security: SecurityReview, documentation: DocumentationReview
) -> ReviewedFile:
    """Put the three reviews of one file into one, in the order of its lines.

    What all three report, such as a syntax error, is one finding.
    """
    reviews = (complexity, security, documentation)
    findings = {finding for review in reviews for finding in review.findings}
    return ReviewedFile(
        path=complexity.path,
        findings=tuple(sorted(findings, key=attrgetter("order"))),
        metrics=reduce(add, (review.metrics for review in reviews)),
    )


def write_chapter(files: list[ReviewedFile]) -> Chapter:
    """Gather some reviewed files."""
    return Chapter(files=tuple(files), metrics=reduce(add, (file.metrics for file in files)))


def write_report(chapters: list[Chapter]) -> Report:
    """Gather all chapters. Who was reviewed first is chance, so the files are put in order."""
    files = (file for chapter in chapters for file in chapter.files)
    return Report(
        files=tuple(sorted(files, key=attrgetter("path"))),
        metrics=reduce(add, (chapter.metrics for chapter in chapters), Metrics()),
    )
