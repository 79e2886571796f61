"""The pytest plugin of Flock: a board for each test, and recorded answers beside the tests.

pytest finds it once Flock is installed, under the name `flock` (`-p no:flock` leaves it out). It
imports the rest of Flock when a fixture is used, and needs no other plugin: whatever runs the
coroutine of a test (pytest-asyncio, anyio, or `asyncio.run` in the test), the board opens on that
event loop at its first `await`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from flock.testing.board import TestBoard
    from flock.testing.recording import Cassette

_MARKER = (
    "flock(make=None, model=None): what the fixture `board` is made of: a Flock, a function "
    "that returns one (called with clock=ManualClock(autojump=True) if it takes a clock), or the "
    "model of a new one."
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that records answers anew."""
    parser.getgroup("flock", "Flock").addoption(
        "--flock-record",
        action="store_true",
        help="ask models and engines, and write the cassettes of the fixture flock_cassette anew; "
        "without it they are replayed, and nothing is asked",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Tell what the marker means."""
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture
def board(request: pytest.FixtureRequest) -> Iterator[TestBoard]:
    """A `flock.testing.TestBoard`: a new board in memory, or what the marker `flock` says.

    It opens at its first `await`, on the event loop of the test, and is closed after it. A test
    that runs an event loop of its own (`asyncio.run`) closes it there, with `async with board:`.
    """
    made = _made_for(request)
    yield made
    made.close()


@pytest.fixture
def flock_cassette(request: pytest.FixtureRequest) -> Cassette:
    """A `flock.testing.Cassette` of this test, in the folder `cassettes` beside its file.

    It is replayed; `--flock-record` writes it anew.
    """
    from flock.testing.recording import Cassette

    folder = Path(request.path).parent / "cassettes"
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in request.node.name)
    is_recording = bool(request.config.getoption("--flock-record"))
    return Cassette(
        folder / f"{request.path.stem}.{name}.jsonl", "record" if is_recording else "replay"
    )


def _made_for(request: pytest.FixtureRequest) -> TestBoard:
    from flock.testing.board import TestBoard

    mark = request.node.get_closest_marker("flock")
    if mark is None:
        return TestBoard()
    try:
        make, model = _arguments(*mark.args, **mark.kwargs)
    except TypeError as error:
        msg = f"the marker flock of {request.node.nodeid}: {error}; it takes {_MARKER}"
        raise pytest.UsageError(msg) from None
    return TestBoard(_flock_of(make), model=model)  # which refuses what makes no sense


def _arguments(*, make: object = None, model: str | None = None) -> tuple[object, str | None]:
    return make, model


def _flock_of(make: Any) -> Any:  # noqa: ANN401 - a user's argument, which TestBoard checks
    from flock.orchestrator.flock import Flock
    from flock.testing.clock import ManualClock

    if isinstance(make, Flock) or not callable(make):
        return make
    takes_clock = "clock" in inspect.signature(make).parameters
    return make(clock=ManualClock(autojump=True)) if takes_clock else make()
