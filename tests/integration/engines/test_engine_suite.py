"""What an engine promises, whatever model it thinks with."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from pydantic import BaseModel

from flock import (
    Agent,
    AgentComponent,
    BatchSpec,
    Context,
    DSPyEngine,
    EngineComponent,
    EvalInputs,
    EventStream,
    Flock,
    ModelCalled,
    OutputGroup,
    RunEmitted,
)
from flock.testing import ManualClock
from tests.integration.engines.factories import EngineFactory
from tests.integration.engines.schemas import EVERY, Address, Asked, Plain, Times


async def ran(
    engine: DSPyEngine,
    model: type[BaseModel],
    *,
    fan_out: int | tuple[int, int] | None = None,
) -> list[BaseModel]:
    board = Flock()
    board.agent("thinker").consumes(Asked).publishes(model, fan_out=fan_out).with_engines(engine)
    async with board:
        outputs = await board.arun("thinker", Asked())
        return [artifact.as_model(artifact.entry.cls) for artifact in outputs]


@pytest.mark.parametrize("model", EVERY, ids=lambda model: model.__name__)
async def test_every_kind_of_type_is_filled_validly(
    make_engine: EngineFactory, model: type[BaseModel]
) -> None:
    [output] = await ran(make_engine(), model)
    assert isinstance(output, model)


@pytest.mark.parametrize("count", [1, 2, 5])
async def test_a_fan_out_yields_so_many_artifacts(make_engine: EngineFactory, count: int) -> None:
    outputs = await ran(make_engine(), Address, fan_out=count)
    assert [type(output) for output in outputs] == [Address] * count


async def test_a_fan_out_range_yields_a_number_within_it(make_engine: EngineFactory) -> None:
    outputs = await ran(make_engine(), Address, fan_out=(2, 4))
    assert 2 <= len(outputs) <= 4


async def test_several_types_of_one_group_come_from_one_call(make_engine: EngineFactory) -> None:
    board = Flock()
    board.agent("thinker").consumes(Asked).publishes(Address, Plain, Times).with_engines(
        make_engine()
    )
    events = board.events()
    async with board:
        outputs = await board.arun("thinker", Asked())
    assert [artifact.entry.cls for artifact in outputs] == [Address, Plain, Times]
    assert len(await calls_in(events)) == 1


async def test_each_group_is_a_call_of_its_own(make_engine: EngineFactory) -> None:
    board = Flock()
    board.agent("thinker").consumes(Asked).publishes(Address).publishes(Plain).with_engines(
        make_engine()
    )
    events = board.events()
    async with board:
        outputs = await board.arun("thinker", Asked())
    assert [artifact.entry.cls for artifact in outputs] == [Address, Plain]
    assert [call.call for call in await calls_in(events)] == [0, 1]


async def test_joined_and_batched_inputs_are_answered(make_engine: EngineFactory) -> None:
    board = Flock(clock=ManualClock())
    board.agent("pair").consumes(Asked, Asked).publishes(Address).with_engines(make_engine())
    board.agent("batch").consumes(Asked, batch=BatchSpec(size=4)).publishes(Plain).with_engines(
        make_engine()
    )
    async with board:
        await board.publish_many([Asked(text=str(number)) for number in range(4)])
        report = await board.run_until_idle(raise_on_error=True)
        assert report.runs == 3
        assert len(await board.store.get_by_type(Address)) == 2
        assert len(await board.store.get_by_type(Plain)) == 1


async def test_history_reaches_the_engine(make_engine: EngineFactory) -> None:
    board = Flock()
    board.agent("thinker").consumes(Asked).publishes(Address).with_engines(
        make_engine(enable_context=True)
    )
    async with board:
        await board.publish(Plain(text="t", number=1, share=0.5, is_so=True), correlation_id="w")
        await board.publish(Asked(), correlation_id="w")
        await board.run_until_idle(raise_on_error=True)
        assert len(await board.store.get_by_type(Address)) == 1


async def test_usage_is_charged_to_the_context(make_engine: EngineFactory) -> None:
    seen: list[dict[str, int]] = []

    class Watching(AgentComponent):
        async def on_terminate(self, agent: Agent, ctx: Context) -> None:
            del agent
            seen.append({model: used.calls for model, used in (ctx.usage or {}).items()})

    engine = make_engine()
    board = Flock()
    board.agent("thinker").consumes(Asked).publishes(Address).publishes(Plain).with_engines(
        engine
    ).with_utilities(Watching())
    async with board:
        await board.arun("thinker", Asked())
    assert seen == [{engine.model: 2}]


async def test_the_best_of_several_answers_is_kept(make_engine: EngineFactory) -> None:
    board = Flock()
    board.agent("thinker").consumes(Asked).publishes(Address).with_engines(make_engine()).best_of(
        3, score=lambda result: len(result.artifacts)
    )
    events = board.events()
    async with board:
        outputs = await board.arun("thinker", Asked())
    assert len(outputs) == 1
    assert sorted(call.call for call in await calls_in(events)) == [0, 1, 2]


async def test_it_goes_together_with_other_engines_of_a_chain(make_engine: EngineFactory) -> None:
    class Shout(EngineComponent):
        priority = 10

        async def evaluate(
            self, agent: Agent, ctx: Context, inputs: EvalInputs, output_group: OutputGroup
        ) -> object:
            address = inputs.first_as(Address)
            assert address is not None
            return Address(street=address.street, city="ROME")

    board = Flock()
    board.agent("thinker").consumes(Asked).publishes(Address).with_engines(make_engine(), Shout())
    async with board:
        [output] = await board.arun("thinker", Asked())
    assert output.payload["city"] == "ROME"


async def test_many_runs_at_once_answer_each(make_engine: EngineFactory) -> None:
    board = Flock()
    board.agent("thinker").consumes(Asked).publishes(Address).with_engines(make_engine())
    async with board:
        await board.publish_many([Asked(text=str(number)) for number in range(50)])
        await board.run_until_idle(raise_on_error=True)
        assert len(await board.store.get_by_type(Address)) == 50


async def test_a_board_can_be_opened_again_and_on_another_loop(make_engine: EngineFactory) -> None:
    board = Flock()
    board.agent("thinker").consumes(Asked).publishes(Address).with_engines(make_engine())
    async with board:
        await board.arun("thinker", Asked())
    async with board:
        assert len(await board.arun("thinker", Asked())) == 1
    assert await asyncio.to_thread(asyncio.run, _once(board)) == 1


async def _once(board: Flock) -> int:
    async with board:
        return len(await board.arun("thinker", Asked()))


async def test_a_run_that_times_out_leaves_nothing_behind(make_engine: EngineFactory) -> None:
    board = Flock()
    board.agent("thinker").consumes(Asked).publishes(Address).with_engines(make_engine()).timeout(
        timedelta(minutes=5)
    )
    async with board:
        assert len(await board.arun("thinker", Asked())) == 1


async def calls_in(events: EventStream) -> list[ModelCalled]:
    """Return the model calls of a board that is closed."""
    return [
        event.delta
        async for event in events
        if isinstance(event, RunEmitted) and isinstance(event.delta, ModelCalled)
    ]
