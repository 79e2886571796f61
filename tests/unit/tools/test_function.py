"""Functions as tools: called, bounded, approved, and told to observers."""

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, cast

import pytest
from pydantic import AfterValidator, BaseModel, BeforeValidator, StringConstraints

from flock import Context, DeclarationError, FunctionTool, ToolAnswer, ToolImage, flock_tool
from flock.core.delivery import Run
from flock.core.deltas import ToolCalled
from flock.engines.threads import ThreadPool
from flock.testing import ManualClock
from tests.unit.support import Host, turns


@pytest.fixture
def threads() -> Iterator[ThreadPool]:
    pool = ThreadPool()
    yield pool
    pool.close()


def context(clock: ManualClock | None = None) -> tuple[Context, list[object]]:
    ctx = Context()
    ctx.host = host = Host()
    ctx.clock = clock or ManualClock()
    ctx.run = object.__new__(Run)
    return ctx, host.emitted


async def text(tool: Any, arguments: Any = "", ctx: Context | None = None) -> str:
    answer: ToolAnswer = await tool.call(arguments, ctx)
    assert not answer.is_error, answer
    return answer.text


async def error(tool: Any, arguments: Any = "", ctx: Context | None = None) -> str:
    answer: ToolAnswer = await tool.call(arguments, ctx)
    assert answer.is_error, answer
    return answer.text


# --- what it is ---


def test_a_tool_is_still_the_function() -> None:
    @flock_tool
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    assert add(1, 2) == 3
    assert (add.name, add.description, add.__name__) == ("add", "Add.", "add")
    assert repr(add) == "FunctionTool('add')"


def test_the_decorator_can_say_all_that_the_function_does_not() -> None:
    @flock_tool(name="sum-up", description="Sums up.", timeout=timedelta(seconds=3), max_chars=9)
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    assert (add.name, add.description) == ("sum-up", "Sums up.")
    assert (add.timeout, add.max_chars) == (3.0, 9)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "with space"}, "cannot be called 'with space'"),
        ({"name": ""}, "cannot be called ''"),
        ({"name": "x" * 65}, "1 to 64"),
        ({"name": "größe"}, "cannot be called"),
        ({"timeout": 0}, "timeout must be more than 0"),
        ({"timeout": "soon"}, "timeout takes a timedelta"),
        ({"approve": True}, "approve takes a function"),
        ({"description": 3}, "description takes a text"),
        ({"max_chars": 0}, "max_chars"),
    ],
)
def test_a_senseless_option_is_refused(options: dict[str, Any], words: str) -> None:
    def act() -> None: ...

    with pytest.raises(DeclarationError, match=words):
        flock_tool(**options)(act)


def test_what_has_no_name_asks_for_one() -> None:
    with pytest.raises(DeclarationError, match=r"'<lambda>'.*flock_tool\(name=\.\.\.\)"):
        flock_tool(lambda: None)


def test_generators_and_classes_are_no_tools() -> None:
    def each() -> Iterator[int]:
        yield 1

    with pytest.raises(DeclarationError, match=r"generator.*return a list"):
        flock_tool(each)
    with pytest.raises(DeclarationError, match="is made of a function"):
        flock_tool(int)


async def test_a_decorated_method_is_a_tool_of_its_object() -> None:
    class Shop:
        def __init__(self, name: str) -> None:
            self.shop = name

        @flock_tool(timeout=7)
        def search(self, query: str) -> str:
            """Search the shop."""
            return f"{self.shop}: {query}"

    tool = Shop("north").search
    assert isinstance(tool, FunctionTool)
    assert tool.timeout == 7
    assert list(tool.parameters["properties"]) == ["query"]
    assert tool("tea") == "north: tea"
    assert await text(tool, {"query": "tea"}) == "north: tea"
    assert await text(Shop("south").search, {"query": "tea"}) == "south: tea"


# --- calling it ---


async def test_a_synchronous_function_runs_in_a_thread_of_the_board(threads: ThreadPool) -> None:
    place: ContextVar[str] = ContextVar("place", default="nowhere")
    place.set("here")

    def where() -> list[object]:
        return [threading.current_thread().name, place.get()]

    tool = flock_tool(where).guarded(threads, None, None)
    assert await text(tool) == '["flock worker","here"]'


async def test_an_async_function_is_awaited_on_the_loop() -> None:
    async def where() -> bool:
        await asyncio.sleep(0)
        return threading.current_thread() is threading.main_thread()

    assert await text(flock_tool(where)) == "true"


async def test_a_function_may_return_something_to_await() -> None:
    async def later() -> str:
        return "done"

    def soon() -> Any:
        return later()

    assert await text(flock_tool(soon)) == "done"


class Weather(BaseModel):
    city: str


@dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        ("as it is\n", "as it is\n"),
        (Weather(city="Bonn"), '{"city":"Bonn"}'),
        ([Weather(city="Bonn"), 1, None], '[{"city":"Bonn"},1,null]'),
        (Point(1), '{"x":1}'),
        ({"a": timedelta(hours=1)}, '{"a":"PT1H"}'),
        (float("nan"), "NaN"),
        (True, "true"),
        (None, "Done; there is nothing to return."),
    ],
)
async def test_a_result_is_text_or_json(returned: object, expected: str) -> None:
    assert await text(flock_tool(name="give")(lambda: returned)) == expected


async def test_a_function_may_answer_in_full() -> None:
    full = ToolAnswer("see", images=(ToolImage(b"1234", "image/png"),))
    answer = await flock_tool(name="draw")(lambda: full).call("")
    assert answer == full
    assert answer.as_text() == (
        "see\n[An image of type image/png and 4 bytes, which cannot be shown to this model]"
    )


async def test_an_answer_without_a_text_is_an_error() -> None:
    @flock_tool
    def broken() -> ToolAnswer:
        """Answer."""
        return ToolAnswer(cast("str", None))

    assert "a ToolAnswer whose text is None" in await error(broken)


async def test_a_result_without_json_is_an_error() -> None:
    words = await error(flock_tool(name="give")(lambda: object()))
    assert "it returned object, which has no JSON" in words


async def test_wrong_arguments_are_told_and_the_function_is_not_called() -> None:
    calls: list[int] = []

    @flock_tool
    def note(n: int) -> None:
        calls.append(n)

    assert "- n: it is missing" in await error(note, "{}")
    assert "no JSON" in await error(note, '{"n": ')
    assert not calls


async def test_what_it_raises_is_told_in_words_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    @flock_tool
    def fail() -> None:
        raise ValueError("the disk is full")

    assert await error(fail) == "ValueError: the disk is full"
    [record] = caplog.records
    assert "tool=fail" in record.message
    assert record.exc_info is not None


@pytest.mark.parametrize("raised", [SystemExit(3), asyncio.CancelledError(), GeneratorExit()])
async def test_what_would_end_more_than_the_call_is_told_as_well(raised: BaseException) -> None:
    async def fail() -> None:
        raise raised

    name = type(raised).__name__
    assert f"tool 'fail' raised {name} by itself" in await error(flock_tool(fail))
    current = asyncio.current_task()
    assert current is not None
    assert current.cancelling() == 0


async def test_a_long_error_is_cut() -> None:
    @flock_tool
    def fail() -> None:
        raise ValueError("x" * 1_000_000)

    assert len(await error(fail)) < 3000


async def test_a_long_answer_is_cut_and_says_so() -> None:
    tool = flock_tool(name="read", max_chars=10)(lambda: "0123456789abc")
    assert await text(tool) == "0123456789\n[Cut: these are the first 10 of 13 characters]"


async def test_a_cancellation_from_outside_goes_through() -> None:
    started = asyncio.Event()
    ended: list[str] = []

    @flock_tool
    async def wait() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("ended")

    task = asyncio.create_task(wait.call(""))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["ended"]


# --- time ---


async def test_a_call_that_takes_too_long_is_given_up_on_the_boards_clock() -> None:
    clock = ManualClock()
    ctx, seen = context(clock)
    ended: list[str] = []

    @flock_tool(timeout=30)
    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("ended")

    task = asyncio.create_task(wait.call("", ctx))
    await clock.advance(29.5)
    assert not task.done()
    await clock.advance(1)
    answer = await task
    assert answer == ToolAnswer("'wait' did not answer within 30 seconds, and was given up.", True)
    assert ended == ["ended"]
    assert seen == [ToolCalled("wait", {}, 30.0, answer.text)]


async def test_a_timeout_that_the_tool_raises_itself_is_its_own_error() -> None:
    @flock_tool(timeout=30)
    async def ask() -> None:
        raise TimeoutError("the shop is closed")

    assert await error(ask) == "TimeoutError: the shop is closed"


async def test_without_a_word_a_call_may_take_a_minute(threads: ThreadPool) -> None:
    clock = ManualClock()
    ctx, _ = context(clock)

    async def wait() -> None:
        await asyncio.Event().wait()

    plain = asyncio.create_task(flock_tool(wait).call("", ctx))
    agents = asyncio.create_task(flock_tool(wait).guarded(threads, None, 90.0).call("", ctx))
    own = flock_tool(timeout=200)(wait).guarded(threads, None, 90.0)
    tools = asyncio.create_task(own.call("", ctx))
    await clock.advance(61)
    assert (plain.done(), agents.done(), tools.done()) == (True, False, False)
    await clock.advance(30)
    assert (agents.done(), tools.done()) == (True, False)
    await clock.advance(110)
    assert "200 seconds" in (await tools).text


async def test_a_clock_that_jumps_waits_for_a_thread(threads: ThreadPool) -> None:
    clock = ManualClock(autojump=True)
    ctx, _ = context(clock)
    release = threading.Event()

    def work() -> str:
        release.wait(5)
        return "done"

    task = asyncio.create_task(flock_tool(work).guarded(threads, None, None).call("", ctx))
    await turns()
    release.set()
    assert (await task).text == "done"


# --- approval ---


async def test_only_true_lets_a_call_through(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[int] = []
    said: Any = None

    def approve(tool: Any, arguments: dict[str, Any], ctx: Context | None) -> Any:
        assert (tool.name, arguments, ctx) == ("pay", {"n": 5}, None)
        arguments["n"] = 1_000_000  # changes nothing
        return said

    @flock_tool(approve=approve)
    def pay(n: int) -> str:
        calls.append(n)
        return "paid"

    said = True
    assert await text(pay, '{"n": 5}') == "paid"
    said = "too much"
    assert await error(pay, '{"n": 5}') == "The call of 'pay' was refused: too much"
    said = False
    assert "was refused" in await error(pay, '{"n": 5}')
    assert not caplog.records
    for odd in (None, 1, "", object(), [True]):
        said = odd
        assert "was refused" in await error(pay, '{"n": 5}')
    assert len(caplog.records) == 5
    assert "only True lets a call through" in caplog.text
    assert calls == [5]


async def test_approval_may_be_async_and_fails_closed(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[str] = []

    async def approve(tool: Any, arguments: dict[str, Any], ctx: Context | None) -> bool:
        await asyncio.sleep(0)
        if arguments["how"] == "raise":
            raise LookupError("nobody is there")
        return arguments["how"] == "yes"

    @flock_tool(approve=approve)
    async def act(how: str) -> None:
        calls.append(how)

    await text(act, {"how": "yes"})
    assert "was refused" in await error(act, {"how": "no"})
    words = await error(act, {"how": "raise"})
    assert "could not be approved" in words
    assert "nobody" not in words
    assert "nobody is there" in caplog.text
    assert calls == ["yes"]


async def test_a_synchronous_approval_runs_in_a_thread(threads: ThreadPool) -> None:
    where: list[bool] = []

    def approve(tool: Any, arguments: dict[str, Any], ctx: Context | None) -> bool:
        where.append(threading.current_thread() is threading.main_thread())
        return True

    await text(flock_tool(name="act")(lambda: "done").guarded(threads, approve, None))
    assert where == [False]


async def test_everybody_who_approves_is_asked_the_tools_own_first(threads: ThreadPool) -> None:
    asked: list[str] = []

    def by(name: str, *, says: bool) -> Any:
        def approve(tool: Any, arguments: dict[str, Any], ctx: Context | None) -> bool:
            asked.append(name)
            return says

        return approve

    own = flock_tool(name="act", approve=by("tool", says=True))(lambda: "done")
    await error(own.guarded(threads, by("agent", says=False), None))
    assert asked == ["tool", "agent"]
    assert await text(own) == "done"  # what an agent says is said of that agent


async def test_wrong_arguments_are_not_put_to_approval() -> None:
    def approve(tool: Any, arguments: dict[str, Any], ctx: Context | None) -> bool:
        raise AssertionError

    @flock_tool(approve=approve)
    def act(n: int) -> None: ...

    assert "it is missing" in await error(act, "{}")


# --- who watches ---


async def test_who_approves_sees_what_the_call_is_made_with() -> None:
    """A text that reads as true is true, whatever spelling would slip past a predicate."""
    asked: list[object] = []

    def harmless(tool: object, arguments: dict[str, Any], ctx: object) -> bool:
        asked.append(arguments)
        return arguments["force"] is not True and arguments["path"] != "/"

    @flock_tool(approve=harmless)
    def delete(
        path: Annotated[str, StringConstraints(strip_whitespace=True)], force: bool = True
    ) -> str:
        """Delete."""
        return "deleted"

    assert "refused" in await error(delete, '{"path": "x", "force": "yes"}')
    assert "refused" in await error(delete, '{"path": " / ", "force": "no"}')
    assert "refused" in await error(delete, '{"path": "y"}')
    assert asked == [
        {"path": "x", "force": True},
        {"path": "/", "force": False},
        {"path": "y", "force": True},
    ]
    assert await text(delete, '{"path": "x", "force": 0}') == "deleted"


async def test_who_approves_sees_what_was_given_where_it_has_no_json_any_more() -> None:
    asked: list[object] = []

    @flock_tool(approve=lambda tool, arguments, ctx: asked.append(arguments) or True)
    def use(handle: Annotated[object, BeforeValidator(lambda name: {1, object()})]) -> str:
        """Use."""
        return "used"

    assert await text(use, {"handle": "h"}) == "used"
    assert asked == [{"handle": "h"}]


async def test_what_an_arguments_own_check_raises_is_told() -> None:
    def broken(name: str) -> str:
        raise KeyError(name)

    @flock_tool
    def greet(name: Annotated[str, AfterValidator(broken)]) -> str:
        """Greet."""
        return name

    assert await error(greet, {"name": "ann"}) == "KeyError: 'ann'"


async def test_texts_that_utf_8_cannot_carry_are_no_reason_to_fail() -> None:
    @flock_tool
    def names(odd: bool) -> str | list[str]:
        """List files: one name came from a Latin-1 file system."""
        return ["a", "\udce4b"] if odd else "\udce4b"

    assert await text(names, {"odd": True}) == '["a","?b"]'
    assert await text(names, {"odd": False}) == "?b"
    assert "no JSON" in await error(names, '{"odd": "\ud800"}')


async def test_observers_are_told_of_answers_and_errors() -> None:
    ctx, seen = context()

    @flock_tool
    async def divide(a: int, b: int) -> float:
        return a / b

    await divide.call('{"a": 1, "b": 2}', ctx)
    await divide.call('{"a": 1, "b": 0}', ctx)
    await divide.call("nonsense", ctx)
    first, second, third = cast("list[ToolCalled]", seen)
    assert first == ToolCalled("divide", {"a": 1, "b": 2}, 0.0)
    assert second == ToolCalled(
        "divide", {"a": 1, "b": 0}, 0.0, "ZeroDivisionError: division by zero"
    )
    assert third.arguments == {}
    assert third.error is not None


async def test_a_context_gets_to_the_function() -> None:
    ctx, seen = context()

    @flock_tool
    async def work(n: int, ctx: Context) -> str:
        ctx.emit(f"working on {n}")
        return "done"

    assert await text(work, {"n": 1}, ctx) == "done"
    assert seen[0] == "working on 1"
    assert await text(work, {"n": 1}) == "done"  # and without a run it gets one of its own


async def test_errors_are_logged_as_warnings_only(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await text(flock_tool(name="act")(lambda: "done"))
    assert not caplog.records
