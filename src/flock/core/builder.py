"""The fluent words that declare an agent."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, time, tzinfo
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    Self,
    TypedDict,
    TypeVar,
    Unpack,
    cast,
    overload,
)

from pydantic import BaseModel

from flock.core.agent import Agent
from flock.core.conditions import Activation, checked_activation
from flock.core.lifecycle import can_answer
from flock.core.retry import Backoff, RetryOn, retry_policy
from flock.core.schedule import schedule_spec
from flock.core.semantic import SemanticMatch
from flock.core.settle import settle
from flock.core.signature import read_signature
from flock.core.spans import Span, seconds
from flock.core.subscription import BatchSpec, JoinSpec, Mode, Subscription
from flock.core.usage import Budget
from flock.core.visibility import Visibility
from flock.core.words import Validation, Where, Word, rate_limit

if TYPE_CHECKING:
    from flock.core.context import ContextProvider, EvalResult
    from flock.core.lifecycle import Engine, RunHooks
    from flock.core.rates import RateKey
    from flock.core.tool import Approve, Tool, ToolMaker

__all__ = ["AgentBuilder", "settle"]

A = TypeVar("A", bound=BaseModel)
B = TypeVar("B", bound=BaseModel)


class _ConsumesOptions(TypedDict, total=False):
    """What every overload of `consumes` takes besides its predicates."""

    from_agents: Iterable[str | AgentBuilder] | str | None
    tags: Iterable[str] | str | None
    join: JoinSpec | None
    batch: BatchSpec | None
    mode: Mode
    priority: int
    activation: Activation | None
    semantic_match: str | SemanticMatch | Sequence[str | SemanticMatch] | None


class _PublishesOptions(TypedDict, total=False):
    """What every overload of `publishes` takes besides its functions of the models."""

    fan_out: int | tuple[int, int] | None
    tags: Iterable[str] | str | None
    description: str | None


class AgentBuilder:
    """Declares one agent. Every word returns the builder and can be given in any order.

    Every word raises `DeclarationError`, naming agent, word and remedy, when what it is
    given contradicts itself, and leaves the declaration as it was. What only shows when all
    words are there, such as a function that cannot take what is consumed, is refused when
    the board opens.

    Example:
        ```python
        from pydantic import BaseModel

        from flock import Flock


        class Order(BaseModel):
            total: float


        class Invoice(BaseModel):
            amount: float


        flock = Flock()
        (
            flock.agent("billing")
            .description("Writes an invoice for every large order.")
            .consumes(Order, where=lambda order: order.total > 100, tags={"paid"})
            .publishes(Invoice, validate=[(lambda i: i.amount > 0, "an invoice is positive")])
            .calls(lambda order: Invoice(amount=order.total))
            .retry(3, backoff=0.5)
            .timeout(10)
            .max_concurrency(4)
        )
        ```
    """

    def __init__(self, agent: Agent, changed: Callable[[], None], make: ToolMaker) -> None:
        self.agent = agent
        self._changed = changed
        self._make = make

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
        **options: Unpack[_ConsumesOptions],
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
        **options: Unpack[_ConsumesOptions],
    ) -> Self: ...
    @overload
    def consumes(
        self,
        first: type[BaseModel] | str,
        second: type[BaseModel] | str,
        third: type[BaseModel] | str,
        /,
        *more: type[BaseModel] | str,
        where: Where | None = None,
        **options: Unpack[_ConsumesOptions],
    ) -> Self: ...
    @overload
    def consumes(
        self,
        first: str,
        /,
        *more: type[BaseModel] | str,
        where: Where | None = None,
        **options: Unpack[_ConsumesOptions],
    ) -> Self: ...
    @overload
    def consumes(
        self,
        first: type[BaseModel],
        second: str,
        /,
        *,
        where: Where | None = None,
        **options: Unpack[_ConsumesOptions],
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
        activation: Activation | None = None,
        semantic_match: str | SemanticMatch | Sequence[str | SemanticMatch] | None = None,
    ) -> Self:
        """Start the agent on these types: all of them in one call, any of several calls.

        Args:
            *types: Model classes (or type names); a repeated type asks for that many.
            where: A predicate or several. With several types, one of one argument applies
                to each artifact, one of as many arguments as there are types to the
                complete group. A raising predicate is logged and does not match.
            from_agents: Names of the producers to listen to; `"external"` is the outside.
            tags: Tags of which an artifact must have at least one.
            join: Bring together what has the same key; two types at least.
            batch: Gather several and run once for all.
            mode: `"events"`: started by published artifacts only; `"direct"`: by `arun`
                and `invoke` only; `"both"`.
            priority: Higher runs first when both are ready.
            activation: What has to hold in an artifact's workflow before it goes on to the gate
                or to a run, such as `When.correlation(Vote).count_at_least(3)`. Until then it
                waits.
            semantic_match: What the text of each artifact must be about: a query such as
                `"urgent billing problem"`, a `SemanticMatch`, or several, all of which must
                hold. Asked last. Needs the board's embedder, or the extra `semantic`.
        """
        word = self._word("consumes")
        entries = word.entries(types)
        word.mode(mode, priority)
        word.gates(entries, join, batch)
        each, group = word.predicates(where, len(entries))
        self.agent.subscriptions.append(
            Subscription(
                self.name,
                len(self.agent.subscriptions),
                entries,
                each=each,
                group=group,
                from_agents=word.words("from_agents", _names(from_agents)),
                tags=word.words("tags", tags),
                join=join,
                batch=batch,
                mode=mode,
                priority=priority,
                semantic=word.semantic(semantic_match, entries),
                activation=word.trying(checked_activation, activation),
            )
        )
        return self._done()

    @overload
    def publishes(
        self,
        first: type[A],
        /,
        *,
        where: Callable[[A], object] | Sequence[Callable[[A], object]] | None = None,
        validate: Callable[[A], object] | Sequence[tuple[Callable[[A], object], str]] | None = None,
        visibility: Visibility | Callable[[A], Visibility] | None = None,
        **options: Unpack[_PublishesOptions],
    ) -> Self: ...
    @overload
    def publishes(
        self,
        first: type[BaseModel] | str,
        second: type[BaseModel] | str,
        /,
        *more: type[BaseModel] | str,
        where: Where | None = None,
        validate: Validation | None = None,
        visibility: Visibility | Callable[[Any], Visibility] | None = None,
        **options: Unpack[_PublishesOptions],
    ) -> Self: ...
    @overload
    def publishes(
        self,
        first: str,
        /,
        *,
        where: Where | None = None,
        validate: Validation | None = None,
        visibility: Visibility | Callable[[Any], Visibility] | None = None,
        **options: Unpack[_PublishesOptions],
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
        word = self._word("publishes")
        entries = word.entries(types)
        self.agent.output_groups.append(
            word.output_group(entries, fan_out, where, validate, visibility, tags, description)
        )
        return self._done()

    # --- how it is computed ---

    def calls(self, fn: Callable[..., Any]) -> Self:
        """Compute the agent by a function instead of a model.

        Args:
            fn: Sync (run in a thread), async, or an (async) generator, whose yields are
                published as they come. Parameters bind by annotation: a model,
                `list[Model]`, `EvalInputs`, `Context`; a single unannotated one gets the
                model, or the list of models. Each takes what no parameter before it took,
                and one that would always be left without is refused when the board opens,
                unless it has a default. Types that are not declared with `consumes` or
                `publishes` are taken from the annotations.
        """
        here = inspect.currentframe()
        frame = None if here is None else here.f_back
        self.agent.function = self._word("calls").trying(read_signature, fn, frame=frame)
        return self._done()

    def asks_human(self, question: str | Callable[..., str], timeout: Span | None = None) -> Self:
        """Let a person compute the agent: its outputs are what is answered to its questions.

        Each run asks once and waits, without a task or a slot, until `Flock.answer` is called
        for it; `Flock.questions` lists what waits. A question lasts as long as its board: it is
        there again after a restart.

        Args:
            question: What is asked: a text, or a plain function that returns one. Its parameters
                bind as those of `calls` do. It is called once, when the question is asked, in a
                thread; if it raises, the run has failed.
            timeout: How long the answer may take: a `timedelta` or seconds of the board's clock.
                Then the run has failed with `QuestionExpired`, and is not tried again: `redrive`
                asks once more.
        """
        here = inspect.currentframe()
        frame = None if here is None else here.f_back
        self.agent.asks = self._word("asks_human").asking(question, timeout, frame)
        return self._done()

    def with_engines(self, *engines: Engine) -> Self:
        """Compute the agent by a chain of engines, each working on the outputs before it."""
        for engine in engines:
            is_engine = callable(getattr(engine, "evaluate", None)) and hasattr(engine, "streams")
            if not is_engine or isinstance(engine, type) or not can_answer(engine):
                self._word("with_engines").refuse(
                    f"{engine!r} is no instance of an EngineComponent; make one of a class that "
                    "overrides evaluate, and pass that"
                )
        self.agent.engines.extend(engines)
        return self._done()

    def with_utilities(self, *components: RunHooks) -> Self:
        """Add components whose hooks run around each run, by ascending priority."""
        for component in components:
            if hasattr(component, "on_artifact_published") and not hasattr(
                component, "on_pre_consume"
            ):
                self._word("with_utilities").refuse(
                    f"{component!r} has hooks around the board; give it to Flock.add_component()"
                )
            if isinstance(component, type) or not hasattr(component, "on_initialize"):
                self._word("with_utilities").refuse(
                    f"{component!r} is no instance of an AgentComponent; make one, and pass that"
                )
        self.agent.utilities.extend(components)
        return self._done()

    def with_context(self, provider: ContextProvider) -> Self:
        """Let an async callable choose the history this agent gets."""
        self._word("with_context").provider(provider)
        self.agent.context_provider = provider
        return self._done()

    def with_tools(
        self,
        tools: Iterable[Tool | Callable[..., object]],
        *,
        max_calls: int | None = None,
        approve: Approve | None = None,
        timeout: Span | None = None,
    ) -> Self:
        """Give the agent's model functions to call; those of several calls add up.

        Args:
            tools: Functions (sync ones run in a thread), methods of an object, and what
                `flock_tool` made. The model reads name, docstring and annotations.
            max_calls: How many tools one run may call, those of MCP servers included; 20
                unless said.
            approve: Called as `approve(tool, arguments, ctx)` before each call of these tools,
                sync or async. Only True lets it through; False refuses it, and a text refuses
                it with that reason. One that raises refuses, too.
            timeout: How long a call may take, unless the tool says: a `timedelta` or seconds.
        """
        word = self._word("with_tools")
        word.calls_tools(approve, timeout)
        here = inspect.currentframe()
        frame = None if here is None else here.f_back
        made = [
            word.trying(self._make.tool, tool, approve, timeout, frame)
            for tool in word.several("tools", tools)
        ]
        self.agent.tools = word.distinct((*self.agent.tools, *made))
        if max_calls is not None:
            self.agent.max_tool_calls = word.count("max_calls", max_calls)
        return self._done()

    def with_mcps(
        self,
        servers: Iterable[object],
        *,
        max_calls: int | None = None,
        approve: Approve | None = None,
    ) -> Self:
        """Give the agent's model the tools of MCP servers; those of several calls add up.

        The agents of a board that name the same server share one connection, which is opened
        when the first of them runs and closed with the board.

        Args:
            servers: Each an `MCPServer`.
            max_calls: As in `with_tools`.
            approve: As in `with_tools`, for the tools of these servers.
        """
        word = self._word("with_mcps")
        word.calls_tools(approve, None)
        made = [
            word.trying(self._make.source, server, approve)
            for server in word.several("servers", servers)
        ]
        self.agent.tool_sources = word.distinct((*self.agent.tool_sources, *made))
        if max_calls is not None:
            self.agent.max_tool_calls = word.count("max_calls", max_calls)
        return self._done()

    def best_of(self, n: int, score: Callable[[EvalResult], Any] | None = None) -> Self:
        """Run `n` chains in parallel and keep the answer with the highest score.

        Args:
            n: How many, from 1.
            score: Scores an `EvalResult`; ties go to the first. Without it the first
                answer in order wins. A failing candidate only loses.
        """
        word = self._word("best_of")
        if score is not None:
            word.plain("score", score, "an EvalResult")
        self.agent.best_of_n = word.count("n", n)
        self.agent.best_of_score = score
        return self._done()

    # --- who it is ---

    def description(self, text: str) -> Self:
        """Say what the agent does: documentation for people, instruction for a model."""
        self.agent.description = self._word("description").text("description", text)
        return self._done()

    def labels(self, *labels: str | Iterable[str]) -> Self:
        """Give the agent labels, one by one or in a collection: `LabelledVisibility` asks for them.

        They replace those it had.
        """
        word = self._word("labels")
        if any(cast("object", label) is None for label in labels):
            word.refuse("labels takes one or more words, not None; labels() takes all away")
        self.agent.labels = frozenset(
            name for given in labels for name in word.words("labels", given) or ()
        )
        return self._done()

    def tenant(self, tenant_id: str) -> Self:
        """Make the agent a tenant's, as `TenantVisibility` asks."""
        self.agent.tenant_id = self._word("tenant").text("tenant_id", tenant_id)
        return self._done()

    def prevent_self_trigger(self, prevent: bool = True) -> Self:  # noqa: FBT001, FBT002
        """Say whether the agent skips what it published itself; it does unless told."""
        if not isinstance(prevent, bool):
            self._word("prevent_self_trigger").refuse(f"say True or False, not {prevent!r}")
        self.agent.skips_own_output = prevent
        return self._done()

    # --- how it runs ---

    def max_concurrency(self, n: int) -> Self:
        """Let at most `n` of the agent's runs go on at once; 16 unless said."""
        self.agent.slots.resize(self._word("max_concurrency").count("n", n))
        return self._done()

    def retry(self, attempts: int, backoff: Span | Backoff = 1.0, on: RetryOn = Exception) -> Self:
        """Try a failed run again.

        Args:
            attempts: How many attempts there are in all, from 1.
            backoff: The first delay in seconds (or a `timedelta`), doubled each time up to
                a minute, with full jitter; or a `Backoff`.
            on: Which errors are worth it: an exception class, several, or a predicate.
        """
        word = self._word("retry")
        policy = word.trying(retry_policy, attempts, backoff, on)
        if not isinstance(policy.on, tuple):
            word.plain("on", policy.on, "the error")
        self.agent.retry = policy
        return self._done()

    def timeout(self, span: Span) -> Self:
        """Cancel a run that takes longer than this (a `timedelta` or seconds): it failed."""
        self.agent.timeout = self._word("timeout").trying(seconds, span, "timeout")
        return self._done()

    def budget(
        self,
        *,
        tokens: int | None = None,
        usd: float | None = None,
        runs: int | None = None,
        per: Literal["board", "workflow"] = "board",
    ) -> Self:
        """Bound what the agent spends; see `Flock.budget`. Several budgets all hold.

        Args:
            tokens: How many tokens its model calls may take, in and out.
            usd: How many US dollars they may cost.
            runs: How many of its runs may begin.
            per: `"board"` for all workflows together, `"workflow"` for each.
        """
        budget = self._word("budget").trying(Budget, tokens, usd, runs, per)
        self.agent.budgets.append(budget)
        return self._done()

    def rate_limit(self, n: int, per: Span, key: RateKey | None = None) -> Self:
        """Let at most `n` of the agent's runs begin in any span of `per`.

        The window slides: wherever it is laid, no more than `n` begin in it. Each attempt counts,
        since a retry calls what the limit is for as well. A run that has to wait is queued: it
        holds no slot, and runs that another value of the key or another limit is for pass it.
        Several limits all hold, beside those of the board (`Flock.rate_limit`). On a durable
        board they hold across restarts.

        Args:
            n: How many runs.
            per: The span: a `timedelta` or seconds of the board's clock.
            key: A function of a run's first input, an `Artifact`: the limit holds for each value
                by itself. Any JSON value or hashable. Where it raises, the run fails with a
                `RateKeyError`. Runs that ticks of schedules start have no input, and a value of
                their own.
        """
        self.agent.rate_limits.append(rate_limit(self._word("rate_limit"), n, per, key))
        return self._done()

    def schedule(
        self,
        *,
        every: Span | None = None,
        at: time | datetime | None = None,
        cron: str | None = None,
        after: Span | None = None,
        max_repeats: int | None = None,
        tz: str | tzinfo | None = None,
    ) -> Self:
        """Run the agent by the clock, without inputs; several schedules all hold.

        Each tick starts a workflow of its own. While its run has not ended, further ticks
        wait, and become one: `Context.missed` counts those that got no run of their own.

        Args:
            every: The time between two ticks, a `timedelta` or seconds. The beat is kept from
                the first one on, however long runs take.
            at: A `time`: daily, in its own zone, or `tz`. A `datetime`: once, or as soon as the
                board is open if it was not then. Naive ones are in `tz`.
            cron: Five fields, as in `"0 9 * * 1-5"`, in `tz`.
            after: How long to wait before the first tick; `every` waits one interval unless
                said.
            max_repeats: How many runs it starts in all, restarts included.
            tz: The time zone, by its name or as a `tzinfo`; UTC unless said.
        """
        spec = self._word("schedule").trying(schedule_spec, every, at, cron, after, max_repeats, tz)
        self.agent.schedules.append(spec)
        return self._done()

    # --- what the words share ---

    def _word(self, name: str) -> Word:
        return Word(self.name, name)

    def _done(self) -> Self:
        self.agent.changed()
        self._changed()
        return self


def _names(producers: object) -> object:
    """Return the names of producers that were given as agents, builders or names."""
    if isinstance(producers, AgentBuilder | Agent):
        return producers.name
    if isinstance(producers, str) or not isinstance(producers, Iterable):
        return producers
    return [
        p.name if isinstance(p, AgentBuilder | Agent) else p
        for p in cast("Iterable[object]", producers)
    ]
