"""Runs that are ready and wait for a slot, the most urgent first."""

from __future__ import annotations

import heapq
from collections import deque
from typing import Generic, TypeVar

R = TypeVar("R")


class Ready(Generic[R]):
    """A queue by priority, then by arrival; O(1) where all have one priority."""

    __slots__ = ("_levels", "_priorities")

    def __init__(self) -> None:
        self._levels: dict[int, deque[tuple[int, R]]] = {}
        self._priorities: list[int] = []

    def __bool__(self) -> bool:
        return bool(self._priorities)

    def push(self, priority: int, order: int, item: R) -> None:
        """Add an item. `order` grows from call to call."""
        level = self._levels.get(priority)
        if level is None:
            level = self._levels[priority] = deque()
            heapq.heappush(self._priorities, -priority)
        level.append((order, item))

    @property
    def key(self) -> tuple[int, int]:
        """How urgent the first item is: smaller is more urgent. Only if there is one."""
        first = self._priorities[0]
        return first, self._levels[-first][0][0]

    def pop(self) -> R:
        """Take the most urgent item out. Only if there is one."""
        first = -self._priorities[0]
        level = self._levels[first]
        item = level.popleft()[1]
        if not level:
            del self._levels[first]
            heapq.heappop(self._priorities)
        return item
