"""Objects of the board as rows of its tables, and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias, cast
from uuid import UUID
from zlib import crc32

from flock.core.artifacts import Artifact
from flock.core.delivery import Delivery, Run
from flock.core.visibility import PUBLIC
from flock.errors import FlockError, StoreCorrupt
from flock.store.protocol import DeadLetter
from flock.store.rows import Row, artifact_of, row_of, visibility_text
from flock.store.sqlite.failures import DAMAGE
from flock.store.sqlite.statements import Values

ARTIFACT: Final = (
    "seq, id, type, version, CAST(payload AS BLOB), checksum, produced_by, correlation_id,"
    " partition_key, tags, CAST(visibility AS BLOB), created, parents, depth"
)
"""What `artifact_from` reads, for a SELECT."""

OF_A_TICK: Final = -1
"""What stands for the subscription of a run that a tick started."""

Stored: TypeAlias = tuple[Any, ...]
"""A row as SQLite returns it."""


def id_of(key: int) -> bytes:
    """Return a number of 128 bits as the 16 bytes of a UUID."""
    return key.to_bytes(16)


def artifact_values(artifact: Artifact, seq: int, run: bytes | None) -> Values:
    """Return an artifact as a row of `artifacts`.

    Args:
        artifact: The artifact.
        seq: Its position on the board.
        run: Id of the run that made it; None from outside.
    """
    identity, data = id_of(artifact.key), artifact.data
    tags, visibility, parents = artifact.tags, artifact.visibility, artifact.parent_keys
    is_public = visibility is PUBLIC
    return (
        seq,
        identity,
        artifact.entry.name,
        artifact.version,
        data.decode(),
        crc32(data, crc32(identity)),
        artifact.produced_by,
        artifact.correlation_id,
        artifact.partition_key,
        json.dumps(sorted(tags)) if tags else None,
        None if is_public else visibility_text(visibility),
        None if is_public else visibility.kind.lower(),
        artifact.created,
        b"".join(map(id_of, parents)) if parents else None,
        artifact.depth,
        run,
    )


def artifact_row(stored: Stored) -> Row:
    """Return what `ARTIFACT` selected as a plain row, whose type need not be known here.

    Raises:
        StoreCorrupt: Its content is not what was written.
    """
    try:
        return _row(stored)
    except DAMAGE as error:
        msg = (
            f"the artifact at position {stored[0]!r} is damaged ({error!r}); restore the board "
            "from a copy"
        )
        raise StoreCorrupt(msg) from error


def _row(stored: Stored) -> Row:
    identity, payload, parents = stored[1], stored[4], stored[12]
    if crc32(payload, crc32(identity)) != stored[5]:
        msg = (
            f"artifact {UUID(bytes=identity)} at position {stored[0]} is damaged: its checksum "
            "does not fit; restore the board from a copy"
        )
        raise StoreCorrupt(msg)
    return (
        int.from_bytes(identity),
        stored[2],
        stored[3],
        payload,
        stored[6],
        stored[7],
        stored[8],
        None if stored[9] is None else tuple(json.loads(stored[9])),
        stored[10],
        stored[11],
        () if parents is None else keys_of(parents),
        stored[13],
    )


def artifact_from(stored: Stored) -> Artifact:
    """Return what `ARTIFACT` selected as an artifact.

    Raises:
        StoreCorrupt: Its content is not what was written.
        TypeRegistryError: Its type is not known to this process.
    """
    row = artifact_row(stored)
    try:
        return artifact_of(row, stored[0])
    except FlockError:
        raise
    except DAMAGE as error:
        msg = f"artifact {row[0]:032x} is damaged ({error!r}); restore the board from a copy"
        raise StoreCorrupt(msg) from error


def keys_of(ids: bytes) -> tuple[int, ...]:
    """Return ids that follow one another as numbers."""
    return tuple(int.from_bytes(ids[at : at + 16]) for at in range(0, len(ids), 16))


def delivery_values(delivery: Delivery, seq: int) -> Values:
    """Return a delivery of the artifact at a position as a row of `deliveries`."""
    subscription = delivery.subscription
    return (
        seq,
        subscription.agent,
        subscription.index,
        delivery.opens_at,
        delivery.arrived,
        delivery.number,
    )


def delivery_key(delivery: Delivery) -> Values:
    """Return the key of a delivery's row."""
    subscription = delivery.subscription
    return (delivery.artifact.seq, subscription.agent, subscription.index)


class Progress:
    """How far a run is, as it was when this was made.

    Attributes:
        run: The run; what it is made of does not change any more.
    """

    __slots__ = ("_attempt", "_due", "_emitted", "run")

    def __init__(self, run: Run) -> None:
        self.run = run
        self._attempt = run.attempt
        self._due = run.due
        self._emitted = run.emitted

    def values(self) -> Values:
        """Return it as a row of `open_runs`."""
        run, subscription = self.run, self.run.subscription
        return (
            id_of(run.key),
            run.agent,
            OF_A_TICK if subscription is None else subscription.index,
            run.is_batch,
            self._attempt,
            self._due,
            self._emitted,
            *_inputs(run, [delivery.artifact for delivery in run.deliveries]),
        )


def dead_letter_values(letter: DeadLetter, position: int) -> Values:
    """Return a dead letter, kept at a position of the board, as a row of `dead_letters`."""
    run = letter.run
    return (
        letter.id.bytes,
        id_of(run.key),
        run.agent,
        letter.index,
        run.correlation_id,
        run.is_batch,
        run.attempt,
        run.emitted,
        *_inputs(run, letter.delivered),
        letter.error_type,
        letter.error_message,
        letter.created,
        run.seen,
        run.began,
        position,
    )


def _inputs(run: Run, delivered: Sequence[Artifact]) -> tuple[str, str | None]:
    """Return what was delivered, and what a run uses unless it is just that, as JSON."""
    seqs = json.dumps([artifact.seq for artifact in delivered])
    chosen = run.artifacts
    if len(chosen) == len(delivered) and all(map(_is_same, chosen, delivered)):
        return seqs, None
    return seqs, json.dumps([a.seq or _embedded(a) for a in chosen])


def _is_same(one: Artifact, other: Artifact) -> bool:
    return one is other or (one.seq != 0 and one.seq == other.seq and one.key == other.key)


def inputs_from(text: str, artifact_at: Callable[[int], Artifact]) -> list[Artifact]:
    """Return a run's inputs from JSON.

    Args:
        text: An array of seqs and of artifacts that are not on the board.
        artifact_at: Returns the artifact at a position.
    """
    found: list[Artifact] = []
    for each in cast("list[int | list[Any]]", json.loads(text)):
        if isinstance(each, int):
            found.append(artifact_at(each))
        else:
            key, name, version, payload, producer, workflow, about, tags, seen_by = each[:9]
            row: Row = (
                key,
                name,
                version,
                payload.encode(),
                producer,
                workflow,
                about,
                None if tags is None else tuple(tags),
                None if seen_by is None else seen_by.encode(),
                each[9],
                tuple(each[10]),
                each[11],
            )
            found.append(artifact_of(row, 0))
    return found


def seqs_in(texts: Iterable[str | None]) -> set[int]:
    """Return all positions that such JSON names."""
    return {
        each
        for text in texts
        if text is not None
        for each in cast("list[object]", json.loads(text))
        if isinstance(each, int)
    }


def _embedded(artifact: Artifact) -> list[object]:
    row = row_of(artifact)
    visibility = row[8]
    return [
        *row[:3],
        row[3].decode(),
        *row[4:8],
        None if visibility is None else visibility.decode(),
        *row[9:],
    ]
