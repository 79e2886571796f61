"""Nobody is told of anything while nobody asks, and what was asked leaves nothing behind."""

import asyncio
from collections.abc import Sequence

from flock.core.artifacts import Artifact
from flock.core.conditions import Condition
from flock.core.until import Until
from flock.orchestrator.idle import Idle, IdleSignal
from flock.orchestrator.inquiry import Inquiry
from flock.orchestrator.lookout import Lookout
from flock.store.memory import InMemoryBlackboardStore
from flock.store.protocol import Commit, Observer
from flock.testing import ManualClock
from tests.unit.support import A, B, artifact


class Store(InMemoryBlackboardStore):
    """Shows who observes it."""

    observer: Observer | None = None

    def observe(self, observer: Observer | None) -> None:
        self.observer = observer
        super().observe(observer)


class Bench:
    """A lookout over a store, and a count of open work."""

    def __init__(self) -> None:
        self.store = Store()
        clock = ManualClock()
        self.idle = Idle(lambda: self.signal.on_zero(), lambda _: None)

        async def no_hooks() -> None: ...

        self.signal = IdleSignal(
            self.idle,
            clock.time,
            lambda: False,
            no_hooks,
            lambda work, _: work.close(),
            lambda: None,
        )
        self.lookout = Lookout(self.store, clock, self.idle, self.signal)
        self.steps = 0

    def step(self) -> None:
        self.steps += 1

    def ask(self, condition: Condition) -> Inquiry:
        return self.lookout.ask(condition, self.step)

    async def put(self, *artifacts: Artifact) -> None:
        await self.store.commit(Commit([*artifacts]))

    @property
    def listeners(self) -> Sequence[object]:
        return self.store.observer, self.idle.on_change, self.signal.on_idle


async def test_the_store_and_the_count_of_work_tell_only_while_somebody_asks() -> None:
    bench = Bench()
    assert bench.listeners == (None, None, None)
    first = bench.ask(Until.exists(A))
    second = bench.ask(Until.exists(A, correlation_id="w"))
    assert bench.store.observer is bench.lookout
    assert bench.listeners[1:] == (None, None)
    third = bench.ask(Until.exists(A) & Until.idle())
    assert None not in bench.listeners
    bench.lookout.close(third)
    assert bench.listeners[1:] == (None, None)
    bench.lookout.close(first)
    assert bench.store.observer is bench.lookout
    bench.lookout.close(second)
    assert bench.listeners == (None, None, None)


async def test_a_board_that_closes_is_observed_by_nobody() -> None:
    bench = Bench()
    inquiry = bench.ask(Until.exists(A, correlation_id="w") | Until.no_pending_work())
    bench.lookout.clear()
    assert bench.listeners == (None, None, None)
    bench.lookout.close(inquiry)  # whoever asked leaves later
    assert bench.listeners == (None, None, None)


async def test_what_a_commit_does_not_concern_is_not_looked_at() -> None:
    bench = Bench()
    inquiry = bench.ask(Until.artifact_count(A, correlation_id="w").at_least(2))
    assert inquiry.verdict is None
    await inquiry.learn()
    steps = bench.steps
    await bench.put(artifact(A(), workflow="v"), artifact(B(), workflow="w"))
    await bench.put(artifact(B(), workflow="w"))
    assert bench.steps == steps
    await bench.put(artifact(A(), workflow="w"), artifact(A(), workflow="w"))
    assert bench.steps == steps + 1
    assert inquiry.verdict is True


async def test_each_commit_that_came_while_it_was_learned_is_a_step() -> None:
    bench = Bench()
    await bench.put(artifact(A()))
    verdicts: list[bool | None] = []
    inquiry = bench.lookout.ask(
        Until.artifact_count(A).exactly(3), lambda: verdicts.append(inquiry.verdict)
    )
    for _ in range(4):
        await bench.put(artifact(A()))
    assert (verdicts, inquiry.told) == ([], 4)
    await inquiry.learn()
    assert verdicts == [False, False, True, False, False]
    assert inquiry.step == 4


async def test_beginning_and_ending_of_work_is_looked_at_once_a_turn() -> None:
    bench = Bench()
    inquiry = bench.ask(Until.no_pending_work())
    await inquiry.learn()
    steps = bench.steps
    for _ in range(10):
        bench.idle.begin("w")
    for _ in range(10):
        bench.idle.end("w")
    bench.idle.begin_due(None)
    bench.idle.end_due(None)
    assert bench.steps == steps
    await asyncio.sleep(0)
    assert bench.steps == steps + 2, "once for the work, and once since the board became idle"
    assert inquiry.verdict is True


async def test_what_is_only_due_later_is_not_pending_and_not_idle() -> None:
    bench = Bench()
    bench.idle.begin_due("w")
    idle, rested = bench.ask(Until.idle()), bench.ask(Until.no_pending_work())
    await idle.learn()
    await rested.learn()
    assert (idle.verdict, rested.verdict) == (False, True)
    bench.idle.reserved += 1  # somebody publishes
    assert (idle.verdict, rested.verdict) == (False, False)
    bench.idle.unreserve()
    bench.idle.end_due("w")
    await asyncio.sleep(0)
    assert (idle.verdict, rested.verdict) == (True, True)
