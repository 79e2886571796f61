"""Agents that are computed by a plain function."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Final

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
        self._signature = signature
        self._function = signature.function
        self._threads = threads
        self._working = working
        self._is_async = signature.kind == "async"
        self._takes_one_model = False
        if len(signature.parameters) == 1 and not signature.parameters[0].keyword:
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
                    return await self._function(model)
                with self._working():
                    return await self._threads.call(self._function, model)
        args, kwargs = self._signature.bind(inputs, ctx)
        if self._is_async:
            return await self._function(*args, **kwargs)
        if self.streams:
            return [answer async for answer in self._iterate(args, kwargs)]
        with self._working():
            return await self._threads.call(self._function, *args, **kwargs)

    async def stream(
        self, agent: Agent, ctx: Context, inputs: EvalInputs, output_group: OutputGroup
    ) -> AsyncIterator[object]:
        """Yield what the generator function yields."""
        del agent, output_group
        args, kwargs = self._signature.bind(inputs, ctx)
        answers = self._iterate(args, kwargs)
        try:
            async for answer in answers:
                yield answer
        finally:
            await answers.aclose()

    async def _iterate(
        self, args: list[object], kwargs: dict[str, object]
    ) -> AsyncGenerator[object, None]:
        if self._signature.kind == "async generator":
            generator = self._function(*args, **kwargs)
            try:
                async for answer in generator:
                    yield answer
            finally:
                await generator.aclose()
            return
        iterator: Iterator[object] = self._function(*args, **kwargs)
        try:
            while True:
                with self._working():
                    answer = await self._threads.call(next, iterator, _END)
                if answer is _END:
                    return
                yield answer
        finally:
            close = getattr(iterator, "close", None)
            if close is not None and not getattr(iterator, "gi_running", False):
                await self._threads.call(close)
