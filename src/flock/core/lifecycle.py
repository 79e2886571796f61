"""The hooks of one run: who has which, without depending on their base classes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

if TYPE_CHECKING:
    from flock.core.agent import Agent
    from flock.core.artifacts import Artifact
    from flock.core.context import Context, EvalInputs, EvalResult
    from flock.core.outputs import OutputGroup

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C")

_LEFT_OUT: Final = "__flock_hook_left_out__"


class RunHooks(Protocol):
    """What utilities and engines may do around one run; see `AgentComponent`."""

    @property
    def name(self) -> str | None:
        """Names the component in logs."""
        ...

    @property
    def priority(self) -> int:
        """Lower runs first."""
        ...

    async def on_initialize(self, agent: Agent, ctx: Context) -> None:
        """Prepare the run."""
        ...

    async def on_pre_consume(
        self, agent: Agent, ctx: Context, inputs: list[Artifact]
    ) -> list[Artifact]:
        """Return the artifacts that the run is to use."""
        ...

    async def on_pre_evaluate(self, agent: Agent, ctx: Context, inputs: EvalInputs) -> EvalInputs:
        """Return what is to be evaluated."""
        ...

    async def on_post_evaluate(
        self, agent: Agent, ctx: Context, inputs: EvalInputs, result: EvalResult
    ) -> EvalResult:
        """Return the result to go on with."""
        ...

    async def on_post_publish(self, agent: Agent, ctx: Context, artifact: Artifact) -> None:
        """Watch an output that was committed."""
        ...

    async def on_error(self, agent: Agent, ctx: Context, error: BaseException) -> None:
        """Watch an attempt that failed."""
        ...

    async def on_terminate(self, agent: Agent, ctx: Context) -> None:
        """Clean up."""
        ...


class Engine(RunHooks, Protocol):
    """What computes an agent's outputs; see `EngineComponent`."""

    @property
    def enable_context(self) -> bool:
        """Whether `ctx.artifacts` is to hold the history of the workflow."""
        ...

    @property
    def streams(self) -> bool:
        """Whether the engine yields outputs one by one."""
        ...

    async def evaluate(
        self, agent: Agent, ctx: Context, inputs: EvalInputs, output_group: OutputGroup
    ) -> object:
        """Answer with what the group asks for."""
        ...

    def stream(
        self, agent: Agent, ctx: Context, inputs: EvalInputs, output_group: OutputGroup
    ) -> AsyncIterator[object]:
        """Yield answers as they are made."""
        ...


def left_out(hook: F) -> F:
    """Mark a base class's hook as doing nothing, so that it is never called."""
    setattr(hook, _LEFT_OUT, True)
    return hook


def implementing(components: Iterable[C], hook: str) -> tuple[C, ...]:
    """Return the components that have a hook, in ascending priority, stable."""
    found = [c for c in components if has_hook(c, hook)]
    return tuple(sorted(found, key=lambda c: getattr(c, "priority", 0)))


def has_hook(component: object, hook: str) -> bool:
    """Return whether a component does anything in a hook."""
    method = getattr(component, hook, None)
    return method is not None and not getattr(method, _LEFT_OUT, False)


def can_answer(engine: Engine) -> bool:
    """Return whether an engine overrides what its agent's runs call."""
    ways = ("evaluate", "stream") if engine.streams else ("evaluate",)
    return any(getattr(getattr(engine, way, None), _LEFT_OUT, False) is not True for way in ways)


def label_of(component: object) -> str:
    """Return a component's name, or its class's."""
    return getattr(component, "name", None) or type(component).__name__
