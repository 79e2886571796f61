"""What a declaration leaves open, taken from the annotations of the agent's function."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flock.core.outputs import OutputGroup, OutputSpec
from flock.core.subscription import Subscription
from flock.core.types import registry
from flock.errors import DeclarationError

if TYPE_CHECKING:
    from flock.core.agent import Agent
    from flock.core.signature import FunctionSignature


def settle(agent: Agent) -> None:
    """Complete a declaration from the annotations of its function, and check the two.

    Raises:
        DeclarationError: The function cannot take what the agent consumes.
    """
    signature = agent.function
    if signature is None or agent.engines:
        return
    if agent.tools or agent.tool_sources:
        msg = (
            f"agent {agent.name!r}, calls: tools are called by a model, and the agent is computed "
            "by a function; leave out calls(), or with_tools() and with_mcps()"
        )
        raise DeclarationError(msg)
    if not agent.subscriptions:
        _consume_annotated(agent, signature)
    if not agent.output_groups:
        _publish_annotated(agent, signature)
    elif signature.streams:
        agent.output_groups = [_uncounted(group) for group in agent.output_groups]
    _check_parameters(agent, signature)


def _consume_annotated(agent: Agent, signature: FunctionSignature) -> None:
    wanted = [p for p in signature.parameters if p.models]
    required = [p for p in wanted if not p.optional]
    if len(wanted) == 1 or not required:  # any of what it can take
        groups = [[model] for model in dict.fromkeys(m for p in wanted for m in p.models)]
    else:
        groups = [[p.models[0] for p in required]]
    for models in groups:
        entries = tuple(registry.entry(model) for model in models)
        agent.subscriptions.append(Subscription(agent.name, len(agent.subscriptions), entries))


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


def _check_parameters(agent: Agent, signature: FunctionSignature) -> None:
    if not agent.subscriptions:
        return
    consumed = {entry for s in agent.subscriptions for entry in s.types}
    for parameter in signature.parameters:
        if not parameter.models or parameter.optional:
            continue
        names = {registry.entry(model).name for model in parameter.models}
        fits = any(
            entry.name in names or issubclass(entry.cls, parameter.models) for entry in consumed
        )
        if not fits:
            msg = (
                f"agent {agent.name!r}, calls: parameter {parameter.name!r} takes "
                f"{', '.join(sorted(names))}, which the agent does not consume; consume it, "
                "or annotate the parameter with what is consumed"
            )
            raise DeclarationError(msg)
