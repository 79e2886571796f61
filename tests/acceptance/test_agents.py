"""An agent does what its declaration says, and a bad declaration fails where it is made."""

# Agents are short lambdas here.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportOptionalMemberAccess=false

import asyncio
import contextlib
import threading
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Sequence,
)
from datetime import timedelta
from functools import partial
from typing import Annotated, Any, Literal
from unittest.mock import AsyncMock, Mock

import pytest
from pydantic import BaseModel, Field

from flock import (
    AgentBuilder,
    Backoff,
    BatchSpec,
    Context,
    DeclarationError,
    EngineComponent,
    EvalInputs,
    EvalResult,
    Flock,
    PrivateVisibility,
    RunTimeout,
    WorkflowError,
)
from flock.testing import ManualClock, ScriptedEngine

from .support import engine, spy, turns, until


class Order(BaseModel):
    number: int = 0
    key: str = "k"


class Parcel(BaseModel):
    number: int = 0


class Letter(BaseModel):
    number: int = 0


class Odd(BaseModel):
    number: int = 0


async def parcels(board: Flock) -> list[int]:
    return [p.number for p in await board.store.get_by_type(Parcel)]


async def error_of(board: Flock) -> str:
    (letter,) = await board.dead_letters()
    return letter.error_type


# --- Words --------------------------------------------------------------------------------


def test_every_word_returns_the_builder() -> None:
    board = Flock()
    builder = board.agent("a")
    words: list[Callable[[AgentBuilder], AgentBuilder]] = [
        lambda b: b.description("what it does"),
        lambda b: b.labels("x", "y"),
        lambda b: b.tenant("t"),
        lambda b: b.consumes(Order),
        lambda b: b.publishes(Parcel),
        lambda b: b.with_engines(engine(lambda _: Parcel())),
        lambda b: b.with_utilities(spy("u", [])),
        lambda b: b.best_of(2),
        lambda b: b.max_concurrency(3),
        lambda b: b.prevent_self_trigger(True),
        lambda b: b.retry(attempts=2),
        lambda b: b.timeout(3.5),
        lambda b: b.timeout(timedelta(seconds=3)),
    ]
    for word in words:
        assert word(builder) is builder

    async def provider(request: Any) -> list[Any]:
        return []

    assert builder.with_context(provider) is builder
    assert builder.consumes(Letter).calls(lambda _: None) is not None


def test_a_function_that_contradicts_its_declaration_is_refused() -> None:
    async def work(order: Order) -> Parcel:
        return Parcel()

    def declare_and_open() -> None:
        board = Flock()
        board.agent("culprit").consumes(Letter).publishes(Parcel).calls(work)
        asyncio.run(board.publish(Order()))

    with pytest.raises(DeclarationError, match="culprit"):
        declare_and_open()


def test_an_unbindable_parameter_is_refused_and_named() -> None:
    def work(order: Order, number: int) -> None: ...

    with pytest.raises(DeclarationError, match="number") as failure:
        Flock().agent("culprit").calls(work)
    assert "culprit" in str(failure.value)


# --- Binding ------------------------------------------------------------------------------


async def test_parameters_bind_by_annotation_in_any_order() -> None:
    got: list[Any] = []

    def work(ctx: Context, letter: Letter, order: Order) -> Parcel:
        got.extend([ctx.agent_identity.name, letter.number, order.number])
        return Parcel(number=order.number)

    async with Flock() as board:
        board.agent("work").consumes(Order, Letter).calls(work)
        await board.publish_many([Order(number=1), Letter(number=2)], correlation_id="c")
        await board.run_until_idle()
        assert got == ["work", 2, 1]
        assert await parcels(board) == [1]


async def test_several_annotated_models_are_taken_as_one_join() -> None:
    got: list[tuple[int, int]] = []

    def work(order: Order, letter: Letter) -> None:
        got.append((order.number, letter.number))

    async with Flock() as board:
        board.agent("work").calls(work)
        await board.publish(Order(number=1), correlation_id="c")
        report = await board.run_until_idle()
        assert (got, report.waiting) == ([], 1)
        await board.publish(Letter(number=2), correlation_id="c")
        await board.run_until_idle()
        assert got == [(1, 2)]


async def test_two_parameters_of_one_type_take_two_artifacts_in_order() -> None:
    got: list[tuple[int, int]] = []

    def work(first: Order, second: Order) -> None:
        got.append((first.number, second.number))

    async with Flock() as board:
        board.agent("work").consumes(Order, Order).calls(work)
        await board.publish_many([Order(number=1), Order(number=2)], correlation_id="c")
        await board.run_until_idle()
        assert got == [(1, 2)]


async def test_a_list_parameter_and_eval_inputs_get_everything() -> None:
    got: list[Any] = []

    async def listed(orders: list[Order]) -> None:
        got.append(("list", [o.number for o in orders]))

    async def raw(inputs: EvalInputs, ctx: Context) -> None:
        got.append(("inputs", [o.number for o in inputs.all_as(Order)]))
        got.append(("first", inputs.first_as(Order).number))
        got.append(("types", [a.as_model(Order).number for a in inputs.artifacts]))

    async with Flock() as board:
        board.agent("listed").consumes(Order, batch=BatchSpec(size=2)).calls(listed)
        board.agent("raw").consumes(Order, Order).calls(raw)
        await board.publish_many([Order(number=1), Order(number=2)], correlation_id="c")
        await board.run_until_idle()
        assert sorted(got, key=str) == [
            ("first", 1),
            ("inputs", [1, 2]),
            ("list", [1, 2]),
            ("types", [1, 2]),
        ]


async def test_an_unannotated_parameter_gets_the_model_or_the_list_of_models() -> None:
    got: list[Any] = []

    async with Flock() as board:
        board.agent("one").consumes(Order).calls(lambda order: got.append(order.number))
        board.agent("two").consumes(Order, batch=BatchSpec(size=2)).calls(
            lambda orders: got.append([o.number for o in orders])
        )
        await board.publish_many([Order(number=1), Order(number=2)])
        await board.run_until_idle()
        assert sorted(got, key=str) == [1, 2, [1, 2]]


async def test_inputs_and_outputs_are_taken_from_annotations() -> None:
    async def maybe(order: Order) -> Parcel | None:
        return Parcel(number=order.number) if order.number else None

    async def both(order: Order) -> tuple[Letter, Parcel]:
        return Letter(number=order.number), Parcel(number=-order.number)

    async def many(letter: Letter) -> list[Odd]:
        return [Odd(number=n) for n in range(letter.number)]

    async with Flock() as board:
        board.agent("maybe").calls(maybe)
        board.agent("both").calls(both)
        board.agent("many").calls(many)
        await board.publish_many([Order(number=0), Order(number=2)])
        report = await board.run_until_idle()
        assert report.failed == 0
        assert sorted(await parcels(board)) == [-2, 0, 2]
        assert len(await board.store.get_by_type(Letter)) == 2
        assert [o.number for o in await board.store.get_by_type(Odd)] == [0, 1]


async def test_what_a_function_may_publish_is_checked_against_its_annotation() -> None:
    async def work(order: Order) -> Parcel:
        return Letter()  # pyright: ignore[reportReturnType]

    async with Flock() as board:
        board.agent("work").calls(work)
        await board.publish(Order())
        await board.run_until_idle()
        assert await error_of(board) == "OutputContractError"
        assert await board.store.get_by_type(Letter) == []


async def test_without_declared_outputs_whatever_models_come_back_are_published() -> None:
    async with Flock() as board:
        board.agent("free").consumes(Order).calls(lambda _: [Parcel(number=1), Letter(number=2)])
        await board.publish(Order())
        report = await board.run_until_idle()
        assert report.failed == 0
        assert await parcels(board) == [1]
        assert await board.store.get_by_type(Letter) == [Letter(number=2)]


@pytest.mark.parametrize("rubbish", [42, "text", [1], {"number": 1}, object()])
async def test_what_is_not_a_model_fails_the_run(rubbish: Any) -> None:
    async with Flock() as board:
        board.agent("free").consumes(Order).calls(lambda _: rubbish)
        board.agent("bound").consumes(Order).publishes(Parcel).calls(lambda _: rubbish)
        await board.publish(Order())
        report = await board.run_until_idle()
        assert report.failed >= 1
        letters = await board.dead_letters()
        assert "bound" in {letter.agent for letter in letters}
        assert len(await board.store.get_by_type(Parcel)) == 0


async def test_partials_methods_and_wrapped_functions_can_be_called() -> None:
    class Service:
        def method(self, order: Order) -> Parcel:
            return Parcel(number=order.number)

        @staticmethod
        async def static(order: Order) -> Parcel:
            return Parcel(number=order.number + 10)

    async def add(amount: int, order: Order) -> Parcel:
        return Parcel(number=order.number + amount)

    async with Flock() as board:
        board.agent("method").calls(Service().method)
        board.agent("static").calls(Service.static)
        board.agent("partial").calls(partial(add, 100))
        await board.publish(Order(number=1))
        await board.run_until_idle()
        assert sorted(await parcels(board)) == [1, 11, 101]


async def test_a_sync_function_runs_in_a_thread_and_never_blocks_the_loop() -> None:
    release = threading.Event()
    threads: list[threading.Thread] = []

    def work(order: Order) -> Parcel:
        threads.append(threading.current_thread())
        release.wait()
        return Parcel(number=order.number)

    async with Flock() as board:
        board.agent("work").calls(work)
        await board.publish(Order(number=1))
        await until(lambda: bool(threads))
        release.set()  # reached only because the loop goes on
        await board.run_until_idle()
        assert threads[0] is not threading.main_thread()
        assert await parcels(board) == [1]


def with_defaults(order: Order, limit: int = 5, *, more: str = "x") -> Parcel:
    return Parcel(number=limit)


def annotated(order: Annotated[Order, "doc"]) -> Annotated[Parcel, "doc"]:
    return Parcel(number=order.number)


def either(order: Order) -> Parcel | Letter:
    return Parcel(number=1)


def mixed(order: Order) -> list[Parcel | Letter]:
    return [Letter(), Parcel(number=1), Letter()]


def sequence(order: Order) -> Sequence[Parcel]:
    return (Parcel(number=1), Parcel(number=2))


def iterable(order: Order) -> Iterable[Parcel]:
    return iter([Parcel(number=1)])


def as_tuple(order: Order) -> tuple[Parcel, ...]:
    return (Parcel(number=1), Parcel(number=2))


def generator(order: Order) -> Generator[Parcel, None, None]:
    yield Parcel(number=1)


async def async_generator(order: Order) -> AsyncGenerator[Parcel, None]:
    yield Parcel(number=1)


def of_either(model: Order | Letter) -> Parcel:
    return Parcel(number=1)


def of_sequence(orders: Sequence[Order]) -> Parcel:
    return Parcel(number=len(orders))


@pytest.mark.parametrize(
    ("work", "numbers"),
    [
        (with_defaults, [5]),
        (annotated, [1]),
        (either, [1]),
        (mixed, [1]),
        (sequence, [1, 2]),
        (iterable, [1]),
        (as_tuple, [1, 2]),
        (generator, [1]),
        (async_generator, [1]),
        (of_either, [1]),
        (of_sequence, [1]),
    ],
)
async def test_annotations_are_understood_as_python_means_them(
    work: Callable[..., Any], numbers: list[int]
) -> None:
    async with Flock() as board:
        board.agent("work").calls(work)
        await board.publish(Order(number=1))
        report = await board.run_until_idle()
        assert (report.runs, report.failed) == (1, 0)
        assert await parcels(board) == numbers


async def test_an_optional_input_is_an_input_or_an_error_but_never_silence() -> None:
    def work(order: Order | None) -> Parcel:
        return Parcel(number=1)

    async with Flock() as board:
        try:
            board.agent("culprit").calls(work)
        except DeclarationError as error:
            message = str(error)
        else:
            message = "culprit"
            await board.publish(Order())
            await board.run_until_idle()
            assert await parcels(board) == [1]
        assert "culprit" in message


@pytest.mark.parametrize("mock", [AsyncMock, Mock])
async def test_a_mock_can_stand_in_for_a_function(mock: type[Mock]) -> None:
    work = mock(return_value=Parcel(number=3))
    async with Flock() as board:
        board.agent("work").consumes(Order).publishes(Parcel).calls(work)
        await board.publish(Order(number=1))
        await board.run_until_idle()
        assert await parcels(board) == [3]
        assert work.call_count == 1


# --- Generators ---------------------------------------------------------------------------


async def test_each_yield_of_a_generator_is_published_as_it_comes() -> None:
    reached = asyncio.Event()

    async def work(order: Order) -> AsyncIterator[Parcel]:
        yield Parcel(number=1)
        await reached.wait()  # the consumer of the first sets it
        yield Parcel(number=2)

    async def next_one(parcel: Parcel) -> None:
        reached.set()

    async with Flock() as board:
        board.agent("work").calls(work)
        board.agent("next").calls(next_one)
        order = await board.publish(Order())
        await board.run_until_idle()
        outputs = await board.store.list_by_type(Parcel)
        assert [a.as_model(Parcel).number for a in outputs] == [1, 2]
        assert [list(a.parents) for a in outputs] == [[order.id], [order.id]]


async def test_a_sync_generator_is_published_as_it_comes_too() -> None:
    reached = threading.Event()

    def work(order: Order) -> Iterator[Parcel]:
        yield Parcel(number=1)
        assert reached.wait(20)
        yield Parcel(number=2)

    async with Flock() as board:
        board.agent("work").calls(work)
        board.agent("next").consumes(Parcel).calls(lambda _: reached.set())
        await board.publish(Order())
        await board.run_until_idle()
        assert await parcels(board) == [1, 2]


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_retried_generator_skips_what_is_already_there(kind: str) -> None:
    attempts = 0

    async def async_work(order: Order, ctx: Context) -> AsyncIterator[Parcel]:
        nonlocal attempts
        attempts += 1
        for n in range(4):
            if n == 2 and ctx.attempt == 1:
                raise ValueError(n)
            yield Parcel(number=n)

    def sync_work(order: Order, ctx: Context) -> Iterator[Parcel]:
        nonlocal attempts
        attempts += 1
        for n in range(4):
            if n == 2 and ctx.attempt == 1:
                raise ValueError(n)
            yield Parcel(number=n)

    seen: list[int] = []
    async with Flock(clock=ManualClock(autojump=True)) as board:
        board.agent("work").calls(async_work if kind == "async" else sync_work).retry(2)
        board.agent("next").consumes(Parcel).calls(lambda p: seen.append(p.number))
        await board.publish(Order())
        report = await board.run_until_idle()
        assert attempts == 2
        assert await parcels(board) == [0, 1, 2, 3]
        assert sorted(seen) == [0, 1, 2, 3]
        assert report.dead_letters == 0


async def test_a_failure_in_the_middle_keeps_what_came_and_redrive_goes_on_from_there() -> None:
    broken = True

    async def work(order: Order) -> AsyncIterator[Parcel]:
        yield Parcel(number=0)
        yield Parcel(number=1)
        if broken:
            raise KeyError
        yield Parcel(number=2)

    async with Flock() as board:
        board.agent("work").calls(work)
        await board.publish(Order())
        report = await board.run_until_idle()
        assert await parcels(board) == [0, 1]
        assert report.failed == 1
        assert await error_of(board) == "KeyError"
        broken = False
        (letter,) = await board.dead_letters()
        await board.redrive(letter.id)
        await board.run_until_idle()
        assert await parcels(board) == [0, 1, 2]


async def test_an_empty_generator_declines() -> None:
    async def work(order: Order) -> AsyncIterator[Parcel]:
        for _ in range(order.number):
            yield Parcel()

    async with Flock() as board:
        board.agent("work").calls(work)
        await board.publish(Order(number=0))
        report = await board.run_until_idle()
        assert (report.runs, report.failed) == (1, 0)
        assert await parcels(board) == []


async def test_a_generator_that_yields_an_undeclared_type_fails() -> None:
    async def work(order: Order) -> AsyncIterator[Parcel]:
        yield Parcel(number=1)
        yield Letter()  # pyright: ignore[reportReturnType]

    async with Flock() as board:
        board.agent("work").calls(work)
        await board.publish(Order())
        await board.run_until_idle()
        assert await error_of(board) == "OutputContractError"
        assert await board.store.get_by_type(Letter) == []


# --- Outputs ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fan_out", "count", "fine"),
    [
        (3, 3, True),
        (3, 2, False),
        (3, 4, False),
        (3, 0, True),
        (1, 1, True),
        ((1, 3), 1, True),
        ((1, 3), 3, True),
        ((2, 3), 1, False),
        ((1, 3), 4, False),
        ((2, 3), 0, True),
        ((0, 2), 0, True),
        ((0, 2), 3, False),
        (None, 2, False),
        (None, 1, True),
        (None, 0, True),
    ],
)
async def test_fan_out_is_a_contract_but_an_engine_may_decline(
    fan_out: Any, count: int, fine: bool
) -> None:
    async with Flock() as board:
        board.agent("work").consumes(Order).publishes(Parcel, fan_out=fan_out).with_engines(
            engine(lambda _: [Parcel(number=n) for n in range(count)])
        )
        await board.publish(Order())
        report = await board.run_until_idle()
        if fine:
            assert report.failed == 0
            assert await parcels(board) == list(range(count))
        else:
            assert await error_of(board) == "OutputContractError"
            assert await parcels(board) == []


async def test_a_repeated_published_type_asks_for_that_many() -> None:
    counts = [2, 1, 3]
    async with Flock() as board:
        board.agent("work").consumes(Order).publishes(Parcel, Parcel).with_engines(
            engine(lambda i: [Parcel()] * counts[i.first_as(Order).number])
        )
        for n in range(3):
            await board.publish(Order(number=n))
        report = await board.run_until_idle()
        assert report.failed == 2
        assert len(await parcels(board)) == 2


async def test_one_group_of_several_types_is_all_or_nothing() -> None:
    answers: list[Any] = [[Parcel(), Letter()], [Parcel()], [Letter()], [], [Letter(), Parcel()]]
    async with Flock() as board:
        board.agent("work").consumes(Order).publishes(Parcel, Letter).with_engines(
            engine(lambda i: answers[i.first_as(Order).number])
        )
        for n in range(5):
            await board.publish(Order(number=n))
        report = await board.run_until_idle()
        assert report.failed == 2
        assert len(await parcels(board)) == 2
        assert len(await board.store.get_by_type(Letter)) == 2


async def test_each_publishes_is_one_engine_call() -> None:
    calls: list[set[str]] = []

    class Two(EngineComponent):
        name: str | None = "two"

        async def evaluate(
            self, agent: Any, ctx: Context, inputs: EvalInputs, output_group: Any
        ) -> EvalResult:
            calls.append({t.__name__ for t in output_group.types})
            return EvalResult.from_objects(*(t(number=len(calls)) for t in output_group.types))

    async with Flock() as board:
        board.agent("work").consumes(Order).publishes(Parcel, Letter).publishes(Odd).with_engines(
            Two()
        )
        await board.publish(Order())
        report = await board.run_until_idle()
        assert report.failed == 0
        assert calls == [{"Parcel", "Letter"}, {"Odd"}]
        assert len(await board.store.list()) == 4


async def test_a_failing_second_group_publishes_nothing_of_the_first() -> None:
    class Half(EngineComponent):
        name: str | None = "half"

        async def evaluate(
            self, agent: Any, ctx: Context, inputs: EvalInputs, output_group: Any
        ) -> EvalResult:
            if Odd in output_group.types:
                raise ValueError
            return EvalResult.from_object(Parcel())

    async with Flock() as board:
        board.agent("work").consumes(Order).publishes(Parcel).publishes(Odd).with_engines(Half())
        await board.publish(Order())
        report = await board.run_until_idle()
        assert report.failed == 1
        assert await parcels(board) == []


async def test_a_function_is_called_once_and_its_outputs_are_sorted_into_the_groups() -> None:
    calls = 0

    def work(order: Order) -> Any:
        nonlocal calls
        calls += 1
        return [Odd(number=1), Parcel(number=2), Letter(number=3)]

    async with Flock() as board:
        board.agent("work").consumes(Order).publishes(Parcel, Letter, tags={"pl"}).publishes(
            Odd, tags={"odd"}, visibility=PrivateVisibility(agents={"x"})
        ).calls(work)
        await board.publish(Order())
        report = await board.run_until_idle()
        assert (report.failed, calls) == (0, 1)
        (odd,) = await board.store.list_by_type(Odd)
        (parcel,) = await board.store.list_by_type(Parcel)
        assert set(odd.tags) == {"odd"}
        assert isinstance(odd.visibility, PrivateVisibility)
        assert set(parcel.tags) == {"pl"}


async def test_where_drops_after_counting_and_validate_fails_with_its_message() -> None:
    async with Flock() as board:
        board.agent("drop").consumes(Order, tags={"d"}).publishes(
            Parcel, fan_out=4, where=lambda p: p.number % 2 == 0
        ).with_engines(engine(lambda _: [Parcel(number=n) for n in range(4)]))
        board.agent("check").consumes(Order, tags={"c"}).publishes(
            Parcel,
            validate=[
                (lambda p: p.number >= 0, "must not be negative"),
                (lambda p: p.number < 5, "must be small"),
            ],
        ).with_engines(engine(lambda i: Parcel(number=i.first_as(Order).number)))
        await board.publish(Order(), tags={"d"})
        await board.run_until_idle()
        assert await parcels(board) == [0, 2]
        await board.publish(Order(number=7), tags={"c"})
        await board.publish(Order(number=4), tags={"c"})
        await board.run_until_idle()
        assert await parcels(board) == [0, 2, 4]
        (letter,) = await board.dead_letters()
        assert "must be small" in letter.error_message
        assert "negative" not in letter.error_message


async def test_validate_may_be_one_predicate() -> None:
    async with Flock() as board:
        board.agent("check").consumes(Order).publishes(
            Parcel, validate=lambda p: p.number > 0
        ).with_engines(engine(lambda i: Parcel(number=i.first_as(Order).number)))
        await board.publish_many([Order(number=0), Order(number=1)])
        report = await board.run_until_idle()
        assert report.failed == 1
        assert await parcels(board) == [1]


async def test_a_subclass_of_a_declared_output_is_not_that_type() -> None:
    class Big(Parcel):
        size: int = 9

    async with Flock() as board:
        board.agent("work").consumes(Order).publishes(Parcel).with_engines(engine(lambda _: Big()))
        await board.publish(Order())
        await board.run_until_idle()
        assert await error_of(board) == "OutputContractError"
        assert len(await board.store.list_by_type(Parcel)) == 0


async def test_inputs_that_a_chain_only_passed_through_are_never_published() -> None:
    async with Flock() as board:
        board.agent("none").consumes(Order).publishes(Order).with_engines(engine(lambda _: None))
        board.agent("empty").consumes(Order).publishes(Order).with_engines(
            engine(lambda _: EvalResult.empty())
        )
        board.agent("echo").consumes(Order).publishes(Order).with_engines(
            engine(lambda inputs: EvalResult(artifacts=list(inputs.artifacts)))
        )
        board.agent("state").consumes(Order).publishes(Order).with_engines(
            engine(lambda _: EvalResult.with_state({"x": 1}))
        )
        await board.publish(Order())
        report = await board.run_until_idle()
        assert (report.runs, report.failed) == (4, 0)
        assert len(await board.store.list()) == 1


async def test_an_agent_without_engine_or_function_answers_with_the_model_test() -> None:
    class Constrained(BaseModel):
        number: int = Field(ge=10, lt=12, multiple_of=1)
        text: Annotated[str, Field(min_length=5, max_length=6)]
        choice: Literal["x", "y"]
        several: list[Annotated[int, Field(gt=0)]] = Field(min_length=2)
        share: float = Field(gt=0, lt=1)
        nested: Parcel
        code: str = Field(pattern=r"^[A-Z]{3}$")

    async with Flock("test") as board:
        board.agent("thinks").consumes(Order).publishes(Constrained)
        await board.publish_many([Order(number=1), Order(number=1)])
        report = await board.run_until_idle()
        assert report.failed == 0
        first, second = await board.store.get_by_type(Constrained)
        assert first == second
        Constrained.model_validate(first.model_dump())


async def test_the_test_model_respects_fan_out() -> None:
    async with Flock("test") as board:
        board.agent("thinks").consumes(Order).publishes(Parcel, fan_out=3).publishes(Letter, Odd)
        await board.publish(Order())
        report = await board.run_until_idle()
        assert report.failed == 0
        assert len(await parcels(board)) == 3
        assert len(await board.store.get_by_type(Letter)) == 1
        assert len(await board.store.get_by_type(Odd)) == 1


async def test_scripted_engines_answer_in_turn_and_fail_on_demand() -> None:
    script = ScriptedEngine(answers=[Parcel(number=1), ValueError("scripted"), Parcel(number=3)])
    async with Flock() as board:
        board.agent("work").consumes(Order).publishes(Parcel).with_engines(script).max_concurrency(
            1
        )
        for n in range(3):
            await board.publish(Order(number=n))
            await board.run_until_idle()
        assert await parcels(board) == [1, 3]
        (letter,) = await board.dead_letters()
        assert (letter.error_type, letter.error_message) == ("ValueError", "scripted")


# --- Best of N ----------------------------------------------------------------------------


def best(board: Flock, answers: list[Any], score: Any, n: int = 3) -> None:
    calls = iter(answers)

    async def answer(_: EvalInputs) -> Any:
        value = next(calls)
        if isinstance(value, Exception):
            raise value
        return Parcel(number=value)

    board.agent("best").consumes(Order).publishes(Parcel).with_engines(engine(answer)).best_of(
        n, score=score
    )


def by_number(result: EvalResult) -> float:
    return result.artifacts[0].as_model(Parcel).number


@pytest.mark.parametrize(
    ("answers", "score", "winner"),
    [
        ([1, 3, 2], by_number, 3),
        ([1, 3, 2], lambda r: -by_number(r), 1),
        ([5, 6, 7], lambda _: 1.0, 5),
        ([5, 6, 7], None, 5),
        ([1, ValueError("x"), 2], by_number, 2),
        ([ValueError("x"), ValueError("y"), 2], by_number, 2),
        ([ValueError("x"), 4, 2], None, 4),
    ],
)
async def test_the_highest_score_wins_and_a_failing_candidate_only_loses(
    answers: list[Any], score: Any, winner: int
) -> None:
    async with Flock() as board:
        best(board, answers, score)
        await board.publish(Order())
        report = await board.run_until_idle()
        assert await parcels(board) == [winner]
        assert report.failed == 0


async def test_all_candidates_failing_fails_the_run_with_the_group() -> None:
    async with Flock() as board:
        best(board, [ValueError("a"), KeyError("b"), TypeError("c")], by_number)
        with pytest.raises(ExceptionGroup) as failure:
            await board.arun("best", Order())
        assert {type(e) for e in failure.value.exceptions} == {ValueError, KeyError, TypeError}


async def test_best_of_works_for_functions_and_agents_see_every_candidate_once() -> None:
    calls: list[int] = []

    async def work(order: Order) -> Parcel:
        calls.append(len(calls))
        return Parcel(number=len(calls))

    async with Flock() as board:
        board.agent("best").calls(work).best_of(4, score=by_number)
        await board.publish(Order())
        await board.run_until_idle()
        assert calls == [0, 1, 2, 3]
        assert await parcels(board) == [4]


async def test_no_score_is_asked_for_a_single_chain_but_it_runs() -> None:
    async with Flock() as board:
        best(board, [1], by_number, n=1)
        await board.publish(Order())
        await board.run_until_idle()
        assert await parcels(board) == [1]


# --- Limits and order ---------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "peak"), [(1, 1), (2, 2), (None, 16)])
async def test_an_agent_runs_at_most_so_many_at_once(limit: int | None, peak: int) -> None:
    release = asyncio.Event()
    active = 0
    highest = 0

    async def work(order: Order) -> None:
        nonlocal active, highest
        active += 1
        highest = max(highest, active)
        await release.wait()
        active -= 1

    async with Flock() as board:
        builder = board.agent("work").calls(work)
        if limit is not None:
            builder.max_concurrency(limit)
        await board.publish_many([Order(number=n) for n in range(40)])
        await turns()
        assert active == peak
        release.set()
        report = await board.run_until_idle()
        assert (report.runs, highest) == (40, peak)


async def test_higher_priority_runs_first_when_both_are_ready() -> None:
    ran: list[str] = []
    async with Flock(max_concurrency=1) as board:
        for name, priority in (("low", -5), ("middle", 0), ("high", 10)):
            board.agent(name).consumes(Order, priority=priority).calls(partial(noted, ran, name))
        await board.publish(Order())
        await board.run_until_idle()
        assert ran == ["high", "middle", "low"]


async def noted(ran: list[str], name: str, order: Order) -> None:
    ran.append(name)


async def test_work_of_one_agent_and_priority_starts_in_board_order() -> None:
    ran: list[int] = []

    async def work(order: Order) -> None:
        ran.append(order.number)

    async with Flock() as board:
        board.agent("work").calls(work).max_concurrency(1)
        await board.publish_many([Order(number=n) for n in range(50)])
        await board.run_until_idle()
        assert ran == list(range(50))


async def test_one_busy_agent_does_not_hold_up_another() -> None:
    release = asyncio.Event()

    async def busy(order: Order) -> None:
        await release.wait()

    done = asyncio.Event()

    async def quick(letter: Letter) -> None:
        done.set()

    async with Flock() as board:
        board.agent("busy").calls(busy).max_concurrency(1)
        board.agent("quick").calls(quick)
        await board.publish_many([Order(number=n) for n in range(30)])
        await board.publish(Letter())
        await done.wait()
        release.set()
        await board.run_until_idle()


# --- Matching -----------------------------------------------------------------------------


async def test_artifacts_match_by_type_producer_tags_and_predicates() -> None:
    ran: list[str] = []

    def note(name: str) -> Any:
        return lambda _: ran.append(name)

    async with Flock() as board:
        board.agent("maker").consumes(Letter).publishes(Order).calls(lambda _: Order(number=10))
        board.agent("any").consumes(Order).calls(note("any"))
        board.agent("made").consumes(Order, from_agents=["maker"]).calls(note("made"))
        board.agent("tagged").consumes(Order, tags={"x", "y"}).calls(note("tagged"))
        board.agent("big").consumes(Order, where=lambda o: o.number > 5).calls(note("big"))
        board.agent("both").consumes(
            Order, where=[lambda o: o.number > 5, lambda o: o.number < 8]
        ).calls(note("both"))
        await board.publish(Order(number=7), tags={"y", "z"})
        await board.run_until_idle()
        assert sorted(ran) == ["any", "big", "both", "tagged"]
        ran.clear()
        await board.publish(Letter())
        await board.run_until_idle()
        assert sorted(ran) == ["any", "big", "made"]


async def test_an_artifact_starts_at_most_one_ungated_run_per_agent() -> None:
    ran: list[int] = []
    async with Flock() as board:
        board.agent("a").consumes(Order, where=lambda o: o.number > 0).consumes(Order).consumes(
            Order, tags={"x"}
        ).calls(lambda o: ran.append(o.number))
        await board.publish_many([Order(number=1), Order(number=0)], tags={"x"})
        await board.run_until_idle()
        assert sorted(ran) == [0, 1]


async def test_several_consumes_mean_any_of_them() -> None:
    ran: list[str] = []
    async with Flock() as board:
        board.agent("a").consumes(Order).consumes(Letter).calls(
            lambda model: ran.append(type(model).__name__)
        )
        await board.publish(Order())
        await board.publish(Letter())
        await board.run_until_idle()
        assert sorted(ran) == ["Letter", "Order"]


async def test_an_agent_never_consumes_its_own_output_unless_told_so() -> None:
    def step(order: Order) -> Order:
        return Order(number=order.number + 1)

    for told, expected in ((False, [0, 1]), (True, [0, 1, 2, 3])):
        async with Flock() as board:
            builder = (
                board.agent("step")
                .consumes(Order, where=lambda o: o.number < 3)
                .publishes(Order)
                .calls(step)
            )
            if told:
                builder.prevent_self_trigger(False)
            await board.publish(Order())
            await board.run_until_idle()
            assert [o.number for o in await board.store.get_by_type(Order)] == expected


async def test_mode_direct_is_only_for_calls_and_never_for_publishing() -> None:
    ran: list[str] = []

    async def work(order: Order) -> None:
        ran.append("direct")

    async with Flock() as board:
        board.agent("direct").consumes(Order, mode="direct").calls(work)
        board.agent("events").consumes(Order, mode="events").calls(lambda _: ran.append("events"))
        await board.publish(Order())
        await board.run_until_idle()
        assert ran == ["events"]
        await board.arun("direct", Order())
        assert "direct" in ran


# --- Retry and timeout --------------------------------------------------------------------


async def test_retries_back_off_exponentially_on_the_boards_clock() -> None:
    clock = ManualClock()
    attempts: list[int] = []
    run_ids: set[Any] = set()

    async def work(order: Order, ctx: Context) -> Parcel:
        attempts.append(ctx.attempt)
        run_ids.add(ctx.run_id)
        if ctx.attempt < 4:
            raise ValueError(ctx.attempt)
        return Parcel(number=ctx.attempt)

    async with Flock(clock=clock) as board:
        board.agent("work").calls(work).retry(
            4, backoff=Backoff(10, factor=2.0, maximum=25.0, jitter=False)
        )
        await board.publish(Order())
        await clock.advance(timedelta(0))
        assert attempts == [1]
        for wait, count in ((9, 1), (2, 2), (18, 2), (2, 3), (23, 3), (3, 4)):
            await clock.advance(timedelta(seconds=wait))
            assert len(attempts) == count, wait
        report = await board.run_until_idle()
        assert attempts == [1, 2, 3, 4]
        assert await parcels(board) == [4]
        assert len(run_ids) == 1
        assert report.dead_letters == 0
        assert await board.store.get_by_type(WorkflowError) == []


async def test_jitter_only_shortens_the_wait() -> None:
    clock = ManualClock()
    attempts = 0

    async def work(order: Order) -> None:
        nonlocal attempts
        attempts += 1
        raise ValueError

    async with Flock(clock=clock) as board:
        board.agent("work").calls(work).retry(attempts=3, backoff=timedelta(seconds=10))
        await board.publish(Order())
        await clock.advance(timedelta(seconds=31))
        assert attempts == 3
        assert await error_of(board) == "ValueError"


async def test_only_the_named_errors_are_retried() -> None:
    attempts: list[str] = []

    async def work(order: Order) -> None:
        attempts.append(order.key)
        raise ValueError if order.key == "v" else KeyError

    async with Flock(clock=ManualClock(autojump=True)) as board:
        board.agent("work").calls(work).retry(3, on=ValueError)
        await board.publish(Order(key="v"))
        await board.publish(Order(key="k"))
        report = await board.run_until_idle()
        assert attempts.count("v") == 3
        assert attempts.count("k") == 1
        assert report.dead_letters == 2
        assert sorted(d.attempt for d in await board.dead_letters()) == [1, 3]


async def test_without_a_policy_there_is_one_attempt() -> None:
    attempts = 0

    async def work(order: Order) -> None:
        nonlocal attempts
        attempts += 1
        raise ValueError

    async with Flock(clock=ManualClock(autojump=True)) as board:
        board.agent("work").calls(work)
        await board.publish(Order())
        await board.run_until_idle()
        assert attempts == 1


async def test_backing_off_keeps_the_board_busy_and_frees_the_slot() -> None:
    clock = ManualClock()
    ran: list[str] = []

    async def work(order: Order, ctx: Context) -> None:
        ran.append(f"{order.key}{ctx.attempt}")
        if order.key == "bad" and ctx.attempt == 1:
            raise ValueError

    async with Flock(clock=clock, max_concurrency=1) as board:
        board.agent("work").calls(work).retry(2, backoff=Backoff(60, jitter=False))
        await board.publish(Order(key="bad"))
        await board.publish(Order(key="good"))
        idle = asyncio.create_task(board.run_until_idle())
        await clock.advance(timedelta(seconds=30))
        assert ran == ["bad1", "good1"]
        assert not idle.done()
        await clock.advance(timedelta(seconds=31))
        await idle
        assert ran == ["bad1", "good1", "bad2"]


async def test_a_hanging_agent_is_ended_by_its_timeout_and_counts_as_failed() -> None:
    clock = ManualClock()
    started = asyncio.Event()
    log: list[str] = []

    async def work(order: Order) -> Parcel:
        started.set()
        await asyncio.Event().wait()
        return Parcel()

    async with Flock(clock=clock) as board:
        board.agent("work").calls(work).timeout(5).with_utilities(spy("u", log))
        await board.publish(Order())
        await started.wait()
        await clock.advance(timedelta(seconds=4))
        assert await board.dead_letters() == []
        await clock.advance(timedelta(seconds=2))
        report = await board.run_until_idle()
        assert (report.failed, report.dead_letters) == (1, 1)
        assert await error_of(board) == "RunTimeout"
        assert issubclass(RunTimeout, TimeoutError)
        assert log[-1] == "u.on_terminate"
        assert "u.on_error" in log


async def test_a_timeout_is_retried_like_any_failure_and_each_attempt_has_its_own_time() -> None:
    clock = ManualClock()
    attempts = 0

    async def work(order: Order) -> None:
        nonlocal attempts
        attempts += 1
        await asyncio.Event().wait()

    async with Flock(clock=clock) as board:
        board.agent("work").calls(work).timeout(timedelta(seconds=5)).retry(
            2, backoff=Backoff(10, jitter=False)
        )
        await board.publish(Order())
        await clock.advance(timedelta(seconds=6))
        assert attempts == 1
        await clock.advance(timedelta(seconds=10))
        assert attempts == 2
        await clock.advance(timedelta(seconds=6))
        assert await error_of(board) == "RunTimeout"


async def test_an_agent_that_swallows_its_cancellation_still_ends_as_timed_out() -> None:
    clock = ManualClock()
    started = asyncio.Event()

    async def stubborn(order: Order) -> Parcel:
        started.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return Parcel(number=1)

    async with Flock(clock=clock) as board:
        board.agent("work").calls(stubborn).timeout(5)
        await board.publish(Order())
        await started.wait()
        await clock.advance(timedelta(seconds=6))
        await board.run_until_idle()
        assert await error_of(board) == "RunTimeout"
        assert await parcels(board) == []


async def test_waiting_for_a_slot_does_not_use_up_the_timeout() -> None:
    clock = ManualClock()
    gate = asyncio.Event()
    started: list[int] = []

    async def work(order: Order) -> Parcel:
        started.append(order.number)
        if order.number == 0:
            await gate.wait()
        return Parcel(number=order.number)

    async with Flock(clock=clock) as board:
        board.agent("slow").calls(work).max_concurrency(1).timeout(100)
        await board.publish(Order(number=0))
        await board.publish(Order(number=1))
        await clock.advance(timedelta(seconds=90))
        gate.set()
        await clock.advance(timedelta(seconds=20))
        report = await board.run_until_idle()
        assert report.failed == 0
        assert sorted(await parcels(board)) == [0, 1]
