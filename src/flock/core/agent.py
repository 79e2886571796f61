"""An agent and the lifecycle of one run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Self, cast

from pydantic import BaseModel

from flock.core.artifacts import Artifact, new_key, seal
from flock.core.context import Context, ContextProvider, EvalInputs, EvalResult
from flock.core.failure import failure_of
from flock.core.lifecycle import Engine, RunHooks, has_hook, implementing, label_of
from flock.core.output_check import OutputCheck
from flock.core.outputs import OutputGroup
from flock.core.question import Asking
from flock.core.rates import RateLimit
from flock.core.retry import RetryPolicy
from flock.core.signature import FunctionSignature, yielded_models
from flock.core.slots import Slots
from flock.core.tool import DEFAULT_TOOL_CALLS, Tool, ToolSource
from flock.core.types import TypeEntry, registry
from flock.core.usage import Budget
from flock.core.visibility import PUBLIC, AgentIdentity
from flock.errors import OutputContractError

if TYPE_CHECKING:
    from flock.core.schedule import ScheduleSpec
    from flock.core.subscription import Subscription

logger = logging.getLogger(__name__)

DEFAULT_CONCURRENCY: Final = 16
NO_TAGS: Final = frozenset[str]()

_DECLARED: Final = (
    "description",
    "labels",
    "tenant_id",
    "subscriptions",
    "output_groups",
    "engines",
    "utilities",
    "function",
    "asks",
    "best_of_n",
    "best_of_score",
    "skips_own_output",
    "retry",
    "timeout",
    "schedules",
    "budgets",
    "rate_limits",
    "context_provider",
    "tools",
    "tool_sources",
    "max_tool_calls",
)
"""What words of the builder say of an agent, but for its concurrency."""

Commit = Callable[[Context, list[Artifact]], Awaitable[list[Artifact]]]
"""Puts a run's outputs on the board, all or none, and returns them as they lie there."""


class Agent:
    """Who consumes and publishes: its declaration, and the lifecycle of one run.

    Made by `Flock.agent`. What is declared may be read; change it through the builder.

    Attributes:
        name: Its name, unique on its board.
        description: What it does, for people and models.
        labels: What `LabelledVisibility` asks for.
        tenant_id: What `TenantVisibility` asks for.
        subscriptions: What it consumes.
        output_groups: What it publishes.
        engines: How it thinks, a chain; made of the function or the board's model if empty.
        utilities: Its components.
        function: The function that computes it, if it is computed by one.
        asks: What it asks a person whose answers are its outputs, if it does.
        best_of_n: How many chains run in parallel, of which the best answer wins.
        best_of_score: Scores an `EvalResult`; the first answer wins without one.
        skips_own_output: Whether it never consumes what it published.
        retry: How often a run is tried.
        timeout: Seconds after which a run is cancelled; None for never.
        schedules: When it runs by the clock.
        budgets: What it may spend.
        context_provider: Chooses its history; the board's if None.
        tools: What its model may call.
        tool_sources: Where more of it comes from: its MCP servers.
        max_tool_calls: How many tools one run may call.
        streams: Whether its outputs are published as they are made: one streaming engine
            alone. Known once the board is open.
        reads_history: Whether an engine asks for the history of its workflow. Known once
            the board is open.
    """

    def __init__(self, name: str, make_engine: Callable[[Agent], Engine]) -> None:
        self.name = name
        self.description: str | None = None
        self.labels: frozenset[str] = frozenset()
        self.tenant_id: str | None = None
        self.subscriptions: list[Subscription] = []
        self.output_groups: list[OutputGroup] = []
        self.engines: list[Engine] = []
        self.utilities: list[RunHooks] = []
        self.function: FunctionSignature | None = None
        self.asks: Asking | None = None
        self.best_of_n = 1
        self.best_of_score: Callable[[EvalResult], Any] | None = None
        self.skips_own_output = True
        self.retry = RetryPolicy()
        self.timeout: float | None = None
        self.schedules: list[ScheduleSpec] = []
        self.budgets: list[Budget] = []
        self.rate_limits: list[RateLimit] = []
        self.context_provider: ContextProvider | None = None
        self.tools: tuple[Tool, ...] = ()
        self.tool_sources: tuple[ToolSource, ...] = ()
        self.max_tool_calls = DEFAULT_TOOL_CALLS
        self._semaphore = Slots(DEFAULT_CONCURRENCY)
        self._make_engine = make_engine
        self._made_engine: Engine | None = None
        self._is_resolved = False
        self._identity: AgentIdentity | None = None
        self._chain: tuple[Engine, ...] = ()
        self._is_bare = False
        self.reads_history = False
        self.streams = False
        self._merged = _OPEN
        self._only_group = _OPEN
        self._only_entry: TypeEntry | None = None
        self._hooks: dict[str, tuple[RunHooks, ...]] = {}

    def __repr__(self) -> str:
        consumed = ", ".join(e.name for s in self.subscriptions for e in s.types)
        published = ", ".join(s.entry.name for g in self.output_groups for s in g.outputs)
        return f"Agent({self.name!r}: {consumed or '-'} -> {published or '-'})"

    @property
    def identity(self) -> AgentIdentity:
        """Who the agent is to a visibility."""
        if self._identity is None:
            self._identity = AgentIdentity(self.name, self.labels, self.tenant_id)
        return self._identity

    @property
    def slots(self) -> Slots:
        """How many of its runs may go on at once."""
        return self._semaphore

    @property
    def max_concurrency(self) -> int:
        """How many of its runs may go on at once."""
        return self._semaphore.limit

    @property
    def chain(self) -> tuple[Engine, ...]:
        """The engines of a run in their order, also the one made of a function or a model.

        Raises:
            DeclarationError: Nothing computes the agent.
        """
        self._resolve_engines()
        return self._chain

    @classmethod
    def like(cls, agent: Agent, make_engine: Callable[[Agent], Engine]) -> Self:
        """Return an agent of the same declaration, for another board.

        Engines, components and tools are shared; slots are its own.
        """
        made = cls(agent.name, make_engine)
        for name in _DECLARED:
            value = getattr(agent, name)
            own = list(cast("list[object]", value)) if isinstance(value, list) else value
            setattr(made, name, own)
        made.slots.limit = agent.slots.limit
        return made

    def reaches_out(self, artifacts: Sequence[Artifact]) -> bool:
        """Whether a run over these inputs calls what limits are for."""
        del artifacts
        return True

    def changed(self) -> None:
        """Forget what was derived from the declaration, since it changed."""
        self._is_resolved = False
        self._identity = None
        self._made_engine = None

    def resolve(self) -> None:
        """Derive what a run needs from the declaration, unless that is done.

        Raises:
            DeclarationError: Nothing computes the agent.
        """
        self._resolve_engines()
        self._resolve_utilities()

    # --- one run ---

    async def execute(self, ctx: Context, artifacts: list[Artifact]) -> list[Artifact]:
        """Run the lifecycle over these inputs, without committing anything.

        Waits for a slot of the agent. Cancelling it runs `on_terminate`.

        Returns:
            The outputs, checked, not on the board.

        Raises:
            OutputContractError: The outputs are not what the agent declares.
            Exception: Whatever a hook, an engine or the function raised.
        """
        async with self._semaphore:
            return await self.live(ctx, artifacts, None)

    async def live(
        self, ctx: Context, artifacts: list[Artifact], commit: Commit | None
    ) -> list[Artifact]:
        """Run the lifecycle in a slot that the caller holds.

        Args:
            ctx: The run's context.
            artifacts: Its inputs.
            commit: Puts the outputs on the board before `on_post_publish`; None for a run
                without commit. A streaming agent's is called once per output.

        Returns:
            What `commit` returned, or the outputs.

        Raises:
            Exception: What a hook, an engine or the function raised, or what it comes to:
                an agent that raises `CancelledError` or `SystemExit` by itself has failed.
        """
        try:
            if not self._is_resolved:
                self.resolve()
            if self._is_bare and commit is not None and ctx.load_history is None:
                inputs = EvalInputs(artifacts, {})
                answer = await self._chain[0].evaluate(self, ctx, inputs, self._only_group)
                return await commit(ctx, self._bare_outputs(ctx, artifacts, answer))
            return await self._stages(ctx, artifacts, commit)
        except BaseException as error:
            failure = ctx.ended_by if isinstance(error, asyncio.CancelledError) else None
            failure = failure or failure_of(error, f"agent {self.name!r}")
            if failure is not None:
                await self._run_error(ctx, failure)
            if failure is None or failure is error or failure is ctx.ended_by:
                raise
            raise failure from error
        finally:
            if not self._is_bare:
                await self._run_terminate(ctx)

    async def _stages(
        self, ctx: Context, artifacts: list[Artifact], commit: Commit | None
    ) -> list[Artifact]:
        await self._run_initialize(ctx)
        inputs = await self._prepare(ctx, artifacts)
        if commit is None:
            return await self._evaluate_checked(ctx, inputs, artifacts)
        committed: list[Artifact] = []
        if self.streams:
            async with aclosing(self._stream_checked(ctx, inputs, artifacts)) as outputs:
                async for output in outputs:
                    for artifact in await commit(ctx, [output]):
                        await self._run_post_publish(ctx, artifact)
                        committed.append(artifact)
            return committed
        committed = await commit(ctx, await self._evaluate_checked(ctx, inputs, artifacts))
        for artifact in committed:
            await self._run_post_publish(ctx, artifact)
        return committed

    async def evaluate(
        self, inputs: EvalInputs | Sequence[Artifact], ctx: Context | None = None
    ) -> EvalResult:
        """Run the engine chain alone over these inputs: no other hooks, nothing checked."""
        self._resolve_engines()
        if not isinstance(inputs, EvalInputs):
            inputs = EvalInputs(artifacts=list(inputs))
        ctx = ctx or Context(
            inputs.artifacts[0].correlation_id if inputs.artifacts else "",
            agent_identity=self.identity,
        )
        _adopt_lineage(ctx, inputs.artifacts)
        result = EvalResult()
        for group in self._engine_calls():
            _merge(result, await self._run_engines(ctx, inputs, group))
        return result

    async def execute_streaming(
        self, artifacts: list[Artifact], ctx: Context | None = None
    ) -> AsyncGenerator[Artifact, None]:
        """Run the lifecycle and yield outputs, uncommitted, as they are made.

        Raises:
            OutputContractError: The outputs are not what the agent declares; those before
                have been yielded.
            Exception: Whatever a hook, an engine or the function raised.
        """
        ctx = ctx or Context(
            artifacts[0].correlation_id if artifacts else "", agent_identity=self.identity
        )
        async with self._semaphore:
            try:
                self._resolve_engines()
                self._resolve_utilities()
                await self._run_initialize(ctx)
                inputs = await self._prepare(ctx, artifacts)
                if self.streams:
                    async with aclosing(self._stream_checked(ctx, inputs, artifacts)) as outputs:
                        async for output in outputs:
                            yield output
                else:
                    for output in await self._evaluate_checked(ctx, inputs, artifacts):
                        yield output
            except GeneratorExit:
                raise  # the caller has enough
            except BaseException as error:
                failure = failure_of(error, f"agent {self.name!r}")
                if failure is not None:
                    await self._run_error(ctx, failure)
                if failure is None or failure is error:
                    raise
                raise failure from error
            finally:
                await self._run_terminate(ctx)

    # --- stages ---

    async def _prepare(self, ctx: Context, artifacts: list[Artifact]) -> EvalInputs:
        _adopt_lineage(ctx, artifacts)
        if ctx.load_history is not None:
            ctx.artifacts = await ctx.load_history()
        processed = await self._run_pre_consume(ctx, artifacts)
        inputs = EvalInputs(artifacts=list(processed), state=dict(ctx.state))
        return await self._run_pre_evaluate(ctx, inputs)

    def _bare_outputs(
        self, ctx: Context, artifacts: list[Artifact], answer: object
    ) -> list[Artifact]:
        """Check the answer of an agent of one engine, one group and no hooks: most agents."""
        entry = registry.entry_of(answer)
        if entry is not None:
            made = self._draft(answer, ctx, entry)  # pyright: ignore[reportArgumentType]
            if entry is self._only_entry:
                return [made]
            results = [made]
        else:
            results = self._as_result(answer, ctx).artifacts
        return self._check(ctx, results, (self._only_group,), artifacts)

    async def _evaluate_checked(
        self, ctx: Context, inputs: EvalInputs, artifacts: list[Artifact]
    ) -> list[Artifact]:
        outputs: list[Artifact] = []
        for group in self._engine_calls():
            result = await self._run_engines(ctx, inputs, group)
            for component in self._hooks["on_post_evaluate"]:
                result = await component.on_post_evaluate(self, ctx, inputs, result)
            ctx.state.update(result.state)
            groups = self._groups() if group is self._merged else (group,)
            known = [*artifacts, *inputs.artifacts]
            outputs += self._check(ctx, result.artifacts, groups, known)
        return outputs

    async def _stream_checked(
        self, ctx: Context, inputs: EvalInputs, artifacts: list[Artifact]
    ) -> AsyncGenerator[Artifact, None]:
        group = self._engine_calls()[0]
        groups = self._groups() if group is self._merged else (group,)
        check = OutputCheck(self.name, groups, [*artifacts, *inputs.artifacts])
        engine = self._chain[0]
        if has_hook(engine, "on_pre_evaluate"):
            inputs = await engine.on_pre_evaluate(self, ctx, inputs)
        stream = engine.stream(self, ctx, inputs, group)
        try:
            async for answer in stream:
                result = self._as_result(answer, ctx)
                if has_hook(engine, "on_post_evaluate"):
                    result = await engine.on_post_evaluate(self, ctx, inputs, result)
                for component in self._hooks["on_post_evaluate"]:
                    result = await component.on_post_evaluate(self, ctx, inputs, result)
                for made in result.artifacts:
                    output = check.accept(made)
                    if output is not None:
                        yield self._adopt(output, ctx)
            check.close()
        finally:
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()

    def _check(
        self,
        ctx: Context,
        results: list[Artifact],
        groups: Sequence[OutputGroup],
        inputs: Sequence[Artifact],
    ) -> list[Artifact]:
        check = OutputCheck(self.name, groups, inputs)
        accepted = [output for made in results if (output := check.accept(made)) is not None]
        check.close()
        adopted = [self._adopt(output, ctx) for output in accepted]
        if len({output.key for output in adopted}) < len(adopted):  # one handed on twice
            adopted = [self._copy(output, ctx) for output in adopted]
        return adopted

    # --- engines ---

    async def _run_engines(
        self, ctx: Context, inputs: EvalInputs, output_group: OutputGroup
    ) -> EvalResult:
        if self.best_of_n == 1:
            return await self.run_chain(ctx, inputs, output_group)

        async def candidate() -> EvalResult | Exception:
            try:
                own = EvalInputs(artifacts=list(inputs.artifacts), state=dict(inputs.state))
                return await self.run_chain(ctx, own, output_group)
            except BaseException as error:
                failure = failure_of(error, f"a candidate of agent {self.name!r}")
                if failure is None:
                    raise
                return failure  # it only loses

        async with asyncio.TaskGroup() as tg:
            tasks = [tg.create_task(candidate()) for _ in range(self.best_of_n)]
        answers = [task.result() for task in tasks]
        results = [answer for answer in answers if isinstance(answer, EvalResult)]
        if not results:
            failures = [answer for answer in answers if isinstance(answer, Exception)]
            msg = f"all {self.best_of_n} candidates of agent {self.name!r} failed"
            raise ExceptionGroup(msg, failures)
        if self.best_of_score is None:
            return results[0]
        return max(results, key=self.best_of_score)

    async def run_chain(
        self, ctx: Context, inputs: EvalInputs, output_group: OutputGroup
    ) -> EvalResult:
        """Run the engines one after the other, each on the outputs of the one before.

        Args:
            ctx: The run's context.
            inputs: What the first engine works on.
            output_group: What is asked for.

        Returns:
            The last engine's outputs, with state, metrics, logs and errors of all.
        """
        current_inputs = inputs
        accumulated = EvalResult(state=dict(inputs.state))
        for engine in self._chain:
            if has_hook(engine, "on_pre_evaluate"):
                current_inputs = await engine.on_pre_evaluate(self, ctx, current_inputs)
            answer = await engine.evaluate(self, ctx, current_inputs, output_group)
            result = self._as_result(answer, ctx)
            if has_hook(engine, "on_post_evaluate"):
                result = await engine.on_post_evaluate(self, ctx, current_inputs, result)
            accumulated.logs.extend(result.logs)
            accumulated.errors.extend(result.errors)
            accumulated.metrics.update(result.metrics)
            merged_state = dict(current_inputs.state)
            merged_state.update(result.state)
            current_inputs = EvalInputs(
                artifacts=result.artifacts or current_inputs.artifacts, state=merged_state
            )
        accumulated.artifacts = current_inputs.artifacts
        accumulated.state = current_inputs.state
        return accumulated

    def _as_result(self, answer: object, ctx: Context) -> EvalResult:
        if isinstance(answer, EvalResult):
            return answer
        try:
            models = yielded_models(answer)
        except TypeError as error:
            msg = f"agent {self.name!r}: {error}"
            raise OutputContractError(msg) from None
        return EvalResult(
            artifacts=[
                m if isinstance(m, Artifact) else self._draft(m, ctx, registry.entry(type(m)))
                for m in models
            ]
        )

    def _draft(self, obj: BaseModel, ctx: Context, entry: TypeEntry) -> Artifact:
        data = entry.freeze(obj)
        now = ctx.clock.time()
        return seal(
            new_key(now),
            entry,
            data,
            self.name,
            ctx.correlation_id,
            None,
            NO_TAGS,
            PUBLIC,
            now,
            ctx.parent_keys or (),
            ctx.depth,
        )

    def _adopt(self, artifact: Artifact, ctx: Context) -> Artifact:
        """Give an artifact that an engine made the run's lineage and an id of its own."""
        is_own = artifact.produced_by == self.name and artifact.parent_keys == ctx.parent_keys
        return artifact if is_own else self._copy(artifact, ctx)

    def _copy(self, artifact: Artifact, ctx: Context) -> Artifact:
        now = ctx.clock.time()
        return seal(
            new_key(now),
            artifact.entry,
            artifact.data,
            self.name,
            ctx.correlation_id,
            artifact.partition_key,
            artifact.tags,
            artifact.visibility,
            now,
            ctx.parent_keys or (),
            ctx.depth,
            artifact.version,
        )

    # --- what the declaration comes to ---

    def _resolve_engines(self) -> None:
        if self._is_resolved:
            return
        if self.engines:
            self._chain = tuple(sorted(self.engines, key=lambda e: e.priority))
        else:
            if self._made_engine is None:
                self._made_engine = self._make_engine(self)
            self._chain = (self._made_engine,)
        self.streams = len(self._chain) == 1 and self._chain[0].streams and self.best_of_n == 1
        self.reads_history = any(engine.enable_context for engine in self._chain)
        self._merged = _merged(self.output_groups) if self._answers_at_once else _OPEN

    def _resolve_utilities(self) -> None:
        if self._is_resolved:
            return
        around: list[RunHooks] = [*self.utilities, *self._chain]
        self._hooks = {
            "on_initialize": implementing(around, "on_initialize"),
            "on_pre_consume": implementing(around, "on_pre_consume"),
            "on_pre_evaluate": implementing(self.utilities, "on_pre_evaluate"),
            "on_post_evaluate": implementing(self.utilities, "on_post_evaluate"),
            "on_post_publish": implementing(around, "on_post_publish"),
            "on_error": implementing(around, "on_error"),
            "on_terminate": implementing(around, "on_terminate"),
        }
        engine = self._chain[0]
        self._is_bare = (
            not any(self._hooks.values())
            and len(self._chain) == 1
            and len(self.output_groups) <= 1
            and self.best_of_n == 1
            and not engine.streams
            and not has_hook(engine, "on_pre_evaluate")
            and not has_hook(engine, "on_post_evaluate")
        )
        group = self._only_group = self.output_groups[0] if self.output_groups else _OPEN
        is_plain = not (group.where or group.validate or group.visibility or group.tags)
        takes_one = len(group.outputs) == 1 and group.outputs[0].minimum <= 1
        self._only_entry = group.outputs[0].entry if is_plain and takes_one else None
        self._is_resolved = True

    def _groups(self) -> Sequence[OutputGroup]:
        return self.output_groups or (_OPEN,)

    def _engine_calls(self) -> Sequence[OutputGroup]:
        """The groups that engines are called for: one by one, or one call for all."""
        return (self._merged,) if self._answers_at_once else self._groups()

    @property
    def _answers_at_once(self) -> bool:
        """Whether one answer is for all groups: that of a function, or of a person."""
        return (self.function is not None or self.asks is not None) and not self.engines

    def needs_person(self, artifacts: Sequence[Artifact]) -> bool:
        """Return whether a person has to be asked about these inputs."""
        del artifacts
        return self.asks is not None

    # --- hooks ---

    async def _run_initialize(self, ctx: Context) -> None:
        for component in self._hooked("on_initialize"):
            await component.on_initialize(self, ctx)

    async def _run_pre_consume(self, ctx: Context, inputs: list[Artifact]) -> list[Artifact]:
        for component in self._hooked("on_pre_consume"):
            inputs = await component.on_pre_consume(self, ctx, inputs)
        return inputs

    async def _run_pre_evaluate(self, ctx: Context, inputs: EvalInputs) -> EvalInputs:
        for component in self._hooked("on_pre_evaluate"):
            inputs = await component.on_pre_evaluate(self, ctx, inputs)
        return inputs

    async def _run_post_publish(self, ctx: Context, artifact: Artifact) -> None:
        for component in self._hooked("on_post_publish"):
            try:
                await component.on_post_publish(self, ctx, artifact)
            except BaseException as raised:  # noqa: BLE001 - logged, or raised again
                self._log_failed_hook(component, "on_post_publish", raised)

    async def _run_error(self, ctx: Context, error: BaseException) -> None:
        for component in self._hooked("on_error"):
            try:
                await component.on_error(self, ctx, error)
            except BaseException as raised:  # noqa: BLE001 - logged, or raised again
                self._log_failed_hook(component, "on_error", raised)

    async def _run_terminate(self, ctx: Context) -> None:
        for component in self._hooked("on_terminate"):
            try:
                await component.on_terminate(self, ctx)
            except BaseException as raised:  # noqa: BLE001 - logged, or raised again
                self._log_failed_hook(component, "on_terminate", raised)

    def _hooked(self, hook: str) -> tuple[RunHooks, ...]:
        if not self._is_resolved:
            self._resolve_engines()
            self._resolve_utilities()
        return self._hooks[hook]

    def _log_failed_hook(self, component: RunHooks, hook: str, error: BaseException) -> None:
        """Log a hook that only watches; what is no failure goes on."""
        if failure_of(error, f"component {label_of(component)!r}") is None:
            raise error
        logger.error(
            "Component hook failed: agent=%s, component=%s, hook=%s",
            self.name,
            label_of(component),
            hook,
            exc_info=error,
        )


_OPEN: Final = OutputGroup(is_open=True)


def _merged(groups: list[OutputGroup]) -> OutputGroup:
    if not groups:
        return _OPEN
    if len(groups) == 1:
        return groups[0]
    outputs = tuple(spec for group in groups for spec in group.outputs)
    return replace(groups[0], outputs=outputs, where=(), validate=(), visibility=None)


def _merge(into: EvalResult, result: EvalResult) -> None:
    into.artifacts.extend(result.artifacts)
    into.state.update(result.state)
    into.metrics.update(result.metrics)
    into.logs.extend(result.logs)
    into.errors.extend(result.errors)


def _adopt_lineage(ctx: Context, artifacts: Sequence[Artifact]) -> None:
    """Take the lineage of what is about to be made from the inputs, if it is not set."""
    if ctx.parent_keys is not None:
        return
    ctx.parent_keys = tuple(artifact.key for artifact in artifacts)
    if artifacts:
        ctx.depth = max(artifact.depth for artifact in artifacts) + 1
        ctx.correlation_id = ctx.correlation_id or artifacts[0].correlation_id
