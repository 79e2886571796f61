"""An application answers each request with what its workflow came to, and with nothing else."""

# Agents are short lambdas here.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import asyncio
import gc
import weakref
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from contextvars import ContextVar
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from flock import (
    AfterVisibility,
    AgentIdentity,
    Application,
    Artifact,
    BatchSpec,
    Board,
    DeclarationError,
    Draining,
    EvalInputs,
    Flock,
    InMemoryBlackboardStore,
    JoinSpec,
    LabelledVisibility,
    NotFound,
    NotIdle,
    OrchestratorComponent,
    Overloaded,
    PrivateVisibility,
    PublicVisibility,
    PublishError,
    RequestCancelled,
    RequestConflict,
    RequestFailed,
    RequestTimeout,
    Result,
    TenantVisibility,
    Visibility,
)
from flock.testing import ManualClock
from tests.acceptance.support import turns, until

caller: ContextVar[str] = ContextVar("caller", default="nobody")

OWN_BOARDS = "each request has a board of its own, which is in memory"


class Question(BaseModel):
    text: str


class Answer(BaseModel):
    text: str


class Note(BaseModel):
    text: str


class Hint(BaseModel):
    text: str


class Gate:
    """Lets agents work until they are held, and counts them."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.began: list[str] = []
        self.ended: list[str] = []
        self.cancelled: list[str] = []

    async def answer(self, question: Question) -> Answer:
        self.began.append(question.text)
        try:
            await self.opened.wait()
        except asyncio.CancelledError:
            self.cancelled.append(question.text)
            raise
        self.ended.append(question.text)
        return Answer(text=f"to {question.text}")


async def answer(question: Question) -> Answer:
    return Answer(text=f"to {question.text}")


def board(fn: Callable[..., Any] = answer, **options: Any) -> Flock:
    flock = Flock(no_output=True, **options)
    flock.agent("answerer").consumes(Question).publishes(Answer).calls(fn)
    return flock


def application(made: Any = board, **options: Any) -> Application:
    options.setdefault("isolation", "shared")
    return Application(made, input_type=Question, output_types=Answer, **options)


@pytest.fixture(params=["request", "shared"])
def isolation(request: pytest.FixtureRequest) -> Literal["request", "shared"]:
    if request.param == "request" and request.config.getoption("--store") != "memory":
        pytest.skip(OWN_BOARDS)
    return request.param


@pytest.fixture(autouse=True)
async def nothing_is_left() -> AsyncGenerator[None]:
    before = asyncio.all_tasks()
    yield
    await turns(5)
    current = asyncio.current_task()
    assert {task for task in asyncio.all_tasks() if task is not current} <= before


# --- a request and its result ---


@pytest.mark.parametrize(
    "asked", [Question(text="a"), {"text": "a"}, '{"text": "a"}', b'{"text":"a"}']
)
async def test_an_input_is_a_model_its_fields_or_json(
    isolation: Literal["request", "shared"], asked: Any
) -> None:
    async with application(isolation=isolation) as app:
        result = await app.run(asked)
    assert (result.status, result.error, result.failures, result.waiting) == (
        "succeeded",
        None,
        (),
        0,
    )
    assert result.one(Answer) == Answer(text="to a")
    assert result.of(Answer) == [Answer(text="to a")]
    assert result.raise_for_status() is result
    assert {output.correlation_id for output in result.outputs} == {result.correlation_id}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"text": 3}, "text"),
        ({}, "Field required"),
        ("{", "JSON"),
        ("[]", "no valid"),
        (Answer(text="a"), "takes a"),
        (7, "takes a"),
    ],
)
async def test_an_input_that_is_no_valid_one_is_refused_with_the_reason(
    asked: Any, said: str
) -> None:
    async with application() as app:
        with pytest.raises(PublishError, match=said) as caught:
            await app.run(asked)
        assert "Question" in str(caught.value)
        assert app.status().running == app.status().queued == 0


async def test_outputs_are_of_the_output_types_and_never_the_input() -> None:
    flock = Flock(no_output=True)
    thinks = flock.agent("thinks").consumes(Question, where=lambda q: q.text == "start")
    thinks.publishes(Note).calls(lambda q: Note(text=q.text))
    flock.agent("asks").consumes(Note).publishes(Question).calls(lambda n: Question(text="what?"))
    app = Application(flock, input_type=Question, output_types=[Question, Hint], isolation="shared")
    async with flock, app:
        result = await app.run(Question(text="start"), tags=["x"])
        streamed = [output async for output in app.stream(Question(text="start"))]
        nothing = await app.run(Question(text="other"))
        tagged = await flock.store.list_by_type(Question)
    assert (result.one(Question).text, result.outputs[0].produced_by) == ("what?", "asks")
    assert [output.produced_by for output in streamed] == ["asks"]
    assert (nothing.status, nothing.outputs) == ("failed", ())
    assert tagged[0].tags == {"x"}


async def test_one_says_what_there_is_instead() -> None:
    async with application() as app:
        result = await app.run(Question(text="a"))
    with pytest.raises(NotFound, match=r"no output of type '.*Note'.*'succeeded'.*Answer"):
        result.one(Note)


async def test_a_request_waits_for_its_own_workflow_only() -> None:
    opened = asyncio.Event()

    async def hold(note: Note) -> None:
        await opened.wait()

    flock = board()
    flock.agent("waits").consumes(Note).calls(hold)
    async with flock, application(flock) as app:
        await flock.publish(Note(text="other"))
        assert (await app.run(Question(text="a"))).one(Answer).text == "to a"
        opened.set()
        await flock.run_until_idle()


async def test_a_ready_board_stays_its_owners_to_close() -> None:
    flock = board()
    async with flock:
        async with application(flock) as app:
            await app.run(Question(text="a"))
        await flock.publish(Question(text="b"))
        await flock.run_until_idle()
        assert len(await flock.store.get_by_type(Answer)) == 2


async def test_an_application_opens_itself_with_the_first_request_and_again_later(
    isolation: Literal["request", "shared"],
) -> None:
    app = application(isolation=isolation)
    assert (await app.run(Question(text="a"))).status == "succeeded"
    await app.shutdown()
    with pytest.raises(Draining):
        await app.run(Question(text="b"))
    async with app:
        assert (await app.run(Question(text="c"))).status == "succeeded"


# --- a board for each request ---


@pytest.mark.memory_only(OWN_BOARDS)
async def test_each_request_has_a_board_of_its_own_that_ends_with_it() -> None:
    boards: list[weakref.ref[Flock]] = []

    async def made() -> Flock:
        await asyncio.sleep(0)
        flock = Flock(no_output=True)

        async def count(question: Question) -> Answer:
            _, total = await flock.store.query_artifacts(limit=0)
            return Answer(text=str(total))

        flock.agent("counter").calls(count)
        boards.append(weakref.ref(flock))
        return flock

    async with application(made, isolation="request") as app:
        results = await asyncio.gather(*(app.run(Question(text="a")) for _ in range(5)))
        assert {result.one(Answer).text for result in results} == {"1"}
        assert len(boards) == 5
        gc.collect()
        assert [ref() for ref in boards] == [None] * 5


@pytest.mark.memory_only(OWN_BOARDS)
async def test_a_factory_that_would_let_requests_see_each_other_is_refused(tmp_path: Path) -> None:
    same = board()
    store = InMemoryBlackboardStore()
    async with application(lambda: same, isolation="request") as app:
        assert (await app.run(Question(text="a"))).status == "succeeded"
        with pytest.raises(DeclarationError, match="for a second request"):
            await app.run(Question(text="a"))
    async with application(lambda: board(store=store), isolation="request") as app:
        assert (await app.run(Question(text="a"))).status == "succeeded"
        with pytest.raises(DeclarationError, match="used before"):
            await app.run(Question(text="a"))
    url = f"sqlite:///{tmp_path / 'b.db'}"
    async with application(lambda: board(store=url), isolation="request") as app:
        with pytest.raises(DeclarationError, match="isolation='shared'"):
            await app.run(Question(text="a"))
        assert app.status().failed == 1


@pytest.mark.parametrize("isolation", ["request", "shared"])
async def test_a_factory_that_makes_no_board_is_refused(
    isolation: Literal["request", "shared"],
) -> None:
    app = application(lambda: "board", isolation=isolation)
    with pytest.raises(DeclarationError, match="'board'"):
        await app.run(Question(text="a"))
    await app.shutdown()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"isolation": "none"}, "'none'"),
        ({"isolation": "request", "factory": Flock(no_output=True)}, "isolation='shared'"),
        ({"factory": 3}, "a function that makes"),
        ({"max_concurrent": 0}, "max_concurrent"),
        ({"max_queued": -1, "max_concurrent": 1}, "max_queued"),
        ({"max_queued": 3}, "max_concurrent"),
        ({"success": "some"}, "'some'"),
        ({"output_types": []}, "at least one"),
        ({"timeout": -1}, "timeout"),
    ],
)
def test_what_makes_no_sense_is_refused_where_it_is_said(
    options: dict[str, Any], said: str
) -> None:
    factory = options.pop("factory", board)
    options.setdefault("output_types", Answer)
    with pytest.raises(ValueError, match=said):
        Application(factory, input_type=Question, **options)


# --- what it came to ---


async def test_a_request_fails_with_the_reason_when_nothing_comes_of_it(
    isolation: Literal["request", "shared"],
) -> None:
    async def fail(question: Question) -> Answer:
        msg = "no idea"
        raise LookupError(msg)

    async with application(lambda: board(fail), isolation=isolation) as app:
        result = await app.run(Question(text="a"))
        assert app.status().failed == 1
    assert result.status == "failed"
    [failure] = result.failures
    assert (failure.agent, failure.error_type, failure.message) == (
        "answerer",
        "LookupError",
        "no idea",
    )
    assert result.error == "agent 'answerer' failed with LookupError: no idea"
    with pytest.raises(RequestFailed, match="no idea"):
        result.raise_for_status()


async def test_an_input_that_starts_nobody_is_told_of() -> None:
    flock = Flock(no_output=True)
    flock.agent("other").consumes(Note).publishes(Answer).calls(lambda n: Answer(text=n.text))
    async with flock, application(flock) as app:
        result = await app.run(Question(text="a"))
    assert result.status == "failed"
    assert result.error is not None
    assert "nobody made anything of the input" in result.error


@pytest.mark.parametrize(
    ("success", "failing", "hints", "status"),
    [
        ("any", True, 0, "succeeded"),
        ("all", True, 0, "failed"),
        ("all", True, 1, "succeeded"),
        ("clean", True, 1, "failed"),
        ("clean", False, 1, "succeeded"),
    ],
)
async def test_success_is_any_output_one_of_all_types_or_without_failures(
    success: Any, failing: bool, hints: int, status: str
) -> None:
    async def noting(question: Question) -> None:
        if failing:
            msg = "broken"
            raise ValueError(msg)

    flock = board()
    flock.agent("noter").consumes(Question).calls(noting)
    hinting = flock.agent("hinter").consumes(Question)
    hinting.publishes(Hint, fan_out=(0, 3)).calls(lambda q: [Hint(text=q.text)] * hints)
    app = Application(
        flock,
        input_type=Question,
        output_types=(Answer, Hint),
        isolation="shared",
        success=success,
    )
    async with flock, app:
        result = await app.run(Question(text="a"))
    assert (result.status, len(result.failures)) == (status, failing)
    assert len(result.outputs) == 1 + hints


async def test_a_half_filled_gate_is_waiting_on_a_shared_board_and_ends_later() -> None:
    flock = Flock(no_output=True)
    pairs = flock.agent("pairs").consumes(Question, Hint).publishes(Answer)
    pairs.calls(lambda q, h: Answer(text=q.text + h.text))
    async with flock, application(flock) as app:
        result = await app.run(Question(text="a"), id="one")
        assert (result.status, result.waiting, result.outputs) == ("waiting", 1, ())
        assert app.status().failed == 0
        with pytest.raises(RequestFailed, match="waits for input"):
            result.raise_for_status()
        await flock.publish(Hint(text="b"), correlation_id=result.correlation_id)
        again = await app.run(Question(text="a"), id="one")
    assert (again.status, again.waiting, again.one(Answer).text) == ("succeeded", 0, "ab")


@pytest.mark.memory_only(OWN_BOARDS)
async def test_what_waits_on_a_board_that_ends_has_failed() -> None:
    def made() -> Flock:
        flock = Flock(no_output=True)
        pairs = flock.agent("pairs").consumes(Question, Hint).publishes(Answer)
        pairs.calls(lambda q, h: Answer(text=q.text + h.text))
        return flock

    async with application(made, isolation="request") as app:
        result = await app.run(Question(text="a"))
    assert (result.status, result.waiting) == ("failed", 1)
    assert result.error is not None
    assert "isolation='shared'" in result.error


async def test_it_waits_for_batches_and_retries_that_fall_due() -> None:
    clock = ManualClock()
    flock = Flock(no_output=True, clock=clock)
    tries: list[int] = []

    async def twice(question: Question) -> Note:
        tries.append(1)
        if len(tries) == 1:
            msg = "not yet"
            raise ValueError(msg)
        return Note(text=question.text)

    flock.agent("twice").calls(twice).retry(2, 60)
    batch = flock.agent("heap").consumes(Note, batch=BatchSpec(size=9, timeout=3600))
    batch.publishes(Answer).calls(lambda notes: Answer(text=f"{len(notes)} notes"))
    async with flock, application(flock) as app, asyncio.TaskGroup() as group:
        task = group.create_task(app.run(Question(text="a")))
        await clock.advance(timedelta(minutes=1))
        assert len(tries) == 2
        await clock.advance(timedelta(minutes=59))
        assert not task.done()
        await clock.advance(timedelta(minutes=1))
        result = await task
    assert result.one(Answer).text == "1 notes"
    assert 3600 < result.elapsed <= 3660


async def test_a_request_whose_input_is_in_anothers_run_ends_with_that() -> None:
    gate = Gate()
    clock = ManualClock()
    flock = Flock(no_output=True, clock=clock)

    async def both(questions: list[Question]) -> Answer:
        await gate.opened.wait()
        return Answer(text=" ".join(question.text for question in questions))

    heap = flock.agent("heap").consumes(Question, batch=BatchSpec(size=9, timeout=60))
    heap.publishes(Answer).calls(both)
    async with flock, application(flock) as app, asyncio.TaskGroup() as group:
        first = group.create_task(app.run(Question(text="a")))
        await clock.settle()
        second = group.create_task(app.run(Question(text="b")))
        await clock.advance(60)
        assert not first.done()
        assert not second.done()
        gate.opened.set()
        await clock.settle()
        assert (await first).one(Answer).text == "a b"
        assert (await second).status == "failed"


async def test_cancelling_one_request_of_a_mixed_batch_lets_the_other_go_on() -> None:
    seen: list[list[str]] = []
    clock = ManualClock()
    flock = Flock(no_output=True, clock=clock)

    async def both(questions: list[Question]) -> Answer:
        seen.append([question.text for question in questions])
        if len(seen) == 1:
            await asyncio.Event().wait()
        return Answer(text=" ".join(question.text for question in questions))

    heap = flock.agent("heap").consumes(Question, batch=BatchSpec(size=9, timeout=60))
    heap.publishes(Answer).calls(both)
    async with flock, application(flock) as app, asyncio.TaskGroup() as group:
        first = group.create_task(app.run(Question(text="a"), timeout=90))
        await clock.settle()
        second = group.create_task(app.run(Question(text="b")))
        await clock.advance(60)
        assert seen == [["a", "b"]]
        await clock.advance(30)
        assert (await first).status == "timed_out"
        assert (await second).one(Answer).text == "b"
    assert seen == [["a", "b"], ["b"]]


async def test_it_waits_for_a_join_that_runs_with_what_came() -> None:
    clock = ManualClock()
    flock = Flock(no_output=True, clock=clock)
    join = JoinSpec(by="text", within=timedelta(minutes=1), on_expired="run")
    pairs = flock.agent("pairs").consumes(Question, Hint, join=join).publishes(Answer)

    async def made(inputs: EvalInputs) -> Answer:
        return Answer(text=f"of {len(inputs.artifacts)}")

    pairs.calls(made)
    async with flock, application(flock) as app, asyncio.TaskGroup() as group:
        task = group.create_task(app.run(Question(text="k")))
        await clock.advance(30)
        assert not task.done()
        await clock.advance(30)
        assert (await task).one(Answer).text == "of 1"


async def test_budgets_and_room_hold_for_requests() -> None:
    flock = board(max_pending=2, max_concurrency=1)
    flock.budget(runs=3)
    async with flock, application(flock) as app:
        results = await asyncio.gather(*(app.run(Question(text=str(n))) for n in range(5)))
    assert sorted(result.status for result in results) == ["failed"] * 2 + ["succeeded"] * 3
    refused = [failure for result in results for failure in result.failures]
    assert {failure.error_type for failure in refused} == {"BudgetExceeded"}


async def test_an_input_that_a_component_refuses_is_an_error_of_the_call() -> None:
    class Picky(OrchestratorComponent):
        async def on_artifact_published(self, orchestrator: Board, artifact: Artifact) -> Artifact:
            if artifact.payload["text"] == "bad":
                msg = "not this"
                raise ValueError(msg)
            return artifact

    flock = board().add_component(Picky())
    async with flock, application(flock) as app:
        with pytest.raises(PublishError, match="not this"):
            await app.run(Question(text="bad"), id="x")
        assert app.status().failed == 1
        assert (await app.run(Question(text="good"), id="x")).status == "succeeded"


async def test_agents_see_the_context_variables_of_the_caller(
    isolation: Literal["request", "shared"],
) -> None:
    async def tell(question: Question) -> Answer:
        return Answer(text=caller.get())

    async def ask(app: Application, name: str) -> str:
        caller.set(name)
        return (await app.run(Question(text="a"))).one(Answer).text

    async with application(lambda: board(tell), isolation=isolation) as app:
        asked = [asyncio.create_task(ask(app, name)) for name in ("one", "two")]
        assert await asyncio.gather(*asked) == ["one", "two"]


# --- time and cancellation ---


async def test_a_request_that_takes_too_long_is_cancelled_and_says_so() -> None:
    clock, gate = ManualClock(), Gate()
    flock = board(gate.answer, clock=clock)
    async with flock, application(flock, timeout=30) as app, asyncio.TaskGroup() as group:
        task = group.create_task(app.run(Question(text="a")))
        longer = group.create_task(app.run(Question(text="b"), timeout=timedelta(minutes=1)))
        await clock.advance(30)
        result = await task
        assert (result.status, result.elapsed, gate.cancelled) == ("timed_out", 30.0, ["a"])
        assert result.error == "it did not end within its timeout of 30 seconds"
        assert (await flock.status(result.correlation_id)).running == 0
        with pytest.raises(RequestTimeout):
            result.raise_for_status()
        gate.opened.set()
        assert (await longer).status == "succeeded"


async def test_what_was_published_before_the_timeout_is_told() -> None:
    clock = ManualClock()

    async def two(question: Question) -> AsyncGenerator[Answer]:
        yield Answer(text="first")
        await asyncio.Event().wait()
        yield Answer(text="second")

    flock = board(two, clock=clock)
    async with flock, application(flock, timeout=30) as app, asyncio.TaskGroup() as group:
        task = group.create_task(app.run(Question(text="a")))
        await clock.advance(30)
        result = await task
    assert (result.status, result.one(Answer).text) == ("timed_out", "first")


async def test_the_timeout_counts_while_a_request_waits_for_its_turn() -> None:
    clock, gate = ManualClock(), Gate()
    flock = board(gate.answer, clock=clock)
    app = application(flock, max_concurrent=1, max_queued=1)
    async with flock, app, asyncio.TaskGroup() as group:
        first = group.create_task(app.run(Question(text="a")))
        await clock.settle()
        second = group.create_task(app.run(Question(text="b"), timeout=10, id="b"))
        await clock.advance(10)
        result = await second
        assert result.status == "timed_out"
        assert result.error is not None
        assert "before it had begun" in result.error
        gate.opened.set()
        await first
        assert gate.began == ["a"]
        assert (await app.run(Question(text="b"), id="b")).status == "succeeded"


async def test_cancelling_the_caller_cancels_the_workflow_before_it_is_raised(
    isolation: Literal["request", "shared"],
) -> None:
    gate = Gate()
    async with application(lambda: board(gate.answer), isolation=isolation) as app:
        task = asyncio.create_task(app.run(Question(text="a")))
        await until(lambda: gate.began == ["a"])
        task.cancel()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert gate.cancelled == ["a"]
        assert (app.status().running, app.status().done, app.status().failed) == (0, 1, 1)


async def test_a_caller_cancelled_at_any_moment_leaves_nothing(
    isolation: Literal["request", "shared"],
) -> None:
    gate = Gate()
    async with application(lambda: board(gate.answer), isolation=isolation) as app:
        for steps in range(25):
            task = asyncio.create_task(app.run(Question(text="a")))
            await turns(steps)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            assert app.status().running == app.status().queued == 0
            assert len(gate.began) == len(gate.cancelled) + len(gate.ended)
            assert len(gate.began) == len(gate.cancelled)


async def test_a_board_that_is_shut_down_meanwhile_is_an_error_and_not_a_result() -> None:
    gate = Gate()
    flock = board(gate.answer)
    async with application(flock) as app:
        task = asyncio.create_task(app.run(Question(text="a"), id="x"))
        await until(lambda: gate.began == ["a"])
        await flock.shutdown(grace=0)
        with pytest.raises(NotIdle, match="shut down"):
            await task
        gate.opened.set()
        async with flock:  # what was left open goes on, and the same id finds it
            result = await app.run(Question(text="a"), id="x")
    assert result.one(Answer).text == "to a"


# --- admission ---


async def test_beyond_what_is_allowed_to_wait_requests_are_refused_at_once(
    isolation: Literal["request", "shared"],
) -> None:
    gate = Gate()
    app = application(
        lambda: board(gate.answer), isolation=isolation, max_concurrent=2, max_queued=3
    )
    async with app, asyncio.TaskGroup() as group:
        tasks = [group.create_task(app.run(Question(text=str(n)))) for n in range(5)]
        await until(lambda: len(gate.began) == 2)
        await turns(20)
        assert (app.status().running, app.status().queued) == (2, 3)
        with pytest.raises(Overloaded, match="max_concurrent"):
            await app.run(Question(text="too much"))
        assert gate.began == ["0", "1"]
        tasks[3].cancel()
        await until(lambda: app.status().queued == 2)
        tasks.append(group.create_task(app.run(Question(text="5"))))
        gate.opened.set()
    assert gate.ended == ["0", "1", "2", "4", "5"]
    assert app.status().done == 6


async def test_as_many_may_wait_as_go_on_unless_said() -> None:
    gate = Gate()
    async with (
        application(lambda: board(gate.answer), max_concurrent=1) as app,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(app.run(Question(text="a")))
        group.create_task(app.run(Question(text="b")))
        await until(lambda: bool(gate.began))
        with pytest.raises(Overloaded):
            await app.run(Question(text="c"))
        gate.opened.set()


# --- whoever may read it ---

VISIBILITIES: list[tuple[Visibility, set[str]]] = [
    (PublicVisibility(), {"alice", "bob", "carol"}),
    (PrivateVisibility(agents={"alice"}), {"alice"}),
    (LabelledVisibility(required_labels={"medical"}), {"bob"}),
    (TenantVisibility(tenant_id="acme"), {"alice", "bob"}),
    (AfterVisibility(ttl=timedelta(hours=1)), set()),
    (AfterVisibility(ttl=timedelta(0), then=TenantVisibility(tenant_id="acme")), {"alice", "bob"}),
]
PRINCIPALS = [
    AgentIdentity("alice", tenant_id="acme"),
    AgentIdentity("bob", frozenset({"medical"}), "acme"),
    AgentIdentity("carol"),
]


@pytest.mark.parametrize(("visibility", "readers"), VISIBILITIES, ids=lambda v: repr(v)[:40])
@pytest.mark.parametrize("principal", PRINCIPALS, ids=lambda p: p.name)
async def test_a_result_and_a_stream_hold_what_the_principal_may_read(
    isolation: Literal["request", "shared"],
    visibility: Visibility,
    readers: set[str],
    principal: AgentIdentity,
) -> None:
    def made() -> Flock:
        flock = Flock(no_output=True)
        answerer = flock.agent("answerer").consumes(Question).calls(answer)
        answerer.publishes(Answer, visibility=visibility)
        return flock

    app = application(made, isolation=isolation, visibility=lambda who: None)
    async with app:
        result = await app.run(Question(text="a"), principal=principal, id="x")
        again = await app.run(Question(text="a"), principal=principal, id="x")
        stream = app.stream(Question(text="a"), principal=principal)
        streamed = [output async for output in stream]
        everything = await app.run(Question(text="a"))
    expected = int(principal.name in readers)
    assert [len(r.outputs) for r in (result, again)] == [expected] * 2
    assert (len(streamed), len(everything.outputs)) == (expected, 1)
    assert (result.status, stream.result.status) == ("succeeded", "succeeded")


async def test_a_result_is_read_with_what_the_principal_may_read_now() -> None:
    clock = ManualClock()
    flock = Flock(no_output=True, clock=clock)
    answerer = flock.agent("answerer").consumes(Question).calls(answer)
    answerer.publishes(
        Answer,
        visibility=AfterVisibility(
            ttl=timedelta(minutes=1), then=LabelledVisibility(required_labels={"x"})
        ),
    )
    async with flock, application(flock) as app:

        async def readable(*labels: str) -> int:
            principal = AgentIdentity("alice", frozenset(labels))
            return len((await app.run(Question(text="a"), principal=principal, id="x")).outputs)

        assert await readable("x") == 0
        await clock.advance(60)
        assert await readable() == 0
        assert await readable("x") == 1
        assert len(await flock.store.get_by_type(Answer)) == 1


async def test_the_input_of_a_tenants_principal_is_for_its_agents() -> None:
    flock = Flock(no_output=True)
    flock.agent("ours").consumes(Question).publishes(Answer).calls(answer).tenant("acme")
    flock.agent("theirs").consumes(Question).publishes(Answer).calls(answer).tenant("other")
    async with flock, application(flock) as app:
        result = await app.run(Question(text="a"), principal=AgentIdentity("u", tenant_id="acme"))
        assert [output.produced_by for output in result.outputs] == ["ours"]
        stranger = await app.run(Question(text="a"), principal=AgentIdentity("u", tenant_id="x"))
    assert stranger.status == "failed"
    assert stranger.error is not None
    assert "TenantVisibility" in stranger.error


async def test_a_failure_tells_no_more_than_its_inputs() -> None:
    async def fail(note: Note) -> Answer:
        msg = f"cannot read {note.text}"
        raise ValueError(msg)

    flock = Flock(no_output=True)
    noter = flock.agent("noter").consumes(Question)
    noter.publishes(Note, visibility=PrivateVisibility(agents={"failing", "user:alice"}))
    noter.calls(lambda q: Note(text="the secret"))
    flock.agent("failing").consumes(Note).publishes(Answer).calls(fail)
    async with flock, application(flock) as app:
        bob = await app.run(Question(text="a"), principal=AgentIdentity("user:bob"))
        alice = await app.run(Question(text="a"), principal=AgentIdentity("user:alice"))
    assert bob.error == "agent 'failing' failed with ValueError"
    assert "secret" not in repr(bob)
    assert alice.error == "agent 'failing' failed with ValueError: cannot read the secret"


async def test_a_principal_with_an_agents_name_is_refused() -> None:
    async with application() as app:
        with pytest.raises(PublishError, match="'user:answerer'"):
            await app.run(Question(text="a"), principal=AgentIdentity("answerer"))


async def test_a_principals_name_gives_it_nothing_that_came_from_outside() -> None:
    flock = board()
    async with (
        flock,
        Application(
            flock, input_type=Question, output_types=[Answer, Note], isolation="shared"
        ) as app,
    ):
        result = await app.run(Question(text="a"), principal=AgentIdentity("external"), id="x")
        hidden = PrivateVisibility(agents={"nobody"})
        await flock.publish(Note(text="b"), correlation_id=result.correlation_id, visibility=hidden)
        again = await app.run(Question(text="a"), principal=AgentIdentity("external"), id="x")
    assert len(again.outputs) == 1


# --- the same request again ---


async def test_the_same_id_joins_the_request_and_gets_its_result(
    isolation: Literal["request", "shared"],
) -> None:
    gate = Gate()
    async with application(lambda: board(gate.answer), isolation=isolation) as app:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(app.run(Question(text="a"), id="x")) for _ in range(3)]
            await until(lambda: bool(gate.began))
            assert app.status().running == 1
            gate.opened.set()
        again = await app.run({"text": "a"}, id="x")
    results = [task.result() for task in tasks]
    assert gate.began == ["a"]
    assert {result.correlation_id for result in (*results, again)} == {again.correlation_id}
    assert len({result.outputs[0].id for result in (*results, again)}) == 1
    assert again.id == "x"


async def test_the_same_id_for_something_else_is_an_error(
    isolation: Literal["request", "shared"],
) -> None:
    gate = Gate()
    app = application(lambda: board(gate.answer), isolation=isolation)
    async with app, asyncio.TaskGroup() as group:
        task = group.create_task(app.run(Question(text="a"), id="x"))
        await until(lambda: bool(gate.began))
        with pytest.raises(RequestConflict, match="'x'"):
            await app.run(Question(text="b"), id="x")
        gate.opened.set()
        await task
        with pytest.raises(RequestConflict, match="'x'"):
            await app.run(Question(text="b"), id="x")
        with pytest.raises(PublishError, match="id"):
            await app.run(Question(text="b"), id="")
    assert gate.began == ["a"]


async def test_an_id_belongs_to_its_principal_and_its_application(
    isolation: Literal["request", "shared"],
) -> None:
    principals = [
        None,
        AgentIdentity("user:a"),
        AgentIdentity("user:b"),
        AgentIdentity("user:a", tenant_id="t"),
    ]
    app = application(isolation=isolation, visibility=lambda who: None)
    async with app:
        found = [
            await app.run(Question(text=str(n)), id="x", principal=principal)
            for n, principal in enumerate(principals)
        ]
        again = [
            await app.run(Question(text=str(n)), id="x", principal=principal)
            for n, principal in enumerate(principals)
        ]
    assert [result.one(Answer).text for result in found] == ["to 0", "to 1", "to 2", "to 3"]
    assert [r.outputs for r in again] == [r.outputs for r in found]
    flock = board()
    async with flock, application(flock, name="one") as one, application(flock, name="two") as two:
        assert (await one.run(Question(text="a"), id="x")).one(Answer).text == "to a"
        assert (await two.run(Question(text="b"), id="x")).one(Answer).text == "to b"


async def test_a_request_goes_on_until_the_last_caller_left(
    isolation: Literal["request", "shared"],
) -> None:
    gate = Gate()
    async with application(lambda: board(gate.answer), isolation=isolation) as app:
        one = asyncio.create_task(app.run(Question(text="a"), id="x"))
        two = asyncio.create_task(app.run(Question(text="a"), id="x"))
        await until(lambda: bool(gate.began))
        one.cancel()
        with pytest.raises(asyncio.CancelledError):
            await one
        assert gate.cancelled == []
        two.cancel()
        with pytest.raises(asyncio.CancelledError):
            await two
        assert gate.cancelled == ["a"]
        gate.opened.set()
        recorded = await app.run(Question(text="a"), id="x")
        assert (recorded.status, gate.began) == ("cancelled", ["a"])
        with pytest.raises(RequestCancelled):
            recorded.raise_for_status()


async def test_what_a_guard_changes_is_still_the_same_request() -> None:
    class Shouting(OrchestratorComponent):
        async def on_artifact_published(self, orchestrator: Board, artifact: Artifact) -> Artifact:
            if "Question" in artifact.type:
                return artifact.replace(Question(text=artifact.payload["text"].upper()))
            return artifact

    flock = board().add_component(Shouting())
    async with flock, application(flock) as app:
        first = await app.run(Question(text="a"), id="x")
        again = await app.run(Question(text="a"), id="x")
    assert first.one(Answer).text == "to A"
    assert again.outputs == first.outputs


async def test_a_result_lasts_as_long_as_the_board(tmp_path: Path) -> None:
    clock, gate = ManualClock(), Gate()

    def made() -> Flock:
        return board(gate.answer, store=f"sqlite:///{tmp_path / 'b.db'}", clock=clock)

    async with application(made) as app, asyncio.TaskGroup() as group:
        late = group.create_task(app.run(Question(text="late"), id="late", timeout=10))
        await until(lambda: gate.began == ["late"])
        await clock.advance(10)
        assert (await late).status == "timed_out"
        gate.opened.set()
        first = await app.run(Question(text="a"), id="x")
    async with application(made) as app:
        again = await app.run(Question(text="a"), id="x")
        late_again = await app.run(Question(text="late"), id="late")
        with pytest.raises(RequestConflict):
            await app.run(Question(text="b"), id="x")
    assert (again.status, again.outputs, again.correlation_id) == (
        first.status,
        first.outputs,
        first.correlation_id,
    )
    assert (late_again.status, late_again.error) == (
        "timed_out",
        "it did not end within its timeout of 10 seconds",
    )
    assert gate.began == ["late", "a"]


# --- streams ---


class Numbers:
    """An agent that yields answers as it is told."""

    def __init__(self, count: int, *, held: int = 1_000_000) -> None:
        self.count, self.held = count, held
        self.go_on = asyncio.Event()
        self.made = 0
        self.has_ended = False

    async def answers(self, question: Question) -> AsyncGenerator[Answer]:
        try:
            for number in range(self.count):
                if number >= self.held:
                    await self.go_on.wait()
                self.made += 1
                yield Answer(text=f"{question.text}{number}")
        finally:
            self.has_ended = True


async def test_a_stream_yields_outputs_while_the_request_goes_on(
    isolation: Literal["request", "shared"],
) -> None:
    numbers = Numbers(5, held=2)
    async with application(lambda: board(numbers.answers), isolation=isolation) as app:
        seen: list[str] = []
        async with app.stream(Question(text="a"), id="x") as stream:
            async for output in stream:
                seen.append(output.as_model(Answer).text)
                if len(seen) == 2:
                    assert numbers.made == 2
                    with pytest.raises(NotIdle):
                        _ = stream.result
                    numbers.go_on.set()
        again = [
            output.as_model(Answer).text async for output in app.stream(Question(text="a"), id="x")
        ]
        whole = await app.run(Question(text="a"), id="x")
    assert seen == again == [f"a{n}" for n in range(5)] == [a.text for a in whole.of(Answer)]
    assert (stream.result.status, stream.result.outputs) == ("succeeded", ())


@pytest.mark.parametrize("leave", ["break", "aclose", "context", "drop", "cancel"])
async def test_leaving_a_stream_early_cancels_the_request(
    isolation: Literal["request", "shared"], leave: str
) -> None:
    numbers = Numbers(5, held=2)
    async with application(lambda: board(numbers.answers), isolation=isolation) as app:
        if leave == "break":
            async for _ in app.stream(Question(text="a")):
                break
        elif leave == "context":
            async with app.stream(Question(text="a")) as stream:
                await anext(stream)
            assert numbers.has_ended
        elif leave == "cancel":

            async def read() -> None:
                async for _ in app.stream(Question(text="a")):
                    pass

            task = asyncio.create_task(read())
            await until(lambda: numbers.made == 2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert numbers.has_ended
        else:
            stream = app.stream(Question(text="a"))
            await anext(stream)
            if leave == "aclose":
                await stream.aclose()
                assert numbers.has_ended
                with pytest.raises(StopAsyncIteration):
                    await anext(stream)
            del stream
        await until(lambda: app.status().running == 0)
        assert numbers.has_ended
        assert numbers.made <= 2


async def test_a_slow_reader_holds_up_nobody_and_misses_nothing() -> None:
    numbers = Numbers(1500)
    flock = board(numbers.answers)
    async with flock, application(flock, max_concurrent=1) as app:
        stream = app.stream(Question(text="a"))
        first = await anext(stream)
        assert not flock._parts.events.is_heard  # nothing is kept for it between two steps
        await flock.run_until_idle()
        await until(lambda: app.status().running == 0)
        assert (await app.run(Question(text="b"), timeout=60)).status == "succeeded"
        rest = [output async for output in stream]
    assert [output.seq for output in (first, *rest)] == list(range(2, 1502))
    assert stream.result.status == "succeeded"


async def test_a_stream_raises_what_a_run_raises() -> None:
    gate = Gate()
    app = application(lambda: board(gate.answer), max_concurrent=1, max_queued=0)
    async with app, asyncio.TaskGroup() as group:
        with pytest.raises(PublishError):
            app.stream({"text": 3})
        task = group.create_task(app.run(Question(text="a")))
        await until(lambda: bool(gate.began))
        with pytest.raises(Overloaded):
            await anext(app.stream(Question(text="b")))
        gate.opened.set()
        await task
        with pytest.raises(PublishError, match="name of an agent"):
            await anext(app.stream(Question(text="b"), principal=AgentIdentity("answerer")))


async def test_a_stream_that_times_out_ends_with_that_result() -> None:
    clock, numbers = ManualClock(), Numbers(5, held=2)
    flock = board(numbers.answers, clock=clock)
    async with flock, application(flock) as app, asyncio.TaskGroup() as group:
        stream = app.stream(Question(text="a"), timeout=30)

        async def read() -> int:
            return len([output async for output in stream])

        task = group.create_task(read())
        await until(lambda: numbers.made == 2)
        await clock.advance(30)
        assert await task == 2
    assert (stream.result.status, numbers.has_ended) == ("timed_out", True)


async def test_a_run_and_a_stream_share_a_request() -> None:
    numbers = Numbers(4, held=1)
    async with application(lambda: board(numbers.answers)) as app:
        async with asyncio.TaskGroup() as group:
            whole = group.create_task(app.run(Question(text="a"), id="x"))
            async with app.stream(Question(text="a"), id="x") as stream:
                await anext(stream)
            assert not numbers.has_ended
            numbers.go_on.set()
        assert len(whole.result().outputs) == 4


# --- its end ---


async def test_draining_lets_requests_end_and_refuses_new_ones(
    isolation: Literal["request", "shared"],
) -> None:
    gate = Gate()
    app = application(lambda: board(gate.answer), isolation=isolation, max_concurrent=1)
    async with app, asyncio.TaskGroup() as group:
        one = group.create_task(app.run(Question(text="a"), id="a"))
        two = group.create_task(app.run(Question(text="b")))
        await until(lambda: bool(gate.began))
        draining = group.create_task(app.drain(60))
        await turns(5)
        with pytest.raises(Draining, match="ending"):
            await app.run(Question(text="c"))
        joined = group.create_task(app.run(Question(text="a"), id="a"))
        await turns(5)
        gate.opened.set()
        await draining
        results = await asyncio.gather(one, two, joined)
        assert [result.status for result in results] == ["succeeded"] * 3
        status = app.status()
    assert (status.running, status.queued, status.done, status.failed) == (0, 0, 2, 0)
    assert status.is_draining


async def test_what_does_not_end_within_the_grace_is_cancelled(
    isolation: Literal["request", "shared"],
) -> None:
    gate = Gate()
    app = application(lambda: board(gate.answer), isolation=isolation, max_concurrent=2)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(app.run(Question(text=str(n)))) for n in range(4)]
        await until(lambda: len(gate.began) == 2)
        await app.drain(0)
        results = [await task for task in tasks]
    assert [result.status for result in results] == ["cancelled"] * 4
    assert gate.cancelled == gate.began == ["0", "1"]
    await app.shutdown()


async def test_leaving_the_application_with_an_error_waits_for_nobody() -> None:
    gate = Gate()
    tasks: list[asyncio.Task[Result]] = []

    async def broken() -> None:
        async with application(lambda: board(gate.answer)) as app:
            tasks.append(asyncio.create_task(app.run(Question(text="a"))))
            await until(lambda: bool(gate.began))
            raise KeyError

    with pytest.raises(KeyError):
        await broken()
    assert (await tasks[0]).status == "cancelled"


# --- load ---


async def test_a_thousand_requests_at_once_end_and_leave_nothing(
    isolation: Literal["request", "shared"],
) -> None:
    boards: list[weakref.ref[Flock]] = []

    def made() -> Flock:
        flock = board()
        boards.append(weakref.ref(flock))
        return flock

    async with application(made, isolation=isolation) as app:
        asked = [app.run(Question(text=str(n))) for n in range(1000)]
        results = await asyncio.gather(*asked)
        assert [result.one(Answer).text for result in results] == [f"to {n}" for n in range(1000)]
        assert app.status().done == 1000
        assert not app._going
        assert not app._by_key
        del results, asked
    gc.collect()
    assert [ref() for ref in boards] == [None] * len(boards)
