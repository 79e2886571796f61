"""Importing DSPy: late, once, and so that nothing calls out."""

from __future__ import annotations

import os
from functools import cache
from types import ModuleType

from flock.errors import DeclarationError


@cache
def load_dspy() -> ModuleType:
    """Import DSPy and return it. LiteLLM, which it may import later, reads its price list locally.

    Raises:
        DeclarationError: It is not installed.
    """
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "true")
    try:
        import dspy
    except ImportError as error:
        msg = f"language models need more: pip install 'flock[dspy]' ({error})"
        raise DeclarationError(msg) from error
    return dspy
