"""Importing DSPy: late, once, and so that nothing calls out."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

from flock.errors import DeclarationError


@cache
def load_dspy() -> ModuleType:
    """Import DSPy and return it.

    Raises:
        DeclarationError: It is not installed.
    """
    # LiteLLM, which DSPy may import later, then reads the price list that it brings.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "true")
    try:
        return import_module("dspy")
    except ImportError as error:
        msg = f"language models need more: pip install 'flock[dspy]' ({error})"
        raise DeclarationError(msg) from error


@cache
def load_litellm() -> None:
    """Import LiteLLM as DSPy does, without telemetry, and keep it from writing to the console."""
    dspy: Any = load_dspy()
    dspy.disable_litellm_logging()


async def close_litellm() -> None:
    """Close what LiteLLM opened on this event loop: its clients, and its task for callbacks."""
    if load_litellm.cache_info().currsize == 0 or "litellm" not in sys.modules:
        return
    litellm: Any = sys.modules["litellm"]
    with suppress(AttributeError):  # they are not documented
        await litellm.close_litellm_async_clients()
    with suppress(ImportError, AttributeError):
        worker: Any = import_module("litellm.litellm_core_utils.logging_worker")
        await worker.GLOBAL_LOGGING_WORKER.stop()
