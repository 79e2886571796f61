"""The keyed join: one of each declared type with the same key, within a window."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TYPE_CHECKING, cast

from flock.orchestrator.gates.by_workflow import ByWorkflow

if TYPE_CHECKING:
    from flock.core.delivery import Delivery
    from flock.core.subscription import Subscription


class Group:
    """What has come for one key so far.

    Attributes:
        key: The key.
        slots: A delivery, or None, for each declared type.
        missing: How many slots are empty.
        since: When the first arrived, in seconds since the epoch.
        first: The number of the first arrival at this subscription.
        is_over: Whether it was completed, expired or taken out.
    """

    __slots__ = ("first", "is_over", "key", "missing", "since", "slots")

    def __init__(self, key: Hashable, size: int, since: float, first: int) -> None:
        self.key = key
        self.slots: list[Delivery | None] = [None] * size
        self.missing = size
        self.since = since
        self.first = first
        self.is_over = False

    @property
    def deliveries(self) -> list[Delivery]:
        """What has come, in declared order."""
        return [delivery for delivery in self.slots if delivery is not None]


class _Key:
    """The open groups of one key, oldest first; each type fills them in order."""

    __slots__ = ("base", "filled", "groups", "key")

    def __init__(self, key: Hashable, names: list[str]) -> None:
        self.key = key
        self.groups: list[Group] = []  # nearly always one
        self.base = 0
        self.filled = dict.fromkeys(names, 0)


class Join:
    """Gathers groups by key; an arrival goes to the oldest open group that lacks its type.

    Groups of a key are completed and expire in the order they were opened.

    Attributes:
        window_seconds: How long a group may take; None if that is counted.
        arrivals: How many artifacts have come.
    """

    def __init__(self, subscription: Subscription) -> None:
        join = subscription.join
        assert join is not None
        self.window_seconds = join.window_seconds
        self._window_count = join.window_count
        self._places: dict[str, list[int]] = {}
        for place, entry in enumerate(subscription.types):
            self._places.setdefault(entry.name, []).append(place)
        self._size = len(subscription.types)
        self._keys: dict[Hashable, _Key] = {}
        self._by_age: deque[Group] = deque()
        self._by_workflow = ByWorkflow()
        self.arrivals = 0
        self._waiting = 0
        self._over = 0

    def __len__(self) -> int:
        return self._waiting

    def __iter__(self) -> Iterator[Delivery]:
        for key in self._keys.values():
            for group in key.groups:
                yield from group.deliveries

    def add(
        self, delivery: Delivery, key: Hashable, now: float
    ) -> tuple[Group | None, list[Group]]:
        """Take a delivery in.

        Args:
            delivery: What arrived.
            key: Its key.
            now: When, in seconds since the epoch.

        Returns:
            The group it completes, if it does, and the groups that expired before it came
            or that it is the last artifact to count for.
        """
        expired = self.expire(now, inclusive=False)
        if delivery.number:  # it came before
            self.arrivals = max(self.arrivals, delivery.number)
        else:
            self.arrivals += 1
            delivery.number = self.arrivals
        delivery.arrived = now
        name = delivery.artifact.entry.name
        if name not in self._places:  # its class was renamed since
            name = delivery.artifact.entry.name_among(self._places) or name
        places = self._places[name]
        held = self._keys.get(key)
        if held is None:
            held = self._keys[key] = _Key(key, list(self._places))
        position, place = divmod(held.filled[name], len(places))
        held.filled[name] += 1
        index = position - held.base
        if index == len(held.groups):
            opened = Group(key, self._size, now, delivery.number)
            held.groups.append(opened)
            self._by_age.append(opened)
        group = held.groups[index]
        group.slots[places[place]] = delivery
        group.missing -= 1
        self._waiting += 1
        self._by_workflow.add(delivery)
        completed = None
        if not group.missing:
            self._close(held, group)
            completed = group
        if self._window_count is not None:
            expired += self.expire(now)
        return completed, expired

    def expire(self, now: float, *, inclusive: bool = True) -> list[Group]:
        """Close and return the groups whose window is over.

        Args:
            now: Seconds since the epoch.
            inclusive: Whether a window that ends right now is over. An arrival at the very
                end still counts.
        """
        expired: list[Group] = []
        while self._by_age:
            group = self._by_age[0]
            if not group.is_over and not self._is_past(group, now, inclusive=inclusive):
                break
            if not group.is_over:
                self._close(self._keys[group.key], group)
                expired.append(group)
            self._by_age.popleft()
            self._over -= 1
        if self._over > 16 and self._over * 2 > len(self._by_age):
            self._by_age = deque(group for group in self._by_age if not group.is_over)
            self._over = 0
        return expired

    @property
    def next_due(self) -> float | None:
        """When the oldest time window ends; None if none is open."""
        if self.window_seconds is None:
            return None
        while self._by_age and self._by_age[0].is_over:
            self._by_age.popleft()
            self._over -= 1
        return self._by_age[0].since + self.window_seconds if self._by_age else None

    @property
    def workflows(self) -> Iterable[str]:
        """The workflows of which something waits."""
        return self._by_workflow.workflows

    def of(self, workflow: str) -> list[Delivery]:
        """Return what waits of a workflow."""
        return self._by_workflow.of(workflow)

    def discard(self, chosen: Callable[[Delivery], bool]) -> list[Delivery]:
        """Take out and return the waiting deliveries that are chosen.

        What remains of their keys is gathered anew, in the order it came, as if they had not
        come.
        """
        return self.take_out([delivery for delivery in self if chosen(delivery)])

    def take_out(self, found: list[Delivery]) -> list[Delivery]:
        """Take out and return these waiting deliveries; see `discard`."""
        doomed = set(found)
        for held in [
            held
            for held in self._keys.values()
            if any(not doomed.isdisjoint(g.slots) for g in held.groups)
        ]:
            self._regather(held, doomed)
        if found:
            self._by_age = deque(sorted(self._by_age, key=_first))
        return found

    def _regather(self, held: _Key, doomed: set[Delivery]) -> None:
        for group in held.groups:
            for place, delivery in enumerate(group.slots):
                if delivery is not None and delivery in doomed:
                    group.slots[place] = None
                    group.missing += 1
                    self._waiting -= 1
                    self._by_workflow.remove(delivery)
        for name, places in self._places.items():
            queue = deque(d for g in held.groups for p in places if (d := g.slots[p]) is not None)
            held.filled[name] = held.base * len(places) + len(queue)
            for group in held.groups:
                for place in places:
                    group.slots[place] = queue.popleft() if queue else None
        for group in list(held.groups):
            deliveries = group.deliveries
            group.missing = self._size - len(deliveries)
            if deliveries:
                group.since = min(delivery.arrived for delivery in deliveries)
                group.first = min(delivery.number for delivery in deliveries)
            else:
                group.is_over = True
                self._over += 1
                held.groups.remove(group)
        if not held.groups:
            del self._keys[held.key]

    def _is_past(self, group: Group, now: float, *, inclusive: bool) -> bool:
        if self._window_count is not None:
            return self.arrivals - group.first + 1 >= self._window_count
        assert self.window_seconds is not None
        end = group.since + self.window_seconds
        return now >= end if inclusive else now > end

    def _close(self, held: _Key, group: Group) -> None:
        """Forget a group, which is the oldest of its key."""
        group.is_over = True
        self._over += 1
        del held.groups[0]
        held.base += 1
        for name, places in self._places.items():
            held.filled[name] = max(held.filled[name], held.base * len(places))
        self._waiting -= self._size - group.missing
        for delivery in group.slots:
            if delivery is not None:
                self._by_workflow.remove(delivery)
        if not held.groups:
            del self._keys[group.key]


def _first(group: Group) -> int:
    return group.first


def canonical(key: object) -> Hashable:
    """Return a hashable that is equal for equal keys.

    Raises:
        TypeError: The key is neither hashable nor a JSON value.
    """
    try:
        hash(key)
    except TypeError:
        return _frozen(key)
    return cast("Hashable", key)


def _frozen(value: object) -> Hashable:
    """Return a JSON value as nested tuples and frozensets."""
    if isinstance(value, dict):
        items = cast("dict[Hashable, object]", value).items()
        return "dict", frozenset((name, _frozen(item)) for name, item in items)
    if isinstance(value, list | tuple):
        return "list", tuple(_frozen(item) for item in cast("list[object]", value))
    if value is None or isinstance(value, str | int | float | bool):
        return value
    msg = f"a key must be a JSON value or hashable, and {value!r} is neither"
    raise TypeError(msg)
