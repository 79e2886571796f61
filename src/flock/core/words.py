"""What a builder's words accept: each check names the agent, the word and the remedy."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar, cast, get_origin

from pydantic import BaseModel

from flock.core.artifacts import is_text, is_visibility
from flock.core.outputs import OutputGroup, OutputSpec, Predicate, fan_out_range
from flock.core.question import Asking
from flock.core.rates import RateLimit
from flock.core.roles import members_of, plain_hint
from flock.core.semantic import SemanticMatch, semantic_criteria
from flock.core.signature import read_signature
from flock.core.spans import seconds
from flock.core.subscription import MODES, ON_EXPIRED, BatchSpec, JoinSpec
from flock.core.types import TypeEntry, registry
from flock.core.visibility import as_public
from flock.errors import DeclarationError, TypeRegistryError

if TYPE_CHECKING:
    from types import FrameType

    from flock.core.rates import RateKey
    from flock.core.visibility import Visibility

T = TypeVar("T")


class _Named(Protocol):
    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=_Named)

Where = Callable[..., object] | Sequence[Callable[..., object]]
Validation = Callable[[Any], object] | Sequence[tuple[Callable[[Any], object], str]]


class Word:
    """One word of one agent's declaration, or the board's, checking what it is given.

    Everything that checks raises `DeclarationError`.
    """

    def __init__(self, agent: str | None, name: str) -> None:
        self._owner = "the board" if agent is None else f"agent {agent!r}"
        self._name = name

    def refuse(self, reason: object) -> NoReturn:
        """Refuse what the word was given."""
        msg = f"{self._owner}, {self._name}: {reason}"
        raise DeclarationError(msg) from None

    def trying(self, check: Callable[..., T], *args: object, **options: object) -> T:
        """Return what a check of an argument returns; its `ValueError` is the refusal."""
        try:
            return check(*args, **options)
        except (ValueError, TypeRegistryError) as error:
            self.refuse(error)

    def count(self, option: str, n: object) -> int:
        """Return a whole number from 1."""
        if type(n) is not int or n < 1:
            self.refuse(f"{option} must be a whole number from 1, not {n!r}")
        return n

    def text(self, option: str, text: object) -> str:
        """Return a text."""
        if not isinstance(text, str):
            self.refuse(f"{option} takes a text, not {text!r}")
        return text

    def words(self, option: str, words: object) -> frozenset[str] | None:
        """Return words given one by one, or in a collection; None if there are none to check."""
        if words is None:
            return None
        found: list[object] = []
        if isinstance(words, str) or not isinstance(words, Iterable):
            found.append(words)
        else:
            found.extend(cast("Iterable[object]", words))
        if not found or not all(isinstance(w, str) and w for w in found):
            self.refuse(f"{option} takes one or more words, not {words!r}")
        return frozenset(cast("list[str]", found))

    def entries(self, types: Sequence[type[BaseModel] | str]) -> tuple[TypeEntry, ...]:
        """Return the types of a word that names at least one."""
        if not types:
            self.refuse("name at least one type")
        for given in types:
            if isinstance(given, BaseModel):
                self.refuse(f"{given!r} is a model, not its class; name {type(given).__name__}")
        return tuple(self.trying(_entry, t) for t in types)

    # --- consumes ---

    def gates(
        self, entries: Sequence[TypeEntry], join: JoinSpec | None, batch: BatchSpec | None
    ) -> None:
        """Check how inputs are gathered."""
        if batch is not None:
            self._batch(batch)
        if join is not None:
            self._join(join, entries)

    def _batch(self, batch: object) -> None:
        if not isinstance(batch, BatchSpec):
            self.refuse(f"batch takes a BatchSpec such as BatchSpec(size=10), not {batch!r}")
        if batch.size is None and batch.timeout is None:
            self.refuse(
                "batch: BatchSpec needs a size or a timeout, or it would never run; give one, "
                "as in BatchSpec(size=10)"
            )
        if batch.size is not None:
            self.count("batch: BatchSpec.size", batch.size)
        if batch.timeout is not None:
            self.trying(seconds, batch.timeout, "batch: BatchSpec.timeout")

    def _join(self, join: object, entries: Sequence[TypeEntry]) -> None:
        if not isinstance(join, JoinSpec):
            self.refuse(f"join takes a JoinSpec such as JoinSpec(by=..., within=...), not {join!r}")
        within: object = join.within
        is_time = isinstance(within, timedelta) and within > timedelta(0)
        if not is_time and not (type(within) is int and within > 0):
            self.refuse(
                "join: JoinSpec.within takes a positive timedelta, or a positive int that counts "
                f"artifacts, not {within!r}"
            )
        if join.on_expired not in ON_EXPIRED:
            self.refuse(f"join: JoinSpec.on_expired is 'drop' or 'run', not {join.on_expired!r}")
        if len(entries) < 2:
            self.refuse("a join needs at least two types; use batch= to gather one type")
        if join.window_count is not None and join.window_count < len(entries):
            self.refuse(
                f"a group of {len(entries)} can never be complete within {join.window_count} "
                "artifacts; count at least as many"
            )
        self._join_key(join.by, entries)

    def _join_key(self, by: object, entries: Sequence[TypeEntry]) -> None:
        if callable(by):
            self.plain("join: JoinSpec.by", by, "the model")
            returned: object = getattr(by, "__annotations__", {}).get("return")
            if _is_never_a_key(returned):
                self.refuse(
                    f"join: JoinSpec.by {by!r} returns {returned!r}, and a key is hashable or a "
                    "JSON value; return a tuple or a frozenset"
                )
            return
        if not isinstance(by, str) or not by:
            self.refuse(
                "join: JoinSpec.by takes the name of a field or a function of the model, not "
                f"{by!r}; for a compound key let a function return a tuple"
            )
        for entry in entries:
            field = entry.cls.model_fields.get(by)
            if field is None and not hasattr(entry.cls, by):
                self.refuse(
                    f"join: {entry.name!r} has no field {by!r} to join by; name one that all types "
                    "have, or let a function of the model return the key"
                )
            if field is None and inspect.isroutine(getattr(entry.cls, by)):
                self.refuse(
                    f"join: {by!r} of {entry.name!r} is a method, not a field to join by; give a "
                    f"function of the model that calls it, as in lambda model: model.{by}()"
                )
            if field is not None and _is_never_a_key(field.annotation):
                self.refuse(
                    f"join: {by!r} of {entry.name!r} holds {field.annotation!r}, and a key "
                    "is hashable or a JSON value; let a function of the model return the key, as "
                    "a tuple or a frozenset"
                )

    def mode(self, mode: object, priority: object) -> None:
        """Check what starts a subscription, and how urgent it is."""
        if mode not in MODES:
            self.refuse(f"mode is one of {', '.join(MODES)}, not {mode!r}")
        if type(priority) is not int:
            self.refuse(f"priority is a whole number, not {priority!r}")

    def predicates(
        self, where: Where | None, count: int
    ) -> tuple[tuple[Predicate, ...], tuple[Callable[..., object], ...]]:
        """Return the predicates of single artifacts and those of the complete group."""
        each: list[Predicate] = []
        group: list[Callable[..., object]] = []
        for predicate in self.filters("where", where):
            arity = _arity(predicate)
            takes_group = count > 1 and arity == count
            if not takes_group and arity not in {1, None}:
                wanted = "1" if count == 1 else f"1 or {count}"
                self.refuse(f"a where of {arity} arguments; {wanted} would fit the types")
            if not _can_take(predicate, count if takes_group else 1):
                self.refuse(
                    f"where calls its functions with models alone, and {predicate!r} needs more; "
                    "give the rest defaults"
                )
            (group if takes_group else each).append(predicate)
        return tuple(each), tuple(group)

    def semantic(self, given: object, entries: Sequence[TypeEntry]) -> tuple[SemanticMatch, ...]:
        """Return what the text of each artifact must be about."""
        try:
            return semantic_criteria(given, entries)
        except DeclarationError as error:
            self.refuse(f"semantic_match: {error}")

    # --- publishes ---

    def output_group(
        self,
        entries: Sequence[TypeEntry],
        fan_out: object,
        where: Where | None,
        validate: Validation | None,
        visibility: object,
        tags: object,
        description: object,
    ) -> OutputGroup:
        """Return the output group that a `publishes` declares."""
        low, high = self.trying(fan_out_range, fan_out)
        counts: dict[str, int] = {}
        for entry in entries:
            counts[entry.name] = counts.get(entry.name, 0) + 1
        if fan_out is not None and len(counts) < len(entries):
            self.refuse("a repeated type and fan_out contradict each other; give one")
        by_name = {entry.name: entry for entry in entries}
        return OutputGroup(
            outputs=tuple(
                OutputSpec(by_name[name], low * n, high * n) for name, n in counts.items()
            ),
            where=self.filters("where", where, "the model"),
            validate=self.validations(validate),
            visibility=self.visibility(visibility),
            tags=self.words("tags", tags) or frozenset(),
            description=None if description is None else self.text("description", description),
            is_counted=fan_out is not None or len(counts) < len(entries),
        )

    def visibility(self, visibility: object) -> Visibility | Callable[[Any], Visibility] | None:
        """Return who may read outputs: a visibility, or a function that says so."""
        if visibility is None:
            return None
        if is_visibility(visibility):
            return as_public(visibility)
        if not callable(visibility) or isinstance(visibility, type):
            self.refuse(
                "visibility takes a Visibility such as PrivateVisibility(agents={...}), or a "
                f"function of the model that returns one, not {visibility!r}"
            )
        self.plain("visibility", visibility, "the model")
        return cast("Callable[[Any], Visibility]", visibility)

    def validations(self, validate: Validation | None) -> tuple[tuple[Predicate, str], ...]:
        """Return predicates with their messages."""
        if validate is None:
            return ()
        pairs: list[tuple[Predicate, str]] = []
        for item in _one_or_several(validate):
            if callable(item):
                name = getattr(item, "__name__", repr(item))
                pairs.append((cast("Predicate", item), f"{name} does not hold"))
            elif isinstance(item, tuple) and len(cast("tuple[Any, ...]", item)) == 2:
                predicate, message = cast("tuple[Any, Any]", item)
                pairs.append((predicate, self.text("the message of a validate", message)))
            else:
                self.refuse(f"validate takes predicates or (predicate, message), not {item!r}")
        for predicate, _ in pairs:
            self.plain("validate", predicate, "the model")
        return tuple(pairs)

    # --- tools ---

    def several(self, option: str, given: object) -> list[object]:
        """Return what was given in a list."""
        if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
            self.refuse(f"{option} takes a list, not {given!r}")
        return list(cast("Iterable[object]", given))

    def calls_tools(self, approve: object, timeout: object) -> None:
        """Check how tools are called."""
        if approve is not None:
            if not callable(approve) or isinstance(approve, type):
                self.refuse(f"approve takes a function, not {approve!r}")
            if not _can_take(approve, 3):
                self.refuse(
                    f"approve is called as approve(tool, arguments, ctx), and {approve!r} cannot be"
                )
        if timeout is not None:
            self.trying(seconds, timeout, "timeout")

    def distinct(self, items: tuple[N, ...]) -> tuple[N, ...]:
        """Return tools or servers of which no two have the same name."""
        names: set[str] = set()
        for item in items:
            if item.name in names:
                self.refuse(f"two are called {item.name!r}; give one of them another name=")
            names.add(item.name)
        return items

    # --- people ---

    def asking(self, question: object, timeout: object, frame: FrameType | None) -> Asking:
        """Return what a person is asked: a text, or a plain function of the inputs."""
        span = None if timeout is None else self.trying(seconds, timeout, "timeout")
        if isinstance(question, str):
            if not question.strip() or not is_text(question):
                self.refuse(f"question must say something, not {question!r}")
            return Asking(question, None, span)
        if not callable(question) or isinstance(question, type):
            self.refuse(
                f"question takes a text, or a function of the inputs that returns one, not "
                f"{question!r}"
            )
        self.plain("question", question)
        signature = self.trying(read_signature, question, frame=frame)
        if signature.kind != "sync":
            self.refuse(f"question takes a function that returns a text; {question!r} yields")
        return Asking("", signature, span)

    # --- functions ---

    def filters(
        self, option: str, given: Where | None, of: str | None = None
    ) -> tuple[Predicate, ...]:
        """Return one or several plain functions; see `plain`."""
        if given is None:
            return ()
        found = _one_or_several(given)
        for predicate in found:
            self.plain(option, predicate, of)
        return tuple(found)

    def provider(self, provider: object) -> None:
        """Check that a context provider can be called with a request."""
        if not callable(provider) or isinstance(provider, type):
            self.refuse(f"a provider is an async function of a ContextRequest, not {provider!r}")
        if not _can_take(provider, 1):
            self.refuse(
                "a provider is an async function of one argument, a ContextRequest, and "
                f"{provider!r} cannot be called with one"
            )

    def plain(self, option: str, function: object, of: str | None = None) -> None:
        """Check that a function can be called and answers at once.

        Args:
            option: What it was given as.
            function: The function.
            of: The one argument it is called with; not looked at if None.
        """
        if not callable(function):
            self.refuse(f"{option} takes functions, not {function!r}")
        if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004 - a callable object may be async
        ):
            self.refuse(f"{option} takes plain functions; {function!r} is async")
        if of is not None and not _can_take(function, 1):
            self.refuse(
                f"{option} takes functions of one argument, {of}, and {function!r} cannot be "
                "called with one"
            )


def rate_limit(word: Word, n: object, per: object, key: RateKey | None) -> RateLimit:
    """Return the limit that a `rate_limit` declares."""
    count = word.count("n", n)
    span = word.trying(seconds, per, "per")
    if key is not None:
        word.plain("key", key, "the artifact")
    return RateLimit(count, span, key)


def _entry(named: type[BaseModel] | str) -> TypeEntry:
    return registry.resolve(named) if isinstance(named, str) else registry.entry(named)


def _one_or_several(given: object) -> list[Any]:
    """Return what was given alone or in a sequence; a text is no sequence of functions."""
    if isinstance(given, Sequence) and not isinstance(given, str | bytes):
        return list(cast("Sequence[Any]", given))
    return [given]


def _is_never_a_key(hint: object) -> bool:
    """Whether values annotated like this are neither hashable nor JSON values."""
    members = [m for m in members_of(plain_hint(hint)) if m is not type(None)]
    return bool(members) and not any(_may_be_key(get_origin(m) or m) for m in members)


def _may_be_key(cls: Any) -> bool:  # noqa: ANN401 - a member of an annotation
    if not isinstance(cls, type) or inspect.isabstract(cls) or issubclass(cls, list | dict):
        return True
    return getattr(cast("object", cls), "__hash__", None) is not None  # as Python marks it


def _can_take(function: Callable[..., object], count: int) -> bool:
    """Whether a function can be called with so many arguments, as far as it says."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # such as a builtin that does not say
        return True
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


def _arity(predicate: Callable[..., object]) -> int | None:
    """Return how many positional arguments a predicate requires, or None if any will do."""
    try:
        parameters = inspect.signature(predicate).parameters.values()
    except (TypeError, ValueError):
        return None
    positional = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    required = [
        p for p in parameters if p.kind in positional and p.default is inspect.Parameter.empty
    ]
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
        return None
    return len(required) or (1 if any(p.kind in positional for p in parameters) else 0)
