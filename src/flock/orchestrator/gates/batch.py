"""The batch: several inputs, or several complete groups, for one run."""

from __future__ import annotations

from itertools import compress
from typing import TYPE_CHECKING

from flock.orchestrator.gates.by_workflow import ByWorkflow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from flock.core.delivery import Delivery
    from flock.core.subscription import Subscription


class Batch:
    """Gathers groups, in the order they were completed, until there are enough.

    Attributes:
        is_timed: Whether it falls due some time after the first group.
    """

    def __init__(self, subscription: Subscription) -> None:
        batch = subscription.batch
        assert batch is not None
        self._size = batch.size
        self._timeout = batch.timeout_seconds
        self.is_timed = self._timeout is not None
        self._groups: list[list[Delivery]] = []
        self._times: list[float] = []
        self._by_workflow = ByWorkflow()

    def __len__(self) -> int:
        return sum(map(len, self._groups))

    def __iter__(self) -> Iterator[Delivery]:
        for group in self._groups:
            yield from group

    def add(self, group: list[Delivery], now: float) -> list[list[Delivery]] | None:
        """Take a complete group in; return the batch it fills, if it does."""
        self._groups.append(group)
        self._times.append(now)
        for delivery in group:
            self._by_workflow.add(delivery)
        if self._size is not None and len(self._groups) >= self._size:
            return self.take()
        return None

    def take(self) -> list[list[Delivery]]:
        """Return what is there as a batch, and begin anew."""
        groups, self._groups = self._groups, []
        self._times.clear()
        self._by_workflow.clear()
        return groups

    @property
    def next_due(self) -> float | None:
        """When what is there becomes a batch; None if it waits for more."""
        if self._timeout is None or not self._groups:
            return None
        return self._times[0] + self._timeout

    @property
    def workflows(self) -> Iterable[str]:
        """The workflows of which something waits."""
        return self._by_workflow.workflows

    def of(self, workflow: str) -> list[Delivery]:
        """Return what waits of a workflow."""
        return self._by_workflow.of(workflow)

    def discard(self, chosen: Callable[[Delivery], bool]) -> list[Delivery]:
        """Take out and return the deliveries of groups of which one is chosen."""
        return self.take_out(list(filter(chosen, self)))

    def take_out(self, found: list[Delivery]) -> list[Delivery]:
        """Take out and return the deliveries of groups of which one is among these."""
        gone = set(found)
        stays = [gone.isdisjoint(group) for group in self._groups]
        doomed = [
            d for group, kept in zip(self._groups, stays, strict=True) if not kept for d in group
        ]
        self._groups = [*compress(self._groups, stays)]
        self._times = [*compress(self._times, stays)]
        for delivery in doomed:
            self._by_workflow.remove(delivery)
        return doomed
