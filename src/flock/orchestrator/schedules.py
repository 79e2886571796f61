"""Agents that run by the clock: when each schedule is due next, and the run of its last tick."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import uuid4

from flock.clock import Clock, as_datetime
from flock.core.delivery import TickRun
from flock.core.schedule import Tick
from flock.errors import NotIdle, StoreCorrupt, StoreError
from flock.orchestrator.events import ScheduleFired, logged
from flock.orchestrator.events.log import event_as
from flock.orchestrator.job import TickJob
from flock.store.protocol import BlackboardStore, Commit, State

if TYPE_CHECKING:
    from flock.core.agent import Agent
    from flock.core.delivery import Run
    from flock.core.schedule import ScheduleSpec
    from flock.engines.threads import ThreadPool
    from flock.orchestrator.idle import Idle, IdleSignal
    from flock.orchestrator.job import Job
    from flock.orchestrator.lifecycle_manager import Deadline, LifecycleManager
    from flock.orchestrator.patience import Patience
    from flock.orchestrator.scheduler import Scheduler

logger = logging.getLogger(__name__)

KIND: Final = "schedule"
"""The kind of the states under which schedules are kept."""
_AGAIN: Final = 60.0
"""Seconds after which what could not be stored is tried again, where nothing is due by then."""
_LONG: Final = 86_400.0
"""Seconds of missed ticks from which they are counted in a thread."""


class Position(NamedTuple):
    """How far a schedule is.

    Attributes:
        seed: Makes the ids of its runs.
        first: When it was due first, in seconds since the Unix epoch.
        due: The earliest due moment that got no run yet; None at its end.
        last: The last one that got a run; None before the first.
        iteration: How many runs it started.
    """

    seed: str
    first: float
    due: float | None
    last: float | None = None
    iteration: int = 0


class Beat:
    """One schedule of an agent of an open board.

    Attributes:
        agent: The agent.
        spec: What was declared.
        key: Names it among the states of the store.
        position: How far it is.
        pending: The run of its last tick, until that has ended.
        timer: What is done next: the next tick fires, or a run that could not be stored begins
            again.
        is_held: Whether it counts as open work.
        is_firing: Whether its next tick is being written down.
        was_set_back: Whether the clock was set back since `position` was found.
    """

    def __init__(self, agent: Agent, index: int, spec: ScheduleSpec, position: Position) -> None:
        self.agent = agent
        self.spec = spec
        self.key = key_of(agent, index)
        self.position = position
        self.pending: Run | None = None
        self.timer: Deadline | None = None
        self.is_held = False
        self.is_firing = False
        self.was_set_back = False

    @property
    def is_over(self) -> bool:
        """Whether no tick follows."""
        repeats = self.spec.max_repeats
        position = self.position
        return position.due is None or (repeats is not None and position.iteration >= repeats)

    def state(self, position: Position, pending: Run | None, now: float) -> State:
        """Return what the store is to know of it."""
        data = {
            "spec": self.spec.text,
            **position._asdict(),
            "pending": None if pending is None else pending.id,
            "at": now,
        }
        return State(KIND, self.key, json.dumps(data).encode())


class Schedules:
    """Lets ticks start runs, one at a time per schedule.

    When a tick is due it is written down, with the id of its run; the commit that ends the run
    also says that the next tick may come. What was due meanwhile becomes one tick, and so does
    what was due while the board was closed.

    Attributes:
        is_off: Whether no tick ever fires here, as on the scratch board of a fork.
    """

    def __init__(
        self,
        clock: Clock,
        idle: Idle,
        signal: IdleSignal,
        lifecycle: LifecycleManager,
        scheduler: Scheduler,
        store: BlackboardStore,
        patience: Patience,
        threads: ThreadPool,
    ) -> None:
        self._clock = clock
        self._idle = idle
        self._signal = signal
        self._lifecycle = lifecycle
        self._scheduler = scheduler
        self._store = store
        self._patience = patience
        self._threads = threads
        self.is_off = False
        lifecycle.on_set_back = self.set_back
        self.clear()

    # --- with the board ---

    def clear(self) -> None:
        """Forget all schedules, for a board that opens anew."""
        self._beats: dict[str, Beat] = {}
        self._of_run: dict[int, Beat] = {}
        self._kept: dict[str, bytes] = {}
        self._runs: dict[int, TickRun] = {}
        self._is_open = False

    async def load(self, agents: Iterable[Agent], runs: Sequence[TickRun]) -> None:
        """Find how far the schedules of agents are, and write down where new ones begin.

        Args:
            agents: The agents that are declared.
            runs: The runs of ticks that have not ended.
        """
        self._runs = {run.key: run for run in runs}
        if self.is_off:
            return
        self._kept = await self._store.states(KIND)
        states = self._take(agents)
        if states:
            await self._patience.commit(Commit(at=self._clock.time(), states=states))

    def start(self, agents: Mapping[str, Agent]) -> None:
        """Let ticks fire, and runs go on that had begun."""
        self._is_open = True
        for beat in self._beats.values():
            self._go(beat)
        for run in [*self._runs.values()]:  # redriven, or of a schedule that is no more
            agent = agents.get(run.agent)
            if agent is not None:
                del self._runs[run.key]
                self._scheduler.submit_tick(agent, run)

    def knows(self, agents: Iterable[Agent]) -> bool:
        """Return whether all schedules of these agents go on."""
        return self.is_off or all(
            key_of(agent, index) in self._beats
            for agent in agents
            for index in range(len(agent.schedules))
        )

    def adopt(self, agents: Iterable[Agent]) -> None:
        """Let schedules begin that were declared while the board is open."""
        if self.is_off or not self._is_open:
            return
        before = set(self._beats)
        states = self._take(agents)
        new = [beat for key, beat in self._beats.items() if key not in before]
        if states:
            commit = Commit(at=self._clock.time(), states=states)
            self._lifecycle.spawn(self._patience.commit(commit), "new schedules")
        for beat in new:
            self._go(beat)
        error = self._never_idle
        if error is not None:
            self._signal.give_up(error)

    def stop(self) -> None:
        """Let no further tick fire; what is pending stays so for the next opening."""
        self._is_open = False
        for beat in self._beats.values():
            self._call_off(beat)

    @property
    def _never_idle(self) -> NotIdle | None:
        for beat in self._beats.values():
            if beat.spec.is_endless and not beat.is_over:
                return NotIdle(
                    f"agent {beat.agent.name!r} is scheduled without an end ({beat.spec.text}), so "
                    "that the board is never idle; give run_until_idle a timeout, bound the "
                    "schedule with max_repeats, or serve with run_forever()"
                )
        return None

    def require_end(self) -> None:
        """Refuse to wait for a board on which ticks never end.

        Raises:
            NotIdle: There is a schedule without an end.
        """
        error = self._never_idle
        if error is not None:
            raise error

    # --- where a schedule is ---

    def _take(self, agents: Iterable[Agent]) -> list[State]:
        """Take in the schedules of agents that are not known; return what is new about them."""
        now = self._clock.time()
        states: list[State] = []
        for agent in agents:
            for index, spec in enumerate(agent.schedules):
                key = key_of(agent, index)
                if key in self._beats:
                    continue
                data = self._kept.pop(key, None)
                beat = self._beats[key] = self._beat(agent, index, spec, data, now)
                state = beat.state(beat.position, beat.pending, now)
                if data is None or _without_time(state.data) != _without_time(data):
                    states.append(state)
        return states

    def _beat(
        self, agent: Agent, index: int, spec: ScheduleSpec, data: bytes | None, now: float
    ) -> Beat:
        """Return a schedule as it was kept; one that is new, or another one now, begins."""
        if data is None:
            return Beat(agent, index, spec, _beginning(spec, now))
        try:
            kept = json.loads(data)
            position = Position(*(kept[name] for name in Position._fields))
            text, pending, at = kept["spec"], kept["pending"], float(kept["at"])
        except (ValueError, LookupError, TypeError) as error:
            msg = (
                f"the schedule of agent {agent.name!r} is damaged on the board ({error!r}); "
                "restore the board from a copy"
            )
            raise StoreCorrupt(msg) from error
        if text != spec.text:
            position = _beginning(spec, now)
        elif position.due is None and not spec.is_once:
            position = position._replace(due=spec.rule.following(now, position.first))
        beat = Beat(agent, index, spec, position)
        if pending is not None:
            beat.pending = self._runs.pop(int(pending, 16), None)
        beat.was_set_back = now < at
        return beat

    def _go(self, beat: Beat) -> None:
        """Let a schedule go on from where it is."""
        if beat.pending is None and beat.is_over:
            return
        self._idle.begin_due(None)
        beat.is_held = True
        if beat.pending is not None:
            self._resume(beat, beat.pending)
        else:
            self._wait(beat)

    # --- a tick ---

    def _wait(self, beat: Beat, until: float | None = None) -> None:
        """Wait for the next tick, until it is due unless said."""
        if beat.is_over:
            if beat.is_held:
                beat.is_held = False
                self._idle.end_due(None)
            return
        position = beat.position
        assert position.due is not None
        if beat.was_set_back:
            first, due = beat.spec.rule.set_back(
                position.due, position.first, position.last, self._clock.time()
            )
            position = beat.position = position._replace(first=first, due=due)
            beat.was_set_back = False
        when = position.due if until is None else until
        assert when is not None
        beat.timer = self._lifecycle.timers.add(when, partial(self._due, beat))

    def _due(self, beat: Beat) -> None:
        beat.timer = None
        beat.is_firing = True
        self._lifecycle.spawn(self._fire(beat), "schedule")

    async def _fire(self, beat: Beat) -> None:
        """Write a tick down, and let its run begin."""
        now = self._clock.time()
        position, rule = beat.position, beat.spec.rule
        try:
            due, count = await self._latest(beat, now)
            tick = Tick(due, position.iteration + 1, count - 1)
            run = TickRun(run_key(position.seed, tick.iteration), beat.agent.name, tick)
            position = position._replace(
                due=rule.following(due, position.first), last=due, iteration=tick.iteration
            )
            state = beat.state(position, run, now)
            commit = Commit(at=now, progress=(run,), states=(state,))
            commit.logged = (logged(_fired(run, tick, now)),)
            await self._patience.commit(commit)
        except StoreError:
            logger.exception("A tick of agent %r could not be stored", beat.agent.name)
            if self._is_open:
                self._wait(beat, self._later(beat, now))
            return
        finally:
            beat.is_firing = False
        beat.position = position
        if self._is_open:
            self._resume(beat, run)

    async def _latest(self, beat: Beat, now: float) -> tuple[float, int]:
        """Return the last due moment, and how many became one with it."""
        position, rule = beat.position, beat.spec.rule
        due = position.due
        assert due is not None
        if now - due < _LONG:
            return rule.latest(due, position.first, now)
        with self._clock.working():
            return await self._threads.call(rule.latest, due, position.first, now)

    def _resume(self, beat: Beat, run: Run) -> None:
        """Let the run of a tick begin, or go on."""
        assert run.tick is not None
        beat.timer = None
        beat.pending = run
        self._of_run[run.key] = beat
        again = TickRun(run.key, run.agent, run.tick)
        again.take_over(run)
        beat.pending = self._scheduler.submit_tick(beat.agent, again)

    def _later(self, beat: Beat, now: float) -> float:
        """Return when to try again what could not be stored."""
        return beat.spec.rule.following(now, beat.position.first) or now + _AGAIN

    # --- how its run ends ---

    def states_after(self, run: Run) -> Sequence[State]:
        """Return what the commit that ends the run of a tick has to say: the next may come."""
        beat = self._of_run.get(run.key)
        if beat is None:  # it was redriven
            return ()
        return (beat.state(beat.position, None, self._clock.time()),)

    def ended(self, job: Job) -> None:
        """Wait for the next tick, now that the run of one ended and the store knows."""
        beat = self._of_run.get(job.key)
        if beat is None or not self._is_open:
            return
        if job.is_committed or (isinstance(job, TickJob) and job.is_closed):
            del self._of_run[job.key]
            beat.pending = None
            self._wait(beat)
        elif job.ending is None:
            self._try_again(beat, job)

    def hold(self, job: Job) -> None:
        """Let a schedule be no open work while the run of its tick is held: nothing falls due."""
        beat = self._of_run.get(job.key)
        is_held = job.state != "held"
        if beat is None or beat.is_held is is_held:
            return
        beat.is_held = is_held
        if is_held:
            self._idle.begin_due(None)
        else:
            self._idle.end_due(None)

    async def cancel(self, jobs: Iterable[Job]) -> None:
        """Give up runs of ticks that were cancelled, and let the next ones come."""
        for job in jobs:
            if job.tick is not None and job.ending == "cancel" and not job.is_committed:
                try:
                    await self.give_up(job)
                except StoreError:
                    beat = self._of_run.get(job.key)
                    if beat is not None and self._is_open:
                        self._try_again(beat, job)
                    raise
                if job.state == "ended":
                    self.ended(job)

    async def give_up(self, job: Job) -> None:
        """Close the run of a tick without success or dead letter."""
        states = self.states_after(job)
        await self._patience.commit(Commit(at=self._clock.time(), ended=(job,), states=states))
        if isinstance(job, TickJob):
            job.is_closed = True

    def _try_again(self, beat: Beat, job: Job) -> None:
        """Begin a run again later whose end could not be stored; it is open still."""
        when = self._later(beat, self._clock.time())
        beat.timer = self._lifecycle.timers.add(when, partial(self._resume, beat, job))

    # --- a clock that is set back ---

    def set_back(self) -> None:
        """Look again when ticks are due, since the clock was set back."""
        for beat in self._beats.values():
            beat.was_set_back = True
            if beat.timer is not None and beat.pending is None:
                self._call_off(beat)
                self._wait(beat)

    def _call_off(self, beat: Beat) -> None:
        if beat.timer is not None:
            beat.timer.cancel()
            beat.timer = None


def key_of(agent: Agent, index: int) -> str:
    """Return what names a schedule among the states of a store."""
    return f"{index}:{agent.name}"


def run_key(seed: str, iteration: int) -> int:
    """Return the id of the run that a schedule starts with an iteration."""
    return int.from_bytes(blake2b(f"{seed}:{iteration}".encode(), digest_size=16).digest())


def _beginning(spec: ScheduleSpec, now: float) -> Position:
    first = spec.rule.first(now, spec.after)
    return Position(uuid4().hex, now if first is None else first, first)


def _without_time(data: bytes | None) -> object:
    """Return what a state says, but for when it was written."""
    return {} if data is None else {**json.loads(data), "at": None}


def _fired(run: Run, tick: Tick, now: float) -> ScheduleFired:
    at, fire_time = as_datetime(now), as_datetime(tick.fire_time)
    return ScheduleFired(
        at, run.correlation_id, run.agent, run.id, fire_time, tick.iteration, tick.missed
    )


async def ticks_of(store: BlackboardStore, workflow: str) -> dict[str, Tick]:
    """Return the ticks that started runs of a workflow, by the ids of the runs."""
    found: dict[str, Tick] = {}
    after = 0
    while page := await store.log(workflow, after=after):
        after = page[-1].number
        for entry in page:
            fired = event_as(entry, ScheduleFired)
            if fired is not None:
                moment = fired.fire_time.timestamp()
                found[fired.run_id] = Tick(moment, fired.iteration, fired.missed)
    return found
