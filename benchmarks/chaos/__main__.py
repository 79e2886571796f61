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
from typing import get_args

from benchmarks.chaos.killing import Boards
from benchmarks.chaos.plan import Kind


def main() -> int:
    """Do what the arguments say; the exit code tells whether anything was lost, or there twice."""
    options = _parser().parse_args()
    seed: int = random.SystemRandom().randrange(1_000_000) if options.seed is None else options.seed
    folder = Path(tempfile.mkdtemp(prefix="flock-chaos-", dir=options.folder))
    what = "every point of a transaction" if options.points else f"{options.rounds} rounds"
    print(f"{options.board}: {what}, durability {options.durability}, --seed {seed}", flush=True)
    boards = Boards(folder, seed, options.board, options.durability, options.lifetime)
    moments: Counter[str] = Counter()
    killed = told = 0
    start = perf_counter()
    rounds = boards.points(3, options.step) if options.points else boards.rounds(options.rounds)
    number = 0
    for number, each in enumerate(rounds, 1):
        moments[each.moment] += 1
        killed += each.was_killed
        if number % options.every == 0:
            spent = perf_counter() - start
            ends = ", ".join(f"{count} {moment}" for moment, count in sorted(moments.items()))
            print(f"round {number:4}: {killed} killed ({ends}), {spent:.0f} s", flush=True)
        for fault in boards.faults[told:]:
            print(fault, flush=True)
        told = len(boards.faults)
    for fault in boards.faults[told:]:
        print(fault)
    if boards.faults:
        print(f"{len(boards.faults)} faults; the boards are in {folder}")
        return 1
    shutil.rmtree(folder)
    print(f"{number} rounds, {killed} killed: nothing lost, nothing twice")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    kinds = get_args(Kind)
    parser.add_argument("--board", choices=kinds, default="gates", help="which board (gates)")
    parser.add_argument("--rounds", type=int, default=300, help="processes to kill (300)")
    parser.add_argument("--seed", type=int, help="repeat the moments of an earlier run")
    parser.add_argument("--durability", choices=["process", "power"], default="process")
    parser.add_argument("--lifetime", type=int, default=25, help="kills before a check (25)")
    parser.add_argument("--every", type=int, default=25, help="rounds between two lines (25)")
    parser.add_argument("--points", action="store_true", help="die before and after each commit")
    parser.add_argument("--step", type=int, default=1, help="points from one to the next (1)")
    parser.add_argument("--folder", type=Path, help="where boards lie; a temporary folder if left")
    return parser


if __name__ == "__main__":
    sys.exit(main())
