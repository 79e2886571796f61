"""The format of an exported board: JSON lines, of which each is checked before it is used.

    {"kind": "board", "format": "flock-board", "version": 1, ...}
    {"kind": "artifact", ...}      in board order
    {"kind": "run", ...}           in the order they were committed
    {"kind": "dead_letter", ...}   oldest first
    {"kind": "end", ...}           how many there were of each

Times are seconds since the Unix epoch, ids are UUIDs. `docs/board.md` describes the fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, BinaryIO, Final, Literal, NoReturn, TypeAlias, cast
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from flock.core.types import MAX_PAYLOAD
from flock.core.visibility import Visibility
from flock.errors import SchemaTooNew, StoreError

FORMAT: Final = "flock-board"
VERSION: Final = 1
LONGEST: Final = MAX_PAYLOAD + 16 * 1024 * 1024
"""The longest line in bytes: the largest payload, and what goes with it."""

_Number = Annotated[int, Field(ge=0, le=2**62)]
_Position = Annotated[int, Field(ge=1, le=2**62)]
_Time = Annotated[float, Field(ge=-62_135_596_800, le=253_402_300_799, allow_inf_nan=False)]
"""What a `datetime` can be, in seconds since the Unix epoch."""


_visibility: TypeAdapter[Visibility] = TypeAdapter(Visibility)


def _checked_visibility(value: dict[str, Any]) -> dict[str, Any]:
    _visibility.validate_json(to_json(value), strict=True)
    return value


_Visibility = Annotated[dict[str, Any], AfterValidator(_checked_visibility)]
"""Kept as it was written: sets have no order, and a board comes back byte by byte."""


class _Line(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, protected_namespaces=())


class BoardLine(_Line):
    """The first line: what this is.

    Attributes:
        kind: `"board"`.
        format: `"flock-board"`.
        version: Version of the format.
        flock: Version of Flock that wrote it.
        exported: When.
        correlation_id: The one workflow that was exported; None for all of them.
    """

    kind: Literal["board"] = "board"
    format: Literal["flock-board"] = FORMAT
    version: Literal[1] = VERSION
    flock: str
    exported: _Time
    correlation_id: str | None = None


class _Content(_Line):
    id: UUID
    type: Annotated[str, Field(min_length=1)]
    version: _Position
    payload: Any
    produced_by: str
    correlation_id: Annotated[str, Field(min_length=1)]
    partition_key: str | None = None
    tags: list[str] = []
    visibility: _Visibility | None = None
    created: _Time
    parents: list[UUID] = []
    depth: _Number = 0


class ArtifactLine(_Content):
    """One artifact.

    Attributes:
        seq: Its position on the board, from 1.
        run: The run that made it; None from outside, or if that is not known.
        idempotency_key: The key under which it was published, if any.
    """

    kind: Literal["artifact"]
    seq: _Position
    run: UUID | None = None
    idempotency_key: str | None = None


class RunLine(_Line):
    """One run that succeeded, and what it used.

    Attributes:
        attempt: Which attempt succeeded, from 1; None if that is not known.
        seen: The newest position when that attempt began; None if that is not known.
        began: When that was; None if that is not known.
        position: The newest position once its end was committed; None if that is not known.
        made: How many artifacts it put on the board; None if that is not known.
        inputs: Ids of what it used, in the order the agent got it.
    """

    kind: Literal["run"]
    id: UUID
    agent: str
    correlation_id: str
    committed: _Time
    attempt: _Number | None = None
    seen: _Number | None = None
    began: _Time | None = None
    position: _Number | None = None
    made: _Number | None = None
    inputs: list[UUID]


class DeadLetterLine(_Line):
    """One run that failed for good.

    Attributes:
        subscription: Which of the agent's subscriptions, from 0; None if it was called directly.
        seen: The newest position when its last attempt began; 0 before the first.
        began: When that was.
        position: The newest position once it was kept; None if that is not known.
        delivered: Ids of what was delivered to it.
        inputs: What it was to use, ids and artifacts that are not on the board; None if that
            is what was delivered.
        steps: What its steps returned, by name.
        tick: The tick that started it: when it was due, which one of its schedule it was, and how
            many were missed before it; None for all others.
    """

    kind: Literal["dead_letter"]
    id: UUID
    run: UUID
    agent: str
    subscription: _Number | None
    correlation_id: str
    is_batch: bool
    attempt: _Number
    seen: _Number = 0
    began: _Time = 0.0
    position: _Number | None = None
    emitted: _Number
    delivered: list[UUID]
    inputs: list[UUID | _Content] | None = None
    error_type: str
    error_message: str
    created: _Time
    steps: dict[str, Any] = {}
    tick: tuple[_Time, _Number, _Number] | None = None


class EndLine(_Line):
    """The last line, by which a file that was cut off is told from a whole one.

    Attributes:
        artifacts: How many artifacts were written.
        runs: How many runs.
        dead_letters: How many dead letters.
        damaged: How many of all these were left out, since they could not be read.
    """

    kind: Literal["end"] = "end"
    artifacts: _Number
    runs: _Number
    dead_letters: _Number
    damaged: _Number = 0


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was exported.

    Attributes:
        artifacts: How many artifacts.
        runs: How many runs that succeeded.
        dead_letters: How many runs that failed for good.
        damaged: How many of all these were left out, since they could not be read.
    """

    artifacts: int
    runs: int
    dead_letters: int
    damaged: int = 0


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What was imported.

    Attributes:
        artifacts: How many artifacts are new on the board.
        runs: How many runs are.
        dead_letters: How many dead letters are.
        skipped: How many of all these were there already.
        damaged: How many the export had left out, since they could not be read.
    """

    artifacts: int
    runs: int
    dead_letters: int
    skipped: int
    damaged: int = 0


Content: TypeAlias = _Content
Line: TypeAlias = ArtifactLine | RunLine | DeadLetterLine | EndLine

_lines: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="kind")])
_ORDER: Final = {"artifact": 0, "run": 1, "dead_letter": 2, "end": 3}


def canonical(value: object) -> bytes:
    """Return JSON data as the bytes that a store keeps."""
    return to_json(value, inf_nan_mode="constants")


def visibility_json(visibility: Mapping[str, object] | None) -> bytes | None:
    """Return a visibility as a store keeps it; None if it is public."""
    if visibility is None or visibility["kind"] == "Public":
        return None
    return canonical(visibility)


def encoded(fields: dict[str, object], **raw: bytes | None) -> bytes:
    """Return a line.

    Args:
        fields: What it says.
        **raw: Further fields, as JSON.

    Raises:
        StoreError: It would be too long to be read again.
    """
    line = to_json(fields, inf_nan_mode="constants")
    for name, data in raw.items():
        line = b'%b,"%b":%b}' % (line[:-1], name.encode(), b"null" if data is None else data)
    if len(line) >= LONGEST:
        msg = f"{fields['kind']} {fields.get('id')} takes {len(line)} bytes, and {LONGEST} is most"
        raise StoreError(msg)
    return line + b"\n"


def read_lines(file: BinaryIO, name: str) -> Iterator[tuple[int, Line]]:
    """Check the first line of an export, and return what follows it, with each line's number.

    The last one is the `EndLine`; what it counts is what was yielded. A broken line is refused
    when it is come to.

    Args:
        file: The file, open for reading bytes.
        name: Its name, for errors.

    Raises:
        SchemaTooNew: A newer version of Flock wrote it.
        StoreError: It is no export, is cut off, or a line of it is broken; names the line.
    """
    _check_first(_next(file, name, 1), name)
    return _rest(file, name)


def _rest(file: BinaryIO, name: str) -> Iterator[tuple[int, Line]]:
    number, last, position = 1, 0, 0
    counts: dict[str, int] = dict.fromkeys(_ORDER, 0)
    while True:
        number += 1
        line = _line(_next(file, name, number), name, number)
        if _ORDER[line.kind] < last:
            _refuse(name, number, f"{line.kind!r} lines come before what is there already")
        last = _ORDER[line.kind]
        if isinstance(line, EndLine):
            _check_last(line, counts, name, number)
            if _next(file, name, number + 1).strip():
                _refuse(name, number + 1, "something follows the end line")
            yield number, line
            return
        if isinstance(line, ArtifactLine):
            if line.seq <= position:
                _refuse(name, number, f"seq {line.seq} comes after seq {position}")
            position = line.seq
        counts[line.kind] += 1
        yield number, line


def _line(text: bytes, name: str, number: int) -> Line:
    if not text:
        _refuse(name, number, "the file ends before its end line: it was cut off; export again")
    try:
        return _lines.validate_json(text, strict=True)
    except ValidationError as error:
        _refuse(name, number, _told(error), error)
    except (ValueError, RecursionError) as error:
        _refuse(name, number, str(error), error)


def _check_last(line: EndLine, counts: Mapping[str, int], name: str, number: int) -> None:
    told = {"artifact": line.artifacts, "run": line.runs, "dead_letter": line.dead_letters}
    for kind, count in told.items():
        if counts[kind] != count:
            why = f"it counts {count} lines of the kind {kind!r}, and there were {counts[kind]}"
            _refuse(name, number, why)


def _next(file: BinaryIO, name: str, number: int) -> bytes:
    text = file.readline(LONGEST + 1)
    if len(text) > LONGEST:
        _refuse(name, number, f"it is longer than {LONGEST} bytes")
    return text


def _check_first(text: bytes, name: str) -> None:
    try:
        first: object = from_json(text)
    except (ValueError, RecursionError):
        first = None
    fields = cast("dict[object, object]", first) if isinstance(first, dict) else {}
    if fields.get("format") != FORMAT:
        msg = (
            f"{name} is no export of a board: its first line is none of {FORMAT!r}; write one with "
            "`flock board export`"
        )
        raise StoreError(msg)
    version = fields.get("version")
    if isinstance(version, int) and version > VERSION:
        msg = (
            f"{name} has version {version} of the format {FORMAT!r}, and this Flock knows versions "
            f"up to {VERSION}; upgrade Flock to import it"
        )
        raise SchemaTooNew(msg)
    try:
        BoardLine.model_validate_json(text, strict=True)
    except ValidationError as error:
        _refuse(name, 1, _told(error), error)


def _refuse(name: str, number: int, why: str, cause: Exception | None = None) -> NoReturn:
    msg = f"line {number} of {name} cannot be imported: {why}"
    raise StoreError(msg) from cause


def _told(error: ValidationError) -> str:
    """Return the first thing that is wrong, without what the line holds."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]
