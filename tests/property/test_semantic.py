"""Subscriptions by meaning against the simplest model of them: order and company do not matter."""

import asyncio
import math
from collections import Counter
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from flock import Artifact, Flock, SemanticMatch
from flock.core.texts import MAX_PASSAGE, passages
from tests.embedders import WordCounts

WORDS = ("x", "y", "z")


class Said(BaseModel):
    text: str


TEXTS = st.lists(st.sampled_from([*WORDS, "other"]), max_size=5).map(" ".join)
CRITERIA = st.builds(
    SemanticMatch,
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=2),
    st.sampled_from([0.3, 0.5, 0.7071, 0.9, 1.0]),
)
AGENTS = st.lists(st.lists(st.lists(CRITERIA, max_size=2), min_size=1, max_size=3), max_size=3)
"""Of each agent its subscriptions, of each subscription its criteria: all of them."""


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    lengths = math.hypot(*a) * math.hypot(*b)
    return round(sum(x * y for x, y in zip(a, b, strict=True)) / lengths, 6) if lengths else 0.0


def is_met(criterion: SemanticMatch, text: str) -> bool:
    if not text:
        return False
    vector = WordCounts(*WORDS).vector
    near = [cosine(vector(query), vector(text)) for query in criterion.queries]
    return max(near) >= criterion.threshold


Got = Counter[tuple[int, str]]


async def got(agents: list[list[list[SemanticMatch]]], groups: list[list[BaseModel]]) -> Got:
    """Publish groups, each group at once; return which agent got which text, and how often."""
    flock = Flock(embedder=WordCounts(*WORDS))
    seen: Got = Counter()

    def declare(number: int, subscriptions: list[list[SemanticMatch]]) -> None:
        async def note(said: Said) -> None:
            seen[number, said.text] += 1

        builder = flock.agent(f"agent {number}").calls(note)
        for criteria in subscriptions:
            builder.consumes(Said, semantic_match=criteria or None)

    for number, subscriptions in enumerate(agents):
        declare(number, subscriptions)
    async with flock:
        for group in groups:
            await asyncio.gather(*map(flock.publish, group))
        await flock.run_until_idle(raise_on_error=True)
        stored: list[Artifact] = await flock.store.list()
    assert len(stored) == sum(map(len, groups))
    return seen


@settings(max_examples=60)
@given(agents=AGENTS, texts=st.lists(TEXTS, max_size=12), data=st.data())
def test_who_gets_what_depends_neither_on_order_nor_on_what_is_published_beside_it(
    agents: list[list[list[SemanticMatch]]], texts: list[str], data: st.DataObject
) -> None:
    expected: Got = Counter(
        (number, text)
        for number, subscriptions in enumerate(agents)
        for text in texts
        if any(all(is_met(c, text) for c in criteria) for criteria in subscriptions)
    )
    models: list[BaseModel] = [Said(text=text) for text in texts]
    assert asyncio.run(got(agents, [models])) == expected
    shuffled = data.draw(st.permutations(models))
    alone: list[list[BaseModel]] = [[model] for model in shuffled]
    assert asyncio.run(got(agents, alone)) == expected


@given(st.text(max_size=4000))
def test_no_text_is_lost_between_passages(text: str) -> None:
    found, rest = passages(Said(text=text), None)
    assert rest == 0
    assert all(0 < len(passage) <= MAX_PASSAGE for passage in found)
    assert "".join("".join(found).split()) == "".join(text.split())
