"""Guards: components that look through inputs and outputs."""

from __future__ import annotations

from flock.components.guards.findings import Detector, Finding, Redactor
from flock.components.guards.guard import BoardGuard, Guard
from flock.components.guards.pii import PiiDetector
from flock.components.guards.secrets import SecretDetector

__all__ = [
    "BoardGuard",
    "Detector",
    "Finding",
    "Guard",
    "PiiDetector",
    "Redactor",
    "SecretDetector",
]
