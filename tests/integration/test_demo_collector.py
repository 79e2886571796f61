"""The demo's collector on real folders: whatever lies there, it is said and nothing breaks."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from flock import Context
from flock.cli.demo.collector import LARGEST, collect
from flock.cli.demo.types import ReviewedFile, Severity, SourceFile, SourceTree

if TYPE_CHECKING:
    from pathlib import Path


def write(root: Path, *paths: str, text: str = "a = 1\n") -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def collected(
    root: Path, *exclude: str, max_files: int | None = None
) -> list[SourceFile | ReviewedFile]:
    tree = SourceTree(root=str(root), exclude=exclude, max_files=max_files)

    async def gather() -> list[SourceFile | ReviewedFile]:
        return [file async for file in collect(tree, Context())]

    return asyncio.run(gather())


def paths(root: Path, *exclude: str, max_files: int | None = None) -> list[str]:
    return [file.path for file in collected(root, *exclude, max_files=max_files)]


def notice(root: Path, path: str) -> tuple[str, Severity]:
    """What was said about the one file that is not reviewed."""
    [file] = [each for each in collected(root) if each.path == path]
    assert isinstance(file, ReviewedFile)
    [finding] = file.findings
    assert finding.path == path
    return finding.rule, finding.severity


def test_python_files_come_in_a_fixed_order_with_slashes(tmp_path: Path) -> None:
    write(tmp_path, "b.py", "a.py", "sub/deep/c.py", "sub/a.py", "README.md", "data.pyc")
    assert paths(tmp_path) == ["a.py", "b.py", "sub/a.py", "sub/deep/c.py"]


def test_a_single_file_is_a_tree_too(tmp_path: Path) -> None:
    write(tmp_path, "a.py", "b.py")
    assert paths(tmp_path / "a.py") == ["a.py"]


def test_folders_without_source_of_ones_own_are_left_out(tmp_path: Path) -> None:
    write(
        tmp_path,
        *(f"{name}/a.py" for name in (".git", ".venv", "__pycache__", "node_modules", "build")),
        "x/site-packages/a.py",
        "odd-name/lib/a.py",
        "kept/a.py",
    )
    (tmp_path / "odd-name/pyvenv.cfg").touch()
    assert paths(tmp_path) == ["kept/a.py"]


def test_the_tree_itself_may_lie_in_such_a_folder(tmp_path: Path) -> None:
    write(tmp_path, "site-packages/pkg/a.py")
    assert paths(tmp_path / "site-packages") == ["pkg/a.py"]


@pytest.mark.parametrize(
    ("pattern", "kept"),
    [
        ("tests", ["a.py", "sub/b.py", "sub/c.py"]),
        ("tests/", ["a.py", "sub/b.py", "sub/c.py"]),
        ("b.py", ["a.py", "sub/c.py", "tests/t.py"]),
        ("sub/*", ["a.py", "tests/t.py"]),
        ("*/b.py", ["a.py", "sub/c.py", "tests/t.py"]),
        ("B.py", ["a.py", "sub/b.py", "sub/c.py", "tests/t.py"]),
    ],
)
def test_more_is_left_out_by_name_or_path(tmp_path: Path, pattern: str, kept: list[str]) -> None:
    write(tmp_path, "a.py", "sub/b.py", "sub/c.py", "tests/t.py")
    assert paths(tmp_path, pattern) == kept


def test_no_more_files_come_than_wanted(tmp_path: Path) -> None:
    write(tmp_path, "a.py", "b.py", "c.py")
    assert paths(tmp_path, max_files=2) == ["a.py", "b.py"]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        ("a = 'ä'\n".encode(), "a = 'ä'\n"),
        (b"\xef\xbb\xbfa = 1\r\n", "a = 1\n"),
        ("# coding: latin-1\na = 'ä'\n".encode("latin-1"), "# coding: latin-1\na = 'ä'\n"),
    ],
)
def test_a_file_is_read_as_python_reads_it(tmp_path: Path, data: bytes, text: str) -> None:
    (tmp_path / "a.py").write_bytes(data)
    assert collected(tmp_path) == [SourceFile(path="a.py", text=text)]


@pytest.mark.parametrize(
    "data",
    [
        b"a = '\xe4'\n",
        b"# coding: no-such-codec\n",
        b"# coding: rot13\n",
        b"# coding: unicode_escape\n'\\ud800'\n",
        b"\xff\xfea\x00",
    ],
)
def test_what_is_no_text_is_said(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.py").write_bytes(data)
    assert notice(tmp_path, "a.py") == ("wrong-encoding", Severity.MEDIUM)


def test_a_huge_file_is_said_and_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.py").open("wb") as file:
        file.truncate(LARGEST + 1)
    assert notice(tmp_path, "a.py") == ("file-too-large", Severity.INFO)


def test_links_that_lead_nowhere_or_in_circles_are_said(tmp_path: Path) -> None:
    write(tmp_path, "sub/a.py")
    (tmp_path / "self.py").symlink_to("self.py")
    (tmp_path / "broken.py").symlink_to("no-such-file.py")
    (tmp_path / "sub/up").symlink_to(tmp_path)
    assert notice(tmp_path, "self.py") == ("unreadable-file", Severity.MEDIUM)
    assert notice(tmp_path, "broken.py") == ("unreadable-file", Severity.MEDIUM)
    assert notice(tmp_path, "sub/up") == ("symbolic-link", Severity.INFO)
    assert paths(tmp_path) == ["broken.py", "self.py", "sub/up", "sub/a.py"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
def test_a_pipe_with_the_name_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.py")
    assert notice(tmp_path, "a.py") == ("unreadable-file", Severity.INFO)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="this user may read everything"
)
def test_what_may_not_be_read_is_said(tmp_path: Path) -> None:
    write(tmp_path, "a.py", "sub/b.py")
    (tmp_path / "a.py").chmod(0)
    (tmp_path / "sub").chmod(0)
    try:
        assert notice(tmp_path, "a.py") == ("unreadable-file", Severity.MEDIUM)
        assert notice(tmp_path, "sub") == ("unreadable-folder", Severity.MEDIUM)
    finally:
        (tmp_path / "sub").chmod(0o700)


def test_a_name_that_is_no_text_is_shown_with_escapes(tmp_path: Path) -> None:
    try:
        (tmp_path / os.fsdecode(b"caf\xe9.py")).write_text("a = 1\n")
    except OSError:
        pytest.skip("this file system takes no such name")
    assert paths(tmp_path) == ["caf\\xe9.py"]
