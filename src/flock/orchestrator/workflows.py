"""One workflow as a whole: its status, and what failed in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from flock.clock import as_datetime
from flock.core.delivery import Delivery, TickRun
from flock.core.filters import FilterConfig
from flock.core.workflow import WorkflowState, WorkflowStatus
from flock.errors import NotFound, StoreError
from flock.orchestrator.control import ENDED
from flock.store.protocol import BlackboardStore, Commit

if TYPE_CHECKING:
    from flock.core.agent import Agent
    from flock.core.schedule import Tick
    from flock.orchestrator.wiring import Parts
    from flock.store.protocol import DeadLetter


async def status_of(parts: Parts, workflow: str) -> WorkflowStatus:
    """Return what a workflow is doing."""
    jobs = parts.scheduler.jobs(workflow)
    asking = [job for job in jobs if job.state == "waiting"]
    jobs = [job for job in jobs if job.state != "waiting"]
    running = sum(job.state in {"running", "failing"} for job in jobs)
    asked = sum(len(job.deliveries) or 1 for job in asking)
    waiting = parts.router.waiting(workflow) + asked
    is_paused = parts.holding.is_paused(workflow)
    is_open = bool(parts.idle.open_in(workflow))
    due = parts.control.deadline_of(workflow)
    _, artifacts = await parts.store.query_artifacts(FilterConfig(correlation_id=workflow), limit=0)
    state: WorkflowState
    if is_paused:
        state = "paused"
    elif jobs:
        state = "running"
    elif waiting:
        state = "waiting"
    elif is_open:
        state = "running"
    else:
        state = await _end_of(parts.store, workflow) or ("idle" if artifacts else "unknown")
    deadline = None if due is None else as_datetime(due)
    queued = len(jobs) - running
    return WorkflowStatus(workflow, state, running, queued, waiting, artifacts, deadline)


async def _end_of(
    store: BlackboardStore, workflow: str
) -> Literal["cancelled", "timed_out"] | None:
    """Return how a workflow was ended, unless something new came since."""
    data = await store.state(ENDED, workflow)
    if data is None:
        return None
    end = json.loads(data)
    newest = await store.latest(FilterConfig(correlation_id=workflow), limit=1)
    if newest and newest[0].seq > end["artifacts"]:
        return None
    if await store.runs(workflow, limit=1, after=end["runs"]):
        return None
    return "cancelled" if end["reason"] == "cancel" else "timed_out"


async def redrive(parts: Parts, agents: Mapping[str, Agent], wanted: UUID | str) -> None:
    """Take a dead letter off the list and let its inputs go their way again.

    Raises:
        NotFound: There is no such dead letter, or its agent is not declared here.
        StoreError: The store cannot write it down; the dead letter stays.
    """
    ids = {str(wanted), str(wanted).lower()}
    letters = [x for x in await parts.store.dead_letters() if ids & {str(x.id), x.id.hex}]
    if not letters:
        msg = f"there is no dead letter {str(wanted)!r}; dead_letters() lists them"
        raise NotFound(msg)
    letter = letters[0]
    tick = letter.run.tick
    agent = agents.get(letter.agent)
    if agent is None:
        msg = f"the agent {letter.agent!r} of dead letter {wanted} is not declared on this board"
        raise NotFound(msg)
    if tick is not None:
        await _redrive_tick(parts, agent, letter, tick)
        return
    if letter.index is None or letter.index >= len(agent.subscriptions):
        msg = f"agent {letter.agent!r} has no subscription any more for dead letter {wanted}"
        raise NotFound(msg)
    subscription = agent.subscriptions[letter.index]
    deliveries = [Delivery(artifact, subscription) for artifact in letter.delivered]
    run = letter.run.once_more(subscription, deliveries) if letter.attempt else None
    commit = Commit(
        opened=deliveries,
        at=parts.clock.time(),
        redriven=letter.id,
        progress=() if run is None else (run,),
    )
    await _commit(parts, commit, letter)
    if run is None:  # it never came as far as a run
        parts.router.deliver(deliveries)
    else:
        parts.scheduler.submit(
            agent, subscription, deliveries, run.artifacts, is_batch=run.is_batch, run=run
        )


async def _commit(parts: Parts, commit: Commit, letter: DeadLetter) -> None:
    """Take a dead letter off the list.

    Raises:
        NotFound: Somebody redrove it meanwhile.
        StoreError: The store cannot do it; the dead letter is still there.
    """
    try:
        await parts.store.commit(commit)
    except StoreError as error:
        if any(letter.id == left.id for left in await parts.store.dead_letters()):
            raise
        raise NotFound(str(error)) from error


async def _redrive_tick(parts: Parts, agent: Agent, letter: DeadLetter, tick: Tick) -> None:
    """Run again what a tick had started, beside its schedule, which went on.

    Raises:
        NotFound: Somebody redrove it meanwhile.
    """
    run = TickRun(letter.run.key, letter.agent, tick)
    run.take_over(letter.run)
    run.attempt, run.due = 0, 0.0
    commit = Commit(at=parts.clock.time(), redriven=letter.id, progress=(run,))
    await _commit(parts, commit, letter)
    parts.scheduler.submit_tick(agent, run)
