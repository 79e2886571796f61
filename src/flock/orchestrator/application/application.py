"""The application: what a host asks, with admission, ids, principals and an orderly end."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, Self, TypeAlias, cast

from pydantic import BaseModel

from flock.clock import Clock, SystemClock
from flock.core.artifacts import checked_tags, checked_visibility, is_text, new_key
from flock.core.slots import Slots
from flock.core.spans import Span, seconds
from flock.core.types import TypeEntry, registry
from flock.core.visibility import AgentIdentity, TenantVisibility, Visibility
from flock.errors import (
    DeclarationError,
    Draining,
    Overloaded,
    PublishError,
    RequestConflict,
)
from flock.orchestrator.application.boards import Factory, OwnBoards, SharedBoard
from flock.orchestrator.application.outputs import Outputs
from flock.orchestrator.application.request import Asked, Request, Success, Terms, conflict
from flock.orchestrator.application.stream import RequestStream
from flock.orchestrator.flock import Flock
from flock.orchestrator.lifecycle_manager import LifecycleManager
from flock.orchestrator.scheduler import UNLIMITED

if TYPE_CHECKING:
    from types import TracebackType

    from flock.orchestrator.application.result import Record, Result

REMEMBERED: Final = 1_000
"""How many results of requests with an id are remembered where the board does not."""

Input: TypeAlias = BaseModel | Mapping[str, object] | str | bytes
"""An input: a model, its fields, or those as JSON."""


@dataclass(frozen=True, slots=True)
class ApplicationStatus:
    """What an application is doing.

    Attributes:
        running: Requests that have had their turn and go on.
        queued: Requests that wait for theirs.
        done: Requests that ended, failed ones included.
        failed: Those of them that did not succeed, or were refused by the board.
        is_draining: Whether it takes no new requests any more.
    """

    running: int
    queued: int
    done: int
    failed: int
    is_draining: bool


class Application:
    """A board behind one question: an input comes in, its outputs come back.

    It is what stands between a host (a web server, a queue's worker, a command) and a board.
    Each request is a workflow of its own, and ends when that is at rest. Its functions belong to
    one event loop. `async with` opens it and drains it at the end; without it, the first request
    opens it, and `shutdown()` closes it.

    Args:
        factory: Makes a board with its agents: called for each request, or once if they share
            one. Or, with `isolation="shared"`, a board, which stays yours to close.
        input_type: What is asked with.
        output_types: What is answered with: a type or several.
        isolation: `"request"` gives each request a board of its own, in memory, that ends with
            it. `"shared"` runs all on one board, which may last and where agents, limits and
            budgets are shared.
        max_concurrent: How many requests go on at once; no limit unless said.
        max_queued: How many more may wait for their turn, first come, first served; as many as
            go on at once unless said.
        timeout: How long a request may take, waiting for its turn included, unless `run` says
            otherwise: a `timedelta` or seconds.
        success: What makes a request succeed: `"any"` output, one of `"all"` types, or `"clean"`:
            one of all types and no run that failed for good.
        visibility: Who may read the input of a principal; its tenant's agents if it has a tenant,
            everybody otherwise, unless said.
        name: Keeps the ids of applications apart that share a board.
        clock: The time of requests; a shared board's own, the system's otherwise unless said.

    Raises:
        DeclarationError: An argument makes no sense.
    """

    def __init__(
        self,
        factory: Flock | Factory,
        *,
        input_type: type[BaseModel],
        output_types: type[BaseModel] | Iterable[type[BaseModel]],
        isolation: Literal["request", "shared"] = "request",
        max_concurrent: int | None = None,
        max_queued: int | None = None,
        timeout: Span | None = None,
        success: Success = "any",
        visibility: Callable[[AgentIdentity], Visibility | None] | None = None,
        name: str = "application",
        clock: Clock | None = None,
    ) -> None:
        self.name = name
        self.input_type = input_type
        self.output_types = (
            (output_types,) if isinstance(output_types, type) else tuple(output_types)
        )
        self._input = registry.entry(input_type)
        types = tuple(dict.fromkeys(registry.entry(model).name for model in self.output_types))
        if not types:
            msg = f"application {name!r} needs at least one output type; say what it answers with"
            raise DeclarationError(msg)
        if success not in {"any", "all", "clean"}:
            msg = f"success is one of 'any', 'all' and 'clean', not {success!r}"
            raise DeclarationError(msg)
        for limit, what, least in (
            (max_concurrent, "max_concurrent", 1),
            (max_queued, "max_queued", 0),
        ):
            if limit is not None and (type(limit) is not int or limit < least):
                msg = f"{what} must be a whole number from {least}, not {limit!r}"
                raise DeclarationError(msg)
        if max_queued is not None and max_concurrent is None:
            msg = "max_queued bounds who waits for max_concurrent; give that as well"
            raise DeclarationError(msg)
        self._boards = _boards(factory, isolation)
        self._limit = max_concurrent
        self._room = (
            None
            if max_concurrent is None
            else max_concurrent + (max_concurrent if max_queued is None else max_queued)
        )
        self._timeout = None if timeout is None else seconds(timeout, "timeout")
        self._visibility = visibility
        self._given_clock: Clock = clock if clock is not None else SystemClock()
        self._terms = Terms(
            self._boards, Slots(max_concurrent or UNLIMITED), frozenset(types), success
        )
        self._lifecycle = LifecycleManager()
        self._going: dict[Request, None] = {}
        self._by_key: dict[str, Request] = {}
        self._remembered: OrderedDict[str, Request] = OrderedDict()
        self._done = 0
        self._failed = 0
        self._is_draining = False

    def __repr__(self) -> str:
        answers = ", ".join(model.__name__ for model in self.output_types)
        return f"Application({self.name!r}, {self.input_type.__name__} -> {answers})"

    # --- asking ---

    async def run(
        self,
        obj: Input,
        *,
        id: str | None = None,  # noqa: A002 - the word of the contract
        principal: AgentIdentity | None = None,
        timeout: Span | None = None,
        tags: Iterable[str] = (),
    ) -> Result:
        """Publish an input into a workflow of its own, and wait until that is at rest.

        Cancelling it cancels the workflow, unless another caller waits for the same request;
        nothing of it goes on when the cancellation is raised.

        Args:
            obj: A model of the input type, its fields, or those as JSON.
            id: Names the request. Asked again under the same id, an application joins the
                request while it goes on, and returns what came of it afterwards, without
                running again; where a shared board lasts, also after a restart. An id belongs to
                its principal.
            principal: On whose behalf it is asked: the result holds what it may read. Without
                one it is the host's own, who may read everything.
            timeout: How long it may take, waiting for its turn included: a `timedelta` or
                seconds. A request that is joined keeps its own.
            tags: Words that subscriptions may ask for.

        Returns:
            What came of it, also if it failed, timed out, or was cancelled by others.

        Raises:
            PublishError: The input is no valid one, or was refused.
            Overloaded: As many requests as are allowed go on and wait.
            Draining: The application is ending.
            RequestConflict: Something else was asked under the same id.
            NotIdle: The shared board was shut down meanwhile; what is open goes on when it is
                opened again.
        """
        asked = self._asked(obj, id, principal, timeout, tags)
        request = await self._request(asked)
        try:
            record = await asyncio.shield(request.ended)
        except asyncio.CancelledError:
            await request.left()
            raise
        except BaseException:
            request.leave()
            raise
        request.leave()
        outputs = () if request.outputs is None else await request.outputs.all()
        return record.seen_by(principal, outputs, self._now())

    def stream(
        self,
        obj: Input,
        *,
        id: str | None = None,  # noqa: A002 - the word of the contract
        principal: AgentIdentity | None = None,
        timeout: Span | None = None,
        tags: Iterable[str] = (),
    ) -> RequestStream:
        """Do what `run` does, and yield the outputs as they are committed.

        The request begins with the first step of the iteration, which raises what `run` does.
        `stream.result` is what came of it, once the iteration has ended.
        """
        asked = self._asked(obj, id, principal, timeout, tags)

        return RequestStream(partial(self._request, asked), principal, self._now)

    def _asked(
        self,
        obj: Input,
        given_id: str | None,
        principal: AgentIdentity | None,
        timeout: Span | None,
        tags: Iterable[str],
    ) -> Asked:
        model = self._validated(obj)
        if not isinstance(principal, AgentIdentity | None):
            msg = (
                "a principal is an AgentIdentity, such as AgentIdentity('user:ann'), not "
                f"{principal!r}"
            )
            raise PublishError(msg)
        span = self._timeout if timeout is None else seconds(timeout, "timeout")
        visibility = self._visibility_for(principal)
        if given_id is None:
            made = f"{new_key(self._now()):032x}"
            return Asked(made, model, made, checked_tags(tags), visibility, principal, None, span)
        if not isinstance(given_id, str) or not given_id or not is_text(given_id):
            msg = f"the id of a request is a text, not {given_id!r}"
            raise PublishError(msg)
        whose = None if principal is None else [principal.tenant_id, principal.name]
        key = _digest(json.dumps([self.name, whose, given_id]).encode())
        content = _digest(self._input.current.name.encode() + b"\0" + self._input.freeze(model))
        workflow = f"{key}-{content}"
        return Asked(
            given_id,
            model,
            workflow,
            checked_tags(tags),
            visibility,
            principal,
            f"application/{key}",
            span,
        )

    def _validated(self, obj: object) -> BaseModel:
        """Return an input as a model.

        Raises:
            PublishError: It is no valid one.
        """
        entry = self._input.current
        if isinstance(obj, BaseModel):
            if registry.entry(type(obj)).name == entry.name:
                return obj
            msg = f"application {self.name!r} takes a {entry.name!r}, not {obj!r}"
            raise PublishError(msg)
        if isinstance(obj, str | bytes):
            return _parsed(entry, obj)
        if isinstance(obj, Mapping):
            return entry.parse(dict(cast("Mapping[str, object]", obj)))
        msg = (
            f"application {self.name!r} takes a {entry.name!r}, a dict of its fields or JSON, not "
            f"{obj!r}"
        )
        raise PublishError(msg)

    def _visibility_for(self, principal: AgentIdentity | None) -> Visibility | None:
        if principal is None:
            return None
        if self._visibility is not None:
            return checked_visibility(self._visibility(principal))
        if principal.tenant_id is not None:
            return TenantVisibility(tenant_id=principal.tenant_id)
        return None

    async def _request(self, asked: Asked) -> Request:
        """Return the request that is to be waited for, which the caller has joined.

        Raises:
            Overloaded: There are too many.
            Draining: There are to be no more.
            RequestConflict: Something else was asked under the same id.
        """
        joined = self._joined(asked)
        if joined is not None:
            return joined
        self._admit()
        await self._boards.prepare()
        joined = self._joined(asked)
        if joined is not None:
            return joined
        self._admit()
        request = Request(asked, self._terms, self._boards.clock(self._given_clock))
        request.join()
        self._going[request] = None
        if asked.key is not None:
            self._by_key[asked.key] = request
        request.task = self._lifecycle.spawn(self._carry_out(request), "request", copy_context())
        return request

    def _joined(self, asked: Asked) -> Request | None:
        """Join the request that goes on under the same id, or is remembered, if there is one."""
        if asked.key is None:
            return None
        request = self._by_key.get(asked.key) or self._remembered.get(asked.key)
        if request is None:
            return None
        if request.asked.workflow != asked.workflow:
            raise RequestConflict(conflict(asked.id))
        request.join()
        return request

    def _admit(self) -> None:
        if self._is_draining:
            msg = (
                f"application {self.name!r} is ending and takes no new requests; ask another "
                "instance, or this one once it is open again"
            )
            raise Draining(msg)
        if self._room is not None and len(self._going) >= self._room:
            msg = (
                f"application {self.name!r} is overloaded: {self._limit} requests go on and "
                f"{self._room - (self._limit or 0)} wait; ask again later, or raise max_concurrent "
                "or max_queued"
            )
            raise Overloaded(msg)

    async def _carry_out(self, request: Request) -> None:
        try:
            await request.carry_out(self._remember)
        finally:
            del self._going[request]
            key = request.asked.key
            if key is not None and self._by_key.get(key) is request:
                del self._by_key[key]
            self._done += 1
            if not _is_well(request.ended):
                self._failed += 1

    async def _remember(self, request: Request) -> None:
        """Keep what came of a request whose board ends with it, if it may be asked for again."""
        key = request.asked.key
        if key is None or self._boards.is_shared or request.outputs is None:
            return
        request.outputs = Outputs.kept(await request.outputs.all())
        request.board = None
        self._remembered[key] = request
        if len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)

    def _now(self) -> float:
        return self._boards.clock(self._given_clock).time()

    # --- its life ---

    def status(self) -> ApplicationStatus:
        """Return how many requests go on, wait and have ended."""
        running = sum(request.has_begun for request in self._going)
        return ApplicationStatus(
            running, len(self._going) - running, self._done, self._failed, self._is_draining
        )

    async def drain(self, grace: Span = 5.0) -> None:
        """Take no new requests, let those that were taken end, and cancel the rest.

        Args:
            grace: How long they may take: a `timedelta` or seconds of real time.
        """
        span = seconds(grace, "grace", zero=True)
        self._is_draining = True
        try:
            if span and (tasks := self._tasks()):
                await asyncio.wait(tasks, timeout=span)
        finally:
            for request in self._going:
                request.end("cancelled")
        if tasks := self._tasks():
            await asyncio.wait(tasks)

    async def shutdown(self, grace: Span = 5.0) -> None:
        """Drain it, and close a shared board that the factory made.

        Args:
            grace: How long requests may take to end: a `timedelta` or seconds of real time.
        """
        await self.drain(grace)
        await self._boards.close()
        await self._lifecycle.shutdown()

    async def __aenter__(self) -> Self:
        self._is_draining = False
        await self._boards.prepare()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.shutdown(5.0 if kind is None else 0.0)

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [request.task for request in self._going if request.task is not None]


def _boards(given: Flock | Factory, isolation: str) -> OwnBoards | SharedBoard:
    if isolation not in {"request", "shared"}:
        msg = f"isolation is 'request' or 'shared', not {isolation!r}"
        raise DeclarationError(msg)
    if isolation == "shared" and (isinstance(given, Flock) or callable(given)):
        return SharedBoard(given)
    if isinstance(given, Flock):
        msg = (
            f"{given!r} would be the board of all requests; say isolation='shared', or give a "
            "function that makes a board for each"
        )
        raise DeclarationError(msg)
    if not callable(given):
        msg = f"an application takes a function that makes a Flock, or a shared one, not {given!r}"
        raise DeclarationError(msg)
    return OwnBoards(given)


def _parsed(entry: TypeEntry, text: str | bytes) -> BaseModel:
    try:
        fields = json.loads(text)
    except ValueError as error:
        msg = f"this is no JSON of a {entry.name!r}: {error}"
        raise PublishError(msg) from error
    return entry.parse(fields)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _is_well(ended: asyncio.Future[Record]) -> bool:
    if ended.cancelled() or ended.exception() is not None:
        return False
    return ended.result().status in {"succeeded", "waiting"}
