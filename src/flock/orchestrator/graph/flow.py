"""What can come from whom: the way of artifacts as far as declarations tell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from typing import TYPE_CHECKING, Final, NamedTuple

from flock.core.artifacts import EXTERNAL
from flock.core.system import GroupExpired, WorkflowError
from flock.core.types import registry
from flock.orchestrator.graph.components import components
from flock.orchestrator.graph.declared import is_open, schedule_of

if TYPE_CHECKING:
    from flock.core.agent import Agent
    from flock.core.outputs import OutputGroup, OutputSpec
    from flock.core.subscription import Subscription
    from flock.core.types import TypeEntry

OUTSIDE: Final = EXTERNAL
"""Who publishes from outside, where sources are named."""


class Producer(NamedTuple):
    """An agent's output of one type."""

    agent: Agent
    group: OutputGroup
    spec: OutputSpec


class Consumer(NamedTuple):
    """An agent's subscription to one type."""

    agent: Agent
    subscription: Subscription
    type: str


class Flow:
    """Who publishes and consumes which type, and what can start whom.

    Types are found by the names they go by now. Subscriptions that are met by direct calls alone
    are left out. Copies of agents are expected, as `declared` makes them.

    Attributes:
        agents: The agents by name.
        types: Every type that is consumed or published, by name, in the order of declaration.
        producers: Who publishes a type.
        consumers: Which subscriptions it starts.
        open: Agents that publish whatever they return.
        system: Names of the types that the board itself publishes about failures.
    """

    def __init__(self, agents: Iterable[Agent]) -> None:
        self.agents = {agent.name: agent for agent in agents}
        self.types: dict[str, TypeEntry] = {}
        self.producers: dict[str, list[Producer]] = {}
        self.consumers: dict[str, list[Consumer]] = {}
        self.open = [agent for agent in self.agents.values() if is_open(agent)]
        self.system = frozenset(registry.entry(cls).name for cls in (WorkflowError, GroupExpired))
        for agent in self.agents.values():
            self._read(agent)

    def _read(self, agent: Agent) -> None:
        for subscription in agent.subscriptions:
            for entry in subscription.types:
                self.types.setdefault(entry.current.name, entry.current)
            if subscription.mode != "direct":
                for name in counts_of(subscription):
                    consumer = Consumer(agent, subscription, name)
                    self.consumers.setdefault(name, []).append(consumer)
        for group in agent.output_groups:
            for spec in group.outputs:
                entry = spec.entry.current
                self.types.setdefault(entry.name, entry)
                self.producers.setdefault(entry.name, []).append(Producer(agent, group, spec))

    # --- who feeds whom ---

    def sources(self, consumer: Consumer) -> list[Producer]:
        """Return the outputs that can meet a subscription, one by one."""
        return [
            producer
            for producer in self.producers.get(consumer.type, ())
            if is_heard(producer, consumer) and can_read(producer, consumer.agent)
        ]

    def targets(self, producer: Producer) -> list[Consumer]:
        """Return the subscriptions that an output can meet."""
        return [
            consumer
            for consumer in self.consumers.get(producer.spec.entry.current.name, ())
            if is_heard(producer, consumer) and can_read(producer, consumer.agent)
        ]

    def is_made(self, name: str) -> bool:
        """Whether an agent declares to publish a type."""
        return name in self.producers

    # --- what comes from outside ---

    def from_outside(self) -> tuple[set[str], set[str]]:
        """Return the types that have to come from outside, and those of which the first does.

        The first are published by no agent that the consumers listen to. The second are made by
        agents, but only by those that need one of them first, as in a loop: of each such loop
        those that start it.
        """
        outside = {
            name
            for name, consumers in self.consumers.items()
            if name not in self.system and not any(map(self.sources, consumers))
        }
        available = self._reached(outside)
        either: set[str] = set()
        while True:
            stuck = [
                agent
                for agent in self.agents.values()
                if self._waits(agent) and not self._runs(agent, available)
            ]
            found = self._first_loop(stuck, available)
            if not found:
                return outside, either
            either |= found
            available = self._reached(outside | either)

    def _reached(self, given: Set[str]) -> set[str]:
        """Return the types that can be on the board once those given are."""
        available = {*given, *self.system}
        runs: set[str] = set()
        while True:
            fresh = [
                agent
                for agent in self.agents.values()
                if agent.name not in runs
                and (not self._waits(agent) or self._runs(agent, available))
            ]
            if not fresh:
                return available
            for agent in fresh:
                runs.add(agent.name)
                available |= {s.entry.current.name for g in agent.output_groups for s in g.outputs}

    @staticmethod
    def _waits(agent: Agent) -> bool:
        """Whether artifacts alone start an agent."""
        return bool(agent.subscriptions) and schedule_of(agent) is None

    @staticmethod
    def _runs(agent: Agent, available: Set[str]) -> bool:
        return any(
            set(counts_of(subscription)) <= available or subscription.mode == "direct"
            for subscription in agent.subscriptions
        )

    def _first_loop(self, stuck: list[Agent], available: Set[str]) -> set[str]:
        """Return what starts the loops that wait for nothing but themselves."""
        needs = {
            agent.name: {
                name
                for subscription in agent.subscriptions
                for name in counts_of(subscription)
                if name not in available
            }
            for agent in stuck
        }
        makers: dict[str, set[str]] = {
            agent.name: {
                producer.agent.name
                for name in needs[agent.name]
                for producer in self.producers.get(name, ())
                if producer.agent.name in needs
            }
            for agent in stuck
        }
        found: set[str] = set()
        for loop in components(makers):
            if all(makers[member] <= loop for member in loop):
                found |= set[str]().union(*(needs[member] for member in loop))
        return found

    # --- which workflows ---

    def roots(self, outside: Set[str]) -> dict[str, frozenset[str]]:
        """Return from what each type descends: types from outside, and agents that start alone.

        Args:
            outside: The types that may come from outside.
        """
        roots: dict[str, set[str]] = {name: set() for name in self.types}
        for name in outside:
            roots[name].add(name)
        changed = True
        while changed:
            changed = False
            for producer in self._all_producers():
                name = producer.spec.entry.current.name
                before = len(roots[name])
                roots[name] |= self._roots_of(producer.agent, roots)
                changed = changed or len(roots[name]) != before
        return {name: frozenset(found) for name, found in roots.items()}

    def _roots_of(self, agent: Agent, roots: dict[str, set[str]]) -> set[str]:
        own = set[str]() if self._waits(agent) else {f"agent {agent.name}"}
        found = (roots[name] for s in agent.subscriptions for name in counts_of(s))
        return own.union(*found)

    def _all_producers(self) -> Iterator[Producer]:
        for producers in self.producers.values():
            yield from producers


def counts_of(subscription: Subscription) -> dict[str, int]:
    """Return how many of each type a complete group has, by the names they go by now."""
    counts: dict[str, int] = {}
    for entry in subscription.types:
        counts[entry.current.name] = counts.get(entry.current.name, 0) + 1
    return counts


def is_heard(producer: Producer, consumer: Consumer) -> bool:
    """Whether a subscription asks for what an output is, whoever may read it."""
    subscription = consumer.subscription
    if producer.agent.name == consumer.agent.name and consumer.agent.skips_own_output:
        return False
    listens = subscription.from_agents
    if listens is not None and producer.agent.name not in listens:
        return False
    return is_tagged(producer, subscription)


def is_tagged(producer: Producer, subscription: Subscription) -> bool:
    """Whether an output may have one of the tags that a subscription asks for."""
    if subscription.tags is None or not subscription.tags.isdisjoint(producer.group.tags):
        return True
    return makes_artifacts(producer.agent)


def makes_artifacts(agent: Agent) -> bool:
    """Whether an agent may return artifacts with tags of their own, instead of models."""
    if agent.function is not None:
        return not agent.function.outputs
    return bool(agent.engines)


def can_read(producer: Producer, reader: Agent) -> bool:
    """Whether an agent may read an output, sooner or later, as far as the declaration says."""
    if producer.agent.name == reader.name:
        return True
    visibility = producer.group.visibility
    if visibility is None or callable(visibility):
        return True
    return visibility.delay_for(reader.identity) is not None
