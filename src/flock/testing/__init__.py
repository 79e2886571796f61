"""Helpers for testing what is built on Flock."""

from __future__ import annotations

from flock.testing.clock import ManualClock
from flock.testing.recording import Cassette, NotRecorded, RecordedEngine, RecordedModel
from flock.testing.scripted import ScriptedEngine

__all__ = [
    "Cassette",
    "ManualClock",
    "NotRecorded",
    "RecordedEngine",
    "RecordedModel",
    "ScriptedEngine",
]
