"""What went wrong at a provider, in Flock's words and without keys."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from flock.errors import (
    ContextOverflow,
    EngineError,
    ModelRefused,
    ModelUnavailable,
    RateLimited,
)

if TYPE_CHECKING:
    from dspy.lm15 import LM15Error

_HIDDEN: Final = "[key]"
_MAX: Final = 1000
_SHORTEST: Final = 6
"""Of how many characters a secret has to be to be looked for in a text."""

_KEYS: Final = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|hf|AIza|key)[-_][A-Za-z0-9_\-*.]{6,}"
    r"|\bAIza[A-Za-z0-9_\-]{20,}"
    r"|(?<=Bearer )[^\s\"',}]+"
    r"|(?<=Basic )[A-Za-z0-9+/=]{8,}"
    r"|(?<=[?&]key=)[^&\s\"']+"
    r"|(?<=api_key=)[^&\s\"',}]+"
)
"""Keys of well-known providers, and where keys of others stand."""

# Servers that speak the same protocol say it in words only: llama.cpp, vLLM, Ollama, LM Studio.
_TOO_LONG: Final = re.compile(
    r"context (?:length|size|window)|maximum context|context_length|exceed_context"
    r"|prompt is too long|too many tokens|input (?:is )?too long|n_ctx",
    re.IGNORECASE,
)
_FILTERED: Final = re.compile(
    r"content[_ ]?(?:filter|policy|management)|responsible ?ai|safety (?:system|policy)",
    re.IGNORECASE,
)
_NO_SCHEMA: Final = re.compile(
    r"response_?format|json_?schema|structured[_ ]output|output_config|output_format"
    r"|grammar|schema",
    re.IGNORECASE,
)


_ADVICE: Final = re.compile(
    r"(?: credential came from:.*?)? To fix: - .*$"
    r"|; this is lm15's read timeout.*$"
    r"|, or pass RouterConfig\(.*?\}\)\.?"
)
"""What the provider's client advises: it speaks to its own callers."""

_KEYLESS: Final = re.compile(
    r"missing credentials|api[_ -]?key (?:is )?(?:missing|not (?:set|found|provided))"
    r"|(?:pass|set|provide) (?:an?|your) `?api[_ -]?key",
    re.IGNORECASE,
)
"""A missing key comes as a failure of the server from some clients of LiteLLM."""

_UNKNOWN_PROVIDER: Final = "LLM Provider NOT provided"

_BUSY: Final = 429
_TIMED_OUT: Final = 408
_FAILED: Final = 500
_NOT_FOUND: Final = 404


def redacted(text: str, secrets: Iterable[str] = ()) -> str:
    """Return a text without keys: those that are known, and what looks like one."""
    for secret in secrets:
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, _HIDDEN)
    return _KEYS.sub(_HIDDEN, text)


def refuses_schema(error: Exception) -> bool:
    """Whether a provider refused a request for the schema in it."""
    from dspy.lm15 import InvalidRequestError, UnsupportedFeatureError

    if _is_about_length(error):
        return False
    if not isinstance(error, InvalidRequestError | UnsupportedFeatureError):
        return False
    return _NO_SCHEMA.search(str(error)) is not None


def as_engine_error(error: LM15Error, model: str, secrets: Iterable[str]) -> EngineError:
    """Return what an error of a provider comes to.

    Args:
        error: What the provider's client raised.
        model: The model string.
        secrets: Keys that must not appear in the text.
    """
    from dspy import lm15

    said = _ADVICE.sub("", " ".join(redacted(error.message or str(error), secrets).split()))
    said = said if len(said) <= _MAX else f"{said[: _MAX - 3]}..."
    status = f" (status {error.status})" if error.status else ""
    what = f"model {model!r}"
    if _is_about_length(error):
        return ContextOverflow(f"the prompt is too long for {what}{status}: {said}")
    code = error.status or 0
    if isinstance(error, lm15.BillingError):
        return EngineError(f"the quota of {what} is used up{status}: {said}")
    if isinstance(error, lm15.RateLimitError) or code == _BUSY:
        return _with_hint(RateLimited(f"{what} is rate limited{status}: {said}"), error)
    if isinstance(error, lm15.AuthError | lm15.NotConfiguredError) or _KEYLESS.search(said):
        why = f"{what} cannot be asked without a valid key{status}: {said.rstrip('.')}"
        return EngineError(f"{why}; {_where_keys_come_from(said)}")
    if isinstance(error, lm15.StreamAssemblyError):
        return ModelUnavailable(f"the answer of {what} broke off: {said}")
    if _is_transient(error, code):
        return _with_hint(ModelUnavailable(f"{what} is not available{status}: {said}"), error)
    if isinstance(error, lm15.InvalidRequestError) and _is_filter(error):
        return ModelRefused(f"the filter of {what} refused the request{status}: {said}")
    if _UNKNOWN_PROVIDER in said:
        return EngineError(
            f"{what} names no provider that DSPy knows; write 'provider/name', such as "
            "'openai/gpt-4.1', or 'openai/NAME' and the api_base of a server"
        )
    if isinstance(error, lm15.UnsupportedModelError | lm15.UnknownModelError) or code == _NOT_FOUND:
        return EngineError(
            f"{what} is not found at its provider{status}: {said}; check the name and api_base"
        )
    return EngineError(f"{what} refused the request{status}: {said}")


def _where_keys_come_from(said: str) -> str:
    """Return what to do about a key, besides what the error says already."""
    remedy = "or give DSPyEngine(api_key=SecretStr(...))"
    if "in the environment" in said:  # it names the variable
        return remedy
    return f"set the provider's environment variable, {remedy}"


def _is_transient(error: LM15Error, code: int) -> bool:
    """Whether asking again may help: also after a status of success with what is no answer."""
    from dspy import lm15

    is_broken = isinstance(error, lm15.TimeoutError | lm15.ServerError | lm15.TransportError)
    return is_broken or code >= _FAILED or code in {_TIMED_OUT, 200}


def _is_about_length(error: Exception) -> bool:
    from dspy.lm15 import ContextLengthError, InvalidRequestError

    if isinstance(error, ContextLengthError):
        return True
    is_refused = isinstance(error, InvalidRequestError)
    return is_refused and _TOO_LONG.search(str(error)) is not None


def _is_filter(error: LM15Error) -> bool:
    text = f"{error.provider_code or ''} {error.message}"
    return _FILTERED.search(text) is not None


def _with_hint(
    made: RateLimited | ModelUnavailable, error: LM15Error
) -> RateLimited | ModelUnavailable:
    if error.retry_after is not None and error.retry_after >= 0:
        made.retry_after = float(error.retry_after)
    return made
