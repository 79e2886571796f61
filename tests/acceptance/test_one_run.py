"""One run: hooks in order, failures that neither hide nor stop the board, no leaks."""

# Agents are short lambdas here.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportOptionalMemberAccess=false

import asyncio
import gc
import logging
import threading
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from flock import (
    Agent,
    AgentComponent,
    Artifact,
    BatchSpec,
    Context,
    EngineComponent,
    EvalInputs,
    EvalResult,
    Flock,
    JoinSpec,
    OrchestratorComponent,
    PrivateVisibility,
    PublicVisibility,
    RunEmitted,
    RunFailed,
    RunRetrying,
    ScheduleDecision,
    TenantVisibility,
    WorkflowError,
)
from flock.testing import ManualClock

from .support import drain, engine, ids, spy, turns, until


class Order(BaseModel):
    number: int = 0


class Parcel(BaseModel):
    number: int = 0


class Letter(BaseModel):
    number: int = 0


class Probe(BaseModel):
    """Published after a failure: the board still works."""


async def pack(order: Order) -> Parcel:
    return Parcel(number=order.number)


class Watched:
    """A board with one more agent that shows that the board goes on."""

    def __init__(self, **options: Any) -> None:
        self.board = Flock(**options)
        self.probes = 0

        def probe(_: Probe) -> None:
            self.probes += 1

        self.board.agent("probe").calls(probe)

    async def goes_on(self) -> None:
        before = self.probes
        await self.board.publish(Probe())
        await self.board.run_until_idle()
        assert self.probes == before + 1, "the board has stopped"

    async def fails(self, agent: str, error_type: str | None = None) -> None:
        """One run of `agent` has failed, visibly, its input is kept, and the board goes on."""
        await self.board.run_until_idle()
        (letter,) = await self.board.dead_letters()
        assert letter.agent == agent
        assert len(letter.artifacts) >= 1
        if error_type is not None:
            assert letter.error_type == error_type
        (error,) = await self.board.store.get_by_type(WorkflowError)
        assert error.failed_agent == agent
        assert error.error_type == letter.error_type
        await self.goes_on()


# --- Order of hooks -----------------------------------------------------------------------


async def test_hooks_run_in_the_promised_order_by_ascending_priority() -> None:
    log: list[str] = []
    async with Flock() as board:
        board.agent("work").consumes(Order).publishes(Parcel).with_utilities(
            spy("u9", log, order=9), spy("u1", log, order=1)
        ).with_engines(
            engine(lambda _: Parcel(), label="e5", log=log, order=5),
            engine(lambda _: Letter(), label="e0", log=log, order=0),
        )
        await board.publish(Order())
        report = await board.run_until_idle()
        assert report.failed == 0
    utilities = [entry for entry in log if entry.startswith("u")]
    assert utilities == [
        "u1.on_initialize",
        "u9.on_initialize",
        "u1.on_pre_consume",
        "u9.on_pre_consume",
        "u1.on_pre_evaluate",
        "u9.on_pre_evaluate",
        "u1.on_post_evaluate",
        "u9.on_post_evaluate",
        "u1.on_post_publish",
        "u9.on_post_publish",
        "u1.on_terminate",
        "u9.on_terminate",
    ]
    chain = [
        "e0.on_pre_evaluate",
        "e0.evaluate",
        "e0.on_post_evaluate",
        "e5.on_pre_evaluate",
        "e5.evaluate",
        "e5.on_post_evaluate",
    ]
    assert [entry for entry in log if entry in chain] == chain
    assert log.index("u9.on_pre_evaluate") < log.index("e0.on_pre_evaluate")
    assert log.index("e5.on_post_evaluate") < log.index("u1.on_post_evaluate")
    assert log.index("e5.on_initialize") < log.index("u1.on_pre_consume")
    assert log[-1].endswith("on_terminate")


async def test_hooks_change_what_goes_on() -> None:
    class Changing(AgentComponent):
        name: str | None = "changing"

        async def on_pre_consume(
            self, agent: Agent, ctx: Context, inputs: list[Artifact]
        ) -> list[Artifact]:
            return [a.replace(Order(number=a.as_model(Order).number + 1)) for a in inputs]

        async def on_pre_evaluate(
            self, agent: Agent, ctx: Context, inputs: EvalInputs
        ) -> EvalInputs:
            return EvalInputs(artifacts=inputs.artifacts, state={**inputs.state, "seen": 10})

        async def on_post_evaluate(
            self, agent: Agent, ctx: Context, inputs: EvalInputs, result: EvalResult
        ) -> EvalResult:
            first = result.artifacts[0].as_model(Parcel)
            return EvalResult.from_object(Parcel(number=first.number + 100))

    async with Flock() as board:
        board.agent("work").consumes(Order).publishes(Parcel).with_utilities(
            Changing()
        ).with_engines(
            engine(
                lambda inputs: Parcel(
                    number=inputs.first_as(Order).number + int(inputs.state["seen"])
                )
            )
        )
        order = await board.publish(Order(number=1))
        await board.run_until_idle()
        (parcel,) = await board.store.list_by_type(Parcel)
        assert parcel.as_model(Parcel).number == 112
        assert list(parcel.parents) == [order.id]


async def test_on_post_publish_comes_once_per_committed_output() -> None:
    seen: list[Any] = []

    class After(AgentComponent):
        name: str | None = "after"

        async def on_post_publish(self, agent: Agent, ctx: Context, artifact: Artifact) -> None:
            assert await board.store.get(artifact.id) is not None
            seen.append(artifact.id)

    async with Flock() as board:
        board.agent("work").consumes(Order).publishes(Parcel, fan_out=3).with_utilities(
            After()
        ).with_engines(engine(lambda _: [Parcel(number=n) for n in range(3)]))
        await board.publish(Order())
        await board.run_until_idle()
        assert seen == ids(await board.store.list_by_type(Parcel))
        assert len(seen) == 3


async def test_hooks_of_the_board_run_around_a_run() -> None:
    log: list[str] = []

    class Watch(OrchestratorComponent):
        name: str | None = "watch"

        async def on_initialize(self, orchestrator: Any) -> None:
            log.append("initialize")

        async def on_artifact_published(
            self, orchestrator: Any, artifact: Artifact
        ) -> Artifact | None:
            log.append(f"published {artifact.type.rsplit('.', 1)[-1]}")
            return artifact

        async def on_before_schedule(
            self, orchestrator: Any, artifact: Artifact, agent: Agent, subscription: Any
        ) -> ScheduleDecision:
            log.append("before_schedule")
            return ScheduleDecision.CONTINUE

        async def on_collect_artifacts(
            self, orchestrator: Any, artifact: Artifact, agent: Agent, subscription: Any
        ) -> None:
            log.append("collect")

        async def on_before_agent_schedule(
            self, orchestrator: Any, agent: Agent, artifacts: list[Artifact]
        ) -> list[Artifact] | None:
            log.append("before_agent_schedule")
            return artifacts

        async def on_agent_scheduled(
            self, orchestrator: Any, agent: Agent, artifacts: list[Artifact], task: Any
        ) -> None:
            log.append("agent_scheduled")

        async def on_idle(self, orchestrator: Any) -> None:
            log.append("idle")

        async def on_shutdown(self, orchestrator: Any) -> None:
            log.append("shutdown")

    board = Flock()
    board.add_component(Watch())
    async with board:
        board.agent("work").calls(pack)
        await board.publish(Order())
        await board.run_until_idle()
    once = [entry for entry in log if entry != "idle"]
    assert once == [
        "initialize",
        "published Order",
        "before_schedule",
        "collect",
        "before_agent_schedule",
        "agent_scheduled",
        "published Parcel",
        "shutdown",
    ]
    assert "idle" in log[7:]


async def test_components_of_the_board_run_by_ascending_priority() -> None:
    log: list[str] = []

    def component(label: str, order: int) -> OrchestratorComponent:
        class One(OrchestratorComponent):
            name: str | None = label
            priority: int = order

            async def on_artifact_published(
                self, orchestrator: Any, artifact: Artifact
            ) -> Artifact | None:
                log.append(label)
                return artifact

        return One()

    board = Flock()
    board.add_component(component("last", 5))
    board.add_component(component("first", -5))
    board.add_component(component("middle", 0))
    async with board:
        await board.publish(Order())
        assert log == ["first", "middle", "last"]


# --- One test for each place where user code is called and fails ----------------------------


class Nasty(Exception):
    def __str__(self) -> str:
        raise ValueError("not even a message")

    __repr__ = __str__


def raising(error: Callable[[], BaseException]) -> Any:
    async def work(order: Order) -> Parcel:
        raise error()

    return work


def raising_in_a_thread(error: Callable[[], BaseException]) -> Any:
    def work(order: Order) -> Parcel:
        raise error()

    return work


def raising_generator(error: Callable[[], BaseException]) -> Any:
    async def work(order: Order) -> AsyncIterator[Parcel]:
        raise error()
        yield Parcel()

    return work


ERRORS: list[Callable[[], BaseException]] = [
    lambda: ValueError("plain"),
    lambda: StopIteration("stop"),
    lambda: StopAsyncIteration("stop"),
    lambda: SystemExit(3),
    lambda: asyncio.CancelledError("by itself"),
    lambda: TimeoutError("mine"),
    lambda: ExceptionGroup("several", [ValueError(1), KeyError(2)]),
    lambda: BaseExceptionGroup("worse", [ValueError(1), SystemExit(2)]),
    lambda: GeneratorExit("odd"),
    lambda: RecursionError("deep"),
    lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "\udcff"),
    lambda: ValueError("lone surrogate \udcff and \x00"),
    lambda: ValueError("x" * 1_000_000),
    lambda: Nasty(),
]


@pytest.mark.parametrize("make", [raising, raising_in_a_thread, raising_generator])
@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e()).__name__)
async def test_whatever_an_agent_raises_is_a_failed_run(
    make: Callable[..., Any], error: Callable[[], BaseException]
) -> None:
    watched = Watched()
    async with watched.board as board:
        board.agent("bad").calls(make(error))
        order = await board.publish(Order())
        await watched.fails("bad")
        (letter,) = await board.dead_letters()
        assert ids(letter.artifacts) == [order.id]


@pytest.mark.parametrize("error", ERRORS[:8], ids=lambda e: type(e()).__name__)
async def test_whatever_an_engine_raises_is_a_failed_run(
    error: Callable[[], BaseException],
) -> None:
    def answer(_: EvalInputs) -> None:
        raise error()

    watched = Watched()
    async with watched.board as board:
        board.agent("bad").consumes(Order).publishes(Parcel).with_engines(engine(answer))
        await board.publish(Order())
        await watched.fails("bad")


@pytest.mark.parametrize("rubbish", [42, "text", object(), [1, 2], {"a": 1}])
async def test_an_engine_that_answers_rubbish_has_failed(rubbish: Any) -> None:
    watched = Watched()
    async with watched.board as board:
        board.agent("bad").consumes(Order).publishes(Parcel).with_engines(engine(lambda _: rubbish))
        await board.publish(Order())
        await watched.fails("bad")


@pytest.mark.parametrize(
    "hook", ["on_initialize", "on_pre_consume", "on_pre_evaluate", "on_post_evaluate"]
)
async def test_a_raising_hook_of_a_utility_fails_the_run(hook: str) -> None:
    log: list[str] = []
    watched = Watched()
    async with watched.board as board:
        board.agent("bad").calls(pack).with_utilities(spy("u", log, failing=hook))
        await board.publish(Order())
        await watched.fails("bad", "RuntimeError")
        assert await board.store.get_by_type(Parcel) == []
        assert log[-1] == "u.on_terminate"
        assert "u.on_error" in log


@pytest.mark.parametrize(
    "hook", ["on_initialize", "on_pre_evaluate", "evaluate", "on_post_evaluate"]
)
async def test_a_raising_hook_of_an_engine_fails_the_run(hook: str) -> None:
    watched = Watched()
    async with watched.board as board:
        board.agent("bad").consumes(Order).publishes(Parcel).with_engines(
            engine(lambda _: Parcel(), failing=hook)
        )
        await board.publish(Order())
        await watched.fails("bad", "RuntimeError")
        assert await board.store.get_by_type(Parcel) == []


async def test_a_raising_on_post_publish_is_logged_and_the_next_runs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log: list[str] = []
    watched = Watched()
    async with watched.board as board:
        board.agent("work").calls(pack).with_utilities(
            spy("breaks", log, failing="on_post_publish"), spy("second", log, order=1)
        )
        await board.publish(Order())
        report = await board.run_until_idle()
        assert report.failed == 0
        assert len(await board.store.get_by_type(Parcel)) == 1
        assert "second.on_post_publish" in log
        assert_logged(caplog, "breaks", "on_post_publish")
        await watched.goes_on()


async def test_a_raising_on_error_hides_neither_the_error_nor_itself(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log: list[str] = []
    watched = Watched()
    async with watched.board as board:
        board.agent("bad").calls(raising(lambda: ZeroDivisionError("first"))).with_utilities(
            spy("breaks", log, failing="on_error"), spy("second", log, order=1)
        )
        await board.publish(Order())
        await watched.fails("bad", "ZeroDivisionError")
        assert log[-1].endswith("on_terminate")
        assert "breaks.on_terminate" in log
        assert_logged(caplog, "breaks", "on_error")


async def test_a_raising_on_terminate_neither_hides_nor_stops_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log: list[str] = []
    watched = Watched()
    async with watched.board as board:
        board.agent("work").calls(pack).max_concurrency(1).with_utilities(
            spy("breaks", log, failing="on_terminate"), spy("second", log, order=1)
        )
        await board.publish(Order(number=1))
        await board.publish(Order(number=2))
        await board.run_until_idle()
        assert log.count("second.on_terminate") == 2
        assert_logged(caplog, "breaks", "on_terminate")
        await watched.goes_on()


def assert_logged(caplog: pytest.LogCaptureFixture, *words: str) -> None:
    messages = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert any(all(word in message for word in words) for message in messages), messages


async def test_a_raising_predicate_is_logged_and_is_no_match(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def explosive(order: Order) -> bool:
        if order.number == 1:
            raise LookupError
        return True

    ran: list[int] = []
    watched = Watched()
    async with watched.board as board:
        board.agent("picky").consumes(Order, where=explosive).calls(lambda o: ran.append(o.number))
        board.agent("other").consumes(Order).calls(lambda o: ran.append(o.number + 100))
        await board.publish_many([Order(number=1), Order(number=2)])
        report = await board.run_until_idle()
        assert sorted(ran) == [2, 101, 102]
        assert (report.failed, report.waiting) == (0, 0)
        assert_logged(caplog, "picky", "explosive")
        await watched.goes_on()


async def test_a_raising_group_predicate_is_logged_and_does_not_stop_the_gate(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def explosive(order: Order, letter: Letter) -> bool:
        if order.number == 1:
            raise LookupError
        return True

    ran: list[int] = []
    watched = Watched()
    async with watched.board as board:
        board.agent("picky").consumes(Order, Letter, where=explosive).calls(
            lambda models: ran.append(models[0].number)
        )
        for n in (1, 2):
            await board.publish_many([Order(number=n), Letter(number=n)], correlation_id="w")
            await board.run_until_idle()
        assert ran == [2]
        assert_logged(caplog, "picky", "explosive")
        await watched.goes_on()


@pytest.mark.parametrize("answer", ["", 0, None, [], "yes", 1])
async def test_a_predicate_may_answer_anything_true_or_false(answer: Any) -> None:
    ran: list[int] = []
    async with Flock() as board:
        board.agent("a").consumes(Order, where=lambda o: answer).calls(lambda o: ran.append(1))
        await board.publish(Order())
        await board.run_until_idle()
        assert ran == ([1] if answer else [])


@pytest.mark.parametrize("word", ["where", "validate"])
async def test_a_raising_predicate_on_outputs_fails_the_run(word: str) -> None:
    def explosive(parcel: Parcel) -> bool:
        raise LookupError

    watched = Watched()
    async with watched.board as board:
        board.agent("bad").consumes(Order).publishes(Parcel, **{word: explosive}).with_engines(  # pyright: ignore[reportArgumentType, reportCallIssue]
            engine(lambda _: Parcel())
        )
        await board.publish(Order())
        await board.run_until_idle()
        await watched.fails("bad")
        assert await board.store.get_by_type(Parcel) == []


@pytest.mark.parametrize("score", [lambda r: 1 / 0, lambda r: "text", lambda r: None])
async def test_a_raising_or_senseless_scorer_does_not_hide(score: Any) -> None:
    calls = 0

    def answer(_: EvalInputs) -> Parcel:
        nonlocal calls
        calls += 1
        return Parcel(number=calls)

    watched = Watched()
    async with watched.board as board:
        board.agent("bad").consumes(Order).publishes(Parcel).with_engines(engine(answer)).best_of(
            3, score=score
        )
        await board.publish(Order())
        await board.run_until_idle()
        if not await board.store.get_by_type(Parcel):
            await watched.fails("bad")
        await watched.goes_on()


async def test_a_raising_context_provider_fails_the_run() -> None:
    async def provider(request: Any) -> list[Artifact]:
        raise LookupError

    watched = Watched()
    async with watched.board as board:
        board.agent("bad").consumes(Order).publishes(Parcel).with_engines(
            engine(lambda _: Parcel(), context=True)
        ).with_context(provider)
        await board.publish(Order())
        await watched.fails("bad", "LookupError")


async def test_a_raising_key_function_never_hides_the_artifact() -> None:
    def by(model: Any) -> Any:
        raise LookupError

    watched = Watched()
    async with watched.board as board:
        board.agent("bad").consumes(
            Order, Letter, join=JoinSpec(by=by, within=timedelta(minutes=1))
        ).calls(lambda models: None)
        await board.publish(Order())
        await board.run_until_idle()
        (letter,) = await board.dead_letters()
        assert letter.agent == "bad"
        assert letter.error_type == "LookupError"
        await watched.goes_on()


class Hooked(OrchestratorComponent):
    """Fails in one hook, for artifacts and agents that are called bad."""

    name: str | None = "hooked"

    def __init__(self, hook: str) -> None:
        super().__init__()
        self.__dict__["hook"] = hook

    def maybe(self, hook: str) -> None:
        if self.__dict__["hook"] == hook:
            raise RuntimeError(hook)

    async def on_initialize(self, orchestrator: Any) -> None:
        self.maybe("on_initialize")

    async def on_artifact_published(self, orchestrator: Any, artifact: Artifact) -> Artifact | None:
        if "bad" in artifact.tags:
            self.maybe("on_artifact_published")
        return artifact

    async def on_before_schedule(
        self, orchestrator: Any, artifact: Artifact, agent: Agent, subscription: Any
    ) -> ScheduleDecision:
        if agent.name == "bad":
            self.maybe("on_before_schedule")
        return ScheduleDecision.CONTINUE

    async def on_collect_artifacts(
        self, orchestrator: Any, artifact: Artifact, agent: Agent, subscription: Any
    ) -> None:
        if agent.name == "bad":
            self.maybe("on_collect_artifacts")

    async def on_before_agent_schedule(
        self, orchestrator: Any, agent: Agent, artifacts: list[Artifact]
    ) -> list[Artifact] | None:
        if agent.name == "bad":
            self.maybe("on_before_agent_schedule")
        return artifacts

    async def on_agent_scheduled(
        self, orchestrator: Any, agent: Agent, artifacts: list[Artifact], task: Any
    ) -> None:
        self.maybe("on_agent_scheduled")

    async def on_idle(self, orchestrator: Any) -> None:
        self.maybe("on_idle")

    async def on_shutdown(self, orchestrator: Any) -> None:
        self.maybe("on_shutdown")


class Second(OrchestratorComponent):
    name: str | None = "second"
    priority: int = 9

    def __init__(self, log: list[str]) -> None:
        super().__init__()
        self.__dict__["log"] = log

    async def on_agent_scheduled(
        self, orchestrator: Any, agent: Agent, artifacts: list[Artifact], task: Any
    ) -> None:
        self.__dict__["log"].append("on_agent_scheduled")

    async def on_idle(self, orchestrator: Any) -> None:
        self.__dict__["log"].append("on_idle")

    async def on_shutdown(self, orchestrator: Any) -> None:
        self.__dict__["log"].append("on_shutdown")


@pytest.mark.parametrize("hook", ["on_agent_scheduled", "on_idle", "on_shutdown"])
async def test_a_raising_hook_of_the_board_that_only_watches_is_logged_and_the_next_runs(
    hook: str, caplog: pytest.LogCaptureFixture
) -> None:
    log: list[str] = []
    watched = Watched()
    watched.board.add_component(Hooked(hook))
    watched.board.add_component(Second(log))
    async with watched.board as board:
        board.agent("work").calls(pack)
        await board.publish(Order())
        report = await board.run_until_idle()
        assert report.failed == 0
        assert len(await board.store.get_by_type(Parcel)) == 1
        await watched.goes_on()
    assert hook in log
    assert_logged(caplog, "hooked", hook)


async def test_a_raising_on_artifact_published_refuses_the_publish() -> None:
    watched = Watched()
    ran: list[int] = []
    watched.board.add_component(Hooked("on_artifact_published"))
    async with watched.board as board:
        board.agent("work").consumes(Order).calls(lambda o: ran.append(o.number))
        with pytest.raises(Exception, match=r"hooked|on_artifact_published"):
            await board.publish(Order(number=1), tags={"bad"})
        with pytest.raises(Exception, match=r"hooked|on_artifact_published"):
            await board.publish_many([Order(number=2), Order(number=3)], tags={"bad"})
        assert await board.store.list() == []
        await watched.goes_on()
        assert ran == []


async def test_a_raising_on_artifact_published_for_an_output_fails_its_run() -> None:
    watched = Watched()
    watched.board.add_component(Hooked("on_artifact_published"))
    async with watched.board as board:
        board.agent("bad").consumes(Order).publishes(Parcel, tags={"bad"}).calls(lambda o: Parcel())
        await board.publish(Order())
        await watched.fails("bad")
        assert await board.store.get_by_type(Parcel) == []


@pytest.mark.parametrize(
    "hook", ["on_before_schedule", "on_collect_artifacts", "on_before_agent_schedule"]
)
async def test_a_raising_hook_of_the_board_that_decides_dead_letters_that_delivery(
    hook: str,
) -> None:
    ran: list[str] = []
    watched = Watched()
    watched.board.add_component(Hooked(hook))
    async with watched.board as board:
        board.agent("bad").consumes(Order).calls(lambda o: ran.append("bad"))
        board.agent("good").consumes(Order).calls(lambda o: ran.append("good"))
        order = await board.publish(Order())
        report = await board.run_until_idle()
        assert ran == ["good"]
        assert report.waiting == 0
        (letter,) = await board.dead_letters()
        assert (letter.agent, letter.error_type) == ("bad", "RuntimeError")
        assert ids(letter.artifacts) == [order.id]
        await watched.goes_on()


async def test_a_raising_on_initialize_keeps_the_board_from_opening() -> None:
    board = Flock()
    board.add_component(Hooked("on_initialize"))
    for _ in range(2):
        with pytest.raises(Exception, match=r"hooked|on_initialize"):
            await board.publish(Order())
    with pytest.raises(Exception, match=r"hooked|on_initialize"):
        async with board:
            pytest.fail("opened")


async def test_a_listener_that_gives_up_stops_nobody() -> None:
    watched = Watched()
    board = watched.board
    stream = board.events()

    async def listen() -> None:
        async for _ in stream:
            raise LookupError

    listener = asyncio.create_task(listen())
    board.agent("work").calls(pack)
    await board.publish(Order())
    await board.run_until_idle()
    with pytest.raises(LookupError):
        await listener
    await watched.goes_on()
    await board.shutdown()


async def test_an_agent_that_cancels_its_own_task_has_failed() -> None:
    async def work(order: Order) -> Parcel:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)
        return Parcel()

    watched = Watched()
    async with watched.board as board:
        board.agent("bad").calls(work)
        await board.publish(Order())
        await watched.fails("bad")


async def test_an_agent_with_a_failing_task_group_has_failed_with_its_group() -> None:
    async def crash() -> None:
        raise KeyError

    async def work(order: Order) -> Parcel:
        async with asyncio.TaskGroup() as group:
            group.create_task(crash())
            group.create_task(asyncio.Event().wait())
        return Parcel()

    watched = Watched()
    async with watched.board as board:
        board.agent("bad").calls(work)
        await board.publish(Order())
        await watched.fails("bad", "ExceptionGroup")


async def test_an_agents_own_timeout_block_is_an_ordinary_failure() -> None:
    async def work(order: Order) -> Parcel:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()
        return Parcel()

    watched = Watched()
    async with watched.board as board:
        board.agent("bad").calls(work)
        await board.publish(Order())
        await watched.fails("bad", "TimeoutError")


# --- WorkflowError ------------------------------------------------------------------------


async def test_a_workflow_error_says_what_failed_in_the_workflow_of_the_inputs() -> None:
    contexts: list[Context] = []

    async def work(order: Order, ctx: Context) -> Parcel:
        contexts.append(ctx)
        raise KeyError("lost")

    async with Flock(clock=ManualClock(autojump=True)) as board:
        board.agent("bad").calls(work).retry(3)
        order = await board.publish(Order(), correlation_id="w")
        await board.run_until_idle()
        (artifact,) = await board.store.list_by_type(WorkflowError)
        error = artifact.as_model(WorkflowError)
        assert artifact.correlation_id == "w"
        assert list(artifact.parents) == [order.id]
        assert error.failed_agent == "bad"
        assert error.error_type == "KeyError"
        assert "lost" in error.error_message
        assert error.attempt == 3
        assert error.run_id == contexts[0].run_id == contexts[-1].run_id
        assert error.task_id in {c.task_id for c in contexts}
        assert error.timestamp.tzinfo is not None
        assert [c.attempt for c in contexts] == [1, 2, 3]
        assert {c.correlation_id for c in contexts} == {"w"}


async def test_the_timestamp_of_an_error_is_the_boards_time() -> None:
    start = datetime(2030, 1, 1, tzinfo=UTC)
    async with Flock(clock=ManualClock(start)) as board:
        board.agent("bad").calls(raising(ValueError))
        artifact = await board.publish(Order())
        await board.run_until_idle()
        (error,) = await board.store.get_by_type(WorkflowError)
        assert error.timestamp == start
        assert artifact.created_at == start


@pytest.mark.parametrize(
    ("visibilities", "who"),
    [
        ([PublicVisibility(), PrivateVisibility(agents={"bad", "a"})], ["a"]),
        ([PrivateVisibility(agents={"bad", "a"}), PublicVisibility()], ["a"]),
        ([PublicVisibility(), PublicVisibility()], ["a", "b"]),
        ([TenantVisibility(tenant_id="t"), PublicVisibility()], ["a"]),
    ],
)
async def test_a_workflow_error_is_as_visible_as_the_narrowest_input(
    visibilities: list[Any], who: list[str]
) -> None:
    saw: list[str] = []
    async with Flock() as board:
        board.agent("bad").tenant("t").consumes(Order, Letter).calls(
            lambda models: models[0].no_such_attribute
        )
        board.agent("a").tenant("t").consumes(WorkflowError).calls(lambda _: saw.append("a"))
        board.agent("b").consumes(WorkflowError).calls(lambda _: saw.append("b"))
        await board.publish(Order(), correlation_id="w", visibility=visibilities[0])
        await board.publish(Letter(), correlation_id="w", visibility=visibilities[1])
        await board.run_until_idle()
        assert len(await board.store.get_by_type(WorkflowError)) == 1
        assert sorted(saw) == who


async def test_two_private_inputs_make_an_error_that_only_both_circles_may_see() -> None:
    saw: list[str] = []
    async with Flock() as board:
        board.agent("bad").consumes(Order, Letter).calls(lambda models: 1 / 0)
        for name in ("a", "b", "c"):
            board.agent(name).consumes(WorkflowError).calls(lambda _, name=name: saw.append(name))
        await board.publish(
            Order(), correlation_id="w", visibility=PrivateVisibility(agents={"bad", "a", "c"})
        )
        await board.publish(
            Letter(), correlation_id="w", visibility=PrivateVisibility(agents={"bad", "b", "c"})
        )
        await board.run_until_idle()
        assert set(saw) <= {"c"}


async def test_a_failing_handler_of_errors_ends_there() -> None:
    calls = 0

    async def handle(error: WorkflowError) -> None:
        nonlocal calls
        calls += 1
        raise ValueError

    async with Flock() as board:
        board.agent("bad").calls(raising(KeyError))
        board.agent("handler").calls(handle)
        await board.publish(Order())
        report = await board.run_until_idle()
        assert calls == 1
        assert len(await board.store.get_by_type(WorkflowError)) == 1
        assert sorted(d.agent for d in await board.dead_letters()) == ["bad", "handler"]
        assert report.failed == 2


# --- Context ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_step_is_remembered_across_retries_but_not_across_runs(kind: str) -> None:
    charged: list[int] = []

    async def charge_async(amount: int, more: int) -> int:
        charged.append(amount + more)
        return len(charged)

    def charge_sync(amount: int, more: int) -> int:
        charged.append(amount + more)
        return len(charged)

    charge: Any = charge_async if kind == "async" else charge_sync
    receipts: list[int] = []

    async def work(order: Order, ctx: Context) -> Parcel:
        receipts.append(await ctx.step("charge", charge, order.number, 1))
        if ctx.attempt < 3:
            raise ValueError
        return Parcel(number=receipts[-1])

    async with Flock(clock=ManualClock(autojump=True)) as board:
        board.agent("work").calls(work).retry(3).max_concurrency(1)
        await board.publish(Order(number=10))
        await board.run_until_idle()
        assert charged == [11]
        assert receipts == [1, 1, 1]
        await board.publish(Order(number=20))
        await board.run_until_idle()
        assert charged == [11, 21]


async def test_a_step_is_remembered_by_a_redrive_and_a_failing_step_is_not_remembered() -> None:
    calls: list[str] = []
    broken = True

    async def good() -> str:
        calls.append("good")
        return "receipt"

    async def flaky() -> str:
        calls.append("flaky")
        if broken:
            raise ConnectionError
        return "ok"

    async def work(order: Order, ctx: Context) -> Parcel:
        assert await ctx.step("good", good) == "receipt"
        assert await ctx.step("flaky", flaky) == "ok"
        return Parcel()

    async with Flock() as board:
        board.agent("work").calls(work)
        await board.publish(Order())
        await board.run_until_idle()
        broken = False
        (letter,) = await board.dead_letters()
        assert letter.error_type == "ConnectionError"
        await board.redrive(letter.id)
        await board.run_until_idle()
        assert calls == ["good", "flaky", "flaky"]
        assert len(await board.store.get_by_type(Parcel)) == 1


async def test_emit_reaches_listeners_with_the_runs_id_and_never_the_board() -> None:
    async def work(order: Order, ctx: Context) -> Parcel:
        for delta in ("to", "kens", {"progress": 0.5}):
            ctx.emit(delta)
        return Parcel()

    board = Flock()
    board.agent("work").calls(work)
    stream = board.events()
    await board.publish(Order())
    await board.run_until_idle()
    assert len(await board.store.list()) == 2
    emitted = [e for e in await drain(board, stream) if isinstance(e, RunEmitted)]
    assert [e.delta for e in emitted] == ["to", "kens", {"progress": 0.5}]
    assert {e.agent for e in emitted} == {"work"}


async def test_a_sync_function_may_emit_from_its_thread() -> None:
    def work(order: Order, ctx: Context) -> Parcel:
        ctx.emit("from a thread")
        return Parcel()

    board = Flock()
    board.agent("work").calls(work)
    stream = board.events()
    await board.publish(Order())
    report = await board.run_until_idle()
    assert report.failed == 0
    emitted = [e for e in await drain(board, stream) if isinstance(e, RunEmitted)]
    assert [e.delta for e in emitted] == ["from a thread"]


async def test_the_context_tells_what_run_this_is() -> None:
    contexts: list[Context] = []

    async def work(inputs: EvalInputs, ctx: Context) -> None:
        contexts.append(ctx)

    async with Flock() as board:
        board.agent("one").labels("x").tenant("t").consumes(Order).calls(work)
        board.agent("two").consumes(Order, batch=BatchSpec(size=2)).calls(work)
        await board.publish_many([Order(), Order()])
        await board.run_until_idle()
        single = [c for c in contexts if not c.is_batch]
        (batch,) = [c for c in contexts if c.is_batch]
        assert len({c.run_id for c in contexts}) == 3
        assert single[0].agent_identity.name == "one"
        assert set(single[0].agent_identity.labels) == {"x"}
        assert single[0].agent_identity.tenant_id == "t"
        assert batch.agent_identity.name == "two"
        assert all(c.attempt == 1 for c in contexts)
        assert list(single[0].artifacts) == []


async def test_state_is_of_one_run_and_never_shared() -> None:
    seen: list[Any] = []

    async def work(order: Order, ctx: Context) -> None:
        seen.append(dict(ctx.state))
        ctx.state["mine"] = order.number

    async with Flock() as board:
        board.agent("work").calls(work)
        await board.publish_many([Order(number=n) for n in range(3)])
        await board.run_until_idle()
        assert seen == [{}, {}, {}]


async def test_a_retry_event_names_attempt_and_delay() -> None:
    async def work(order: Order, ctx: Context) -> None:
        if ctx.attempt == 1:
            raise ValueError

    board = Flock(clock=ManualClock(autojump=True))
    board.agent("work").calls(work).retry(2, backoff=timedelta(seconds=10))
    stream = board.events()
    await board.publish(Order())
    await board.run_until_idle()
    events = await drain(board, stream)
    (retrying,) = [e for e in events if isinstance(e, RunRetrying)]
    assert retrying.agent == "work"
    assert isinstance(retrying.error, ValueError)
    assert not [e for e in events if isinstance(e, RunFailed)]


# --- Cancellation and leaks ---------------------------------------------------------------


def everything(board: Flock, started: list[int], log: list[str]) -> None:
    async def hang(order: Order) -> Parcel:
        started.append(order.number)
        await asyncio.Event().wait()
        return Parcel()

    async def hang_streaming(order: Order) -> AsyncIterator[Parcel]:
        started.append(order.number)
        yield Parcel()
        await asyncio.Event().wait()

    board.agent("hang").calls(hang).with_utilities(spy("u", log))
    board.agent("stream").calls(hang_streaming)
    board.agent("best").calls(hang).best_of(3)
    board.agent("batch").consumes(Order, batch=BatchSpec(timeout=3600)).calls(lambda o: None)
    board.agent("join").consumes(
        Order, Letter, join=JoinSpec(by=lambda m: m.number, within=timedelta(hours=1))
    ).calls(lambda o: None)
    board.agent("retry").calls(raising(ValueError)).retry(5, backoff=timedelta(hours=1))


async def test_after_shutdown_no_task_is_left() -> None:
    before = asyncio.all_tasks()
    started: list[int] = []
    log: list[str] = []
    board = Flock()
    everything(board, started, log)
    stream = board.events()
    await board.publish(Order())
    await until(lambda: len(started) >= 5)
    await turns()
    await board.shutdown(grace=0.0)
    assert asyncio.all_tasks() == before
    assert log[-1] == "u.on_terminate"
    assert [e async for e in stream]
    gc.collect()


async def test_after_a_cancel_no_task_of_the_workflow_is_left() -> None:
    started: list[int] = []
    log: list[str] = []
    async with Flock() as board:
        everything(board, started, log)
        await board.run_until_idle()
        before = asyncio.all_tasks()
        await board.publish(Order(), correlation_id="w")
        await until(lambda: len(started) >= 5)
        await board.cancel("w")
        await turns()
        assert asyncio.all_tasks() <= before
        assert log[-1] == "u.on_terminate"
        report = await board.run_until_idle()
        assert report.waiting == 0


def test_after_the_loop_has_ended_no_thread_is_left() -> None:
    before = set(threading.enumerate())

    def work(order: Order) -> Parcel:
        return Parcel(number=order.number)

    async def main() -> None:
        async with Flock() as board:
            board.agent("work").calls(work)
            await board.publish_many([Order(number=n) for n in range(40)])
            await board.run_until_idle()
            assert len(await board.store.list_by_type(Parcel)) == 40

    asyncio.run(main())
    assert set(threading.enumerate()) <= before


@pytest.mark.memory_only("a board in a file is written in a thread")
def test_async_agents_need_no_thread_at_all() -> None:
    before = set(threading.enumerate())

    async def main() -> None:
        async with Flock() as board:
            board.agent("work").calls(pack)
            await board.publish_many([Order(number=n) for n in range(40)])
            await board.run_until_idle()
        assert set(threading.enumerate()) <= before

    asyncio.run(main())


async def test_a_cancelled_run_gives_its_slot_back() -> None:
    started = asyncio.Event()

    async def work(order: Order) -> Parcel:
        if order.number == 0:
            started.set()
            await asyncio.Event().wait()
        return Parcel(number=order.number)

    async with Flock(max_concurrency=1) as board:
        board.agent("work").calls(work).max_concurrency(1)
        await board.publish(Order(number=0), correlation_id="w")
        await board.publish(Order(number=1))
        await started.wait()
        await board.cancel("w")
        await board.run_until_idle()
        assert await board.store.get_by_type(Parcel) == [Parcel(number=1)]


async def test_a_cancelled_arun_cancels_the_agent_and_commits_no_output() -> None:
    started = asyncio.Event()
    log: list[str] = []

    async def work(order: Order) -> Parcel:
        started.set()
        await asyncio.Event().wait()
        return Parcel()

    async with Flock() as board:
        board.agent("work").calls(work).with_utilities(spy("u", log))
        call = asyncio.create_task(board.arun("work", Order()))
        await started.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await turns()
        assert log[-1] == "u.on_terminate"
        report = await board.run_until_idle()
        assert report.dead_letters == 0
        assert await board.store.get_by_type(Parcel) == []


async def test_a_run_that_finishes_despite_its_cancellation_commits_nothing() -> None:
    started = asyncio.Event()

    async def stubborn(order: Order) -> Parcel:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return Parcel(number=666)
        return Parcel()

    async with Flock() as board:
        board.agent("work").calls(stubborn)
        await board.publish(Order(), correlation_id="w")
        await started.wait()
        await board.cancel("w")
        await board.run_until_idle()
        assert await board.store.get_by_type(Parcel) == []
        assert await board.dead_letters() == []


async def test_the_board_runs_on_when_everyone_fails_at_once() -> None:
    async def sometimes(order: Order) -> Parcel:
        await asyncio.sleep(0)
        if order.number % 3 == 0:
            raise ValueError(order.number)
        return Parcel(number=order.number)

    watched = Watched()
    async with watched.board as board:
        board.agent("work").calls(sometimes)
        await board.publish_many([Order(number=n) for n in range(300)])
        report = await board.run_until_idle()
        assert (report.runs, report.failed, report.dead_letters) == (300, 100, 100)
        numbers = sorted(p.number for p in await board.store.get_by_type(Parcel))
        assert numbers == [n for n in range(300) if n % 3]
        await watched.goes_on()


async def test_components_with_only_a_few_hooks_are_enough() -> None:
    class Quiet(EngineComponent):
        async def evaluate(
            self, agent: Any, ctx: Context, inputs: EvalInputs, output_group: Any
        ) -> Parcel:
            return Parcel(number=7)

    class Nothing(OrchestratorComponent):
        pass

    board = Flock()
    board.add_component(Nothing())
    async with board:
        board.agent("work").consumes(Order).publishes(Parcel).with_engines(Quiet())
        await board.publish(Order())
        await board.run_until_idle()
        assert await board.store.get_by_type(Parcel) == [Parcel(number=7)]
