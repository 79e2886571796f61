"""A tool that is not allowed cannot be called, however it is asked for."""

import pytest

from flock import EngineError, Flock
from flock.tools.mcp.source import MCPTool

from .support import desk, stdio

SPELLINGS = [
    "delete_file",
    "Delete_File",
    "DELETE_FILE",
    " delete_file",
    "delete_file ",
    "delete_file\n",
    "delete\u200b_file",
    "d\u0435lete_file",
    "\uff44elete_file",
    "read_file/../delete_file",
    "read_file\x00delete_file",
    "read_*",
    "*",
    "files.read",
    "everything",
    "READ_FILE",
    "",
]


async def test_a_tool_that_is_not_allowed_cannot_be_called(monkeypatch: pytest.MonkeyPatch) -> None:
    server = stdio("odd", allow=["read_*", "files.read", "every*"], deny=["everything"])
    async with desk(server) as d:
        assert await d.names() == ["read_file", "files_read"]
        assert await d.text("read_file") == "called read_file"
        assert await d.text("files_read") == "called files.read"
        for name in SPELLINGS:
            assert "There is no tool" in await d.error(name)

        # The list is asked again at the call itself, by the name that goes to the server.
        [source] = d.agent.tool_sources
        tool, _ = await source.tools()
        assert isinstance(tool, MCPTool)
        for name in SPELLINGS:
            if not name.startswith(("read_", "files.read")):
                with pytest.raises(PermissionError, match="does not offer"):
                    await tool._connection.call(name, {}, is_repeatable=True)
        monkeypatch.setattr(tool._tool, "name", "delete_file")
        answer = await tool.call("")
        assert answer.is_error
        assert "does not offer the tool 'delete_file' here" in answer.text


async def test_a_list_that_lets_no_tool_through_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with desk(stdio("odd", allow=["reed_*"])) as d:
        assert await d.names() == []
        assert await d.names() == []
    [record] = [r for r in caplog.records if "let through" in r.message]
    assert "'read_file'" in record.message


async def test_a_tool_that_comes_later_has_to_be_allowed_as_well() -> None:
    async with desk(stdio(allow=["learn"])) as d:
        await d.text("learn", name="extra")
        assert await d.names() == ["learn"]
        assert "There is no tool" in await d.error("extra")


async def test_names_that_models_do_not_take_are_made_so_that_they_do() -> None:
    async with desk(stdio("odd", prefix="odd_")) as d:
        names = await d.names()
        assert all(len(name) <= 64 and name.replace("_", "").isascii() for name in names)
        assert len(set(names)) == len(names)
        assert names[0] == "odd_read_file"
        assert await d.text("odd_gr__e") == "called größe"
        dotted, slashed = (name for name in names if name.startswith("odd_files_read"))
        assert await d.text(dotted) == "called files.read"
        assert await d.text(slashed) == "called files/read"
        [long] = [name for name in names if "xxx" in name]
        assert await d.text(long) == "called " + "x" * 100


async def test_two_servers_with_the_same_tools_need_a_prefix() -> None:
    flock = Flock()
    same = (stdio("odd", name="one"), stdio("odd", name="two"))
    different = (stdio("odd", name="one", prefix="one_"), stdio("odd", name="two"))
    async with desk(*same, flock=flock) as d:
        with pytest.raises(EngineError, match=r"'read_file'.*'one'.*'two'.*prefix="):
            await d.box()
    async with desk(*different) as d:
        names = await d.names()
        assert {"one_read_file", "read_file"} <= set(names)
