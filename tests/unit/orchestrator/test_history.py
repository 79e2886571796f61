"""An agent gets the history it may read: a provider can narrow it, never widen it."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from flock.core.artifacts import Artifact
from flock.core.context import ContextProvider, ContextRequest
from flock.core.delivery import Run
from flock.core.filters import FilterConfig
from flock.core.visibility import (
    AfterVisibility,
    AgentIdentity,
    PrivateVisibility,
    TenantVisibility,
)
from flock.orchestrator.history import DEFAULT_LIMIT, can_read, default_provider, load_history
from flock.store.memory import InMemoryBlackboardStore
from flock.store.protocol import Commit
from tests.unit.support import T0, A, B, artifact

AMY = AgentIdentity("amy", tenant_id="t")
HIDDEN = PrivateVisibility(agents=frozenset({"bob"}))


async def history(
    board: Sequence[Artifact],
    inputs: Sequence[Artifact],
    provider: ContextProvider = default_provider,
    now: float = T0,
    seen: int | None = None,
) -> list[Artifact]:
    store = InMemoryBlackboardStore()
    await store.commit(Commit(board))
    run = Run(1, "amy", None, (), list(inputs))
    run.seen, run.began = store.position if seen is None else seen, now
    return [*await load_history(run, AMY, provider, store)]


def numbers(artifacts: Sequence[Artifact]) -> list[int]:
    return [made.payload["n"] for made in artifacts]


@pytest.mark.parametrize(
    ("visibility", "produced_by", "now", "expected"),
    [
        (None, "external", T0, True),
        (HIDDEN, "bob", T0, False),
        (HIDDEN, "amy", T0, True),
        (TenantVisibility(tenant_id="t"), "bob", T0, True),
        (AfterVisibility(ttl=timedelta(seconds=5)), "bob", T0 + 4.9, False),
        (AfterVisibility(ttl=timedelta(seconds=5)), "bob", T0 + 5, True),
        (AfterVisibility(ttl=timedelta(seconds=5)), "amy", T0, True),
        (AfterVisibility(ttl=timedelta(0), then=HIDDEN), "bob", T0 + 9, False),
    ],
)
def test_who_can_read(
    visibility: AfterVisibility | None, produced_by: str, now: float, expected: bool
) -> None:
    made = artifact(A(), visibility=visibility, produced_by=produced_by)
    assert can_read(made, AMY, now) is expected


async def test_it_is_the_workflow_without_the_inputs_oldest_first() -> None:
    board = [artifact(A(n=n), workflow="w" if n != 2 else "other") for n in range(5)]
    assert numbers(await history(board, [board[3]])) == [0, 1, 4]


async def test_it_is_the_newest_fifty() -> None:
    board = [artifact(A(n=n), workflow="w") for n in range(70)]
    found = await history(board, [board[69], board[40]])
    assert len(found) == DEFAULT_LIMIT == 50
    assert numbers(found) == [n for n in range(18, 69) if n != 40]


async def test_what_is_hidden_does_not_count() -> None:
    board = [
        artifact(A(n=n), workflow="w", visibility=HIDDEN if n % 2 else None) for n in range(150)
    ]
    found = await history(board, [board[148]])
    assert numbers(found) == [*range(48, 148, 2)]


async def test_a_provider_asks_across_workflows_newest_first() -> None:
    seen: list[list[int]] = []

    async def provider(request: ContextRequest) -> list[Artifact]:
        assert (request.agent, request.correlation_id) == (AMY, "w")
        assert numbers(request.inputs) == [0]
        seen.append(numbers(await request.query()))
        seen.append(numbers(await request.query(limit=2)))
        seen.append(numbers(await request.query(FilterConfig(correlation_id="v"), limit=9)))
        seen.append(numbers(await request.query(FilterConfig(type_names=[B]))))
        seen.append(numbers(await request.query(limit=0)))
        return []

    board = [artifact(A(n=n), workflow="v" if n in {1, 3} else "w") for n in range(5)]
    assert await history(board, [board[0]], provider) == []
    assert seen == [[4, 3, 2, 1, 0], [4, 3], [3, 1], [], []]


async def test_a_query_never_shows_what_the_agent_may_not_read() -> None:
    async def provider(request: ContextRequest) -> list[Artifact]:
        return await request.query(FilterConfig(visibility=["Private"]))

    board = [artifact(A(), workflow="w"), artifact(A(), workflow="w", visibility=HIDDEN)]
    assert await history(board, [board[0]], provider) == []


async def test_what_a_provider_returns_is_filtered_once_more() -> None:
    board = [
        artifact(A(n=0), workflow="w"),
        artifact(A(n=1), workflow="w", visibility=HIDDEN),
        artifact(A(n=2), workflow="w"),
    ]
    foreign = artifact(A(n=3), workflow="w")
    forged = board[1].replace(visibility=None, tags=["forged"])
    public = board[2].replace(A(n=99))

    async def provider(request: ContextRequest) -> list[Artifact]:
        await request.query()
        return [*board, foreign, forged, public]

    found = await history(board, [artifact(A(), workflow="w")], provider)
    assert numbers(found) == [0, 2, 2], "what lies on the board, as it lies there"


async def test_a_provider_may_return_any_iterable_in_its_own_order() -> None:
    async def provider(request: ContextRequest) -> tuple[Artifact, ...]:
        newest = await request.query()
        return (newest[-1], newest[0])

    board = [artifact(A(n=n), workflow="w") for n in range(4)]
    assert numbers(await history(board, [board[0]], provider)) == [0, 3]


async def test_a_failing_provider_is_the_callers_to_handle() -> None:
    async def provider(request: ContextRequest) -> list[Artifact]:
        raise KeyError(request.correlation_id)

    made = artifact(A(), workflow="w")
    with pytest.raises(KeyError, match="w"):
        await history([made], [made], provider)
