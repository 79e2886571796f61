"""Who has which hook, and in what order they run."""

from typing import Any

import pytest

from flock.components.agent import AgentComponent
from flock.components.orchestrator import OrchestratorComponent
from flock.core.agent import Agent
from flock.core.context import Context
from flock.core.lifecycle import has_hook, implementing, label_of
from flock.engines.base import EngineComponent

RUN_HOOKS = [
    "on_initialize",
    "on_pre_consume",
    "on_pre_evaluate",
    "on_post_evaluate",
    "on_post_publish",
    "on_error",
    "on_terminate",
]
BOARD_HOOKS = [
    "on_initialize",
    "on_artifact_published",
    "on_before_schedule",
    "on_collect_artifacts",
    "on_before_agent_schedule",
    "on_agent_scheduled",
    "on_idle",
    "on_shutdown",
]


class Watcher(AgentComponent):
    async def on_terminate(self, agent: Agent, ctx: Context) -> None:
        pass


class Inheriting(Watcher):
    pass


@pytest.mark.parametrize("hook", RUN_HOOKS)
@pytest.mark.parametrize("base", [AgentComponent, EngineComponent])
def test_a_hook_left_out_is_never_called(base: type[AgentComponent], hook: str) -> None:
    assert hasattr(base, hook)
    assert not has_hook(base(), hook)


@pytest.mark.parametrize("hook", BOARD_HOOKS)
def test_a_board_hook_left_out_is_never_called(hook: str) -> None:
    assert hasattr(OrchestratorComponent, hook)
    assert not has_hook(OrchestratorComponent(), hook)


def test_a_hook_that_is_overridden_is_called_also_when_inherited() -> None:
    assert has_hook(Watcher(), "on_terminate")
    assert has_hook(Inheriting(), "on_terminate")
    assert not has_hook(Watcher(), "on_error")


def test_a_hook_set_on_an_instance_counts() -> None:
    component: Any = AgentComponent()
    component.on_error = Watcher().on_terminate
    assert has_hook(component, "on_error")


def test_an_object_that_only_has_the_method_counts() -> None:
    class Duck:
        async def on_idle(self, orchestrator: object) -> None:
            pass

    assert has_hook(Duck(), "on_idle")
    assert not has_hook(Duck(), "on_shutdown")


def test_hooks_run_by_ascending_priority_and_equal_ones_as_they_were_added() -> None:
    made = [Watcher(name=f"{p}{i}", priority=p) for i, p in enumerate([5, 0, -1, 0, 5])]
    found = implementing([*made, AgentComponent(priority=-9)], "on_terminate")
    assert [component.name for component in found] == ["-12", "01", "03", "50", "54"]


def test_a_component_is_named_by_its_name_or_its_class() -> None:
    assert label_of(Watcher(name="audit")) == "audit"
    assert label_of(Watcher()) == "Watcher"
    assert label_of(object()) == "object"


def test_name_and_priority_can_be_those_of_the_class() -> None:
    class Early(AgentComponent):
        name = "early"
        priority = -10

    assert (Early().name, Early().priority) == ("early", -10)
    assert (Early(name="other", priority=0).name, Early(priority=0).priority) == ("other", 0)
