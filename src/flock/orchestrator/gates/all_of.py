"""The AND gate: one of each declared type, of one workflow."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flock.core.artifacts import Artifact
    from flock.core.delivery import Delivery
    from flock.core.subscription import Subscription


class _Pool:
    """What waits in one workflow, or among the loose roots: a queue per type."""

    __slots__ = ("live", "queues")

    def __init__(self, names: list[str]) -> None:
        self.queues: dict[str, deque[Delivery]] = {name: deque() for name in names}
        self.live = dict.fromkeys(names, 0)


class AllOf:
    """Pairs artifacts of one workflow, first come, first served; surplus keeps waiting.

    A root that was published without naming a workflow waits twice: among the loose
    roots, which pair with each other, and in its own workflow, for what follows from it.
    Whichever is complete first takes it from both.
    """

    def __init__(self, subscription: Subscription) -> None:
        self._types = [entry.name for entry in subscription.types]
        self._counts = Counter(self._types)
        self._pools: dict[str | None, _Pool] = {}
        self._waiting: dict[Delivery, bool] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Delivery]:
        return iter(self._waiting)

    def add(self, delivery: Delivery) -> list[Delivery] | None:
        """Take a delivery in; return the group it completes, in declared order, if it does."""
        artifact = delivery.artifact
        is_loose = artifact.is_loose_root
        self._waiting[delivery] = is_loose
        name = artifact.entry.name
        if name not in self._counts:
            name = self._former_name(artifact)
        workflows: tuple[str | None, ...] = (
            (artifact.correlation_id, None) if is_loose else (artifact.correlation_id,)
        )
        for workflow in workflows:
            pool = self._pools.get(workflow)
            if pool is None:
                pool = self._pools[workflow] = _Pool(list(self._counts))
            pool.queues[name].append(delivery)
            pool.live[name] += 1
        for workflow in workflows:
            pool = self._pools[workflow]
            if all(pool.live[t] >= n for t, n in self._counts.items()):
                return self._take(pool)
        return None

    def of(self, workflow: str) -> list[Delivery]:
        """Return what waits of a workflow."""
        pool = self._pools.get(workflow)
        if pool is None:
            return []
        return [d for queue in pool.queues.values() for d in queue if d in self._waiting]

    def discard(self, chosen: Callable[[Delivery], bool]) -> list[Delivery]:
        """Take out and return the waiting deliveries that are chosen."""
        return self.take_out([delivery for delivery in self._waiting if chosen(delivery)])

    def take_out(self, found: list[Delivery]) -> list[Delivery]:
        """Take out and return these waiting deliveries."""
        for delivery in found:
            self._remove(delivery)
        return found

    def _former_name(self, artifact: Artifact) -> str:
        """Return the declared name of a class that was renamed since."""
        name = artifact.entry.name_among(self._counts)
        assert name is not None, f"{artifact!r} is of none of the types {self._types}"
        return name

    def _take(self, pool: _Pool) -> list[Delivery]:
        by_type: dict[str, list[Delivery]] = {}
        for name, count in self._counts.items():
            queue = pool.queues[name]
            taken: list[Delivery] = []
            while len(taken) < count:
                delivery = queue.popleft()
                if delivery in self._waiting:
                    taken.append(delivery)
            by_type[name] = taken
        for deliveries in by_type.values():
            for delivery in deliveries:
                self._remove(delivery)
        iterators = {name: iter(taken) for name, taken in by_type.items()}
        return [next(iterators[name]) for name in self._types]

    def _remove(self, delivery: Delivery) -> None:
        is_loose = self._waiting.pop(delivery)
        name = delivery.artifact.entry.name
        if name not in self._counts:
            name = self._former_name(delivery.artifact)
        workflow = delivery.artifact.correlation_id
        for key in (workflow, None) if is_loose else (workflow,):
            pool = self._pools[key]
            pool.live[name] -= 1
            if not any(pool.live.values()):
                del self._pools[key]
            elif len(pool.queues[name]) > 2 * pool.live[name] + 16:
                kept = (d for d in pool.queues[name] if d in self._waiting)
                pool.queues[name] = deque(kept)
