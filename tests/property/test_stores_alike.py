"""Whatever is done to two stores, step by step, they show the same."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar
from uuid import UUID

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flock.clock import as_datetime
from flock.core.artifacts import Artifact, new_key
from flock.core.delivery import Delivery, Run
from flock.core.filters import FilterConfig
from flock.core.subscription import Subscription
from flock.core.usage import Charge, Usage
from flock.errors import StoreError
from flock.store.memory import InMemoryBlackboardStore
from flock.store.protocol import BlackboardStore, Commit, DeadLetter, Step
from flock.store.sqlite import SQLiteBlackboardStore
from flock.testing.contract.queries import boards, filters
from flock.testing.contract.samples import (
    T0,
    A,
    Seen,
    artifact,
    letter_of,
    run_over,
    shown,
    subscription,
    work_on,
)

R = TypeVar("R")
Place = tuple[int, str]
"""A delivery: key of its artifact, name of its agent."""

AGENTS = ("amy", "zed")
KEYS = ("k1", "k2")
SUBSCRIPTIONS: dict[str, Subscription] = {name: subscription(A, agent=name) for name in AGENTS}


@dataclass
class Side:
    """One store, with the objects that a board on it holds."""

    store: BlackboardStore
    artifacts: dict[int, Artifact] = field(default_factory=dict[int, Artifact])
    deliveries: dict[Place, Delivery] = field(default_factory=dict[Place, Delivery])

    def put(self, made: Artifact) -> Artifact:
        """Make an object of its own of an artifact, if this side has none."""
        return self.artifacts.setdefault(made.key, made.replace())

    def deliver(self, place: Place) -> Delivery:
        found = Delivery(self.artifacts[place[0]], SUBSCRIPTIONS[place[1]])
        self.deliveries[place] = found
        return found

    def run(self, places: Sequence[Place], key: int, *, is_batch: bool) -> Run:
        run = run_over(*(self.deliveries[place] for place in places), is_batch=is_batch)
        run.key = key
        return run

    async def take_up(self) -> None:
        """Take the deliveries and runs that the store has, as a board that opens does."""
        work = await work_on(self.store)
        self.deliveries = {(d.artifact.key, d.agent): d for d in work.deliveries}

    async def letter(self, index: int) -> DeadLetter:
        return (await self.store.dead_letters())[index]


Act = Callable[[Side], Coroutine[Any, Any, object]]


class StoresAlike(RuleBasedStateMachine):
    """Memory and SQLite side by side; the board in memory is the model."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = TemporaryDirectory()
        self.path = Path(self.folder.name) / "board.db"
        self.memory = Side(InMemoryBlackboardStore())
        self.sqlite = Side(SQLiteBlackboardStore(self.path))
        self.runs = 0
        self.attempted = 0
        self.both(lambda side: side.store.open())

    def do(self, work: Coroutine[Any, Any, R]) -> R:
        async def limited() -> R:
            async with asyncio.timeout(30):
                return await work

        return self.runner.run(limited())

    def both(self, act: Act) -> object:
        """Do the same to both, and compare what comes of it."""
        outcomes: list[object] = []
        for side in (self.memory, self.sqlite):
            try:
                outcomes.append(self.do(act(side)))
            except StoreError:
                outcomes.append(StoreError)
        assert outcomes[0] == outcomes[1]
        return outcomes[0]

    @property
    def waiting(self) -> list[Place]:
        """What is open and belongs to no run."""
        return sorted(p for p, d in self.memory.deliveries.items() if d.is_open and not d.run)

    @property
    def begun(self) -> list[tuple[int, list[Place]]]:
        """Runs that go on, with what they use."""
        runs = {d.run.key: d.run for d in self.memory.deliveries.values() if d.is_open and d.run}
        return [
            (key, [(d.artifact.key, d.agent) for d in run.deliveries])
            for key, run in sorted(runs.items())
        ]

    def next_run(self) -> int:
        self.runs += 1
        return (0x19B76DAA800 << 80) + (7 << 76) + (8 << 60) + self.runs

    # --- what may happen

    @rule(
        board=boards,
        agents=st.lists(st.sampled_from([(), ("amy",), ("amy", "zed")]), min_size=24, max_size=24),
        key=st.none() | st.sampled_from(KEYS),
        again=st.booleans(),
    )
    def publish_at_once(
        self,
        board: list[list[Artifact]],
        agents: list[tuple[str, ...]],
        key: str | None,
        again: bool,
    ) -> None:
        known = next(iter(self.memory.artifacts.values()), None)
        groups = [made if number else made[:1] for number, made in enumerate(board)]

        async def act(side: Side) -> object:
            commits: list[Commit] = []
            for number, made in enumerate(groups):
                own = [side.put(each) for each in made]
                opened = [
                    side.deliver((each.key, name))
                    for place, each in enumerate(made)
                    for name in agents[number * 4 + place]
                ]
                commits.append(Commit(own, opened, at=T0))
            if groups and groups[0]:
                commits[0].idempotency_key = key
                if again and known is not None and len(commits) > 1:  # it was put there before
                    commits[-1].artifacts = [*commits[-1].artifacts, side.artifacts[known.key]]
            await asyncio.gather(*map(side.store.commit, commits), return_exceptions=True)
            for commit in commits:
                if not commit.is_done:
                    for delivery in commit.opened:
                        del side.deliveries[delivery.artifact.key, delivery.agent]
            for made in [a for a in side.artifacts.values() if not a.seq]:
                del side.artifacts[made.key]
            return [(commit.is_done, [a.seq for a in commit.artifacts]) for commit in commits]

        self.both(act)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), is_batch=st.booleans(), is_noted=st.booleans(), due=st.integers(0, 9))
    def begin(self, data: st.DataObject, is_batch: bool, is_noted: bool, due: int) -> None:
        agent = data.draw(st.sampled_from(sorted({name for _, name in self.waiting})))
        mine = [place for place in self.waiting if place[1] == agent]
        places = data.draw(st.lists(st.sampled_from(mine), min_size=1, max_size=3, unique=True))
        others = sorted(self.memory.artifacts)
        chosen = data.draw(st.none() | st.lists(st.sampled_from(others), min_size=1, max_size=3))
        foreign = data.draw(st.none() | st.just(artifact(A(n=77), tags=["far"], workflow="f")))
        key = self.next_run()

        async def act(side: Side) -> None:
            run = side.run(places, key, is_batch=is_batch)
            if chosen is not None:
                inputs = [side.artifacts[it] for it in chosen]
                run.use(inputs if foreign is None else [*inputs, foreign.replace()])
            run.attempt, run.due, run.emitted = 1, T0 + due, due % 3
            if is_noted:
                side.store.note(run)
            else:
                await side.store.commit(Commit(progress=(run,)))

        self.both(act)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def come_to_the_gate(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from(self.waiting))
        self.attempted += 1

        async def act(side: Side) -> None:
            delivery = side.deliveries[place]
            delivery.arrived, delivery.number = T0 + self.attempted, self.attempted
            side.store.note(delivery)

        self.both(act)

    @precondition(lambda self: self.begun)
    @rule(data=st.data(), output=boards, is_behind=st.booleans())
    def succeed(self, data: st.DataObject, output: list[list[Artifact]], is_behind: bool) -> None:
        key, places = data.draw(st.sampled_from(self.begun))
        made = output[0][:1] if output else []

        async def act(side: Side) -> object:
            run = side.deliveries[places[0]].run
            assert run is not None
            outputs = [side.put(each) for each in made]
            opened = [side.deliver((each.key, "zed")) for each in outputs]
            charges = [
                Charge(run.key, run.correlation_id, run.agent, None),
                Charge(run.key, run.correlation_id, run.agent, "m", Usage(1, 2, 3, 0, 0.5, 0.25)),
            ]
            commit = Commit(outputs, opened, run.deliveries, run, T0 + 1, charges=charges)
            commit.maker = run
            late = Commit(closed=run.deliveries, run=run, at=T0 + 2)
            commits = [commit, late] if is_behind else [commit]
            await asyncio.gather(*map(side.store.commit, commits), return_exceptions=True)
            for place in places:
                side.deliveries[place].run = None
            return [each.is_done for each in commits]

        assert self.both(act) == [True, False][: 1 + is_behind]
        del key

    @precondition(lambda self: self.begun)
    @rule(data=st.data(), name=st.sampled_from(["one", "two"]))
    def take_a_step(self, data: st.DataObject, name: str) -> None:
        key, _ = data.draw(st.sampled_from(self.begun))

        async def act(side: Side) -> None:
            await side.store.commit(Commit(step=Step(key, name, b'"x"')))

        self.both(act)

    @precondition(lambda self: self.begun)
    @rule(data=st.data())
    def bury(self, data: st.DataObject) -> None:
        _, places = data.draw(st.sampled_from(self.begun))
        identity = UUID(int=new_key(T0))

        async def act(side: Side) -> None:
            run = side.deliveries[places[0]].run
            assert run is not None
            made = letter_of(run, "it broke")
            letter = DeadLetter(identity, run, "E", "it broke", T0 + 1, made.index, made.delivered)
            await side.store.commit(Commit(closed=run.deliveries, buried=letter))
            for place in places:
                side.deliveries[place].run = None

        self.both(act)

    @precondition(lambda self: self.do(self.memory.store.dead_letters()))
    @rule(data=st.data(), twice=st.booleans())
    def redrive(self, data: st.DataObject, twice: bool) -> None:
        count = len(self.do(self.memory.store.dead_letters()))
        index = data.draw(st.integers(0, count - 1))

        async def act(side: Side) -> object:
            letter = await side.letter(index)
            opened = [side.deliver((it.key, letter.agent)) for it in letter.delivered]
            run = letter.run.once_more(SUBSCRIPTIONS[letter.agent], opened)
            for delivery in opened:
                delivery.run = run
            commits = [
                Commit(opened=opened, redriven=letter.id, progress=(run,)),
                Commit(redriven=letter.id),
            ][: 1 + twice]
            await asyncio.gather(*map(side.store.commit, commits), return_exceptions=True)
            return [commit.is_done for commit in commits]

        assert self.both(act) == [True, False][: 1 + twice]

    @precondition(lambda self: self.waiting or self.begun)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        runs = [places for _, places in self.begun]
        places = data.draw(st.sampled_from([*runs, *([place] for place in self.waiting)]))

        async def act(side: Side) -> None:
            closed = [side.deliveries[place] for place in places]
            await side.store.commit(Commit(closed=closed))
            for delivery in closed:
                delivery.run = None

        self.both(act)

    @rule(seconds=st.integers(-1, 9), count=st.none() | st.integers(0, 4))
    def delete(self, seconds: int, count: int | None) -> None:
        async def act(side: Side) -> int:
            if count is not None:
                deleted = await side.store.keep_newest(count)
            else:
                moment = as_datetime(T0) + timedelta(seconds=seconds)
                deleted = await side.store.delete_before(moment)
            left = {it.key for it in await side.store.list()}
            side.artifacts = {key: it for key, it in side.artifacts.items() if key in left}
            side.deliveries = {p: d for p, d in side.deliveries.items() if p[0] in left}
            return deleted

        self.both(act)

    @rule()
    def reopen(self) -> None:
        async def act(side: Side) -> None:
            await side.store.close()
            if side.store.is_durable:
                side.store = SQLiteBlackboardStore(self.path)
            await side.store.open()
            await side.take_up()

        self.both(act)

    @rule(
        where=st.none() | filters,
        limit=st.integers(0, 5),
        offset=st.integers(0, 5),
        before=st.none() | st.integers(0, 30),
    )
    def ask(self, where: FilterConfig | None, limit: int, offset: int, before: int | None) -> None:
        async def act(side: Side) -> object:
            page, total = await side.store.query_artifacts(where, limit, offset)
            newest = await side.store.latest(where, limit=limit, before=before)
            return shown(page), total, shown(newest), await side.store.summary(where)

        self.both(act)

    # --- what must hold at any time

    @invariant()
    def they_show_the_same(self) -> None:
        async def act(side: Side) -> object:
            await side.store.commit(Commit())  # what was noted is written before it
            known = [await side.store.published_as(key) for key in KEYS]
            spent = [
                await side.store.spent(),
                await side.store.spent(correlation_id="w1"),
                await side.store.spent(agent="amy"),
            ]
            return await Seen.of(side.store), known, spent

        self.both(act)

    @invariant()
    def what_a_board_holds_is_what_the_store_has(self) -> None:
        async def act(side: Side) -> object:
            work = await work_on(side.store)
            mine = {place for place, d in side.deliveries.items() if d.is_open}
            assert mine == {(d.artifact.key, d.agent) for d in work.deliveries}
            return mine

        self.both(act)

    def teardown(self) -> None:
        try:
            self.reopen()
            self.they_show_the_same()
        finally:
            for side in (self.memory, self.sqlite):
                self.do(side.store.close())
            self.runner.close()
            self.folder.cleanup()


TestStoresAlike = StoresAlike.TestCase
TestStoresAlike.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
