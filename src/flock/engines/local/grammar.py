"""JSON Schemas as grammars that llama.cpp enforces token by token, with LLGuidance.

llama.cpp's own `response_format` leaves out patterns, formats and bounds. Given a grammar for
LLGuidance (https://github.com/guidance-ai/llguidance), it enforces the whole schema. A grammar
that LLGuidance refuses is silently ignored by the server, and the model writes what it likes;
so each is compiled here first, with the same engine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Final, cast

from flock.engines.local.bounding import BoundedSchema, EndlessSchema, bound
from flock.engines.local.json_types import AnySchema, Schema
from flock.engines.local.limits import Limits
from flock.errors import EngineError

if TYPE_CHECKING:
    from llguidance import LLTokenizer

LADDER: Final = (
    Limits(2000, 16, 4),
    Limits(1000, 12, 3),
    Limits(600, 10, 3),
    Limits(400, 8, 3),
    Limits(250, 6, 2),
    Limits(160, 5, 2),
    Limits(120, 4, 2),
    Limits(80, 3, 1),
    Limits(48, 2, 1),
    Limits(32, 1, 1),
)
"""From generous to tight: the first whose longest answer fits the tokens is taken."""

_HEAD: Final = "%llguidance {}\nstart: %json "
# One line, spaced as models have seen it most often; nothing to fill with blanks.
_LAYOUT: Final = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


@dataclass(frozen=True, slots=True)
class Grammar:
    """What a model's answer is held to.

    Attributes:
        text: The grammar, for the server's `grammar` parameter.
        cost: About how many tokens the longest answer takes.
        loosened: What of the schema it does not enforce, each with its place; validation has
            to.
    """

    text: str
    cost: float
    loosened: tuple[str, ...] = ()


def constrain(schema: Mapping[str, Any], max_tokens: int) -> Grammar:
    """Return the grammar of a JSON Schema, bounded so that an answer ends in `max_tokens`.

    Raises:
        EngineError: No finite value satisfies the schema.
    """
    return _constrain(json.dumps(schema, sort_keys=False, default=str), max_tokens)


@lru_cache(maxsize=256)
def _constrain(text: str, max_tokens: int) -> Grammar:
    schema: AnySchema = json.loads(text)
    try:
        bounded = _fit(schema, max_tokens, compiles)
    except EndlessSchema as error:
        raise EngineError(f"the schema cannot be asked of a model: {error}: {text}") from error
    if (reason := refusal(bounded.schema)) is None:
        return Grammar(_write(bounded.schema), bounded.cost, bounded.loosened)
    # Something in the whole that no part showed: keep the shape, leave the rest to validation.
    bare = _fit(_without_text_rules(schema), max_tokens, compiles)
    lost = (*bare.loosened, f"patterns and formats of strings ({reason})")
    if refusal(bare.schema) is None:
        return Grammar(_write(bare.schema), bare.cost, lost)
    return Grammar(_write({"type": "object"}), max_tokens, ("all but that it is an object",))


def compiles(schema: Schema) -> bool:
    """Whether LLGuidance takes a schema."""
    return refusal(schema) is None


def refusal(schema: Schema) -> str | None:
    """Return why LLGuidance does not take a schema, None if it does."""
    return _refusal(_write(schema))


@lru_cache(maxsize=4096)
def _refusal(grammar: str) -> str | None:
    from llguidance import LLMatcher

    message = LLMatcher.validate_grammar(grammar, byte_tokenizer())
    return message.partition("\n")[0].partition("compile JSON schema: ")[2] or message or None


def _fit(schema: AnySchema, max_tokens: int, accepts: Callable[[Schema], bool]) -> BoundedSchema:
    for limits in LADDER[:-1]:
        bounded = bound(schema, limits, accepts)
        if bounded.cost <= max_tokens:
            return bounded
    return bound(schema, LADDER[-1], accepts)


def _write(schema: Schema) -> str:
    return _HEAD + json.dumps(schema | {"x-guidance": _LAYOUT})


def _without_text_rules(schema: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(schema, dict):
        return {
            key: _without_text_rules(value)
            for key, value in cast("Schema", schema).items()
            if not (key in {"pattern", "format"} and isinstance(value, str))
        }
    if isinstance(schema, list):
        return [_without_text_rules(value) for value in cast("list[Any]", schema)]
    return schema


@cache
def byte_tokenizer() -> LLTokenizer:
    """Return a tokenizer of bytes: whether a grammar compiles does not depend on the model's."""
    from llguidance import LLTokenizer, TokenizerWrapper

    return LLTokenizer(TokenizerWrapper(_Bytes()))


class _Bytes:
    eos_token_id = 256
    bos_token_id = None
    tokens: Final = [*(bytes([byte]) for byte in range(256)), b"<end>"]
    special_token_ids: Final = [256]

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text if isinstance(text, bytes) else text.encode())
