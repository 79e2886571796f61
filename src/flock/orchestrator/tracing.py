"""One span around a whole piece of work."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.trace import Span


class TracingManager:
    """Opens the spans that users ask for.

    Attributes:
        current_workflow_span: The span of the `traced_run` that is open, if one is.
    """

    def __init__(self) -> None:
        self.current_workflow_span: Span | None = None

    @asynccontextmanager
    async def traced_run(
        self, name: str = "workflow", flock_id: str | None = None
    ) -> AsyncGenerator[Span, None]:
        """Open one span around everything inside, with OpenTelemetry's API.

        Args:
            name: Name of the span, and its attribute `flock.workflow`.
            flock_id: Its attribute `flock.orchestrator_id`.
        """
        from opentelemetry import trace

        tracer = trace.get_tracer(__name__)
        before = self.current_workflow_span
        with tracer.start_as_current_span(
            name,
            attributes={
                "flock.workflow": name,
                "flock.orchestrator_id": flock_id or "unknown",
            },
        ) as span:
            self.current_workflow_span = span
            try:
                yield span
            finally:
                self.current_workflow_span = before
