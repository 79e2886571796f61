"""Every scenario by its name, in the order of the table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.scenarios.chain import Chain
from benchmarks.scenarios.durable import Old, SQLite
from benchmarks.scenarios.echo import Echo, Growth
from benchmarks.scenarios.gates import Batch, Join, Waiting
from benchmarks.scenarios.idle import Idle
from benchmarks.scenarios.install import Footprint, Import
from benchmarks.scenarios.memory import Memory
from benchmarks.scenarios.model import Model
from benchmarks.scenarios.width import Crowd, Fan

if TYPE_CHECKING:
    from benchmarks.measurement import Scenario

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Echo(),
        Growth(),
        Chain(),
        Fan(),
        Crowd(),
        Join(),
        Batch(),
        Idle(),
        Memory(),
        Waiting(),
        SQLite("sqlite", "process", 10_000, 0.2),
        SQLite("sqlite, power", "power", 8_000, None),
        Old(),
        Model(),
        Import(),
        Footprint(),
    )
}
