"""``python -m benchmarks``: run the scenarios, print the table, write ``bench.json``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from benchmarks import machine, report
from benchmarks.bench import Scale
from benchmarks.catalogue import SCENARIOS
from benchmarks.profiling import profile
from benchmarks.worker import ScenarioFailed, measure

if TYPE_CHECKING:
    from benchmarks.measurement import Measurement

PAGE = Path("docs/performance.md")
FIGURES = Path("bench.json")


def main() -> int:
    """Do what the arguments say; the exit code tells of scenarios that broke, never of speed."""
    options = _parser().parse_args()
    figures: Path = options.json or FIGURES
    if options.list:
        for scenario in SCENARIOS.values():
            print(f"{scenario.name:10} {scenario.what}")
        return 0
    if options.docs:
        report.write_docs(PAGE, figures)
        return 0
    if options.profile:
        measurement = profile(options.profile, calls=options.calls)
        return 0 if measurement.counts.right else 1
    scale = Scale.QUICK if options.quick else Scale.FULL
    # Part of the scenarios, or smaller ones, do not replace the figures of a whole run.
    keep = options.json is not None or not (options.only or options.quick)
    return _measure(options.only or list(SCENARIOS), scale, figures if keep else None)


def _measure(names: list[str], scale: Scale, figures: Path | None) -> int:
    here = machine.describe()
    measurements: list[Measurement] = []
    broken = 0
    for name in names:
        start = perf_counter()
        print(f"{name} … ", end="", file=sys.stderr, flush=True)
        try:
            measurements.append(measure(name, scale))
        except ScenarioFailed as error:
            broken += 1
            print(error, file=sys.stderr)
            continue
        print(f"{perf_counter() - start:.1f} s", file=sys.stderr)
    report.print_table(measurements, here)
    if figures is not None:
        report.write_json(figures, measurements, here, scale)
    return 1 if broken or not all(each.counts.right for each in measurements) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = sorted(SCENARIOS)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=names, help="these scenarios")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, under a minute")
    parser.add_argument("--json", type=Path, metavar="PATH", help=f"figures ({FIGURES})")
    parser.add_argument("--docs", action="store_true", help=f"write the figures into {PAGE}")
    parser.add_argument("--list", action="store_true", help="name the scenarios")
    parser.add_argument("--profile", metavar="NAME", choices=names, help="show where time goes")
    parser.add_argument("--calls", action="store_true", help="profile by counting every call")
    return parser


if __name__ == "__main__":
    sys.exit(main())
