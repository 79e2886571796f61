"""What can be read of an answer while it is written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, cast

from pydantic_core import from_json

from flock.core.deltas import PartialOutput

if TYPE_CHECKING:
    from flock.engines.dspy.task import Task

_GROWTH: Final = 1.05
"""By how much an answer has to grow before it is read again, so that all readings of an answer
take time in proportion to its length."""

_STEP: Final = 16


class PartialAnswer:
    """Gathers the pieces of one answer, and tells which outputs have changed.

    Args:
        task: What is being answered.
    """

    def __init__(self, task: Task) -> None:
        self._outputs = {output.name: output for output in task.outputs}
        self._sole = next(iter(task.outputs)) if len(task.outputs) == 1 else None
        self._pieces: list[str] = []
        self._length = 0
        self._next = 1
        self._told: dict[tuple[str, int], dict[str, Any]] = {}

    def feed(self, piece: str) -> Iterator[PartialOutput]:
        """Take a piece in, and yield the outputs of which more is known than before."""
        self._pieces.append(piece)
        self._length += len(piece)
        if self._length >= self._next:
            self._next = max(int(self._length * _GROWTH), self._length + _STEP)
            yield from self._changed()

    def close(self) -> Iterator[PartialOutput]:
        """Yield what was not told yet of the complete answer."""
        yield from self._changed()

    def _changed(self) -> Iterator[PartialOutput]:
        text = "".join(self._pieces)
        start = text.find("{")
        if start < 0:
            return
        try:
            found = from_json(text[start:], allow_partial="trailing-strings")
        except ValueError:
            return
        answer = cast("dict[str, Any]", found)
        if self._sole is not None and answer and self._sole.name not in answer:
            answer = {self._sole.name: answer}
        for name, value in answer.items():
            output = self._outputs.get(name)
            if output is None:
                continue
            values = cast("list[object]", value) if isinstance(value, list) else [value]
            for index, fields in enumerate(values):
                if not isinstance(fields, dict) or self._told.get((name, index)) == fields:
                    continue
                known = cast("dict[str, Any]", fields)
                self._told[name, index] = known
                yield PartialOutput(output.spec.entry.name, known, index)
