"""Runs that are ready and wait for a slot, the most urgent first."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Set
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flock.orchestrator.job import Job


class Ready:
    """A queue by priority, then by `Job.order`; O(1) where all have one priority.

    Attributes:
        first: The runs of the highest priority; empty if there are none at all.
        priority: The highest priority.
    """

    __slots__ = ("_later", "first", "priority")

    def __init__(self) -> None:
        self.first: deque[Job] = deque()
        self.priority = 0
        self._later: list[tuple[int, deque[Job]]] = []

    def __bool__(self) -> bool:
        return bool(self.first)

    def push(self, priority: int, job: Job) -> None:
        """Add a run, whose `order` is greater than that of all before it."""
        if priority == self.priority:
            self.first.append(job)
        elif not self.first:
            self.priority = priority
            self.first.append(job)
        elif priority > self.priority:
            heapq.heappush(self._later, (-self.priority, self.first))
            self.priority, self.first = priority, deque([job])
        else:
            for level, jobs in self._later:
                if level == -priority:
                    jobs.append(job)
                    return
            heapq.heappush(self._later, (-priority, deque([job])))

    @property
    def key(self) -> tuple[int, int]:
        """How urgent the first run is: smaller is more urgent. Only if there is one."""
        return -self.priority, self.first[0].order

    def pop(self) -> Job:
        """Take the most urgent run out. Only if there is one."""
        job = self.first.popleft()
        if not self.first and self._later:
            level, self.first = heapq.heappop(self._later)
            self.priority = -level
        return job

    def take_out(self, doomed: Set[Job]) -> None:
        """Take these runs out, wherever they are, in one pass over all."""
        levels = [(-self.priority, self.first), *self._later]
        kept = [(level, deque(j for j in jobs if j not in doomed)) for level, jobs in levels]
        self._later = [(level, jobs) for level, jobs in kept if jobs]
        heapq.heapify(self._later)
        self.first = deque()
        if self._later:
            level, self.first = heapq.heappop(self._later)
            self.priority = -level
