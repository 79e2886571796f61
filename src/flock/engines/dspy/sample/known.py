"""Sources for classes that a schema asks an instance of, and for values of any kind."""

from collections.abc import Callable, Hashable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from pathlib import Path, PosixPath, PurePath, PurePosixPath
from typing import Any, Final, cast
from uuid import UUID

from pydantic import ByteSize, EmailStr, EncodedBytes, EncodedStr, NameEmail

from flock.engines.dspy.sample.checked import Refusal, judged
from flock.engines.dspy.sample.source import Computed, DeadEnd, Listed, Source
from flock.engines.dspy.sample.text import formatted, phrase

_PLAIN: Final[Mapping[object, str]] = {
    object: "any",
    Hashable: "any",
    str: "str",
    bytes: "bytes",
    int: "int",
    float: "float",
    bool: "bool",
    complex: "complex",
    type(None): "none",
    list: "list",
    tuple: "tuple",
    set: "set",
    frozenset: "frozenset",
    dict: "dict",
    datetime: "datetime",
    date: "date",
    time: "time",
    timedelta: "timedelta",
    Decimal: "decimal",
    Fraction: "fraction",
    UUID: "uuid",
}
"""Classes whose instances another schema type describes."""

_NETS: Final = 1 << 16
_ADDRESSES: Final[Mapping[object, Callable[[int], object]]] = {
    # The ranges that RFC 5737, RFC 2544 and RFC 3849 set aside for documentation and tests.
    IPv4Address: lambda n: IPv4Address(0xC0000201 + n % 0xFE),
    IPv4Interface: lambda n: IPv4Interface((0xC0000201 + n % 0xFE, 24)),
    IPv4Network: lambda n: IPv4Network((0xC6120000 + n % 0x200 * 0x100, 24)),
    IPv6Address: lambda n: IPv6Address((0x20010DB8 << 96) + n % _NETS + 1),
    IPv6Interface: lambda n: IPv6Interface(((0x20010DB8 << 96) + n % _NETS + 1, 64)),
    IPv6Network: lambda n: IPv6Network(((0x20010DB8 << 96) + (n % _NETS << 64), 64)),
}
_PATHS: Final = frozenset[object]({Path, PosixPath, PurePath, PurePosixPath})
_EMAIL, _MAILBOX = cast("object", EmailStr), cast("object", NameEmail)


def plain_type(cls: object) -> str | None:
    """Return the schema type whose values are instances of the class, if there is one."""
    return _PLAIN.get(cls) if isinstance(cls, Hashable) else None


def is_known(cls: object) -> bool:
    """Return whether there is more to do than to call the class."""
    return isinstance(cls, Hashable) and (
        plain_type(cls) is not None or cls in _ADDRESSES.keys() | _PATHS
    )


def instances(cls: object, name: str) -> Source:
    """Return instances of a class that is not plain; made without arguments if unknown."""
    if (make := _ADDRESSES.get(cls)) is not None:
        return Computed(lambda n, attempt: make(n + attempt), 0xFE)
    if cls in _PATHS:
        return Computed(lambda n, attempt: Path(_path(name, n, attempt)))
    return Computed(lambda _n, _attempt: _called(cls), 1)


def pydantic_values(function: object, name: str) -> Source | None:
    """Return the values of one of pydantic's own types that a function of it stands for."""
    owner: object = getattr(function, "__self__", None)
    slug = phrase(name, 0).replace(" ", "-").lower() if name.isascii() else "user"

    def numbered(n: int) -> str:
        return f"{slug}-{n + 1}" if n else slug

    match owner:
        case EncodedStr():
            return Computed(lambda n, a: owner.encode_str(phrase(name, n + a)))
        case EncodedBytes():
            return Computed(lambda n, a: owner.encode(phrase(name, n + a).encode()))
        case _ if owner is _EMAIL:
            return Computed(lambda n, a: f"{numbered(n + a)[-64:]}@example.com")
        case _ if owner is _MAILBOX:
            return Computed(lambda n, a: f"{numbered(n + a)[-64:]} <{numbered(n + a)}@example.com>")
        case type() if issubclass(owner, ByteSize):
            return Computed(lambda n, a: n + a + 1)
        case _:
            # Any string is a dotted path here, and trying one imports it.
            importing = getattr(function, "__name__", "") == "import_string"
            return Listed(["math.pi", "math.e", "math.tau", "math.inf"]) if importing else None


def anything(name: str) -> Source:
    """Return values of every kind: what is tried where a schema does not say what it takes."""

    def value(n: int, attempt: int) -> object:
        if not attempt:
            return phrase(name, n)
        if attempt <= len(_OTHERS):
            return _OTHERS[attempt - 1](n)
        return formatted(name, n, attempt - 1 - len(_OTHERS))

    return Computed(value)


_OTHERS: Final[tuple[Callable[[int], Any], ...]] = (
    lambda n: n + 1,
    lambda n: n + 0.5,
    lambda n: bool(n % 2),
    lambda n: [f"text {n + 1}"],
    lambda n: [n + 1],
    lambda n: {"key": n + 1},
    lambda n: date(2024, 1, 1) + timedelta(days=n % 10_000),
    lambda n: f"text {n + 1}".encode(),
    lambda _: None,
    lambda _: [],
    lambda _: {},
    lambda _: "",
)


# No tuple is among them: Python's `ZoneInfo` takes some for a key and gives back a number.


def _path(name: str, n: int, attempt: int) -> str:
    stem = phrase(name, n).replace(" ", "-")
    if attempt < len(_PLACES):
        return _PLACES[attempt].format(stem)
    return f"{stem}-{attempt}"


_PLACES: Final = ("{}", "{}.txt", "/{}", ".", "{}.json", "{}.py", "{0}/{0}.csv")


def _called(cls: Any) -> object:  # noqa: ANN401 - whatever class the schema asks for
    try:
        return judged(cls)
    except Refusal as refusal:
        title = getattr(cls, "__name__", repr(cls))
        raise DeadEnd(f"no instance of {title!r} can be made ({refusal.why})") from None
