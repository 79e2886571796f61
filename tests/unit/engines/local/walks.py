"""Answers that a grammar allows, drawn at random: what a model might write, without a model."""

from __future__ import annotations

import random

from llguidance import LLMatcher

from flock.engines.local.grammar import byte_tokenizer

END = 256


def walk(grammar: str, seed: int, longest: int = 200_000) -> str:
    """Take a random way through a grammar, byte by byte, until it ends.

    Raises:
        AssertionError: It is no grammar, or the answer does not end.
    """
    draw = random.Random(seed)
    matcher = LLMatcher(byte_tokenizer(), grammar)
    assert not matcher.is_error(), matcher.get_error()
    written = bytearray()
    while not matcher.is_stopped():
        assert len(written) < longest, f"no end after {written[:500]!r} ..."
        mask = matcher.compute_bitmask()
        allowed = [byte for byte in range(END + 1) if mask[byte // 8] >> byte % 8 & 1]
        byte = draw.choice(allowed)
        if byte == END:
            break
        matcher.consume_token(byte)
        written.append(byte)
    return written.decode()


def takes(grammar: str, text: str) -> bool:
    """Whether a grammar allows exactly this answer."""
    matcher = LLMatcher(byte_tokenizer(), grammar)
    assert not matcher.is_error(), matcher.get_error()
    data = list(text.encode())
    return matcher.try_consume_tokens(data) == len(data) and matcher.is_accepting()
