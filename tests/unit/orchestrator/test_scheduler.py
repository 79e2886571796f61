"""Runs start when there are slots, the most urgent first, and none is left behind."""

import asyncio
from typing import Any, cast

import pytest

from flock.core.agent import Agent
from flock.core.context import Context
from flock.orchestrator.attempts import Attempts
from flock.orchestrator.events import EventBus
from flock.orchestrator.holding import Holding
from flock.orchestrator.idle import Idle
from flock.orchestrator.job import Job
from flock.orchestrator.lifecycle_manager import LifecycleManager
from flock.orchestrator.limits import Limits
from flock.orchestrator.patience import Patience
from flock.orchestrator.scheduler import Scheduler
from flock.store.memory import InMemoryBlackboardStore
from flock.testing import ManualClock
from tests.unit.support import A, agent_of, artifact, subscription, turns


class StubAttempts:
    """In place of running agents: writes down what starts, and ends it when it is told."""

    end: Any
    enqueue: Any
    jobs: dict[Job, None]
    is_attended = False

    def __init__(self) -> None:
        self.preparing: dict[Job, None] = {}
        self.is_stopped = False
        self.started: list[str] = []
        self.going: dict[str, asyncio.Event] = {}
        self.left: list[str] = []
        self.most = 0

    async def run_agent_task(self, job: Job) -> None:
        name = job.artifacts[0].payload["key"]
        self.started.append(name)
        self.going[name] = asyncio.Event()
        self.most = max(self.most, len(self.going))
        try:
            job.context = Context()
            await self.going[name].wait()
        except asyncio.CancelledError:
            self.left.append(name)
        finally:
            del self.going[name]
            job.state = "ended"
            self.jobs.pop(job, None)

    def is_torn_down(self) -> bool:
        return False

    def leave(self, job: Job) -> None:
        self.left.append(job.artifacts[0].payload["key"])
        job.state = "ended"
        self.jobs.pop(job, None)

    def back_off(self, job: Job) -> None:
        self.left.append(f"backing off {job.artifacts[0].payload['key']}")


class Stage:
    """A scheduler, its stub, and agents that each take part in the play."""

    def __init__(self, limit: int | None = None) -> None:
        self.clock = ManualClock()
        self.attempts = StubAttempts()
        self.idle = Idle(lambda: None, lambda _: None)
        store = InMemoryBlackboardStore()
        events = EventBus(store, self.clock.time)
        self.scheduler = Scheduler(
            self.clock,
            events,
            self.idle,
            cast("Attempts", self.attempts),
            Holding(self.idle),
            Limits(
                self.clock,
                LifecycleManager(self.clock),
                Patience(store, self.clock, events),
            ),
            max_concurrency=limit,
        )
        self.scheduler.start()

    def agent(self, name: str, limit: int = 16) -> Agent:
        made = agent_of(name=name)
        made.slots.limit = limit
        return made

    def submit(self, agent: Agent, name: str, priority: int = 0) -> Job:
        made = artifact(A(key=name))
        sub = subscription(A, agent=agent.name, priority=priority)
        return self.scheduler.submit(agent, sub, (), [made])

    async def finish(self, *names: str) -> None:
        for name in names:
            self.attempts.going[name].set()
        await turns()


async def test_runs_start_in_the_order_they_were_queued() -> None:
    stage = Stage()
    agent = stage.agent("amy")
    for name in "abc":
        stage.submit(agent, name)
    assert stage.attempts.started == []
    await turns()
    assert stage.attempts.started == ["a", "b", "c"]
    assert stage.idle.total == 3


async def test_no_more_runs_of_an_agent_go_on_than_its_limit_says() -> None:
    stage = Stage()
    amy, bob = stage.agent("amy", 2), stage.agent("bob", 1)
    for name in ("a1", "a2", "a3"):
        stage.submit(amy, name)
    for name in ("b1", "b2"):
        stage.submit(bob, name)
    await turns()
    assert set(stage.attempts.going) == {"a1", "a2", "b1"}
    await stage.finish("a1")
    assert set(stage.attempts.going) == {"a2", "a3", "b1"}
    await stage.finish("b1", "a2", "a3")
    assert set(stage.attempts.going) == {"b2"}
    assert amy.slots.used == 0


async def test_agents_take_turns_on_a_board_with_a_limit() -> None:
    stage = Stage(limit=1)
    amy, bob, eve = (stage.agent(name) for name in ("amy", "bob", "eve"))
    for number in range(50):
        stage.submit(amy, f"a{number}")
    await turns()
    await stage.finish("a0")
    for name in ("b0", "b1", "b2"):
        stage.submit(bob, name)
    stage.submit(eve, "e0")
    stage.submit(amy, "urgent", priority=1)
    while len(stage.attempts.started) < 10:
        await stage.finish(*list(stage.attempts.going))
    expected = ["a0", "a1", "urgent", "b0", "e0", "a2", "b1", "a3", "b2", "a4"]
    assert stage.attempts.started == expected
    await stage.scheduler.stop()


async def test_no_more_runs_go_on_than_the_boards_limit_says() -> None:
    stage = Stage(limit=2)
    agents = [stage.agent(name) for name in ("amy", "bob", "eve")]
    for number in range(9):
        stage.submit(agents[number % 3], str(number))
    await turns()
    for number in range(9):
        assert len(stage.attempts.going) == min(2, 9 - number)
        await stage.finish(str(number))
    assert stage.attempts.started == [str(n) for n in range(9)], "in the order they were queued"
    assert stage.attempts.most == 2


async def test_the_most_urgent_run_of_all_agents_starts_first() -> None:
    stage = Stage(limit=1)
    amy, bob = stage.agent("amy"), stage.agent("bob")
    stage.submit(amy, "first")
    await turns()
    stage.submit(amy, "low", -1)
    stage.submit(bob, "usual")
    stage.submit(amy, "high", 5)
    stage.submit(bob, "high too", 5)
    for name in ("first", "high", "high too", "usual", "low"):
        await stage.finish(name)
    assert stage.attempts.started == ["first", "high", "high too", "usual", "low"]


async def test_a_busy_agent_does_not_hold_the_others_up() -> None:
    stage = Stage()
    amy, bob = stage.agent("amy", 1), stage.agent("bob")
    stage.submit(amy, "a1", 9)
    stage.submit(amy, "a2", 9)
    await turns()
    stage.submit(bob, "b1")
    await turns()
    assert set(stage.attempts.going) == {"a1", "b1"}


async def test_a_queued_run_that_was_ended_never_starts() -> None:
    stage = Stage()
    agent = stage.agent("amy", 1)
    stage.submit(agent, "a")
    queued, after = stage.submit(agent, "b"), stage.submit(agent, "c")
    await turns()
    stage.scheduler.end(queued, "cancel")
    assert stage.attempts.left == ["b"]
    await stage.finish("a")
    assert stage.attempts.started == ["a", "c"]
    assert after.state == "running"


async def test_a_run_that_goes_on_is_cancelled_and_its_slot_serves_the_next() -> None:
    stage = Stage()
    agent = stage.agent("amy", 1)
    job = stage.submit(agent, "a")
    stage.submit(agent, "b")
    await turns()
    await stage.scheduler.cancel([job])
    await turns()
    assert stage.attempts.left == ["a"]
    assert stage.attempts.started == ["a", "b"]


async def test_stopping_cancels_what_runs_and_starts_nothing_more() -> None:
    stage = Stage()
    agent = stage.agent("amy", 1)
    for name in "abc":
        stage.submit(agent, name)
    await turns()
    before = asyncio.all_tasks()
    await stage.scheduler.stop()
    await turns()
    assert sorted(stage.attempts.left) == ["a", "b", "c"]
    assert stage.attempts.started == ["a"]
    assert stage.attempts.jobs == {}
    assert len(asyncio.all_tasks()) == len(before) - 1


async def test_draining_waits_for_queued_and_running_work() -> None:
    stage = Stage()
    agent = stage.agent("amy", 1)
    for name in "ab":
        stage.submit(agent, name)
    draining = asyncio.create_task(stage.scheduler.drain(1000.0, list))
    await turns()
    assert not draining.done()
    await stage.finish("a")
    assert not draining.done()
    await stage.finish("b")
    await draining


async def test_it_can_be_started_again_with_all_slots_free() -> None:
    stage = Stage(limit=1)
    agent = stage.agent("amy", 1)
    stage.submit(agent, "a")
    await turns()
    await stage.scheduler.stop()
    stage.scheduler.start()
    stage.attempts.started.clear()
    stage.submit(agent, "b")
    await turns()
    assert stage.attempts.started == ["b"]
    await stage.finish("b")


async def test_a_run_that_was_begun_before_keeps_its_id_and_progress_and_its_due_time() -> None:
    stage = Stage()
    agent = stage.agent("amy")
    first = stage.submit(agent, "a")
    first.attempt, first.emitted, first.steps = 2, 5, {"x": 1}
    first.due = stage.clock.time() + 60
    again = stage.scheduler.submit(agent, first.subscription, (), first.artifacts, run=first)
    assert (again.key, again.attempt, again.emitted) == (first.key, 2, 5)
    assert again.steps == {"x": 1}
    assert stage.attempts.left == ["backing off a"]


async def test_runs_have_ids_of_their_own() -> None:
    stage = Stage()
    agent = stage.agent("amy")
    keys = {stage.submit(agent, str(n)).key for n in range(100)}
    assert len(keys) == 100


async def test_runs_of_two_boards_have_ids_of_their_own() -> None:
    one, two = Stage(), Stage()
    keys = {s.submit(s.agent("amy"), "a").id for s in (one, two)}
    assert len(keys) == 2, "a run's id is the idempotency key for outside effects"


async def test_jobs_can_be_asked_for_by_workflow() -> None:
    stage = Stage()
    agent = stage.agent("amy")
    one, two = stage.submit(agent, "a"), stage.submit(agent, "b")
    assert stage.scheduler.jobs(one.correlation_id) == [one]
    assert stage.scheduler.jobs(two.correlation_id) == [two]
    assert stage.scheduler.jobs("none") == []


async def test_a_scheduled_task_runs_at_once_without_a_slot_and_is_tracked() -> None:
    stage = Stage()
    agent = stage.agent("amy", 1)
    stage.submit(agent, "a")
    await turns()
    task = stage.scheduler.schedule_task(agent, [artifact(A(key="b"))])
    await turns()
    assert set(stage.attempts.going) == {"a", "b"}
    assert len(stage.attempts.jobs) == 2
    await stage.scheduler.stop()
    assert task.done()


@pytest.mark.parametrize("limit", [1, 2, 5])
async def test_thousands_of_runs_all_start_exactly_once(limit: int) -> None:
    stage = Stage(limit=limit)
    agents = [stage.agent(str(n), n % 3 + 1) for n in range(7)]
    for number in range(1000):
        stage.submit(agents[number % 7], str(number), number % 5)
    for _ in range(5000):
        await turns(1)
        for event in list(stage.attempts.going.values()):
            event.set()
    assert sorted(stage.attempts.started, key=int) == [str(n) for n in range(1000)]
    assert stage.attempts.most <= limit
