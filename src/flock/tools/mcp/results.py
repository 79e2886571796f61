"""What an MCP server answered, as a model reads it."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final

from pydantic_core import to_json

from flock.core.media.sniffing import sniffed
from flock.core.tool import ToolAnswer, ToolImage, ToolResource

if TYPE_CHECKING:
    import mcp_types as types

MAX_IMAGES: Final = 16
"""How many images of one answer are kept."""
MAX_IMAGE_BYTES: Final = 10_000_000
"""How large an image may be to be kept."""
_SHOWN: Final = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"})
"""What models take; a provider refuses a whole request for one image that it cannot read."""


def answer_of_result(result: types.CallToolResult) -> ToolAnswer:
    """Return a result as an answer: texts in their order, images beside them.

    What a model cannot be given (audio, binary files, too large images) is said in words.
    Structured content is only told where there is no other, since servers repeat it as text.
    """
    texts: list[str] = []
    images: list[ToolImage] = []
    for block in result.content:
        match block.type:
            case "text":
                texts.append(block.text)
            case "image":
                image = _image(block.data)
                if image is None or len(images) == MAX_IMAGES:
                    texts.append(f"[An image of type {block.mime_type}, which was left out]")
                else:
                    images.append(image)
            case "audio":
                texts.append(f"[Audio of type {block.mime_type}, which was left out]")
            case "resource":
                texts.append(_resource_text(block.resource))
            case "resource_link":
                about = f": {block.description}" if block.description else ""
                texts.append(f"[A link to the resource {block.name!r}, {block.uri}{about}]")
    structured = result.structured_content
    if structured is not None and not texts:
        texts.append(to_json(structured).decode())
    if not texts and not images:
        texts.append("It failed without a word." if result.is_error else "Done; nothing returned.")
    return ToolAnswer("\n".join(texts), result.is_error, tuple(images))


def resource_of(
    uri: str, contents: list[types.TextResourceContents | types.BlobResourceContents]
) -> ToolResource:
    """Return what was read of a resource as one document."""
    media_type = next((part.mime_type for part in contents if part.mime_type), "text/plain")
    return ToolResource(uri, "\n".join(map(_resource_text, contents)), media_type)


def _resource_text(resource: types.TextResourceContents | types.BlobResourceContents) -> str:
    text: str | None = getattr(resource, "text", None)
    if text is not None:
        return text
    kind = resource.mime_type or "unknown type"
    return f"[A file of {kind}, {resource.uri}, which was left out]"


def _image(data: str) -> ToolImage | None:
    """Return an image that models take; what it is is told by its content, not by the server."""
    if len(data) > MAX_IMAGE_BYTES * 4 // 3 + 4:
        return None
    try:
        content = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return None
    kind = sniffed(content)
    return ToolImage(content, kind) if kind in _SHOWN else None
