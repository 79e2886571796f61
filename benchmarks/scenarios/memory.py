"""What an artifact on the board weighs."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from benchmarks.machine import resident_bytes
from benchmarks.measurement import Counts, Figure, Measurement, Target
from benchmarks.models import TEXT, Request
from benchmarks.scenarios.boards import new_board, publish_requests
from flock import FilterConfig

if TYPE_CHECKING:
    from benchmarks.bench import Bench


class Memory:
    """Artifacts that stay."""

    name = "memory"
    what = "1M small artifacts kept on the board"
    target = Target(text="≤ 1,024 B", at_most=1024)

    async def run(self, bench: Bench) -> Measurement:
        """How much the process grows, divided by the artifacts that made it grow."""
        count = bench.size(1_000_000, 50_000, 100)
        payload = len(Request(number=count, text=TEXT).model_dump_json())
        board = new_board()
        async with board:
            await publish_requests(board, 0, 1)
            gc.collect()
            before = resident_bytes()
            seconds = await bench.timed(count, publish_requests(board, 1, count))
            gc.collect()
            grown = resident_bytes() - before
            _, kept = await board.store.query_artifacts(FilterConfig(), limit=1)
        figure = Figure(
            name=self.name,
            value=grown / count - payload,
            unit="B",
            rate=count / seconds,
            beside=payload,
            beside_name="B payload",
            target=self.target,
        )
        return Measurement(
            scenario=self.name,
            figures=(figure,),
            counts=Counts(expected=count + 1, done=kept, exactly_once=True),
        )
