"""The small model that tests generate with: pulled once into the user's cache, really used."""

from __future__ import annotations

from functools import cache

import pytest

from flock.engines.local.download import pull
from flock.errors import ModelUnavailable

SMOLLM2 = "local/smollm2-135m"


@cache
def pulled() -> str:
    """Pull SmolLM2 unless it is here, and return its model string; skip without a network."""
    try:
        pull(SMOLLM2)
    except ModelUnavailable as error:
        pytest.skip(f"SmolLM2 is not here and cannot be pulled: {error}")
    return SMOLLM2
