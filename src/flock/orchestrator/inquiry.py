"""Whether a condition holds, kept up to date commit by commit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias
from uuid import UUID

from flock.core.conditions import (
    BoardView,
    Combined,
    Condition,
    Counted,
    FieldMatched,
    Opposite,
    Rested,
    asks_about_work,
)
from flock.core.failure import failure_of
from flock.core.filters import FilterConfig

if TYPE_CHECKING:
    from flock.core.artifacts import Artifact
    from flock.store.protocol import BlackboardStore

logger = logging.getLogger(__name__)

_PAGE: Final = 256
"""How many artifacts are looked at in one go."""


class Inquiry:
    """One question to one board, from when it is asked until it is closed.

    What is on the board already is learned once, as of the position at which the question was
    asked. What is committed meanwhile is kept and taken in afterwards, one commit after the
    other; from then on each commit is taken in as it happens. So the answer is known after every
    single commit, and nothing that was committed is read again.

    Attributes:
        workflows: The only workflows it is about; None if it is about all.
        asks_about_work: Whether it depends on what is queued, running or due.
        told: How many commits it was told of that concern it.
        step: How many of them the answer takes into account.
        is_closed: Whether nobody asks any more.
    """

    def __init__(
        self,
        condition: Condition,
        store: BlackboardStore,
        view: BoardView,
        on_step: Callable[[], None],
    ) -> None:
        self._store = store
        self._view = view
        self._on_step = on_step
        self._stored: list[_Count | _Field] = []
        self._asked: list[_Asked] = []
        self._root = self._probe(condition)
        self.asks_about_work = asks_about_work(condition)
        self.workflows = self._only_workflows()
        self.told = 0
        self.step = 0
        self.is_closed = False
        self._begin()

    def _probe(self, condition: Condition) -> _Probe:
        """Return what keeps the answer of a condition, part by part."""
        if isinstance(condition, Combined):
            return _Combined([self._probe(part) for part in condition.parts], condition.is_all)
        if isinstance(condition, Opposite):
            return _Opposite(self._probe(condition.part))
        if isinstance(condition, Rested):
            return _Rested(condition, self._view)
        if isinstance(condition, Counted | FieldMatched):
            probe = _Count(condition) if isinstance(condition, Counted) else _Field(condition)
            self._stored.append(probe)
            return probe
        asked = _Asked(condition)
        self._asked.append(asked)
        return asked

    def _only_workflows(self) -> frozenset[str] | None:
        found = {probe.where.correlation_id for probe in self._stored}
        if self._asked:
            return None
        return None if None in found else frozenset(w for w in found if w is not None)

    def _begin(self) -> None:
        """Ask for what is on the board at this moment; what is committed later is kept."""
        self._since = self._store.position
        self._journal: list[list[Artifact]] | None = []
        for probe in self._asked:
            probe.doubt()

    # --- the answer ---

    @property
    def verdict(self) -> bool | None:
        """Whether it holds; None while that is not known."""
        return None if self._journal is not None else self._root.verdict()

    @property
    def is_stale(self) -> bool:
        """Whether there is something to learn."""
        return self._journal is not None or any(p.answer is None for p in self._asked)

    async def learn(self) -> None:
        """Learn what is not known, and tell of each step on the way.

        Raises:
            StoreError: The store could not be read.
        """
        await self.learn_stored()
        for probe in self._asked:
            if probe.answer is None and not self.is_closed:
                await probe.learn(self._view, self._on_step)

    async def learn_stored(self) -> None:
        """Learn what is on the board of what it counts and looks for.

        Raises:
            StoreError: The store could not be read.
        """
        while self._journal is not None and not self.is_closed:
            journal, since = self._journal, self._since
            for probe in self._stored:
                await probe.learn(self._store, since)
            if journal is not self._journal:
                continue  # something was deleted meanwhile
            self._journal = None
            self.step = self.told - len(journal)
            self._tell()
            for wanted in journal:
                self._take(wanted)

    # --- what happens on the board ---

    def committed(self, artifacts: Sequence[Artifact]) -> None:
        """Take a commit in."""
        if artifacts[-1].seq <= self._since:
            return  # it was there when the question was asked
        wanted = [a for a in artifacts if any(p.wants(a) for p in (*self._stored, *self._asked))]
        if not wanted:
            return
        self.told += 1
        if self._journal is None:
            self._take(wanted)
        else:
            self._journal.append(wanted)

    def _take(self, wanted: Sequence[Artifact]) -> None:
        for artifact in wanted:
            for probe in self._stored:
                if probe.wants(artifact):
                    probe.take(artifact)
            for probe in self._asked:
                if probe.wants(artifact):
                    probe.doubt()
        self.step += 1
        self._tell()

    def deleted(self) -> None:
        """Learn anew: something is not on the board any more."""
        self._begin()
        self._tell()

    def work_changed(self) -> None:
        """Look again: work has begun or ended."""
        for probe in self._asked:
            if probe.where is None:
                probe.doubt()
        self._tell()

    def _tell(self) -> None:
        if not self.is_closed:
            self._on_step()


class _Combined:
    def __init__(self, parts: Sequence[_Probe], is_all: bool) -> None:  # noqa: FBT001
        self._parts = parts
        self._is_all = is_all

    def verdict(self) -> bool | None:
        """Return what is decided by what is known (Kleene's logic of three values)."""
        verdicts = [part.verdict() for part in self._parts]
        if (not self._is_all) in verdicts:
            return not self._is_all
        return None if None in verdicts else self._is_all


class _Opposite:
    def __init__(self, part: _Probe) -> None:
        self._part = part

    def verdict(self) -> bool | None:
        verdict = self._part.verdict()
        return None if verdict is None else not verdict


class _Rested:
    def __init__(self, condition: Rested, view: BoardView) -> None:
        self._condition = condition
        self._view = view

    def verdict(self) -> bool:
        return self._condition.answer(self._view)


class _Count:
    """How many artifacts there are."""

    def __init__(self, condition: Counted) -> None:
        self.where = condition.where
        self._condition = condition
        self._count = 0

    def verdict(self) -> bool:
        return self._condition.admits(self._count)

    def wants(self, artifact: Artifact) -> bool:
        return self.where.admits(artifact)

    def take(self, artifact: Artifact) -> None:
        del artifact
        self._count += 1

    async def learn(self, store: BlackboardStore, until: int) -> None:
        self._count = await store.count(self.where, until=until)


class _Field:
    """An artifact that matches, the first that was found."""

    def __init__(self, condition: FieldMatched) -> None:
        self.where = condition.where
        self._condition = condition
        self._found: int | None = None
        self._looked_at = 0

    def verdict(self) -> bool:
        return self._found is not None

    def wants(self, artifact: Artifact) -> bool:
        return self.where.admits(artifact)

    def take(self, artifact: Artifact) -> None:
        if self._found is None and self._condition.matches(artifact):
            self._found = artifact.key

    async def learn(self, store: BlackboardStore, until: int) -> None:
        """Look through what was not looked at, newest first; all of it if the found one is gone."""
        if self._found is not None:
            if await store.get(UUID(int=self._found)) is not None:
                return
            self._found, self._looked_at = None, 0
        before = until + 1
        while page := await store.latest(self.where, limit=_PAGE, before=before):
            new = [artifact for artifact in page if artifact.seq > self._looked_at]
            self._found = next((a.key for a in new if self._condition.matches(a)), None)
            if self._found is not None or len(new) < _PAGE:
                break
            before = page[-1].seq
            await asyncio.sleep(0)
        self._looked_at = until


class _Asked:
    """The answer of a condition that a user wrote."""

    def __init__(self, condition: Condition) -> None:
        self._condition = condition
        types = condition.types
        self.where = None if types is None else FilterConfig(type_names=list(_several(types)))
        self.answer: bool | None = None
        self._doubts = 0

    def verdict(self) -> bool | None:
        return self.answer

    def wants(self, artifact: Artifact) -> bool:
        return self.where is None or self.where.admits(artifact)

    def doubt(self) -> None:
        """Take the answer back: it may have changed."""
        self.answer = None
        self._doubts += 1

    async def learn(self, view: BoardView, on_step: Callable[[], None]) -> None:
        """Ask; an answer that may have changed meanwhile counts for once."""
        doubts = self._doubts
        self.answer = await self._answer(view)
        on_step()
        if self._doubts != doubts:
            self.answer = None

    async def _answer(self, view: BoardView) -> bool:
        try:
            return bool(await self._condition.holds(view))
        except BaseException as error:
            if failure_of(error, f"condition {self._condition!r}") is None:
                raise
            logger.exception(
                "Condition failed, which counts as not holding: %s",
                type(self._condition).__qualname__,
            )
            return False


_Probe: TypeAlias = _Combined | _Opposite | _Rested | _Count | _Field | _Asked


def _several(types: object) -> list[type | str]:
    """Return what was given alone or in a collection."""
    if isinstance(types, str | type):
        return [types]
    return list(types)  # pyright: ignore[reportArgumentType, reportUnknownVariableType]
