from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flock.cli.demo.dangers import DANGEROUS_CALLS
from flock.cli.demo.editing import write_chapter, write_report
from flock.cli.demo.handbook import HANDBOOK
from flock.cli.demo.thinking import (
    AFTER,
    BEFORE,
    CHARACTERS,
    MOST,
    concerns,
    excerpt,
    has_true_figures,
    overview,
)
from flock.cli.demo.thinking import picked as picked_of
from flock.cli.demo.types import (
    Concern,
    Explanation,
    Finding,
    Metrics,
    Report,
    ReviewedFile,
    Severity,
)

HIGH, LOW = Severity.HIGH, Severity.LOW
METRICS = Metrics(lines=9, functions=2)


def finding(line: int, rule: str = "eval", severity: Severity = HIGH) -> Finding:
    return Finding(
        path="a.py", line=line, severity=severity, reviewer="r", rule=rule, message=f"{rule}()"
    )


def report_on(*findings: Finding, metrics: Metrics = METRICS) -> Report:
    file = ReviewedFile(path="a.py", findings=findings, metrics=metrics)
    return write_report([write_chapter([file])])


def test_few_findings_are_all_explained() -> None:
    first = [finding(1), finding(2, "weak-hash")]
    assert picked_of(report_on(*first, finding(3, severity=LOW))) == first


def test_of_many_findings_each_rule_has_its_first_explained() -> None:
    many = [finding(line) for line in range(1, 9)]
    rare = [finding(20, "weak-hash"), finding(30, "unsafe-load")]
    picked = picked_of(report_on(*many, *rare))
    assert picked == [*many[:3], *rare]
    assert len(picked) == MOST


def test_concerns_carry_the_code_and_what_is_known_of_their_kind() -> None:
    text = "import x\n\n\ndef f(a):\n    return eval(a)\n"
    [concern] = concerns(report_on(finding(5)), {"a.py": text})
    assert concern.code == "\ndef f(a):\n    return eval(a)"
    assert concern.remedy == HANDBOOK["eval"].remedy
    assert concern.is_about(finding(5))
    assert not concern.is_about(finding(4))


def test_a_file_that_could_not_be_read_has_no_code() -> None:
    [concern] = concerns(report_on(finding(1, "no-such-rule")), {})
    assert (concern.code, concern.message) == ("", "no-such-rule()")


@pytest.mark.parametrize("line", [1, 2, 50, 99, 100])
def test_an_excerpt_holds_the_line_and_a_few_around_it(line: int) -> None:
    text = "\n".join(f"line {number}" for number in range(1, 101))
    lines = excerpt(text, line).splitlines()
    assert f"line {line}" in lines
    assert lines[0] == f"line {max(line - BEFORE, 1)}"
    assert lines[-1] == f"line {min(line + AFTER, 100)}"


def test_an_excerpt_is_bounded_and_keeps_the_line() -> None:
    text = "\n".join(["x" * 900, "y" * 900, "the line", "z" * 9000])
    assert excerpt(text, 3).splitlines()[2:] == ["the line"]
    assert len(excerpt("w" * 100_000, 1)) == CHARACTERS


def test_the_overview_says_what_was_found() -> None:
    about = overview(
        report_on(
            finding(1),
            *(finding(line, "no-docstring", LOW) for line in (2, 3)),
            metrics=Metrics(lines=2000, public=4, documented=3),
        )
    )
    assert about.facts == [
        "1 file with 2,000 lines of code were reviewed.",
        "There are 1 finding of high severity, 0 findings of medium severity, "
        "2 findings of low severity.",
        "Most frequent, with 2 findings, is no-docstring, such as: no-docstring().",
        "1 of 4 public names lack a docstring.",
    ]
    assert about.worst == "a.py:1: eval()"
    assert about.remedy == HANDBOOK["eval"].remedy


def test_the_overview_of_nothing_says_so() -> None:
    about = overview(report_on())
    assert about.facts[1] == "Nothing was found: there is nothing to do."
    assert len(about.facts) == 2


@pytest.mark.parametrize(
    ("text", "is_true"),
    [
        ("There are 1 finding of high severity and 2 low ones.", True),
        ("There are 2 high severity findings.", False),
        ("There are 3 findings: 1 of high severity, 0 of medium severity.", True),
        ("3 findings of medium severity were made.", False),
        ("Line 12 is where medium-sized functions begin. All is well.", True),
        ("The 1,200 issues of low severity matter.", False),
    ],
)
def test_counts_by_severity_are_checked(text: str, is_true: bool) -> None:
    report = report_on(finding(1), *(finding(line, "no-docstring", LOW) for line in (2, 3)))
    assert has_true_figures(text, report) is is_true


def test_the_handbook_knows_every_call_that_is_dangerous() -> None:
    rules = {danger.rule for danger in DANGEROUS_CALLS.values() if danger.severity is not LOW}
    assert rules <= set(HANDBOOK)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("One thing. Another thing.", "One thing. Another thing."),
        ("It repeats. It repeats. It repeats. It rep", "It repeats."),
        ("Done with core/a.py:3. And then the", "Done with core/a.py:3."),
        ("seal() is long", "seal() is long"),
        ("no sentence at all, in v1.5 of it", "No sentence at all, in v1.5 of it"),
        ("Ok. Ok. Ok. Ok.", "Ok. Ok. Ok. Ok."),
    ],
)
def test_what_a_model_writes_without_end_is_cut_to_its_sentences(written: str, kept: str) -> None:
    assert Explanation(problem=written, fix=written).problem == kept


def test_a_concern_can_be_made_of_its_own_json() -> None:
    [concern] = concerns(report_on(finding(1)), {"a.py": "eval(x)"})
    assert Concern.model_validate_json(concern.model_dump_json()) == concern


@given(st.text(min_size=10, max_size=400) | st.text("aA.! ß", min_size=10, max_size=400))
def test_whatever_a_model_writes_can_be_stored(text: str) -> None:
    once = Explanation(problem=text, fix=text)
    assert Explanation.model_validate_json(once.model_dump_json()) == once
