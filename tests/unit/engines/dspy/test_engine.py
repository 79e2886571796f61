"""The engine with a scripted model: options, adapters, memory, history, usage."""

from __future__ import annotations

import dspy
import pytest
from pydantic import BaseModel, Field

from flock import (
    Context,
    DSPyEngine,
    EngineError,
    EvalInputs,
    Flock,
    ModelCalled,
    OutputContractError,
    RunEmitted,
    Token,
    Usage,
)
from flock.engines.dspy.prices import price
from tests.unit.engines.dspy.scripted_model import USAGE, ScriptedModel
from tests.unit.support import artifact


class Order(BaseModel):
    """What a customer wants."""

    amount: float = Field(default=5, description="in euros")


class Bill(BaseModel):
    amount: float


class Check(BaseModel):
    """What became of it."""

    text: str = Field(min_length=2)
    score: int = Field(ge=1, le=5)


GOOD = '{"check": {"text": "fine", "score": 3}}'
CHAT = '[[ ## check ## ]]\n{"text": "fine", "score": 3}\n\n[[ ## completed ## ]]'
XML = '<check>{"text": "fine", "score": 3}</check>'


def board_of(engine: DSPyEngine, fan_out: int | tuple[int, int] | None = None) -> Flock:
    board = Flock()
    board.agent("clerk").description("Check the order.").consumes(Order).publishes(
        Check, fan_out=fan_out, description="One line."
    ).with_engines(engine)
    return board


async def checked(board: Flock) -> list[Check]:
    async with board:
        return [a.as_model(Check) for a in await board.arun("clerk", Order())]


async def test_description_instructions_and_types_make_the_prompt() -> None:
    model = ScriptedModel([GOOD])
    await checked(board_of(DSPyEngine(model, instructions="Be strict.")))
    [request] = model.requests
    system = request.messages[0]["content"]
    for words in (
        "Check the order.",
        "Be strict.",
        "One line.",
        "What a customer wants.",
        "amount: in euros",
        "at least 2 characters",
    ):
        assert words in system
    assert "JSON Schema" not in system  # the model keeps it anyway
    assert request.schema is not None


async def test_a_model_that_keeps_no_schema_is_told_it() -> None:
    model = ScriptedModel([GOOD], keeps_schema=False)
    await checked(board_of(DSPyEngine(model)))
    assert '"minLength": 2' in model.requests[0].messages[0]["content"]


@pytest.mark.parametrize(
    ("adapter", "text", "has_schema"),
    [
        (dspy.ChatAdapter(), CHAT, False),
        (dspy.JSONAdapter(), GOOD, True),
        (dspy.XMLAdapter(), XML, False),
    ],
    ids=["chat", "json", "xml"],
)
async def test_a_dspy_adapter_makes_the_messages_and_reads_the_answer(
    adapter: dspy.Adapter, text: str, *, has_schema: bool
) -> None:
    model = ScriptedModel(["this is nothing", text])
    assert await checked(board_of(DSPyEngine(model, adapter=adapter))) == [
        Check(text="fine", score=3)
    ]
    first, second = model.requests
    assert (first.schema is not None) is has_schema
    assert "Check the order." in first.messages[0]["content"]
    assert "not valid" in second.messages[-1]["content"]


async def test_counts_hold_with_a_users_adapter_too() -> None:
    one = '[[ ## check ## ]]\n[{"text": "fine", "score": 3}]\n\n[[ ## completed ## ]]'
    two = one.replace("}]", '}, {"text": "good", "score": 4}]')
    model = ScriptedModel([one, two])
    found = await checked(board_of(DSPyEngine(model, adapter=dspy.ChatAdapter()), fan_out=2))
    assert [check.score for check in found] == [3, 4]
    assert "exactly 2 of them" in model.requests[1].messages[-1]["content"]


async def test_the_prompt_is_made_once_for_all_runs() -> None:
    model = ScriptedModel([GOOD] * 3)
    board = board_of(DSPyEngine(model))
    async with board:
        for _ in range(3):
            await board.arun("clerk", Order())
    assert len({id(request.messages[0]["content"]) for request in model.requests}) == 1
    assert len({id(request.schema) for request in model.requests}) == 1


async def test_one_engine_serves_several_agents() -> None:
    model = ScriptedModel([GOOD, '{"bill": {"amount": 1}}'])
    engine = DSPyEngine(model)
    board = Flock()
    board.agent("a").consumes(Order).publishes(Check).with_engines(engine)
    board.agent("b").consumes(Check).publishes(Bill).with_engines(engine)
    async with board:
        await board.arun("a", Order())
        await board.run_until_idle(raise_on_error=True)
        assert await board.store.get_by_type(Bill) == [Bill(amount=1)]


async def test_history_is_an_input_where_it_was_asked_for() -> None:
    model = ScriptedModel([GOOD])
    board = board_of(DSPyEngine(model, enable_context=True))
    async with board:
        await board.publish(Check(text="earlier", score=1), correlation_id="w")
        await board.publish(Order(), correlation_id="w")
        await board.run_until_idle(raise_on_error=True)
    asked = model.requests[0].messages[1]["content"]
    assert "[[ ## history ## ]]" in asked
    assert "earlier" in asked


async def test_usage_is_added_up_over_repairs_and_told_call_by_call() -> None:
    model = ScriptedModel(["no", GOOD])
    board = board_of(DSPyEngine(model))
    events = board.events()
    await checked(board)
    found = [event.delta async for event in events if isinstance(event, RunEmitted)]
    assert [d for d in found if isinstance(d, ModelCalled)] == [
        ModelCalled("scripted", USAGE, 0),
        ModelCalled("scripted", USAGE, 1),
    ]
    assert "".join(d.text for d in found if isinstance(d, Token) and d.call == 1) == GOOD


async def test_a_context_sums_what_each_model_took() -> None:
    ctx = Context()
    assert ctx.usage == {}
    await ctx.charge("a", Usage(calls=1, input_tokens=3, usd=1.0))
    await ctx.charge("a", Usage(calls=1, output_tokens=4, usd=None))
    await ctx.charge("b", Usage(calls=1, usd=2.0))
    assert ctx.usage == {
        "a": Usage(calls=2, input_tokens=3, output_tokens=4, usd=None),
        "b": Usage(calls=1, usd=2.0),
    }


async def test_a_remembered_answer_costs_nothing() -> None:
    model = ScriptedModel([GOOD])
    board = board_of(DSPyEngine(model, cache=True))
    events = board.events()
    async with board:
        await board.arun("clerk", Order())
        await board.arun("clerk", Order())
    calls = [
        event.delta.usage.calls
        async for event in events
        if isinstance(event, RunEmitted) and isinstance(event.delta, ModelCalled)
    ]
    assert calls == [1, 0]


async def test_an_agent_that_publishes_nothing_is_named() -> None:
    board = Flock()
    board.agent("clerk").consumes(Order).with_engines(DSPyEngine(ScriptedModel([])))
    async with board:
        with pytest.raises(EngineError, match="agent 'clerk' publishes no types"):
            await board.arun("clerk", Order())


async def test_an_engine_answers_without_a_board() -> None:
    board = board_of(DSPyEngine(ScriptedModel([GOOD])))
    agent = board.get_agent("clerk")
    result = await agent.evaluate(EvalInputs(artifacts=[artifact(Order())]))
    assert [a.as_model(Check) for a in result.artifacts] == [Check(text="fine", score=3)]


async def test_what_the_declaration_forbids_goes_back_to_the_model_too() -> None:
    model = ScriptedModel([GOOD, GOOD.replace("3", "5")])
    board = Flock()
    board.agent("clerk").consumes(Order).publishes(
        Check, validate=[(lambda check: check.score > 4, "be kinder")]
    ).with_engines(DSPyEngine(model))
    assert await checked(board) == [Check(text="fine", score=5)]
    assert "- Check: be kinder" in model.requests[1].messages[-1]["content"]


async def test_the_board_has_the_last_word_on_what_the_declaration_forbids() -> None:
    model = ScriptedModel([GOOD] * 3)
    board = Flock()
    board.agent("clerk").consumes(Order).publishes(
        Check, validate=[(lambda check: check.score > 4, "be kinder")]
    ).with_engines(DSPyEngine(model))
    with pytest.raises(OutputContractError, match="be kinder"):
        await checked(board)
    assert len(model.requests) == 3


async def test_what_is_dropped_need_not_be_valid() -> None:
    model = ScriptedModel([GOOD])
    board = Flock()
    board.agent("clerk").consumes(Order).publishes(
        Check, where=lambda check: check.score > 3, validate=lambda check: check.score > 4
    ).with_engines(DSPyEngine(model))
    assert await checked(board) == []


async def test_an_endless_flow_of_bad_answers_ends() -> None:
    model = ScriptedModel(["no"] * 3)
    with pytest.raises(EngineError, match="in 3 tries"):
        await checked(board_of(DSPyEngine(model)))


def test_prices_are_those_of_the_list_and_none_where_it_says_nothing() -> None:
    asked = {"input_tokens": 1_000_000, "output_tokens": 0, "written_tokens": 0}
    full = price("openai/gpt-4.1", cached_tokens=0, **asked)
    cached = price("openai/gpt-4.1", cached_tokens=1_000_000, **asked)
    assert full is not None
    assert cached is not None
    assert 0 < cached < full
    assert price("gpt-4.1", cached_tokens=0, **asked) == full
    assert price("openai/never-heard-of", cached_tokens=0, **asked) is None
    assert price("nobody/never-heard-of", cached_tokens=0, **asked) is None


async def test_a_remembered_answer_is_not_asked_again_after_it_failed() -> None:
    model = ScriptedModel(["nonsense", GOOD])
    board = Flock()
    engine = DSPyEngine(model, cache=True, repairs=0)
    agent = board.agent("clerk").consumes(Order).publishes(Check).with_engines(engine)
    agent.retry(2)
    async with board:
        await board.publish(Order())
        await board.run_until_idle(raise_on_error=True)
    assert len(model.requests) == 2
