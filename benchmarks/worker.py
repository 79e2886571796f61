"""One scenario in its own interpreter: ``python -m benchmarks.worker NAME SCALE``."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

from benchmarks.bench import Bench, Scale
from benchmarks.catalogue import SCENARIOS
from benchmarks.measurement import Measurement

# Ends a scenario that hangs; no scenario should come near.
LIMIT = 300


class ScenarioFailed(Exception):
    """The scenario raised, or did not end."""


def measure(name: str, scale: Scale) -> Measurement:
    """Run a scenario in a fresh interpreter, so that no heap or registry is inherited."""
    command = [sys.executable, "-m", "benchmarks.worker", name, scale]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=True)
    except subprocess.TimeoutExpired as error:
        message = f"{name!r} has not ended after {LIMIT} s."
        raise ScenarioFailed(message) from error
    except subprocess.CalledProcessError as error:
        message = f"{name!r} failed:\n{error.stderr}"
        raise ScenarioFailed(message) from error
    return Measurement.from_json(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Print the measurement as the last line, in JSON."""
    name, scale = sys.argv[1:]
    measurement = asyncio.run(SCENARIOS[name].run(Bench(Scale(scale))))
    print(json.dumps(measurement.to_json()))


if __name__ == "__main__":
    main()
