"""The default engine: a language model fills the output types."""

from __future__ import annotations

from flock.engines.dspy.engine import OFFLINE_MODEL, DSPyEngine

__all__ = ["OFFLINE_MODEL", "DSPyEngine"]
