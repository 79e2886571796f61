from __future__ import annotations

import io
import random
import re
from dataclasses import replace

from rich.console import Console

from flock import Usage
from flock.cli.demo.editing import bring_together, write_chapter, write_report
from flock.cli.demo.report import Statistics, write_markdown
from flock.cli.demo.table import print_summary
from flock.cli.demo.thoughts import Thoughts
from flock.cli.demo.types import (
    ComplexityReview,
    Concern,
    DocumentationReview,
    Explanation,
    Finding,
    Metrics,
    Report,
    ReviewedFile,
    SecurityReview,
    Severity,
    Verdict,
)

STATISTICS = Statistics(runs=12, failed=0, seconds=0.5)


def finding(
    path: str,
    line: int = 1,
    severity: Severity = Severity.LOW,
    rule: str = "no-docstring",
    message: str = "f() has no docstring",
) -> Finding:
    return Finding(
        path=path,
        line=line,
        severity=severity,
        reviewer="documentation",
        rule=rule,
        message=message,
    )


def reviewed(path: str, *findings: Finding, lines: int = 10) -> ReviewedFile:
    return ReviewedFile(path=path, findings=findings, metrics=Metrics(lines=lines))


def report_on(*files: ReviewedFile) -> Report:
    return write_report([write_chapter([file]) for file in files])


def test_three_reviews_become_one_in_the_order_of_lines() -> None:
    error = finding("a.py", 7, Severity.HIGH, "syntax-error", "not valid Python")
    late, early = finding("a.py", 9), finding("a.py", 2)
    file = bring_together(
        ComplexityReview(path="a.py", findings=(error,), metrics=Metrics(lines=3, functions=1)),
        SecurityReview(path="a.py", findings=(error, late)),
        DocumentationReview(path="a.py", findings=(error, early), metrics=Metrics(public=2)),
    )
    assert file.findings == (early, error, late)
    assert file.metrics == Metrics(lines=3, functions=1, public=2)


def test_the_report_is_the_same_in_whatever_order_the_files_came() -> None:
    names = ["b.py", "a.py", "z/b.py", "z/a.py", "a/a.py"]
    files = [reviewed(path, finding(path), finding(path, 4)) for path in names]
    texts: set[str] = set()
    for _ in range(5):
        random.shuffle(files)
        texts.add(write_markdown(report_on(*files), "tree", STATISTICS))
    [text] = texts
    sections = [line for line in text.splitlines() if line.startswith(("## ", "### "))]
    assert sections[2:] == [
        *("## `./`", "### `a.py`", "### `b.py`"),
        *("## `a/`", "### `a/a.py`"),
        *("## `z/`", "### `z/a.py`", "### `z/b.py`"),
    ]


def test_every_finding_names_its_file_and_line() -> None:
    few = [finding("a.py", line) for line in (3, 5)]
    many = [finding("b.py", line) for line in (1, 2, 3, 4)]
    bad = finding("b.py", 8, Severity.HIGH, "eval", "eval() runs text as code")
    text = write_markdown(
        report_on(reviewed("a.py", *few), reviewed("b.py", *many, bad)), "tree", STATISTICS
    )
    assert "- `a.py:3` **low** no-docstring: f() has no docstring\n- `a.py:5` **low**" in text
    assert "- `b.py:8` **high** eval: eval() runs text as code" in text
    assert "`b.py:1` **low** no-docstring: f() has no docstring; 3 more no-docstring" in text
    assert "`:2`, `:3`, `:4`" in text
    assert text.count("b.py:8") == 2  # in "To look at first" too


def test_names_and_comments_are_no_markup() -> None:
    odd = finding("a`|b.py", message="__init__() has <b>no</b> [docstring] | \n*at* all")
    text = write_markdown(report_on(reviewed("a`|b.py", odd)), "a_tree_", STATISTICS)
    assert "# Review of a_tree\\_\n" in text
    assert "\\_\\_init\\_\\_() has \\<b>no\\</b> \\[docstring] | \\*at\\* all" in text
    assert "`a'|b.py:1`" in text
    assert "| `a'\\|b.py` |" in text


def test_a_clean_tree_has_a_short_report() -> None:
    text = write_markdown(report_on(reviewed("a.py", lines=1)), "tree", STATISTICS)
    assert "1 file, 1 line, 0 functions: 0 findings." in text
    assert "Nothing found." in text
    assert "look at first" not in text


def test_files_without_a_review_are_listed() -> None:
    statistics = STATISTICS._replace(failed=1, unreviewed=("c.py",))
    text = write_markdown(report_on(reviewed("a.py")), "tree", statistics)
    assert "## Not reviewed" in text
    assert "- `c.py`\n" in text
    assert "12 runs, 1 failed, in 0.5 s." in text


def test_the_tables_show_the_worst_files_and_places_to_open() -> None:
    files = [
        reviewed(f"{name}.py", *(finding(f"{name}.py", line) for line in range(1, count)))
        for name, count in (("few", 2), ("many", 9), ("none", 1))
    ]
    [first, *_] = [finding("sub/bad.py", 3, Severity.HIGH, "eval", "eval() runs [red]text")]
    out = io.StringIO()
    report = report_on(*files, reviewed("sub/bad.py", first))
    print_summary(report, Console(file=out, width=70), lambda path: f"src/{path}")
    text = out.getvalue()
    assert "src/sub/bad.py:3 eval() runs [red]text" in text
    lines = text.splitlines()
    ranked = [line.split()[0] for line in lines if line.split()[:1] and ".py " in line]
    assert ranked[:3] == ["sub/bad.py", "many.py", "few.py"]
    assert "none.py" not in text


def test_the_tables_keep_to_the_width_of_a_narrow_terminal() -> None:
    path = "a/very/long/path/" * 5 + "module.py"
    out = io.StringIO()
    report = report_on(reviewed(path, finding(path, severity=Severity.MEDIUM)))
    print_summary(report, Console(file=out, width=60), str)
    tables, _, places = out.getvalue().partition("To look at first")
    assert max(map(len, tables.splitlines())) <= 60
    assert f"{path}:1 f() has no docstring\n" in places  # in one piece, to be clicked on


def thoughts_on(concern: Concern, **more: object) -> Thoughts:
    return Thoughts(
        model="local/some_model",
        verdict=Verdict(summary="All is *well*.", first_step="Replace eval() in a.py."),
        explanations=[(concern, Explanation(problem="It runs any text.", fix="Parse it instead."))],
        **more,  # pyright: ignore[reportArgumentType]
    )


def concern_on(found: Finding) -> Concern:
    about = found.model_dump(include={"path", "line", "severity", "rule", "message"})
    return Concern(**about, danger="", remedy="", code="")


def test_what_a_model_says_stands_in_lines_of_its_own() -> None:
    first, second = (finding("a.py", line, Severity.HIGH, "eval", "eval()") for line in (3, 4))
    report = report_on(reviewed("a.py", first, second))
    thoughts = thoughts_on(concern_on(second))
    plain = write_markdown(report, "tree", STATISTICS)
    text = write_markdown(report, "tree", STATISTICS, thoughts)
    assert text.startswith(
        "# Review of tree\n\n## Verdict\n\nAll is \\*well\\*.\n\n**First step:**"
    )
    assert (
        "- `a.py:4` **high** eval: eval()\n  - *Why:* It runs any text.\n  - *Fix:* Parse it"
    ) in text
    head, verdict, rest = text.partition("## Verdict\n")
    rest = rest[rest.index("1 file, ") :]
    told = [line for line in rest.splitlines(keepends=True) if line.startswith("  - *")]
    assert verdict
    assert len(told) == 2
    assert head + "".join(line for line in rest.splitlines(True) if line not in told) == plain


def test_a_report_without_a_verdict_is_the_same_as_without_a_model() -> None:
    report = report_on(reviewed("a.py", finding("a.py", 3, Severity.HIGH)))
    nothing = Thoughts("openai/x", missing=["the verdict: no network"])
    assert write_markdown(report, "tree", STATISTICS, nothing) == write_markdown(
        report, "tree", STATISTICS
    )


def test_the_terminal_begins_with_the_verdict_and_indents_the_explanations() -> None:
    found = finding("a.py", 3, Severity.HIGH, "eval", "eval() runs text")
    out = io.StringIO()
    thoughts = thoughts_on(concern_on(found))
    report = report_on(reviewed("a.py", found))
    print_summary(report, Console(file=out, width=24), str, thoughts)
    text = re.sub(r" +\n", "\n", out.getvalue())
    assert "All is *well*.\nFirst step: Replace" in text
    assert "\n    Why: It runs any\n    text.\n    Fix: Parse it\n    instead.\n" in text
    assert text.index("First step") < text.index("Findings")


def test_what_the_model_took_is_said() -> None:
    usage = Usage(calls=2, input_tokens=1000, output_tokens=234)
    thoughts = Thoughts("openai/x", usage=usage, seconds=3.21)
    assert thoughts.sentence() == "openai/x: 2 calls, 1,234 tokens (234 of them written) in 3.2 s."
    paid = thoughts._replace(usage=replace(usage, usd=0.5))
    assert paid.sentence().endswith("in 3.2 s, $0.5000.")
    unknown = thoughts._replace(usage=replace(usage, usd=None))
    assert unknown.sentence().endswith("in 3.2 s, at a price that is not known.")
    assert Thoughts("openai/x").sentence() == ""
