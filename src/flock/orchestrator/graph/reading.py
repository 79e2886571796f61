"""The graph of a board, read from the declarations of its agents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Literal

from flock.orchestrator.graph.declared import (
    activation_of,
    declared,
    is_activated,
    is_open,
    kind_of,
    model_of,
    schedule_of,
)
from flock.orchestrator.graph.elements import (
    ConsumesEdge,
    Graph,
    GraphAgent,
    GraphGate,
    GraphType,
    PublishesEdge,
)
from flock.orchestrator.graph.flow import Flow, counts_of

if TYPE_CHECKING:
    from flock.core.agent import Agent
    from flock.core.outputs import OutputGroup
    from flock.core.subscription import Subscription
    from flock.core.types import TypeEntry


def graph_of(name: str, model: str | None, agents: Iterable[Agent]) -> Graph:
    """Return the graph of a board.

    Args:
        name: The board's name.
        model: The board's model.
        agents: Its agents, which stay as they are.

    Raises:
        DeclarationError: A declaration contradicts itself.
    """
    flow = Flow(declared(agents))
    return Graph(
        name,
        tuple(_agent(agent, model) for agent in flow.agents.values()),
        tuple(_types(flow)),
        (
            *(edge for agent in flow.agents.values() for edge in _consumed(agent)),
            *(edge for agent in flow.agents.values() for edge in _published(agent)),
        ),
    )


def labels_of(types: Iterable[TypeEntry]) -> dict[str, str]:
    """Return a short name of each type by its stable one: the last part where that is unique."""
    names = [entry.name for entry in types]
    shorts = Counter(name.rpartition(".")[2] for name in names)
    return {
        name: short if shorts[short := name.rpartition(".")[2]] == 1 else name for name in names
    }


def called(function: Callable[..., object]) -> str:
    """Return how a function of the user's is shown: by its name, or as a lambda."""
    name: str = getattr(function, "__name__", type(function).__name__)
    return name.strip("<>")


def _agent(agent: Agent, model: str | None) -> GraphAgent:
    return GraphAgent(
        agent.name,
        kind_of(agent, model),
        agent.description,
        tuple(sorted(agent.labels)),
        agent.tenant_id,
        model_of(agent, model),
        schedule_of(agent),
        is_open(agent),
    )


def _types(flow: Flow) -> Iterator[GraphType]:
    labels = labels_of(flow.types.values())
    outside, either = flow.from_outside()
    for name, entry in flow.types.items():
        origin: Literal["agents", "outside", "either", "board"] = "agents"
        if name in flow.system:
            origin = "board"
        elif name in outside or not flow.is_made(name):
            origin = "outside"
        elif name in either:
            origin = "either"
        is_result = flow.is_made(name) and name not in flow.consumers
        yield GraphType(name, labels[name], entry.version, origin, is_result)


def _consumed(agent: Agent) -> Iterator[ConsumesEdge]:
    for subscription in agent.subscriptions:
        gate = _gate(subscription)
        for name, count in counts_of(subscription).items():
            yield ConsumesEdge(
                name,
                agent.name,
                subscription.index,
                count,
                gate,
                len(subscription.each),
                len(subscription.group),
                tuple(" or ".join(criterion.queries) for criterion in subscription.semantic),
                _sorted(subscription.tags),
                _sorted(subscription.from_agents),
                subscription.mode,
                subscription.priority,
            )


def _gate(subscription: Subscription) -> GraphGate:
    join, batch = subscription.join, subscription.batch
    found = (
        ("all_of", join is None and len(subscription.types) > 1),
        ("join", join is not None),
        ("batch", batch is not None),
        ("activation", is_activated(subscription)),
    )
    by = None
    if join is not None:
        by = join.by if isinstance(join.by, str) else called(join.by)
    return GraphGate(
        tuple(kind for kind, applies in found if applies),
        by,
        None if join is None else join.window_seconds,
        None if join is None else join.window_count,
        None if join is None else join.on_expired,
        None if batch is None else batch.size,
        None if batch is None else batch.timeout_seconds,
        activation_of(subscription),
    )


def _published(agent: Agent) -> Iterator[PublishesEdge]:
    for number, group in enumerate(agent.output_groups):
        for spec in group.outputs:
            yield PublishesEdge(
                agent.name,
                spec.entry.current.name,
                number,
                spec.minimum,
                spec.maximum,
                len(group.where),
                len(group.validate),
                _visibility(group),
                tuple(sorted(group.tags)),
                group.description,
            )


def _visibility(group: OutputGroup) -> str | None:
    visibility = group.visibility
    if visibility is None:
        return None
    if callable(visibility):
        return "function"
    return None if visibility.kind == "Public" else visibility.kind


def _sorted(words: Iterable[str] | None) -> tuple[str, ...] | None:
    return None if words is None else tuple(sorted(words))
