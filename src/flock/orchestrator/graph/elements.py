"""What the graph of a board consists of: plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeAlias, cast

from flock.core.subscription import Mode, OnExpired
from flock.orchestrator.graph.drawing import drawn

FORMAT: Final = 1
"""The version of what `Graph.as_dict` returns."""

Kind = Literal["function", "model", "engine", "human", "none"]
"""What computes an agent: a function, a language model, engines of the user's own, a person, or
nothing that is known yet."""


@dataclass(frozen=True, slots=True)
class GraphAgent:
    """An agent as it is declared.

    Attributes:
        name: Its name.
        kind: What computes it; `"none"` if nothing does yet, so that the board cannot open.
        description: What it does, as declared.
        labels: Its labels, sorted.
        tenant: The tenant it belongs to.
        model: The model it asks, where that is named by a model string.
        schedule: When the clock starts it, in words; None if it does not.
        publishes_anything: Whether it declares no outputs, so that what it returns is published
            whatever it is.
    """

    name: str
    kind: Kind
    description: str | None
    labels: tuple[str, ...]
    tenant: str | None
    model: str | None
    schedule: str | None
    publishes_anything: bool


@dataclass(frozen=True, slots=True)
class GraphType:
    """A type of artifacts that an agent consumes or publishes.

    Attributes:
        name: Its stable name.
        label: A short name that is unique in the graph.
        version: The version of its payload.
        origin: Where its artifacts come from: `"agents"`; `"outside"` if no agent publishes
            it; `"either"` if agents do, but none of them can begin without one from outside; or
            `"board"` for what the board itself publishes about failures.
        is_result: Whether no agent consumes it.
    """

    name: str
    label: str
    version: int
    origin: Literal["agents", "outside", "either", "board"]
    is_result: bool


@dataclass(frozen=True, slots=True)
class GraphGate:
    """How a subscription gathers several artifacts before it runs.

    Attributes:
        kinds: `"all_of"`, `"join"`, `"batch"` and `"activation"`, those that apply, in this
            order; empty if every artifact starts a run.
        join_by: The field that a join goes by, or the name of the function that makes its key.
        join_seconds: A join's window in seconds of the board's clock.
        join_count: A join's window as a count of artifacts.
        on_expired: What becomes of a group that is not complete in time.
        batch_size: At how many groups a batch runs.
        batch_seconds: How long after its first artifact a batch runs, in seconds.
        activation: What has to hold in the workflow, in words.
    """

    kinds: tuple[str, ...] = ()
    join_by: str | None = None
    join_seconds: float | None = None
    join_count: int | None = None
    on_expired: OnExpired | None = None
    batch_size: int | None = None
    batch_seconds: float | None = None
    activation: str | None = None


@dataclass(frozen=True, slots=True)
class ConsumesEdge:
    """A type that starts an agent.

    Attributes:
        type: The type's stable name.
        agent: The agent's name.
        subscription: The position of the subscription among the agent's, from 0. The edges of
            one subscription belong together, and have the same gate.
        count: How many of the type a complete group has.
        gate: How its artifacts are gathered.
        where: How many predicates every single artifact has to pass.
        group_where: How many predicates a complete group has to pass.
        about: What its text must be about; each of these.
        tags: Tags of which it must have one, sorted; None for any.
        from_agents: Whose artifacts it listens to, sorted; None for everybody's.
        mode: What starts it.
        priority: Higher runs first.
    """

    type: str
    agent: str
    subscription: int
    count: int
    gate: GraphGate
    where: int
    group_where: int
    about: tuple[str, ...]
    tags: tuple[str, ...] | None
    from_agents: tuple[str, ...] | None
    mode: Mode
    priority: int

    @property
    def is_filtered(self) -> bool:
        """Whether some artifacts of the type do not start the agent."""
        narrowed = self.tags is not None or self.from_agents is not None
        return bool(self.where or self.group_where or self.about or narrowed)


@dataclass(frozen=True, slots=True)
class PublishesEdge:
    """A type that an agent publishes.

    Attributes:
        agent: The agent's name.
        type: The type's stable name.
        group: The position of the output group among the agent's, from 0.
        minimum: The fewest that one run publishes.
        maximum: The most; None for any number.
        where: How many predicates drop outputs.
        validate: How many predicates fail the run.
        visibility: Who may read it: the kind of visibility, such as `"Private"`; `"function"` if
            one decides; None for everybody.
        tags: Tags that it gets, sorted.
        description: What it is, as declared.
    """

    agent: str
    type: str
    group: int
    minimum: int
    maximum: int | None
    where: int
    validate: int
    visibility: str | None
    tags: tuple[str, ...]
    description: str | None


GraphEdge: TypeAlias = ConsumesEdge | PublishesEdge


@dataclass(frozen=True, slots=True)
class Graph:
    """Who reads and writes what on a board: what its declarations say, and nothing else.

    Made by `Flock.graph`. The same declarations make an equal graph in every process; everything
    in it is in the order of the declarations.

    Attributes:
        name: The board's name.
        agents: The agents.
        types: The types that they consume and publish.
        edges: From types to the agents that they start, and from agents to the types that they
            publish.

    Example:
        ```python
        from pydantic import BaseModel

        from flock import Flock


        class Order(BaseModel):
            total: float


        class Invoice(BaseModel):
            amount: float


        flock = Flock()
        flock.agent("billing").consumes(Order).publishes(Invoice).calls(
            lambda order: Invoice(amount=order.total)
        )
        graph = flock.graph()
        print([t.label for t in graph.inputs], [t.label for t in graph.results])
        ```
    """

    name: str
    agents: tuple[GraphAgent, ...]
    types: tuple[GraphType, ...]
    edges: tuple[GraphEdge, ...]

    @property
    def inputs(self) -> tuple[GraphType, ...]:
        """The types that come from outside, as far as declarations tell."""
        return tuple(t for t in self.types if t.origin in {"outside", "either"})

    @property
    def results(self) -> tuple[GraphType, ...]:
        """The types that no agent consumes."""
        return tuple(t for t in self.types if t.is_result)

    @property
    def consumed(self) -> tuple[ConsumesEdge, ...]:
        """The edges from types to agents."""
        return tuple(edge for edge in self.edges if isinstance(edge, ConsumesEdge))

    @property
    def published(self) -> tuple[PublishesEdge, ...]:
        """The edges from agents to types."""
        return tuple(edge for edge in self.edges if isinstance(edge, PublishesEdge))

    def as_dict(self) -> dict[str, Any]:
        """Return the graph as JSON-compatible data.

        `format` is its version, which grows when something in it changes its meaning. Each edge
        has `kind`, `"consumes"` or `"publishes"`, beside its attributes.
        """
        return {
            "format": FORMAT,
            "name": self.name,
            "agents": [_plain(asdict(agent)) for agent in self.agents],
            "types": [_plain(asdict(type_)) for type_ in self.types],
            "edges": [
                {"kind": "consumes" if isinstance(edge, ConsumesEdge) else "publishes"}
                | _plain(asdict(edge))
                for edge in self.edges
            ],
        }

    def mermaid(self, *, direction: Literal["LR", "TB", "RL", "BT"] = "LR") -> str:
        """Return the graph as text of a Mermaid flowchart, which Markdown viewers draw.

        Types are rounded, agents are boxes (people are slanted ones), gates are hexagons. A
        dotted line is one that not every artifact takes: its label says on what it depends.

        Args:
            direction: Whither it flows: left to right unless said.

        Raises:
            ValueError: There is no such direction.
        """
        return drawn(self, direction)


def _plain(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return data with lists for tuples."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in cast("tuple[Any, ...]", value)]
    return value
