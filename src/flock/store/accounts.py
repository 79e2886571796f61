"""What was spent on a board that lies in memory."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, TypeAlias

from flock.core.usage import Spent, Usage

if TYPE_CHECKING:
    from flock.core.usage import Charge

_Scope: TypeAlias = tuple[str | None, str | None]


class Accounts:
    """Sums by workflow, agent, run and model, kept as charges come in."""

    def __init__(self) -> None:
        self._by_scope: dict[_Scope, _Account] = {}
        self._by_run: dict[str, tuple[_Scope, _Account]] = {}

    def add(self, charge: Charge) -> None:
        """Take a charge to every sum that it belongs to."""
        scopes = product((None, charge.correlation_id), (None, charge.agent))
        accounts = [self._by_scope.setdefault(scope, _Account()) for scope in scopes]
        if charge.model is not None:
            scope = (charge.correlation_id, charge.agent)
            run = f"{charge.run_key:032x}"
            accounts.append(self._by_run.setdefault(run, (scope, _Account()))[1])
        for account in accounts:
            account.add(charge)

    def spent(self, workflow: str | None, agent: str | None, run_id: str | None) -> Spent:
        """Return a sum; one run is looked for in what else is asked for."""
        if run_id is None:
            account = self._by_scope.get((workflow, agent))
            return Spent() if account is None else account.spent()
        scope, account = self._by_run.get(run_id, (None, None))
        if scope is None or account is None:
            return Spent()
        is_within = workflow in {None, scope[0]} and agent in {None, scope[1]}
        return account.spent() if is_within else Spent()


class _Account:
    __slots__ = ("models", "runs")

    def __init__(self) -> None:
        self.runs = 0
        self.models: dict[str, Usage] = {}

    def add(self, charge: Charge) -> None:
        if charge.model is None:
            self.runs += 1
        else:
            before = self.models.get(charge.model)
            self.models[charge.model] = charge.usage if before is None else before + charge.usage

    def spent(self) -> Spent:
        return Spent(self.runs, dict(self.models))
