"""Answers of models and engines, recorded once and replayed in tests."""

from __future__ import annotations

from flock.testing.recording.canonical import without_secrets
from flock.testing.recording.cassette import Cassette, NotRecorded
from flock.testing.recording.engine import RecordedEngine
from flock.testing.recording.model import RecordedModel

__all__ = ["Cassette", "NotRecorded", "RecordedEngine", "RecordedModel", "without_secrets"]
