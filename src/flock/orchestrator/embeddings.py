"""What texts are about: asks the embedder, in batches, and remembers its answers."""

from __future__ import annotations

import asyncio
import logging
from array import array
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from flock.core.agent import failure_of
from flock.core.lifecycle import label_of
from flock.core.semantic import Embedder, SemanticMatch, direction, similarity
from flock.core.texts import MAX_PASSAGE, MAX_PASSAGES, passages
from flock.errors import DeclarationError, PublishError
from flock.orchestrator.failures import shown

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from flock.core.artifacts import Artifact
    from flock.core.subscription import Subscription
    from flock.engines.semantic import OnnxEmbedder
    from flock.orchestrator.matcher import Candidate

logger = logging.getLogger(__name__)

MAX_BATCH: Final = 64
"""Texts that the embedder is asked for in one call: fewer than any hosted model's limit."""

CACHE_SIZE: Final = 4096
"""Texts whose vectors are remembered: 6 MiB of them with the default model."""

_YIELD_EVERY: Final = 32
"""After how many artifacts in a row the event loop gets a turn."""

T = TypeVar("T")

_Vector: TypeAlias = "array[float]"


class _Request:
    """Texts that somebody waits for.

    Attributes:
        missing: Those that were not looked at yet, the next one last.
        part: Those that the next batch asks for.
        found: The vectors of those that are known.
        is_alone: Whether it shares no batch, since one that it was in failed.
        done: Set when nothing is missing; cancelled when nobody waits any more.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self.missing = list(dict.fromkeys(texts))[::-1]
        self.part: list[str] = []
        self.found: dict[str, _Vector] = {}
        self.is_alone = False
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class Embeddings:
    """Tells how near artifacts come to what subscriptions ask for.

    One task at a time asks the embedder for what has been waiting since the last batch, so
    that concurrent publishes share a call. It ends when nothing waits.

    Attributes:
        embedder: What the user gave the board; None for the default one.
    """

    def __init__(
        self,
        embedder: Embedder | None,
        spawn: Callable[[Coroutine[Any, Any, None], str], object],
        working: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._embedder = embedder
        self._own: OnnxEmbedder | None = None
        self._spawn = spawn
        self._working = working
        self._known: OrderedDict[bytes, _Vector] = OrderedDict()
        self._length: int | None = None
        self.open()

    # --- opening and closing ---

    def open(self) -> None:
        """Begin anew, on another event loop perhaps."""
        self._waiting: deque[_Request] = deque()
        self._asked: list[_Request] = []
        self._call: asyncio.Task[None] | None = None
        self._is_serving = False
        self._is_closed = False

    def declare(self, subscriptions: Sequence[Subscription]) -> None:
        """See that there is an embedder if there are subscriptions by meaning.

        Raises:
            DeclarationError: There is none, and the default one is not installed.
        """
        if not subscriptions or self._embedder is not None or self._own is not None:
            return
        from flock.engines.semantic import OnnxEmbedder

        try:
            self._own = OnnxEmbedder()
        except DeclarationError as error:
            msg = (
                f"agent {subscriptions[0].agent!r}, consumes: semantic_match= needs an embedder, "
                f"and the default one is not installed: {error}; or give the board another with "
                "Flock(embedder=...)"
            )
            raise DeclarationError(msg) from None

    def stop(self) -> None:
        """Refuse what waits and what comes: the board closes."""
        self._is_closed = True
        for request in (*self._asked, *self._waiting):
            request.fail(_closed())
        self._waiting.clear()

    async def close(self) -> None:
        """Forget the vectors, and let the default embedder's model go."""
        self._known.clear()
        self._length = None
        if self._own is not None:
            await self._own.close()

    # --- artifacts -> scores ---

    async def scores(
        self, sifted: Sequence[Sequence[Candidate]]
    ) -> list[dict[SemanticMatch, float]]:
        """Return how near artifacts come to every criterion that is asked of them.

        An artifact comes as near as its nearest passage does to the nearest query of the
        criterion, and a criterion is out of reach of one without text.

        Args:
            sifted: Of each artifact, the subscriptions it may go to.

        Raises:
            PublishError: The embedder failed, or the board was closed meanwhile.
        """
        asked = [_passages(candidates) async for candidates in _in_turns(sifted)]
        texts: dict[str, None] = {}
        for criteria in asked:
            for criterion, found in criteria.items():
                if found:
                    texts.update(dict.fromkeys((*criterion.queries, *found)))
        vectors: dict[str, _Vector] = {}
        if texts:
            try:
                vectors = await self.vectors(texts)
            except _Closed:
                raise
            except Exception as error:
                raise self._refusal(sifted, error) from error
        scores = [
            {
                criterion: _nearest(criterion, found, vectors)
                for criterion, found in criteria.items()
            }
            async for criteria in _in_turns(asked)
        ]
        if logger.isEnabledFor(logging.DEBUG):
            _log(sifted, scores)
        if self._is_closed:
            raise _closed()
        return scores

    def _refusal(self, sifted: Sequence[Sequence[Candidate]], error: Exception) -> PublishError:
        asking = [c for candidates in sifted for c in candidates if c.criteria]
        agents = sorted({candidate.route.agent.name for candidate in asking})
        types = sorted({candidate.artifact.type for candidate in asking})
        msg = (
            f"nothing was stored, since the embedder {self._name!r} cannot say whether "
            f"{', '.join(map(repr, agents))} is to get a {', '.join(map(repr, types))}: "
            f"{shown(error)}; publish it again when the embedder answers"
        )
        return PublishError(msg)

    @property
    def _name(self) -> str:
        return label_of(self._embedder if self._embedder is not None else self._own)

    # --- texts -> vectors ---

    async def vectors(self, texts: Iterable[str]) -> dict[str, _Vector]:
        """Return the vectors of texts, of length 1.

        Raises:
            Exception: What the embedder raised.
            PublishError: The board is closed.
        """
        if self._is_closed:
            raise _closed()
        request = _Request(texts)
        self._look_at(request, len(request.missing))
        if not request.part:
            return request.found
        request.missing = request.part[::-1]
        self._waiting.append(request)
        if not self._is_serving:
            self._is_serving = True
            self._spawn(self._serve(), "embedding")
        try:
            await request.done
        except asyncio.CancelledError:
            if self._call is not None and all(asked.done.done() for asked in self._asked):
                self._call.cancel()  # nobody waits for the answer any more
            raise
        return request.found

    async def _serve(self) -> None:
        """Ask for batch after batch until nobody waits."""
        try:
            while batch := self._next_batch():
                self._asked = batch
                async with asyncio.TaskGroup() as group:
                    self._call = group.create_task(self._answer(batch))
                self._asked, self._call = [], None
        finally:
            self._is_serving = False

    def _next_batch(self) -> list[_Request]:
        """Take those who have waited longest, for as many texts as go into one call."""
        batch: list[_Request] = []
        room = MAX_BATCH
        while self._waiting and room and not (batch and self._waiting[0].is_alone):
            request = self._waiting.popleft()
            if request.done.done():
                continue
            self._look_at(request, room)  # again: somebody else may have asked meanwhile
            if request.part:
                batch.append(request)
                room = 0 if request.is_alone else room - len(request.part)
            else:
                request.done.set_result(None)
        return batch

    def _look_at(self, request: _Request, room: int) -> None:
        """Give a request what is known, until it has as many others as there is room for."""
        request.part = []
        while request.missing and len(request.part) < room:
            text = request.missing.pop()
            key = _digest(text)
            vector = self._known.get(key)
            if vector is None:
                request.part.append(text)
            else:
                self._known.move_to_end(key)
                request.found[text] = vector

    async def _answer(self, batch: Sequence[_Request]) -> None:
        """Ask the embedder for a batch, and tell those who wait for it."""
        failure = await self._ask(batch)
        waiting = [request for request in batch if not request.done.done()]
        if failure is not None and len(batch) > 1:  # one's text fails nobody else
            for request in reversed(waiting):
                request.missing.extend(reversed(request.part))
                request.is_alone = True
                self._waiting.appendleft(request)
            return
        for request in waiting:
            if failure is not None:
                request.fail(failure)
            elif request.missing:
                self._waiting.append(request)  # the rest, after those who came meanwhile
            else:
                request.done.set_result(None)

    async def _ask(self, batch: Sequence[_Request]) -> Exception | None:
        """Ask for the texts of some requests; return what kept the embedder from answering."""
        texts = list(dict.fromkeys(text for request in batch for text in request.part))
        embedder = self._embedder if self._embedder is not None else self._own
        assert embedder is not None  # `declare` saw to it
        try:
            with self._working():
                answer = await embedder.embed(texts)
            vectors = dict(zip(texts, self._checked(texts, answer), strict=True))
        except BaseException as error:
            failure = failure_of(error, f"the embedder {self._name!r}")
            if failure is None:
                raise
            return failure
        for text, vector in vectors.items():
            self._known[_digest(text)] = vector
        while len(self._known) > CACHE_SIZE:
            self._known.popitem(last=False)
        for request in batch:
            request.found.update((text, vectors[text]) for text in request.part)
        return None

    def _checked(self, texts: Sequence[str], answer: Sequence[Sequence[float]]) -> list[_Vector]:
        """Return an answer as vectors of length 1.

        Raises:
            ValueError: It is none for these texts.
        """
        if len(answer) != len(texts):
            msg = f"it returned {len(answer)} vectors for {len(texts)} texts"
            raise ValueError(msg)
        vectors = [array("f", direction(vector)) for vector in answer]
        lengths = {len(vector) for vector in vectors} | {self._length or len(vectors[0])}
        if len(lengths) > 1:
            msg = f"it returned vectors of different lengths: {sorted(lengths)}"
            raise ValueError(msg)
        self._length = len(vectors[0])
        return vectors


class _Closed(PublishError):
    """The board was closed while a publish waited for the embedder."""


def _closed() -> _Closed:
    return _Closed(
        "nothing was stored: the board was shut down before it was known who is to get this; "
        "publish it again"
    )


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _passages(candidates: Sequence[Candidate]) -> dict[SemanticMatch, list[str]]:
    """Return the passages of one artifact that each criterion looks at."""
    asked: dict[SemanticMatch, list[str]] = {}
    by_fields: dict[tuple[str, ...] | None, list[str]] = {}
    for candidate in candidates:
        for criterion in candidate.criteria:
            fields = criterion.fields
            if fields not in by_fields:
                artifact = candidate.artifact
                found, rest = passages(artifact.take(candidate.route.entry), fields)
                by_fields[fields] = found
                if rest:
                    _warn(artifact, candidate.route.agent.name, rest)
            asked[criterion] = by_fields[fields]
    return asked


def _warn(artifact: Artifact, agent: str, rest: int) -> None:
    logger.warning(
        "semantic_match of agent %r compares the first %d characters of the %r %s and leaves out "
        "%d; name the fields that matter with SemanticMatch(fields=...)",
        agent,
        MAX_PASSAGE * MAX_PASSAGES,
        artifact.type,
        artifact.id,
        rest,
    )


def _nearest(criterion: SemanticMatch, found: Sequence[str], vectors: dict[str, _Vector]) -> float:
    """Return how near the nearest passage comes to the nearest query; -1 without passages."""
    return max(
        (similarity(vectors[q], vectors[p]) for q in criterion.queries for p in found),
        default=-1.0,
    )


def _log(
    sifted: Sequence[Sequence[Candidate]], scores: Sequence[dict[SemanticMatch, float]]
) -> None:
    """Log what was measured, for those who look for the right threshold."""
    for candidates, near in zip(sifted, scores, strict=True):
        for candidate in candidates:
            for criterion in candidate.criteria:
                logger.debug(
                    "semantic_match: agent=%s, artifact=%s, queries=%s, similarity=%.3f, "
                    "threshold=%g",
                    candidate.route.agent.name,
                    candidate.artifact.id,
                    criterion.queries,
                    near[criterion],
                    criterion.threshold,
                )


async def _in_turns(items: Iterable[T]) -> AsyncIterator[T]:
    """Yield items, and let the event loop have a turn after every few."""
    for count, item in enumerate(items, 1):
        yield item
        if count % _YIELD_EVERY == 0:
            await asyncio.sleep(0)
