"""Guards around the runs of an agent, and around a whole board."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from flock.components.agent import AgentComponent
from flock.components.guards.content import KeyCollision, changed_json
from flock.components.guards.inspection import Action, Inspection, Inspector, checked_flag
from flock.components.orchestrator import OrchestratorComponent
from flock.core.context import HostAround
from flock.core.deltas import GuardFound, PartialOutput, Token, ToolCalled
from flock.errors import DeclarationError

if TYPE_CHECKING:
    from flock.components.guards.findings import Detector, Redactor
    from flock.core.agent import Agent
    from flock.core.artifacts import Artifact
    from flock.core.context import Context, EvalInputs, EvalResult, Host
    from flock.core.delivery import Run

logger = logging.getLogger(__name__)

FIRST = -1000
"""The priority of guards: before other components."""


class Guard(AgentComponent):
    """Looks through what an agent reads and writes, for personal data and secrets.

    It sees the text fields of inputs, of the history that the agent is given, and of outputs,
    nested ones and text files too. What it finds is told to observers as a `GuardFound`, with
    kinds and counts and never a value.

    - `"redact"`: values become placeholders, `[EMAIL]`, `[EMAIL 2]`; the same value gets the same
      one throughout a run. Where a field does not take a placeholder, the run is blocked.
    - `"block"`: the run fails with `GuardBlocked`.
    - `"annotate"`: nothing changes; the result gets metrics and log lines, and outputs the tags
      `guard:email` and so on.

    While it withholds outputs, tokens and unfinished outputs are not shown to observers either:
    nobody has looked through them. The arguments of tool calls, and texts and other plain values
    that the engine emits, are shown with placeholders.

    ```python
    from pydantic import BaseModel
    from flock import Flock, Guard


    class Letter(BaseModel):
        text: str


    class Reply(BaseModel):
        text: str


    def answer(letter: Letter) -> Reply:
        return Reply(text=f"You wrote: {letter.text}")


    flock = Flock()
    flock.agent("clerk").calls(answer).with_utilities(Guard())
    async with flock:
        [reply] = await flock.arun("clerk", Letter(text="I am ann@example.com"))
    print(reply.payload["text"])  # -> You wrote: I am [EMAIL]
    ```

    Args:
        scan_inputs: Whether to look through inputs and history.
        scan_outputs: Whether to look through outputs.
        action: What to do with what is found.
        detectors: What to look for; `PiiDetector()` and `SecretDetector()` if None.
        name: Names the guard in errors and events.
        priority: Lower runs first; guards run before other components.

    Raises:
        DeclarationError: The action is unknown, or a detector is none.
    """

    def __init__(
        self,
        *,
        scan_inputs: bool = True,
        scan_outputs: bool = True,
        action: Action = "redact",
        detectors: Sequence[Detector] | None = None,
        name: str = "guard",
        priority: int = FIRST,
    ) -> None:
        super().__init__(name=name, priority=priority)
        self._scans_inputs = checked_flag(scan_inputs, "scan_inputs", name)
        self._scans_outputs = checked_flag(scan_outputs, "scan_outputs", name)
        if not (scan_inputs or scan_outputs):
            msg = f"{name!r} looks at nothing; leave scan_inputs or scan_outputs True"
            raise DeclarationError(msg)
        self._inspector = Inspector(name, action, detectors)
        self._runs: dict[int, _Attempt] = {}

    async def on_initialize(self, agent: Agent, ctx: Context) -> None:
        """Begin to number values; keep back what nobody has looked through."""
        attempt = self._attempt(ctx)
        if self._scans_outputs and self._inspector.action != "annotate" and ctx.host:
            ctx.host = _Withholding(ctx.host, attempt.redactor)

    async def on_pre_consume(
        self, agent: Agent, ctx: Context, inputs: list[Artifact]
    ) -> list[Artifact]:
        """Look through the inputs, and the history.

        Raises:
            GuardBlocked: One holds what must not pass.
        """
        if not self._scans_inputs:
            return inputs
        attempt = self._attempt(ctx)
        passed = await self._pass(agent, ctx, [*inputs, *ctx.artifacts], "input", attempt)
        ctx.artifacts = tuple(i.artifact for i in passed[len(inputs) :])
        return [i.artifact for i in passed[: len(inputs)]]

    async def on_post_evaluate(
        self, agent: Agent, ctx: Context, inputs: EvalInputs, result: EvalResult
    ) -> EvalResult:
        """Look through the outputs, and note in the result what was found.

        Raises:
            GuardBlocked: One holds what must not pass.
        """
        attempt = self._attempt(ctx)
        artifacts = result.artifacts
        if self._scans_outputs:
            passed = await self._pass(agent, ctx, artifacts, "output", attempt)
            artifacts = [self._tagged(i) for i in passed]
        notes, attempt.notes = attempt.notes, []
        metrics = dict(result.metrics)
        for side, inspection in notes:
            for kind, count in inspection.counts.items():
                key = f"{self.name}.{side}.{kind.lower()}"
                metrics[key] = metrics.get(key, 0) + count
        lines = [f"{self.name}: {side} {i.artifact.type!r} holds {i}" for side, i in notes]
        return replace(result, artifacts=artifacts, metrics=metrics, logs=[*result.logs, *lines])

    async def on_terminate(self, agent: Agent, ctx: Context) -> None:
        """Forget the values of the run."""
        self._runs.pop(id(ctx), None)

    async def _pass(
        self,
        agent: Agent,
        ctx: Context,
        artifacts: Sequence[Artifact],
        side: str,
        attempt: _Attempt,
    ) -> list[Inspection]:
        passed: list[Inspection] = []
        total = Counter[str]()
        blocked: Inspection | None = None
        inspector = self._inspector
        for artifact in artifacts:
            seen = await inspector.look(
                artifact, attempt.redactor, agent.name, side, ctx.clock.working()
            )
            passed.append(seen)
            total.update(seen.counts)
            if seen.places:
                attempt.notes.append((side, seen))
                blocked = blocked or seen
        if blocked is not None:
            types = tuple(dict.fromkeys(i.artifact.type for i in passed if i.places))
            ctx.emit(GuardFound(inspector.guard, side, inspector.action, dict(total), types))
            if inspector.action == "block":
                raise inspector.blocked(blocked, agent.name, side)
        return passed

    def _attempt(self, ctx: Context) -> _Attempt:
        attempt = self._runs.get(id(ctx))
        if attempt is None:
            attempt = self._runs[id(ctx)] = _Attempt(self._inspector.redactor())
        return attempt

    def _tagged(self, inspection: Inspection) -> Artifact:
        artifact = inspection.artifact
        if self._inspector.action != "annotate" or not inspection.counts:
            return artifact
        return artifact.replace(tags=artifact.tags | _tags(inspection))


class BoardGuard(OrchestratorComponent):
    """Looks through everything before it lies on the board, whoever publishes it.

    What is published from outside and what agents make goes through it before it is stored, so
    that nothing that it withholds reaches a store, another agent or a reader. Values are
    numbered anew in each artifact.

    - `"redact"`: values become placeholders; where a field takes none, the publish is refused.
    - `"block"`: the publish is refused with a `PublishError`; of an agent's output, its run fails.
    - `"annotate"`: the artifact gets the tags `guard:email` and so on.

    ```python
    from pydantic import BaseModel
    from flock import BoardGuard, Flock


    class Letter(BaseModel):
        text: str


    flock = Flock()
    flock.add_component(BoardGuard())
    async with flock:
        letter = await flock.publish(Letter(text="Call +49 30 1234567"))
    print(letter.payload["text"])  # -> Call [PHONE]
    ```

    Args:
        action: What to do with what is found.
        detectors: What to look for; `PiiDetector()` and `SecretDetector()` if None.
        name: Names the guard in errors and logs.
        priority: Lower runs first; a high one sees what other components have made.
    """

    def __init__(
        self,
        *,
        action: Action = "redact",
        detectors: Sequence[Detector] | None = None,
        name: str = "board-guard",
        priority: int = -FIRST,
    ) -> None:
        super().__init__(name=name, priority=priority)
        self._inspector = Inspector(name, action, detectors)

    async def on_artifact_published(
        self,
        orchestrator: Any,  # noqa: ANN401 - a Flock, above
        artifact: Artifact,
    ) -> Artifact:
        """Look through an artifact before it is stored.

        Raises:
            GuardBlocked: It holds what must not pass.
        """
        inspector = self._inspector
        working = orchestrator.clock.working()
        seen = await inspector.look(artifact, inspector.redactor(), None, "artifact", working)
        if not seen.places:
            return artifact
        logger.info("%s (%s): %r holds %s", inspector.guard, inspector.action, artifact.type, seen)
        if inspector.action == "block":
            raise inspector.blocked(seen, None, "artifact")
        if inspector.action == "annotate":
            return artifact.replace(tags=artifact.tags | _tags(seen))
        return seen.artifact


class _Attempt:
    """What a guard keeps while a run goes on."""

    __slots__ = ("notes", "redactor")

    def __init__(self, redactor: Redactor) -> None:
        self.redactor = redactor
        self.notes: list[tuple[str, Inspection]] = []


def _tags(inspection: Inspection) -> frozenset[str]:
    return frozenset(f"guard:{kind.lower()}" for kind in inspection.counts)


class _Withholding(HostAround):
    """A run's host that tells nobody of unfinished outputs, and of all else what may be told."""

    def __init__(self, host: Host, redactor: Redactor) -> None:
        super().__init__(host)
        self._redactor = redactor

    def emit(self, run: Run, delta: object) -> None:
        if not self.is_heard:
            return
        match delta:
            case Token() | PartialOutput() | BaseModel():
                return
            case ToolCalled():
                error = None if delta.error is None else self._told(delta.error)
                delta = replace(delta, arguments=self._told(delta.arguments), error=error)
            case str() | dict() | list() | tuple():
                delta = self._told(delta)
            case _:
                pass  # a number, or something of an observer's own
        self._host.emit(run, delta)

    def _told(self, value: Any) -> Any:  # noqa: ANN401 - JSON
        try:
            return changed_json(value, lambda text, name: self._redactor.redact(text, name)[0])
        except KeyCollision:
            return {}
