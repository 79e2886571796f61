"""Flock's own form as a DSPy adapter: DSPy's modules ask as the engine does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from dspy.utils.exceptions import AdapterParseError
from pydantic import BaseModel, Field

from flock.core.outputs import OutputGroup, OutputSpec
from flock.core.types import registry
from flock.engines.dspy.signature import Form
from flock.engines.dspy.task import Task
from tests.unit.support import artifact


class Story(BaseModel):
    text: str


class Moral(BaseModel):
    """What is to be learnt."""

    text: str = Field(min_length=3)


class Mood(BaseModel):
    word: str


def form_of() -> Form:
    specs = (OutputSpec(registry.entry(Moral)), OutputSpec(registry.entry(Mood), 1, None))
    inputs = [(registry.entry(Story), False)]
    return Form(Task.of(OutputGroup(specs), inputs, instructions="Find the moral."))


ANSWER = json.dumps({"moral": {"text": "Be kind."}, "mood": [{"word": "calm"}, {"word": "glad"}]})


def test_it_asks_as_the_engine_does() -> None:
    form = form_of()
    story = Story(text="Once upon a time.")
    made = form.adapter.format(form.signature, [], {"story": story})
    assert made == form.messages([artifact(story)], keeps_schema=False)


def test_it_reads_answers_by_name() -> None:
    form = form_of()
    assert form.adapter.parse(form.signature, ANSWER) == {
        "moral": Moral(text="Be kind."),
        "mood": [Mood(word="calm"), Mood(word="glad")],
    }
    with pytest.raises(AdapterParseError, match="at least 3 characters"):
        form.adapter.parse(form.signature, ANSWER.replace("Be kind.", "x"))


def test_examples_and_better_instructions_are_used() -> None:
    form = form_of()
    demo = {
        "story": Story(text="A fable."),
        "moral": Moral(text="Be patient."),
        "mood": [Mood(word="slow")],
    }
    better = form.signature.with_instructions("Find it, and be brief.")
    made: list[dict[str, Any]] = form.adapter.format(
        better, [demo], {"story": Story(text="Another.")}
    )
    assert [message["role"] for message in made] == ["system", "user", "assistant", "user"]
    assert made[0]["content"].startswith("Find it, and be brief.")
    assert "A fable." in made[1]["content"]
    assert form.task.read(made[2]["content"]) == [Moral(text="Be patient."), Mood(word="slow")]
    assert "Another." in made[3]["content"]
