"""``python -m benchmarks.chaos``: kill boards at random moments, and look for what is wrong."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from time import perf_counter

from benchmarks.chaos.killing import Boards


def main() -> int:
    """Do what the arguments say; the exit code tells whether anything was lost, or there twice."""
    options = _parser().parse_args()
    seed: int = random.SystemRandom().randrange(1_000_000) if options.seed is None else options.seed
    folder = Path(tempfile.mkdtemp(prefix="flock-chaos-", dir=options.folder))
    print(f"{options.rounds} rounds, durability {options.durability}, --seed {seed}", flush=True)
    boards = Boards(folder, seed, options.durability, options.lifetime)
    moments: Counter[str] = Counter()
    killed = told = 0
    start = perf_counter()
    for each in boards.rounds(options.rounds):
        moments[each.moment] += 1
        killed += each.was_killed
        if each.number % options.every == 0:
            spent = perf_counter() - start
            ends = ", ".join(f"{count} {moment}" for moment, count in sorted(moments.items()))
            print(f"round {each.number:4}: {killed} killed ({ends}), {spent:.0f} s", flush=True)
        for fault in boards.faults[told:]:
            print(fault, flush=True)
        told = len(boards.faults)
    for fault in boards.faults[told:]:
        print(fault)
    if boards.faults:
        print(f"{len(boards.faults)} faults; the boards are in {folder}")
        return 1
    shutil.rmtree(folder)
    print(f"{options.rounds} rounds, {killed} killed: nothing lost, nothing twice")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=250, help="processes to kill (250)")
    parser.add_argument("--seed", type=int, help="repeat the moments of an earlier run")
    parser.add_argument("--durability", choices=["process", "power"], default="process")
    parser.add_argument("--lifetime", type=int, default=25, help="kills before a check (25)")
    parser.add_argument("--every", type=int, default=25, help="rounds between two lines (25)")
    parser.add_argument("--folder", type=Path, help="where boards lie; a temporary folder if left")
    return parser


if __name__ == "__main__":
    sys.exit(main())
