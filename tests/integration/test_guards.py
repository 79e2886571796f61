"""Guards on a board: what reaches agents, models' observers, stores and readers."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from pydantic import BaseModel, EmailStr

from flock import (
    Artifact,
    BoardGuard,
    Context,
    DeclarationError,
    EngineComponent,
    EvalInputs,
    EvalResult,
    File,
    Flock,
    Guard,
    GuardBlocked,
    PiiDetector,
    PublishError,
    RunEmitted,
    WorkflowError,
)
from flock.core.agent import Agent
from flock.core.deltas import GuardFound, Token, ToolCalled
from flock.core.outputs import OutputGroup
from flock.testing import ScriptedEngine

ANN, BOB = "ann@example.com", "bob@example.com"


class Letter(BaseModel):
    text: str
    copies: list[str] = []
    by_name: dict[str, str] = {}
    scan: File | None = None


class Contact(BaseModel):
    address: EmailStr


class Reply(BaseModel):
    text: str


def echo(letter: Letter) -> Reply:
    return Reply(
        text=f"{letter.text} {letter.copies} {letter.by_name} {letter.scan and letter.scan.text()}"
    )


def board(guard: Guard) -> Flock:
    flock = Flock()
    flock.agent("clerk").consumes(Letter).publishes(Reply).calls(echo).with_utilities(guard)
    return flock


async def test_an_agent_reads_placeholders_and_the_board_keeps_the_input():
    letter = Letter(
        text=f"{ANN}, {BOB}", copies=[BOB], by_name={ANN: "x"}, scan=File(ANN.encode(), "a.txt")
    )
    async with board(Guard(scan_outputs=False)) as flock:
        published = await flock.publish(letter)
        await flock.run_until_idle(raise_on_error=True)
        [reply] = await flock.store.get_by_type(Reply)
        kept = await flock.store.get(published.id)
    assert reply.text == "[EMAIL], [EMAIL 2] ['[EMAIL 2]'] {'[EMAIL]': 'x'} [EMAIL]"
    assert kept is not None
    assert kept.as_model(Letter) == letter


async def test_an_output_is_redacted_before_it_is_stored():
    async with board(Guard(scan_inputs=False)) as flock:
        await flock.publish(Letter(text=ANN))
        await flock.run_until_idle(raise_on_error=True)
        [reply] = await flock.store.get_by_type(Reply)
    assert reply.text.startswith("[EMAIL] ")


async def test_a_blocked_run_says_where_and_what_but_not_which():
    async with board(Guard(action="block", name="pii")) as flock:
        with pytest.raises(GuardBlocked) as caught:
            await flock.arun("clerk", Letter(text="x", by_name={"c": "y", ANN: BOB}))
    error = caught.value
    assert (error.agent, error.component, error.field, error.kind) == (
        "clerk",
        "pii",
        "by_name[key]",
        "EMAIL",
    )
    assert "agent 'clerk': guard 'pii' blocked the input" in str(error)
    assert "by_name['[EMAIL]']" in str(error)
    assert ANN not in str(error)
    assert BOB not in str(error)


async def test_a_field_that_takes_no_placeholder_blocks_the_run():
    flock = Flock()
    flock.agent("clerk").consumes(Contact).publishes(Reply).with_engines(
        ScriptedEngine([Reply(text="x")])
    ).with_utilities(Guard())
    async with flock:
        with pytest.raises(GuardBlocked, match=r"cannot redact field 'address'.*EMAIL") as caught:
            await flock.arun("clerk", Contact(address=ANN))
    assert (caught.value.field, caught.value.kind) == ("address", "EMAIL")
    assert ANN not in str(caught.value)


class Watcher(EngineComponent):
    """Keeps what it is given and what it answers."""

    def __init__(self) -> None:
        super().__init__()
        self.results: list[EvalResult] = []

    async def on_post_evaluate(
        self, agent: Agent, ctx: Context, inputs: EvalInputs, result: EvalResult
    ) -> EvalResult:
        self.results.append(result)
        return result


async def test_annotating_changes_nothing_and_leaves_notes():
    watcher = Watcher()
    watcher.priority = 10
    flock = Flock()
    flock.agent("clerk").consumes(Letter).publishes(Reply).calls(echo).with_utilities(
        Guard(action="annotate"), watcher
    )
    async with flock:
        [reply] = await flock.arun("clerk", Letter(text=f"{ANN} {BOB}"))
    assert reply.payload["text"].startswith(ANN)
    assert reply.tags == {"guard:email"}
    [result] = watcher.results
    assert result.metrics == {"guard.input.email": 2, "guard.output.email": 2}
    assert len(result.logs) == 2
    assert not any(ANN in line for line in result.logs)


@pytest.mark.parametrize("action", ["block", "redact", "annotate"])
async def test_observers_are_told_kinds_and_counts(action: str):
    flock = board(Guard(action=action))  # pyright: ignore[reportArgumentType]
    events = flock.events()
    async with flock:
        await flock.publish(Letter(text=f"{ANN} {BOB}"))
        await flock.run_until_idle()
    told = [e.delta async for e in events if isinstance(e, RunEmitted)]
    assert told[0] == GuardFound(
        "guard", "input", action, {"EMAIL": 2}, (Artifact.of(Letter(text="")).type,)
    )
    assert len(told) == (2 if action == "annotate" else 1)


class Talker(EngineComponent):
    """Shows its answer while it makes it."""

    enable_context = True

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.places: list[int] = []

    async def evaluate(
        self, agent: Agent, ctx: Context, inputs: EvalInputs, output_group: OutputGroup
    ) -> object:
        self.seen = [a.payload["text"] for a in ctx.artifacts]
        self.places = [a.seq for a in (*ctx.artifacts, *inputs.artifacts)]
        ctx.emit(Token(ANN))
        ctx.emit("half way")
        ctx.emit(f"asking {ANN}")
        ctx.emit(("asking", {ANN: [ANN]}))
        ctx.emit(0.5)
        ctx.emit(Reply(text=ANN))
        ctx.emit(ToolCalled("look_up", {"who": ANN, "password": "hunter2!"}, 0.1, f"no {ANN}"))
        return Reply(text=ANN)


@pytest.mark.parametrize(("action", "shown"), [("redact", 0), ("block", 0), ("annotate", 1)])
async def test_what_nobody_has_looked_through_is_not_shown(action: str, shown: int):
    flock = Flock()
    guard = Guard(action=action)  # pyright: ignore[reportArgumentType]
    flock.agent("talker").consumes(Letter).publishes(Reply).with_engines(Talker()).with_utilities(
        guard
    )
    events = flock.events()
    async with flock:
        await flock.publish(Letter(text="x"))
        await flock.run_until_idle()
    told = [e.delta async for e in events if isinstance(e, RunEmitted)]
    assert sum(isinstance(delta, Token | Reply) for delta in told) == 2 * shown
    assert {"half way", 0.5} <= {delta for delta in told if isinstance(delta, str | float)}
    assert (ANN in repr(told)) == bool(shown)
    assert ("hunter2!" in repr(told)) == bool(shown)
    assert any(isinstance(delta, ToolCalled) for delta in told)
    assert shown or "asking [EMAIL]" in told


async def test_the_history_is_looked_through_as_well():
    talker = Talker()
    flock = Flock()
    flock.agent("talker").consumes(Letter).publishes(Reply).with_engines(talker).with_utilities(
        Guard()
    )
    async with flock:
        await flock.publish(Reply(text=BOB), correlation_id="w")
        await flock.publish(Letter(text=ANN), correlation_id="w")
        await flock.run_until_idle(raise_on_error=True)
    assert talker.seen == ["[EMAIL 2]"]
    assert talker.places == [1, 2]


async def test_every_output_of_a_stream_is_looked_through_with_the_same_numbers():
    async def stream(letter: Letter) -> AsyncIterator[Reply]:
        for address in (ANN, BOB, ANN):
            yield Reply(text=address)

    flock = Flock()
    flock.agent("clerk").calls(stream).with_utilities(Guard())
    async with flock:
        replies = await flock.arun("clerk", Letter(text="x"))
    assert [r.payload["text"] for r in replies] == ["[EMAIL]", "[EMAIL 2]", "[EMAIL]"]


async def test_a_large_text_is_looked_through_in_a_thread():
    async with board(Guard()) as flock:
        [reply] = await flock.arun("clerk", Letter(text=f"{'word ' * 40_000}{ANN}"))
    assert ANN not in reply.payload["text"]


async def test_a_detector_that_fails_fails_the_run():
    class Broken:
        def find(self, text: str) -> list[object]:
            raise LookupError("no dictionary")

    async with board(Guard(detectors=[Broken()])) as flock:  # pyright: ignore[reportArgumentType]
        with pytest.raises(LookupError, match="no dictionary"):
            await flock.arun("clerk", Letter(text="x"))


async def test_a_run_leaves_no_values_behind():
    guard = Guard()
    async with board(guard) as flock:
        await flock.arun("clerk", Letter(text=ANN))
    assert not guard._runs


async def test_what_is_published_is_redacted_before_it_lies_on_the_board():
    flock = Flock()
    flock.add_component(BoardGuard())
    flock.agent("clerk").consumes(Letter).publishes(Reply).with_engines(
        ScriptedEngine([Reply(text=BOB)])
    )
    async with flock:
        letter = await flock.publish(Letter(text=ANN))
        await flock.run_until_idle(raise_on_error=True)
        stored = [a.payload["text"] for a in await flock.store.list()]
    assert letter.payload["text"] == "[EMAIL]"
    assert stored == ["[EMAIL]", "[EMAIL]"]


async def test_the_record_of_a_failure_is_redacted_as_well():
    flock = Flock()
    flock.add_component(BoardGuard())
    flock.agent("clerk").consumes(Letter).publishes(Reply).with_engines(
        ScriptedEngine([ValueError(f"cannot write to {ANN}")])
    )
    async with flock:
        await flock.publish(Letter(text="x"))
        await flock.run_until_idle()
        [error] = await flock.store.get_by_type(WorkflowError)
        [dead] = await flock.dead_letters()
    assert "[EMAIL]" in error.error_message
    assert ANN not in error.error_message
    assert dead.error_message == error.error_message


async def test_a_dead_letter_does_not_hold_what_a_board_blocks():
    flock = Flock()
    flock.add_component(BoardGuard(action="block"))
    flock.agent("clerk").consumes(Letter).publishes(Reply).with_engines(
        ScriptedEngine([ValueError(f"cannot write to {ANN}")])
    )
    flock.agent("handler").consumes(WorkflowError).with_engines(
        ScriptedEngine([ValueError(f"cannot write to {BOB}")])
    )
    async with flock:
        await flock.publish(Letter(text="x"))
        await flock.publish(
            WorkflowError(
                failed_agent="x",
                error_type="E",
                error_message="m",
                timestamp=datetime(2026, 1, 1, tzinfo=UTC),
                task_id="1",
                run_id="1",
                attempt=1,
            )
        )
        await flock.run_until_idle()
        letters = await flock.dead_letters()
        errors = await flock.store.get_by_type(WorkflowError)
    assert len(letters) == 2
    assert len(errors) == 1  # the one that was published here
    assert all("it holds 1 EMAIL" in letter.error_message for letter in letters)
    assert {letter.error_type for letter in letters} == {"ValueError"}


async def test_what_is_published_can_be_refused_or_tagged():
    refusing, tagging = Flock(), Flock()
    refusing.add_component(BoardGuard(action="block"))
    tagging.add_component(BoardGuard(action="annotate"))
    async with refusing, tagging:
        with pytest.raises(PublishError, match="holds 1 EMAIL in 'text'") as caught:
            await refusing.publish(Letter(text=ANN))
        assert isinstance(caught.value.__cause__, GuardBlocked)
        assert ANN not in str(caught.value)
        assert not await refusing.store.list()
        tagged = await tagging.publish(Letter(text=ANN), tags={"mine"})
    assert tagged.tags == {"mine", "guard:email"}
    assert tagged.payload["text"] == ANN


def test_a_guard_that_contradicts_itself_is_refused():
    with pytest.raises(DeclarationError, match="one of block, redact, annotate, not 'warn'"):
        Guard(action="warn")  # pyright: ignore[reportArgumentType]
    with pytest.raises(DeclarationError, match="no detector"):
        Guard(detectors=[PiiDetector])  # pyright: ignore[reportArgumentType]
    with pytest.raises(DeclarationError, match="looks at nothing"):
        Guard(scan_inputs=False, scan_outputs=False)
    with pytest.raises(DeclarationError, match="scan_inputs"):
        Guard(scan_inputs=1)  # pyright: ignore[reportArgumentType]
