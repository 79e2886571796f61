"""Errors of providers, by name and without keys."""

from __future__ import annotations

import pytest

from flock import ChatRequest, EngineError, HostedModel
from flock.engines.dspy.loading import load_dspy
from flock.engines.dspy.provider_errors import as_engine_error, redacted


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdefghijklmnop",
        "sk-ant-api03-abc_DEF-ghi",
        "gsk_abcdefghijklmnop",
        "xai-abcdefghijklmnop",
        "hf_abcdefghijklmnop",
        "AIzaSyA-abcdefghijklmnopqrstuv",
    ],
)
@pytest.mark.parametrize(
    "text", ["key {} is wrong", "'{}'", "Authorization: Bearer {}", "https://x/y?key={}&z=1"]
)
def test_what_looks_like_a_key_is_hidden(text: str, secret: str) -> None:
    assert secret not in redacted(text.format(secret))


def test_a_known_secret_is_hidden_whatever_it_looks_like() -> None:
    assert redacted("wrong: opensesame!", ["opensesame!"]) == "wrong: [key]"


def test_short_secrets_do_not_tear_a_text_apart() -> None:
    assert redacted("one on one", ["on"]) == "one on one"


def test_other_text_stays_as_it_is() -> None:
    text = "the monkey said: max_tokens must be at most 4096, task-force 12, Bearer"
    assert redacted(text) == text


async def test_the_variable_that_a_missing_key_belongs_in_is_named_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(EngineError) as failure:
        await HostedModel("openai/gpt-4.1").chat(ChatRequest([{"role": "user", "content": "?"}]))
    text = str(failure.value)
    assert "Set OPENAI_API_KEY in the environment; or give DSPyEngine(api_key=" in text
    assert text.count("environment") == 1


def test_a_wrong_key_is_told_where_keys_come_from() -> None:
    load_dspy()
    from dspy.lm15 import AuthError

    text = str(as_engine_error(AuthError("no such key"), "openai/x", ()))
    assert text.endswith(
        "no such key; set the provider's environment variable, or give "
        "DSPyEngine(api_key=SecretStr(...))"
    )
