"""``python -m benchmarks.generations``: ask, validate, print the table.

The exit code is 1 where fewer answers validate at the first try than the target; speed only
goes into the table.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError

from benchmarks import machine
from benchmarks.generations.schemas import TYPES
from flock.cli.models import show_pull
from flock.engines.chat import ChatRequest
from flock.engines.local.download import pull
from flock.engines.local.grammar import constrain
from flock.engines.local.model import LocalModel

if TYPE_CHECKING:
    from collections.abc import Iterable

TARGET = 0.99
MAX_TOKENS = 512


@dataclass(slots=True)
class Row:
    """What came of one type."""

    name: str
    asked: int = 0
    valid: int = 0
    cut: int = 0
    tokens: int = 0
    seconds: list[float] = field(default_factory=list[float])
    wrong: list[str] = field(default_factory=list[str])


def main() -> int:
    """Do what the arguments say."""
    options = _parser().parse_args()
    if options.pull:
        from rich.console import Console

        with show_pull(Console(stderr=True)) as shown:
            pull(options.model, progress=shown)
    began = perf_counter()
    rows = asyncio.run(_measure(options.model, options.each))
    _print(rows, perf_counter() - began)
    asked, valid = sum(row.asked for row in rows), sum(row.valid for row in rows)
    return 0 if valid >= TARGET * asked else 1


async def _measure(name: str, each: int) -> list[Row]:
    model = LocalModel(name, parallel=1)
    rows: list[Row] = []
    try:
        for type_, about in TYPES:
            row = Row(type_.__name__)
            for seed in range(each):
                await _ask(model, type_, about, seed, row)
            rows.append(row)
            print(f"{row.name} {row.valid}/{row.asked}", *row.wrong, sep="\n  ", file=sys.stderr)
    finally:
        await model.aclose()
    return rows


async def _ask(model: LocalModel, type_: type[BaseModel], about: str, seed: int, row: Row) -> None:
    schema = type_.model_json_schema()
    messages = [
        {"role": "system", "content": "You answer with JSON."},
        {"role": "user", "content": f"Make up {about}. Schema: {json.dumps(schema)}"},
    ]
    # Warm, and another seed each time: two hundred different answers.
    request = ChatRequest(
        messages, schema, temperature=0.7, max_tokens=MAX_TOKENS, options={"seed": seed}
    )
    answer = await model.chat(request)
    row.asked += 1
    row.tokens += answer.usage.output_tokens
    row.seconds.append(answer.usage.latency)
    row.cut += answer.finish_reason == "length"
    try:
        type_.model_validate_json(answer.text)
    except ValidationError as error:
        problem = error.errors()[0]
        row.wrong.append(f"{problem['loc']}: {problem['msg']}: {answer.text[-200:]!r}")
    else:
        row.valid += 1


def _print(rows: Iterable[Row], seconds: float) -> None:
    rows = list(rows)
    print(f"{'type':10} {'valid':>9} {'cut off':>8} {'tokens':>7} {'median s':>9} {'most s':>7}")
    for row in rows:
        median, most = statistics.median(row.seconds), max(row.seconds)
        tokens = row.tokens / row.asked
        of = f"{row.valid}/{row.asked}"
        print(f"{row.name:10} {of:>9} {row.cut:8} {tokens:7.0f} {median:9.2f} {most:7.2f}")
    asked, valid = sum(row.asked for row in rows), sum(row.valid for row in rows)
    times = [one for row in rows for one in row.seconds]
    rate = sum(row.tokens for row in rows) / sum(times)
    print(
        f"\n{valid} of {asked} valid at the first try ({valid / asked:.1%}, target {TARGET:.0%}); "
        f"median {statistics.median(times):.2f} s, {rate:.0f} tokens/s, {seconds:.0f} s in all"
    )
    loosened = {
        type_.__name__: notes
        for type_, _ in TYPES
        if (notes := constrain(type_.model_json_schema(), MAX_TOKENS).loosened)
    }
    print(f"left to validation: {loosened}")
    here = machine.describe()
    print(f"{here['cpu']}, {here['cores']} cores, Python {here['python']}, {here['date']}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generations", description=__doc__)
    parser.add_argument("--model", default="local/smollm2-135m")
    parser.add_argument("--each", type=int, default=10, help="answers per type (default: 10)")
    parser.add_argument("--no-pull", dest="pull", action="store_false", help="it is here already")
    return parser


if __name__ == "__main__":
    sys.exit(main())
