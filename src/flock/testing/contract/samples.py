"""What the suite puts on boards: small types, artifacts, deliveries and runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from pydantic import BaseModel

from flock.core.artifacts import EXTERNAL, Artifact, new_key, seal
from flock.core.delivery import Delivery, Run
from flock.core.subscription import Subscription
from flock.core.types import registry
from flock.core.visibility import Visibility, as_public
from flock.store.protocol import BlackboardStore, Commit, ConsumptionRecord, DeadLetter, OpenWork

T0: Final = 1_767_225_600.0
"""2026-01-01 in UTC, in seconds since the epoch."""


class SampleA(BaseModel):
    """One type of three."""

    n: int = 0
    key: str = "k"


A = SampleA
"""Short in tests, and unlike any other class by its own name."""


class B(BaseModel):
    """Another one, whose short name is common."""

    n: int = 0
    key: str = "k"


class C(BaseModel):
    """A third one."""

    n: int = 0
    key: str = "k"


def artifact(
    obj: BaseModel,
    *,
    workflow: str | None = None,
    produced_by: str = EXTERNAL,
    partition_key: str | None = None,
    tags: Iterable[str] = (),
    visibility: Visibility | None = None,
    created: float = T0,
    parents: Sequence[Artifact] = (),
) -> Artifact:
    """Make an artifact that is on no board yet; a root of its own unless more is said."""
    entry = registry.entry(type(obj))
    key = new_key(created)
    return seal(
        key,
        entry,
        entry.freeze(obj),
        produced_by,
        workflow or f"{key:032x}",
        partition_key,
        frozenset(tags),
        as_public(visibility),
        created,
        tuple(parent.key for parent in parents),
        max((parent.depth + 1 for parent in parents), default=0),
    )


def subscription(*types: type[BaseModel], agent: str = "reader", index: int = 0) -> Subscription:
    """Make a subscription of an agent."""
    return Subscription(agent, index, tuple(map(registry.entry, types)))


READER: Final = subscription(A)
"""The subscription that most deliveries are for."""


def run_over(*deliveries: Delivery, is_batch: bool = False) -> Run:
    """Make a run over deliveries, which are gathered into it."""
    inputs = [delivery.artifact for delivery in deliveries]
    first = deliveries[0].subscription
    run = Run(new_key(T0), first.agent, first, deliveries, inputs, is_batch=is_batch)
    for delivery in deliveries:
        delivery.run = run
    return run


def letter_of(run: Run, message: str = "broken") -> DeadLetter:
    """Make the dead letter of a run that failed."""
    delivered = tuple(delivery.artifact for delivery in run.deliveries)
    index = None if run.subscription is None else run.subscription.index
    identity = UUID(int=new_key(T0))
    return DeadLetter(identity, run, "ValueError", message, T0 + 1, index, delivered)


async def published(store: BlackboardStore, *made: Artifact) -> list[Delivery]:
    """Put artifacts on the board, each with a delivery that is open."""
    opened = [Delivery(each, READER) for each in made]
    await store.commit(Commit(made, opened, at=T0))
    return opened


def declared(agent: str, index: int) -> Subscription:
    """Return the subscription of an agent, as if every agent were declared."""
    return subscription(A, agent=agent, index=index)


async def work_on(store: BlackboardStore) -> OpenWork:
    """Return what is open, for whatever agent."""
    return await store.open_work(declared)


async def opened_on(store: BlackboardStore) -> list[Delivery]:
    """Return the deliveries that are open, for whatever agent."""
    return list((await work_on(store)).deliveries)


def shown(artifacts: Iterable[Artifact]) -> list[tuple[Any, ...]]:
    """Return everything that artifacts show, since they are equal by their ids."""
    return [
        (
            it.id,
            it.seq,
            it.type,
            it.version,
            it.data,
            it.produced_by,
            it.correlation_id,
            it.partition_key,
            it.tags,
            it.visibility,
            it.created_at,
            it.parents,
            it.depth,
        )
        for it in artifacts
    ]


def of_run(run: Run | None) -> object:
    """Return what a store keeps of a run that goes on."""
    if run is None:
        return None
    return (
        run.key,
        run.agent,
        run.correlation_id,
        run.depth,
        run.is_batch,
        run.attempt,
        run.due,
        run.emitted,
        [delivery.artifact.id for delivery in run.deliveries],
        shown(run.artifacts),
    )


def of_delivery(delivery: Delivery) -> object:
    """Return what a store keeps of a delivery."""
    return (
        shown([delivery.artifact]),
        delivery.agent,
        delivery.index,
        delivery.opens_at,
        delivery.arrived,
        delivery.number,
        delivery.is_open,
        of_run(delivery.run),
    )


def of_letter(letter: DeadLetter) -> object:
    """Return what a store keeps of a dead letter."""
    run = letter.run
    return (
        letter.id,
        letter.agent,
        letter.run_id,
        letter.correlation_id,
        letter.index,
        letter.attempt,
        run.is_batch,
        run.emitted,
        letter.error_type,
        letter.error_message,
        letter.created_at,
        shown(letter.artifacts),
        shown(letter.delivered),
    )


@dataclass(frozen=True)
class Seen:
    """Everything that a store shows.

    Attributes:
        artifacts: What is on the board.
        by_type: Those of one type, as the index of types has them.
        total: How many the board says there are.
        opened: What is open.
        arrivals: What came to each join.
        consumed: What was used, and by whom.
        dead: The dead letters.
        position: The newest position.
    """

    artifacts: list[tuple[Any, ...]]
    by_type: list[UUID]
    total: int
    opened: list[object]
    arrivals: dict[tuple[str, int], int]
    consumed: list[ConsumptionRecord]
    dead: list[object]
    position: int

    @classmethod
    async def of(cls, store: BlackboardStore) -> Seen:
        """Ask a store for all of it."""
        artifacts = await store.list()
        _, total = await store.query_artifacts()
        work = await work_on(store)
        return cls(
            shown(artifacts),
            [a.id for a in await store.list_by_type(A)],
            total,
            [of_delivery(delivery) for delivery in work.deliveries],
            dict(work.arrivals),
            [record for a in artifacts for record in await store.consumptions(a.id)],
            [of_letter(letter) for letter in await store.dead_letters()],
            store.position,
        )
