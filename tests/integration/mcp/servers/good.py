"""A server as it should be: texts, models, images, resources, roots, errors, changing tools."""

import asyncio
import os
import sys
import time

from typing import Annotated, Any, NoReturn

from mcp.server.mcpserver import Context, Image, ListRoots, MCPServer, Resolve
from mcp.shared.exceptions import MCPError
from mcp_types import METHOD_NOT_FOUND, ListRootsResult, RequestParams, ToolAnnotations
from pydantic import BaseModel

server = MCPServer("good", log_level="CRITICAL")

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360606060"
    "00000005000157cda45d0000000049454e44ae426082"
)


class Weather(BaseModel):
    city: str
    degrees: float


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
def weather(city: str) -> Weather:
    """Say the weather."""
    return Weather(city=city, degrees=21.5)


@server.tool()
def environment() -> list[str]:
    """Name the variables of the environment."""
    return sorted(os.environ)


@server.tool()
def secret(name: str) -> str:
    """Return one variable."""
    return os.environ.get(name, "")


@server.tool(name="delete.everything")
def delete_everything() -> str:
    """Delete everything."""
    return "all is gone"


@server.tool()
def fail() -> str:
    """Fail."""
    raise ValueError("the disk is full")


@server.tool(structured_output=False)
def picture() -> list[str | Image]:
    """Draw a pixel."""
    return ["here it is", Image(data=PIXEL, format="png")]


@server.tool()
def process() -> int:
    """Return the id of the process."""
    return os.getpid()


@server.tool()
def shout(text: str) -> str:
    """Write to the standard error."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
    return "done"


@server.tool()
def block(seconds: float) -> str:
    """Block the whole server."""
    time.sleep(seconds)
    return "at last"


@server.tool()
async def wait(path: str) -> str:
    """Say by a file that the call is here, and never answer."""
    with open(path, "w") as file:  # noqa: ASYNC230
        file.write(str(os.getpid()))
    await asyncio.Event().wait()
    return "never"


@server.tool()
def crash(path: str) -> str:
    """End the process in the middle of the call, and note that the call was made."""
    with open(path, "a") as file:
        file.write("called\n")
    os._exit(3)


@server.tool(annotations=ToolAnnotations(idempotent_hint=True))
def crash_once(path: str) -> str:
    """End the process in the middle of the first call only."""
    with open(path, "a") as file:
        file.write("called\n")
    with open(path) as file:
        if len(file.readlines()) == 1:
            os._exit(3)
    return "the second time"


@server.tool()
async def learn(name: str, ctx: Context) -> str:
    """Get a new tool, and say so."""

    def extra() -> str:
        """Answer as the new tool."""
        return f"I am {name}"

    server.add_tool(extra, name=name)
    await ctx.session.send_tool_list_changed()
    await ctx.notify_tools_changed()
    return "learned"


@server.tool()
async def roots(known: Annotated[ListRootsResult, Resolve(ListRoots)]) -> list[str]:
    """Return the roots of the client."""
    return [str(root.uri) for root in known.roots]


@server.resource("notes://today")
def today() -> str:
    """Return the notes of today."""
    return "Buy milk."


async def unknown(ctx: Any, params: Any) -> NoReturn:
    """Know nothing of the protocol of 2026, as servers written before."""
    raise MCPError(METHOD_NOT_FOUND, "Method not found")


if __name__ == "__main__":
    if "legacy" in sys.argv:
        server._lowlevel_server.add_request_handler("server/discover", RequestParams, unknown)
    if "garbage" in sys.argv:
        sys.stdout.write("Welcome!\n{not json\n\x00\x01\n")
        sys.stdout.flush()
    if sys.argv[1:2] == ["http"]:
        server.run("streamable-http", port=int(sys.argv[2]))
    else:
        server.run("stdio")
