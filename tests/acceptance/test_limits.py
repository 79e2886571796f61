"""No more runs begin in any span of time than limits say, and nothing else waits for them."""

import asyncio
import gc
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from flock import Artifact, DeclarationError, Flock, RateKeyError, RunStarted, RunTimeout
from flock.orchestrator.job import Job
from flock.testing import ManualClock


class Question(BaseModel):
    n: int
    customer: str = "a"


class Answer(BaseModel):
    n: int


class Note(BaseModel):
    n: int


SECOND = timedelta(seconds=1)


def customer(artifact: Artifact) -> str:
    return artifact.payload["customer"]


class Begun:
    """A function agent that says when it began over what."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.zero = clock.time()
        self.runs: list[tuple[float, int]] = []

    async def __call__(self, question: Question) -> Answer:
        self.runs.append((self.clock.time() - self.zero, question.n))
        return Answer(n=question.n)

    @property
    def times(self) -> list[float]:
        return [time for time, _ in self.runs]

    def most_in(self, span: float) -> int:
        """How many there are in the fullest window."""
        times = self.times
        return max(sum(t <= other < t + span for other in times) for t in times)


def new(**options: object) -> tuple[ManualClock, Flock, Begun]:
    clock = ManualClock(autojump=True)
    return clock, Flock(clock=clock, **options), Begun(clock)  # pyright: ignore[reportArgumentType]


async def test_runs_wait_for_their_turn_and_hold_the_board_open_meanwhile() -> None:
    clock = ManualClock()
    board, begun = Flock(clock=clock), Begun(clock)
    board.agent("caller").calls(begun).rate_limit(2, per=10)
    async with board:
        await board.publish_many([Question(n=n) for n in range(5)])
        waiter = asyncio.create_task(board.run_until_idle())
        await clock.advance(0)
        assert begun.runs == [(0.0, 0), (0.0, 1)]
        assert board.get_agent("caller").slots.used == 0, "who waits holds no slot"
        assert not waiter.done()
        status = await board.status((await board.store.list())[4].correlation_id)
        assert (status.running, status.queued) == (0, 1)
        await clock.advance(9.999)
        assert len(begun.runs) == 2
        await clock.advance(0.001)
        assert begun.runs[2:] == [(10.0, 2), (10.0, 3)]
        await clock.advance(10)
        assert begun.runs[4:] == [(20.0, 4)]
        assert (await waiter).runs == 5


async def test_the_window_slides() -> None:
    clock = ManualClock()
    board, begun = Flock(clock=clock), Begun(clock)
    board.agent("caller").calls(begun).rate_limit(3, per=timedelta(seconds=10))
    async with board:
        for at in (0, 8, 9, 9):
            await clock.advance(begun.zero + at - clock.time())
            await board.publish(Question(n=at))
        await clock.advance(0)
        assert begun.times == [0, 8, 9]
        await clock.advance(20)
        assert begun.times == [0, 8, 9, 10]
        assert begun.most_in(10) == 3


async def test_several_limits_all_hold() -> None:
    _, board, begun = new()
    board.rate_limit(6, per=30)
    board.agent("caller").calls(begun).rate_limit(2, per=1).rate_limit(5, per=20)
    async with board:
        await board.publish_many([Question(n=n) for n in range(20)])
        await board.run_until_idle()
    assert [begun.most_in(span) for span in (1, 20, 30)] == [2, 5, 6]
    assert [n for _, n in begun.runs] == list(range(20))


async def test_each_value_of_a_key_has_a_limit_of_its_own() -> None:
    clock = ManualClock()
    board, begun = Flock(clock=clock), Begun(clock)
    board.agent("caller").calls(begun).rate_limit(1, per=60, key=customer)
    async with board:
        for n, name in enumerate("aaabbc"):
            await board.publish(Question(n=n, customer=name))
        await clock.advance(0)
        assert [n for _, n in begun.runs] == [0, 3, 5], "no one waits for another one's turn"
        await clock.advance(60)
        assert [n for _, n in begun.runs[3:]] == [1, 4]
        await clock.advance(60)
        assert [n for _, n in begun.runs[5:]] == [2]


async def test_keys_are_any_json_value_or_hashable() -> None:
    clock = ManualClock()
    board, begun = Flock(clock=clock), Begun(clock)
    board.agent("caller").calls(begun).rate_limit(
        1, per=60, key=lambda question: {"n": [question.payload["n"] % 2]}
    )
    async with board:
        await board.publish_many([Question(n=n) for n in range(4)])
        await clock.advance(0)
        assert [n for _, n in begun.runs] == [0, 1]
        await clock.advance(60)
        assert [n for _, n in begun.runs] == [0, 1, 2, 3]


async def test_a_key_that_fails_makes_a_dead_letter_and_stops_nobody() -> None:
    _, board, begun = new()
    board.agent("caller").calls(begun).retry(3).rate_limit(
        1, per=60, key=lambda question: 1 // question.payload["n"]
    )
    async with board:
        await board.publish_many([Question(n=n) for n in (0, 1)])
        report = await board.run_until_idle()
        assert [n for _, n in begun.runs] == [1]
        assert (report.failed, report.dead_letters) == (1, 1)
        letter = (await board.dead_letters())[0]
        assert letter.error_type == "RateKeyError"
        assert "of agent 'caller'" in letter.error_message
        assert "ZeroDivisionError" in letter.error_message
        assert "redrive" in letter.error_message
        assert letter.attempt == 1, "another attempt would fail in the same way"
        with pytest.raises(RateKeyError):
            await board.arun("caller", Question(n=0))
        assert board.get_agent("caller").slots.used == 0


async def test_a_key_that_is_no_key_is_named() -> None:
    _, board, begun = new()
    board.rate_limit(1, per=1, key=lambda _: [object()])
    board.agent("caller").calls(begun)
    async with board:
        await board.publish(Question(n=1))
        await board.run_until_idle()
        letter = (await board.dead_letters())[0]
    assert "of the board" in letter.error_message
    assert "JSON value or hashable" in letter.error_message


async def test_each_attempt_counts() -> None:
    clock = ManualClock(autojump=True)
    board, times = Flock(clock=clock), list[float]()
    zero = clock.time()

    async def fails(question: Question) -> Answer:
        times.append(clock.time() - zero)
        msg = "again"
        raise ValueError(msg)

    board.agent("caller").calls(fails).retry(4, backoff=0).rate_limit(1, per=10)
    async with board:
        await board.publish(Question(n=0))
        await board.run_until_idle()
    assert times == [0, 10, 20, 30]


async def test_the_boards_limit_counts_all_agents_and_lets_them_take_turns() -> None:
    clock = ManualClock()
    board, starts = Flock(clock=clock), list[tuple[float, str]]()
    zero = clock.time()
    board.rate_limit(1, per=1)

    async def ask(question: Question) -> None:
        starts.append((clock.time() - zero, "ask"))

    async def note(note: Note) -> None:
        starts.append((clock.time() - zero, "note"))

    board.agent("asker").calls(ask)
    board.agent("noter").calls(note)
    async with board:
        await board.publish_many([Question(n=n) for n in range(6)])
        await board.publish_many([Note(n=n) for n in range(3)])
        await clock.advance(8)
    assert [time for time, _ in starts] == list(range(9))
    who = [who for _, who in starts]
    assert who[who.index("note") :][:5] == ["note", "ask", "note", "ask", "note"]
    assert "note" in who[:3]


async def test_an_agent_with_a_limit_holds_no_other_up() -> None:
    clock = ManualClock()
    board, begun, notes = Flock(clock=clock, max_concurrency=1), Begun(clock), list[int]()
    board.agent("caller").calls(begun).rate_limit(1, per=60)

    async def note(note: Note) -> None:
        notes.append(note.n)

    board.agent("noter").calls(note)
    async with board:
        await board.publish_many([Question(n=n) for n in range(3)])
        await board.publish_many([Note(n=n) for n in range(3)])
        await clock.advance(0)
        assert notes == [0, 1, 2]
        assert len(begun.runs) == 1


async def test_what_is_most_urgent_goes_first_when_there_is_a_turn() -> None:
    clock = ManualClock()
    board, begun = Flock(clock=clock), Begun(clock)
    caller = board.agent("caller").calls(begun).rate_limit(1, per=1)
    caller.consumes(Question, where=lambda question: question.n >= 10, priority=1)
    caller.consumes(Question)
    async with board:
        await board.publish_many([Question(n=n) for n in (0, 1, 2)])
        await clock.advance(0)
        await board.publish_many([Question(n=n) for n in (10, 11)])
        for _ in range(4):
            await clock.advance(1)
    assert [n for _, n in begun.runs] == [0, 10, 11, 1, 2]


async def test_workflows_take_turns_under_a_limit() -> None:
    clock = ManualClock()
    board, begun = Flock(clock=clock), Begun(clock)
    board.agent("caller").calls(begun).rate_limit(1, per=1)
    async with board:
        await board.publish_many([Question(n=n) for n in range(50)], correlation_id="many")
        await board.publish_many([Question(n=n) for n in (100, 101)], correlation_id="few")
        await clock.advance(5)
    runs = [n for _, n in begun.runs]
    assert [n for n in runs if n < 100] == [0, 1, 2, 3]
    assert runs.index(101) < 5


async def test_direct_calls_wait_for_their_turn() -> None:
    clock = ManualClock()
    board, begun = Flock(clock=clock), Begun(clock)
    board.agent("caller").calls(begun).rate_limit(1, per=60)
    async with board:
        assert [a.payload["n"] for a in await board.arun("caller", Question(n=0))] == [0]
        waiting = asyncio.create_task(board.arun("caller", Question(n=1)))
        late = asyncio.create_task(
            board.invoke(board.get_agent("caller"), Question(n=2), timeout=30)
        )
        await clock.advance(0)
        assert not waiting.done()
        await clock.advance(30)
        with pytest.raises(RunTimeout):
            await late
        await clock.advance(30)
        assert [a.payload["n"] for a in await waiting] == [1]
    assert begun.runs == [(0.0, 0), (60.0, 1)], "who gave up has taken nobody's turn"


async def test_calls_from_inside_a_run_wait_too_and_need_no_slot() -> None:
    clock = ManualClock(autojump=True)
    board, begun = Flock(clock=clock, max_concurrency=1), Begun(clock)
    board.agent("caller").calls(begun).max_concurrency(1).rate_limit(1, per=10)

    async def outer(note: Note) -> None:
        for n in range(3):
            await board.arun("caller", Question(n=n))

    board.agent("outer").calls(outer)
    async with board:
        await board.publish(Note(n=0))
        await board.run_until_idle(raise_on_error=True)
    assert begun.times == [0, 10, 20]


async def test_a_call_from_inside_can_be_given_up() -> None:
    clock = ManualClock()
    board, begun = Flock(clock=clock), Begun(clock)
    board.agent("caller").calls(begun).rate_limit(1, per=60)

    async def outer(note: Note) -> None:
        await board.arun("caller", Question(n=note.n))

    board.agent("outer").calls(outer)
    async with board:
        await board.publish(Note(n=0), correlation_id="first")
        await board.publish(Note(n=1), correlation_id="given up")
        await board.publish(Note(n=2), correlation_id="last")
        await clock.advance(0)
        await board.cancel("given up")
        await clock.advance(60)
        await board.run_until_idle()
    assert begun.runs == [(0.0, 0), (60.0, 2)]


async def test_a_cancelled_workflow_leaves_its_turns_to_others() -> None:
    clock = ManualClock()
    board, begun = Flock(clock=clock), Begun(clock)
    board.agent("caller").calls(begun).rate_limit(1, per=1)
    async with board:
        await board.publish_many([Question(n=n) for n in range(100)], correlation_id="away")
        await board.publish(Question(n=100), correlation_id="stays")
        await clock.advance(0)
        assert await board.cancel("away") == 99
        await clock.advance(1)
        assert [n for _, n in begun.runs] == [0, 100]
        report = await board.run_until_idle()
    assert report.runs == 2


async def test_what_waits_for_a_limit_and_is_cancelled_is_not_kept() -> None:
    clock = ManualClock()
    board, begun = Flock(clock=clock), Begun(clock)
    board.agent("caller").calls(begun).rate_limit(1, per=timedelta(days=1))
    async with board:
        await board.publish_many([Question(n=n) for n in range(200)], correlation_id="away")
        await clock.advance(0)
        assert len([o for o in gc.get_objects() if type(o) is Job]) >= 199
        await board.cancel("away")
        await board.publish(Note(n=0))  # a store may know its last commit still
        gc.collect()
        assert len([o for o in gc.get_objects() if type(o) is Job]) < 30


async def test_a_run_that_did_not_begin_gives_its_place_back() -> None:
    clock = ManualClock()
    board, begun = Flock(clock=clock, max_agent_iterations=1), Begun(clock)
    board.agent("caller").calls(begun).budget(runs=1).rate_limit(1, per=60)
    async with board:
        await board.publish_many([Question(n=n) for n in range(3)])
        await clock.advance(0)
        assert begun.runs == [(0.0, 0)]
        await clock.advance(60)
        report = await board.run_until_idle()
        assert (report.runs, report.failed) == (3, 2), "a refusal waits for no further turn"


async def test_a_board_that_is_closed_leaves_what_waits_for_the_next_time(tmp_path: Path) -> None:
    clock = ManualClock()
    runs: list[tuple[float, int]] = []
    for _ in range(3):
        board, begun = Flock(store=f"sqlite:///{tmp_path}/board.db", clock=clock), Begun(clock)
        board.agent("caller").calls(begun).rate_limit(2, per=60).rate_limit(1, 60, key=customer)
        async with board:
            if not runs:
                for n, name in enumerate("aabbcc"):
                    await board.publish(Question(n=n, customer=name))
            await clock.advance(0)
            await clock.advance(30)
        runs += [(begun.zero - 1_767_225_600 + time, n) for time, n in begun.runs]
    assert [n for _, n in runs] == [0, 2, 1, 3], "two by two, and no customer twice"
    times = [time for time, _ in runs]
    assert times[:2] == [0, 0]
    assert times[2:] == [61, 61], "taken for as late as they may have begun"


@pytest.mark.parametrize("is_durable", [False, True])
async def test_when_runs_began_is_known_after_a_restart(tmp_path: Path, is_durable: bool) -> None:
    clock = ManualClock(autojump=True)
    begun = Begun(clock)
    board = Flock(store=f"sqlite:///{tmp_path}/board.db" if is_durable else None, clock=clock)
    board.rate_limit(3, per=10)
    board.agent("caller").calls(begun).rate_limit(1, per=7, key=customer)
    for n in range(5):
        async with board:
            await board.publish(Question(n=2 * n))
            await board.publish(Question(n=2 * n + 1, customer="b"))
            await board.run_until_idle()
    assert begun.most_in(10) == 3
    assert sorted(n for _, n in begun.runs) == list(range(10))
    async with board:
        await clock.advance(1000)
        await board.publish(Question(n=10))
        await board.run_until_idle()
    async with board:
        await clock.advance(1000)
        for n in range(11, 20):
            await clock.advance(1000)
            await board.publish(Question(n=n))
            await board.run_until_idle()
        assert len(await board.store.states("rate")) <= 4, "what counts no more is forgotten"


async def test_values_of_a_key_that_do_not_occur_any_more_are_forgotten() -> None:
    clock = ManualClock(autojump=True)
    board, begun = Flock(clock=clock), Begun(clock)
    board.agent("caller").calls(begun).rate_limit(1, per=5, key=lambda q: q.payload["n"])
    rule = None
    async with board:
        for n in range(200):
            await board.publish(Question(n=n))
            await board.run_until_idle()
            await clock.advance(1)
        rule = board._parts.limits.of("caller")[0]
        assert len(rule.windows) < 10
        assert len(await board.store.states("rate")) < 12


async def test_a_limit_that_is_declared_while_runs_wait_holds_for_them() -> None:
    _, board, begun = new()
    caller = board.agent("caller").calls(begun).rate_limit(1, per=1)
    async with board:
        await board.publish_many([Question(n=n) for n in range(3)])
        caller.rate_limit(1, per=100)
        caller.rate_limit(1, per=1000, key=customer)
        await board.publish(Question(n=3))
        await board.run_until_idle()
    assert len(begun.runs) == 4
    assert begun.most_in(100) <= 2
    assert begun.times[-1] - begun.times[-2] == 1000


async def test_events_say_when_a_limited_run_began() -> None:
    _, board, begun = new()
    board.agent("caller").calls(begun).rate_limit(1, per=5)
    async with board:
        events = board.events()
        await board.publish_many([Question(n=n) for n in range(3)])
        await board.run_until_idle()
    started = [event.at.timestamp() async for event in events if isinstance(event, RunStarted)]
    assert [at - begun.zero for at in started] == [0, 5, 10]


async def test_in_a_fork_what_is_made_again_is_limited_and_what_is_remembered_is_not() -> None:
    clock = ManualClock(autojump=True)
    board, begun = Flock(clock=clock), Begun(clock)
    board.agent("caller").calls(begun).rate_limit(1, per=10)
    async with board:
        for n in range(3):
            await board.publish(Question(n=n), correlation_id="one")
        await board.run_until_idle()
        before = clock.time()
        await board.fork("one", recorded=True)
        assert clock.time() == before, "answers from memory wait for nothing"
        await board.fork("one")
        assert clock.time() - before == 20
    assert begun.times == [0, 10, 20, 20, 30, 40]


def test_a_limit_of_the_board_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(DeclarationError, match="the board, rate_limit: n must be a whole"):
        Flock().rate_limit(0, per=1)
    with pytest.raises(DeclarationError, match="the board, rate_limit: per must be more than 0"):
        Flock().rate_limit(1, per=0)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["publish", "publish", "publish", "wait", "cancel", "reopen"]),
            st.integers(0, 3),
        ),
        max_size=25,
    ),
    st.lists(st.tuples(st.integers(1, 3), st.sampled_from([1, 2.5, 7])), min_size=1, max_size=2),
    st.tuples(st.integers(1, 2), st.sampled_from([1.5, 4])),
    st.integers(1, 3),
)
def test_limits_hold_whatever_happens(
    steps: list[tuple[str, int]],
    limits: list[tuple[int, float]],
    keyed: tuple[int, float],
    slots: int,
) -> None:
    async def scenario() -> None:
        clock = ManualClock()
        board, begun = Flock(clock=clock), Begun(clock)
        who: dict[int, int] = {}
        caller = board.agent("caller").calls(begun).max_concurrency(slots)
        for count, span in limits:
            caller.rate_limit(count, span)
        board.rate_limit(*keyed, key=customer)
        cancelled: set[int] = set()
        await board.publish(Note(n=0))
        for number, (what, value) in enumerate(steps):
            if what == "publish":
                who[number] = value
                question = Question(n=number, customer=str(value))
                await board.publish(question, correlation_id=str(value))
            elif what == "wait":
                await clock.advance(value)
            elif what == "cancel":
                await board.cancel(str(value))
                cancelled |= {n for n, workflow in who.items() if workflow == value}
            else:
                await board.shutdown(grace=0)
                await board.publish(Note(n=number))
        idle = asyncio.create_task(board.run_until_idle())
        await clock.advance(1000)
        await idle
        await board.shutdown()
        runs = [n for _, n in begun.runs]
        assert len(runs) == len(set(runs)), "nothing twice"
        assert set(who) - cancelled <= set(runs), "nothing lost"
        for count, span in limits:
            assert not runs or begun.most_in(span) <= count
        for value in set(who.values()):
            mine = Begun(clock)
            mine.runs = [(time, n) for time, n in begun.runs if who[n] == value]
            assert not mine.runs or mine.most_in(keyed[1]) <= keyed[0]

    asyncio.run(scenario())
