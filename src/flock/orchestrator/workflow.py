"""`async with flock.workflow()`: what is published inside, and all that comes of it, as one."""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Self, TypedDict, TypeVar, Unpack

from pydantic import BaseModel

from flock.core.artifacts import EXTERNAL, Artifact, checked_identifier, new_key
from flock.core.filters import FilterConfig
from flock.core.types import registry
from flock.errors import NotFound, NotIdle, WorkflowTimeout
from flock.orchestrator import inside
from flock.orchestrator.workflows import status_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from flock.core.artifacts import Publishable
    from flock.core.visibility import Visibility
    from flock.core.workflow import WorkflowStatus
    from flock.orchestrator.control import Reason
    from flock.orchestrator.flock import Flock
    from flock.orchestrator.opening import Opening
    from flock.orchestrator.wiring import Parts
    from flock.store.protocol import DeadLetter

M = TypeVar("M", bound=BaseModel)

_PAGE = 1_000
"""How many artifacts are read at a time."""


class HowToPublish(TypedDict, total=False):
    """How something is published, but for its workflow; see `Flock.publish`."""

    partition_key: str | None
    tags: Iterable[str]
    visibility: Visibility | None
    idempotency_key: str | None
    schedule_immediately: bool


class Workflow:
    """One workflow from its first artifact until nothing of it goes on any more.

    `Flock.workflow` makes one. Inside its block what is published belongs to it. Leaving the
    block waits until it is done, whatever other workflows do; then it knows what came of it.
    What waits in a gate for input that may never come does not hold it: `status` tells.

    Attributes:
        correlation_id: Its id.
    """

    def __init__(
        self,
        board: Flock,
        parts: Parts,
        opening: Opening,
        correlation_id: str | None,
        timeout: float | None,
    ) -> None:
        self._board = board
        self._parts = parts
        self._opening = opening
        self._timeout = timeout
        if correlation_id is None:
            self.correlation_id = f"{new_key(parts.clock.time()):032x}"
        else:
            self.correlation_id = checked_identifier(correlation_id)
        self._outer: Workflow | None = None
        self._token: Token[Workflow | None] | None = None
        self._is_inside = False
        self._ended_by: Reason | None = None
        self._stop_watching: Callable[[], None] | None = None
        self._due: float | None = None
        self._artifacts: list[Artifact] | None = None
        self._failures: list[DeadLetter] = []
        self._status: WorkflowStatus | None = None

    def __repr__(self) -> str:
        where = "inside" if self._is_inside else "left" if self._artifacts is not None else "new"
        return f"Workflow({self.correlation_id!r}, {where})"

    # --- entering and leaving ---

    async def __aenter__(self) -> Self:
        if self._is_inside or self._artifacts is not None:
            msg = f"{self!r} was entered already; call workflow() for each block"
            raise NotIdle(msg)
        if inside.where(self._board) is not None:
            msg = (
                f"workflow() was entered inside {inside.who(self._board)}, which it may wait for; "
                "call an agent with arun and return what it makes, or publish and let another "
                "agent consume what comes of it"
            )
            raise NotIdle(msg)
        self._board.refuse_forks()
        await self._opening.open()
        control = self._parts.control
        self._stop_watching = control.watch_end(self.correlation_id, self._was_ended)
        try:
            if self._timeout is not None:
                await self._bound(self._timeout)
        except BaseException:
            self._stop_watching()
            raise
        self._outer = _current.get()
        self._token = _current.set(self)
        self._is_inside = True
        self._board.blocks += 1
        return self

    async def _bound(self, timeout: float) -> None:
        """Set the deadline, unless the workflow has an earlier one."""
        control = self._parts.control
        self._due = self._parts.clock.time() + timeout
        before = control.deadline_of(self.correlation_id)
        if before is None or before > self._due:
            await control.set_deadline(self.correlation_id, self._due)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._token is not None
        _current.reset(self._token)
        self._is_inside = False
        self._board.blocks -= 1
        try:
            if not self._opening.is_open_here:
                if kind is None:
                    msg = "the board was shut down before the workflow was done"
                    raise NotIdle(msg)
                return
            if kind is not None:
                await self._parts.control.cancel(self.correlation_id)
                return
            await self._wait()
        finally:
            if self._stop_watching is not None:
                self._stop_watching()

    async def _wait(self) -> None:
        control, workflow = self._parts.control, self.correlation_id
        try:
            if self._is_over:
                await control.end(workflow, "deadline")
            await control.wait_until_done(workflow)
        except NotIdle:
            raise
        except BaseException:  # nobody waits for it any more
            await control.cancel(workflow)
            raise
        if self._due is not None and control.deadline_of(workflow) == self._due:
            await control.set_deadline(workflow, None)
        await self._read()
        if self._ended_by == "deadline":
            bound = "by its deadline"
            if self._timeout is not None:
                bound = f"within its timeout of {self._timeout:g} seconds"
            msg = (
                f"workflow {workflow!r} was not done {bound}, and was cancelled; give it more "
                "time, or see which of its runs took long with events()"
            )
            error = WorkflowTimeout(msg)
            error.correlation_id = workflow
            raise error

    @property
    def _is_over(self) -> bool:
        """Whether it has no time left, while its body may have published something since."""
        return self._ended_by == "deadline" or (
            self._due is not None and self._parts.clock.time() >= self._due
        )

    def _was_ended(self, reason: Reason) -> None:
        if self._ended_by is None:
            self._ended_by = reason

    async def _read(self) -> None:
        """Read what came of it."""
        store = self._parts.store
        where = FilterConfig(correlation_id=self.correlation_id)
        found: list[Artifact] = []
        while True:
            page, total = await store.query_artifacts(where, limit=_PAGE, offset=len(found))
            found += page
            if not page or len(found) >= total:
                break
        self._failures = await store.dead_letters(self.correlation_id)
        self._status = await status_of(self._parts, self.correlation_id)
        self._artifacts = found

    # --- inside ---

    async def publish(self, obj: Publishable, **how: Unpack[HowToPublish]) -> Artifact:
        """Put something on the board in this workflow; see `Flock.publish`."""
        return await self._board.publish(obj, correlation_id=self.correlation_id, **how)

    async def publish_many(
        self,
        objs: Iterable[Publishable],
        *,
        partition_key: str | None = None,
        tags: Iterable[str] = (),
        visibility: Visibility | None = None,
        schedule_immediately: bool = True,
    ) -> list[Artifact]:
        """Put several things on the board in this workflow; see `Flock.publish_many`."""
        return await self._board.publish_many(
            objs,
            correlation_id=self.correlation_id,
            partition_key=partition_key,
            tags=tags,
            visibility=visibility,
            schedule_immediately=schedule_immediately,
        )

    # --- what came of it ---

    @property
    def artifacts(self) -> list[Artifact]:
        """All artifacts of the workflow, oldest first, also what was published from outside.

        Raises:
            NotIdle: Its block was not left yet.
        """
        return list(self._known)

    def outputs(self, model: type[M]) -> list[M]:
        """Return what agents published of a type, oldest first.

        Raises:
            NotIdle: Its block was not left yet.
        """
        names = registry.entry(model).names
        made = (a for a in self._known if a.produced_by != EXTERNAL)
        return [artifact.as_model(model) for artifact in made if artifact.entry.name in names]

    def one(self, model: type[M]) -> M:
        """Return the only thing that agents published of a type.

        Raises:
            NotFound: There is none, or there are several; says what there is.
            NotIdle: Its block was not left yet.
        """
        found = self.outputs(model)
        if len(found) == 1:
            return found[0]
        counts: dict[str, int] = {}
        for artifact in self._known:
            if artifact.produced_by != EXTERNAL:
                counts[artifact.type] = counts.get(artifact.type, 0) + 1
        made = ", ".join(f"{count} {name!r}" for name, count in counts.items()) or "nothing"
        failed = f"; {len(self._failures)} runs failed, see failures" if self._failures else ""
        msg = (
            f"workflow {self.correlation_id!r} made {len(found)} {model.__name__!r}, not one: "
            f"agents published {made} in it{failed}; its state is {self.status.state!r}"
        )
        raise NotFound(msg)

    @property
    def failures(self) -> list[DeadLetter]:
        """The runs of the workflow that failed for good, oldest first.

        Raises:
            NotIdle: Its block was not left yet.
        """
        self._require_left()
        return list(self._failures)

    @property
    def status(self) -> WorkflowStatus:
        """What the workflow was doing when its block was left.

        Raises:
            NotIdle: Its block was not left yet; `Flock.status` tells of it at any time.
        """
        self._require_left()
        assert self._status is not None
        return self._status

    @property
    def _known(self) -> list[Artifact]:
        self._require_left()
        assert self._artifacts is not None
        return self._artifacts

    def _require_left(self) -> None:
        if self._artifacts is None:
            msg = (
                f"what came of workflow {self.correlation_id!r} is known when its block was left "
                "and it was done; read it after the `async with`"
            )
            raise NotIdle(msg)

    # --- joining ---

    def joined_on(self, board: object) -> str | None:
        """Return the workflow of the innermost block of a board, this one or one around it."""
        if self._board is board and self._is_inside:
            return self.correlation_id
        return None if self._outer is None else self._outer.joined_on(board)


_current: ContextVar[Workflow | None] = ContextVar("flock_workflow", default=None)


def workflow_here(board: object) -> str | None:
    """Return the workflow of the block that the caller is inside of; None in agents and hooks."""
    block = _current.get()
    if block is None or inside.where(board) is not None:
        return None
    return block.joined_on(board)


def joining(board: object, obj: Publishable) -> tuple[Publishable, str | None]:
    """Return something to publish and the workflow it joins, if a block says so.

    An artifact that belongs to a workflow already stays in it.
    """
    workflow = workflow_here(board)
    if workflow is None or not isinstance(obj, Artifact):
        return obj, workflow
    if obj.seq or obj.correlation_id != f"{obj.key:032x}":
        return obj, None
    return obj.replace(correlation_id=workflow), None
