"""The documentation reviewer: what a file leaves unexplained, or explains wrongly."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

from flock.cli.demo.docstrings import arguments_of, described, raised_by
from flock.cli.demo.syntax import Function, Unparsed, is_test, parse
from flock.cli.demo.types import DocumentationReview, Finding, Metrics, Severity, SourceFile

_OPEN_WORK = re.compile(r"#.*\b(?P<word>TODO|FIXME|XXX|HACK)\b:?\s*(?P<what>.*)")
_EXPLAINED_ELSEWHERE = {"override", "overload", "setter", "deleter"}

Fault = tuple[int, Severity, str, str]


class Definition(NamedTuple):
    """A module, class or function that can have a docstring."""

    node: ast.Module | ast.ClassDef | Function
    name: str
    is_public: bool

    @property
    def line(self) -> int:
        """Where it begins; a module begins at its first line."""
        return 1 if isinstance(self.node, ast.Module) else self.node.lineno


def review_documentation(file: SourceFile) -> DocumentationReview:
    """Check the docstrings of a file and collect its open work.

    What is public has to be explained: modules, classes, functions and methods whose names,
    and those around them, begin with no underscore. Tests explain themselves.
    """
    try:
        module = parse(file).module
    except Unparsed as unparsed:
        return DocumentationReview(path=file.path, findings=(unparsed.finding,))
    definitions = list(_definitions(module, file.path))
    public = [definition for definition in definitions if definition.is_public]
    faults = [fault for definition in definitions for fault in _faults(definition)]
    if not module.body and PurePosixPath(file.path).name != "__init__.py":
        faults.append((1, Severity.INFO, "empty-file", "there is no code in it"))
    findings = [
        Finding(
            path=file.path,
            line=line,
            severity=severity,
            reviewer="documentation",
            rule=rule,
            message=message,
        )
        for line, severity, rule, message in (*faults, *_open_work(file.text))
    ]
    return DocumentationReview(
        path=file.path,
        findings=tuple(findings),
        metrics=Metrics(
            public=len(public),
            documented=sum(bool(ast.get_docstring(each.node)) for each in public),
        ),
    )


def _definitions(module: ast.Module, path: str) -> Iterator[Definition]:
    is_public = not is_test(path) and not any(
        part.startswith("_") and not part.startswith("__") for part in PurePosixPath(path).parts
    )
    name = PurePosixPath(path).name
    yield Definition(module, name, is_public and bool(module.body))
    waiting: list[tuple[ast.stmt, str, bool]] = [(each, "", is_public) for each in module.body]
    while waiting:
        node, prefix, is_public = waiting.pop()
        match node:
            case ast.ClassDef(name=name):
                public = is_public and not name.startswith("_")
                yield Definition(node, f"{prefix}{name}", public)
                waiting.extend((each, f"{prefix}{name}.", public) for each in node.body)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                public = is_public and not name.startswith("_") and not _explained_elsewhere(node)
                yield Definition(node, f"{prefix}{name}()", public)
                waiting.extend((each, f"{prefix}{name}.", False) for each in node.body)
            case _:
                inner = (each for each in ast.iter_child_nodes(node) if isinstance(each, ast.stmt))
                waiting.extend((each, prefix, is_public) for each in inner)


def _explained_elsewhere(function: Function) -> bool:
    names = (
        node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
        for node in function.decorator_list
    )
    return not _EXPLAINED_ELSEWHERE.isdisjoint(names)


def _faults(definition: Definition) -> Iterator[Fault]:
    node, line = definition.node, definition.line
    docstring = ast.get_docstring(node, clean=False)
    if docstring is None:
        if definition.is_public:
            yield line, Severity.LOW, "no-docstring", f"{definition.name} has no docstring"
    elif not docstring.strip():
        yield line, Severity.LOW, "empty-docstring", f"the docstring of {definition.name} is empty"
    elif isinstance(node, Function):
        yield from _mismatches(definition.name, node, docstring)
    elif isinstance(node, ast.ClassDef):
        for each in node.body:
            if isinstance(each, Function) and each.name == "__init__":
                yield from _mismatches(definition.name, each, docstring)


def _mismatches(name: str, function: Function, docstring: str) -> Iterator[Fault]:
    line, about = function.lineno, described(docstring)
    if about.arguments is not None:
        arguments = arguments_of(function)
        for argument in arguments:
            if argument not in about.arguments:
                message = f"{name} does not describe its argument {argument!r}"
                yield line, Severity.LOW, "undescribed-argument", message
        if function.args.kwarg is None:
            hidden = {each.arg for each in ast.walk(function.args) if isinstance(each, ast.arg)}
            for argument in sorted(about.arguments - hidden):
                message = f"{name} describes {argument!r}, which is no argument of it"
                yield line, Severity.MEDIUM, "unknown-argument", message
    if about.exceptions is not None:
        listed = {each.rpartition(".")[2] for each in about.exceptions}
        for error, at in raised_by(function).items():
            if error not in listed:
                message = f"{name} raises {error}, which its docstring does not list"
                yield at, Severity.LOW, "undescribed-exception", message


def _open_work(text: str) -> Iterator[Fault]:
    """Find comments that ask for work. The tokenizer is slow and only asked where one may be."""
    if not _OPEN_WORK.search(text):
        return
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT and (found := _OPEN_WORK.search(token.string)):
                message = f"{found['word']}: {found['what'].strip() or '(no word on what)'}"
                yield token.start[0], Severity.INFO, "open-work", message[:120]
    except (tokenize.TokenError, SyntaxError):  # the parser took what the tokenizer does not
        return
