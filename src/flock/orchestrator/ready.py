"""Runs that are ready and wait for a slot, the most urgent first."""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flock.orchestrator.job import Job

_Behind: TypeAlias = "dict[str, deque[Job] | None]"
"""By workflow, what is queued behind its run that is next; None where nothing is."""


class Ready:
    """A queue by priority, in which workflows take turns; O(1) where all have one priority.

    Of runs of one priority, each workflow has its oldest in a round; one that is taken makes
    room for the next of its workflow at the end of the round. So between two runs of a
    workflow each other one that waits gets its turn, however much of the first is queued, and
    where each run has a workflow of its own they go in the order they came.

    Attributes:
        first: The round of the highest priority; empty if nothing is queued at all.
        priority: The highest priority.
    """

    __slots__ = ("_behind", "_later", "first", "priority")

    def __init__(self) -> None:
        self.first: deque[Job] = deque()
        self.priority = 0
        self._behind: _Behind = {}
        self._later: list[tuple[int, deque[Job], _Behind]] = []

    def __bool__(self) -> bool:
        return bool(self.first)

    def __iter__(self) -> Iterator[Job]:
        """Yield all that is queued, in no particular order."""
        rounds = [(self.first, self._behind), *((r, b) for _, r, b in self._later)]
        for first, behind in rounds:
            yield from first
            for jobs in behind.values():
                yield from jobs or ()

    def push(self, priority: int, job: Job) -> None:
        """Add a run behind all of its priority and workflow."""
        if priority != self.priority:
            first, behind = self._round(priority)
        else:
            first, behind = self.first, self._behind
        workflow = job.correlation_id
        if workflow not in behind:
            behind[workflow] = None
            first.append(job)
        elif (jobs := behind[workflow]) is None:
            behind[workflow] = deque((job,))
        else:
            jobs.append(job)

    def _round(self, priority: int) -> tuple[deque[Job], _Behind]:
        """Return the round of a priority that is not the highest now, and what is behind it."""
        if not self.first:
            self.priority = priority
        elif priority > self.priority:
            heapq.heappush(self._later, (-self.priority, self.first, self._behind))
            self.priority, self.first, self._behind = priority, deque(), {}
        else:
            for level, first, behind in self._later:
                if level == -priority:
                    return first, behind
            heapq.heappush(self._later, (-priority, deque(), {}))
            return self._round(priority)
        return self.first, self._behind

    def pop(self) -> Job | None:
        """Take the most urgent run out. Only if there is one."""
        job = self.first.popleft()
        jobs = self._behind.pop(job.correlation_id)
        if jobs is not None:
            self.first.append(jobs.popleft())
            self._behind[job.correlation_id] = jobs or None
        elif not self.first and self._later:
            level, self.first, self._behind = heapq.heappop(self._later)
            self.priority = -level
        return job

    def take_out(self, workflow: str) -> list[Job]:
        """Take out and return all runs of a workflow that are still to start, in their order."""
        levels = [(-self.priority, self.first, self._behind), *sorted(self._later, key=_level)]
        found: list[Job] = []
        kept: list[tuple[int, deque[Job], _Behind]] = []
        for level, first, behind in levels:
            if workflow in behind:
                found += [job for job in first if job.correlation_id == workflow]
                found += behind.pop(workflow) or ()
                first = deque(job for job in first if job.correlation_id != workflow)
            if first:
                kept.append((level, first, behind))
        self.first, self._behind = deque(), {}
        if kept:
            level, self.first, self._behind = kept[0]
            self.priority = -level
        self._later = kept[1:]  # sorted, and so a heap
        return [job for job in found if job.state == "queued"]

    def drained(self) -> Iterator[Job]:
        """Take out all of it that is still to start, in its order."""
        while self.first:
            job = self.pop()
            if job is not None and job.state == "queued":
                yield job

    def ended(self) -> None:
        """Note that a queued run was ended: it is passed over when it is its turn."""


def _level(waiting: tuple[int, deque[Job], _Behind]) -> int:
    return waiting[0]
