"""What lies on the board: an artifact, its content and where it came from."""

from __future__ import annotations

import itertools
import json
import os
import random
from collections.abc import Mapping
from dataclasses import FrozenInstanceError
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias, TypeGuard, TypeVar
from uuid import UUID

from pydantic import BaseModel

from flock.clock import SystemClock, as_datetime
from flock.core.types import TypeEntry, registry
from flock.core.visibility import (
    PUBLIC,
    AfterVisibility,
    LabelledVisibility,
    PrivateVisibility,
    PublicVisibility,
    TenantVisibility,
    Visibility,
    as_public,
)
from flock.errors import PublishError, TypeRegistryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

M = TypeVar("M", bound=BaseModel)

NO_TAGS: Final = frozenset[str]()

EXTERNAL: Final = "external"
"""`produced_by` of what was published from outside the board."""


class _Fields:
    __slots__ = (
        "correlation_id",
        "created",
        "data",
        "depth",
        "entry",
        "key",
        "parent_keys",
        "partition_key",
        "produced_by",
        "seq",
        "tags",
        "version",
        "visibility",
    )

    key: int
    """The id as a number of 128 bits."""
    seq: int
    """Position on the board, from 1; 0 while it is not there."""
    entry: TypeEntry
    version: int
    data: bytes
    """The content as canonical JSON."""
    produced_by: str
    """Name of the agent that made it, or `"external"`."""
    correlation_id: str
    """Id of its workflow."""
    partition_key: str | None
    tags: frozenset[str]
    visibility: Visibility
    created: float
    """Seconds since the Unix epoch."""
    parent_keys: tuple[int, ...]
    depth: int
    """How many runs lie between it and what was published from outside."""


class Artifact(_Fields):
    """One immutable piece of content on the board.

    Its content is fixed as canonical JSON when it is published: `payload` and `as_model`
    give every caller an own copy. Artifacts are equal when their ids are.
    """

    __slots__ = ()

    @staticmethod
    def of(
        obj: BaseModel,
        *,
        tags: Iterable[str] = (),
        visibility: Visibility | None = None,
        correlation_id: str | None = None,
        partition_key: str | None = None,
    ) -> Artifact:
        """Make an artifact that is not on a board yet.

        Args:
            obj: Its content.
            tags: Words that subscriptions may ask for.
            visibility: Who may read it; everybody unless said.
            correlation_id: The workflow it belongs to; a new one unless said.
            partition_key: What it is about, for the user's own use.

        Raises:
            PublishError: The content would not survive being stored, or an option is wrong.
        """
        entry = registry.entry(type(obj))
        data = entry.freeze(obj)
        now = SystemClock.time()
        key = new_key(now)
        return seal(
            key,
            entry,
            data,
            EXTERNAL,
            f"{key:032x}" if correlation_id is None else checked_identifier(correlation_id),
            checked_partition(partition_key),
            checked_tags(tags) if tags else NO_TAGS,
            checked_visibility(visibility),
            now,
            (),
            0,
        )

    @property
    def id(self) -> UUID:
        """Time-ordered id: a UUID of version 7 (RFC 9562)."""
        return UUID(int=self.key)

    @property
    def type(self) -> str:
        """Stable name of the content's class."""
        return self.entry.name

    @property
    def payload(self) -> dict[str, Any]:
        """The content as a new JSON-compatible dict, by field names."""
        payload: dict[str, Any] = json.loads(self.data)
        return payload

    @property
    def created_at(self) -> datetime:
        """When it was published, in UTC."""
        return as_datetime(self.created)

    @property
    def parents(self) -> tuple[UUID, ...]:
        """Ids of the inputs of the run that made it."""
        return tuple(UUID(int=key) for key in self.parent_keys)

    @property
    def is_loose_root(self) -> bool:
        """Whether it was published from outside, without naming a workflow."""
        return self.depth == 0 and self.correlation_id == f"{self.key:032x}"

    def as_model(self, model: type[M]) -> M:
        """Return the content as a new instance.

        Args:
            model: The class that goes by the artifact's type name.

        Raises:
            TypeRegistryError: The artifact is of another type.
            UpcastError: The content has no way up to the class's version.
        """
        entry = registry.entry(model)
        if entry.name != self.entry.name:
            msg = f"this artifact is a {self.type!r}, not a {entry.name!r}"
            raise TypeRegistryError(msg)
        loaded = entry.load(self.data, self.version)
        assert isinstance(loaded, model)
        return loaded

    def take(self, entry: TypeEntry) -> BaseModel:
        """Return a new instance of the class that goes by this type's name now.

        A class that was redefined since `entry` was made is replaced by its successor.
        """
        while entry.successor is not None:
            entry = entry.successor
        return entry.load(self.data, self.version)

    def replace(
        self,
        obj: BaseModel | None = None,
        *,
        tags: Iterable[str] | None = None,
        visibility: Visibility | None = None,
        correlation_id: str | None = None,
        partition_key: str | None = None,
        depth: int | None = None,
    ) -> Artifact:
        """Return a copy with the same id and lineage and other content or attributes.

        Raises:
            PublishError: The new content would not survive being stored, or an option is
                wrong.
        """
        entry, data, version = self.entry, self.data, self.version
        if obj is not None:
            entry = registry.entry(type(obj))
            data, version = entry.freeze(obj), entry.version
        return seal(
            self.key,
            entry,
            data,
            self.produced_by,
            self.correlation_id if correlation_id is None else checked_identifier(correlation_id),
            self.partition_key if partition_key is None else checked_partition(partition_key),
            self.tags if tags is None else checked_tags(tags),
            self.visibility if visibility is None else checked_visibility(visibility),
            self.created,
            self.parent_keys,
            self.depth if depth is None else depth,
            version,
        )

    def __setattr__(self, name: str, value: object) -> None:
        msg = f"an artifact is frozen; {name!r} cannot be set, publish a new one instead"
        raise FrozenInstanceError(msg)

    def __delattr__(self, name: str) -> None:
        msg = f"an artifact is frozen; {name!r} cannot be deleted"
        raise FrozenInstanceError(msg)

    def __eq__(self, other: object) -> bool:
        return self.key == other.key if isinstance(other, Artifact) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.key)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        del memo
        return self

    def __reduce__(self) -> str:
        msg = "artifacts are not pickled; send their payload, or read them from a store"
        raise TypeError(msg)

    def __repr__(self) -> str:
        text = self.data if len(self.data) <= 200 else self.data[:197] + b"..."
        return (
            f"Artifact({self.type} {text.decode(errors='replace')}, seq={self.seq}, "
            f"by={self.produced_by!r}, workflow={self.correlation_id!r})"
        )


Publishable: TypeAlias = BaseModel | Artifact | Mapping[str, Any]
"""What can be published: a model, an artifact, or a dict with `type`."""


class _Unsealed(_Fields):
    """The same layout before it is frozen: plain attribute stores are what makes it fast."""

    __slots__ = ()


def seal(
    key: int,
    entry: TypeEntry,
    data: bytes,
    produced_by: str,
    correlation_id: str,
    partition_key: str | None,
    tags: frozenset[str],
    visibility: Visibility,
    created: float,
    parent_keys: tuple[int, ...],
    depth: int,
    version: int = 0,
    seq: int = 0,
) -> Artifact:
    """Make an artifact of its parts; for the board and for stores.

    Args:
        key: The id as a number of 128 bits.
        entry: The type of the content.
        data: The content as canonical JSON.
        produced_by: Who made it.
        correlation_id: Its workflow.
        partition_key: What it is about.
        tags: Words that subscriptions may ask for.
        visibility: Who may read it.
        created: Seconds since the Unix epoch.
        parent_keys: Ids of the inputs it was made of.
        depth: Number of runs between it and the outside.
        version: The version of `data`; the class's if 0.
        seq: Position on the board, 0 while it is not there.
    """
    made = _Unsealed()
    made.key = key
    made.entry = entry
    made.data = data
    made.produced_by = produced_by
    made.correlation_id = correlation_id
    made.partition_key = partition_key
    made.tags = tags
    made.visibility = visibility
    made.created = created
    made.parent_keys = parent_keys
    made.depth = depth
    made.version = version or entry.version
    made.seq = seq
    made.__class__ = Artifact  # pyright: ignore[reportAttributeAccessIssue]
    return made  # pyright: ignore[reportReturnType]


_VISIBILITIES: Final = (
    PublicVisibility,
    PrivateVisibility,
    LabelledVisibility,
    TenantVisibility,
    AfterVisibility,
)


def is_visibility(value: object) -> TypeGuard[Visibility]:
    """Return whether a value is one of the five kinds of visibility."""
    return type(value) in _VISIBILITIES or isinstance(value, _VISIBILITIES)


def checked_visibility(visibility: object) -> Visibility:
    """Return a visibility that a user gave; everybody may read it if it is None.

    Raises:
        PublishError: It is no visibility.
    """
    if visibility is None:
        return PUBLIC
    if not is_visibility(visibility):
        msg = (
            "visibility takes a Visibility such as PrivateVisibility(agents={...}), not "
            f"{visibility!r}"
        )
        raise PublishError(msg)
    return as_public(visibility)


def checked_tags(tags: Iterable[str]) -> frozenset[str]:
    """Return tags that a user gave; a text is one tag.

    Raises:
        PublishError: They are no words, or hold what no store can keep.
    """
    try:
        found = frozenset([tags] if isinstance(tags, str) else tags)
    except TypeError:
        found = frozenset[Any]([None])
    if not all(isinstance(tag, str) for tag in found):
        msg = f"tags are words, not {tags!r}"
        raise PublishError(msg)
    for tag in found:
        require_text(tag, "a tag")
    return found


def is_text(text: str) -> bool:
    """Return whether UTF-8 can carry a text: lone surrogates it cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def require_text(text: str, what: str) -> None:
    """Refuse a text that no store can keep.

    Raises:
        PublishError: It holds half a character.
    """
    if not is_text(text):
        msg = f"{what} may not hold a lone surrogate, as {text!r} does; leave it out"
        raise PublishError(msg)


def checked_partition(key: str | None) -> str | None:
    """Return a partition key that a user gave.

    Raises:
        PublishError: It is no text, or holds what no store can keep.
    """
    if key is not None:
        if not isinstance(key, str):
            msg = f"a partition_key is a text, not {key!r}"
            raise PublishError(msg)
        require_text(key, "a partition_key")
    return key


def identifier(value: object) -> str:
    """Return a correlation id that a user gave as text, whether or not there is such a workflow.

    Raises:
        PublishError: It is neither a text nor a number nor a UUID, but an artifact, for example.
    """
    if isinstance(value, str | int | UUID) and not isinstance(value, bool):
        return str(value)
    what = (
        "an Artifact, whose workflow is its correlation_id"
        if isinstance(value, Artifact)
        else repr(value)
    )
    msg = f"a correlation_id is a text, not {what}"
    raise PublishError(msg)


def checked_identifier(value: object) -> str:
    """Return a correlation id that a user gave as text.

    Raises:
        PublishError: It is none, is empty, or holds what no store can keep.
    """
    text = identifier(value)
    require_text(text, "a correlation_id")
    if not text:
        msg = "a correlation_id must not be empty; leave it out to start a workflow of its own"
        raise PublishError(msg)
    return text


set_seq: Callable[[Artifact, int], None] = _Fields.__dict__["seq"].__set__
"""`set_seq(artifact, n)`: for stores, once, when they commit it."""

_random = random.SystemRandom()  # never the generator that users seed


def _fresh_serial() -> Iterator[int]:
    """Return the counter in the low 80 bits of ids: version, variant and a random start."""
    start = (0x7000 | _random.getrandbits(12)) << 64 | 1 << 63 | _random.getrandbits(60)
    return itertools.count(start)


_serial = _fresh_serial()


def _restart_serial() -> None:
    global _serial
    _serial = _fresh_serial()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restart_serial)


def new_key(now: float) -> int:
    """Return a time-ordered id: the 128 bits of a UUID of version 7 (RFC 9562, 5.7).

    The bits after the milliseconds are a counter with a random start, which keeps the ids
    of one process apart and in order within a millisecond (RFC 9562, 6.2, method 1).

    Args:
        now: Seconds since the Unix epoch.
    """
    return (int(now * 1000) << 80) + next(_serial)
