"""Where the time of a scenario goes."""

from __future__ import annotations

import asyncio
import cProfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bench import Bench, Scale
from benchmarks.catalogue import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.measurement import Measurement

TOP = 40


def profile(name: str, *, calls: bool = False) -> Measurement:
    """Run a scenario under a profiler and print the top of what it saw.

    Only the timed stretches are watched: neither the floor nor any set-up.

    Args:
        name: The scenario.
        calls: Count every call with cProfile, which shows what each function costs but
            makes small ones look dear, instead of sampling with pyinstrument.
    """
    if calls or find_spec("pyinstrument") is None:
        counter = cProfile.Profile()
        bench = Bench(Scale.QUICK, lambda: counter)
        measurement = asyncio.run(SCENARIOS[name].run(bench))
        _print_calls(counter, bench.timed_runs)
        return measurement

    from pyinstrument import Profiler

    sampler = Profiler(async_mode="disabled")
    bench = Bench(Scale.QUICK, lambda: sampler)
    measurement = asyncio.run(SCENARIOS[name].run(bench))
    sampler.print()
    print(f"{bench.timed_runs:,} runs (or inputs) were watched.")
    return measurement


def _print_calls(counter: cProfile.Profile, runs: int) -> None:
    counter.create_stats()
    stats: Mapping[tuple[str, int, str], tuple[int, int, float, float, object]] = counter.stats
    costs = sorted(stats.items(), key=lambda item: -item[1][2])
    print(f"{runs:,} runs (or inputs); per run:\n{'calls':>7} {'own µs':>8} {'all µs':>8}")
    for (file, line, function), (_, calls, own, everything, _) in costs[:TOP]:
        module = "/".join(Path(file).parts[-2:])
        print(
            f"{calls / runs:7.2f} {own / runs * 1e6:8.2f} {everything / runs * 1e6:8.2f}"
            f"  {function} ({module}:{line})"
        )
