"""From an object to an artifact, and from artifacts to one commit with their deliveries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel

from flock.clock import Clock
from flock.core.artifacts import (
    EXTERNAL,
    NO_TAGS,
    Artifact,
    checked_identifier,
    checked_partition,
    checked_tags,
    checked_visibility,
    new_key,
    require_text,
    seal,
)
from flock.core.failure import failure_of
from flock.core.lifecycle import label_of
from flock.core.types import registry
from flock.core.visibility import PUBLIC, Visibility
from flock.errors import PublishError, TypeRegistryError
from flock.orchestrator.events import EventBus
from flock.orchestrator.failures import shown
from flock.store.protocol import BlackboardStore, Commit

if TYPE_CHECKING:
    from flock.components.board import Board
    from flock.core.delivery import Delivery, Run
    from flock.orchestrator.component_runner import ComponentRunner
    from flock.orchestrator.embeddings import Embeddings
    from flock.orchestrator.holding import Holding
    from flock.orchestrator.matcher import Candidate, Matcher
    from flock.orchestrator.patience import Patience
    from flock.store.protocol import DeadLetter, LogEntry, State


class Publisher:
    """Makes artifacts of objects and commits them with the deliveries that they open.

    Attributes:
        matcher: The index of subscriptions, replaced when a declaration changes.
        route: Takes deliveries that were opened on their way; the router's.
    """

    route: Callable[[Sequence[Delivery]], None]

    def __init__(
        self,
        store: BlackboardStore,
        patience: Patience,
        clock: Clock,
        components: ComponentRunner,
        events: EventBus,
        orchestrator: Board,
        matcher: Matcher,
        embeddings: Embeddings,
        holding: Holding,
    ) -> None:
        self._holding = holding
        self._store = store
        self._patience = patience
        self._keeps_progress = store.is_durable
        self._now = clock.time
        self._components = components
        self._events = events
        self._orchestrator = orchestrator
        self.matcher = matcher
        self._embeddings = embeddings

    # --- object -> artifact --------------------------------------------------------------

    def draft(
        self,
        obj: object,
        correlation_id: str | None = None,
        partition_key: str | None = None,
        tags: Iterable[str] = (),
        visibility: Visibility | None = None,
        depth: int = 0,
    ) -> Artifact:
        """Make an artifact of a model, a dict or an artifact that is not on the board.

        Raises:
            PublishError: It cannot be one, or would not survive being stored.
            TypeRegistryError: Its type is unknown or ambiguous.
        """
        entry = registry.entry_of(obj)
        if entry is not None:
            data = entry.freeze(obj)  # pyright: ignore[reportArgumentType] - it is a model
        elif isinstance(obj, Artifact):
            return _restamped(obj, correlation_id, partition_key, tags, visibility, depth)
        elif isinstance(obj, Mapping):
            model = _parsed(dict(cast("Mapping[str, Any]", obj)))
            entry = registry.entry(type(model))
            data = entry.freeze(model)
        else:
            msg = (
                f"cannot publish {obj!r}; publish a Pydantic model, a dict with 'type', or an "
                "Artifact"
            )
            raise PublishError(msg)
        if correlation_id is not None:
            correlation_id = checked_identifier(correlation_id)
        now = self._now()
        key = new_key(now)
        return seal(
            key,
            entry,
            data,
            EXTERNAL,
            correlation_id or f"{key:032x}",
            None if partition_key is None else checked_partition(partition_key),
            checked_tags(tags) if tags else NO_TAGS,
            PUBLIC if visibility is None else checked_visibility(visibility),
            now,
            (),
            depth,
        )

    def system_artifact(
        self,
        obj: BaseModel,
        *,
        agent: str,
        correlation_id: str,
        visibility: Visibility,
        parents: Sequence[Artifact],
        depth: int,
        key: int | None = None,
    ) -> Artifact:
        """Make an artifact that the board publishes about an agent's work.

        Its id is new, unless its number is given.
        """
        entry = registry.entry(type(obj))
        data = entry.freeze(obj)
        now = self._now()
        return seal(
            new_key(now) if key is None else key,
            entry,
            data,
            agent,
            correlation_id,
            None,
            NO_TAGS,
            visibility,
            now,
            tuple(parent.key for parent in parents),
            depth,
        )

    async def published_as(self, idempotency_key: str, artifact: Artifact) -> Artifact | None:
        """Return what was published under a key, or None if nothing was.

        Raises:
            PublishError: The key is no text; or it was something else than this artifact.
        """
        if not isinstance(idempotency_key, str) or not idempotency_key:
            msg = f"an idempotency_key is a text, not {idempotency_key!r}"
            raise PublishError(msg)
        require_text(idempotency_key, "an idempotency_key")
        known = await self._store.published_as(idempotency_key)
        if known is None:
            return None
        if (known.entry.name, known.data) != (artifact.entry.name, artifact.data):
            msg = (
                f"under idempotency_key {idempotency_key!r} another {known.type!r} was published, "
                f"with id {known.id}; use a key of its own for each thing that is published"
            )
            raise PublishError(msg)
        return known

    # --- artifacts -> commit ---------------------------------------------------------------

    async def commit(
        self,
        artifacts: list[Artifact],
        *,
        starting: Sequence[Artifact] | None = None,
        closed: Sequence[Delivery] = (),
        run: Run | None = None,
        without: str | None = None,
        deliver: bool = True,
        buried: DeadLetter | None = None,
        on_stored: Callable[[], None] | None = None,
        maker: Run | None = None,
        begun: Run | None = None,
        idempotency_key: str | None = None,
        on_wait: Callable[[], None] | None = None,
        states: Sequence[State] = (),
        logged: Sequence[LogEntry] = (),
    ) -> None:
        """Put artifacts on the board, all or none, with what a run used up, and route them.

        Once the store has it, all of it happens: a cancellation is raised only afterwards.

        Args:
            artifacts: What to put on the board; replaced in place by what was stored.
            starting: What `accept` returned for them; they are accepted first if it is left out.
            closed: Deliveries that are used up.
            run: The run whose success this is.
            without: An agent that these artifacts do not start.
            deliver: Whether they start anybody.
            buried: A dead letter to keep.
            on_stored: Called when it is stored, before anything is routed.
            maker: The run that made the artifacts and goes on; its progress lasts with them.
            begun: Another run, to be on record with them.
            idempotency_key: The key under which the one artifact is published.
            on_wait: Called when the store cannot do it for now, and is waited for; without it
                that fails at once.
            states: What is kept or forgotten with it.
            logged: What else happened with it.

        Raises:
            PublishError: A component refused an artifact, or the embedder failed; nothing was
                stored.
            StoreError: The store could not do it; nothing was stored.
        """
        if starting is None:
            starting = (
                await self.accept(artifacts) if self._components.watches_publishing else artifacts
            )
        opened: list[Delivery] = []
        if deliver:
            matcher = self.matcher
            if matcher.semantic:
                await self._weigh(matcher, starting, opened, without)
            else:
                for artifact in starting:
                    matcher.match(artifact, opened, without)
        commit = Commit(artifacts, opened, closed, run, self._now())
        if self._keeps_progress or maker or buried or idempotency_key:  # which few commits have
            commit.buried, commit.idempotency_key = buried, idempotency_key
            self._note_progress(commit, maker, begun)
        if states or logged:
            commit.states, commit.logged = states, logged
        try:
            if on_wait is None:
                if self._events.is_heard:
                    self._events.attend(commit)
                await self._store.commit(commit)
            else:
                await self._patience.commit(commit, on_wait)
        finally:
            if commit.is_done:
                self._follow_up(commit, on_stored)

    def _note_progress(self, commit: Commit, maker: Run | None, begun: Run | None) -> None:
        """Have runs that go on last, and what comes to its gate at once when it is committed."""
        commit.maker = maker
        commit.progress = [run for run in (maker, begun) if run is not None and run.lasts]
        if self._keeps_progress and not self._components.decides_deliveries:
            holds = self._holding.holds
            for delivery in commit.opened:
                subscription = delivery.subscription
                waits = delivery.opens_at or subscription.activation is not None
                if subscription.is_gated and not waits:
                    if holds and delivery.artifact.correlation_id in holds:
                        continue  # it comes to its gate when its workflow goes on
                    delivery.arrived = commit.at

    def _follow_up(self, commit: Commit, on_stored: Callable[[], None] | None) -> None:
        """Do what follows from a commit that is true."""
        if commit.run is not None:
            commit.run.is_committed = True
        if on_stored is not None:
            on_stored()
        if self._events.is_heard:
            self._events.follow(commit)
        if commit.opened:
            self.route(commit.opened)

    async def matched(
        self, artifacts: Sequence[Artifact], without: str | None = None
    ) -> list[Delivery]:
        """Return the deliveries that artifacts would open.

        Args:
            artifacts: What is about to be committed.
            without: An agent that they do not start.

        Raises:
            PublishError: The embedder failed.
        """
        opened: list[Delivery] = []
        await self._weigh(self.matcher, artifacts, opened, without)
        return opened

    async def _weigh(
        self,
        matcher: Matcher,
        artifacts: Sequence[Artifact],
        opened: list[Delivery],
        without: str | None,
    ) -> None:
        """Find who is to get artifacts, where some ask what they are about.

        The embedder is asked only about artifacts that satisfy all else, for all of them at once.

        Raises:
            PublishError: The embedder failed, or the board was closed meanwhile.
        """
        found: list[list[Delivery]] = []
        sifted: list[list[Candidate]] = []
        undecided: list[list[Delivery]] = []
        for artifact in artifacts:
            deliveries: list[Delivery] = []
            found.append(deliveries)
            if not matcher.is_semantic(artifact):
                matcher.match(artifact, deliveries, without)
                continue
            candidates = matcher.sift(artifact, without)
            if any(candidate.criteria for candidate in candidates):
                sifted.append(candidates)
                undecided.append(deliveries)
            else:
                matcher.decide(candidates, {}, deliveries)
        if sifted:
            scores = await self._embeddings.scores(sifted)
            for candidates, known, deliveries in zip(sifted, scores, undecided, strict=True):
                matcher.decide(candidates, known, deliveries)
        for deliveries in found:
            opened.extend(deliveries)

    async def accept(self, artifacts: list[Artifact]) -> list[Artifact]:
        """Let components see and replace artifacts; return those that start somebody.

        Raises:
            PublishError: A component refused one.
        """
        silent: set[int] = set()
        for position, artifact in enumerate(artifacts):
            artifacts[position] = await self._accepted(artifact, silent)
        return [artifact for artifact in artifacts if artifact.key not in silent]

    async def _accepted(self, artifact: Artifact, silent: set[int]) -> Artifact:
        """Let components see an artifact; note its key if it starts nobody."""
        for component in self._components.having["on_artifact_published"]:
            try:
                seen = await component.on_artifact_published(self._orchestrator, artifact)
                if not (seen is None or isinstance(seen, Artifact)):
                    what = f"it returned {seen!r}, which is neither an Artifact nor None"
                    raise TypeError(what)  # noqa: TRY301 - told like whatever it raises itself
            except BaseException as error:
                failure = failure_of(error, f"component {label_of(component)!r}")
                if failure is None:
                    raise
                msg = (
                    f"component {label_of(component)!r} refused a {artifact.type!r} in "
                    f"on_artifact_published: {shown(failure)}"
                )
                raise PublishError(msg) from failure
            if seen is None:
                silent.add(artifact.key)
            else:
                artifact = seen
        return artifact


def _parsed(fields: dict[str, Any]) -> BaseModel:
    name = fields.get("type")
    if not isinstance(name, str):
        msg = (
            f"a published dict needs 'type', the name of its type, and 'payload' or the fields "
            f"beside it; this one has {sorted(map(str, fields))}"
        )
        raise PublishError(msg)
    try:
        entry = registry.resolve(name)
    except TypeRegistryError as error:
        raise UnknownTypePublished(str(error)) from None
    rest = {key: value for key, value in fields.items() if key != "type"}
    if "payload" in rest and "payload" not in entry.cls.model_fields:
        version = rest.pop("version", None)
        payload = rest.pop("payload")
        if rest:
            msg = (
                "a published dict with 'payload' has no other fields than 'type' and 'version', "
                f"not {sorted(rest)}"
            )
            raise PublishError(msg)
        return entry.parse(payload, version)
    return entry.parse(rest)


class UnknownTypePublished(PublishError, TypeRegistryError):
    """A dict was published under a type name that is unknown or ambiguous."""


def _restamped(
    artifact: Artifact,
    correlation_id: str | None,
    partition_key: str | None,
    tags: Iterable[str],
    visibility: Visibility | None,
    depth: int,
) -> Artifact:
    if correlation_id is not None and correlation_id != artifact.correlation_id:
        msg = (
            f"this artifact belongs to workflow {artifact.correlation_id!r} and cannot be "
            f"published into {correlation_id!r}; publish its model instead"
        )
        raise PublishError(msg)
    is_as_wanted = partition_key is None and not tags and visibility is None
    if is_as_wanted and not artifact.seq and depth <= artifact.depth:
        return artifact
    return artifact.replace(
        tags=artifact.tags | checked_tags(tags),
        visibility=visibility,
        partition_key=partition_key,
        depth=max(depth, artifact.depth),
    )
