"""Every Python block of the README, the documentation and the docstrings runs as it stands.

The blocks of one page share a namespace and run in order, and a block may `await` at its top
level, as in a notebook. A page's own `async with flock:` or `asyncio.run` works as well. A
block that cannot run has a comment directly before it that says why:

    <!-- not run: needs a model's API key -->

Where a block says what it prints (`print(x)  # -> 3`), that is what it prints; `# ->` behind
anything else is a comment.

Examples in docstrings are either such fenced blocks or doctests (`>>>`), which see their
module's names.
"""

import ast
import asyncio
import contextlib
import importlib
import inspect
import io
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

import pytest
from sybil import Document, Example
from sybil.document import PythonDocStringDocument
from sybil.parsers.abstract.doctest import DocTestStringParser
from sybil.parsers.markdown import CodeBlockParser
from sybil.region import Region

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page
    for pattern in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/**/*.md")
    for page in ROOT.glob(pattern)
)
EXAMPLE = re.compile(r"^\s*(```python|>>> )", re.MULTILINE)
SOURCES = sorted(
    source
    for source in (ROOT / "src" / "flock").rglob("*.py")
    if EXAMPLE.search(source.read_text(encoding="utf-8"))
)
PRINTS = re.compile(r"^ *print\(.*  # -> (.*)$", re.MULTILINE)
NOT_RUN = re.compile(r"<!--\s*not run:\s*(?P<reason>\S.*?)\s*-->\s*\Z", re.DOTALL)


def _is_doctest(source: str) -> bool:
    return source.lstrip().startswith(">>>")


def _compiled(source: str, path: str, line: int) -> CodeType:
    """Compile a block so that a traceback shows the line of its page."""
    return compile(
        "\n" * line + source,
        path,
        "exec",
        flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        dont_inherit=True,
    )


class Blocks:
    """Runs the blocks of one page, all in one event loop."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.runner = runner

    def __call__(self, example: Example) -> None:
        code = _compiled(
            str(example.parsed),
            example.path,
            example.line + int(getattr(example.parsed, "line_offset", 0)),
        )
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            result = FunctionType(code, example.namespace)()
            if inspect.iscoroutine(result):
                self.runner.run(result)
        promised = PRINTS.findall(str(example.parsed))
        if promised:
            assert printed.getvalue().splitlines() == promised


def _fenced(document: Document, blocks: Blocks) -> Iterator[Region]:
    for region in CodeBlockParser("python", blocks)(document):
        before = document.text[: region.start]
        if not _is_doctest(str(region.parsed)) and not NOT_RUN.search(before):
            yield region


def _doctests(document: Document) -> Iterable[Region]:
    parse = DocTestStringParser()
    return parse(document.text, document.path)


def _run(document: Document, module: ModuleType) -> None:
    document.namespace = vars(module)
    for example in document.examples():
        example.evaluate()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_of_the_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "page_" + re.sub(r"\W", "_", str(page.relative_to(ROOT).with_suffix("")))
    module = ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    with asyncio.Runner() as runner:
        blocks = Blocks(runner)
        document = Document.parse(str(page), lambda it: _fenced(it, blocks), _doctests)
        _run(document, module)


def test_every_example_of_the_docstrings_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for source in SOURCES:
        parts = source.relative_to(ROOT / "src").with_suffix("").parts
        original = importlib.import_module(".".join(parts).removesuffix(".__init__"))
        # A copy of the module's names: an example defines its own without leaving them there.
        name = "docstrings_" + "_".join(parts)
        module = ModuleType(name)
        vars(module).update(vars(original) | {"__name__": name})
        monkeypatch.setitem(sys.modules, name, module)
        with asyncio.Runner() as runner:
            blocks = Blocks(runner)
            document = PythonDocStringDocument.parse(
                str(source), lambda it, run=blocks: _fenced(it, run), _doctests
            )
            document.evaluators.clear()  # sybil's own import of the file: a second module
            _run(document, module)


def _docstrings() -> Iterator[tuple[str, str]]:
    """Every docstring of the package, with where it stands."""
    for source in sorted((ROOT / "src" / "flock").rglob("*.py")):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                line = getattr(node, "lineno", 1)
                yield f"{source.relative_to(ROOT)}:{line}", ast.get_docstring(node) or ""


def test_no_example_of_a_docstring_is_written_so_that_it_would_not_run() -> None:
    left_out = re.compile(r"::\s*$|^\s*\.\. code|^\s*```(py|pycon|python3)\b", re.MULTILINE)
    assert [where for where, text in _docstrings() if left_out.search(text)] == []


def test_every_example_of_a_docstring_is_found() -> None:
    written = sum(
        len(re.findall(r"^\s*```python$|^\s*>>> ", text, re.MULTILINE)) for _, text in _docstrings()
    )
    with asyncio.Runner() as runner:
        found = sum(
            len(
                PythonDocStringDocument.parse(
                    str(source), lambda it: _fenced(it, Blocks(runner)), _doctests
                ).regions
            )
            for source in SOURCES
        )
    assert written == found
    assert written >= 25  # those of the main classes


def test_a_page_of_the_readme_has_blocks_that_run() -> None:
    with asyncio.Runner() as runner:
        document = Document.parse(str(ROOT / "README.md"), lambda it: _fenced(it, Blocks(runner)))
        assert document.regions


def test_a_block_is_left_out_only_with_a_reason() -> None:
    with asyncio.Runner() as runner:
        blocks = Blocks(runner)
        kept = "<!-- not run: -->\n```python\nx = 1\n```\n"
        left_out = "<!-- not run: it waits for ever -->\n```python\nx = 1\n```\n"
        assert len(list(_fenced(Document(kept, "page"), blocks))) == 1
        assert not list(_fenced(Document(left_out, "page"), blocks))
