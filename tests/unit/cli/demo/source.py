from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from flock.cli.demo.types import Finding, Review, SourceFile

if TYPE_CHECKING:
    from collections.abc import Iterable


def file_with(text: str, path: str = "pkg/module.py") -> SourceFile:
    """A file with this text, which is dedented and begins at its first line."""
    return SourceFile(path=path, text=textwrap.dedent(text).removeprefix("\n"))


def found(review: Review) -> list[tuple[int, str]]:
    """What a review found, as lines and rules."""
    return [(finding.line, finding.rule) for finding in review.findings]


def rules(findings: Iterable[Finding]) -> list[str]:
    return [finding.rule for finding in findings]
