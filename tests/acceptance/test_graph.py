"""The graph of a board: who reads and writes what, before anything runs."""

# Agents are short lambdas here.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest
from pydantic import BaseModel

from flock import (
    Agent,
    BatchSpec,
    BlackboardStore,
    ConsumesEdge,
    Context,
    DeclarationError,
    DSPyEngine,
    EngineComponent,
    EvalInputs,
    Flock,
    GraphGate,
    InMemoryBlackboardStore,
    JoinSpec,
    OutputGroup,
    PrivateVisibility,
    PublishesEdge,
    When,
    WorkflowError,
)
from flock.testing import ScriptedEngine


class Scan(BaseModel):
    patient: str


class XRay(BaseModel):
    patient: str
    finding: str = ""


class Labs(BaseModel):
    patient: str


class Diagnosis(BaseModel):
    text: str


def hospital(**options: Any) -> Flock:
    flock = Flock("test", name="hospital", **options)
    flock.agent("radiologist").description("Reads scans.").labels("doctor", "a").tenant(
        "clinic"
    ).consumes(Scan, tags={"urgent"}, where=lambda s: s.patient, priority=3).publishes(
        XRay, tags={"new"}, description="What the scan shows."
    )
    flock.agent("lab").consumes(Scan).publishes(Labs, fan_out=(0, 3), where=bool).calls(
        lambda scan: []
    )
    flock.agent("physician").consumes(
        XRay, Labs, join=JoinSpec(by="patient", within=timedelta(hours=1))
    ).publishes(Diagnosis, visibility=PrivateVisibility(agents={"physician"}))
    return flock


def test_agents_types_and_edges_are_in_the_order_of_the_declarations() -> None:
    graph = hospital().graph()
    assert graph.name == "hospital"
    assert [a.name for a in graph.agents] == ["radiologist", "lab", "physician"]
    assert [t.label for t in graph.types] == ["Scan", "XRay", "Labs", "Diagnosis"]
    ways = [
        (e.type, e.agent) if isinstance(e, ConsumesEdge) else (e.agent, e.type) for e in graph.edges
    ]
    scan, xray, labs, diagnosis = (t.name for t in graph.types)
    assert ways == [
        (scan, "radiologist"),
        (scan, "lab"),
        (xray, "physician"),
        (labs, "physician"),
        ("radiologist", xray),
        ("lab", labs),
        ("physician", diagnosis),
    ]


def test_an_edge_says_what_its_subscription_asks_for() -> None:
    graph = hospital().graph()
    first, second, joined, _ = graph.consumed
    assert (first.where, first.tags, first.priority, first.mode) == (1, ("urgent",), 3, "both")
    assert first.is_filtered
    assert not second.is_filtered
    assert second.gate == GraphGate()
    assert joined.gate == GraphGate(
        ("join",), join_by="patient", join_seconds=3600.0, on_expired="drop"
    )


def test_an_edge_says_what_its_output_is() -> None:
    xray, labs, diagnosis = hospital().graph().published
    assert (xray.tags, xray.description) == (("new",), "What the scan shows.")
    assert (labs.minimum, labs.maximum, labs.where) == (0, 3, 1)
    assert diagnosis.visibility == "Private"


def test_an_agent_says_who_it_is_and_what_computes_it() -> None:
    flock = hospital()
    flock.agent("own").consumes(Scan).with_engines(ScriptedEngine([]))
    flock.agent("other model").consumes(Scan).publishes(XRay).with_engines(DSPyEngine("x/y"))
    radiologist, lab, _, own, other = flock.graph().agents
    assert (radiologist.kind, radiologist.model) == ("model", "test")
    assert radiologist.labels == ("a", "doctor")
    assert (radiologist.tenant, radiologist.description) == ("clinic", "Reads scans.")
    assert (lab.kind, lab.model) == ("function", None)
    assert (own.kind, own.publishes_anything) == ("engine", True)
    assert (other.kind, other.model) == ("model", "x/y")
    bare = Flock()
    bare.agent("nothing").consumes(Scan)
    assert bare.graph().agents[0].kind == "none"


def test_what_comes_from_outside_and_what_comes_out_is_known() -> None:
    graph = hospital().graph()
    assert [t.label for t in graph.inputs] == ["Scan"]
    assert [t.label for t in graph.results] == ["Diagnosis"]


def test_a_loop_is_started_from_outside() -> None:
    flock = Flock("test")
    flock.agent("writer").consumes(XRay).consumes(Scan).publishes(Labs)
    flock.agent("critic").consumes(Labs).publishes(XRay)
    assert [t.label for t in flock.graph().inputs] == ["Scan"]
    flock = Flock("test")
    flock.agent("writer").consumes(XRay).publishes(Labs)
    flock.agent("critic").consumes(Labs).publishes(XRay)
    flock.agent("reader").consumes(Labs).publishes(Diagnosis)
    graph = flock.graph()
    assert [(t.label, t.origin) for t in graph.inputs] == [("XRay", "either"), ("Labs", "either")]


def test_what_the_board_itself_publishes_comes_neither_from_outside_nor_from_agents() -> None:
    flock = Flock()
    flock.agent("pager").consumes(WorkflowError).calls(lambda error: None)
    graph = flock.graph()
    assert [(t.label, t.origin) for t in graph.types] == [("WorkflowError", "board")]
    assert graph.inputs == ()


def test_types_of_one_short_name_are_told_apart() -> None:
    class Scan(BaseModel):
        n: int

    flock = Flock("test")
    flock.agent("a").consumes(Scan).publishes(XRay)
    flock.agent("b").consumes(globals()["Scan"]).publishes(XRay)
    first, _, second = flock.graph().types
    assert first.label == first.name
    assert second.label == second.name
    assert first.name != second.name


def test_gates_are_told_apart() -> None:
    def patient(model: Any) -> object:
        return model.patient

    flock = Flock("test")
    flock.agent("all").consumes(XRay, Labs, Labs).publishes(Diagnosis)
    flock.agent("batch").consumes(Scan, batch=BatchSpec(size=3, timeout=2)).publishes(Diagnosis)
    flock.agent("both").consumes(
        XRay, Labs, join=JoinSpec(by=patient, within=5, on_expired="run"), batch=BatchSpec(size=2)
    ).publishes(Diagnosis)
    flock.agent("direct").consumes(Scan, mode="direct", from_agents="all").publishes(Diagnosis)
    edges = flock.graph().consumed
    assert [(e.agent, e.count, e.gate.kinds) for e in edges] == [
        ("all", 1, ("all_of",)),
        ("all", 2, ("all_of",)),
        ("batch", 1, ("batch",)),
        ("both", 1, ("join", "batch")),
        ("both", 1, ("join", "batch")),
        ("direct", 1, ()),
    ]
    assert (edges[2].gate.batch_size, edges[2].gate.batch_seconds) == (3, 2.0)
    assert (edges[3].gate.join_by, edges[3].gate.join_count) == ("patient", 5)
    assert edges[3].gate.on_expired == "run"
    assert (edges[5].mode, edges[5].from_agents) == ("direct", ("all",))


def test_an_activation_is_told_in_words() -> None:
    ready = When.correlation(Labs).count_at_least(2) & ~When.correlation(Diagnosis).exists()
    flock = Flock("test")
    flock.agent("held").consumes(Scan, activation=ready).publishes(XRay)

    (edge,) = flock.graph().consumed

    said = f"(at least 2 of {__name__}.Labs & ~at least 1 of {__name__}.Diagnosis)"
    assert (edge.gate.kinds, edge.gate.activation) == (("activation",), said)
    assert "when #40;at least 2 of " in flock.graph().mermaid()


def test_what_annotations_declare_is_in_it_and_can_still_be_changed() -> None:
    def read(scan: Scan) -> XRay | None: ...

    flock = Flock()
    builder = flock.agent("reader").calls(read)
    graph = flock.graph()
    assert [e.type for e in graph.edges] == [t.name for t in graph.types]
    (edge,) = graph.published
    assert (edge.minimum, edge.maximum) == (0, 1)
    assert flock.get_agent("reader").subscriptions == []  # as it was declared
    builder.consumes(Scan, tags={"late"})
    assert [e.tags for e in flock.graph().consumed] == [("late",)]


class Untouchable(InMemoryBlackboardStore):
    """A store that nobody may ask for anything."""

    async def open(self, *args: object, **options: object) -> NoReturn:
        raise AssertionError("opened")

    async def commit(self, *args: object, **options: object) -> NoReturn:
        raise AssertionError("committed")


def test_nothing_runs_and_no_store_is_touched() -> None:
    def explodes(*models: object) -> NoReturn:
        raise AssertionError(models)

    class Exploding(EngineComponent):
        async def on_initialize(self, agent: Agent, ctx: Context) -> NoReturn:
            raise AssertionError(agent)

        async def evaluate(
            self, agent: Agent, ctx: Context, inputs: EvalInputs, output_group: OutputGroup
        ) -> NoReturn:
            raise AssertionError(agent)

    store: BlackboardStore = Untouchable()
    flock = Flock("no-such-provider/model", store=store)
    flock.agent("a").consumes(Scan, where=explodes).publishes(
        XRay, where=explodes, validate=explodes, visibility=explodes
    ).calls(explodes)
    flock.agent("b").consumes(
        XRay, Labs, where=explodes, join=JoinSpec(by=explodes, within=3)
    ).publishes(Diagnosis).with_engines(Exploding())
    flock.agent("c").consumes(Diagnosis).publishes(Labs)
    assert len(flock.graph().edges) == 7
    assert all(finding.level != "error" for finding in flock.check())
    assert flock.graph().mermaid()
    assert "closed" in repr(flock)


def test_the_data_is_json_and_says_the_same_in_every_process() -> None:
    script = (
        "import json; from tests.acceptance.test_graph import hospital;"
        "print(json.dumps(hospital().graph().as_dict()), hospital().graph().mermaid())"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=Path(__file__).parents[2],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": "src:."},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    graph = hospital().graph()
    data = graph.as_dict()
    assert json.loads(json.dumps(data)) == data
    assert data["format"] == 1
    assert [edge["kind"] for edge in data["edges"]] == 4 * ["consumes"] + 3 * ["publishes"]
    assert {json.dumps(data) + " " + graph.mermaid() + "\n"} == told
    assert graph == hospital().graph()


def test_the_drawing_shows_types_agents_and_gates() -> None:
    assert hospital().graph().mermaid().splitlines()[:17] == [
        "flowchart LR",
        '    t0(["Scan"])',
        '    t1(["XRay"])',
        '    t2(["Labs"])',
        '    t3(["Diagnosis"])',
        '    a0["radiologist"]',
        '    a1["lab"]',
        '    a2["physician"]',
        '    t0 -.->|"tagged urgent<br/>where"| a0',
        "    t0 --> a1",
        '    g0{{"join by patient#44; within 1 h"}}',
        "    t1 --> g0",
        "    t2 --> g0",
        "    g0 --> a2",
        '    a0 -->|"tagged new"| t1',
        '    a1 -.->|"up to 3<br/>where"| t2',
        '    a2 -.->|"private"| t3',
    ]


def test_a_declaration_that_contradicts_itself_is_an_error_as_when_the_board_opens() -> None:
    flock = Flock()
    flock.agent("a").consumes(Scan).calls(lambda first, second: None)
    with pytest.raises(DeclarationError, match="no input is left for parameter 'second'"):
        flock.graph()


def test_an_empty_board_has_an_empty_graph() -> None:
    graph = Flock().graph()
    assert (graph.agents, graph.types, graph.edges) == ((), (), ())
    assert graph.mermaid() == "flowchart LR\n"


async def test_an_open_board_can_be_asked_and_goes_on() -> None:
    flock = Flock()
    flock.agent("reader").consumes(Scan).publishes(XRay).calls(lambda s: XRay(patient=s.patient))
    async with flock:
        await flock.publish(Scan(patient="p"))
        graph = flock.graph()
        assert isinstance(graph.published[0], PublishesEdge)
        await flock.run_until_idle()
        assert graph == flock.graph()
        assert await flock.store.get_by_type(XRay) == [XRay(patient="p")]
