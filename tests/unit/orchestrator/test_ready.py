"""The most urgent run is the first to start."""

from flock.orchestrator.job import Job, Lane
from flock.orchestrator.ready import Ready
from tests.unit.support import A, agent_of, artifact


def queue(ready: Ready, *priorities: int) -> list[Job]:
    lane = Lane(agent_of())
    jobs: list[Job] = []
    for order, priority in enumerate(priorities, 1):
        job = Job(order, lane, None, (), [artifact(A())])
        ready.push(priority, job)
        jobs.append(job)
    return jobs


def popped(ready: Ready) -> Job:
    job = ready.pop()
    assert job is not None
    return job


def drained(ready: Ready) -> list[int]:
    orders: list[int] = []
    while ready:
        orders.append(popped(ready).key)
    return orders


def test_equal_ones_go_in_the_order_they_were_queued() -> None:
    ready = Ready()
    queue(ready, 0, 0, 0)
    assert drained(ready) == [1, 2, 3]


def test_higher_priority_goes_first() -> None:
    ready = Ready()
    queue(ready, 0, 5, -5, 5, 0, 9)
    assert drained(ready) == [6, 2, 4, 1, 5, 3]


def test_it_can_be_used_again_when_it_was_empty() -> None:
    ready = Ready()
    queue(ready, 3)
    assert drained(ready) == [1]
    assert not ready
    queue(ready, -1, -2)
    assert ready.priority == -1
    assert drained(ready) == [1, 2]


def test_workflows_take_turns() -> None:
    ready = Ready()
    jobs = queue(ready, *[0] * 8)
    drained(ready)
    for job, workflow in zip(jobs, "aaaabbca", strict=True):
        job.correlation_id = workflow
        ready.push(0, job)
    assert sorted(job.key for job in ready) == list(range(1, 9))
    assert drained(ready) == [1, 5, 7, 2, 6, 3, 4, 8]
