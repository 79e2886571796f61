"""The collector: walks a source tree and publishes its Python files one by one."""

from __future__ import annotations

import asyncio
import io
import os
import stat
import tokenize
from collections.abc import AsyncIterator, Iterator
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path

from pydantic import BaseModel

from flock import Context
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


class Entry(BaseModel):
    """One file of a tree, or what is to say of a file or folder that is not reviewed.

    Attributes:
        file: The bytes of its path, each as the character of that number: no JSON can carry
            paths that are not UTF-8.
        shown: The path as the report shows it.
        notice: What is to say, if it is not to be read.
    """

    file: str
    shown: str
    notice: ReviewedFile | None = None

    @property
    def path(self) -> Path:
        """The path."""
        return Path(os.fsdecode(self.file.encode("latin-1")))


class Listing(BaseModel):
    """What there is to review in a tree, in order."""

    entries: tuple[Entry, ...]


async def collect(tree: SourceTree, ctx: Context) -> AsyncIterator[SourceFile | ReviewedFile]:
    """Yield the Python files of a tree, folder by folder, always in the same order.

    A file that cannot be read has nothing to review: it comes as a ReviewedFile whose one
    finding says why. The same goes for a folder. How many will come is emitted first.

    What there is to review is listed in a step: a review that is interrupted goes on with the
    same files in the same order, whatever was added to the tree or deleted meanwhile.
    """
    listing = await ctx.step("listing", _listing, tree)
    ctx.emit(len(listing.entries))
    for entry in listing.entries:
        yield entry.notice or await asyncio.to_thread(_read, entry.path, entry.shown)


async def _listing(tree: SourceTree) -> Listing:
    return await asyncio.to_thread(_listed, tree)


def _listed(tree: SourceTree) -> Listing:
    entries: list[Entry] = []
    for path, found in islice(_walk(Path(tree.root), tree.exclude), tree.max_files):
        file = os.fsencode(path).decode("latin-1")
        notice = found if isinstance(found, ReviewedFile) else None
        shown = found.path if isinstance(found, ReviewedFile) else found
        entries.append(Entry(file=file, shown=shown, notice=notice))
    return Listing(entries=tuple(entries))


def _walk(root: Path, exclude: tuple[str, ...]) -> Iterator[tuple[Path, str | ReviewedFile]]:
    """Yield the files to read with the path to show, or what is to say of a folder."""
    if not root.is_dir():
        yield root, root.name
        return
    problems: list[OSError] = []
    for folder, folders, names in os.walk(root, onerror=problems.append):
        here = Path(folder)
        yield from _unread_folders(problems, root)
        kept: list[str] = []
        for name in sorted(folders):
            path, shown = here / name, _shown(here / name, root)
            if _is_excluded(shown, (*EXCLUDED, *exclude)) or _is_virtualenv(path):
                continue
            if path.is_symlink():
                yield path, _notice(shown, "symbolic-link", "a link to a folder is not followed")
            else:
                kept.append(name)
        folders[:] = kept
        for name in sorted(names):
            shown = _shown(here / name, root)
            if name.endswith(".py") and not _is_excluded(shown, exclude):
                yield here / name, shown
    yield from _unread_folders(problems, root)


def _unread_folders(problems: list[OSError], root: Path) -> Iterator[tuple[Path, ReviewedFile]]:
    while problems:
        error = problems.pop(0)
        path, reason = Path(os.fsdecode(error.filename)), error.strerror or str(error)
        yield path, _notice(_shown(path, root), "unreadable-folder", reason, Severity.MEDIUM)


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


def _notice(
    shown: str, rule: str, message: str, severity: Severity = Severity.INFO
) -> ReviewedFile:
    finding = Finding(
        path=shown, line=1, severity=severity, reviewer="collector", rule=rule, message=message
    )
    return ReviewedFile(path=shown, findings=(finding,), metrics=Metrics())
