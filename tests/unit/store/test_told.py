"""A commit is true whatever happens to those who are to be told of it."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import pytest

from flock import (
    Artifact,
    BlackboardStore,
    InMemoryBlackboardStore,
    SQLiteBlackboardStore,
    StoreError,
)
from flock.store.protocol import Commit, State
from flock.testing.contract.samples import SampleA, artifact

Make = Callable[[Path], BlackboardStore]


def in_memory(path: Path) -> BlackboardStore:
    del path
    return InMemoryBlackboardStore()


@pytest.fixture(params=[in_memory, SQLiteBlackboardStore])
def make(request: pytest.FixtureRequest) -> Make:
    return request.param


def fail() -> NoReturn:
    msg = "not in the mood"
    raise RuntimeError(msg)


class Grumpy:
    """Watches a board and always fails."""

    def committed(self, artifacts: Sequence[Artifact]) -> None:
        del artifacts
        fail()

    def deleted(self) -> None:
        fail()


async def test_what_fails_over_a_commit_holds_no_other_of_its_transaction_up(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = make(tmp_path / "board.db")
    await store.open()
    commits = [Commit(at=1.0, states=[State("test", str(n), b"1")]) for n in range(3)]
    commits[0].then = fail
    with caplog.at_level(logging.ERROR):
        async with asyncio.timeout(10):
            await asyncio.gather(*(asyncio.ensure_future(store.commit(c)) for c in commits))
            await store.commit(Commit(at=1.0, states=[State("test", "3", b"1")]))
    assert "not in the mood" in caplog.text
    assert all(commit.is_done for commit in commits)
    assert sorted(await store.states("test")) == ["0", "1", "2", "3"]
    await store.close()


async def test_what_watches_a_board_and_fails_holds_no_commit_up(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = make(tmp_path / "board.db")
    await store.open()
    store.observe(Grumpy())
    with caplog.at_level(logging.ERROR):
        async with asyncio.timeout(10):
            for n in range(2):
                await store.commit(Commit([artifact(SampleA(n=n))], at=1.0))
    assert "not in the mood" in caplog.text
    assert store.position == 2
    await store.close()


async def test_a_thread_that_takes_no_more_work_fails_commits_instead_of_holding_them_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SQLiteBlackboardStore(tmp_path / "board.db")
    await store.open()

    def refuse(*_: object) -> NoReturn:
        msg = "cannot schedule new futures after shutdown"
        raise RuntimeError(msg)

    with monkeypatch.context() as patch:
        patch.setattr(asyncio.get_running_loop(), "run_in_executor", refuse)
        commits = [Commit(at=1.0, states=[State("test", str(n), b"1")]) for n in range(2)]
        going = [asyncio.ensure_future(store.commit(commit)) for commit in commits]
        async with asyncio.timeout(10):
            results = await asyncio.gather(*going, return_exceptions=True)
    assert all(isinstance(result, StoreError) for result in results)
    assert not any(commit.is_done for commit in commits)
    await store.commit(Commit(at=1.0, states=[State("test", "3", b"1")]))
    assert list(await store.states("test")) == ["3"]
    await store.close()
