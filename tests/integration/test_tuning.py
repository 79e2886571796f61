"""Tuning with a real small model: what it learns from a board's history helps it afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from flock import DSPyEngine, Flock, TunedPrompt, tune
from tests.models import pulled
from tests.names import Entry, Person, board, examples

pytestmark = pytest.mark.local_model


@pytest.mark.timeout(600)
async def test_a_real_model_does_better_on_what_was_held_out(tmp_path: Path) -> None:
    model = pulled()

    report = await tune(board(model).get_agent("clerk"), examples(), candidates=1, max_calls=60)

    assert report.before is not None
    assert report.after is not None
    assert report.before < 0.6
    assert report.after > report.before + 0.3
    assert report.prompt is not None
    assert 0 < report.usage.calls <= 60
    report.prompt.save(tmp_path / "clerk.tuned.json")

    flock = Flock()
    flock.agent("clerk").description("Write the heading for this person.").consumes(
        Person
    ).publishes(Entry).with_engines(
        DSPyEngine(model, temperature=0.0, max_tokens=40, tuned=tmp_path / "clerk.tuned.json")
    )
    async with flock:
        [made] = await flock.arun("clerk", Person(name="Sophie Germain"))
    assert made.as_model(Entry).heading.startswith("Germain")
    assert TunedPrompt.load(tmp_path / "clerk.tuned.json").provenance is not None
