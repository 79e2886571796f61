"""Which of the waiting deliveries belong to a workflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flock.core.delivery import Delivery


class ByWorkflow:
    """An index of what waits before a gate, so that asking for one workflow costs its share."""

    __slots__ = ("_deliveries",)

    def __init__(self) -> None:
        self._deliveries: dict[str, dict[Delivery, None]] = {}

    def add(self, delivery: Delivery) -> None:
        """Take note of a delivery that waits from now on."""
        workflow = delivery.artifact.correlation_id
        try:
            self._deliveries[workflow][delivery] = None
        except KeyError:
            self._deliveries[workflow] = {delivery: None}

    def remove(self, delivery: Delivery) -> None:
        """Forget a delivery that waits no longer."""
        workflow = delivery.artifact.correlation_id
        mine = self._deliveries[workflow]
        if len(mine) > 1:
            del mine[delivery]
        else:
            del self._deliveries[workflow]

    def clear(self) -> None:
        """Forget all of them."""
        self._deliveries.clear()

    def of(self, workflow: str) -> list[Delivery]:
        """Return what waits of a workflow, in the order it came."""
        return [*self._deliveries.get(workflow, ())]
