"""Past runs as cases: what a model was given, what it answered, and what was right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel

from flock.components.guards import Guard
from flock.core.artifacts import Artifact
from flock.core.context import Context, EvalInputs, EvalResult
from flock.core.lifecycle import implementing
from flock.core.types import registry
from flock.engines.dspy.tuned import only_group
from flock.engines.dspy.tuning.metric import Metric, agreement
from flock.engines.dspy.tuning.trial import Bench, Case
from flock.errors import FlockError, GuardBlocked, TuningError

if TYPE_CHECKING:
    from flock.core.agent import Agent
    from flock.engines.dspy.tuning.examples import TuningExample


async def cases_of(
    agent: Agent,
    examples: Sequence[TuningExample],
    bench: Bench,
    metric: Metric,
    good: float,
) -> tuple[list[Case], int]:
    """Return the runs that can be learnt from, and how many cannot.

    Args:
        agent: Whose runs. They are as its guards let them pass.
        examples: The runs.
        bench: Scores what nobody has judged.
        metric: The metric.
        good: From which score on an answer counts as done right.

    Raises:
        TuningError: There are none, one is another agent's or does not fit the types, or the
            metric failed.
    """
    if not examples:
        msg = (
            f"there are no past runs of agent {agent.name!r}: run the board first, or give a file "
            "of examples (--examples, read_examples)"
        )
        raise TuningError(msg)
    cases: list[Case] = []
    for example in examples:
        _check(agent, example)
        try:
            run = await _guarded(agent, _loaded(agent, example))
        except GuardBlocked:
            continue  # the agent would not have been given it either
        inputs, made, corrected, comment = run
        case = Case(example.id, inputs, made, corrected, corrected, 1.0, comment)
        if corrected is None and example.score is not None:
            approved = made if example.score >= good else None
            case = replace(case, expected=approved, right=approved, score=example.score)
        elif corrected is None and metric is not agreement:
            score = await bench.score(case, made)
            case = replace(case, right=made if score >= good else None, score=score)
        elif corrected is not None and example.score is not None:
            case = replace(case, score=example.score)
        if case.expected is not None or metric is not agreement:
            cases.append(case)
    return cases, len(examples) - len(cases)


def _check(agent: Agent, example: TuningExample) -> None:
    """Make sure that a run is one of this agent as it is declared now.

    Raises:
        TuningError: It is not.
    """
    if example.agent != agent.name:
        msg = (
            f"example {example.id!r} is a run of agent {example.agent!r}, not of "
            f"{agent.name!r}; give the examples of this agent"
        )
        raise TuningError(msg)


class _Run(NamedTuple):
    """What a past run was given, what it answered, and what people thought of it."""

    inputs: EvalInputs
    made: list[BaseModel]
    corrected: list[BaseModel] | None
    comment: str


def _loaded(agent: Agent, example: TuningExample) -> _Run:
    try:
        inputs = EvalInputs([content.artifact() for content in example.inputs])
        made = [content.model() for content in example.outputs]
        corrected = example.corrected
        right = None if corrected is None else [content.model() for content in corrected]
    except FlockError as error:
        msg = f"example {example.id!r} does not fit the types any more: {error}"
        raise TuningError(msg) from error
    published = {spec.entry.current.name for spec in only_group(agent).outputs}
    for output in (*made, *(right or ())):
        name = registry.entry(type(output)).name
        if name not in published:
            msg = (
                f"example {example.id!r} answers with a {name!r}, which agent {agent.name!r} "
                "does not publish; leave it out, or export the examples again"
            )
            raise TuningError(msg)
    return _Run(inputs, made, right, example.comment)


class _Remark(BaseModel):
    """A comment, as guards look through it."""

    text: str


async def _guarded(agent: Agent, run: _Run) -> _Run:
    """Return a past run as the agent's guards let it pass: neither a model nor a file gets more.

    Raises:
        GuardBlocked: One does not.
    """
    guards = [u for u in implementing(agent.utilities, "on_pre_consume") if isinstance(u, Guard)]
    if not guards:
        return run
    given = [*run.inputs.artifacts, Artifact.of(_Remark(text=run.comment))]
    answers = [Artifact.of(model) for model in (*run.made, *(run.corrected or ()))]
    for guard in guards:
        ctx = Context(agent_identity=agent.identity)
        await guard.on_initialize(agent, ctx)
        try:
            given = await guard.on_pre_consume(agent, ctx, given)
            result = EvalResult(artifacts=answers)
            result = await guard.on_post_evaluate(agent, ctx, EvalInputs(given), result)
            answers = list(result.artifacts)
        finally:
            await guard.on_terminate(agent, ctx)
    *inputs, remark = given
    models = [answer.as_model(answer.entry.cls) for answer in answers]
    count = len(run.made)
    corrected = None if run.corrected is None else models[count:]
    return _Run(EvalInputs(inputs), models[:count], corrected, remark.as_model(_Remark).text)
