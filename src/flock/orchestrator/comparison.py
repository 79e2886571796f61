"""What two runs of one workflow came to: which artifacts are the same, changed, missing, new."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from flock.core.system import GroupExpired, WorkflowError
from flock.core.types import registry

if TYPE_CHECKING:
    from flock.core.artifacts import Artifact

_Lineage: TypeAlias = tuple[str, str, tuple[int, ...]]
"""Type, producer, and the keys of the parents, each as it is called in the first workflow."""


class Absent(Enum):
    """What a field is that is not there."""

    ABSENT = "(absent)"

    def __repr__(self) -> str:
        return "(absent)"


ABSENT: Final = Absent.ABSENT


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field that differs.

    Attributes:
        path: Where: `"total"`, `"lines[2].price"`; `"(tags)"` and `"(visibility)"` for what
            is said of the artifact.
        before: Its JSON value in the workflow that was run again; `ABSENT` if it has none.
        after: Its value in the fork.
    """

    path: str
    before: object
    after: object

    def __str__(self) -> str:
        return f"{self.path}: {_shown(self.before)} -> {_shown(self.after)}"


@dataclass(frozen=True, slots=True)
class ArtifactPair:
    """Two artifacts that answer to each other.

    Attributes:
        before: In the workflow that was run again.
        after: In the fork.
        changes: The fields that differ.
        has_same_lineage: Whether both were made of inputs that answer to each other. A batch
            that was put together otherwise may still come to the same.
    """

    before: Artifact
    after: Artifact
    changes: tuple[FieldChange, ...] = ()
    has_same_lineage: bool = True


@dataclass(frozen=True, slots=True)
class Comparison:
    """How the outcome of a workflow differs from that of its fork.

    Artifacts answer to each other that one agent made of inputs that answer to each other;
    among several, those of equal content first, the rest in board order. What is left over
    answers to what has the same type, producer and content. Times and ids in `WorkflowError`
    and `GroupExpired` do not count.

    Attributes:
        same: Pairs of equal content.
        changed: Pairs whose content differs.
        missing: What only the workflow has.
        added: What only the fork has.
    """

    same: tuple[ArtifactPair, ...] = ()
    changed: tuple[ArtifactPair, ...] = ()
    missing: tuple[Artifact, ...] = ()
    added: tuple[Artifact, ...] = ()

    @property
    def is_same(self) -> bool:
        """Whether nothing differs."""
        return not (self.changed or self.missing or self.added)

    def __str__(self) -> str:
        counts = (
            (len(self.same), "same"),
            (len(self.changed), "changed"),
            (len(self.missing), "missing"),
            (len(self.added), "added"),
        )
        return "\n".join([", ".join(f"{n} {what}" for n, what in counts), *self._lines()])

    def _lines(self) -> Iterator[str]:
        for pair in self.changed:
            yield f"  ~ {_named(pair.before)}"
            yield from (f"      {change}" for change in pair.changes)
        for sign, artifacts in (("-", self.missing), ("+", self.added)):
            yield from (f"  {sign} {_named(a)}  {_shown(a.payload)}" for a in artifacts)


def compare(before: Sequence[Artifact], after: Sequence[Artifact]) -> Comparison:
    """Compare what was made in a workflow with what was made in its fork.

    Args:
        before: What the workflow made, in board order.
        after: What the fork made, in board order.
    """
    pairs = _Pairing()
    left, right = _generations(before), _generations(after)
    for number in range(max(len(left), len(right))):
        pairs.add(
            left[number] if number < len(left) else (),
            right[number] if number < len(right) else (),
        )
    return pairs.outcome()


class _Pairing:
    """Pairs artifacts generation by generation: parents before what was made of them."""

    def __init__(self) -> None:
        self._called: dict[int, int] = {}
        self._found: list[ArtifactPair] = []
        self._missing: list[Artifact] = []
        self._added: list[Artifact] = []

    def add(self, before: Iterable[Artifact], after: Iterable[Artifact]) -> None:
        """ArtifactPair artifacts of one generation by their lineage."""
        mine, theirs = self._by_lineage(before), self._by_lineage(after)
        for lineage in {**mine, **theirs}:
            one, other = mine.get(lineage, []), theirs.get(lineage, [])
            one, other = self._equal(one, other, has_same_lineage=True)
            for first, second in zip(one, other, strict=False):
                self._pair(first, second, has_same_lineage=True)
            self._missing += one[len(other) :]
            self._added += other[len(one) :]

    def outcome(self) -> Comparison:
        """ArtifactPair by content what is left over, and return all of it in board order."""
        missing, added = self._equal(self._missing, self._added, has_same_lineage=False)
        found = sorted(self._found, key=lambda pair: pair.before.seq)
        return Comparison(
            tuple(pair for pair in found if not pair.changes),
            tuple(pair for pair in found if pair.changes),
            tuple(sorted(missing, key=lambda a: a.seq)),
            tuple(sorted(added, key=lambda a: a.seq)),
        )

    def _by_lineage(self, artifacts: Iterable[Artifact]) -> dict[_Lineage, list[Artifact]]:
        found: dict[_Lineage, list[Artifact]] = defaultdict(list)
        for made in artifacts:
            parents = tuple(self._called.get(key, key) for key in made.parent_keys)
            found[made.type, made.produced_by, parents].append(made)
        return found

    def _equal(
        self, before: Sequence[Artifact], after: Sequence[Artifact], *, has_same_lineage: bool
    ) -> tuple[list[Artifact], list[Artifact]]:
        """ArtifactPair what has equal content; return the rest of both."""
        waiting: dict[object, list[Artifact]] = defaultdict(list)
        for made in reversed(after):
            waiting[_content(made)].append(made)
        rest: list[Artifact] = []
        for made in before:
            candidates = waiting.get(_content(made))
            if candidates:
                self._pair(made, candidates.pop(), has_same_lineage=has_same_lineage)
            else:
                rest.append(made)
        left = {made.key for candidates in waiting.values() for made in candidates}
        return rest, [made for made in after if made.key in left]

    def _pair(self, before: Artifact, after: Artifact, *, has_same_lineage: bool) -> None:
        self._called[after.key] = before.key
        changes = tuple(_changes(before, after))
        self._found.append(ArtifactPair(before, after, changes, has_same_lineage))


def _generations(artifacts: Iterable[Artifact]) -> list[list[Artifact]]:
    """Sort artifacts, which come in board order, by how long their way from the given ones is."""
    generation: dict[int, int] = {}
    found: list[list[Artifact]] = []
    for made in artifacts:
        number = max((generation.get(key, -1) + 1 for key in made.parent_keys), default=0)
        generation[made.key] = number
        while len(found) <= number:
            found.append([])
        found[number].append(made)
    return found


def _content(artifact: Artifact) -> tuple[str, str, str, frozenset[str], object]:
    payload = json.dumps(_comparable(artifact), sort_keys=True)
    return artifact.type, artifact.produced_by, payload, artifact.tags, artifact.visibility


def _comparable(artifact: Artifact) -> dict[str, object]:
    """Return an artifact's payload without what differs each time it is made."""
    volatile = _VOLATILE.get(artifact.type, ())
    return {name: value for name, value in artifact.payload.items() if name not in volatile}


_VOLATILE: Final[Mapping[str, tuple[str, ...]]] = {
    registry.entry(WorkflowError).name: ("timestamp", "task_id", "run_id"),
    registry.entry(GroupExpired).name: ("expired_at", "artifact_ids"),
}


def _changes(before: Artifact, after: Artifact) -> Iterator[FieldChange]:
    yield from _differences(_comparable(before), _comparable(after), "")
    if before.tags != after.tags:
        yield FieldChange("(tags)", sorted(before.tags), sorted(after.tags))
    if before.visibility != after.visibility:
        one, other = (a.visibility.model_dump(mode="json") for a in (before, after))
        yield FieldChange("(visibility)", one, other)


def _differences(before: object, after: object, path: str) -> Iterator[FieldChange]:
    if not _is_nested(before, after):
        if type(before) is not type(after) or before != after:  # JSON's 1 is not its true
            yield FieldChange(path, before, after)
    elif isinstance(before, dict):
        one, other = cast("dict[str, object]", before), cast("dict[str, object]", after)
        for name in {**one, **other}:
            inner = f"{path}.{name}" if path else name
            yield from _differences(one.get(name, ABSENT), other.get(name, ABSENT), inner)
    else:
        first, second = cast("list[object]", before), cast("list[object]", after)
        for place in range(max(len(first), len(second))):
            yield from _differences(
                first[place] if place < len(first) else ABSENT,
                second[place] if place < len(second) else ABSENT,
                f"{path}[{place}]",
            )


def _is_nested(before: object, after: object) -> bool:
    return any(isinstance(before, kind) and isinstance(after, kind) for kind in (dict, list))


def _named(artifact: Artifact) -> str:
    return f"{artifact.type} by {artifact.produced_by!r}"


_WIDEST: Final = 100


def _shown(value: object) -> str:
    text = repr(value) if value is ABSENT else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 3]}..."
