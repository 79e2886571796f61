"""The agents that think: they explain the worst findings of a report, and judge it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Final

from flock import Backoff, DSPyEngine, Flock, Patience
from flock.cli.demo.handbook import HANDBOOK, UNKNOWN
from flock.cli.demo.report import counted
from flock.cli.demo.types import (
    Concern,
    Explanation,
    Finding,
    Overview,
    Report,
    Severity,
    SourceFile,
    Verdict,
)

EXPLAINER: Final = "explainer"
JUDGE: Final = "judge"
PICKER: Final = "picker"
THINKERS: Final = (PICKER, EXPLAINER, JUDGE)

MOST: Final = 5
"""Findings that are explained."""

BEFORE, AFTER = 2, 24
"""Lines of code around a finding's own that a model reads."""

CHARACTERS: Final = 1600
"""And no more than this of them, so that a prompt stays below a thousand tokens."""

_MAX_TOKENS: Final = 1200
_TIMEOUT: Final = 120.0

UNTRUE: Final = "the numbers of findings of high, medium and low severity are not those given"
_COUNTS: Final = re.compile(
    r"\b(\d[\d,]*)(?: (?:findings?|issues?|problems?|are|is|of|with|a|rated))* (high|medium|low)\b",
    re.IGNORECASE,
)

EXPLAIN = """\
A reviewer found something in Python code. Explain it to the developer who maintains that code.
The problem is the danger, in your own words, with what may happen because of it. The fix applies \
the remedy to the code that you are shown: it names the function, and some of the arguments, \
branches or calls that are to be changed.
Write plain sentences without code blocks. Speak only of this finding."""

JUDGE_IT = """\
Write the verdict of a code review for the developers, from the facts you are given alone.
The summary is about all findings: how many there are of each severity, and which kinds. The first \
step alone is about the worst finding: name its file and its function or call, and what to do \
by the remedy. Add no other numbers, files or problems. If nothing was found, say that there is \
nothing to do."""


def add_thinkers(flock: Flock, model: str, reports: list[Report]) -> None:
    """Let a language model read the report.

    Args:
        flock: The board of a review.
        model: A model string.
        reports: The reports that lie on the board; one that comes is added.
    """

    def is_true(verdict: Verdict) -> bool:
        return all(has_true_figures(verdict.summary, report) for report in reports)

    async def pick(report: Report) -> AsyncIterator[Overview | Concern]:
        reports.append(report)
        yield overview(report)
        files = await flock.store.get_by_type(SourceFile)
        for concern in concerns(report, {file.path: file.text for file in files}):
            yield concern

    engine = DSPyEngine(
        model,
        temperature=0.0,
        max_tokens=_MAX_TOKENS,
        patience=Patience(attempts=3, backoff=Backoff(initial=0.5, maximum=5.0), longest=30.0),
        lm_kwargs={"timeout": _TIMEOUT},
    )
    flock.agent(PICKER).calls(pick)  # Report -> Overview, Concern, Concern, ...
    judge = flock.agent(JUDGE).description(JUDGE_IT)
    judge.consumes(Overview).publishes(Verdict, validate=[(is_true, UNTRUE)]).with_engines(engine)
    explainer = flock.agent(EXPLAINER).description(EXPLAIN)
    explainer.consumes(Concern).publishes(Explanation).with_engines(engine)


def has_true_figures(text: str, report: Report) -> bool:
    """Whether a text that counts findings by severity counts right; small models mix that up."""
    return all(
        int(number.replace(",", "")) == report.count(Severity(severity.lower()))
        for number, severity in _COUNTS.findall(text)
    )


def overview(report: Report) -> Overview:
    """Return what a model is told of a report: sentences, since small models misread figures."""
    worst = next(iter(report.first or report.findings), None)
    return Overview(
        facts=list(_facts(report)),
        worst=f"{worst.path}:{worst.line}: {worst.message}" if worst else "There is none.",
        remedy=HANDBOOK.get(worst.rule, UNKNOWN).remedy if worst else "Nothing is to be done.",
    )


def _facts(report: Report) -> Iterator[str]:
    metrics, findings = report.metrics, report.findings
    files, lines = counted(len(report.files), "file"), counted(metrics.lines, "line")
    yield f"{files} with {lines} of code were reviewed."
    if not findings:
        yield "Nothing was found: there is nothing to do."
        return
    each = [
        f"{counted(report.count(severity), 'finding')} of {severity} severity"
        for severity in (Severity.HIGH, Severity.MEDIUM, Severity.LOW)
    ]
    yield f"There are {', '.join(each)}."
    kinds = Counter(finding.rule for finding in findings)
    [(rule, count)] = kinds.most_common(1)
    if count > 1:
        example = next(finding.message for finding in findings if finding.rule == rule)
        yield f"Most frequent, with {count:,} findings, is {rule}, such as: {example}."
    if missing := metrics.public - metrics.documented:
        yield f"{missing:,} of {counted(metrics.public, 'public name')} lack a docstring."


def picked(report: Report) -> list[Finding]:
    """Return the findings to explain: of those to look at first, as many kinds as there are.

    They come in the report's order, and the first of each rule goes before a second one.
    """
    seen = Counter[str]()
    ranked: list[tuple[int, int, Finding]] = []
    for place, finding in enumerate(report.first):
        ranked.append((seen[finding.rule], place, finding))
        seen[finding.rule] += 1
    best = sorted(ranked, key=lambda one: one[:2])[:MOST]
    return [finding for _, _, finding in sorted(best, key=lambda one: one[1])]


def concerns(report: Report, texts: Mapping[str, str]) -> Iterator[Concern]:
    """Yield the findings to explain with the code around them.

    Args:
        report: The review.
        texts: The text of each file by its path; a file that could not be read has none.
    """
    for finding in picked(report):
        code = excerpt(texts.get(finding.path, ""), finding.line)
        facts = finding.model_dump(include={"path", "line", "severity", "rule", "message"})
        advice = HANDBOOK.get(finding.rule, UNKNOWN)
        danger = f"{finding.message}; because of that, {advice.danger}"
        yield Concern(**facts, code=code, danger=danger, remedy=advice.remedy)


def excerpt(text: str, line: int) -> str:
    """Return the lines around one, numbered from 1 as editors do; whole ones where they fit."""
    lines = text.splitlines()
    first = max(line - 1 - BEFORE, 0)
    kept: list[str] = []
    length = 0
    for each in lines[first : line + AFTER]:
        length += len(each) + 1
        if length > CHARACTERS and len(kept) > line - 1 - first:
            break
        kept.append(each[:CHARACTERS])
    return "\n".join(kept)
