"""A language model inside the process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from flock.core.usage import Usage
from flock.engines.chat import ChatAnswer, ChatRequest
from flock.engines.dspy.allowance import prompt_tokens
from flock.engines.local.files import find_model
from flock.engines.local.server import (
    Answer,
    LoadedModel,
    Settings,
    complain,
    leave,
    require,
    share,
)
from flock.engines.spotlight import without_controls
from flock.errors import EngineError

_CONTEXT: Final = 4096
_PARALLEL: Final = 2
_MAX_TOKENS: Final = 1024
_STEP: Final = 64
_RESERVED: Final = frozenset({
    "messages", "stream", "stream_options", "return_progress", "grammar", "json_schema",
    "response_format", "tools", "tool_choice", "n", "max_tokens", "max_completion_tokens",
    "n_predict", "model",
})  # fmt: skip


class LocalModel:
    """A model of llama.cpp, loaded into this process when it is first asked.

    All boards of a process that use the same file, loaded alike, share one instance; it leaves
    the memory when the last of them has closed. Requests beyond `parallel` wait in the order
    they came.

    Args:
        name: `"local/NAME"` of the catalogue or `"local//path/to/model.gguf"`.
        context: Tokens that one request may take, prompt and answer; the model's of the
            catalogue, else 4096. Each of `parallel` takes memory for as many.
        parallel: Requests that are answered at once.
        threads: Threads that compute; None for the cores that are free when it is loaded.
        max_tokens: Bound on an answer where the request sets none.
        cache: The folder of pulled models; Flock's own if None.
        verbose: Whether llama.cpp's log goes to standard error.

    Raises:
        DeclarationError: The catalogue has no such name, or a number is below one.
    """

    calls_tools = False
    keeps_schema = True
    takes_images = False

    def __init__(
        self,
        name: str,
        *,
        context: int | None = None,
        parallel: int | None = None,
        threads: int | None = None,
        max_tokens: int = _MAX_TOKENS,
        cache: Path | None = None,
        verbose: bool = False,
    ) -> None:
        self._file = find_model(name, cache=cache)
        entry = self._file.entry
        self._settings = Settings(
            context or (entry.context if entry else _CONTEXT),
            parallel or (entry.parallel if entry else _PARALLEL),
            threads,
            verbose,
        )
        self._sampling: Mapping[str, Any] = entry.sampling if entry else {}
        self._max_tokens = max_tokens
        self._held: LoadedModel | None = None

    def __repr__(self) -> str:
        return f"LocalModel({self.name!r})"

    @property
    def name(self) -> str:
        """The model string, as the user wrote it."""
        return self._file.name

    def check(self) -> None:
        """Find out whether the model can be loaded, without loading it.

        Raises:
            DeclarationError: The extra is not installed.
            EngineError: The model has not been pulled, or its file is none of llama.cpp.
        """
        require()
        self._file.check()

    def price(self, input_tokens: int, output_tokens: int) -> float:
        """Return 0.0: what is computed here is not billed."""
        del input_tokens, output_tokens
        return 0.0

    async def chat(
        self, request: ChatRequest, on_token: Callable[[str], None] | None = None
    ) -> ChatAnswer:
        """Ask once; see `ChatModel.chat`.

        With a schema, every token is held to it, and the answer is bounded so that it ends
        within `max_tokens`, and within what the prompt leaves of `context` (see
        `flock.engines.local.grammar`).

        Raises:
            ContextOverflow: The prompt is longer than `context`.
            EngineError: The model could not be loaded, or cannot do what is asked.
        """
        body = self._body(request)
        if self._held is None:
            self._held = share(self._file, self._settings)
        # The call is a user of its own: closing the model lets it finish.
        model = share(self._file, self._settings)
        hearing = _Hearing(self.name, on_token)
        try:
            await model.ask(body, hearing.hear)
        finally:
            await leave(model)
        return hearing.answer()

    async def aclose(self) -> None:
        """Release the model; its last user unloads it. It can be asked again afterwards."""
        held, self._held = self._held, None
        if held is not None:
            await leave(held)

    def _body(self, request: ChatRequest) -> dict[str, Any]:
        if request.tools:
            msg = f"{self.name!r} cannot call tools by itself; ask for them through the schema"
            raise EngineError(msg)
        if reserved := sorted(_RESERVED & request.options.keys()):
            msg = f"{self.name!r}: the option {reserved[0]!r} is set by Flock; leave it out"
            raise EngineError(msg)
        max_tokens = request.max_tokens or self._max_tokens
        body: dict[str, Any] = {
            **self._sampling,
            **request.options,
            "messages": [self._message(message) for message in request.messages],
            "max_tokens": max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            # Messages while the prompt is being read: a chance to stop then.
            "return_progress": True,
        }
        if request.temperature is not None:
            body["temperature"] = request.temperature
        if request.schema is not None:
            require()
            from flock.engines.local.grammar import constrain

            room = min(max_tokens, self._room(request))
            body["grammar"] = constrain(request.schema, room).text
            # A thought before the answer would break the grammar.
            body.setdefault("chat_template_kwargs", {"enable_thinking": False})
        return body

    def _room(self, request: ChatRequest) -> int:
        """Return about how many tokens the prompt leaves to the answer, rather too few."""
        left = self._settings.context - prompt_tokens(request)
        return max(_STEP, left - left % _STEP)  # few sizes: each is a grammar of its own

    def _message(self, message: Mapping[str, Any]) -> dict[str, Any]:
        content = message.get("content")
        if isinstance(content, str):
            text = content
        elif content is None:
            text = ""
        else:
            text = "\n".join(self._part(part) for part in content)
        # llama.cpp reads control words wherever they stand: text must not end its message.
        return {**message, "content": without_controls(text)}

    def _part(self, part: Mapping[str, Any]) -> str:
        if part.get("type") != "text":
            msg = f"{self.name!r} reads text only, and a message holds {part.get('type')!r}"
            raise EngineError(msg)
        return part["text"]


class _Hearing:
    """An answer as it comes in, chunk by chunk."""

    def __init__(self, name: str, on_token: Callable[[str], None] | None) -> None:
        self._name = name
        self._on_token = on_token
        self._began = time.perf_counter()
        self._pieces: list[str] = []
        self._finish_reason = ""
        self._usage: Mapping[str, Any] = {}

    def hear(self, chunk: Answer) -> None:
        """Take one message of the server in.

        Raises:
            EngineError: It tells of an error.
        """
        if (error := chunk.get("error")) is not None:
            raise complain(self._name, error)
        self._usage = chunk.get("usage") or self._usage
        choices: Sequence[Mapping[str, Any]] = chunk.get("choices", ())
        for choice in choices:
            self._finish_reason = choice.get("finish_reason") or self._finish_reason
            if piece := choice.get("delta", {}).get("content"):
                self._pieces.append(piece)
                if self._on_token is not None:
                    self._on_token(piece)

    def answer(self) -> ChatAnswer:
        """Return the whole.

        Raises:
            EngineError: The server broke off.
        """
        if not self._finish_reason:
            raise EngineError(f"{self._name!r} broke its answer off: {''.join(self._pieces)!r}")
        details: Mapping[str, Any] = self._usage.get("prompt_tokens_details") or {}
        usage = Usage(
            calls=1,
            input_tokens=self._usage.get("prompt_tokens", 0),
            output_tokens=self._usage.get("completion_tokens", 0),
            cached_tokens=details.get("cached_tokens", 0),
            usd=0.0,
            latency=time.perf_counter() - self._began,
        )
        return ChatAnswer("".join(self._pieces), usage, finish_reason=self._finish_reason)
