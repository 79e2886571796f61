"""One process works on a board's file, whatever it is called and whoever was forked."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from flock import Flock, SQLiteBlackboardStore, StoreError, StoreLocked, StoreReadOnly
from flock.store.protocol import Commit

OPEN = """
import asyncio, json, sys
from flock import Flock, SQLiteBlackboardStore, FlockError

async def main():
    try:
        async with Flock(store=SQLiteBlackboardStore(sys.argv[1]), name="second") as flock:
            return ["opened", flock.store.position]
    except FlockError as error:
        return [type(error).__name__, str(error)]

print(json.dumps(asyncio.run(main())))
"""

FORK = """
import asyncio, os, sys
from pydantic import BaseModel
from flock import Flock, SQLiteBlackboardStore

class Note(BaseModel):
    n: int

async def main():
    flock = Flock(store=SQLiteBlackboardStore(sys.argv[1]), name="parent")
    await flock.publish(Note(n=1))
    ready, forked = os.pipe()
    child = os.fork()
    if child == 0:
        if sys.argv[2] == "closes":
            flock.store._ownership.release()
            flock.store._reader.close()
            flock.store._writer._connection.close()
            os._exit(0)
        os.write(forked, b"x")
        sys.stdin.read()  # until whoever started the parent closes it
        os._exit(0)
    if sys.argv[2] == "closes":
        os.waitpid(child, 0)
    else:
        os.read(ready, 1)
        print(os.getpid(), flush=True)
        os._exit(1)  # the child outlives it
    await flock.publish(Note(n=2))
    import subprocess
    print(subprocess.check_output([sys.executable, "-c", sys.argv[3], sys.argv[1]], text=True))
    await flock.publish(Note(n=3))
    await flock.shutdown()

asyncio.run(main())
"""


class Note(BaseModel):
    n: int


def opened_elsewhere(path: Path) -> list[object]:
    said = subprocess.check_output([sys.executable, "-c", OPEN, str(path)], text=True, timeout=60)
    return json.loads(said)


async def test_a_second_process_is_told_who_has_the_board_open(tmp_path: Path) -> None:
    path = tmp_path / "board.db"
    async with Flock(store=SQLiteBlackboardStore(path), name="first") as flock:
        await flock.publish(Note(n=1))
        link = tmp_path / "link.db"
        link.symlink_to(path)
        for name in (path, link):
            [error, message] = await asyncio.to_thread(opened_elsewhere, name)
            assert error == "StoreLocked"
            assert f"by board 'first' in process {os.getpid()}" in str(message)
        await flock.publish(Note(n=2))
    assert opened_elsewhere(path) == ["opened", 2]


async def test_a_file_of_two_names_is_refused(tmp_path: Path) -> None:
    path, other = tmp_path / "board.db", tmp_path / "other.db"
    async with Flock(store=SQLiteBlackboardStore(path)) as flock:
        await flock.publish(Note(n=1))
        other.hardlink_to(path)
        with pytest.raises(StoreError, match=r"other\.db' has 2 names \(hard links\)"):
            await SQLiteBlackboardStore(other).open()
        await flock.publish(Note(n=2))
        assert len(await flock.store.list()) == 2
    other.unlink()
    async with Flock(store=SQLiteBlackboardStore(path)) as flock:
        assert len(await flock.store.list()) == 2


def test_a_forked_child_that_closes_the_board_does_not_let_go_of_its_parents(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", FORK, str(tmp_path / "board.db"), "closes", OPEN]
    said = subprocess.check_output(command, text=True, timeout=60)
    assert json.loads(said)[0] == "StoreLocked"
    assert opened_elsewhere(tmp_path / "board.db") == ["opened", 3]


def test_a_forked_child_that_outlives_its_parent_does_not_hold_the_board(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORK, str(tmp_path / "board.db"), "stays", OPEN]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as parent:
        assert parent.stdout is not None
        assert int(parent.stdout.readline()) == parent.pid
        parent.wait(timeout=60)
        assert opened_elsewhere(tmp_path / "board.db") == ["opened", 1]
        assert parent.stdin is not None
        parent.stdin.close()


async def test_closing_moves_the_journal_into_the_file(tmp_path: Path) -> None:
    async with Flock(store=SQLiteBlackboardStore(tmp_path / "board.db")) as flock:
        await flock.publish(Note(n=1))
        assert len(await flock.store.list()) == 1
    assert sorted(os.listdir(tmp_path)) == ["board.db", "board.db.lock"]


async def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no folder"):
        await SQLiteBlackboardStore(tmp_path / "none" / "board.db").open()
    assert not (tmp_path / "none").exists()


async def test_a_store_that_is_read_only_takes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "board.db"
    async with Flock(store=SQLiteBlackboardStore(path)) as flock:
        await flock.publish(Note(n=1))
        store = SQLiteBlackboardStore(path, read_only=True)
        await store.open()
        assert len(await store.list()) == 1
        with pytest.raises(StoreReadOnly, match="opened to be read only"):
            await store.commit(Commit())
        await store.close()
        with pytest.raises(StoreLocked):
            await SQLiteBlackboardStore(path).open()


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
async def test_a_folder_that_may_not_be_written_can_be_looked_at(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    async with Flock(store=SQLiteBlackboardStore(folder / "board.db")) as flock:
        await flock.publish(Note(n=1))
    folder.chmod(0o500)
    try:
        with pytest.raises(StoreReadOnly, match="read_only=True"):
            await SQLiteBlackboardStore(folder / "board.db").open()
        store = SQLiteBlackboardStore(folder / "board.db", read_only=True)
        await store.open()
        assert len(await store.list()) == 1
        await store.close()
    finally:
        folder.chmod(0o700)
