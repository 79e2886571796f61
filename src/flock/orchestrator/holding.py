"""What is held back of workflows: runs that do not begin, deliveries that do not come to gates."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from flock.orchestrator.job import Job

if TYPE_CHECKING:
    from flock.core.delivery import Delivery
    from flock.orchestrator.idle import Idle


class Hold:
    """What is held of one workflow, in the order it came.

    Attributes:
        items: Runs and deliveries.
        is_paused: Whether it is held until it is resumed; otherwise only while it is ended.
    """

    __slots__ = ("is_paused", "items")

    def __init__(self, *, is_paused: bool) -> None:
        self.items: dict[Job | Delivery, None] = {}
        self.is_paused = is_paused


class Holding:
    """Keeps what is held, and counts it as waiting instead of as open work.

    Attributes:
        holds: By workflow; empty, and so nothing more than a falsy value, on most boards.
        wait: Counts and tells of a delivery that waits; the gathering's.
        on_tick: Told of the run of a tick that is held from now on, or no longer; the schedules'.
    """

    wait: Callable[[Delivery], None]
    on_tick: Callable[[Job], None]

    def __init__(self, idle: Idle) -> None:
        self._idle = idle
        self.holds: dict[str, Hold] = {}

    def clear(self) -> None:
        """Forget everything, for a board that opens anew."""
        self.holds.clear()

    def is_paused(self, workflow: str) -> bool:
        """Return whether a workflow was paused and not resumed since."""
        hold = self.holds.get(workflow)
        return hold is not None and hold.is_paused

    # --- deliveries ---

    def takes(self, delivery: Delivery) -> bool:
        """Hold a delivery if its workflow is held; return whether it is.

        What was at its gate before its workflow was paused goes back there when a board opens.
        """
        hold = self.holds.get(delivery.artifact.correlation_id)
        if hold is None:
            return False
        is_at_gate = delivery.subscription.is_gated and delivery.arrived
        if is_at_gate and hold.is_paused:
            return False
        hold.items[delivery] = None
        self.wait(delivery)
        return True

    def sift(self, deliveries: Iterable[Delivery]) -> list[Delivery]:
        """Hold those of held workflows; return the others."""
        return [delivery for delivery in deliveries if not self.takes(delivery)]

    def discard(self, workflow: str) -> list[Delivery]:
        """Take out and return the deliveries of a workflow that are held by themselves."""
        hold = self.holds.get(workflow)
        if hold is None:
            return []
        found = [item for item in hold.items if not isinstance(item, Job)]
        for delivery in found:
            del hold.items[delivery]
        self._idle.waiting -= len(found)
        return found

    def waiting(self, workflow: str) -> int:
        """Return how many deliveries of a workflow are held by themselves."""
        hold = self.holds.get(workflow)
        return 0 if hold is None else sum(not isinstance(item, Job) for item in hold.items)

    # --- runs ---

    def holds_run(self, job: Job) -> bool:
        """Return whether a run may not begin now.

        What an agent calls belongs to its own run, which goes on.
        """
        return job.correlation_id in self.holds and not (job.call and job.call.is_nested)

    def keep(self, job: Job) -> None:
        """Hold a run, which is open work no more."""
        job.state = "held"
        self.holds[job.correlation_id].items[job] = None
        self._idle.waiting += _weight(job)
        for workflow in job.others:
            self._idle.end_due(workflow)
        if job.tick is not None:
            self.on_tick(job)
        self._idle.end(job.correlation_id)

    def give_back(self, job: Job) -> None:
        """Make a run that was held open work again."""
        self._idle.begin(job.correlation_id)
        for workflow in job.others:
            self._idle.begin_due(workflow)
        self._idle.waiting -= _weight(job)
        hold = self.holds.get(job.correlation_id)
        if hold is not None:
            hold.items.pop(job, None)
        job.state = "queued"
        if job.tick is not None:
            self.on_tick(job)


def _weight(job: Job) -> int:
    """How many deliveries wait in a run that is held; one in a direct call."""
    return len(job.deliveries) or 1
