"""Checks of where artifacts come from and where they go."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from flock.core.artifacts import is_visibility
from flock.core.visibility import (
    AfterVisibility,
    LabelledVisibility,
    PrivateVisibility,
    PublicVisibility,
    TenantVisibility,
)
from flock.orchestrator.checks.context import Checking, listed, quoted
from flock.orchestrator.graph.declared import asks_person, is_open, kind_of, schedule_of
from flock.orchestrator.graph.flow import OUTSIDE, Consumer, can_read, counts_of, is_tagged

if TYPE_CHECKING:
    from flock.core.agent import Agent
    from flock.core.visibility import Visibility


def check_ends(checking: Checking) -> None:
    """Find types that nobody publishes, and those that nobody consumes."""
    flow = checking.flow
    for name, consumers in flow.consumers.items():
        if name in checking.outside and not flow.is_made(name):
            _from_outside(checking, name, consumers)
        elif name in checking.outside:
            _own_output(checking, name, consumers)
    if checking.either:
        names = [name for name in flow.types if name in checking.either]
        checking.tell(
            "info",
            "starts-from-outside",
            f"{checking.labels(names)}: agents publish "
            f"{'it' if len(names) == 1 else 'them'}, but only those that need "
            f"{'one' if len(names) == 1 else 'one of them'} first",
            "publish one from outside to start them",
            agents=[c.agent.name for name in names for c in flow.consumers.get(name, ())],
            types=names,
        )
    for name, producers in flow.producers.items():
        if name not in flow.consumers:
            checking.tell(
                "info",
                "result",
                f"no agent consumes {checking.label(name)}: it is a result of the board",
                "read it from the store, or let an agent consume it",
                agents=[p.agent.name for p in producers],
                types=[name],
            )


def _from_outside(checking: Checking, name: str, consumers: list[Consumer]) -> None:
    agents = [c.agent.name for c in consumers]
    short = name.rpartition(".")[2]
    twins = [
        other
        for other in checking.flow.producers
        if other != name and other.rpartition(".")[2] == short
    ]
    if twins:
        checking.tell(
            "warning",
            "same-name",
            f"{quoted(dict.fromkeys(agents))} consumes {name}, which no agent publishes, while "
            f"{quoted(p.agent.name for p in checking.flow.producers[twins[0]])} publishes "
            f"{twins[0]}: two classes of the same name",
            "import the class from one place, or consume the one that is published",
            agents=[*agents, *(p.agent.name for p in checking.flow.producers[twins[0]])],
            types=[name, *twins],
        )
        return
    maybe = [agent.name for agent in checking.flow.open if agent.name not in agents]
    hint = f", unless {quoted(maybe, 'or')} returns it" if maybe else ""
    checking.tell(
        "info",
        "from-outside",
        f"no agent declares to publish {checking.label(name)}: it comes from outside{hint}",
        "publish it, or let an agent publish it",
        agents=agents,
        types=[name],
    )


def _own_output(checking: Checking, name: str, consumers: list[Consumer]) -> None:
    """Tell of agents that alone publish what they consume, and skip it."""
    producers = {p.agent.name for p in checking.flow.producers[name]}
    for consumer in consumers:
        if producers == {consumer.agent.name} and consumer.agent.skips_own_output:
            checking.tell(
                "info",
                "skips-own",
                f"agent {consumer.agent.name!r} consumes {checking.label(name)}, which it alone "
                "publishes and therefore skips: each comes from outside",
                "say prevent_self_trigger(False) if its own shall start it again",
                agents=[consumer.agent.name],
                types=[name],
            )


def check_listening(checking: Checking) -> None:
    """Find subscriptions that ask for what nobody makes: producers, tags and visibility."""
    for consumers in checking.flow.consumers.values():
        for consumer in consumers:
            _check_named(checking, consumer)
            _check_tags(checking, consumer)


def _check_named(checking: Checking, consumer: Consumer) -> None:
    named = consumer.subscription.from_agents
    flow, agent, name = checking.flow, consumer.agent, consumer.type
    if named is None or name in flow.system:
        return
    unknown = sorted(n for n in named if n not in flow.agents and n != OUTSIDE)
    makers = {p.agent.name for p in flow.producers.get(name, ())}
    able = {n for n in named if n == OUTSIDE or n in makers or _may_return(flow.agents.get(n))}
    if agent.skips_own_output:
        able.discard(agent.name)
    if unknown:
        known = f"there are {quoted(sorted(flow.agents))}" if flow.agents else "there are none"
        checking.tell(
            "warning" if able else "error",
            "unknown-producer",
            f"agent {agent.name!r} listens to {quoted(unknown)} (from_agents), and the board has "
            f"no such agent",
            f"correct the name ({known}), or leave it out",
            agents=[agent.name],
            types=[name],
        )
    elif not able:
        others = sorted(makers - {agent.name})
        remedy = (
            f"listen to {quoted(others, 'or')}, which publishes it"
            if others
            else "let one of them publish it, or leave from_agents out"
        )
        checking.tell(
            "error",
            "never-from-these",
            f"agent {agent.name!r} listens to {quoted(sorted(named))} (from_agents) for "
            f"{checking.label(name)}, and none of them publishes it",
            remedy,
            agents=[agent.name, *sorted(named)],
            types=[name],
        )


def _may_return(agent: Agent | None) -> bool:
    return agent is not None and is_open(agent)


def _check_tags(checking: Checking, consumer: Consumer) -> None:
    tags = consumer.subscription.tags
    made = checking.flow.producers.get(consumer.type, [])
    if consumer.agent.skips_own_output:
        made = [p for p in made if p.agent.name != consumer.agent.name]
    if consumer.subscription.from_agents is not None:
        made = [p for p in made if p.agent.name in consumer.subscription.from_agents]
    if tags is None or not made or checking.flow.open or consumer.type in checking.either:
        return
    if not any(is_tagged(producer, consumer.subscription) for producer in made):
        set_ = sorted({tag for p in made for tag in p.group.tags})
        have = f"they set {quoted(set_)}" if set_ else "they set no tags"
        makers = dict.fromkeys(p.agent.name for p in made)
        checking.tell(
            "warning",
            "tags-never-set",
            f"agent {consumer.agent.name!r} asks for {checking.label(consumer.type)} tagged "
            f"{quoted(sorted(tags), 'or')}, and {quoted(makers)} publishes it without: {have}",
            "add publishes(..., tags=...) there, or ask for tags that are set",
            agents=[consumer.agent.name, *makers],
            types=[consumer.type],
        )


def check_visibility(checking: Checking) -> None:
    """Find outputs that none of their consumers may read, and consumers that may read none."""
    flow = checking.flow
    for name, producers in flow.producers.items():
        consumers = flow.consumers.get(name, [])
        hidden = 0
        for producer in producers:
            others = [c for c in consumers if c.agent.name != producer.agent.name]
            readers = [c for c in consumers if can_read(producer, c.agent)]
            visibility = producer.group.visibility
            if others and not readers and is_visibility(visibility):
                hidden += 1
                checking.tell(
                    "warning",
                    "nobody-may-read",
                    f"agent {producer.agent.name!r} publishes {checking.label(name)} as "
                    f"{_named(visibility)}, and of its consumers "
                    f"{quoted(dict.fromkeys(c.agent.name for c in others))} none may read it",
                    "name the consumer in the visibility, give it the labels or the tenant that "
                    "is asked for, or publish it for everybody",
                    agents=[producer.agent.name, *(c.agent.name for c in others)],
                    types=[name],
                )
        if hidden == len(producers):
            continue
        for consumer in consumers:
            makers = [p for p in producers if p.agent.name != consumer.agent.name]
            if makers and not any(can_read(p, consumer.agent) for p in producers):
                checking.tell(
                    "warning",
                    "may-not-read",
                    f"agent {consumer.agent.name!r} consumes {checking.label(name)}, and may read "
                    f"none of what {quoted(dict.fromkeys(p.agent.name for p in makers))} publishes",
                    "give it what the visibility asks for, or do not let it consume the type",
                    agents=[consumer.agent.name, *(p.agent.name for p in makers)],
                    types=[name],
                )


def _named(visibility: Visibility) -> str:
    """Return a visibility in words."""
    match visibility:
        case PublicVisibility():
            return "public"
        case PrivateVisibility():
            return f"private to {quoted(sorted(visibility.agents)) or 'nobody'}"
        case LabelledVisibility():
            return f"labelled {quoted(sorted(visibility.required_labels))}"
        case TenantVisibility():
            return f"of tenant {visibility.tenant_id!r}"
        case AfterVisibility():
            return _named(visibility.then)
        case _:
            assert_never(visibility)


def check_agents(checking: Checking) -> None:
    """Find agents that nothing starts, that nothing computes, and that answer for nobody."""
    for agent in checking.flow.agents.values():
        kind = kind_of(agent, checking.model)
        if kind == "none":
            checking.tell(
                "error",
                "not-computed",
                f"agent {agent.name!r} has no function, no engine, and the board has no model",
                "add calls(fn) or with_engines(), or make the board with Flock(model)",
                agents=[agent.name],
            )
        if not agent.subscriptions and schedule_of(agent) is None:
            checking.tell(
                "info",
                "direct-only",
                f"agent {agent.name!r} consumes nothing: only a direct call starts it (arun, "
                "invoke)",
                "add consumes(), or annotate a parameter of its function with a model class",
                agents=[agent.name],
            )
        if not agent.output_groups and (kind == "model" or asks_person(agent)):
            checking.tell(
                "warning",
                "publishes-nothing",
                f"agent {agent.name!r} asks a {'person' if asks_person(agent) else 'model'} and "
                "declares no output, so that nothing can come of it",
                "add publishes() with the type of the answer",
                agents=[agent.name],
            )


def check_meetings(checking: Checking) -> None:
    """Find AND gates whose types never come together in one workflow."""
    starts = checking.outside | checking.either
    roots = checking.flow.roots(starts)
    for agent in checking.flow.agents.values():
        for subscription in agent.subscriptions:
            names = list(counts_of(subscription))
            if len(names) < 2 or subscription.join is not None or subscription.mode == "direct":
                continue
            if all(name in starts for name in names):
                continue  # what is published by hand pairs with each other
            if any(not roots[name] for name in names) or checking.flow.system & set(names):
                continue  # where it comes from is not known
            if frozenset[str].intersection(*(roots[name] for name in names)):
                continue
            origins = listed(
                f"{checking.label(name)} comes of "
                f"{listed((checking.label(root) for root in sorted(roots[name])), 'or')}"
                for name in names
            )
            checking.tell(
                "warning",
                "never-meet",
                f"agent {agent.name!r} waits for {checking.labels(names)} of one workflow, and "
                f"nothing leads to both: {origins}",
                "publish what they come of under one correlation_id, or pair them across "
                "workflows with join=JoinSpec(...)",
                agents=[agent.name],
                types=names,
            )
