"""Checks of who does the work: twice, never, or without an end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from flock.orchestrator.checks.context import Checking, quoted
from flock.orchestrator.graph.components import components
from flock.orchestrator.graph.declared import asks_person, is_activated, kind_of
from flock.orchestrator.graph.flow import Consumer, Producer, counts_of

if TYPE_CHECKING:
    from flock.core.agent import Agent
    from flock.core.subscription import Subscription


class _Step(NamedTuple):
    """A way from one agent to the next around a loop."""

    producer: Producer
    consumer: Consumer

    @property
    def needs(self) -> int:
        """How many artifacts of the type one run of the consumer takes, at least."""
        subscription = self.consumer.subscription
        batch = subscription.batch.size if subscription.batch is not None else None
        timed = subscription.batch is not None and subscription.batch.timeout is not None
        groups = 1 if batch is None or timed else batch
        return counts_of(subscription)[self.consumer.type] * groups


def check_loops(checking: Checking) -> None:
    """Find loops that nothing ends but the limit of hops."""
    steps: dict[str, dict[str, list[_Step]]] = {name: {} for name in checking.flow.agents}
    for producers in checking.flow.producers.values():
        for producer in producers:
            for consumer in checking.flow.targets(producer):
                step = _Step(producer, consumer)
                steps[producer.agent.name].setdefault(consumer.agent.name, []).append(step)
    for loop in components(steps):
        inside = _without_ends(steps, loop, checking)
        for endless in components({n: list(targets) for n, targets in inside.items()}):
            if len(endless) > 1 or any(n in inside[n] for n in endless):
                _tell_of_loop(checking, _shortest(inside, endless))


def _without_ends(
    steps: dict[str, dict[str, list[_Step]]], loop: frozenset[str], checking: Checking
) -> dict[str, dict[str, _Step]]:
    """Return the steps inside a loop that nothing declared stops."""
    made = {
        step.consumer.type
        for name in loop
        for target, found in steps[name].items()
        if target in loop
        for step in found
    }
    within = [
        step
        for name in sorted(loop)
        for target, found in steps[name].items()
        if target in loop
        for step in found
        if not _ends(step, made, checking)
    ]
    multiplies = any(
        s.producer.spec.maximum is None or s.producer.spec.maximum > s.needs for s in within
    )
    left: dict[str, dict[str, _Step]] = {name: {} for name in loop}
    for step in within:
        maximum = step.producer.spec.maximum
        if not multiplies and maximum is not None and maximum < step.needs:
            continue  # each time round there is less
        left[step.producer.agent.name].setdefault(step.consumer.agent.name, step)
    return left


def _ends(step: _Step, made: set[str], checking: Checking) -> bool:
    """Whether something declared may stop a step: a filter, a decline, a person, an input."""
    subscription, producer = step.consumer.subscription, step.producer
    if subscription.each or subscription.group or subscription.semantic:
        return True
    if is_activated(subscription) or producer.group.where or not producer.spec.minimum:
        return True
    if callable(producer.group.visibility) or asks_person(producer.agent):
        return True
    if not set(counts_of(subscription)) <= made:
        return True  # it takes something that the loop does not make
    return _may_decline(producer.agent, checking)


def _may_decline(agent: Agent, checking: Checking) -> bool:
    """Whether an agent may answer with nothing, or that cannot be told."""
    if agent.function is not None:
        outputs = agent.function.outputs
        return not outputs or any(o.optional or o.many for o in outputs)
    if agent.utilities:
        return True
    return kind_of(agent, checking.model) != "model"


def _shortest(inside: dict[str, dict[str, _Step]], loop: frozenset[str]) -> list[_Step]:
    """Return the steps of a shortest way around a loop, from its first agent by name."""
    start = min(loop)
    before: dict[str, tuple[str, _Step]] = {}
    waiting = deque([start])
    while start not in before:
        name = waiting.popleft()
        for target, step in inside[name].items():
            if target in loop and target not in before:
                before[target] = (name, step)
                waiting.append(target)
    path: list[_Step] = []
    name = start
    while not path or name != start:
        name, step = before[name]
        path.append(step)
    return path[::-1]


def _tell_of_loop(checking: Checking, path: list[_Step]) -> None:
    way = " -> ".join(
        f"{step.producer.agent.name} -> {checking.label(step.consumer.type)}" for step in path
    )
    checking.tell(
        "warning",
        "endless-loop",
        f"nothing that is declared ends the loop {way} -> {path[0].producer.agent.name}: it goes "
        "on until a run is max_agent_iterations hops deep, and fails then",
        "let an agent of it decline (return None, publishes(..., fan_out=(0, 1))), or filter with "
        "where=",
        agents=[step.producer.agent.name for step in path],
        types=[step.consumer.type for step in path],
    )


def check_doubles(checking: Checking) -> None:
    """Find agents that do the same work, so that all of it is done twice."""
    seen: dict[object, list[str]] = {}
    types: dict[object, tuple[str, ...]] = {}
    for agent in checking.flow.agents.values():
        work = _work_of(agent, checking)
        if work is not None:
            seen.setdefault(work, []).append(agent.name)
            types[work] = tuple(n for s in agent.subscriptions for n in counts_of(s))
    for work, names in seen.items():
        if len(names) > 1:
            checking.tell(
                "warning",
                "same-work",
                f"{quoted(names)} consume and publish the same in the same way: each artifact is "
                f"worked on {len(names)} times, and each result is there {len(names)} times",
                "keep one of them, with max_concurrency(n) to do more at once and best_of(n) to "
                "choose among answers; or tell them apart with where=, tags= or description()",
                agents=names,
                types=types[work],
            )


def _work_of(agent: Agent, checking: Checking) -> object:
    """Return what an agent does, equal for equal work; None if that cannot be told."""
    kind = kind_of(agent, checking.model)
    waits = [s for s in agent.subscriptions if s.mode != "direct"]
    if not waits or not agent.output_groups or kind not in {"function", "model"}:
        return None
    function = agent.function.function if agent.function is not None else None
    return (
        tuple(map(_way_in, waits)),
        tuple(
            (tuple(s.entry.current.name for s in group.outputs), group.tags, group.description)
            for group in agent.output_groups
        ),
        function if function is None or function.__hash__ is not None else id(function),
        tuple(map(id, agent.engines)),
        tuple(map(id, agent.utilities)),
        tuple(tool.name for tool in agent.tools),
        tuple(source.name for source in agent.tool_sources),
        agent.description,
        agent.labels,
        agent.tenant_id,
        id(agent.context_provider),
    )


def _way_in(subscription: Subscription) -> object:
    predicates: tuple[Callable[..., object], ...] = (*subscription.each, *subscription.group)
    return (
        tuple(sorted(counts_of(subscription).items())),
        tuple(map(id, predicates)),
        subscription.semantic,
        subscription.from_agents,
        subscription.tags,
        repr(subscription.join),
        subscription.batch,
        is_activated(subscription),
    )


def check_shadows(checking: Checking) -> None:
    """Find subscriptions that an earlier one of the same agent leaves nothing."""
    for agent in checking.flow.agents.values():
        taken: dict[str, int] = {}
        for subscription in agent.subscriptions:
            if subscription.is_gated or subscription.mode == "direct" or is_activated(subscription):
                continue
            (name,) = counts_of(subscription)
            if name in taken:
                checking.tell(
                    "warning",
                    "never-reached",
                    f"agent {agent.name!r} consumes {checking.label(name)} a second time (its "
                    f"subscription {subscription.index}), and the first time takes every one: an "
                    "artifact starts one ungated run of an agent",
                    "put the subscription with filters first, or leave this one out",
                    agents=[agent.name],
                    types=[name],
                )
            elif not _filters(subscription):
                taken[name] = subscription.index


def _filters(subscription: Subscription) -> bool:
    narrowed = subscription.from_agents is not None or subscription.tags is not None
    return bool(subscription.each or subscription.group or subscription.semantic or narrowed)


def check_waiting(checking: Checking) -> None:
    """Find batches that may stay half-filled."""
    for agent in checking.flow.agents.values():
        for subscription in agent.subscriptions:
            batch = subscription.batch
            if batch is None or batch.timeout is not None or batch.size == 1:
                continue
            if subscription.mode == "direct":
                continue
            checking.tell(
                "info",
                "batch-may-wait",
                f"agent {agent.name!r} runs when {batch.size} are there, however long that takes; "
                "what is left over waits",
                "give BatchSpec a timeout as well, or call flush() when no more will come",
                agents=[agent.name],
                types=counts_of(subscription),
            )
