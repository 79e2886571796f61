"""A model whose answers are recorded once and replayed from then on."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flock import errors
from flock.core.usage import Usage
from flock.engines.chat import ChatAnswer, ChatModel, ChatRequest, ToolRequest
from flock.engines.dspy.models import model_for
from flock.errors import DeclarationError, EngineError, ModelUnavailable, RateLimited
from flock.testing.recording.canonical import Json, Scrub, canonical, options
from flock.testing.recording.cassette import Cassette, Mode, NotRecorded, cassette_of

if TYPE_CHECKING:
    from flock.testing.recording.cassette import Slot

_KIND: Final = "chat"
_MILLION: Final = 1_000_000
_PIECES: Final = re.compile(r"\S*\s+|\S+")
_TRANSIENT: Final = (RateLimited, ModelUnavailable, NotRecorded)
"""Errors of a moment, of which a recording would make an eternity."""


class RecordedModel:
    """Wraps a model: asks it once, writes requests and answers down, and replays them.

    Requests are the same when their messages, schema, tools, settings and the model's name are.
    Equal requests get their answers in the order in which they were asked, at once or not.
    Tokens are replayed to `on_token` in the pieces in which they came, and usage is kept, so that
    budgets and reports come out the same. Refusals and the like are recorded as well; rate limits
    and outages are not. Credentials are not stored, and images are stored as their hash.

    Args:
        model: The model, or its model string, which is only made where something is recorded, so
            that a replay needs neither its extra nor its file or key. None to replay whatever
            model was recorded.
        cassette: Where answers are kept: a path, or a `Cassette`.
        mode: See `Cassette`; `"once"` unless said.

    Raises:
        DeclarationError: There is no model, and the mode is `"record"`; it is no model; or what a
            model string names is missing, and needed to record.
        NotRecorded: There is a model string, and no cassette that could be replayed.
    """

    def __init__(
        self,
        model: ChatModel | str | None,
        cassette: Cassette | str | Path,
        *,
        mode: Mode | None = None,
    ) -> None:
        self._cassette = cassette_of(cassette, mode)
        self._string = model if isinstance(model, str) else None
        if isinstance(model, str):
            model = model_for(model) if self._cassette.is_recording else None
        elif model is not None and (isinstance(model, type) or not hasattr(model, "chat")):
            msg = f"RecordedModel takes a model, its model string, or None, not {model!r}"
            raise DeclarationError(msg)
        self._model = model
        if model is None and self._cassette.mode == "record":
            msg = f"{self._cassette!r} records, and there is no model to ask; give one"
            raise DeclarationError(msg)

    def __repr__(self) -> str:
        return f"RecordedModel({self._cassette!r})"

    @property
    def name(self) -> str:
        """The model string, as it was recorded."""
        return self._model.name if self._model is not None else self._traits()["name"]

    @property
    def calls_tools(self) -> bool:
        """Whether the model takes tools."""
        return self._is("calls_tools")

    @property
    def keeps_schema(self) -> bool:
        """Whether the model enforces a schema by itself."""
        return self._is("keeps_schema")

    @property
    def takes_images(self) -> bool:
        """Whether the model's messages may hold images."""
        return self._is("takes_images")

    def price(self, input_tokens: int, output_tokens: int) -> float | None:
        """Return the price of a call of that size in US dollars; None where it is not known."""
        if self._model is not None:
            return _price_of(self._model, input_tokens, output_tokens)
        prices = self._traits().get("usd_per_million_tokens")
        if prices is None:
            return None
        return (input_tokens * prices[0] + output_tokens * prices[1]) / _MILLION

    async def chat(
        self, request: ChatRequest, on_token: Callable[[str], None] | None = None
    ) -> ChatAnswer:
        """Answer as recorded, or ask and record.

        Args:
            request: What to ask.
            on_token: Called with each piece of the answer's text.

        Raises:
            NotRecorded: There is no such request in the cassette; the message shows how the
                nearest one differs.
            EngineError: The model could not answer, now or when it was recorded.
        """
        cassette = self._cassette
        asked = asked_of(self.name, request, cassette.scrub)
        if cassette.is_recording:
            return await self._record(request, asked, on_token)
        answer = cassette.take(_KIND, asked)
        await asyncio.sleep(0)  # others may go on here, as with a model
        if "error" in answer:
            raise _error_of(answer)
        made = _answer_of(answer)
        if on_token is not None:
            for piece in _pieces(made.text, answer.get("pieces")):
                on_token(piece)
        return made

    async def aclose(self) -> None:
        """Release what the model holds."""
        if self._model is not None:
            await self._model.aclose()

    async def _record(
        self, request: ChatRequest, asked: Json, on_token: Callable[[str], None] | None
    ) -> ChatAnswer:
        model, cassette = self._model, self._cassette
        assert model is not None  # its name was asked for
        cassette.note("model", _traits_of(model))
        slot = cassette.reserve()
        pieces: list[int] = []

        def listen(text: str) -> None:
            pieces.append(len(text))
            if on_token is not None:
                on_token(text)

        try:
            answer = await model.chat(request, None if on_token is None else listen)
            told = _told(answer, pieces, cassette.scrub)
            slot.fill(_KIND, asked, told)
        except EngineError as error:
            _record_error(slot, asked, error, cassette.scrub)
            raise
        finally:
            slot.drop()
        return _answer_of(told)  # what a replay gives

    def _is(self, trait: str) -> bool:
        if self._model is not None:
            return bool(getattr(self._model, trait))
        return bool(self._traits()[trait])

    def _traits(self) -> Json:
        found = self._cassette.notes("model")
        if self._cassette.is_recording:
            msg = f"there is no cassette {str(self._cassette.path)!r}, and no model to record one"
            raise NotRecorded(msg)
        if self._string is not None:
            known = ", ".join(repr(note["name"]) for note in found) or "no model"
            found = [note for note in found if note["name"] == self._string]
            if not found:
                msg = (
                    f"{self._cassette!r} holds answers of {known}, not of {self._string!r}; "
                    "delete the file, or use mode='record', to record anew"
                )
                raise NotRecorded(msg)
        if len(found) != 1:
            msg = (
                f"{self._cassette!r} holds the answers of {len(found)} models; give RecordedModel "
                "the one that is meant"
            )
            raise NotRecorded(msg)
        return found[0]


def asked_of(model: str, request: ChatRequest, scrub: Scrub) -> Json:
    """Return a request as it is recorded: what is left at its default is left out."""
    asked: Json = {"model": model, "messages": canonical(request.messages, scrub)}
    if request.schema is not None:
        asked["schema"] = canonical(request.schema, scrub)
    if request.tools:
        asked["tools"] = canonical(request.tools, scrub)
    if request.temperature is not None:
        asked["temperature"] = request.temperature
    if request.max_tokens is not None:
        asked["max_tokens"] = request.max_tokens
    if request.options:
        asked["options"] = options(request.options, scrub)
    return asked


def _traits_of(model: ChatModel) -> Json:
    traits: Json = {
        "name": model.name,
        "calls_tools": model.calls_tools,
        "keeps_schema": model.keeps_schema,
        "takes_images": model.takes_images,
    }
    prices = [_price_of(model, _MILLION, 0), _price_of(model, 0, _MILLION)]
    if None not in prices:
        traits["usd_per_million_tokens"] = prices
    return traits


def _price_of(model: ChatModel, input_tokens: int, output_tokens: int) -> float | None:
    price: Callable[[int, int], float | None] | None = getattr(model, "price", None)
    return None if price is None else price(input_tokens, output_tokens)


def _told(answer: ChatAnswer, pieces: Sequence[int], scrub: Scrub) -> Json:
    text = scrub(answer.text)
    told: Json = {"text": text, "usage": asdict(answer.usage)}
    if answer.tool_requests:
        told["tool_requests"] = [
            {"id": t.id, "name": t.name, "arguments": scrub(t.arguments)}
            for t in answer.tool_requests
        ]
    if answer.finish_reason != "stop":
        told["finish_reason"] = answer.finish_reason
    if answer.refusal is not None:
        told["refusal"] = scrub(answer.refusal)
    if pieces and sum(pieces) == len(text):
        told["pieces"] = list(pieces)
    return told


def _answer_of(told: Mapping[str, Any]) -> ChatAnswer:
    return ChatAnswer(
        text=told["text"],
        usage=Usage(**told["usage"]),
        tool_requests=tuple(ToolRequest(**t) for t in told.get("tool_requests", ())),
        finish_reason=told.get("finish_reason", "stop"),
        refusal=told.get("refusal"),
    )


def _pieces(text: str, lengths: Sequence[int] | None) -> list[str]:
    """Return the pieces in which a text came, or its words where that is not known."""
    if lengths is None or sum(lengths) != len(text):
        return _PIECES.findall(text)
    pieces: list[str] = []
    place = 0
    for length in lengths:
        pieces.append(text[place : place + length])
        place += length
    return pieces


def _record_error(slot: Slot, asked: Json, error: EngineError, scrub: Scrub) -> None:
    if not isinstance(error, _TRANSIENT) and hasattr(errors, type(error).__name__):
        slot.fill(_KIND, asked, {"error": type(error).__name__, "message": scrub(str(error))})


def _error_of(told: Mapping[str, Any]) -> EngineError:
    kind: object = getattr(errors, told["error"], EngineError)
    if isinstance(kind, type) and issubclass(kind, EngineError):
        return kind(told["message"])
    return EngineError(told["message"])
