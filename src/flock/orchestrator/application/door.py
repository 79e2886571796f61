"""What a request needs of its board beside the public verbs."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

from typing import TYPE_CHECKING

from flock.store.protocol import Commit

if TYPE_CHECKING:
    from flock.orchestrator.flock import Flock
    from flock.store.protocol import LogEntry


async def at_rest(board: Flock, workflow: str) -> None:
    """Wait until nothing of a workflow goes on, falls due or is held.

    Raises:
        NotIdle: The board was shut down before.
    """
    await board._parts.control.wait_until_done(workflow)  # noqa: SLF001


async def write_down(board: Flock, entry: LogEntry) -> None:
    """Put an entry into the board's log, as soon as its store can.

    Raises:
        StoreError: It could not.
    """
    await board._parts.patience.commit(Commit(at=entry.at, logged=[entry]))  # noqa: SLF001
