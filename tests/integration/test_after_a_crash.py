"""What a board goes on with after a crash, at moments that chance seldom hits.

The file and its journal are copied while the board works, which is what a kill at that moment
would have left; another board goes on with the copy.
"""

import asyncio
import gc
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from flock import (
    Artifact,
    BatchSpec,
    Context,
    EvalInputs,
    Flock,
    GroupExpired,
    JoinSpec,
    OrchestratorComponent,
    SQLiteBlackboardStore,
    When,
)
from flock.components.board import Board
from flock.core.delivery import Delivery, Run
from flock.store.protocol import Commit
from flock.testing import ManualClock


class Left(BaseModel):
    n: int


class Right(BaseModel):
    n: int


class Third(BaseModel):
    n: int


class Out(BaseModel):
    ns: list[int]


class Crashing(SQLiteBlackboardStore):
    """A board that leaves a copy as of right after the first commit that is chosen, or before."""

    def __init__(
        self, path: Path, chosen: Callable[[Commit], bool], *, before: bool = False
    ) -> None:
        super().__init__(path)
        self.copy = path.with_name("copy.db")
        self._before = before
        self._chosen = chosen
        self._is_left = False

    async def commit(self, commit: Commit) -> None:
        is_chosen = not self._is_left and self._chosen(commit)
        self._is_left |= is_chosen
        if is_chosen and self._before:
            await super().commit(Commit())  # what was noted is there
            await self._writing.call(self._leave)
        await super().commit(commit)
        if is_chosen and not self._before:
            await self._writing.call(self._leave)

    def _leave(self, connection: sqlite3.Connection) -> None:
        del connection  # nothing is written meanwhile
        for suffix in ("", "-wal"):
            shutil.copy(f"{self.path}{suffix}", f"{self.copy}{suffix}")


def rows(path: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def publishes(commit: Commit, name: str) -> bool:
    return any(artifact.type.endswith(name) for artifact in commit.artifacts)


@pytest.mark.parametrize("batch", [None, BatchSpec(size=1)])
async def test_a_group_that_is_to_run_when_it_expires_is_told_of_once(
    tmp_path: Path, batch: BatchSpec | None
) -> None:
    clock = ManualClock(autojump=True)

    def board(store: SQLiteBlackboardStore) -> Flock:
        async def take(inputs: EvalInputs) -> Out:
            return Out(ns=[artifact.payload["n"] for artifact in inputs.artifacts])

        flock = Flock(store=store, clock=clock)
        join = JoinSpec(by="n", within=timedelta(seconds=10), on_expired="run")
        agent = flock.agent("take").consumes(Left, Right, join=join, batch=batch)
        agent.publishes(Out).calls(take)
        return flock

    store = Crashing(tmp_path / "board.db", lambda commit: publishes(commit, "GroupExpired"))
    for each in (store, SQLiteBlackboardStore(store.copy)):
        async with board(each) as flock:
            if each is store:
                await flock.publish(Left(n=1))
            await flock.run_until_idle()
            assert len(await each.get_by_type(GroupExpired)) == 1
            assert [out.ns for out in await each.get_by_type(Out)] == [[1]]
        assert rows(each.path, "SELECT count(*) FROM deliveries") == [(0,)]
        assert rows(each.path, "SELECT count(*) FROM open_runs") == [(0,)]


@pytest.mark.parametrize("batch", [None, BatchSpec(size=2)])
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("name", ["Left", "Right", "Third", "Out"])
async def test_what_an_activation_holds_or_lets_go_on_comes_out_once(
    tmp_path: Path, name: str, batch: BatchSpec | None, *, before: bool
) -> None:
    """Whatever was the last thing on record: what waits, what it waits for, or what came of it."""
    ready = When.correlation(Right).count_at_least(2) & When.correlation(Third).exists()

    def board(store: SQLiteBlackboardStore) -> Flock:
        async def take(inputs: EvalInputs) -> Out:
            return Out(ns=[artifact.payload["n"] for artifact in inputs.artifacts])

        flock = Flock(store=store)
        agent = flock.agent("take").consumes(Left, activation=ready, batch=batch)
        agent.publishes(Out).calls(take)
        return flock

    store = Crashing(tmp_path / "board.db", lambda c: publishes(c, name), before=before)
    models = [Left(n=1), Right(n=1), Right(n=2), Left(n=2), Third(n=1)]
    async with board(store) as flock:
        for n, model in enumerate(models):
            await flock.publish(model, correlation_id="w", idempotency_key=str(n))
        await flock.run_until_idle()
        expected = sorted(out.ns for out in await store.get_by_type(Out))
    async with board(copy := SQLiteBlackboardStore(store.copy)) as flock:
        for n, model in enumerate(models):
            await flock.publish(model, correlation_id="w", idempotency_key=str(n))
        report = await flock.run_until_idle()
        assert report.waiting == 0
        assert sorted(out.ns for out in await copy.get_by_type(Out)) == expected
    assert expected == ([[1], [2]] if batch is None else [[1, 2]])
    assert rows(copy.path, "SELECT count(*) FROM deliveries") == [(0,)]


async def test_a_counted_window_that_was_over_expires_as_a_whole(tmp_path: Path) -> None:
    clock = ManualClock(autojump=True)

    def board(store: SQLiteBlackboardStore) -> Flock:
        async def take(a: Left, b: Right, c: Third) -> Out:
            return Out(ns=[a.n, b.n, c.n])

        flock = Flock(store=store, clock=clock)
        join = JoinSpec(by="n", within=3)
        flock.agent("take").consumes(Left, Right, Third, join=join).publishes(Out).calls(take)
        return flock

    # the third arrival ends the window of the first group; a crash comes before that is stored
    path = tmp_path / "board.db"
    store = Crashing(path, lambda commit: publishes(commit, "GroupExpired"), before=True)
    for each in (store, SQLiteBlackboardStore(store.copy)):
        async with board(each) as flock:
            if each is store:
                for model in (Left(n=1), Right(n=1), Third(n=2)):
                    await flock.publish(model)
            await flock.run_until_idle()
            [record] = await each.get_by_type(GroupExpired)
            assert len(record.artifact_ids) == 2


async def test_a_retry_that_a_crash_interrupts_counts(tmp_path: Path) -> None:
    attempts: list[int] = []
    clock = ManualClock(autojump=True)

    def board(store: SQLiteBlackboardStore) -> Flock:
        async def fail(left: Left, ctx: Context) -> Out:
            attempts.append(ctx.attempt)
            raise ValueError(left.n)

        flock = Flock(store=store, clock=clock)
        flock.agent("fail").consumes(Left).publishes(Out).calls(fail).retry(3, 1)
        return flock

    def is_second(commit: Commit) -> bool:
        return any(run.attempt == 2 for run in commit.progress)

    store = Crashing(tmp_path / "board.db", is_second)
    async with board(store) as flock:
        await flock.publish(Left(n=1))
        await flock.run_until_idle()
    assert attempts == [1, 2, 3]
    attempts.clear()
    async with board(SQLiteBlackboardStore(store.copy)) as flock:
        report = await flock.run_until_idle()
        assert report.dead_letters == 1
    assert attempts == [3], "the second attempt had begun"


async def test_a_step_whose_result_was_kept_is_not_taken_again(tmp_path: Path) -> None:
    taken: list[str] = []

    def board(store: SQLiteBlackboardStore) -> Flock:
        async def work(left: Left, ctx: Context) -> Out:
            first = await ctx.step("first", lambda: taken.append("first") or 1)
            second = await ctx.step("second", lambda: taken.append("second") or 2)
            return Out(ns=[first, second])

        flock = Flock(store=store)
        flock.agent("work").consumes(Left).publishes(Out).calls(work)
        return flock

    store = Crashing(tmp_path / "board.db", lambda commit: commit.step is not None)
    async with board(store) as flock:
        await flock.publish(Left(n=1))
        await flock.run_until_idle()
    assert taken == ["first", "second"]
    async with board(SQLiteBlackboardStore(store.copy)) as flock:
        await flock.run_until_idle()
        assert [out.ns for out in await flock.store.get_by_type(Out)] == [[1, 2]]
    assert taken == ["first", "second", "second"]
    assert rows(store.copy, "SELECT count(*) FROM steps") == [(0,)]


class Forgetful(SQLiteBlackboardStore):
    """A board that never has room for what nobody waits for."""

    def note(self, what: Run | Delivery) -> None:
        del what


async def test_steps_of_a_run_that_could_not_be_noted_go_with_it(tmp_path: Path) -> None:
    async def work(left: Left, ctx: Context) -> Out:
        return Out(ns=[await ctx.step("one", lambda: left.n)])

    flock = Flock(store=Forgetful(tmp_path / "board.db"))
    flock.agent("work").consumes(Left).publishes(Out).calls(work)
    async with flock:
        await flock.publish(Left(n=1))
        await flock.run_until_idle()
        assert len(await flock.store.get_by_type(Out)) == 1
    assert rows(tmp_path / "board.db", "SELECT count(*) FROM steps") == [(0,)]


async def test_deadlines_that_passed_while_the_board_was_closed_fire_when_it_opens(
    tmp_path: Path,
) -> None:
    clock = ManualClock()

    def board() -> Flock:
        async def take(lefts: list[Left]) -> Out:
            return Out(ns=[left.n for left in lefts])

        flock = Flock(store=SQLiteBlackboardStore(tmp_path / "board.db"), clock=clock)
        batch = BatchSpec(timeout=60)
        flock.agent("take").consumes(Left, batch=batch).publishes(Out).calls(take)
        return flock

    async with board() as flock:
        await flock.publish(Left(n=1))
        await clock.advance(30)
        await flock.publish(Left(n=2))
    await clock.advance(40)
    async with board() as flock:
        await flock.run_until_idle()
        assert [out.ns for out in await flock.store.get_by_type(Out)] == [[1, 2]]


async def test_a_board_left_open_by_an_event_loop_that_ended_goes_on_in_another(
    tmp_path: Path,
) -> None:
    flock = Flock(store=SQLiteBlackboardStore(tmp_path / "board.db"))

    async def take(left: Left) -> Out:
        return Out(ns=[left.n])

    flock.agent("take").consumes(Left).publishes(Out).calls(take)

    async def publish() -> None:
        await flock.publish_many([Left(n=n) for n in range(50)])

    async def finish() -> list[Out]:
        async with flock:
            await flock.run_until_idle()
            return await flock.store.get_by_type(Out)

    await asyncio.to_thread(asyncio.run, publish())
    outs = await asyncio.to_thread(asyncio.run, finish())
    assert sorted(out.ns for out in outs) == [[n] for n in range(50)]


async def test_a_publish_that_is_cancelled_is_there_or_is_not_and_the_rest_goes_on(
    tmp_path: Path,
) -> None:
    async with Flock(store=SQLiteBlackboardStore(tmp_path / "board.db")) as flock:

        def take(left: Left) -> Out:
            return Out(ns=[left.n])

        flock.agent("take").consumes(Left).publishes(Out).calls(take)
        tasks: list[asyncio.Task[Any]] = []
        for turn in range(20):
            some = [asyncio.create_task(flock.publish(Left(n=turn))) for _ in range(20)]
            for _ in range(turn % 4):
                await asyncio.sleep(0)
            for task in some[::2]:
                task.cancel()
            tasks += some
        results = await asyncio.gather(*tasks, return_exceptions=True)
        published = {each.id for each in results if not isinstance(each, BaseException)}
        await flock.run_until_idle()
        there = {artifact.id for artifact in await flock.store.list_by_type(Left)}
        assert len(published) >= 200
        assert published <= there
        assert len(await flock.store.get_by_type(Out)) == len(there)


class Jumping:
    """The machine's clock, set back or forward by hand while its timers go on."""

    def __init__(self) -> None:
        self._manual = ManualClock(autojump=True)
        self.offset = 0.0

    def time(self) -> float:
        return self._manual.time() + self.offset

    def call_at(self, when: float, callback: Callable[[], None]) -> Any:
        return self._manual.call_at(when - self.offset, callback)

    def working(self) -> Any:
        return self._manual.working()


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
async def test_a_clock_that_is_set_loses_nothing_and_keeps_the_order_of_the_board(
    tmp_path: Path, jump: float
) -> None:
    clock = Jumping()

    def board() -> Flock:
        tried: set[int] = set()

        async def one(left: Left) -> Third:
            if left.n not in tried:
                tried.add(left.n)
                clock.offset += jump
                raise ValueError(left.n)
            return Third(n=left.n)

        async def gather(thirds: list[Third]) -> Out:
            return Out(ns=[third.n for third in thirds])

        async def join(left: Left, third: Third) -> Right:
            return Right(n=left.n)

        flock = Flock(store=SQLiteBlackboardStore(tmp_path / "board.db"), clock=clock)
        flock.agent("one").consumes(Left).publishes(Third).calls(one).retry(2, 5)
        batch = BatchSpec(size=2, timeout=60)
        flock.agent("gather").consumes(Third, batch=batch).publishes(Out).calls(gather)
        by = JoinSpec(by="n", within=1000)
        flock.agent("join").consumes(Left, Third, join=by).publishes(Right).calls(join)
        return flock

    for n in range(3):
        async with board() as flock:
            await flock.publish(Left(n=n))
            clock.offset += jump
            await flock.run_until_idle()
            clock.offset += jump
    async with board() as flock:
        await flock.run_until_idle()
        outs = await flock.store.get_by_type(Out)
        assert sorted(n for out in outs for n in out.ns) == [0, 1, 2]
        assert sorted(right.n for right in await flock.store.get_by_type(Right)) == [0, 1, 2]
        lefts = await flock.store.list_by_type(Left)
        assert [left.payload["n"] for left in lefts] == [0, 1, 2]
        assert [left.seq for left in lefts] == sorted(left.seq for left in lefts)
        deleted = await flock.store.delete_before(lefts[1].created_at - timedelta(seconds=1))
        left = [artifact.payload["n"] for artifact in await flock.store.list_by_type(Left)]
        assert left == ([0, 1] if jump < 0 else [1, 2])
        assert deleted


EXITS = """
import asyncio, os, sys
from pydantic import BaseModel
from flock import Flock, SQLiteBlackboardStore, flock_type

@flock_type(name="exits.Note")
class Note(BaseModel):
    n: int

flock = Flock(store=SQLiteBlackboardStore(sys.argv[1]))

async def publish(n):
    artifact = await flock.publish(Note(n=n))
    os.write(1, f"{artifact.seq}\\n".encode())

async def main():
    for n in range(300):
        asyncio.ensure_future(publish(n))
    while flock.store.position < 20:
        await asyncio.sleep(0)
    if sys.argv[2] == "exit":
        sys.exit(3)

if sys.argv[2] == "left":  # neither its tasks nor its executors are ended
    asyncio.new_event_loop().run_until_complete(main())
else:
    asyncio.run(main())
"""


@pytest.mark.parametrize("way", ["exit", "return", "left"])
def test_an_interpreter_that_ends_amid_commits_keeps_what_it_acknowledged(
    tmp_path: Path, way: str
) -> None:
    path = tmp_path / "board.db"
    command = [sys.executable, "-c", EXITS, str(path), way]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == (3 if way == "exit" else 0), done.stderr
    acknowledged = {int(line) for line in done.stdout.split()}
    there = {seq for (seq,) in rows(path, "SELECT seq FROM artifacts")}
    assert acknowledged <= there
    assert there == set(range(1, len(there) + 1))
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="files are counted there")
def test_boards_that_were_closed_leave_no_thread_and_no_file_open(tmp_path: Path) -> None:
    async def work(left: Left) -> Out:
        return Out(ns=[left.n])

    async def use(n: int) -> None:
        flock = Flock(store=SQLiteBlackboardStore(tmp_path / f"{n % 7}.db"))
        flock.agent("work").consumes(Left).publishes(Out).calls(work)
        async with flock:
            await flock.publish(Left(n=n))
            await flock.run_until_idle()

    async def many() -> tuple[int, int]:
        await use(0)
        gc.collect()
        files, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
        for n in range(100):
            await use(n)
        gc.collect()
        return len(os.listdir("/proc/self/fd")) - files, threading.active_count() - threads

    assert asyncio.run(many()) == (0, 0)


@pytest.mark.parametrize("others", [0, 1])
async def test_a_cancel_that_races_an_expiry_leaves_no_run_on_record(
    tmp_path: Path, others: int
) -> None:
    told, release = asyncio.Event(), asyncio.Event()
    got: list[list[int]] = []

    class Slow(OrchestratorComponent):
        async def on_artifact_published(self, orchestrator: Board, artifact: Artifact) -> Artifact:
            if artifact.type.endswith("GroupExpired"):
                told.set()
                await release.wait()
            return artifact

    async def take(inputs: EvalInputs) -> None:
        got.append([artifact.payload["n"] for artifact in inputs.artifacts])

    path = tmp_path / "board.db"
    clock = ManualClock()
    flock = Flock(store=SQLiteBlackboardStore(path), clock=clock)
    flock.add_component(Slow())
    join = JoinSpec(by="n", within=timedelta(seconds=10), on_expired="run")
    flock.agent("take").consumes(Left, Right, Third, join=join).calls(take)
    async with flock:
        await flock.publish(Left(n=1), correlation_id="w")
        for _ in range(others):
            await flock.publish(Right(n=1), correlation_id="v")
        advancing = asyncio.create_task(clock.advance(10))
        await told.wait()
        assert await flock.cancel("w") == 1
        release.set()
        await advancing
        assert (await flock.run_until_idle()).waiting == 0
        assert got == [[1]] * others
    assert rows(path, "SELECT count(*) FROM open_runs") == [(0,)]
    assert rows(path, "SELECT count(*) FROM deliveries") == [(0,)]


_PAUSED = """
import asyncio, sys
from pydantic import BaseModel
from flock import Flock

class Left(BaseModel):
    n: int

class Out(BaseModel):
    n: int

async def main():
    board = Flock(store=sys.argv[1])
    started = asyncio.Event()

    async def work(left: Left) -> Out:
        print("began", left.n, flush=True)
        started.set()
        if left.n == 0:
            await asyncio.Event().wait()
        return Out(n=left.n)

    board.agent("work").calls(work)
    async with board:
        if sys.argv[2] == "pause":
            await board.publish(Left(n=0), correlation_id="w")
            await started.wait()
            await board.pause("w")
            await board.set_deadline("late", 0.001)
            for n in (1, 2, 3):
                await board.publish(Left(n=n), correlation_id="w")
            print("paused", flush=True)
            await asyncio.Event().wait()
        elif sys.argv[2] == "look":
            await board.run_until_idle()
            status = await board.status("w")
            print(status.state, status.waiting + status.queued, flush=True)
        else:
            await board.resume("w")
            while len(await board.store.list_by_type(Out)) < 3:
                await asyncio.sleep(0.01)
            await board.cancel("w")
            print((await board.status("w")).state, flush=True)

asyncio.run(main())
"""


def test_what_is_paused_stays_so_when_its_process_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(_PAUSED)
    command = [sys.executable, str(program), f"sqlite:///{tmp_path / 'board.db'}"]
    with subprocess.Popen([*command, "pause"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().strip() for _ in range(2)]
        process.kill()
    assert lines == ["began 0", "paused"]
    for _ in range(2):
        looked = subprocess.run([*command, "look"], capture_output=True, text=True, check=True)
        assert looked.stdout.split("\n") == ["paused 4", ""], "nothing of it begins"
    went_on = subprocess.run([*command, "resume"], capture_output=True, text=True, check=True)
    *began, state = went_on.stdout.split("\n")[:-1]
    assert sorted(began) == [f"began {n}" for n in range(4)]
    assert state == "cancelled"
    assert rows(tmp_path / "board.db", "SELECT count(*) FROM deliveries") == [(0,)]
