"""A recording replays any request, and its file says the same as what was asked."""

import asyncio
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flock.core.usage import Usage
from flock.engines.chat import ChatAnswer, ChatRequest
from flock.testing import RecordedModel
from flock.testing.recording.canonical import canonical, key_of, options, without_secrets

TEXT = st.text(alphabet=st.characters(exclude_categories=()), max_size=30) | st.just("x" * 3000)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | TEXT,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
REQUESTS = st.builds(
    ChatRequest,
    messages=st.lists(
        st.fixed_dictionaries({"role": st.just("user"), "content": TEXT}), max_size=3
    ),
    schema=st.none() | st.dictionaries(st.text(max_size=5), JSON, max_size=3),
    temperature=st.none() | st.floats(0, 2),
    options=st.dictionaries(st.text(max_size=9) | st.just("api_key"), JSON, max_size=3),
)


class Numbered:
    name, calls_tools, keeps_schema, takes_images = "m", False, True, False

    def __init__(self) -> None:
        self.asked = 0

    def price(self, input_tokens: int, output_tokens: int) -> float:
        del input_tokens, output_tokens
        return 0.0

    async def chat(
        self, request: ChatRequest, on_token: Callable[[str], None] | None = None
    ) -> ChatAnswer:
        self.asked += 1
        return ChatAnswer(f"{self.asked} {request.temperature}", Usage(calls=1))

    async def aclose(self) -> None:
        pass


@given(st.lists(REQUESTS, min_size=1, max_size=4))
def test_any_requests_are_replayed_in_their_order(requests: list[ChatRequest]):
    async def ask_all(model: RecordedModel) -> list[str]:
        return [(await model.chat(request)).text for request in [*requests, *requests]]

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answers.jsonl"
        recorded = asyncio.run(ask_all(RecordedModel(Numbered(), path)))
        assert asyncio.run(ask_all(RecordedModel(None, path))) == recorded


@given(JSON)
def test_what_is_stored_has_the_key_of_what_was_asked(value: Any):
    stored = canonical(value, without_secrets)
    assert canonical(stored, without_secrets) == stored
    assert key_of("k", json.loads(json.dumps(stored))) == key_of("k", stored)


@given(st.dictionaries(st.sampled_from(["api_key", "Authorization", "token", "x"]), TEXT))
def test_credentials_make_no_difference(values: Mapping[str, str]):
    changed = {name: v if name == "x" else f"{v}!" for name, v in values.items()}
    assert options(values, str) == options(changed, str)
