"""Secrets written into the source: known by their form, or by the name they are given."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

_FORMS = {
    "a private key": re.compile(r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----\s*[A-Za-z0-9+/=]{16}"),
    "an AWS access key": re.compile(r"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b"),
    "a GitHub token": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{60,})"),
    "a Slack token": re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{10,}"),
    "a Google API key": re.compile(r"\bAIza[A-Za-z0-9_-]{35}\b"),
    "an OpenAI or Anthropic key": re.compile(r"\bsk-(?:ant-|proj-)?[A-Za-z0-9_-]{32,}"),
    "a Stripe key": re.compile(r"\b[rs]k_live_[A-Za-z0-9]{16,}"),
}

_NAMES = re.compile(
    r"(?:^|_)(?:password|passwd|passphrase|pwd|secret|secret_key|api_?key|access_key"
    r"|(?:auth|access|api|bearer|refresh)_token|private_key|client_secret)$",
    re.IGNORECASE,
)
"""Names that hold the secret itself: `password_file` and `token_count` do not."""

_PLACEHOLDERS = re.compile(
    r"^(?:|.{1,3}|[<{$%].*|x+|\*+|\.+|.*(?:example|change.?me|your|placeholder|dummy|redacted).*"
    r"|none|null|true|false|test|default|.*(?:password|passwd|secret|token|api.?key).*)$",
    re.IGNORECASE | re.DOTALL,
)
"""Values that stand for a secret: an empty text, a template, the word itself, `changeme`."""


def form_of_secret(text: str) -> str:
    """Say what kind of secret a text has the form of, or ""."""
    return next((what for what, form in _FORMS.items() if form.search(text)), "")


def named_secrets(node: ast.AST) -> Iterator[tuple[str, ast.Constant]]:
    """Yield names of secrets with the literal that this node gives to them."""
    for name, value in _pairs(node):
        if (
            isinstance(value, ast.Constant)
            and isinstance(value.value, str)
            and _NAMES.search(name)
            and not any(map(str.isspace, value.value))
            and not _PLACEHOLDERS.match(value.value)
        ):
            yield name, value


def _pairs(node: ast.AST) -> Iterator[tuple[str, ast.expr | None]]:
    match node:
        case ast.Assign(targets=targets, value=value):
            yield from ((_name(target), value) for target in targets)
        case ast.AnnAssign(target=target, value=value) | ast.NamedExpr(target=target, value=value):
            yield _name(target), value
        case ast.Compare(left=left, ops=[ast.Eq() | ast.NotEq()], comparators=[right]):
            yield _name(left), right
        case ast.keyword(arg=str(name), value=value):
            yield name, value
        case ast.Dict(keys=keys, values=values):
            yield from ((_name(key), value) for key, value in zip(keys, values, strict=True))
        case ast.arguments():
            positional = [*node.posonlyargs, *node.args]
            defaults = node.defaults
            with_default = positional[len(positional) - len(defaults) :]
            yield from ((a.arg, d) for a, d in zip(with_default, defaults, strict=True))
            yield from ((a.arg, d) for a, d in zip(node.kwonlyargs, node.kw_defaults, strict=True))
        case _:
            pass


def _name(node: ast.AST | None) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(slice=ast.Constant(value=str(name))) | ast.Constant(value=str(name)):
            return name
        case _:
            return ""
