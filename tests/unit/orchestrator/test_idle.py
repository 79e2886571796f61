"""Open work is counted per workflow and in all, and whoever waits hears when it has ended."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from flock.errors import RunError
from flock.orchestrator import idle as module
from flock.orchestrator.idle import Idle, IdleReport, IdleSignal
from flock.testing import ManualClock
from tests.unit.support import turns


class Counted:
    """A count that writes down when it reaches zero."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.idle = Idle(lambda: self.log.append("board"), self.log.append)


def test_it_tells_when_the_last_piece_of_a_workflow_and_of_the_board_ends() -> None:
    counted = Counted()
    idle = counted.idle
    for workflow in ("a", "a", "b"):
        idle.begin(workflow)
    assert (idle.total, idle.open_in("a"), idle.open_in("c")) == (3, 2, 0)
    idle.end("a")
    assert counted.log == []
    idle.end("a")
    assert counted.log == ["a"]
    idle.end("b")
    assert counted.log == ["a", "b", "board"]
    assert idle.total == 0


def test_a_workflow_that_ended_is_not_kept() -> None:
    idle = Counted().idle
    for number in range(100):
        idle.begin(str(number))
        idle.end(str(number))
    assert not idle._by_workflow


def test_a_report_counts_since_the_last_one() -> None:
    idle = Counted().idle
    idle.clear(100.0)
    idle.runs, idle.dead_letters, idle.waiting = 3, 1, 2
    idle.record_failure(error := RunError("broken"))
    report = idle.report(160.0)
    assert report == IdleReport(3, 1, 1, 2, 60.0, timed_out=False, errors=(error,))
    assert idle.report(170.0, timed_out=True) == IdleReport(
        waiting=2, elapsed=10.0, timed_out=True
    ), "what waits is what waits now; all else begins anew"


def test_all_failures_are_counted_and_a_bounded_number_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "KEPT_ERRORS", 3)
    idle = Counted().idle
    for _ in range(10):
        idle.record_failure(RunError("broken"))
    report = idle.report(0.0)
    assert (report.failed, len(report.errors)) == (10, 3)


def test_a_report_shows_no_errors_in_its_repr() -> None:
    assert "errors" not in repr(IdleReport(errors=(RunError("x"),)))


# --- room -------------------------------------------------------------------------------------


def test_what_only_waits_to_fall_due_is_open_but_no_pressure() -> None:
    counted = Counted()
    idle = counted.idle
    idle.begin("w")
    idle.begin_due("w")
    idle.begin_due(None)
    idle.reserved += 1
    assert (idle.total, idle.open_in("w"), idle.pressure) == (3, 2, 2)
    idle.end_due("w")
    idle.end("w")
    assert counted.log == ["w"]
    idle.end_due(None)
    assert counted.log == ["w", "board"]
    assert idle.pressure == 1


async def publish(idle: Idle, limit: int, number: int, log: list[int]) -> None:
    """Wait for room and use it, as a publisher does."""
    await idle.wait_for_room(limit)
    idle.begin("w")
    log.append(number)


async def test_who_waits_for_room_goes_on_when_there_is_less_work_in_the_order_they_came() -> None:
    idle, log = Counted().idle, list[int]()
    publishers = [asyncio.create_task(publish(idle, 2, n, log)) for n in range(5)]
    await turns()
    assert log == [0, 1]
    for count in (3, 4, 5):
        idle.end("w")
        await turns()
        assert log == [*range(count)]
        assert idle.total == 2
    await asyncio.gather(*publishers)


async def test_nobody_overtakes_who_waits_for_room() -> None:
    idle, log = Counted().idle, list[int]()
    idle.begin("w")
    first = asyncio.create_task(publish(idle, 1, 1, log))
    await turns()
    idle.end("w")
    second = asyncio.create_task(publish(idle, 1, 2, log))
    await turns()
    assert log == [1]
    idle.end("w")
    await asyncio.gather(first, second)
    assert log == [1, 2]


async def test_all_go_on_for_whom_there_is_room() -> None:
    idle, log = Counted().idle, list[int]()
    for _ in range(3):
        idle.begin("old")
    publishers = [asyncio.create_task(publish(idle, 3, n, log)) for n in range(3)]
    await turns()
    for _ in range(3):
        idle.end("old")
    await turns()
    assert log == [0, 1, 2]
    await asyncio.gather(*publishers)


@pytest.mark.parametrize("is_woken_first", [True, False])
async def test_a_cancelled_publisher_takes_no_room(is_woken_first: bool) -> None:
    idle, log = Counted().idle, list[int]()
    idle.begin("w")
    first, second = (asyncio.create_task(publish(idle, 1, n, log)) for n in (1, 2))
    await turns()
    if is_woken_first:
        idle.end("w")
        first.cancel()
    else:
        first.cancel()
        await turns()
        idle.end("w")
    await turns()
    assert first.cancelled()
    assert log == [2]
    await second


async def test_closing_lets_everybody_go_who_waits_for_room() -> None:
    idle = Counted().idle
    idle.begin("w")
    waiting = [asyncio.create_task(idle.wait_for_room(1)) for _ in range(3)]
    await turns()
    idle.release()
    await asyncio.gather(*waiting)


# --- the signal -------------------------------------------------------------------------------


class Board:
    """A count with its signal, and components that are told."""

    def __init__(self, hooks: bool = False) -> None:
        self.clock = ManualClock()
        self.announced = 0
        self.hooked: list[int] = []
        self.on_idle = 0
        self.has_hooks = hooks
        self.tasks: list[asyncio.Task[None]] = []
        self.idle = Idle(lambda: self.signal.on_zero(), lambda _: None)
        self.idle.clear(self.clock.time())
        self.signal = IdleSignal(
            self.idle,
            self.clock.time,
            lambda: self.has_hooks,
            self.run_hooks,
            self.spawn,
            self.announce,
        )

    def announce(self) -> None:
        self.announced += 1

    def spawn(self, work: Coroutine[Any, Any, None], what: str) -> object:
        del what
        task = asyncio.create_task(work)
        self.tasks.append(task)
        return task

    async def run_hooks(self) -> None:
        self.hooked.append(self.idle.total)
        await asyncio.sleep(0)
        if self.on_idle:
            self.on_idle -= 1
            self.idle.begin("from a hook")

    def wait(self, timeout: float | None = None) -> asyncio.Task[IdleReport]:
        return asyncio.create_task(self.signal.wait(self.clock, timeout))


async def test_an_idle_board_answers_at_once() -> None:
    report = await Board().wait()
    assert report == IdleReport()


async def test_everybody_who_waits_gets_the_same_report() -> None:
    board = Board()
    board.idle.begin("w")
    waiters = [board.wait() for _ in range(3)]
    await turns()
    board.idle.runs = 7
    board.idle.end("w")
    reports = await asyncio.gather(*waiters)
    assert [report.runs for report in reports] == [7, 7, 7]
    assert board.announced == 1
    assert (await board.wait()).runs == 0


async def test_work_that_begins_in_the_same_turn_keeps_the_board_from_being_idle() -> None:
    board = Board()
    board.idle.begin("w")
    waiter = board.wait()
    await turns()
    board.idle.end("w")
    board.idle.begin("w")
    await turns()
    assert not waiter.done()
    board.idle.end("w")
    await waiter
    assert board.announced == 1


async def test_time_that_runs_out_gives_a_report_that_says_so() -> None:
    board = Board()
    board.idle.begin("w")
    patient, waiter = board.wait(), board.wait(timeout=10)
    await turns()
    await board.clock.advance(9)
    assert not waiter.done()
    await board.clock.advance(1)
    report = await waiter
    assert (report.timed_out, report.elapsed) == (True, 10.0)
    assert not patient.done()
    board.idle.end("w")
    assert not (await patient).timed_out


async def test_a_waiter_that_is_cancelled_is_forgotten() -> None:
    board = Board()
    board.idle.begin("w")
    waiter = board.wait(timeout=10)
    await turns()
    waiter.cancel()
    await asyncio.wait([waiter])
    board.idle.end("w")
    await board.clock.advance(20)
    assert not board.signal._waiters


async def test_components_hear_of_it_before_anybody_who_waits() -> None:
    board = Board(hooks=True)
    board.idle.begin("w")
    waiter = board.wait()
    await turns()
    board.idle.end("w")
    await waiter
    assert board.hooked == [0]
    assert board.announced == 1


async def test_what_a_component_publishes_when_it_hears_of_it_goes_on_first() -> None:
    board = Board(hooks=True)
    board.on_idle = 1
    board.idle.begin("w")
    waiter = board.wait()
    await turns()
    board.idle.end("w")
    await turns()
    assert not waiter.done()
    assert board.announced == 0
    board.idle.end("from a hook")
    await waiter
    assert board.hooked == [0, 0]


async def test_who_asks_while_components_are_told_waits_for_them() -> None:
    board = Board(hooks=True)
    board.on_idle = 1
    board.idle.begin("w")
    board.idle.end("w")
    late = board.wait()
    await turns()
    assert not late.done()
    board.idle.end("from a hook")
    await late


async def test_waiters_can_be_told_that_it_will_never_be() -> None:
    board = Board()
    board.idle.begin("w")
    waiter = board.wait()
    await turns()
    board.signal.fail(RunError("closed"))
    with pytest.raises(RunError, match="closed"):
        await waiter
