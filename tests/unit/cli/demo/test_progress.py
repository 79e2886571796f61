from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from rich.console import Console

from flock import (
    Artifact,
    ArtifactPublished,
    BoardIdle,
    DeadLettered,
    Event,
    EventsMissed,
    RunFailed,
    RunStarted,
    RunSucceeded,
)
from flock.cli.demo.progress import Bars, Lines, Tally, choose_display, follow
from flock.cli.demo.types import ReviewedFile, SourceFile

NOW = datetime(2025, 1, 1, tzinfo=UTC)
