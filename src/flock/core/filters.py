"""What to look for on the board."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from flock.core.types import registry
from flock.errors import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Collection

    from flock.core.artifacts import Artifact

_KINDS = {"public", "private", "labelled", "tenant", "after"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterConfig:
    """Which artifacts a query asks for; what is left out does not narrow it.

    Attributes:
        type_names: Stable or unique short type names, or classes; any of them.
        produced_by: Names of producers; any of them.
        correlation_id: The workflow.
        tags: Tags that an artifact must all have.
        visibility: Kinds of visibility (`"Public"`, `"Private"`, ...); any of them.
        start: The earliest `created_at`, inclusive; aware.
        end: The latest `created_at`, inclusive; aware.

    Raises:
        DeclarationError: An option is of the wrong kind, or a kind of visibility does not exist.
        ValueError: A time is naive.
        TypeRegistryError: A type name is unknown or ambiguous.

    Example:
        ```python
        from pydantic import BaseModel

        from flock import FilterConfig, Flock


        class Note(BaseModel):
            text: str


        flock = Flock()
        async with flock:
            await flock.publish(Note(text="one"), tags={"urgent"})
            await flock.publish(Note(text="two"))
            found, total = await flock.store.query_artifacts(
                FilterConfig(tags={"urgent"}), limit=10
            )
        print([note.payload["text"] for note in found], total)  # -> ['one'] 1
        ```
    """

    type_names: Collection[str | type] | None = None
    produced_by: Collection[str] | None = None
    correlation_id: str | None = None
    tags: Collection[str] | None = None
    visibility: Collection[str] | None = None
    start: datetime | None = None
    end: datetime | None = None

    def __post_init__(self) -> None:
        if self.type_names is not None:
            names = frozenset(
                registry.resolve(t).name if isinstance(t, str) else registry.entry(t).name
                for t in _several(self.type_names, "type_names")
            )
            object.__setattr__(self, "type_names", names)
        for field in ("produced_by", "tags"):
            value = getattr(self, field)
            if value is not None:
                object.__setattr__(self, field, frozenset(_several(value, field)))
        if self.visibility is not None:
            kinds = frozenset(str(kind).lower() for kind in _several(self.visibility, "visibility"))
            if not kinds <= _KINDS:
                msg = (
                    f"unknown kinds of visibility {sorted(kinds - _KINDS)}; there are "
                    "Public, Private, Labelled, Tenant and After"
                )
                raise DeclarationError(msg)
            object.__setattr__(self, "visibility", kinds)
        for field in ("start", "end"):
            require_aware(getattr(self, field), f"FilterConfig.{field}")

    def admits(self, artifact: Artifact) -> bool:
        """Return whether an artifact is asked for."""
        return (
            (
                self.type_names is None
                or artifact.entry.name_among(cast("Collection[str]", self.type_names)) is not None
            )
            and (self.produced_by is None or artifact.produced_by in self.produced_by)
            and (self.correlation_id is None or artifact.correlation_id == str(self.correlation_id))
            and (self.tags is None or artifact.tags.issuperset(self.tags))
            and (self.visibility is None or artifact.visibility.kind.lower() in self.visibility)
            and (self.start is None or artifact.created >= self.start.timestamp())
            and (self.end is None or artifact.created <= self.end.timestamp())
        )


def require_aware(moment: datetime | None, what: str) -> None:
    """Refuse a datetime without a time zone.

    Raises:
        ValueError: `moment` is naive.
        TypeError: `moment` is no datetime.
    """
    if moment is not None and not isinstance(moment, datetime):
        msg = f"{what} takes an aware datetime, not {moment!r}"
        raise TypeError(msg)
    if moment is not None and moment.utcoffset() is None:
        msg = f"{what} needs a time zone, as in datetime.now(UTC); {moment!r} has none"
        raise ValueError(msg)


def _several(value: object, option: str) -> Collection[Any]:
    if isinstance(value, str | type):
        return (value,)
    if not isinstance(value, Iterable):
        msg = f"FilterConfig.{option} takes one or several words, not {value!r}"
        raise DeclarationError(msg)
    return tuple(cast("Iterable[object]", value))
