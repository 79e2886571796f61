"""Wherever a listener leaves off and comes back: it misses nothing and hears nothing twice."""

# Agents are short lambdas here.
# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false

import asyncio
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from flock import (
    ArtifactPublished,
    DeadLettered,
    Event,
    Flock,
    GroupSkipped,
    InMemoryBlackboardStore,
    Position,
    RunCancelled,
    RunFailed,
    RunSucceeded,
    SQLiteBlackboardStore,
    WorkflowCancelled,
)
from flock.store.protocol import BlackboardStore

LASTING = (
    ArtifactPublished
    | RunSucceeded
    | RunFailed
    | RunCancelled
    | DeadLettered
    | GroupSkipped
    | WorkflowCancelled
)


class Thing(BaseModel):
    n: int


class Made(BaseModel):
    n: int


def make(thing: Thing) -> list[Made]:
    if thing.n % 5 == 4:
        raise ValueError(thing.n)
    return [Made(n=n) for n in range(thing.n % 3)]


def board_on(store: BlackboardStore) -> Flock:
    board = Flock(store=store)
    board.agent("make").calls(make)
    board.agent("pair").consumes(Made, Made, where=lambda a, b: a.n == b.n).calls(lambda a, b: None)
    return board


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(0, 14)),
        st.tuples(st.just("many"), st.integers(1, 6)),
        st.tuples(st.just("cancel"), st.integers(0, 2)),
        st.tuples(st.just("read"), st.integers(1, 9)),
        st.tuples(st.just("turns"), st.integers(1, 20)),
        st.tuples(st.just("leave"), st.booleans()),
    ),
    min_size=1,
    max_size=25,
)


class Listener:
    """Reads some, leaves off, comes back behind the last it got, and never hears passing events."""

    def __init__(self, board: Flock, workflow: str | None) -> None:
        self.workflow = workflow
        self.heard: list[Event] = []
        self.last = str(Position())
        self.listen(board)

    def listen(self, board: Flock) -> None:
        self.stream = board.events(self.workflow, after=self.last, kinds=LASTING)

    async def read(self, count: int) -> None:
        for _ in range(count):
            reading = asyncio.ensure_future(anext(self.stream))
            for turn in range(60):  # a thread may read the file
                if reading.done():
                    break
                await asyncio.sleep(0 if turn < 50 else 0.0005)
            reading.cancel()
            await asyncio.wait([reading])
            if reading.cancelled():
                return
            self.got(reading.result())

    def got(self, event: Event) -> None:
        self.heard.append(event)
        self.last = str(event.position)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@settings(max_examples=40)
@given(actions=ACTIONS)
def test_a_listener_that_leaves_and_comes_back_hears_all_once_in_order(
    kind: str, actions: list[tuple[str, int]]
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "board.db"
        memory = InMemoryBlackboardStore()

        def store() -> BlackboardStore:
            return memory if kind == "memory" else SQLiteBlackboardStore(path)

        asyncio.run(played(store, actions))


class Play:
    """A board, whoever listens to it, and what was told live by all its openings."""

    def __init__(self, store: Callable[[], BlackboardStore]) -> None:
        self._store = store
        self.told: list[Event] = []
        self.listeners: list[Listener] = []

    async def begin(self) -> None:
        self.board = board_on(self._store())
        await self.board.__aenter__()
        self.live = self.board.events(kinds=LASTING)
        for listener in self.listeners:
            listener.listen(self.board)

    async def end(self) -> None:
        await self.board.shutdown(grace=0)
        self.told += [event async for event in self.live]

    async def act(self, action: str, value: int) -> None:
        match action:
            case "publish":
                await self.board.publish(Thing(n=value), correlation_id=f"w{value % 3}")
            case "many":
                await self.board.publish_many([Thing(n=n) for n in range(value)])
            case "cancel":
                await self.board.cancel(f"w{value}")
            case "read":
                for listener in self.listeners:
                    await listener.read(value)
            case "turns":
                for _ in range(value):
                    await asyncio.sleep(0)
            case _ if value:  # as if by another process
                await self.end()
                await self.begin()
            case _:
                for listener in self.listeners:
                    await listener.stream.aclose()
                    listener.listen(self.board)


async def played(store: Callable[[], BlackboardStore], actions: list[tuple[str, int]]) -> None:
    play = Play(store)
    await play.begin()
    play.listeners = [Listener(play.board, None), Listener(play.board, "w1")]
    for action, value in actions:
        await play.act(action, value)
    await play.board.run_until_idle()
    await play.end()
    told = lasting(play.told)
    places = {event.position for event in told}
    assert [event.position for event in told] == sorted(places)
    for listener in play.listeners:
        async for event in listener.stream:
            listener.got(event)
        heard = [(e.position, e) for e in listener.heard if e.position in places]
        assert heard == [
            (e.position, e) for e in told if listener.workflow in {None, e.correlation_id}
        ]


def lasting(events: list[Event]) -> list[Event]:
    """Leave out what a shutdown cancelled: it goes on when the board is opened again."""
    found: list[Event] = []
    logged = 0
    for event in events:
        if not isinstance(event, RunCancelled) or event.position.logged > logged:
            found.append(event)
        logged = max(logged, event.position.logged)
    return found
