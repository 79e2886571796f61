"""Tuning with a model whose answers depend on its prompt: what is found, bounded, refused."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import Any

import dspy
import pytest

from flock import (
    Agent,
    ChatAnswer,
    ChatRequest,
    DSPyEngine,
    EngineError,
    EvalInputs,
    Flock,
    Guard,
    TuningError,
    TuningExample,
    TuningProgress,
    TuningReport,
    tune,
)
from flock.engines.dspy.tuned import Content
from flock.testing import ScriptedEngine
from tests.tickets import Route, Ticket, board, examples
from tests.unit.engines.dspy.tuning.routers import RULE, Router


def router() -> Agent:
    return board().get_agent("router")


async def tuned(model: Router, **options: Any) -> TuningReport:
    runs: list[TuningExample] = options.pop("runs", None) or examples()
    return await tune(options.pop("agent", None) or router(), runs, model=model, **options)


async def test_examples_are_found_that_help_also_on_what_was_held_out() -> None:
    report = await tuned(Router())

    assert report.before is not None
    assert report.after is not None
    assert report.before < 0.6
    assert report.after == 1.0
    assert report.is_worth_keeping
    assert report.prompt is not None
    assert report.prompt.instructions is None
    assert {c.payload["team"] for e in report.prompt.examples for c in e.outputs} >= {
        "cobalt",
        "jade",
    }
    assert report.train + report.validation + report.held_out == report.examples == 42


async def test_the_engine_uses_what_was_found() -> None:
    report = await tuned(Router())
    model = Router()
    flock = Flock()
    flock.agent("router").consumes(Ticket).publishes(Route).with_engines(
        DSPyEngine(model, tuned=report.prompt)
    )
    async with flock:
        [made] = await flock.arun("router", Ticket(text="Do you ship to Norway?"))
    assert made.as_model(Route).team == "jade"
    roles = [message["role"] for message in model.requests[0].messages]
    assert report.prompt is not None
    assert roles == ["system", *["user", "assistant"] * len(report.prompt.examples), "user"]


async def test_examples_that_are_shown_are_never_of_what_measures() -> None:
    model = Router()
    report = await tuned(model)
    assert report.prompt is not None
    shown = {e.inputs[0].payload["text"] for e in report.prompt.examples}
    asked = {
        request.messages[-1]["content"].split('"text":"')[1].split('"}')[0]
        for request in model.requests
    }
    assert not shown & asked
    assert len(asked) == report.validation + report.held_out


async def test_the_same_seed_finds_the_same_in_any_order() -> None:
    first = await tuned(Router(), seed=3)
    again = await tuned(Router(), seed=3, runs=examples()[::-1])
    other = await tuned(Router(), seed=4)
    assert first.prompt is not None
    assert again.prompt is not None
    assert first.candidates == again.candidates
    assert first.prompt.examples == again.prompt.examples
    assert first.prompt.examples != (other.prompt and other.prompt.examples)


async def test_instructions_are_rewritten_from_what_people_said() -> None:
    model = Router()
    report = await tuned(model, how="instructions", candidates=2)
    assert report.prompt is not None
    assert report.prompt.instructions == RULE
    assert report.prompt.examples == ()
    assert report.after == 1.0
    assert "Route the ticket to a team." in model.written[0]
    assert "Right would have been: Route:" in "".join(model.written)
    assert "This is for" in "".join(model.written)


async def test_instructions_are_rewritten_on_top_of_the_best_examples() -> None:
    report = await tuned(Router(), how="both", max_examples=1, candidates=6)
    assert report.prompt is not None
    assert report.prompt.instructions == RULE
    assert len(report.prompt.examples) == 1
    assert report.after == 1.0


async def test_bad_instructions_are_not_kept() -> None:
    report = await tuned(Router(written="Do as you like."), how="instructions", candidates=2)
    assert report.prompt is None
    assert not report.is_worth_keeping
    assert report.after is None
    assert report.validation_before == report.validation_after


async def test_nothing_of_dspy_is_left_configured() -> None:
    before: dict[str, Any] = dict(dspy.settings.config)
    await tuned(Router(), how="both", candidates=2)
    assert dict(dspy.settings.config) == before


async def test_calls_are_bounded_and_enough_are_kept_to_measure() -> None:
    model = Router()
    report = await tuned(model, max_calls=60)
    assert len(model.requests) <= 60
    assert report.usage.calls == len(model.requests)
    assert report.after is not None
    everything = await tuned(Router())
    assert everything.usage.calls <= 42 * 10


async def test_the_search_ends_when_the_calls_are_used_up() -> None:
    model = Router(written="no help")
    report = await tuned(model, how="instructions", candidates=50, max_calls=70)
    assert report.stopped == "the 70 model calls are used up"
    assert len(model.requests) <= 70


async def test_too_few_calls_are_refused_with_how_many_it_takes() -> None:
    model = Router()
    with pytest.raises(TuningError, match="at least 56 model calls are needed"):
        await tuned(model, max_calls=20)
    assert model.requests == []


async def test_money_is_bounded() -> None:
    model = Router()
    report = await tuned(model, max_usd=0.5)
    assert report.usage.usd is not None
    assert report.usage.usd <= 0.5
    assert report.stopped is not None
    assert "US dollars" in report.stopped


async def test_money_is_bounded_where_a_provider_tells_no_price() -> None:
    class Silent(Router):
        async def chat(self, request: ChatRequest, on_token: Any = None) -> ChatAnswer:
            answer = await super().chat(request, on_token)
            return replace(answer, usage=replace(answer.usage, usd=None))

    model = Silent()
    report = await tuned(model, max_usd=0.5)
    assert len(model.requests) <= 50
    assert report.stopped is not None
    assert "US dollars" in report.stopped


@pytest.mark.parametrize("action", ["redact", "block"])
async def test_the_agents_guards_look_through_what_it_is_tuned_with(action: Any) -> None:
    """A guard that is around a run kept nothing from the model and the file when it was tuned."""
    secret = "ann@example.com"
    runs = examples()
    for place in range(0, len(runs), 2):
        run, comment = runs[place], f"{secret} was wrong"
        text = f"{run.inputs[0].payload['text']} {secret}"
        given = (Content.of_model(Ticket(text=text)),)
        runs[place] = run.model_copy(update={"inputs": given, "comment": comment})
    model = Router()
    model.strip = " [EMAIL]"
    flock = board()
    agent = flock.get_agent("router")
    agent.utilities.append(Guard(action=action))
    report = await tuned(model, agent=agent, runs=runs, how="both", good=0.0)
    assert report.left_out == (0 if action == "redact" else 21)
    assert report.prompt is not None
    assert secret not in report.prompt.model_dump_json()
    assert secret not in repr(model.requests)
    assert ("[EMAIL]" in repr(model.requests)) == (action == "redact")


async def test_a_synchronous_metric_does_not_stop_the_loop() -> None:
    threads: set[str] = set()

    def metric(inputs: EvalInputs, output: Any, expected: Any) -> float:
        threads.add(threading.current_thread().name)
        return float(output == expected)

    await tuned(Router(), metric=metric)
    assert threading.current_thread().name not in threads
    assert threads


async def test_money_cannot_be_bounded_where_prices_are_not_known() -> None:
    with pytest.raises(TuningError, match="price of model 'router-model' is not known"):
        await tuned(Router(usd_per_call=None), max_usd=1.0)


@pytest.mark.parametrize("how", ["examples", "instructions"])
async def test_an_interrupt_keeps_the_best_so_far(how: Any) -> None:
    model, stop = Router(), asyncio.Event()
    best: list[float | None] = [None]

    def on_progress(progress: TuningProgress) -> None:
        first = best[0]
        if first is None:
            best[0] = progress.best
        elif progress.best is not None and progress.best > first:
            stop.set()

    report = await tuned(
        model, how=how, stop=stop, on_progress=on_progress, max_examples=1, candidates=20
    )
    assert report.stopped == "interrupted"
    assert report.prompt is not None
    assert report.is_worth_keeping
    assert report.after is None
    assert report.prompt.provenance is not None
    assert report.prompt.provenance.after is None


async def test_an_interrupt_before_anything_was_measured_finds_nothing() -> None:
    stop = asyncio.Event()
    stop.set()
    report = await tuned(Router(), stop=stop)
    assert (report.before, report.prompt, report.stopped) == (None, None, "interrupted")


@pytest.mark.parametrize("how", ["examples", "instructions"])
async def test_cancelling_it_leaves_no_task_and_no_thread_that_asks(how: Any) -> None:
    model = Router(written="no help")
    reached = asyncio.Event()
    model.on_chat = lambda number: reached.set() if number == 45 else None
    task = asyncio.create_task(tuned(model, how=how, candidates=50))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    asked = len(model.requests)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert len(model.requests) == asked


async def test_a_metric_scores_runs_without_feedback() -> None:
    def right(inputs: EvalInputs, output: Route, expected: Route | None) -> float:
        ticket = inputs.first_as(Ticket)
        assert ticket is not None
        assert expected is None
        words = ticket.text.lower()
        team = "jade" if "parcel" in words or "order" in words else "amber"
        return float(output.team == team)

    runs = [run.model_copy(update={"score": None, "corrected": None}) for run in examples()]
    with pytest.raises(TuningError, match=r"42 runs were left out: nobody said"):
        await tuned(Router(), runs=runs)
    report = await tuned(Router(), runs=runs, metric=right, how="instructions", candidates=2)
    assert report.metric.endswith("right")
    assert report.left_out == 0
    assert report.before is not None


async def test_a_metric_that_raises_is_reported_with_the_run() -> None:
    def broken(inputs: EvalInputs, output: Route, expected: Route) -> float:
        raise KeyError("colour")

    with pytest.raises(TuningError, match=r"broken' raised over run '.*KeyError\('colour'\)"):
        await tuned(Router(), metric=broken)


async def test_a_metric_that_raises_in_the_middle_of_rewriting_is_reported() -> None:
    calls = 0

    def tires(inputs: EvalInputs, output: Route, expected: Route) -> float:
        nonlocal calls
        calls += 1
        if calls > 30:
            raise OSError("enough")
        return float(output == expected)

    with pytest.raises(TuningError, match="enough"):
        await tuned(Router(), metric=tires, how="instructions")


@pytest.mark.parametrize("value", [1.5, -0.1, float("nan"), "good", None])
async def test_a_metric_returns_a_number_from_0_to_1(value: Any) -> None:
    def odd(inputs: EvalInputs, output: Route, expected: Route) -> Any:
        return value

    with pytest.raises(TuningError, match="return a number from 0 to 1"):
        await tuned(Router(), metric=odd)


async def test_a_metric_may_be_async() -> None:
    async def right(inputs: EvalInputs, output: Route, expected: Route) -> float:
        await asyncio.sleep(0)
        return float(output == expected)

    report = await tuned(Router(), metric=right, how="both", candidates=2, max_examples=1)
    assert report.after == 1.0


async def test_a_metric_that_tells_nothing_apart_is_refused() -> None:
    def same(inputs: EvalInputs, output: Route, expected: Route | None) -> float:
        return 0.5

    runs = [run.model_copy(update={"score": None, "corrected": None}) for run in examples()]
    with pytest.raises(TuningError, match=r"gives 0\.5 to every past run"):
        await tuned(Router(), runs=runs, metric=same)


async def test_a_perfect_prompt_is_left_alone() -> None:
    runs = [run for run in examples() if run.id.startswith("amber")]
    model = Router()
    report = await tuned(model, runs=runs)
    assert (report.before, report.validation_before, report.prompt) == (1.0, 1.0, None)
    assert len(model.requests) == report.held_out + report.validation


async def test_too_few_runs_are_refused() -> None:
    with pytest.raises(TuningError, match="there are 5 past runs to learn from, and at least 6"):
        await tuned(Router(), runs=examples()[:5])


async def test_no_runs_are_refused() -> None:
    with pytest.raises(TuningError, match="no past runs of agent 'router': run the board first"):
        await tune(router(), [], model=Router())


async def test_runs_of_another_agent_are_refused() -> None:
    runs = [run.model_copy(update={"agent": "clerk"}) for run in examples()]
    with pytest.raises(TuningError, match="is a run of agent 'clerk', not of 'router'"):
        await tuned(Router(), runs=runs)


async def test_nothing_done_right_is_refused_for_examples() -> None:
    def never(inputs: EvalInputs, output: Route, expected: Route | None) -> float:
        return len(inputs.artifacts[0].data) / 1000

    runs = [run.model_copy(update={"score": None, "corrected": None}) for run in examples()]
    with pytest.raises(TuningError, match="was done right: publish Feedback with corrections"):
        await tuned(Router(), runs=runs, metric=never)


def function_agent() -> Agent:
    flock = Flock()

    def route(ticket: Ticket) -> Route:
        return Route(team="amber")

    flock.agent("router").calls(route)
    return flock.get_agent("router")


def agent_with(*engines: Any) -> Agent:
    flock = Flock()
    flock.agent("router").consumes(Ticket).publishes(Route).with_engines(*engines)
    return flock.get_agent("router")


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        (function_agent(), "computed by a function, which has no prompt"),
        (agent_with(ScriptedEngine([])), "thinks with ScriptedEngine"),
        (agent_with(DSPyEngine("x/y"), DSPyEngine("x/y")), "split the chain"),
        (agent_with(DSPyEngine("x/y", enable_context=True)), "reads the history"),
    ],
    ids=["function", "engine", "chain", "history"],
)
async def test_agents_without_a_prompt_of_their_own_are_refused(agent: Agent, words: str) -> None:
    with pytest.raises(TuningError, match=words):
        await tune(agent, examples(), model=Router())


async def test_an_agent_with_several_output_groups_is_refused() -> None:
    flock = Flock()
    flock.agent("router").consumes(Ticket).publishes(Route).publishes(Route).with_engines(
        DSPyEngine("x/y")
    )
    with pytest.raises(TuningError, match="has 2 output groups"):
        await tune(flock.get_agent("router"), examples(), model=Router())


async def test_the_sampling_model_is_refused() -> None:
    with pytest.raises(TuningError, match="answers with samples whatever it is told"):
        await tune(agent_with(DSPyEngine("test")), examples())
    with pytest.raises(TuningError, match="the writer has the model 'test'"):
        await tune(router(), examples(), model=Router(), writer="test")


@pytest.mark.parametrize(
    "option",
    [
        {"how": "magic"},
        {"candidates": 0},
        {"max_examples": 0},
        {"max_calls": 0},
        {"held_out": 1.0},
        {"good": 2.0},
        {"concurrency": 0},
        {"metric": "accuracy"},
    ],
)
async def test_options_that_make_no_sense_are_refused(option: dict[str, Any]) -> None:
    with pytest.raises(TuningError, match="takes"):
        await tuned(Router(), **option)


async def test_a_model_that_cannot_be_asked_ends_it() -> None:
    class Broken(Router):
        async def chat(self, request: Any, on_token: Any = None) -> Any:
            raise EngineError("wrong key")

    with pytest.raises(EngineError, match="wrong key"):
        await tuned(Broken())
    with pytest.raises(EngineError, match="wrong key"):
        await tuned(Router(), writer=Broken(), how="instructions")


async def test_an_answer_that_stays_invalid_scores_nothing() -> None:
    class Mumbling(Router):
        async def chat(self, request: Any, on_token: Any = None) -> Any:
            answer = await Router.chat(self, request, on_token)
            if "parcel" in request.messages[-1]["content"]:
                return type(answer)("mumble", answer.usage)
            return answer

    agent = agent_with(DSPyEngine("x/y", repairs=0))
    report = await tuned(Mumbling(), agent=agent, how="instructions", candidates=2)
    assert report.validation_after is not None
    assert report.validation_after < 1.0
