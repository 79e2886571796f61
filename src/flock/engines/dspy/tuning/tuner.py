"""Tuning an agent: measure, search for a better prompt, measure again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Final, Literal, get_args

from flock.clock import SystemClock, as_datetime
from flock.engines.dspy.engine import DSPyEngine
from flock.engines.dspy.models import OFFLINE_MODEL, ModelShelf
from flock.engines.dspy.tuned import Provenance, TunedPrompt
from flock.engines.dspy.tuning.cases import cases_of
from flock.engines.dspy.tuning.choosing import draws
from flock.engines.dspy.tuning.meter import Meter, MeteredModel, Stopped
from flock.engines.dspy.tuning.metric import FEEDBACK, Metric, agreement, metric_name
from flock.engines.dspy.tuning.parts import Parts, split
from flock.engines.dspy.tuning.report import Candidate, TuningProgress, TuningReport
from flock.engines.dspy.tuning.rewriting import BATCH, Rewriter
from flock.engines.dspy.tuning.trial import Bench, Case, Trial
from flock.engines.threads import ThreadPool
from flock.errors import TuningError

if TYPE_CHECKING:
    from flock.core.agent import Agent
    from flock.engines.chat import ChatModel
    from flock.engines.dspy.tuning.examples import TuningExample

How = Literal["examples", "instructions", "both"]
"""What may be changed of a prompt."""

HOWS: Final[tuple[str, ...]] = get_args(How)
GOOD: Final = 0.7


async def tune(
    agent: Agent,
    examples: Sequence[TuningExample],
    metric: Metric | Literal["feedback"] = FEEDBACK,
    *,
    how: How = "examples",
    model: str | ChatModel | None = None,
    writer: str | ChatModel | None = None,
    candidates: int = 8,
    max_examples: int = 4,
    max_calls: int | None = None,
    max_usd: float | None = None,
    held_out: float = 0.3,
    good: float = GOOD,
    seed: int = 0,
    concurrency: int = 4,
    on_progress: Callable[[TuningProgress], None] | None = None,
    stop: asyncio.Event | None = None,
) -> TuningReport:
    """Search for a prompt that an agent does better with, by its past runs.

    The runs are split by their ids into three parts: what teaches, what candidates are
    compared on, and what is held out: measured before and after, and nothing is chosen by it.

    Args:
        agent: It publishes one output group and thinks with a `DSPyEngine`.
        examples: Its past runs, of `past_runs` or `read_examples`.
        metric: `metric(inputs, output, expected)` from 0 to 1, sync or async; or `"feedback"`,
            agreement with what people approved or corrected, which leaves out other runs.
        how: What to change. `"examples"` shows the model runs done right; `"instructions"` has
            them rewritten by a model; `"both"` does the one after the other.
        model: Whom the agent asks, where its engine has no model of its own.
        writer: The model that writes instructions; the agent's unless said.
        candidates: How many prompts are tried for each.
        max_examples: How many examples a prompt may show.
        max_calls: How many model calls there may be; any number unless said.
        max_usd: What they may cost in US dollars; any amount unless said.
        held_out: Which share of the runs is held out.
        good: From which score on an answer counts as done right.
        seed: Another one splits and draws otherwise.
        concurrency: How many runs are tried at once.
        on_progress: Told how far it is.
        stop: Ends the search when it is set; the best prompt so far is reported.

    Returns:
        What was found, and how much better it is. Save `report.prompt`.

    Raises:
        TuningError: It cannot be done as asked, or the metric failed.
        DeclarationError: There is no model, or an extra is not installed.
        EngineError: A model cannot be asked.
    """
    _check_numbers(how, candidates, max_examples, max_calls, held_out, good, concurrency)
    engine = engine_of(agent)
    function = agreement if metric == FEEDBACK else metric
    if not callable(function):
        msg = f"metric takes a function or {FEEDBACK!r}, not {metric!r}"
        raise TuningError(msg)
    shelf = ModelShelf()
    threads = ThreadPool()
    try:
        thinks = _model(agent, engine, model, shelf)
        writes = thinks if writer is None else _as_model(writer, shelf)
        meter = Meter(max_calls, max_usd, stop)
        bench = Bench(agent, engine, MeteredModel(thinks, meter), function, concurrency, threads)
        cases, left_out = await cases_of(agent, examples, bench, function, good)
        parts = _parts(cases, left_out, held_out, seed)
        report = TuningReport(
            agent=agent.name,
            model=thinks.name,
            metric=metric_name(function),
            how=how,
            seed=seed,
            examples=len(cases),
            left_out=left_out,
            train=len(parts.train),
            validation=len(parts.validation),
            held_out=len(parts.held_out),
        )
        search = _Search(
            report,
            bench,
            parts,
            meter,
            MeteredModel(writes, meter),
            candidates,
            max_examples,
            on_progress,
        )
        return await search.run()
    finally:
        threads.close()
        await shelf.aclose()


class _Search:
    """One search for a better prompt."""

    def __init__(
        self,
        report: TuningReport,
        bench: Bench,
        parts: Parts,
        meter: Meter,
        writer: ChatModel,
        candidates: int,
        max_examples: int,
        on_progress: Callable[[TuningProgress], None] | None,
    ) -> None:
        self._report = report
        self._bench = bench
        self._parts = parts
        self._meter = meter
        self._writer = writer
        self._candidates = candidates
        self._max_examples = max_examples
        self._on_progress = on_progress
        self._stage = "measuring the prompt as it is"
        self._best: TunedPrompt | None = None
        self._best_score: float | None = None
        self._tried: list[Candidate] = []
        self._expected = self._plan()
        self._meter.on_call = self._tell

    def _plan(self) -> int:
        """Return roughly how many calls there will be.

        Raises:
            TuningError: There may not be as many as measuring takes.
        """
        measured, compared = len(self._parts.held_out), len(self._parts.validation)
        least = 2 * (measured + compared)
        if self._meter.max_calls is not None and self._meter.max_calls < least:
            msg = (
                f"max_calls={self._meter.max_calls} does not suffice for a single candidate: with "
                f"{self._report.examples} runs at least {least} model calls are needed; allow "
                "more, or give fewer runs"
            )
            raise TuningError(msg)
        calls = 2 * measured + compared
        if self._report.how != "instructions":
            calls += self._candidates * compared
        if self._report.how != "examples":
            calls += self._writing_trials() + self._candidates
        return calls if self._meter.max_calls is None else min(calls, self._meter.max_calls)

    def _writing_trials(self) -> int:
        compared = len(self._parts.validation)
        return compared + self._candidates * (2 * BATCH + compared)

    async def run(self) -> TuningReport:
        started = SystemClock.time()
        before = after = first = None
        stopped: str | None = None
        self._meter.kept = len(self._parts.held_out)
        self._tell()
        try:
            before = _mean(await self._bench.run(None, self._parts.held_out))
            trials = await self._bench.run(None, self._parts.validation)
            first = self._best_score = _mean(trials)
            self._check_differences(trials)
            self._tried.append(Candidate("as it is", first))
            if first < 1:
                await self._search()
        except Stopped as end:
            stopped = end.reason
        self._meter.kept = 0
        if self._meter.is_interrupted:
            stopped = self._meter.reason
        elif self._best is not None:
            self._say("measuring the best prompt")
            try:
                after = _mean(await self._bench.run(self._best, self._parts.held_out))
            except Stopped as end:
                stopped = stopped or end.reason
        report = replace(
            self._report,
            before=before,
            after=after,
            validation_before=first,
            validation_after=self._best_score,
            candidates=tuple(self._tried),
            usage=self._meter.usage,
            seconds=SystemClock.time() - started,
            stopped=stopped,
        )
        return replace(report, prompt=_signed(self._best, report, self._meter.calls))

    async def _search(self) -> None:
        if self._report.how != "instructions":
            await self._choose()
        if self._report.how != "examples" and (self._best_score or 0.0) < 1:
            await self._rewrite()

    async def _choose(self) -> None:
        good = [case for case in self._parts.train if case.right is not None]
        if not good:
            msg = (
                f"none of the {len(self._parts.train)} runs that teach was done right: publish "
                "Feedback with corrections, lower `good`, or rewrite the instructions instead "
                "(how='instructions', --how instructions)"
            )
            raise TuningError(msg)
        most = min(self._max_examples, len(good))
        for number, shown in enumerate(
            draws(good, candidates=self._candidates, most=most, seed=self._report.seed), start=1
        ):
            self._say(f"choosing examples, {number} of up to {self._candidates}")
            prompt = TunedPrompt.for_agent(self._bench.agent, examples=shown)
            score = _mean(await self._bench.run(prompt, self._parts.validation))
            self._compare(prompt, score, f"{len(shown)} example{'s' * (len(shown) > 1)}")
            if score >= 1:
                return

    async def _rewrite(self) -> None:
        self._say("rewriting the instructions")
        base = self._best
        start = self._bench.instructions

        def prompt_of(text: str) -> TunedPrompt | None:
            if text == start:
                return base
            shown = () if base is None else base.examples
            return TunedPrompt.for_agent(self._bench.agent, instructions=text, examples=shown)

        def on_candidate(text: str, score: float) -> None:
            if text != start:
                self._compare(prompt_of(text), score, "new instructions")

        rewriter = Rewriter(self._bench, self._writer, prompt_of, on_candidate, self._report.seed)
        await rewriter.run(
            start, self._parts.train, self._parts.validation, trials=self._writing_trials()
        )

    def _compare(self, prompt: TunedPrompt | None, score: float, what: str) -> None:
        self._tried.append(Candidate(what, score))
        if self._best_score is None or score > self._best_score:
            self._best, self._best_score = prompt, score
        self._tell()

    def _check_differences(self, trials: Sequence[Trial]) -> None:
        """Make sure that the metric tells answers apart.

        Raises:
            TuningError: It gives the same score to everything.
        """
        parts = self._parts
        scores = {trial.score for trial in trials}
        scores |= {c.score for c in (*parts.train, *parts.validation, *parts.held_out)}
        if len(scores) == 1 and scores != {1.0}:
            msg = (
                f"the metric {self._report.metric!r} gives {scores.pop():g} to every past run and "
                "every new answer, so that nothing can be learnt from it; give a metric that tells "
                "better answers from worse ones, or more varied Feedback"
            )
            raise TuningError(msg)

    def _say(self, stage: str) -> None:
        self._stage = stage
        self._tell()

    def _tell(self) -> None:
        if self._on_progress is not None:
            calls = self._meter.calls
            expected = max(calls, self._expected)
            self._on_progress(TuningProgress(self._stage, calls, expected, self._best_score))


def engine_of(agent: Agent) -> DSPyEngine:
    """Return the engine whose prompt can be tuned.

    Raises:
        TuningError: The agent is a function, has another engine or several, or its engine
            needs what past runs do not hold.
    """
    if agent.function is not None:
        msg = (
            f"agent {agent.name!r} is computed by a function, which has no prompt; tune an agent "
            "that thinks with a model (leave out calls())"
        )
        raise TuningError(msg)
    chain = agent.engines or agent.chain
    if len(chain) != 1 or not isinstance(chain[0], DSPyEngine):
        names = ", ".join(type(engine).__name__ for engine in chain)
        msg = (
            f"agent {agent.name!r} thinks with {names}, and one DSPyEngine alone can be tuned; "
            "split the chain into several agents"
        )
        raise TuningError(msg)
    engine = chain[0]
    if engine.enable_context:
        msg = (
            f"agent {agent.name!r} reads the history of its workflow, which past runs do not hold; "
            "let it consume what it needs, and leave out enable_context"
        )
        raise TuningError(msg)
    return engine


def _model(
    agent: Agent, engine: DSPyEngine, model: str | ChatModel | None, shelf: ModelShelf
) -> ChatModel:
    if model is not None:
        return _as_model(model, shelf, agent)
    if engine.model == OFFLINE_MODEL:
        return _as_model(OFFLINE_MODEL, shelf, agent)
    return engine.model_for(agent)


def _as_model(model: str | ChatModel, shelf: ModelShelf, agent: Agent | None = None) -> ChatModel:
    if model == OFFLINE_MODEL:
        who = "the writer" if agent is None else f"agent {agent.name!r}"
        msg = (
            f"{who} has the model {OFFLINE_MODEL!r}, which answers with samples whatever it is "
            "told; name one that thinks (model=, --model)"
        )
        raise TuningError(msg)
    return shelf.get(model) if isinstance(model, str) else model


def _parts(cases: Sequence[Case], left_out: int, held_out: float, seed: int) -> Parts:
    try:
        return split(cases, held_out, seed)
    except TuningError as error:
        if not left_out:
            raise
        msg = (
            f"{error} ({left_out} runs were left out: nobody said whether they were good, or they "
            "were not and nobody corrected them, or a guard of the agent blocks them)"
        )
        raise TuningError(msg) from None


def _check_numbers(
    how: str,
    candidates: int,
    max_examples: int,
    max_calls: int | None,
    held_out: float,
    good: float,
    concurrency: int,
) -> None:
    for given, what, is_right in (
        (how, f"how: one of {', '.join(HOWS)}", how in HOWS),
        (candidates, "candidates: a whole number from 1", candidates >= 1),
        (max_examples, "max_examples: a whole number from 1", max_examples >= 1),
        (max_calls, "max_calls: a whole number from 1", max_calls is None or max_calls >= 1),
        (held_out, "held_out: a share between 0 and 1", 0 < held_out < 1),
        (good, "good: a score from 0 to 1", 0 <= good <= 1),
        (concurrency, "concurrency: a whole number from 1", concurrency >= 1),
    ):
        if not is_right:
            msg = f"tune takes as {what}, not {given!r}"
            raise TuningError(msg)


def _mean(trials: Sequence[Trial]) -> float:
    return sum(trial.score for trial in trials) / len(trials)


def _signed(prompt: TunedPrompt | None, report: TuningReport, calls: int) -> TunedPrompt | None:
    """Return a prompt with where it comes from."""
    if prompt is None or report.validation_before is None or report.validation_after is None:
        return None
    provenance = Provenance(
        made=as_datetime(SystemClock.time()).replace(microsecond=0),
        flock=version("flock"),
        model=report.model,
        metric=report.metric,
        how=report.how,
        seed=report.seed,
        examples=report.examples,
        train=report.train,
        validation=report.validation,
        held_out=report.held_out,
        before=report.before,
        after=report.after,
        validation_before=report.validation_before,
        validation_after=report.validation_after,
        calls=calls,
    )
    return prompt.model_copy(update={"provenance": provenance})
