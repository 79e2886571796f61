"""A recorded engine answers as it did, on any board and at any attempt."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from flock import (
    Artifact,
    EngineComponent,
    EngineError,
    EvalResult,
    Flock,
    PrivateVisibility,
    Usage,
    WorkflowError,
)
from flock.testing import Cassette, NotRecorded, RecordedEngine, ScriptedEngine


class Question(BaseModel):
    text: str


class Answer(BaseModel):
    text: str
    number: int = 0


class Counter(EngineComponent):
    """Answers with how often it was asked."""

    def __init__(self) -> None:
        super().__init__(name="counter")
        self.hooks: list[str] = []
        self.asked = 0

    async def on_initialize(self, agent: Any, ctx: Any) -> None:
        self.hooks.append("initialize")

    async def on_pre_evaluate(self, agent: Any, ctx: Any, inputs: Any) -> Any:
        self.hooks.append("pre")
        return inputs

    async def on_post_evaluate(self, agent: Any, ctx: Any, inputs: Any, result: EvalResult) -> Any:
        self.hooks.append("post")
        result.metrics["asked"] = self.asked
        return result

    async def evaluate(self, agent: Any, ctx: Any, inputs: Any, output_group: Any) -> object:
        self.asked += 1
        return [Answer(text=q.text.upper(), number=self.asked) for q in inputs.all_as(Question)]


def board(engine: EngineComponent, name: str = "amy", **options: Any) -> Flock:
    flock = Flock(**options)
    flock.agent(name).consumes(Question).publishes(Answer).with_engines(engine)
    return flock


async def answers(flock: Flock, *questions: str) -> list[Answer]:
    async with flock:
        for text in questions:
            await flock.publish(Question(text=text))
            await flock.run_until_idle(raise_on_error=True)
        return await flock.store.get_by_type(Answer)


async def test_it_is_recorded_once_and_replayed_on_another_board(tmp_path: Path):
    path = tmp_path / "answers.jsonl"
    live = Counter()
    recorded = await answers(board(RecordedEngine(live, path)), "a", "b", "a")
    assert [a.number for a in recorded] == [1, 2, 3]
    assert live.hooks == ["initialize", "pre", "post"] * 3
    silent = Counter()
    assert await answers(board(RecordedEngine(silent, path)), "b", "a", "a") == [
        Answer(text="B", number=2),
        Answer(text="A", number=1),
        Answer(text="A", number=3),
    ]
    assert silent.asked == 0
    assert not silent.hooks


async def test_another_input_agent_or_output_is_another_call(tmp_path: Path):
    path = tmp_path / "answers.jsonl"
    await answers(board(RecordedEngine(Counter(), path)), "a")
    with pytest.raises(ExceptionGroup) as caught:
        await answers(board(RecordedEngine(Counter(), path)), "b")
    [error] = caught.value.exceptions
    assert isinstance(error.__cause__, NotRecorded)
    assert '-    "text": "a"\n+    "text": "b"' in str(error.__cause__)
    with pytest.raises(ExceptionGroup):
        await answers(board(RecordedEngine(Counter(), path), "bob"), "a")
    flock = Flock()
    flock.agent("amy").consumes(Question).publishes(Answer, fan_out=(0, 3)).with_engines(
        RecordedEngine(Counter(), path)
    )
    with pytest.raises(ExceptionGroup):
        await answers(flock, "a")


async def test_a_failed_attempt_is_not_recorded(tmp_path: Path):
    path = tmp_path / "answers.jsonl"

    def retrying(engine: EngineComponent) -> Flock:
        flock = Flock()
        flock.agent("amy").consumes(Question).publishes(Answer).with_engines(engine).retry(
            attempts=2, backoff=0
        )
        return flock

    script = ScriptedEngine([ValueError("busy"), Answer(text="x")])
    recorded = await answers(retrying(RecordedEngine(script, path)), "a")
    assert recorded == [Answer(text="x")]
    assert await answers(board(RecordedEngine(ScriptedEngine([]), path)), "a") == recorded


async def test_the_whole_result_is_kept(tmp_path: Path):
    path = tmp_path / "answers.jsonl"
    secret = PrivateVisibility(agents={"amy"})
    made = Artifact.of(Answer(text="x"), tags={"t"}, visibility=secret, partition_key="p")
    result = EvalResult([made], {"seen": [1]}, {"score": 0.5}, ["line"], ["odd"])
    for engine in (ScriptedEngine([result]), ScriptedEngine([])):
        flock = board(RecordedEngine(engine, path))
        async with flock:
            agent = flock.get_agent("amy")
            got = await agent.evaluate([Artifact.of(Question(text="a"))])
        [artifact] = got.artifacts
        assert (artifact.tags, artifact.visibility, artifact.partition_key) == ({"t"}, secret, "p")
        assert artifact.as_model(Answer) == Answer(text="x")
        assert (got.state, got.metrics, got.logs, got.errors) == (
            {"seen": [1]},
            {"score": 0.5},
            ["line"],
            ["odd"],
        )


async def test_declining_is_an_answer_and_inputs_pass_through(tmp_path: Path):
    path = tmp_path / "answers.jsonl"
    for engine in (ScriptedEngine([None]), ScriptedEngine([])):
        assert await answers(board(RecordedEngine(engine, path)), "a") == []

    class Passing(EngineComponent):
        async def evaluate(self, agent: Any, ctx: Any, inputs: Any, output_group: Any) -> object:
            return EvalResult(artifacts=list(inputs.artifacts))

    path = tmp_path / "passed.jsonl"
    for engine in (Passing(), ScriptedEngine([])):
        assert await answers(board(RecordedEngine(engine, path)), "a") == []


class Streaming(EngineComponent):
    streams = True

    async def stream(
        self, agent: Any, ctx: Any, inputs: Any, output_group: Any
    ) -> AsyncIterator[object]:
        for letter in inputs.first_as(Question).text:
            yield Answer(text=letter)


async def test_a_stream_is_replayed_part_by_part(tmp_path: Path):
    path = tmp_path / "answers.jsonl"

    class Broken(Streaming):
        def stream(self, *args: Any, **kwargs: Any) -> AsyncIterator[object]:
            raise AssertionError("a replay asked the engine")

    for engine in (Streaming(), Broken()):
        flock = Flock()
        flock.agent("amy").consumes(Question).publishes(Answer, fan_out=(0, 9)).with_engines(
            RecordedEngine(engine, path)
        )
        assert [a.text for a in await answers(flock, "abc")] == ["a", "b", "c"]


async def test_a_result_that_json_cannot_carry_is_named(tmp_path: Path):
    flock = board(
        RecordedEngine(ScriptedEngine([EvalResult.with_state({"x": object()})]), tmp_path / "a")
    )
    async with flock:
        await flock.publish(Question(text="a"))
        await flock.run_until_idle()
        [error] = await flock.store.get_by_type(WorkflowError)
    assert "cannot be recorded" in error.error_message


async def test_several_engines_share_a_cassette(tmp_path: Path):
    path = tmp_path / "answers.jsonl"
    for _ in range(2):
        cassette = Cassette(path)
        flock = Flock()
        for name in ("amy", "bob"):
            flock.agent(name).consumes(Question).publishes(Answer).with_engines(
                RecordedEngine(Counter(), cassette)
            )
        assert [a.text for a in await answers(flock, "a")] == ["A", "A"]
    assert len(path.read_text().splitlines()) == 3


async def test_an_engine_error_goes_through(tmp_path: Path):
    flock = board(RecordedEngine(ScriptedEngine([EngineError("no")]), tmp_path / "a"))
    async with flock:
        with pytest.raises(EngineError, match="no"):
            await flock.arun("amy", Question(text="a"))


class Spender(EngineComponent):
    """Charges 10 tokens for the first question, 20 for the second, and so on."""

    def __init__(self) -> None:
        super().__init__(name="spender")
        self.asked = 0

    async def evaluate(self, agent: Any, ctx: Any, inputs: Any, output_group: Any) -> object:
        self.asked += 1
        mine = self.asked
        await asyncio.sleep(0)  # candidates of one run charge at the same time
        await ctx.charge("m", Usage(calls=1, input_tokens=10 * mine, usd=0.5))
        return Answer(text="x", number=mine)


@pytest.mark.parametrize("candidates", [1, 3])
async def test_what_it_charged_is_charged_again(tmp_path: Path, candidates: int):
    path = tmp_path / "answers.jsonl"

    async def spend(engine: EngineComponent, tokens: int) -> tuple[int, int, int]:
        flock = Flock().budget(tokens=tokens)
        agent = flock.agent("amy").consumes(Question).publishes(Answer)
        agent.with_engines(engine).best_of(candidates, score=lambda r: 1)
        async with flock:
            await flock.publish(Question(text="a"))
            report = await flock.run_until_idle()
            total = (await flock.spent()).total
        return report.failed, total.tokens, total.calls

    everything = sum(10 * (n + 1) for n in range(candidates))
    assert await spend(RecordedEngine(Spender(), path), 1000) == (0, everything, candidates)
    recorded = [json.loads(line) for line in path.read_text().splitlines()[1:]]
    tokens = [line["answer"]["usage"]["m"]["input_tokens"] for line in recorded]
    assert sorted(tokens) == [10 * (n + 1) for n in range(candidates)]
    assert await spend(RecordedEngine(Spender(), path), 1000) == (0, everything, candidates)
    assert await spend(RecordedEngine(Spender(), path), 9) == (1, 0, 0)


class Vault(BaseModel):
    text: str = ""
    password: str = ""
    options: dict[str, str] = {}


async def test_nothing_of_a_call_stores_a_secret(tmp_path: Path):
    path = tmp_path / "answers.jsonl"
    key = "sk-proj-abcdefghijklmnopqrstuvwx"
    vault = Vault(password="correct-horse-7", options={key: "a", "api_key": "x9f3c1b7d2e8a640"})
    answer = EvalResult(
        artifacts=[Artifact.of(vault, tags=[key], partition_key=key)],
        state={"seen": key, key: 1},
        logs=[f"asked with {key}"],
        errors=[key],
    )
    flock = Flock()
    agent = flock.agent("amy").consumes(Vault, mode="direct").publishes(Vault)
    agent.with_engines(RecordedEngine(ScriptedEngine([answer]), path))
    async with flock:
        await flock.arun("amy", vault)
    stored = path.read_text()
    assert len(stored.splitlines()) == 2
    for secret in (key, "correct-horse-7", "x9f3c1b7d2e8a640"):
        assert secret not in stored
