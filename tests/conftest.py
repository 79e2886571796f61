"""Settings that all tests share."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from flock.orchestrator import flock as board_module
from flock.store.protocol import BlackboardStore
from flock.store.sqlite import SQLiteBlackboardStore
from flock.store.urls import store_from

# No test measures time, so that a slow or busy machine fails none.
settings.register_profile(
    "flock", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("flock")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--store",
        choices=["memory", "sqlite"],
        default="memory",
        help="where boards lie that name no store",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what holds of boards in memory only."""
    if config.getoption("--store") == "memory":
        return
    for item in items:
        mark = item.get_closest_marker("memory_only")
        if mark is not None:
            (why,) = mark.args
            item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(autouse=True)
def default_store(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Let boards that name no store lie where `--store` says."""
    if request.config.getoption("--store") == "memory":
        yield
        return
    folder: Path = request.getfixturevalue("tmp_path")
    numbers = itertools.count()

    def chosen(url: str) -> BlackboardStore:
        if url != "memory:":
            return store_from(url)
        return SQLiteBlackboardStore(folder / f"default-{next(numbers)}.db")

    monkeypatch.setattr(board_module, "store_from", chosen)
    yield
