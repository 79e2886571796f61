"""Every query answers as a look through the whole list would."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from flock.clock import as_datetime
from flock.core.artifacts import Artifact, new_key
from flock.core.delivery import Delivery, Run
from flock.core.filters import FilterConfig
from flock.core.types import flock_type, registry
from flock.core.visibility import (
    PUBLIC,
    AfterVisibility,
    LabelledVisibility,
    PrivateVisibility,
    TenantVisibility,
    Visibility,
)
from flock.errors import TypeRegistryError
from flock.store.protocol import BlackboardStore, Commit, DeadLetter
from tests.contract.stores import Factory
from tests.unit.support import T0, A, B, C, artifact, subscription

VISIBILITIES: list[Visibility] = [
    PUBLIC,
    PrivateVisibility(agents=frozenset({"amy"})),
    LabelledVisibility(required_labels=frozenset({"x"})),
    TenantVisibility(tenant_id="t"),
    AfterVisibility(ttl=timedelta(hours=1)),
]
MODELS: list[type[BaseModel]] = [A, B, C]
PRODUCERS = ["external", "amy", "zed"]
WORKFLOWS = ["w1", "w2", "w3"]
TAGS = ["red", "blue", "old"]
KINDS = ["Public", "Private", "Labelled", "Tenant", "After"]

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


def some(words: Sequence[Any]) -> st.SearchStrategy[Any]:
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


def shown(artifacts: Sequence[Artifact]) -> list[tuple[Any, ...]]:
    """Everything that an artifact shows, since artifacts are equal by their ids."""
    return [
        (
            it.id,
            it.seq,
            it.type,
            it.payload,
            it.produced_by,
            it.correlation_id,
            it.tags,
            it.visibility,
            it.created_at,
            it.parents,
            it.depth,
        )
        for it in artifacts
    ]


async def filled(store: BlackboardStore, commits: Sequence[Sequence[Artifact]]) -> list[Artifact]:
    board: list[Artifact] = []
    for made in commits:
        await store.commit(Commit(made))
        board += made
    return board


boards = st.lists(st.lists(contents, max_size=4, unique_by=id), max_size=6)
quickly = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quickly
@given(
    board=boards,
    where=st.none() | filters,
    limit=st.integers(0, 12),
    offset=st.integers(0, 12),
    before=st.none() | st.integers(0, 20),
    doomed=st.none() | moments,
)
def test_queries_are_what_a_look_through_the_whole_board_gives(
    factory: Factory,
    board: list[list[Artifact]],
    where: FilterConfig | None,
    limit: int,
    offset: int,
    before: int | None,
    doomed: datetime | None,
) -> None:
    async def check() -> None:
        async with factory() as store:
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

            summary = await store.summary(where)
            times = [it.created_at for it in found]
            assert summary.total == len(found)
            assert dict(summary.by_type) == Counter(it.type for it in found)
            assert dict(summary.by_producer) == Counter(it.produced_by for it in found)
            assert dict(summary.by_visibility) == Counter(it.visibility.kind for it in found)
            assert dict(summary.by_tag) == Counter(tag for it in found for tag in it.tags)
            assert summary.earliest == min(times, default=None)
            assert summary.latest == max(times, default=None)

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

    asyncio.run(check())


async def some_of_each(store: BlackboardStore) -> list[Artifact]:
    made = [
        artifact(A(n=1), workflow="w1", tags=["red", "old"]),
        artifact(B(n=2), workflow="w1", produced_by="amy", visibility=VISIBILITIES[1]),
        artifact(A(n=3), workflow="w2", tags=["red"], created=T0 + 5),
    ]
    await store.commit(Commit(made))
    return made


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0, 1, 2]),
        ({"type_names": ["UnitA"]}, [0, 2]),
        ({"type_names": "UnitA"}, [0, 2]),
        ({"type_names": A}, [0, 2]),
        ({"type_names": [A, "tests.unit.support.B"]}, [0, 1, 2]),
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
    store: BlackboardStore, options: dict[str, Any], expected: list[int]
) -> None:
    made = await some_of_each(store)
    items, total = await store.query_artifacts(FilterConfig(**options))
    assert [made.index(it) for it in items] == expected
    assert total == len(expected)


async def test_pages_are_of_a_hundred_unless_said_and_the_total_counts_all(
    store: BlackboardStore,
) -> None:
    await store.commit(Commit([artifact(A(n=n)) for n in range(130)]))
    items, total = await store.query_artifacts()
    assert (len(items), total) == (100, 130)
    items, total = await store.query_artifacts(offset=100)
    assert ([it.payload["n"] for it in items], total) == ([*range(100, 130)], 130)


@pytest.mark.parametrize(("limit", "offset"), [(-1, 0), (5, -1)])
async def test_negative_pages_are_refused(store: BlackboardStore, limit: int, offset: int) -> None:
    with pytest.raises(ValueError, match="at least 0"):
        await store.query_artifacts(limit=limit, offset=offset)


@pytest.mark.parametrize("unknown", [UUID(int=3), str(UUID(int=3)), "no id", ""])
async def test_an_unknown_id_gives_none(store: BlackboardStore, unknown: UUID | str) -> None:
    await some_of_each(store)
    assert await store.get(unknown) is None


async def test_types_can_be_asked_for_by_name(store: BlackboardStore) -> None:
    made = await some_of_each(store)
    assert await store.list_by_type("UnitA") == [made[0], made[2]]
    assert await store.list_by_type("tests.unit.support.B") == [made[1]]
    assert await store.list_by_type(C) == []
    with pytest.raises(TypeRegistryError, match="Unheard"):
        await store.list_by_type("Unheard")


async def test_an_artifact_comes_back_with_all_that_it_was(store: BlackboardStore) -> None:
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


# --- deleting ---------------------------------------------------------------------------------


async def test_deleting_keeps_what_open_work_needs(store: BlackboardStore) -> None:
    reader = subscription(A)
    waiting, used, dead, plain = (artifact(A(n=n)) for n in range(4))
    deliveries = [Delivery(it, reader) for it in (waiting, used, dead)]
    await store.commit(Commit([waiting, used, dead, plain], deliveries))
    run = Run(new_key(T0), "agent", reader, deliveries[1:2], [used])
    await store.commit(Commit(closed=deliveries[1:2], run=run))
    failed = Run(new_key(T0), "agent", reader, deliveries[2:], [dead])
    letter = DeadLetter(UUID(int=1), failed, "ValueError", "broken", T0)
    await store.commit(Commit(closed=deliveries[2:], buried=letter))

    later = as_datetime(T0 + 1)
    assert await store.delete_before(later) == 2
    assert await store.list() == [waiting, dead]
    assert await store.get(used.id) is None
    assert await store.consumptions(used.id) == []

    await store.commit(Commit(closed=deliveries[:1], redriven=letter.id))
    assert await store.delete_before(later) == 2
    assert await store.list() == []


async def test_deleting_goes_by_time_and_spares_the_moment_itself(store: BlackboardStore) -> None:
    made = await some_of_each(store)
    assert await store.delete_before(as_datetime(T0)) == 0
    assert await store.delete_before(as_datetime(T0 + 5)) == 2
    assert await store.list() == [made[2]]
    assert await store.delete_before(as_datetime(T0 + 5)) == 0


async def test_places_on_the_board_are_never_given_again(store: BlackboardStore) -> None:
    await some_of_each(store)
    await store.delete_before(datetime.max.replace(tzinfo=UTC))
    await store.commit(Commit([fresh := artifact(A())]))
    assert fresh.seq == 4
    assert (await store.query_artifacts())[1] == 1


async def test_deleting_keeps_the_consumption_of_what_stays(store: BlackboardStore) -> None:
    old, new = artifact(A()), artifact(A(), created=T0 + 9)
    await store.commit(Commit([old, new]))
    for it in (old, new):
        await store.commit(Commit(run=Run(new_key(T0), "agent", None, (), [it]), at=T0))
    assert len(await store.consumptions(old.id)) == 1
    await store.delete_before(as_datetime(T0 + 5))
    assert await store.consumptions(old.id) == []
    assert len(await store.consumptions(new.id)) == 1
    await store.commit(Commit(run=Run(new_key(T0), "other", None, (), [new]), at=T0))
    assert [r.consumer for r in await store.consumptions(new.id)] == ["agent", "other"]


async def test_a_naive_time_is_refused(store: BlackboardStore) -> None:
    await some_of_each(store)
    with pytest.raises(ValueError, match="time zone"):
        await store.delete_before(datetime(2030, 1, 1))  # noqa: DTZ001 - a naive time
    assert (await store.query_artifacts())[1] == 3


async def test_order_is_kept_over_many_artifacts_and_deletions(store: BlackboardStore) -> None:
    for start in range(0, 2500, 250):
        made = [artifact(A(n=n), created=T0 + n % 2) for n in range(start, start + 250)]
        await store.commit(Commit(made))
    assert await store.delete_before(as_datetime(T0 + 1)) == 1250
    kept = await store.list()
    assert [it.payload["n"] for it in kept] == [*range(1, 2500, 2)]
    assert all(one.seq < two.seq for one, two in pairwise(kept))
    assert [m.n for m in await store.get_by_type(A)] == [*range(1, 2500, 2)]


# --- types that were renamed ------------------------------------------------------------------


async def test_what_was_stored_under_a_former_name_is_found_under_each(
    store: BlackboardStore,
) -> None:
    class Renamed(BaseModel):
        n: int = 0

    former = f"{__name__}.{Renamed.__qualname__}"
    old, other = artifact(Renamed(n=1)), artifact(A())
    await store.commit(Commit([old, other]))
    by_former = FilterConfig(type_names={former})
    name = f"renamed of {former} on {type(store).__name__}"
    flock_type(name=name)(Renamed)
    new = artifact(Renamed(n=2), workflow=old.correlation_id)
    await store.commit(Commit([new]))

    for asked in (Renamed, name, former):
        assert await store.list_by_type(asked) == [old, new]
    assert await store.get_by_type(Renamed) == [Renamed(n=1), Renamed(n=2)]
    workflow = old.correlation_id
    assert await store.get_by_type(Renamed, workflow) == [Renamed(n=1), Renamed(n=2)]
    for where in (
        by_former,
        FilterConfig(type_names={former}),
        FilterConfig(type_names={name}),
        FilterConfig(type_names={Renamed}),
        FilterConfig(type_names={former}, correlation_id=workflow),
        FilterConfig(type_names={name, former}, end=as_datetime(T0 + 9)),
    ):
        assert await store.query_artifacts(where) == ([old, new], 2)
        assert await store.latest(where, limit=9) == [new, old]
        assert (await store.summary(where)).by_type == {name: 2}
    assert [found.type for found in await store.list()] == [name, other.type, name]
