"""The words for conditions: `Until` on the board, `When` in the workflow of a delivery."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, cast
from uuid import UUID

from pydantic import BaseModel

from flock.core.conditions import (
    Activation,
    Condition,
    Counted,
    FieldMatched,
    Rested,
    Unfinished,
    shown,
)
from flock.core.filters import FilterConfig
from flock.core.system import WorkflowError
from flock.core.types import TypeEntry, registry
from flock.errors import DeclarationError, TypeRegistryError


class ArtifactCount(Unfinished):
    """How many artifacts there are, to be compared: `Until.artifact_count(M).at_least(3)`."""

    _ends = "at_least(n), at_most(n) or exactly(n)"

    def __init__(self, where: FilterConfig) -> None:
        self._where = where

    def __repr__(self) -> str:
        return f"<count of {shown(self._where)}>"

    def at_least(self, n: int) -> Condition:
        """Return the condition that there are `n` of them or more."""
        return Counted(self._where, _number(n, "at_least"))

    def at_most(self, n: int) -> Condition:
        """Return the condition that there are no more than `n` of them."""
        return Counted(self._where, 0, _number(n, "at_most"))

    def exactly(self, n: int) -> Condition:
        """Return the condition that there are `n` of them, no more and no less."""
        return Counted(self._where, _number(n, "exactly"), n)


class WorkflowArtifacts(Unfinished):
    """The artifacts of a type in the workflow of a delivery: `When.correlation(M).exists()`."""

    _ends = (
        "count_at_least(n), count_at_most(n), count_exactly(n), exists() or "
        "any_field(field=..., predicate=...)"
    )

    def __init__(self, model: type[BaseModel] | str) -> None:
        what = "When.correlation"
        self._entry = _entry(model, what)
        self._where = _filter(what, self._entry, None, None, None)

    def __repr__(self) -> str:
        return f"When.correlation({self._entry.name})"

    def count_at_least(self, n: int) -> Activation:
        """Return the condition that the workflow has `n` of them or more."""
        return Activation(Counted(self._where, _number(n, "count_at_least")))

    def count_at_most(self, n: int) -> Activation:
        """Return the condition that the workflow has no more than `n` of them."""
        return Activation(Counted(self._where, 0, _number(n, "count_at_most")))

    def count_exactly(self, n: int) -> Activation:
        """Return the condition that the workflow has `n` of them, no more and no less."""
        return Activation(Counted(self._where, _number(n, "count_exactly"), n))

    def exists(self) -> Activation:
        """Return the condition that the workflow has one of them at least."""
        return self.count_at_least(1)

    def any_field(self, *, field: str, predicate: Callable[[Any], object]) -> Activation:
        """Return the condition that a field of one of them satisfies a predicate.

        Args:
            field: Name of the field.
            predicate: Is given its value; one that raises is logged and does not match.

        Raises:
            DeclarationError: There is no such field, or the predicate is no plain function.
        """
        what = "When.correlation(...).any_field"
        return Activation(_field_matched(what, self._where, self._entry, field, predicate))


class When:
    """Conditions on the workflow of a delivery, for `consumes(..., activation=)`."""

    @staticmethod
    def correlation(model: type[BaseModel] | str) -> WorkflowArtifacts:
        """Begin a condition on the artifacts of a type in the delivery's workflow.

        Args:
            model: A model class, or a type name.

        Raises:
            DeclarationError: It is neither.
        """
        return WorkflowArtifacts(model)


class Until:
    """Conditions on the board, for `Flock.run_until`.

    Where they ask for artifacts, `correlation_id` narrows them to a workflow, `tags` to those
    that have all of these, and `produced_by` to those of one producer or several (names or
    agents; `"external"` is the outside). They count what lies on the board, whoever may read it.
    Each raises `DeclarationError` for arguments that make no sense.
    """

    @staticmethod
    def idle() -> Condition:
        """Return the condition that nothing more can happen without new input.

        As for `Flock.run_until_idle`: what falls due later, such as a batch with a timeout,
        still can.
        """
        return Rested("idle")

    @staticmethod
    def no_pending_work() -> Condition:
        """Return the condition that nothing is queued, running or backing off now.

        Whatever falls due later: a batch with a timeout may still be filling.
        """
        return Rested("no_pending_work")

    @staticmethod
    def artifact_count(
        model: type[BaseModel] | str,
        *,
        correlation_id: str | UUID | None = None,
        tags: Iterable[str] | str | None = None,
        produced_by: object = None,
    ) -> ArtifactCount:
        """Begin a condition on how many artifacts of a type there are; see `Until`."""
        what = "Until.artifact_count"
        entry = _entry(model, what)
        return ArtifactCount(_filter(what, entry, correlation_id, tags, produced_by))

    @staticmethod
    def exists(
        model: type[BaseModel] | str,
        *,
        correlation_id: str | UUID | None = None,
        tags: Iterable[str] | str | None = None,
        produced_by: object = None,
    ) -> Condition:
        """Return the condition that there is an artifact of a type; see `Until`."""
        what = "Until.exists"
        return Counted(_filter(what, _entry(model, what), correlation_id, tags, produced_by), 1)

    @staticmethod
    def none(
        model: type[BaseModel] | str,
        *,
        correlation_id: str | UUID | None = None,
        tags: Iterable[str] | str | None = None,
        produced_by: object = None,
    ) -> Condition:
        """Return the condition that there is no artifact of a type; see `Until`."""
        what = "Until.none"
        return Counted(_filter(what, _entry(model, what), correlation_id, tags, produced_by), 0, 0)

    @staticmethod
    def any_field(
        model: type[BaseModel] | str,
        *,
        field: str,
        predicate: Callable[[Any], object],
        correlation_id: str | UUID | None = None,
        tags: Iterable[str] | str | None = None,
        produced_by: object = None,
    ) -> Condition:
        """Return the condition that a field of any artifact of a type satisfies a predicate.

        Args:
            model: A model class, or a type name.
            field: Name of the field.
            predicate: Is given its value; one that raises is logged and does not match.
            correlation_id: See `Until`.
            tags: See `Until`.
            produced_by: See `Until`.
        """
        what = "Until.any_field"
        entry = _entry(model, what)
        where = _filter(what, entry, correlation_id, tags, produced_by)
        return _field_matched(what, where, entry, field, predicate)

    @staticmethod
    def workflow_error(correlation_id: str | UUID | None = None) -> Condition:
        """Return the condition that a run failed for good, in a workflow if it is named."""
        entry = registry.entry(WorkflowError)
        return Counted(_filter("Until.workflow_error", entry, correlation_id, None, None), 1)


def _entry(model: object, what: str) -> TypeEntry:
    if isinstance(model, str):
        try:
            return registry.resolve(model)
        except TypeRegistryError as error:
            msg = f"{what}: {error}"
            raise DeclarationError(msg) from error
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        msg = f"{what} takes a model class or the name of a type, not {model!r}"
        raise DeclarationError(msg)
    return registry.entry(model)


def _filter(
    what: str, entry: TypeEntry, correlation_id: object, tags: object, produced_by: object
) -> FilterConfig:
    workflow = None
    if correlation_id is not None:
        if not isinstance(correlation_id, str | UUID) or not str(correlation_id):
            msg = f"{what}: correlation_id is the id of a workflow, not {correlation_id!r}"
            raise DeclarationError(msg)
        workflow = str(correlation_id)
    return FilterConfig(
        type_names=[entry.cls],
        correlation_id=workflow,
        tags=_words(what, "tags", tags),
        produced_by=_words(what, "produced_by", produced_by),
    )


def _words(what: str, option: str, given: object) -> frozenset[str] | None:
    """Return words, or the names of what has one, given alone or in a collection."""
    if given is None:
        return None
    several: list[object] = [given]
    if isinstance(given, Iterable) and not isinstance(given, str):
        several = list(cast("Iterable[object]", given))
    if option == "produced_by":
        several = [getattr(one, "name", one) for one in several]
    if not several or not all(isinstance(one, str) and one for one in several):
        msg = f"{what}: {option} takes one or more words, not {given!r}; leave it out for any"
        raise DeclarationError(msg)
    return frozenset(cast("list[str]", several))


def _number(n: object, what: str) -> int:
    if type(n) is not int or n < 0:
        msg = f"{what} takes a whole number from 0, not {n!r}"
        raise DeclarationError(msg)
    return n


def _field_matched(
    what: str, where: FilterConfig, entry: TypeEntry, field: object, predicate: object
) -> FieldMatched:
    cls = entry.cls
    is_open = cls.model_config.get("extra") == "allow"
    if not isinstance(field, str) or not (
        field in cls.model_fields or field in cls.model_computed_fields or is_open
    ):
        known = ", ".join(map(repr, (*cls.model_fields, *cls.model_computed_fields)))
        msg = f"{what}: {entry.name!r} has no field {field!r}; it has {known or 'none'}"
        raise DeclarationError(msg)
    if not callable(predicate) or isinstance(predicate, BaseModel):
        msg = (
            f"{what}: predicate takes a function of the field's value, such as "
            f"lambda value: value == {predicate!r}, not {predicate!r}"
        )
        raise DeclarationError(msg)
    if inspect.iscoroutinefunction(predicate) or inspect.iscoroutinefunction(
        getattr(predicate, "__call__", None)  # noqa: B004 - a callable object may be async
    ):
        msg = f"{what}: predicate takes a plain function; {predicate!r} is async"
        raise DeclarationError(msg)
    return FieldMatched(where, entry, field, predicate)
