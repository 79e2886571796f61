"""What can be read of an answer while it is written."""

from __future__ import annotations

import json

from pydantic import BaseModel

from flock import PartialOutput
from flock.engines.dspy.partial import PartialAnswer
from tests.unit.engines.dspy.test_task import task_of


class Poem(BaseModel):
    title: str
    lines: list[str] = []


class Note(BaseModel):
    text: str


def told(answer: PartialAnswer, text: str, size: int = 1) -> list[PartialOutput]:
    found: list[PartialOutput] = []
    for start in range(0, len(text), size):
        found.extend(answer.feed(text[start : start + size]))
    return [*found, *answer.close()]


def test_fields_appear_as_they_are_written() -> None:
    text = json.dumps({"poem": {"title": "A long title that goes on", "lines": ["one", "two"]}})
    partial = told(PartialAnswer(task_of(Poem)), text)
    assert len(partial) > 2
    assert partial[0].fields.get("title", "") in "A long title that goes on"
    assert partial[-1].fields == {"title": "A long title that goes on", "lines": ["one", "two"]}
    assert all(part.type.endswith(".Poem") for part in partial)


def test_outputs_of_a_list_are_told_apart() -> None:
    text = json.dumps({"note": [{"text": "first note"}, {"text": "second note"}]})
    partial = told(PartialAnswer(task_of(Note, minimum=0, maximum=None)), text)
    last = {part.index: part.fields for part in partial}
    assert last == {0: {"text": "first note"}, 1: {"text": "second note"}}


def test_several_types_are_told_by_name() -> None:
    text = json.dumps({"poem": {"title": "t"}, "note": {"text": "n"}})
    partial = told(PartialAnswer(task_of(Poem, Note)), text, size=3)
    assert {part.type.rpartition(".")[2] for part in partial} == {"Poem", "Note"}


def test_nothing_is_told_twice_and_other_text_is_no_output() -> None:
    text = 'Here: ```json\n{"note": {"text": "n"}} \n``` and more and more and more words'
    partial = told(PartialAnswer(task_of(Note)), text)
    assert [part.fields for part in partial][-1:] in ([{"text": "n"}], [])
    assert len(partial) == len({json.dumps(part.fields) for part in partial})
    assert told(PartialAnswer(task_of(Note)), "no object at all") == []


def test_a_long_answer_is_read_a_bounded_number_of_times() -> None:
    text = json.dumps({"note": {"text": "x" * 100_000}})
    assert len(told(PartialAnswer(task_of(Note)), text)) < 400
