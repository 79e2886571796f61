"""Functions bind by annotation also where annotations are strings."""

# Agents are short lambdas here.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportOptionalMemberAccess=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from flock import Context, DeclarationError, EvalInputs, Flock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


class Order(BaseModel):
    number: int = 0


class Parcel(BaseModel):
    number: int


async def pack(order: Order, ctx: Context) -> Parcel:
    assert ctx.correlation_id
    return Parcel(number=order.number)


async def test_module_level_classes_are_found() -> None:
    async with Flock() as board:
        board.agent("pack").calls(pack)
        await board.publish(Order(number=1))
        await board.run_until_idle()
        assert await board.store.get_by_type(Parcel) == [Parcel(number=1)]


async def test_local_classes_are_found() -> None:
    class Local(BaseModel):
        number: int

    class LocalResult(BaseModel):
        number: int

    async def work(item: Local) -> LocalResult:
        return LocalResult(number=item.number)

    def count(items: list[LocalResult]) -> None:
        counted.append(len(items))

    counted: list[int] = []
    async with Flock() as board:
        board.agent("work").calls(work)
        board.agent("count").consumes(LocalResult, LocalResult).calls(count)
        await board.publish_many([Local(number=1), Local(number=2)], correlation_id="c")
        await board.run_until_idle()
        assert sorted(m.number for m in await board.store.get_by_type(LocalResult)) == [1, 2]
        assert counted == [2]


def declare(board: Flock, name: str, work: Any) -> None:
    board.agent(name).calls(work)


async def test_local_classes_are_found_when_a_helper_declares_the_agent() -> None:
    class Local(BaseModel):
        number: int

    async def work(item: Local) -> Parcel:
        return Parcel(number=item.number)

    async with Flock() as board:
        declare(board, "work", work)
        await board.publish(Local(number=3))
        await board.run_until_idle()
        assert await board.store.get_by_type(Parcel) == [Parcel(number=3)]


async def test_iterators_imported_for_type_checking_only_are_understood() -> None:
    async def several(order: Order) -> AsyncIterator[Parcel]:
        for n in range(3):
            yield Parcel(number=n)

    def sync_several(order: Order) -> Iterator[Parcel]:
        yield Parcel(number=9)

    async with Flock() as board:
        board.agent("several").calls(several)
        board.agent("sync").calls(sync_several)
        await board.publish(Order())
        await board.run_until_idle()
        numbers = sorted(p.number for p in await board.store.get_by_type(Parcel))
        assert numbers == [0, 1, 2, 9]


async def test_methods_and_callable_objects_bind_too() -> None:
    class Service:
        async def work(self, order: Order) -> Parcel:
            return Parcel(number=order.number)

        async def __call__(self, inputs: EvalInputs) -> Parcel:
            return Parcel(number=inputs.first_as(Order).number + 100)

    async with Flock() as board:
        board.agent("method").calls(Service().work)
        board.agent("object").consumes(Order).publishes(Parcel).calls(Service())
        await board.publish(Order(number=1))
        await board.run_until_idle()
        assert sorted(p.number for p in await board.store.get_by_type(Parcel)) == [1, 101]


def test_an_annotation_that_cannot_be_resolved_is_a_declaration_error() -> None:
    async def work(order: Nowhere) -> Parcel:  # pyright: ignore[reportUndefinedVariable, reportUnknownParameterType]  # noqa: F821
        return Parcel(number=1)

    def declare_and_open() -> None:
        board = Flock()
        board.agent("culprit").calls(work)
        board.run("culprit", Order())

    with pytest.raises(DeclarationError, match="Nowhere") as failure:
        declare_and_open()
    assert "culprit" in str(failure.value)
