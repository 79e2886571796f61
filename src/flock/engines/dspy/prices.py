"""What a model call costs, by the price list of `genai-prices` that comes with the package."""

from __future__ import annotations

import warnings
from typing import Final

_PROVIDERS: Final = {
    "azure": "azure",
    "bedrock": "aws",
    "gemini": "google",
    "mistral": "mistral",
    "moonshot": "moonshotai",
    "together_ai": "together",
    "vertex_ai": "google",
    "xai": "x-ai",
}
"""Names of providers in the price list, where they differ from DSPy's."""


def price(
    model: str, *, input_tokens: int, output_tokens: int, cached_tokens: int, written_tokens: int
) -> float | None:
    """Return the price of a call in US dollars; None where it is not known.

    Args:
        model: `provider/name`, or the name alone.
        input_tokens: Tokens of the prompt, cached ones included.
        output_tokens: Tokens of the answer.
        cached_tokens: How many of the input tokens were read from the provider's cache.
        written_tokens: How many of the input tokens were written to it.
    """
    from genai_prices import Usage, calc_price

    provider, slash, name = model.partition("/")
    usage: dict[str, int] = {"input_tokens": input_tokens, "output_tokens": output_tokens}
    if cached_tokens:
        usage["cache_read_tokens"] = cached_tokens
    if written_tokens:
        usage["cache_write_tokens"] = written_tokens
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = calc_price(
                Usage(**usage),
                name if slash else model,
                provider_id=_PROVIDERS.get(provider, provider) if slash else None,
            )
    except (LookupError, ValueError):
        return None
    return float(found.total_price)
