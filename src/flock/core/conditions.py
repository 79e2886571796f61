"""What is waited for: what conditions are, and how they are combined."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, Protocol

from pydantic import BaseModel

from flock.core.failure import failure_of
from flock.core.filters import FilterConfig
from flock.core.types import TypeEntry
from flock.errors import DeclarationError

if TYPE_CHECKING:
    from datetime import datetime

    from flock.core.artifacts import Artifact

logger = logging.getLogger(__name__)

_PAGE: Final = 256
"""How many artifacts are looked at in one go."""


class BoardView(Protocol):
    """What a condition may ask of a board. Asking changes nothing."""

    @property
    def now(self) -> datetime:
        """The board's time, in UTC."""
        ...

    @property
    def is_idle(self) -> bool:
        """Whether nothing more can happen without new input; see `Until.idle`."""
        ...

    @property
    def has_pending_work(self) -> bool:
        """Whether anything is queued, running or backing off; see `Until.no_pending_work`."""
        ...

    async def count(self, where: FilterConfig | None = None) -> int:
        """Return how many artifacts there are. It loads none."""
        ...

    async def latest(
        self, where: FilterConfig | None = None, *, limit: int = 1, before: int | None = None
    ) -> list[Artifact]:
        """Return the newest artifacts, newest first, of those with `seq < before`."""
        ...


class Condition:
    """Something that holds on a board or does not; `Flock.run_until` waits for it.

    The built-in ones are made with `Until`. For one of your own, override `holds`, and name in
    `types` what it depends on, so that it is asked again only when that changes. Conditions are
    combined with `&`, `|` and `~`.

    Attributes:
        types: Model classes or type names of the artifacts it depends on: it is asked again
            when one of them is published, or anything is deleted. None for everything: also
            when work begins or ends.
    """

    types: Collection[type[BaseModel] | str] | None = None

    async def holds(self, board: BoardView) -> bool:
        """Return whether it holds now.

        One that raises is logged and counts as not holding.

        Args:
            board: What can be asked about the board.
        """
        del board
        msg = f"{type(self).__qualname__} overrides no `async def holds(self, board) -> bool`"
        raise NotImplementedError(msg)

    def of_workflow(self, workflow: str) -> Condition:
        """Return the same condition on the artifacts of one workflow."""
        del workflow
        return self

    def __and__(self, other: Condition) -> Condition:
        return Combined((self, other), is_all=True) if _is_plain(other) else NotImplemented

    def __or__(self, other: Condition) -> Condition:
        return Combined((self, other), is_all=False) if _is_plain(other) else NotImplemented

    def __invert__(self) -> Condition:
        return Opposite(self)

    def __bool__(self) -> NoReturn:
        _refuse_truth(self)


class Combined(Condition):
    """All of several conditions, or any of them."""

    def __init__(self, parts: tuple[Condition, ...], *, is_all: bool) -> None:
        self.parts = parts
        self.is_all = is_all

    def __repr__(self) -> str:
        return f"({(' & ' if self.is_all else ' | ').join(map(repr, self.parts))})"

    async def holds(self, board: BoardView) -> bool:
        """Ask one after the other, until it is decided."""
        for part in self.parts:
            if await part.holds(board) is not self.is_all:
                return not self.is_all
        return self.is_all

    def of_workflow(self, workflow: str) -> Condition:
        """Return the same on one workflow."""
        return Combined(tuple(p.of_workflow(workflow) for p in self.parts), is_all=self.is_all)


class Opposite(Condition):
    """What holds when a condition does not."""

    def __init__(self, part: Condition) -> None:
        self.part = part

    def __repr__(self) -> str:
        return f"~{self.part!r}"

    async def holds(self, board: BoardView) -> bool:
        """Ask the condition."""
        return not await self.part.holds(board)

    def of_workflow(self, workflow: str) -> Condition:
        """Return the same on one workflow."""
        return Opposite(self.part.of_workflow(workflow))


class Counted(Condition):
    """That there are so many artifacts.

    Attributes:
        where: Which artifacts.
        least: How many at least.
        most: How many at most; any number if None.
    """

    def __init__(self, where: FilterConfig, least: int = 0, most: int | None = None) -> None:
        self.where = where
        self.least = least
        self.most = most

    def __repr__(self) -> str:
        most = "" if self.most is None else f", at most {self.most}"
        return f"<at least {self.least}{most} of {shown(self.where)}>"

    def admits(self, count: int) -> bool:
        """Return whether it holds with so many."""
        return self.least <= count and (self.most is None or count <= self.most)

    async def holds(self, board: BoardView) -> bool:
        """Count them."""
        return self.admits(await board.count(self.where))

    def of_workflow(self, workflow: str) -> Condition:
        """Return the same on one workflow."""
        return Counted(replace(self.where, correlation_id=workflow), self.least, self.most)


class FieldMatched(Condition):
    """That a field of any artifact satisfies a predicate.

    Attributes:
        where: Which artifacts.
    """

    def __init__(
        self,
        where: FilterConfig,
        entry: TypeEntry,
        field: str,
        predicate: Callable[[Any], object],
    ) -> None:
        self.where = where
        self._entry = entry
        self._field = field
        self._predicate = predicate

    def __repr__(self) -> str:
        return f"<any {self._field!r} of {shown(self.where)} that satisfies {self._name}>"

    @property
    def _name(self) -> str:
        predicate = self._predicate
        return str(getattr(predicate, "__qualname__", type(predicate).__qualname__))

    def matches(self, artifact: Artifact) -> bool:
        """Return whether an artifact has such a field; a predicate that raises is logged."""
        try:
            model = artifact.take(self._entry)
            return bool(self._predicate(getattr(model, self._field)))
        except BaseException as error:
            if failure_of(error, f"the predicate {self._name}") is None:
                raise
            logger.exception(
                "Predicate failed, which counts as no match: predicate=%s, field=%s, artifact=%s",
                self._name,
                self._field,
                artifact.id,
            )
            return False

    async def holds(self, board: BoardView) -> bool:
        """Look through them, the newest first, page by page."""
        before: int | None = None
        while page := await board.latest(self.where, limit=_PAGE, before=before):
            if any(map(self.matches, page)):
                return True
            before = page[-1].seq
        return False

    def of_workflow(self, workflow: str) -> Condition:
        """Return the same on one workflow."""
        where = replace(self.where, correlation_id=workflow)
        return FieldMatched(where, self._entry, self._field, self._predicate)


class Rested(Condition):
    """That the board is idle, or that nothing is pending."""

    def __init__(self, kind: Literal["idle", "no_pending_work"]) -> None:
        self.kind = kind

    def __repr__(self) -> str:
        return f"Until.{self.kind}()"

    def answer(self, board: BoardView) -> bool:
        """Return whether it holds now."""
        return board.is_idle if self.kind == "idle" else not board.has_pending_work

    async def holds(self, board: BoardView) -> bool:
        """Ask the board."""
        return self.answer(board)


class Activation:
    """What has to hold in a workflow before its deliveries go on; made with `When`.

    Combined with `&`, `|` and `~`.

    Attributes:
        condition: The same, without a workflow.
    """

    def __init__(self, condition: Condition) -> None:
        self.condition = condition

    def __repr__(self) -> str:
        return f"When({self.condition!r})"

    def of_workflow(self, workflow: str) -> Condition:
        """Return the condition on one workflow."""
        return self.condition.of_workflow(workflow)

    def __and__(self, other: Activation) -> Activation:
        if not isinstance(other, Activation):
            return NotImplemented
        return Activation(self.condition & other.condition)

    def __or__(self, other: Activation) -> Activation:
        if not isinstance(other, Activation):
            return NotImplemented
        return Activation(self.condition | other.condition)

    def __invert__(self) -> Activation:
        return Activation(~self.condition)

    def __bool__(self) -> NoReturn:
        _refuse_truth(self)


class Unfinished:
    """A sentence that lacks its end."""

    _ends = ""

    def refuse(self) -> NoReturn:
        """Say how it ends."""
        msg = f"{self!r} is not a condition yet; finish it with {self._ends}"
        raise DeclarationError(msg)

    def __bool__(self) -> NoReturn:
        self.refuse()

    def __and__(self, other: object) -> NoReturn:
        self.refuse()

    __or__ = __and__

    def __invert__(self) -> NoReturn:
        self.refuse()


def checked_condition(condition: object) -> Condition:
    """Return what can be waited for.

    Raises:
        DeclarationError: It is something else.
    """
    if isinstance(condition, Condition):
        return condition
    if isinstance(condition, Unfinished):
        condition.refuse()
    why = ""
    if isinstance(condition, Activation):
        why = "; When is about the workflow of a delivery, so use Until with correlation_id="
    elif isinstance(condition, type) and issubclass(condition, Condition):
        why = "; make an instance of that class"
    msg = f"run_until takes a condition such as Until.exists(Model), not {condition!r}{why}"
    raise DeclarationError(msg)


def asks_about_work(condition: Condition) -> bool:
    """Return whether a condition depends on what is queued, running or due, or may do."""
    if isinstance(condition, Combined):
        return any(map(asks_about_work, condition.parts))
    if isinstance(condition, Opposite):
        return asks_about_work(condition.part)
    if isinstance(condition, Counted | FieldMatched):
        return False
    return isinstance(condition, Rested) or condition.types is None


def checked_activation(activation: object) -> Activation | None:
    """Return what a subscription's deliveries wait for.

    Raises:
        DeclarationError: It is something else.
    """
    if activation is None or isinstance(activation, Activation):
        return activation
    if isinstance(activation, Unfinished):
        activation.refuse()
    why = ""
    if isinstance(activation, Condition):
        why = "; Until is about the whole board, and an activation about one workflow"
    msg = (
        "activation takes a condition such as When.correlation(Model).count_at_least(3), not "
        f"{activation!r}{why}"
    )
    raise DeclarationError(msg)


def _is_plain(other: object) -> bool:
    if isinstance(other, Unfinished):
        other.refuse()
    return isinstance(other, Condition)


def _refuse_truth(condition: object) -> NoReturn:
    msg = (
        f"whether {condition!r} holds is not known before it is asked, so that it is neither true "
        "nor false; combine conditions with &, | and ~ instead of and, or and not, and wait for "
        "one with run_until"
    )
    raise DeclarationError(msg)


def shown(where: FilterConfig) -> str:
    """Return which artifacts are meant, for people."""
    names = ", ".join(sorted(map(str, where.type_names or ())))
    options = [
        f"{option}={sorted(given) if isinstance(given, frozenset) else given!r}"
        for option, given in (
            ("correlation_id", where.correlation_id),
            ("tags", where.tags),
            ("produced_by", where.produced_by),
        )
        if given is not None
    ]
    return ", ".join([names, *options])
