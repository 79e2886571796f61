"""Guards change what they find and nothing else, on any text, in time that grows with it."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from flock import Artifact, Finding, PiiDetector, SecretDetector
from flock.components.guards import Redactor
from flock.components.guards.content import KeyCollision, changed
from flock.engines.spotlight import neutralised, spotlit

DETECTORS = [PiiDetector(), SecretDetector()]
MATCHES = st.sampled_from(
    [
        "ann@example.com",
        "+49 30 1234567",
        "(212) 555-0187",
        "DE89 3704 0044 0532 0130 00",
        "4111 1111 1111 1111",
        "203.0.113.7",
        "2001:db8::1",
        "AKIA" + "IOSFODNN7EXAMPLE",
        "password=hunter2!",
        "token: q9Z2xV7bL4nK8wR1",
        "-----BEGIN " + "PRIVATE KEY-----",
        "https://a:b3!c@d.example",
        "[EMAIL]",
        "[",
        "]",
        "@",
        "key=",
    ]
)
TEXTS = st.lists(MATCHES | st.text(max_size=12), max_size=12).map("".join)
ANY = st.text(alphabet=st.characters(exclude_categories=()), max_size=200)


@given(TEXTS | ANY)
def test_nothing_but_what_is_found_changes(text: str):
    found = Redactor(DETECTORS).find(text)
    assert all(a.end <= b.start for a, b in pairwise(found))
    kept: list[str] = []
    end = 0
    for finding in found:
        kept.append(text[end : finding.start])
        end = finding.end
    kept.append(text[end:])
    if not found:
        assert Redactor(DETECTORS).redact(text) == (text, [])
        return
    pattern = r"\[[A-Z_]+(?: [0-9]+)?\]".join(map(re.escape, kept))
    once = Redactor(DETECTORS).redact(text)[0]
    if len(Redactor(DETECTORS).redact(text)[1]) == len(found):  # one round did it
        assert re.fullmatch(pattern, once)


@given(TEXTS | ANY)
def test_what_is_redacted_holds_nothing_more(text: str):
    redacted = Redactor(DETECTORS).redact(text)[0]
    assert not Redactor(DETECTORS).find(redacted)
    assert Redactor(DETECTORS).redact(redacted) == (redacted, [])


@given(st.lists(TEXTS, max_size=4))
def test_the_same_texts_are_redacted_in_the_same_way(texts: list[str]):
    one, two = Redactor(DETECTORS), Redactor(DETECTORS)
    assert [one.redact(t) for t in texts] == [two.redact(t) for t in texts]


class Held(BaseModel):
    text: str
    items: list[str]
    by_key: dict[str, str]


@given(TEXTS, st.lists(TEXTS, max_size=3), st.dictionaries(TEXTS, TEXTS, max_size=3))
def test_a_redacted_model_holds_nothing_more(text: str, items: list[str], by_key: dict[str, str]):
    held = Held(text=text, items=items, by_key=by_key)
    redactor = Redactor(DETECTORS)

    def change(text: str, _place: str, _name: str) -> str:
        return redactor.redact(text)[0]

    try:
        payload = changed(held, Artifact.of(held).payload, change, str)
    except KeyCollision:
        return
    made = Held.model_validate(payload)
    assert len(made.items) == len(items)
    assert len(made.by_key) == len(by_key)
    texts = [made.text, *made.items, *made.by_key, *made.by_key.values()]
    assert not any(Redactor(DETECTORS).find(t) for t in texts)


def looked_through(piece: str, size: int) -> None:
    text = piece * (size // len(piece))
    Redactor(DETECTORS).find(text)
    neutralised(text)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "piece",
    ["a", "1", "a@a.", "4111 ", "DE89 ", "eyJaaaaaaaa.", "key=", "://a:b", "< ", "-----BEGIN "],
)
def test_a_megabyte_takes_linear_time(piece: str):
    looked_through(piece, 1 << 20)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "piece",
    [
        "a", "@", "a@", "a@a.", "@a.a", "1", "1 ", "4 ", "4111 ", "4111-", "+1", "+1 ", "00", "(0",
        "030 12 ", "1.", "1.1.1.1.", ":", "a:", "1:", "::", "DE", "DE89", "DE89 ", "-", "eyJ",
        "eyJaaaaaaaa.", "sk-", "AKIA", "xoxb-", "-----BEGIN PRIVATE KEY-----", "-----BEGIN ",
        "://", "://a:", "://a:b", "key", "key=", "key:", "token is ", "password=", "api_key ",
        "bearer ", "\t", " ", "'", "[", "[EMAIL", "[EMAIL]", "<", "</data-", "< ", "<|a", "[INST",
        "ä", "\u200b", "\U0001f600",
    ],
)  # fmt: skip
def test_no_repetition_takes_more_than_linear_time(piece: str):
    looked_through(piece, 1 << 18)


@given(TEXTS | ANY)
def test_no_text_holds_its_own_delimiter(text: str):
    marked = spotlit(text)
    inside = marked.text[len(marked.start) : -len(marked.end)]
    assert marked.start not in inside
    assert marked.end not in inside
    assert neutralised(inside) == inside
    assert inside[1:-1].replace("\u200b", "") == text.replace("\u200b", "")


@given(st.integers(-2, 5), st.integers(-2, 5))
def test_a_finding_is_a_piece_or_an_error(start: int, end: int):
    if 0 <= start < end:
        assert Finding(start, end, "X").end == end
    else:
        with pytest.raises(ValueError, match="piece"):
            Finding(start, end, "X")
