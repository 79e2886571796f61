"""A model at a provider or on a server, through DSPy's engines."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, cast
from urllib.parse import urlsplit, urlunsplit

from pydantic import SecretStr

from flock.core.usage import Usage
from flock.engines.chat import ChatAnswer, ChatRequest, ToolRequest
from flock.engines.dspy.loading import (
    close_litellm,
    load_clients,
    load_dspy,
    load_litellm,
    open_litellm,
)
from flock.engines.dspy.prices import price
from flock.engines.dspy.provider_errors import as_engine_error, redacted, refuses_schema
from flock.engines.dspy.response_format import Form, response_format
from flock.errors import DeclarationError, EngineError, FlockError, ModelUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dspy.lm15 import LM15Error, Request, Response

_OPENAI: Final = "openai-chat"
_COMPATIBLE: Final = "vllm"
"""What DSPy's clients call OpenAI, and a server that speaks its protocol."""

NO_KEY: Final = "none"
"""What a server is sent as a key that was given by address and needs none."""

_SECRET_HEADER: Final = re.compile("auth|key|token|secret|cookie", re.IGNORECASE)
_FINISHED: Final = {"tool_call": "tool_calls"}
_OTHER_USAGE: Final = ("anthropic", "claude")
"""Providers whose input tokens leave the cached ones out."""
_OWN_REASONING: Final = ("gemini", "vertex", "xai")
"""Providers whose output tokens leave the reasoning out."""


class _Backend(Protocol):
    """One of DSPy's asynchronous engines: it asks once, and tries nothing again."""

    async def complete(self, request: Request) -> Response: ...

    def stream(self, request: Request) -> AsyncIterator[Any]: ...

    async def aclose(self) -> None: ...


class _Selection(Protocol):
    """Which engine DSPy would ask."""

    native: bool
    resolution: Any


class HostedModel:
    """A model that is asked over the network: of any provider that DSPy reaches.

    Providers and servers that speak a protocol DSPy knows are asked by its own clients; the
    rest through LiteLLM. A schema is asked for as strictly as the provider takes it: when one
    refuses it, a looser form is used from then on.

    Args:
        name: The model string: `provider/name`.
        api_base: Address of an OpenAI-compatible server, or another one of the provider;
            `<PROVIDER>_API_BASE` in the environment unless said.
        api_key: The key; in the provider's environment variable unless given. A server that was
            given by address is sent the word `none` without one.
        client: Further parameters of the connection: `timeout` in seconds, `headers`, ...
        calls_tools: Whether it takes tools; otherwise they go through its answers.

    Raises:
        DeclarationError: The extra `dspy` is not installed or has another version, or `api_base`
            holds a password.
    """

    def __init__(
        self,
        name: str,
        *,
        api_base: str | None = None,
        api_key: SecretStr | str | None = None,
        client: Mapping[str, Any] | None = None,
        calls_tools: bool = True,
    ) -> None:
        load_dspy()
        load_clients()
        self._name = name
        self._provider = name.partition("/")[0] if "/" in name else ""
        self._api_base = api_base or _environment(self._provider, "API_BASE", "BASE_URL")
        if "@" in urlsplit(self._api_base or "").netloc:
            msg = (
                f"the api_base of model {name!r} holds a user or password, which would be shown "
                "wherever the address is; leave it out, and give api_key or "
                "lm_kwargs={'headers': ...}"
            )
            raise DeclarationError(msg)
        self._api_key = SecretStr(api_key) if isinstance(api_key, str) else api_key
        self._client = {k: v for k, v in (client or {}).items() if k != "model_type"}
        self._type: str = (client or {}).get("model_type", "chat")
        self._calls_tools = calls_tools
        self._backend: _Backend | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._form = Form.STRICT if self._api_base is None else Form.SCHEMA
        self._keeps_schema: bool | None = None
        self._takes_images: bool | None = None
        self._wire_provider = self._provider
        self._wire_name = name

    def __repr__(self) -> str:
        address = urlunsplit(urlsplit(self._api_base or "")._replace(query="", fragment=""))
        at = f", api_base={address!r}" if address else ""
        return f"HostedModel({self._name!r}{at})"

    @property
    def name(self) -> str:
        """The model string, as the user wrote it."""
        return self._name

    @property
    def calls_tools(self) -> bool:
        """Whether it takes tools."""
        return self._calls_tools

    @property
    def keeps_schema(self) -> bool:
        """Whether the provider is known to enforce schemas; a server may only claim to."""
        if self._keeps_schema is None:
            self._keeps_schema = self._api_base is None and self._is_known_to_keep_schemas()
        return self._keeps_schema and self._form <= Form.PLAIN

    @property
    def takes_images(self) -> bool:
        """Whether it sees images, by DSPy's list of models; one that is not listed may."""
        if self._takes_images is None:
            known = self._listed()
            self._takes_images = not known or known.get("supports_vision") is True
        return self._takes_images

    def price(self, input_tokens: int, output_tokens: int) -> float | None:
        """Return the list price in US dollars; None for other servers and models not listed."""
        if self._api_base is not None:
            return None
        return price(
            self._name,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cached_tokens=0,
            written_tokens=0,
        )

    async def chat(
        self, request: ChatRequest, on_token: Callable[[str], None] | None = None
    ) -> ChatAnswer:
        """Ask once; see `ChatModel.chat`.

        Raises:
            EngineError: It could not answer; the subclass says why.
        """
        from dspy.lm15 import LM15Error

        started = time.perf_counter()
        form = refused = self._form
        while True:
            backend = await self._ready()
            try:
                made = self._request(request, form)
                if made is None:  # this schema alone cannot be asked for like that
                    form = Form(form + 1)
                    continue
                responses = await self._answer(backend, made, on_token)
            except LM15Error as error:
                if request.schema is not None and form < Form.NONE and refuses_schema(error):
                    form = Form(form + 1)
                    refused = form
                    continue
                raise self._told(error) from self._presentable(error)
            # Only now: a refusal of all forms was about something else.
            self._form = max(self._form, refused)
            return self._chat_answer(responses, time.perf_counter() - started)

    async def aclose(self) -> None:
        """Close the connections. It can be asked again afterwards."""
        backend, self._backend = self._backend, None
        loop, self._loop = self._loop, None
        if backend is not None and loop is asyncio.get_running_loop():
            await backend.aclose()
            await close_litellm(self)

    # --- asking ---

    def _request(self, request: ChatRequest, form: Form) -> Request | None:
        """Return the request as DSPy's engines take it; None if not in this form.

        Raises:
            EngineError: A parameter is none of a request.
        """
        from dspy.lm15 import LM15Error, request_from_openai_chat

        body: dict[str, Any] = {
            **request.options,
            "model": self._wire_name,
            "messages": [dict(message) for message in request.messages],
        }
        if request.temperature is not None:
            body["temperature"] = request.temperature
        if request.max_tokens is not None:
            body["max_tokens"] = request.max_tokens
        if request.tools:
            body["tools"] = [dict(tool) for tool in request.tools]
        if request.schema is not None:
            asked = response_format(request.schema, form)
            if asked is None and form is not Form.NONE:
                return None
            if asked is not None:
                body["response_format"] = asked
        try:
            return request_from_openai_chat(body)
        except (LM15Error, TypeError, ValueError) as error:
            msg = f"model {self._name!r} cannot be asked like this: {self._clean(str(error))}"
            raise EngineError(msg) from None

    async def _answer(
        self, backend: _Backend, request: Request, on_token: Callable[[str], None] | None
    ) -> list[Response]:
        """Ask in one piece or streamed, and again in one piece if nothing was streamed.

        DSPy's clients do not stream refusals: only the same question in one piece shows them.

        Returns:
            What came, the answer last.

        Raises:
            LM15Error: The provider's client raised it.
            ModelUnavailable: What came is no answer, or only the beginning of one.
        """
        from dspy.lm15 import LM15Error

        came: list[Response] = []
        try:
            if on_token is not None and self._type == "chat":
                is_empty, response = await self._streamed(backend, request, on_token)
                came.append(response)
                if not is_empty or response.finish_reason != "stop":
                    return came
            came.append(await backend.complete(request))
        except (FlockError, LM15Error):
            raise
        except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
            # DSPy's clients let through what a server sends that is not of the protocol.
            said = self._clean(f"{type(error).__name__}: {error}")
            msg = f"model {self._name!r} sent what is no answer of its protocol: {said}"
            raise ModelUnavailable(msg) from None
        return came

    async def _streamed(
        self, backend: _Backend, request: Request, on_token: Callable[[str], None]
    ) -> tuple[bool, Response]:
        """Return whether the answer that was streamed is empty, and the answer.

        Raises:
            ModelUnavailable: It broke off.
        """
        from dspy.lm15 import AsyncResponseStream

        is_ended, is_empty = False, True
        async with AsyncResponseStream(backend.stream(request), request) as stream:
            events = cast("AsyncIterator[Any]", stream.events())
            async for event in events:
                if event.type == "delta":
                    is_empty = False
                    if event.delta.type == "text":
                        on_token(event.delta.text)
                elif event.type == "end" and event.finish_reason is not None:
                    is_ended = True
            response = await stream.response()
        if not is_ended:
            msg = f"the answer of model {self._name!r} broke off: its stream ended without a reason"
            raise ModelUnavailable(msg)
        return is_empty, response

    async def _ready(self) -> _Backend:
        """Return DSPy's engine for the running event loop, to which its connections belong."""
        loop = asyncio.get_running_loop()
        if self._backend is not None and self._loop is loop:
            return self._backend
        if self._native_provider() is None:
            await asyncio.to_thread(load_litellm)  # it takes seconds
        if self._backend is None or self._loop is not loop:  # not made by another call meanwhile
            self._backend = self._make_backend()
            self._loop = loop
        return self._backend

    def _make_backend(self) -> _Backend:
        from dspy.clients.engines import AsyncLiteLLMEngine, AsyncLM15Engine
        from dspy.lm15 import RouterConfig, Timeouts

        key = None if self._api_key is None else self._api_key.get_secret_value()
        if key is None and self._api_base is not None:
            key = _environment(self._provider, "API_KEY") or NO_KEY
        provider = self._native_provider()
        if provider is None:
            open_litellm(self)
            options = {"api_base": self._api_base, "api_key": key, **self._client}
            given = {name: value for name, value in options.items() if value is not None}
            return cast("_Backend", AsyncLiteLLMEngine(model_type=self._type, **given))
        if provider == _OPENAI and self._is_elsewhere():
            # Servers that only speak OpenAI's protocol take what it was before `max_tokens`
            # became `max_completion_tokens`, as vLLM does.
            provider = _COMPATIBLE
            self._wire_name = f"{provider}:{self._name.partition('/')[2] or self._name}"
        self._wire_provider = provider
        timeout: float | None = self._client.get("timeout")
        config = RouterConfig(
            api_keys=None if key is None else {provider: key},
            base_urls=None if self._api_base is None else {provider: self._api_base},
            timeouts=None
            if timeout is None
            else Timeouts(read=timeout, write=timeout, pool=timeout),
        )
        return cast("_Backend", AsyncLM15Engine(config, model_type=self._type))

    def _native_provider(self) -> str | None:
        """Return the provider if DSPy's own clients reach it; None if only LiteLLM does.

        An address in the environment sends DSPy to LiteLLM. Here it is one like any other.
        """
        selected = self._selection()
        if selected.resolution is None or set(self._client) - {"timeout"}:
            return None
        is_native = selected.native or self._api_base is not None
        return str(selected.resolution.provider) if is_native else None

    def _is_elsewhere(self) -> bool:
        host = urlsplit(self._api_base or "").hostname or ""
        return bool(host) and not host.endswith(".openai.com")

    def _selection(self) -> _Selection:
        """Return which of DSPy's engines reaches the model, by its own rules."""
        from dspy.clients import backend_selection

        select = cast("Callable[[object], _Selection]", vars(backend_selection)["select_backend"])
        return select(self._lm())

    def _is_known_to_keep_schemas(self) -> bool:
        return self._native_provider() is not None and bool(self._lm().supports_response_schema)

    def _listed(self) -> Mapping[str, Any]:
        """Return what DSPy's list of models says; nothing about those of other servers."""
        from dspy.clients import model_metadata

        selected = self._selection()
        if self._api_base is not None or selected.resolution is None:
            return {}
        look_up = cast(
            "Callable[[str, str], Mapping[str, Any]]", vars(model_metadata)["model_info"]
        )
        return look_up(selected.resolution.provider, selected.resolution.model)

    def _lm(self) -> Any:  # noqa: ANN401 - DSPy's own description of a model, untyped
        """Return the model as DSPy describes it; it is never asked itself."""
        dspy: Any = load_dspy()
        clients = {} if self._api_base is None else {"api_base": self._api_base}
        return dspy.LM(
            self._name,
            model_type=self._type,
            cache=False,
            num_retries=0,
            **self._client,
            **clients,
        )

    # --- answers and errors ---

    def _chat_answer(self, responses: Sequence[Response], seconds: float) -> ChatAnswer:
        response = responses[-1]
        texts: list[str] = []
        refusals: list[str] = []
        requests: list[ToolRequest] = []
        for part in cast("Iterable[Any]", response.message.parts):
            if part.type == "text":
                texts.append(part.text)
            elif part.type == "refusal":
                refusals.append(part.text)
            elif part.type == "tool_call":
                requests.append(ToolRequest(part.id, part.name, _arguments(part.input)))
        reason = str(response.finish_reason)
        if reason == "error":
            msg = f"model {self._name!r} failed while it answered"
            raise ModelUnavailable(msg)
        return ChatAnswer(
            text="".join(texts),
            usage=sum(map(self._usage, responses), start=Usage(latency=seconds)),
            tool_requests=tuple(requests),
            finish_reason=_FINISHED.get(reason, reason),
            refusal="\n".join(refusals) or None,
        )

    def _usage(self, response: Response) -> Usage:
        """Return the usage in the same terms for every provider, with its price."""
        found = response.usage
        cached, written = found.cache_read_tokens or 0, found.cache_write_tokens or 0
        taken, given = found.input_tokens or 0, found.output_tokens or 0
        if any(word in self._wire_provider for word in _OTHER_USAGE):
            taken += cached + written
        if any(word in self._wire_provider for word in _OWN_REASONING):
            given += found.reasoning_tokens or 0
        usd: float | None = None
        if self._api_base is None and found.input_tokens is not None:
            usd = price(
                self._name,
                input_tokens=taken,
                output_tokens=given,
                cached_tokens=cached,
                written_tokens=written,
            )
        return Usage(1, taken, given, cached, usd)

    def _told(self, error: LM15Error) -> EngineError:
        return as_engine_error(error, self._name, self._secrets())

    def _presentable(self, error: LM15Error) -> LM15Error | None:
        """Return the provider's error as the cause to be shown, unless a key stands in it."""
        return error if self._clean(str(error)) == str(error) else None

    def _clean(self, text: str) -> str:
        return redacted(text, self._secrets())

    def _secrets(self) -> list[str]:
        """Return what must not be told: keys, and the headers that carry them."""
        key = None if self._api_key is None else self._api_key.get_secret_value()
        found = [key, _environment(self._provider, "API_KEY")]
        for option in ("headers", "extra_headers"):
            headers: Mapping[str, str] = self._client.get(option) or {}
            found.extend(text for name, text in headers.items() if _SECRET_HEADER.search(name))
        return [secret for secret in found if secret]


def _environment(provider: str, *names: str) -> str | None:
    prefix = (provider or "openai").upper().replace("-", "_")
    return next((found for name in names if (found := os.environ.get(f"{prefix}_{name}"))), None)


def _arguments(given: Mapping[str, Any]) -> str:
    """Return the arguments of a tool call as the model wrote them."""
    if set(given) == {"partial_json"}:  # what DSPy makes of arguments that are no JSON
        return str(given["partial_json"])
    return json.dumps(dict(given), ensure_ascii=False)
