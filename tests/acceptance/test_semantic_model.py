"""Subscriptions by meaning with the real model that the extra `semantic` brings along, offline."""

# Agents are short lambdas here.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import asyncio
import re
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from pydantic import BaseModel

from flock import Flock, OnnxEmbedder
from flock.core.semantic import DEFAULT_THRESHOLD, similarity

PAGE = Path(__file__).parents[2] / "docs" / "semantic.md"

TOPICS = {
    "urgent billing problem": [
        "I was charged twice this month and need my money back today!",
        "Our invoice is wrong and our account will be suspended tomorrow, please help now.",
        "Payment failed three times and my customers cannot check out, this is critical.",
        "You billed the wrong card, fix this immediately.",
    ],
    "a customer wants a refund": [
        "Please send my money back, the shoes do not fit.",
        "I would like to return this and be reimbursed.",
        "How do I get a refund for my order?",
        "The item arrived broken. I want my money back.",
    ],
    "login or password trouble": [
        "I cannot sign in, it says my password is wrong.",
        "The reset link never arrives in my inbox.",
        "Two-factor code is rejected every time I log in.",
        "My account is locked after too many attempts.",
    ],
    "security vulnerability": [
        "SQL injection is possible through the search parameter.",
        "An attacker can read any file by using ../ in the path.",
        "The session cookie is sent without the secure flag.",
        "User input is passed to eval without checks.",
    ],
    "shipping delay": [
        "Where is my parcel? It should have been here on Monday.",
        "The package has been stuck in customs for two weeks.",
        "My delivery is late again.",
        "Tracking has not been updated for five days.",
    ],
    "feature request": [
        "It would be great if you could add a dark mode.",
        "Please support export to CSV.",
        "Could the app remember my last search?",
        "I wish I could sort the list by date.",
    ],
    "praise for the product": [
        "I love this app, it saves me hours every week.",
        "Great service, thank you so much!",
        "Best purchase I have made this year.",
        "Your team did a wonderful job.",
    ],
    "patient with chest pain": [
        "A 54-year-old man has had pressure behind the sternum for two hours.",
        "She reports sharp pain in the chest when breathing in.",
        "Patient complains of thoracic pain radiating to the left arm.",
        "Angina on exertion, relieved by rest.",
    ],
    "weather forecast": [
        "It will rain in the north tomorrow, with wind up to 60 km/h.",
        "Sunny and 25 degrees at the weekend.",
        "Snow is expected above 800 metres tonight.",
        "A storm will reach the coast by Friday.",
    ],
    "database performance": [
        "The query takes 40 seconds since the index was dropped.",
        "Postgres uses all CPU when the report runs.",
        "We see many locks and slow transactions at night.",
        "Adding an index made the join ten times faster.",
    ],
}
"""Ten queries, and four texts about each that mostly avoid its words."""


class Ticket(BaseModel):
    text: str
    number: int = 0


async def measured() -> dict[tuple[str, str], float]:
    """The similarity of every query with every text."""
    texts = [text for about in TOPICS.values() for text in about]
    async with OnnxEmbedder() as embedder:
        vectors = await embedder.embed([*TOPICS, *texts])
    queries, rest = vectors[: len(TOPICS)], vectors[len(TOPICS) :]
    return {
        (query, text): similarity(a, b)
        for query, a in zip(TOPICS, queries, strict=True)
        for text, b in zip(texts, rest, strict=True)
    }


def passing(scores: dict[tuple[str, str], float], threshold: float) -> tuple[int, int]:
    """How many related and how many unrelated pairs reach a threshold."""
    reached = [pair for pair, score in scores.items() if score >= threshold]
    related = sum(text in TOPICS[query] for query, text in reached)
    return related, len(reached) - related


async def test_the_first_example_works_without_any_setting() -> None:
    seen: list[str] = []
    flock = Flock()
    flock.agent("cashier").consumes(Ticket, semantic_match="urgent billing problem").calls(
        lambda ticket: seen.append(ticket.text)
    )
    async with flock:
        for texts in TOPICS.values():
            await flock.publish_many([Ticket(text=text) for text in texts])
        await flock.run_until_idle(raise_on_error=True)
    assert set(TOPICS["urgent billing problem"]) <= set(seen)
    assert len(seen) <= 6  # of forty; the others are about refunds


async def test_the_default_threshold_is_where_related_and_unrelated_are_told_apart_best() -> None:
    scores = await measured()
    quality: dict[float, float] = {}
    for threshold in (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5):
        related, unrelated = passing(scores, threshold)
        quality[threshold] = 2 * related / (40 + related + unrelated)  # F1
    assert max(quality, key=lambda threshold: quality[threshold]) == DEFAULT_THRESHOLD


async def test_the_figures_of_the_page_are_those_of_the_model() -> None:
    scores = await measured()
    page = PAGE.read_text()
    rows = re.findall(r"^\| `(.+?)` \| (.+?) \| (-?\d\.\d\d) \|$", page, re.MULTILINE)
    assert len(rows) >= 8
    for query, text, figure in rows:
        assert scores[query, text] == pytest.approx(float(figure), abs=0.011), (query, text)
    rows = re.findall(r"^\| (0\.\d\d) \| (\d+) of 40 \| (\d+) of 360 \|$", page, re.MULTILINE)
    assert len(rows) == 5
    for threshold, related, unrelated in rows:
        found = passing(scores, float(threshold))
        assert found == pytest.approx((int(related), int(unrelated)), abs=1)


async def test_2000_artifacts_are_compared_while_the_event_loop_goes_on() -> None:
    class Watched(OnnxEmbedder):
        """Notes how many turns the event loop had during each call."""

        had = 0

        def __init__(self) -> None:
            super().__init__()
            self.turns: list[int] = []

        async def embed(self, texts: Sequence[str]) -> list[list[float]]:
            before = self.had
            answer = await super().embed(texts)
            self.turns.append(self.had - before)
            return answer

    seen: list[int] = []
    texts = [text for about in TOPICS.values() for text in about]
    async with Watched() as embedder:
        flock = Flock(embedder=embedder)
        flock.agent("cashier").consumes(Ticket, semantic_match="urgent billing problem").calls(
            lambda ticket: seen.append(ticket.number)
        )

        async def count_turns() -> None:
            while True:
                embedder.had += 1
                await asyncio.sleep(0)

        tickets = [
            Ticket(text=f"{texts[number % 40]} ({number % 160})", number=number)
            for number in range(2000)
        ]
        async with flock:
            counting = asyncio.create_task(count_turns())
            await flock.publish_many(tickets[:1000])
            await asyncio.gather(*(flock.publish(ticket) for ticket in tickets[1000:]))
            counting.cancel()
            await flock.run_until_idle(raise_on_error=True)
    assert {0, 1, 2, 3} <= {number % 40 for number in seen}
    matching = {number % 160 for number in seen}
    assert sorted(seen) == [number for number in range(2000) if number % 160 in matching]
    assert len(embedder.turns) <= 161 / 64 + 2  # 160 different texts and the query
    assert min(embedder.turns) > 20


async def test_closing_the_board_lets_the_model_and_its_thread_go() -> None:
    before = set(threading.enumerate())
    flock = Flock()
    flock.agent("cashier").consumes(Ticket, semantic_match="billing").calls(lambda _: None)
    own: OnnxEmbedder | None = None
    for _ in range(2):
        async with flock:
            await flock.publish(Ticket(text="an invoice"))
            await flock.run_until_idle(raise_on_error=True)
            own = flock._parts.embeddings._own
            assert own is not None
            assert own.is_loaded
        assert not own.is_loaded
        assert set(threading.enumerate()) == before


async def test_an_embedder_that_was_given_stays_open_for_other_boards() -> None:
    async with OnnxEmbedder() as embedder:
        for _ in range(2):
            flock = Flock(embedder=embedder)
            flock.agent("cashier").consumes(Ticket, semantic_match="billing").calls(lambda _: None)
            async with flock:
                await flock.publish(Ticket(text="an invoice"))
            assert embedder.is_loaded
    assert not embedder.is_loaded
