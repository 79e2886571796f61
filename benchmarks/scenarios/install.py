"""What Flock costs before it does anything: to import, to keep in memory, on the disk."""

from __future__ import annotations

import asyncio
import sys
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from benchmarks.measurement import Counts, Figure, Measurement, Target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.bench import Bench

MEGA = 1e6
_SECONDS = "from time import perf_counter as now; start = now(); {}; print(now() - start)"
_RESIDENT = "{}; from benchmarks.machine import resident_bytes; print(resident_bytes())"
_ONCE = Counts(expected=1, done=1, exactly_once=True)


class Import:
    """A fresh interpreter."""

    name = "import"
    what = "`import flock` in a fresh interpreter"
    target = Target(text="≤ 1.5 × pydantic + 100")

    async def run(self, bench: Bench) -> Measurement:
        """Alternating interpreters; the first pair fills the caches of the disk.

        Both packages load their parts on first use, so the second row imports what a user
        of either would.
        """
        figures: list[Figure] = []
        for ours, theirs in (
            ("import flock", "import pydantic"),
            ("from flock import Flock", "from pydantic import BaseModel"),
        ):
            pairs = [
                (await _child(_SECONDS.format(ours)), await _child(_SECONDS.format(theirs)))
                for _ in range(bench.repeats + 1)
            ][1:]
            flock_ms, pydantic_ms = (median(column) * 1e3 for column in zip(*pairs, strict=True))
            figures.append(
                Figure(
                    name=ours,
                    value=flock_ms,
                    unit="ms",
                    beside=pydantic_ms,
                    beside_name="ms pydantic",
                    target=Target(text=self.target.text, at_most=1.5 * pydantic_ms + 100),
                )
            )
        return Measurement(scenario=self.name, figures=tuple(figures), counts=_ONCE)


class Footprint:
    """What it occupies."""

    name = "footprint"
    what = "memory after import; files on disk without extras"
    target = Target(text="≤ 60 MB", at_most=60)

    async def run(self, bench: Bench) -> Measurement:
        """Resident memory of a fresh interpreter, and the files of the base install.

        Compiled bytecode is not counted on disk: it depends on who has imported what.
        """
        resident = await _child(_RESIDENT.format("from flock import Flock"))
        bare = await _child(_RESIDENT.format("pass"))
        everything = install_sizes()
        return Measurement(
            scenario=self.name,
            figures=(
                Figure(
                    name="footprint, memory",
                    value=resident / MEGA,
                    unit="MB",
                    beside=bare / MEGA,
                    beside_name="MB Python alone",
                    target=self.target,
                ),
                Figure(
                    name="footprint, disk",
                    value=sum(everything.values()) / MEGA,
                    unit="MB",
                    beside=everything["flock"] / MEGA,
                    beside_name="MB Flock's own",
                    target=self.target,
                ),
            ),
            counts=_ONCE,
        )


def install_sizes() -> dict[str, int]:
    """The bytes on disk of Flock and of everything it needs without extras, by name."""
    sizes: dict[str, int] = {}
    needed = ["flock"]
    while needed:
        name = needed.pop()
        if name not in sizes:
            sizes[name] = sum(file.stat().st_size for file in _files(name))
            needed += _requirements(name)
    return sizes


def _requirements(name: str) -> Iterator[str]:
    for line in distribution(name).requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement.name


def _files(name: str) -> Iterator[Path]:
    if name == "flock":  # installed as a link to the source tree while it is developed
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        files: Iterator[Path] = Path(spec.origin).parent.rglob("*")
    else:
        files = (Path(str(file.locate())) for file in distribution(name).files or ())
    for file in files:
        if file.is_file() and file.suffix != ".pyc":
            yield file


async def _child(code: str) -> float:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    if process.returncode:
        message = f"A fresh interpreter failed at {code!r}; its error is above."
        raise RuntimeError(message)
    return float(output)
