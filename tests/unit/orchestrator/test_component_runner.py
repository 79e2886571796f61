"""Hooks of a board's components run in order, and one that fails does not stop the next."""

import logging
from typing import Any

import pytest

from flock.components.orchestrator import OrchestratorComponent
from flock.orchestrator.component_runner import HOOKS, ComponentRunner


class Noting(OrchestratorComponent):
    def __init__(self, log: list[str], name: str, priority: int = 0, fail: bool = False) -> None:
        super().__init__(name=name, priority=priority)
        self._log = log
        self._fail = fail

    async def on_idle(self, orchestrator: Any) -> None:
        self._log.append(self.name or "")
        if self._fail:
            raise ValueError("broken")


async def called(runner: ComponentRunner, hook: str, *args: Any) -> list[tuple[str | None, Any]]:
    return [(component.name, result) async for component, result in runner.run_hook(hook, *args)]


async def test_hooks_run_by_ascending_priority_and_equal_ones_as_they_were_added() -> None:
    log: list[str] = []
    runner = ComponentRunner([Noting(log, "late", 5), Noting(log, "first"), Noting(log, "second")])
    runner.add(Noting(log, "early", -5))
    assert [name for name, _ in await called(runner, "on_idle", None)] == log
    assert log == ["early", "first", "second", "late"]


async def test_a_failing_hook_is_logged_with_component_and_hook_and_the_next_runs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log: list[str] = []
    runner = ComponentRunner([Noting(log, "bad", fail=True), Noting(log, "good")])
    with caplog.at_level(logging.ERROR):
        assert await called(runner, "on_idle", None) == [("good", None)]
    assert log == ["bad", "good"]
    (record,) = caplog.records
    assert record.getMessage() == "Component hook failed: component=bad, hook=on_idle"
    assert record.exc_info is not None


async def test_failures_go_to_the_logger_that_was_given(caplog: pytest.LogCaptureFixture) -> None:
    own = logging.getLogger("test.own")
    runner = ComponentRunner([Noting([], "bad", fail=True)], own)
    await called(runner, "on_idle", None)
    assert [record.name for record in caplog.records] == ["test.own"]


async def test_what_a_hook_returned_comes_with_its_component() -> None:
    class Answering(OrchestratorComponent):
        async def on_artifact_published(self, orchestrator: Any, artifact: Any) -> Any:
            return orchestrator, artifact

    runner = ComponentRunner([Answering(name="a")])
    assert await called(runner, "on_artifact_published", 1, 2) == [("a", (1, 2))]


async def test_a_hook_left_out_is_not_called() -> None:
    runner = ComponentRunner([OrchestratorComponent(name="none"), Noting([], "idle")])
    for hook in HOOKS:
        names = [component.name for component in runner.having[hook]]
        assert names == (["idle"] if hook == "on_idle" else [])
    assert await called(runner, "on_shutdown", None) == []
    decides = [runner.watches_publishing, runner.decides_deliveries, runner.attends_runs]
    assert decides == [False] * 3


@pytest.mark.parametrize(
    ("hook", "flag"),
    [
        ("on_artifact_published", "watches_publishing"),
        ("on_before_schedule", "decides_deliveries"),
        ("on_collect_artifacts", "decides_deliveries"),
        ("on_before_agent_schedule", "attends_runs"),
        ("on_agent_scheduled", "attends_runs"),
    ],
)
def test_it_knows_which_decisions_are_made(hook: str, flag: str) -> None:
    async def anything(*args: Any) -> None:
        del args

    component = OrchestratorComponent()
    setattr(component, hook, anything)
    runner = ComponentRunner()
    assert not getattr(runner, flag)
    runner.add(component)
    assert getattr(runner, flag)
