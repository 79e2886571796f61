"""Processes that work on a board until they are killed, one after the other."""

from __future__ import annotations

import faulthandler
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.chaos import check, process, steered
from benchmarks.chaos.dying import DIED
from benchmarks.chaos.plan import Kind, Plan
from flock.store.sqlite.store import Durability

ORDERS: Final = 25
"""How many orders each process publishes beside those that may be missing."""
_PATIENCE: Final = 120.0
"""Seconds after which the process that finishes is taken to hang."""


class Round(NamedTuple):
    """How a process ended."""

    number: int
    moment: str
    was_killed: bool


class Boards:
    """Boards that are worked on by one process after the other, each killed but the last.

    Args:
        folder: Where they lie.
        seed: Decides everything but how the machine schedules.
        kind: Which board it is.
        durability: The store's.
        lifetime: How many processes are killed before a board is finished and checked.
    """

    def __init__(
        self,
        folder: Path,
        seed: int,
        kind: Kind,
        durability: Durability = "process",
        lifetime: int = 25,
    ) -> None:
        self._folder = folder
        self._seed = seed
        self._kind: Kind = kind
        self._durability: Durability = durability
        self._lifetime = lifetime
        self._random = random.Random(seed)
        self.faults: list[str] = []

    def rounds(self, count: int) -> Iterator[Round]:
        """Kill that many processes; check each board when its last process has finished."""
        number = 0
        board = 0
        while number < count:
            board += 1
            folder = self._folder / f"board-{board}"
            folder.mkdir()
            seed = self._seed * 1000 + board
            orders = 0
            for turn in range(1, self._lifetime + 1):
                if number == count:
                    break
                number += 1
                orders += ORDERS
                first = max(0, orders - 3 * ORDERS)
                plan = Plan(folder, seed, self._kind, turn, first, orders, self._durability)
                yield self._killed(number, plan)
            end = self._lifetime + 1
            last = Plan(folder, seed, self._kind, end, 0, orders, self._durability)
            self._finish(last, orders)

    def points(self, orders: int, step: int = 1) -> Iterator[Round]:
        """End a process at each point of its transactions, and finish each board after that.

        Args:
            orders: How many orders there are on each board.
            step: How many points further each process gets than the one before.
        """
        point = 1
        while True:
            folder = self._folder / f"point-{point}"
            folder.mkdir()
            plan = Plan(folder, self._seed, self._kind, 1, 0, orders, self._durability)
            status = _after(plan._replace(dies_at=point), _PATIENCE, shows_where=True)
            died = not os.WIFSIGNALED(status) and os.waitstatus_to_exitcode(status) == DIED
            if not died and status:
                self.faults.append(f"{_place(plan)}: the process failed")
            self._finish(plan._replace(round=2), orders)
            yield Round(point, "point", died)
            if not died:
                return
            point += step

    def _killed(self, number: int, plan: Plan) -> Round:
        luck = self._random
        moment = luck.choice(["opening", "working", "working", "working", "closing"])
        if moment == "opening":
            delay = luck.uniform(0.0, 0.06)
        elif moment == "working":
            delay = luck.uniform(0.03, 0.4)
        else:
            closes_after = luck.uniform(0.02, 0.3)
            plan = plan._replace(closes_after=closes_after, grace=luck.choice([0.0, 0.02, 0.1]))
            delay = closes_after + luck.uniform(0.0, 0.15)
        status = _after(plan, delay)
        if not os.WIFSIGNALED(status) and os.waitstatus_to_exitcode(status):
            self.faults.append(f"{_place(plan)}, round {plan.round}: the process failed")
        return Round(number, moment, os.WIFSIGNALED(status))

    def _finish(self, plan: Plan, orders: int) -> None:
        status = _after(plan, _PATIENCE, shows_where=True)
        where = _place(plan)
        if os.WIFSIGNALED(status):
            self.faults.append(f"{where}: the last process hangs")
            return
        if os.waitstatus_to_exitcode(status):
            self.faults.append(f"{where}: the last process failed")
            return
        faults = check.faults if plan.kind == "gates" else steered.faults
        found = faults(plan.board, plan.journal, plan.seed, orders)
        self.faults += [f"{where}: {fault}" for fault in found]


def _place(plan: Plan) -> str:
    return f"{plan.folder.name} (seed {plan.seed})"


def _after(plan: Plan, delay: float, *, shows_where: bool = False) -> int:
    """Let a process work, and kill it after some seconds; return how it ended.

    Args:
        plan: What it does.
        delay: After how many seconds it is killed.
        shows_where: Whether it prints where it is before that, since it seems to hang.
    """
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        _be(plan)
    killer = threading.Timer(delay, _kill, (process, shows_where))
    killer.start()
    # it stays a zombie until it is reaped here, so that the killer never hits another process
    os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
    killer.cancel()
    killer.join()
    _, status = os.waitpid(process, 0)
    return status


def _kill(process: int, shows_where: bool) -> None:
    if shows_where:
        os.kill(process, signal.SIGUSR1)
        time.sleep(1.0)
    os.kill(process, signal.SIGKILL)


def _be(plan: Plan) -> None:
    """Be the process: nothing of the parent's is run when it ends."""
    code = 1
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    try:
        process.run(plan)
        code = 0
    except BaseException:  # noqa: BLE001 - the parent is told by the exit code
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
