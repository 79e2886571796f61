"""The statements of `queries.sql`, and filters as their conditions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final, cast

from flock.core.artifacts import is_text
from flock.core.filters import FilterConfig
from flock.core.types import registry
from flock.store.sqlite.records import ARTIFACT
from flock.store.sqlite.statements import Value

_NAME: Final = "-- name: "


@cache
def _statements() -> Mapping[str, str]:
    text = resources.files("flock.store.sqlite").joinpath("queries.sql").read_text()
    found: dict[str, str] = {}
    for part in text.split(_NAME)[1:]:
        name, _, body = part.partition("\n")
        found[name.strip()] = body.strip().removesuffix(";").replace("{artifact}", ARTIFACT)
    return found


def query(name: str) -> str:
    """Return a statement by its name."""
    return _statements()[name]


@dataclass(frozen=True, slots=True)
class Condition:
    """Which artifacts are asked for, as SQL.

    Attributes:
        sql: What comes after WHERE.
        values: Its parameters.
        is_by_time: Whether nothing but a time narrows it much. SQLite would rather go through
            all artifacts in order than sort what the index of times gives.
    """

    sql: str
    values: tuple[Value, ...]
    is_by_time: bool = False

    def page(self, columns: str, *, newest_first: bool = False) -> str:
        """Return the statement for a page of artifacts; it also takes a limit and an offset."""
        order = "DESC" if newest_first else "ASC"
        if self.is_by_time:
            return (
                f"SELECT {columns} FROM artifacts WHERE seq IN (SELECT seq FROM artifacts "
                f"WHERE {self.sql} ORDER BY +seq {order} LIMIT ? OFFSET ?) ORDER BY seq {order}"
            )
        return (
            f"SELECT {columns} FROM artifacts WHERE {self.sql} "
            f"ORDER BY seq {order} LIMIT ? OFFSET ?"
        )

    def also(self, sql: str, *values: Value) -> Condition:
        """Return this condition with another one."""
        return Condition(f"{self.sql} AND {sql}", (*self.values, *values), self.is_by_time)

    def before(self, seq: int) -> Condition:
        """Return this condition for positions before one."""
        return self.also("+seq < ?" if self.is_by_time else "seq < ?", seq)

    def after(self, seq: int) -> Condition:
        """Return this condition for positions after one."""
        return self.also("+seq > ?" if self.is_by_time else "seq > ?", seq)


EVERYTHING: Final = Condition("seq > 0", ())
"""All artifacts, by their position: a range of the table's own key."""
_NOTHING: Final = Condition("seq < 0", ())


def condition(where: FilterConfig | None) -> Condition:
    """Return a filter as SQL. Types are looked for under every name they went by."""
    if where is None:
        return EVERYTHING
    names: Collection[str] | None = None
    if where.type_names is not None:
        entries = [registry.resolve(name) for name in cast("Collection[str]", where.type_names)]
        names = {name for entry in entries for name in entry.names}
    workflow = None if where.correlation_id is None else str(where.correlation_id)
    return conditions(
        types=names,
        producers=where.produced_by,
        workflow=workflow,
        tags=where.tags,
        kinds=where.visibility,
        start=None if where.start is None else where.start.timestamp(),
        end=None if where.end is None else where.end.timestamp(),
    )


def conditions(
    *,
    types: Collection[str] | None = None,
    producers: Collection[str] | None = None,
    workflow: str | None = None,
    tags: Collection[str] | None = None,
    kinds: Collection[str] | None = None,
    start: float | None = None,
    end: float | None = None,
) -> Condition:
    """Return what to look for as SQL; what is left out does not narrow it.

    Args:
        types: Stored type names; any of them.
        producers: Names of producers; any of them.
        workflow: The workflow.
        tags: Tags that an artifact must all have.
        kinds: Kinds of visibility in lower case; any of them.
        start: The earliest time of publishing, in seconds since the epoch, inclusive.
        end: The latest, inclusive.
    """
    if any(chosen is not None and not chosen for chosen in (types, producers, kinds)):
        return _NOTHING
    found = [
        Condition("seq IN (SELECT seq FROM artifact_tags WHERE tag = ?)", (sought(tag),))
        for tag in sorted(tags or ())
    ]
    for sql, value in (
        ("correlation_id = ?", workflow),
        ("created >= ?", start),
        ("created <= ?", end),
    ):
        if value is not None:
            found.append(Condition(sql, (sought(value) if isinstance(value, str) else value,)))
    for column, chosen in (("type", types), ("produced_by", producers)):
        if chosen is not None:
            values = tuple(map(sought, sorted(chosen)))
            found.append(Condition(f"{column} IN ({_places(chosen)})", values))
    is_narrow = bool(found)
    if kinds is not None:
        found.append(_of_kinds(kinds))
        is_narrow = is_narrow or "public" not in kinds
    if not is_narrow:
        found.append(EVERYTHING)
    values = tuple(value for each in found for value in each.values)
    is_by_time = (start is not None or end is not None) and (
        workflow is None and not tags and types is None and producers is None
    )
    return Condition(" AND ".join(each.sql for each in found), values, is_by_time)


def sought(text: str) -> str | None:
    """Return a text to look for; None, which nothing equals, if SQLite cannot hold it."""
    return text if is_text(text) else None


def _of_kinds(kinds: Collection[str]) -> Condition:
    rest = tuple(sorted(set(kinds) - {"public"}))
    sql = f"kind IN ({_places(rest)})"
    if "public" in kinds:
        sql = f"(kind IS NULL OR {sql})" if rest else "kind IS NULL"
    return Condition(sql, rest)


def _places(items: Iterable[object]) -> str:
    return ", ".join("?" for _ in items)
