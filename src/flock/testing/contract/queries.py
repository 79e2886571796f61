"""Every query answers as a look through the whole list would."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, Final, TypeVar
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from flock.clock import as_datetime
from flock.core.artifacts import Artifact
from flock.core.filters import FilterConfig
from flock.core.types import registry
from flock.core.visibility import (
    PUBLIC,
    AfterVisibility,
    LabelledVisibility,
    PrivateVisibility,
    TenantVisibility,
    Visibility,
)
from flock.errors import TypeRegistryError
from flock.store.protocol import BlackboardStore, Commit
from flock.testing.contract.foundation import QUICKLY, Foundation
from flock.testing.contract.samples import T0, A, B, C, artifact, shown

T = TypeVar("T")

VISIBILITIES: Final[list[Visibility]] = [
    PUBLIC,
    PrivateVisibility(agents=frozenset({"amy"})),
    LabelledVisibility(required_labels=frozenset({"x"})),
    TenantVisibility(tenant_id="t"),
    AfterVisibility(ttl=timedelta(hours=1)),
]
MODELS: Final[list[type[BaseModel]]] = [A, B, C]
PRODUCERS: Final = ["external", "amy", "zed"]
WORKFLOWS: Final = ["w1", "w2", "w3"]
TAGS: Final = ["red", "blue", "old"]
KINDS: Final = ["Public", "Private", "Labelled", "Tenant", "After"]

contents = st.builds(
    artifact,
    st.sampled_from([A(n=1), A(n=2), B(n=3), C(n=4)]),
    workflow=st.sampled_from(WORKFLOWS),
    produced_by=st.sampled_from(PRODUCERS),
    tags=st.sets(st.sampled_from(TAGS)),
    visibility=st.sampled_from(VISIBILITIES),
    created=st.integers(0, 8).map(lambda n: T0 + n),
)
moments = st.integers(-1, 9).map(lambda n: as_datetime(T0 + n))
boards = st.lists(st.lists(contents, max_size=4, unique_by=id), max_size=6)


def some(words: Sequence[T]) -> st.SearchStrategy[list[T] | None]:
    """Return a choice of these, or none at all."""
    return st.none() | st.lists(st.sampled_from(words), max_size=len(words), unique=True)


filters = st.builds(
    FilterConfig,
    type_names=some(MODELS),
    produced_by=some([*PRODUCERS, "nobody"]),
    correlation_id=st.none() | st.sampled_from([*WORKFLOWS, "none"]),
    tags=some(TAGS),
    visibility=some(KINDS),
    start=st.none() | moments,
    end=st.none() | moments,
)


def asked_for(where: FilterConfig, it: Artifact) -> bool:
    """Say what each option of a filter asks for, in the words of its docstring."""
    wanted = where.type_names
    return (
        (wanted is None or it.type in wanted)
        and (where.produced_by is None or it.produced_by in where.produced_by)
        and (where.correlation_id is None or it.correlation_id == where.correlation_id)
        and (where.tags is None or all(tag in it.tags for tag in where.tags))
        and (where.visibility is None or it.visibility.kind.lower() in where.visibility)
        and (where.start is None or it.created_at >= where.start)
        and (where.end is None or it.created_at <= where.end)
    )


async def filled(store: BlackboardStore, commits: Sequence[Sequence[Artifact]]) -> list[Artifact]:
    """Put artifacts on the board, and return them in its order."""
    board: list[Artifact] = []
    for made in commits:
        await store.commit(Commit(made))
        board += made
    return board


async def some_of_each(store: BlackboardStore) -> list[Artifact]:
    """Put three artifacts on the board that differ in all that is asked for."""
    made = [
        artifact(A(n=1), workflow="w1", tags=["red", "old"]),
        artifact(B(n=2), workflow="w1", produced_by="amy", visibility=VISIBILITIES[1]),
        artifact(A(n=3), workflow="w2", tags=["red"], created=T0 + 5),
    ]
    await store.commit(Commit(made))
    return made


async def check_summary(
    store: BlackboardStore, where: FilterConfig | None, found: Sequence[Artifact]
) -> None:
    """Compare a summary with the counts of what it is about."""
    summary = await store.summary(where)
    times = [it.created_at for it in found]
    assert summary.total == len(found)
    assert dict(summary.by_type) == Counter(it.type for it in found)
    assert dict(summary.by_producer) == Counter(it.produced_by for it in found)
    assert dict(summary.by_visibility) == Counter(it.visibility.kind for it in found)
    assert dict(summary.by_tag) == Counter(tag for it in found for tag in it.tags)
    assert summary.earliest == min(times, default=None)
    assert summary.latest == max(times, default=None)


async def check_types(store: BlackboardStore, model: Sequence[Artifact]) -> None:
    """Compare what is found by type and by id with the whole board."""
    assert shown(await store.list()) == shown(model)
    for cls in MODELS:
        of_type = [it for it in model if it.type == registry.entry(cls).name]
        assert shown(await store.list_by_type(cls)) == shown(of_type)
        for workflow in (None, *WORKFLOWS):
            here = [it for it in of_type if workflow in {None, it.correlation_id}]
            got = await store.get_by_type(cls, correlation_id=workflow)
            assert got == [it.as_model(cls) for it in here]
    for it in model:
        assert shown([await store.get(it.id) or it]) == shown([it])


class Queries(Foundation):
    """Every query answers as a look through the whole list would."""

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({}, [0, 1, 2]),
            ({"type_names": ["SampleA"]}, [0, 2]),
            ({"type_names": "SampleA"}, [0, 2]),
            ({"type_names": A}, [0, 2]),
            ({"type_names": [A, "flock.testing.contract.samples.B"]}, [0, 1, 2]),
            ({"type_names": []}, []),
            ({"produced_by": "amy"}, [1]),
            ({"produced_by": {"external", "amy"}}, [0, 1, 2]),
            ({"correlation_id": "w1"}, [0, 1]),
            ({"correlation_id": "w1", "type_names": [A]}, [0]),
            ({"tags": ["red"]}, [0, 2]),
            ({"tags": ["red", "old"]}, [0]),
            ({"tags": []}, [0, 1, 2]),
            ({"visibility": ["private"]}, [1]),
            ({"visibility": ["Public", "Private"]}, [0, 1, 2]),
            ({"start": as_datetime(T0 + 5)}, [2]),
            ({"end": as_datetime(T0)}, [0, 1]),
            ({"start": as_datetime(T0), "end": as_datetime(T0)}, [0, 1]),
            ({"end": as_datetime(T0).astimezone(timezone(timedelta(hours=5)))}, [0, 1]),
            ({"correlation_id": "none"}, []),
        ],
    )
    async def test_each_option_of_a_filter_narrows(
        self, store: BlackboardStore, options: dict[str, Any], expected: list[int]
    ) -> None:
        made = await some_of_each(store)
        items, total = await store.query_artifacts(FilterConfig(**options))
        assert [made.index(it) for it in items] == expected
        assert total == len(expected)

    async def test_pages_are_of_a_hundred_unless_said_and_the_total_counts_all(
        self, store: BlackboardStore
    ) -> None:
        await store.commit(Commit([artifact(A(n=n)) for n in range(130)]))
        items, total = await store.query_artifacts()
        assert (len(items), total) == (100, 130)
        items, total = await store.query_artifacts(offset=100)
        assert ([it.payload["n"] for it in items], total) == ([*range(100, 130)], 130)

    @pytest.mark.parametrize(("limit", "offset"), [(-1, 0), (5, -1)])
    async def test_negative_pages_are_refused(
        self, store: BlackboardStore, limit: int, offset: int
    ) -> None:
        with pytest.raises(ValueError, match="at least 0"):
            await store.query_artifacts(limit=limit, offset=offset)

    @pytest.mark.parametrize("unknown", [UUID(int=3), str(UUID(int=3)), "no id", ""])
    async def test_an_unknown_id_gives_none(
        self, store: BlackboardStore, unknown: UUID | str
    ) -> None:
        await some_of_each(store)
        assert await store.get(unknown) is None

    async def test_types_can_be_asked_for_by_name(self, store: BlackboardStore) -> None:
        made = await some_of_each(store)
        assert await store.list_by_type("SampleA") == [made[0], made[2]]
        assert await store.list_by_type("flock.testing.contract.samples.B") == [made[1]]
        assert await store.list_by_type(C) == []
        with pytest.raises(TypeRegistryError, match="Unheard"):
            await store.list_by_type("Unheard")

    async def test_an_artifact_comes_back_with_all_that_it_was(
        self, store: BlackboardStore
    ) -> None:
        root = artifact(A(), workflow="w")
        visibility = AfterVisibility(ttl=timedelta(seconds=5), then=TenantVisibility(tenant_id="t"))
        made = artifact(
            B(n=5),
            workflow="w",
            produced_by="amy",
            tags=["red"],
            visibility=visibility,
            created=T0 + 0.25,
            parents=[root],
        ).replace(partition_key="p")
        await store.commit(Commit([root, made]))
        found = await store.get(made.id)
        assert found is not None
        assert shown([found]) == shown([made])
        assert (found.partition_key, found.visibility, found.depth) == ("p", visibility, 1)
        assert found.parents == (root.id,)

    @QUICKLY
    @given(
        board=boards,
        where=st.none() | filters,
        limit=st.integers(0, 12),
        offset=st.integers(0, 12),
        before=st.none() | st.integers(0, 20),
        doomed=st.none() | moments,
    )
    async def test_queries_are_what_a_look_through_the_whole_board_gives(
        self,
        board: list[list[Artifact]],
        where: FilterConfig | None,
        limit: int,
        offset: int,
        before: int | None,
        doomed: datetime | None,
    ) -> None:
        async with self.empty_store() as store:
            model = await filled(store, board)
            if doomed is not None:
                gone = [it for it in model if it.created_at < doomed]
                assert await store.delete_before(doomed) == len(gone)
                model = [it for it in model if it not in gone]
            found = [it for it in model if where is None or asked_for(where, it)]
            page, total = await store.query_artifacts(where, limit, offset)
            assert total == len(found)
            assert shown(page) == shown(found[offset : offset + limit])
            newest = [it for it in found if before is None or it.seq < before][::-1][:limit]
            assert shown(await store.latest(where, limit=limit, before=before)) == shown(newest)
            oldest = [it for it in found if before is None or it.seq > before][:limit]
            earliest = await store.earliest(where, limit=limit, after=before or 0)
            assert shown(earliest) == shown(oldest)
            await check_summary(store, where, found)
            await check_types(store, model)

    async def test_pages_follow_one_another_without_a_gap(self, store: BlackboardStore) -> None:
        made = [
            artifact(A(n=n), workflow=f"w{n % 2}", created=T0 + n % 7, tags=["even"][n % 2 :])
            for n in range(60)
        ]
        await store.commit(Commit(made))
        for where in (
            None,
            FilterConfig(correlation_id="w1"),
            FilterConfig(tags=["even"]),
            FilterConfig(type_names=[A, B]),
            FilterConfig(start=as_datetime(T0 + 3)),
            FilterConfig(end=as_datetime(T0 + 3), visibility=["Public"]),
        ):
            wanted = [it for it in made if where is None or asked_for(where, it)]
            pages: list[Artifact] = []
            for offset in range(0, 70, 7):
                page, total = await store.query_artifacts(where, 7, offset)
                assert total == len(wanted)
                pages += page
            assert shown(pages) == shown(wanted)
            backwards: list[Artifact] = []
            while page := await store.latest(
                where, limit=7, before=backwards[-1].seq if backwards else None
            ):
                backwards += page
            assert shown(backwards) == shown(wanted[::-1])
            forwards: list[Artifact] = []
            while page := await store.earliest(
                where, limit=7, after=forwards[-1].seq if forwards else 0
            ):
                forwards += page
            assert shown(forwards) == shown(wanted)

    async def test_words_are_compared_as_they_are_written(self, store: BlackboardStore) -> None:
        words = ["w", "W", "w ", "ẃ", "w\u0301", "w%", "w_", "w\x00", "w\x00b", "'; --"]
        made = [artifact(A(), workflow=w, produced_by=w, tags=[w]) for w in words]
        await store.commit(Commit(made))
        for word, it in zip(words, made, strict=True):
            for where in (
                FilterConfig(correlation_id=word),
                FilterConfig(produced_by=[word]),
                FilterConfig(tags=[word]),
            ):
                assert shown((await store.query_artifacts(where))[0]) == shown([it])

    async def test_what_no_text_holds_is_on_no_board(self, store: BlackboardStore) -> None:
        await some_of_each(store)
        odd = "w1\ud800"
        for where in (
            FilterConfig(correlation_id=odd),
            FilterConfig(produced_by=[odd]),
            FilterConfig(tags=[odd]),
        ):
            assert await store.query_artifacts(where) == ([], 0)
            assert (await store.summary(where)).total == 0
        assert await store.published_as(odd) is None
        assert (await store.spent(correlation_id=odd, agent=odd)).total.calls == 0
