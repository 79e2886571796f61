"""Any board comes back from an export as it was; a broken export changes no board."""

import asyncio
import io
import random
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from flock.core.artifacts import Artifact
from flock.core.delivery import Run
from flock.core.visibility import (
    AfterVisibility,
    LabelledVisibility,
    PrivateVisibility,
    TenantVisibility,
    Visibility,
)
from flock.errors import StoreError
from flock.store.exchange import export_board, import_board
from flock.store.protocol import Commit
from flock.store.sqlite.inspection import StoredArtifact, inspect_board
from flock.store.sqlite.store import SQLiteBlackboardStore
from tests.unit.support import T0, artifact


class Anything(BaseModel):
    value: Any


words = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=8)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
plain_visibilities = st.one_of(
    st.none(),
    st.builds(PrivateVisibility, agents=st.frozensets(words, max_size=3)),
    st.builds(LabelledVisibility, required_labels=st.frozensets(words, max_size=3)),
    st.builds(TenantVisibility, tenant_id=words),
)
visibilities = plain_visibilities | st.builds(
    AfterVisibility,
    ttl=st.timedeltas(timedelta(0), timedelta(days=9)),
    then=plain_visibilities.filter(lambda v: v is not None),
)


def make(
    value: object,
    workflow: str,
    tags: frozenset[str],
    visibility: Visibility | None,
    created: float,
) -> Artifact:
    return artifact(
        Anything(value=value),
        workflow=workflow,
        tags=tags,
        visibility=visibility,
        created=created,
    )


artifacts = st.builds(
    make,
    values,
    words.filter(bool),
    st.frozensets(words, max_size=3),
    visibilities,
    st.floats(T0, T0 + 1e8),
)


async def board_with(path: Path, made: Sequence[Artifact]) -> SQLiteBlackboardStore:
    store = SQLiteBlackboardStore(path)
    await store.open()
    await store.commit(Commit(made))
    for key, each in enumerate(made, 1):
        await store.commit(Commit(run=Run(key, "agent", None, (), [each]), at=T0 + key))
    await store.close()
    return store


def rows_of(path: Path) -> list[StoredArtifact]:
    with inspect_board(path) as board:
        return list(board.artifacts())


@settings(max_examples=40, phases=[Phase.generate])  # each makes files: no shrinking
@given(st.lists(artifacts, max_size=6))
def test_a_board_comes_back_byte_by_byte(made: list[Artifact]) -> None:
    async def there_and_back(folder: Path) -> None:
        store = await board_with(folder / "board.db", made)
        first, second = io.BytesIO(), io.BytesIO()
        await export_board(store, first)
        first.seek(0)
        again = SQLiteBlackboardStore(folder / "again.db")
        report = await import_board(again, first)
        assert (report.artifacts, report.runs, report.skipped) == (len(made), len(made), 0)
        assert rows_of(again.path) == rows_of(store.path)
        await export_board(again, second)
        assert second.getvalue().splitlines()[1:] == first.getvalue().splitlines()[1:]
        first.seek(0)
        report = await import_board(again, first)
        assert (report.artifacts, report.runs, report.skipped) == (0, 0, 2 * len(made))
        assert rows_of(again.path) == rows_of(store.path)

    with TemporaryDirectory() as folder:
        asyncio.run(there_and_back(Path(folder)))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("exported")
    file = io.BytesIO()

    async def make() -> None:
        made = [artifact(Anything(value=n), tags={"t"}) for n in range(5)]
        await export_board(await board_with(folder / "board.db", made), file)

    asyncio.run(make())
    return file.getvalue()


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), cuts=st.integers(1, 4))
def test_a_broken_export_changes_nothing(exported: bytes, seed: int, cuts: int) -> None:
    dice = random.Random(seed)
    data = bytearray(exported)
    for _ in range(cuts):
        at = dice.randrange(len(data))
        match dice.randrange(3):
            case 0:
                data[at] ^= 1 << dice.randrange(8)
            case 1:
                del data[at : at + dice.randrange(1, 200)]
            case _:
                data[at:at] = bytes(dice.randrange(256) for _ in range(dice.randrange(1, 20)))

    async def into(folder: Path) -> None:
        store = await board_with(folder / "board.db", [artifact(Anything(value="mine"))])
        before = rows_of(store.path)
        try:
            await import_board(store, io.BytesIO(bytes(data)))
        except StoreError:
            assert rows_of(store.path) == before
        else:  # what was changed is a value
            assert rows_of(store.path)[: len(before)] == before
        await store.open()  # and it is a board as before
        await store.close()

    with TemporaryDirectory() as folder:
        asyncio.run(into(Path(folder)))
