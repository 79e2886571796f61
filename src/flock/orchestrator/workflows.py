"""One workflow as a whole: its status, its end, and what failed in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from flock.core.delivery import Delivery
from flock.core.filters import FilterConfig
from flock.core.workflow import WorkflowStatus
from flock.errors import NotFound, StoreError
from flock.store.protocol import Commit

if TYPE_CHECKING:
    from flock.core.agent import Agent
    from flock.orchestrator.job import Job
    from flock.orchestrator.wiring import Parts


async def status_of(parts: Parts, workflow: str) -> WorkflowStatus:
    """Return what a workflow is doing."""
    jobs = parts.scheduler.jobs(workflow)
    running = sum(job.state in {"running", "failing"} for job in jobs)
    waiting = parts.router.waiting(workflow)
    where = FilterConfig(correlation_id=workflow)
    _, artifacts = await parts.store.query_artifacts(where, limit=0)
    state: Literal["running", "waiting", "idle", "unknown"] = "unknown"
    if jobs:
        state = "running"
    elif waiting:
        state = "waiting"
    elif parts.idle.open_in(workflow):
        state = "running"
    elif artifacts:
        state = "idle"
    return WorkflowStatus(workflow, state, running, len(jobs) - running, waiting, artifacts)


async def cancel(parts: Parts, workflow: str) -> int:
    """End a workflow's runs and close what waits of it; return how many deliveries.

    Neither it nor a workflow whose inputs go their way again counts as ended meanwhile.
    """
    count = 0
    seen: set[Job] = set()  # one that is ended by the shutdown stays so
    held: set[str] = set()
    try:
        while True:  # what committed meanwhile may have started something else
            jobs = [
                job
                for job in parts.scheduler.jobs(workflow)
                if job.ending != "cancel" and job not in seen
            ]
            seen.update(jobs)
            _hold(parts, held, (other for job in jobs for other in job.mixed))
            await parts.scheduler.cancel(jobs)
            found = [d for job in jobs for d in job.deliveries if d.is_open]
            found += parts.router.discard(workflow)
            if not jobs and not found:
                return count
            _hold(parts, held, (delivery.artifact.correlation_id for delivery in found))
            mine = [d for d in found if d.artifact.correlation_id == workflow]
            await parts.outcomes.close(mine)
            count += len(mine)
            parts.router.regather(d for d in found if d.artifact.correlation_id != workflow)
    finally:
        for other in held:
            parts.idle.let_go(other)


def _hold(parts: Parts, held: set[str], workflows: Iterable[str]) -> None:
    """Let workflows not end for now, each once."""
    for workflow in set(workflows) - held:
        held.add(workflow)
        parts.idle.hold(workflow)


async def redrive(parts: Parts, agents: Mapping[str, Agent], wanted: UUID | str) -> None:
    """Take a dead letter off the list and let its inputs go their way again.

    Raises:
        NotFound: There is no such dead letter, or its agent is not declared here.
    """
    ids = {str(wanted), str(wanted).lower()}
    letters = [x for x in await parts.store.dead_letters() if ids & {str(x.id), x.id.hex}]
    if not letters:
        msg = f"there is no dead letter {wanted}; dead_letters() lists them"
        raise NotFound(msg)
    letter = letters[0]
    agent = agents.get(letter.agent)
    if agent is None:
        msg = f"the agent {letter.agent!r} of dead letter {wanted} is not declared on this board"
        raise NotFound(msg)
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
    try:
        await parts.store.commit(commit)
    except StoreError as error:
        raise NotFound(str(error)) from error
    if run is None:  # it never came as far as a run
        parts.router.deliver(deliveries)
    else:
        parts.scheduler.submit(
            agent, subscription, deliveries, run.artifacts, is_batch=run.is_batch, run=run
        )
