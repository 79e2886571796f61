"""A server as it should be: texts, models, images, resources, roots, errors, changing tools."""

import asyncio
import os
import socket
import sys
import time
from typing import Annotated, Any

import anyio
from mcp.server.mcpserver import Context, Image, ListRoots, MCPServer, Resolve
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage
from mcp_types import (
    METHOD_NOT_FOUND,
    ErrorData,
    JSONRPCError,
    ListRootsResult,
    ToolAnnotations,
)
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

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
def header(name: str, ctx: Context) -> str:
    """Return one header of the request."""
    return (ctx.headers or {}).get(name, "")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
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


@server.custom_route("/forbidden", methods=["GET", "POST"])
async def forbidden(request: Request) -> Response:
    """Let nobody in."""
    return Response(status_code=403)


@server.resource("notes://today")
def today() -> str:
    """Return the notes of today."""
    return "Buy milk."


async def serve_as_before() -> None:
    """Speak over the standard streams, and know nothing of the protocol of 2026."""
    lowlevel = server._lowlevel_server
    send, receive = anyio.create_memory_object_stream[SessionMessage | Exception](16)
    async with stdio_server() as (read, write), anyio.create_task_group() as group:

        async def pass_on() -> None:
            async with send:
                async for item in read:
                    message: Any = getattr(item, "message", None)
                    if getattr(message, "method", None) == "server/discover":
                        error = ErrorData(code=METHOD_NOT_FOUND, message="Method not found")
                        answer = JSONRPCError(jsonrpc="2.0", id=message.id, error=error)
                        await write.send(SessionMessage(answer))
                    else:
                        await send.send(item)

        group.start_soon(pass_on)
        await lowlevel.run(receive, write, lowlevel.create_initialization_options())


def app_as_before(app: Any) -> Any:
    """Wrap an application so that it knows nothing of the protocol of 2026."""

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        if dict(scope.get("headers", ())).get(b"mcp-protocol-version") == b"2026-07-28":
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        else:
            await app(scope, receive, send)

    return wrapped


if __name__ == "__main__":
    if "garbage" in sys.argv:
        sys.stdout.write("Welcome!\n{not json\n\x00\x01\n")
        sys.stdout.flush()
    if "http" in sys.argv:
        import uvicorn  # which takes a while, and the others do not need

        listening = socket.create_server(("127.0.0.1", int(sys.argv[-1])))
        sys.stdout.write(f"{listening.getsockname()[1]}\n")
        sys.stdout.flush()
        app = server.streamable_http_app()
        config = uvicorn.Config(
            app_as_before(app) if "legacy" in sys.argv else app, log_level="critical"
        )
        uvicorn.Server(config).run([listening])
    elif "legacy" in sys.argv:
        anyio.run(serve_as_before)
    else:
        server.run("stdio")
