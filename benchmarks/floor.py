"""The floor: what a run costs before any framework has done anything."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from benchmarks.models import TEXT, Answer, Request

if TYPE_CHECKING:
    from typing import Any

IN_FLIGHT = 100


async def work(payload: dict[str, Any]) -> Answer:
    """Validate one input model and build one output model."""
    request = Request.model_validate(payload)
    return Answer(number=request.number, text=request.text)


async def run(count: int) -> None:
    """Do ``count`` such runs, one asyncio task each, at most 100 in flight."""
    loop = asyncio.get_running_loop()
    running: set[asyncio.Task[Answer]] = set()
    for number in range(count):
        task = loop.create_task(work({"number": number, "text": TEXT}))
        running.add(task)
        task.add_done_callback(running.discard)
        # An event or a semaphore would be work of its own.
        while len(running) >= IN_FLIGHT:  # noqa: ASYNC110
            await asyncio.sleep(0)
    while running:  # noqa: ASYNC110
        await asyncio.sleep(0)
