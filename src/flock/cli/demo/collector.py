"""The collector: walks a source tree and publishes its Python files one by one."""

from __future__ import annotations

import io
import os
import stat
import tokenize
from collections.abc import Iterator
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path

from flock.cli.demo.types import Finding, Metrics, ReviewedFile, Severity, SourceFile, SourceTree

EXCLUDED = (
    ".*",
    "__pycache__",
    "node_modules",
    "site-packages",
    "venv",
    "build",
    "dist",
    "*.egg-info",
)
"""Folders that hold no source of the tree's own. `.*` covers .git, .venv, .tox and the caches."""

LARGEST = 1_000_000
"""Bytes. A larger file is generated or data, and no reader wants it reviewed line by line."""


def collect(tree: SourceTree) -> Iterator[SourceFile | ReviewedFile]:
    """Yield the Python files of a tree, folder by folder, always in the same order.

    A file that cannot be read has nothing to review: it comes as a ReviewedFile whose one
    finding says why. The same goes for a folder.
    """
    yield from islice(_files(tree), tree.max_files)


def _files(tree: SourceTree) -> Iterator[SourceFile | ReviewedFile]:
    root = Path(tree.root)
    if not root.is_dir():
        yield _read(root, root.name)
        return
    problems: list[OSError] = []
    excluded = (*EXCLUDED, *tree.exclude)
    for folder, folders, names in os.walk(root, onerror=problems.append):
        here = Path(folder)
        while problems:
            yield _unread_folder(problems.pop(), root)
        kept: list[str] = []
        for name in sorted(folders):
            path = here / name
            shown = _shown(path, root)
            if _is_excluded(shown, excluded) or _is_virtualenv(path):
                continue
            if path.is_symlink():
                yield _notice(shown, "symbolic-link", "a link to a folder is not followed")
            else:
                kept.append(name)
        folders[:] = kept
        for name in sorted(names):
            shown = _shown(here / name, root)
            if name.endswith(".py") and not _is_excluded(shown, tree.exclude):
                yield _read(here / name, shown)
    while problems:
        yield _unread_folder(problems.pop(), root)


def _read(path: Path, shown: str) -> SourceFile | ReviewedFile:
    """Read one file as the interpreter would: by its byte order mark or coding line."""
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            return _notice(shown, "unreadable-file", "not a regular file")
        if facts.st_size > LARGEST:
            size = f"{facts.st_size / 1e6:.1f} MB, more than {LARGEST / 1e6:.0f} MB"
            return _notice(shown, "file-too-large", f"{size}: not reviewed")
        data = path.read_bytes()
    except OSError as error:
        return _notice(shown, "unreadable-file", error.strerror or str(error), Severity.MEDIUM)
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = io.TextIOWrapper(io.BytesIO(data), encoding).read()
        text.encode()  # a codec can make lone surrogates, which no JSON can carry
    except (SyntaxError, UnicodeError, LookupError) as error:
        return _notice(shown, "wrong-encoding", f"not text: {error}", Severity.MEDIUM)
    return SourceFile(path=shown, text=text)


def _is_excluded(shown: str, patterns: tuple[str, ...]) -> bool:
    name = shown.rpartition("/")[2]
    return any(
        fnmatchcase(name, pattern) or fnmatchcase(shown, pattern)
        for pattern in (pattern.rstrip("/") for pattern in patterns)
    )


def _is_virtualenv(folder: Path) -> bool:
    return os.path.exists(folder / "pyvenv.cfg")  # unlike Path.exists, False where not readable


def _shown(path: Path, root: Path) -> str:
    """Write a path as the report does; bytes that are not UTF-8 are written as escapes."""
    relative = path.relative_to(root).as_posix()
    return os.fsencode(relative).decode("utf-8", "backslashreplace")


def _unread_folder(error: OSError, root: Path) -> ReviewedFile:
    path = Path(os.fsdecode(error.filename))
    reason = error.strerror or str(error)
    return _notice(_shown(path, root), "unreadable-folder", reason, Severity.MEDIUM)


def _notice(
    shown: str, rule: str, message: str, severity: Severity = Severity.INFO
) -> ReviewedFile:
    finding = Finding(
        path=shown, line=1, severity=severity, reviewer="collector", rule=rule, message=message
    )
    return ReviewedFile(path=shown, findings=(finding,), metrics=Metrics())
