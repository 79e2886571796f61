"""How failures are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flock.core.failure import failure_of
from flock.core.lifecycle import label_of
from flock.errors import RunError

if TYPE_CHECKING:
    from flock.core.delivery import Run

_LONGEST = 10_000
"""How many characters of an error's message are kept on the board."""


class ComponentFailed(RunError):
    """A component's hook that decides over a run raised."""


def as_run_error(error: BaseException, run: Run) -> RunError:
    """Return a `RunError` that names the run, with the agent's exception as its cause."""
    failure = RunError(f"agent {run.agent!r} failed: {shown(error)}")
    failure.agent = run.agent
    failure.run_id = run.id
    failure.__cause__ = error
    return failure


def text_of(error: object) -> str:
    """Return what an error or key says as storable text, even if it cannot say it."""
    try:
        text = str(error)
        if len(text) > _LONGEST:
            text = f"{text[:_LONGEST]}... ({len(text):,} characters)"
        return text.encode("utf-8", "backslashreplace").decode()
    except Exception as broken:  # noqa: BLE001 - a user's exception that cannot tell itself
        return f"<{type(error).__name__} whose message raised {type(broken).__name__}>"


class naming:
    """Turn a component's error into one that names the component, its hook and the agent."""

    def __init__(self, component: object, hook: str, agent: str) -> None:
        self._component = component
        self._hook = hook
        self._agent = agent

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            return
        label = label_of(self._component)
        failure = failure_of(error, f"component {label!r}")
        if failure is not None:
            msg = (
                f"component {label!r} failed in {self._hook} for agent {self._agent!r}: "
                f"{shown(failure)}"
            )
            raise ComponentFailed(msg) from failure


def shown(error: BaseException) -> str:
    """Return an error's class and text, even if it cannot tell itself."""
    return f"{type(error).__name__}: {text_of(error)}"
