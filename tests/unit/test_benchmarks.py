"""The benchmarks time the work they claim to time. What they find is not looked at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks import machine, report
from benchmarks.bench import Bench, Scale
from benchmarks.catalogue import SCENARIOS
from benchmarks.measurement import Counts, Figure, Measurement, Target, Verdict
from benchmarks.tally import Tally

IN_THIS_PROCESS = [name for name in SCENARIOS if name not in {"import", "footprint"}]
MACHINE: dict[str, Any] = {
    "cpu": "A fine CPU",
    "cores": 2,
    "memory_gib": 8.0,
    "system": "Linux x86_64",
    "python": "3.11.7",
    "pydantic": "2.12.0",
    "flock": "0.1.0",
    "date": "2025-01-31",
}


def measurement(value: float, *, right: bool = True) -> Measurement:
    target = Target(text="≥ 0.30 of floor", at_least=0.30)
    figure = Figure(
        name="echo", value=value, rate=50_000.4, beside=150_000, beside_name="floor", target=target
    )
    return Measurement(
        scenario="echo",
        figures=(figure, Figure(name="more", value=1.0, unit="MB")),
        counts=Counts(expected=3, done=3, exactly_once=right),
    )


@pytest.mark.parametrize("name", IN_THIS_PROCESS)
async def test_a_scenario_consumes_each_input_exactly_once(name: str) -> None:
    measured = await SCENARIOS[name].run(Bench(Scale.TINY))

    assert measured.scenario == name
    assert measured.counts.expected > 0
    assert measured.counts.right, measured.counts


def test_a_tally_tells_lost_repeated_and_split_inputs_from_right_ones() -> None:
    right, lost, repeated = Tally(4), Tally(4), Tally(4)
    right.seen[:] = [1, 1, 1, 1]
    lost.seen[:] = [1, 1, 1, 0]
    repeated.seen[:] = [1, 1, 2, 1]

    assert right.counts(4).right
    assert right.counts(2, per_run=2).right
    assert not right.counts(5).right
    assert not lost.counts(4).right
    assert not repeated.counts(4).right


def test_the_verdict_is_the_targets_unless_the_counts_are_wrong() -> None:
    for measured, verdict in (
        (measurement(0.30), Verdict.MET),
        (measurement(0.29), Verdict.MISSED),
        (measurement(0.90, right=False), Verdict.WRONG),
    ):
        assert measured.verdict(measured.figures[0]) is verdict
    at_most = Target(text="≤ 200 µs", at_most=200)
    assert at_most.holds(200)
    assert not at_most.holds(201)


def test_a_measurement_survives_json() -> None:
    measured = measurement(0.4)

    assert Measurement.from_json(json.loads(json.dumps(measured.to_json()))) == measured


def test_the_page_gets_the_table_between_its_markers_and_keeps_the_rest(tmp_path: Path) -> None:
    page, figures = tmp_path / "page.md", tmp_path / "bench.json"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n", encoding="utf-8")
    report.write_json(figures, [measurement(0.4)], MACHINE, Scale.FULL)

    report.write_docs(page, figures)
    once = page.read_text(encoding="utf-8")
    report.write_docs(page, figures)

    assert page.read_text(encoding="utf-8") == once
    assert once.startswith(f"before\n{report.BEGIN}\n")
    assert once.endswith(f"{report.END}\nafter\n")
    assert "old" not in once
    assert "| echo | 50,000 | 150,000 floor | 0.40 | ≥ 0.30 of floor | met |" in once
    assert "| more |  |  | 1.0 MB |  |  |" in once
    assert "A fine CPU, 2 cores" in once


def test_a_page_without_markers_is_refused(tmp_path: Path) -> None:
    page, figures = tmp_path / "page.md", tmp_path / "bench.json"
    page.write_text("nothing here\n", encoding="utf-8")
    report.write_json(figures, [], MACHINE, Scale.QUICK)

    with pytest.raises(ValueError, match="lacks its markers"):
        report.write_docs(page, figures)


def test_the_machine_is_described_without_its_name() -> None:
    assert machine.describe().keys() == MACHINE.keys()
    assert machine.resident_bytes() > 0
