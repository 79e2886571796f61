"""Every listener reads what happens, in order, without ever holding the board up."""

import asyncio
import gc
import threading
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime

import pytest

from flock.orchestrator.events import (
    BoardIdle,
    Event,
    EventBus,
    EventsMissed,
    EventStream,
    RunQueued,
    WorkflowIdle,
)
from flock.orchestrator.events import stream as stream_module
from flock.orchestrator.events.stream import BUFFER
from flock.store.memory import InMemoryBlackboardStore
from tests.unit.support import turns, until

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def new_bus() -> EventBus:
    return EventBus(InMemoryBlackboardStore(), lambda: NOW.timestamp())


def queued(number: int, workflow: str = "w") -> RunQueued:
    return RunQueued(NOW, workflow, "amy", str(number))


async def rest_of(bus: EventBus, stream: EventStream) -> list[Event]:
    bus.end()
    return [event async for event in stream]


async def test_a_listener_reads_what_happens_from_the_call_on_in_order() -> None:
    bus = new_bus()
    bus.tell(queued(0))
    stream = bus.listen()
    told = [queued(1), queued(2), BoardIdle(NOW, None)]
    for event in told:
        bus.tell(event)
    assert await rest_of(bus, stream) == told


async def test_every_listener_reads_everything() -> None:
    bus = new_bus()
    streams = [bus.listen(), bus.listen()]
    bus.tell(event := queued(1))
    assert [await anext(stream) for stream in streams] == [event, event]


async def test_a_listener_to_one_workflow_reads_only_its_events() -> None:
    bus = new_bus()
    stream = bus.listen("w")
    bus.tell(queued(1))
    bus.tell(queued(2, "other"))
    bus.tell(BoardIdle(NOW, None))
    bus.tell(ended := WorkflowIdle(NOW, "w"))
    assert await rest_of(bus, stream) == [queued(1), ended]


async def test_a_listener_waits_for_the_next_event() -> None:
    bus = new_bus()
    stream = bus.listen()
    reader = asyncio.create_task(take(stream))
    await turns()
    assert not reader.done()
    bus.tell(queued(1))
    assert await reader == queued(1)


async def take(stream: EventStream) -> Event:
    return await anext(stream)


async def test_a_cancelled_reader_loses_no_event() -> None:
    bus = new_bus()
    stream = bus.listen()
    reader = asyncio.create_task(take(stream))
    await turns()
    bus.tell(queued(1))
    reader.cancel()
    await turns()
    if reader.cancelled():
        assert await anext(stream) == queued(1)
    else:
        assert reader.result() == queued(1)


async def test_two_readers_of_one_stream_both_go_on() -> None:
    bus = new_bus()
    stream = bus.listen()
    readers = [asyncio.create_task(take(stream)) for _ in range(2)]
    await turns()
    bus.tell(queued(1))
    bus.tell(queued(2))
    await turns()
    assert all(reader.done() for reader in readers)
    for reader in readers:
        reader.cancel()
    await turns()


# --- bounded ----------------------------------------------------------------------------------


async def test_a_listener_that_falls_behind_loses_the_oldest_and_is_told_how_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream_module, "BUFFER", 3)
    bus = new_bus()
    stream = bus.listen()
    for number in range(8):
        bus.tell(queued(number))
    missed, *rest = await rest_of(bus, stream)
    assert isinstance(missed, EventsMissed)
    assert missed.count == 5
    assert rest == [queued(5), queued(6), queued(7)]


async def test_what_was_missed_is_counted_anew_after_it_was_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream_module, "BUFFER", 2)
    bus = new_bus()
    stream = bus.listen()
    for number in range(3):
        bus.tell(queued(number))
    assert await anext(stream) == EventsMissed(NOW, None, 1)
    assert await anext(stream) == queued(1)
    bus.tell(queued(3))
    bus.tell(queued(4))
    assert await anext(stream) == EventsMissed(NOW, None, 1)
    assert await anext(stream) == queued(3)


async def test_the_bound_is_ten_thousand() -> None:
    bus = new_bus()
    stream = bus.listen()
    for number in range(BUFFER + 1):
        bus.tell(queued(number))
    assert BUFFER == 10_000
    assert (await anext(stream), await anext(stream)) == (EventsMissed(NOW, None, 1), queued(1))


# --- who listens ------------------------------------------------------------------------------


async def test_nobody_is_heard_until_somebody_listens_and_after_they_stopped() -> None:
    bus = new_bus()
    assert not bus.is_heard
    one, two = bus.listen(), bus.listen("w")
    assert bus.is_heard
    await one.aclose()
    assert bus.is_heard
    await two.aclose()
    assert not bus.is_heard


async def test_a_listener_that_stopped_hears_nothing_more_and_ends() -> None:
    bus = new_bus()
    stream = bus.listen()
    bus.tell(queued(1))
    await stream.aclose()
    bus.tell(queued(2))
    assert [event async for event in stream] == []
    await stream.aclose()


async def test_stopping_ends_a_reader_that_waits() -> None:
    bus = new_bus()
    stream = bus.listen()

    async def read() -> list[Event]:
        return [event async for event in stream]

    reader = asyncio.create_task(read())
    await turns()
    await stream.aclose()
    assert await reader == []


async def test_a_listener_that_was_dropped_is_forgotten() -> None:
    bus = new_bus()
    stream = bus.listen()
    bus.tell(queued(1))
    assert bus.is_heard
    del stream
    gc.collect()
    assert not bus.is_heard


async def test_ending_lets_listeners_read_what_is_there_first() -> None:
    bus = new_bus()
    stream = bus.listen()
    bus.tell(queued(1))
    assert await rest_of(bus, stream) == [queued(1)]
    assert not bus.is_heard


# --- threads ----------------------------------------------------------------------------------


async def test_another_thread_may_tell() -> None:
    bus = new_bus()
    bus.bind(asyncio.get_running_loop())
    stream = bus.listen()
    reader = asyncio.create_task(take(stream))
    await turns()
    thread = threading.Thread(target=bus.tell, args=(queued(1),))
    thread.start()
    await until(reader.done)
    thread.join()
    assert reader.result() == queued(1)


async def test_events_of_one_thread_keep_their_order() -> None:
    bus = new_bus()
    bus.bind(asyncio.get_running_loop())
    stream = bus.listen()

    def tell() -> None:
        for number in range(200):
            bus.tell(queued(number))

    thread = threading.Thread(target=tell)
    thread.start()
    assert [await anext(stream) for _ in range(200)] == [queued(n) for n in range(200)]
    thread.join()


def test_telling_from_a_thread_after_the_loop_has_ended_does_not_raise() -> None:
    bus = new_bus()

    async def bind() -> None:
        bus.bind(asyncio.get_running_loop())

    asyncio.run(bind())
    raised: list[BaseException] = []

    def tell() -> None:
        try:
            bus.tell(queued(1))
        except BaseException as error:  # noqa: BLE001 - whatever it is
            raised.append(error)

    thread = threading.Thread(target=tell)
    thread.start()
    thread.join()
    assert raised == []


def test_events_are_frozen() -> None:
    event = queued(1)
    with pytest.raises(FrozenInstanceError):
        setattr(event, "agent", "bob")  # noqa: B010 - a type checker refuses it
