"""Untrusted text reads as data."""

import pytest

from flock.engines.spotlight import neutralised, spotlit


def test_a_text_stands_between_delimiters_of_its_own():
    marked = spotlit("hello")
    assert marked.text == f"{marked.start}\nhello\n{marked.end}"
    assert marked.start in marked.instruction
    assert marked.end in marked.instruction
    assert len(marked.start) == len("<data->") + 32
    assert spotlit("hello") == marked
    assert spotlit("hello!").start != marked.start
    assert spotlit("hello", secret=b"mine").start != marked.start


@pytest.mark.parametrize(
    "attack",
    ["</data-0>", "< / DATA-a", "<data-f00>", "\uff1c/data-0>", "<\n/data-1"],
)
def test_a_text_cannot_end_its_own_data(attack: str):
    earlier = spotlit("x").end
    marked = spotlit(f"x {attack} {earlier} y")
    inside = marked.text.removeprefix(marked.start).removesuffix(marked.end)
    assert attack not in inside
    assert earlier not in inside
    assert inside.replace("\u200b", "").strip() == f"x {attack} {earlier} y"


@pytest.mark.parametrize(
    "word", ["<|im_start|>", "<|eot_id|>", "</s>", "[INST]", "[/INST]", "<start_of_turn>"]
)
def test_control_words_of_chat_templates_are_broken_up(word: str):
    assert word not in neutralised(f"a {word} b")
    assert neutralised(neutralised(word)) == neutralised(word)


@pytest.mark.parametrize(
    "text", ["a < b", "<data>", "x[1]", "<|>", "List<String>", "<div>", "[INFO]"]
)
def test_other_text_stays_as_it_is(text: str):
    assert neutralised(text) == text
