"""Checks of what functions read of the models that they are given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from flock.core.roles import members_of, plain_hint
from flock.orchestrator.checks.context import Checking, listed
from flock.orchestrator.checks.reads import is_missing, only_read, surely_read
from flock.orchestrator.graph.reading import called

if TYPE_CHECKING:
    from flock.core.agent import Agent
    from flock.core.outputs import OutputGroup
    from flock.core.subscription import JoinSpec, Subscription
    from flock.core.types import TypeEntry

_SCALARS: Final[dict[Any, str]] = {str: "text", int: "number", float: "number", bool: "number"}
"""Kinds of keys that never equal those of another kind."""


def check_fields(checking: Checking) -> None:
    """Find attributes that a key, a predicate or a visibility reads and a type does not have."""
    for agent in checking.flow.agents.values():
        for subscription in agent.subscriptions:
            _check_subscription(checking, agent, subscription)
        for group in agent.output_groups:
            _check_outputs(checking, agent, group)


def _check_subscription(checking: Checking, agent: Agent, subscription: Subscription) -> None:
    entries = tuple(dict.fromkeys(entry.current for entry in subscription.types))
    if subscription.join is not None:
        _check_join(checking, agent, subscription.join, entries)
    for predicate in subscription.each:
        _check_reads(
            checking,
            agent,
            predicate,
            entries,
            "predicate-field-missing",
            f"where={called(predicate)} of consumes",
            "so that it fails, which counts as no match",
        )
    for predicate in subscription.group:
        for position, entry in enumerate(subscription.types):
            _check_reads(
                checking,
                agent,
                predicate,
                (entry.current,),
                "predicate-field-missing",
                f"where={called(predicate)} of consumes",
                "so that it fails, which counts as no match",
                position,
            )


def _check_join(
    checking: Checking, agent: Agent, join: JoinSpec, entries: Sequence[TypeEntry]
) -> None:
    by = join.by
    if not isinstance(by, str):
        if _check_reads(
            checking,
            agent,
            by,
            entries,
            "join-key-missing",
            f"by={called(by)} of its join",
            "so that each of them becomes a dead letter",
        ):
            return
        field = only_read(by)
        if field is None:
            return
        by = field
    kinds = {entry.name: _kinds_of(entry, by) for entry in entries}
    known = [kind for kind in kinds.values() if kind]
    if len(known) == len(kinds) and not frozenset[str].intersection(*known):
        shown = listed(
            f"{checking.label(name)} has a {' or '.join(sorted(kind))}"
            for name, kind in kinds.items()
        )
        checking.tell(
            "error",
            "join-keys-differ",
            f"agent {agent.name!r} joins by {by!r}, and no keys of all types are equal: {shown}",
            "give the fields one type, or let a function of the model return the key, as in "
            f"JoinSpec(by=lambda model: str(model.{by}), ...)",
            agents=[agent.name],
            types=kinds,
        )


def _kinds_of(entry: TypeEntry, field: str) -> frozenset[str]:
    """Return which kinds of plain keys a field holds; none if it may hold others."""
    info = entry.cls.model_fields.get(field)
    if info is None:
        return frozenset()
    members = [plain_hint(member) for member in members_of(plain_hint(info.annotation))]
    if not all(member in _SCALARS for member in members if isinstance(member, type)):
        return frozenset()
    if not all(isinstance(member, type) for member in members):
        return frozenset()
    return frozenset(_SCALARS[member] for member in members)


def _check_outputs(checking: Checking, agent: Agent, group: OutputGroup) -> None:
    entries = [spec.entry.current for spec in group.outputs]
    asked: list[tuple[str, Callable[..., object]]] = [("where", p) for p in group.where]
    asked += [("validate", predicate) for predicate, _ in group.validate]
    if callable(group.visibility):
        asked.append(("visibility", group.visibility))
    for option, function in asked:
        _check_reads(
            checking,
            agent,
            function,
            entries,
            "output-field-missing",
            f"{option}={called(function)} of publishes",
            "so that the run fails",
        )


def _check_reads(
    checking: Checking,
    agent: Agent,
    function: Callable[..., object],
    entries: Iterable[TypeEntry],
    code: str,
    what: str,
    so: str,
    position: int = 0,
) -> bool:
    found = False
    for name in surely_read(function, position):
        missing = [entry for entry in entries if is_missing(entry.cls, name)]
        for entry in missing:
            fields = listed(entry.cls.model_fields) or "no fields"
            checking.tell(
                "error",
                code,
                f"agent {agent.name!r}: {what} reads {name!r}, which "
                f"{checking.label(entry.name)} does not have, {so}",
                f"read what it has ({fields}), or ask for its class first",
                agents=[agent.name],
                types=[entry.name],
            )
            found = True
    return found
