"""A small board with something of everything, written by each version of the schema.

`python -m tests.integration.sqlite.stored_board` writes `boards/v<newest>.sql` anew, which is only
done until that version of the schema is released.
"""

import asyncio
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from pydantic import BaseModel

from flock import (
    BatchSpec,
    Context,
    Flock,
    JoinSpec,
    PrivateVisibility,
    Usage,
    flock_type,
)
from flock.store.sqlite import SQLiteBlackboardStore, schema
from flock.testing import ManualClock

BOARDS: Final = Path(__file__).with_name("boards")


@flock_type(name="stored.Order", version=2)
class Order(BaseModel):
    n: int
    note: str = ""


@flock_type(name="stored.Payment")
class Payment(BaseModel):
    n: int


@flock_type(name="stored.Pair")
class Pair(BaseModel):
    n: int


@flock_type(name="stored.Broken")
class Broken(BaseModel):
    n: int


@flock_type(name="stored.Slow")
class Slow(BaseModel):
    n: int


@flock_type(name="stored.Done")
class Done(BaseModel):
    steps: list[str]


@flock_type(name="stored.Count")
class Count(BaseModel):
    numbers: list[int]


def board(path: Path, hangs: asyncio.Event | None = None) -> Flock:
    """Declare the board, on which some agents fail, or set an event and hang, if it is given."""
    is_repaired = hangs is None
    flock = Flock(store=SQLiteBlackboardStore(path), clock=ManualClock())

    async def pair(order: Order, payment: Payment) -> Pair:
        return Pair(n=order.n)

    async def broken(it: Broken) -> Done:
        if not is_repaired:
            msg = f"number {it.n} is broken"
            raise ValueError(msg)
        return Done(steps=["repaired"])

    async def slow(it: Slow, ctx: Context) -> Done:
        first = await ctx.step("first", lambda: "again" if is_repaired else "before")
        await ctx.charge("some/model", Usage(calls=1, input_tokens=10, output_tokens=5, usd=0.25))
        if hangs is not None:
            hangs.set()
            await asyncio.Event().wait()
        second = await ctx.step("second", lambda: "after")
        return Done(steps=[first, second])

    async def count(payments: list[Payment]) -> Count:
        return Count(numbers=[payment.n for payment in payments])

    flock.agent("pair").consumes(
        Order, Payment, join=JoinSpec(by=lambda m: m.n, within=timedelta(days=9999))
    ).publishes(Pair).calls(pair)
    flock.agent("broken").consumes(Broken).publishes(Done).calls(broken)
    flock.agent("slow").consumes(Slow).publishes(Done).calls(slow)
    flock.agent("count").consumes(Payment, batch=BatchSpec(size=3)).publishes(Count).calls(count)
    return flock


async def write(path: Path) -> None:
    """Let the board come as far as it is stored."""
    hangs = asyncio.Event()
    flock = board(path, hangs)
    async with flock:
        await flock.publish(Order(n=1), correlation_id="first", idempotency_key="order 1")
        await flock.publish(Payment(n=1), correlation_id="first", tags={"paid", "grün"})
        await flock.publish(
            Order(n=2, note="waits"), visibility=PrivateVisibility(agents={"pair", "auditor"})
        )
        await flock.publish(Broken(n=3), partition_key="p")
        await flock.run_until_idle(timeout=0)
        await flock.publish(Slow(n=4))
        await hangs.wait()
        await flock.shutdown(grace=0)


def dump(path: Path) -> Iterable[str]:
    """Yield a board's file as SQL."""
    with closing(sqlite3.connect(path)) as connection:
        for pragma in ("application_id", "user_version"):
            (value,) = connection.execute(f"PRAGMA {pragma}").fetchone()
            yield f"PRAGMA {pragma} = {value};"
        for statement in connection.iterdump():
            if "\"meta\" VALUES('holder'" not in statement:  # it names the machine
                yield statement


def restore(version: int, path: Path) -> None:
    """Make the file that a version of the schema wrote."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript((BOARDS / f"v{version}.sql").read_text())


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        file = Path(folder) / "board.db"
        asyncio.run(write(file))
        newest = schema.migrations()[-1].version
        (BOARDS / f"v{newest}.sql").write_text("\n".join(dump(file)) + "\n")
