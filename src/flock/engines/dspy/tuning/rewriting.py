"""Rewriting instructions: GEPA, the reflective optimizer of DSPy, over the board's own runs.

`dspy.GEPA` wraps the library `gepa` around a DSPy program. Here the library gets the agent's
engine itself: candidates are tried as they will run, with repairs and the provider's schema
mode, and no DSPy setting is touched. https://dspy.ai/api/optimizers/GEPA/overview/
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import BaseModel

from flock.clock import SystemClock
from flock.engines.chat import ChatRequest
from flock.engines.dspy.patience import Patience
from flock.engines.dspy.tuning.meter import Stopped
from flock.errors import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from flock.engines.chat import ChatModel
    from flock.engines.dspy.tuned import TunedPrompt
    from flock.engines.dspy.tuning.trial import Bench, Case, Trial

T = TypeVar("T")

COMPONENT: Final = "instructions"
"""What GEPA calls the part of the prompt that it rewrites."""

BATCH: Final = 3
"""How many runs GEPA shows the model that writes instructions at a time."""

MAX_INSTRUCTIONS: Final = 8_000
"""How many characters of instructions are taken from a model that does not come to an end."""

MAX_WRITTEN: Final = 1_000
"""Bound in tokens on what the model that writes instructions may answer."""


class Rewriter:
    """Has a model write better instructions from what went wrong.

    Args:
        bench: Tries them.
        writer: The model that writes them.
        prompt_of: Makes a prompt of instructions.
        on_candidate: Told of every candidate that was tried on the whole validation part.
        seed: What GEPA draws with.
    """

    def __init__(
        self,
        bench: Bench,
        writer: ChatModel,
        prompt_of: Callable[[str], TunedPrompt | None],
        on_candidate: Callable[[str, float], None],
        seed: int,
    ) -> None:
        self._bench = bench
        self._writer = writer
        self._prompt_of = prompt_of
        self._on_candidate = on_candidate
        self._seed = seed
        self._loop: asyncio.AbstractEventLoop | None = None
        self._validation: frozenset[str] = frozenset()
        self._stop: BaseException | None = None
        self._is_perfect = False

    async def run(
        self, start: str, train: Sequence[Case], validation: Sequence[Case], *, trials: int
    ) -> None:
        """Search until so many cases were tried, or no more calls may be made.

        Args:
            start: The instructions to begin with.
            train: What the writing model is shown.
            validation: What candidates are compared on.
            trials: How many cases may be tried in all.

        Raises:
            Stopped: No more calls may be made.
            TuningError: The metric failed.
            EngineError: The model cannot be asked at all.
        """
        self._loop = asyncio.get_running_loop()
        self._validation = frozenset(case.id for case in validation)
        gepa = _load_gepa()
        work = self._loop.run_in_executor(
            None, lambda: self._search(gepa, start, list(train), list(validation), trials)
        )
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            self._stop = self._stop or Stopped("interrupted")
            await asyncio.wait([work])
            raise
        if self._stop is not None:
            raise self._stop

    def _search(
        self,
        gepa: Any,  # noqa: ANN401 - a module without types that say more
        start: str,
        train: list[Case],
        validation: list[Case],
        trials: int,
    ) -> None:
        """Run GEPA, in a thread of its own; the model is asked on the event loop."""
        try:
            gepa.optimize(
                seed_candidate={COMPONENT: start},
                trainset=train,
                valset=validation,
                adapter=self,
                reflection_lm=self._write,
                reflection_minibatch_size=min(BATCH, len(train)),
                max_metric_calls=trials,
                stop_callbacks=[self._is_over],
                logger=_Silent(),
                seed=self._seed,
                raise_on_exception=True,
            )
        except Exception:
            if self._stop is None:
                raise

    # --- what GEPA asks of an adapter ---

    propose_new_texts = None

    def evaluate(
        self,
        batch: Sequence[Case],
        candidate: Mapping[str, str],
        capture_traces: bool = False,  # noqa: FBT001, FBT002 - GEPA's protocol
    ) -> Any:  # noqa: ANN401 - a class that exists only once GEPA is imported
        """Try instructions on cases."""
        instructions = candidate[COMPONENT]
        trials = self._ask(self._bench.run(self._prompt_of(instructions), batch))
        scores = [trial.score for trial in trials]
        if frozenset(case.id for case in batch) == self._validation:
            mean = sum(scores) / len(scores)
            self._is_perfect = self._is_perfect or mean >= 1
            self._on_candidate(instructions, mean)
        module: Any = import_module("gepa.core.adapter")
        return module.EvaluationBatch(
            outputs=[trial.outputs for trial in trials],
            scores=scores,
            trajectories=trials if capture_traces else None,
        )

    def make_reflective_dataset(
        self,
        candidate: Mapping[str, str],
        eval_batch: Any,  # noqa: ANN401 - see `evaluate`
        components_to_update: Sequence[str],
    ) -> dict[str, list[dict[str, object]]]:
        """Say what went well and what did not, for the writing model to read."""
        del candidate
        told = [_told(trial) for trial in eval_batch.trajectories]
        return dict.fromkeys(components_to_update, told)

    def _write(self, prompt: str) -> str:
        request = ChatRequest(
            [{"role": "user", "content": prompt}], temperature=1.0, max_tokens=MAX_WRITTEN
        )
        patience = Patience()
        answer = self._ask(patience.ask(self._writer, request, SystemClock(), lambda: None))
        return answer.text[:MAX_INSTRUCTIONS]

    def _is_over(self, state: object) -> bool:
        del state
        return self._is_perfect or self._stop is not None

    def _ask(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait in this thread for work on the event loop."""
        assert self._loop is not None
        if self._stop is not None:
            work.close()
            raise self._stop
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result()
        except BaseException as error:
            self._stop = self._stop or error
            raise


class _Silent:
    def log(self, message: str) -> None:
        """Say nothing."""


def _told(trial: Trial) -> dict[str, object]:
    case = trial.case
    lines = [f"This answer got a score of {trial.score:.2f} out of 1."]
    if trial.problem:
        lines.append(f"It was not valid: {trial.problem}")
    if case.comment:
        lines.append(f"About an earlier answer to the same input somebody said: {case.comment}")
    if case.expected is not None and trial.score < 1:
        lines.append(f"Right would have been: {_shown(case.expected)}")
    given = [
        {"type": artifact.entry.cls.__name__, "content": artifact.payload}
        for artifact in case.inputs.artifacts
    ]
    return {
        "Inputs": given,
        "Generated Outputs": _shown(trial.outputs) or "none",
        "Feedback": "\n".join(lines),
    }


def _shown(models: Sequence[BaseModel]) -> str:
    return "\n".join(f"{type(m).__name__}: {m.model_dump_json()}" for m in models)


def _load_gepa() -> Any:  # noqa: ANN401 - GEPA's functions are typed too widely to say more
    try:
        return import_module("gepa")
    except ImportError as error:
        msg = (
            "rewriting instructions needs GEPA, which DSPy brings along: pip install "
            f"'flock[dspy]' ({error}); or tune the examples alone (how='examples')"
        )
        raise DeclarationError(msg) from error
