"""Helpers for testing what is built on Flock.

The names are loaded on first use (PEP 562): the pytest plugin costs nothing where it is not used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flock.testing.board import TestBoard
    from flock.testing.clock import ManualClock
    from flock.testing.contract import StoreContract
    from flock.testing.recording import Cassette, NotRecorded, RecordedEngine, RecordedModel
    from flock.testing.scripted import ScriptedEngine

__all__ = [
    "Cassette",
    "ManualClock",
    "NotRecorded",
    "RecordedEngine",
    "RecordedModel",
    "ScriptedEngine",
    "StoreContract",
    "TestBoard",
]

_HOMES = {
    "Cassette": "flock.testing.recording",
    "ManualClock": "flock.testing.clock",
    "NotRecorded": "flock.testing.recording",
    "RecordedEngine": "flock.testing.recording",
    "RecordedModel": "flock.testing.recording",
    "ScriptedEngine": "flock.testing.scripted",
    "StoreContract": "flock.testing.contract",
    "TestBoard": "flock.testing.board",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    home = _HOMES.get(name)
    if home is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
