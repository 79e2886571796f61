"""How failures are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flock.errors import RunError

if TYPE_CHECKING:
    from flock.core.delivery import Run

_LONGEST = 10_000
"""How many characters of an error's message are kept on the board."""


class ComponentFailed(RunError):
    """A component's hook that decides over a run raised."""


def as_run_error(error: BaseException, run: Run) -> RunError:
    """Return a `RunError` that names the run, with the agent's exception as its cause."""
    failure = RunError(f"agent {run.agent!r} failed: {type(error).__name__}: {text_of(error)}")
    failure.agent = run.agent
    failure.run_id = run.id
    failure.__cause__ = error
    return failure


def text_of(error: BaseException) -> str:
    """Return what an error says as storable text, even if it cannot say it."""
    try:
        text = str(error)
        if len(text) > _LONGEST:
            text = f"{text[:_LONGEST]}... ({len(text):,} characters)"
        return text.encode("utf-8", "replace").decode()
    except Exception as broken:  # noqa: BLE001 - a user's exception that cannot tell itself
        return f"<{type(error).__name__} whose message raised {type(broken).__name__}>"
