"""A real MCP server in a process of its own: what it offers, answers, and tells."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from flock import Flock, RunEmitted, ToolCalled, ToolImage
from flock.testing import ManualClock

from .servers.good import PIXEL
from .support import Ask, Told, agent_of, children, desk, stdio

ERAS = pytest.mark.parametrize("era", [(), ("legacy",)], ids=["2026-07-28", "2025-11-25"])


@ERAS
async def test_a_model_sees_the_tools_of_a_server_and_calls_them(era: tuple[str, ...]) -> None:
    async with desk(stdio("good", *era)) as d:
        box = await d.box()
        add = next(tool for tool in box.tools if tool.name == "add")
        assert add.description == "Add two numbers."
        assert set(add.parameters["properties"]) == {"a", "b"}
        assert await d.text("add", a=2, b=3) == "5"
        assert json.loads(await d.text("weather", city="Bonn")) == {"city": "Bonn", "degrees": 21.5}


@ERAS
async def test_errors_of_a_tool_are_told_to_the_model(era: tuple[str, ...]) -> None:
    async with desk(stdio("good", *era)) as d:
        assert "fail" in await d.error("fail")
        assert "valid integer" in await d.error("add", a="x", b=1)
        assert await d.text("add", a=1, b=1) == "2"


async def test_an_image_stays_an_image() -> None:
    async with desk(stdio()) as d:
        answer = await d.ask("picture")
    assert answer.text == "here it is"
    assert answer.images == (ToolImage(PIXEL, "image/png"),)
    assert f"image/png and {len(PIXEL)} bytes" in answer.as_text()


async def test_everything_that_a_result_can_hold_is_told() -> None:
    async with desk(stdio("odd")) as d:
        answer = await d.ask("everything")
        assert await d.text("nothing") == "Done; nothing returned."
        assert await d.text("structured") == '{"a":[1,2]}'
    assert answer.text.splitlines() == [
        "a text",
        "[An image of type image/gif, which was left out]",
        "[Audio of type audio/wav, which was left out]",
        "a document",
        "[A file of application/pdf, file:///a.pdf, which was left out]",
        "[A link to the resource 'b', file:///b.txt: another]",
    ]
    assert answer.images == (ToolImage(b"hello", "image/png"),)


async def test_a_long_answer_is_cut() -> None:
    async with desk(stdio(max_chars=5)) as d:
        text = await d.text("weather", city="Bonn")
    assert text.startswith('{\n  "')
    assert "[Cut: these are the first 5 of" in text


@ERAS
async def test_a_change_of_the_tools_is_followed(era: tuple[str, ...]) -> None:
    async with desk(stdio("good", *era)) as d:
        assert "There is no tool 'extra'" in await d.error("extra")
        await d.text("learn", name="extra")
        assert await d.text("extra") == "I am extra"


@ERAS
async def test_a_server_is_told_its_roots(era: tuple[str, ...], tmp_path: Path) -> None:
    roots = [tmp_path, "file:///else"]
    async with desk(stdio("good", *era, roots=roots)) as d:
        text = await d.text("roots")
    assert text.splitlines() == [tmp_path.as_uri(), "file:///else"]


async def test_resources_are_given_to_read() -> None:
    async with desk(stdio(resources=["notes://today"], max_chars=3)) as d:
        [resource] = (await d.box()).resources
    assert resource.uri == "notes://today"
    assert resource.text == "Buy\n[Cut: these are the first 3 of 9 characters]"


async def test_a_server_gets_no_more_of_the_environment_than_it_needs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MY_API_KEY", "do not tell")
    async with desk(stdio(env={"GIVEN": "yes"}, cwd=tmp_path)) as d:
        names = (await d.text("environment")).splitlines()
    assert "GIVEN" in names
    assert "PATH" in names
    assert "MY_API_KEY" not in names


async def test_secrets_reach_the_server_and_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    secret = "hunter2-hunter2"
    server = stdio("good", "--token=" + secret, env={"TOKEN": SecretStr(secret), "PLAIN": secret})
    async with desk(server) as d:
        assert await d.text("secret", name="TOKEN") == secret
        assert await d.text("secret", name="PLAIN") == secret
        seen = f"{server!r} {server} {server.transport!r} {d.agent!r} {(await d.box()).tools!r}"
    assert secret not in seen
    of_flock = [r for r in caplog.records if r.name.startswith("flock")]
    assert not [r for r in of_flock if secret in r.getMessage()]


async def test_what_a_server_writes_to_its_standard_error_goes_to_the_log(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("INFO")
    heard = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hear(record: Any) -> bool:
        if "the roof is on fire" in record.getMessage():
            loop.call_soon_threadsafe(heard.set)
        return True

    import logging

    logging.getLogger("flock.tools.mcp.link").addFilter(hear)
    try:
        async with desk(stdio()) as d:
            await d.text("shout", text="the roof is on fire")
            await heard.wait()
    finally:
        logging.getLogger("flock.tools.mcp.link").removeFilter(hear)
    assert capfd.readouterr().err == ""
    assert "MCP server 'files': the roof is on fire" in caplog.text


async def test_garbage_on_the_standard_output_is_passed_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with desk(stdio("good", "garbage")) as d:
        assert await d.text("add", a=1, b=2) == "3"
    assert "MCP server 'files' wrote what is no message" in caplog.text


async def test_agents_of_a_board_share_one_process() -> None:
    flock = Flock()
    server = stdio()
    for name in ("a", "b"):
        agent_of(flock, server, name=name)
    async with flock:
        assert children() == []  # nobody asked for a tool yet
        pids = {
            told.as_model(Told).text
            for name in ("a", "b", "a")
            for told in await flock.arun(name, Ask(tool="process"))
        }
        assert pids == {str(child.pid) for child in children()}
        assert len(pids) == 1
    assert children() == []


async def test_a_board_that_is_opened_again_connects_again() -> None:
    flock = Flock()
    agent_of(flock, stdio())
    for _ in range(2):
        async with flock:
            [told] = await flock.arun("caller", Ask(tool="add", arguments={"a": 1, "b": 2}))
            assert told.as_model(Told) == Told(text="3")
        assert children() == []


async def test_a_clock_that_jumps_waits_for_the_server() -> None:
    flock = Flock(clock=ManualClock(autojump=True))
    async with desk(stdio(), flock=flock) as d:
        assert await d.text("add", a=1, b=2) == "3"


async def test_approval_holds_for_the_tools_of_servers(tmp_path: Path) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    async def approve(tool: Any, arguments: dict[str, Any], ctx: Any) -> bool | str:
        asked.append((tool.name, arguments))
        return tool.name == "add" or "not that"

    note = tmp_path / "calls"
    async with desk(stdio(), approve=approve) as d:
        assert await d.text("add", a=1, b=2) == "3"
        assert await d.error("crash", path=str(note)) == "The call of 'crash' was refused: not that"
    assert asked == [("add", {"a": 1, "b": 2}), ("crash", {"path": str(note)})]
    assert not note.exists()


async def test_calls_of_servers_are_events() -> None:
    flock = Flock()
    agent_of(flock, stdio())
    stream = flock.events()
    async with flock:
        await flock.arun("caller", Ask(tool="add", arguments={"a": 1, "b": 2}))
    [called] = [e.delta async for e in stream if isinstance(e, RunEmitted)]
    assert isinstance(called, ToolCalled)
    assert (called.tool, called.arguments, called.error) == ("add", {"a": 1, "b": 2}, None)
