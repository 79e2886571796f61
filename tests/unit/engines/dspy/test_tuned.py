"""Tuned prompts: how the engine uses them, their file, and when they are refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import dspy
import pytest
from pydantic import BaseModel, Field

from flock import Agent, DeclarationError, DSPyEngine, EngineError, Flock, TunedPrompt, TuningError
from flock.core.types import registry
from flock.engines.dspy import tuned as module
from flock.engines.dspy.tuned import Content, PromptExample, TypeShape
from tests.unit.engines.dspy.scripted_model import ScriptedModel
from tests.unit.support import artifact


class Story(BaseModel):
    """A tale."""

    text: str


class Hint(BaseModel):
    text: str


class Moral(BaseModel):
    text: str = Field(
        min_length=2,
        description="in a few words",
        validation_alias="saying",
        serialization_alias="saying",
    )
    model_config = {"validate_by_name": True}


ANSWER = '{"moral": {"saying": "Be kind."}}'


def agent_of(engine: DSPyEngine | None = None, *, inputs: Any = (Story,)) -> Flock:
    flock = Flock()
    flock.agent("sage").description("Find the moral.").consumes(*inputs).publishes(
        Moral
    ).with_engines(engine or DSPyEngine("x/y"))
    return flock


def sage() -> Agent:
    return agent_of().get_agent("sage")


def example(text: str = "A fable.", *inputs: BaseModel) -> PromptExample:
    return PromptExample(
        inputs=tuple(map(Content.of_model, inputs or (Story(text=text),))),
        outputs=(Content.of_model(Moral(text="Be patient.")),),
    )


def prompt(**rest: Any) -> TunedPrompt:
    given: dict[str, Any] = {"examples": [example()], **rest}
    return TunedPrompt.for_agent(sage(), **given)


async def asked(engine: DSPyEngine, model: ScriptedModel) -> list[Any]:
    async with agent_of(engine) as flock:
        await flock.arun("sage", Story(text="Once."))
    return list(model.requests[0].messages)


async def test_examples_stand_before_the_question_as_answers_of_the_model() -> None:
    model = ScriptedModel([ANSWER])
    messages = await asked(DSPyEngine(model, tuned=prompt()), model)
    assert [m["role"] for m in messages] == ["system", "user", "assistant", "user"]
    assert messages[0]["content"].startswith("Find the moral.")
    assert "A fable." in messages[1]["content"]
    assert json.loads(messages[2]["content"]) == {"moral": {"saying": "Be patient."}}
    assert "Once." in messages[3]["content"]


async def test_instructions_stand_instead_of_the_description() -> None:
    model = ScriptedModel([ANSWER])
    better = prompt(instructions="Be brief.", examples=())
    messages = await asked(DSPyEngine(model, instructions="Think.", tuned=better), model)
    assert messages[0]["content"].startswith("Be brief.")
    assert "Find the moral." not in messages[0]["content"]
    assert "Think." not in messages[0]["content"]
    assert len(messages) == 2


async def test_a_users_adapter_gets_them_as_demos() -> None:
    model = ScriptedModel(['[[ ## moral ## ]]\n{"saying": "Kind."}\n\n[[ ## completed ## ]]'])
    engine = DSPyEngine(model, adapter=dspy.ChatAdapter(), tuned=prompt(instructions="Be brief."))
    messages = await asked(engine, model)
    assert [m["role"] for m in messages] == ["system", "user", "assistant", "user"]
    assert "Be brief." in messages[0]["content"]
    assert "Be patient." in messages[2]["content"]


async def test_examples_of_other_inputs_are_left_out() -> None:
    model = ScriptedModel([ANSWER] * 2)
    made = Flock()
    made.agent("sage").consumes(Story).consumes(Hint).publishes(Moral).with_engines(
        DSPyEngine("x/y")
    )
    both = TunedPrompt.for_agent(
        made.get_agent("sage"), examples=[example("story"), example("", Hint(text="hint"))]
    )
    flock = Flock()
    flock.agent("sage").consumes(Story).consumes(Hint).publishes(Moral).with_engines(
        DSPyEngine(model, tuned=both)
    )
    async with flock:
        await flock.arun("sage", Hint(text="now"))
    told = "".join(m["content"] for m in model.requests[0].messages)
    assert '"hint"' in told
    assert '"story"' not in told


async def test_a_file_is_read_when_the_board_opens(tmp_path: Path) -> None:
    path = tmp_path / "sage.json"
    model = ScriptedModel([ANSWER])
    engine = DSPyEngine(model, tuned=str(path))
    prompt().save(path)
    assert len(await asked(engine, model)) == 4
    assert TunedPrompt.load(path) == prompt()


async def test_a_file_that_is_not_there_keeps_the_board_from_opening(tmp_path: Path) -> None:
    flock = agent_of(DSPyEngine("test", tuned=tmp_path / "gone.json"))
    with pytest.raises(TuningError, match=r"gone\.json' cannot be read: No such file.*flock tune"):
        async with flock:
            pass


def write(tmp_path: Path, **changes: Any) -> Path:
    path = tmp_path / "prompt.json"
    data = json.loads(prompt().model_dump_json(by_alias=True))
    path.write_text(json.dumps(data | changes))
    return path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema": 2}, "has schema 2, and this version of Flock reads up to 1; update Flock"),
        ({"schema": 0}, "no tuned prompt of Flock: schema"),
        ({"kind": "other"}, "no tuned prompt of Flock: kind"),
        ({"examples": [{"inputs": 1}]}, r"examples\.0\.inputs"),
        ({"code": "__import__('os')"}, "code: Extra inputs are not permitted"),
    ],
)
def test_a_file_that_is_no_tuned_prompt_is_refused(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(TuningError, match=words):
        TunedPrompt.load(write(tmp_path, **changes))


@pytest.mark.parametrize("text", ["{", "", "\xff\xfe", "[" * 100_000, "[]", "null", "NaN"])
def test_a_corrupt_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "prompt.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(TuningError, match="tune again"):
        TunedPrompt.load(path)


def test_a_file_that_is_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    with pytest.raises(TuningError, match="larger than 100 bytes"):
        TunedPrompt.load(write(tmp_path))


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "sage.json"
    prompt().save(path)
    prompt(instructions="Be brief.").save(path)
    assert TunedPrompt.load(path).instructions == "Be brief."
    assert [p.name for p in tmp_path.iterdir()] == ["sage.json"]


def test_a_file_may_be_read_by_whom_the_user_lets(tmp_path: Path) -> None:
    path = tmp_path / "sage.json"
    before = os.umask(0o027)
    try:
        prompt().save(path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640
    path.chmod(0o604)
    prompt().save(path)
    assert path.stat().st_mode & 0o777 == 0o604


def test_a_file_that_cannot_be_written_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TuningError, match="cannot be written to"):
        prompt().save(tmp_path / "no" / "prompt.json")
    (tmp_path / "folder").mkdir()
    with pytest.raises(TuningError, match="cannot be written to"):
        prompt().save(tmp_path / "folder")
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_a_prompt_of_another_agent_is_refused() -> None:
    flock = Flock()
    flock.agent("fool").consumes(Story).publishes(Moral).with_engines(DSPyEngine("x/y"))
    with pytest.raises(TuningError, match="is for agent 'sage', not for 'fool'"):
        prompt().check(flock.get_agent("fool"))


def test_other_types_are_refused_by_name() -> None:
    changed = agent_of(inputs=(Story, Hint)).get_agent("sage")
    with pytest.raises(TuningError, match=r"consumes other types.*Hint' is new.*flock tune sage"):
        prompt().check(changed)


def test_changed_fields_and_versions_are_refused() -> None:
    shape = TypeShape.of(registry.entry(Moral))
    other = prompt().model_copy(update={"outputs": (shape.model_copy(update={"shape": "0" * 16}),)})
    with pytest.raises(TuningError, match=r"the fields of '.*Moral' are others"):
        other.check(sage())
    older = prompt().model_copy(update={"outputs": (shape.model_copy(update={"version": 3}),)})
    with pytest.raises(TuningError, match=r"Moral' had version 3 and has 1 now"):
        older.check(sage())


def test_only_what_values_may_be_counts_as_a_change() -> None:
    def shape(**field: Any) -> str:
        class Thing(BaseModel):
            x: int = Field(**field)

        return TypeShape.of(registry.entry(Thing)).shape

    assert shape(description="one") == shape(description="another", title="T")
    assert shape(ge=1) != shape(ge=2)


async def test_an_example_that_is_not_valid_is_refused_when_the_board_opens() -> None:
    bad = example().model_copy(
        update={
            "outputs": (
                Content(
                    type=Content.of_model(Moral(text="xx")).type, version=1, payload={"text": ""}
                ),
            )
        }
    )
    flock = agent_of(DSPyEngine("test", tuned=prompt(examples=[example(), bad])))
    with pytest.raises(TuningError, match="example 2 of the tuned prompt of agent 'sage'"):
        async with flock:
            pass


@pytest.mark.parametrize(
    ("update", "why"),
    [
        ({"inputs": (Content.of_model(Moral(text="xx")),)}, "it is given '[^']*Moral', and may be"),
        ({"outputs": (Content.of_model(Story(text="x")),)}, "it is answered '[^']*Story'"),
        ({"inputs": ()}, "nothing is given"),
        ({"outputs": ()}, "nothing is answered"),
    ],
)
def test_an_example_of_what_the_agent_does_not_know_is_refused(update: Any, why: str) -> None:
    """It was left out without a word."""
    made = prompt(examples=[example().model_copy(update=update)])
    with pytest.raises(TuningError, match=f"example 1 of .* is not valid: {why}"):
        made.check(sage())


async def test_outside_a_board_it_is_checked_at_the_first_use() -> None:
    engine = DSPyEngine(ScriptedModel([ANSWER]), tuned=prompt().model_copy(update={"agent": "x"}))
    agent = agent_of(engine).get_agent("sage")
    with pytest.raises((TuningError, EngineError), match="is for agent 'x'"):
        await agent.evaluate([artifact(Story(text="x"))])


@pytest.mark.parametrize("value", [1, ["a.json"], {"instructions": "x"}])
def test_tuned_takes_a_prompt_or_a_path(value: Any) -> None:
    with pytest.raises(DeclarationError, match="takes as tuned: a TunedPrompt, or the path"):
        DSPyEngine("test", tuned=value)
