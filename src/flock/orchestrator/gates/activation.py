"""The activation: what waits until its workflow is ready for it."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from flock.orchestrator.gates.by_workflow import ByWorkflow

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flock.core.delivery import Delivery


class Activation:
    """Holds deliveries until the condition holds in their workflow; lets go in board order."""

    def __init__(self) -> None:
        self._waiting: dict[Delivery, int] = {}
        self._by_workflow = ByWorkflow()

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Delivery]:
        return iter(self._waiting)

    def __contains__(self, delivery: Delivery) -> bool:
        return delivery in self._waiting

    def add(self, delivery: Delivery, step: int) -> None:
        """Take a delivery in.

        Args:
            delivery: What arrived.
            step: The first state of its workflow, by number, that counts for it.
        """
        self._waiting[delivery] = step
        self._by_workflow.add(delivery)

    def holds(self, workflow: str) -> bool:
        """Return whether anything waits of a workflow."""
        return workflow in self._by_workflow

    def of(self, workflow: str) -> list[Delivery]:
        """Return what waits of a workflow."""
        return self._by_workflow.of(workflow)

    def take(self, workflow: str, step: int) -> list[Delivery]:
        """Take out and return what waits of a workflow, in board order, now that it may go on.

        Args:
            workflow: The workflow in which the condition holds.
            step: The state of the workflow, by number, in which it does: what came later stays.
        """
        ready = [d for d in self._by_workflow.of(workflow) if self._waiting[d] <= step]
        return self.take_out(sorted(ready, key=attrgetter("artifact.seq")))

    def take_out(self, found: Sequence[Delivery]) -> list[Delivery]:
        """Take out and return these waiting deliveries."""
        for delivery in found:
            del self._waiting[delivery]
            self._by_workflow.remove(delivery)
        return [*found]
