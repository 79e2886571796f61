"""Helpers for testing what is built on Flock."""

from __future__ import annotations

from flock.testing.clock import ManualClock
from flock.testing.scripted import ScriptedEngine

__all__ = ["ManualClock", "ScriptedEngine"]
