"""What an agent may read of the board: the context provider and its bounds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from flock.core.filters import FilterConfig

if TYPE_CHECKING:
    from flock.core.artifacts import Artifact
    from flock.core.context import ContextProvider, ContextRequest
    from flock.core.delivery import Run
    from flock.core.visibility import AgentIdentity
    from flock.store.protocol import BlackboardStore

DEFAULT_LIMIT: Final = 50
"""How many artifacts the default provider gives at the most."""

_LARGEST_PAGE: Final = 10_000


class Request:
    """One run's question to a context provider; what it sees is what its agent may see.

    It is answered as of one moment: what lay on the board then, and was open then.
    """

    def __init__(
        self,
        agent: AgentIdentity,
        correlation_id: str,
        inputs: tuple[Artifact, ...],
        store: BlackboardStore,
        now: float,
        seen: int,
    ) -> None:
        self.agent = agent
        self.correlation_id = correlation_id
        self.inputs = inputs
        self._store = store
        self._now = now
        self._seen = seen
        self._shown: dict[int, Artifact] = {}

    async def query(
        self, where: FilterConfig | None = None, *, limit: int = DEFAULT_LIMIT
    ) -> list[Artifact]:
        """Return the newest artifacts that the agent may see, newest first.

        Args:
            where: What to look for, across workflows unless it names one.
            limit: How many at the most.
        """
        found: list[Artifact] = []
        before = self._seen + 1
        size = limit
        while len(found) < limit:
            page = await self._store.latest(where, limit=size, before=before)
            found += [a for a in page if can_read(a, self.agent, self._now)]
            if len(page) < size:
                break
            before = page[-1].seq
            size = min(2 * size, _LARGEST_PAGE)
        del found[limit:]
        self._shown.update((artifact.key, artifact) for artifact in found)
        return found

    async def answered_by(self, provider: ContextProvider) -> tuple[Artifact, ...]:
        """Return what a provider chooses, as far as the agent may read it."""
        return await self.admitted(await provider(self))

    async def admitted(self, chosen: Iterable[Artifact]) -> tuple[Artifact, ...]:
        """Return those of the chosen that lie on the board and the agent may read."""
        admitted: list[Artifact] = []
        for artifact in chosen:
            if self._shown.get(artifact.key) is artifact:
                admitted.append(artifact)
                continue
            stored = await self._store.get(artifact.id)
            if stored is None or stored.seq > self._seen:
                continue
            if can_read(stored, self.agent, self._now):
                admitted.append(stored)
        return tuple(admitted)


def can_read(artifact: Artifact, agent: AgentIdentity, now: float) -> bool:
    """Return whether an agent may read an artifact at a time, in seconds since the epoch.

    A producer can always read what it produced.
    """
    if artifact.produced_by == agent.name:
        return True
    delay = artifact.visibility.delay_for(agent)
    return delay is not None and artifact.created + delay <= now


async def default_provider(request: ContextRequest) -> list[Artifact]:
    """Give the workflow's newest visible artifacts without the inputs, oldest first."""
    inputs = {artifact.key for artifact in request.inputs}
    newest = await request.query(
        FilterConfig(correlation_id=request.correlation_id), limit=DEFAULT_LIMIT + len(inputs)
    )
    kept = [artifact for artifact in newest if artifact.key not in inputs]
    return kept[:DEFAULT_LIMIT][::-1]


async def load_history(
    run: Run, agent: AgentIdentity, provider: ContextProvider, store: BlackboardStore
) -> tuple[Artifact, ...]:
    """Return the history that a provider chose for a run, as far as its agent may read it.

    It is the board as of the beginning of the run's last attempt, whenever that is asked for.
    """
    inputs = tuple(run.artifacts)
    request = Request(agent, run.correlation_id, inputs, store, run.began, run.seen)
    return await request.answered_by(provider)
