"""What all events have: when, where on the board, in which version; and their form as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Annotated, Any, ClassVar, Final

from pydantic import (
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    TypeAdapter,
    WithJsonSchema,
)
from pydantic_core import to_jsonable_python

from flock.core.artifacts import Artifact
from flock.orchestrator.events.position import START, Position


def kind_of(cls: type[BoardEvent]) -> str:
    """Return the name of a kind of event: `"run_failed"` of `RunFailed`."""
    name = cls.__name__
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).removeprefix("_")


def artifact_dict(artifact: Artifact) -> dict[str, Any]:
    """Return an artifact as JSON can carry it."""
    return {
        "seq": artifact.seq,
        "id": str(artifact.id),
        "type": artifact.type,
        "version": artifact.version,
        "payload": artifact.payload,
        "produced_by": artifact.produced_by,
        "correlation_id": artifact.correlation_id,
        "partition_key": artifact.partition_key,
        "tags": sorted(artifact.tags),
        "visibility": artifact.visibility.model_dump(mode="json"),
        "created_at": artifact.created_at.isoformat(),
        "parents": [str(parent) for parent in artifact.parents],
        "depth": artifact.depth,
    }


def _ids(artifacts: Iterable[Artifact]) -> list[str]:
    return [str(artifact.id) for artifact in artifacts]


def _shown(delta: object) -> object:
    return to_jsonable_python(delta, fallback=repr, inf_nan_mode="strings")


def _same(value: object) -> object:
    return value


_ARTIFACT: Final = {
    "type": "object",
    "properties": {
        "seq": {"type": "integer"},
        "id": {"type": "string", "format": "uuid"},
        "type": {"type": "string"},
        "version": {"type": "integer"},
        "payload": {},
        "produced_by": {"type": "string"},
        "correlation_id": {"type": "string"},
        "partition_key": {"type": ["string", "null"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "visibility": {"type": "object"},
        "created_at": {"type": "string", "format": "date-time"},
        "parents": {"type": "array", "items": {"type": "string", "format": "uuid"}},
        "depth": {"type": "integer"},
    },
}

PublishedArtifact = Annotated[
    Artifact,
    PlainValidator(_same),
    PlainSerializer(artifact_dict),
    WithJsonSchema(_ARTIFACT),
]
"""An artifact; in JSON its fields."""

PublishedArtifacts = Annotated[
    tuple[Artifact, ...],
    PlainValidator(_same),
    PlainSerializer(_ids),
    WithJsonSchema({"type": "array", "items": {"type": "string", "format": "uuid"}}),
]
"""Artifacts; in JSON their ids, since each was told of by itself."""

Instance = Annotated[object, PlainValidator(_same), PlainSerializer(_shown), WithJsonSchema({})]
"""Any object; in JSON what can be said of it."""

LiveError = Annotated[
    BaseException | None,
    PlainValidator(_same),
    Field(exclude=True),
    WithJsonSchema({"type": "null"}),
]
"""An exception of this process; JSON carries none."""

_Place = Annotated[
    Position,
    PlainValidator(lambda value: Position.parse(value) if isinstance(value, str) else value),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "pattern": r"^\d+\.\d+\.\d+$"}),
]


@dataclass(frozen=True, slots=True)
class BoardEvent:
    """Something that happened on a board; `Event` is all kinds of it."""

    VERSION: ClassVar[int] = 1
    """Version of its fields; it grows when stored events of the kind have to be upcast."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(arbitrary_types_allowed=True)

    at: datetime
    """When it happened, in UTC."""
    correlation_id: str | None
    """The workflow it belongs to; None for the whole board."""
    position: _Place = field(default=START, kw_only=True, compare=False)
    """The place on the board after it, for `Flock.events(after=)`; set when it is told."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can carry it, with its `kind` and its `version`.

        Times are texts of ISO 8601, ids and the position are texts, artifacts that a run put out
        are their ids. An error is its type and message.
        """
        cls = type(self)
        fields: dict[str, Any] = adapter(cls).dump_python(self, mode="json")
        return {"kind": kind_of(cls), "version": cls.VERSION, **fields}


@cache
def adapter(cls: type[BoardEvent]) -> TypeAdapter[Any]:
    """Return what reads and writes a kind of event as JSON; made when it is first needed."""
    return TypeAdapter(cls)
