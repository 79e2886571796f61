"""The batch: several inputs, or several complete groups, for one run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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

    def __len__(self) -> int:
        return sum(map(len, self._groups))

    def __iter__(self) -> Iterator[Delivery]:
        for group in self._groups:
            yield from group

    def add(self, group: list[Delivery], now: float) -> list[list[Delivery]] | None:
        """Take a complete group in; return the batch it fills, if it does."""
        self._groups.append(group)
        self._times.append(now)
        if self._size is not None and len(self._groups) >= self._size:
            return self.take()
        return None

    def take(self) -> list[list[Delivery]]:
        """Return what is there as a batch, and begin anew."""
        groups, self._groups = self._groups, []
        self._times.clear()
        return groups

    @property
    def next_due(self) -> float | None:
        """When what is there becomes a batch; None if it waits for more."""
        if self._timeout is None or not self._groups:
            return None
        return self._times[0] + self._timeout

    def discard(self, chosen: Callable[[Delivery], bool]) -> list[Delivery]:
        """Take out and return the deliveries of groups of which one is chosen."""
        doomed: list[Delivery] = []
        kept: list[tuple[list[Delivery], float]] = []
        for group, time in zip(self._groups, self._times, strict=True):
            if any(map(chosen, group)):
                doomed += group
            else:
                kept.append((group, time))
        self._groups = [group for group, _ in kept]
        self._times = [time for _, time in kept]
        return doomed
