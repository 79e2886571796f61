"""An engine whose answers people give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from flock.core.context import EvalResult
from flock.engines.base import EngineComponent
from flock.errors import EngineError

if TYPE_CHECKING:
    from flock.core.agent import Agent
    from flock.core.artifacts import Artifact
    from flock.core.context import Context, EvalInputs
    from flock.core.delivery import Run
    from flock.core.outputs import OutputGroup


class PersonEngine(EngineComponent):
    """Answers with what a person answered to the question of the run.

    Args:
        answer_to: Returns what was answered in a run; None if nobody was asked in it.
    """

    def __init__(self, answer_to: Callable[[Run], Sequence[Artifact] | None]) -> None:
        super().__init__(name="person")
        self._answer_to = answer_to

    async def evaluate(
        self, agent: Agent, ctx: Context, inputs: EvalInputs, output_group: OutputGroup
    ) -> EvalResult:
        """Return the answer.

        Raises:
            EngineError: Nobody was asked.
        """
        del inputs, output_group
        answer = None if ctx.run is None else self._answer_to(ctx.run)
        if answer is None:
            msg = (
                f"agent {agent.name!r} asks a person, and only a run of a board can wait for the "
                "answer; publish its input, or call it with arun or invoke"
            )
            raise EngineError(msg)
        return EvalResult(artifacts=list(answer))
