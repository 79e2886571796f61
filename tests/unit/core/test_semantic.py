"""A criterion says what a text has to be about, and refuses what makes no sense."""

import math
from typing import Any

import pytest
from pydantic import BaseModel

from flock.core.semantic import (
    DEFAULT_THRESHOLD,
    SemanticMatch,
    direction,
    meets,
    semantic_criteria,
    similarity,
)
from flock.core.types import registry
from flock.errors import DeclarationError


class Ticket(BaseModel):
    subject: str
    amount: float = 0.0


TICKET = [registry.entry(Ticket)]


def test_a_criterion_has_one_query_or_several_each_once() -> None:
    assert SemanticMatch("billing").queries == ("billing",)
    assert SemanticMatch(["refund", "chargeback", "refund"]).queries == ("refund", "chargeback")
    assert SemanticMatch("billing").threshold == DEFAULT_THRESHOLD
    assert SemanticMatch("billing", 1).threshold == 1.0


@pytest.mark.parametrize("query", ["", "  ", [], ["a", ""], 3, None, [3], b"bytes"])
def test_a_query_is_a_text_that_is_not_blank(query: Any) -> None:
    with pytest.raises(DeclarationError, match="query takes a text or several, none of them blank"):
        SemanticMatch(query)


def test_a_query_fits_into_one_passage() -> None:
    assert SemanticMatch("x" * 500)
    with pytest.raises(DeclarationError, match=r"at most 500 characters.* not 501 .*shorten it"):
        SemanticMatch("x" * 501)


@pytest.mark.parametrize("threshold", [0, -0.1, 1.01, math.nan, math.inf, True, "0.4", None])
def test_a_threshold_is_a_similarity_above_0_and_up_to_1(threshold: Any) -> None:
    with pytest.raises(DeclarationError, match="threshold is a cosine similarity above 0"):
        SemanticMatch("billing", threshold)


@pytest.mark.parametrize("fields", ["", [], ["subject", ""], 3])
def test_fields_are_names(fields: Any) -> None:
    with pytest.raises(DeclarationError, match="fields takes a text or several"):
        SemanticMatch("billing", fields=fields)


def test_a_criterion_is_frozen_and_equal_by_what_it_says() -> None:
    one = SemanticMatch("billing", 0.5, fields="subject")
    assert one == SemanticMatch(["billing"], 0.5, fields=["subject"])
    assert hash(one) == hash(SemanticMatch("billing", 0.5, fields="subject"))
    assert one != SemanticMatch("billing", 0.5)
    with pytest.raises(AttributeError):
        one.threshold = 0.1  # pyright: ignore[reportAttributeAccessIssue]
    assert repr(one) == "SemanticMatch(queries=('billing',), threshold=0.5, fields=('subject',))"


def test_a_subscription_takes_a_query_a_criterion_or_several() -> None:
    billing = SemanticMatch("billing")
    assert semantic_criteria(None, TICKET) == ()
    assert semantic_criteria("billing", TICKET) == (billing,)
    assert semantic_criteria(billing, TICKET) == (billing,)
    urgent = SemanticMatch("urgent", 0.5)
    assert semantic_criteria(["billing", urgent, billing], TICKET) == (billing, urgent)


@pytest.mark.parametrize("given", [3, [3], {"query": "billing"}, b"billing", [["billing"]]])
def test_a_subscription_takes_nothing_else(given: Any) -> None:
    with pytest.raises(DeclarationError, match="takes a query, a SemanticMatch, or several"):
        semantic_criteria(given, TICKET)


def test_no_criterion_at_all_is_a_mistake() -> None:
    with pytest.raises(DeclarationError, match="at least one query; leave it out"):
        semantic_criteria([], TICKET)


def test_every_type_needs_the_text_that_is_asked_for() -> None:
    class Labs(BaseModel):
        crp: float

    both = [*TICKET, registry.entry(Labs)]
    with pytest.raises(DeclarationError, match=r"Labs' has no text to compare"):
        semantic_criteria("billing", both)
    with pytest.raises(DeclarationError, match=r"Ticket' has no text in its field 'amount'"):
        semantic_criteria(SemanticMatch("billing", fields="amount"), TICKET)
    with pytest.raises(DeclarationError, match=r"no field 'body'.* 'subject', 'amount'"):
        semantic_criteria(SemanticMatch("billing", fields="body"), TICKET)


def test_all_criteria_have_to_be_met_and_the_threshold_is_enough() -> None:
    billing, urgent = SemanticMatch("billing", 0.5), SemanticMatch("urgent", 0.6)
    assert meets([], {})
    assert meets([billing, urgent], {billing: 0.5, urgent: 0.6})
    assert not meets([billing, urgent], {billing: 1.0, urgent: 0.599999})


def test_similarity_is_the_cosine_of_the_angle() -> None:
    a, b = direction([3, 4]), direction([30, 40])
    assert a == (0.6, 0.8)
    assert similarity(a, b) == 1.0
    assert similarity(a, direction([1, 0])) == 0.6
    assert similarity(a, direction([-3, -4])) == -1.0
    assert similarity(a, direction([-4, 3])) == 0.0
    assert similarity(a, direction([0, 0])) == 0.0


@pytest.mark.parametrize("vector", [[], [math.nan, 1.0], [math.inf], [1e308] * 4])
def test_a_vector_has_finite_numbers(vector: list[float]) -> None:
    with pytest.raises(ValueError, match="not all finite"):
        direction(vector)
