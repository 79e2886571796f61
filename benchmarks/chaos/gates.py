"""The board that is killed: every kind of gate, and agents that write down what they did."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel

from flock import (
    Artifact,
    Backoff,
    BatchSpec,
    Context,
    EvalInputs,
    Flock,
    JoinSpec,
    NotFound,
    SQLiteBlackboardStore,
)

if TYPE_CHECKING:
    from benchmarks.chaos.journal import Journal
    from benchmarks.chaos.plan import Plan

PIECES: Final = 3
"""How many pieces an order is split into."""
TICKS: Final = 4
"""How many outputs the stream over one order has."""
POISONED: Final = 100
"""Of how many orders one fails for good."""


class Order(BaseModel):
    n: int


class Piece(BaseModel):
    n: int
    i: int


class Left(BaseModel):
    n: int


class Right(BaseModel):
    n: int


class Early(BaseModel):
    n: int


class Late(BaseModel):
    n: int


class Pair(BaseModel):
    n: int


class Joined(BaseModel):
    ns: list[int]


class Met(BaseModel):
    n: int


class Waited(BaseModel):
    n: int


class Marked(BaseModel):
    n: int
    value: int


class Tick(BaseModel):
    n: int
    i: int


class Total(BaseModel):
    pieces: list[tuple[int, int]]


class Pack(BaseModel):
    ticks: list[tuple[int, int]]


class Tried(BaseModel):
    n: int


class Stumble(RuntimeError):
    """What an agent raises that may succeed the next time."""


def is_late(n: int) -> bool:
    """Whether an order ever gets what its joins wait for."""
    return n % 7 != 3


def is_poisoned(seed: int, n: int) -> bool:
    """Whether the agent that may fail does so for good."""
    return random.Random(f"{seed}/poison/{n}").randrange(POISONED) == 0


async def serve(plan: Plan, journal: Journal) -> None:
    """Do what a process does until it is killed, or done."""
    store = SQLiteBlackboardStore(plan.board, durability=plan.durability)
    flock = Flock(store=store, no_output=True)
    luck = random.Random(f"{plan.seed}/{plan.round}")
    declare(flock, journal, plan.seed, luck)
    if plan.closes_after is not None:
        async with asyncio.timeout(None) as until:
            work = asyncio.ensure_future(_work(flock, plan, journal, luck))
            until.reschedule(asyncio.get_running_loop().time() + 60)
            await asyncio.wait([work], timeout=plan.closes_after)
            await flock.shutdown(plan.grace)
            work.cancel()
            with suppress(Exception, asyncio.CancelledError):
                await work
        return
    await _work(flock, plan, journal, luck)
    while await flock.flush():
        await flock.run_until_idle()
    await flock.shutdown()


async def _work(flock: Flock, plan: Plan, journal: Journal, luck: random.Random) -> None:
    """Publish, and wait until all that follows from it is done."""
    orders = [*range(plan.first, plan.last)]
    luck.shuffle(orders)
    if luck.random() < 0.3:
        await _redrive(flock, journal, luck)
    for n in orders:
        artifact = await flock.publish(Order(n=n), idempotency_key=f"order {n}")
        journal.write("published", n=n, id=artifact.id.hex)
        if luck.random() < 0.2:
            await asyncio.sleep(luck.random() * 0.01)
    await flock.run_until_idle()


async def _redrive(flock: Flock, journal: Journal, luck: random.Random) -> None:
    letters = await flock.dead_letters()
    if letters:
        letter = luck.choice(letters)
        journal.write("redriven", run=letter.run_id)
        with suppress(NotFound):
            await flock.redrive(letter.id)


def declare(  # noqa: C901 - one short function for each agent
    flock: Flock, journal: Journal, seed: int, luck: random.Random
) -> None:
    """Declare the agents.

    Args:
        flock: The board.
        journal: Where they write down what they do.
        seed: Decides what fails.
        luck: Decides how long things take, and which attempts fail.
    """

    def begin(agent: str, ctx: Context, inputs: Sequence[Artifact]) -> None:
        """Write an attempt down: its run and what it is over."""
        ids = [artifact.id.hex for artifact in inputs]
        journal.write("begun", agent=agent, run=ctx.run_id, attempt=ctx.attempt, inputs=ids)

    async def dawdle() -> None:
        if luck.random() < 0.5:
            await asyncio.sleep(luck.random() * 0.02)

    def stumble(share: float = 0.05) -> None:
        if luck.random() < share:
            raise Stumble

    def split(order: Order, ctx: Context, inputs: EvalInputs) -> list[Piece]:
        begin("split", ctx, inputs.artifacts)
        return [Piece(n=order.n, i=i) for i in range(PIECES)]

    async def left(order: Order, ctx: Context, inputs: EvalInputs) -> Left:
        begin("left", ctx, inputs.artifacts)
        await dawdle()
        return Left(n=order.n)

    async def right(order: Order, ctx: Context, inputs: EvalInputs) -> Right:
        begin("right", ctx, inputs.artifacts)
        await dawdle()
        return Right(n=order.n)

    async def early(order: Order, ctx: Context, inputs: EvalInputs) -> Early:
        begin("early", ctx, inputs.artifacts)
        return Early(n=order.n)

    async def late(order: Order, ctx: Context, inputs: EvalInputs) -> Late | None:
        begin("late", ctx, inputs.artifacts)
        await dawdle()
        return Late(n=order.n) if is_late(order.n) else None

    async def pair(one: Left, other: Right, ctx: Context, inputs: EvalInputs) -> Pair:
        begin("pair", ctx, inputs.artifacts)
        assert one.n == other.n
        stumble()
        await dawdle()
        return Pair(n=one.n)

    async def join(inputs: EvalInputs, ctx: Context) -> Joined:
        begin("join", ctx, inputs.artifacts)
        stumble()
        await dawdle()
        ones, others = inputs.all_as(Left), inputs.all_as(Right)
        assert [one.n for one in ones] == [other.n for other in others]
        return Joined(ns=[one.n for one in ones])

    async def meet(one: Early, other: Late, ctx: Context, inputs: EvalInputs) -> Met:
        begin("meet", ctx, inputs.artifacts)
        assert one.n == other.n
        await dawdle()
        return Met(n=one.n)

    async def wait(inputs: EvalInputs, ctx: Context) -> Waited:
        begin("wait", ctx, inputs.artifacts)
        await dawdle()
        one, other = inputs.first_as(Early), inputs.first_as(Late)
        return Waited(n=one.n if one is not None else other.n if other is not None else -1)

    async def total(pieces: list[Piece], ctx: Context, inputs: EvalInputs) -> Total:
        begin("total", ctx, inputs.artifacts)
        stumble()
        await dawdle()
        return Total(pieces=[(piece.n, piece.i) for piece in pieces])

    async def pack(ticks: list[Tick], ctx: Context, inputs: EvalInputs) -> Pack:
        begin("pack", ctx, inputs.artifacts)
        await dawdle()
        return Pack(ticks=[(tick.n, tick.i) for tick in ticks])

    async def tick(order: Order, ctx: Context, inputs: EvalInputs) -> AsyncIterator[Tick]:
        begin("tick", ctx, inputs.artifacts)
        for i in range(TICKS):
            if i == 2:
                stumble(0.1)
            yield Tick(n=order.n, i=i)
            await dawdle()

    async def mark(order: Order, ctx: Context, inputs: EvalInputs) -> Marked:
        begin("mark", ctx, inputs.artifacts)

        def draw(name: str) -> int:
            value = luck.getrandbits(40)
            journal.write("step", run=ctx.run_id, name=name, value=value)
            return value

        value = await ctx.step("first", draw, "first")
        journal.write("returned", run=ctx.run_id, name="first", value=value)
        await dawdle()
        stumble(0.2)
        more = await ctx.step("second", draw, "second")
        journal.write("returned", run=ctx.run_id, name="second", value=more)
        await dawdle()
        return Marked(n=order.n, value=value + more)

    def attempt(order: Order, ctx: Context, inputs: EvalInputs) -> Tried:
        begin("try", ctx, inputs.artifacts)
        if is_poisoned(seed, order.n):
            msg = f"order {order.n} never succeeds"
            raise Stumble(msg)
        if ctx.attempt <= order.n % 3:
            msg = f"order {order.n} does not succeed yet"
            raise Stumble(msg)
        return Tried(n=order.n)

    soon = Backoff(initial=0.005, maximum=0.03)
    often = Backoff(initial=0.0)
    flock.agent("split").consumes(Order).publishes(Piece, fan_out=PIECES).calls(split)
    flock.agent("left").consumes(Order).publishes(Left).calls(left)
    flock.agent("right").consumes(Order).publishes(Right).calls(right)
    flock.agent("early").consumes(Order).publishes(Early).calls(early)
    flock.agent("late").consumes(Order).publishes(Late).calls(late)
    (flock.agent("pair").consumes(Left, Right).publishes(Pair).calls(pair).retry(50, often))
    by_order = JoinSpec(by="n", within=timedelta(days=1))
    (
        flock.agent("join")
        .consumes(Left, Right, join=by_order, batch=BatchSpec(size=3, timeout=0.08))
        .publishes(Joined)
        .calls(join)
        .retry(50, often)
    )
    counted = JoinSpec(by="n", within=60)
    flock.agent("meet").consumes(Early, Late, join=counted).publishes(Met).calls(meet)
    brief = JoinSpec(by="n", within=timedelta(seconds=0.05), on_expired="run")
    flock.agent("wait").consumes(Early, Late, join=brief).publishes(Waited).calls(wait)
    (
        flock.agent("total")
        .consumes(Piece, batch=BatchSpec(size=5, timeout=0.05))
        .publishes(Total)
        .calls(total)
        .retry(50, often)
    )
    flock.agent("pack").consumes(Tick, batch=BatchSpec(size=6)).publishes(Pack).calls(pack)
    flock.agent("tick").consumes(Order).publishes(Tick).calls(tick).retry(50, often)
    flock.agent("mark").consumes(Order).publishes(Marked).calls(mark).retry(50, soon)
    flock.agent("try").consumes(Order).publishes(Tried).calls(attempt).retry(4, soon)
    logging.getLogger("flock").setLevel(logging.CRITICAL)
