"""The one seam to language models: a request with messages, an answer with text.

A hosted model, a model inside the process, and a recording all implement `ChatModel`. The
shapes are those of the OpenAI chat completions API, which every provider and server speaks:
https://platform.openai.com/docs/api-reference/chat.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from flock.core.usage import Usage


@dataclass(frozen=True, slots=True)
class ToolRequest:
    """A model's wish to have a tool called.

    Attributes:
        id: The provider's id of the call, to be sent back with its result.
        name: Name of the tool.
        arguments: The arguments as the model wrote them: JSON text, not validated.
    """

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What a model is asked.

    Attributes:
        messages: Messages with `role` and `content`, as in the chat completions API.
        schema: JSON Schema that the whole answer must satisfy; None for free text. It may be
            an `anyOf` of objects at its root. Who cannot keep it may ignore it.
        tools: Functions that the model may call, as in the chat completions API.
        temperature: Randomness; None for the model's own default.
        max_tokens: Bound on the answer; None for the model's own.
        options: Further parameters of the provider.
    """

    messages: Sequence[Mapping[str, Any]]
    schema: Mapping[str, Any] | None = None
    tools: Sequence[Mapping[str, Any]] = ()
    temperature: float | None = None
    max_tokens: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """What a model answered.

    Attributes:
        text: The answer; empty where the model only asks for tools.
        usage: What the call took.
        tool_requests: The tools that the model wants called, in order.
        finish_reason: Why the answer ended: `"stop"`, `"length"`, `"tool_calls"` or
            `"content_filter"`.
        refusal: The model's words where it refused; None otherwise.
    """

    text: str
    usage: Usage
    tool_requests: tuple[ToolRequest, ...] = ()
    finish_reason: str = "stop"
    refusal: str | None = None


class ChatModel(Protocol):
    """A language model that can be asked."""

    @property
    def name(self) -> str:
        """The model string, as the user wrote it."""
        ...

    @property
    def calls_tools(self) -> bool:
        """Whether it takes `ChatRequest.tools`; otherwise tools go through the schema."""
        ...

    @property
    def keeps_schema(self) -> bool:
        """Whether it enforces `ChatRequest.schema` by itself."""
        ...

    @property
    def takes_images(self) -> bool:
        """Whether messages may hold images."""
        ...

    def price(self, input_tokens: int, output_tokens: int) -> float | None:
        """Return the price of a call of that size in US dollars; None where it is not known."""
        ...

    async def chat(
        self, request: ChatRequest, on_token: Callable[[str], None] | None = None
    ) -> ChatAnswer:
        """Ask once.

        Cancelling it ends the request.

        Args:
            request: What to ask.
            on_token: Called on the event loop with each piece of the answer's text as it
                arrives; None if nobody wants to know, then the answer may be fetched whole.

        Raises:
            EngineError: The model could not answer. Its subclass says why: `RateLimited`,
                `ModelUnavailable`, `ContextOverflow`, `ModelRefused`, or itself for the rest.
        """
        ...

    async def aclose(self) -> None:
        """Release what the model holds. It can be asked again afterwards."""
        ...
