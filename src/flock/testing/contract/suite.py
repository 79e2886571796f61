"""The whole suite."""

from __future__ import annotations

import pytest

from flock.testing.contract.commits import Commits
from flock.testing.contract.crowds import Crowds
from flock.testing.contract.deletions import Deletions
from flock.testing.contract.evolution import Evolution
from flock.testing.contract.lifetimes import Lifetimes
from flock.testing.contract.observing import Observing
from flock.testing.contract.progress import Progress
from flock.testing.contract.queries import Queries
from flock.testing.contract.runs import Runs
from flock.testing.contract.states import States
from flock.testing.contract.ticks import Ticks
from flock.testing.contract.values import Values
from flock.testing.contract.watching import Watching


@pytest.mark.asyncio
class StoreContract(
    Commits,
    Crowds,
    Deletions,
    Evolution,
    Lifetimes,
    Observing,
    Progress,
    Queries,
    Runs,
    States,
    Ticks,
    Values,
    Watching,
):
    """What every store has to do, as tests.

    A subclass whose name begins with `Test` says how a store is made, in `make_store`. Its tests
    are of one board each, in a folder that `make_store` is given; a store that keeps something
    elsewhere takes it away in `remove_board`.
    """
