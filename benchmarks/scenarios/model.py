"""What an engine adds to the model that it asks."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from benchmarks.measurement import Counts, Figure, Measurement, Target
from benchmarks.models import TEXT, Answer, Request
from benchmarks.scenarios.boards import new_board
from flock import ChatAnswer, DSPyEngine, Flock, Usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.bench import Bench
    from flock import ChatRequest

MICRO = 1e6
ANSWER = Answer(number=1, text=TEXT)
TEXT_OF_IT = f'{{"answer": {ANSWER.model_dump_json()}}}'


class AtOnce:
    """A model that answers at once, always the same."""

    name = "at once"
    calls_tools = True
    keeps_schema = True
    takes_images = False

    def __init__(self) -> None:
        self.calls = 0

    def price(self, input_tokens: int, output_tokens: int) -> float:
        """Return nothing."""
        del input_tokens, output_tokens
        return 0.0

    async def chat(
        self, request: ChatRequest, on_token: Callable[[str], None] | None = None
    ) -> ChatAnswer:
        """Answer, in one piece."""
        del request, on_token
        self.calls += 1
        return ChatAnswer(TEXT_OF_IT, Usage(calls=1))

    async def aclose(self) -> None:
        """Do nothing."""


class Model:
    """Direct runs of an agent that a model computes, and of one that a function does."""

    name = "model"
    what = "arun an agent with a model that answers at once, less one with a function"
    target = Target(text="≤ 2,000 µs", at_most=2_000)

    async def run(self, bench: Bench) -> Measurement:
        """The first run makes schema and prompt, and is not counted."""
        count = bench.size(2_000, 500, 10)
        model = AtOnce()
        above: list[float] = []
        plain: list[float] = []
        thinking, computing = new_board(), new_board()
        thinking.agent("one").consumes(Request).publishes(Answer).with_engines(DSPyEngine(model))
        computing.agent("one").consumes(Request).publishes(Answer).calls(_answer)
        async with thinking, computing:
            await _runs(thinking, 1)
            await _runs(computing, 1)
            for _ in range(bench.repeats):
                alone = await bench.seconds(_runs(computing, count)) / count * MICRO
                whole = await bench.timed(count, _runs(thinking, count)) / count * MICRO
                plain.append(alone)
                above.append(whole - alone)
        figure = Figure(
            name=self.name,
            value=median(above),
            unit="µs",
            beside=median(plain),
            beside_name="µs with a function",
            target=self.target,
        )
        expected = 1 + bench.repeats * count
        counts = Counts(expected=expected, done=model.calls, exactly_once=True)
        return Measurement(scenario=self.name, figures=(figure,), counts=counts)


async def _answer(request: Request) -> Answer:
    del request
    return ANSWER


async def _runs(board: Flock, count: int) -> None:
    for number in range(count):
        await board.arun("one", Request(number=number, text=TEXT))
