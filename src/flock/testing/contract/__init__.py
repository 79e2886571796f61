"""The suite that every store passes: what a board relies on, as tests for pytest.

The author of a store says how one is made, and lets pytest find the rest:

```python
from pathlib import Path

from flock import BlackboardStore, SQLiteBlackboardStore
from flock.testing import StoreContract


class TestMyStore(StoreContract):
    def make_store(self, place: Path) -> BlackboardStore:
        return SQLiteBlackboardStore(place / "board.db")
```

It needs pytest, pytest-asyncio and Hypothesis, which Flock itself does not install.
"""

from __future__ import annotations

try:
    import hypothesis
    import pytest
    import pytest_asyncio
except ModuleNotFoundError as error:
    msg = (
        f"the contract suite needs {error.name!r}; install what it runs on with "
        "`pip install pytest pytest-asyncio hypothesis`"
    )
    raise ModuleNotFoundError(msg, name=error.name) from error

del hypothesis, pytest_asyncio

# What a failing assertion saw is told as in any test.
pytest.register_assert_rewrite(
    *(
        f"{__name__}.{module}"
        for module in (
            "commits",
            "crowds",
            "deletions",
            "evolution",
            "lifetimes",
            "progress",
            "queries",
            "runs",
            "samples",
            "states",
            "ticks",
            "values",
            "watching",
        )
    )
)

from flock.testing.contract.suite import StoreContract  # noqa: E402 - after the rewriting is set

__all__ = ["StoreContract"]
