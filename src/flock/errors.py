"""What can go wrong, as one shallow tree under `FlockError`.

Each error also inherits the built-in a user would catch, and its message names the
thing, the cause and the remedy.
"""

from __future__ import annotations


class FlockError(Exception):
    """Root of every error that Flock raises on its own account."""


class DeclarationError(FlockError, ValueError):
    """A declaration contradicts itself or names something that does not exist."""


class NotYetAvailable(DeclarationError, NotImplementedError):
    """A word of the contract whose machinery this version does not have yet."""


class TuningError(DeclarationError):
    """An agent cannot be tuned as asked, or a tuned prompt does not fit its agent."""


class _Lookup(FlockError, KeyError):
    def __str__(self) -> str:
        """Return the message itself; `KeyError` would show its `repr`."""
        return Exception.__str__(self)


class TypeRegistryError(_Lookup):
    """A type name is unknown, ambiguous, or belongs to another class."""


class NotFound(_Lookup):
    """No agent, artifact, dead letter or question goes by that name or id."""


class QuestionClosed(NotFound):
    """A question is not open any more: it expired, or its workflow was cancelled."""


class AlreadyAnswered(QuestionClosed):
    """Somebody else answered the question first.

    Attributes:
        answered_by: Who did.
    """

    answered_by: str = ""


class PublishError(FlockError, ValueError):
    """An object was refused before anything was stored."""


class RequestConflict(FlockError, ValueError):
    """An application was asked something else under the same id before."""


class Overloaded(FlockError, RuntimeError):
    """An application has as many requests as it takes: ask again later, or elsewhere."""


class Draining(FlockError, RuntimeError):
    """An application is ending, and takes no new requests."""


class RunError(FlockError, RuntimeError):
    """A run failed.

    Attributes:
        agent: Name of the agent, when the error is told of one run.
        run_id: Id of the run in hexadecimal, stable across its attempts.
    """

    agent: str | None = None
    run_id: str | None = None


class EngineError(RunError):
    """An engine could not produce an answer."""


class RateLimited(EngineError):
    """A model's provider asked to wait.

    Attributes:
        retry_after: Seconds to wait, where the provider said so.
    """

    retry_after: float | None = None


class ModelUnavailable(EngineError, ConnectionError):
    """A model could not be reached, or failed on its own side: asking again may help.

    Attributes:
        retry_after: Seconds to wait, where the provider said so.
    """

    retry_after: float | None = None


class ServerUnavailable(EngineError, ConnectionError):
    """An MCP server could not be started or reached, or its connection was lost."""


class ContextOverflow(EngineError):
    """A prompt is longer than the model can read."""


class ModelRefused(EngineError):
    """A model, or its provider's filter, refused to answer."""


class BudgetExceeded(RunError):
    """A model call or run would take more than a budget allows, and was not made."""


class RateKeyError(RunError, ValueError):
    """The key of a rate limit raised over a run's input, or returned what is no key."""


class OutputContractError(RunError, ValueError):
    """A run returned types, counts or values that its agent did not declare."""


class GuardBlocked(RunError, PermissionError):
    """A guard stopped a run, since an input or output holds what must not pass.

    Attributes:
        component: Name of the guard.
        field: Where it is: a path such as `notes[0].body`. The value is not told anywhere.
        kind: What it is: `"EMAIL"`, `"API_KEY"`.
    """

    component: str = ""
    field: str = ""
    kind: str = ""


class RequestFailed(RunError):
    """A request to an application did not succeed, as `Result.raise_for_status` tells."""


class RequestCancelled(RequestFailed):
    """A request to an application was cancelled."""


class RequestTimeout(RequestFailed, TimeoutError):
    """A request to an application did not end within its timeout, and was cancelled."""


class RunTimeout(RunError, TimeoutError):
    """A run took longer than its agent's `timeout`, and was cancelled."""


class WorkflowTimeout(RunError, TimeoutError):
    """A workflow was not done by its deadline, and was cancelled.

    Attributes:
        correlation_id: The workflow.
    """

    correlation_id: str = ""


class QuestionExpired(RunTimeout):
    """Nobody answered an agent's question in time. It is not asked again by itself."""


class LoopLimitExceeded(RunError, RecursionError):
    """A run lies deeper in one causal chain than `max_agent_iterations` allows."""


class StoreError(FlockError, RuntimeError):
    """A store could not do what it was asked.

    Attributes:
        was_awaited: Whether a board waited in vain for its store to be able to: what it was to
            store stays open.
    """

    was_awaited: bool = False


class StoreLocked(StoreError):
    """Another board, in this process or another, has the store open."""


class StoreUnavailable(StoreError):
    """A store cannot do anything right now, since its disk fails: trying again later may help."""


class StoreFull(StoreUnavailable, OSError):
    """The disk under a store, or its quota, is full. Nothing of the commit was written."""


class StoreReadOnly(StoreError, PermissionError):
    """A store was to be changed, and may only be read."""


class StoreCorrupt(StoreError):
    """What lies in a store is damaged, or is no store at all."""


class SchemaTooNew(StoreError):
    """A store was written by a newer version of Flock."""


class UpcastError(StoreError, ValueError):
    """A stored version has no way up to the version of its class."""


class NotIdle(FlockError, RuntimeError):
    """The board cannot become idle from where it was asked to."""
