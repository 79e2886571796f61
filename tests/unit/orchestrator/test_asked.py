"""What is kept of a question, what an answer may be, and how a question is named."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from flock import AlreadyAnswered, Flock, PublishError, QuestionClosed
from flock.orchestrator.asked import Asked, Closed, answered_by, drafted, key_of
from flock.orchestrator.job import Job, Lane
from flock.store.protocol import State
from tests.unit.support import A, B, artifact


class Typed(BaseModel):
    type: str


def job_of(flock: Flock, *types: type[BaseModel]) -> Job:
    builder = flock.agent("asker").consumes(A).publishes(*types).asks_human("Well?")
    [subscription] = builder.agent.subscriptions
    return Job(7, Lane(builder.agent), subscription, (), [artifact(A(n=1))])


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ("0" * 31 + "7", 7),
        (UUID(int=7), 7),
        (str(UUID(int=7)), 7),
        ("7", None),
        ("", None),
        (None, None),
        (7, None),
    ],
)
def test_a_question_goes_by_the_id_of_its_run(given: Any, key: int | None) -> None:
    assert key_of(given) == key


def test_what_is_kept_of_a_question_says_whose_it_is() -> None:
    asked = Asked(job_of(Flock(), B), "Well?", 1.5, 0.0)
    assert json.loads(asked.data()) == {
        "agent": "asker",
        "subscription": 0,
        "question": "Well?",
        "asked_at": 1.5,
        "due": 0.0,
    }
    shown = asked.shown()
    assert (shown.due, shown.answers) == (None, (B,))


def test_only_runs_of_people_that_last_forget_a_question() -> None:
    flock = Flock()
    job = job_of(flock, B)
    assert job.forgets == ()  # a direct call has no delivery, and its question does not last
    job.deliveries = (object(),)  # pyright: ignore[reportAttributeAccessIssue]
    assert job.forgets == (State("question", job.id, None),)
    job.lane.agent.asks = None
    assert job.forgets == ()


def test_a_closed_question_says_who_answered_or_why_it_ended() -> None:
    error = answered_by("7", "ann").error()
    assert isinstance(error, AlreadyAnswered)
    assert error.answered_by == "ann"
    error = Closed("it expired").error()
    assert type(error) is QuestionClosed
    assert str(error) == "it expired"


def test_a_dict_stands_for_the_type_that_it_names_among_those_published() -> None:
    flock = Flock()
    publisher = flock._publisher

    def answer(agent: str, given: object, *types: type[BaseModel]) -> BaseModel:
        builder = flock.agent(agent).publishes(*types).asks_human("Well?")
        found = drafted(publisher, builder.agent, given, frozenset({"x"}))
        assert found.tags == {"x"}
        return found.as_model(next(t for t in types if found.type.endswith(t.__name__)))

    assert answer("1", {"n": 1}, A) == A(n=1)
    assert answer("2", {"type": "UnitA", "n": 1}, A, B) == A(n=1)
    assert answer("3", {"type": "field"}, Typed) == Typed(type="field")
    assert answer("4", A(n=2), A) == A(n=2)
    with pytest.raises(PublishError, match="publishes B, UnitA"):
        answer("5", {"n": 1}, A, B)
    with pytest.raises(PublishError, match="models or dicts"):
        answer("6", artifact(A(n=1)), A)
    with pytest.raises(PublishError):
        answer("7", 7, A)
