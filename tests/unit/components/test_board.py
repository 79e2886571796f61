"""What hooks may do with a board is what the board does."""

import inspect

import pytest

from flock.components.board import Board
from flock.orchestrator.flock import Flock

VERBS = [
    name
    for name, member in vars(Board).items()
    if inspect.isfunction(member) and not name.startswith("_")
]


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_of_hooks_takes_what_the_boards_own_takes(verb: str) -> None:
    theirs, own = (inspect.signature(getattr(cls, verb)) for cls in (Board, Flock))
    assert theirs == own


def test_hooks_have_no_verb_that_would_wait_for_them() -> None:
    assert "publish" in VERBS
    assert not {"run_until_idle", "run", "shutdown", "agent", "add_component"} & set(VERBS)
