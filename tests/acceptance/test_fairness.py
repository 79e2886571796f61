"""One workflow with much to do does not keep another waiting, and no agent all others."""

import asyncio
from collections import Counter

import pytest
from pydantic import BaseModel

from flock import Flock


class Job(BaseModel):
    n: int


class Done(BaseModel):
    n: int


class Other(BaseModel):
    n: int


async def flooded(many: int, *, agents: int, limit: int | None) -> list[str]:
    """Which workflow each run was of, from the moment on at which ten of another one came."""
    board = Flock(max_concurrency=limit)
    starts: list[str] = []

    async def work(job: Job) -> Done:
        starts.append("few" if job.n < 0 else "many")
        if len(starts) == 100:
            await board.publish_many([Job(n=-1)] * 10, correlation_id="few")
        return Done(n=job.n)

    for number in range(agents):
        board.agent(f"worker {number}").consumes(Job).publishes(Done).calls(work)
    async with board:
        for _ in range(many // 1000):
            await board.publish_many([Job(n=1)] * 1000, correlation_id="many")
        report = await board.run_until_idle(raise_on_error=True)
    assert report.runs == (many + 10) * agents
    assert Counter(starts) == {"many": many * agents, "few": 10 * agents}
    return starts[100:]


async def test_ten_artifacts_come_through_between_thousands() -> None:
    starts = await flooded(5_000, agents=1, limit=None)
    last = max(place for place, workflow in enumerate(starts) if workflow == "few")
    assert last < 40, "its turn comes after each run of the other one"


async def test_ten_artifacts_come_through_on_a_board_with_a_limit_and_several_agents() -> None:
    starts = await flooded(2_000, agents=3, limit=4)
    last = max(place for place, workflow in enumerate(starts) if workflow == "few")
    assert last < 120


@pytest.mark.memory_only("it takes long in a file, and who is next does not depend on the store")
async def test_ten_artifacts_come_through_between_a_hundred_thousand() -> None:
    starts = await flooded(100_000, agents=1, limit=None)
    last = max(place for place, workflow in enumerate(starts) if workflow == "few")
    assert last < 40


async def test_a_busy_agent_leaves_others_their_share_of_the_board() -> None:
    board = Flock(max_concurrency=1)
    starts: list[str] = []

    async def busy(job: Job) -> None:
        starts.append("busy")
        if len(starts) == 50:
            for n in range(10):
                await board.publish(Other(n=n))

    async def quiet(other: Other) -> None:
        starts.append("quiet")

    board.agent("busy").consumes(Job).calls(busy)
    board.agent("quiet").consumes(Other).calls(quiet)
    async with board:
        await board.publish_many([Job(n=n) for n in range(2_000)])
        await board.run_until_idle(raise_on_error=True)
    after = starts[50:]
    assert after[:20].count("quiet") >= 9, "they take turns"
    assert Counter(starts) == {"busy": 2_000, "quiet": 10}


async def test_within_a_workflow_runs_start_in_the_order_they_came() -> None:
    board = Flock()
    seen: dict[str, list[int]] = {"a": [], "b": []}

    async def work(job: Job) -> None:
        seen["a" if job.n < 100 else "b"].append(job.n)

    board.agent("worker").consumes(Job).calls(work).max_concurrency(1)
    async with board:
        await board.publish_many([Job(n=n) for n in range(100)], correlation_id="a")
        await board.publish_many([Job(n=n) for n in range(100, 130)], correlation_id="b")
        await board.run_until_idle()
    assert seen == {"a": list(range(100)), "b": list(range(100, 130))}


async def test_what_is_more_urgent_still_goes_first() -> None:
    board = Flock()
    starts: list[int] = []
    go = asyncio.Event()

    async def work(job: Job) -> None:
        if job.n < 0:
            await go.wait()
        else:
            starts.append(job.n)

    worker = board.agent("worker").max_concurrency(1).calls(work)
    worker.consumes(Job, where=lambda job: job.n >= 100, priority=1).consumes(Job)
    async with board:
        await board.publish(Job(n=-1))
        await board.publish_many([Job(n=n) for n in range(50)], correlation_id="a")
        await board.publish_many([Job(n=n) for n in range(100, 150)], correlation_id="a")
        await board.publish_many([Job(n=n) for n in range(50, 100)], correlation_id="b")
        go.set()
        await board.run_until_idle()
    assert starts[:50] == list(range(100, 150))
    assert starts[50:] == [n for pair in zip(range(50), range(50, 100), strict=True) for n in pair]
