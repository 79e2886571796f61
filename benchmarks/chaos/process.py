"""A process that works on a board."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from benchmarks.chaos import gates, steering
from benchmarks.chaos.dying import die
from benchmarks.chaos.journal import Journal

if TYPE_CHECKING:
    from benchmarks.chaos.plan import Plan


def run(plan: Plan) -> None:
    """Do what a process does until it is killed, or done."""
    journal = Journal(plan.journal)
    if plan.dies_at is not None:
        die(plan.dies_at)
    serve = gates.serve if plan.kind == "gates" else steering.serve
    try:
        asyncio.run(serve(plan, journal))
    finally:
        journal.close()
