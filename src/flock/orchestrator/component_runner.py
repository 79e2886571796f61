"""Hooks of OrchestratorComponents: who has which, in order, and what a raising one does."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from flock.core.failure import failure_of
from flock.core.lifecycle import has_hook, implementing, label_of

if TYPE_CHECKING:
    from flock.components.orchestrator import OrchestratorComponent

HOOKS = (
    "on_initialize",
    "on_artifact_published",
    "on_before_schedule",
    "on_collect_artifacts",
    "on_before_agent_schedule",
    "on_agent_scheduled",
    "on_idle",
    "on_shutdown",
)

_OF_LIFE = ("on_initialize", "on_idle", "on_shutdown")
"""What tells a component of the life of its board."""


class ComponentRunner:
    """Calls the hooks of a board's components, by ascending priority.

    Attributes:
        having: For each hook, the components that have it; a hook left out costs nothing.
        watches_publishing: Whether one has `on_artifact_published`.
        decides_deliveries: Whether one has `on_before_schedule` or `on_collect_artifacts`.
        attends_runs: Whether one has `on_before_agent_schedule` or `on_agent_scheduled`.
    """

    def __init__(
        self,
        components: Sequence[OrchestratorComponent] = (),
        logger: logging.Logger | None = None,
    ) -> None:
        self._components: list[OrchestratorComponent] = list(components)
        self._guests: set[int] = set()
        self._logger = logger or logging.getLogger(__name__)
        self.having: dict[str, tuple[OrchestratorComponent, ...]] = {}
        self._sort()

    def add(self, component: OrchestratorComponent) -> None:
        """Add a component."""
        self._components.append(component)
        self._sort()

    def share(self, other: ComponentRunner) -> None:
        """Ask the components of another board, but do not tell them of this board's life.

        They are opened, and closed, with their own one.
        """
        self._components += other._components
        self._guests.update(map(id, other._components))
        self._sort()

    async def run_hook(
        self,
        hook_name: str,
        *args: Any,  # noqa: ANN401 - each hook has its own arguments
        **kwargs: Any,  # noqa: ANN401
    ) -> AsyncIterator[tuple[OrchestratorComponent, Any]]:
        """Call a hook that only watches on all components, yielding what each returned.

        A raising hook is logged with its component and name, and the next one runs.
        """
        for component in implementing(self._components, hook_name):
            if hook_name in _OF_LIFE and id(component) in self._guests:
                continue
            try:
                result = await getattr(component, hook_name)(*args, **kwargs)
            except BaseException as error:
                if failure_of(error, f"component {label_of(component)!r}") is None:
                    raise
                self._logger.exception(
                    "Component hook failed: component=%s, hook=%s", label_of(component), hook_name
                )
                continue
            yield component, result

    def _sort(self) -> None:
        self._components.sort(key=lambda component: getattr(component, "priority", 0))
        having = self.having = {
            hook: tuple(
                c
                for c in self._components
                if has_hook(c, hook) and not (hook in _OF_LIFE and id(c) in self._guests)
            )
            for hook in HOOKS
        }
        self.watches_publishing = bool(having["on_artifact_published"])
        self.decides_deliveries = bool(
            having["on_before_schedule"] or having["on_collect_artifacts"]
        )
        self.attends_runs = bool(having["on_before_agent_schedule"] or having["on_agent_scheduled"])
