"""Graphs as Mermaid text: whatever names hold, it stays one well-formed flowchart."""

import html
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from flock import Flock
from flock.orchestrator.graph.drawing import escaped

LABEL = re.compile(r"[^\"<>&`%$_*:|\\\[\](){}~^]*")
NODE = re.compile(r'    [atg]\d+(\(\["|\["|\{\{"|\[/")(?P<label>[^"]*)("\]\)|"\]|"\}\}|"\\\])')
EDGE = re.compile(r'    [atg]\d+ (-->|-\.->)(\|"(?P<label>[^"]*)"\|)? [atg]\d+')
STYLE = re.compile(r"    class(Def)? [a-z0-9,]+ [a-z0-9:#,-]+")


class Thing(BaseModel):
    n: int = 0


class Other(BaseModel):
    n: int = 0


def unescaped(label: str) -> str:
    return html.unescape(re.sub(r"#(\d+);", r"&#\1;", label))


def seen(text: str) -> str:
    """A text as a label shows it: without what is invisible, on one line."""
    kept = "".join(
        " " if unicodedata.category(c) in {"Cc", "Cs", "Co", "Cn", "Zl", "Zp"} else c for c in text
    )
    return re.sub(r"\s+", " ", kept).strip()


texts = st.text(max_size=60) | st.text(
    alphabet="ab1 .\"'`#&<>%{}[]()|\\/-=_*~:;$@!?end\n", max_size=40
)


@given(texts)
def test_a_label_holds_nothing_that_mermaid_could_take_for_its_own(text: str) -> None:
    label = escaped(text)
    assert LABEL.fullmatch(label), label
    assert "\n" not in label
    assert not re.match(r"\s*(\d+\.|-|\+)", label)


@given(texts)
def test_a_label_says_what_the_name_is(text: str) -> None:
    assert unescaped(escaped(text)).strip() == seen(text)


def test_a_long_name_is_cut() -> None:
    assert unescaped(escaped("x" * 500)) == "x" * 79 + "…"


names = st.text(min_size=1, max_size=30).filter(
    lambda name: name.strip() and name != "external" and name.isascii()
) | st.sampled_from(["end", "graph", "subgraph", "class", "click", 'a"]; b["', "%%{init: {}}%%"])


@given(st.lists(names, min_size=1, max_size=4, unique=True), st.sets(names, max_size=2))
def test_every_line_is_a_node_an_edge_or_a_style(agents: list[str], tags: set[str]) -> None:
    flock = Flock("test")
    for name in agents:
        flock.agent(name).consumes(Thing, Other, tags=tags or None, where=bool).publishes(
            Other, tags=tags or None, fan_out=(0, 3), where=bool
        )
    first, *lines = flock.graph().mermaid().splitlines()
    assert first == "flowchart LR"
    for line in lines:
        match = NODE.fullmatch(line) or EDGE.fullmatch(line) or STYLE.fullmatch(line)
        assert match, line
        label = match.groupdict().get("label") or ""
        assert LABEL.fullmatch(label.replace("<br/>", "")), line


def test_directions_are_those_of_mermaid() -> None:
    graph = Flock().graph()
    assert graph.mermaid(direction="TB") == "flowchart TB\n"
    with pytest.raises(ValueError, match="LR, TB, RL, BT, not 'up'"):
        graph.mermaid(direction="up")  # pyright: ignore[reportArgumentType]
