"""Google style docstrings, read back: which arguments and exceptions they describe."""

from __future__ import annotations

import ast
import inspect
import re
from typing import NamedTuple

from flock.cli.demo.syntax import Function, own_nodes

_HEADING = re.compile(r"(?P<title>[A-Z][A-Za-z ]+):\s*$")
_ENTRY = re.compile(r"(?P<names>[\w*.`, \\]+?)\s*(?:\([^)]*\)|\[[^\]]*\])?\s*:(?:\s|$)")
_ARGUMENTS = {"Args", "Arguments", "Parameters", "Params", "Keyword Args", "Keyword Arguments"}
_CARELESS = {"NotImplementedError", "AssertionError"}
"""Exceptions that say "this is not for you", which nobody needs to be told about."""


class Described(NamedTuple):
    """The names that a docstring describes; None where it has no such section in this style."""

    arguments: frozenset[str] | None
    exceptions: frozenset[str] | None


def described(docstring: str) -> Described:
    """Read the Args and Raises sections of a docstring.

    https://google.github.io/styleguide/pyguide.html#383-functions-and-methods
    """
    arguments: set[str] | None = None
    exceptions: set[str] | None = None
    entries: set[str] | None = None
    indent = 0
    for line in inspect.cleandoc(docstring).splitlines():
        depth = len(line) - len(line.lstrip())
        if heading := _HEADING.match(line):
            entries, indent = None, 0
            if heading["title"] in _ARGUMENTS:
                entries = arguments = arguments or set()
            elif heading["title"] == "Raises":
                entries = exceptions = exceptions or set()
        elif line and not depth:
            entries = None
        elif line and entries is not None:
            indent = indent or depth
            if depth == indent and (entry := _ENTRY.match(line.strip())):
                names = re.split(r",|\band\b", entry["names"])
                entries.update(name.strip(" *`\\") for name in names)
    return Described(
        arguments=frozenset(arguments) if arguments else None,
        exceptions=frozenset(exceptions) if exceptions else None,
    )


def arguments_of(function: Function) -> list[str]:
    """The names a caller may give, without `self`; a leading underscore hides one."""
    signature = function.args
    positional = [*signature.posonlyargs, *signature.args]
    if positional and positional[0].arg in {"self", "cls"}:
        del positional[0]
    every = [*positional, signature.vararg, *signature.kwonlyargs, signature.kwarg]
    return [each.arg for each in every if each and not each.arg.startswith("_")]


def raised_by(function: Function) -> dict[str, int]:
    """The exceptions that a function raises by name itself, with the line of each first raise."""
    raised: dict[str, int] = {}
    for node in own_nodes(function):
        if isinstance(node, ast.Raise):
            error = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            name = error.attr if isinstance(error, ast.Attribute) else getattr(error, "id", "")
            if name[:1].isupper() and name not in _CARELESS:
                raised[name] = min(raised.get(name, node.lineno), node.lineno)
    return raised
