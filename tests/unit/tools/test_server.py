"""What is declared about an MCP server is checked, and its secrets are not shown."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from flock import DeclarationError, MCPServer

SECRET = "hunter2"


def test_a_server_shows_its_name_and_place_only() -> None:
    stdio = MCPServer.stdio("files", "uvx", [SECRET], {"TOKEN": SECRET})
    http = MCPServer.http(
        "remote", f"https://example.org/mcp?key={SECRET}", {"Authorization": SecretStr(SECRET)}
    )
    assert repr(stdio) == "MCPServer('files', 'uvx')"
    assert repr(http) == "MCPServer('remote', 'https://example.org/mcp')"
    for shown in (stdio.transport, http.transport, [stdio, http], {"a": http}):
        assert SECRET not in repr(shown)
        assert SECRET not in str(shown)


def test_two_declarations_of_one_server_are_equal() -> None:
    def declared(**options: Any) -> MCPServer:
        return MCPServer.stdio("files", "uvx", ["x"], {"A": "b"}, **options)

    assert declared() == declared()
    assert declared() != declared(allow=["a"])
    assert declared() != MCPServer.stdio("files", "uvx", ["x"], {"A": "c"})


@pytest.mark.parametrize(
    ("allow", "deny", "allowed"),
    [
        (None, (), {"read", "Read", "write", "größe", ""}),
        ([], (), set[str]()),
        (["read"], (), {"read"}),
        (["r*"], (), {"read"}),
        (["?ead"], (), {"read", "Read"}),
        (["[rR]ead"], (), {"read", "Read"}),
        (["*"], ["w*", "gr*"], {"read", "Read", ""}),
        (["read"], ["read"], set[str]()),
        (None, ["*"], set[str]()),
    ],
)
def test_a_tool_is_allowed_by_its_exact_name(
    allow: list[str] | None, deny: list[str], allowed: set[str]
) -> None:
    server = MCPServer.stdio("files", "uvx", allow=allow, deny=deny)
    names = ["read", "Read", "write", "größe", ""]
    assert {name for name in names if server.allows(name)} == allowed


def test_roots_become_uris(tmp_path: Path) -> None:
    server = MCPServer.stdio("files", "uvx", roots=[tmp_path, "/srv/a b", "file:///x"])
    assert server.roots == (tmp_path.as_uri(), "file:///srv/a%20b", "file:///x")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": ""}, "name is a text"),
        ({"name": 3}, "name is a text"),
        ({"command": ""}, "command is the name of a program"),
        ({"command": ["uvx"]}, "command is the name of a program"),
        ({"args": "one two"}, "args takes a list of texts"),
        ({"args": [1]}, "args takes a list of texts"),
        ({"allow": "read"}, "allow takes a list of texts"),
        ({"deny": "read"}, "deny takes a list of texts"),
        ({"resources": "a://b"}, "resources takes a list of texts"),
        ({"env": {"A": 1}}, r"env\['A'\] is a text or a SecretStr"),
        ({"env": ["A"]}, "env takes a dict"),
        ({"prefix": "with space"}, "prefix is made of"),
        ({"timeout": 0}, "timeout must be more than 0"),
        ({"connect_timeout": "soon"}, "connect_timeout takes a timedelta"),
        ({"max_chars": 0}, "max_chars"),
        ({"roots": ["https://example.org"]}, "roots are paths or file: URIs"),
    ],
)
def test_a_senseless_argument_is_refused(options: dict[str, Any], words: str) -> None:
    declare: Any = MCPServer.stdio
    with pytest.raises(DeclarationError, match=words) as caught:
        declare(**{"name": "files", "command": "uvx", **options})
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("url", ["", "example.org", "ftp://x/y", "http://", 3, f"file:///{SECRET}"])
def test_a_url_is_one_of_http(url: Any) -> None:
    with pytest.raises(DeclarationError, match="url is one of http or https") as caught:
        MCPServer.http("remote", url)
    assert SECRET not in str(caught.value)


def test_credentials_do_not_belong_into_a_url() -> None:
    with pytest.raises(DeclarationError, match="headers=") as caught:
        MCPServer.http("remote", f"https://me:{SECRET}@example.org/mcp")
    assert SECRET not in str(caught.value)
