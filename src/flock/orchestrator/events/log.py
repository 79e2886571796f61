"""Events as entries of a board's log, and back, whichever version wrote them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from types import UnionType
from typing import Any, Final, TypeAlias, TypeVar, Union, cast, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import from_json, to_json

from flock.clock import as_datetime
from flock.errors import DeclarationError, StoreCorrupt
from flock.orchestrator.events.base import BoardEvent, adapter, kind_of
from flock.orchestrator.events.kinds import Event, UnknownEvent
from flock.orchestrator.events.position import Position
from flock.store.protocol import LogEntry

E = TypeVar("E", bound=BoardEvent)

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]

UPCASTERS: Final[dict[tuple[str, int], Upcaster]] = {}
"""By kind and version: makes of what such an event says what the next version of it would say.

Whoever changes what a lasting event says raises its `VERSION` and puts here how to read the
entries that are on boards already.
"""

_COLUMNS: Final = {"at", "correlation_id", "position"}
"""What an entry says beside its data."""


class LoggedEvent(LogEntry):
    """An entry that is to be logged, with the event as this process knows it.

    Attributes:
        event: The event, its live error included.
    """

    event: BoardEvent


def logged(event: Event) -> LogEntry:
    """Return an event as an entry, for `Commit.logged`: it lasts, and is told with the commit.

    Its `at` becomes that of the entry.
    """
    cls = type(event)
    said = adapter(cls).dump_python(event, mode="json", exclude=_COLUMNS)
    data = to_json({"version": cls.VERSION, **said})
    entry = LoggedEvent(kind_of(cls), event.at.timestamp(), event.correlation_id, data)
    entry.event = event
    return entry


def event_of(entry: LogEntry) -> Event:
    """Return the event that an entry tells of, at its place on the board.

    An entry of an older version is upcast. One of an unknown kind, or a newer version, comes as
    `UnknownEvent`.

    Raises:
        StoreCorrupt: It says what its kind cannot say.
    """
    at, workflow, place = as_datetime(entry.at), entry.correlation_id, Position.at(entry.mark)
    said = _parsed(entry)
    version = said.pop("version", 0)
    cls = kinds().get(entry.kind)
    if cls is None or type(version) is not int or not 0 < version <= cls.VERSION:
        version = version if type(version) is int else 0
        return UnknownEvent(at, workflow, entry.kind, version, said, position=place)
    for older in range(version, cls.VERSION):
        upcaster = UPCASTERS.get((entry.kind, older))
        if upcaster is None:
            msg = (
                f"entry {entry.number} of the board's log is a {entry.kind!r} of version {version},"
                f" and nothing reads version {older} of it as version {older + 1}"
            )
            raise StoreCorrupt(msg)
        said = upcaster(said)
    try:
        said |= {"at": at, "correlation_id": workflow, "position": place}
        return cast("Event", adapter(cls).validate_python(said))
    except ValidationError as error:
        raise _corrupt(entry, str(error)) from error


def event_as(entry: LogEntry, kind: type[E]) -> E | None:
    """Return the event that an entry tells of, or None if it is of another kind."""
    event = event_of(entry) if entry.kind == kind_of(kind) else None
    return event if isinstance(event, kind) else None


def _parsed(entry: LogEntry) -> dict[str, Any]:
    try:
        said = from_json(entry.data)
    except ValueError as error:
        raise _corrupt(entry, str(error)) from error
    if not isinstance(said, dict):
        raise _corrupt(entry, "its data is no object")
    return cast("dict[str, Any]", said)


def _corrupt(entry: LogEntry, why: str) -> StoreCorrupt:
    msg = (
        f"entry {entry.number} of the board's log, a {entry.kind!r}, cannot be read: {why}; "
        "restore the board from a copy, or listen from a later position"
    )
    return StoreCorrupt(msg)


Kinds: TypeAlias = type[BoardEvent] | UnionType | Iterable[type[BoardEvent]]


def chosen_kinds(wanted: Kinds) -> tuple[type[BoardEvent], ...]:
    """Return the kinds of events that a user chose: a class, several, or a union.

    Raises:
        DeclarationError: They are none.
    """
    found: tuple[object, ...]
    if isinstance(wanted, UnionType) or get_origin(wanted) is Union:
        found = get_args(wanted)
    elif isinstance(wanted, Iterable) and not isinstance(wanted, str):
        found = tuple(wanted)
    else:
        found = (wanted,)
    for each in found or (wanted,):
        if not (isinstance(each, type) and issubclass(each, BoardEvent)):
            msg = (
                f"events: kinds= takes classes of events such as RunFailed | DeadLettered, not "
                f"{each!r}"
            )
            raise DeclarationError(msg)
    return cast("tuple[type[BoardEvent], ...]", found)


@cache
def kinds() -> Mapping[str, type[BoardEvent]]:
    """Return all kinds of events by their name."""
    return {kind_of(cls): cls for cls in get_args(Event)}


def events_schema() -> dict[str, Any]:
    """Return what `as_dict` of any event gives, as JSON Schema (draft 2020-12)."""
    found: dict[str, Any] = {}
    definitions: dict[str, Any] = {}
    for kind, cls in kinds().items():
        schema = adapter(cls).json_schema(mode="serialization", ref_template="#/$defs/{model}")
        definitions |= schema.pop("$defs", {})
        if cls is UnknownEvent:
            continue
        properties = {
            "kind": {"const": kind},
            "version": {"const": cls.VERSION},
            **schema["properties"],
        }
        schema["properties"] = properties
        schema["required"] = [*properties]
        found[cls.__name__] = schema
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Event",
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in found],
        "$defs": {**definitions, **found},
    }
