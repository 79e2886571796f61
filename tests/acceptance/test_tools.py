"""An agent's model may call functions: those that were declared, as often as was said."""

# Agents are short lambdas here.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false

import asyncio
import sys
import threading
from collections.abc import Mapping
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import BaseModel

from flock import (
    Agent,
    Context,
    DeclarationError,
    EngineComponent,
    EvalInputs,
    Flock,
    MCPServer,
    RunEmitted,
    ToolAnswer,
    ToolCalled,
    flock_tool,
    toolbox_of,
)
from flock.engines.chat import ToolRequest
from flock.testing import ManualClock

from .support import until


class Question(BaseModel):
    text: str = ""


class Answer(BaseModel):
    text: str


@flock_tool
def double(n: int) -> int:
    """Double a number."""
    return 2 * n


class Asks(EngineComponent):
    """Calls every tool of its agent with the same arguments."""

    async def evaluate(
        self, agent: Agent, ctx: Context, inputs: EvalInputs, output_group: Any
    ) -> list[Answer]:
        box = await toolbox_of(agent)
        question = inputs.first_as(Question)
        assert question is not None
        return [Answer(text=(await tool.call(question.text, ctx)).text) for tool in box.tools]


def board(tools: list[Any], clock: ManualClock | None = None, **options: Any) -> Flock:
    flock = Flock(clock=clock)
    agent = flock.agent("asker").consumes(Question).publishes(Answer, fan_out=(0, 9))
    agent.with_engines(Asks()).with_tools(tools, **options)
    return flock


async def answers(flock: Flock, text: str = "") -> list[str]:
    return [a.as_model(Answer).text for a in await flock.arun("asker", Question(text=text))]


async def test_functions_methods_and_tools_are_called_by_a_model() -> None:
    class Shop:
        def look(self, n: int) -> str:
            return f"{n} teapots"

    async def half(n: int) -> float:
        return n / 2

    async with board([double, Shop().look, half]) as flock:
        assert [tool.name for tool in flock.get_agent("asker").tools] == ["double", "look", "half"]
        assert await answers(flock, '{"n": 3}') == ["6", "3 teapots", "1.5"]


async def test_an_object_that_is_a_tool_is_one() -> None:
    class Dice:
        name = "dice"
        description = "Throw dice."
        parameters: Mapping[str, Any] = {"type": "object"}

        async def call(
            self, arguments: str | Mapping[str, object], ctx: Context | None = None
        ) -> ToolAnswer:
            assert ctx is not None
            return ToolAnswer(f"{arguments} {ctx.agent_identity.name}")

    async with board([Dice()], approve=lambda tool, arguments, ctx: "n" in arguments) as flock:
        assert await answers(flock, '{"n": 2}') == ["{'n': 2} asker"]
        assert await answers(flock) == ["The call of 'dice' was refused. Go on without it."]


async def test_the_bound_holds_for_all_model_calls_of_a_run() -> None:
    class Twice(EngineComponent):
        async def evaluate(
            self, agent: Agent, ctx: Context, inputs: EvalInputs, output_group: Any
        ) -> Answer:
            box = await toolbox_of(agent)
            requests = [ToolRequest("1", "double", '{"n": 1}')] * 2
            told = await box.answer(requests, ctx)
            return Answer(text=f"{[a.is_error for a in told]} {box.left}")

    flock = Flock()
    builder = flock.agent("a").consumes(Question).publishes(Answer).publishes(Answer)
    builder.with_engines(Twice()).with_tools([double], max_calls=3)
    async with flock:
        for _ in range(2):  # each run has its own
            made = await flock.arun("a", Question())
            assert [m.as_model(Answer).text for m in made] == [
                "[False, False] 1",
                "[False, True] 0",
            ]


async def test_words_add_up_and_the_last_bound_counts() -> None:
    flock = Flock()
    builder = flock.agent("a").consumes(Question)
    assert builder.agent.max_tool_calls == 20
    builder.with_tools([double]).with_tools([flock_tool(name="other")(lambda: 1)], max_calls=3)
    assert [tool.name for tool in builder.agent.tools] == ["double", "other"]
    box = await toolbox_of(builder.agent)
    assert (len(box.tools), box.left) == (2, 3)


async def test_what_an_agent_says_of_a_tool_is_said_of_that_agent_only() -> None:
    flock = Flock()
    careful = flock.agent("careful").consumes(Question).publishes(Answer).with_engines(Asks())
    careful.with_tools([double], approve=lambda tool, arguments, ctx: "no numbers", timeout=3)
    free = flock.agent("free").consumes(Question).publishes(Answer).with_engines(Asks())
    free.with_tools([double])
    async with flock:
        [said] = await flock.arun("careful", Question(text='{"n": 1}'))
        assert said.as_model(Answer).text == "The call of 'double' was refused: no numbers"
        [said] = await flock.arun("free", Question(text='{"n": 1}'))
        assert said.as_model(Answer).text == "2"


async def test_a_tool_gets_the_context_of_the_run() -> None:
    async def who(ctx: Context) -> str:
        return f"{ctx.agent_identity.name} {ctx.attempt}"

    async with board([who]) as flock:
        assert await answers(flock) == ["asker 1"]


async def test_a_tool_that_fails_fails_no_run() -> None:
    def fail() -> None:
        raise ValueError("the disk is full")

    async with board([fail]) as flock:
        assert await answers(flock) == ["ValueError: the disk is full"]


async def test_a_tool_is_given_up_on_the_boards_clock() -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    async with board([wait], ManualClock(autojump=True), timeout=3600) as flock:
        [said] = await answers(flock)
    assert said == "'wait' did not answer within 3600 seconds, and was given up."


async def test_threads_of_tools_end_with_the_board() -> None:
    before = threading.active_count()
    flock = board([double])
    [tool] = flock.get_agent("asker").tools
    assert (await tool.call('{"n": 3}')).text == "6"  # by hand, before it is opened
    await until(lambda: threading.active_count() <= before)
    async with flock:
        await answers(flock, '{"n": 3}')
    assert (await tool.call('{"n": 3}')).text == "6"
    await until(lambda: threading.active_count() <= before)


async def test_calls_are_events_and_spans() -> None:
    exporter = InMemorySpanExporter()
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider()
        trace.set_tracer_provider(provider)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    flock = board([double])
    stream = flock.events()
    async with flock:
        await answers(flock, '{"n": 3}')
        await answers(flock, '{"n": "many"}')
    told = [event.delta async for event in stream if isinstance(event, RunEmitted)]
    called = [delta for delta in told if isinstance(delta, ToolCalled)]
    assert called == told
    assert [(c.tool, c.arguments, c.error is None) for c in called] == [
        ("double", {"n": 3}, True),
        ("double", {"n": "many"}, False),
    ]
    spans = [s for s in exporter.get_finished_spans() if s.name == "execute_tool double"]
    assert [s.attributes and s.attributes["gen_ai.tool.name"] for s in spans] == ["double"] * 2
    assert [s.status.is_ok for s in spans] == [True, False]


@pytest.mark.parametrize(
    ("tools", "words"),
    [
        (double, "'asker', with_tools: tools takes a list"),
        ("double", "tools takes a list"),
        ([3], "a tool is a function"),
        ([Answer], "a tool is a function"),
        ([lambda: 1], r"cannot be called '<lambda>'.*flock_tool\(name="),
        ([double, double], "two are called 'double'"),
        ([MCPServer.stdio("files", "x")], "give it to with_mcps"),
    ],
)
def test_what_is_no_tool_is_refused_where_it_is_declared(tools: Any, words: str) -> None:
    with pytest.raises(DeclarationError, match=words):
        board(tools)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_calls": 0}, "max_calls must be a whole number from 1"),
        ({"approve": True}, "approve takes a function"),
        ({"approve": len}, r"called as approve\(tool, arguments, ctx\), and .* cannot be"),
        ({"approve": lambda tool: bool(tool)}, r"called as approve\(tool, arguments, ctx\)"),
        ({"timeout": -1}, "timeout must be more than 0"),
    ],
)
def test_a_senseless_option_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(DeclarationError, match=words):
        board([double], **options)


def test_servers_are_checked_where_they_are_declared() -> None:
    flock = Flock()
    server = MCPServer.stdio("files", "x")
    builder = flock.agent("a").consumes(Question).with_mcps([server])
    flock.agent("b").consumes(Question).with_mcps([MCPServer.stdio("files", "x")])  # the same
    with pytest.raises(DeclarationError, match="two are called 'files'"):
        builder.with_mcps([server])
    with pytest.raises(DeclarationError, match="another MCP server 'files' on this board"):
        flock.agent("c").with_mcps([MCPServer.stdio("files", "y")])
    with pytest.raises(DeclarationError, match="servers takes a list"):
        flock.agent("d").with_mcps(server)  # pyright: ignore[reportArgumentType]
    with pytest.raises(DeclarationError, match="with_mcps takes servers such as"):
        flock.agent("e").with_mcps(["files"])


def test_a_server_without_the_sdk_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(DeclarationError, match=r"pip install 'flock\[mcp\]'"):
        Flock().agent("a").with_mcps([MCPServer.stdio("files", "x")])


async def test_an_agent_that_is_computed_by_a_function_has_no_use_for_tools() -> None:
    flock = Flock()
    flock.agent("a").calls(lambda question: None).consumes(Question).with_tools([double])
    with pytest.raises(DeclarationError, match=r"'a', calls: tools are called by a model"):
        await flock.publish(Question())
