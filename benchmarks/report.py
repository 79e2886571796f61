"""The table, on a terminal, in ``bench.json`` and in the documentation."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from benchmarks.measurement import Figure, Measurement, Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.bench import Scale

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
HEADER = ("scenario", "per second", "beside", "figure", "target", "verdict")
_RIGHT = (False, True, True, True, False, False)


def rows(measurements: list[Measurement]) -> list[tuple[str, ...]]:
    """The cells of the table, one tuple per figure."""
    return [
        (
            figure.name,
            "" if figure.rate is None else f"{figure.rate:,.0f}",
            _beside(figure),
            _value(figure),
            "" if figure.target is None else figure.target.text,
            str(measurement.verdict(figure)),
        )
        for measurement in measurements
        for figure in measurement.figures
    ]


def print_table(measurements: list[Measurement], machine: dict[str, Any]) -> None:
    """Print the table, with colours on a terminal where rich is installed."""
    if not sys.stdout.isatty() or find_spec("rich") is None:
        print(plain(rows(measurements)))
        print(caption(machine))
        return

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(caption=caption(machine), show_edge=False)
    for title, right in zip(HEADER, _RIGHT, strict=True):
        table.add_column(title, justify="right" if right else "left")
    colours = {Verdict.MET: "green", Verdict.MISSED: "red", Verdict.WRONG: "bold red"}
    for *cells, verdict in rows(measurements):
        table.add_row(*cells, Text(verdict, style=colours.get(Verdict(verdict), "")))
    Console().print(table)


def plain(body: list[tuple[str, ...]]) -> str:
    """The table in plain text."""
    table = [HEADER, *body]
    widths = [max(len(row[column]) for row in table) for column in range(len(HEADER))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, _RIGHT, strict=True)
        ).rstrip()
        for row in table
    )


def markdown(measurements: list[Measurement], machine: dict[str, Any]) -> str:
    """The table in Markdown, with the machine below it."""
    lines = [
        HEADER,
        tuple("---:" if right else "---" for right in _RIGHT),
        *rows(measurements),
    ]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{table}\n\n{caption(machine)}"


def caption(machine: dict[str, Any]) -> str:
    """One line that says where the figures come from."""
    return (
        f"Measured on {machine['date']}: {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB, {machine['system']}, Python {machine['python']}, "
        f"pydantic {machine['pydantic']}, flock {machine['flock']}."
    )


def write_json(
    path: Path, measurements: list[Measurement], machine: dict[str, Any], scale: Scale
) -> None:
    """Write every figure."""
    whole = {
        "machine": machine,
        "scale": str(scale),
        "measurements": [measurement.to_json() for measurement in measurements],
    }
    path.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_docs(page: Path, figures: Path) -> None:
    """Put the table of a ``bench.json`` between the page's markers."""
    whole = json.loads(figures.read_text(encoding="utf-8"))
    measurements = [Measurement.from_json(each) for each in whole["measurements"]]
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        message = f"{page.name} lacks its markers; put {BEGIN} and {END} where the table belongs."
        raise ValueError(message)
    table = markdown(measurements, whole["machine"])
    page.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}", encoding="utf-8")


def _beside(figure: Figure) -> str:
    if figure.beside is None:
        return ""
    decimals = 0 if figure.beside >= 100 else 1
    return f"{figure.beside:,.{decimals}f} {figure.beside_name}"


def _value(figure: Figure) -> str:
    decimals = 2 if not figure.unit else 0 if figure.unit in {"B", "µs", "objects"} else 1
    return f"{figure.value:,.{decimals}f} {figure.unit}".rstrip()
