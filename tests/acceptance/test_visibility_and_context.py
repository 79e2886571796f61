"""Nobody reads or triggers what visibility forbids, and context is only what may be seen."""

# Agents are short lambdas here.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportOptionalMemberAccess=false

import asyncio
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from flock import (
    AfterVisibility,
    AgentBuilder,
    Artifact,
    BatchSpec,
    Context,
    FilterConfig,
    Flock,
    FlockError,
    GroupExpired,
    JoinSpec,
    LabelledVisibility,
    PrivateVisibility,
    PublicVisibility,
    TenantVisibility,
    Visibility,
    WorkflowError,
)
from flock.testing import ManualClock

from .support import engine, ids, turns

HOUR = timedelta(hours=1)


class Note(BaseModel):
    n: int = 0


class Ask(BaseModel):
    n: int = 0


class Answer(BaseModel):
    n: int = 0


Dress = Callable[[AgentBuilder], AgentBuilder]

AGENTS: dict[str, Dress] = {
    "plain": lambda b: b,
    "red": lambda b: b.labels("red"),
    "red-blue": lambda b: b.labels("red", "blue"),
    "tenant-a": lambda b: b.tenant("a"),
    "tenant-b": lambda b: b.tenant("b"),
    "all-a": lambda b: b.labels("red", "blue").tenant("a"),
}

# visibility -> the agents that may see
MATRIX: list[tuple[Visibility, set[str]]] = [
    (PublicVisibility(), set(AGENTS)),
    (PrivateVisibility(agents={"plain", "red"}), {"plain", "red"}),
    (PrivateVisibility(agents={"nobody"}), set()),
    (PrivateVisibility(agents=set()), set()),
    (LabelledVisibility(required_labels={"red"}), {"red", "red-blue", "all-a"}),
    (LabelledVisibility(required_labels={"red", "blue"}), {"red-blue", "all-a"}),
    (TenantVisibility(tenant_id="a"), {"tenant-a", "all-a"}),
    (TenantVisibility(tenant_id="b"), {"tenant-b"}),
    (AfterVisibility(ttl=HOUR, then=PublicVisibility()), set()),
]
LATER: list[tuple[Visibility, set[str]]] = [
    (AfterVisibility(ttl=HOUR, then=PublicVisibility()), set(AGENTS)),
    (AfterVisibility(ttl=HOUR, then=PrivateVisibility(agents={"red"})), {"red"}),
    (AfterVisibility(ttl=HOUR, then=TenantVisibility(tenant_id="a")), {"tenant-a", "all-a"}),
    (
        AfterVisibility(
            ttl=timedelta(minutes=20),
            then=AfterVisibility(ttl=HOUR, then=LabelledVisibility(required_labels={"red"})),
        ),
        {"red", "red-blue", "all-a"},
    ),
]


def dressed(board: Flock, name: str) -> AgentBuilder:
    return AGENTS[name](board.agent(name))


# --- Doors: trigger, gates, context -------------------------------------------------------


@pytest.mark.parametrize(("visibility", "allowed"), MATRIX)
async def test_only_those_who_may_see_are_triggered(
    visibility: Visibility, allowed: set[str]
) -> None:
    ran: set[str] = set()
    clock = ManualClock()
    async with Flock(clock=clock) as board:
        for name in AGENTS:
            dressed(board, name).consumes(Note).calls(lambda _, name=name: ran.add(name))
        await board.publish(Note(), visibility=visibility)
        await clock.advance(timedelta(0))
        assert ran == allowed


@pytest.mark.parametrize(("visibility", "allowed"), MATRIX)
async def test_gates_collect_only_what_may_be_seen(
    visibility: Visibility, allowed: set[str]
) -> None:
    ran: set[str] = set()
    clock = ManualClock()
    async with Flock(clock=clock) as board:
        for name in AGENTS:
            builder = dressed(board, name)
            builder.consumes(Note, Ask)
            builder.consumes(Note, batch=BatchSpec(size=1))
            builder.consumes(Note, Ask, join=JoinSpec(by=lambda m: m.n, within=timedelta(days=1)))
            builder.calls(lambda _, name=name: ran.add(name))
        await board.publish(Note(), correlation_id="w", visibility=visibility)
        await board.publish(Ask(), correlation_id="w")
        await clock.advance(timedelta(0))
        assert ran == allowed


@pytest.mark.parametrize(("visibility", "allowed"), MATRIX)
async def test_context_holds_only_what_may_be_seen(
    visibility: Visibility, allowed: set[str]
) -> None:
    contexts: dict[str, list[Context]] = {}
    clock = ManualClock()
    async with Flock(clock=clock) as board:
        for name in AGENTS:
            seen: list[Context] = []
            dressed(board, name).consumes(Ask).publishes(Answer).with_engines(
                engine(lambda _: None, context=True, seen=seen)
            )
            contexts[name] = seen
        await board.publish(Note(n=7), correlation_id="w", visibility=visibility)
        await board.publish(Ask(), correlation_id="w")
        await clock.advance(timedelta(0))
        for name, seen_by in contexts.items():
            (context,) = seen_by
            notes = [a.as_model(Note).n for a in context.artifacts]
            assert notes == ([7] if name in allowed else []), name


@pytest.mark.parametrize(("visibility", "allowed"), MATRIX)
async def test_a_provider_can_narrow_but_never_widen(
    visibility: Visibility, allowed: set[str]
) -> None:
    contexts: dict[str, list[Context]] = {}
    clock = ManualClock()

    async def leak(request: Any) -> list[Artifact]:
        queried = await request.query(FilterConfig(), limit=100)
        everything = await board.store.list()
        return [*everything, *queried]

    async with Flock(clock=clock, context_provider=leak) as board:
        for name in AGENTS:
            contexts[name] = []
            dressed(board, name).consumes(Ask).publishes(Answer).with_engines(
                engine(lambda _: None, context=True, seen=contexts[name])
            )
        await board.publish(Note(n=7), correlation_id="w", visibility=visibility)
        await board.publish(Ask(), correlation_id="w")
        await clock.advance(timedelta(0))
        for name, (context,) in contexts.items():
            found = any(a.type.endswith(".Note") for a in context.artifacts)
            assert found == (name in allowed), name


@pytest.mark.parametrize(("visibility", "allowed"), LATER)
async def test_what_opens_later_is_delivered_when_it_opens(
    visibility: Visibility, allowed: set[str]
) -> None:
    ran: list[str] = []
    clock = ManualClock()
    async with Flock(clock=clock) as board:
        for name in AGENTS:
            dressed(board, name).consumes(Note).calls(lambda _, name=name: ran.append(name))
        await board.publish(Note(), visibility=visibility)
        idle = asyncio.create_task(board.run_until_idle())
        await clock.advance(timedelta(minutes=59))
        assert ran == []
        assert not idle.done()
        await clock.advance(timedelta(minutes=30))
        await idle
        assert sorted(ran) == sorted(allowed)
        await clock.advance(timedelta(days=1))
        assert sorted(ran) == sorted(allowed)


async def test_what_opens_later_enters_gates_when_it_opens() -> None:
    ran: list[list[int]] = []
    clock = ManualClock()
    async with Flock(clock=clock) as board:
        board.agent("two").consumes(Note, Note).calls(lambda m: ran.append([x.n for x in m]))
        await board.publish(
            Note(n=1),
            correlation_id="w",
            visibility=AfterVisibility(ttl=HOUR, then=PublicVisibility()),
        )
        await board.publish(Note(n=2), correlation_id="w")
        await clock.advance(timedelta(0))
        assert ran == []
        await clock.advance(timedelta(minutes=61))
        assert [sorted(group) for group in ran] == [[1, 2]]


async def test_what_will_open_counts_as_waiting_and_is_cancelled_with_its_workflow() -> None:
    ran: list[int] = []
    clock = ManualClock()
    async with Flock(clock=clock) as board:
        board.agent("a").consumes(Note).calls(lambda n: ran.append(n.n))
        await board.publish(
            Note(n=1),
            correlation_id="w",
            visibility=AfterVisibility(ttl=HOUR, then=PublicVisibility()),
        )
        await clock.advance(timedelta(0))
        report = await board.run_until_idle(timeout=0)
        assert report.waiting == 1
        assert await board.cancel("w") == 1
        await board.run_until_idle()
        await clock.advance(timedelta(hours=2))
        assert ran == []


async def test_context_opens_later_too() -> None:
    seen: list[Context] = []
    clock = ManualClock()
    async with Flock(clock=clock) as board:
        board.agent("a").consumes(Ask).publishes(Answer).with_engines(
            engine(lambda _: None, context=True, seen=seen)
        )
        await board.publish(
            Note(n=1),
            correlation_id="w",
            visibility=AfterVisibility(ttl=HOUR, then=PrivateVisibility(agents={"a"})),
        )
        await board.publish(Ask(), correlation_id="w")
        await clock.advance(timedelta(minutes=61))
        await board.publish(Ask(), correlation_id="w")
        await board.run_until_idle()
        assert [any(a.type.endswith(".Note") for a in c.artifacts) for c in seen] == [False, True]


# --- Declarations -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: PublicVisibility(agents={"a"}),  # pyright: ignore[reportCallIssue]
        lambda: PrivateVisibility(agent={"a"}),  # pyright: ignore[reportCallIssue]
        lambda: PrivateVisibility(agents={"a"}, labels={"x"}),  # pyright: ignore[reportCallIssue]
        lambda: PrivateVisibility(),  # pyright: ignore[reportCallIssue]
        lambda: LabelledVisibility(labels={"x"}),  # pyright: ignore[reportCallIssue]
        lambda: TenantVisibility(tenant="a"),  # pyright: ignore[reportCallIssue]
        lambda: TenantVisibility(),  # pyright: ignore[reportCallIssue]
        lambda: AfterVisibility(ttl=HOUR, than=PublicVisibility()),  # pyright: ignore[reportCallIssue]
        lambda: PrivateVisibility(agents="abc"),  # pyright: ignore[reportArgumentType]
        lambda: LabelledVisibility(required_labels="abc"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_unknown_and_missing_arguments_of_a_visibility_are_refused(
    make: Callable[[], Visibility],
) -> None:
    with pytest.raises((ValueError, TypeError)):
        make()


async def test_what_is_not_a_visibility_is_refused() -> None:
    async with Flock() as board:
        for wrong in ("public", {"agents": ["a"]}, 3):
            with pytest.raises((FlockError, ValueError, TypeError)):
                await board.publish(Note(), visibility=wrong)  # pyright: ignore[reportArgumentType]
        assert await board.store.list() == []


async def test_outputs_carry_the_declared_visibility() -> None:
    ran: list[str] = []
    async with Flock() as board:
        board.agent("maker").consumes(Ask).publishes(
            Note, visibility=PrivateVisibility(agents={"friend"})
        ).calls(lambda _: Note(n=3))
        for name in ("friend", "foe"):
            board.agent(name).consumes(Note).calls(lambda _, name=name: ran.append(name))
        await board.publish(Ask())
        await board.run_until_idle()
        assert ran == ["friend"]


@pytest.mark.parametrize(
    "answer",
    [None, "Public", {"kind": "Public"}, PublicVisibility, {"friend"}, 0, Note()],
    ids=repr,
)
@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_visibility_function_that_returns_no_visibility_fails_the_run_and_shows_nothing(
    answer: Any, is_stream: bool
) -> None:
    ran: list[str] = []

    def make(ask: Ask) -> Note:
        return Note(n=ask.n)

    def stream(ask: Ask) -> Iterator[Note]:
        yield Note(n=ask.n)

    def decide(note: Note) -> Any:
        return answer

    async with Flock() as board:
        work = stream if is_stream else make
        board.agent("maker").consumes(Ask).publishes(Note, visibility=decide).calls(work)
        board.agent("reader").consumes(Note).calls(lambda _: ran.append("reader"))
        await board.publish(Ask(n=3))
        report = await board.run_until_idle()

        assert (report.runs, report.failed) == (1, 1)
        assert await board.store.get_by_type(Note) == []
        assert ran == []
        (letter,) = await board.dead_letters()
        assert letter.error_type == "OutputContractError"
        for said in ("'maker'", repr(answer), "Note", "return a Visibility such as"):
            assert said in letter.error_message


async def test_a_visibility_function_decides_per_output() -> None:
    def decide(note: Note) -> Visibility:
        return PrivateVisibility(agents={"friend"}) if note.n else PublicVisibility()

    seen: list[tuple[str, int]] = []
    async with Flock() as board:
        board.agent("maker").consumes(Ask).publishes(Note, fan_out=2, visibility=decide).calls(
            lambda _: [Note(n=0), Note(n=1)]
        )
        for name in ("friend", "foe"):
            board.agent(name).consumes(Note).calls(
                lambda note, name=name: seen.append((name, note.n))
            )
        await board.publish(Ask())
        await board.run_until_idle()
        assert sorted(seen) == [("foe", 0), ("friend", 0), ("friend", 1)]


async def test_a_producer_can_always_read_what_it_produced() -> None:
    seen: list[Context] = []
    async with Flock() as board:
        board.agent("maker").consumes(Ask).publishes(
            Note, visibility=PrivateVisibility(agents={"other"})
        ).with_engines(engine(lambda i: Note(n=i.first_as(Ask).n), context=True, seen=seen))
        await board.publish(Ask(n=1), correlation_id="w")
        await board.run_until_idle()
        await board.publish(Ask(n=2), correlation_id="w")
        await board.run_until_idle()
        notes = [a.as_model(Note).n for a in seen[1].artifacts if a.type.endswith(".Note")]
        assert notes == [1]


async def test_a_private_failure_does_not_leak_through_its_error() -> None:
    saw: list[str] = []
    async with Flock() as board:
        board.agent("bad").consumes(Note).calls(lambda n: 1 / 0)
        board.agent("spy").consumes(WorkflowError).calls(lambda e: saw.append("error"))
        await board.publish(Note(), visibility=PrivateVisibility(agents={"bad"}))
        await board.run_until_idle()
        assert saw == []
        assert len(await board.dead_letters()) == 1


async def test_a_private_group_does_not_leak_through_its_expiry() -> None:
    saw: list[str] = []
    clock = ManualClock()
    async with Flock(clock=clock) as board:
        board.agent("join").consumes(
            Note, Ask, join=JoinSpec(by=lambda m: f"secret {m.n}", within=HOUR)
        ).calls(lambda models: None)
        board.agent("spy").consumes(GroupExpired).calls(lambda group: saw.append(group.key))
        await board.publish(Note(), visibility=PrivateVisibility(agents={"join"}))
        await clock.advance(timedelta(hours=2))
        assert len(await board.store.get_by_type(GroupExpired)) == 1
        assert saw == []


# --- Context ------------------------------------------------------------------------------


async def test_the_default_context_is_the_workflows_newest_fifty_oldest_first_without_inputs() -> (
    None
):
    seen: list[Context] = []
    async with Flock() as board:
        board.agent("reader").consumes(Ask).publishes(Answer).with_engines(
            engine(lambda _: None, context=True, seen=seen)
        )
        await board.publish(Note(n=-1), correlation_id="other")
        await board.publish_many([Note(n=n) for n in range(60)], correlation_id="w")
        ask = await board.publish(Ask(), correlation_id="w")
        await board.run_until_idle()
        (context,) = seen
        assert ask.id not in ids(context.artifacts)
        assert [a.as_model(Note).n for a in context.artifacts] == list(range(10, 60))


async def test_history_is_loaded_only_for_engines_that_ask_for_it() -> None:
    with_history: list[Context] = []
    without: list[Context] = []
    by_function: list[Context] = []

    async def work(ask: Ask, ctx: Context) -> None:
        by_function.append(ctx)

    calls = 0

    async def provider(request: Any) -> list[Artifact]:
        nonlocal calls
        calls += 1
        return list(await request.query(FilterConfig(), limit=5))

    async with Flock(context_provider=provider) as board:
        board.agent("with").consumes(Ask).publishes(Answer).with_engines(
            engine(lambda _: None, context=True, seen=with_history)
        )
        board.agent("without").consumes(Ask).publishes(Answer).with_engines(
            engine(lambda _: None, seen=without)
        )
        board.agent("function").calls(work)
        await board.publish(Note(), correlation_id="w")
        await board.publish(Ask(), correlation_id="w")
        await board.run_until_idle()
        assert len(list(with_history[0].artifacts)) >= 1
        assert list(without[0].artifacts) == []
        assert list(by_function[0].artifacts) == []
        assert calls == 1


async def test_history_is_as_of_the_runs_start() -> None:
    release = asyncio.Event()
    started = asyncio.Event()
    seen: list[Context] = []

    async def answer(_: Any) -> None:
        started.set()
        await release.wait()

    async with Flock() as board:
        board.agent("reader").consumes(Ask).publishes(Answer).with_engines(
            engine(answer, context=True, seen=seen)
        )
        await board.publish(Note(n=1), correlation_id="w")
        await board.publish(Ask(), correlation_id="w")
        await started.wait()
        await board.publish(Note(n=2), correlation_id="w")
        await turns(5)
        release.set()
        await board.run_until_idle()
        assert [a.as_model(Note).n for a in seen[0].artifacts] == [1]


async def test_an_agents_own_provider_goes_before_the_boards() -> None:
    seen: list[Context] = []

    async def boards(request: Any) -> list[Artifact]:
        return []

    async def own(request: Any) -> list[Artifact]:
        return list(
            await request.query(
                FilterConfig(type_names={f"{__name__}.Note"}, tags={"keep"}), limit=2
            )
        )

    async with Flock(context_provider=boards) as board:
        board.agent("reader").consumes(Ask).publishes(Answer).with_engines(
            engine(lambda _: None, context=True, seen=seen)
        ).with_context(own)
        for n in range(4):
            await board.publish(Note(n=n), correlation_id=f"w{n}", tags={"keep"})
        await board.publish(Note(n=9), correlation_id="w")
        await board.publish(Ask(), correlation_id="w")
        await board.run_until_idle()
        # the newest two, across workflows
        assert sorted(a.as_model(Note).n for a in seen[0].artifacts) == [2, 3]


async def test_a_query_of_a_provider_gives_only_what_this_agent_may_see() -> None:
    got: list[int] = []

    async def provider(request: Any) -> list[Artifact]:
        found = await request.query(FilterConfig(), limit=10)
        got.extend(a.as_model(Note).n for a in found if a.type.endswith(".Note"))
        return []

    async with Flock(context_provider=provider) as board:
        board.agent("reader").consumes(Ask).publishes(Answer).with_engines(
            engine(lambda _: None, context=True)
        )
        await board.publish(Note(n=1), visibility=PrivateVisibility(agents={"reader"}))
        await board.publish(Note(n=2), visibility=PrivateVisibility(agents={"other"}))
        for n in range(3, 30):  # what may not be seen does not use up the limit
            await board.publish(Note(n=n), visibility=PrivateVisibility(agents={"other"}))
        await board.publish(Ask())
        await board.run_until_idle()
        assert got == [1]
