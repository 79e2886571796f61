"""A file's syntax as the reviewers read it: parsed and walked once, its names resolved."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import lru_cache
from pathlib import PurePosixPath
from threading import Lock

from flock.cli.demo.types import Finding, Severity, SourceFile

Function = ast.FunctionDef | ast.AsyncFunctionDef


class Unparsed(Exception):
    """The file is no Python that this interpreter can read; the finding says where."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


class Syntax:
    """The syntax tree of one file. The three reviewers share it, so none may change it."""

    def __init__(self, module: ast.Module) -> None:
        self.module = module
        self.nodes = tuple(ast.walk(module))
        self.functions = tuple(node for node in self.nodes if isinstance(node, Function))


def parse(file: SourceFile) -> Syntax:
    """Parse a file.

    Raises:
        Unparsed: The text is not valid for this version of Python, or nested too deeply.
    """
    try:
        with _PARSER:
            return _parse(file.text, file.path)
    except SyntaxError as error:
        line, message = error.lineno or 1, f"not valid Python: {error.msg}"
    except (ValueError, RecursionError, MemoryError) as error:
        line, message = 1, f"not readable as Python: {error or type(error).__name__}"
    raise Unparsed(
        Finding(
            path=file.path,
            line=max(line, 1),
            severity=Severity.INFO if is_test(file.path) else Severity.HIGH,
            reviewer="syntax",
            rule="syntax-error",
            message=message,
        )
    )


@lru_cache(maxsize=16)
def _parse(text: str, path: str) -> Syntax:
    return Syntax(ast.parse(text, filename=path))


_PARSER = Lock()
"""One thread parses at a time: CPython's parser keeps its depth in a place all threads share
(https://github.com/python/cpython/issues/106905), and whoever waits finds the tree ready."""


def own_nodes(function: Function) -> Iterator[ast.AST]:
    """What a function itself does: everything in its body but for nested functions.

    The bodies of nested functions, lambdas and classes are code of their own; their
    decorators and defaults are evaluated here and count here.
    """
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        yield node
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                waiting.extend((*node.decorator_list, node.args))
            case ast.ClassDef():
                waiting.extend((*node.decorator_list, *node.bases, *node.keywords))
            case ast.Lambda():
                waiting.append(node.args)
            case _:
                waiting.extend(ast.iter_child_nodes(node))


class Names:
    """What the names of a module stand for, after its imports.

    `import subprocess as sp` makes `sp.run` read `subprocess.run`.
    """

    def __init__(self, syntax: Syntax) -> None:
        self._imported: dict[str, str] = {}
        for node in syntax.nodes:
            match node:
                case ast.Import(names=names):
                    for alias in names:
                        whole = alias.name if alias.asname else alias.name.partition(".")[0]
                        self._imported[alias.asname or whole] = whole
                case ast.ImportFrom(module=str(module), names=names, level=0):
                    for alias in names:
                        self._imported[alias.asname or alias.name] = f"{module}.{alias.name}"
                case _:
                    pass
        self._modules = {name.partition(".")[0] for name in self._imported.values()}

    def imports(self, *modules: str) -> bool:
        """Whether one of these modules, or something out of it, is imported."""
        return not self._modules.isdisjoint(modules)

    def resolve(self, node: ast.AST) -> str:
        """Give the dotted name of an expression, or "" where it is none.

        A name that nobody imported is a builtin or local and stays as it is; what is called
        on something else than a name begins with a dot: `connect().execute` is `.execute`.
        """
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if isinstance(node, ast.Name):
            parts.append(self._imported.get(node.id, node.id))
        elif parts:
            parts.append("")
        return ".".join(reversed(parts))


def is_test(path: str) -> bool:
    """Whether a file holds tests, by its name or by the name of a folder it is in."""
    pure = PurePosixPath(path)
    return (
        pure.name.startswith("test_")
        or pure.name.endswith("_test.py")
        or pure.name == "conftest.py"
        or not {"test", "tests"}.isdisjoint(pure.parts[:-1])
    )
