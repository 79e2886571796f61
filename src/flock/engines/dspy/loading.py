"""Importing DSPy: late, once, and so that nothing calls out."""

from __future__ import annotations

import os
import sys
import weakref
from contextlib import suppress
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, Final

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


_CLIENTS: Final = {
    "dspy.lm15": ("AsyncResponseStream", "LM15Error", "RouterConfig", "request_from_openai_chat"),
    "dspy.clients.engines": ("AsyncLM15Engine", "AsyncLiteLLMEngine"),
    "dspy.clients.backend_selection": ("select_backend",),
    "dspy.clients.model_metadata": ("model_info",),
}
"""What hosted models are asked with. DSPy does not document it: another version may lack it."""


@cache
def load_clients() -> None:
    """Import DSPy's clients, and find out whether they are those that Flock knows.

    Raises:
        DeclarationError: DSPy is not installed, or its version has other clients.
    """
    dspy = load_dspy()
    for module, names in _CLIENTS.items():
        try:
            found = vars(import_module(module))
        except ImportError:
            found = {}
        if lacking := [name for name in names if name not in found]:
            msg = (
                f"DSPy {vars(dspy).get('__version__')} has no {lacking[0]!r} in {module!r}, which "
                "hosted models are asked with; install the version that goes with this Flock: "
                "pip install --upgrade 'flock[dspy]'"
            )
            raise DeclarationError(msg)


@cache
def load_litellm() -> None:
    """Import LiteLLM as DSPy does, without telemetry, and keep it from writing to the console."""
    dspy: Any = load_dspy()
    dspy.disable_litellm_logging()


_users: Final = weakref.WeakSet[object]()
"""Who has LiteLLM open. Its clients and its task belong to the process, not to who uses them."""


def open_litellm(user: object) -> None:
    """Say that somebody uses LiteLLM, until `close_litellm`."""
    _users.add(user)


async def close_litellm(user: object) -> None:
    """Close what LiteLLM opened, if nobody else uses it: its clients, its task for callbacks."""
    if user not in _users:
        return
    _users.discard(user)
    if _users:
        return
    litellm: Any = sys.modules["litellm"]
    with suppress(AttributeError):  # they are not documented
        await litellm.close_litellm_async_clients()
        litellm.in_memory_llm_clients_cache.flush_cache()  # it would give out closed ones
    with suppress(ImportError, AttributeError):
        worker: Any = import_module("litellm.litellm_core_utils.logging_worker")
        await worker.GLOBAL_LOGGING_WORKER.stop()
