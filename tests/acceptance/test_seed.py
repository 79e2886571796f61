"""Every code block of the guide "Async Patterns in Flock" that can run works as shown."""

# Agents are short lambdas here.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportOptionalMemberAccess=false

# The guide shows private names (agent._run_initialize, manager._batch_timeout_task, ...):
# pyright: reportPrivateUsage=false

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import BaseModel

import flock.core.agent
import flock.orchestrator.component_runner
import flock.orchestrator.scheduler
import flock.orchestrator.tracing
from flock import (
    Agent,
    Artifact,
    Context,
    EvalInputs,
    EvalResult,
    Flock,
    OrchestratorComponent,
)
from flock.orchestrator.lifecycle_manager import LifecycleManager

from .support import engine, spy, turns

logger = logging.getLogger("seed")


class Idea(BaseModel):
    text: str


class Pizza(BaseModel):
    text: str


class Review(BaseModel):
    text: str


def class_with(module: ModuleType, method: str) -> Any:
    """The class of a module that has the method the guide shows in that file."""
    found = [
        cls
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if cls.__module__ == module.__name__ and callable(getattr(cls, method, None))
    ]
    assert found, f"{module.__name__} has no class with {method}()"
    return found[0]


_exporter = InMemorySpanExporter()


@pytest.fixture
def spans() -> Callable[[], list[ReadableSpan]]:
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider()
        trace.set_tracer_provider(provider)
    if not getattr(provider, "_acceptance", False):
        provider.add_span_processor(SimpleSpanProcessor(_exporter))
        provider._acceptance = True  # pyright: ignore[reportAttributeAccessIssue]
    _exporter.clear()
    return lambda: list(_exporter.get_finished_spans())


# --- Pattern 1: sequential operations -----------------------------------------------------


async def test_core_agent_is_where_the_guide_says_and_has_the_steps_it_shows() -> None:
    assert flock.core.agent.Agent is Agent
    board = Flock()
    board.agent("cook").consumes(Idea).publishes(Pizza)
    agent = board.get_agent("cook")
    assert agent.name == "cook"
    for step in (
        "_resolve_engines",
        "_resolve_utilities",
        "_run_initialize",
        "_run_pre_consume",
        "_run_pre_evaluate",
        "_run_error",
        "_run_terminate",
    ):
        assert callable(getattr(agent, step)), step
    assert hasattr(agent, "_semaphore")


async def test_execute_runs_the_lifecycle_in_sequence_and_commits_nothing() -> None:
    log: list[str] = []
    async with Flock() as board:
        board.agent("cook").consumes(Idea).publishes(Pizza).with_utilities(
            spy("u", log)
        ).with_engines(
            engine(lambda inputs: Pizza(text=inputs.first_as(Idea).text), label="e", log=log)
        )
        agent = board.get_agent("cook")
        outputs = await agent.execute(
            Context(correlation_id="c1"), [Artifact.of(Idea(text="hawaii"))]
        )
        assert [output.as_model(Pizza) for output in outputs] == [Pizza(text="hawaii")]
        assert await board.store.list() == []
        assert log == [
            "u.on_initialize",
            "e.on_initialize",
            "u.on_pre_consume",
            "u.on_pre_evaluate",
            "e.on_pre_evaluate",
            "e.evaluate",
            "e.on_post_evaluate",
            "u.on_post_evaluate",
            *log[8:],
        ]
        assert "u.on_post_publish" not in log
        assert sorted(log[8:]) == ["e.on_terminate", "u.on_terminate"]


async def test_execute_runs_on_error_then_on_terminate_and_raises_what_was_raised() -> None:
    log: list[str] = []

    def broken(_: EvalInputs) -> None:
        message = "no oven"
        raise KeyError(message)

    async with Flock() as board:
        board.agent("cook").consumes(Idea).publishes(Pizza).with_utilities(
            spy("u", log)
        ).with_engines(engine(broken))
        with pytest.raises(KeyError, match="no oven"):
            await board.get_agent("cook").execute(Context(), [Artifact.of(Idea(text="x"))])
        assert log[-2:] == ["u.on_error", "u.on_terminate"]
        assert log.count("u.on_terminate") == 1


async def test_a_chain_accumulates_logs_metrics_and_state_and_feeds_each_engine_the_last() -> None:
    seen: list[str] = []

    def first(inputs: EvalInputs) -> EvalResult:
        return EvalResult(
            artifacts=[Artifact.of(Review(text="mid"))],
            state={"first": 1, "both": "first"},
            metrics={"tokens": 1.0, "a": 1.0},
            logs=["one"],
        )

    def second(inputs: EvalInputs) -> EvalResult:
        seen.append(inputs.first_as(Review).text)
        seen.append(str(inputs.state["first"]))
        return EvalResult(
            artifacts=[Artifact.of(Pizza(text="end"))],
            state={"both": "second"},
            metrics={"tokens": 2.0},
            logs=["two"],
        )

    async with Flock() as board:
        board.agent("cook").consumes(Idea).publishes(Pizza).with_engines(
            engine(first, label="first"), engine(second, label="second", order=1)
        )
        result = await board.get_agent("cook").evaluate(
            EvalInputs(artifacts=[Artifact.of(Idea(text="x"))], state={"given": True})
        )
    assert seen == ["mid", "1"]
    assert result.logs == ["one", "two"]
    assert result.metrics == {"tokens": 2.0, "a": 1.0}
    assert dict(result.state) == {"given": True, "first": 1, "both": "second"}
    assert [a.as_model(Pizza).text for a in result.artifacts] == ["end"]


# --- Pattern 2: parallel operations -------------------------------------------------------


async def test_the_scheduler_has_schedule_task_and_hands_out_tracked_tasks() -> None:
    class_with(flock.orchestrator.scheduler, "schedule_task")
    tasks: list[Any] = []

    class Watch(OrchestratorComponent):
        name: str | None = "watch"

        async def on_agent_scheduled(
            self, orchestrator: Any, agent: Agent, artifacts: list[Artifact], task: Any
        ) -> None:
            tasks.append(task)

    async def cook(idea: Idea) -> Pizza:
        return Pizza(text=idea.text)

    board = Flock()
    board.add_component(Watch())
    async with board:
        board.agent("cook").calls(cook)
        await board.publish_many([Idea(text=str(n)) for n in range(5)])
        await board.run_until_idle()
        await turns()
        assert len(tasks) == 5
        assert all(isinstance(task, asyncio.Task) and task.done() for task in tasks)


async def test_best_of_n_runs_all_candidates_in_parallel_and_takes_the_best() -> None:
    arrived = 0
    everybody = asyncio.Event()

    async def cook(idea: Idea) -> Pizza:
        nonlocal arrived
        arrived += 1
        mine = arrived
        if arrived == 3:
            everybody.set()
        await everybody.wait()  # hangs unless all three run at once
        return Pizza(text="x" * mine)

    async with Flock() as board:
        board.agent("cook").calls(cook).best_of(
            3, score=lambda result: len(result.artifacts[0].as_model(Pizza).text)
        )
        (best,) = await board.arun("cook", Idea(text="i"))
        assert best.as_model(Pizza).text == "xxx"


async def test_gather_over_arun_returns_results_and_individual_failures() -> None:
    async def cook(idea: Idea) -> Pizza:
        if idea.text == "bad":
            raise ValueError(idea.text)
        return Pizza(text=idea.text)

    async with Flock() as board:
        agent = board.agent("cook").calls(cook)
        results = await asyncio.gather(
            *(board.arun(agent, Idea(text=text)) for text in ("a", "bad", "c")),
            return_exceptions=True,
        )
        assert isinstance(results[1], ValueError)
        good = [r for r in results if not isinstance(r, BaseException)]
        assert [r[0].as_model(Pizza).text for r in good] == ["a", "c"]


# --- Pattern 3: background tasks ----------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "attribute"),
    [
        ("start_batch_timeout_checker", "_batch_timeout_task"),
        ("start_correlation_cleanup", "_correlation_cleanup_task"),
    ],
)
async def test_the_lifecycle_manager_starts_its_task_once_and_awaits_it_at_shutdown(
    start: str, attribute: str
) -> None:
    manager = LifecycleManager()
    assert getattr(manager, attribute) is None
    await getattr(manager, start)()
    task = getattr(manager, attribute)
    assert isinstance(task, asyncio.Task)
    await getattr(manager, start)()
    assert getattr(manager, attribute) is task
    await turns(5)
    assert not task.done()
    await manager.shutdown()
    assert task.done()
    assert getattr(manager, attribute) is None
    await manager.shutdown()  # twice does no harm


async def test_the_lifecycle_manager_shuts_down_both_tasks_and_can_start_again() -> None:
    before = asyncio.all_tasks()
    manager = LifecycleManager()
    for _ in range(2):
        await manager.start_batch_timeout_checker()
        await manager.start_correlation_cleanup()
        await manager.shutdown()
        assert asyncio.all_tasks() == before


# --- Pattern 4: async context managers ----------------------------------------------------


async def test_traced_run_is_one_span_around_everything_inside(
    spans: Callable[[], list[ReadableSpan]],
) -> None:
    async def cook(idea: Idea) -> Pizza:
        return Pizza(text=idea.text)

    async with Flock() as board:
        board.agent("cook").calls(cook)
        async with board.traced_run("pizza_workflow") as span:
            assert span.is_recording()
            await board.publish(Idea(text="x"))
            await board.run_until_idle()
        assert not span.is_recording()
    finished = spans()
    (workflow,) = [s for s in finished if s.name == "pizza_workflow"]
    assert workflow.attributes is not None
    assert workflow.attributes["flock.workflow"] == "pizza_workflow"
    assert workflow.attributes["flock.orchestrator_id"]
    context = workflow.get_span_context()
    assert context is not None
    for other in finished:
        inner = other.get_span_context()
        assert inner is not None
        assert inner.trace_id == context.trace_id, f"{other.name} lies outside of the workflow"


async def test_traced_run_is_called_workflow_unless_named_and_ends_on_an_error(
    spans: Callable[[], list[ReadableSpan]],
) -> None:
    async with Flock() as board:
        with pytest.raises(LookupError):
            async with board.traced_run():
                raise LookupError
    (span,) = [s for s in spans() if s.name == "workflow"]
    assert span.end_time is not None


async def test_the_class_in_tracing_py_works_as_shown(
    spans: Callable[[], list[ReadableSpan]],
) -> None:
    tracing = class_with(flock.orchestrator.tracing, "traced_run")()
    async with tracing.traced_run("w") as span:
        assert tracing.current_workflow_span is span
    assert tracing.current_workflow_span is None
    async with tracing.traced_run("v", flock_id="f1"):
        pass
    attributes = {s.name: dict(s.attributes or {}) for s in spans()}
    assert attributes == {
        "w": {"flock.workflow": "w", "flock.orchestrator_id": "unknown"},
        "v": {"flock.workflow": "v", "flock.orchestrator_id": "f1"},
    }


async def test_execute_holds_the_agents_semaphore() -> None:
    active = 0
    peak = 0

    async def cook(idea: Idea) -> Pizza:
        nonlocal active, peak
        active += 1
        peak = max(peak, active)
        await turns(5)
        active -= 1
        return Pizza(text=idea.text)

    async with Flock() as board:
        board.agent("cook").calls(cook).max_concurrency(2)
        agent = board.get_agent("cook")
        await asyncio.gather(
            *(agent.execute(Context(), [Artifact.of(Idea(text=str(n)))]) for n in range(6))
        )
    assert peak == 2


@asynccontextmanager
async def agent_execution_context(agent: Agent, ctx: Context) -> AsyncGenerator[Agent, None]:
    """Context manager for agent execution lifecycle."""
    # Setup
    await agent._run_initialize(ctx)
    logger.info("Agent %s initialized", agent.name)

    try:
        yield agent
    except Exception as exc:
        # Error handling
        await agent._run_error(ctx, exc)
        raise
    finally:
        # Cleanup (always runs)
        await agent._run_terminate(ctx)
        logger.info("Agent %s terminated", agent.name)


async def test_an_agent_can_be_used_in_the_guides_execution_context() -> None:
    log: list[str] = []
    async with Flock() as board:
        board.agent("cook").consumes(Idea).publishes(Pizza).with_utilities(
            spy("u", log)
        ).with_engines(engine(lambda _: Pizza(text="done"), label="e", log=log))
        inputs = EvalInputs(artifacts=[Artifact.of(Idea(text="x"))], state={})
        async with agent_execution_context(board.get_agent("cook"), Context()) as agent:
            result = await agent.evaluate(inputs)
        assert [a.as_model(Pizza).text for a in result.artifacts] == ["done"]
        assert log[0] == "u.on_initialize"
        assert "e.evaluate" in log
        assert log.count("u.on_terminate") == 1
        assert "u.on_pre_consume" not in log

        log.clear()
        with pytest.raises(ZeroDivisionError):
            async with agent_execution_context(board.get_agent("cook"), Context()):
                raise ZeroDivisionError
        assert log.index("u.on_error") < log.index("u.on_terminate")


# --- Pattern 5: async iteration -----------------------------------------------------------


async def test_run_hook_yields_each_result_logs_a_failing_hook_and_runs_the_next(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls: list[str] = []

    class Good(OrchestratorComponent):
        name: str | None = "good"

        async def on_idle(self, orchestrator: Any) -> None:
            calls.append("good")

    class Bad(OrchestratorComponent):
        name: str | None = "bad"

        async def on_idle(self, orchestrator: Any) -> None:
            message = "bad luck"
            raise RuntimeError(message)

    class Last(OrchestratorComponent):
        name: str | None = "last"

        async def on_idle(self, orchestrator: Any) -> None:
            calls.append("last")

    runner = class_with(flock.orchestrator.component_runner, "run_hook")([Good(), Bad(), Last()])
    orchestrator = Flock()
    yielded: list[str | None] = []
    async for component, result in runner.run_hook("on_idle", orchestrator):
        logger.info("Component %s idle result: %s", component.name, result)
        yielded.append(component.name)
    assert yielded == ["good", "last"]
    assert calls == ["good", "last"]
    (record,) = [r for r in caplog.records if "Component hook failed" in r.getMessage()]
    assert "bad" in record.getMessage()
    assert "on_idle" in record.getMessage()
    assert record.exc_info is not None


async def test_run_hook_passes_over_components_without_that_hook() -> None:
    class Silent(OrchestratorComponent):
        name: str | None = "silent"

    runner = class_with(flock.orchestrator.component_runner, "run_hook")([Silent()])
    async for _, result in runner.run_hook("no_such_hook"):
        pytest.fail(f"nothing to run, but got {result!r}")


async def stream_agent_outputs(agent: Agent, inputs: list[Artifact]) -> AsyncIterator[Artifact]:
    """Stream outputs as they're generated."""
    async for output in agent.execute_streaming(inputs):
        # Process each output immediately
        logger.info("Got output: %s", output.type)
        yield output
        # Could publish immediately for real-time cascade


async def test_outputs_can_be_streamed_and_published_one_by_one() -> None:
    reviewed: list[str] = []
    may_go_on = asyncio.Event()

    async def cook(idea: Idea) -> AsyncIterator[Pizza]:
        yield Pizza(text="first")
        await may_go_on.wait()
        yield Pizza(text="second")

    async def review(pizza: Pizza) -> None:
        reviewed.append(pizza.text)
        may_go_on.set()

    async with Flock() as orchestrator:
        orchestrator.agent("cook").calls(cook)
        orchestrator.agent("reviewer").consumes(Pizza).calls(review)
        agent = orchestrator.get_agent("cook")
        inputs = [Artifact.of(Idea(text="x"))]
        seen: list[str] = []
        async for artifact in stream_agent_outputs(agent, inputs):
            seen.append(artifact.as_model(Pizza).text)
            assert len(await orchestrator.store.get_by_type(Pizza)) == len(seen) - 1
            await orchestrator.publish(artifact)
        await orchestrator.run_until_idle()
        assert seen == ["first", "second"]
        assert reviewed == ["first", "second"]
        assert [p.text for p in await orchestrator.store.get_by_type(Pizza)] == seen


async def test_streaming_cleans_up_when_the_consumer_breaks_early() -> None:
    cleaned: list[str] = []
    log: list[str] = []

    async def cook(idea: Idea) -> AsyncIterator[Pizza]:
        try:
            yield Pizza(text="first")
            yield Pizza(text="second")
        finally:
            cleaned.append("closed")

    async with Flock() as orchestrator:
        orchestrator.agent("cook").calls(cook).with_utilities(spy("u", log))
        stream: Any = orchestrator.get_agent("cook").execute_streaming(
            [Artifact.of(Idea(text="x"))]
        )
        async for _ in stream:
            break
        await stream.aclose()
        await turns()
        assert cleaned == ["closed"]
        assert log[-1] == "u.on_terminate"


# --- Pattern 6: task groups ---------------------------------------------------------------


async def test_agents_run_in_a_task_group() -> None:
    async def cook(idea: Idea) -> Pizza:
        return Pizza(text=idea.text)

    async with Flock() as board:
        agents = [board.agent(f"cook{n}").calls(cook) for n in range(3)]
        async with asyncio.TaskGroup() as tg:
            tasks = [tg.create_task(board.arun(a, Idea(text="x"))) for a in agents]
        results = [t.result() for t in tasks]
        assert [len(r) for r in results] == [1, 1, 1]
