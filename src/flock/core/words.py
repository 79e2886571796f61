"""What a builder's words accept: each check names the agent, the word and the remedy."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar, cast

from flock.core.artifacts import is_visibility
from flock.core.outputs import OutputGroup, OutputSpec, Predicate, fan_out_range
from flock.core.spans import seconds
from flock.core.subscription import MODES, BatchSpec, JoinSpec
from flock.core.types import TypeEntry, registry
from flock.core.visibility import as_public
from flock.errors import DeclarationError, NotYetAvailable, TypeRegistryError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from flock.core.visibility import Visibility

T = TypeVar("T")


class _Named(Protocol):
    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=_Named)

Where = Callable[..., object] | Sequence[Callable[..., object]]
Validation = Callable[[Any], object] | Sequence[tuple[Callable[[Any], object], str]]


class Word:
    """One word of one agent's declaration, checking what it is given.

    Everything that checks raises `DeclarationError`.
    """

    def __init__(self, agent: str, name: str) -> None:
        self._agent = agent
        self._name = name

    def refuse(self, reason: object) -> NoReturn:
        """Refuse what the word was given."""
        msg = f"agent {self._agent!r}, {self._name}: {reason}"
        raise DeclarationError(msg) from None

    def later(self, what: str = "this word") -> NoReturn:
        """Say that something comes with a later version."""
        msg = f"agent {self._agent!r}, {self._name}: {what} comes with a later version"
        raise NotYetAvailable(msg)

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
        return tuple(self.trying(_entry, t) for t in types)

    # --- consumes ---

    def gates(
        self, entries: Sequence[TypeEntry], join: JoinSpec | None, batch: BatchSpec | None
    ) -> None:
        """Check how inputs are gathered."""
        if batch is not None and not isinstance(batch, BatchSpec):
            self.refuse(f"batch takes a BatchSpec, not {batch!r}")
        if join is None:
            return
        if not isinstance(join, JoinSpec):
            self.refuse(f"join takes a JoinSpec, not {join!r}")
        if len(entries) < 2:
            self.refuse("a join needs at least two types; use batch= to gather one type")
        if join.window_count is not None and join.window_count < len(entries):
            self.refuse(
                f"a group of {len(entries)} can never be complete within {join.window_count} "
                "artifacts; count at least as many"
            )
        if isinstance(join.by, str):
            for entry in entries:
                if not hasattr(entry.cls, join.by) and join.by not in entry.cls.model_fields:
                    self.refuse(f"{entry.name!r} has no field {join.by!r} to join by")

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
            if count > 1 and arity == count:
                group.append(predicate)
            elif arity in {1, None}:
                each.append(predicate)
            else:
                wanted = "1" if count == 1 else f"1 or {count}"
                self.refuse(f"a where of {arity} arguments; {wanted} would fit the types")
        return tuple(each), tuple(group)

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
            where=self.filters("where", where),
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
        self.plain("visibility", visibility)
        return cast("Callable[[Any], Visibility]", visibility)

    def validations(self, validate: Validation | None) -> tuple[tuple[Predicate, str], ...]:
        """Return predicates with their messages."""
        if validate is None:
            return ()
        pairs: list[tuple[Predicate, str]] = []
        given: list[Any] = (
            list(cast("Sequence[Any]", validate)) if isinstance(validate, Sequence) else [validate]
        )
        for item in given:
            if callable(item):
                name = getattr(item, "__name__", repr(item))
                pairs.append((cast("Predicate", item), f"{name} does not hold"))
            elif isinstance(item, tuple) and len(cast("tuple[Any, ...]", item)) == 2:
                predicate, message = cast("tuple[Any, Any]", item)
                pairs.append((predicate, str(message)))
            else:
                self.refuse(f"validate takes predicates or (predicate, message), not {item!r}")
        for predicate, _ in pairs:
            self.plain("validate", predicate)
        return tuple(pairs)

    # --- tools ---

    def several(self, option: str, given: object) -> list[object]:
        """Return what was given in a list."""
        if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
            self.refuse(f"{option} takes a list, not {given!r}")
        return list(cast("Iterable[object]", given))

    def calls_tools(self, approve: object, timeout: object) -> None:
        """Check how tools are called."""
        if approve is not None and (not callable(approve) or isinstance(approve, type)):
            self.refuse(f"approve takes a function, not {approve!r}")
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

    # --- functions ---

    def filters(self, option: str, given: Where | None) -> tuple[Predicate, ...]:
        """Return one or several plain functions."""
        if given is None:
            return ()
        found: list[Any] = (
            list(cast("Sequence[Any]", given)) if isinstance(given, Sequence) else [given]
        )
        for predicate in found:
            self.plain(option, predicate)
        return tuple(found)

    def plain(self, option: str, function: object) -> None:
        """Check that a function can be called and answers at once."""
        if not callable(function):
            self.refuse(f"{option} takes functions, not {function!r}")
        if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004 - a callable object may be async
        ):
            self.refuse(f"{option} takes plain functions; {function!r} is async")


def _entry(named: type[BaseModel] | str) -> TypeEntry:
    return registry.resolve(named) if isinstance(named, str) else registry.entry(named)


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
