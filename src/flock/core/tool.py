"""What an agent's model may call: a tool, and what it answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from types import FrameType

    from flock.core.context import Context
    from flock.core.spans import Span

DEFAULT_TOOL_CALLS: Final = 20
"""How many tools one run may call unless the agent says otherwise."""


@dataclass(frozen=True, slots=True)
class ToolImage:
    """An image that a tool answered with.

    Attributes:
        data: The file's bytes, as the tool gave them.
        media_type: Their media type, such as `"image/png"`.
    """

    data: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class ToolAnswer:
    """What a tool answers to the model.

    Attributes:
        text: What the model reads.
        is_error: Whether the call failed or was refused; the text then says why.
        images: Images beside the text, in order.
    """

    text: str
    is_error: bool = False
    images: tuple[ToolImage, ...] = ()

    def as_text(self) -> str:
        """Return all of it for a model that takes no images: the text, and a word on each."""
        words = [
            f"[An image of type {image.media_type} and {len(image.data):,} bytes, which cannot be "
            "shown to this model]"
            for image in self.images
        ]
        return "\n".join([self.text, *words] if self.text else words)


@dataclass(frozen=True, slots=True)
class ToolResource:
    """A document that a tool server gives to the model to read.

    Attributes:
        uri: Where it is from.
        text: Its content.
        media_type: Its media type, as the server says.
    """

    uri: str
    text: str
    media_type: str = "text/plain"


class Tool(Protocol):
    """A function that a model may call; see `flock_tool`."""

    @property
    def name(self) -> str:
        """What the model calls it by, unique in its agent."""
        ...

    @property
    def description(self) -> str:
        """What it does, for the model to read."""
        ...

    @property
    def parameters(self) -> Mapping[str, Any]:
        """JSON Schema of the object of its arguments."""
        ...

    async def call(
        self, arguments: str | Mapping[str, object], ctx: Context | None = None
    ) -> ToolAnswer:
        """Call it as a model asked.

        Args:
            arguments: JSON text of one object, as the model wrote it, or the object.
            ctx: The run's context; None outside a run.

        Returns:
            What to tell the model. A failure is an answer too: only a cancellation from
            outside is raised.
        """
        ...


Approve = Callable[[Tool, dict[str, Any], "Context | None"], bool | str | Awaitable[bool | str]]
"""Says whether a tool may be called with these arguments: True, or False or the reason why not."""


class ToolSource(Protocol):
    """Where tools come from that are known only once the board is open: an MCP server."""

    @property
    def name(self) -> str:
        """Names the source in errors."""
        ...

    async def tools(self) -> Sequence[Tool]:
        """Return the tools as they are now."""
        ...

    async def resources(self) -> Sequence[ToolResource]:
        """Return what the source was declared to give the model to read, as it is now."""
        ...


class ToolMaker(Protocol):
    """Makes tools of what an agent is declared with; the board's."""

    def tool(
        self, given: object, approve: Approve | None, timeout: Span | None, frame: FrameType | None
    ) -> Tool:
        """Return a tool of a function, a method or a tool.

        Args:
            given: What the user gave.
            approve: Is asked before each call, after the tool's own.
            timeout: How long a call may take, unless the tool says.
            frame: The call under way in which names of annotations may be found.

        Raises:
            DeclarationError: A model could not call it.
        """
        ...

    def source(self, server: object, approve: Approve | None) -> ToolSource:
        """Return the tools of an MCP server.

        Raises:
            DeclarationError: It is no server, or another one has its name.
        """
        ...
