"""Artifacts as rows: flat tuples of plain values."""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

from pydantic import TypeAdapter

from flock.core.artifacts import Artifact, seal
from flock.core.types import registry
from flock.core.visibility import PUBLIC, Visibility

Row: TypeAlias = tuple[
    int,  # seq
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
        artifact.seq,
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


def artifact_of(row: Row) -> Artifact:
    """Return a row as an artifact.

    Raises:
        TypeRegistryError: Its type is not known to this process.
    """
    return seal(
        row[1],
        registry.resolve(row[2]),
        row[4],
        row[5],
        row[6],
        row[7],
        frozenset(row[8]) if row[8] else _NO_TAGS,
        PUBLIC if row[9] is None else _visibility_of(row[9]),
        row[10],
        row[11],
        row[12],
        row[3],
        row[0],
    )


@lru_cache(maxsize=1024)
def _visibility_of(data: bytes) -> Visibility:
    return _visibility.validate_json(data)
