"""A bad declaration fails where it is made, or when the board opens, and says what to do."""

# Agents are short lambdas here.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import asyncio
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, time, timedelta
from functools import partial
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from flock import (
    Agent,
    AgentBuilder,
    AgentComponent,
    Artifact,
    Backoff,
    BatchSpec,
    Context,
    DeclarationError,
    EngineComponent,
    EvalInputs,
    EvalResult,
    Flock,
    JoinSpec,
    NotYetAvailable,
    OrchestratorComponent,
    PublicVisibility,
    TypeRegistryError,
    Until,
    When,
    flock_type,
)

from .support import engine

HOUR = timedelta(hours=1)


class Order(BaseModel):
    number: int = 0
    key: str = "k"
    labels: set[str] = set()

    def track(self) -> str:
        return self.key


class Parcel(BaseModel):
    number: int = 0
    key: str = "k"
    labels: set[str] = set()

    def track(self) -> str:
        return self.key


class Letter(BaseModel):
    number: int = 0


class Sealed(BaseModel):
    model_config = ConfigDict(frozen=True)
    by: str = "me"


class Signed(BaseModel):
    number: int = 0
    seal: Sealed = Sealed()
    marks: list[str] = []
    names: frozenset[str] = frozenset()


def same(name: str) -> type[BaseModel]:
    """Make a class of a short name that another class has as well."""
    twin: type[BaseModel] = type("DeclaredTwice", (BaseModel,), {"__module__": name})
    return flock_type(twin)


TWINS = [same("one.place"), same("another.place")]


async def is_async(value: Any) -> bool:
    return bool(value)


def nothing() -> bool:
    return True


def two(first: Any, second: Any) -> bool:
    return first == second


def one_and_key(first: Any, *, key: Any) -> bool:
    return first == key


def a_set(order: Order) -> set[str]:
    return order.labels


def pack(order: Order) -> Parcel:
    return Parcel(number=order.number)


def thinking() -> EngineComponent:
    return engine(lambda _: Parcel())


class NoAnswer(EngineComponent):
    """An engine that does not say how it answers."""


class NoStream(EngineComponent):
    streams = True


Declare = Callable[[Any], object]


def bad_gates() -> Iterable[tuple[str, str, str, Declare]]:
    """Yield senseless ways to gather inputs: a title, the word, a part of the remedy, the deed."""
    batches: list[tuple[dict[str, Any], str]] = [
        ({}, "give one, as in BatchSpec(size=10)"),
        ({"size": None, "timeout": None}, "needs a size or a timeout"),
        *[({"size": n}, "BatchSpec.size must be a whole number from 1") for n in BAD_COUNTS],
        *[({"timeout": 0}, "BatchSpec.timeout must be more than 0 seconds")],
        *[({"timeout": span}, "BatchSpec.timeout") for span in BAD_SPANS],
        ({"size": 3, "timeout": 0}, "BatchSpec.timeout must be more than 0 seconds"),
        ({"size": 0, "timeout": 3}, "BatchSpec.size must be a whole number from 1"),
    ]
    for options, remedy in batches:
        spec = BatchSpec(**options)
        yield f"batch {options}", "consumes", remedy, lambda b, s=spec: b.consumes(Order, batch=s)
    takes = "takes a BatchSpec such as BatchSpec(size=10)"
    for wrong in (3, "10", BatchSpec, {"size": 3}, JoinSpec(by="key", within=2)):
        yield f"batch={wrong!r}", "consumes", takes, lambda b, w=wrong: b.consumes(Order, batch=w)

    window = "takes a positive timedelta, or a positive int that counts artifacts"
    joins: list[tuple[dict[str, Any], str]] = [
        *[({"by": "key", "within": within}, window) for within in BAD_WINDOWS],
        *[({"by": by, "within": HOUR}, "let a function return a tuple") for by in BAD_KEYS],
        ({"by": "number_of_it", "within": HOUR}, "name one that all types have"),
        ({"by": "track", "within": HOUR}, "lambda model: model.track()"),
        ({"by": "labels", "within": HOUR}, "as a tuple or a frozenset"),
        ({"by": a_set, "within": HOUR}, "return a tuple or a frozenset"),
        ({"by": is_async, "within": HOUR}, "takes plain functions"),
        ({"by": nothing, "within": HOUR}, "takes functions of one argument, the model"),
        ({"by": two, "within": HOUR}, "takes functions of one argument, the model"),
        ({"by": "key", "within": 1}, "count at least as many"),
        *[({"by": "key", "within": 2, "on_expired": w}, "is 'drop' or 'run'") for w in BAD_ENDS],
    ]
    for options, remedy in joins:
        join = JoinSpec(**options)
        yield (
            f"join {options}",
            "consumes",
            remedy,
            lambda b, j=join: b.consumes(Order, Parcel, join=j),
        )
    takes = "takes a JoinSpec such as JoinSpec(by=..., within=...)"
    for wrong in ("key", JoinSpec, lambda o: o, BatchSpec(size=2)):
        yield (
            f"join={wrong!r}",
            "consumes",
            takes,
            lambda b, w=wrong: b.consumes(Order, Parcel, join=w),
        )
    yield (
        "a join of one type",
        "consumes",
        "use batch= to gather one type",
        lambda b: b.consumes(Order, join=JoinSpec(by="key", within=2)),
    )


BAD_COUNTS: list[Any] = [0, -1, True, 2.0, "2"]
BAD_SPANS: list[Any] = [-1, timedelta(0), -HOUR, float("nan"), float("inf"), 10**400, "1", True]
BAD_WINDOWS: list[Any] = [0, -1, True, 1.5, "5", None, timedelta(0), -HOUR]
BAD_KEYS: list[Any] = ["", None, 3, ["key"], ("a", "b"), {"key"}]
BAD_ENDS: list[Any] = ["keep", "", None, True, ["run"]]

BAD_INPUTS: list[tuple[str, str, str, Declare]] = [
    ("no types", "consumes", "name at least one type", lambda b: b.consumes()),
    ("an int", "consumes", "derive it from pydantic.BaseModel", lambda b: b.consumes(int)),
    ("BaseModel", "consumes", "derive it from", lambda b: b.consumes(BaseModel)),
    ("an instance", "consumes", "name Order", lambda b: b.consumes(Order())),
    ("a list of types", "consumes", "derive it from", lambda b: b.consumes([Order, Letter])),
    ("an unknown name", "consumes", "register it", lambda b: b.consumes("NoSuchType")),
    ("no name", "consumes", "register it", lambda b: b.consumes("")),
    ("an ambiguous name", "consumes", "say which", lambda b: b.consumes("DeclaredTwice")),
    ("unknown mode", "consumes", "both, events, direct", lambda b: b.consumes(Order, mode="any")),
    ("no mode", "consumes", "both, events, direct", lambda b: b.consumes(Order, mode=None)),
    ("modes", "consumes", "both, events, direct", lambda b: b.consumes(Order, mode=["both"])),
    ("priority text", "consumes", "a whole number", lambda b: b.consumes(Order, priority="high")),
    ("priority half", "consumes", "a whole number", lambda b: b.consumes(Order, priority=0.5)),
    ("priority bool", "consumes", "a whole number", lambda b: b.consumes(Order, priority=True)),
    ("where int", "consumes", "where takes functions", lambda b: b.consumes(Order, where=3)),
    (
        "where dict",
        "consumes",
        "where takes functions",
        lambda b: b.consumes(Order, where={"a": 1}),
    ),
    ("where text", "consumes", "where takes functions", lambda b: b.consumes(Order, where="yes")),
    ("empty where", "consumes", "where takes functions", lambda b: b.consumes(Order, where="")),
    ("where async", "consumes", "plain functions", lambda b: b.consumes(Order, where=is_async)),
    ("where of none", "consumes", "1 would fit", lambda b: b.consumes(Order, where=nothing)),
    ("where of two", "consumes", "1 would fit", lambda b: b.consumes(Order, where=two)),
    ("group of three", "consumes", "1 or 3", lambda b: b.consumes(Order, Order, Letter, where=two)),
    ("where key", "consumes", "give the rest", lambda b: b.consumes(Order, where=one_and_key)),
    ("one bad where", "consumes", "1 would fit", lambda b: b.consumes(Order, where=[bool, two])),
    ("tags int", "consumes", "one or more words", lambda b: b.consumes(Order, tags=3)),
    ("no tags", "consumes", "one or more words", lambda b: b.consumes(Order, tags=[])),
    ("empty tag", "consumes", "one or more words", lambda b: b.consumes(Order, tags={"a", ""})),
    ("producer int", "consumes", "one or more words", lambda b: b.consumes(Order, from_agents=3)),
    ("no producer", "consumes", "one or more words", lambda b: b.consumes(Order, from_agents=())),
    ("producer type", "consumes", "one or more", lambda b: b.consumes(Order, from_agents=[Order])),
    (
        "activation type",
        "consumes",
        "such as When.corr",
        lambda b: b.consumes(Order, activation=Order),
    ),
    (
        "activation of the board",
        "consumes",
        "an activation about one workflow",
        lambda b: b.consumes(Order, activation=Until.exists(Order)),
    ),
    (
        "unfinished activation",
        "consumes",
        "finish it with count_at_least",
        lambda b: b.consumes(Order, activation=When.correlation(Order)),
    ),
]

BAD_OUTPUTS: list[tuple[str, str, str, Declare]] = [
    ("no types", "publishes", "name at least one type", lambda b: b.publishes()),
    ("a dict", "publishes", "derive it from pydantic.BaseModel", lambda b: b.publishes(dict)),
    ("an instance", "publishes", "name Parcel", lambda b: b.publishes(Parcel())),
    ("an unknown name", "publishes", "register it", lambda b: b.publishes("NoSuchType")),
    *[
        (
            f"fan_out={fan_out!r}",
            "publishes",
            "fan_out must ask for at least 1, with min <= max",
            partial(lambda b, f: b.publishes(Parcel, fan_out=f), f=fan_out),
        )
        for fan_out in [(3, 1), 0, -2, (-1, 2), (0, 0), [5, 4]]
    ],
    *[
        (
            f"fan_out={fan_out!r}",
            "publishes",
            "fan_out takes a count or a pair (min, max)",
            partial(lambda b, f: b.publishes(Parcel, fan_out=f), f=fan_out),
        )
        for fan_out in ["3", 1.5, True, (1,), (1, 2, 3), (1, None), ("1", "2"), {1, 2}]
    ],
    ("twice", "publishes", "give one", lambda b: b.publishes(Parcel, Parcel, fan_out=3)),
    ("where int", "publishes", "where takes functions", lambda b: b.publishes(Parcel, where=3)),
    ("where async", "publishes", "plain functions", lambda b: b.publishes(Parcel, where=is_async)),
    ("where of two", "publishes", "one argument", lambda b: b.publishes(Parcel, where=two)),
    ("where of none", "publishes", "one argument", lambda b: b.publishes(Parcel, where=[nothing])),
    ("no validate", "publishes", "takes predicates", lambda b: b.publishes(Parcel, validate="")),
    ("validate int", "publishes", "takes predicates", lambda b: b.publishes(Parcel, validate=3)),
    (
        "a text first",
        "publishes",
        "functions",
        lambda b: b.publishes(Parcel, validate=[("x", "y")]),
    ),
    ("message", "publishes", "a text", lambda b: b.publishes(Parcel, validate=[(bool, 3)])),
    (
        "a bare pair",
        "publishes",
        "(predicate, ",
        lambda b: b.publishes(Parcel, validate=(bool, "")),
    ),
    ("triple", "publishes", "(pred", lambda b: b.publishes(Parcel, validate=[(bool, "", 1)])),
    ("validate async", "publishes", "plain", lambda b: b.publishes(Parcel, validate=is_async)),
    (
        "validate of two",
        "publishes",
        "one arg",
        lambda b: b.publishes(Parcel, validate=[(two, "")]),
    ),
    ("text", "publishes", "such as Private", lambda b: b.publishes(Parcel, visibility="Public")),
    ("dict", "publishes", "such as Priv", lambda b: b.publishes(Parcel, visibility={"kind": "x"})),
    ("its class", "publishes", "such", lambda b: b.publishes(Parcel, visibility=PublicVisibility)),
    ("async", "publishes", "plain function", lambda b: b.publishes(Parcel, visibility=is_async)),
    ("of none", "publishes", "one argument", lambda b: b.publishes(Parcel, visibility=nothing)),
    ("tags int", "publishes", "one or more words", lambda b: b.publishes(Parcel, tags=3)),
    ("empty tags", "publishes", "one or more words", lambda b: b.publishes(Parcel, tags=[""])),
    ("description", "publishes", "takes a text", lambda b: b.publishes(Parcel, description=3)),
]


def strange(order: Order, number: int) -> None:
    del order, number


def lost(order: Any) -> None:
    del order


lost.__annotations__["order"] = "Nowhere"


def paired(both: tuple[Order, Letter]) -> None:
    del both


class Called:
    async def __call__(self, order: Order) -> bool:
        return bool(order)


BAD_THINKING: list[tuple[str, str, str, Declare]] = [
    ("no function", "calls", "takes a function", lambda b: b.calls(3)),
    ("None", "calls", "takes a function", lambda b: b.calls(None)),
    ("a class", "calls", "takes a function", lambda b: b.calls(Order)),
    ("a coroutine's name", "calls", "takes a function", lambda b: b.calls("pack")),
    ("an int parameter", "calls", "annotate it with a model", lambda b: b.calls(strange)),
    ("a pair", "calls", "annotate it with a model", lambda b: b.calls(paired)),
    ("a lost name", "calls", "import it at run time", lambda b: b.calls(lost)),
    ("engine int", "with_engines", "make one", lambda b: b.with_engines(3)),
    ("engine class", "with_engines", "make one", lambda b: b.with_engines(EngineComponent)),
    ("engine list", "with_engines", "make one", lambda b: b.with_engines([thinking()])),
    ("utility as engine", "with_engines", "make one", lambda b: b.with_engines(AgentComponent())),
    ("no evaluate", "with_engines", "overrides evaluate", lambda b: b.with_engines(NoAnswer())),
    ("no stream", "with_engines", "overrides evaluate", lambda b: b.with_engines(NoStream())),
    ("one bad", "with_engines", "make one", lambda b: b.with_engines(thinking(), NoAnswer())),
    ("utility", "with_utilities", "make one", lambda b: b.with_utilities(3)),
    ("utility class", "with_utilities", "make one", lambda b: b.with_utilities(AgentComponent)),
    (
        "board's component",
        "with_utilities",
        "give it to Flock.add_component()",
        lambda b: b.with_utilities(OrchestratorComponent(name="watch")),
    ),
    ("context", "with_context", "an async function of a ContextReq", lambda b: b.with_context([])),
    ("class", "with_context", "an async function of a", lambda b: b.with_context(AgentComponent)),
    ("of none", "with_context", "function of one arg", lambda b: b.with_context(nothing)),
    *[
        (
            f"best of {n!r}",
            "best_of",
            "n must be a whole number from 1",
            partial(lambda b, n: b.best_of(n), n=n),
        )
        for n in BAD_COUNTS
    ],
    ("score int", "best_of", "score takes functions", lambda b: b.best_of(2, score=3)),
    ("score async", "best_of", "plain functions", lambda b: b.best_of(2, score=is_async)),
    ("score called async", "best_of", "plain functions", lambda b: b.best_of(2, score=Called())),
    ("score of two", "best_of", "one argument, an EvalResult", lambda b: b.best_of(2, score=two)),
    ("n and score", "best_of", "from 1", lambda b: b.best_of(0, score=bool)),
]

BAD_LIMITS: list[tuple[str, str, str, Declare]] = [
    ("description", "description", "takes a text", lambda b: b.description(None)),
    ("label", "labels", "one or more words", lambda b: b.labels("red", 3)),
    ("no label", "labels", "one or more words", lambda b: b.labels(None)),
    ("empty label", "labels", "one or more words", lambda b: b.labels("")),
    ("empty labels", "labels", "one or more words", lambda b: b.labels([])),
    ("tenant", "tenant", "takes a text", lambda b: b.tenant(3)),
    ("self", "prevent_self_trigger", "True or False", lambda b: b.prevent_self_trigger("no")),
    ("self int", "prevent_self_trigger", "True or False", lambda b: b.prevent_self_trigger(1)),
    *[
        (
            f"{n!r} at once",
            "max_concurrency",
            "n must be a whole number from 1",
            partial(lambda b, n: b.max_concurrency(n), n=n),
        )
        for n in [*BAD_COUNTS, None]
    ],
    *[
        (
            f"timeout {span!r}",
            "timeout",
            "timeout",
            partial(lambda b, span: b.timeout(span), span=span),
        )
        for span in [0, *BAD_SPANS]
    ],
    *[
        (
            f"{n!r} attempts",
            "retry",
            "attempts must be a whole number from 1",
            partial(lambda b, n: b.retry(n), n=n),
        )
        for n in BAD_COUNTS
    ],
    ("negative back-off", "retry", "at least 0 seconds", lambda b: b.retry(2, backoff=-1)),
    ("back-off of text", "retry", "seconds, a timedelta or a B", lambda b: b.retry(2, backoff="1")),
    *[
        (
            f"back-off {options}",
            "retry",
            remedy,
            partial(lambda b, o: b.retry(2, backoff=Backoff(**o)), o=options),
        )
        for options, remedy in [
            ({"initial": -1}, "Backoff.initial must be at least 0 seconds"),
            ({"initial": "1"}, "Backoff.initial takes a timedelta or a number of seconds"),
            ({"initial": float("nan")}, "Backoff.initial must be at least 0 seconds"),
            ({"maximum": -1}, "Backoff.maximum must be at least 0 seconds"),
            ({"maximum": float("inf")}, "Backoff.maximum must be at least 0 seconds"),
            ({"factor": 0.5}, "Backoff.factor must be a number of at least 1"),
            ({"factor": float("nan")}, "Backoff.factor must be a number of at least 1"),
            ({"factor": "2"}, "Backoff.factor must be a number of at least 1"),
            ({"factor": True}, "Backoff.factor must be a number of at least 1"),
            ({"jitter": "no"}, "Backoff.jitter is True or False"),
        ]
    ],
    ("no errors", "retry", "leave it out for all", lambda b: b.retry(2, on=())),
    ("error", "retry", "exception classes or a predicate", lambda b: b.retry(2, on=ValueError())),
    ("no error class", "retry", "exception classes or", lambda b: b.retry(2, on=(KeyError, int))),
    ("on async", "retry", "plain functions", lambda b: b.retry(2, on=is_async)),
    ("on of two", "retry", "one argument, the error", lambda b: b.retry(2, on=two)),
]

BAD_TIMES: list[tuple[str, str, str, Declare]] = [
    ("no trigger", "schedule", "exactly one of every, at and cron", lambda b: b.schedule()),
    ("two", "schedule", "exactly one", lambda b: b.schedule(every=5, cron="* * * * *")),
    ("every, at", "schedule", "exactly one", lambda b: b.schedule(every=5, at=datetime.now(UTC))),
    ("every 0", "schedule", "every must be more than 0", lambda b: b.schedule(every=0)),
    ("every -1", "schedule", "every must be more than 0", lambda b: b.schedule(every=-HOUR)),
    ("every text", "schedule", "a number of seconds", lambda b: b.schedule(every="hourly")),
    ("at text", "schedule", "a time or a datetime", lambda b: b.schedule(at="12:00")),
    ("cron of 4", "schedule", "five fields", lambda b: b.schedule(cron="* * * *")),
    ("cron int", "schedule", "five fields", lambda b: b.schedule(cron=5)),
    ("after", "schedule", "at least 0", lambda b: b.schedule(every=5, after=-1)),
    ("repeats", "schedule", "from 1", lambda b: b.schedule(every=5, max_repeats=0)),
    ("zone", "schedule", "the name of a time zone", lambda b: b.schedule(every=5, tz=3)),
    ("zone of every", "schedule", "leave tz out", lambda b: b.schedule(every=5, tz="UTC")),
    ("own zone", "schedule", "leave tz out", lambda b: b.schedule(at=time(9, tzinfo=UTC), tz=UTC)),
    ("no zone", "schedule", "pip install tzdata", lambda b: b.schedule(at=time(9), tz="Mars/X")),
    ("too often", "schedule", "at least 0.001", lambda b: b.schedule(every=0.0001)),
    ("cron", "schedule", "bad minute", lambda b: b.schedule(cron="61 * * * *")),
    ("never", "schedule", "bad day-of-month", lambda b: b.schedule(cron="0 0 30 2 *")),
    ("once", "schedule", "leave after out", lambda b: b.schedule(at=datetime.now(UTC), after=5)),
    (
        "once, twice",
        "schedule",
        "leave max_repeats out",
        lambda b: b.schedule(at=datetime.now(UTC), max_repeats=2),
    ),
    ("no runs", "rate_limit", "n must be a whole number from 1", lambda b: b.rate_limit(0, per=1)),
    ("no span", "rate_limit", "per must be more than 0", lambda b: b.rate_limit(1, per=0)),
    ("text", "rate_limit", "per takes a timedelta", lambda b: b.rate_limit(1, per="minute")),
    ("no key", "rate_limit", "key takes functions", lambda b: b.rate_limit(1, 1, key="name")),
    ("too many", "rate_limit", "of one argument", lambda b: b.rate_limit(1, 1, key=two)),
    ("async", "rate_limit", "plain functions", lambda b: b.rate_limit(1, 1, key=is_async)),
]

BAD = [*BAD_INPUTS, *bad_gates(), *BAD_OUTPUTS, *BAD_THINKING, *BAD_LIMITS, *BAD_TIMES]


def declared(agent: Agent) -> dict[str, Any]:
    """Return all that an agent's declaration says."""
    names = (
        *("description", "labels", "tenant_id", "subscriptions", "output_groups", "engines"),
        *("utilities", "function", "best_of_n", "best_of_score", "skips_own_output", "retry"),
        *("timeout", "context_provider", "max_concurrency"),
    )
    values: dict[str, Any] = {name: getattr(agent, name) for name in names}
    return {n: [*v] if isinstance(v, list) else v for n, v in values.items()}


@pytest.mark.parametrize(
    ("word", "remedy", "declare"), [b[1:] for b in BAD], ids=[f"{b[1]}: {b[0]}" for b in BAD]
)
async def test_a_bad_declaration_names_agent_word_and_remedy_and_leaves_the_agent_as_it_was(
    word: str, remedy: str, declare: Declare
) -> None:
    async with Flock() as board:
        builder = board.agent("culprit").consumes(Order).publishes(Parcel).calls(pack)
        before = declared(board.get_agent("culprit"))

        with pytest.raises(DeclarationError) as failure:
            declare(builder)

        assert not isinstance(failure.value, NotYetAvailable)
        assert str(failure.value).startswith(f"agent 'culprit', {word}: ")
        assert remedy in str(failure.value)
        assert declared(board.get_agent("culprit")) == before
        await board.publish(Order(number=7))
        report = await board.run_until_idle()
        assert (report.runs, report.failed, report.waiting) == (1, 0, 0)
        assert [p.number for p in await board.store.get_by_type(Parcel)] == [7]


def test_an_option_that_does_not_exist_is_pythons_own_error() -> None:
    builder: Any = Flock().agent("culprit")
    with pytest.raises(TypeError, match="wher"):
        builder.consumes(Order, wher=1)
    assert declared(builder.agent)["subscriptions"] == []


def test_two_agents_of_one_name_are_refused_and_the_first_stays() -> None:
    board = Flock()
    first = board.agent("culprit").consumes(Order)
    with pytest.raises(
        DeclarationError, match=r"'culprit' already; choose another name.*agent\(\)"
    ):
        board.agent("culprit")
    assert board.agents == [first.agent]
    assert len(board.get_agent("culprit").subscriptions) == 1


@pytest.mark.parametrize("name", ["external", "", " ", None, 3])
def test_reserved_and_empty_names_are_refused(name: Any) -> None:
    board = Flock()
    with pytest.raises(DeclarationError, match=r"name|called"):
        board.agent(name)
    assert board.agents == []


# --- What only shows when all words are there ---------------------------------------------


def bare_pair(b: Any, c: Any) -> None:
    del b, c


bare_pair.__annotations__.clear()


def model_and_bare(order: Order, log: Any) -> None:
    del order, log


model_and_bare.__annotations__.pop("log")


def model_and_anything(order: Order, log: Any) -> None:
    del order, log


def order_and_letter(order: Order, letter: Letter) -> Parcel:
    return Parcel(number=order.number + letter.number)


def two_orders(first: Order, second: Order) -> Parcel:
    return Parcel(number=first.number + second.number)


def all_then_one(orders: list[Order], last: Order) -> Parcel:
    return Parcel(number=last.number + len(orders))


def order_and_artifact(order: Order, artifact: Artifact) -> Parcel:
    return Parcel(number=order.number + artifact.depth)


def by_name(*, order: Order, letter: Letter) -> Parcel:
    return Parcel(number=order.number + letter.number)


class Unbound:
    def pack(self, order: Order) -> Parcel:
        return Parcel(number=order.number)


class Registered(Letter):
    pass


def registered(order: Order) -> Registered:
    return Registered(number=order.number)


def any_letter(order: Order) -> Letter:
    return registered(order)


LEFT = "give the parameter a default, take all inputs as one list, or consume one input for"
"""What the error of a parameter without an input says."""

CONTRADICTIONS: dict[str, tuple[str, str, str, Declare]] = {
    "two bare for one": ("calls", "'c'", LEFT, lambda b: b.consumes(Order).calls(bare_pair)),
    "words the other way": ("calls", "'c'", LEFT, lambda b: b.calls(bare_pair).consumes(Order)),
    "two bare, one of two": (
        *("calls", "'c'", LEFT),
        lambda b: b.consumes(Order, Letter).consumes(Order).calls(bare_pair),
    ),
    "a lambda of two": ("calls", "'y'", LEFT, lambda b: b.consumes(Order).calls(lambda x, y: None)),
    "model and bare": ("calls", "'log'", LEFT, lambda b: b.calls(model_and_bare)),
    "model and Any": ("calls", "'log'", LEFT, lambda b: b.calls(model_and_anything)),
    "either instead of both": (
        *("calls", "'letter'", LEFT),
        lambda b: b.consumes(Order).consumes(Letter).calls(order_and_letter),
    ),
    "by name, either instead of both": (
        *("calls", "'letter'", LEFT),
        lambda b: b.consumes(Order).consumes(Letter).calls(by_name),
    ),
    "two of one type": ("calls", "'second'", LEFT, lambda b: b.consumes(Order).calls(two_orders)),
    "a list before a model": ("calls", "'last'", LEFT, lambda b: b.calls(all_then_one)),
    "a list before a model, batched": (
        *("calls", "'last'", LEFT),
        lambda b: b.consumes(Order, batch=BatchSpec(size=9)).calls(all_then_one),
    ),
    "two of a batch of one": (
        *("calls", "'second'", LEFT),
        lambda b: b.consumes(Order, batch=BatchSpec(size=1)).calls(two_orders),
    ),
    "the model and its artifact": (
        *("calls", "'artifact'", LEFT),
        lambda b: b.calls(order_and_artifact),
    ),
    "an unbound method": ("calls", "'order'", LEFT, lambda b: b.calls(Unbound.pack)),
    "not consumed": (
        *("calls", "'order'", "consume it, or annotate the parameter"),
        lambda b: b.consumes(Letter).calls(pack),
    ),
    "returns something else": (
        *("calls", "Parcel", "publish what it returns, or annotate it"),
        lambda b: b.publishes(Letter).calls(pack),
    ),
    "returns the base of what is published": (
        *("calls", "Letter", "publish what it returns, or annotate it"),
        lambda b: b.consumes(Order).publishes(Letter).calls(registered),
    ),
    "returns one of three": (
        *("calls", "at least 3", "let it return list[Parcel]"),
        lambda b: b.publishes(Parcel, fan_out=3).calls(pack),
    ),
    "returns one of two": (
        *("calls", "at least 2", "let it return list[Parcel]"),
        lambda b: b.publishes(Parcel, Parcel).calls(pack),
    ),
    "only itself": (
        *("consumes", "from_agents", "say prevent_self_trigger(False)"),
        lambda b: b.consumes(Order, from_agents="culprit").calls(pack),
    ),
}


@pytest.mark.parametrize(
    ("word", "thing", "remedy", "declare"), CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys()
)
async def test_what_contradicts_itself_keeps_the_board_from_opening_until_it_is_mended(
    word: str, thing: str, remedy: str, declare: Declare
) -> None:
    board = Flock()
    builder = board.agent("culprit")
    declare(builder)
    before = declared(board.get_agent("culprit"))

    with pytest.raises(DeclarationError) as failure:
        await board.publish(Order(number=1))

    message = str(failure.value)
    assert message.startswith(f"agent 'culprit', {word}: ")
    assert thing in message
    assert remedy in message
    assert declared(board.get_agent("culprit")) == before, "nothing half-done stays"

    builder.calls(lambda *inputs: None).prevent_self_trigger(False)
    async with board:
        assert await board.store.get_by_type(Order) == []
        await board.publish_many([Order(), Order(), Letter()])
        assert (await board.run_until_idle()).failed == 0


async def test_a_function_besides_engines_is_refused_when_the_board_opens() -> None:
    for words in (
        lambda b: b.consumes(Order).calls(pack).with_engines(thinking()),
        lambda b: b.consumes(Order).with_engines(thinking()).calls(pack),
    ):
        board = Flock()
        words(board.agent("culprit"))
        with pytest.raises(DeclarationError, match=r"'culprit', calls: .*calls\(fn\) or with_eng"):
            await board.publish(Order())


async def test_a_contradiction_of_an_agent_declared_later_fails_the_next_call() -> None:
    async with Flock() as board:
        board.agent("first").calls(pack)
        await board.publish(Order(number=1))
        late = board.agent("late").consumes(Order).calls(bare_pair)
        with pytest.raises(DeclarationError, match="'late', calls"):
            await board.publish(Order(number=2))
        late.calls(lambda _: None)
        await board.publish(Order(number=3))
        await board.run_until_idle()
        assert [o.number for o in await board.store.get_by_type(Order)] == [1, 3]


class Doubling(AgentComponent):
    """Gives the function each input twice."""

    async def on_pre_consume(
        self, agent: Agent, ctx: Context, inputs: list[Artifact]
    ) -> list[Artifact]:
        return [*inputs, *inputs]


class Wrapping(AgentComponent):
    """Makes parcels of letters."""

    async def on_post_evaluate(
        self, agent: Agent, ctx: Context, inputs: EvalInputs, result: EvalResult
    ) -> EvalResult:
        letters = [artifact.as_model(Letter) for artifact in result.artifacts]
        return EvalResult.from_objects(*[Parcel(number=letter.number) for letter in letters])


class Adding(AgentComponent):
    """Gives the function one input more."""

    async def on_pre_evaluate(self, agent: Agent, ctx: Context, inputs: EvalInputs) -> EvalInputs:
        return EvalInputs([*inputs.artifacts, Artifact.of(Order(number=4))], inputs.state)


def write(order: Order) -> Letter:
    return Letter(number=order.number)


def with_default(order: Order, log: object = None) -> Parcel:
    assert log is None
    return Parcel(number=order.number)


def order_or_letter(order: Order | None = None, letter: Letter | None = None) -> Parcel:
    return Parcel(number=(order or letter or Order()).number)


def orders_and_letters(orders: list[Order], letters: list[Letter]) -> Parcel:
    return Parcel(number=sum(m.number for m in [*orders, *letters]))


def everything(order: Order, its: list[Artifact], inputs: EvalInputs, ctx: Context) -> Parcel:
    assert its == inputs.artifacts
    assert ctx.attempt == 1
    return Parcel(number=order.number)


GOOD: dict[str, tuple[Callable[[AgentBuilder], object], list[int]]] = {
    "two of two": (lambda b: b.consumes(Order, Order).calls(two_orders), [3]),
    "two bare of two": (
        lambda b: b.consumes(Order, Order).calls(lambda x, y: Parcel(number=x.number + y.number)),
        [3],
    ),
    "two of a batch": (
        lambda b: b.consumes(Order, batch=BatchSpec(size=2)).calls(two_orders),
        [3],
    ),
    "two of a timed batch": (
        lambda b: b.consumes(Order, batch=BatchSpec(timeout=0.001)).calls(two_orders),
        [3],
    ),
    "an artifact beside its model, of two": (
        lambda b: b.consumes(Order, Order).calls(order_and_artifact),
        [1],
    ),
    "a default": (lambda b: b.calls(with_default), [1, 2]),
    "either": (lambda b: b.consumes(Order).consumes(Letter).calls(order_or_letter), [1, 2]),
    "lists of either": (
        lambda b: b.consumes(Order).consumes(Letter).calls(orders_and_letters),
        [1, 2],
    ),
    "all there is": (lambda b: b.calls(everything), [1, 2]),
    "nothing": (lambda b: b.consumes(Order).calls(lambda: Parcel(number=5)), [5, 5]),
    "a component that gives more": (
        lambda b: b.consumes(Order).calls(two_orders).with_utilities(Doubling()),
        [2, 4],
    ),
    "a component that makes something else": (
        lambda b: b.publishes(Parcel).calls(write).with_utilities(Wrapping()),
        [1, 2],
    ),
    "one by one of up to three": (
        lambda b: b.publishes(Parcel, fan_out=(1, 3)).calls(pack),
        [1, 2],
    ),
    "a component that adds": (
        lambda b: b.with_utilities(Adding()).consumes(Order).calls(two_orders),
        [5, 6],
    ),
}


@pytest.mark.parametrize(("declare", "numbers"), GOOD.values(), ids=GOOD.keys())
async def test_what_can_be_bound_is_not_refused(
    declare: Callable[[AgentBuilder], object], numbers: list[int]
) -> None:
    async with Flock() as board:
        declare(board.agent("work"))
        await board.publish_many([Order(number=1), Order(number=2)])
        report = await board.run_until_idle()
        assert report.failed == 0
        assert sorted(p.number for p in await board.store.get_by_type(Parcel)) == numbers


async def test_a_function_of_a_class_that_was_defined_again_is_no_contradiction() -> None:
    async with Flock() as board:
        former = same("notebook.cell")
        builder = board.agent("work").consumes(Order).publishes(former)
        again: Any = same("notebook.cell")

        def work(order: Order) -> object:
            return again()

        work.__annotations__["return"] = again
        builder.calls(work)
        await board.publish(Order(number=1))
        report = await board.run_until_idle()
        assert (report.runs, report.failed) == (1, 0)
        assert len(await board.store.get_by_type(again)) == 1


async def test_a_function_may_be_annotated_with_the_base_of_what_it_publishes() -> None:
    async with Flock() as board:
        board.agent("work").publishes(Registered).calls(any_letter)
        await board.publish(Order(number=1))
        assert (await board.run_until_idle()).failed == 0
        assert [r.number for r in await board.store.get_by_type(Registered)] == [1]


async def test_a_directly_called_agent_may_take_more_than_it_names() -> None:
    async with Flock() as board:
        board.agent("work").consumes(Order, mode="direct").calls(two_orders)
        (parcel,) = await board.arun("work", Order(number=1), Order(number=2))
        assert parcel.payload["number"] == 3


async def test_an_agent_that_hears_itself_may_listen_to_itself_alone() -> None:
    def count_down(order: Order) -> Order | None:
        return Order(number=order.number - 1) if order.number else None

    async with Flock() as board:
        builder = board.agent("work").consumes(Order, from_agents="work").calls(count_down)
        builder.prevent_self_trigger(False)
        await board.publish(Order(number=9))
        await board.arun("work", Order(number=2))
        await board.run_until_idle()
        assert sorted(o.number for o in await board.store.get_by_type(Order)) == [0, 1, 2, 9]


@pytest.mark.parametrize("by", ["number", "seal", "marks", "names"])
def test_keys_that_are_hashable_or_json_are_taken(by: str) -> None:
    board = Flock()
    board.agent("joined").consumes(Signed, Signed, join=JoinSpec(by=by, within=2))
    assert len(board.get_agent("joined").subscriptions) == 1


def test_a_spec_is_refused_by_each_agent_that_is_given_it() -> None:
    board, shared = Flock(), BatchSpec(size=0)
    for name in ("first", "second"):
        with pytest.raises(DeclarationError, match=f"agent '{name}', consumes: batch: "):
            board.agent(name).consumes(Order, batch=shared)
    asyncio.run(board.shutdown())


async def test_an_agent_that_nothing_starts_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    board = Flock()
    board.agent("mute").calls(lambda order: None)
    board.agent("hearing").calls(pack)
    board.agent("source").calls(nothing)  # waits for nothing
    async with board:
        pass
    [record] = [r for r in caplog.records if "consumes nothing" in r.message]
    assert "'mute'" in record.message
    assert "'order'" in record.message


def test_a_component_in_the_wrong_place_is_told_where_it_belongs() -> None:
    with pytest.raises(DeclarationError, match="give it to an agent, with_utilities"):
        Flock().add_component(AgentComponent(name="watch"))  # pyright: ignore[reportArgumentType]


async def test_an_instance_or_a_name_instead_of_a_class_is_told() -> None:
    async with Flock() as board:
        for wrong in ("Order", Order(number=1)):
            with pytest.raises(TypeRegistryError, match="give the class itself"):
                await board.store.get_by_type(wrong)  # pyright: ignore[reportArgumentType]
