"""Everything that happens is told as typed events, which a listener can come back to."""

# Agents are short lambdas here.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import asyncio
import gc
import json
import tracemalloc
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel

from flock import (
    AfterVisibility,
    Artifact,
    ArtifactPublished,
    BatchSpec,
    BoardIdle,
    Context,
    DeadLettered,
    DeclarationError,
    Event,
    EventsMissed,
    Flock,
    GroupSkipped,
    InMemoryBlackboardStore,
    JoinExpired,
    JoinSpec,
    LabelledVisibility,
    OrchestratorComponent,
    Position,
    PrivateVisibility,
    RunCancelled,
    RunEmitted,
    RunFailed,
    RunQueued,
    RunStarted,
    RunSucceeded,
    SQLiteBlackboardStore,
    StoreCorrupt,
    TenantVisibility,
    UnknownEvent,
    WorkflowError,
    WorkflowIdle,
    events_schema,
)
from flock.orchestrator.events import log as log_module
from flock.store.protocol import BlackboardStore, Commit, LogEntry
from flock.testing import ManualClock

from .support import drain

LASTING = (
    ArtifactPublished,
    RunSucceeded,
    RunFailed,
    RunCancelled,
    DeadLettered,
    GroupSkipped,
    JoinExpired,
)


class Order(BaseModel):
    number: int = 0


class Parcel(BaseModel):
    number: int = 0


class Bill(BaseModel):
    number: int = 0


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlackboardStore:
    if request.param == "memory":
        return InMemoryBlackboardStore()
    return SQLiteBlackboardStore(tmp_path / "board.db")


def busy(store: BlackboardStore, **options: Any) -> Flock:
    """Return a board on which everything that lasts happens."""

    async def pack(order: Order, ctx: Context) -> AsyncIterator[Parcel]:
        for n in range(order.number % 3):
            ctx.emit(n)
            yield Parcel(number=n)

    def check(parcel: Parcel) -> Bill | None:
        if parcel.number == 1:
            raise ValueError("no such parcel")
        return Bill(number=parcel.number)

    board = Flock(store=store, **options)
    board.agent("pack").calls(pack)
    board.agent("check").consumes(Parcel).publishes(Bill).calls(check)
    board.agent("odd").consumes(
        Parcel, Bill, where=lambda parcel, bill: parcel.number == 9
    ).publishes(Bill).calls(lambda *_: None)
    return board


def lasting(events: Iterable[Event]) -> list[Event]:
    return [event for event in events if isinstance(event, LASTING)]


def placed(events: Iterable[Event]) -> list[tuple[Position, Event]]:
    return [(event.position, event) for event in events]


async def everything(
    board: Flock,
    after: Any = 0,
    *,
    correlation_id: str | None = None,
    kinds: Any = (*LASTING, UnknownEvent, EventsMissed),
) -> list[Event]:
    """Return all that lasts on a board, which is open, by a stream of its own."""
    chosen = (*(kinds if isinstance(kinds, list | tuple) else [kinds]), WorkflowIdle)
    stream = board.events(correlation_id, after, kinds=chosen)
    found: list[Event] = []
    done = WorkflowIdle(datetime.now(UTC), correlation_id)
    board._parts.events.tell(done)
    async for event in stream:
        if event is done:
            break
        found.append(event)
    await stream.aclose()
    return found


# --- lasting and passing ----------------------------------------------------------------------


async def test_what_is_read_later_equals_what_was_told_live(store: BlackboardStore) -> None:
    board = busy(store)
    stream = board.events()
    async with board:
        for n in range(9):
            await board.publish(Order(number=n), tags={"t"})
        await board.run_until_idle()
    live = [event async for event in stream]
    async with board:
        replayed = await everything(board)
    assert {type(event) for event in replayed} == {
        ArtifactPublished,
        RunSucceeded,
        RunFailed,
        DeadLettered,
        GroupSkipped,
    }
    assert placed(replayed) == placed(lasting(live))
    assert [e.position for e in replayed] == sorted({e.position for e in replayed})


async def test_passing_events_stand_behind_what_was_told_before(store: BlackboardStore) -> None:
    board = busy(store)
    stream = board.events()
    async with board:
        await board.publish(Order(number=2))
        await board.run_until_idle()
    places = [event.position async for event in stream]
    assert places == sorted(places)
    assert len(places) > len(set(places))


async def test_the_error_is_there_live_and_its_text_later(store: BlackboardStore) -> None:
    board = busy(store)
    stream = board.events(kinds=RunFailed | DeadLettered)
    async with board:
        await board.publish(Parcel(number=1))
        await board.run_until_idle()
        live = [event async for event in _some(stream, 2)]
        later = await everything(board, kinds=[RunFailed, DeadLettered])
    assert later == live
    for now, then in zip(live, later, strict=True):
        assert isinstance(now, RunFailed | DeadLettered)
        assert isinstance(then, RunFailed | DeadLettered)
        assert isinstance(now.error, ValueError)
        assert then.error is None
        assert (then.error_type, then.error_message) == ("ValueError", "no such parcel")


async def _some(stream: AsyncIterator[Event], count: int) -> AsyncIterator[Event]:
    for _ in range(count):
        yield await anext(stream)


async def test_cancelled_runs_last(store: BlackboardStore) -> None:
    started = asyncio.Event()

    async def hang(order: Order) -> None:
        if order.number == 4:
            started.set()
        await asyncio.Event().wait()

    board = Flock(store=store)
    board.agent("hang").calls(hang)
    stream = board.events("w", kinds=RunCancelled)
    async with board:
        await board.publish_many([Order(number=n) for n in range(5)], correlation_id="w")
        await started.wait()
        await board.cancel("w")
        live = [event async for event in _some(stream, 5)]
        assert placed(await everything(board, kinds=RunCancelled)) == placed(live)


async def test_expired_joins_and_skipped_groups_last(store: BlackboardStore) -> None:
    clock = ManualClock()
    board = Flock(store=store, clock=clock)
    by = JoinSpec(by=lambda each: each.number, within=timedelta(seconds=5))
    board.agent("join").consumes(Order, Parcel, join=by).publishes(Bill).calls(lambda *_: None)
    stream = board.events()
    async with board:
        await board.publish(Order(number=7))
        await clock.advance(timedelta(seconds=6))
        await board.run_until_idle()
        replayed = await everything(board)
        assert placed(replayed) == placed(lasting(await drain(board, stream)))
    (expired,) = [event for event in replayed if isinstance(event, JoinExpired)]
    assert (expired.agent, expired.key) == ("join", "7")


async def test_a_run_whose_outputs_are_not_published_is_told_live_only(
    store: BlackboardStore,
) -> None:
    board = Flock(store=store)
    board.agent("bill").calls(lambda order: Bill()).consumes(Order).publishes(Bill)
    stream = board.events(kinds=RunSucceeded)
    async with board:
        await board.invoke("bill", Order(), publish_outputs=False)
        await board.invoke("bill", Order())
        live = [event async for event in _some(stream, 2)]
        assert placed(await everything(board, kinds=RunSucceeded)) == placed(live[1:])


# --- positions --------------------------------------------------------------------------------


def test_a_position_is_a_text_and_back() -> None:
    for position in (Position(), Position(12, 3, 4), Position(5)):
        assert Position.parse(str(position)) == position
    assert Position.parse("17") == Position(17)
    assert Position(2, 1, 0) < Position(2, 1, 1) < Position(3)


@pytest.mark.parametrize("wrong", ["", "1.2", "a", "1.2.3.4", "-1", "1.2.3\n", "²", "9" * 30])
def test_what_is_no_position_is_refused(wrong: str) -> None:
    with pytest.raises(DeclarationError, match="a position is a text such as"):
        Position.parse(wrong)


@pytest.mark.parametrize("wrong", [-1, True, 1.5, object(), b"1"])
async def test_what_names_no_place_is_refused(wrong: Any) -> None:
    with pytest.raises(DeclarationError, match="after= takes a Position"):
        Flock().events(after=wrong)


@pytest.mark.parametrize(
    "wrong", [Order, (), "run_failed", [RunFailed, "run_failed"], int | RunFailed]
)
async def test_what_is_no_kind_of_event_is_refused(wrong: Any) -> None:
    with pytest.raises(DeclarationError, match="kinds= takes classes of events") as failure:
        Flock().events(kinds=wrong)
    assert not isinstance(wrong, str) or str(failure.value).endswith(f"not {wrong!r}")


async def test_a_position_that_the_board_has_not_reached_is_told(store: BlackboardStore) -> None:
    async with Flock(store=store) as board:
        await board.publish(Order())
        with pytest.raises(DeclarationError, match=r"only come as far as position 1\.0\.0"):
            await anext(board.events(after="2.0.0"))


async def test_the_seq_of_an_artifact_is_a_position(store: BlackboardStore) -> None:
    board = busy(store)
    async with board:
        orders = [await board.publish(Order(number=n)) for n in range(4)]
        await board.run_until_idle()
        found = await everything(board)
        for artifact in (*orders, *await board.store.list()):
            at = next(
                place
                for place, event in enumerate(found)
                if isinstance(event, ArtifactPublished) and event.artifact == artifact
            )
            assert placed(await everything(board, artifact.seq)) == placed(found[at + 1 :])


# --- coming back ------------------------------------------------------------------------------


async def test_a_listener_comes_back_after_each_event_without_a_gap(store: BlackboardStore) -> None:
    board = busy(store)
    stream = board.events()
    async with board:
        for n in range(6):
            await board.publish(Order(number=n), correlation_id=f"w{n % 2}")
        await board.run_until_idle()
        live = [event async for event in _up_to_idle(stream)]
        for place, event in enumerate(live):
            rest = lasting(live[place + 1 :])
            assert placed(await everything(board, str(event.position))) == placed(rest)
            for workflow in ("w0", "w1"):
                of_it = [each for each in rest if each.correlation_id == workflow]
                found = await everything(board, event.position, correlation_id=workflow)
                assert placed(found) == placed(of_it)


async def _up_to_idle(stream: AsyncIterator[Event]) -> AsyncIterator[Event]:
    async for event in stream:
        yield event
        if isinstance(event, BoardIdle):
            return


async def test_asking_for_the_past_opens_the_board(store: BlackboardStore) -> None:
    board = busy(store)
    async with board:
        await board.publish(Order(number=1))
        await board.run_until_idle()
    again = Flock(store=store)
    first = await anext(again.events(after=0))
    assert isinstance(first, ArtifactPublished)
    await again.shutdown()


async def test_a_listener_reads_the_past_and_goes_over_to_what_happens(
    store: BlackboardStore,
) -> None:
    board = busy(store)
    async with board:
        await board.publish_many([Order() for _ in range(600)], schedule_immediately=False)
        stream = board.events(after=0)
        early = [event async for event in _some(stream, 300)]
        await board.publish(Order(number=2))
        await board.run_until_idle()
    found = early + [event async for event in stream]
    async with board:
        replayed = await everything(board)
    assert placed(lasting(found)) == placed(replayed)
    places = [event.position for event in found]
    assert places == sorted(places)


async def test_what_is_committed_while_somebody_begins_to_listen_is_told(tmp_path: Path) -> None:
    async with Flock(store=SQLiteBlackboardStore(tmp_path / "board.db")) as board:
        publishing = asyncio.create_task(board.publish(Order(number=1)))
        await asyncio.sleep(0)  # it is on its way to the file
        stream = board.events(kinds=ArtifactPublished)
        artifact = await publishing
        second = await board.publish(Order(number=2))
        found = [event async for event in _some(stream, 2)]
        assert [e.artifact for e in found if isinstance(e, ArtifactPublished)] == [artifact, second]


async def test_what_another_program_commits_past_the_board_is_told_with_the_next(
    store: BlackboardStore,
) -> None:
    async with Flock(store=store) as board:
        stream = board.events()
        entry = LogEntry("deployed", 1.0, None, b'{"version": 3, "by": "amy"}')
        await board.store.commit(Commit(logged=[entry]))
        await board.publish(Order())
        unknown, published = [event async for event in _some(stream, 2)]
    assert isinstance(unknown, UnknownEvent)
    assert (unknown.kind, unknown.version, unknown.data) == ("deployed", 3, {"by": "amy"})
    assert unknown.as_dict()["kind"] == "deployed"
    assert isinstance(published, ArtifactPublished)


async def test_only_some_kinds_are_told(store: BlackboardStore) -> None:
    board = busy(store)
    stream = board.events(kinds=(RunStarted, ArtifactPublished))
    async with board:
        await board.publish(Order(number=2))
        await board.run_until_idle()
        replayed = await everything(board, kinds=RunSucceeded)
    assert {type(event) async for event in stream} == {RunStarted, ArtifactPublished}
    assert {type(event) for event in replayed} == {RunSucceeded}


async def test_everything_is_shown_whoever_may_see_it(store: BlackboardStore) -> None:
    async with Flock(store=store) as board:
        seen = [
            PrivateVisibility(agents={"amy"}),
            LabelledVisibility(required_labels={"a"}),
            TenantVisibility(tenant_id="t"),
            AfterVisibility(ttl=timedelta(days=9)),
        ]
        for visibility in seen:
            await board.publish(Order(), visibility=visibility)
        found = await everything(board)
    shown = [e.artifact.visibility for e in found if isinstance(e, ArtifactPublished)]
    assert shown == seen
    kinds = [event.as_dict()["artifact"]["visibility"]["kind"] for event in found]
    assert kinds == ["Private", "Labelled", "Tenant", "After"]


async def test_what_was_deleted_is_told_as_missed(store: BlackboardStore) -> None:
    clock = ManualClock()
    board = busy(store, clock=clock)
    async with board:
        for n in range(5):
            await board.publish(Order(number=n))
        await board.run_until_idle()
        before = await everything(board)
        await clock.advance(timedelta(days=1))
        await board.publish(Order(number=0))
        await board.run_until_idle()
        cut = datetime.fromtimestamp(clock.time() - 60, UTC)
        await board.store.delete_before(cut)
        found = await everything(board)
        rest = await everything(board, before[-1].position)
    missed = [event for event in found if isinstance(event, EventsMissed)]
    kept = [event for event in found if not isinstance(event, EventsMissed)]
    assert kept[-len(rest) :] == rest
    assert len(kept) + sum(event.count for event in missed) == len(before) + len(rest)


async def test_nothing_but_what_was_deleted_is_left_to_tell(store: BlackboardStore) -> None:
    async with Flock(store=store) as board:
        await board.publish_many([Order() for _ in range(3)])
        stream = board.events(after=1)
        await board.store.delete_before(datetime.now(UTC) + timedelta(days=1))
        (missed,) = await everything(board)
        assert (missed, missed.position) == (EventsMissed(missed.at, None, 3), Position())
        first = await anext(stream)
        assert isinstance(first, EventsMissed)
        assert (first.count, first.position) == (2, Position(1))


# --- slow listeners ---------------------------------------------------------------------------


async def test_a_listener_that_stops_reading_does_not_grow_memory(tmp_path: Path) -> None:
    """After 100,000 events it holds what it held after 20,000, and gets all that lasts."""
    store = SQLiteBlackboardStore(tmp_path / "board.db")
    async with Flock(store=store) as board:
        stream = board.events()
        tracemalloc.start()
        try:
            held: list[int] = []
            for _ in range(5):
                for _ in range(20):
                    await board.publish_many([Order(number=n) for n in range(1000)])
                gc.collect()
                held.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
        assert held[-1] < held[0] + 500_000
        count = 0
        async for event in stream:
            assert not isinstance(event, EventsMissed)
            if isinstance(event, ArtifactPublished):
                count += 1
                assert event.artifact.seq == count
                if count == 100_000:
                    break


async def test_a_listener_that_was_slow_hears_what_happens_again(store: BlackboardStore) -> None:
    async with Flock(store=store) as board:
        stream = board.events(kinds=ArtifactPublished)
        for _ in range(11):
            await board.publish_many([Order() for _ in range(1000)])
        seqs = [event.position.artifacts async for event in _some(stream, 11_000)]
        assert seqs == list(range(1, 11_001))
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        assert not waiting.done()
        await board.publish(Order())
        assert (await waiting).position == Position(11_001)


async def test_a_cancelled_reader_loses_nothing_of_the_past(store: BlackboardStore) -> None:
    async with Flock(store=store) as board:
        await board.publish_many([Order() for _ in range(700)])
        stream = board.events(after=0)
        seen: list[int] = []
        for cut in range(400):
            reader = asyncio.ensure_future(anext(stream))
            for _ in range(cut % 4):
                await asyncio.sleep(0)
            reader.cancel()
            with suppress(asyncio.CancelledError):
                seen.append((await reader).position.artifacts)
        while len(seen) < 700:
            seen.append((await anext(stream)).position.artifacts)
    assert seen == list(range(1, 701))


async def test_two_readers_of_one_stream_share_the_past(store: BlackboardStore) -> None:
    async with Flock(store=store) as board:
        await board.publish_many([Order() for _ in range(1000)])
        stream = board.events(after=0, kinds=ArtifactPublished)

        async def read() -> list[int]:
            return [event.position.artifacts async for event in _some(stream, 500)]

        one, two = await asyncio.gather(read(), read())
    assert sorted(one + two) == list(range(1, 1001))


async def test_a_listener_reads_to_the_end_after_the_shutdown(store: BlackboardStore) -> None:
    board = Flock(store=store)
    async with board:
        await board.publish_many([Order() for _ in range(700)])
        stream = board.events(after=0)
        await anext(stream)
    async with board:
        await board.publish(Order())
    assert len([event async for event in stream if isinstance(event, ArtifactPublished)]) == 699


# --- versions and JSON ------------------------------------------------------------------------


async def test_events_of_an_older_version_are_upcast(
    store: BlackboardStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def renamed(said: dict[str, Any]) -> dict[str, Any]:
        return {**said, "reason": said.pop("why")}

    entry = LogEntry(
        "group_skipped", 1.0, "w", b'{"version": 1, "agent": "amy", "artifact_ids": [], "why": "x"}'
    )
    monkeypatch.setattr(GroupSkipped, "VERSION", 2)
    monkeypatch.setitem(log_module.UPCASTERS, ("group_skipped", 1), renamed)
    async with Flock(store=store) as board:
        await board.store.commit(Commit(logged=[entry]))
        (event,) = await everything(board)
        assert event == GroupSkipped(datetime.fromtimestamp(1, UTC), "w", "amy", (), "x")
        monkeypatch.delitem(log_module.UPCASTERS, ("group_skipped", 1))
        with pytest.raises(StoreCorrupt, match="nothing reads version 1 of it"):
            await everything(board)


@pytest.mark.parametrize(
    "data", [b"[]", b'{"version": 1, "agent": "amy"}', b'{"version": 1, "agent": 5}']
)
async def test_an_entry_that_says_nonsense_is_named(store: BlackboardStore, data: bytes) -> None:
    async with Flock(store=store) as board:
        await board.store.commit(Commit(logged=[LogEntry("run_cancelled", 1.0, "w", data)]))
        with pytest.raises(StoreCorrupt, match="entry 1 of the board's log, a 'run_cancelled'"):
            await everything(board)


async def test_a_newer_version_comes_as_unknown(store: BlackboardStore) -> None:
    async with Flock(store=store) as board:
        entry = LogEntry("run_failed", 1.0, "w", b'{"version": 2, "who": "amy"}')
        await board.store.commit(Commit(logged=[entry, LogEntry("x", 1.0, None, b"{}")]))
        newer, other = await everything(board)
    assert isinstance(newer, UnknownEvent)
    assert (newer.kind, newer.version, newer.data) == ("run_failed", 2, {"who": "amy"})
    assert isinstance(other, UnknownEvent)
    assert other.version == 0


async def test_every_event_is_json_that_fits_the_schema(store: BlackboardStore) -> None:
    validator = jsonschema.Draft202012Validator(events_schema())
    board = busy(store)
    board.agent("batch").consumes(Order, batch=BatchSpec(size=2)).publishes(Bill).calls(
        lambda orders: None
    )
    stream = board.events()
    async with board:
        for n in range(4):
            await board.publish(Order(number=n))
        await board.run_until_idle()
    told = {type(event): event.as_dict() async for event in stream}
    assert len(told) >= 10
    for cls, said in told.items():
        validator.validate(json.loads(json.dumps(said)))
        assert said["version"] == cls.VERSION
    assert told[RunSucceeded]["kind"] == "run_succeeded"
    assert all(isinstance(each, str) for each in told[RunSucceeded]["outputs"])
    assert {RunQueued, RunStarted, RunEmitted, WorkflowIdle, BoardIdle} <= told.keys()


def test_what_cannot_be_json_is_said_as_text() -> None:
    said = RunEmitted(datetime.now(UTC), "w", "amy", "r", object()).as_dict()
    assert "object object at" in said["delta"]


# --- components -------------------------------------------------------------------------------


async def test_what_components_withhold_is_not_in_the_log(store: BlackboardStore) -> None:
    class Discreet(OrchestratorComponent):
        name: str | None = "discreet"

        async def on_artifact_published(self, orchestrator: Any, artifact: Artifact) -> Artifact:
            if artifact.type == "flock.WorkflowError":
                error = artifact.as_model(WorkflowError).model_copy(
                    update={"error_message": "withheld"}
                )
                return artifact.replace(error)
            return artifact

    board = busy(store).add_component(Discreet())
    async with board:
        await board.publish(Parcel(number=1))
        await board.run_until_idle()
        found = await everything(board, kinds=[RunFailed, DeadLettered])
    said = [e.error_message for e in found if isinstance(e, RunFailed | DeadLettered)]
    assert said == ["withheld", "withheld"]
