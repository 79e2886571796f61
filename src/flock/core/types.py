"""Model classes and their stable names: the registry, canonical JSON, upcasting."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast, overload

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError, SchemaSerializer, SchemaValidator

from flock.core.plain import SHORT, plain_kinds
from flock.core.survival import difference
from flock.errors import FlockError, PublishError, TypeRegistryError, UpcastError

if TYPE_CHECKING:
    from collections.abc import Callable, Container

M = TypeVar("M", bound=BaseModel)
Upcaster = TypeVar("Upcaster", bound="Callable[[dict[str, Any]], dict[str, Any]]")

MAX_PAYLOAD: Final = 64 * 1024 * 1024
"""The largest payload in bytes of canonical JSON; above it a publish is refused."""

_MARK: Final = "__flock_type__"

_Codec = tuple[SchemaSerializer, SchemaValidator]


class TypeEntry:
    """A model class under its stable name and version, with its canonical JSON.

    Canonical JSON goes by field names, whatever aliases the class has, and leaves computed
    and excluded fields out, so that a class can always read what it wrote. Bytes are
    base64 unless the class says otherwise.

    Attributes:
        cls: The class.
        name: Its stable name.
        version: The version of its payload.
        former: Names it had before, which go on to lead to it.
        successor: The entry of the class that has replaced it under this name, if one has.
    """

    __slots__ = ("__weakref__", "_codec", "_plain", "cls", "former", "name", "successor", "version")

    def __init__(self, cls: type[BaseModel], name: str, version: int) -> None:
        self.cls = cls
        self.name = name
        self.version = version
        self.former: tuple[str, ...] = ()
        self.successor: TypeEntry | None = None
        self._codec: _Codec | None = None
        self._plain: tuple[type, ...] | None = None

    def __repr__(self) -> str:
        return f"TypeEntry({self.name!r}, version={self.version})"

    @property
    def current(self) -> TypeEntry:
        """The entry of the class that goes by its name now: itself, unless it was replaced."""
        entry = self
        while entry.successor is not None:
            entry = entry.successor
        return entry

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that artifacts of this type may be stored under, the present one first."""
        entry = self.current
        return (entry.name, *entry.former)

    def name_among(self, names: Container[str]) -> str | None:
        """Return by which of these names it goes or went, or None if by none of them."""
        if self.name in names:
            return self.name
        if self.successor is None and not self.former:
            return None
        return next((name for name in self.names if name in names), None)

    def take_over(self, old: TypeEntry) -> None:
        """Replace the entry of a class that was defined anew, under this name or another."""
        if old is self:
            return
        names = dict.fromkeys((*self.former, *old.former, old.name))
        self.former = tuple(name for name in names if name != self.name)
        old.name, old.successor = self.name, self

    def _codecs(self) -> _Codec:
        if self._codec is None:
            if not self.cls.__pydantic_complete__:
                self.cls.model_rebuild()
            schema: Any = self.cls.__pydantic_core_schema__
            self._plain = plain_kinds(schema)
            if _mentions_bytes(schema):
                safe = _with_safe_bytes(schema)
                self._codec = (
                    SchemaSerializer(safe, None, _use_prebuilt=False),
                    SchemaValidator(safe, None, _use_prebuilt=False),
                )
            else:
                validator = self.cls.__pydantic_validator__
                self._codec = (
                    self.cls.__pydantic_serializer__,
                    cast("SchemaValidator", validator),  # or a plugin's, of the same shape
                )
        return self._codec

    def freeze(self, obj: BaseModel) -> bytes:
        """Return the content of `obj` as canonical JSON.

        Raises:
            PublishError: The content would not come back the same.
        """
        dump, load = self._codec or self._codecs()
        try:
            if tuple(map(type, obj.__dict__.values())) == self._plain:
                data = dump.to_json(obj)
                if len(data) < SHORT and b"null" not in data:
                    return data
            data = dump.to_json(obj, by_alias=False, round_trip=True, warnings=False)
            fresh: BaseModel = load.validate_json(data, by_alias=False, by_name=True)
            found = difference(obj, fresh)
        except (PydanticSerializationError, ValidationError, UnicodeError) as error:
            msg = (
                f"a {self.name!r} cannot be stored, since its JSON does not make one again: {error}"
                "; give required fields no `exclude`, and every field a type that JSON can carry"
            )
            raise PublishError(msg) from error
        except Exception as error:
            msg = (
                f"a {self.name!r} cannot be stored, since code of its class failed when its JSON "
                f"was made and read again: {error!r}"
            )
            raise PublishError(msg) from error
        if found is not None:
            msg = (
                f"a {self.name!r} cannot be stored, since {found}; use a type that survives "
                "JSON, or exclude the field and give it a default"
            )
            raise PublishError(msg)
        return self._bounded(data)

    def _bounded(self, data: bytes) -> bytes:
        if len(data) > MAX_PAYLOAD:
            msg = (
                f"a {self.name!r} of {len(data):,} bytes is larger than the {MAX_PAYLOAD:,} that "
                "one artifact may hold; publish a reference to the content instead"
            )
            raise PublishError(msg)
        return data

    def load(self, data: bytes, version: int) -> BaseModel:
        """Return a new instance made from canonical JSON of `version`.

        Raises:
            UpcastError: `version` has no way up to this class's version, or the upcast
                payload is not valid.
        """
        validator = (self._codec or self._codecs())[1]
        if version != self.version:
            data = registry.upcast(self, data, version)
        try:
            return validator.validate_json(data, by_alias=False, by_name=True)
        except ValidationError as error:
            msg = (
                f"a stored {self.name!r} (version {version}) does not fit its class any more: "
                f"{error}; raise the version and register an upcaster with @upcasts"
            )
            raise UpcastError(msg) from error
        except Exception as error:
            msg = (
                f"a stored {self.name!r} (version {version}) could not be read, since code of its "
                f"class failed: {error!r}; let its validators accept what was published"
            )
            raise UpcastError(msg) from error

    def parse(self, payload: object, version: int | None = None) -> BaseModel:
        """Return an instance made from a JSON-compatible payload or from Python values.

        Args:
            payload: Usually a dict, by field names or aliases.
            version: The version the payload was written in, this class's unless said.

        Raises:
            PublishError: The payload is not a valid one.
        """
        validator = (self._codec or self._codecs())[1]
        try:
            try:
                data = json.dumps(payload).encode()
            except (TypeError, ValueError, RecursionError):
                return self.cls.__pydantic_validator__.validate_python(
                    payload, by_alias=True, by_name=True
                )
            if version is not None and version != self.version:
                return self.load(data, version)
            return validator.validate_json(data, by_alias=True, by_name=True)
        except ValidationError as error:
            msg = f"this payload is no valid {self.name!r}: {error}"
            raise PublishError(msg) from error
        except FlockError:
            raise
        except Exception as error:
            msg = f"this payload made code of {self.name!r} fail: {error!r}"
            raise PublishError(msg) from error


class TypeRegistry:
    """Which class goes by which stable name. There is one for the process."""

    def __init__(self) -> None:
        self._by_name: dict[str, TypeEntry] = {}
        self._by_short_name: dict[str, dict[str, TypeEntry]] = {}
        self._upcasters: dict[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]] = {}

    def entry(self, cls: type[BaseModel]) -> TypeEntry:
        """Return the entry of a class, registering it under its default name at first use.

        Raises:
            TypeRegistryError: `cls` is no Pydantic model class, or its name is another's.
        """
        if isinstance(cls, type):
            entry: TypeEntry | None = cls.__dict__.get(_MARK)  # not one inherited from a parent
            if entry is not None:
                return entry
        return self.register(cls)

    def entry_of(self, obj: object) -> TypeEntry | None:
        """Return the entry of an object's class, or None if it is no Pydantic model."""
        kind: type = type(obj)
        entry: TypeEntry | None = kind.__dict__.get(_MARK)
        if entry is not None:  # before `isinstance`, which is slow here
            return entry
        return self.entry(kind) if isinstance(obj, BaseModel) else None

    def register(
        self, cls: type[BaseModel], *, name: str | None = None, version: int = 1
    ) -> TypeEntry:
        """Register a class under a stable name and version.

        Raises:
            TypeRegistryError: `cls` is no Pydantic model class, or the name is another's.
        """
        if not (isinstance(cls, type) and issubclass(cls, BaseModel)) or cls is BaseModel:
            remedy = "derive it from pydantic.BaseModel"
            if isinstance(cls, str | BaseModel):
                remedy = "give the class itself"
            msg = f"{cls!r} is no Pydantic model class; {remedy}"
            raise TypeRegistryError(msg)
        if isinstance(version, bool) or not isinstance(version, int) or version < 1:
            msg = (
                f"the version of {cls.__qualname__} must be a whole number from 1, not {version!r}"
            )
            raise TypeRegistryError(msg)
        default = f"{_module_name(cls)}.{cls.__qualname__}"
        name = name or default
        holder = self._by_name.get(name)
        holder = None if holder is None else holder.current
        if holder is not None and not _same_origin(holder.cls, cls):
            msg = (
                f"the name {name!r} belongs to {holder.cls!r} and cannot be given to {cls!r}; "
                "choose another with @flock_type(name=...)"
            )
            raise TypeRegistryError(msg)
        known: TypeEntry | None = cls.__dict__.get(_MARK)
        if known is not None and known.name != name and self._by_name.get(known.name) is known:
            entry = known  # who has it knows the class by its new name from now on
            entry.former = tuple(n for n in (*known.former, known.name) if n != name)
            entry.name, entry.version = name, version
        else:
            entry = TypeEntry(cls, name, version)
        before = self._by_name.get(default)
        if before is not None and before.name == default and _same_origin(before.cls, cls):
            entry.take_over(before)  # it was defined without a name of its own until now
        if holder is not None:
            entry.take_over(holder)
        short = self._by_short_name.setdefault(cls.__name__, {})
        for gone in entry.former:
            short.pop(gone, None)
        self._by_name[name] = short[name] = entry
        setattr(cls, _MARK, entry)
        return entry

    def resolve(self, name: str) -> TypeEntry:
        """Return the entry of a stable name, or of a short class name where that is unique.

        Raises:
            TypeRegistryError: No class goes by that name, or several do.
        """
        entry = self._by_name.get(name)
        if entry is not None:
            return entry.current
        found = list(self._by_short_name.get(name, {}).values())
        if len(found) == 1:
            return found[0]
        if found:
            options = ", ".join(sorted(repr(e.name) for e in found))
            msg = f"the type name {name!r} is ambiguous; say which: {options}"
        else:
            msg = (
                f"no type goes by the name {name!r}; use its class in an agent, or register it "
                "with @flock_type, before naming it"
            )
        raise TypeRegistryError(msg)

    def add_upcaster(
        self, name: str, from_version: int, fn: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> None:
        """Register the step from one version of a type's payload to the next."""
        self._upcasters[name, from_version] = fn

    def upcast(self, entry: TypeEntry, data: bytes, version: int) -> bytes:
        """Bring canonical JSON of an older version up to the version of its class.

        Raises:
            UpcastError: A step is missing or fails, or the data is newer than the class.
        """
        if version > entry.version:
            msg = (
                f"a stored {entry.name!r} has version {version}, but its class here has version "
                f"{entry.version}; run the newer code"
            )
            raise UpcastError(msg)
        payload: Any = json.loads(data)
        for step in range(version, entry.version):
            steps = (self._upcasters.get((name, step)) for name in entry.names)
            fn = next(filter(None, steps), None)
            if fn is None:
                msg = (
                    f"a stored {entry.name!r} has version {version}, its class has version "
                    f"{entry.version}, and no upcaster leads from version {step} to "
                    f"{step + 1}; register one with @upcasts({entry.cls.__name__}, "
                    f"from_version={step})"
                )
                raise UpcastError(msg)
            try:
                payload = fn(payload)
                data = json.dumps(payload).encode()
            except Exception as error:
                msg = (
                    f"the upcaster of {entry.name!r} from version {step} to {step + 1} "
                    f"failed: {error!r}"
                )
                raise UpcastError(msg) from error
        return data


registry: Final = TypeRegistry()


@overload
def flock_type(cls: type[M], /) -> type[M]: ...
@overload
def flock_type(*, name: str | None = None, version: int = 1) -> Callable[[type[M]], type[M]]: ...
def flock_type(
    cls: type[M] | None = None, /, *, name: str | None = None, version: int = 1
) -> type[M] | Callable[[type[M]], type[M]]:
    """Fix the stable name and version of a model class.

    Args:
        cls: The class, when used without parentheses.
        name: The name that stored artifacts carry; `module.QualName` unless said.
        version: Counts the changes of its payload, from 1; see `upcasts`.

    Raises:
        TypeRegistryError: The name belongs to another class.

    Example:
        ```python
        from pydantic import BaseModel

        from flock import flock_type, upcasts


        @flock_type(name="shop.Order", version=2)
        class Order(BaseModel):
            cents: int


        @upcasts(Order, from_version=1)
        def in_cents(payload: dict) -> dict:
            return {"cents": round(payload["euros"] * 100)}
        ```
    """

    def decorate(target: type[M]) -> type[M]:
        registry.register(target, name=name, version=version)
        return target

    return decorate if cls is None else decorate(cls)


def upcasts(model: type[BaseModel] | str, *, from_version: int) -> Callable[[Upcaster], Upcaster]:
    """Register a function that lifts a payload of one version to the next.

    Args:
        model: The class, or its stable name.
        from_version: The version of the payload dict that the function takes; it returns
            the payload dict of `from_version + 1`.
    """
    name = model if isinstance(model, str) else registry.entry(model).name

    def decorate(fn: Upcaster) -> Upcaster:
        registry.add_upcaster(name, from_version, fn)
        return fn

    return decorate


def _module_name(cls: type) -> str:
    if cls.__module__ != "__main__":
        return cls.__module__
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name:
        name: str = spec.name
        return name.removesuffix(".__main__")
    file = getattr(main, "__file__", None)
    return Path(file).stem if file else "__main__"


def _same_origin(a: type, b: type) -> bool:
    return _module_name(a) == _module_name(b) and a.__qualname__ == b.__qualname__


def _mentions_bytes(node: object) -> bool:
    if isinstance(node, dict):
        items = cast("dict[str, object]", node)
        return items.get("type") == "bytes" or any(map(_mentions_bytes, items.values()))
    if isinstance(node, list | tuple):
        return any(map(_mentions_bytes, cast("list[object]", node)))
    return False


def _with_safe_bytes(node: Any) -> Any:  # noqa: ANN401 - a core schema is nested plain data
    if isinstance(node, dict):
        items = {
            key: _with_safe_bytes(value) for key, value in cast("dict[str, Any]", node).items()
        }
        if items.get("type") in {"model", "typed-dict", "dataclass"}:
            safe = {"ser_json_bytes": "base64", "val_json_bytes": "base64"}
            items["config"] = safe | items.get("config", {})
        return items
    if isinstance(node, list):
        return [_with_safe_bytes(value) for value in cast("list[Any]", node)]
    if isinstance(node, tuple):
        return tuple(_with_safe_bytes(value) for value in cast("tuple[Any, ...]", node))
    return node
