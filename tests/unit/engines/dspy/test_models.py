"""From a model string to the model, and who owns it."""

from __future__ import annotations

import sys

import pytest
from pydantic import BaseModel, SecretStr

from flock import DeclarationError, DSPyEngine, Flock
from flock.engines.dspy import ModelShelf, model_for
from flock.engines.dspy.hosted import HostedModel
from flock.engines.dspy.response_format import Form
from tests.unit.engines.dspy.scripted_model import ScriptedModel


class Ask(BaseModel):
    text: str = "?"


class Say(BaseModel):
    text: str


def test_a_hosted_model_is_what_other_strings_name() -> None:
    model = model_for("openai/gpt-4.1")
    assert isinstance(model, HostedModel)
    assert model.name == "openai/gpt-4.1"


@pytest.mark.parametrize("name", ["", " ", "openai/", "test"])
def test_what_names_no_model_is_refused(name: str) -> None:
    with pytest.raises(DeclarationError):
        model_for(name)


def test_a_model_inside_the_process_is_recognized_without_its_prefix() -> None:
    with pytest.raises(DeclarationError, match="write 'local/smollm2-135m'"):
        model_for("smollm2-135m")


def test_a_shelf_makes_each_model_once() -> None:
    shelf = ModelShelf()
    first = shelf.get("openai/a", api_key=SecretStr("a secret"), client={"headers": {"x": "y"}})
    assert shelf.get("openai/a", api_key="a secret", client={"headers": {"x": "y"}}) is first
    others = [
        shelf.get("openai/a", api_key="two"),
        shelf.get("openai/a"),
        shelf.get("openai/b"),
        shelf.get("openai/a", api_base="http://localhost"),
    ]
    assert len({id(model) for model in [first, *others]}) == 5
    assert "secret" not in repr(vars(shelf))


async def test_the_models_of_a_board_are_shared_and_closed_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[ScriptedModel] = []

    class LocalModel(ScriptedModel):
        def __init__(self, name: str) -> None:
            super().__init__(['{"say": {"text": "hello"}}'] * 9)
            self.name = name
            made.append(self)

        def check(self) -> None:
            """There is nothing to be pulled."""

    monkeypatch.setattr("flock.engines.local.model.LocalModel", LocalModel)
    board = Flock("local/small")
    board.agent("one").consumes(Ask).publishes(Say)
    board.agent("two").consumes(Ask).publishes(Say).with_engines(DSPyEngine())
    board.agent("other").consumes(Ask).publishes(Say).with_engines(DSPyEngine("local/large"))
    async with board:
        await board.publish(Ask())
        await board.run_until_idle(raise_on_error=True)
    assert [model.name for model in made] == ["local/small", "local/large"]
    assert [model.closed for model in made] == [1, 1]


async def test_a_model_that_was_given_is_left_to_its_giver() -> None:
    model = ScriptedModel(['{"say": {"text": "hello"}}'])
    board = Flock()
    board.agent("one").consumes(Ask).publishes(Say).with_engines(DSPyEngine(model))
    async with board:
        await board.arun("one", Ask())
    assert model.closed == 0


@pytest.mark.parametrize(
    ("model", "extra"), [("openai/gpt-4.1", "dspy"), ("local/smollm2-135m", "local")]
)
async def test_a_missing_extra_is_an_error_when_the_board_opens(
    monkeypatch: pytest.MonkeyPatch, model: str, extra: str
) -> None:
    from flock.engines.dspy import loading

    loading.load_dspy.cache_clear()
    for name in ("dspy", "xllamacpp"):
        monkeypatch.setitem(sys.modules, name, None)
    board = Flock(model)
    board.agent("thinker").consumes(Ask).publishes(Say)
    with pytest.raises(DeclarationError) as failure:
        async with board:
            pass
    assert all(word in str(failure.value) for word in ("'thinker'", model, f"flock[{extra}]"))


async def test_an_engine_without_any_model_is_an_error_when_the_board_opens() -> None:
    board = Flock()
    board.agent("thinker").consumes(Ask).publishes(Say).with_engines(DSPyEngine())
    with pytest.raises(DeclarationError, match=r"'thinker'.*the board has none"):
        async with board:
            pass


@pytest.mark.parametrize(
    "options",
    [
        {"repairs": -1},
        {"repairs": True},
        {"lm_kwargs": {"api_key": "x"}},
        {"lm_kwargs": {"base_url": "x"}},
        {"max_tokens": 0},
        {"temperature": -1},
        {"temperature": "hot"},
        {"adapter": "chat"},
        {"model": 3},
        {"model": HostedModel},
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(DeclarationError):
        DSPyEngine(**options)  # pyright: ignore[reportArgumentType]


def test_what_is_known_of_a_model_is_taken_from_dspys_list(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("OPENAI_API_BASE", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    known = HostedModel("openai/gpt-4.1")
    assert (known.keeps_schema, known.takes_images) == (True, True)
    blind = HostedModel("openai/gpt-3.5-turbo")
    assert blind.takes_images is False
    elsewhere = HostedModel("openai/gpt-4.1", api_base="http://localhost:1/v1")
    assert (elsewhere.keeps_schema, elsewhere.takes_images) == (False, True)


def test_a_provider_is_asked_strictly_first_and_a_server_with_all_that_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("OPENAI_API_BASE", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    assert HostedModel("openai/gpt-4.1")._form is Form.STRICT
    assert HostedModel("openai/any", api_base="http://localhost:1/v1")._form is Form.SCHEMA


def test_an_address_with_a_password_is_refused_without_telling_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address = "http://ann:hunter2@localhost:1/v1"
    with pytest.raises(DeclarationError, match="holds a user or password") as failure:
        HostedModel("openai/any", api_base=address)
    assert "hunter2" not in str(failure.value)
    monkeypatch.setenv("OPENAI_API_BASE", address)
    with pytest.raises(DeclarationError, match="holds a user or password"):
        HostedModel("openai/any")


def test_what_stands_behind_an_address_is_not_shown() -> None:
    model = HostedModel("openai/any", api_base="http://localhost:1/v1?key=hunter2")
    assert repr(model) == "HostedModel('openai/any', api_base='http://localhost:1/v1')"


def test_a_version_of_dspy_with_other_clients_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from dspy.clients import backend_selection

    from flock.engines.dspy import loading

    loading.load_clients.cache_clear()
    monkeypatch.delattr(backend_selection, "select_backend")
    with pytest.raises(
        DeclarationError, match=r"DSPy 3\.\S+ has no 'select_backend' in .*flock\[dspy"
    ):
        HostedModel("openai/any")


def test_a_server_for_a_model_inside_the_process_is_refused() -> None:
    with pytest.raises(DeclarationError, match="leave out api_base"):
        model_for("local/smollm2-135m", api_base="http://localhost:1/v1")
    with pytest.raises(DeclarationError, match="leave out api_key"):
        model_for("local/smollm2-135m", api_key="sk-secret")
