"""An engine whose answers are recorded once and replayed from then on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

from flock.components.guards.content import KeyCollision
from flock.core.artifacts import Artifact
from flock.core.context import EvalResult, HostAround
from flock.core.lifecycle import has_hook
from flock.core.signature import yielded_models
from flock.core.types import registry
from flock.core.usage import Usage
from flock.core.visibility import PUBLIC, Visibility
from flock.engines.base import EngineComponent
from flock.errors import EngineError
from flock.testing.recording.canonical import Json, Scrub, canonical, scrubbed
from flock.testing.recording.cassette import Cassette, Mode, cassette_of

if TYPE_CHECKING:
    from flock.core.agent import Agent
    from flock.core.context import Context, EvalInputs
    from flock.core.delivery import Run
    from flock.core.outputs import OutputGroup

_KIND: Final = "engine"
_VISIBILITY: Final[TypeAdapter[Visibility]] = TypeAdapter(Visibility)
_HOOKS: Final = ("on_initialize", "on_post_publish", "on_error", "on_terminate")
"""Hooks of the engine that are called while it is recorded."""


class RecordedEngine(EngineComponent):
    """Wraps an engine: lets it answer once, writes that down, and replays it.

    Calls are the same when the agent, the inputs (their types and contents), the output group
    and the history are, whatever the attempt and the run. Equal calls get their answers in the
    order in which they were made. Failures are not recorded, so that a run that succeeded at its
    second attempt succeeds at its first in a replay. There nothing of the engine runs but its
    `on_pre_consume`, if it has one, which chooses the inputs. What it charged for an answer is
    charged again, so that budgets and reports come out the same.

    Args:
        engine: The engine.
        cassette: Where answers are kept: a path, or a `Cassette`.
        mode: See `Cassette`; `"once"` unless said.
    """

    def __init__(
        self,
        engine: EngineComponent,
        cassette: Cassette | str | Path,
        *,
        mode: Mode | None = None,
    ) -> None:
        super().__init__(name=engine.name, priority=engine.priority)
        self.enable_context = engine.enable_context
        self.streams = engine.streams
        self._engine = engine
        self._cassette = cassette_of(cassette, mode)
        for hook in _HOOKS:
            if has_hook(engine, hook):
                setattr(self, hook, self._while_recording(hook))
        if has_hook(engine, "on_pre_consume"):  # chooses the inputs, also those of a replay
            self.on_pre_consume = engine.on_pre_consume

    async def evaluate(
        self, agent: Agent, ctx: Context, inputs: EvalInputs, output_group: OutputGroup
    ) -> object:
        """Answer as recorded, or let the engine answer and record it.

        Raises:
            NotRecorded: There is no such call in the cassette; the message shows how the
                nearest one differs.
            BudgetExceeded: A budget does not leave what the answer took when it was recorded.
            EngineError: The answer cannot be recorded.
            Exception: Whatever the engine raised.
        """
        cassette, engine = self._cassette, self._engine
        asked = _asked(agent, ctx, inputs, output_group, cassette.scrub)
        if not cassette.is_recording:
            told = cassette.take(_KIND, asked)
            await _charge(ctx, told)
            return _result_of(told, inputs)
        slot = cassette.reserve()
        spent = _metered(ctx)
        try:
            mine = inputs
            if has_hook(engine, "on_pre_evaluate"):
                mine = await engine.on_pre_evaluate(agent, ctx, inputs)
            answer = await engine.evaluate(agent, ctx, mine, output_group)
            if has_hook(engine, "on_post_evaluate"):
                result = answer if isinstance(answer, EvalResult) else _as_result(answer)
                answer = await engine.on_post_evaluate(agent, ctx, mine, result)
            told = _told(answer, inputs, cassette.scrub) | _usage_of(spent)
            slot.fill(_KIND, asked, told)
        finally:
            slot.drop()
        return _result_of(told, inputs)

    async def stream(
        self, agent: Agent, ctx: Context, inputs: EvalInputs, output_group: OutputGroup
    ) -> AsyncIterator[object]:
        """Yield the answers as recorded, or those of the engine, which are recorded at its end.

        Raises:
            NotRecorded: There is no such call in the cassette.
            EngineError: An answer cannot be recorded.
            Exception: Whatever the engine raised.
        """
        cassette, engine = self._cassette, self._engine
        asked = _asked(agent, ctx, inputs, output_group, cassette.scrub)
        if not cassette.is_recording:
            recorded = cassette.take(_KIND, asked)
            await _charge(ctx, recorded)
            for told in recorded["stream"]:
                yield _result_of(told, inputs)
            return
        slot = cassette.reserve()
        spent = _metered(ctx)
        parts: list[Json] = []
        try:
            stream = cast("Any", engine.stream(agent, ctx, inputs, output_group))
            async with aclosing(stream) as answers:
                async for answer in answers:
                    parts.append(_told(answer, inputs, cassette.scrub))
                    yield _result_of(parts[-1], inputs)
            slot.fill(_KIND, asked, {"stream": parts} | _usage_of(spent))
        finally:
            slot.drop()

    def _while_recording(self, hook: str) -> Any:  # noqa: ANN401 - a hook of any shape
        async def call(*args: object) -> None:
            if self._cassette.is_recording:
                await getattr(self._engine, hook)(*args)

        return call


_spent: ContextVar[dict[str, Usage] | None] = ContextVar("flock_recorded_usage", default=None)
"""What the engine that is being recorded has charged: candidates of one run have each their own."""


class _Metering(HostAround):
    """A run's host that notes what is charged."""

    async def charge(self, run: Run, model: str, usage: Usage) -> None:
        spent = _spent.get()
        if spent is not None:
            before = spent.get(model)
            spent[model] = usage if before is None else before + usage
        await super().charge(run, model, usage)


def _metered(ctx: Context) -> dict[str, Usage]:
    """Note from here on what is charged; returns where."""
    if ctx.host is not None and not isinstance(ctx.host, _Metering):
        ctx.host = _Metering(ctx.host)
    spent: dict[str, Usage] = {}
    _spent.set(spent)
    return spent


def _usage_of(spent: dict[str, Usage]) -> Json:
    return {"usage": {model: asdict(usage) for model, usage in spent.items()}} if spent else {}


async def _charge(ctx: Context, told: Json) -> None:
    """Charge what the engine charged when it was recorded, if the budgets leave that much.

    Raises:
        BudgetExceeded: They do not.
    """
    for model, kept in told.get("usage", {}).items():
        usage = Usage(**kept)
        held = await ctx.reserve(model, tokens=usage.tokens, usd=usage.usd)
        try:
            await ctx.charge(model, usage)
        finally:
            if held is not None:
                held.release()


def _asked(
    agent: Agent, ctx: Context, inputs: EvalInputs, group: OutputGroup, scrub: Scrub
) -> Json:
    asked: Json = {
        "agent": agent.name,
        "inputs": [_content(a, scrub) for a in inputs.artifacts],
        "outputs": [_count(spec.entry.name, spec.minimum, spec.maximum) for spec in group.outputs],
    }
    if group.description:
        asked["description"] = group.description
    if ctx.is_batch:
        asked["is_batch"] = True
    if ctx.artifacts:
        asked["history"] = [_content(a, scrub) for a in ctx.artifacts]
    return asked


def _content(artifact: Artifact, scrub: Scrub) -> Json:
    content: Json = {"type": artifact.type, "payload": canonical(artifact.payload, scrub)}
    return content if artifact.version == 1 else {**content, "version": artifact.version}


def _count(name: str, low: int, high: int | None) -> str:
    count = f"{low}" if low == high else f"{low}-{'any' if high is None else high}"
    return name if count == "1" else f"{name} x {count}"


def _as_result(answer: object) -> EvalResult:
    models = yielded_models(answer)
    made = [m if isinstance(m, Artifact) else Artifact.of(m) for m in models]
    return EvalResult(artifacts=made)


def _told(answer: object, inputs: EvalInputs, scrub: Scrub) -> Json:
    """Return an answer as it is recorded.

    Raises:
        EngineError: It holds what JSON cannot carry.
    """
    try:
        result = answer if isinstance(answer, EvalResult) else _as_result(answer)
        keys = {artifact.key: number for number, artifact in enumerate(inputs.artifacts)}
        told: Json = {"artifacts": [_kept(a, keys, scrub) for a in result.artifacts]}
        for name in ("state", "metrics", "logs", "errors"):
            if value := getattr(result, name):
                told[name] = scrubbed(to_jsonable_python(value), scrub)
    except (TypeError, KeyCollision, PydanticSerializationError) as error:
        msg = f"this answer cannot be recorded, since JSON cannot carry it: {error}"
        raise EngineError(msg) from error
    return told


def _kept(artifact: Artifact, inputs: dict[int, int], scrub: Scrub) -> Json:
    number = inputs.get(artifact.key)
    if number is not None:
        return {"input": number}
    kept: Json = {"type": artifact.type, "payload": scrubbed(artifact.payload, scrub)}
    if artifact.version != 1:
        kept["version"] = artifact.version
    if artifact.tags:
        kept["tags"] = scrubbed(sorted(artifact.tags), scrub)
    if artifact.partition_key is not None:
        kept["partition_key"] = scrubbed(artifact.partition_key, scrub)
    if artifact.visibility is not PUBLIC:
        kept["visibility"] = _VISIBILITY.dump_python(artifact.visibility, mode="json")
    return kept


def _result_of(told: Json, inputs: EvalInputs) -> EvalResult:
    artifacts = [_artifact(kept, inputs.artifacts) for kept in told["artifacts"]]
    rest = {name: told[name] for name in ("state", "metrics", "logs", "errors") if name in told}
    return EvalResult(artifacts=artifacts, **rest)


def _artifact(kept: Json, inputs: Sequence[Artifact]) -> Artifact:
    if "input" in kept:
        return inputs[int(kept["input"])]
    entry = registry.resolve(kept["type"])
    model = entry.load(to_json(kept["payload"]), kept.get("version", 1))
    visibility = kept.get("visibility")
    return Artifact.of(
        model,
        tags=kept.get("tags", ()),
        visibility=None if visibility is None else _VISIBILITY.validate_python(visibility),
        partition_key=kept.get("partition_key"),
    )
