"""What runs spend, and whether budgets allow it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

from flock.clock import Clock
from flock.core.usage import Budget, Charge, Spent, Usage
from flock.errors import BudgetExceeded
from flock.store.protocol import BlackboardStore, Commit

if TYPE_CHECKING:
    from flock.core.agent import Agent
    from flock.core.delivery import Run
    from flock.orchestrator.idle import Idle
    from flock.orchestrator.patience import Patience

_Scope: TypeAlias = tuple[str | None, str | None]
"""A workflow and an agent; None for all of them."""

_ROUNDING: Final = 1e-9
"""US dollars by which sums may be off: three times 0.1 is more than 0.3 to a computer."""


class Ledger:
    """Writes down what runs spend, and stops them before a budget is exceeded.

    What is spent lies in the store, so that budgets hold for as long as the board. Only the
    accounts that a budget bounds are kept in memory, read from the store when they are first
    needed; those of a workflow are let go of when it is idle.

    Attributes:
        counts_runs: Whether a budget bounds how many runs may begin.
        of_workflows: Whether a budget bounds each workflow.
    """

    def __init__(
        self, store: BlackboardStore, patience: Patience, clock: Clock, idle: Idle
    ) -> None:
        self._store = store
        self._patience = patience
        self._clock = clock
        self._idle = idle
        self._board: list[Budget] = []
        self._budgets: list[tuple[str | None, Budget]] = []
        self._accounts: dict[_Scope, _Account] = {}
        self._waiting: set[asyncio.Future[None]] = set()
        self.counts_runs = False
        self.of_workflows = False

    def add(self, budget: Budget) -> None:
        """Bound what the whole board spends."""
        self._board.append(budget)

    def share(self, other: Ledger) -> None:
        """Bound what this board spends as another one is, each for itself."""
        self._board += other._board

    def settle(self, agents: Iterable[Agent]) -> None:
        """Take the budgets from the declarations."""
        self._budgets = [(None, budget) for budget in self._board]
        self._budgets += [(agent.name, budget) for agent in agents for budget in agent.budgets]
        self.counts_runs = any(budget.runs is not None for _, budget in self._budgets)
        self.of_workflows = any(budget.per == "workflow" for _, budget in self._budgets)

    def clear(self) -> None:
        """Forget the accounts, for a board that opens anew: the store has them."""
        self._accounts.clear()
        self._waiting.clear()

    def forget(self, workflow: str) -> None:
        """Let go of the accounts of a workflow that is idle."""
        for agent, budget in self._budgets:
            if budget.per == "workflow":
                self._accounts.pop((workflow, agent), None)

    async def begin(self, run: Run) -> None:
        """Count a run that begins.

        Raises:
            BudgetExceeded: It would be one too many.
        """
        if run.has_begun:
            return
        bounds = [bound async for bound in self._bounds(run)]
        for bound in bounds:
            bound.check_runs()
        accounts = _accounts(bounds)
        for account in accounts:
            account.runs += 1
        run.has_begun = True
        commit = self._commit(Charge(run.key, run.correlation_id, run.agent, None))
        try:
            await self._patience.commit(commit)
        finally:
            if not commit.is_done:  # it has not begun
                run.has_begun = False
                for account in accounts:
                    account.runs -= 1

    async def reserve(
        self, run: Run, model: str, tokens: int, usd: float | None
    ) -> _Reservation | None:
        """Set aside what a model call may take; None where no budget bounds it.

        Where other calls that go on hold what is left, it waits for what they give back.

        Raises:
            BudgetExceeded: What is spent does not leave that much, or a budget bounds money
                while the model's price is not known.
        """
        while bounds := [bound async for bound in self._bounds(run)]:
            for bound in bounds:
                bound.check(model, tokens, usd)
            if all(bound.leaves(tokens, usd) for bound in bounds):
                return _Reservation(bounds, tokens, usd or 0.0, self._given_back)
            await self._wait()
        return None

    async def _wait(self) -> None:
        """Wait until a call gives back what was set aside for it."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            await waiting
        finally:
            self._waiting.discard(waiting)

    def _given_back(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    async def charge(self, run: Run, model: str, usage: Usage) -> None:
        """Write down what a model call took, also when the run is cancelled meanwhile."""
        run.usage = _added(run.usage, model, usage)
        self._idle.usage = _added(self._idle.usage, model, usage)
        commit = self._commit(Charge(run.key, run.correlation_id, run.agent, model, usage))
        accounts: list[_Account] = []
        try:
            try:
                accounts = await self._accounts_of(run)
                await self._patience.commit(commit)
            except asyncio.CancelledError:
                if not commit.is_done:  # it may have come before the accounts were read, too
                    accounts = await self._accounts_of(run)
                    await self._patience.commit(commit)
                raise
        finally:
            # only now: until it was written, what was set aside for the call stood for it
            for account in accounts:
                account.tokens += usage.tokens
                account.usd += usage.usd or 0.0
            if not self._idle.open_in(run.correlation_id):  # it came after the run
                self.forget(run.correlation_id)

    async def _accounts_of(self, run: Run) -> list[_Account]:
        return _accounts([bound async for bound in self._bounds(run)])

    def _commit(self, charge: Charge) -> Commit:
        return Commit(at=self._clock.time(), charges=(charge,))

    async def _bounds(self, run: Run) -> AsyncIterator[_Bound]:
        for agent, budget in self._budgets:
            if agent is not None and agent != run.agent:
                continue
            workflow = run.correlation_id if budget.per == "workflow" else None
            account = self._accounts.get((workflow, agent))
            if account is None:
                spent = await self._store.spent(correlation_id=workflow, agent=agent)
                # whoever asked meanwhile may have gone on with it
                account = self._accounts.setdefault((workflow, agent), _Account(spent))
            yield _Bound(budget, account, workflow, agent)


class _Account:
    """What was spent, and what is set aside for calls that go on."""

    __slots__ = ("reserved_tokens", "reserved_usd", "runs", "tokens", "usd")

    def __init__(self, spent: Spent) -> None:
        total = spent.total
        self.runs = spent.runs
        self.tokens = total.tokens
        self.usd = sum(usage.usd or 0.0 for usage in spent.models.values())
        self.reserved_tokens = 0
        self.reserved_usd = 0.0


class _Bound:
    """One budget over one account."""

    __slots__ = ("_agent", "_budget", "_workflow", "account")

    def __init__(
        self, budget: Budget, account: _Account, workflow: str | None, agent: str | None
    ) -> None:
        self._budget = budget
        self.account = account
        self._workflow = workflow
        self._agent = agent

    @property
    def tokens_left(self) -> int | None:
        if self._budget.tokens is None:
            return None
        return self._budget.tokens - self.account.tokens - self.account.reserved_tokens

    @property
    def usd_left(self) -> float | None:
        if self._budget.usd is None:
            return None
        return self._budget.usd - self.account.usd - self.account.reserved_usd

    def check_runs(self) -> None:
        runs = self._budget.runs
        if runs is not None and self.account.runs >= runs:
            self._refuse(f"all {runs:,} runs have begun", _more("runs"))

    def check(self, model: str, tokens: int, usd: float | None) -> None:
        """Refuse a call for which what is spent leaves too little, whatever others give back."""
        account, budget = self.account, self._budget
        if budget.tokens is not None:
            left = budget.tokens - account.tokens
            if tokens > left or left <= 0:
                asked = f"may take {tokens:,}" if tokens else "needs more than is left"
                self._refuse(
                    f"of {budget.tokens:,} tokens {account.tokens:,} are spent, and this call of "
                    f"{model!r} {asked}",
                    _more("tokens"),
                )
        if budget.usd is None:
            return
        left_usd = budget.usd - account.usd
        if usd is None:
            self._refuse(
                f"the price of {model!r} is not known, so that it cannot be kept",
                "bound tokens instead, with budget(tokens=...)",
            )
        elif usd > left_usd + _ROUNDING or left_usd <= _ROUNDING:
            self._refuse(
                f"of ${budget.usd:,.4f} ${account.usd:,.4f} are spent, and this call of {model!r} "
                f"may cost ${usd:,.4f}",
                _more("usd"),
            )

    def leaves(self, tokens: int, usd: float | None) -> bool:
        """Whether there is room for a call beside those that go on."""
        tokens_left, usd_left = self.tokens_left, self.usd_left
        if tokens_left is not None and (tokens > tokens_left or tokens_left <= 0):
            return False
        return usd_left is None or ((usd or 0.0) <= usd_left + _ROUNDING and usd_left > _ROUNDING)

    def _refuse(self, why: str, remedy: str) -> NoReturn:
        owner = "the board" if self._agent is None else f"agent {self._agent!r}"
        where = f" in workflow {self._workflow!r}" if self._workflow is not None else ""
        msg = f"the budget of {owner}{where}: {why}; {remedy}"
        raise BudgetExceeded(msg)


class _Reservation:
    """What is set aside for one model call, in every account that bounds it."""

    def __init__(
        self,
        bounds: Sequence[_Bound],
        tokens: int,
        usd: float,
        on_release: Callable[[], None],
    ) -> None:
        self._on_release = on_release
        self._accounts = _accounts(bounds)
        self._tokens = tokens
        self._usd = usd
        self._is_held = True
        lefts = [left for bound in bounds if (left := bound.tokens_left) is not None]
        self.tokens_left = min(lefts, default=None)
        amounts = [left for bound in bounds if (left := bound.usd_left) is not None]
        self.usd_left = min(amounts, default=None)
        for account in self._accounts:
            account.reserved_tokens += tokens
            account.reserved_usd += usd

    def release(self) -> None:
        """Give back what was set aside."""
        if self._is_held:
            self._is_held = False
            for account in self._accounts:
                account.reserved_tokens -= self._tokens
                account.reserved_usd -= self._usd
            self._on_release()


def _more(bound: str) -> str:
    """Return what helps against a budget that is used up."""
    return f"allow more with budget({bound}=...), and redrive the run"


def _accounts(bounds: Sequence[_Bound]) -> list[_Account]:
    """Return each account once, though several budgets may bound it."""
    return list({id(bound.account): bound.account for bound in bounds}.values())


def _added(usages: Mapping[str, Usage] | None, model: str, usage: Usage) -> dict[str, Usage]:
    before = (usages or {}).get(model)
    return {**(usages or {}), model: usage if before is None else before + usage}
