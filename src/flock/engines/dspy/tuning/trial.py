"""Trying a prompt: the agent's engine answers past inputs with it, and a metric scores that."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from pydantic import BaseModel

from flock.core.context import Context, EvalInputs
from flock.engines.dspy.dialogue import NoValidAnswer
from flock.engines.dspy.tuned import Content, PromptExample, TunedPrompt, only_group
from flock.engines.dspy.tuning.metric import Metric, Output, scored

if TYPE_CHECKING:
    from flock.core.agent import Agent
    from flock.core.outputs import OutputGroup
    from flock.engines.chat import ChatModel
    from flock.engines.dspy.engine import DSPyEngine
    from flock.engines.threads import ThreadPool


@dataclass(frozen=True, slots=True)
class Case:
    """A past run, ready to be tried again.

    Attributes:
        id: Id of the run.
        inputs: What it was given.
        made: What it answered.
        expected: What it should have answered, as people said; None where they did not.
        right: What may be shown to a model as done right: what people expected, or what the
            metric found good; None where there is nothing.
        score: What people gave it, or the metric.
        comment: What people said about it.
    """

    id: str
    inputs: EvalInputs
    made: list[BaseModel]
    expected: list[BaseModel] | None
    right: list[BaseModel] | None
    score: float
    comment: str

    def shown(self) -> PromptExample:
        """Return it as an example for a prompt: its inputs, and what was right."""
        assert self.right is not None
        given = tuple(map(Content.of, self.inputs.artifacts))
        return PromptExample(inputs=given, outputs=tuple(map(Content.of_model, self.right)))


@dataclass(frozen=True, slots=True)
class Trial:
    """One answer with a prompt.

    Attributes:
        case: To what.
        outputs: The answer; empty where there was no valid one.
        score: How good it is.
        problem: Why there is no valid one; empty where there is.
    """

    case: Case
    outputs: list[BaseModel]
    score: float
    problem: str = ""


class Bench:
    """Tries prompts on cases, a few at a time.

    Args:
        agent: Whose prompts.
        engine: The agent's engine.
        model: Whom to ask.
        metric: Scores the answers.
        concurrency: How many cases are tried at once.
        threads: Where a synchronous metric runs.
    """

    def __init__(
        self,
        agent: Agent,
        engine: DSPyEngine,
        model: ChatModel,
        metric: Metric,
        concurrency: int,
        threads: ThreadPool,
    ) -> None:
        self._threads = threads
        self.agent = agent
        self.group: OutputGroup = only_group(agent)
        self._engine = engine
        self._model = model
        self._metric = metric
        self._slots = asyncio.Semaphore(concurrency)
        self._known: dict[tuple[str | None, str], Trial] = {}

    @property
    def instructions(self) -> str:
        """What the model is told to do without a tuned prompt."""
        words = self._engine.instructions_for(self.agent, self.group)
        names = ", ".join(spec.model.__name__ for spec in self.group.outputs)
        return words or f"From what you are given, make {names}."

    async def run(self, prompt: TunedPrompt | None, cases: Sequence[Case]) -> list[Trial]:
        """Answer every case with a prompt, in order; what was tried already is remembered.

        Args:
            prompt: What to say; None for what the agent says without a tuned prompt.
            cases: What to answer.

        Raises:
            Stopped: No more calls may be made.
            TuningError: The metric failed.
            EngineError: The model cannot be asked at all.
        """
        engine = self._engine.asking(self._model, prompt)
        try:
            async with asyncio.TaskGroup() as tasks:
                trials = [tasks.create_task(self._try(engine, prompt, case)) for case in cases]
        except BaseExceptionGroup as group:
            raise _first(group) from None
        return [trial.result() for trial in trials]

    async def _try(self, engine: DSPyEngine, prompt: TunedPrompt | None, case: Case) -> Trial:
        key = (None if prompt is None else prompt.model_dump_json(), case.id)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = await self._tried(engine, case)
        return known

    async def _tried(self, engine: DSPyEngine, case: Case) -> Trial:
        async with self._slots:
            ctx = Context(agent_identity=self.agent.identity)
            inputs = EvalInputs(list(case.inputs.artifacts))
            try:
                answer = await engine.evaluate(self.agent, ctx, inputs, self.group)
            except NoValidAnswer as error:
                return Trial(case, [], 0.0, str(error))
        outputs = cast("list[BaseModel]", answer)
        return Trial(case, outputs, await self.score(case, outputs))

    async def score(self, case: Case, outputs: list[BaseModel]) -> float:
        """Return what the metric gives outputs for a case.

        Raises:
            TuningError: The metric failed.
        """
        expected = None if case.expected is None else self.output(case.expected)
        inputs = EvalInputs(list(case.inputs.artifacts))
        return await scored(
            self._metric, case.id, inputs, self.output(outputs), expected, self._threads
        )

    def output(self, models: list[BaseModel]) -> Output:
        """Return what a metric gets: the one model, or the list where there may be several."""
        specs = self.group.outputs
        if len(specs) == 1 and not specs[0].is_list and len(models) == 1:
            return models[0]
        return models


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error of a group that was raised."""
    first = group.exceptions[0]
    if isinstance(first, BaseExceptionGroup):
        return _first(cast("BaseExceptionGroup[BaseException]", first))
    return first
