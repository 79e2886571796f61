"""The engine of agents that are declared with nothing but types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flock.engines.base import EngineComponent
from flock.errors import EngineError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from flock.core.agent import Agent
    from flock.core.context import Context, EvalInputs
    from flock.core.outputs import OutputGroup

OFFLINE_MODEL: Final = "test"
"""The model that needs no network, key or extra."""


class DSPyEngine(EngineComponent):
    """Fills the output types with a language model.

    The model `"test"` answers with a deterministic instance that satisfies the constraints
    of the type. Other models come with a later version.

    Attributes:
        model: The model string; the board's if None.
    """

    name = "dspy"

    def __init__(self, model: str | None = None) -> None:
        super().__init__()
        self.model = model

    async def evaluate(
        self, agent: Agent, ctx: Context, inputs: EvalInputs, output_group: OutputGroup
    ) -> object:
        """Answer with as many instances of each type as the group asks for.

        Raises:
            EngineError: The model is not `"test"`, or the type has no instance that can be
                found.
        """
        del ctx, inputs
        if self.model != OFFLINE_MODEL:
            msg = (
                f"agent {agent.name!r} asks for the model {self.model!r}, and this version "
                f"only has {OFFLINE_MODEL!r}; compute the agent with calls(fn) or with_engines()"
            )
            raise EngineError(msg)
        from flock.engines.dspy.sample import sample

        answers: list[BaseModel] = []
        for spec in output_group.outputs:
            count = max(spec.minimum, 1)
            try:
                answers.extend(sample(spec.model, seed=n) for n in range(count))
            except ValueError as error:
                msg = f"agent {agent.name!r}: {error}"
                raise EngineError(msg) from error
        return answers
