"""What `check` finds in declarations, each with its like that is as it should be."""

# Agents are short lambdas here, and some of them are wrong on purpose.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportAttributeAccessIssue=false

import logging
import operator
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeAlias

import pytest
from pydantic import BaseModel

from flock import (
    BatchSpec,
    CheckFinding,
    Flock,
    JoinSpec,
    LabelledVisibility,
    PrivateVisibility,
    TenantVisibility,
    WorkflowError,
)

HOUR = timedelta(hours=1)


class Scan(BaseModel):
    patient: str


class XRay(BaseModel):
    patient: str
    urgency: int = 0


class Labs(BaseModel):
    patient: str


class Report(BaseModel):
    number: int


class Draft(BaseModel):
    text: str


class Review(BaseModel):
    text: str


Declare: TypeAlias = Callable[[Flock], object]


def found(declare: Declare, model: str | None = "test") -> list[CheckFinding]:
    flock = Flock(model)
    declare(flock)
    before = repr(flock.agents)
    findings = flock.check()
    assert repr(flock.agents) == before
    levels = [finding.level for finding in findings]
    assert levels == sorted(levels, key=["error", "warning", "info"].index)
    return findings


def only(code: str, declare: Declare, model: str | None = "test") -> CheckFinding:
    """The one finding of a code; the errors and warnings beside it are none."""
    findings = found(declare, model)
    (finding,) = [finding for finding in findings if finding.code == code]
    others = [f for f in findings if f.level != "info" and f.code != code]
    assert others == []
    return finding


def none(code: str, declare: Declare, model: str | None = "test") -> None:
    findings = found(declare, model)
    assert [f for f in findings if f.code == code or f.level != "info"] == []


def label(*types: type[BaseModel]) -> tuple[str, ...]:
    return tuple(f"{t.__module__}.{t.__qualname__}" for t in types)


# --- where artifacts come from and go to ---


def test_a_type_that_nobody_publishes_comes_from_outside() -> None:
    finding = only("from-outside", lambda f: f.agent("a").consumes(Scan).publishes(XRay))
    assert (finding.level, finding.agents, finding.types) == ("info", ("a",), label(Scan))
    assert "Scan" in finding.message

    def fed(flock: Flock) -> None:
        flock.agent("a").consumes(Scan).publishes(XRay)
        flock.agent("b").consumes(XRay).publishes(Report)

    assert [f.types for f in found(fed) if f.code == "from-outside"] == [label(Scan)]


def test_an_agent_that_publishes_whatever_it_returns_is_named() -> None:
    def declare(flock: Flock) -> None:
        flock.agent("any").consumes(Scan).calls(lambda scan: XRay(patient=scan.patient))
        flock.agent("b").consumes(XRay).publishes(Report)

    messages = [f.message for f in found(declare) if f.types == label(XRay)]
    assert len(messages) == 1
    assert messages[0].endswith("it comes from outside, unless 'any' returns it")


def test_a_type_that_nobody_consumes_is_a_result() -> None:
    finding = only("result", lambda f: f.agent("a").consumes(Scan).publishes(XRay))
    assert (finding.level, finding.agents, finding.types) == ("info", ("a",), label(XRay))
    none("result", lambda f: f.agent("a").consumes(Scan).calls(lambda scan: None))


def test_two_classes_of_one_name_are_probably_one() -> None:
    class Scan(BaseModel):
        patient: str

    def twins(flock: Flock) -> None:
        flock.agent("scanner").consumes(Report).publishes(Scan)
        flock.agent("reader").consumes(globals()["Scan"]).publishes(XRay)

    finding = only("same-name", twins)
    assert finding.level == "warning"
    assert finding.agents == ("reader", "scanner")

    def one(flock: Flock) -> None:
        flock.agent("scanner").consumes(Report).publishes(Scan)
        flock.agent("reader").consumes(Scan).publishes(XRay)

    none("same-name", one)


def test_an_agent_that_skips_its_own_is_told_of() -> None:
    finding = only("skips-own", lambda f: f.agent("a").consumes(Draft).publishes(Draft))
    assert finding.level == "info"
    assert "prevent_self_trigger(False)" in finding.remedy

    def loop(flock: Flock) -> None:
        flock.agent("a").consumes(Draft, where=lambda d: d.text).publishes(
            Draft
        ).prevent_self_trigger(prevent=False)

    none("skips-own", loop)


def test_a_loop_starts_from_outside() -> None:
    def loop(flock: Flock) -> None:
        flock.agent("writer").consumes(Review).publishes(Draft, where=lambda d: d.text)
        flock.agent("critic").consumes(Draft).publishes(Review)

    assert only("starts-from-outside", loop).types == label(Review, Draft)

    def begun(flock: Flock) -> None:
        loop(flock)
        flock.get_agent("writer")
        flock.agent("beginner").consumes(Scan).publishes(Draft)

    none("starts-from-outside", begun)


# --- who listens to whom ---


def test_a_producer_that_is_not_there_is_an_error() -> None:
    def declare(flock: Flock, *names: str) -> None:
        flock.agent("lab").consumes(Scan).publishes(XRay)
        flock.agent("doctor").consumes(XRay, from_agents=names).publishes(Report)

    finding = only("unknown-producer", lambda f: declare(f, "labs"))
    assert (finding.level, finding.agents) == ("error", ("doctor",))
    assert "'lab'" in finding.remedy
    assert only("unknown-producer", lambda f: declare(f, "lab", "labs")).level == "warning"
    none("unknown-producer", lambda f: declare(f, "lab"))
    none("unknown-producer", lambda f: declare(f, "external"))


def test_a_producer_that_publishes_something_else_is_an_error() -> None:
    def declare(flock: Flock, *names: str) -> None:
        flock.agent("lab").consumes(Scan).publishes(Labs)
        flock.agent("xray").consumes(Scan).publishes(XRay)
        flock.agent("any").consumes(Scan).calls(lambda scan: None)
        flock.agent("doctor").consumes(XRay, from_agents=names).publishes(Report)

    finding = only("never-from-these", lambda f: declare(f, "lab"))
    assert (finding.level, finding.agents) == ("error", ("doctor", "lab"))
    assert "'xray'" in finding.remedy
    for names in (["xray"], ["lab", "xray"], ["external"], ["any"]):
        none("never-from-these", lambda f, names=names: declare(f, *names))


def test_failures_of_one_agent_can_be_listened_to() -> None:
    def declare(flock: Flock) -> None:
        flock.agent("lab").consumes(Scan).publishes(Labs)
        flock.agent("pager").consumes(WorkflowError, from_agents="lab").calls(lambda error: None)

    assert [f for f in found(declare) if f.level != "info"] == []


def test_tags_that_no_producer_sets_are_a_warning() -> None:
    def declare(flock: Flock, *tags: str) -> None:
        flock.agent("lab").consumes(Scan).publishes(XRay, tags=tags or None)
        flock.agent("doctor").consumes(XRay, tags={"urgent", "new"}).publishes(Report)

    finding = only("tags-never-set", lambda f: declare(f, "urgnt"))
    assert (finding.level, finding.agents) == ("warning", ("doctor", "lab"))
    assert "they set 'urgnt'" in finding.message
    assert "they set no tags" in only("tags-never-set", declare).message
    none("tags-never-set", lambda f: declare(f, "urgent"))
    none("tags-never-set", lambda f: f.agent("a").consumes(Scan, tags={"x"}).publishes(XRay))


@pytest.mark.parametrize(
    ("visibility", "says"),
    [
        (PrivateVisibility(agents={"docter"}), "private to 'docter'"),
        (LabelledVisibility(required_labels={"chief"}), "labelled 'chief'"),
        (TenantVisibility(tenant_id="other"), "of tenant 'other'"),
    ],
)
def test_an_output_that_no_consumer_may_read_is_a_warning(visibility: Any, says: str) -> None:
    def declare(flock: Flock, visibility: Any) -> None:
        flock.agent("lab").consumes(Scan).publishes(XRay, visibility=visibility)
        flock.agent("doctor").labels("doctor").tenant("clinic").consumes(XRay).publishes(Report)

    finding = only("nobody-may-read", lambda f: declare(f, visibility))
    assert (finding.level, finding.agents) == ("warning", ("lab", "doctor"))
    assert says in finding.message
    for readable in (
        None,
        PrivateVisibility(agents={"doctor"}),
        LabelledVisibility(required_labels={"doctor"}),
        TenantVisibility(tenant_id="clinic"),
        lambda xray: PrivateVisibility(agents={"docter"}),
    ):
        none("nobody-may-read", lambda f, it=readable: declare(f, it))


def test_a_consumer_that_may_read_nothing_of_what_others_read_is_a_warning() -> None:
    def declare(flock: Flock, *names: str) -> None:
        visibility = PrivateVisibility(agents=set(names))
        flock.agent("lab").consumes(Scan).publishes(XRay, visibility=visibility)
        flock.agent("doctor").consumes(XRay).publishes(Report)
        flock.agent("clerk").consumes(XRay).publishes(Labs)

    finding = only("may-not-read", lambda f: declare(f, "doctor"))
    assert (finding.level, finding.agents) == ("warning", ("clerk", "lab"))
    none("may-not-read", lambda f: declare(f, "doctor", "clerk"))


# --- who computes, and who starts ---


def test_an_agent_that_nothing_computes_is_an_error() -> None:
    def declare(flock: Flock) -> None:
        flock.agent("a").consumes(Scan).publishes(XRay)

    assert only("not-computed", declare, None).level == "error"
    none("not-computed", declare)


def test_a_declaration_that_contradicts_itself_is_an_error_and_the_rest_is_checked() -> None:
    def declare(flock: Flock) -> None:
        flock.agent("a").consumes(Scan).publishes(XRay).calls(lambda first, second: None)
        flock.agent("b").consumes(Scan, batch=BatchSpec(size=2)).publishes(Labs)

    finding = only("contradiction", declare)
    assert (finding.level, finding.agents) == ("error", ("a",))
    assert "parameter 'second'" in finding.message
    assert "batch-may-wait" in {f.code for f in found(declare)}
    none("contradiction", lambda f: f.agent("a").consumes(Scan).calls(lambda scan: None))


def test_an_agent_that_consumes_nothing_is_started_by_calls(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        finding = only("direct-only", lambda f: f.agent("a").calls(lambda scan: None))
    assert (finding.level, finding.agents) == ("info", ("a",))
    assert caplog.records == []
    none("direct-only", lambda f: f.agent("a").consumes(Scan).calls(lambda scan: None))


def test_a_model_that_publishes_nothing_is_asked_in_vain() -> None:
    finding = only("publishes-nothing", lambda f: f.agent("a").consumes(Scan))
    assert finding.level == "warning"
    none("publishes-nothing", lambda f: f.agent("a").consumes(Scan).calls(lambda scan: None))


# --- gates ---


def test_types_that_never_come_together_in_one_workflow_are_a_warning() -> None:
    def apart(flock: Flock) -> None:
        flock.agent("xray").consumes(Scan).publishes(XRay)
        flock.agent("lab").consumes(Draft).publishes(Labs)
        flock.agent("doctor").consumes(XRay, Labs).publishes(Report)

    finding = only("never-meet", apart)
    assert (finding.level, finding.agents) == ("warning", ("doctor",))
    assert "XRay comes of Scan and Labs comes of Draft" in finding.message

    def one_root(flock: Flock) -> None:
        flock.agent("xray").consumes(Scan).publishes(XRay)
        flock.agent("lab").consumes(Scan).publishes(Labs)
        flock.agent("doctor").consumes(XRay, Labs).publishes(Report)

    def with_its_root(flock: Flock) -> None:
        flock.agent("xray").consumes(Scan).publishes(XRay)
        flock.agent("doctor").consumes(Scan, XRay).publishes(Report)

    def by_hand(flock: Flock) -> None:
        flock.agent("doctor").consumes(XRay, Labs).publishes(Report)

    def joined(flock: Flock) -> None:
        flock.agent("xray").consumes(Scan).publishes(XRay)
        flock.agent("lab").consumes(Draft).publishes(Labs)
        join = JoinSpec(by="patient", within=HOUR)
        flock.agent("doctor").consumes(XRay, Labs, join=join).publishes(Report)

    for declare in (one_root, with_its_root, by_hand, joined):
        none("never-meet", declare)


def test_a_batch_without_a_timeout_may_wait() -> None:
    def declare(flock: Flock, batch: BatchSpec) -> None:
        flock.agent("a").consumes(Scan, batch=batch).publishes(XRay)

    finding = only("batch-may-wait", lambda f: declare(f, BatchSpec(size=5)))
    assert (finding.level, finding.types) == ("info", label(Scan))
    none("batch-may-wait", lambda f: declare(f, BatchSpec(size=5, timeout=1)))
    none("batch-may-wait", lambda f: declare(f, BatchSpec(timeout=1)))


def test_a_subscription_behind_one_that_takes_everything_is_a_warning() -> None:
    def shadowed(flock: Flock) -> None:
        flock.agent("a").consumes(XRay).consumes(XRay, where=lambda x: x.urgency).publishes(Report)

    finding = only("never-reached", shadowed)
    assert (finding.level, finding.types) == ("warning", label(XRay))
    none(
        "never-reached",
        lambda f: (
            f.agent("a").consumes(XRay, where=lambda x: x.urgency).consumes(XRay).publishes(Report)
        ),
    )
    none(
        "never-reached",
        lambda f: (
            f.agent("a").consumes(XRay).consumes(XRay, batch=BatchSpec(timeout=1)).publishes(Report)
        ),
    )


# --- keys and predicates ---


def join(flock: Flock, by: Any) -> None:
    flock.agent("doctor").consumes(XRay, Report, join=JoinSpec(by=by, within=HOUR)).publishes(Labs)


def test_a_join_key_that_a_type_does_not_have_is_an_error() -> None:
    def key(model: Any) -> object:
        return (model.patient, 1)

    for by in (lambda m: m.patient, key, operator.attrgetter("patient")):
        finding = only("join-key-missing", lambda f, by=by: join(f, by))
        assert (finding.level, finding.types) == ("error", label(Report))
        assert "'patient'" in finding.message
        assert "number" in finding.remedy
    for by in (
        lambda m: m.patient if isinstance(m, XRay) else m.number,
        lambda m: getattr(m, "patient", None),
        lambda m: m.model_dump().popitem()[1],
    ):
        none("join-key-missing", lambda f, by=by: join(f, by))


def test_join_keys_of_different_kinds_are_an_error() -> None:
    class Bill(BaseModel):
        patient: int

    def declare(flock: Flock, by: Any) -> None:
        flock.agent("a").consumes(XRay, Bill, join=JoinSpec(by=by, within=HOUR)).publishes(Labs)

    for by in ("patient", lambda m: m.patient, operator.attrgetter("patient")):
        finding = only("join-keys-differ", lambda f, by=by: declare(f, by))
        assert finding.level == "error"
        assert "XRay has a text and" in finding.message
    none("join-keys-differ", lambda f: declare(f, lambda m: str(m.patient)))
    none(
        "join-keys-differ",
        lambda f: (
            f.agent("a")
            .consumes(XRay, Labs, join=JoinSpec(by="patient", within=HOUR))
            .publishes(Report)
        ),
    )


def test_a_predicate_that_reads_what_a_type_does_not_have_is_an_error() -> None:
    finding = only(
        "predicate-field-missing",
        lambda f: f.agent("a").consumes(XRay, where=lambda x: x.urgancy > 1).publishes(Report),
    )
    assert (finding.level, finding.types) == ("error", label(XRay))
    assert "where=lambda of consumes reads 'urgancy'" in finding.message
    assert "patient and urgency" in finding.remedy
    group = only(
        "predicate-field-missing",
        lambda f: (
            f.agent("a")
            .consumes(XRay, Labs, where=lambda x, y: x.urgency > y.urgency)
            .publishes(Report)
        ),
    )
    assert group.types == label(Labs)
    for where in (lambda x: x.urgency > 1, lambda x: hasattr(x, "urgancy") and x.urgancy):
        none(
            "predicate-field-missing",
            lambda f, where=where: f.agent("a").consumes(XRay, where=where).publishes(Report),
        )


@pytest.mark.parametrize("option", ["where", "validate", "visibility"])
def test_a_function_of_outputs_that_reads_what_they_do_not_have_is_an_error(option: str) -> None:
    def declare(flock: Flock, function: Any) -> None:
        flock.agent("a").consumes(Scan).publishes(XRay, **{option: function})

    finding = only("output-field-missing", lambda f: declare(f, lambda x: x.patiant))
    assert finding.level == "error"
    assert f"{option}=lambda of publishes" in finding.message
    none("output-field-missing", lambda f: declare(f, lambda x: x.patient))


# --- loops and doubles ---


def test_a_loop_that_nothing_ends_is_a_warning() -> None:
    def declare(flock: Flock, **options: Any) -> None:
        flock.agent("writer").consumes(Scan).consumes(Review).publishes(Draft)
        flock.agent("critic").consumes(Draft).publishes(Review, **options)

    finding = only("endless-loop", declare)
    assert finding.level == "warning"
    assert finding.agents == ("critic", "writer")
    assert "critic -> Review -> writer -> Draft -> critic" in finding.message
    assert "max_agent_iterations" in finding.message
    none("endless-loop", lambda f: declare(f, fan_out=(0, 1)))
    none("endless-loop", lambda f: declare(f, where=lambda r: r.text))


def again(draft: Draft) -> Draft: ...


def perhaps(draft: Draft) -> Draft | None: ...


@pytest.mark.parametrize(
    ("function", "endless"),
    [
        (again, True),
        (perhaps, False),
        (lambda draft: draft, False),
    ],
)
def test_an_agent_that_starts_itself_has_to_be_able_to_decline(
    function: Callable[..., object], endless: bool
) -> None:
    def declare(flock: Flock) -> None:
        flock.agent("a").consumes(Draft).publishes(Draft).calls(function).prevent_self_trigger(
            prevent=False
        )

    if endless:
        assert only("endless-loop", declare).agents == ("a",)
    else:
        none("endless-loop", declare)


def test_a_loop_ends_where_it_takes_more_than_it_makes() -> None:
    def batched(flock: Flock, size: int, fan_out: int) -> None:
        flock.agent("writer").consumes(Review, batch=BatchSpec(size=size)).publishes(Draft)
        flock.agent("critic").consumes(Draft).publishes(Review, fan_out=fan_out)

    none("endless-loop", lambda f: batched(f, 3, 1))
    only("endless-loop", lambda f: batched(f, 3, 3))

    def fed(flock: Flock) -> None:
        flock.agent("counter").consumes(Scan, Draft).publishes(Draft).prevent_self_trigger(
            prevent=False
        )

    none("endless-loop", fed)


def test_a_loop_that_is_not_closed_is_none() -> None:
    def tags_differ(flock: Flock) -> None:
        flock.agent("writer").consumes(Review, tags={"again"}).publishes(Draft)
        flock.agent("critic").consumes(Draft).publishes(Review, tags={"done"})

    def not_heard(flock: Flock) -> None:
        flock.agent("writer").consumes(Review, from_agents="external").publishes(Draft)
        flock.agent("critic").consumes(Draft).publishes(Review)

    def not_seen(flock: Flock) -> None:
        flock.agent("writer").consumes(Review).publishes(Draft)
        flock.agent("reader").consumes(Review).publishes(Report)
        visibility = PrivateVisibility(agents={"reader"})
        flock.agent("critic").consumes(Draft).publishes(Review, visibility=visibility)

    for declare in (tags_differ, not_heard, not_seen):
        assert "endless-loop" not in {f.code for f in found(declare)}


def read(scan: Scan) -> XRay: ...


def test_two_agents_that_do_the_same_work_are_a_warning() -> None:
    def functions(flock: Flock) -> None:
        flock.agent("one").calls(read)
        flock.agent("two").calls(read)

    finding = only("same-work", functions)
    assert (finding.level, finding.agents, finding.types) == (
        "warning",
        ("one", "two"),
        label(Scan),
    )

    def models(flock: Flock) -> None:
        flock.agent("one").consumes(Scan).publishes(XRay)
        flock.agent("two").consumes(Scan).publishes(XRay)

    assert only("same-work", models).agents == ("one", "two")


def test_agents_that_differ_in_anything_do_their_own_work() -> None:
    def described(flock: Flock) -> None:
        flock.agent("one").description("Strict.").consumes(Scan).publishes(XRay)
        flock.agent("two").description("Kind.").consumes(Scan).publishes(XRay)

    def filtered(flock: Flock) -> None:
        flock.agent("one").consumes(Scan, tags={"a"}).publishes(XRay)
        flock.agent("two").consumes(Scan, tags={"b"}).publishes(XRay)

    def functions(flock: Flock) -> None:
        flock.agent("one").consumes(Scan).publishes(XRay).calls(lambda scan: [])
        flock.agent("two").consumes(Scan).publishes(XRay).calls(lambda scan: [])

    def outputs(flock: Flock) -> None:
        flock.agent("one").consumes(Scan).publishes(XRay)
        flock.agent("two").consumes(Scan).publishes(Labs)

    for declare in (described, filtered, functions, outputs):
        none("same-work", declare)


# --- the findings themselves ---


def test_an_empty_board_has_no_findings() -> None:
    assert Flock().check() == []


def test_a_finding_is_data() -> None:
    (finding, _) = found(lambda f: f.agent("a").consumes(Scan).publishes(XRay))
    assert finding.as_dict() == {
        "level": "info",
        "code": "from-outside",
        "message": "no agent declares to publish Scan: it comes from outside",
        "remedy": "publish it, or let an agent publish it",
        "agents": ["a"],
        "types": list(label(Scan)),
    }


async def test_an_agent_added_later_is_checked_too() -> None:
    flock = Flock("test")
    flock.agent("a").consumes(Scan).publishes(XRay)
    async with flock:
        await flock.run_until_idle()
        flock.agent("b").consumes(XRay, from_agents="nobody").publishes(Report)
        assert [f.code for f in flock.check() if f.level == "error"] == ["unknown-producer"]
