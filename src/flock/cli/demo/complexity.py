"""The complexity reviewer: how many paths, how deep, how long, how many arguments."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from flock.cli.demo.syntax import Function, Unparsed, own_nodes, parse
from flock.cli.demo.types import ComplexityReview, Finding, Metrics, Severity, SourceFile

MOST_PATHS = 10
"""McCabe's own limit: beyond ten paths a function is hard to test and should be split."""
MOST_NESTING = 4
MOST_LINES = 80
MOST_ARGUMENTS = 6


def review_complexity(file: SourceFile) -> ComplexityReview:
    """Measure every function of a file."""
    try:
        functions = parse(file).functions
    except Unparsed as unparsed:
        return ComplexityReview(
            path=file.path, findings=(unparsed.finding,), metrics=_size(file, [])
        )
    paths: list[int] = []
    findings: list[Finding] = []
    for function in functions:
        paths.append(cyclomatic_complexity(function))
        findings += _findings(file.path, function, paths[-1])
    return ComplexityReview(path=file.path, findings=tuple(findings), metrics=_size(file, paths))


def cyclomatic_complexity(function: Function) -> int:
    """Count the independent paths through a function: its predicates and one.

    T. J. McCabe, "A Complexity Measure", IEEE Transactions on Software Engineering SE-2(4),
    1976: for structured code v(G) = predicates + 1, where every condition of a compound
    predicate counts. An `assert` is no branch of the program, a `case _` no condition.
    """
    return 1 + sum(map(_predicates, own_nodes(function)))


def _predicates(node: ast.AST) -> int:
    match node:
        case ast.If() | ast.IfExp() | ast.For() | ast.AsyncFor() | ast.While():
            return 1
        case ast.ExceptHandler():
            return 1
        case ast.BoolOp(values=values):
            return len(values) - 1
        case ast.comprehension(ifs=conditions):
            return 1 + len(conditions)
        case ast.match_case(pattern=pattern, guard=guard):
            irrefutable = isinstance(pattern, ast.MatchAs) and pattern.pattern is None
            return (not irrefutable) + (guard is not None)
        case _:
            return 0


def nesting(function: Function) -> int:
    """Count how many blocks deep the deepest statement of a function stands.

    An `elif` stands as deep as its `if`, though the syntax tree nests it.
    """
    deepest = 0
    waiting: list[tuple[ast.AST, int]] = [(statement, 0) for statement in function.body]
    while waiting:
        node, depth = waiting.pop()
        deepest = max(deepest, depth)
        match node:
            case ast.If(body=body, orelse=[ast.If() as elif_]) if elif_.col_offset == (
                node.col_offset
            ):
                waiting.append((elif_, depth))
                waiting.extend((statement, depth + 1) for statement in body)
            case ast.ExceptHandler() | ast.match_case():
                waiting.extend((child, depth) for child in node.body)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                pass
            case ast.stmt() if hasattr(node, "body") or isinstance(node, ast.Match):
                waiting.extend((child, depth + 1) for child in ast.iter_child_nodes(node))
            case _:
                pass
    return deepest


def _findings(path: str, function: Function, paths: int) -> Iterator[Finding]:
    def found(rule: str, severity: Severity, message: str) -> Finding:
        return Finding(
            path=path,
            line=function.lineno,
            severity=severity,
            reviewer="complexity",
            rule=rule,
            message=f"{function.name}() {message}",
        )

    depth = nesting(function)
    length = (function.end_lineno or function.lineno) - function.lineno + 1
    named = [each.arg for each in (*function.args.posonlyargs, *function.args.args)]
    arguments = len(named) - (named[:1] in (["self"], ["cls"]))
    if paths > MOST_PATHS:
        message = f"has {paths} independent paths, more than {MOST_PATHS}"
        yield found("complex-function", _grade(paths, MOST_PATHS), message)
    if depth > MOST_NESTING:
        message = f"nests blocks {depth} deep, more than {MOST_NESTING}"
        yield found("deep-nesting", _grade(depth, MOST_NESTING), message)
    if length > MOST_LINES:
        message = f"is {length} lines long, more than {MOST_LINES}"
        yield found("long-function", _grade(length, MOST_LINES), message)
    if arguments > MOST_ARGUMENTS:
        message = f"takes {arguments} arguments by position, more than {MOST_ARGUMENTS}"
        yield found("many-arguments", _grade(arguments, MOST_ARGUMENTS), message)


def _grade(measured: int, limit: int) -> Severity:
    """Up to twice the limit is a low finding, up to four times medium, beyond that high."""
    if measured <= 2 * limit:
        return Severity.LOW
    return Severity.MEDIUM if measured <= 4 * limit else Severity.HIGH


def _size(file: SourceFile, paths: list[int]) -> Metrics:
    return Metrics(
        lines=len(file.text.splitlines()),
        functions=len(paths),
        complexity=sum(paths),
        worst_complexity=max(paths, default=0),
    )
