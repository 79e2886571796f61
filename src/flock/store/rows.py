"""Artifacts as rows: flat tuples of plain values."""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

from pydantic import TypeAdapter

from flock.core.artifacts import Artifact, seal
from flock.core.types import registry
from flock.core.visibility import PUBLIC, Visibility

Row: TypeAlias = tuple[
    int,  # key
    str,  # type name
    int,  # version
    bytes,  # payload
    str,  # produced_by
    str,  # correlation_id
    str | None,  # partition_key
    tuple[str, ...] | None,  # tags
    bytes | None,  # visibility, None if public
    float,  # created
    tuple[int, ...],  # parent keys
    int,  # depth
]
"""What a store keeps of an artifact. Python's garbage collector does not track tuples of
plain values, so a board's age costs nothing there."""

_visibility: TypeAdapter[Visibility] = TypeAdapter(Visibility)
_NO_TAGS = frozenset[str]()


def row_of(artifact: Artifact) -> Row:
    """Return an artifact as a row."""
    visibility = artifact.visibility
    return (
        artifact.key,
        artifact.entry.name,
        artifact.version,
        artifact.data,
        artifact.produced_by,
        artifact.correlation_id,
        artifact.partition_key,
        tuple(sorted(artifact.tags)) if artifact.tags else None,
        None if visibility is PUBLIC else _visibility.dump_json(visibility),
        artifact.created,
        artifact.parent_keys,
        artifact.depth,
    )


def artifact_of(row: Row, seq: int) -> Artifact:
    """Return a row as an artifact at a position on the board.

    Raises:
        TypeRegistryError: Its type is not known to this process.
    """
    return seal(
        row[0],
        registry.resolve(row[1]),
        row[3],
        row[4],
        row[5],
        row[6],
        frozenset(row[7]) if row[7] else _NO_TAGS,
        PUBLIC if row[8] is None else _visibility_of(row[8]),
        row[9],
        row[10],
        row[11],
        row[2],
        seq,
    )


def visibility_text(visibility: Visibility) -> str:
    """Return a visibility as JSON."""
    return _visibility.dump_json(visibility).decode()


@lru_cache(maxsize=1024)
def _visibility_of(data: bytes) -> Visibility:
    return _visibility.validate_json(data)
