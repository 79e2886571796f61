"""A server that misbehaves: what is tried again, what is repaired, what is an error by name."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import traceback
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from pydantic import BaseModel, Field, SecretStr

from flock import (
    Backoff,
    ContextOverflow,
    DSPyEngine,
    EngineError,
    Flock,
    ModelCalled,
    ModelRefused,
    ModelUnavailable,
    PartialOutput,
    Patience,
    RateLimited,
    RunEmitted,
    RunTimeout,
    Token,
)
from flock.testing import ManualClock
from tests.integration.engines.chat_server import (
    Act,
    ChatServer,
    Exchange,
    cutting,
    dropping,
    ending_early,
    failing,
    good,
    hanging,
    saying,
)
from tests.integration.engines.schemas import Asked, Discriminated

KEY = "sk-a-key-that-nobody-may-see"
STEADY = Patience(attempts=4, backoff=Backoff(initial=10, factor=2, jitter=False))


class Verdict(BaseModel):
    """What is thought of something."""

    text: str = Field(min_length=3)
    grade: int = Field(ge=1, le=6, description="1 is best")


GOOD = json.dumps({"verdict": {"text": "fine", "grade": 2}})


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[ChatServer]:
    for name in ("OPENAI_API_KEY", "OPENAI_API_BASE", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    async with ChatServer(Verdict, Discriminated) as chat_server:
        yield chat_server


def board_on(server: ChatServer, clock: ManualClock | None = None, **options: Any) -> Flock:
    options.setdefault("patience", STEADY)
    board = Flock(clock=clock or ManualClock(autojump=True))
    engine = DSPyEngine("openai/any", api_base=server.url, **options)
    board.agent("judge").consumes(Asked).publishes(Verdict).with_engines(engine)
    return board


async def judged(board: Flock) -> Verdict:
    async with board:
        [artifact] = await board.arun("judge", Asked())
        return artifact.as_model(Verdict)


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def listened(request: pytest.FixtureRequest) -> bool:
    return request.param


async def asked(board: Flock, *, listened: bool) -> tuple[Verdict, list[object]]:
    """Return the answer and what was emitted, with or without anybody listening."""
    events = board.events() if listened else None
    verdict = await judged(board)
    return verdict, await deltas(events)


async def deltas(events: Any) -> list[object]:
    found: list[object] = []
    if events is not None:
        found.extend([event.delta async for event in events if isinstance(event, RunEmitted)])
    return found


# --- busy and ailing ---


async def test_retry_after_is_waited_for_on_the_boards_clock(
    server: ChatServer, listened: bool
) -> None:
    server.acts = [failing(429, "slow down", headers={"retry-after": "120"})]
    clock = ManualClock(autojump=True)
    start = clock.time()
    verdict, _ = await asked(board_on(server, clock), listened=listened)
    assert verdict.grade == 1
    assert 120 <= clock.time() - start <= 120 * 1.1
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "act",
    [failing(500), failing(502), failing(503), failing(504), failing(408), dropping],
    ids=["500", "502", "503", "504", "408", "dropped"],
)
async def test_a_transient_failure_is_tried_again_with_back_off(
    server: ChatServer, listened: bool, act: Act
) -> None:
    server.acts = [act, act]
    clock = ManualClock(autojump=True)
    start = clock.time()
    verdict, _ = await asked(board_on(server, clock), listened=listened)
    assert verdict.grade == 1
    assert clock.time() - start == 10 + 20


async def test_a_status_of_a_timeout_is_named(server: ChatServer) -> None:
    server.acts = [failing(504, "upstream took too long")]
    with pytest.raises(ModelUnavailable, match=r"not available \(status 504\): upstream took"):
        await judged(board_on(server, patience=Patience(attempts=1)))


async def test_names_of_models_may_hold_slashes(server: ChatServer) -> None:
    board = Flock()
    engine = DSPyEngine("openai/Qwen/Qwen3-8B", api_base=server.url)
    board.agent("judge").consumes(Asked).publishes(Verdict).with_engines(engine)
    await judged(board)
    assert server.requests[0]["model"] == "Qwen/Qwen3-8B"


async def test_a_503_says_how_long_to_wait_too(server: ChatServer) -> None:
    server.acts = [failing(503, headers={"retry-after": "7"})]
    clock = ManualClock(autojump=True)
    start = clock.time()
    await judged(board_on(server, clock))
    assert 7 <= clock.time() - start <= 7.7


@pytest.mark.parametrize("act", [cutting, ending_early])
async def test_a_cut_stream_is_no_answer_and_is_tried_again(server: ChatServer, act: Act) -> None:
    server.acts = [act]
    verdict, emitted = await asked(board_on(server), listened=True)
    assert verdict.grade == 1
    assert len(server.requests) == 2
    assert {delta.call for delta in emitted if isinstance(delta, Token)} == {0, 1}
    assert [delta.call for delta in emitted if isinstance(delta, ModelCalled)] == [1]


async def test_a_read_timeout_is_tried_again(server: ChatServer, listened: bool) -> None:
    server.acts = [hanging]
    board = board_on(server, lm_kwargs={"timeout": 0.2})
    verdict, _ = await asked(board, listened=listened)
    assert verdict.grade == 1


@pytest.mark.parametrize(
    ("act", "error"),
    [
        (failing(429, "slow down"), RateLimited),
        (failing(500, "out of order"), ModelUnavailable),
        (dropping, ModelUnavailable),
    ],
    ids=["429", "500", "dropped"],
)
async def test_patience_ends_with_the_named_error(
    server: ChatServer, act: Act, error: type[EngineError]
) -> None:
    server.acts = [act] * 4
    with pytest.raises(error, match=r"model 'openai/any'.*asked 4 times"):
        await judged(board_on(server))
    assert len(server.requests) == 4


async def test_a_wait_that_is_too_long_fails_at_once(server: ChatServer) -> None:
    server.acts = [failing(429, "come back tomorrow", headers={"retry-after": "86400"})]
    with pytest.raises(RateLimited, match="86400 s is longer than 300 s") as failure:
        await judged(board_on(server))
    assert failure.value.retry_after == 86400
    assert len(server.requests) == 1


async def test_what_is_no_answer_of_the_protocol_is_tried_again(
    server: ChatServer, listened: bool
) -> None:
    async def page(exchange: Exchange) -> None:
        await exchange.reply(200, b"<html>Please log in to the network</html>")

    server.acts = [page]
    verdict, _ = await asked(board_on(server), listened=listened)
    assert verdict.grade == 1


async def test_nobody_at_the_address_is_named(server: ChatServer) -> None:
    url = server.url
    await server.__aexit__()
    board = Flock(clock=ManualClock(autojump=True))
    engine = DSPyEngine("openai/any", api_base=url, patience=STEADY)
    board.agent("judge").consumes(Asked).publishes(Verdict).with_engines(engine)
    with pytest.raises(ModelUnavailable, match="'openai/any' is not available"):
        await judged(board)
    server._server = None
    await server.__aenter__()


async def test_the_agents_timeout_ends_a_request_that_hangs(server: ChatServer) -> None:
    server.acts = [hanging]
    board = Flock()
    engine = DSPyEngine("openai/any", api_base=server.url)
    board.agent("judge").consumes(Asked).publishes(Verdict).with_engines(engine).timeout(0.3)
    with pytest.raises(RunTimeout):
        await judged(board)
    gc.collect()


# --- what is not tried again ---


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("This model's maximum context length is 8192 tokens", "context_length_exceeded"),
        ("This model's maximum context length is 4096 tokens. However, you requested", None),
        ("the request exceeds the available context size, try increasing it", None),
        ("prompt is too long: 200000 tokens > 199999 maximum", None),
    ],
    ids=["openai", "vllm", "llama.cpp", "anthropic"],
)
async def test_a_prompt_that_is_too_long_is_named(
    server: ChatServer, listened: bool, message: str, code: str | None
) -> None:
    server.acts = [failing(400, message, code=code)]
    with pytest.raises(ContextOverflow, match="too long for model 'openai/any'"):
        await asked(board_on(server), listened=listened)
    assert len(server.requests) == 1


async def test_a_refusal_is_named_and_not_repaired(server: ChatServer) -> None:
    server.acts = [saying("", refusal="I cannot help with that.")]
    with pytest.raises(ModelRefused, match=r"agent 'judge'.*I cannot help with that"):
        await judged(board_on(server))
    assert len(server.requests) == 1


async def test_a_streamed_refusal_is_named_too(server: ChatServer) -> None:
    refusing = saying("", refusal="I cannot help with that.")
    server.acts = [refusing, refusing]
    with pytest.raises(ModelRefused, match="I cannot help with that"):
        await asked(board_on(server), listened=True)


async def test_a_filtered_answer_is_a_refusal(server: ChatServer, listened: bool) -> None:
    server.acts = [saying("", finish="content_filter")]
    with pytest.raises(ModelRefused):
        await asked(board_on(server), listened=listened)


async def test_a_filtered_request_is_a_refusal(server: ChatServer) -> None:
    server.acts = [failing(400, "blocked by the content policy", code="content_policy_violation")]
    with pytest.raises(ModelRefused, match="blocked by the content policy"):
        await judged(board_on(server))


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (failing(401, "Incorrect API key provided"), "without a valid key"),
        (failing(404, "The model does not exist"), "not found at its provider"),
        (failing(400, "top_p must be below 1"), "refused the request"),
        (failing(402, "no credit left"), "quota"),
    ],
    ids=["401", "404", "400", "402"],
)
async def test_what_asking_again_cannot_cure_fails_at_once(
    server: ChatServer, act: Act, words: str
) -> None:
    server.acts = [act]
    with pytest.raises(EngineError, match=words) as failure:
        await judged(board_on(server))
    assert not isinstance(failure.value, RateLimited | ModelUnavailable)
    assert len(server.requests) == 1


# --- repair ---


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("I would say it is fine.", "Invalid JSON"),
        ('{"verdict": {"text": "fine"', "Invalid JSON"),
        ("", "Invalid JSON"),
        ('{"verdict": {"text": "fine"}}', "verdict.grade: Field required"),
        ('{"verdict": {"text": "x", "grade": 9}}', "verdict.text: String should have at least 3"),
        ('{"verdict": {"text": "x", "grade": 9}}', "verdict.grade: Input should be less than or"),
        ('{"verdict": "fine"}', "verdict: Input should be"),
        ("[]", "Input should be an object"),
        ("null", "Input should be"),
        ('{"other": 1}', "verdict: Field required"),
    ],
)
async def test_a_bad_answer_goes_back_to_the_model_with_the_reasons(
    server: ChatServer, listened: bool, text: str, told: str
) -> None:
    # A stream without anything may be a refusal, so that the question is put again in one piece.
    empty = [saying(text)] if listened and not text else []
    server.acts = [saying(text), *empty, saying(GOOD)]
    verdict, _ = await asked(board_on(server), listened=listened)
    assert verdict == Verdict(text="fine", grade=2)
    *_, answer, correction = server.requests[-1]["messages"]
    assert answer == {"role": "assistant", "content": text or "(nothing)"}
    assert correction["role"] == "user"
    assert told in correction["content"]


@pytest.mark.parametrize(
    "text",
    [
        f"```json\n{GOOD}\n```",
        f"Here you are:\n\n{GOOD}\n\nAnything else?",
        f"<think>Is {{it}} fine? Yes.</think>\n{GOOD}",
        '{"text": "fine", "grade": 2}',
        '```\n{"text": "fine", "grade": 2}\n```',
    ],
    ids=["fenced", "talkative", "thinking", "without its key", "both"],
)
async def test_an_answer_is_found_between_other_words(server: ChatServer, text: str) -> None:
    server.acts = [saying(text)]
    assert await judged(board_on(server)) == Verdict(text="fine", grade=2)
    assert len(server.requests) == 1


async def test_repairs_end_with_the_last_answer_and_the_reasons(server: ChatServer) -> None:
    bad = '{"verdict": {"text": "x", "grade": 9}}'
    server.acts = [saying("nothing"), saying("nothing"), saying(bad)]
    with pytest.raises(EngineError) as failure:
        await judged(board_on(server))
    message = str(failure.value)
    assert "agent 'judge'" in message
    assert "no valid answer in 3 tries" in message
    assert "verdict.grade: Input should be less than or equal to 6" in message
    assert bad in message
    assert len(server.requests) == 3


async def test_repairs_can_be_turned_off(server: ChatServer) -> None:
    server.acts = [saying("nothing")]
    with pytest.raises(EngineError, match="in 1 try"):
        await judged(board_on(server, repairs=0))


async def test_a_cut_answer_is_named_as_such(server: ChatServer, listened: bool) -> None:
    server.acts = [saying('{"verdict": {"te', finish="length")] * 3
    with pytest.raises(EngineError, match=r"cut at the limit of 5 tokens.*raise max_tokens"):
        await asked(board_on(server, max_tokens=5), listened=listened)
    assert server.requests[0]["max_tokens"] == 5


async def test_a_giant_answer_neither_fills_the_error_nor_the_next_prompt(
    server: ChatServer,
) -> None:
    giant = "x" * 5_000_000
    server.acts = [saying(giant)] * 2
    with pytest.raises(EngineError) as failure:
        await judged(board_on(server, repairs=1))
    assert len(str(failure.value)) < 2_000
    assert len(json.dumps(server.requests[-1])) < 50_000


async def test_a_giant_answer_that_is_valid_is_taken(server: ChatServer) -> None:
    text = "long " * 200_000
    server.acts = [saying(json.dumps({"verdict": {"text": text, "grade": 3}}), piece=4096)]
    verdict, emitted = await asked(board_on(server), listened=True)
    assert verdict.text == text
    partial = [delta for delta in emitted if isinstance(delta, PartialOutput)]
    assert partial[-1].fields == {"text": text, "grade": 3}


async def test_a_wrong_count_goes_back_to_the_model(server: ChatServer) -> None:
    board = Flock()
    engine = DSPyEngine("openai/any", api_base=server.url)
    board.agent("judge").consumes(Asked).publishes(Verdict, fan_out=2).with_engines(engine)
    one = {"text": "fine", "grade": 2}
    server.acts = [
        saying(json.dumps({"verdict": [one]})),
        saying(json.dumps({"verdict": [one] * 3})),
        saying(json.dumps({"verdict": [one] * 2})),
    ]
    async with board:
        assert len(await board.arun("judge", Asked())) == 2
    asked_for = server.requests[0]["response_format"]["json_schema"]["schema"]
    assert asked_for["properties"]["verdict"]["minItems"] == 2
    assert asked_for["properties"]["verdict"]["maxItems"] == 2
    assert "at least 2 items" in server.requests[1]["messages"][-1]["content"]
    assert "at most 2 items" in server.requests[2]["messages"][-1]["content"]


@pytest.mark.parametrize("text", ['{"verdict": []}', '{"verdict": null}', "[]"])
async def test_a_model_may_decline_where_none_is_allowed(server: ChatServer, text: str) -> None:
    board = Flock()
    engine = DSPyEngine("openai/any", api_base=server.url)
    board.agent("judge").consumes(Asked).publishes(Verdict, fan_out=(0, 3)).with_engines(engine)
    server.acts = [saying(text)]
    async with board:
        await board.publish(Asked())
        report = await board.run_until_idle(raise_on_error=True)
        assert (report.runs, report.failed) == (1, 0)
        assert await board.store.get_by_type(Verdict) == []


async def test_a_union_is_repaired_with_the_branch_that_was_meant(server: ChatServer) -> None:
    board = Flock()
    engine = DSPyEngine("openai/any", api_base=server.url)
    board.agent("judge").consumes(Asked).publishes(Discriminated).with_engines(engine)
    cat = {"kind": "cat", "lives": 99}
    server.acts = [saying(json.dumps({"discriminated": {"pet": cat, "pets": [cat, cat]}}))]
    async with board:
        await board.arun("judge", Asked())
    told = server.requests[1]["messages"][-1]["content"]
    assert "discriminated.pet.cat.lives: Input should be less than or equal to 9" in told


# --- schemas ---


async def test_the_schema_is_asked_for_and_said(server: ChatServer) -> None:
    await judged(board_on(server))
    [request] = server.requests
    schema = request["response_format"]["json_schema"]["schema"]
    assert schema["additionalProperties"] is False
    verdict = schema["$defs"]["Verdict"]
    assert verdict["properties"]["grade"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 6,
        "description": "1 is best",
    }
    system, user = request["messages"]
    assert json.dumps(schema) in system["content"]
    assert "what is wanted" in system["content"]
    assert '{"text":"please"}' in user["content"]


async def test_a_refused_schema_is_asked_for_more_loosely_from_then_on(server: ChatServer) -> None:
    server.acts = [
        failing(400, "Invalid schema for response_format 'answer': 'minimum' is not permitted"),
        good,
        good,
    ]
    board = board_on(server)
    async with board:
        await board.arun("judge", Asked())
        await board.arun("judge", Asked())
    first, second, third = (r["response_format"]["json_schema"]["schema"] for r in server.requests)
    assert "minimum" in json.dumps(first)
    assert "minimum" not in json.dumps(second)
    assert second == third


async def test_a_server_without_json_schemas_is_asked_for_an_object(server: ChatServer) -> None:
    refusing = failing(400, "response_format.type must be text or json_object")
    server.acts = [refusing, refusing, saying(GOOD)]
    assert (await judged(board_on(server))).grade == 2
    assert server.requests[-1]["response_format"] == {"type": "json_object"}


async def test_a_refusal_that_was_not_about_the_schema_leaves_its_form(server: ChatServer) -> None:
    odd = failing(400, "the schema of your message is odd")
    server.acts = [odd, odd, odd, odd, good]
    board = board_on(server)
    async with board:
        with pytest.raises(EngineError, match="the schema of your message is odd"):
            await board.arun("judge", Asked())
        await board.arun("judge", Asked())
    assert server.requests[-1]["response_format"] == server.requests[0]["response_format"]


# --- streaming ---


async def test_an_empty_stream_and_what_is_asked_after_it_are_both_counted(
    server: ChatServer,
) -> None:
    server.acts = [saying(""), saying(GOOD)]
    _, told = await asked(board_on(server), listened=True)
    [called] = [delta for delta in told if isinstance(delta, ModelCalled)]
    assert (called.usage.calls, called.usage.tokens) == (2, 36)


async def test_tokens_and_partial_outputs_are_told_to_those_who_listen(server: ChatServer) -> None:
    server.acts = [saying(GOOD, piece=3)]
    _, emitted = await asked(board_on(server), listened=True)
    tokens = [delta for delta in emitted if isinstance(delta, Token)]
    assert "".join(token.text for token in tokens) == GOOD
    partial = [delta for delta in emitted if isinstance(delta, PartialOutput)]
    assert partial[0].fields.get("text", "") in "fine"
    assert partial[-1].fields == {"text": "fine", "grade": 2}
    [called] = [delta for delta in emitted if isinstance(delta, ModelCalled)]
    assert (called.usage.input_tokens, called.usage.output_tokens) == (11, 7)
    assert called.usage.cached_tokens == 3


async def test_without_listeners_nothing_is_streamed(server: ChatServer) -> None:
    await judged(board_on(server))
    assert "stream" not in server.requests[0]


async def test_slow_tokens_arrive_one_by_one(server: ChatServer) -> None:
    seen: list[str] = []
    more = asyncio.Event()

    async def slowly(exchange: Exchange) -> None:
        await exchange.open_stream()
        for number, letter in enumerate(GOOD):
            if number == 5:
                await more.wait()
            await exchange.chunk({"content": letter})
        await exchange.chunk({}, finish="stop")
        await exchange.close_stream()

    server.acts = [slowly]
    board = board_on(server)
    events = board.events()
    async with board:
        await board.publish(Asked())
        async for event in events:
            if isinstance(event, RunEmitted) and isinstance(event.delta, Token):
                seen.append(event.delta.text)
                if len(seen) == 5:
                    more.set()  # the server goes on only once these have been read
            if isinstance(event, RunEmitted) and isinstance(event.delta, ModelCalled):
                break
    assert "".join(seen) == GOOD


# --- keys ---


async def test_a_key_is_sent_and_seen_nowhere(
    server: ChatServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.acts = [failing(401, f"Incorrect API key provided: {KEY}. Bearer {KEY}")]
    board = board_on(server, api_key=SecretStr(KEY))
    with pytest.raises(EngineError) as failure:
        await judged(board)
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    [agent] = board.agents
    engine = agent.engines[0]
    for text in (
        "".join(traceback.format_exception(failure.value)),
        str(failure.value),
        repr(engine),
        repr(vars(engine)),
        caplog.text,
    ):
        assert KEY not in text


async def test_a_key_of_the_environment_is_sent_and_hidden(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "an unusual key of the environment")
    server.acts = [failing(401, "this is no key: an unusual key of the environment")]
    with pytest.raises(EngineError) as failure:
        await judged(board_on(server))
    assert server.headers[0]["authorization"] == "Bearer an unusual key of the environment"
    assert "unusual" not in "".join(traceback.format_exception(failure.value))


async def test_the_address_may_come_from_the_environment(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_BASE", server.url)
    board = Flock("openai/any")
    board.agent("judge").consumes(Asked).publishes(Verdict)
    assert (await judged(board)).grade == 1


async def test_without_a_key_the_variable_to_set_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_API_BASE", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    board = Flock("openai/gpt-4.1")
    board.agent("judge").consumes(Asked).publishes(Verdict)
    with pytest.raises(EngineError, match="OPENAI_API_KEY") as failure:
        await judged(board)
    assert "RouterConfig" not in str(failure.value)


async def test_options_reach_the_server(server: ChatServer) -> None:
    options = {"top_p": 0.5, "seed": 7, "stop": ["END"]}
    await judged(board_on(server, temperature=0.25, max_tokens=99, lm_kwargs=options))
    [request] = server.requests
    found = {key: request[key] for key in ("temperature", "max_tokens", "top_p", "seed", "stop")}
    assert found == {"temperature": 0.25, "max_tokens": 99, **options}


async def test_an_answer_is_remembered_where_that_was_asked_for(server: ChatServer) -> None:
    board = board_on(server, cache=True)
    async with board:
        first = await board.arun("judge", Asked())
        second = await board.arun("judge", Asked())
        await board.arun("judge", Asked(text="another"))
    assert first[0].payload == second[0].payload
    assert len(server.requests) == 2
