"""Agents that are computed by a plain function."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, aclosing, nullcontext
from typing import TYPE_CHECKING, Final, cast

from flock.core.binding import Binding
from flock.core.signature import FunctionSignature, Role
from flock.core.types import registry
from flock.engines.base import EngineComponent
from flock.engines.threads import ThreadPool

if TYPE_CHECKING:
    from flock.core.agent import Agent
    from flock.core.context import Context, EvalInputs
    from flock.core.outputs import OutputGroup

_END: Final = object()


class FunctionEngine(EngineComponent):
    """Calls a user's function: async ones on the event loop, sync ones in a thread."""

    def __init__(
        self,
        signature: FunctionSignature,
        threads: ThreadPool,
        working: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        super().__init__(name=getattr(signature.function, "__name__", None))
        self.streams = signature.streams
        self._binding = Binding(signature)
        self._function = signature.function
        self._threads = threads
        self._working = working
        self._is_async = signature.kind == "async"
        self._is_lazy = inspect.isgeneratorfunction(self._function) or inspect.isasyncgenfunction(
            self._function
        )
        self._plain: type | None = None  # what it answered last, if that was no iterator
        self._takes_one_model = False
        if (
            not self.streams
            and len(signature.parameters) == 1
            and not signature.parameters[0].keyword
        ):
            parameter = signature.parameters[0]
            self._takes_one_model = (
                parameter.role in {Role.MODEL, Role.ANYTHING} and len(parameter.models) <= 1
            )
            self._entry = registry.entry(parameter.models[0]) if parameter.models else None

    async def evaluate(
        self, agent: Agent, ctx: Context, inputs: EvalInputs, output_group: OutputGroup
    ) -> object:
        """Call the function and return what it answers."""
        del agent, output_group
        artifacts = inputs.artifacts
        if self._takes_one_model and len(artifacts) == 1 and not ctx.is_batch:
            artifact = artifacts[0]
            entry = self._entry or artifact.entry
            if entry.name == artifact.entry.name:
                model = artifact.take(entry)
                if self._is_async:
                    answer = await self._function(model)
                else:
                    with self._working():
                        answer = await self._threads.call(self._function, model)
                return answer if type(answer) is self._plain else await self._whole(answer)
        args, kwargs = self._binding.arguments(inputs, ctx)
        return await self._whole(await self._call(args, kwargs))

    async def stream(
        self, agent: Agent, ctx: Context, inputs: EvalInputs, output_group: OutputGroup
    ) -> AsyncIterator[object]:
        """Yield what the generator function yields."""
        del agent, output_group
        args, kwargs = self._binding.arguments(inputs, ctx)
        async with aclosing(self._parts(await self._call(args, kwargs))) as parts:
            async for part in parts:
                yield part

    async def _call(self, args: list[object], kwargs: dict[str, object]) -> object:
        if self._is_async:
            return await self._function(*args, **kwargs)
        if self._is_lazy:
            return self._function(*args, **kwargs)
        with self._working():
            return await self._threads.call(self._function, *args, **kwargs)

    async def _whole(self, answer: object) -> object:
        """Return an answer with nothing left to be made: awaited, and its parts gathered."""
        while inspect.isawaitable(answer):
            answer = await answer
        if isinstance(answer, AsyncIterable | Iterator):
            return [part async for part in self._parts(cast("object", answer))]
        self._plain = type(answer)
        return answer

    async def _parts(self, answer: object) -> AsyncGenerator[object, None]:
        """Yield the parts of an answer that is made bit by bit, or any other one as it is.

        The steps of a plain iterator are users' synchronous code, each taken in a thread.
        """
        while inspect.isawaitable(answer):
            answer = await answer
        if isinstance(answer, AsyncIterable):
            parts = cast("AsyncIterable[object]", answer)
            try:
                async for part in parts:
                    yield part
            finally:
                close = getattr(parts, "aclose", None)
                if close is not None:
                    await close()
        elif isinstance(answer, Iterator):
            async with aclosing(self._steps(cast("Iterator[object]", answer))) as steps:
                async for part in steps:
                    yield part
        else:
            yield answer

    async def _steps(self, iterator: Iterator[object]) -> AsyncGenerator[object, None]:
        is_busy = False
        try:
            while True:
                is_busy = True
                with self._working():
                    part = await self._threads.call(next, iterator, _END)
                is_busy = False
                if part is _END:
                    return
                yield part
        finally:
            close = getattr(iterator, "close", None)
            if close is not None and not is_busy:  # a step that was abandoned still goes on
                await self._threads.call(close)
