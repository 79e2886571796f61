"""What happened outside of a board that is killed.

What an agent appends to the journal is its effect outside the board: it outlives the process,
whatever becomes of the commit.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any


class Journal:
    """What happened outside the board, one line of JSON each.

    The line that a process was killed in may be torn; the next process begins a new one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(self._file, b"\n")

    def write(self, what: str, **more: object) -> None:
        """Append a line."""
        line = json.dumps({"what": what, "pid": os.getpid(), **more})
        os.write(self._file, f"{line}\n".encode())

    def last(self, what: str) -> dict[str, Any] | None:
        """Return the last line of a kind, of whatever process; None before the first."""
        return next((line for line in reversed([*lines(self._path)]) if line["what"] == what), None)

    @property
    def last_artifact(self) -> str:
        """The last artifact that somebody was told of, by whatever process; empty before that."""
        told = (line["artifact"] for line in reversed([*lines(self._path)]) if "artifact" in line)
        return next(told, "")

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield what a journal says, without the lines that were torn."""
    for line in path.read_text().splitlines():
        with suppress(json.JSONDecodeError):
            yield json.loads(line)
