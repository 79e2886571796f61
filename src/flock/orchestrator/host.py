"""What runs tell their board, and ask it for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flock.clock import Clock, as_datetime
from flock.orchestrator.events import EventBus, RunEmitted
from flock.orchestrator.ledger import Ledger
from flock.store.protocol import Commit, Step

if TYPE_CHECKING:
    from flock.core.delivery import Run
    from flock.core.usage import Reservation, Usage
    from flock.orchestrator.patience import Patience
    from flock.store.protocol import BlackboardStore


class RunHost:
    """The board as the context of a run sees it: its observers and its accounts."""

    def __init__(
        self,
        clock: Clock,
        events: EventBus,
        ledger: Ledger,
        store: BlackboardStore,
        patience: Patience,
    ) -> None:
        self._clock = clock
        self._events = events
        self._ledger = ledger
        self._store = store
        self._patience = patience

    @property
    def is_heard(self) -> bool:
        """Whether anybody listens to what is emitted."""
        return self._events.is_heard

    def emit(self, run: Run, delta: object) -> None:
        """Tell observers of progress."""
        if self._events.is_heard:
            now = as_datetime(self._clock.time())
            self._events.tell(RunEmitted(now, run.correlation_id, run.agent, run.id, delta))

    async def reserve(
        self, run: Run, model: str, tokens: int, usd: float | None
    ) -> Reservation | None:
        """Set aside what a model call may take; see `Ledger.reserve`."""
        return await self._ledger.reserve(run, model, tokens, usd)

    async def charge(self, run: Run, model: str, usage: Usage) -> None:
        """Write down what a model call took; see `Ledger.charge`."""
        await self._ledger.charge(run, model, usage)

    @property
    def keeps_steps(self) -> bool:
        """Whether what steps return has to outlive the process."""
        return self._store.is_durable

    async def keep_step(self, run: Run, name: str, data: bytes) -> None:
        """Have what a step returned last, as JSON."""
        step = Step(run.key, name, data)
        await self._patience.commit(Commit(at=self._clock.time(), step=step))
