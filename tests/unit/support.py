"""What unit, model and contract tests build on: small types, artifacts, deliveries, turns."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pydantic import BaseModel

from flock.core.agent import Agent
from flock.core.artifacts import EXTERNAL, Artifact, new_key, seal, set_seq
from flock.core.delivery import Delivery, Run
from flock.core.lifecycle import Engine
from flock.core.subscription import Subscription
from flock.core.types import registry
from flock.core.usage import Usage
from flock.core.visibility import Visibility, as_public

T0 = 1_767_225_600.0
"""2026-01-01 in UTC, in seconds since the epoch: where a `ManualClock` starts."""


class UnitA(BaseModel):
    n: int = 0
    key: str = "k"


A = UnitA
"""Short in tests, and unlike any other class by its own name."""


class B(BaseModel):
    n: int = 0
    key: str = "k"


class C(BaseModel):
    n: int = 0
    key: str = "k"


def artifact(
    obj: BaseModel,
    *,
    workflow: str | None = None,
    produced_by: str = EXTERNAL,
    tags: Iterable[str] = (),
    visibility: Visibility | None = None,
    created: float = T0,
    parents: Sequence[Artifact] = (),
    depth: int | None = None,
    seq: int = 0,
) -> Artifact:
    """Make an artifact; a loose root unless a workflow or a depth is given."""
    entry = registry.entry(type(obj))
    key = new_key(created)
    made = seal(
        key,
        entry,
        entry.freeze(obj),
        produced_by,
        workflow or f"{key:032x}",
        None,
        frozenset(tags),
        as_public(visibility),
        created,
        tuple(parent.key for parent in parents),
        depth if depth is not None else max((p.depth + 1 for p in parents), default=0),
    )
    if seq:
        set_seq(made, seq)
    return made


def subscription(*types: type[BaseModel], agent: str = "agent", **options: Any) -> Subscription:
    """Make the first subscription of an agent."""
    return Subscription(agent, 0, tuple(registry.entry(t) for t in types), **options)


def delivery(sub: Subscription, obj: BaseModel | None = None, **options: Any) -> Delivery:
    """Make a delivery of a model (an `A` unless said) to a subscription."""
    return Delivery(artifact(obj if obj is not None else A(), **options), sub)


def agent_of(
    *subscriptions: Subscription, name: str = "agent", engine: Engine | None = None
) -> Agent:
    """Make an agent that nothing computes, or this engine."""

    def make(made: Agent) -> Engine:
        raise AssertionError(f"nothing computes {made!r}")

    made = Agent(name, make)
    made.subscriptions.extend(subscriptions)
    if engine is not None:
        made.engines.append(engine)
    return made


async def turns(count: int = 20) -> None:
    """Give the event loop some turns, so that all goes on that waits for nothing else."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    """Give the event loop turns until something holds that another thread does."""
    while not condition():  # noqa: ASYNC110 - threads set no event of the loop
        await asyncio.sleep(0)


class Host:
    """In place of a board: keeps what a run tells."""

    is_heard = True

    def __init__(self) -> None:
        self.emitted: list[object] = []
        self.charged: list[tuple[str, Usage]] = []

    def emit(self, run: Run, delta: object) -> None:
        del run
        self.emitted.append(delta)

    async def reserve(self, run: Run, model: str, tokens: int, usd: float | None) -> None:
        del run, model, tokens, usd

    async def charge(self, run: Run, model: str, usage: Usage) -> None:
        del run
        self.charged.append((model, usage))

    keeps_steps = False

    async def keep_step(self, run: Run, name: str, data: bytes) -> None:
        del run, name, data
