"""The default engine: a language model fills the output types."""

from __future__ import annotations

from flock.engines.dspy.engine import DSPyEngine
from flock.engines.dspy.models import OFFLINE_MODEL, ModelShelf, model_for

__all__ = ["OFFLINE_MODEL", "DSPyEngine", "ModelShelf", "model_for"]
