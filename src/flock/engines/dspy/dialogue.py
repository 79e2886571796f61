"""The talk with a model until it has given a valid answer: repairs, tools, tokens, usage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from flock.core.deltas import ModelCalled, Token
from flock.engines.chat import ChatAnswer, ChatModel, ChatRequest
from flock.engines.dspy.allowance import counted, reserve
from flock.engines.dspy.partial import PartialAnswer
from flock.engines.dspy.patience import Patience
from flock.engines.dspy.task import BadAnswer
from flock.engines.media import PromptMedia
from flock.errors import EngineError, ModelRefused

if TYPE_CHECKING:
    from pydantic import BaseModel

    from flock.core.artifacts import Artifact
    from flock.core.context import Context
    from flock.engines.dspy.signature import Form
    from flock.engines.dspy.tool_calls import ToolTalk

MAX_RETURNED: Final = 20_000
"""How many characters of a bad answer the model is shown again."""

_SHOWN: Final = 500


class NoValidAnswer(EngineError):
    """The model gave no valid answer, also after repairs."""


def _none(outputs: Sequence[BaseModel]) -> list[str]:
    del outputs
    return []


@dataclass
class Dialogue:
    """Asks a model for the outputs of one task.

    Attributes:
        model: Whom to ask.
        form: What to ask for, and how.
        agent: Name of the agent, for errors.
        ctx: The run's context.
        tools: What the model may call.
        repairs: How often an answer that is not valid is returned to the model.
        patience: How often a model is asked that is busy or cannot be reached.
        temperature: Randomness.
        max_tokens: Bound on each answer.
        options: Further parameters of the provider.
        faults: Says what else is wrong with outputs that are valid by their types.
    """

    model: ChatModel
    form: Form
    agent: str
    ctx: Context
    tools: ToolTalk
    repairs: int
    patience: Patience
    temperature: float | None = None
    max_tokens: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    faults: Callable[[Sequence[BaseModel]], list[str]] = _none
    _partial: PartialAnswer | None = field(default=None, init=False)
    _call: int = field(default=0, init=False)

    async def outputs(
        self, artifacts: Sequence[Artifact], history: Sequence[Artifact]
    ) -> list[BaseModel]:
        """Return the valid outputs that the model answers with.

        Raises:
            NoValidAnswer: It gives none, or calls tools without end.
            EngineError: It cannot be asked; the subclass says why.
        """
        messages = self._opening(artifacts, history)
        failures = 0
        while True:
            answer = await self._ask(messages)
            self._check_refusal(answer)
            wanted = self.tools.wanted(answer)
            if wanted and self.tools.is_open:
                results = await self.tools.box.answer(wanted, self.ctx)
                messages.extend(self.tools.told(answer, wanted, results))
                continue
            try:
                outputs = self._read(answer, wants_tools=bool(wanted))
                faults = self.faults(outputs)
                if not faults or failures >= self.repairs:
                    return outputs  # the board has the last word on what its users forbid
                bad = BadAnswer(*faults)
            except BadAnswer as unreadable:
                bad = unreadable
                if failures >= self.repairs:
                    raise self._failure(answer, bad, failures + 1) from None
            failures += 1
            messages.extend(_correction(answer, bad))

    def _opening(
        self, artifacts: Sequence[Artifact], history: Sequence[Artifact]
    ) -> list[dict[str, Any]]:
        form, tools = self.form, self.tools
        # While tools are offered natively the schema is left to the prompt: many servers take
        # only one of the two, and with a schema some never call a tool.
        keeps = self.model.keeps_schema and not (tools.is_open and tools.is_native)
        media = PromptMedia(
            agent=self.agent, model=self.model.name, takes_images=self.model.takes_images
        )
        messages = form.messages(artifacts, history, keeps_schema=keeps, media=media)
        first = messages[0]
        if tools.is_open and not tools.is_native:
            first["content"] = f"{first['content']}\n\n{tools.described()}"
        if tools.box.resources:
            messages.insert(-1, {"role": "user", "content": tools.documents()})
        return messages

    def _request(self, messages: Sequence[Mapping[str, Any]]) -> ChatRequest:
        schema = self.form.task.schema if self.form.is_json else None
        offered: Sequence[Mapping[str, Any]] = ()
        if self.tools.is_open:
            if self.tools.is_native:
                offered, schema = self.tools.box.specs, None
            elif schema is not None:
                schema = self.tools.joined(schema)
        return ChatRequest(
            messages=tuple(messages),
            schema=schema,
            tools=offered,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            options=self.options,
        )

    async def _ask(self, messages: Sequence[Mapping[str, Any]]) -> ChatAnswer:
        request, held = await reserve(self.ctx, self.model, self._request(messages))
        try:
            answer = await self.patience.ask(self.model, request, self.ctx.clock, self._listener)
            usage = answer.usage if held is None else counted(request, answer)
            await self.ctx.charge(self.model.name, usage)
        except EngineError as error:
            error.agent = error.agent or self.agent
            raise
        finally:
            if held is not None:
                held.release()
        if self.ctx.is_heard:
            if self._partial is not None:
                for partial in self._partial.close():
                    self.ctx.emit(partial)
            self.ctx.emit(ModelCalled(self.model.name, usage, self._call))
        return answer

    def _listener(self) -> Callable[[str], None] | None:
        """Return what is told of the pieces of the next answer, if anybody listens."""
        ctx = self.ctx
        call = self._call = ctx.model_calls
        ctx.model_calls += 1
        self._partial = None
        if not ctx.is_heard:
            return None
        partial = self._partial = PartialAnswer(self.form.task) if self.form.is_json else None

        def on_token(text: str) -> None:
            ctx.emit(Token(text, call))
            if partial is not None:
                for output in partial.feed(text):
                    ctx.emit(output)

        return on_token

    def _read(self, answer: ChatAnswer, *, wants_tools: bool) -> list[BaseModel]:
        if answer.finish_reason == "length":
            bound = f" of {self.max_tokens} tokens" if self.max_tokens else ""
            msg = f"the answer was cut at the limit{bound}; a shorter one is needed"
            raise BadAnswer(msg)
        if wants_tools:
            msg = "no more tools may be called; answer with what is known"
            raise BadAnswer(msg)
        return self.form.read(answer.text)

    def _check_refusal(self, answer: ChatAnswer) -> None:
        if answer.refusal is None and answer.finish_reason != "content_filter":
            return
        words = _shown(answer.refusal or answer.text)
        why = f": {words!r}" if words else "; its filter stopped the answer"
        msg = f"agent {self.agent!r}: model {self.model.name!r} refused to answer{why}"
        raise ModelRefused(msg)

    def _failure(self, answer: ChatAnswer, bad: BadAnswer, tries: int) -> EngineError:
        cut = answer.finish_reason == "length"
        remedy = "; raise max_tokens, or ask for less" if cut else ""
        msg = (
            f"agent {self.agent!r}: model {self.model.name!r} gave no valid answer in {tries} "
            f"tr{'y' if tries == 1 else 'ies'}: {'; '.join(bad.reasons)}{remedy}; its last "
            f"answer was {_shown(answer.text)!r}"
        )
        return NoValidAnswer(msg)


def _correction(answer: ChatAnswer, bad: BadAnswer) -> list[dict[str, Any]]:
    """Return the messages that ask for a better answer."""
    reasons = "\n".join(f"- {reason}" for reason in bad.reasons)
    shown = answer.text or "(nothing)"
    if len(shown) > MAX_RETURNED:
        shown = f"{shown[:MAX_RETURNED]}..."
    return [
        {"role": "assistant", "content": shown},
        {
            "role": "user",
            "content": f"That answer is not valid:\n{reasons}\nAnswer again, with all of it.",
        },
    ]


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
