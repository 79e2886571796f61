"""An artifact is delivered to the subscriptions that it satisfies, and to no others."""

import logging
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from flock.core.agent import Agent
from flock.core.artifacts import Artifact
from flock.core.delivery import Delivery
from flock.core.semantic import SemanticMatch
from flock.core.subscription import BatchSpec, Subscription
from flock.core.types import registry
from flock.core.visibility import (
    AfterVisibility,
    LabelledVisibility,
    PrivateVisibility,
    TenantVisibility,
    Visibility,
)
from flock.orchestrator.matcher import Matcher, holds
from tests.unit.support import T0, A, B, agent_of, artifact, subscription


def agent(name: str, *subscriptions: Subscription) -> Agent:
    for index, each in enumerate(subscriptions):
        each.agent, each.index = name, index
    return agent_of(*subscriptions, name=name)


def matched(
    agents: Iterable[Agent], made: Artifact, without: str | None = None
) -> list[tuple[str, int]]:
    found: list[Delivery] = []
    Matcher(agents).match(made, found, without)
    return [(delivery.agent, delivery.index) for delivery in found]


def over(least: int) -> Callable[[A], bool]:
    return lambda a: a.n > least


def under(most: int) -> Callable[[A], bool]:
    return lambda a: a.n < most


def answering(answer: object) -> Callable[[A], object]:
    return lambda _: answer


def test_types_match_exactly() -> None:
    class Child(A):
        pass

    agents = [agent("a", subscription(A)), agent("b", subscription(B))]
    assert matched(agents, artifact(A())) == [("a", 0)]
    assert matched(agents, artifact(Child())) == []


def test_a_class_that_was_defined_anew_matches_by_its_name() -> None:
    def define() -> type[BaseModel]:
        class Again(BaseModel):
            n: int = 0

        return Again

    first, second = define(), define()
    agents = [agent("a", subscription(first))]
    assert registry.entry(second).name == registry.entry(first).name
    assert matched(agents, artifact(second())) == [("a", 0)]


def test_only_the_first_ungated_subscription_of_an_agent_gets_it() -> None:
    subscriptions = [
        subscription(A, each=(over(5),)),
        subscription(A),
        subscription(A),
    ]
    assert matched([agent("a", *subscriptions)], artifact(A(n=1))) == [("a", 1)]
    assert matched([agent("a", *subscriptions)], artifact(A(n=9))) == [("a", 0)]


def test_each_gated_subscription_gets_it_besides() -> None:
    one = agent(
        "a",
        subscription(A, batch=BatchSpec(size=2)),
        subscription(A),
        subscription(A, B),
        subscription(A),
        subscription(A, A),
    )
    assert matched([one, agent("b", subscription(A))], artifact(A())) == [
        *(("a", 0), ("a", 1), ("a", 2), ("a", 4)),
        ("b", 0),
    ]


def test_a_repeated_type_gets_it_once() -> None:
    assert matched([agent("a", subscription(A, A, B))], artifact(A())) == [("a", 0)]


def test_a_subscription_for_direct_calls_is_not_started_by_artifacts() -> None:
    agents = [
        agent("direct", subscription(A, mode="direct")),
        agent("events", subscription(A, mode="events")),
        agent("both", subscription(A)),
    ]
    assert matched(agents, artifact(A())) == [("events", 0), ("both", 0)]


def test_producers_and_tags_narrow() -> None:
    agents = [
        agent("by", subscription(A, from_agents=frozenset({"amy", "external"}))),
        agent("tagged", subscription(A, tags=frozenset({"x", "y"}))),
    ]
    assert matched(agents, artifact(A())) == [("by", 0)]
    assert matched(agents, artifact(A(), produced_by="bob", tags=["y", "z"])) == [("tagged", 0)]
    assert matched(agents, artifact(A(), produced_by="bob", tags=["z"])) == []


def test_all_predicates_must_hold() -> None:
    agents = [agent("a", subscription(A, each=(over(1), under(5))))]
    assert [bool(matched(agents, artifact(A(n=n)))) for n in (1, 3, 5)] == [False, True, False]


def test_a_predicate_cannot_change_the_artifact() -> None:
    def meddle(a: A) -> bool:
        a.n = 99
        return True

    made = artifact(A(n=1))
    agents = [agent("a", subscription(A, each=(meddle, over(98))))]
    matched(agents, made)
    assert made.payload["n"] == 1


def test_a_raising_predicate_is_logged_with_agent_and_predicate_and_does_not_match(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(a: A) -> bool:
        raise KeyError(a.key)

    agents = [agent("amy", subscription(A, each=(broken,)), subscription(A))]
    with caplog.at_level(logging.ERROR):
        assert matched(agents, artifact(A())) == [("amy", 1)]
    (record,) = caplog.records
    assert "agent=amy" in record.getMessage()
    assert "broken" in record.getMessage()
    assert record.exc_info is not None


@pytest.mark.parametrize(
    ("answer", "expected"), [(1, True), ("x", True), ([], False), (None, False)]
)
def test_what_a_predicate_returns_counts_as_true_or_false(answer: Any, expected: bool) -> None:
    assert holds(answering(answer), "amy", A()) is expected


def test_a_predicate_whose_answer_has_no_truth_does_not_match() -> None:
    class Undecided:
        def __bool__(self) -> bool:
            raise ValueError("neither")

    assert not holds(answering(Undecided()), "amy", A())


def test_an_agent_does_not_consume_its_own_output_unless_told() -> None:
    own = agent("amy", subscription(A))
    assert matched([own], artifact(A(), produced_by="amy")) == []
    own.skips_own_output = False
    assert matched([own], artifact(A(), produced_by="amy")) == [("amy", 0)]


def test_an_agent_can_be_left_out() -> None:
    agents = [agent("amy", subscription(A)), agent("bob", subscription(A))]
    assert matched(agents, artifact(A()), without="amy") == [("bob", 0)]


@pytest.mark.parametrize(
    ("visibility", "names"),
    [
        (PrivateVisibility(agents=frozenset({"bob"})), ["bob"]),
        (LabelledVisibility(required_labels=frozenset({"x"})), ["amy"]),
        (TenantVisibility(tenant_id="t"), ["bob"]),
    ],
)
def test_what_an_agent_may_not_read_does_not_start_it(
    visibility: Visibility, names: list[str]
) -> None:
    amy, bob = agent("amy", subscription(A)), agent("bob", subscription(A))
    amy.labels, bob.tenant_id = frozenset({"x"}), "t"
    found = matched([amy, bob], artifact(A(), visibility=visibility))
    assert [name for name, _ in found] == names


def test_a_forbidden_artifact_is_not_shown_to_predicates() -> None:
    seen: list[A] = []
    agents = [agent("amy", subscription(A, each=(seen.append,)))]
    hidden = PrivateVisibility(agents=frozenset({"bob"}))
    assert matched(agents, artifact(A(), visibility=hidden)) == []
    assert seen == []


def test_what_opens_later_is_delivered_with_the_time_it_opens() -> None:
    found: list[Delivery] = []
    later = AfterVisibility(ttl=timedelta(minutes=1))
    Matcher([agent("amy", subscription(A))]).match(artifact(A(), visibility=later), found, None)
    assert [delivery.opens_at for delivery in found] == [T0 + 60]


def test_a_type_that_nobody_consumes_is_delivered_to_nobody() -> None:
    assert matched([agent("amy", subscription(A))], artifact(B())) == []
    assert matched([], artifact(B())) == []


# --- subscriptions by meaning ---

ABOUT_X = SemanticMatch("x", 0.5)
ABOUT_Y = SemanticMatch("y", 0.5)


def decided(
    agents: Iterable[Agent],
    made: Artifact,
    scores: dict[SemanticMatch, float],
    without: str | None = None,
) -> list[tuple[str, int]]:
    matcher = Matcher(agents)
    found: list[Delivery] = []
    matcher.decide(matcher.sift(made, without), scores, found)
    return [(delivery.agent, delivery.index) for delivery in found]


def test_only_types_of_subscriptions_by_meaning_are_semantic() -> None:
    about = subscription(A, semantic=(ABOUT_X,))
    matcher = Matcher([agent("a", about), agent("b", subscription(B))])
    assert matcher.semantic == [about]
    assert matcher.is_semantic(artifact(A()))
    assert not matcher.is_semantic(artifact(B()))


def test_a_subscription_that_no_event_starts_asks_nothing() -> None:
    matcher = Matcher([agent("a", subscription(A, semantic=(ABOUT_X,), mode="direct"))])
    assert matcher.semantic == []
    assert not matcher.is_semantic(artifact(A()))


def test_a_score_decides_at_its_threshold() -> None:
    agents = [agent("a", subscription(A, semantic=(ABOUT_X,)))]
    assert decided(agents, artifact(A()), {ABOUT_X: 0.5}) == [("a", 0)]
    assert decided(agents, artifact(A()), {ABOUT_X: 0.499999}) == []
    assert decided(agents, artifact(A()), {ABOUT_X: -1.0}) == []


def test_what_fails_anything_else_is_never_a_candidate() -> None:
    options: list[dict[str, Any]] = [
        {"tags": frozenset({"other"})},
        {"from_agents": frozenset({"somebody"})},
        {"each": (answering(False),)},
    ]
    for each in options:
        matcher = Matcher([agent("a", subscription(A, semantic=(ABOUT_X,), **each))])
        assert matcher.sift(artifact(A()), None) == []
    matcher = Matcher([agent("a", subscription(A, semantic=(ABOUT_X,)))])
    hidden = artifact(A(), visibility=PrivateVisibility(agents={"b"}))
    assert matcher.sift(hidden, None) == []
    assert matcher.sift(artifact(A(), produced_by="a"), None) == []
    assert matcher.sift(artifact(A()), "a") == []
    assert len(matcher.sift(artifact(A()), None)) == 1


def test_the_first_ungated_subscription_that_is_met_gets_it_alone() -> None:
    agents = [
        agent(
            "a",
            subscription(A, semantic=(ABOUT_X,)),
            subscription(A, semantic=(ABOUT_Y,)),
            subscription(A),
            subscription(A, B, semantic=(ABOUT_Y,)),
        )
    ]
    made = artifact(A())
    assert decided(agents, made, {ABOUT_X: 1.0, ABOUT_Y: 1.0}) == [("a", 0), ("a", 3)]
    assert decided(agents, made, {ABOUT_X: 0.0, ABOUT_Y: 1.0}) == [("a", 1), ("a", 3)]
    assert decided(agents, made, {ABOUT_X: 1.0, ABOUT_Y: 0.0}) == [("a", 0)]
    assert decided(agents, made, {ABOUT_X: 0.0, ABOUT_Y: 0.0}) == [("a", 2)]


def test_what_comes_after_a_certain_match_is_not_asked_about() -> None:
    matcher = Matcher([agent("a", subscription(A), subscription(A, semantic=(ABOUT_X,)))])
    assert [c.criteria for c in matcher.sift(artifact(A()), None)] == [()]


def test_a_predicate_is_asked_once() -> None:
    asked: list[A] = []

    def note(a: A) -> bool:
        asked.append(a)
        return True

    agents = [agent("a", subscription(A, semantic=(ABOUT_X,), each=(note,)))]
    assert decided(agents, artifact(A()), {ABOUT_X: 1.0}) == [("a", 0)]
    assert len(asked) == 1


def test_a_delivery_opens_when_its_artifact_does() -> None:
    later = AfterVisibility(ttl=timedelta(hours=1))
    matcher = Matcher([agent("a", subscription(A, semantic=(ABOUT_X,)))])
    found: list[Delivery] = []
    sifted = matcher.sift(artifact(A(), visibility=later, created=T0), None)
    matcher.decide(sifted, {ABOUT_X: 1.0}, found)
    assert [delivery.opens_at for delivery in found] == [T0 + 3600]
