"""Every error is a FlockError and the built-in one a user would catch."""

import pytest

import flock
from flock import (
    DeclarationError,
    EngineError,
    FlockError,
    LoopLimitExceeded,
    NotIdle,
    OutputContractError,
    PublishError,
    RunError,
    RunTimeout,
    SchemaTooNew,
    StoreError,
    StoreLocked,
    TypeRegistryError,
    UpcastError,
)


@pytest.mark.parametrize(
    ("error", "parent", "builtin"),
    [
        (DeclarationError, FlockError, ValueError),
        (TypeRegistryError, FlockError, LookupError),
        (PublishError, FlockError, ValueError),
        (RunError, FlockError, RuntimeError),
        (EngineError, RunError, RuntimeError),
        (OutputContractError, RunError, ValueError),
        (RunTimeout, RunError, TimeoutError),
        (LoopLimitExceeded, RunError, RecursionError),
        (StoreError, FlockError, RuntimeError),
        (StoreLocked, StoreError, RuntimeError),
        (SchemaTooNew, StoreError, RuntimeError),
        (UpcastError, StoreError, RuntimeError),
        (NotIdle, FlockError, RuntimeError),
    ],
)
def test_the_tree_of_errors(
    error: type[Exception], parent: type[Exception], builtin: type[Exception]
) -> None:
    assert issubclass(error, parent)
    assert issubclass(error, builtin)
    assert issubclass(error, FlockError)
    assert error.__doc__


def test_everything_named_in_all_exists_and_other_names_do_not() -> None:
    for name in flock.__all__:
        assert getattr(flock, name) is getattr(flock, name), name
    with pytest.raises(AttributeError, match="no_such_name"):
        flock.no_such_name  # noqa: B018
