"""`semantic_match`: an agent is started by what an artifact is about."""

# Agents are short lambdas here.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import asyncio
import logging
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from flock import (
    Artifact,
    BatchSpec,
    DeclarationError,
    Embedder,
    Flock,
    JoinSpec,
    OrchestratorComponent,
    PrivateVisibility,
    PublishError,
    RunError,
    SemanticMatch,
    WorkflowError,
)
from flock.testing import ManualClock
from tests.acceptance.support import turns
from tests.embedders import Failing, Hanging, WordCounts


class Ticket(BaseModel):
    text: str
    number: int = 0


class Reply(BaseModel):
    text: str


class Labs(BaseModel):
    crp: float


async def published(flock: Flock, *texts: str, **options: Any) -> None:
    async with flock:
        for number, text in enumerate(texts):
            await flock.publish(Ticket(text=text, number=number), **options)
        await flock.run_until_idle(raise_on_error=True)


# --- what starts an agent ---


async def test_an_agent_is_started_by_texts_about_its_query() -> None:
    seen: list[str] = []
    flock = Flock(embedder=WordCounts("billing", "login"))
    flock.agent("cashier").consumes(Ticket, semantic_match="billing").calls(
        lambda ticket: seen.append(ticket.text)
    )
    await published(flock, "billing", "login", "a billing and login thing", "nothing", "billing !")
    assert sorted(seen) == ["a billing and login thing", "billing", "billing !"]


async def test_the_threshold_decides_how_near_is_near_enough() -> None:
    seen: list[tuple[str, str]] = []
    flock = Flock(embedder=WordCounts("x", "y"))
    for name, threshold in (("strict", 1.0), ("even", 0.6), ("above", 0.61)):
        flock.agent(name).consumes(Ticket, semantic_match=SemanticMatch("x", threshold)).calls(
            lambda ticket, name=name: seen.append((name, ticket.text))
        )
    await published(flock, "x x x y y y y", "x")
    assert sorted(seen) == sorted(
        [("even", "x x x y y y y"), ("strict", "x"), ("even", "x"), ("above", "x")]
    )


async def test_of_several_criteria_all_must_hold_and_of_several_queries_one() -> None:
    seen: list[tuple[str, str]] = []
    flock = Flock(embedder=WordCounts("urgent", "billing"))
    declared: list[tuple[str, Any]] = [
        ("all", ["urgent", SemanticMatch("billing", 0.5)]),
        ("any", SemanticMatch(["urgent", "billing"], 0.9)),
    ]
    for name, criteria in declared:
        flock.agent(name).consumes(Ticket, semantic_match=criteria).calls(
            lambda ticket, name=name: seen.append((name, ticket.text))
        )
    await published(flock, "urgent", "billing", "urgent billing")
    assert sorted(seen) == [("all", "urgent billing"), ("any", "billing"), ("any", "urgent")]


async def test_several_subscriptions_are_any_of_them_each_with_its_threshold() -> None:
    seen: list[str] = []
    flock = Flock(embedder=WordCounts("x", "y"))
    (
        flock.agent("reader")
        .consumes(Ticket, semantic_match=SemanticMatch("x", 1.0))
        .consumes(Ticket, semantic_match=SemanticMatch("y", 0.5))
        .calls(lambda ticket: seen.append(ticket.text))
    )
    await published(flock, "x", "y", "x y", "x x x y")
    assert sorted(seen) == ["x", "x y", "y"]  # each once


async def test_named_fields_alone_are_compared() -> None:
    class Letter(BaseModel):
        subject: str
        body: str

    seen: list[str] = []
    flock = Flock(embedder=WordCounts("x", "y"))
    flock.agent("reader").consumes(
        Letter, semantic_match=SemanticMatch("x", 0.9, fields="subject")
    ).calls(lambda letter: seen.append(letter.body))
    async with flock:
        await flock.publish(Letter(subject="x", body="y y y"))
        await flock.publish(Letter(subject="y", body="x x x"))
        await flock.run_until_idle()
    assert seen == ["y y y"]


async def test_it_is_asked_last_and_only_about_what_satisfies_all_else() -> None:
    embedder = WordCounts("x")
    seen: list[str] = []
    flock = Flock(embedder=embedder)
    flock.agent("made up").consumes(Reply).calls(lambda _: Ticket(text="x by an agent"))
    flock.agent("reader").consumes(
        Ticket,
        where=lambda ticket: ticket.number < 10,
        from_agents="external",
        tags="mail",
        semantic_match="x",
    ).calls(lambda ticket: seen.append(ticket.text))
    async with flock:
        await flock.publish(Ticket(text="x untagged"))
        await flock.publish(Ticket(text="x too large", number=10), tags={"mail"})
        private = PrivateVisibility(agents={"somebody"})
        await flock.publish(Ticket(text="x private"), tags={"mail"}, visibility=private)
        await flock.publish(Ticket(text="x silent"), tags={"mail"}, schedule_immediately=False)
        await flock.publish(Reply(text="x another type"))
        await flock.run_until_idle()
        assert embedder.calls == []
        await flock.publish(Ticket(text="x at last"), tags={"mail"})
        await flock.run_until_idle()
    assert embedder.asked == ["x", "x at last"]
    assert seen == ["x at last"]


async def test_a_board_without_such_a_subscription_asks_nobody() -> None:
    embedder = WordCounts("x")
    flock = Flock(embedder=embedder)
    flock.agent("reader").consumes(Ticket).calls(lambda _: None)
    await published(flock, "x", "y")
    assert embedder.calls == []


async def test_what_agents_publish_is_compared_as_well() -> None:
    seen: list[str] = []
    flock = Flock(embedder=WordCounts("yes", "no"))
    flock.agent("writer").consumes(Ticket).publishes(Reply).calls(
        lambda ticket: Reply(text=ticket.text)
    )
    flock.agent("reader").consumes(Reply, semantic_match="yes").calls(
        lambda reply: seen.append(reply.text)
    )
    await published(flock, *["yes", "no"] * 20)
    assert seen == ["yes"] * 20


async def test_a_subscription_declared_on_an_open_board_is_asked_from_then_on() -> None:
    embedder = WordCounts("x")
    seen: list[str] = []
    flock = Flock(embedder=embedder)
    async with flock:
        await flock.publish(Ticket(text="x before"))
        flock.agent("late").consumes(Ticket, semantic_match="x").calls(
            lambda ticket: seen.append(ticket.text)
        )
        await flock.publish(Ticket(text="x after"))
        await flock.run_until_idle()
    assert seen == ["x after"]


async def test_a_component_s_replacement_is_what_is_compared() -> None:
    class Translator(OrchestratorComponent):
        async def on_artifact_published(self, orchestrator: Any, artifact: Artifact) -> Artifact:
            ticket = artifact.as_model(Ticket)
            return artifact.replace(Ticket(text=ticket.text.replace("rechnung", "billing")))

    seen: list[str] = []
    flock = Flock(embedder=WordCounts("billing"))
    flock.add_component(Translator())
    flock.agent("cashier").consumes(Ticket, semantic_match="billing").calls(
        lambda ticket: seen.append(ticket.text)
    )
    await published(flock, "rechnung", "wetter")
    assert seen == ["billing"]


async def test_calling_an_agent_directly_asks_nothing() -> None:
    embedder = WordCounts("x")
    flock = Flock(embedder=embedder)
    flock.agent("reader").consumes(Ticket, semantic_match="x").publishes(Reply).calls(
        lambda ticket: Reply(text=ticket.text)
    )
    async with flock:
        [reply] = await flock.arun("reader", Ticket(text="y"))
    assert reply.payload == {"text": "y"}
    assert embedder.calls == []


async def test_an_artifact_that_is_published_twice_at_once_is_there_once() -> None:
    seen: list[str] = []
    flock = Flock(embedder=WordCounts("x"))
    flock.agent("reader").consumes(Ticket, semantic_match="x").calls(
        lambda ticket: seen.append(ticket.text)
    )
    artifact = Artifact.of(Ticket(text="x"))
    async with flock:
        first, second = await asyncio.gather(flock.publish(artifact), flock.publish(artifact))
        await flock.run_until_idle()
        assert await flock.store.list() == [first]
    assert first == second
    assert seen == ["x"]


# --- gates ---


async def test_each_type_of_an_and_gate_is_compared() -> None:
    seen: list[tuple[str, str]] = []
    flock = Flock(embedder=WordCounts("x", "y"))
    flock.agent("pair").consumes(Ticket, Reply, semantic_match="x").calls(
        lambda ticket, reply: seen.append((ticket.text, reply.text))
    )
    async with flock:
        for text in ("y", "x 1", "x 2"):
            await flock.publish(Ticket(text=text))
        for text in ("y", "y", "x 3"):
            await flock.publish(Reply(text=text))
        report = await flock.run_until_idle()
    assert seen == [("x 1", "x 3")]
    assert report.waiting == 1


async def test_joins_and_batches_gather_only_what_matches() -> None:
    joined: list[tuple[str, str]] = []
    batches: list[list[str]] = []
    flock = Flock(embedder=WordCounts("x", "y"), clock=ManualClock(autojump=True))
    flock.agent("join").consumes(
        Ticket,
        Reply,
        join=JoinSpec(by=lambda model: model.text[-1], within=timedelta(hours=1)),
        semantic_match="x",
    ).calls(lambda ticket, reply: joined.append((ticket.text, reply.text)))
    flock.agent("batch").consumes(
        Ticket, batch=BatchSpec(size=2, timeout=60), semantic_match="x"
    ).calls(lambda tickets: batches.append([ticket.text for ticket in tickets]))
    async with flock:
        await flock.publish_many([Ticket(text=f"{word} {n}") for n in (1, 2, 3) for word in "xy"])
        await flock.publish_many([Reply(text=f"x {n}") for n in (3, 1)])
        await flock.run_until_idle()
    assert sorted(joined) == [("x 1", "x 1"), ("x 3", "x 3")]
    assert sorted(batches) == [["x 1", "x 2"], ["x 3"]]


# --- declaring ---


@pytest.mark.parametrize("given", ["", [], 3, ["x", None], {"query": "x"}])
def test_what_makes_no_sense_is_refused_with_agent_and_word(given: Any) -> None:
    with pytest.raises(DeclarationError, match=r"^agent 'a', consumes: semantic_match: "):
        Flock().agent("a").consumes(Ticket, semantic_match=given)


def test_a_type_without_text_is_refused() -> None:
    with pytest.raises(DeclarationError, match=r"agent 'a', consumes: .*Labs' has no text"):
        Flock().agent("a").consumes(Ticket, Labs, semantic_match="x")


@pytest.mark.parametrize("embedder", [3, "model", WordCounts, object()])
def test_an_embedder_has_to_be_one(embedder: Any) -> None:
    with pytest.raises(DeclarationError, match="embedder takes an Embedder, not"):
        Flock(embedder=embedder)


# --- failing ---


def reading(embedder: Embedder, seen: list[str]) -> Flock:
    flock = Flock(embedder=embedder)
    flock.agent("reader").consumes(Ticket, semantic_match="x").calls(
        lambda ticket: seen.append(ticket.text)
    )
    flock.agent("writer").consumes(Reply).publishes(Ticket).calls(
        lambda reply: Ticket(text=reply.text)
    )
    return flock


async def test_an_embedder_that_raises_refuses_the_publish_and_nothing_is_stored() -> None:
    seen: list[str] = []
    embedder = Failing(ConnectionError("offline"), "x")
    flock = reading(embedder, seen)
    async with flock:
        with pytest.raises(PublishError, match=r"'Failing'.*'reader'.*ConnectionError: offline"):
            await flock.publish(Ticket(text="x"))
        with pytest.raises(PublishError):
            await flock.publish_many([Ticket(text="x 1"), Reply(text="x 2")])
        assert await flock.store.list() == []
        embedder.error = None
        await flock.publish(Ticket(text="x again"))
        await flock.run_until_idle()
    assert seen == ["x again"]


async def test_a_run_whose_outputs_cannot_be_compared_fails_and_can_be_redriven() -> None:
    seen: list[str] = []
    embedder = Failing(ConnectionError("offline"), "x")
    flock = reading(embedder, seen)
    async with flock:
        await flock.publish(Reply(text="x"))
        with pytest.raises(ExceptionGroup) as caught:
            await flock.run_until_idle(raise_on_error=True)
        [error] = caught.value.exceptions
        assert isinstance(error, RunError)
        assert isinstance(error.__cause__, PublishError)
        assert await flock.store.get_by_type(Ticket) == []
        assert len(await flock.store.get_by_type(WorkflowError)) == 1

        embedder.error = None
        [letter] = await flock.dead_letters()
        await flock.redrive(letter.id)
        await flock.run_until_idle(raise_on_error=True)
    assert seen == ["x"]


async def test_a_run_is_tried_again_when_the_embedder_failed() -> None:
    class Once(WordCounts):
        async def embed(self, texts: Any) -> list[list[float]]:
            answer = await super().embed(texts)
            if len(self.calls) == 1:
                raise ConnectionError("offline")
            return answer

    seen: list[str] = []
    flock = Flock(embedder=Once("x"), clock=ManualClock(autojump=True))
    flock.agent("writer").consumes(Reply).publishes(Ticket).retry(2).calls(
        lambda reply: Ticket(text=reply.text)
    )
    flock.agent("reader").consumes(Ticket, semantic_match="x").calls(
        lambda ticket: seen.append(ticket.text)
    )
    async with flock:
        await flock.publish(Reply(text="x"))
        report = await flock.run_until_idle(raise_on_error=True)
    assert seen == ["x"]
    assert report.failed == 0


async def test_a_failure_that_cannot_be_compared_is_logged_and_its_dead_letter_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(_: Reply) -> None:
        raise RuntimeError("broken")

    flock = Flock(embedder=Failing(ConnectionError("offline"), "x"))
    flock.agent("failing").consumes(Reply).calls(fail)
    flock.agent("pager").consumes(WorkflowError, semantic_match="broken").calls(lambda _: None)
    with caplog.at_level(logging.ERROR):
        async with flock:
            await flock.publish(Reply(text="x"))
            report = await flock.run_until_idle()
            assert len(await flock.dead_letters()) == 1
    assert report.dead_letters == 1
    assert "The record of a failure of agent 'failing' was refused" in caplog.text
    assert "ConnectionError: offline" in caplog.text


async def test_a_publish_that_waits_for_the_embedder_can_be_cancelled() -> None:
    seen: list[str] = []
    embedder = Hanging("x")
    flock = reading(embedder, seen)
    async with flock:
        publishing = asyncio.create_task(flock.publish(Ticket(text="x hangs")))
        await embedder.is_asked.wait()
        await flock.publish(Labs(crp=1.0))  # nobody's text: not held up
        publishing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await publishing
        embedder.go.set()
        await flock.publish(Ticket(text="x goes on"))
        await flock.run_until_idle()
        assert [t.text for t in await flock.store.get_by_type(Ticket)] == ["x goes on"]
    assert embedder.cancelled == 1
    assert seen == ["x goes on"]


async def test_a_run_that_waits_for_the_embedder_times_out() -> None:
    embedder = Hanging("x")
    flock = Flock(embedder=embedder)
    flock.agent("reader").consumes(Ticket, semantic_match="x").calls(lambda _: None)
    flock.agent("writer").consumes(Reply).publishes(Ticket).timeout(0.01).calls(
        lambda reply: Ticket(text=reply.text)
    )
    async with flock:
        await flock.publish(Reply(text="x"))
        report = await flock.run_until_idle()
        assert report.failed == 1
        [letter] = await flock.dead_letters()
        assert letter.error_type == "RunTimeout"
    assert embedder.cancelled == 1


async def test_shutting_down_refuses_a_publish_that_waits_and_leaves_a_run_s_inputs_open() -> None:
    seen: list[str] = []
    embedder = Hanging("x")
    flock = reading(embedder, seen)
    async with flock:
        await flock.publish(Reply(text="x by a run"))
        await embedder.is_asked.wait()
        publishing = asyncio.create_task(flock.publish(Ticket(text="x from outside")))
        await turns()
        await flock.shutdown(grace=0.0)
        with pytest.raises(PublishError, match="shut down before it was known who is to get"):
            await publishing
        assert embedder.cancelled == 1
        assert await flock.store.get_by_type(Ticket) == []

        embedder.go.set()
        await flock.run_until_idle()  # opens it again, and the run goes on
    assert seen == ["x by a run"]


async def test_shutting_down_lets_the_embedder_answer_within_the_grace() -> None:
    seen: list[str] = []
    embedder = Hanging("x")
    flock = reading(embedder, seen)
    async with flock:
        publishing = asyncio.create_task(flock.publish(Ticket(text="x")))
        await embedder.is_asked.wait()
        closing = asyncio.create_task(flock.shutdown())
        await turns()
        embedder.go.set()
        await publishing
        await closing
    assert seen == ["x"]


# --- many ---


async def test_2000_artifacts_are_compared_in_batches_while_the_loop_has_turns() -> None:
    embedder = WordCounts("x", "y")
    seen: list[int] = []
    flock = Flock(embedder=embedder)
    flock.agent("reader").consumes(Ticket, semantic_match="x").max_concurrency(1).calls(
        lambda ticket: seen.append(ticket.number)
    )
    had = 0

    async def count_turns() -> None:
        nonlocal had
        while True:
            had += 1
            await asyncio.sleep(0)

    tickets = [Ticket(text=f"{'xy'[n % 2]} number {n}", number=n) for n in range(2000)]
    async with flock:
        counting = asyncio.create_task(count_turns())
        await flock.publish_many(tickets[:1000])
        turns_of_many = had
        await asyncio.gather(*(flock.publish(ticket) for ticket in tickets[1000:]))
        counting.cancel()
        await flock.run_until_idle(raise_on_error=True)
    assert sorted(seen) == list(range(0, 2000, 2))
    assert len(embedder.asked) == 2001  # each text once, and the query
    assert len(embedder.calls) < 2001 / 64 + 10
    assert max(map(len, embedder.calls)) == 64
    assert turns_of_many > 1000 / 64 + 2 * 1000 / 32 - 4
