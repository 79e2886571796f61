"""Asking again, on the board's clock."""

from __future__ import annotations

import logging

import pytest

from flock import Backoff, ChatRequest, EngineError, ModelUnavailable, Patience, RateLimited
from flock.testing import ManualClock
from tests.unit.engines.dspy.scripted_model import ScriptedModel

REQUEST = ChatRequest(messages=())


def busy(seconds: float | None = None) -> RateLimited:
    error = RateLimited("busy")
    error.retry_after = seconds
    return error


async def waited(patience: Patience, *answers: str | Exception) -> float:
    clock = ManualClock(autojump=True)
    start = clock.time()
    await patience.ask(ScriptedModel(answers), REQUEST, clock, lambda: None)
    return clock.time() - start


async def test_what_a_provider_asks_for_is_waited_and_a_little_more() -> None:
    assert 30 <= await waited(Patience(), busy(30), "ok") <= 33
    assert await waited(Patience(), busy(0), "ok") == 0


async def test_without_a_hint_the_waits_grow_up_to_their_bound() -> None:
    backoff = Backoff(initial=1, factor=10, maximum=50, jitter=False)
    patience = Patience(attempts=5, backoff=backoff)
    assert await waited(patience, *[ModelUnavailable("down")] * 4, "ok") == 1 + 10 + 50 + 50


async def test_jitter_only_shortens_the_waits() -> None:
    patience = Patience(backoff=Backoff(initial=8))
    assert 0 <= await waited(patience, busy(), "ok") <= 8


async def test_an_outage_is_a_warning_and_a_busy_provider_is_none(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    await waited(Patience(), busy(1), ModelUnavailable("no connection"), "ok")
    first, second = caplog.records
    assert (first.levelname, second.levelname) == ("INFO", "WARNING")
    assert "no connection" in second.message


async def test_the_last_error_is_raised_with_its_hint() -> None:
    with pytest.raises(RateLimited, match=r"busy \(asked 2 times\)") as failure:
        await waited(Patience(attempts=2), busy(1), busy(7))
    assert failure.value.retry_after == 7


@pytest.mark.parametrize("error", [EngineError("no"), ValueError("a mistake")])
async def test_other_errors_are_not_tried_again(error: Exception) -> None:
    model = ScriptedModel([error])
    with pytest.raises(type(error), match=str(error)):
        await Patience().ask(model, REQUEST, ManualClock(), lambda: None)
    assert len(model.requests) == 1
