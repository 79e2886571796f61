"""The fluent words that declare an agent."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, time
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar, cast, overload

from pydantic import BaseModel

from flock.core.agent import Agent
from flock.core.outputs import OutputGroup, OutputSpec, Predicate, fan_out_range
from flock.core.retry import Backoff, RetryOn, retry_policy
from flock.core.signature import FunctionSignature, read_signature
from flock.core.spans import Span, seconds
from flock.core.subscription import MODES, BatchSpec, JoinSpec, Mode, Subscription
from flock.core.types import TypeEntry, registry
from flock.core.visibility import Visibility
from flock.errors import DeclarationError, NotYetAvailable, TypeRegistryError

if TYPE_CHECKING:
    from flock.core.context import ContextProvider, EvalResult
    from flock.core.lifecycle import Engine, RunHooks

A = TypeVar("A", bound=BaseModel)
B = TypeVar("B", bound=BaseModel)
C = TypeVar("C", bound=BaseModel)

Where = Callable[..., object] | Sequence[Callable[..., object]]
Validation = Callable[[Any], object] | Sequence[tuple[Callable[[Any], object], str]]


class AgentBuilder:
    """Declares one agent. Every word returns the builder and can be given in any order.

    Every word raises `DeclarationError`, naming agent, word and remedy, when what it is
    given contradicts itself.
    """

    def __init__(self, agent: Agent, changed: Callable[[], None]) -> None:
        self.agent = agent
        self._changed = changed

    @property
    def name(self) -> str:
        """The agent's name."""
        return self.agent.name

    def __repr__(self) -> str:
        return f"AgentBuilder({self.agent!r})"

    # --- what it consumes and publishes ---

    @overload
    def consumes(
        self,
        first: type[A],
        /,
        *,
        where: Callable[[A], object] | Sequence[Callable[[A], object]] | None = None,
        from_agents: Iterable[str | AgentBuilder] | str | None = None,
        tags: Iterable[str] | str | None = None,
        join: JoinSpec | None = None,
        batch: BatchSpec | None = None,
        mode: Mode = "both",
        priority: int = 0,
        activation: object = None,
        semantic_match: object = None,
    ) -> Self: ...
    @overload
    def consumes(
        self,
        first: type[A],
        second: type[B],
        /,
        *,
        where: Callable[[A, B], object]
        | Callable[[A | B], object]
        | Sequence[Callable[[A, B], object] | Callable[[A | B], object]]
        | None = None,
        from_agents: Iterable[str | AgentBuilder] | str | None = None,
        tags: Iterable[str] | str | None = None,
        join: JoinSpec | None = None,
        batch: BatchSpec | None = None,
        mode: Mode = "both",
        priority: int = 0,
        activation: object = None,
        semantic_match: object = None,
    ) -> Self: ...
    @overload
    def consumes(
        self,
        *types: type[BaseModel] | str,
        where: Where | None = None,
        from_agents: Iterable[str | AgentBuilder] | str | None = None,
        tags: Iterable[str] | str | None = None,
        join: JoinSpec | None = None,
        batch: BatchSpec | None = None,
        mode: Mode = "both",
        priority: int = 0,
        activation: object = None,
        semantic_match: object = None,
    ) -> Self: ...
    def consumes(
        self,
        *types: type[BaseModel] | str,
        where: Where | None = None,
        from_agents: Iterable[str | AgentBuilder] | str | None = None,
        tags: Iterable[str] | str | None = None,
        join: JoinSpec | None = None,
        batch: BatchSpec | None = None,
        mode: Mode = "both",
        priority: int = 0,
        activation: object = None,
        semantic_match: object = None,
    ) -> Self:
        """Start the agent on these types: all of them in one call, any of several calls.

        Args:
            *types: Model classes (or type names); a repeated type asks for that many.
            where: A predicate or several. With several types, one of one argument applies
                to each artifact, one of as many arguments as there are types to the
                complete group. A raising predicate is logged and does not match.
            from_agents: Names of the producers to listen to; `"external"` is the outside.
            tags: Tags of which an artifact must have at least one.
            join: Bring together what has the same key.
            batch: Gather several and run once for all.
            mode: `"events"`: started by published artifacts only; `"direct"`: by `arun`
                and `invoke` only; `"both"`.
            priority: Higher runs first when both are ready.
            activation: Comes with a later version.
            semantic_match: Comes with a later version.
        """
        word = "consumes"
        if activation is not None:
            self._later(word, "activation=")
        if semantic_match is not None:
            self._later(word, "semantic_match=")
        entries = self._entries(word, types)
        if mode not in MODES:
            self._refuse(word, f"mode is one of {', '.join(MODES)}, not {mode!r}")
        if type(priority) is not int:
            self._refuse(word, f"priority is a whole number, not {priority!r}")
        self._check_gates(word, entries, join, batch)
        each, group = self._predicates(word, where, len(entries))
        self.agent.subscriptions.append(
            Subscription(
                self.name,
                len(self.agent.subscriptions),
                entries,
                each=each,
                group=group,
                from_agents=self._producers(word, from_agents),
                tags=self._words(word, "tags", tags),
                join=join,
                batch=batch,
                mode=mode,
                priority=priority,
            )
        )
        return self._done()

    @overload
    def publishes(
        self,
        first: type[A],
        /,
        *,
        fan_out: int | tuple[int, int] | None = None,
        where: Callable[[A], object] | Sequence[Callable[[A], object]] | None = None,
        validate: Callable[[A], object] | Sequence[tuple[Callable[[A], object], str]] | None = None,
        visibility: Visibility | Callable[[A], Visibility] | None = None,
        tags: Iterable[str] | str | None = None,
        description: str | None = None,
    ) -> Self: ...
    @overload
    def publishes(
        self,
        *types: type[BaseModel] | str,
        fan_out: int | tuple[int, int] | None = None,
        where: Where | None = None,
        validate: Validation | None = None,
        visibility: Visibility | Callable[[Any], Visibility] | None = None,
        tags: Iterable[str] | str | None = None,
        description: str | None = None,
    ) -> Self: ...
    def publishes(
        self,
        *types: type[BaseModel] | str,
        fan_out: int | tuple[int, int] | None = None,
        where: Where | None = None,
        validate: Validation | None = None,
        visibility: Visibility | Callable[[Any], Visibility] | None = None,
        tags: Iterable[str] | str | None = None,
        description: str | None = None,
    ) -> Self:
        """Declare one output group: what one engine call yields.

        Args:
            *types: Model classes (or type names); a repeated type asks for that many.
            fan_out: How many of each type: a count, or `(min, max)`. One of each without it;
                any number for a generator function. Another number fails the run, but
                nothing at all is a declined, successful run.
            where: Drops outputs for which a predicate is false.
            validate: Fails the run when a predicate is false: one predicate, or pairs of a
                predicate and a message.
            visibility: Who may read the outputs, or a function of the model that says so.
            tags: Tags of the outputs.
            description: What the outputs are, for a model to read.
        """
        word = "publishes"
        entries = self._entries(word, types)
        try:
            low, high = fan_out_range(fan_out)
        except (TypeError, ValueError) as error:
            self._refuse(word, str(error))
        counts: dict[str, int] = {}
        for entry in entries:
            counts[entry.name] = counts.get(entry.name, 0) + 1
        if fan_out is not None and len(counts) < len(entries):
            self._refuse(word, "a repeated type and fan_out contradict each other; give one")
        by_name = {entry.name: entry for entry in entries}
        specs = tuple(
            OutputSpec(by_name[name], low * count, high * count) for name, count in counts.items()
        )
        is_visibility = visibility is None or callable(visibility) or hasattr(visibility, "kind")
        if not is_visibility:
            self._refuse(word, f"visibility is a Visibility or a function, not {visibility!r}")
        self.agent.output_groups.append(
            OutputGroup(
                outputs=specs,
                where=self._filters(word, "where", where),
                validate=self._validations(word, validate),
                visibility=visibility,
                tags=self._words(word, "tags", tags) or frozenset(),
                description=description,
                is_counted=fan_out is not None or len(counts) < len(entries),
            )
        )
        return self._done()

    # --- how it is computed ---

    def calls(self, fn: Callable[..., Any]) -> Self:
        """Compute the agent by a function instead of a model.

        Args:
            fn: Sync (run in a thread), async, or an (async) generator, whose yields are
                published as they come. Parameters bind by annotation: a model,
                `list[Model]`, `EvalInputs`, `Context`; a single unannotated one gets the
                model, or the list of models. Types that are not declared with `consumes`
                or `publishes` are taken from the annotations.
        """
        names = _names_in_sight()
        try:
            self.agent.function = read_signature(fn, names)
        except DeclarationError as error:
            self._refuse("calls", str(error))
        return self._done()

    def with_engines(self, *engines: Engine) -> Self:
        """Compute the agent by a chain of engines, each working on the outputs before it."""
        for engine in engines:
            if not callable(getattr(engine, "evaluate", None)) or isinstance(engine, type):
                self._refuse("with_engines", f"{engine!r} is no instance of an EngineComponent")
        self.agent.engines.extend(engines)
        return self._done()

    def with_utilities(self, *components: RunHooks) -> Self:
        """Add components whose hooks run around each run, by ascending priority."""
        for component in components:
            if isinstance(component, type) or not hasattr(component, "on_initialize"):
                self._refuse("with_utilities", f"{component!r} is no instance of AgentComponent")
        self.agent.utilities.extend(components)
        return self._done()

    def with_context(self, provider: ContextProvider) -> Self:
        """Let an async callable choose the history this agent gets."""
        if not callable(provider):
            self._refuse("with_context", f"{provider!r} is no async callable")
        self.agent.context_provider = provider
        return self._done()

    def best_of(self, n: int, score: Callable[[EvalResult], Any] | None = None) -> Self:
        """Run `n` chains in parallel and keep the answer with the highest score.

        Args:
            n: How many, from 1.
            score: Scores an `EvalResult`; ties go to the first. Without it the first
                answer in order wins. A failing candidate only loses.
        """
        if type(n) is not int or n < 1:
            self._refuse("best_of", f"n must be a whole number from 1, not {n!r}")
        if score is not None and not callable(score):
            self._refuse("best_of", f"score is a function of an EvalResult, not {score!r}")
        self.agent.best_of_n = n
        self.agent.best_of_score = score
        return self._done()

    # --- who it is ---

    def description(self, text: str) -> Self:
        """Say what the agent does: documentation for people, instruction for a model."""
        self.agent.description = text
        return self._done()

    def labels(self, *labels: str) -> Self:
        """Give the agent labels, which `LabelledVisibility` asks for."""
        self.agent.labels = frozenset(labels)
        return self._done()

    def tenant(self, tenant_id: str) -> Self:
        """Make the agent a tenant's, as `TenantVisibility` asks."""
        self.agent.tenant_id = tenant_id
        return self._done()

    def prevent_self_trigger(self, prevent: bool = True) -> Self:  # noqa: FBT001, FBT002
        """Say whether the agent skips what it published itself; it does unless told."""
        self.agent.skips_own_output = bool(prevent)
        return self._done()

    # --- how it runs ---

    def max_concurrency(self, n: int) -> Self:
        """Let at most `n` of the agent's runs go on at once; 16 unless said."""
        if type(n) is not int or n < 1:
            self._refuse("max_concurrency", f"n must be a whole number from 1, not {n!r}")
        self.agent.slots.resize(n)
        return self._done()

    def retry(self, attempts: int, backoff: Span | Backoff = 1.0, on: RetryOn = Exception) -> Self:
        """Try a failed run again.

        Args:
            attempts: How many attempts there are in all, from 1.
            backoff: The first delay in seconds (or a `timedelta`), doubled each time up to
                a minute, with full jitter; or a `Backoff`.
            on: Which errors are worth it: an exception class, several, or a predicate.
        """
        try:
            self.agent.retry = retry_policy(attempts, backoff, on)
        except ValueError as error:
            self._refuse("retry", str(error))
        return self._done()

    def timeout(self, span: Span) -> Self:
        """Cancel a run that takes longer than this (a `timedelta` or seconds): it failed."""
        try:
            self.agent.timeout = seconds(span, "timeout")
        except ValueError as error:
            self._refuse("timeout", str(error))
        return self._done()

    # --- words whose machinery comes later ---

    def schedule(
        self,
        *,
        every: Span | None = None,
        at: time | datetime | None = None,
        cron: str | None = None,
        after: Span | None = None,
        max_repeats: int | None = None,
        tz: object = None,
    ) -> NoReturn:
        """Run the agent by the clock. Comes with a later version."""
        word = "schedule"
        given = [n for n, v in (("every", every), ("at", at), ("cron", cron)) if v is not None]
        if len(given) != 1:
            said = " and ".join(given) or "none"
            self._refuse(word, f"give exactly one of every, at and cron, not {said}")
        try:
            if every is not None:
                seconds(every, "every")
            if after is not None:
                seconds(after, "after", zero=True)
        except ValueError as error:
            self._refuse(word, str(error))
        if at is not None and not isinstance(at, time | datetime):
            self._refuse(word, f"at takes a time or a datetime, not {at!r}")
        if cron is not None and (not isinstance(cron, str) or len(cron.split()) != 5):
            self._refuse(word, f"cron takes a text of five fields, not {cron!r}")
        if max_repeats is not None and (type(max_repeats) is not int or max_repeats < 1):
            self._refuse(word, f"max_repeats must be a whole number from 1, not {max_repeats!r}")
        del tz
        self._later(word)

    def rate_limit(self, n: int, per: Span) -> NoReturn:
        """Start at most `n` runs `per` span of time. Comes with a later version."""
        if type(n) is not int or n < 1:
            self._refuse("rate_limit", f"n must be a whole number from 1, not {n!r}")
        try:
            seconds(per, "per")
        except ValueError as error:
            self._refuse("rate_limit", str(error))
        self._later("rate_limit")

    def with_tools(self, tools: Iterable[object]) -> NoReturn:
        """Give the agent's model functions to call. Comes with a later version."""
        del tools
        self._later("with_tools")

    def with_mcps(self, servers: object) -> NoReturn:
        """Give the agent's model MCP servers as tools. Comes with a later version."""
        del servers
        self._later("with_mcps")

    # --- checks ---

    def _done(self) -> Self:
        self.agent.changed()
        self._changed()
        return self

    def _refuse(self, word: str, reason: str) -> NoReturn:
        msg = f"agent {self.name!r}, {word}: {reason}"
        raise DeclarationError(msg) from None

    def _later(self, word: str, what: str | None = None) -> NoReturn:
        msg = f"agent {self.name!r}, {word}: {what or 'this word'} comes with a later version"
        raise NotYetAvailable(msg)

    def _entries(self, word: str, types: Sequence[type[BaseModel] | str]) -> tuple[TypeEntry, ...]:
        if not types:
            self._refuse(word, "name at least one type")
        try:
            return tuple(
                registry.resolve(t) if isinstance(t, str) else registry.entry(t) for t in types
            )
        except TypeRegistryError as error:
            self._refuse(word, str(error))

    def _check_gates(
        self,
        word: str,
        entries: Sequence[TypeEntry],
        join: JoinSpec | None,
        batch: BatchSpec | None,
    ) -> None:
        if batch is not None and not isinstance(batch, BatchSpec):
            self._refuse(word, f"batch takes a BatchSpec, not {batch!r}")
        if join is None:
            return
        if not isinstance(join, JoinSpec):
            self._refuse(word, f"join takes a JoinSpec, not {join!r}")
        if len(entries) < 2:
            self._refuse(word, "a join needs at least two types; use batch= to gather one type")
        if join.window_count is not None and join.window_count < len(entries):
            self._refuse(
                word,
                f"a group of {len(entries)} can never be complete within {join.window_count} "
                "artifacts; count at least as many",
            )
        if isinstance(join.by, str):
            for entry in entries:
                if not hasattr(entry.cls, join.by) and join.by not in entry.cls.model_fields:
                    self._refuse(word, f"{entry.name!r} has no field {join.by!r} to join by")

    def _producers(
        self, word: str, producers: Iterable[str | AgentBuilder] | str | None
    ) -> frozenset[str] | None:
        if isinstance(producers, AgentBuilder | Agent):
            producers = [producers.name]
        if producers is None or isinstance(producers, str):
            return self._words(word, "from_agents", producers)
        names = [p.name if isinstance(p, AgentBuilder | Agent) else p for p in producers]
        return self._words(word, "from_agents", names)

    def _words(
        self, word: str, option: str, words: Iterable[str] | str | None
    ) -> frozenset[str] | None:
        if words is None:
            return None
        found = [words] if isinstance(words, str) else list(words)
        if not found or not all(isinstance(w, str) and w for w in found):
            self._refuse(word, f"{option} takes one or more words, not {words!r}")
        return frozenset(found)

    def _filters(self, word: str, option: str, given: Where | None) -> tuple[Predicate, ...]:
        if given is None:
            return ()
        found: list[Any] = (
            list(cast("Sequence[Any]", given)) if isinstance(given, Sequence) else [given]
        )
        for predicate in found:
            self._check_predicate(word, option, predicate)
        return tuple(found)

    def _check_predicate(self, word: str, option: str, predicate: object) -> None:
        if not callable(predicate):
            self._refuse(word, f"{option} takes functions, not {predicate!r}")
        if inspect.iscoroutinefunction(predicate):
            self._refuse(word, f"{option} takes plain functions; {predicate!r} is async")

    def _predicates(
        self, word: str, where: Where | None, count: int
    ) -> tuple[tuple[Predicate, ...], tuple[Callable[..., object], ...]]:
        each: list[Predicate] = []
        group: list[Callable[..., object]] = []
        for predicate in self._filters(word, "where", where):
            arity = _arity(predicate)
            if count > 1 and arity == count:
                group.append(predicate)
            elif arity in {1, None}:
                each.append(predicate)
            else:
                wanted = "1" if count == 1 else f"1 or {count}"
                self._refuse(word, f"a where of {arity} arguments; {wanted} would fit the types")
        return tuple(each), tuple(group)

    def _validations(
        self, word: str, validate: Validation | None
    ) -> tuple[tuple[Predicate, str], ...]:
        if validate is None:
            return ()
        pairs: list[tuple[Predicate, str]] = []
        given: list[Any] = (
            list(cast("Sequence[Any]", validate)) if isinstance(validate, Sequence) else [validate]
        )
        for item in given:
            if callable(item):
                name = getattr(item, "__name__", repr(item))
                pairs.append((cast("Predicate", item), f"{name} does not hold"))
            elif isinstance(item, tuple) and len(cast("tuple[Any, ...]", item)) == 2:
                predicate, message = cast("tuple[Any, Any]", item)
                pairs.append((predicate, str(message)))
            else:
                self._refuse(
                    word, f"validate takes predicates or (predicate, message), not {item!r}"
                )
        for predicate, _ in pairs:
            self._check_predicate(word, "validate", predicate)
        return tuple(pairs)


def _names_in_sight() -> dict[str, Any]:
    """Return the local names of the frames outside, the nearest winning: where classes live."""
    names: dict[str, Any] = {}
    here = inspect.currentframe()
    frame = here.f_back if here is not None else None
    while frame is not None:
        if frame.f_locals is not frame.f_globals:
            names = {**frame.f_locals, **names}
        frame = frame.f_back
    return names


def settle(agent: Agent) -> None:
    """Complete a declaration from the annotations of its function, and check the two.

    Raises:
        DeclarationError: The function cannot take what the agent consumes.
    """
    signature = agent.function
    if signature is None or agent.engines:
        return
    if not agent.subscriptions:
        _consume_annotated(agent, signature)
    if not agent.output_groups:
        _publish_annotated(agent, signature)
    elif signature.streams:
        agent.output_groups = [_uncounted(group) for group in agent.output_groups]
    _check_parameters(agent, signature)


def _consume_annotated(agent: Agent, signature: FunctionSignature) -> None:
    wanted = [p for p in signature.parameters if p.models]
    unions = [p for p in wanted if len(p.models) > 1]
    if len(unions) == 1 and len(wanted) == 1:
        groups: list[list[type[BaseModel]]] = [[model] for model in unions[0].models]
    else:
        groups = [[p.models[0] for p in wanted if not p.optional]] if wanted else []
    for models in groups:
        if models:
            entries = tuple(registry.entry(model) for model in models)
            agent.subscriptions.append(Subscription(agent.name, len(agent.subscriptions), entries))


def _publish_annotated(agent: Agent, signature: FunctionSignature) -> None:
    if not signature.outputs:
        return
    specs = tuple(
        OutputSpec(
            registry.entry(output.model),
            0 if output.many or output.optional else 1,
            None if output.many else 1,
        )
        for output in signature.outputs
    )
    agent.output_groups.append(OutputGroup(outputs=specs))


def _uncounted(group: OutputGroup) -> OutputGroup:
    if group.is_counted or not group.outputs:
        return group
    return replace(group, outputs=tuple(replace(s, minimum=0, maximum=None) for s in group.outputs))


def _check_parameters(agent: Agent, signature: FunctionSignature) -> None:
    if not agent.subscriptions:
        return
    consumed = {entry for s in agent.subscriptions for entry in s.types}
    for parameter in signature.parameters:
        if not parameter.models or parameter.optional:
            continue
        names = {registry.entry(model).name for model in parameter.models}
        fits = any(
            entry.name in names or issubclass(entry.cls, parameter.models) for entry in consumed
        )
        if not fits:
            msg = (
                f"agent {agent.name!r}, calls: parameter {parameter.name!r} takes "
                f"{', '.join(sorted(names))}, which the agent does not consume; consume it, "
                "or annotate the parameter with what is consumed"
            )
            raise DeclarationError(msg)


def _arity(predicate: Callable[..., object]) -> int | None:
    """Return how many positional arguments a predicate requires, or None if any will do."""
    try:
        parameters = inspect.signature(predicate).parameters.values()
    except (TypeError, ValueError):
        return None
    positional = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    required = [
        p for p in parameters if p.kind in positional and p.default is inspect.Parameter.empty
    ]
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
        return None
    return len(required) or (1 if any(p.kind in positional for p in parameters) else 0)
