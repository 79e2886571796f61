from __future__ import annotations

import pytest

from flock.cli.demo.complexity import cyclomatic_complexity, nesting, review_complexity
from flock.cli.demo.syntax import parse
from flock.cli.demo.types import Severity
from tests.unit.cli.demo.source import file_with, found


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        ("pass", 1),
        ("if a: pass", 2),
        ("if a: pass\n elif b: pass\n else: pass", 3),
        ("if a and b or c: pass", 4),
        ("return 1 if a else 2", 2),
        ("for a in b: pass\n else: pass", 2),
        ("while a: pass", 2),
        ("try: a()\n except A: pass\n except B: pass\n else: pass\n finally: pass", 3),
        ("return [x for x in a if x if b]", 4),
        ("assert a", 1),
        ("with a: pass", 1),
        ("match a:\n  case 1: pass\n  case [x] if x: pass\n  case _: pass", 4),
        ("match a:\n  case x: pass", 1),
        ("return lambda: 1 if a else 2", 1),
    ],
)
def test_every_predicate_adds_one_path(body: str, paths: int) -> None:
    [function] = parse(file_with(f"def f():\n {body}")).functions
    assert cyclomatic_complexity(function) == paths


def test_a_nested_function_is_counted_by_itself() -> None:
    file = file_with("""
        def outer():
            if a: pass
            def inner():
                if b: pass
                if c: pass
    """)
    paths = {each.name: cyclomatic_complexity(each) for each in parse(file).functions}
    assert paths == {"outer": 2, "inner": 3}
    metrics = review_complexity(file).metrics
    assert (metrics.functions, metrics.complexity, metrics.worst_complexity) == (2, 5, 3)
    assert metrics.mean_complexity == 2.5


@pytest.mark.parametrize(
    ("body", "depth"),
    [
        ("pass", 0),
        ("if a: pass", 1),
        ("if a: pass\n elif b: pass\n elif c: pass", 1),
        ("if a: pass\n else:\n  if b: pass", 2),
        ("try:\n  with a: pass\n except A:\n  for b in c: pass", 2),
        ("match a:\n  case 1:\n   if b: pass", 2),
        ("while a:\n  for b in c:\n   if d: pass", 3),
        ("def inner():\n  if a: pass", 0),
    ],
)
def test_nesting_counts_blocks_and_not_elifs(body: str, depth: int) -> None:
    assert nesting(parse(file_with(f"def f():\n {body}")).functions[0]) == depth


def test_what_is_too_much_is_found_at_the_functions_line() -> None:
    branches = "\n".join(f"    if a == {n}: pass" for n in range(25))
    deep = "\n".join("    " + " " * n + "if a:" for n in range(5)) + " pass"
    lines = "\n".join("    a()" for _ in range(80))
    text = (
        f"def branchy():\n{branches}\n"
        f"def deep():\n{deep}\n"
        f"def long():\n{lines}\n"
        "class A:\n    def greedy(self, a, b, c, d, e, f, g, *, h): pass\n"
        "    def modest(self, a, b, c, d, e, f, *, g, h, i): pass\n"
    )
    review = review_complexity(file_with(text))
    assert sorted(found(review)) == [
        (1, "complex-function"),
        (27, "deep-nesting"),
        (33, "long-function"),
        (115, "many-arguments"),
    ]
    grades = {finding.rule: finding.severity for finding in review.findings}
    assert grades["complex-function"] is Severity.MEDIUM
    assert grades["long-function"] is Severity.LOW


def test_a_syntax_error_is_a_finding_with_its_line() -> None:
    review = review_complexity(file_with("a = 1\nb = = 2\n"))
    [finding] = review.findings
    assert (finding.line, finding.rule, finding.severity) == (2, "syntax-error", Severity.HIGH)
    assert review.metrics.lines == 2


def test_a_syntax_error_among_test_data_is_for_information() -> None:
    [finding] = review_complexity(file_with("print 1", "tests/data/old.py")).findings
    assert finding.severity is Severity.INFO


@pytest.mark.parametrize("text", ["\0", "a = " + "(" * 5000, "a" + "[0" * 5000, "x = 1\f\n"])
def test_no_text_ends_a_reviewer(text: str) -> None:
    assert len(review_complexity(file_with(text)).findings) <= 1


def test_long_chains_do_not_exhaust_the_stack() -> None:
    chain = "def f():\n if a: pass\n" + " elif a: pass\n" * 300
    [finding, _] = review_complexity(file_with(chain)).findings
    assert "302 independent paths" in finding.message
