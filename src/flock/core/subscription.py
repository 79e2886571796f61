"""What an agent consumes: subscriptions, and how inputs are gathered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import blake2b
from typing import Any, Final, Literal

from flock.core.conditions import Activation
from flock.core.semantic import SemanticMatch
from flock.core.spans import seconds
from flock.core.types import TypeEntry

Mode = Literal["both", "events", "direct"]
MODES: Final = ("both", "events", "direct")

OnExpired = Literal["drop", "run"]
ON_EXPIRED: Final = ("drop", "run")


@dataclass(frozen=True, slots=True)
class JoinSpec:
    """Gather one artifact of each type that have the same key.

    Attributes:
        by: The key: the name of a field, or a function of the model. Any JSON value or
            hashable; equal keys belong together, across workflows.
        within: How long a group may take from its first arrival (a `timedelta`), or among
            how many artifacts of this subscription, counted from the first, it must be
            complete (an `int`).
        on_expired: What becomes of a group that was not completed in time: `"drop"`
            leaves an event and a `GroupExpired` record; `"run"` also runs the agent once
            with what came.

    It only holds its values: `consumes`, which knows the agent, refuses those that make no
    sense with a `DeclarationError`.

    Example:
        ```python
        from pydantic import BaseModel

        from flock import Flock, JoinSpec


        class Order(BaseModel):
            number: int


        class Payment(BaseModel):
            order: int


        def number(model: Order | Payment) -> int:
            return model.number if isinstance(model, Order) else model.order


        flock = Flock()
        paid: list[int] = []
        flock.agent("shipping").consumes(Order, Payment, join=JoinSpec(by=number, within=10)).calls(
            lambda order, payment: paid.append(order.number)
        )

        async with flock:
            await flock.publish_many([Order(number=1), Order(number=2), Payment(order=2)])
            await flock.run_until_idle()  # the first waits: it may be among the next to be paid
        print(paid)  # -> [2]
        ```
    """

    by: str | Callable[[Any], object]
    within: timedelta | int
    on_expired: OnExpired = "drop"

    @property
    def window_seconds(self) -> float | None:
        """The time window in seconds, or None for a count window."""
        return self.within.total_seconds() if isinstance(self.within, timedelta) else None

    @property
    def window_count(self) -> int | None:
        """The count window, or None for a time window."""
        return None if isinstance(self.within, timedelta) else self.within

    def key_of(self, model: object) -> object:
        """Return the join key of a model."""
        return getattr(model, self.by) if isinstance(self.by, str) else self.by(model)


@dataclass(frozen=True, slots=True)
class BatchSpec:
    """Gather inputs (or complete groups) and run once for all of them.

    Attributes:
        size: Run when this many are there.
        timeout: Run this long after the first of a batch arrived: a `timedelta` or seconds.

    One of the two at least is needed. It only holds its values: `consumes`, which knows the
    agent, refuses those that make no sense with a `DeclarationError`.

    Example:
        ```python
        from pydantic import BaseModel

        from flock import BatchSpec, Flock


        class Line(BaseModel):
            text: str


        flock = Flock()
        sizes: list[int] = []
        flock.agent("writer").consumes(Line, batch=BatchSpec(size=3, timeout=0.01)).calls(
            lambda lines: sizes.append(len(lines))
        )

        async with flock:
            await flock.publish_many([Line(text=str(n)) for n in range(4)])
            await flock.run_until_idle()
        print(sorted(sizes))  # -> [1, 3]
        ```
    """

    size: int | None = None
    timeout: timedelta | float | None = None

    @property
    def timeout_seconds(self) -> float | None:
        """The timeout in seconds, if there is one."""
        return None if self.timeout is None else seconds(self.timeout, "BatchSpec.timeout")


@dataclass(eq=False, slots=True)
class Subscription:
    """One `consumes` of an agent: what it waits for and how inputs are gathered.

    Attributes:
        agent: Name of the agent.
        index: Position among the agent's subscriptions, from 0.
        types: The types, in declared order; a repeated type asks for that many.
        each: Predicates that every single artifact must pass.
        semantic: What the text of every single artifact must be about: all of it.
        group: Predicates of the complete group, of as many arguments as there are types.
        from_agents: Names of the producers it listens to; all if None.
        tags: Tags of which an artifact must have one; any if None.
        join: How artifacts are joined by key, if they are.
        batch: How inputs are batched, if they are.
        mode: `"events"` is started by published artifacts only, `"direct"` by `arun` and
            `invoke` only, `"both"` by either.
        priority: Higher runs first when both are ready.
        activation: What has to hold in an artifact's workflow before it goes on, if anything.
        counts: How many artifacts of each type name a group has.
        is_gated: Whether it waits for something before it runs: for other artifacts, or for a
            condition.
        salt: Tells the ids of ungated runs over one artifact apart: 60 bits of a hash, for the
            low ones of the artifact's id.
    """

    agent: str
    index: int
    types: tuple[TypeEntry, ...]
    each: tuple[Callable[[Any], object], ...] = ()
    group: tuple[Callable[..., object], ...] = ()
    from_agents: frozenset[str] | None = None
    tags: frozenset[str] | None = None
    join: JoinSpec | None = None
    batch: BatchSpec | None = None
    mode: Mode = "both"
    priority: int = 0
    semantic: tuple[SemanticMatch, ...] = ()
    activation: Activation | None = None
    counts: dict[str, int] = field(init=False)
    is_gated: bool = field(init=False)
    salt: int = field(init=False)

    def __post_init__(self) -> None:
        self.counts = Counter(entry.name for entry in self.types)
        gathers = self.batch is not None or self.join is not None or len(self.types) > 1
        self.is_gated = gathers or self.activation is not None
        self.salt = salt_of(self.agent, self.index)


def salt_of(agent: str, index: int) -> int:
    """Return what tells the runs of an agent's subscription over an artifact apart from others'."""
    address = f"{index}:{agent}".encode(errors="surrogatepass")
    return int.from_bytes(blake2b(address, digest_size=8).digest()) >> 4
