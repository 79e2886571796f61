"""What lies on the board during a review: a tree, its files, their reviews, the report."""

from __future__ import annotations

import re
from enum import StrEnum
from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

_SHORTEST = 10


def _clean(text: str) -> str:
    """Drop what a model wrote because it found no end.

    That is a sentence that it has written before, and one that it had no room to finish, if
    there is another.
    """
    ends = [0, *(found.end() for found in re.finditer(r"[.!?](?=\s|$)", text))]
    sentences = [text[start:end].strip() for start, end in pairwise(ends)]
    kept = " ".join(dict.fromkeys(sentences)) or text.strip()
    if kept.partition(" ")[0].isalpha():  # else it begins with code
        kept = kept[:1].upper() + kept[1:]
    return kept if _SHORTEST <= len(kept) <= len(text) else text  # within the bounds of before


Prose = Annotated[str, Field(min_length=_SHORTEST), AfterValidator(_clean)]
"""What a model writes: sentences."""


class Severity(StrEnum):
    """How much a finding matters, the worst first."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    INFO = "info"

    @property
    def weight(self) -> int:
        """What one finding of this severity adds to its file's score."""
        return _WEIGHTS[self]


_WEIGHTS = {Severity.HIGH: 25, Severity.MEDIUM: 5, Severity.LOW: 1, Severity.INFO: 0}


class Finding(BaseModel, frozen=True):
    """One thing to look at, in one line of one file."""

    path: str
    line: int
    severity: Severity
    reviewer: str
    rule: str
    message: str

    @property
    def order(self) -> tuple[str, int, str, str, str]:
        """The key that sorts findings the way a reader goes through the files."""
        return self.path, self.line, self.reviewer, self.rule, self.message


class Metrics(BaseModel, frozen=True):
    """Counts taken from one file, or from many: they add up."""

    lines: int = 0
    functions: int = 0
    complexity: int = 0
    """The sum over all functions."""
    worst_complexity: int = 0
    public: int = 0
    """Modules, classes and functions that should have a docstring."""
    documented: int = 0

    @property
    def mean_complexity(self) -> float:
        """The mean cyclomatic complexity of a function, 0 without any."""
        return self.complexity / self.functions if self.functions else 0.0

    @property
    def documentation(self) -> float:
        """The part of the public names that has a docstring, from 0 to 1."""
        return self.documented / self.public if self.public else 1.0

    def __add__(self, other: Metrics) -> Metrics:
        """Add the counts of other files; of the worst the worse one stays."""
        return Metrics(
            lines=self.lines + other.lines,
            functions=self.functions + other.functions,
            complexity=self.complexity + other.complexity,
            worst_complexity=max(self.worst_complexity, other.worst_complexity),
            public=self.public + other.public,
            documented=self.documented + other.documented,
        )


class SourceTree(BaseModel):
    """The order to review a folder, or a single file."""

    root: str
    exclude: tuple[str, ...] = ()
    max_files: int | None = None


class SourceFile(BaseModel):
    """One Python file. Its path is relative to the tree, with forward slashes."""

    path: str
    text: str


class Review(BaseModel):
    """What one reviewer has to say about one file."""

    path: str
    findings: tuple[Finding, ...] = ()
    metrics: Metrics = Metrics()


class ComplexityReview(Review):
    """How hard the file is to follow."""


class SecurityReview(Review):
    """What in the file an attacker could use."""


class DocumentationReview(Review):
    """What the file leaves unexplained."""


class ReviewedFile(Review):
    """All that was found in one file, by all reviewers."""

    @property
    def score(self) -> int:
        """The weights of all findings: the file with the highest is the worst."""
        return sum(finding.severity.weight for finding in self.findings)


class Chapter(BaseModel):
    """A part of the report: some files, in the order in which their reviews were done."""

    files: tuple[ReviewedFile, ...]
    metrics: Metrics


class Report(BaseModel):
    """The whole review, sorted by path, the same for the same tree."""

    files: tuple[ReviewedFile, ...]
    metrics: Metrics

    @property
    def findings(self) -> list[Finding]:
        """The findings of all files, in order of path and line."""
        return [finding for file in self.files for finding in file.findings]

    @property
    def first(self) -> list[Finding]:
        """What to look at first: the findings of high severity, or else the medium ones.

        Those of the worst file come first.
        """
        found = [finding for file in self.worst for finding in file.findings]
        high = [finding for finding in found if finding.severity is Severity.HIGH]
        return high or [finding for finding in found if finding.severity is Severity.MEDIUM]

    @property
    def worst(self) -> list[ReviewedFile]:
        """The files with anything to improve, the worst first."""
        scored = [file for file in self.files if file.score]
        return sorted(scored, key=lambda file: (-file.score, file.path))

    def count(self, severity: Severity | None = None, reviewer: str | None = None) -> int:
        """Count the findings of one severity or reviewer, or of both."""
        return sum(
            severity in {None, finding.severity} and reviewer in {None, finding.reviewer}
            for finding in self.findings
        )


class Overview(BaseModel):
    """A finished review of a Python source tree, in sentences that are all true."""

    facts: list[str] = Field(description="how much was reviewed, and how much was found")
    worst: str = Field(description="the worst finding: where it is, and what was found")
    remedy: str = Field(description="what helps against the worst finding")


class Concern(BaseModel):
    """One of the worst findings of a review, with the code that it is about."""

    path: str
    line: int
    severity: Severity
    rule: str
    message: str = Field(description="what was found")
    danger: str = Field(description="what may happen because of it")
    remedy: str = Field(description="what helps")
    code: str = Field(description="the code from a little before that line on")

    def is_about(self, finding: Finding) -> bool:
        """Whether it was made of that finding."""
        mine = (self.path, self.line, self.rule, self.message)
        return mine == (finding.path, finding.line, finding.rule, finding.message)


class Explanation(BaseModel):
    """What a finding means for whoever maintains the code."""

    problem: Prose = Field(
        max_length=400,
        description="the danger: what may happen because of it",
    )
    fix: Prose = Field(
        max_length=400,
        description="which argument, call or part of this code to change, and into what",
    )


class Verdict(BaseModel):
    """What somebody who has a minute should know of a review."""

    summary: Prose = Field(
        max_length=450,
        description="the facts that matter, in two or three sentences: findings by severity, and "
        "which kind is most frequent",
    )
    first_step: Prose = Field(
        max_length=300,
        description="the remedy of the worst finding as an order, as in: In FILE, change FUNCTION "
        "so that ...",
    )
