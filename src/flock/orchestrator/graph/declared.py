"""Agents as they would be if the board opened now, without touching those that are declared."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NoReturn

from flock.core.agent import Agent
from flock.core.settle import settle
from flock.engines.dspy import DSPyEngine
from flock.errors import DeclarationError

if TYPE_CHECKING:
    from flock.core.lifecycle import Engine
    from flock.core.subscription import Subscription
    from flock.orchestrator.graph.elements import Kind


def declared(
    agents: Iterable[Agent], refused: Callable[[Agent, DeclarationError], None] | None = None
) -> list[Agent]:
    """Return copies of agents whose declarations are completed from their functions.

    Nothing of an agent runs, and the agents stay as they are: words may be added to them
    afterwards as before.

    Args:
        agents: The agents of a board.
        refused: Told of each agent whose declaration contradicts itself; its copy is left
            incomplete. Without it the error is raised.

    Raises:
        DeclarationError: A declaration contradicts itself, and `refused` is not given.
    """
    copies: list[Agent] = []
    for agent in agents:
        copy = Agent.like(agent, _make_no_engine)
        try:
            settle(copy, warns=False)
        except DeclarationError as error:
            if refused is None:
                raise
            refused(copy, error)
        copies.append(copy)
    return copies


def kind_of(agent: Agent, model: str | None) -> Kind:
    """Return what computes an agent on a board of this model."""
    if asks_person(agent):
        return "human"
    if agent.function is not None:
        return "function"
    if not agent.engines:
        return "none" if model is None else "model"
    thinks = any(isinstance(engine, DSPyEngine) for engine in agent.engines)
    return "model" if thinks else "engine"


def model_of(agent: Agent, model: str | None) -> str | None:
    """Return the model string that an agent asks, on a board of this model."""
    if kind_of(agent, model) != "model":
        return None
    for engine in agent.engines:
        if isinstance(engine, DSPyEngine):
            chosen = engine.model if engine.model is not None else model
            return chosen if isinstance(chosen, str) else getattr(chosen, "name", None)
    return model


def asks_person(agent: Agent) -> bool:
    """Whether people answer for an agent."""
    return agent.asks is not None


def schedule_of(agent: Agent) -> str | None:
    """Return when the clock starts an agent, in words; None if it does not."""
    return ", ".join(spec.text for spec in agent.schedules) or None


def is_activated(subscription: Subscription) -> bool:
    """Whether the deliveries of a subscription wait for a condition."""
    return subscription.activation is not None


def activation_of(subscription: Subscription) -> str | None:
    """Return what the deliveries of a subscription wait for, in words; None if for nothing."""
    if subscription.activation is None:
        return None
    return re.sub("[<>]", "", repr(subscription.activation.condition))


def is_open(agent: Agent) -> bool:
    """Whether an agent declares no outputs, so that it publishes whatever it returns."""
    if agent.output_groups:
        return False
    if agent.function is None:
        return bool(agent.engines) and not any(isinstance(e, DSPyEngine) for e in agent.engines)
    hints: object = getattr(agent.function.function, "__annotations__", {})
    return not isinstance(hints, dict) or "return" not in hints


def _make_no_engine(agent: Agent) -> Engine:
    _refuse(agent)


def _refuse(agent: Agent) -> NoReturn:
    msg = f"agent {agent.name!r} is a copy of a declaration, which runs nothing"
    raise RuntimeError(msg)
