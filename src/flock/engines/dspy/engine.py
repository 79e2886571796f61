"""The engine of agents that are declared with nothing but types."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from pydantic import SecretStr

from flock.core.deltas import ModelCalled
from flock.core.usage import Usage
from flock.engines.base import EngineComponent
from flock.engines.dspy.models import CLIENT_OPTIONS, OFFLINE_MODEL, ModelShelf
from flock.errors import DeclarationError, EngineError

if TYPE_CHECKING:
    import dspy
    from pydantic import BaseModel

    from flock.core.agent import Agent
    from flock.core.context import Context, EvalInputs
    from flock.core.outputs import OutputGroup
    from flock.engines.chat import ChatModel
    from flock.engines.dspy.patience import Patience
    from flock.engines.dspy.remembered import RememberingModel
    from flock.engines.dspy.signature import Form
    from flock.engines.dspy.tuned import TunedPrompt

_OWN: Final = frozenset(
    {"api_base", "api_key", "base_url", "max_tokens", "messages", "model", "temperature", "tools"}
)
"""What is not for `lm_kwargs`."""

_FormKey = tuple[object, ...]


class DSPyEngine(EngineComponent):
    """Fills the output types with a language model.

    The types are the instruction: a DSPy signature is made of them, an adapter makes messages
    of the signature, and the answer is validated. One that is not valid goes back to the model
    with the reasons. The model `"test"` is not asked: it answers with deterministic instances
    of the types.

    Args:
        model: The model string, or a model; the board's if None. A model that is given is not
            closed by the board.
        instructions: What to do, beside the agent's description.
        adapter: A DSPy adapter that makes the messages and reads the answers, instead of
            Flock's own.
        temperature: Randomness of the answers.
        max_tokens: Bound on the length of each answer.
        cache: Whether an answer to the same request is used again, within the process.
        repairs: How often an answer that is not valid is returned to the model.
        lm_kwargs: Further parameters of the provider, such as `top_p`, `seed`, `timeout`.
        api_base: Address of an OpenAI-compatible server.
        api_key: The key, if it is not in the environment.
        enable_context: Whether the model is given the history of the workflow.
        spotlight: Whether the inputs stand between delimiters that no text can hold, and the
            model is told not to follow what stands there: for untrusted texts. It takes about
            a hundred tokens.
        patience: How often a model is asked that is busy or cannot be reached.
        tuned: A prompt that `flock tune` made, or the path of its file, which is read when the
            board opens.

    Attributes:
        model: The model string or the model; the board's if None.

    Raises:
        DeclarationError: An argument makes no sense.
    """

    name = "dspy"

    def __init__(
        self,
        model: str | ChatModel | None = None,
        *,
        instructions: str | None = None,
        adapter: dspy.Adapter | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        cache: bool = False,
        repairs: int = 2,
        lm_kwargs: Mapping[str, Any] | None = None,
        api_base: str | None = None,
        api_key: SecretStr | str | None = None,
        enable_context: bool = False,
        spotlight: bool = False,
        patience: Patience | None = None,
        tuned: TunedPrompt | str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__()
        for given, what, is_right in (
            (model, "model: a model string or a ChatModel", _is_model(model)),
            (repairs, "repairs: a whole number from 0", type(repairs) is int and repairs >= 0),
            (max_tokens, "max_tokens: a whole number from 1", _is_count(max_tokens)),
            (temperature, "temperature: a number from 0", _is_amount(temperature)),
            (adapter, "adapter: a DSPy adapter", adapter is None or hasattr(adapter, "parse")),
            (tuned, "tuned: a TunedPrompt, or the path of one's file", _is_tuned(tuned)),
        ):
            if not is_right:
                msg = f"DSPyEngine takes as {what}, not {given!r}"
                raise DeclarationError(msg)
        options = dict(lm_kwargs or {})
        if own := _OWN & set(options):
            names = ", ".join(sorted(own))
            msg = f"lm_kwargs must not hold {names}; DSPyEngine has arguments for them"
            raise DeclarationError(msg)
        self.model = model
        self.instructions = instructions
        self.temperature = temperature
        self.max_tokens = max_tokens
        self.cache = cache
        self.repairs = repairs
        self.enable_context = enable_context
        self.spotlight = spotlight
        self._adapter = adapter
        self._api_base = api_base
        self._api_key = SecretStr(api_key) if isinstance(api_key, str) else api_key
        self._client = {k: v for k, v in options.items() if k in CLIENT_OPTIONS}
        self._options = {k: v for k, v in options.items() if k not in CLIENT_OPTIONS}
        self._patience = patience
        self._tuned_file = tuned if isinstance(tuned, str | os.PathLike) else None
        self._tuned = None if isinstance(tuned, str | os.PathLike) else tuned
        self._bound: WeakKeyDictionary[Agent, tuple[str | ChatModel | None, ModelShelf]] = (
            WeakKeyDictionary()
        )
        self._forms: WeakKeyDictionary[Agent, dict[_FormKey, tuple[OutputGroup, Form]]] = (
            WeakKeyDictionary()
        )
        self._own_shelf = ModelShelf()
        self._remembering: dict[int, RememberingModel] = {}

    def __repr__(self) -> str:
        return f"DSPyEngine({self.model!r})"

    def bind(self, agent: Agent, model: str | None, shelf: ModelShelf) -> None:
        """Take the board's model and its shelf; called when the board opens.

        Args:
            agent: An agent that thinks with this engine.
            model: The board's model, for engines without one.
            shelf: Makes and owns models.

        Raises:
            DeclarationError: There is no model, what it needs is not installed, or the tuned
                prompt is not for this agent.
        """
        self._load_tuned(agent)
        chosen = self.model if self.model is not None else model
        if chosen is None:
            msg = (
                f"agent {agent.name!r} thinks with a DSPyEngine without a model, and the board has "
                "none; add DSPyEngine(model) or Flock(model)"
            )
            raise DeclarationError(msg)
        self._bound[agent] = (chosen, shelf)
        try:
            if isinstance(chosen, str) and chosen != OFFLINE_MODEL:
                self._model_of(chosen, shelf, remembers=False)
        except DeclarationError as error:
            msg = f"agent {agent.name!r}, model {chosen!r}: {error}"
            raise DeclarationError(msg) from error.__cause__  # not its like with fewer words

    async def evaluate(
        self, agent: Agent, ctx: Context, inputs: EvalInputs, output_group: OutputGroup
    ) -> object:
        """Answer with the outputs that the model gives, validated.

        Raises:
            EngineError: It gives none that are valid, or cannot be asked; the subclass says why.
        """
        chosen, shelf = self._bound.get(agent, (self.model, self._own_shelf))
        if chosen == OFFLINE_MODEL:
            return await _samples(agent, ctx, output_group)
        if chosen is None:
            msg = f"agent {agent.name!r} has no model; add DSPyEngine(model) or Flock(model)"
            raise EngineError(msg)
        if not output_group.outputs:
            msg = (
                f"agent {agent.name!r} publishes no types, so that model {chosen!r} has nothing to "
                "fill; declare them with publishes()"
            )
            raise EngineError(msg)
        # Nobody who declares functions alone has to wait for these to be imported.
        from flock.engines.dspy.dialogue import Dialogue
        from flock.engines.dspy.patience import Patience
        from flock.engines.dspy.tool_calls import ToolTalk

        # What was remembered has failed already, where this is not the first attempt.
        model = self._model_of(chosen, shelf, remembers=self.cache and ctx.attempt == 1)
        if self._patience is None:
            self._patience = Patience()
        dialogue = Dialogue(
            model=model,
            form=self._form(agent, ctx, inputs, output_group),
            agent=agent.name,
            ctx=ctx,
            tools=await ToolTalk.of(agent, ctx, model),
            repairs=self.repairs,
            patience=self._patience,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            options=self._options,
            faults=partial(_faults, output_group),
        )
        history = ctx.artifacts if self.enable_context else ()
        return await dialogue.outputs(inputs.artifacts, history)

    def asking(self, model: ChatModel, prompt: TunedPrompt | None) -> DSPyEngine:
        """Return an engine like this one that asks another model, with another prompt.

        Args:
            model: Whom it asks.
            prompt: What it says; None for what the agent and this engine say.
        """
        made = copy.copy(self)
        made.model = model
        made.cache = False
        made._tuned, made._tuned_file = prompt, None  # noqa: SLF001 - a copy of this one
        made._bound, made._forms = WeakKeyDictionary(), WeakKeyDictionary()  # noqa: SLF001
        made._own_shelf, made._remembering = ModelShelf(), {}  # noqa: SLF001
        return made

    def model_for(self, agent: Agent, name: str | None = None) -> ChatModel:
        """Return the model that answers for an agent.

        It belongs to the board where the engine took the board's, and to the engine else.

        Args:
            agent: An agent that thinks with this engine.
            name: The model string, where the engine has none and no board opened with it.

        Raises:
            DeclarationError: There is no model, or it cannot be asked with messages.
        """
        chosen, shelf = self._bound.get(agent, (self.model, self._own_shelf))
        chosen = chosen if chosen is not None else name
        if chosen is None:
            msg = f"agent {agent.name!r} has no model; name one, or add DSPyEngine(model)"
            raise DeclarationError(msg)
        return self._model_of(chosen, shelf, remembers=self.cache)

    def instructions_for(self, agent: Agent, group: OutputGroup) -> str:
        """Return what a model is told to do without a tuned prompt; empty if nobody said."""
        words = (agent.description, self.instructions, group.description)
        return "\n\n".join(part.strip() for part in words if part)

    def _load_tuned(self, agent: Agent) -> None:
        """Read the tuned prompt, unless that is done, and check that it is for this agent."""
        if self._tuned_file is not None and self._tuned is None:
            from flock.engines.dspy.tuned import TunedPrompt  # few boards need it

            self._tuned = TunedPrompt.load(self._tuned_file)
        if self._tuned is not None:
            self._tuned.check(agent)

    async def aclose(self) -> None:
        """Close the models that the engine made itself, outside a board."""
        await self._own_shelf.aclose()

    def _model_of(
        self, chosen: str | ChatModel, shelf: ModelShelf, *, remembers: bool
    ) -> ChatModel:
        model = chosen
        if isinstance(model, str):
            model = shelf.get(
                model, api_base=self._api_base, api_key=self._api_key, client=self._client
            )
        if not remembers:
            return model
        from flock.engines.dspy.remembered import RememberingModel

        remembering = self._remembering.get(id(model))
        if remembering is None:
            remembering = self._remembering[id(model)] = RememberingModel(model)
        return remembering

    def _form(self, agent: Agent, ctx: Context, inputs: EvalInputs, group: OutputGroup) -> Form:
        """Return the form of this task: made once for an agent, a group and kinds of inputs."""
        from flock.engines.dspy.task import Task, layout

        forms = self._forms.setdefault(agent, {})
        repeated = _repeated(agent, is_batch=ctx.is_batch)
        shape = tuple(layout(inputs.artifacts, repeated))
        key = (id(group), shape, agent.description)
        group_of, form = forms.get(key, (None, None))
        if form is None or group_of is not group:
            from flock.engines.dspy.signature import Form

            self._load_tuned(agent)  # for who asks outside a board
            tuned = self._tuned
            entries = {a.entry.name: a.entry for a in inputs.artifacts}
            words = self.instructions_for(agent, group)
            if tuned is not None and tuned.instructions is not None:
                words = tuned.instructions
            task = Task.of(
                group,
                [(entries[name], is_list) for name, is_list in shape],
                reads_history=self.enable_context,
                instructions=words,
            )
            self._check_outputs(agent, group)
            examples = () if tuned is None else tuned.examples
            form = Form(task, self._adapter, examples, spotlight=self.spotlight)
            forms[key] = (group, form)
        return form

    @staticmethod
    def _check_outputs(agent: Agent, group: OutputGroup) -> None:
        from flock.engines.media import images_asked

        for spec in group.outputs:
            if places := images_asked(spec.model):
                msg = (
                    f"agent {agent.name!r} publishes {spec.entry.name!r}, whose {places[0]!r} is "
                    "an image, and no language model writes one; compute it with calls(fn)"
                )
                raise EngineError(msg)


def _is_model(value: object) -> bool:
    is_instance = hasattr(value, "chat") and not isinstance(value, type)
    return value is None or isinstance(value, str) or is_instance


def _is_tuned(value: object) -> bool:
    is_prompt = hasattr(value, "check") and not isinstance(value, type)
    return value is None or isinstance(value, str | os.PathLike) or is_prompt


def _is_count(value: object) -> bool:
    return value is None or (type(value) is int and value > 0)


def _is_amount(value: object) -> bool:
    if value is None:
        return True
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < inf


def _repeated(agent: Agent, *, is_batch: bool) -> list[str]:
    """Return the names of the types of which a run may get several."""
    names: list[str] = []
    for subscription in agent.subscriptions:
        types: Sequence[str] = [entry.name for entry in subscription.types]
        names.extend(name for name in types if is_batch or types.count(name) > 1)
    return names


def _faults(group: OutputGroup, outputs: Sequence[BaseModel]) -> list[str]:
    """Return what `validate` of the declaration has against outputs.

    The board asks again before it publishes: there a predicate that raises fails the run.
    """
    faults: list[str] = []
    for output in outputs if group.validate else ():
        with suppress(Exception):
            if not all(predicate(output) for predicate in group.where):
                continue
            name = type(output).__name__
            faults += [f"{name}: {why}" for holds, why in group.validate if not holds(output)]
    return list(dict.fromkeys(faults))


async def _samples(agent: Agent, ctx: Context, group: OutputGroup) -> list[BaseModel]:
    """Return the answer of the offline model: as many of each type as the group asks for."""
    from flock.engines.dspy.sample import sample

    answers: list[BaseModel] = []
    for spec in group.outputs:
        try:
            answers.extend(sample(spec.model, seed=n) for n in range(max(spec.minimum, 1)))
        except ValueError as error:
            msg = f"agent {agent.name!r}: {error}"
            raise EngineError(msg) from error
    usage = Usage(calls=1)
    call, ctx.model_calls = ctx.model_calls, ctx.model_calls + 1
    await ctx.charge(OFFLINE_MODEL, usage)
    if ctx.is_heard:
        ctx.emit(ModelCalled(OFFLINE_MODEL, usage, call))
    return answers
