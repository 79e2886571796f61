"""What one run is given: its context, its inputs, and what it answers with."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, cast

from pydantic import BaseModel

from flock.clock import Clock, SystemClock, as_datetime
from flock.core.artifacts import Artifact
from flock.core.schedule import Tick
from flock.core.slots import Slots
from flock.core.steps import read_step, write_step
from flock.core.types import registry
from flock.core.visibility import AgentIdentity
from flock.errors import EngineError

if TYPE_CHECKING:
    from datetime import datetime

    from flock.core.delivery import Run
    from flock.core.filters import FilterConfig
    from flock.core.usage import Reservation, Usage

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

TriggerType = Literal["artifact", "schedule", "call"]


@dataclass(slots=True)
class EvalInputs:
    """What an engine works on.

    Attributes:
        artifacts: The inputs, in the order the agent declared their types.
        state: What hooks and earlier engines of this run left for later ones.
    """

    artifacts: list[Artifact] = field(default_factory=list[Artifact])
    state: dict[str, Any] = field(default_factory=dict[str, Any])

    def first_as(self, model: type[M]) -> M | None:
        """Return the first input of a type as a new instance, or None without one."""
        entry = registry.entry(model)
        for artifact in self.artifacts:
            if artifact.entry.name == entry.name:
                return cast("M", artifact.take(entry))
        return None

    def all_as(self, model: type[M]) -> list[M]:
        """Return all inputs of a type as new instances, in order."""
        entry = registry.entry(model)
        found = (a for a in self.artifacts if a.entry.name == entry.name)
        return [cast("M", artifact.take(entry)) for artifact in found]


@dataclass(slots=True)
class EvalResult:
    """What an engine answers.

    Attributes:
        artifacts: The outputs. A chain hands them to its next engine.
        state: Merged into the state of the inputs.
        metrics: Figures, merged over the chain.
        logs: Lines, gathered over the chain.
        errors: What went wrong without failing the run.
    """

    artifacts: list[Artifact] = field(default_factory=list[Artifact])
    state: dict[str, Any] = field(default_factory=dict[str, Any])
    metrics: dict[str, float] = field(default_factory=dict[str, float])
    logs: list[str] = field(default_factory=list[str])
    errors: list[str] = field(default_factory=list[str])

    @classmethod
    def from_object(cls, obj: BaseModel, **rest: Any) -> EvalResult:  # noqa: ANN401
        """Answer with one model; `rest` are further fields of the result."""
        return cls(artifacts=[Artifact.of(obj)], **rest)

    @classmethod
    def from_objects(cls, *objs: BaseModel, **rest: Any) -> EvalResult:  # noqa: ANN401
        """Answer with several models; `rest` are further fields of the result."""
        return cls(artifacts=[Artifact.of(obj) for obj in objs], **rest)

    @classmethod
    def empty(cls, **rest: Any) -> EvalResult:  # noqa: ANN401
        """Decline: publish nothing."""
        return cls(**rest)

    @classmethod
    def with_state(cls, state: dict[str, Any]) -> EvalResult:
        """Pass the inputs on and leave `state` to the engines after this one."""
        return cls(state=dict(state))


class ContextRequest(Protocol):
    """What a context provider is asked for."""

    @property
    def agent(self) -> AgentIdentity:
        """Who is going to read."""
        ...

    @property
    def correlation_id(self) -> str:
        """The workflow of the run."""
        ...

    @property
    def inputs(self) -> tuple[Artifact, ...]:
        """The inputs of the run."""
        ...

    async def query(self, where: FilterConfig | None = None, *, limit: int = 50) -> list[Artifact]:
        """Return the newest artifacts that this agent may see, newest first.

        Args:
            where: What to look for, across workflows unless it names one.
            limit: How many at the most.
        """
        ...


ContextProvider = Callable[[ContextRequest], Awaitable[Iterable[Artifact]]]
"""An async callable that chooses the history an agent gets; it can narrow, never widen."""


class Host(Protocol):
    """What a run tells its board, and asks it for."""

    @property
    def is_heard(self) -> bool:
        """Whether anybody listens to what is emitted."""
        ...

    def emit(self, run: Run, delta: object) -> None:
        """Tell observers of progress."""
        ...

    async def reserve(
        self, run: Run, model: str, tokens: int, usd: float | None
    ) -> Reservation | None:
        """Set aside what a model call may take; None where no budget bounds it."""
        ...

    async def charge(self, run: Run, model: str, usage: Usage) -> None:
        """Write down what a model call took."""
        ...

    @property
    def keeps_steps(self) -> bool:
        """Whether what steps return has to outlive the process."""
        ...

    async def keep_step(self, run: Run, name: str, data: bytes) -> None:
        """Have what a step returned last, as JSON."""
        ...


class HostAround:
    """A run's host that hands all on to another one; what a subclass overrides it sees first."""

    def __init__(self, host: Host) -> None:
        self._host = host

    @property
    def is_heard(self) -> bool:
        """Whether anybody listens to what is emitted."""
        return self._host.is_heard

    def emit(self, run: Run, delta: object) -> None:
        """Tell observers of progress."""
        self._host.emit(run, delta)

    async def reserve(
        self, run: Run, model: str, tokens: int, usd: float | None
    ) -> Reservation | None:
        """Set aside what a model call may take; None where no budget bounds it."""
        return await self._host.reserve(run, model, tokens, usd)

    async def charge(self, run: Run, model: str, usage: Usage) -> None:
        """Write down what a model call took."""
        await self._host.charge(run, model, usage)

    @property
    def keeps_steps(self) -> bool:
        """Whether what steps return has to outlive the process."""
        return self._host.keeps_steps

    async def keep_step(self, run: Run, name: str, data: bytes) -> None:
        """Have what a step returned last, as JSON."""
        await self._host.keep_step(run, name, data)


class Context:
    """What a run knows about itself.

    Attributes:
        correlation_id: The workflow.
        run_id: Id of the run, the same for every attempt: the idempotency key for effects
            outside the board.
        attempt: Counts the attempts from 1.
        state: Shared by the hooks and engines of this attempt.
        is_batch: Whether the inputs were batched.
        agent_identity: Who runs.
        artifacts: History as of the run's start, oldest first; empty unless an engine has
            `enable_context = True`.
        clock: The board's clock.
        tool_calls: How many tools this attempt has called.
        model_calls: How often this attempt has asked a model so far.
    """

    __slots__ = (
        "agent_identity",
        "artifacts",
        "attempt",
        "clock",
        "correlation_id",
        "depth",
        "emitted",
        "ended_by",
        "host",
        "is_batch",
        "load_history",
        "model_calls",
        "parent_keys",
        "run",
        "state",
        "tick",
        "told_trigger",
        "tool_calls",
        "turns",
        "unbooked",
    )

    def __init__(
        self,
        correlation_id: str = "",
        *,
        attempt: int = 1,
        agent_identity: AgentIdentity | None = None,
        is_batch: bool = False,
        state: dict[str, Any] | None = None,
        trigger_type: TriggerType = "call",
        fire_time: datetime | None = None,
        iteration: int = 0,
        missed: int = 0,
    ) -> None:
        self.run: Run | None = None
        self.host: Host | None = None
        self.correlation_id = correlation_id
        self.attempt = attempt
        self.agent_identity = agent_identity or _NOBODY
        self.is_batch = is_batch
        self.state: dict[str, Any] = {} if state is None else state
        self.artifacts: tuple[Artifact, ...] = ()
        self.told_trigger: TriggerType | None = trigger_type
        self.tick: Tick | None = (
            None if fire_time is None else Tick(fire_time.timestamp(), iteration, missed)
        )
        self.depth = 1
        self.parent_keys: tuple[int, ...] | None = None
        self.clock: Clock = SystemClock()
        self.load_history: Callable[[], Awaitable[tuple[Artifact, ...]]] | None = None
        self.ended_by: Exception | None = None
        self.emitted = 0
        self.tool_calls = 0
        self.turns: dict[str, Slots] | None = None
        self.model_calls = 0
        self.unbooked: Mapping[str, Usage] | None = None

    @property
    def run_id(self) -> str:
        """Id of the run in hexadecimal, the same for every attempt."""
        return _NO_RUN if self.run is None else self.run.id

    @property
    def trigger_type(self) -> TriggerType:
        """What started the run: an artifact on the board, a schedule, or a direct call."""
        if self.told_trigger is not None or self.run is None:
            return self.told_trigger or "call"
        if self.run.tick is not None:
            return "schedule"
        return "call" if self.run.subscription is None else "artifact"

    @property
    def fire_time(self) -> datetime | None:
        """When the tick was due that started the run, in UTC; None without a schedule."""
        return None if self.tick is None else as_datetime(self.tick.fire_time)

    @property
    def iteration(self) -> int:
        """Which run of its schedule it is, from 1; 0 without a schedule."""
        return 0 if self.tick is None else self.tick.iteration

    @property
    def missed(self) -> int:
        """How many ticks before this one got no run of their own: they became one with it."""
        return 0 if self.tick is None else self.tick.missed

    @property
    def task_id(self) -> str:
        """Id of this attempt."""
        return f"{self.run_id}.{self.attempt}"

    async def step(self, name: str, fn: Callable[..., T | Awaitable[T]], *args: object) -> T:
        """Call `fn(*args)` once per run, however many attempts the run takes.

        Calls of one step at the same time (`asyncio.gather`, `best_of`) wait for the first and
        share what it returned; if it fails, the next one tries.

        Args:
            name: Names the step within its run.
            fn: A function or coroutine function.
            *args: Its arguments.

        Returns:
            What the call returned, or had returned in an earlier attempt.

        Raises:
            EngineError: The step waits for itself; or, on a board that lasts, it returned
                something that JSON cannot carry.
            Exception: Whatever `fn` raised. A step that failed is not remembered.

        Example:
            ```python
            from pydantic import BaseModel

            from flock import Context, Flock


            class Order(BaseModel):
                total: float


            charged: list[float] = []


            async def pay(order: Order, ctx: Context) -> None:
                await ctx.step("charge", charged.append, order.total)
                if ctx.attempt == 1:
                    raise OSError("the network is down, but the money is charged")


            flock = Flock()
            flock.agent("cashier").calls(pay).retry(2, backoff=0)
            async with flock:
                await flock.publish(Order(total=9.5))
                await flock.run_until_idle()
            print(charged)  # -> [9.5]
            ```
        """
        run = self.run
        if run is None:
            return await _called(fn, args)
        if run.steps is not None and name in run.steps:
            return run.steps[name]
        within = _steps_around.get()
        if (run.key, name) in within:
            msg = f"step {name!r} of {self.agent_identity.name!r} takes itself; name the inner one"
            raise EngineError(msg)
        if self.turns is None:
            self.turns = {}
        async with self.turns.setdefault(name, Slots(1)):
            if run.steps is not None and name in run.steps:  # by whom this one waited for
                return run.steps[name]
            kept = None if run.kept_steps is None else run.kept_steps.get(name)
            if kept is not None:  # an earlier process took it
                result = cast("T", read_step(name, fn, kept))
            else:
                token = _steps_around.set(within | {(run.key, name)})
                try:
                    result = await _called(fn, args)
                finally:
                    _steps_around.reset(token)
                if self.host is not None and self.host.keeps_steps and run.lasts:
                    await self.host.keep_step(run, name, write_step(name, fn, result))
            run.steps = {**(run.steps or {}), name: result}
        return result

    @property
    def usage(self) -> Mapping[str, Usage]:
        """What the model calls of the run took so far, of all its attempts, by model string."""
        return (self.unbooked if self.run is None else self.run.usage) or {}

    async def reserve(
        self, model: str, *, tokens: int = 0, usd: float | None = 0.0
    ) -> Reservation | None:
        """Ask the budgets whether a model may be called, and have that much set aside.

        Engines call it before each model call, and release the reservation after `charge`.

        Args:
            model: The model string.
            tokens: How many tokens the call may take, in and out.
            usd: How many US dollars it may cost; None if the price is not known.

        Returns:
            What was set aside, or None where no budget bounds the run.

        Raises:
            BudgetExceeded: What is spent does not leave that much, or a budget bounds money
                while the model's price is not known. What others have set aside is waited for.
        """
        if self.host is None or self.run is None:
            return None
        return await self.host.reserve(self.run, model, tokens, usd)

    async def charge(self, model: str, usage: Usage) -> None:
        """Write down what a model call took: at once, and whatever becomes of the run.

        Args:
            model: The model string.
            usage: What the call took.
        """
        if self.host is not None and self.run is not None:
            await self.host.charge(self.run, model, usage)
        else:
            so_far = self.unbooked or {}
            before = so_far.get(model)
            self.unbooked = {**so_far, model: usage if before is None else before + usage}

    def emit(self, delta: object) -> None:
        """Tell observers of progress, as a `RunEmitted` event. Nothing is stored.

        Args:
            delta: A token, a fraction, a message: whatever the observers understand.
        """
        if self.host is not None and self.run is not None:
            self.host.emit(self.run, delta)

    @property
    def is_heard(self) -> bool:
        """Whether anybody listens to what is emitted; ask before making something costly."""
        return self.host is not None and self.host.is_heard


async def _called(fn: Callable[..., T | Awaitable[T]], args: tuple[object, ...]) -> T:
    value = fn(*args)
    return cast("T", await value if inspect.isawaitable(value) else value)


_steps_around: ContextVar[frozenset[tuple[int, str]]] = ContextVar(
    "flock_steps", default=frozenset()
)
"""The steps that the code now running is part of, by run and name."""

_NOBODY = AgentIdentity("")
_NO_RUN = "0" * 32


def context_of(
    run: Run,
    agent_identity: AgentIdentity,
    clock: Clock,
    host: Host,
) -> Context:
    """Make the context of an attempt of a run; for the scheduler, once per attempt."""
    ctx = Context.__new__(Context)
    ctx.run = run
    ctx.host = host
    ctx.correlation_id = run.correlation_id
    ctx.attempt = run.attempt
    ctx.agent_identity = agent_identity
    ctx.is_batch = run.is_batch
    ctx.state = {}
    ctx.artifacts = ()
    ctx.told_trigger = None
    ctx.tick = run.tick
    ctx.depth = run.depth
    ctx.parent_keys = run.parent_keys
    ctx.clock = clock
    ctx.load_history = None
    ctx.ended_by = None
    ctx.emitted = 0
    ctx.tool_calls = 0
    ctx.turns = None
    ctx.model_calls = 0
    ctx.unbooked = None
    return ctx
