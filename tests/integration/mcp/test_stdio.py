"""A real MCP server in a process of its own: what it offers, answers, and tells."""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from flock import Flock, RunEmitted, ServerUnavailable, ToolCalled, ToolImage
from flock.testing import ManualClock

from .servers.good import PIXEL
from .support import Ask, Told, agent_of, children, desk, stdio

ERAS = pytest.mark.parametrize("era", [(), ("legacy",)], ids=["2026-07-28", "2025-11-25"])


@ERAS
async def test_a_model_sees_the_tools_of_a_server_and_calls_them(
    era: tuple[str, ...], tmp_path: Path
) -> None:
    async with desk(stdio("good", *era, roots=[tmp_path, "file:///else"])) as d:
        box = await d.box()
        add = next(tool for tool in box.tools if tool.name == "add")
        assert add.description == "Add two numbers."
        assert set(add.parameters["properties"]) == {"a", "b"}
        assert await d.text("add", a=2, b=3) == "5"
        assert json.loads(await d.text("weather", city="Bonn")) == {"city": "Bonn", "degrees": 21.5}

        # What goes wrong in a tool is told to the model.
        assert "fail" in await d.error("fail")
        assert "valid integer" in await d.error("add", a="x", b=1)

        # A change of the tools is followed.
        assert "There is no tool 'extra'" in await d.error("extra")
        await d.text("learn", name="extra")
        assert await d.text("extra") == "I am extra"

        # The server is told its roots.
        assert (await d.text("roots")).splitlines() == [tmp_path.as_uri(), "file:///else"]

        # An image stays an image.
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
        "[An image of type image/png, which was left out]",  # it is none
        "[An image of type image/gif, which was left out]",
        "[Audio of type audio/wav, which was left out]",
        "a document",
        "[A file of application/pdf, file:///a.pdf, which was left out]",
        "[A link to the resource 'b', file:///b.txt: another]",
    ]
    [image] = answer.images
    assert image.media_type == "image/gif"  # whatever the server says


async def test_resources_are_given_to_read_and_what_is_long_is_cut() -> None:
    async with desk(stdio(resources=["notes://today"], max_chars=3)) as d:
        [resource] = (await d.box()).resources
        text = await d.text("weather", city="Bonn")
    assert resource.uri == "notes://today"
    assert resource.text == "Buy\n[Cut: these are the first 3 of 9 characters]"
    assert text.startswith("{\n ")
    assert "[Cut: these are the first 3 of" in text


async def test_a_resource_that_cannot_be_read_is_named() -> None:
    async with desk(stdio(resources=["notes://never"])) as d:
        with pytest.raises(ServerUnavailable, match=r"'files' could not read 'notes://never'"):
            await d.box()


async def test_a_server_gets_its_own_secrets_and_no_others_and_nobody_else_sees_them(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("DEBUG")
    monkeypatch.setenv("MY_API_KEY", "do not tell")
    secret = "hunter2-hunter2"
    server = stdio("good", "--token=" + secret, env={"TOKEN": SecretStr(secret), "PLAIN": secret})
    async with desk(server) as d:
        names = (await d.text("environment")).splitlines()
        assert await d.text("secret", name="TOKEN") == secret
        assert await d.text("secret", name="PLAIN") == secret
        seen = f"{server!r} {server} {server.transport!r} {d.agent!r} {(await d.box()).tools!r}"
    assert {"TOKEN", "PLAIN", "PATH"} <= set(names)
    assert "MY_API_KEY" not in names
    assert secret not in seen
    of_flock = [r for r in caplog.records if r.name.startswith("flock")]
    assert not [r for r in of_flock if secret in r.getMessage()]


async def test_what_a_server_writes_besides_goes_to_the_log(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("INFO")
    heard = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hear(record: logging.LogRecord) -> bool:
        if "the roof is on fire" in record.getMessage():
            loop.call_soon_threadsafe(heard.set)
        return True

    logger = logging.getLogger("flock.tools.mcp.link")
    logger.addFilter(hear)
    try:
        server = stdio("good", "garbage", env={"TOKEN": "hunter2-hunter2", "LEVEL": "on"})
        async with desk(server) as d:
            await d.text("shout", text="my token is hunter2-hunter2")
            await d.text("shout", text="the roof is on fire")
            await heard.wait()
    finally:
        logger.removeFilter(hear)
    assert capfd.readouterr().err == ""
    assert "MCP server 'files': the roof is on fire" in caplog.text
    assert "MCP server 'files': my token is [hidden]" in caplog.text
    assert "MCP server 'files' wrote what is no message" in caplog.text  # to its standard output


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


async def test_calls_of_servers_are_approved_and_are_events(tmp_path: Path) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    async def approve(tool: Any, arguments: dict[str, Any], ctx: Any) -> bool | str:
        asked.append((tool.name, arguments))
        return tool.name == "add" or "not that"

    note = tmp_path / "calls"
    flock = Flock(clock=ManualClock(autojump=True))  # which does not jump while a server works
    stream = flock.events()
    agent_of(flock, stdio(), approve=approve)
    async with flock:
        for tool, arguments in (("add", {"a": 1, "b": 2}), ("crash", {"path": str(note)})):
            await flock.arun("caller", Ask(tool=tool, arguments=arguments))
    seen = [e.delta async for e in stream if isinstance(e, RunEmitted)]
    called = [(d.tool, d.arguments, d.error) for d in seen if isinstance(d, ToolCalled)]
    refusal = "The call of 'crash' was refused: not that"
    assert called == [
        ("add", {"a": 1, "b": 2}, None),
        ("crash", {"path": str(note)}, refusal),
    ]
    assert asked == [("add", {"a": 1, "b": 2}), ("crash", {"path": str(note)})]
    assert not note.exists()
