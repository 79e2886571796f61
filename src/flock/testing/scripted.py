"""Engines that answer by script."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from flock.clock import pause
from flock.core.spans import Span, seconds
from flock.engines.base import EngineComponent

if TYPE_CHECKING:
    from flock.core.agent import Agent
    from flock.core.context import Context, EvalInputs
    from flock.core.outputs import OutputGroup

Answers = Iterable[object] | Callable[["EvalInputs"], object]
"""Answers in turn, or a function of the inputs that returns one."""


class ScriptedEngine(EngineComponent):
    """Answers by list or function, without a model.

    Args:
        answers: Each is a model, a list of models, an `EvalResult`, None to decline, or an
            exception, which is raised. A list is used up call by call and then fails; a
            function (also async) gets the `EvalInputs` of the call.
        delay: How long a call takes on the board's clock: a `timedelta` or seconds; or one
            for each call in turn, the last for all that follow.

    Attributes:
        calls: The inputs of each call so far.

    Example:
        ```python
        from pydantic import BaseModel

        from flock import Flock
        from flock.testing import ScriptedEngine


        class Question(BaseModel):
            text: str


        class Answer(BaseModel):
            text: str


        engine = ScriptedEngine([TimeoutError("busy"), Answer(text="42")])
        flock = Flock()
        oracle = flock.agent("oracle").consumes(Question).publishes(Answer)
        oracle.with_engines(engine).retry(2, backoff=0)

        async with flock:
            [answer] = await flock.arun("oracle", Question(text="why?"))
        print(answer.payload, len(engine.calls))  # -> {'text': '42'} 2
        ```
    """

    def __init__(self, answers: Answers, *, delay: Span | Iterable[Span] = 0) -> None:
        super().__init__(name="scripted")
        self.calls: list[EvalInputs] = []
        self._function = answers if callable(answers) else None
        self._answers = [] if callable(answers) else list(answers)
        delays = list(delay) if isinstance(delay, Iterable) else [delay]
        self._delays = [seconds(d, "delay", zero=True) for d in delays]

    async def evaluate(
        self, agent: Agent, ctx: Context, inputs: EvalInputs, output_group: OutputGroup
    ) -> object:
        """Answer with what the script says for this call.

        Raises:
            AssertionError: The script has no more answers.
            BaseException: The answer, if it is an exception.
        """
        del output_group
        number = len(self.calls)
        self.calls.append(inputs)
        delay = self._delays[min(number, len(self._delays) - 1)] if self._delays else 0.0
        if delay:
            await pause(ctx.clock, delay)
        if self._function is not None:
            answer = self._function(inputs)
            if inspect.isawaitable(answer):
                answer = await answer
        elif number < len(self._answers):
            answer = self._answers[number]
        else:
            msg = (
                f"agent {agent.name!r} was called {number + 1} times, and its script has "
                f"{len(self._answers)} answers"
            )
            raise AssertionError(msg)
        if isinstance(answer, BaseException):
            raise answer
        return answer
