"""Limits on how many runs begin in a span of time: who holds them, and who waits for them."""

from __future__ import annotations

import heapq
import itertools
import json
import math
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from flock.core.failure import failure_of
from flock.core.rates import RateLimit, Starts
from flock.errors import RateKeyError
from flock.orchestrator.failures import shown
from flock.orchestrator.gates.join import canonical
from flock.orchestrator.ready import Ready
from flock.store.protocol import Commit, State

if TYPE_CHECKING:
    from flock.clock import Clock
    from flock.core.agent import Agent
    from flock.core.artifacts import Artifact
    from flock.core.rates import RateKey
    from flock.orchestrator.job import Job
    from flock.orchestrator.lifecycle_manager import Deadline, LifecycleManager
    from flock.orchestrator.patience import Patience

KIND: Final = "rate"
"""Of the states that say when runs began."""

_SLACK: Final = 1.0
"""Seconds by which a run may begin later than what was written down about it says."""

_AT_ONCE: Final = 1_000
"""How many states are forgotten with one commit."""

_LOOKED_AT: Final = 3
"""How many windows are looked at, whether they can be forgotten, for each that is used."""

_Kept = dict[str, list[tuple[int, float]]]
"""Number and time of starts, by the value of a key as text."""


class Window(Starts):
    """The starts of one value of a rule's key.

    Attributes:
        rule: The rule.
        value: The value.
        name: Names it among all windows of the board, also in another process.
        users: How many queues have runs that it bounds.
        numbers: Names each of its `times`.
        queues: Those with runs that wait for it.
        timer: When it opens, while somebody waits.
    """

    __slots__ = ("name", "numbers", "queues", "rule", "timer", "users", "value")

    def __init__(self, rule: Rule, value: Hashable) -> None:
        super().__init__(rule.limits)
        self.rule = rule
        self.value = value
        self.name = rule.owner, rule.place, _text(value)
        self.users = 0
        self.numbers: deque[int] = deque()
        self.queues: dict[Strands, None] = {}
        self.timer: Deadline | None = None


class Rule:
    """The limits of one owner that are counted together: those of the same key.

    Attributes:
        owner: Name of the agent; None for the whole board.
        place: Its place among the owner's rules.
        key: The key; None if it counts all runs.
        limits: The limits.
        windows: By value of the key, those that were used longest ago first.
        kept: What another process wrote of values that did not occur since: number and time
            of each start.
    """

    __slots__ = ("kept", "key", "limits", "owner", "place", "windows")

    def __init__(self, owner: str | None, place: int, key: RateKey | None, kept: _Kept) -> None:
        self.owner = owner
        self.place = place
        self.key = key
        self.kept = kept
        self.limits: list[RateLimit] = []
        self.windows: OrderedDict[Hashable, Window] = OrderedDict()

    def value_of(self, artifacts: Sequence[Artifact]) -> Hashable:
        """Return the value of the key for a run over these inputs; None if it has none.

        Raises:
            RateKeyError: The key raised, or returned what is neither hashable nor JSON.
        """
        if self.key is None or not artifacts:
            return None
        artifact = artifacts[0]
        try:
            return canonical(self.key(artifact))
        except BaseException as error:
            failure = failure_of(error, "the key of a rate limit")
            if failure is None:
                raise
            owner = "the board" if self.owner is None else f"agent {self.owner!r}"
            msg = (
                f"the key {self.key!r} of a rate limit of {owner} failed over a "
                f"{artifact.type!r}: {shown(failure)}; it is given an Artifact, with its "
                "payload and as_model(Model): let it return a hashable or a JSON value for every "
                "one, and redrive the run"
            )
            raise RateKeyError(msg) from failure

    def window(self, value: Hashable) -> Window:
        """Return the window of a value of the key."""
        found = self.windows.get(value)
        if found is None:
            found = self.windows[value] = Window(self, value)
            kept = self.kept.pop(found.name[2], ())
            found.times.extend(sorted(time for _, time in kept))
            found.numbers.extend(sorted(number for number, _ in kept))
        return found

    def forget_idle(self, used: Window, now: float) -> list[str]:
        """Forget some windows that say nothing any more; return the names of their starts.

        A few of those that were used longest ago are looked at each time, so that there are
        about as many as there were values in the last span.
        """
        windows = self.windows
        windows.move_to_end(used.value)
        names: list[str] = []
        for _ in range(_LOOKED_AT):
            value, window = next(iter(windows.items()))
            if window.users:
                windows.move_to_end(value)
            elif window is used or not window.is_idle(now):
                break
            else:
                del windows[value]
                names.extend(_name(window, number) for number in window.numbers)
        return names


class Limits:
    """Counts when limited runs begin, and writes it down so that it holds for as long as the board.

    Attributes:
        taken: Runs with reserved places, which have not begun.
        is_any: Whether anything is limited at all.
    """

    def __init__(self, clock: Clock, lifecycle: LifecycleManager, patience: Patience) -> None:
        self._clock = clock
        self._lifecycle = lifecycle
        self._patience = patience
        self._board: list[RateLimit] = []
        self._rules: dict[tuple[str | None, int], Rule] = {}
        self._by_agent: dict[str, tuple[Rule, ...]] = {}
        self._kept: dict[tuple[str | None, int], _Kept] = {}
        self._failed: dict[Job, RateKeyError] = {}
        self._outdated: deque[str] = deque()
        self._numbers = itertools.count(1)
        self.taken: dict[Job, tuple[Window, ...]] = {}
        self.is_any = False

    # --- what is limited ---

    def add(self, limit: RateLimit) -> None:
        """Bound how often runs of the whole board begin."""
        self._board.append(limit)

    def share(self, other: Limits) -> None:
        """Bound this board as another one is, each for itself."""
        self._board += other._board

    def settle(self, agents: Iterable[Agent]) -> None:
        """Take the limits from the declarations."""
        board = self._declared(None, self._board)
        self._by_agent = {}
        for agent in agents:
            rules = board + self._declared(agent.name, agent.rate_limits)
            if rules:
                self._by_agent[agent.name] = rules
        self.is_any = bool(self._by_agent)

    def _declared(self, owner: str | None, limits: Iterable[RateLimit]) -> tuple[Rule, ...]:
        by_key: dict[RateKey | None, list[RateLimit]] = {}
        for limit in limits:
            by_key.setdefault(limit.key, []).append(limit)
        keyed = itertools.count(1)  # 0 is what counts all runs, wherever it was declared
        rules: list[Rule] = []
        for key, found in by_key.items():
            place = 0 if key is None else next(keyed)
            rule = self._rules.get((owner, place))
            if rule is None or rule.key is not key:
                rule = self._rules[owner, place] = Rule(
                    owner, place, key, self._kept.setdefault((owner, place), {})
                )
            rule.limits[:] = found  # the windows have the same list
            rules.append(rule)
        return tuple(rules)

    def of(self, agent: str) -> tuple[Rule, ...]:
        """Return the rules for an agent's runs; empty if nothing limits them."""
        return self._by_agent.get(agent, ())

    # --- a board that opens ---

    def clear(self) -> None:
        """Forget when runs began: the store has it."""
        for rule in self._rules.values():
            rule.windows.clear()
        for kept in self._kept.values():
            kept.clear()
        self.taken.clear()
        self._failed.clear()
        self._outdated.clear()

    def resume(self, kept: Mapping[str, bytes]) -> None:
        """Go on where another process was left, with what the store kept.

        A run begins once that is on record, some moments later; whoever was killed may not have
        said when. It is taken for as late as it can have been.
        """
        now = self._clock.time()
        last = 0
        for name, data in kept.items():
            owner, place, text, number = json.loads(name)
            time, until = json.loads(data)
            last = max(last, number)
            if until + _SLACK <= now:
                self._outdated.append(name)
            else:
                starts = self._kept.setdefault((owner, place), {}).setdefault(text, [])
                starts.append((number, min(time + _SLACK, now)))
        self._numbers = itertools.count(last + 1)

    # --- a run that begins ---

    def windows_of(self, rules: Iterable[Rule], values: Iterable[Hashable]) -> tuple[Window, ...]:
        """Return the windows that values of the rules' keys stand for."""
        return tuple(rule.window(value) for rule, value in zip(rules, values, strict=True))

    def reserve(self, job: Job, windows: tuple[Window, ...]) -> None:
        """Hold a place in each window for a run that is about to begin."""
        for window in windows:
            window.reserved += 1
        self.taken[job] = windows

    def release(self, job: Job) -> None:
        """Give the places of a run back that did not begin, if it has any."""
        self._failed.pop(job, None)
        for window in self.taken.pop(job, ()):
            window.reserved -= 1
            self.look_after(window)

    def refuse(self, job: Job, error: RateKeyError) -> None:
        """Let a run fail when it begins."""
        self._failed[job] = error

    async def begin(self, job: Job) -> None:
        """Write down that a run begins now, before it does.

        Raises:
            RateKeyError: A key failed over its input.
            StoreError: It could not be written down, and the run must not begin.
        """
        error = self._failed.pop(job, None)
        if error is not None:
            raise error
        windows = self.taken.get(job)
        if not windows:  # it answers from memory
            return
        numbers = [next(self._numbers) for _ in windows]
        now = await self._write_down(windows, numbers)
        if self.taken.pop(job, None) is None:  # of a board that was closed since
            return
        job.began = now
        for window, number in zip(windows, numbers, strict=True):
            window.reserved -= 1
            window.numbers.append(number)
            for _ in range(window.begin(now)):
                self._outdated.append(_name(window, window.numbers.popleft()))
        for window in windows:
            self._outdated.extend(window.rule.forget_idle(window, now))
            self.look_after(window)

    async def _write_down(self, windows: Sequence[Window], numbers: Sequence[int]) -> float:
        """Have it last that a run begins; return when, which is just after it was stored."""
        try:
            while True:  # again, if the store took longer than it is trusted to take
                now = self._clock.time()
                kept = [_state(*start, now) for start in zip(windows, numbers, strict=True)]
                await self._patience.commit(Commit(at=now, states=[*kept, *self._forgotten()]))
                stored = self._clock.time()
                if stored - now <= _SLACK:
                    return stored
        except BaseException:
            self._outdated.extend(map(_name, windows, numbers))
            raise

    def _forgotten(self) -> list[State]:
        outdated = self._outdated
        count = min(len(outdated), _AT_ONCE)
        return [State(KIND, outdated.popleft(), None) for _ in range(count)]

    # --- waiting ---

    def look_after(self, window: Window) -> None:
        """Let those who wait for a window go on if it is open, or when it will be."""
        if not window.queues:
            return
        now = self._clock.time()
        opens = window.opens_at(now)
        timer = window.timer
        if timer is not None and timer.when != opens:
            timer.cancel()
            window.timer = timer = None
        if opens <= now:
            for queue in list(window.queues):
                queue.wake(window)
        elif timer is None and opens < math.inf:
            due = partial(self._due, window)
            window.timer = self._lifecycle.timers.add(opens, due)

    def _due(self, window: Window) -> None:
        window.timer = None
        self.look_after(window)


class Strands:
    """The runs of one agent that wait for their turn under limits; in place of a `Ready`.

    Those with the same values of all keys are one strand: a queue of its own, which waits by
    itself for its windows. Of the strands whose windows are open the one with the most urgent
    run is next, and of equal ones that which has waited longest.

    Whoever waits for the same window is in one heap, and one of them is woken when it opens.
    That one wakes the next, when it has used its place or cannot: so each opening costs as much
    as what comes of it, however many wait.

    Attributes:
        first: The strands that are awake, the most urgent first; empty if nothing can start.
        rules: What limits them.
        on_open: Called when some can start that could not.
    """

    def __init__(
        self,
        limits: Limits,
        rules: tuple[Rule, ...],
        clock: Clock,
        on_open: Callable[[], None],
    ) -> None:
        self._limits = limits
        self.rules = rules
        self._clock = clock
        self.on_open = on_open
        self._strands: dict[tuple[Hashable, ...] | None, _Strand] = {}
        self._asleep: dict[Window, list[_Entry]] = {}
        self._order = itertools.count(1)
        self._queued = 0
        self._ended = 0
        self.first: list[_Entry] = []

    def __iter__(self) -> Iterator[Job]:
        """Yield all that is queued, in no particular order."""
        for strand in self._strands.values():
            yield from strand.ready

    def drained(self) -> Iterator[Job]:
        """Take out all of it that is still to start, strand by strand; it is done with then."""
        for window in self._asleep:
            window.queues.pop(self, None)
        self._asleep.clear()
        self.first.clear()
        strands, self._strands = list(self._strands.values()), {}
        for strand in strands:
            for window in strand.windows:
                window.users -= 1
            yield from strand.ready.drained()

    @property
    def priority(self) -> int:
        """The priority of the most urgent run that can start. Only if there is one."""
        return -self.first[0][0][0]

    def push(self, priority: int, job: Job) -> None:
        """Add a run behind all of its priority, workflow and keys."""
        values = self._values(job)
        strand = self._strands.get(values)
        if strand is None:
            windows = () if values is None else self._limits.windows_of(self.rules, values)
            strand = self._strands[values] = _Strand(values, windows, next(self._order))
            for window in windows:
                window.users += 1
        strand.ready.push(priority, job)
        self._queued += 1
        if strand.window is not None:
            self._sleep(strand, strand.window)
        else:
            self._offer(strand)

    def pop(self) -> Job | None:
        """Take the most urgent run out that may begin now, and hold its place; None without any."""
        job: Job | None = None
        while job is None and self.first:
            # read anew each time: a window may open while this goes on, which lets a strand that
            # was just put to sleep be next again
            now = self._clock.time()
            key, _, strand = heapq.heappop(self.first)
            if strand.offered != key:
                continue
            strand.offered = None
            job = self._started(strand, now)
            if strand.window is None:
                self._offer(strand)
            for window in strand.windows:
                if window in self._asleep:
                    self._pass_on(window, now)
        while self.first and self.first[0][2].offered != self.first[0][0]:
            heapq.heappop(self.first)
        return job

    def _pass_on(self, window: Window, now: float) -> None:
        """Let the next strand that waits for a window have what a woken one left of it."""
        if window.opens_at(now) <= now:
            self._wake(window)
        else:
            self._limits.look_after(window)

    def _started(self, strand: _Strand, now: float) -> Job | None:
        """Take the next run of a strand, or put the strand to sleep; None if none can start."""
        for window in strand.windows:
            if window.opens_at(now) > now:
                self._sleep(strand, window)
                return None
        while strand.ready:
            job = strand.ready.pop()
            self._queued -= 1
            if job is not None and job.state == "queued":
                if strand.windows:
                    self._limits.reserve(job, strand.windows)
                strand.turn = next(self._order)
                return job
            self._ended -= 1
        return None

    def _offer(self, strand: _Strand) -> None:
        """Let a strand that is awake be next when it is its turn; forget one that is empty."""
        if not strand.ready:
            self._forget(strand)
            return
        key = -strand.ready.priority, strand.turn
        if strand.offered != key:
            strand.offered = key
            heapq.heappush(self.first, (key, next(self._order), strand))

    def _forget(self, strand: _Strand) -> None:
        del self._strands[strand.values]
        for window in strand.windows:
            window.users -= 1

    def _sleep(self, strand: _Strand, window: Window) -> None:
        """Let a strand wait for a window, as urgently as its next run is."""
        key = -strand.ready.priority, strand.turn
        if strand.window is window and strand.asleep == key:
            return
        strand.window, strand.asleep = window, key
        heapq.heappush(self._asleep.setdefault(window, []), (key, next(self._order), strand))
        window.queues[self] = None
        if window.timer is None:
            self._limits.look_after(window)

    def wake(self, window: Window) -> None:
        """Wake the most urgent strand that waits for a window, and have it start a run."""
        self._wake(window)
        if self.first:
            self.on_open()

    def _wake(self, window: Window) -> None:
        asleep = self._asleep.get(window, [])
        while asleep:
            key, _, strand = heapq.heappop(asleep)
            if strand.window is window and strand.asleep == key:
                strand.window = strand.asleep = None
                self._offer(strand)
                if strand.ready:
                    break
        if not asleep:
            self._asleep.pop(window, None)
            window.queues.pop(self, None)

    def ended(self) -> None:
        """Note that a queued run was ended, and drop those when they are most of what is kept."""
        self._ended += 1
        if self._ended > 16 and self._ended * 2 > self._queued:
            for strand in self._strands.values():
                self._queued -= strand.drop_ended()
            self._ended = 0

    def force(self, job: Job) -> None:
        """Hold the places of a run that does not wait for its turn."""
        values = self._values(job)
        if values is not None:
            self._limits.reserve(job, self._limits.windows_of(self.rules, values))

    def _values(self, job: Job) -> tuple[Hashable, ...] | None:
        """Return the values of the keys for a run; None if nothing limits it, or one failed."""
        if job.lane.agent.reaches_out(job.artifacts):
            try:
                return tuple(rule.value_of(job.artifacts) for rule in self.rules)
            except RateKeyError as error:
                self._limits.refuse(job, error)
        return None


class _Strand:
    """The runs of one agent with the same values of all keys.

    Attributes:
        values: The values; None for runs that nothing limits.
        ready: The runs.
        windows: What limits them.
        turn: When the last of them started, as a number that grows.
        offered: Under which key it is known as awake; None if it is not.
        window: The window it waits for; None if it is awake.
        asleep: Under which key it waits.
    """

    __slots__ = ("asleep", "offered", "ready", "turn", "values", "window", "windows")

    def __init__(
        self, values: tuple[Hashable, ...] | None, windows: tuple[Window, ...], turn: int
    ) -> None:
        self.values = values
        self.ready = Ready()
        self.windows = windows
        self.turn = turn
        self.offered: tuple[int, int] | None = None
        self.window: Window | None = None
        self.asleep: tuple[int, int] | None = None

    def drop_ended(self) -> int:
        """Forget the runs that were ended; return how many."""
        before, self.ready = self.ready, Ready()
        dropped = 0
        while before:
            priority = before.priority
            job = before.pop()
            if job is not None and job.state == "queued":
                self.ready.push(priority, job)
            else:
                dropped += 1
        return dropped


_Entry = tuple[tuple[int, int], int, _Strand]
"""How urgent a strand is, a number of its own, and the strand."""


def _text(value: Hashable) -> str:
    """Return a value of a key as text: of equal values the same, in another process too."""
    if isinstance(value, frozenset):
        return f"{{{', '.join(sorted(map(_text, cast('frozenset[Hashable]', value))))}}}"
    if isinstance(value, tuple):
        return f"({', '.join(map(_text, cast('tuple[Hashable, ...]', value)))})"
    if isinstance(value, int | float) and value == int(value if math.isfinite(value) else 0):
        return repr(int(value))  # True and 1.0 are 1 as keys
    return repr(value)


def _name(window: Window, number: int) -> str:
    return json.dumps([*window.name, number])


def _state(window: Window, number: int, now: float) -> State:
    longest = max(limit.span for limit in window.limits)
    return State(KIND, _name(window, number), json.dumps([now, now + longest]).encode())
