"""A server that speaks the chat completions protocol on loopback, and misbehaves on demand.

https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

from pydantic import BaseModel

from flock.core.types import registry
from flock.engines.dspy.sample import sample
from flock.engines.dspy.task import name_of

Act = Callable[["Exchange"], Awaitable[None]]
"""What the server does with one request."""


class Exchange:
    """One request and the way to answer it."""

    def __init__(
        self,
        server: ChatServer,
        headers: Mapping[str, str],
        body: dict[str, Any],
        writer: asyncio.StreamWriter,
    ) -> None:
        self.server = server
        self.headers = headers
        self.body = body
        self.writer = writer

    @property
    def is_streaming(self) -> bool:
        return bool(self.body.get("stream"))

    @property
    def schema(self) -> dict[str, Any] | None:
        """The schema that is asked for: as a parameter, or in the prompt."""
        asked: dict[str, Any] = self.body.get("response_format") or {}
        if asked.get("type") == "json_schema":
            found: dict[str, Any] = asked["json_schema"]["schema"]
            return found
        system = self.body["messages"][0]["content"]
        _, marker, rest = system.partition("this JSON Schema:\n")
        if not marker:
            return None
        decoded: dict[str, Any] = json.JSONDecoder().raw_decode(rest)[0]
        return decoded

    async def reply(
        self, status: int, body: object, headers: Mapping[str, str] | None = None
    ) -> None:
        """Answer with a JSON body."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"HTTP/1.1 {status} Because", "content-type: application/json"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        lines += [f"content-length: {len(data)}", "", ""]
        self.writer.write("\r\n".join(lines).encode() + data)
        await self.writer.drain()

    async def fail(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Answer with an error of the protocol."""
        error = {"message": message, "type": "invalid_request_error", "code": code}
        await self.reply(status, {"error": error}, headers)

    async def say(
        self,
        text: str,
        *,
        finish: str | None = "stop",
        refusal: str | None = None,
        tool_calls: Sequence[Mapping[str, Any]] = (),
        piece: int = 7,
    ) -> None:
        """Answer with a message: whole, or streamed in pieces if that was asked for."""
        usage = {
            "prompt_tokens": 11,
            "completion_tokens": 7,
            "total_tokens": 18,
            "prompt_tokens_details": {"cached_tokens": 3},
        }
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if refusal is not None:
            message |= {"content": None, "refusal": refusal}
        if tool_calls:
            message |= {"content": text or None, "tool_calls": list(tool_calls)}
        head = {"id": "chatcmpl-1", "created": 1, "model": self.body["model"]}
        if not self.is_streaming:
            choice = {"index": 0, "message": message, "finish_reason": finish}
            whole = {**head, "object": "chat.completion", "choices": [choice], "usage": usage}
            await self.reply(200, whole)
            return
        await self.open_stream()
        if refusal is not None:
            await self.chunk({"role": "assistant", "refusal": refusal})
        if tool_calls:
            indexed = [{"index": n, **call} for n, call in enumerate(tool_calls)]
            await self.chunk({"role": "assistant", "tool_calls": indexed})
        for start in range(0, len(text) if refusal is None else 0, piece):
            await self.chunk({"content": text[start : start + piece]})
        await self.chunk({}, finish=finish, usage=usage)
        await self.close_stream()

    async def open_stream(self) -> None:
        self.writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        await self.writer.drain()

    async def chunk(
        self, delta: Mapping[str, Any], *, finish: str | None = None, usage: object = None
    ) -> None:
        """Send one event of a stream."""
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        event: dict[str, Any] = {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": self.body["model"],
            "choices": [choice],
        }
        if usage is not None:
            event["usage"] = usage
        await self._send(f"data: {json.dumps(event)}\n\n".encode())

    async def close_stream(self) -> None:
        await self._send(b"data: [DONE]\n\n")
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()

    async def _send(self, data: bytes) -> None:
        self.writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        await self.writer.drain()

    def drop(self) -> None:
        """Cut the connection."""
        self.writer.transport.abort()


class ChatServer:
    """Answers as its `acts` say, one a request, and sensibly after that.

    Attributes:
        acts: What to do with the next requests.
        requests: The bodies of the requests so far.
        headers: Their headers.
        types: The types that may be asked for, by their key in the answer.
    """

    def __init__(self, *types: type[BaseModel]) -> None:
        self.acts: list[Act] = []
        self.requests: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        self.types: dict[str, type[BaseModel]] = {}
        self.serve(*types)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def serve(self, *types: type[BaseModel]) -> None:
        """Let types be asked for."""
        for model in types:
            self.types[_key(model)] = model

    @property
    def url(self) -> str:
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://{host}:{port}/v1"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self._exchange(reader, writer):
                    pass
        finally:
            writer.close()
            self._writers.discard(writer)
            self._tasks.discard(task)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines if line)
        }
        data = await reader.readexactly(int(headers.get("content-length", "0")))
        body: dict[str, Any] = json.loads(data) if data else {}
        exchange = Exchange(self, headers, body, writer)
        if not first.startswith("POST /v1/chat/completions "):
            await exchange.fail(404, f"no such address: {first}")
            return True
        self.requests.append(body)
        self.headers.append(headers)
        act = self.acts.pop(0) if self.acts else good
        await act(exchange)
        return not writer.is_closing()

    def answer_to(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """Return an answer that a schema asks for: samples of the types it names."""
        answer: dict[str, Any] = {}
        for key, part in schema["properties"].items():
            model = self.types[key]
            if part.get("type") == "array":
                count = max(part.get("minItems", 0), 1)
                answer[key] = [_dump(sample(model, seed=n)) for n in range(count)]
            else:
                answer[key] = _dump(sample(model))
        return answer


def _key(model: type[BaseModel]) -> str:
    return name_of(registry.entry(model), set())


def _dump(obj: BaseModel) -> Any:
    return json.loads(obj.model_dump_json(by_alias=True, exclude_computed_fields=True))


# --- acts ---


async def good(exchange: Exchange) -> None:
    """Answer with what the schema asks for."""
    schema = exchange.schema
    assert schema is not None, "no schema was asked for"
    await exchange.say(json.dumps(exchange.server.answer_to(schema)))


def saying(text: str, **how: Any) -> Act:
    """Answer with this text."""

    async def act(exchange: Exchange) -> None:
        await exchange.say(text, **how)

    return act


def failing(status: int, message: str = "no", **how: Any) -> Act:
    """Answer with an error."""

    async def act(exchange: Exchange) -> None:
        await exchange.fail(status, message, **how)

    return act


async def dropping(exchange: Exchange) -> None:
    """Cut the connection without an answer."""
    exchange.drop()


async def cutting(exchange: Exchange) -> None:
    """Begin a stream, and cut the connection in the middle."""
    await exchange.open_stream()
    await exchange.chunk({"role": "assistant", "content": '{"repor'})
    exchange.drop()


async def ending_early(exchange: Exchange) -> None:
    """End a stream in good order, but without its end."""
    await exchange.open_stream()
    await exchange.chunk({"role": "assistant", "content": '{"repor'})
    await exchange.close_stream()


async def hanging(exchange: Exchange) -> None:
    """Never answer."""
    await exchange.writer.drain()
    await asyncio.Event().wait()
