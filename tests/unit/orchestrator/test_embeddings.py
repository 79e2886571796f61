"""The embedder is asked in batches, its answers are remembered, and its failures are told."""

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import pytest
from pydantic import BaseModel

from flock.core.semantic import Embedder, SemanticMatch
from flock.errors import EngineError, PublishError
from flock.orchestrator import embeddings as module
from flock.orchestrator.embeddings import CACHE_SIZE, MAX_BATCH, Embeddings
from flock.orchestrator.lifecycle_manager import LifecycleManager
from flock.orchestrator.matcher import Candidate, Matcher
from tests.embedders import Failing, Hanging, WordCounts
from tests.unit.support import agent_of, artifact, subscription, turns


class Note(BaseModel):
    text: str = ""
    more: str = ""


X = SemanticMatch("x", 0.5)


@asynccontextmanager
async def serving(embedder: Embedder) -> AsyncGenerator[Embeddings]:
    lifecycle = LifecycleManager()
    await lifecycle.start()
    made = Embeddings(embedder, lifecycle.spawn, nullcontext)
    try:
        yield made
    finally:
        made.stop()
        await lifecycle.shutdown()
        await made.close()
    assert lifecycle.spawned() == []


def candidates(*texts: str, criteria: Sequence[SemanticMatch] = (X,)) -> list[list[Candidate]]:
    """What `sift` says about notes of these texts."""
    matcher = Matcher([agent_of(subscription(Note, semantic=tuple(criteria)), name="reader")])
    return [matcher.sift(artifact(Note(text=text)), None) for text in texts]


def numbered(count: int, start: int = 0) -> list[str]:
    return [f"text {number}" for number in range(start, start + count)]


# --- scores ---


async def test_a_score_is_the_cosine_between_text_and_query() -> None:
    async with serving(WordCounts("x", "y")) as embeddings:
        scores = await embeddings.scores(candidates("x", "y", "x y", "x x x y y y y", "z"))
    assert [score[X] for score in scores] == [1.0, 0.0, 0.707107, 0.6, 0.0]


async def test_the_nearest_query_and_the_nearest_passage_count() -> None:
    either = SemanticMatch(["x", "y"])
    long = "y " + "z" * 495 + " " + "x " * 10
    async with serving(WordCounts("x", "y")) as embeddings:
        [scores] = await embeddings.scores(candidates(long, criteria=[either, X]))
    assert scores == {either: 1.0, X: 1.0}


async def test_each_criterion_looks_at_its_own_fields() -> None:
    text, more = SemanticMatch("x", fields="text"), SemanticMatch("x", fields="more")
    both = SemanticMatch("x")
    agent = agent_of(subscription(Note, semantic=(text, more, both)))
    sifted = Matcher([agent]).sift(artifact(Note(text="x", more="y")), None)
    async with serving(WordCounts("x", "y")) as embeddings:
        [scores] = await embeddings.scores([sifted])
    assert scores == {text: 1.0, more: 0.0, both: 0.707107}


async def test_without_text_every_criterion_is_out_of_reach_and_nobody_is_asked() -> None:
    embedder = WordCounts("x")
    async with serving(embedder) as embeddings:
        assert await embeddings.scores(candidates("", "  ")) == [{X: -1.0}, {X: -1.0}]
    assert embedder.calls == []


async def test_text_that_is_left_out_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(WordCounts("x")) as embeddings:
        await embeddings.scores(candidates("x" * 32_009))
    assert "semantic_match of agent 'reader' compares the first 32000 characters" in caplog.text
    assert "leaves out 9" in caplog.text


async def test_what_was_measured_can_be_seen_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG, module.__name__):
        async with serving(WordCounts("x", "y")) as embeddings:
            await embeddings.scores(candidates("x y"))
    assert "agent=reader" in caplog.text
    assert "similarity=0.707, threshold=0.5" in caplog.text


# --- batches ---


async def test_those_who_ask_at_once_share_a_call() -> None:
    embedder = WordCounts("x")
    async with serving(embedder) as embeddings, asyncio.TaskGroup() as group:
        for text in numbered(20):
            group.create_task(embeddings.scores(candidates(text)))
    assert embedder.calls == [["x", *numbered(20)]]


async def test_those_who_ask_during_a_call_share_the_next_one() -> None:
    embedder = Hanging("x")
    async with serving(embedder) as embeddings, asyncio.TaskGroup() as group:
        group.create_task(embeddings.vectors(["first"]))
        await embedder.is_asked.wait()
        for text in ("second", "third", "first"):
            group.create_task(embeddings.vectors([text]))
        await turns()
        embedder.go.set()
    assert embedder.calls == [["first"], ["second", "third"]]


async def test_a_call_has_a_bounded_number_of_texts() -> None:
    embedder = WordCounts("text")
    async with serving(embedder) as embeddings:
        vectors = await embeddings.vectors(numbered(3 * MAX_BATCH + 1))
    assert [len(call) for call in embedder.calls] == [MAX_BATCH, MAX_BATCH, MAX_BATCH, 1]
    assert embedder.asked == numbered(3 * MAX_BATCH + 1)
    assert list(vectors) == embedder.asked


async def test_many_texts_of_one_do_not_keep_others_waiting_to_their_end() -> None:
    embedder = Hanging("x")
    async with serving(embedder) as embeddings:
        many = asyncio.create_task(embeddings.vectors(numbered(10 * MAX_BATCH)))
        await embedder.is_asked.wait()
        one = asyncio.create_task(embeddings.vectors(["one"]))
        await turns()
        embedder.go.set()
        await one
        assert not many.done()
        assert len(embedder.calls) <= 3
        await many


async def test_a_text_is_asked_for_once() -> None:
    embedder = WordCounts("x")
    async with serving(embedder) as embeddings:
        await embeddings.scores(candidates("x y", "x y", "z"))
        await embeddings.scores(candidates("z", "x y"))
    assert embedder.calls == [["x", "x y", "z"]]


async def test_what_is_remembered_is_bounded_and_the_oldest_goes() -> None:
    embedder = WordCounts("text")
    async with serving(embedder) as embeddings:
        await embeddings.vectors(numbered(CACHE_SIZE))
        await embeddings.vectors(["text 0"])  # used again: now the newest
        await embeddings.vectors(["one more"])
        assert len(embeddings._known) == CACHE_SIZE
        embedder.calls.clear()
        await embeddings.vectors(["text 0", "text 2", "one more"])
        assert embedder.calls == []
        await embeddings.vectors(["text 1"])
        assert embedder.calls == [["text 1"]]
        await embeddings.vectors(numbered(3 * CACHE_SIZE, start=10 * CACHE_SIZE))
        assert len(embeddings._known) == CACHE_SIZE


async def test_more_texts_at_once_than_are_remembered_are_all_answered() -> None:
    async with serving(WordCounts("text")) as embeddings:
        assert len(await embeddings.vectors(numbered(CACHE_SIZE + 100))) == CACHE_SIZE + 100


# --- failures ---


async def test_a_failure_refuses_and_names_embedder_agent_and_type() -> None:
    async with serving(Failing(ConnectionError("offline"), "x")) as embeddings:
        with pytest.raises(PublishError) as caught:
            await embeddings.scores(candidates("x"))
    said = str(caught.value)
    assert said.startswith("nothing was stored, since the embedder 'Failing' cannot say whether")
    assert "'reader' is to get a 'tests.unit.orchestrator.test_embeddings.Note'" in said
    assert "ConnectionError: offline" in said
    assert isinstance(caught.value.__cause__, ConnectionError)


async def test_a_failure_is_not_remembered() -> None:
    embedder = Failing(ConnectionError("offline"), "x")
    async with serving(embedder) as embeddings:
        with pytest.raises(PublishError):
            await embeddings.scores(candidates("x"))
        embedder.error = None
        assert await embeddings.scores(candidates("x")) == [{X: 1.0}]


async def test_a_text_that_the_embedder_cannot_take_fails_nobody_else() -> None:
    embedder = Failing(ValueError("too odd"), "x", poison="odd")
    async with serving(embedder) as embeddings:
        asking = [embeddings.scores(candidates(text)) for text in ("x", "odd", "x y")]
        first, odd, last = await asyncio.gather(*asking, return_exceptions=True)
        assert first == [{X: 1.0}]
        assert isinstance(odd, PublishError)
        assert last == [{X: 1.0}]
    assert len(embedder.calls) == 4


async def test_a_text_that_hangs_after_a_failure_holds_up_only_who_waits_for_it() -> None:
    class Odd(Hanging):
        async def embed(self, texts: Sequence[str]) -> list[list[float]]:
            if texts == ["odd"]:
                return await super().embed(texts)  # hangs
            if "odd" in texts:
                raise ValueError("too odd")
            return await WordCounts.embed(self, texts)

    embedder = Odd("x")
    async with serving(embedder) as embeddings:
        odd, *others = [
            asyncio.create_task(embeddings.vectors([text])) for text in ("odd", "x", "y")
        ]
        await embedder.is_asked.wait()
        late = asyncio.create_task(embeddings.vectors(["late"]))
        await turns()
        assert not any(task.done() for task in (*others, late))
        odd.cancel()
        assert [list(await task) for task in (*others, late)] == [["x"], ["y"], ["late"]]
    assert embedder.cancelled == 1
    assert embedder.calls == [["x"], ["y"], ["late"]]


WRONG: list[tuple[Any, str]] = [
    ([[1.0]], "returned 1 vectors for 2 texts"),
    ([[1.0], [1.0], [1.0]], "returned 3 vectors for 2 texts"),
    ([], "returned 0 vectors"),
    ([[1.0, 2.0], [1.0]], r"different lengths: \[1, 2\]"),
    ([[], []], "a vector of 0 numbers"),
    ([[math.nan], [1.0]], "not all finite"),
    ([["a"], ["b"]], "ValueError"),
    ([None, None], "TypeError"),
    (None, "TypeError"),
    (3, "TypeError"),
]


@pytest.mark.parametrize(("answer", "reason"), WRONG)
async def test_a_wrong_answer_is_a_failure(answer: Any, reason: str) -> None:
    class Wrong:
        async def embed(self, texts: Sequence[str]) -> Any:
            return answer

    async with serving(Wrong()) as embeddings:
        with pytest.raises(PublishError, match=reason):
            await embeddings.scores(candidates("y"))
        assert not embeddings._known


async def test_a_vector_of_another_length_than_before_is_a_failure() -> None:
    class Growing:
        length = 1

        async def embed(self, texts: Sequence[str]) -> list[list[float]]:
            self.length += 1
            return [[1.0] * self.length for _ in texts]

    async with serving(Growing()) as embeddings:
        await embeddings.vectors(["a"])
        with pytest.raises(ValueError, match=r"different lengths: \[2, 3\]"):
            await embeddings.vectors(["b"])


@pytest.mark.parametrize("error", [asyncio.CancelledError(), SystemExit(3), GeneratorExit()])
async def test_an_embedder_ends_neither_the_task_nor_the_process(error: BaseException) -> None:
    async with serving(Failing(error, "x")) as embeddings:
        with pytest.raises(PublishError) as caught:
            await embeddings.scores(candidates("x"))
    assert isinstance(caught.value.__cause__, EngineError)


# --- cancelling and closing ---


async def test_a_call_that_nobody_waits_for_is_cancelled_and_the_next_one_made() -> None:
    embedder = Hanging("x")
    async with serving(embedder) as embeddings:
        given_up = [asyncio.create_task(embeddings.vectors([text])) for text in ("a", "b")]
        await embedder.is_asked.wait()
        waiting = asyncio.create_task(embeddings.vectors(["c"]))
        await turns()
        given_up[0].cancel()
        await turns()
        assert embedder.cancelled == 0  # the other one waits
        given_up[1].cancel()
        await turns()
        assert embedder.cancelled == 1
        embedder.go.set()
        assert list(await waiting) == ["c"]
    assert embedder.calls == [["c"]]
    assert all(task.cancelled() for task in given_up)


async def test_who_gives_up_before_it_is_their_turn_is_not_asked_for() -> None:
    embedder = Hanging("x")
    async with serving(embedder) as embeddings:
        first = asyncio.create_task(embeddings.vectors(["a"]))
        await embedder.is_asked.wait()
        second = asyncio.create_task(embeddings.vectors(["b"]))
        await turns()
        second.cancel()
        await turns()
        embedder.go.set()
        await first
        await turns()
    assert embedder.calls == [["a"]]
    assert embedder.cancelled == 0


async def test_closing_refuses_who_waits_and_who_comes() -> None:
    embedder = Hanging("x")
    async with serving(embedder) as embeddings:
        asked = asyncio.create_task(embeddings.scores(candidates("a")))
        await embedder.is_asked.wait()
        waiting = asyncio.create_task(embeddings.scores(candidates("b")))
        await turns()
        embeddings.stop()
        for refused in (asked, waiting, embeddings.scores(candidates("c"))):
            with pytest.raises(PublishError, match="the board was shut down before it was known"):
                await refused
    assert embedder.cancelled == 1


async def test_nothing_is_left_running_when_nobody_waits() -> None:
    spawned: list[Coroutine[Any, Any, None]] = []
    tasks: list[asyncio.Task[None]] = []

    def spawn(work: Coroutine[Any, Any, None], what: str) -> None:
        spawned.append(work)
        tasks.append(asyncio.create_task(work, name=what))

    embeddings = Embeddings(WordCounts("x"), spawn, nullcontext)
    for text in ("a", "b"):
        await embeddings.vectors([text])
        await turns()
    assert len(tasks) == 2
    assert all(task.done() for task in tasks)


async def test_the_clock_stands_still_while_the_embedder_works() -> None:
    inside: list[str] = []

    class Working:
        def __enter__(self) -> None:
            inside.append("begin")

        def __exit__(self, *error: object) -> None:
            inside.append("end")

    lifecycle = LifecycleManager()
    await lifecycle.start()
    working: Callable[[], Any] = Working
    embeddings = Embeddings(WordCounts("x"), lifecycle.spawn, working)
    await embeddings.vectors(["a"])
    assert inside == ["begin", "end"]
    await lifecycle.shutdown()
