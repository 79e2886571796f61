"""A graph as a Mermaid flowchart.

The grammar is that of https://mermaid.js.org/syntax/flowchart.html. Ids are made here, so that no
name can be one of its words, such as `end`; names are quoted labels in which everything that
Mermaid, Markdown or HTML could take for its own is a numeric entity (`#34;`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from flock.orchestrator.graph.elements import (
        ConsumesEdge,
        Graph,
        GraphAgent,
        GraphGate,
        GraphType,
        PublishesEdge,
    )

DIRECTIONS: Final = ("LR", "TB", "RL", "BT")
_LONGEST: Final = 80
"""Characters of a name or a word that a label shows."""
_STYLES: Final = (
    ("agent", "fill:#e8eefc,stroke:#3b5bdb,color:#1b2559"),
    ("human", "fill:#fff3d6,stroke:#b7791f,color:#5a3b00"),
    ("type", "fill:#f4f4f5,stroke:#71717a,color:#27272a"),
    ("input", "fill:#e6f6ec,stroke:#2f855a,color:#173f2b"),
    ("result", "fill:#fde8ef,stroke:#b83280,color:#5b1140"),
    ("gate", "fill:#ffffff,stroke:#71717a,color:#27272a"),
)


def drawn(graph: Graph, direction: str) -> str:
    """Return a graph as the text of a flowchart, ending in a newline.

    Raises:
        ValueError: There is no such direction.
    """
    if direction not in DIRECTIONS:
        msg = f"direction is one of {', '.join(DIRECTIONS)}, not {direction!r}"
        raise ValueError(msg)
    return "\n".join((f"flowchart {direction}", *_Drawing(graph).lines())) + "\n"


class _Drawing:
    """The lines of one drawing, and which ids have which class."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._agents = {agent.name: f"a{n}" for n, agent in enumerate(graph.agents)}
        self._types = {type_.name: f"t{n}" for n, type_ in enumerate(graph.types)}
        self._classes: dict[str, list[str]] = {}

    def lines(self) -> Iterator[str]:
        for type_ in self._graph.types:
            yield self._type(type_)
        for agent in self._graph.agents:
            yield self._agent(agent)
        subscriptions: dict[tuple[str, int], list[ConsumesEdge]] = {}
        for edge in self._graph.consumed:
            subscriptions.setdefault((edge.agent, edge.subscription), []).append(edge)
        for edges in subscriptions.values():
            yield from self._subscription(edges)
        for edge in self._graph.published:
            yield self._published(edge)
        for name, style in _STYLES:
            if name in self._classes:
                yield f"    classDef {name} {style}"
                yield f"    class {','.join(self._classes[name])} {name}"

    def _node(self, node: str, cls: str, opening: str, label: str, closing: str) -> str:
        self._classes.setdefault(cls, []).append(node)
        return f'    {node}{opening}"{label}"{closing}'

    def _type(self, type_: GraphType) -> str:
        cls = "result" if type_.is_result else "type"
        if type_.origin in {"outside", "either"}:
            cls = "input"
        return self._node(self._types[type_.name], cls, "([", escaped(type_.label), "])")

    def _agent(self, agent: GraphAgent) -> str:
        label = escaped(agent.name)
        if agent.schedule is not None:
            label += f"<br/>{escaped(agent.schedule)}"
        if agent.kind == "human":
            return self._node(self._agents[agent.name], "human", "[/", label, "\\]")
        return self._node(self._agents[agent.name], "agent", "[", label, "]")

    def _subscription(self, edges: list[ConsumesEdge]) -> Iterator[str]:
        first = edges[0]
        target = self._agents[first.agent]
        words = _gate_words(first.gate)
        gate = f"g{len(self._classes.get('gate', ()))}"
        if words:
            yield self._node(gate, "gate", "{{", "<br/>".join(map(escaped, words)), "}}")
        for edge in edges:
            label = _consumed_words(edge)
            line = "-.->" if edge.is_filtered or edge.mode == "direct" else "-->"
            yield _line(self._types[edge.type], line, label, gate if words else target)
        if words:
            yield _line(gate, "-->", [], target)

    def _published(self, edge: PublishesEdge) -> str:
        label = _published_words(edge)
        line = "-.->" if edge.where or edge.visibility is not None or not edge.minimum else "-->"
        return _line(self._agents[edge.agent], line, label, self._types[edge.type])


def _line(start: str, line: str, words: Sequence[str], end: str) -> str:
    label = f'|"{"<br/>".join(map(escaped, words))}"|' if words else ""
    return f"    {start} {line}{label} {end}"


def _gate_words(gate: GraphGate) -> list[str]:
    words: list[str] = []
    if "join" in gate.kinds:
        window = (
            f"among {gate.join_count}"
            if gate.join_seconds is None
            else f"within {_span(gate.join_seconds)}"
        )
        words.append(f"join by {gate.join_by}, {window}")
    elif "all_of" in gate.kinds:
        words.append("all of")
    if "batch" in gate.kinds:
        parts = [] if gate.batch_size is None else [f"of {gate.batch_size}"]
        if gate.batch_seconds is not None:
            parts.append(f"after {_span(gate.batch_seconds)}")
        words.append(f"batch {' or '.join(parts)}")
    if "activation" in gate.kinds:
        words.append(f"when {gate.activation}")
    return words


def _consumed_words(edge: ConsumesEdge) -> list[str]:
    words = [f"{edge.count} of them"] if edge.count > 1 else []
    if edge.mode == "direct":
        words.append("direct calls only")
    if edge.from_agents is not None:
        words.append(f"from {', '.join(edge.from_agents)}")
    if edge.tags is not None:
        words.append(f"tagged {' or '.join(edge.tags)}")
    if edge.where or edge.group_where:
        words.append("where")
    return words + [f"about {query}" for query in edge.about]


def _published_words(edge: PublishesEdge) -> list[str]:
    words: list[str] = []
    if (edge.minimum, edge.maximum) != (1, 1):
        most = "any number" if edge.maximum is None else f"up to {edge.maximum}"
        many = most if not edge.minimum else f"{edge.minimum} to {edge.maximum}"
        if edge.maximum is None and edge.minimum:
            many = f"{edge.minimum} or more"
        words.append(str(edge.minimum) if edge.minimum == edge.maximum else many)
    if edge.tags:
        words.append(f"tagged {' and '.join(edge.tags)}")
    if edge.where:
        words.append("where")
    if edge.visibility is not None:
        words.append(
            "visibility by function" if edge.visibility == "function" else edge.visibility.lower()
        )
    return words


def _span(seconds: float) -> str:
    """Return a span of time in the largest unit that shows it whole."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


def escaped(text: str) -> str:
    """Return a text as it may stand between the quotes of a label, on one line, bounded.

    Letters and digits of every script stay. A dot stays between letters: behind a number it would
    begin a list. All other characters become entities, since in a label Mermaid also looks for
    directives (`%%{`), Markdown (`_`, `*`, backquotes), formulas (`$$`), styles (`:`) and HTML.
    """
    text = re.sub(r"\s+", " ", "".join(map(_visible, text))).strip()
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST - 1]}…"
    return "".join(_safe(text, n) for n in range(len(text))) or " "


def _visible(char: str) -> str:
    """Return a character, or a space for what controls something or stands for nothing."""
    return " " if unicodedata.category(char) in {"Cc", "Cs", "Co", "Cn", "Zl", "Zp"} else char


def _safe(text: str, n: int) -> str:
    char = text[n]
    if char == " " or unicodedata.category(char)[0] in "LNM":
        return char
    between = char == "." and text[n - 1 : n].isalpha() and text[n + 1 : n + 2].isalpha()
    return char if between else f"#{ord(char)};"
