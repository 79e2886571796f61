"""What the terminal shows when the review is done."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flock.cli.demo.report import counts_by_reviewer, facts, summary_line
from flock.cli.demo.thoughts import Thoughts
from flock.cli.demo.types import Report, Severity

WORST = 10
FIRST = 10
INDENT = "    "
STYLES = {
    Severity.HIGH: "bold red",
    Severity.MEDIUM: "yellow",
    Severity.LOW: "cyan",
    Severity.INFO: "dim",
}


def print_summary(
    report: Report,
    console: Console,
    shown: Callable[[str], str],
    thoughts: Thoughts | None = None,
) -> None:
    """Print the verdict, the counts, the worst files and what to look at first.

    Args:
        report: The review.
        console: Where to.
        shown: Writes a path so that the reader's terminal can open it.
        thoughts: What a model said of it.
    """
    if thoughts is not None and thoughts.verdict is not None:
        verdict = thoughts.verdict
        console.print(Text("Verdict", style="italic"), Text(f"(by {thoughts.model})", style="dim"))
        console.print(Text(verdict.summary))
        console.print(Text.assemble(("First step: ", "bold"), verdict.first_step))
        console.print()
    console.print(Text(summary_line(report), style="bold"))
    if report.findings:
        console.print()
        console.print(_counts(report))
    if report.worst:
        console.print()
        console.print(_worst(report))
    if first := report.first:
        console.print(Text("\nTo look at first", style="italic"))
        for finding in first[:FIRST]:
            place = Text(f"{shown(finding.path)}:{finding.line}", style="bold")
            console.print(Text.assemble(place, " ", finding.message), soft_wrap=True)
            if thoughts is not None and (explanation := thoughts.on(finding)) is not None:
                for head, text in (("Why: ", explanation.problem), ("Fix: ", explanation.fix)):
                    _print_indented(Text.assemble((head, "dim"), text), console)
        if (more := len(first) - FIRST) > 0:
            console.print(Text(f"... and {more:,} more of {first[0].severity} severity", "dim"))
    console.print()
    for name, value in facts(report.metrics):
        console.print(Text.assemble((f"{name}: ", "dim"), value))


def _print_indented(text: Text, console: Console) -> None:
    for line in text.wrap(console, max(console.width - len(INDENT), 20)):
        console.print(Text.assemble(INDENT, line), soft_wrap=True)


def _counts(report: Report) -> Table:
    table = _severity_table("Findings", "reviewer")
    for reviewer, counts in counts_by_reviewer(report):
        table.add_row(Text(reviewer), *map(_number, Severity, counts))
    return table


def _worst(report: Report) -> Table:
    table = _severity_table("Most to improve", "file", "lines")
    for file in report.worst[:WORST]:
        counts = [sum(each.severity is s for each in file.findings) for s in Severity]
        row = map(_number, Severity, counts)
        table.add_row(Text(file.path, overflow="ellipsis"), f"{file.metrics.lines:,}", *row)
    return table


def _severity_table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(columns[0], no_wrap=True, overflow="ellipsis", min_width=13)
    for column in (*columns[1:], *Severity):
        table.add_column(str(column), justify="right", no_wrap=True)
    return table


def _number(severity: Severity, count: int) -> Text:
    return Text(f"{count:,}", style=STYLES[severity]) if count else Text("-", style="dim")
