"""Errors of providers, by name and without keys."""

from __future__ import annotations

import pytest

from flock.engines.dspy.provider_errors import redacted


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
