# The seed's own tests, exactly as printed; only the imports and the two models are added.
# ruff: noqa: F841
# pyright: basic, reportUnusedVariable=false
import asyncio
import time
from unittest.mock import AsyncMock, patch

import pytest
from pydantic import BaseModel

from flock import DSPyEngine, EvalResult, Flock


class Task(BaseModel):
    name: str


class Result(BaseModel):
    ok: bool = True


@pytest.mark.asyncio
async def test_agent_execution():
    """Test async agent execution."""
    flock = Flock("test")
    agent = flock.agent("test").consumes(Task).publishes(Result)

    # Await async operations
    await flock.publish(Task(name="test"))
    await flock.run_until_idle()

    # Verify results
    artifacts = await flock.store.list()
    assert len(artifacts) == 2  # Input + output


@pytest.mark.asyncio
async def test_concurrent_agent_execution():
    """Test that agents run in parallel."""
    flock = Flock("test")

    execution_times = []

    async def slow_agent(inputs):
        start = time.time()
        await asyncio.sleep(1.0)
        execution_times.append(time.time() - start)
        return Result()

    # Create 3 agents
    for i in range(3):
        flock.agent(f"agent_{i}").consumes(Task).calls(slow_agent)

    # Publish to all 3
    start = time.time()
    await flock.publish(Task(name="test"))
    await flock.run_until_idle()
    total_time = time.time() - start

    # Should complete in ~1 second (parallel), not 3 seconds (sequential)
    assert total_time < 1.5, "Agents should run in parallel"
    assert len(execution_times) == 3


@pytest.mark.asyncio
async def test_with_async_mock():
    """Test using async mocks."""
    flock = Flock("test")

    # Mock async method
    mock_evaluate = AsyncMock(return_value=EvalResult(artifacts=[]))

    with patch.object(DSPyEngine, "evaluate", mock_evaluate):
        agent = flock.agent("test").consumes(Task).publishes(Result)
        await flock.arun(agent, Task(name="test"))

        # Verify mock was called
        assert mock_evaluate.call_count == 1


@pytest.mark.asyncio
async def test_timeout_handling():
    """Test that operations timeout correctly."""
    flock = Flock("test")

    async def slow_operation():
        await asyncio.sleep(10)  # Very slow

    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(slow_operation(), timeout=1.0)
