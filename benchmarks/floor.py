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
    free = asyncio.Semaphore(IN_FLIGHT)

    async def one(number: int) -> None:
        try:
            await work({"number": number, "text": TEXT})
        finally:
            free.release()

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            await free.acquire()
            group.create_task(one(number))
