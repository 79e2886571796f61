"""People are agents: they are asked, they answer, and nothing runs while they think."""

# Agents and predicates are short lambdas here.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field

from flock import (
    Agent,
    AgentBuilder,
    AgentComponent,
    AlreadyAnswered,
    Artifact,
    BatchSpec,
    BoardGuard,
    Context,
    DeclarationError,
    EngineComponent,
    EngineError,
    EvalInputs,
    EvalResult,
    Flock,
    GuardBlocked,
    JoinSpec,
    MCPServer,
    NotFound,
    OrchestratorComponent,
    OutputContractError,
    PublishError,
    Question,
    QuestionAnswered,
    QuestionAsked,
    QuestionClosed,
    QuestionExpired,
    RunError,
    RunFailed,
    RunSucceeded,
    RunTimeout,
    SecretDetector,
    WorkflowError,
)
from flock.testing import ManualClock

from .support import turns, until


class Draft(BaseModel):
    text: str


class Note(BaseModel):
    text: str


class Approval(BaseModel):
    approved: bool
    reason: str = Field(default="", max_length=40)


class Remark(BaseModel):
    text: str


class Published(BaseModel):
    text: str


def approving(flock: Flock, **options: Any) -> AgentBuilder:
    agent = flock.agent("approver").consumes(Draft).publishes(Approval)
    question = options.pop("question", "May this be published?")
    return agent.asks_human(question, **options)


async def asked(flock: Flock, count: int = 1) -> list[Question]:
    """Return the questions, once there are so many."""
    while len(found := await flock.questions()) < count:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    return found


async def only(flock: Flock) -> Question:
    [question] = await asked(flock)
    return question


# --- asking and answering ---


async def test_a_person_is_asked_and_the_answer_goes_on_its_way() -> None:
    flock = Flock()
    approving(flock)

    def publish(approval: Approval) -> Published:
        return Published(text=approval.reason)

    flock.agent("press").consumes(Approval, where=lambda a: a.approved).calls(publish)
    async with flock:
        draft = await flock.publish(Draft(text="hello"))
        report = await flock.run_until_idle()
        assert (report.runs, report.waiting) == (0, 1)
        question = await only(flock)
        assert question.agent == "approver"
        assert question.question == "May this be published?"
        assert question.inputs == (draft,)
        assert question.correlation_id == draft.correlation_id
        assert question.due is None
        assert question.answers == (Approval,)
        assert question.schemas["Approval"]["properties"].keys() == {"approved", "reason"}

        [approval] = await flock.answer(question.id, Approval(approved=True, reason="fine"))
        assert approval.produced_by == "approver"
        assert approval.parents == (draft.id,)
        assert approval.correlation_id == draft.correlation_id
        assert approval.depth == 1
        report = await flock.run_until_idle()
        assert (report.runs, report.failed, report.waiting) == (2, 0, 0)
        assert await flock.questions() == []
        assert await flock.store.get_by_type(Published) == [Published(text="fine")]
        [consumption] = await flock.store.consumptions(draft.id)
        assert consumption.run_id == question.id


async def test_a_question_is_made_of_the_inputs_once() -> None:
    made: list[str] = []

    def ask(draft: Draft) -> str:
        made.append(draft.text)
        return f"Publish {draft.text!r}?"

    flock = Flock()
    approving(flock, question=ask)
    async with flock:
        await flock.publish(Draft(text="hello"))
        question = await only(flock)
        assert question.question == "Publish 'hello'?"
        with pytest.raises(OutputContractError):
            await flock.answer(question.id, Remark(text="no answer"))
        await flock.answer(question.id, Approval(approved=True))
        await flock.run_until_idle()
    assert made == ["hello"]


async def test_a_question_may_be_about_several_inputs() -> None:
    flock = Flock()
    both = flock.agent("both").consumes(Draft, Note).publishes(Approval)
    both.asks_human(question=lambda draft, note: f"{draft.text} with {note.text}?")
    many = flock.agent("many").consumes(Draft, batch=BatchSpec(size=2)).publishes(Approval)

    def about(drafts: list[Draft]) -> str:
        return "+".join(draft.text for draft in drafts)

    many.asks_human(question=about)
    joined = flock.agent("joined").publishes(Approval).asks_human("Do they fit?")
    joined.consumes(Draft, Note, join=JoinSpec(by="text", within=timedelta(hours=1)))
    async with flock:
        for model in (Draft(text="a"), Draft(text="b"), Note(text="b")):
            await flock.publish(model)
        found = {question.agent: question for question in await asked(flock, 3)}
        assert found["both"].question == "a with b?"
        assert found["many"].question == "a+b"
        inputs = [artifact.payload["text"] for artifact in found["joined"].inputs]
        assert inputs == ["b", "b"]
        for question in found.values():
            await flock.answer(question.id, Approval(approved=True))
        assert (await flock.run_until_idle()).runs == 3
        assert len(await flock.store.get_by_type(Approval)) == 3


async def test_questions_are_listed_oldest_first_by_workflow_and_agent() -> None:
    clock = ManualClock()
    flock = Flock(clock=clock)
    approving(flock)
    other = flock.agent("other").consumes(Note).publishes(Remark).asks_human("What of it?")
    async with flock:
        first = await flock.publish(Draft(text="1"))
        await clock.advance(1)
        second = await flock.publish(Note(text="2"))
        await clock.advance(1)
        third = await flock.publish(Draft(text="3"), correlation_id=first.correlation_id)
        await clock.settle()
        found = await asked(flock, 3)
        assert [q.inputs for q in found] == [(first,), (second,), (third,)]
        assert [q.asked_at for q in found] == sorted(q.asked_at for q in found)
        of_workflow = await flock.questions(first.correlation_id)
        assert [q.inputs for q in of_workflow] == [(first,), (third,)]
        assert [q.inputs for q in await flock.questions(agent=other)] == [(second,)]
        assert [q.inputs for q in await flock.questions(agent="approver")] == [(first,), (third,)]
        with pytest.raises(NotFound, match="nobody"):
            await flock.questions(agent="nobody")


async def test_an_answer_may_be_a_dict_and_have_tags() -> None:
    flock = Flock()
    approving(flock)
    flock.agent("two").consumes(Note).publishes(Approval, Remark).asks_human("Both?")
    async with flock:
        await flock.publish(Draft(text="a"))
        question = await only(flock)
        [made] = await flock.answer(question.id, {"approved": True}, tags=["checked"])
        assert made.as_model(Approval) == Approval(approved=True)
        assert made.tags == {"checked"}
        await flock.publish(Note(text="a"))
        question = await only(flock)
        assert question.answers == (Approval, Remark)
        with pytest.raises(PublishError, match="'type'"):
            await flock.answer(question.id, {"approved": True}, Remark(text=""))
        with pytest.raises(PublishError, match="no valid"):
            await flock.answer(question.id, {"type": "Approval"}, Remark(text=""))
        with pytest.raises(PublishError, match="artifact"):
            await flock.answer(question.id, made)  # pyright: ignore[reportArgumentType]
        both = await flock.answer(
            question.id, {"type": "Approval", "approved": False}, Remark(text="x")
        )
        assert [artifact.payload for artifact in both] == [
            {"approved": False, "reason": ""},
            {"text": "x"},
        ]


async def test_no_answer_at_all_declines() -> None:
    flock = Flock()
    approving(flock)
    async with flock:
        await flock.publish(Draft(text="a"))
        assert await flock.answer((await only(flock)).id) == []
        report = await flock.run_until_idle()
        assert (report.runs, report.failed, report.waiting) == (1, 0, 0)
        assert await flock.questions() == []
        assert await flock.store.get_by_type(Approval) == []


# --- an answer is held to what is declared ---


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ([Remark(text="x")], "does not declare"),
        ([Approval(approved=True)] * 4, "declares 1 to 3"),
        ([Approval(approved=True, reason="bad")], "no bad reasons"),
    ],
)
async def test_an_answer_that_is_refused_leaves_the_question_open(
    answer: list[BaseModel], why: str
) -> None:
    flock = Flock()
    agent = flock.agent("approver").consumes(Draft).asks_human("Well?").retry(3, 0.0)
    agent.publishes(
        Approval,
        fan_out=(1, 3),
        where=lambda a: a.reason != "dropped",
        validate=[(lambda a: a.reason != "bad", "no bad reasons")],
    )
    async with flock:
        await flock.publish(Draft(text="a"))
        question = await only(flock)
        with pytest.raises(OutputContractError, match=why):
            await flock.answer(question.id, *answer)
        assert await flock.questions() == [question]
        report = await flock.run_until_idle()
        assert (report.runs, report.failed, report.dead_letters, report.waiting) == (0, 0, 0, 1)
        made = await flock.answer(
            question.id, Approval(approved=True), Approval(approved=False, reason="dropped")
        )
        assert [artifact.as_model(Approval).approved for artifact in made] == [True]
        report = await flock.run_until_idle()
        assert (report.runs, report.failed, report.waiting) == (1, 0, 0)


class Watching(AgentComponent):
    def __init__(self, log: list[str]) -> None:
        super().__init__(name="watching")
        self.log = log
        self.is_broken = False

    async def on_initialize(self, agent: Agent, ctx: Context) -> None:
        self.log.append(f"initialize {ctx.attempt}")

    async def on_pre_consume(
        self, agent: Agent, ctx: Context, inputs: list[Artifact]
    ) -> list[Artifact]:
        self.log.append(f"consume {len(inputs)}")
        return inputs

    async def on_post_evaluate(
        self, agent: Agent, ctx: Context, inputs: EvalInputs, result: EvalResult
    ) -> EvalResult:
        self.log.append(f"evaluated {len(result.artifacts)}")
        if self.is_broken:
            raise ValueError("broken")
        return result

    async def on_post_publish(self, agent: Agent, ctx: Context, artifact: Artifact) -> None:
        self.log.append(f"published {artifact.seq}")

    async def on_error(self, agent: Agent, ctx: Context, error: BaseException) -> None:
        self.log.append(f"error {error}")

    async def on_terminate(self, agent: Agent, ctx: Context) -> None:
        self.log.append("terminate")


async def test_the_hooks_of_a_run_are_called_when_the_answer_comes() -> None:
    log: list[str] = []
    watching = Watching(log)
    flock = Flock()
    approving(flock).with_utilities(watching)
    async with flock:
        await flock.publish(Draft(text="a"))
        question = await only(flock)
        assert log == []
        watching.is_broken = True
        with pytest.raises(ValueError, match="broken"):
            await flock.answer(question.id, Approval(approved=True))
        first = ["initialize 1", "consume 1", "evaluated 1"]
        assert log == [*first, "error broken", "terminate"]
        assert await flock.questions() == [question]
        watching.is_broken = False
        log.clear()
        await flock.answer(question.id, Approval(approved=True))
        await flock.run_until_idle()
        assert log == [*first, "published 2", "terminate"]


async def test_components_of_the_board_see_a_run_once_and_guards_see_its_answer() -> None:
    scheduled: list[str] = []

    class Seeing(OrchestratorComponent):
        async def on_agent_scheduled(
            self, orchestrator: Any, agent: Agent, artifacts: list[Artifact], task: Any
        ) -> None:
            scheduled.append(agent.name)

    flock = Flock()
    flock.add_component(Seeing()).add_component(
        BoardGuard(detectors=[SecretDetector()], action="block")
    )
    approving(flock)
    async with flock:
        await flock.publish(Draft(text="a"))
        question = await only(flock)
        secret = "AKIA" + "Q3EGRI5KZ7XNPM2D"
        with pytest.raises(PublishError) as caught:
            await flock.answer(question.id, Approval(approved=True, reason=secret))
        assert isinstance(caught.value.__cause__, GuardBlocked)
        assert await flock.questions() == [question]
        await flock.answer(question.id, Approval(approved=True, reason="no secret"))
        await flock.run_until_idle()
    assert scheduled == ["approver"]


# --- who answers ---


async def test_of_two_answers_at_once_one_counts_and_the_other_learns_whose() -> None:
    flock = Flock()
    approving(flock)
    async with flock:
        await flock.publish(Draft(text="a"))
        question = await only(flock)
        results = await asyncio.gather(
            flock.answer(question.id, Approval(approved=True), answered_by="ann"),
            flock.answer(question.id, Approval(approved=False), answered_by="bob"),
            return_exceptions=True,
        )
        [won] = [result for result in results if isinstance(result, list)]
        [lost] = [result for result in results if isinstance(result, AlreadyAnswered)]
        assert lost.answered_by == "ann"
        assert "'ann'" in str(lost)
        assert await flock.store.list_by_type(Approval) == won
        with pytest.raises(AlreadyAnswered, match="'ann'"):
            await flock.answer(question.id, Approval(approved=False), answered_by="cyd")


async def test_an_answer_behind_one_that_is_refused_gets_its_turn() -> None:
    flock = Flock()
    approving(flock)
    async with flock:
        await flock.publish(Draft(text="a"))
        question = await only(flock)
        first, second = await asyncio.gather(
            flock.answer(question.id, Remark(text="?"), answered_by="ann"),
            flock.answer(question.id, Approval(approved=True), answered_by="bob"),
            return_exceptions=True,
        )
        assert isinstance(first, OutputContractError)
        assert isinstance(second, list)


async def test_who_answered_is_told_and_kept() -> None:
    flock = Flock()
    approving(flock, question=lambda draft: f"{draft.text}?")
    async with flock:
        stream = flock.events()
        draft = await flock.publish(Draft(text="a"))
        question = await only(flock)
        [made] = await flock.answer(question.id, Approval(approved=True), answered_by="ann")
        await flock.run_until_idle()
        [entry] = [e for e in await flock.store.log() if e.kind == "question_answered"]
        assert entry.correlation_id == draft.correlation_id
        record = json.loads(entry.data)
        assert record["answered_by"] == "ann"
        assert (record["agent"], record["run_id"]) == ("approver", question.id)
    events = [event async for event in stream]
    [was_asked] = [e for e in events if isinstance(e, QuestionAsked)]
    assert (was_asked.agent, was_asked.run_id, was_asked.question) == (
        "approver",
        question.id,
        "a?",
    )
    [answered] = [e for e in events if isinstance(e, QuestionAnswered)]
    assert (answered.agent, answered.run_id, answered.answered_by) == (
        "approver",
        question.id,
        "ann",
    )
    [succeeded] = [e for e in events if isinstance(e, RunSucceeded)]
    assert (succeeded.run_id, succeeded.attempt, succeeded.outputs) == (question.id, 1, (made,))


@pytest.mark.parametrize("name", ["", None, "\ud800"])
async def test_whoever_answers_has_a_name(name: Any) -> None:
    flock = Flock()
    approving(flock)
    async with flock:
        await flock.publish(Draft(text="a"))
        question = await only(flock)
        with pytest.raises(PublishError, match="answered_by"):
            await flock.answer(question.id, Approval(approved=True), answered_by=name)


@pytest.mark.parametrize("unknown", ["", "no id", "0" * 32, None, 7])
async def test_what_was_never_asked_cannot_be_answered(unknown: Any) -> None:
    async with Flock() as flock:
        with pytest.raises(NotFound, match="no open question"):
            await flock.answer(unknown, Approval(approved=True))


async def test_an_agent_may_answer_for_a_person() -> None:
    flock = Flock(max_concurrency=1)
    approving(flock).max_concurrency(1)

    async def reply(note: Note) -> None:
        [question] = await flock.questions()
        await flock.answer(question.id, Approval(approved=True), answered_by=note.text)

    flock.agent("mail").consumes(Note).calls(reply)
    async with flock:
        await flock.publish(Draft(text="a"))
        await only(flock)
        await flock.publish(Note(text="ann"))
        report = await flock.run_until_idle()
        assert (report.runs, report.failed) == (2, 0)
        assert len(await flock.store.get_by_type(Approval)) == 1


@pytest.mark.parametrize("lasts", [False, True])
async def test_who_hears_of_a_question_finds_it_open(lasts: bool, tmp_path: Path) -> None:
    flock = Flock(store=f"sqlite:///{tmp_path / 'board.db'}" if lasts else None)
    flock.agent("approver").consumes(Draft).publishes(Approval).asks_human("Well?")
    async with flock:
        for number in range(20):
            heard = flock.events(kinds=QuestionAsked)
            draft = await flock.publish(Draft(text=str(number)))
            event = await anext(heard)
            assert isinstance(event, QuestionAsked)
            [question] = await flock.questions(draft.correlation_id)
            assert question.id == event.run_id
            assert (await flock.status(draft.correlation_id)).state == "waiting"
            await heard.aclose()

            heard = flock.events(kinds=QuestionAsked)
            await flock.publish(Draft(text=str(number)))
            event = await anext(heard)
            assert isinstance(event, QuestionAsked)
            await flock.answer(event.run_id, Approval(approved=True))
            await heard.aclose()


async def test_a_question_is_answered_by_its_id() -> None:
    flock = Flock()
    flock.agent("approver").consumes(Draft).publishes(Approval).asks_human("Well?")
    async with flock:
        await flock.publish(Draft(text="a"))
        question: Any = await only(flock)
        with pytest.raises(NotFound, match=f"takes the id of a question.*{question.id!r}"):
            await flock.answer(question, Approval(approved=True))
        assert await only(flock) == question


async def test_a_run_cannot_answer_itself() -> None:
    flock = Flock()
    caught: list[Exception] = []

    class Eager(AgentComponent):
        async def on_initialize(self, agent: Agent, ctx: Context) -> None:
            try:
                await flock.answer(ctx.run_id, Approval(approved=False))
            except NotFound as error:
                caught.append(error)

    approving(flock).with_utilities(Eager())
    async with flock:
        await flock.publish(Draft(text="a"))
        [made] = await flock.answer((await only(flock)).id, Approval(approved=True))
        assert made.as_model(Approval).approved
    assert len(caught) == 1


async def test_an_answer_whose_giver_leaves_still_counts() -> None:
    flock = Flock()
    approving(flock)
    async with flock:
        await flock.publish(Draft(text="a"))
        question = await only(flock)
        giving = asyncio.create_task(flock.answer(question.id, Approval(approved=True)))
        await asyncio.sleep(0)
        giving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await giving
        await flock.run_until_idle()
        assert len(await flock.store.get_by_type(Approval)) == 1


async def test_a_refusal_that_nobody_waits_for_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    flock = Flock()
    approving(flock)
    async with flock:
        await flock.publish(Draft(text="a"))
        question = await only(flock)
        giving = asyncio.create_task(flock.answer(question.id, Remark(text="?")))
        await asyncio.sleep(0)
        giving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await giving
        await flock.run_until_idle()
        assert await flock.questions() == [question]
    assert "was refused" in caplog.text


# --- asking fails ---


async def test_a_question_that_cannot_be_made_fails_the_run() -> None:
    tries: list[str] = []

    def ask(draft: Draft) -> str:
        tries.append(draft.text)
        raise LookupError("no words")

    clock = ManualClock(autojump=True)
    flock = Flock(clock=clock)
    approving(flock, question=ask).retry(3, 1)
    async with flock:
        await flock.publish(Draft(text="a"))
        report = await flock.run_until_idle()
        assert (report.runs, report.failed, report.dead_letters) == (1, 1, 1)
        [letter] = await flock.dead_letters()
        assert (letter.agent, letter.error_type, letter.attempt) == ("approver", "LookupError", 3)
        [error] = await flock.store.get_by_type(WorkflowError)
        assert error.failed_agent == "approver"
        assert await flock.questions() == []
    assert tries == ["a"] * 3


@pytest.mark.parametrize("said", ["", "  ", None, 7, "\ud800"])
async def test_a_question_has_to_say_something(said: Any) -> None:
    flock = Flock()
    approving(flock, question=lambda draft: said)
    async with flock:
        await flock.publish(Draft(text="a"))
        report = await flock.run_until_idle()
        [failure] = report.errors
        assert isinstance(failure.__cause__, EngineError)
        assert "'approver'" in str(failure)


async def test_a_question_that_is_made_too_slowly_runs_into_the_timeout_of_the_agent() -> None:
    clock = ManualClock(autojump=True)
    flock = Flock(clock=clock)

    class Slow(OrchestratorComponent):
        async def on_before_agent_schedule(
            self, orchestrator: Any, agent: Agent, artifacts: list[Artifact]
        ) -> list[Artifact]:
            await asyncio.Event().wait()
            return artifacts

    flock.add_component(Slow())
    approving(flock).timeout(5)
    async with flock:
        await flock.publish(Draft(text="a"))
        report = await flock.run_until_idle()
        [failure] = report.errors
        assert isinstance(failure.__cause__, RunTimeout)
        assert report.elapsed == 5


async def test_time_to_think_does_not_count_as_the_time_of_the_run() -> None:
    clock = ManualClock()
    flock = Flock(clock=clock)
    approving(flock).timeout(5)
    async with flock:
        await flock.publish(Draft(text="a"))
        await clock.advance(3600)
        await flock.answer((await only(flock)).id, Approval(approved=True))
        report = await flock.run_until_idle()
        assert (report.runs, report.failed) == (1, 0)


# --- time ---


async def test_a_question_expires_and_its_run_fails_for_good() -> None:
    clock = ManualClock(autojump=True)
    flock = Flock(clock=clock)
    approving(flock, timeout=timedelta(hours=1)).retry(5, 1)
    async with flock:
        stream = flock.events()
        draft = await flock.publish(Draft(text="a"))
        report = await flock.run_until_idle()
        assert report.elapsed == 3600
        assert (report.runs, report.failed, report.dead_letters, report.waiting) == (1, 1, 1, 0)
        [failure] = report.errors
        assert isinstance(failure.__cause__, QuestionExpired)
        assert isinstance(failure.__cause__, RunTimeout)
        [letter] = await flock.dead_letters()
        assert letter.artifacts == (draft,)
        [error] = await flock.store.get_by_type(WorkflowError)
        assert error.error_type == "QuestionExpired"
        assert "May this be published?" in error.error_message
        assert await flock.questions() == []
        with pytest.raises(QuestionClosed, match="expired"):
            await flock.answer(letter.run_id, Approval(approved=True))

        await flock.redrive(letter.id)
        question = await only(flock)
        assert question.id == letter.run_id
        await flock.answer(question.id, Approval(approved=True))
        report = await flock.run_until_idle()
        assert (report.runs, report.failed, report.dead_letters) == (1, 0, 0)
        with pytest.raises(AlreadyAnswered):
            await flock.answer(question.id, Approval(approved=True))
    events = [event async for event in stream]
    assert sum(isinstance(event, QuestionAsked) for event in events) == 2
    assert sum(isinstance(event, RunFailed) for event in events) == 1


async def test_a_question_with_a_timeout_holds_idle_and_one_without_does_not() -> None:
    clock = ManualClock()
    flock = Flock(clock=clock)
    approving(flock, timeout=60)
    flock.agent("other").consumes(Note).publishes(Remark).asks_human("What of it?")
    async with flock:
        await flock.publish(Note(text="a"))
        await clock.settle()
        report = await flock.run_until_idle()
        assert report.waiting == 1
        draft = await flock.publish(Draft(text="a"))
        await clock.settle()
        waiting = asyncio.create_task(flock.run_until_idle())
        await clock.advance(59)
        assert not waiting.done()
        assert (await flock.status(draft.correlation_id)).state == "waiting"
        await clock.advance(1)
        assert (await waiting).dead_letters == 1


async def test_an_answer_in_time_calls_the_timeout_off() -> None:
    clock = ManualClock()
    flock = Flock(clock=clock)
    approving(flock, timeout=60)
    async with flock:
        await flock.publish(Draft(text="a"))
        await clock.advance(59)
        question = await only(flock)
        assert question.due == question.asked_at + timedelta(seconds=60)
        with pytest.raises(OutputContractError):
            await flock.answer(question.id, Remark(text="?"))
        [made] = await flock.answer(question.id, Approval(approved=True))
        await clock.advance(100)
        report = await flock.run_until_idle()
        assert (report.runs, report.failed) == (1, 0)
        assert await flock.store.list_by_type(Approval) == [made]


async def test_an_answer_that_is_refused_does_not_prolong_the_time() -> None:
    clock = ManualClock()
    flock = Flock(clock=clock)
    approving(flock, timeout=60)
    async with flock:
        await flock.publish(Draft(text="a"))
        await clock.advance(59)
        question = await only(flock)
        with pytest.raises(OutputContractError):
            await flock.answer(question.id, Remark(text="?"))
        await clock.advance(1)
        report = await flock.run_until_idle()
        assert report.dead_letters == 1


# --- what a workflow and a board know of it ---


async def test_a_workflow_that_waits_for_a_person_can_be_cancelled() -> None:
    flock = Flock()
    approving(flock, timeout=3600)
    async with flock:
        mine = await flock.publish(Draft(text="mine"))
        other = await flock.publish(Draft(text="other"))
        first, second = await asked(flock, 2)
        status = await flock.status(mine.correlation_id)
        assert (status.state, status.running, status.waiting) == ("waiting", 0, 1)
        assert await flock.cancel(mine.correlation_id) == 1
        assert await flock.questions() == [second]
        assert (await flock.status(mine.correlation_id)).state == "cancelled"
        with pytest.raises(QuestionClosed, match="cancelled"):
            await flock.answer(first.id, Approval(approved=True))
        await flock.answer(second.id, Approval(approved=True))
        report = await flock.run_until_idle()
        assert (report.failed, report.waiting) == (0, 0)
        [approval] = await flock.store.list_by_type(Approval)
        assert approval.correlation_id == other.correlation_id
        assert await flock.store.states("question") == {}


async def test_an_answer_on_its_way_is_ended_by_a_cancel() -> None:
    flock = Flock()
    has_begun = asyncio.Event()

    class Slow(AgentComponent):
        async def on_initialize(self, agent: Agent, ctx: Context) -> None:
            has_begun.set()
            await asyncio.Event().wait()

    approving(flock).with_utilities(Slow())
    async with flock:
        draft = await flock.publish(Draft(text="a"))
        question = await only(flock)
        giving = asyncio.create_task(flock.answer(question.id, Approval(approved=True)))
        await has_begun.wait()
        await flock.cancel(draft.correlation_id)
        with pytest.raises(QuestionClosed, match="cancelled"):
            await giving
        assert await flock.questions() == []
        assert (await flock.run_until_idle()).waiting == 0
        assert await flock.store.get_by_type(Approval) == []


async def test_a_batch_of_other_workflows_is_asked_about_again_without_a_cancelled_one() -> None:
    flock = Flock()
    agent = flock.agent("approver").publishes(Approval).consumes(Draft, batch=BatchSpec(size=2))

    def about(drafts: list[Draft]) -> str:
        return "+".join(draft.text for draft in drafts)

    agent.asks_human(about)
    async with flock:
        first = await flock.publish(Draft(text="a"))
        second = await flock.publish(Draft(text="b"))
        question = await only(flock)
        assert await flock.questions(second.correlation_id) == [question]
        await flock.cancel(first.correlation_id)
        assert await flock.questions() == []
        await flock.publish(Draft(text="c"))
        again = await only(flock)
        assert again.question == "b+c"
        assert again.id != question.id
        await flock.answer(again.id, Approval(approved=True))
        assert (await flock.run_until_idle()).waiting == 0
        assert await flock.store.states("question") == {}


async def test_ten_thousand_questions_cost_no_task_and_no_slot() -> None:
    count = 10_000
    flock = Flock(max_concurrency=2, max_pending=50)
    approving(flock, timeout=timedelta(days=1)).max_concurrency(1)
    flock.agent("busy").consumes(Note).calls(lambda note: Remark(text=note.text))
    async with flock:
        await turns()
        before = len(asyncio.all_tasks())
        stream = flock.events()
        for start in range(0, count, 1000):
            await flock.publish_many([Draft(text=str(n)) for n in range(start, start + 1000)])
            told = 0
            while told < 1000:
                told += isinstance(await anext(stream), QuestionAsked)
        await stream.aclose()
        questions = await flock.questions()
        assert len(questions) == count
        await until(lambda: len(asyncio.all_tasks()) <= before)
        assert len({question.id for question in questions}) == count
        await flock.publish(Note(text="still goes on"))
        await until(lambda: flock.store.position == count + 2)
        answers = [
            flock.answer(question.id, Approval(approved=True)) for question in questions[::500]
        ]
        assert len(await asyncio.gather(*answers)) == 20
        assert len(await flock.questions()) == count - 20
    async with flock:
        assert len(await flock.questions()) == count - 20
        await turns()
        assert len(asyncio.all_tasks()) <= before
        again = await flock.questions()
        assert [q.id for q in again] == [q.id for n, q in enumerate(questions) if n % 500]


# --- direct calls ---


async def test_a_call_of_a_person_waits_for_the_answer() -> None:
    flock = Flock()
    approving(flock)
    async with flock:
        calling = asyncio.create_task(flock.arun("approver", Draft(text="a")))
        question = await only(flock)
        assert (await flock.run_until_idle()).waiting == 1
        made = await flock.answer(question.id, Approval(approved=True))
        assert await calling == made
        assert await flock.store.list_by_type(Approval) == made
        streaming = flock.stream("approver", Draft(text="b"))
        first = asyncio.ensure_future(anext(streaming))
        await flock.answer((await only(flock)).id, Approval(approved=False))
        assert not (await first).as_model(Approval).approved
        await streaming.aclose()


async def test_an_agent_may_call_a_person() -> None:
    flock = Flock(max_concurrency=1)
    approving(flock)

    async def publish(note: Note) -> Published | None:
        [approval] = await flock.arun("approver", Draft(text=note.text))
        return Published(text=note.text) if approval.as_model(Approval).approved else None

    flock.agent("editor").consumes(Note).calls(publish)
    async with flock:
        note = await flock.publish(Note(text="a"))
        question = await only(flock)
        assert question.correlation_id == note.correlation_id
        await flock.answer(question.id, Approval(approved=True))
        await flock.run_until_idle()
        assert await flock.store.get_by_type(Published) == [Published(text="a")]


async def test_a_call_that_is_given_up_takes_its_question_back() -> None:
    clock = ManualClock()
    flock = Flock(clock=clock)
    approving(flock)
    async with flock:
        calling = asyncio.create_task(flock.invoke("approver", Draft(text="a"), timeout=60))
        question = await only(flock)
        await clock.advance(60)
        with pytest.raises(RunTimeout):
            await calling
        assert await flock.questions() == []
        with pytest.raises(QuestionClosed, match="withdrawn"):
            await flock.answer(question.id, Approval(approved=True))
        assert (await flock.run_until_idle()).waiting == 0


async def test_a_call_whose_question_expires_raises() -> None:
    clock = ManualClock()
    flock = Flock(clock=clock)
    approving(flock, timeout=60)
    async with flock:
        calling = asyncio.create_task(flock.arun("approver", Draft(text="a")))
        await only(flock)
        await clock.advance(60)
        with pytest.raises(QuestionExpired):
            await calling
        assert await flock.dead_letters() == []


async def test_a_call_that_leaves_the_board_untouched_does_so_with_a_person() -> None:
    flock = Flock()
    approving(flock)
    async with flock:
        calling = asyncio.create_task(
            flock.invoke("approver", Draft(text="a"), publish_outputs=False)
        )
        await flock.answer((await only(flock)).id, Approval(approved=True))
        [made] = await calling
        assert made.as_model(Approval).approved
        assert await flock.store.list() == []
        assert await flock.questions() == []
        assert await flock.store.log() == []


async def test_a_call_ends_with_the_shutdown() -> None:
    flock = Flock()
    approving(flock)
    async with flock:
        calling = asyncio.create_task(flock.arun("approver", Draft(text="a")))
        await only(flock)
    with pytest.raises(RunError, match="shutdown"):
        await calling
    async with flock:
        assert await flock.questions() == []


async def test_an_agent_that_asks_cannot_be_run_without_a_board() -> None:
    flock = Flock()
    approving(flock)
    async with flock:
        inputs = EvalInputs([Artifact.of(Draft(text="a"))])
        with pytest.raises(EngineError, match="arun"):
            await flock.get_agent("approver").evaluate(inputs)


# --- a board that is closed and opened again ---


async def test_questions_are_there_again_when_the_board_is_opened_again() -> None:
    clock = ManualClock()
    flock = Flock(clock=clock)
    approving(flock, timeout=100, question=lambda draft: f"{draft.text}?")
    flock.agent("pair").consumes(Draft, Note).publishes(Remark).asks_human("Do they fit?")
    async with flock:
        await flock.publish(Draft(text="a"))
        await flock.publish(Note(text="a"))
        await clock.advance(10)
        before = await asked(flock, 2)
    async with flock:
        assert await flock.questions() == before
        assert (await flock.status(before[0].correlation_id)).state == "waiting"
        for question in before:
            model = Approval(approved=True) if question.agent == "approver" else Remark(text="y")
            await flock.answer(question.id, model)
        report = await flock.run_until_idle()
        assert (report.runs, report.failed, report.waiting) == (2, 0, 0)
        assert await flock.store.states("question") == {}
    async with flock:
        assert await flock.questions() == []
        with pytest.raises(AlreadyAnswered, match="'human'"):
            await flock.answer(before[0].id, Approval(approved=False))


async def test_a_question_that_fell_due_meanwhile_expires_when_the_board_opens() -> None:
    clock = ManualClock()
    flock = Flock(clock=clock)
    approving(flock, timeout=100)
    async with flock:
        await flock.publish(Draft(text="a"))
        await only(flock)
    await clock.advance(1000)
    async with flock:
        report = await flock.run_until_idle()
        assert report.dead_letters == 1
        assert await flock.questions() == []


async def test_an_answer_is_left_open_by_a_shutdown_that_does_not_wait() -> None:
    flock = Flock()
    stuck = asyncio.Event()

    class Slow(AgentComponent):
        async def on_initialize(self, agent: Agent, ctx: Context) -> None:
            if not stuck.is_set():
                stuck.set()
                await asyncio.Event().wait()

    approving(flock).with_utilities(Slow())
    await flock.publish(Draft(text="a"))
    question = await only(flock)
    giving = asyncio.create_task(flock.answer(question.id, Approval(approved=True)))
    await stuck.wait()
    await flock.shutdown(grace=0)
    with pytest.raises(QuestionClosed, match="opened again"):
        await giving
    async with flock:
        assert await flock.questions() == [question]
        assert len(await flock.answer(question.id, Approval(approved=True))) == 1


# --- forks and replays ---


async def test_a_fork_asks_again_or_takes_the_answer_that_was_given() -> None:
    clock = ManualClock()
    flock = Flock(clock=clock)
    approving(flock, timeout=3600)

    async def publish(approval: Approval) -> Published:
        return Published(text=approval.reason)

    flock.agent("press").consumes(Approval).calls(publish)
    async with flock:
        draft = await flock.publish(Draft(text="a"))
        await clock.settle()
        await flock.answer((await only(flock)).id, Approval(approved=True, reason="ok"))
        await clock.settle()
        workflow = draft.correlation_id
        replay = await flock.replay(workflow)
        [run] = replay.of("approver")
        assert (run.succeeded, run.inputs) == (True, (draft,))

        fork = await flock.fork(workflow)
        assert (fork.waiting, fork.outputs) == (1, ())
        again = await flock.fork(workflow, recorded=True)
        assert again.waiting == 0
        assert [output.payload for output in again.outputs] == [
            {"approved": True, "reason": "ok"},
            {"text": "ok"},
        ]

        def decide(draft: Draft) -> Approval:
            return Approval(approved=False, reason="by rule")

        ruled = await flock.fork(workflow, agents={"approver": decide})
        assert ruled.outputs[-1].payload == {"text": "by rule"}

        unanswered = await flock.publish(Draft(text="b"))
        await clock.settle()
        question = await only(flock)
        fork = await flock.fork(unanswered.correlation_id, recorded=True)
        assert fork.waiting == 1
        assert await flock.questions() == [question]


# --- declaring ---


@pytest.mark.parametrize(
    ("declare", "remedy"),
    [
        (lambda a: a.calls(lambda d: Approval(approved=True)), "calls()"),
        (lambda a: a.with_tools([len_of]), "with_tools()"),
        (lambda a: a.best_of(2), "best_of()"),
        (lambda a: a.with_engines(Engine()), "with_engines()"),
        (lambda a: a.with_mcps([MCPServer.stdio("x", "x")]), "with_mcps()"),
    ],
)
async def test_a_person_and_something_that_computes_contradict_each_other(
    declare: Callable[[AgentBuilder], object], remedy: str
) -> None:
    flock = Flock()
    declare(approving(flock))
    with pytest.raises(DeclarationError) as caught:
        await flock.publish(Draft(text="a"))
    assert "'approver', asks_human" in str(caught.value)
    assert remedy in str(caught.value)


def len_of(text: str) -> int:
    """Return how long a text is."""
    return len(text)


class Engine(EngineComponent):
    async def evaluate(self, agent: Agent, ctx: Context, inputs: EvalInputs, output_group: Any):
        return None


async def test_a_person_has_to_be_told_what_an_answer_is() -> None:
    flock = Flock()
    flock.agent("approver").consumes(Draft).asks_human("Well?")
    with pytest.raises(DeclarationError, match=r"'approver', asks_human.*publishes\(\)"):
        await flock.publish(Draft(text="a"))


async def ask_later(draft: Draft) -> str:
    return draft.text


def ask_twice(draft: Draft) -> Any:
    yield draft.text


@pytest.mark.parametrize("question", ["", "  ", None, 7, ask_later, ask_twice, Draft])
def test_a_question_is_a_text_or_a_plain_function(question: Any) -> None:
    with pytest.raises(DeclarationError, match=r"'approver', asks_human: question"):
        approving(Flock(), question=question)


@pytest.mark.parametrize("timeout", [0, -1, "1h"])
def test_the_time_for_an_answer_is_a_span(timeout: Any) -> None:
    with pytest.raises(DeclarationError, match="'approver', asks_human: timeout"):
        approving(Flock(), timeout=timeout)


async def test_a_question_that_can_never_be_made_is_refused_when_the_board_opens() -> None:
    def ask(note: Note) -> str:
        return note.text

    flock = Flock()
    approving(flock, question=ask)
    with pytest.raises(DeclarationError, match="'approver', asks_human: parameter 'note'"):
        await flock.publish(Draft(text="a"))
