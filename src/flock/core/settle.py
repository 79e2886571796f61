"""What a declaration leaves open, taken from the annotations of the agent's function."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from flock.core.binding import accepts, left_without
from flock.core.lifecycle import has_hook
from flock.core.outputs import OutputGroup, OutputSpec
from flock.core.roles import Role
from flock.core.subscription import Subscription
from flock.core.types import registry
from flock.core.words import Word

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flock.core.agent import Agent
    from flock.core.question import Asking
    from flock.core.signature import FunctionSignature

logger = logging.getLogger(__name__)

_INPUT: Final = frozenset(Role) - {Role.CONTEXT, Role.INPUTS, Role.DEFAULT}
"""What a parameter is given of an artifact."""


def settle(agent: Agent, *, warns: bool = True) -> None:
    """Complete a declaration from the annotations of its function, and check the two.

    What words say in any order is checked here, where all of them are known.

    Args:
        agent: Whose declaration it is.
        warns: Whether to log that nothing starts the agent.

    Raises:
        DeclarationError: The agent listens to itself alone and skips that, has more than one
            of a function, engines and a person, or its function cannot take what it consumes,
            or returns nothing of what it publishes. The declaration is left as it was.
    """
    _check_producers(agent)
    if agent.asks is not None:
        _check_asking(agent, agent.asks)
    signature = agent.function
    if signature is None:
        return
    if agent.tools or agent.tool_sources:
        Word(agent.name, "calls").refuse(
            "tools are called by a model, and the agent is computed by a function; leave out "
            "calls(), or with_tools() and with_mcps()"
        )
    if agent.engines:
        Word(agent.name, "calls").refuse(
            "the agent has engines too; give one, calls(fn) or with_engines()"
        )
    subscriptions = agent.subscriptions or _annotated_inputs(agent, signature)
    if agent.schedules:
        _check_ticks(agent, signature)
    elif not subscriptions and warns:
        _warn_of_silence(agent, signature)
    _check_parameters(agent, signature, subscriptions, Word(agent.name, "calls"))
    _check_outputs(agent, signature)
    agent.subscriptions = subscriptions
    if not agent.output_groups:
        _publish_annotated(agent, signature)
    elif signature.streams:
        agent.output_groups = [_uncounted(group) for group in agent.output_groups]


def _check_asking(agent: Agent, asks: Asking) -> None:
    """Refuse what makes no sense beside a person who answers."""
    word = Word(agent.name, "asks_human")
    for is_said, other in (
        (agent.function is not None, "calls()"),
        (bool(agent.engines), "with_engines()"),
        (bool(agent.tools), "with_tools()"),
        (bool(agent.tool_sources), "with_mcps()"),
        (agent.best_of_n > 1, "best_of()"),
        (bool(agent.schedules), "schedule()"),
    ):
        if is_said:
            word.refuse(
                f"a person answers for the agent, and {other} is for one that is computed; leave "
                f"out one of the two, or make an agent of each"
            )
    if not any(group.outputs for group in agent.output_groups):
        word.refuse("nothing says what an answer is; add publishes() with its type")
    if asks.function is not None:
        _check_parameters(agent, asks.function, agent.subscriptions, word)


def _annotated_inputs(agent: Agent, signature: FunctionSignature) -> list[Subscription]:
    wanted = [p for p in signature.parameters if p.models]
    required = [p for p in wanted if not p.optional]
    if len(wanted) == 1 or not required:  # any of what it can take
        groups = [[model] for model in dict.fromkeys(m for p in wanted for m in p.models)]
    else:
        groups = [[p.models[0] for p in required]]
    return [
        Subscription(agent.name, index, tuple(registry.entry(model) for model in models))
        for index, models in enumerate(groups)
    ]


def _warn_of_silence(agent: Agent, signature: FunctionSignature) -> None:
    """Say that nothing on the board starts an agent whose function waits for something."""
    waiting = [p.name for p in signature.parameters if p.role in _INPUT and not p.optional]
    if waiting:
        logger.warning(
            "agent %r consumes nothing, so that only a direct call starts it; annotate parameter "
            "%r with a model class, or add consumes()",
            agent.name,
            waiting[0],
        )


def _publish_annotated(agent: Agent, signature: FunctionSignature) -> None:
    if not signature.outputs:
        return
    specs = tuple(
        OutputSpec(
            registry.entry(output.model),
            0 if output.many or output.optional else 1,
            None if output.many else 1,
        )
        for output in signature.outputs
    )
    agent.output_groups.append(OutputGroup(outputs=specs))


def _uncounted(group: OutputGroup) -> OutputGroup:
    if group.is_counted or not group.outputs:
        return group
    return replace(group, outputs=tuple(replace(s, minimum=0, maximum=None) for s in group.outputs))


def _check_producers(agent: Agent) -> None:
    for subscription in agent.subscriptions:
        if agent.skips_own_output and subscription.from_agents == frozenset([agent.name]):
            Word(agent.name, "consumes").refuse(
                "from_agents names the agent itself alone, which skips what it published; name "
                "another producer, or say prevent_self_trigger(False)"
            )


def _check_parameters(
    agent: Agent, signature: FunctionSignature, subscriptions: Sequence[Subscription], word: Word
) -> None:
    consumed = {entry for s in subscriptions for entry in s.types}
    for parameter in signature.parameters:
        if not consumed or not parameter.models or parameter.optional:
            continue
        if not any(accepts(parameter, entry) for entry in consumed):
            names = sorted(registry.entry(model).name for model in parameter.models)
            word.refuse(
                f"parameter {parameter.name!r} takes {', '.join(names)}, which the agent does not "
                "consume; consume it, or annotate the parameter with what is consumed"
            )
    if _hooks_may_choose(agent):
        return
    for subscription in subscriptions:
        if subscription.mode == "direct":
            continue  # whoever calls the agent says what it is given
        missed = left_without(
            signature,
            subscription.types * _most_groups(subscription, signature),
            is_batch=subscription.batch is not None,
        )
        if missed is not None:
            types = ", ".join(entry.name for entry in subscription.types)
            word.refuse(
                f"no input is left for parameter {missed.name!r} when {types} comes; give the "
                "parameter a default, take all inputs as one list, or consume one input for "
                "each parameter, as in consumes(A, B)"
            )


def _check_ticks(agent: Agent, signature: FunctionSignature) -> None:
    """Refuse a function that cannot be called without inputs, as a tick of a schedule does."""
    missed = None if _hooks_may_choose(agent) else left_without(signature, ())
    if missed is not None:
        Word(agent.name, "schedule").refuse(
            f"a tick has no inputs, and parameter {missed.name!r} of the agent's function asks for "
            "one; annotate it with Context, EvalInputs or list[Model], give it a default, or let "
            "another agent run by the clock and publish what this one consumes"
        )


def _hooks_may_choose(agent: Agent) -> bool:
    """Whether the agent's components may give its function other inputs."""
    hooks = ("on_pre_consume", "on_pre_evaluate")
    return any(has_hook(utility, hook) for utility in agent.utilities for hook in hooks)


def _check_outputs(agent: Agent, signature: FunctionSignature) -> None:
    """Refuse a function that is annotated to return nothing of what the agent publishes."""
    declared = [spec for group in agent.output_groups for spec in group.outputs]
    if not declared or not signature.outputs:
        return
    if any(has_hook(utility, "on_post_evaluate") for utility in agent.utilities):
        return  # they may make something else of it
    word = Word(agent.name, "calls")
    names = [registry.entry(output.model).name for output in signature.outputs]
    may_be_declared = any(
        spec.entry.name in names or any(issubclass(spec.model, o.model) for o in signature.outputs)
        for spec in declared
    )
    if not may_be_declared:
        returned = ", ".join(names)
        published = ", ".join(spec.entry.name for spec in declared)
        word.refuse(
            f"the function is annotated to return {returned}, and the agent publishes "
            f"{published}; publish what it returns, or annotate it with what is published"
        )
    [only, *more] = signature.outputs
    for spec in declared:
        if not more and not only.many and spec.minimum > 1 and spec.entry.name in names:
            word.refuse(
                f"the function is annotated to return one {spec.entry.name}, and the agent "
                f"publishes at least {spec.minimum}; let it return list[{only.model.__name__}]"
            )


def _most_groups(subscription: Subscription, signature: FunctionSignature) -> int:
    """Return how many groups one run gets, or as many as can make a difference to a function."""
    if subscription.batch is None:
        return 1
    enough = max(1, len(signature.parameters))
    return enough if subscription.batch.size is None else min(subscription.batch.size, enough)
