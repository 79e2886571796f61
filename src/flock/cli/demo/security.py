"""The security reviewer: what in a file an attacker could use, with its CWE number."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from flock.cli.demo.dangers import DANGEROUS_CALLS, Danger, is_constant, keyword
from flock.cli.demo.secrets import form_of_secret, named_secrets
from flock.cli.demo.syntax import Names, Syntax, Unparsed, is_test, own_nodes, parse
from flock.cli.demo.types import Finding, SecurityReview, Severity, SourceFile

_SHELL = Danger("shell-command", 78, Severity.HIGH, "builds a command for a shell")
_TLS = Danger("unverified-tls", 295, Severity.HIGH, "talks TLS to anybody")
_DEBUG = Danger("debug-server", 489, Severity.HIGH, "lets visitors run code")
_SQL = Danger("sql-by-formatting", 89, Severity.MEDIUM, "SQL is put together from values")
_EXTRACT = Danger("unfiltered-extract", 22, Severity.MEDIUM, "may write outside of the folder")
_SECRET = Danger("hard-coded-secret", 798, Severity.MEDIUM, "is written into the source")
_PREDICTABLE = Danger("predictable-secret", 338, Severity.HIGH, "comes from a guessable generator")
_INTERFACES = Danger("every-interface", 1327, Severity.LOW, "listens on every interface")
_SWALLOWED = Danger("swallowed-error", 390, Severity.LOW, "hides every error")
_ASSERT = Danger("assert-as-check", 617, Severity.LOW, "is gone under python -O")

_STATEMENT = re.compile(
    r"\s*(?:select\s.+\sfrom\s|insert\s+into\s|update\s.+\sset\s|delete\s+from\s"
    r"|(?:drop|alter|create)\s+table\s)",
    re.IGNORECASE | re.DOTALL,
)
_RANDOM = re.compile(r"random\.(?:random|randint|randrange|choices?|getrandbits|sample)")
_NAMED_SECRET = re.compile(r"passw|secret|token|nonce|session_?id|api_?key|otp\b", re.IGNORECASE)

Hits = Iterator[tuple[Danger, ast.AST, str]]


def review_security(file: SourceFile) -> SecurityReview:
    """Look at every node of a file's syntax tree for what is known to be dangerous.

    Tests do dangerous things on purpose and nobody deploys them: theirs are for information.
    """
    try:
        syntax = parse(file)
    except Unparsed as unparsed:
        return SecurityReview(path=file.path, findings=(unparsed.finding,))
    names = Names(syntax)
    hits = [hit for node in syntax.nodes for hit in _hits(node, names)]
    in_test = is_test(file.path)
    if not in_test:
        hits += _asserted_arguments(syntax)
    findings = {
        Finding(
            path=file.path,
            line=getattr(node, "lineno", 1),
            severity=Severity.INFO if in_test else danger.severity,
            reviewer="security",
            rule=danger.rule,
            message=f"{subject} {danger.message} (CWE-{danger.cwe})",
        )
        for danger, node, subject in hits
    }
    return SecurityReview(
        path=file.path, findings=tuple(sorted(findings, key=lambda finding: finding.order))
    )


def _hits(node: ast.AST, names: Names) -> Hits:
    for name, literal in named_secrets(node):
        yield _SECRET, literal, f"{name!r}"
    match node:
        case ast.Call():
            yield from _call(node, names)
        case ast.Constant(value=str(text)) if form := form_of_secret(text):
            yield _SECRET._replace(severity=Severity.HIGH), node, form
        case ast.BinOp() | ast.JoinedStr() if _STATEMENT.match(_formatted(node)):
            yield _SQL, node, "a query:"
        case ast.ExceptHandler(body=[ast.Pass()]) if _catches_all(node, names):
            yield _SWALLOWED, node, "except: pass"
        case ast.Assign(targets=[target, *_], value=value):
            yield from _assignment(target, value, names)
        case _:
            pass


def _call(call: ast.Call, names: Names) -> Hits:
    name = names.resolve(call.func)
    danger = DANGEROUS_CALLS.get(name)
    if danger and not danger.unless(call):
        yield danger, call, f"{name}()"
    match name.rpartition(".")[2]:
        case "format" if isinstance(call.func, ast.Attribute):
            if _STATEMENT.match(_text(call.func.value)):
                yield _SQL, call, "a query:"
        case "run" if names.imports("flask") and is_constant(keyword(call, "debug"), value=True):
            yield _DEBUG, call, f"{name}(debug=True)"
        case "extract" | "extractall" if names.imports("tarfile") and not names.imports("zipfile"):
            if keyword(call, "filter") is None:
                yield _EXTRACT, call, "tarfile's extract() without a filter"
        case _:
            yield from _arguments(call, name, names)


def _arguments(call: ast.Call, name: str, names: Names) -> Hits:
    if name.startswith("subprocess.") and is_constant(keyword(call, "shell"), value=True):
        command = call.args[0] if call.args else keyword(call, "args")
        severity = Severity.LOW if isinstance(command, ast.Constant) else Severity.HIGH
        yield _SHELL._replace(severity=severity), call, f"{name}(shell=True)"
    if names.imports("requests", "httpx") and is_constant(keyword(call, "verify"), value=False):
        yield _TLS, call, f"{name}(verify=False)"
    host = keyword(call, "host")
    if name.endswith(".bind") and call.args and isinstance(call.args[0], ast.Tuple):
        host = next(iter(call.args[0].elts), None)
    if isinstance(host, ast.Constant) and host.value in {"0.0.0.0", "::"}:
        yield _INTERFACES, call, f"{name}()"


def _assignment(target: ast.expr, value: ast.expr, names: Names) -> Hits:
    assigned = names.resolve(target)
    attribute = assigned.rpartition(".")[2]
    if attribute == "check_hostname" and is_constant(value, value=False):
        yield _TLS, target, "check_hostname = False"
    if attribute == "verify_mode" and names.resolve(value).endswith("CERT_NONE"):
        yield _TLS, target, "verify_mode = CERT_NONE"
    if _NAMED_SECRET.search(attribute):
        for node in ast.walk(value):
            if isinstance(node, ast.Call) and _RANDOM.fullmatch(names.resolve(node.func)):
                yield _PREDICTABLE, node, f"{attribute!r}"


def _catches_all(handler: ast.ExceptHandler, names: Names) -> bool:
    return handler.type is None or names.resolve(handler.type) in {"Exception", "BaseException"}


def _formatted(node: ast.BinOp | ast.JoinedStr) -> str:
    """The text of a string that values are formatted into, or ""."""
    match node:
        case ast.JoinedStr(values=values) if any(isinstance(v, ast.FormattedValue) for v in values):
            return "".join(map(_text, values))
        case ast.BinOp(left=left, op=ast.Mod()):
            return _text(left)
        case ast.BinOp(left=left, op=ast.Add(), right=right) if not isinstance(right, ast.Constant):
            return _text(left)
        case _:
            return ""


def _text(node: ast.expr) -> str:
    """The literal text of an expression; a value that is formatted in reads `?`."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    return "?" if isinstance(node, ast.FormattedValue) else ""


def _asserted_arguments(syntax: Syntax) -> Hits:
    """Find asserts that check a function's argument: `python -O` lets anything through.

    Left out are those that only tell a type checker what is known: `isinstance` and `is not`.
    """
    for function in syntax.functions:
        arguments = {each.arg for each in ast.walk(function.args) if isinstance(each, ast.arg)}
        for node in own_nodes(function):
            if isinstance(node, ast.Assert) and not _narrows(node.test):
                checked = {each.id for each in ast.walk(node.test) if isinstance(each, ast.Name)}
                if used := sorted(arguments & checked - {"self", "cls"}):
                    yield _ASSERT, node, f"the check of {used[0]!r}"


def _narrows(test: ast.expr) -> bool:
    match test:
        case ast.Call(func=ast.Name(id="isinstance" | "issubclass" | "callable")):
            return True
        case ast.Compare(ops=[ast.Is() | ast.IsNot()]):
            return True
        case ast.BoolOp(values=values):
            return all(map(_narrows, values))
        case _:
            return False
