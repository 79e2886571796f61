"""The base of engines."""

from __future__ import annotations

from collections.abc import AsyncIterator

from flock.components.agent import AgentComponent
from flock.core.agent import Agent
from flock.core.context import Context, EvalInputs
from flock.core.lifecycle import left_out
from flock.core.outputs import OutputGroup


class EngineComponent(AgentComponent):
    """Computes an agent's outputs. Override `evaluate`.

    An engine has the hooks of an `AgentComponent` as well; its `on_pre_evaluate` and
    `on_post_evaluate` run around its own `evaluate`, inside the chain.

    Attributes:
        enable_context: Whether `ctx.artifacts` is to hold the history of the workflow.
        streams: Whether the engine yields outputs one by one, with `stream`.

    Example:
        ```python
        from pydantic import BaseModel

        from flock import EngineComponent, Flock


        class Question(BaseModel):
            text: str


        class Answer(BaseModel):
            text: str


        class Echo(EngineComponent):
            async def evaluate(self, agent, ctx, inputs, output_group):
                return Answer(text=inputs.first_as(Question).text)


        flock = Flock()
        flock.agent("echo").consumes(Question).publishes(Answer).with_engines(Echo())
        async with flock:
            [answer] = await flock.arun("echo", Question(text="hello"))
        print(answer.payload["text"])  # -> hello
        ```
    """

    enable_context: bool = False
    streams: bool = False

    @left_out
    async def evaluate(
        self, agent: Agent, ctx: Context, inputs: EvalInputs, output_group: OutputGroup
    ) -> object:
        """Answer with what the group asks for.

        Args:
            agent: Whose run it is.
            ctx: The run's context.
            inputs: What to work on; the outputs of the engine before, in a chain.
            output_group: Which types, and how many of each.

        Returns:
            An `EvalResult`, a model, a list of models, or None to decline.
        """
        raise NotImplementedError(f"{type(self).__name__} does not override evaluate")

    @left_out
    def stream(
        self, agent: Agent, ctx: Context, inputs: EvalInputs, output_group: OutputGroup
    ) -> AsyncIterator[object]:
        """Yield answers as they are made; each is published before the next is asked for."""
        raise NotImplementedError(f"{type(self).__name__} streams, but does not override stream")
