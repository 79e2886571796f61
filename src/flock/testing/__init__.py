"""Helpers for testing what is built on Flock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flock.testing.clock import ManualClock
from flock.testing.recording import Cassette, NotRecorded, RecordedEngine, RecordedModel
from flock.testing.scripted import ScriptedEngine

if TYPE_CHECKING:
    from flock.testing.contract import StoreContract

__all__ = [
    "Cassette",
    "ManualClock",
    "NotRecorded",
    "RecordedEngine",
    "RecordedModel",
    "ScriptedEngine",
    "StoreContract",
]


def __getattr__(name: str) -> object:
    """Import the suite for stores, which needs pytest, when it is asked for."""
    if name == "StoreContract":
        from flock.testing.contract import StoreContract

        return StoreContract
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
