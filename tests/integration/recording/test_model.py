"""A recorded model answers as it did, and says how a request differs."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from flock import DeclarationError, EngineError, Image
from flock.core.usage import Usage
from flock.engines.chat import ChatAnswer, ChatModel, ChatRequest, ToolRequest
from flock.errors import ContextOverflow, ModelRefused, RateLimited
from flock.testing import Cassette, NotRecorded, RecordedModel
from tests.unit.core.media.pictures import picture

USAGE = Usage(calls=1, input_tokens=7, output_tokens=3, cached_tokens=2, usd=0.25, latency=1.5)
KEY = "sk-proj-" + "a1B2c3D4" * 5


class Parrot:
    """A model in the process: says what it was told, in pieces, when it is let."""

    name = "test/parrot"
    calls_tools = True
    keeps_schema = False
    takes_images = True

    def __init__(self, *errors: Exception | None) -> None:
        self.asked = 0
        self.closed = False
        self.errors = list(errors)
        self.gates: dict[str, asyncio.Event] = {}

    async def chat(
        self, request: ChatRequest, on_token: Callable[[str], None] | None = None
    ) -> ChatAnswer:
        self.asked += 1
        number = self.asked
        text = f"{number}: {request.messages[-1]['content']}"
        if (error := self.errors.pop(0) if self.errors else None) is not None:
            raise error
        if (gate := self.gates.get(str(number))) is not None:
            await gate.wait()
        if on_token is not None:
            for place in range(0, len(text), 4):
                on_token(text[place : place + 4])
        tools = (ToolRequest("c1", "look", '{"at": 1}'),) if request.tools else ()
        return ChatAnswer(text, USAGE, tools, "tool_calls" if tools else "stop")

    def price(self, input_tokens: int, output_tokens: int) -> float | None:
        return input_tokens * 2e-6 + output_tokens * 8e-6

    async def aclose(self) -> None:
        self.closed = True


class Silent(Parrot):
    """Must not be asked."""

    async def chat(
        self, request: ChatRequest, on_token: Callable[[str], None] | None = None
    ) -> ChatAnswer:
        raise AssertionError("a replay asked the model")


def ask(text: str = "hello", **rest: object) -> ChatRequest:
    return ChatRequest(messages=[{"role": "user", "content": text}], **rest)  # pyright: ignore[reportArgumentType]


async def test_it_is_recorded_once_and_replayed_from_then_on(tmp_path: Path):
    path = tmp_path / "new" / "answers.jsonl"
    request = ask(
        schema={"type": "object"}, tools=[{"name": "look"}], temperature=0.5, max_tokens=9
    )
    recorded = await RecordedModel(Parrot(), path).chat(request)
    assert await RecordedModel(Silent(), path).chat(request) == recorded
    assert recorded.usage == USAGE
    assert recorded.tool_requests == (ToolRequest("c1", "look", '{"at": 1}'),)


async def test_a_model_string_is_made_to_record_and_not_to_replay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made: list[str] = []

    def model_for(name: str) -> Parrot:
        made.append(name)
        return Parrot()

    monkeypatch.setattr("flock.testing.recording.model.model_for", model_for)
    path = tmp_path / "answers.jsonl"
    recorded = RecordedModel("test/parrot", path)
    await recorded.chat(ask())
    await recorded.chat(ask("bye"))
    assert made == ["test/parrot"]
    replayed = RecordedModel("test/parrot", path)
    assert (await replayed.chat(ask())).text == "1: hello"
    assert replayed.calls_tools
    assert made == ["test/parrot"]


async def test_another_model_than_the_recorded_one_is_named(tmp_path: Path):
    path = tmp_path / "answers.jsonl"
    await RecordedModel(Parrot(), path).chat(ask())
    with pytest.raises(NotRecorded, match=r"'test/parrot', not of 'openai/gpt-4\.1'"):
        await RecordedModel("openai/gpt-4.1", path).chat(ask())


async def test_what_is_no_model_is_refused_before_it_is_asked(tmp_path: Path):
    with pytest.raises(DeclarationError, match="its model string, or None, not 3"):
        RecordedModel(3, tmp_path / "answers.jsonl")  # pyright: ignore[reportArgumentType]
    with pytest.raises(DeclarationError, match="there is no local model 'nobody'"):
        RecordedModel("local/nobody", tmp_path / "answers.jsonl")


async def test_without_a_model_it_is_the_one_that_was_recorded(tmp_path: Path):
    path = tmp_path / "answers.jsonl"
    await RecordedModel(Parrot(), path).chat(ask())
    replayed: ChatModel = RecordedModel(None, path, mode="replay")
    assert (await replayed.chat(ask())).text == "1: hello"
    assert (replayed.name, replayed.calls_tools, replayed.keeps_schema, replayed.takes_images) == (
        "test/parrot",
        True,
        False,
        True,
    )
    await replayed.aclose()
    assert RecordedModel(None, path).price(1000, 500) == pytest.approx(0.006)


async def test_a_model_without_prices_has_none_in_a_replay(tmp_path: Path):
    class Free(Parrot):
        def price(self, input_tokens: int, output_tokens: int) -> float | None:
            return None

    path = tmp_path / "answers.jsonl"
    await RecordedModel(Free(), path).chat(ask())
    assert RecordedModel(None, path).price(1, 1) is None


async def test_tokens_are_replayed_in_their_pieces(tmp_path: Path):
    path = tmp_path / "answers.jsonl"
    live: list[str] = []
    again: list[str] = []
    await RecordedModel(Parrot(), path).chat(ask("one two"), live.append)
    await RecordedModel(None, path).chat(ask("one two"), again.append)
    assert again == live == ["1: o", "ne t", "wo"]


async def test_tokens_that_nobody_listened_to_are_replayed_as_words(tmp_path: Path):
    path = tmp_path / "answers.jsonl"
    again: list[str] = []
    await RecordedModel(Parrot(), path).chat(ask("one two"))
    await RecordedModel(None, path).chat(ask("one two"), again.append)
    assert again == ["1: ", "one ", "two"]


async def test_equal_requests_at_once_keep_the_order_in_which_they_were_asked(tmp_path: Path):
    path = tmp_path / "answers.jsonl"
    parrot = Parrot()
    parrot.gates = {"1": asyncio.Event(), "2": asyncio.Event()}
    model = RecordedModel(parrot, path)
    async with asyncio.TaskGroup() as tasks:
        live = [tasks.create_task(model.chat(ask())) for _ in range(3)]
        await live[2]
        assert not path.exists() or '"3: hello"' not in path.read_text()  # its turn comes
        parrot.gates["2"].set()
        await live[1]
        parrot.gates["1"].set()
    texts = [task.result().text for task in live]
    assert texts == ["1: hello", "2: hello", "3: hello"]
    replayed = RecordedModel(None, path)
    again = await asyncio.gather(*(replayed.chat(ask()) for _ in range(3)))
    assert [answer.text for answer in again] == texts


async def test_a_request_more_than_was_recorded_is_refused(tmp_path: Path):
    path = tmp_path / "answers.jsonl"
    await RecordedModel(Parrot(), path).chat(ask())
    replayed = RecordedModel(None, path)
    await replayed.chat(ask())
    with pytest.raises(NotRecorded, match="holds this request once, and it was asked once more"):
        await replayed.chat(ask())


async def test_an_unknown_request_is_refused_with_the_difference_to_the_nearest(tmp_path: Path):
    path = tmp_path / "answers.jsonl"
    model = RecordedModel(Parrot(), path)
    await model.chat(ask("something else"))
    await model.chat(ask("first line\nsecond line"))
    with pytest.raises(NotRecorded) as caught:
        await RecordedModel(None, path).chat(ask("first line\nchanged line", temperature=0.1))
    message = str(caught.value)
    assert "answers.jsonl" in message
    assert "-second line" in message
    assert "+changed line" in message
    assert '+ "temperature": 0.1' in message
    assert "something else" not in message
    assert isinstance(caught.value, EngineError)


async def test_modes_say_when_to_ask(tmp_path: Path):
    path = tmp_path / "answers.jsonl"
    with pytest.raises(NotRecorded, match="there is no cassette"):
        await RecordedModel(Parrot(), path, mode="replay").chat(ask())
    with pytest.raises(NotRecorded, match="no model to record one"):
        await RecordedModel(None, path).chat(ask("a"))
    await RecordedModel(Parrot(), path).chat(ask("a"))
    with pytest.raises(NotRecorded):
        await RecordedModel(Parrot(), path).chat(ask("b"))  # once: the file is there
    await RecordedModel(Parrot(), path, mode="record").chat(ask("b"))
    assert (await RecordedModel(None, path).chat(ask("b"))).text == "1: b"
    with pytest.raises(NotRecorded):
        await RecordedModel(None, path).chat(ask("a"))  # written anew
    with pytest.raises(DeclarationError, match="no model to ask"):
        RecordedModel(None, path, mode="record")
    with pytest.raises(DeclarationError, match="one of once, record, replay"):
        Cassette(path, "always")  # pyright: ignore[reportArgumentType]
    with pytest.raises(DeclarationError, match="has its mode already"):
        RecordedModel(Parrot(), Cassette(path), mode="replay")


async def test_no_credential_is_stored(tmp_path: Path):
    path = tmp_path / "answers.jsonl"
    request = ask(
        f"use {KEY}",
        options={
            "api_key": KEY,
            "secret": SecretStr("hush-hush"),
            "extra_headers": {"X-Mine": "hush-hush"},
            "nested": {"auth_token": "hush-hush", "top_k": 3},
            "url": "https://me:hush-hush@example.com",
        },
    )
    answer = await RecordedModel(Parrot(), path).chat(request)
    stored = path.read_text()
    assert KEY not in stored
    assert "hush" not in stored
    assert '"top_k": 3' in stored
    assert answer.text == "1: use [API_KEY]"  # what a replay says as well
    assert await RecordedModel(None, path).chat(request) == answer


async def test_another_key_makes_the_same_request(tmp_path: Path):
    path = tmp_path / "answers.jsonl"
    await RecordedModel(Parrot(), path).chat(ask(options={"api_key": "one"}))
    assert await RecordedModel(None, path).chat(ask(options={"api_key": "two"}))
    with pytest.raises(NotRecorded):
        await RecordedModel(None, path).chat(ask(options={"api_key": "two", "seed": 1}))


async def test_texts_are_scrubbed_as_one_says(tmp_path: Path):
    path = tmp_path / "answers.jsonl"
    cassette = Cassette(path, scrub=lambda text: text.replace("Ann", "NAME"))
    await RecordedModel(Parrot(), cassette).chat(ask("Ann"))
    assert "Ann" not in path.read_text()


async def test_an_image_is_stored_as_its_hash(tmp_path: Path):
    path = tmp_path / "answers.jsonl"
    image = Image(picture("image/png", 400, 300, compress_level=0))
    other = Image(picture("image/png", 401, 300, compress_level=0))

    def show(image: Image) -> ChatRequest:
        url = {"type": "image_url", "image_url": {"url": image.data_url()}}
        return ChatRequest(messages=[{"role": "user", "content": [url]}])

    class Looker(Parrot):
        async def chat(
            self, request: ChatRequest, on_token: Callable[[str], None] | None = None
        ) -> ChatAnswer:
            return ChatAnswer("seen", USAGE)

    await RecordedModel(Looker(), path).chat(show(image))
    assert len(path.read_text()) < 1_000
    assert (await RecordedModel(None, path).chat(show(image))).text == "seen"
    with pytest.raises(NotRecorded):
        await RecordedModel(None, path).chat(show(other))


async def test_lasting_errors_are_recorded_and_those_of_a_moment_are_not(tmp_path: Path):
    path = tmp_path / "answers.jsonl"
    model = RecordedModel(
        Parrot(RateLimited("wait"), ContextOverflow("too long"), ModelRefused("no")), path
    )
    for error in (RateLimited, ContextOverflow, ModelRefused):
        with pytest.raises(error):
            await model.chat(ask())
    await model.chat(ask())
    replayed = RecordedModel(None, path)
    with pytest.raises(ContextOverflow, match="too long"):
        await replayed.chat(ask())
    with pytest.raises(ModelRefused, match="no"):
        await replayed.chat(ask())
    assert (await replayed.chat(ask())).text == "4: hello"


async def test_a_request_that_is_cancelled_does_not_hold_up_the_others(tmp_path: Path):
    path = tmp_path / "answers.jsonl"
    parrot = Parrot()
    parrot.gates = {"1": asyncio.Event()}
    model = RecordedModel(parrot, path)
    first = asyncio.create_task(model.chat(ask("a")))
    await asyncio.sleep(0)
    await model.chat(ask("b"))
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert (await RecordedModel(None, path).chat(ask("b"))).text == "2: b"


async def test_the_file_reads_line_by_line(tmp_path: Path):
    path = tmp_path / "answers.jsonl"
    await RecordedModel(Parrot(), path).chat(ask("grüße"))
    head, model, entry = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    assert head == {"cassette": 1}
    assert model["model"]["name"] == "test/parrot"
    assert entry["request"]["messages"] == [{"role": "user", "content": "grüße"}]
    assert "grüße" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("line", ["{", "[]", '{"cassette": 2}', '{"kind": "chat", "request": {}}'])
async def test_a_damaged_file_is_named_with_its_line(tmp_path: Path, line: str):
    path = tmp_path / "answers.jsonl"
    path.write_text(f'{{"cassette": 1}}\n{line}\n')
    with pytest.raises(NotRecorded, match=r"line 2 of cassette '.*answers.jsonl'"):
        await RecordedModel(Parrot(), path).chat(ask())


async def test_closing_closes_the_model(tmp_path: Path):
    parrot = Parrot()
    await RecordedModel(parrot, tmp_path / "x").aclose()
    assert parrot.closed
