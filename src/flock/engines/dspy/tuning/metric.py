"""How good an output is: a user's function, or agreement with what people approved."""

from __future__ import annotations

import inspect
import math
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from pydantic import BaseModel

from flock.core.context import EvalInputs
from flock.engines.threads import ThreadPool
from flock.errors import TuningError

FEEDBACK: Final = "feedback"
"""The metric that compares with what people approved or corrected."""

Output = BaseModel | list[BaseModel]
"""What a run answered: one model, or a list where the agent publishes more than one."""

Metric = Callable[[EvalInputs, Any, Any], float | Awaitable[float]]
"""Scores an output from 0.0 to 1.0: `metric(inputs, output, expected)`, also async.

`expected` is what people approved or corrected the output to; None where that is not known.
"""


def agreement(inputs: EvalInputs, output: Output, expected: Output | None) -> float:
    """Return how far an output agrees with what was expected: the metric `"feedback"`.

    Fields count alike, nested ones within theirs. Texts that differ agree by the words they
    share (F1); numbers, enums and times agree or do not.

    Returns:
        From 0.0 to 1.0; 0.0 without anything expected.
    """
    del inputs
    if expected is None:
        return 0.0
    return _alike(_plain(output), _plain(expected))


async def scored(
    metric: Metric,
    run: str,
    inputs: EvalInputs,
    output: Output,
    expected: Output | None,
    threads: ThreadPool,
) -> float:
    """Call a metric, in a thread unless it is async, and check what it returns.

    Raises:
        TuningError: It raised, or returned no number from 0 to 1.
    """
    name = metric_name(metric)
    try:
        if inspect.iscoroutinefunction(metric):
            value: object = metric(inputs, output, expected)
        else:
            value = await threads.call(metric, inputs, output, expected)
        if inspect.isawaitable(value):
            value = await value
    except Exception as error:
        msg = (
            f"the metric {name!r} raised over run {run!r}: {error!r}; it gets the inputs, the "
            "output, and what was expected, which is None where nobody said"
        )
        raise TuningError(msg) from error
    is_number = isinstance(value, int | float) and math.isfinite(value)
    if not is_number or not 0 <= cast("float", value) <= 1:
        msg = f"the metric {name!r} returned {value!r} for run {run!r}; return a number from 0 to 1"
        raise TuningError(msg)
    return float(cast("float", value))


def metric_name(metric: Metric) -> str:
    """Return what a metric is called in reports."""
    if metric is agreement:
        return FEEDBACK
    module, name = getattr(metric, "__module__", None), getattr(metric, "__qualname__", None)
    return f"{module}:{name}" if module and name else repr(metric)


def _plain(output: Output) -> object:
    if isinstance(output, list):
        return [_plain(one) for one in output]
    return output.model_dump(mode="json")


def _alike(one: Any, other: Any) -> float:  # noqa: ANN401 - whatever JSON holds
    if isinstance(one, dict) and isinstance(other, dict):
        return _alike_objects(cast("dict[str, Any]", one), cast("dict[str, Any]", other))
    if isinstance(one, list) and isinstance(other, list):
        return _alike_lists(cast("list[Any]", one), cast("list[Any]", other))
    if isinstance(one, str) and isinstance(other, str):
        return _same_words(one, other)
    return float(one == other and isinstance(one, bool) == isinstance(other, bool))


def _alike_objects(one: dict[str, Any], other: dict[str, Any]) -> float:
    keys = one.keys() | other.keys()
    if not keys:
        return 1.0
    return sum(_alike(one[k], other[k]) for k in keys if k in one and k in other) / len(keys)


def _alike_lists(one: list[Any], other: list[Any]) -> float:
    longest = max(len(one), len(other))
    if not longest:
        return 1.0
    return sum(_alike(x, y) for x, y in zip(one, other, strict=False)) / longest


def _same_words(one: str, other: str) -> float:
    a, b = one.casefold().split(), other.casefold().split()
    if a == b:
        return 1.0
    shared = (Counter(a) & Counter(b)).total()
    return 2 * shared / (len(a) + len(b)) if shared else 0.0
