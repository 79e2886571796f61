"""What several acceptance tests share: waiting for nothing, and components that write a log."""

# Agents are short lambdas here.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportOptionalMemberAccess=false

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from flock import (
    Agent,
    AgentComponent,
    Artifact,
    Context,
    EngineComponent,
    EvalInputs,
    EvalResult,
    FilterConfig,
    Flock,
    InMemoryBlackboardStore,
)
from flock.core.usage import Spent
from flock.store.protocol import Commit


async def turns(count: int = 200) -> None:
    """Let everything that needs no time and no outside go on."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for work that goes on in a thread or needs many turns of the loop."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


async def drain(flock: Flock, stream: Any) -> list[Any]:
    """Close the board and return every event the stream has seen."""
    await flock.shutdown()
    return [event async for event in stream]


def ids(artifacts: Iterable[Artifact]) -> list[Any]:
    return [artifact.id for artifact in artifacts]


Raise = Callable[[], BaseException]


def spy(
    label: str, log: list[str], *, order: int = 0, failing: str = "", error: Raise | None = None
) -> AgentComponent:
    """A utility that writes each hook into `log` and fails in the hook named `failing`."""

    def note(hook: str) -> None:
        log.append(f"{label}.{hook}")
        if hook == failing:
            raise (error or (lambda: RuntimeError(f"{label} broke in {hook}")))()

    class Spy(AgentComponent):
        name: str | None = label
        priority: int = order

        async def on_initialize(self, agent: Agent, ctx: Context) -> None:
            note("on_initialize")

        async def on_pre_consume(
            self, agent: Agent, ctx: Context, inputs: list[Artifact]
        ) -> list[Artifact]:
            note("on_pre_consume")
            return inputs

        async def on_pre_evaluate(
            self, agent: Agent, ctx: Context, inputs: EvalInputs
        ) -> EvalInputs:
            note("on_pre_evaluate")
            return inputs

        async def on_post_evaluate(
            self, agent: Agent, ctx: Context, inputs: EvalInputs, result: EvalResult
        ) -> EvalResult:
            note("on_post_evaluate")
            return result

        async def on_post_publish(self, agent: Agent, ctx: Context, artifact: Artifact) -> None:
            note("on_post_publish")

        async def on_error(self, agent: Agent, ctx: Context, error: BaseException) -> None:
            note("on_error")

        async def on_terminate(self, agent: Agent, ctx: Context) -> None:
            note("on_terminate")

    return Spy()


Answer = Callable[[EvalInputs], Any]


def engine(  # noqa: C901
    answer: Answer,
    *,
    label: str = "engine",
    log: list[str] | None = None,
    order: int = 0,
    context: bool = False,
    failing: str = "",
    seen: list[Context] | None = None,
) -> EngineComponent:
    """An engine that answers with a function, and writes and fails like `spy`."""

    def note(hook: str) -> None:
        if log is not None:
            log.append(f"{label}.{hook}")
        if hook == failing:
            raise RuntimeError(f"{label} broke in {hook}")

    class Engine(EngineComponent):
        name: str | None = label
        priority: int = order
        enable_context: bool = context

        async def on_initialize(self, agent: Agent, ctx: Context) -> None:
            note("on_initialize")

        async def on_pre_evaluate(
            self, agent: Agent, ctx: Context, inputs: EvalInputs
        ) -> EvalInputs:
            note("on_pre_evaluate")
            return inputs

        async def evaluate(
            self, agent: Agent, ctx: Context, inputs: EvalInputs, output_group: Any
        ) -> Any:
            note("evaluate")
            if seen is not None:
                seen.append(ctx)
            result = answer(inputs)
            if isinstance(result, Awaitable):
                return await result
            return result

        async def on_post_evaluate(
            self, agent: Agent, ctx: Context, inputs: EvalInputs, result: EvalResult
        ) -> EvalResult:
            note("on_post_evaluate")
            return result

        async def on_error(self, agent: Agent, ctx: Context, error: BaseException) -> None:
            note("on_error")

        async def on_terminate(self, agent: Agent, ctx: Context) -> None:
            note("on_terminate")

    return Engine()


T = TypeVar("T")


class SuspendingStore(InMemoryBlackboardStore):
    """A store that waits for its disk: it lets others go on, before and after it has written.

    What was asked of it is finished even when its caller is cancelled, as the protocol says.
    """

    async def commit(self, commit: Commit) -> None:
        await self._finished(super().commit(commit))

    async def count(self, where: FilterConfig | None = None, *, until: int | None = None) -> int:
        return await self._finished(super().count(where, until=until))

    async def spent(
        self,
        *,
        correlation_id: str | None = None,
        agent: str | None = None,
        run_id: str | None = None,
    ) -> Spent:
        asked = super().spent(correlation_id=correlation_id, agent=agent, run_id=run_id)
        return await self._finished(asked)

    async def _finished(self, work: Awaitable[T]) -> T:
        async def written() -> T:
            await asyncio.sleep(0)
            result = await work
            await asyncio.sleep(0)
            return result

        task = asyncio.ensure_future(written())
        cancelled: asyncio.CancelledError | None = None
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled
        return task.result()
