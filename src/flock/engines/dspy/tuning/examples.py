"""One past run of an agent, and files of them: one JSON object a line."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flock.engines.dspy.tuned import Content
from flock.errors import TuningError

MAX_LINE: Final = 16_000_000
"""How many bytes one line may have: an input and an output of the largest size, with room."""


class TuningExample(BaseModel):
    """One past run of an agent: what it was given, what it answered, what people thought of it.

    Attributes:
        id: Id of the run, by which examples are split.
        agent: Name of the agent.
        inputs: What it was given.
        outputs: What it answered.
        score: What people gave it, from 0.0 to 1.0; None if nobody said.
        comment: Why.
        corrected: What it should have answered; None if nobody said.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(min_length=1)
    agent: str
    inputs: tuple[Content, ...] = Field(min_length=1)
    outputs: tuple[Content, ...] = ()
    score: float | None = Field(default=None, ge=0, le=1)
    comment: str = ""
    corrected: tuple[Content, ...] | None = None


def write_examples(examples: Iterable[TuningExample], path: str | os.PathLike[str]) -> int:
    """Write examples to a file, one JSON object a line; one that is there is replaced.

    Returns:
        How many there were.

    Raises:
        TuningError: The file cannot be written.
    """
    count = 0
    try:
        with Path(path).open("w", encoding="utf-8", newline="\n") as file:
            for example in examples:
                file.write(example.model_dump_json(exclude_defaults=True) + "\n")
                count += 1
    except OSError as error:
        msg = f"examples cannot be written to {str(path)!r}: {error.strerror or error}"
        raise TuningError(msg) from error
    return count


def read_examples(path: str | os.PathLike[str]) -> list[TuningExample]:
    """Read examples from a file, one JSON object a line; empty lines are left out.

    Raises:
        TuningError: The file cannot be read, or a line is no example.
    """
    found: list[TuningExample] = []
    known: set[str] = set()
    try:
        with Path(path).open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE + 1):
                number += 1
                if len(line) > MAX_LINE:
                    msg = f"{str(path)!r}, line {number} is longer than {MAX_LINE:,} bytes"
                    raise TuningError(msg)
                if line.strip():
                    example = _parsed(line, f"{str(path)!r}, line {number}")
                    if example.id in known:
                        msg = (
                            f"{str(path)!r}, line {number}: there is an example {example.id!r} "
                            "already; give each run once"
                        )
                        raise TuningError(msg)
                    known.add(example.id)
                    found.append(example)
    except OSError as error:
        msg = f"the examples {str(path)!r} cannot be read: {error.strerror or error}"
        raise TuningError(msg) from error
    return found


def _parsed(line: bytes, place: str) -> TuningExample:
    try:
        return TuningExample.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        msg = (
            f"{place} is no example: {where + ': ' if where else ''}{first['msg']}; write such "
            "files with `flock tune --export` or export_examples()"
        )
        raise TuningError(msg) from error
