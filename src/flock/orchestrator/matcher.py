"""Which subscriptions an artifact satisfies."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from flock.core.delivery import Delivery
from flock.core.failure import failure_of
from flock.core.semantic import Scores, SemanticMatch, meets
from flock.core.visibility import PUBLIC

if TYPE_CHECKING:
    from flock.core.agent import Agent
    from flock.core.artifacts import Artifact
    from flock.core.subscription import Subscription
    from flock.core.types import TypeEntry

logger = logging.getLogger(__name__)


class _Route(NamedTuple):
    subscription: Subscription
    agent: Agent
    is_gated: bool
    has_filters: bool
    entry: TypeEntry


class Candidate(NamedTuple):
    """A subscription that an artifact satisfies but for what its text is about.

    Attributes:
        artifact: What is about to be committed.
        route: Where it would go.
        opens_at: From when the agent may use it, in seconds since the epoch.
    """

    artifact: Artifact
    route: _Route
    opens_at: float

    @property
    def criteria(self) -> tuple[SemanticMatch, ...]:
        """What its text must be about; nothing for most."""
        return self.route.subscription.semantic


class Matcher:
    """Finds the subscriptions of an artifact through an index by type.

    Built anew when a declaration changes; matching starts no task and does no I/O.

    Attributes:
        semantic: The subscriptions by meaning, on which `match` cannot decide: for their
            types it takes `sift`, then scores, then `decide`.
    """

    def __init__(self, agents: Iterable[Agent]) -> None:
        self._routes: dict[str, list[_Route]] = {}
        self.semantic: list[Subscription] = []
        self._semantic_types: set[str] = set()
        for agent in agents:
            for subscription in agent.subscriptions:
                if subscription.mode == "direct":
                    continue
                has_filters = bool(
                    subscription.each
                    or subscription.tags is not None
                    or subscription.from_agents is not None
                )
                for entry in {entry.name: entry for entry in subscription.types}.values():
                    route = _Route(subscription, agent, subscription.is_gated, has_filters, entry)
                    self._routes.setdefault(entry.name, []).append(route)
                if subscription.semantic:
                    self.semantic.append(subscription)
                    self._semantic_types.update(subscription.counts)

    def is_semantic(self, artifact: Artifact) -> bool:
        """Whether a subscription to the artifact's type asks what it is about."""
        return artifact.entry.name in self._semantic_types

    def match(self, artifact: Artifact, found: list[Delivery], without: str | None) -> None:
        """Add a delivery to `found` for each subscription that the artifact satisfies.

        Of the ungated subscriptions of one agent only the first gets it.

        Args:
            artifact: What is about to be committed.
            found: Where the deliveries go.
            without: An agent that is not to be started by it.
        """
        routes = self._routes.get(artifact.entry.name)
        if routes is None:
            name = artifact.entry.name_among(self._routes)  # renamed since the index was made?
            if name is None:
                return
            routes = self._routes[name]
        served: Agent | None = None
        for route in routes:
            subscription, agent, is_gated, has_filters, entry = route
            if (not is_gated and agent is served) or agent.name == without:
                continue
            opens_at = _opens_at(artifact, agent)
            if opens_at is None or (has_filters and not _passes(artifact, subscription, entry)):
                continue
            found.append(Delivery(artifact, subscription, opens_at))
            if not is_gated:
                served = agent

    def sift(self, artifact: Artifact, without: str | None) -> list[Candidate]:
        """Return the subscriptions that an artifact satisfies, but for what it is about.

        Each predicate is asked once. An agent's ungated subscriptions after one that is
        certain are left out.

        Args:
            artifact: What is about to be committed.
            without: An agent that is not to be started by it.
        """
        sifted: list[Candidate] = []
        served: Agent | None = None
        for route in self._routes[artifact.entry.name]:
            subscription, agent, is_gated, has_filters, entry = route
            if (not is_gated and agent is served) or agent.name == without:
                continue
            opens_at = _opens_at(artifact, agent)
            if opens_at is None or (has_filters and not _passes(artifact, subscription, entry)):
                continue
            sifted.append(Candidate(artifact, route, opens_at))
            if not (is_gated or subscription.semantic):
                served = agent
        return sifted

    @staticmethod
    def decide(sifted: Iterable[Candidate], scores: Scores, found: list[Delivery]) -> None:
        """Add the deliveries that `match` would have added, had it known the scores.

        Args:
            sifted: What `sift` returned for one artifact.
            scores: How near its text comes to every criterion of them.
            found: Where the deliveries go.
        """
        served: Agent | None = None
        for artifact, route, opens_at in sifted:
            if not route.is_gated and route.agent is served:
                continue
            if not meets(route.subscription.semantic, scores):
                continue
            found.append(Delivery(artifact, route.subscription, opens_at))
            if not route.is_gated:
                served = route.agent


def _opens_at(artifact: Artifact, agent: Agent) -> float | None:
    """Return from when an agent may use an artifact: 0 for at once, None for never."""
    if artifact.produced_by == agent.name:
        return None if agent.skips_own_output else 0.0
    if artifact.visibility is PUBLIC:
        return 0.0
    delay = artifact.visibility.delay_for(agent.identity)
    return artifact.created + delay if delay else delay


def _passes(artifact: Artifact, subscription: Subscription, entry: TypeEntry) -> bool:
    if (
        subscription.from_agents is not None
        and artifact.produced_by not in subscription.from_agents
    ):
        return False
    if subscription.tags is not None and subscription.tags.isdisjoint(artifact.tags):
        return False
    if not subscription.each:
        return True
    model = artifact.take(entry)
    return all(holds(p, subscription.agent, model) for p in subscription.each)


def holds(predicate: Callable[..., object], agent: str, *models: Any) -> bool:  # noqa: ANN401
    """Return whether a user's predicate holds; one that raises is logged and does not."""
    try:
        return bool(predicate(*models))
    except BaseException as error:
        if failure_of(error, f"a predicate of agent {agent!r}") is None:
            raise
        logger.exception(
            "Predicate failed, which counts as no match: agent=%s, predicate=%s",
            agent,
            getattr(predicate, "__qualname__", type(predicate).__qualname__),
        )
        return False
