"""The base of hooks around one run."""

from __future__ import annotations

from flock.core.agent import Agent
from flock.core.artifacts import Artifact
from flock.core.context import Context, EvalInputs, EvalResult
from flock.core.lifecycle import left_out


class AgentComponent:
    """Hooks around each run of an agent; override what is needed, the rest costs nothing.

    Components run by ascending `priority`. A hook that decides (`on_initialize` to
    `on_post_evaluate`) fails the run by raising; one that only watches is logged.

    Attributes:
        name: Names the component in logs; its class does if None.
        priority: Lower runs first.

    Example:
        ```python
        from pydantic import BaseModel

        from flock import AgentComponent, Flock


        class Word(BaseModel):
            text: str


        class Counting(AgentComponent):
            runs = 0

            async def on_pre_consume(self, agent, ctx, inputs):
                self.runs += 1
                return inputs


        counting = Counting()
        flock = Flock()
        flock.agent("reader").consumes(Word).calls(lambda word: None).with_utilities(counting)
        async with flock:
            await flock.publish_many([Word(text="a"), Word(text="b")])
            await flock.run_until_idle()
        print(counting.runs)  # -> 2
        ```
    """

    name: str | None = None
    priority: int = 0

    def __init__(self, *, name: str | None = None, priority: int | None = None) -> None:
        if name is not None:
            self.name = name
        if priority is not None:
            self.priority = priority

    @left_out
    async def on_initialize(self, agent: Agent, ctx: Context) -> None:
        """Prepare the run."""

    @left_out
    async def on_pre_consume(
        self, agent: Agent, ctx: Context, inputs: list[Artifact]
    ) -> list[Artifact]:
        """Return the artifacts that the run is to use."""
        del agent, ctx
        return inputs

    @left_out
    async def on_pre_evaluate(self, agent: Agent, ctx: Context, inputs: EvalInputs) -> EvalInputs:
        """Return what is to be evaluated."""
        del agent, ctx
        return inputs

    @left_out
    async def on_post_evaluate(
        self, agent: Agent, ctx: Context, inputs: EvalInputs, result: EvalResult
    ) -> EvalResult:
        """Return the result to go on with; per output, for an agent that streams."""
        del agent, ctx, inputs
        return result

    @left_out
    async def on_post_publish(self, agent: Agent, ctx: Context, artifact: Artifact) -> None:
        """Watch an output that was committed."""

    @left_out
    async def on_error(self, agent: Agent, ctx: Context, error: BaseException) -> None:
        """Watch an attempt that failed."""

    @left_out
    async def on_terminate(self, agent: Agent, ctx: Context) -> None:
        """Clean up: called at the end of every attempt, also when it is cancelled."""
