"""Which of the waiting deliveries belong to a workflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flock.core.delivery import Delivery


class ByWorkflow:
    """An index of what waits before a gate, so that asking for one workflow costs its share."""

    __slots__ = ("_deliveries",)

    def __init__(self) -> None:
        # A workflow has mostly one delivery before a gate, which needs no dict of its own.
        self._deliveries: dict[str, Delivery | dict[Delivery, None]] = {}

    def __contains__(self, workflow: str) -> bool:
        return workflow in self._deliveries

    def add(self, delivery: Delivery) -> None:
        """Take note of a delivery that waits from now on."""
        workflow = delivery.artifact.correlation_id
        held = self._deliveries.setdefault(workflow, delivery)
        if held is delivery:
            return
        if isinstance(held, dict):
            held[delivery] = None
        else:
            self._deliveries[workflow] = {held: None, delivery: None}

    def remove(self, delivery: Delivery) -> None:
        """Forget a delivery that waits no longer."""
        workflow = delivery.artifact.correlation_id
        held = self._deliveries[workflow]
        if isinstance(held, dict):
            del held[delivery]
            if held:
                return
        del self._deliveries[workflow]

    def clear(self) -> None:
        """Forget all of them."""
        self._deliveries.clear()

    @property
    def workflows(self) -> Iterable[str]:
        """The workflows of which something waits."""
        return self._deliveries.keys()

    def of(self, workflow: str) -> list[Delivery]:
        """Return what waits of a workflow, in the order it came."""
        held = self._deliveries.get(workflow, ())
        return [*held] if isinstance(held, dict | tuple) else [held]
