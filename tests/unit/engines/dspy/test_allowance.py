"""What a model call may take, by the budgets."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from flock import BudgetExceeded, ChatAnswer, ChatRequest, DSPyEngine, Flock, Usage
from flock.engines.dspy.allowance import prompt_tokens
from tests.unit.engines.dspy.scripted_model import ScriptedModel

GOOD = '{"check": {"text": "fine"}}'


class Order(BaseModel):
    amount: float = 5


class Check(BaseModel):
    text: str


def answer(tokens: int, usd: float = 0.0) -> ChatAnswer:
    return ChatAnswer(GOOD, Usage(calls=1, input_tokens=tokens - 5, output_tokens=5, usd=usd))


def board_of(model: ScriptedModel, **options: object) -> Flock:
    board = Flock()
    engine = DSPyEngine(model, **options)  # pyright: ignore[reportArgumentType]
    board.agent("clerk").consumes(Order).publishes(Check).with_engines(engine)
    return board


async def test_without_a_budget_a_request_goes_as_it_is() -> None:
    model = ScriptedModel([answer(50)])
    async with board_of(model) as board:
        await board.publish(Order())
        await board.run_until_idle(raise_on_error=True)
    assert model.requests[0].max_tokens is None


async def test_an_answer_is_bounded_to_what_a_token_budget_leaves() -> None:
    model = ScriptedModel([answer(50), answer(50)])
    async with board_of(model).budget(tokens=1_000) as board:
        await board.publish(Order())
        await board.run_until_idle(raise_on_error=True)
        prompt = prompt_tokens(model.requests[0])
        assert model.requests[0].max_tokens == 1_000 - prompt
        await board.publish(Order())
        await board.run_until_idle(raise_on_error=True)
        assert model.requests[1].max_tokens == 950 - prompt


async def test_an_answer_keeps_its_own_bound_where_that_is_tighter() -> None:
    model = ScriptedModel([answer(50)])
    async with board_of(model, max_tokens=64).budget(tokens=100_000) as board:
        await board.publish(Order())
        await board.run_until_idle(raise_on_error=True)
    assert model.requests[0].max_tokens == 64


async def test_a_call_whose_prompt_alone_is_too_much_is_not_made() -> None:
    model = ScriptedModel([answer(50)])
    async with board_of(model).budget(tokens=20) as board:
        await board.publish(Order())
        report = await board.run_until_idle()
    assert model.requests == []
    assert isinstance(report.errors[0].__cause__, BudgetExceeded)
    assert report.usage == {}


async def test_an_answer_is_bounded_to_what_the_money_left_pays_for() -> None:
    model = ScriptedModel([answer(50, usd=0.05)])
    model.per_token = 0.001
    async with board_of(model).budget(usd=1.0) as board:
        await board.publish(Order())
        await board.run_until_idle(raise_on_error=True)
    prompt = prompt_tokens(model.requests[0])
    bound = model.requests[0].max_tokens
    assert bound is not None
    assert 990 - prompt <= bound <= 1_000 - prompt


async def test_a_model_of_unknown_price_is_refused_by_a_budget_of_money() -> None:
    model = ScriptedModel([answer(50)])
    model.per_token = None
    async with board_of(model).budget(usd=1.0) as board:
        await board.publish(Order())
        report = await board.run_until_idle()
    assert model.requests == []
    assert "price" in str(report.errors[0])


async def test_repairs_are_charged_and_stop_at_the_budget() -> None:
    bad = ChatAnswer("nonsense", Usage(calls=1, input_tokens=300, output_tokens=100))
    model = ScriptedModel([bad, bad, bad])
    async with board_of(model).budget(tokens=900) as board:
        await board.publish(Order())
        report = await board.run_until_idle()
        assert (await board.spent()).total.tokens <= 900
    assert isinstance(report.errors[0].__cause__, BudgetExceeded)
    assert len(model.requests) < 3


@pytest.mark.parametrize(
    ("content", "least"),
    [("x" * 300, 100), ([{"type": "text", "text": "x" * 300}], 100), (None, 1)],
)
def test_a_prompts_tokens_are_estimated_rather_too_high(content: object, least: int) -> None:
    request = ChatRequest(messages=[{"role": "user", "content": content}])
    assert least <= prompt_tokens(request) <= least + 20


def test_an_image_counts_as_many_tokens_as_a_provider_may_take() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}
    request = ChatRequest(messages=[{"role": "user", "content": [image]}])
    assert 1_600 <= prompt_tokens(request) <= 1_700


async def test_what_a_server_does_not_count_is_estimated_for_a_budget() -> None:
    model = ScriptedModel([ChatAnswer(GOOD, Usage(calls=1)) for _ in range(9)])
    async with board_of(model).budget(tokens=700) as board:
        for _ in range(9):
            await board.publish(Order())
            await board.run_until_idle()
        refused = len(await board.dead_letters())
    assert 0 < refused < 9
    assert len(model.requests) == 9 - refused


def test_letters_of_more_bytes_are_more_tokens() -> None:
    def tokens(text: str) -> int:
        return prompt_tokens(ChatRequest([{"role": "user", "content": text}]))

    assert tokens("\u5b57" * 300) >= 300  # as tokenizers count Chinese
    assert tokens("a" * 300) < 120


def test_what_a_model_asked_of_tools_is_part_of_the_prompt() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "x" * 900}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    assert prompt_tokens(ChatRequest([message])) >= 300
