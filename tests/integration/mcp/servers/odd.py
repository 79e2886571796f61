"""A server whose tools have odd names; each answers with its own."""

import anyio
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp_types import (
    AudioContent,
    BlobResourceContents,
    CallToolRequestParams,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    ListToolsResult,
    ResourceLink,
    TextContent,
    TextResourceContents,
    Tool,
)

GIF = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
"""One pixel."""

NAMES = [
    "read_file",
    "delete_file",
    "Delete_File",
    "files.read",
    "files/read",
    "größe",
    "x" * 100,
    "everything",
    "nothing",
    "structured",
]


async def list_tools(ctx: object, params: object) -> ListToolsResult:
    """List them over two pages."""
    half = len(NAMES) // 2
    is_second = getattr(params, "cursor", None) == "2"
    names = NAMES[half:] if is_second else NAMES[:half]
    tools = [Tool(name=name, input_schema={"type": "object"}) for name in names]
    return ListToolsResult(tools=tools, next_cursor=None if is_second else "2")


async def call_tool(ctx: object, params: CallToolRequestParams) -> CallToolResult:
    """Answer with the name, or with all there is."""
    match params.name:
        case "everything":
            content = [
                TextContent(text="a text"),
                ImageContent(data=GIF, mime_type="image/png"),
                ImageContent(data="aGVsbG8=", mime_type="image/png"),
                ImageContent(data="no base64!", mime_type="image/gif"),
                AudioContent(data="aGVsbG8=", mime_type="audio/wav"),
                EmbeddedResource(
                    resource=TextResourceContents(uri="file:///a.txt", text="a document")
                ),
                EmbeddedResource(
                    resource=BlobResourceContents(
                        uri="file:///a.pdf", blob="aGVsbG8=", mime_type="application/pdf"
                    )
                ),
                ResourceLink(name="b", uri="file:///b.txt", description="another"),
            ]
            return CallToolResult(content=content)
        case "nothing":
            return CallToolResult(content=[])
        case "structured":
            return CallToolResult(content=[], structured_content={"a": [1, 2]})
        case name:
            return CallToolResult(content=[TextContent(text=f"called {name}")])


async def main() -> None:
    server = Server("odd", on_list_tools=list_tools, on_call_tool=call_tool)
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


if __name__ == "__main__":
    anyio.run(main)
