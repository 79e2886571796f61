"""The report as Markdown.

It is the same text for the same tree, but for the statistics' last line and what a model says:
the verdict above all and the explanations below their findings, which stand in lines of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from flock.cli.demo.types import Finding, Metrics, Report, ReviewedFile, Severity

if TYPE_CHECKING:
    from flock.cli.demo.thoughts import Thoughts

BAR = r"\|"
WORST = 20
TOGETHER = 3
"""So many findings of one rule in one file are listed one by one, more in one line."""


class Statistics(NamedTuple):
    """What the board did for the report."""

    runs: int
    failed: int
    seconds: float
    unreviewed: tuple[str, ...] = ()
    """Files without a report, because a reviewer failed on them."""


def write_markdown(
    report: Report, title: str, statistics: Statistics, thoughts: Thoughts | None = None
) -> str:
    """Write the whole report."""
    folders = groupby(_by_folder(report.files), key=_folder)
    return "\n".join(
        [
            f"# Review of {_plain(title)}",
            "",
            *_verdict(thoughts),
            summary_line(report),
            "",
            *_summary(report),
            *_unreviewed(statistics.unreviewed),
            *_first_things(report, thoughts),
            *_worst_files(report),
            *(line for folder, files in folders for line in _section(folder, list(files))),
            "---",
            "",
            f"Written by `flock demo`: {statistics.runs:,} runs, {statistics.failed:,} failed, "
            f"in {statistics.seconds:.1f} s.",
            "",
        ]
    )


def summary_line(report: Report) -> str:
    """Say in one sentence what was looked at and what was found."""
    metrics = report.metrics
    return (
        f"{counted(len(report.files), 'file')}, {counted(metrics.lines, 'line')}, "
        f"{counted(metrics.functions, 'function')}: {counted(len(report.findings), 'finding')}."
    )


def counts_by_reviewer(report: Report) -> Iterator[tuple[str, list[int]]]:
    """Yield every reviewer that found something, with its counts, the worst severity first."""
    for reviewer in sorted({finding.reviewer for finding in report.findings}):
        yield reviewer, [report.count(severity, reviewer) for severity in Severity]


def facts(metrics: Metrics) -> Iterator[tuple[str, str]]:
    """Yield what was measured, each with its name."""
    yield "Cyclomatic complexity, mean of all functions", f"{metrics.mean_complexity:.1f}"
    yield "Cyclomatic complexity, worst function", f"{metrics.worst_complexity}"
    documented = f"{metrics.documented:,} of {metrics.public:,} ({metrics.documentation:.0%})"
    yield "Public names with a docstring", documented


def _summary(report: Report) -> Iterator[str]:
    yield "## Summary"
    yield ""
    yield from _table(
        ["Reviewer", *Severity, "all"],
        [
            *([name, *counts, sum(counts)] for name, counts in counts_by_reviewer(report)),
            ["all", *(report.count(severity) for severity in Severity), len(report.findings)],
        ],
    )
    yield from _table(["Measured", ""], facts(report.metrics))


def _unreviewed(paths: tuple[str, ...]) -> Iterator[str]:
    if paths:
        yield "## Not reviewed"
        yield ""
        yield "A reviewer failed on these files; `flock demo` said why."
        yield ""
        yield from (f"- {_code(path)}" for path in paths)
        yield ""


def _verdict(thoughts: Thoughts | None) -> Iterator[str]:
    if thoughts is not None and thoughts.verdict is not None:
        yield "## Verdict"
        yield ""
        yield _plain(thoughts.verdict.summary)
        yield ""
        yield f"**First step:** {_plain(thoughts.verdict.first_step)}"
        yield ""
        yield (
            f"*Written by {_code(thoughts.model)}, like the explanations below. A model can be "
            "wrong; all else is measured.*"
        )
        yield ""


def _first_things(report: Report, thoughts: Thoughts | None) -> Iterator[str]:
    if report.first:
        yield "## To look at first"
        yield ""
        for finding in report.first:
            yield _line(finding)
            if thoughts is not None and (explanation := thoughts.on(finding)) is not None:
                yield f"  - *Why:* {_plain(explanation.problem)}"
                yield f"  - *Fix:* {_plain(explanation.fix)}"
        yield ""


def _worst_files(report: Report) -> Iterator[str]:
    if worst := report.worst[:WORST]:
        rows = (
            [
                _code(each.path),
                each.metrics.lines,
                each.metrics.worst_complexity,
                *_severities(each),
            ]
            for each in worst
        )
        yield "## The files with the most to improve"
        yield ""
        yield from _table(["File", "lines", "worst function", *Severity], rows)


def _section(folder: str, files: list[ReviewedFile]) -> Iterator[str]:
    found = [file for file in files if file.findings]
    lines = sum(file.metrics.lines for file in files)
    yield f"## {_code(folder)}"
    yield ""
    clean = "" if found else " Nothing found."
    yield f"{counted(len(files), 'file')}, {counted(lines, 'line')}.{clean}"
    yield ""
    for file in found:
        yield f"### {_code(file.path)}"
        yield ""
        yield from _findings(file)
        yield ""


def _findings(file: ReviewedFile) -> Iterator[str]:
    kinds: dict[tuple[Severity, str, str], list[Finding]] = {}
    for finding in file.findings:
        kinds.setdefault((finding.severity, finding.reviewer, finding.rule), []).append(finding)
    severities = list(Severity)
    for (severity, _, rule), found in sorted(
        kinds.items(), key=lambda kind: (severities.index(kind[0][0]), kind[0][1:])
    ):
        if len(found) <= TOGETHER or severity in {Severity.HIGH, Severity.MEDIUM}:
            yield from map(_line, found)
        else:
            places = ", ".join(f"`:{finding.line}`" for finding in found[1:])
            yield f"{_line(found[0])}; {len(found) - 1} more {rule}: {places}"


def _line(finding: Finding) -> str:
    place = _code(f"{finding.path}:{finding.line}")
    return f"- {place} **{finding.severity}** {finding.rule}: {_plain(finding.message)}"


def _severities(file: ReviewedFile) -> list[int]:
    return [sum(each.severity is severity for each in file.findings) for severity in Severity]


def _folder(file: ReviewedFile) -> str:
    return file.path.rpartition("/")[0] + "/" if "/" in file.path else "./"


def _by_folder(files: Iterable[ReviewedFile]) -> list[ReviewedFile]:
    return sorted(files, key=lambda file: (_folder(file), file.path))


def _table(head: Iterable[object], rows: Iterable[Iterable[object]]) -> Iterator[str]:
    heads = list(head)
    yield _row(heads)
    yield _row("---" if index == 0 else "---:" for index in range(len(heads)))
    yield from map(_row, rows)
    yield ""


def _row(cells: Iterable[object]) -> str:
    shown = (cell if isinstance(cell, str) else f"{cell:,}" for cell in cells)
    return f"| {' | '.join(cell.replace('|', BAR) for cell in shown)} |"


def counted(number: int, noun: str) -> str:
    """Write a number with its noun, as in "1 file" and "2,000 files"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _plain(text: str) -> str:
    """Text that no Markdown reader takes for markup, in one line."""
    return re.sub(r"([\\`*\[<]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    plain = " ".join(text.split()).replace("`", "'")
    return f"`{plain}`"
