"""Choosing examples: DSPy's `LabeledFewShot` draws them, and each draw is tried."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from flock.engines.dspy.loading import load_dspy

if TYPE_CHECKING:
    from flock.engines.dspy.tuned import PromptExample
    from flock.engines.dspy.tuning.trial import Case


def draws(
    cases: Sequence[Case], *, candidates: int, most: int, seed: int
) -> Iterator[tuple[PromptExample, ...]]:
    """Yield sets of examples to show the model, each another one.

    They are drawn with DSPy's `LabeledFewShot`, over shuffles and sizes as its random search
    does (`BootstrapFewShotWithRandomSearch`). Nothing is bootstrapped: the board's history
    holds answers already that people or the metric found good.

    Args:
        cases: Runs of which it is known what was right.
        candidates: How many sets at the most.
        most: How many examples a set has at the most.
        seed: Another one gives other sets.
    """
    dspy: Any = load_dspy()
    train = [_example(dspy, number, case) for number, case in enumerate(cases)]
    student = dspy.Predict("given -> right")
    generator = random.Random(seed)
    seen: set[frozenset[int]] = set()
    for attempt in range(candidates * 3):
        if len(seen) == candidates:
            return
        # The largest first: where examples help, more of them mostly help more.
        size = most if not attempt else generator.randint(1, most)
        generator.shuffle(train)
        chosen: list[Any] = (
            dspy.LabeledFewShot(k=size).compile(student, trainset=train, sample=False).demos
        )
        numbers: list[int] = [demo.number for demo in chosen]
        if frozenset(numbers) not in seen:
            seen.add(frozenset(numbers))
            yield tuple(cases[number].shown() for number in numbers)


def _example(dspy: Any, number: int, case: Case) -> Any:  # noqa: ANN401 - DSPy has no types
    shown = case.shown()
    example = dspy.Example(number=number, given=shown.inputs, right=shown.outputs)
    return example.with_inputs("given")
