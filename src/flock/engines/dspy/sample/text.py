"""Sources of strings: readable phrases, well-known formats, links, bytes."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import Final, Literal

from pydantic_core import SchemaValidator, core_schema

from flock.engines.dspy.sample.pattern import Language, languages
from flock.engines.dspy.sample.source import MANY, DeadEnd, Source, limited

_COUNTRIES: Final = ("US", "DE", "FR", "JP", "BR", "IN", "GB", "ZA")
_CURRENCIES: Final = ("USD", "EUR", "JPY", "GBP", "CHF", "BRL", "INR", "ZAR")
_LANGUAGES: Final = ("en", "de", "fr", "ja", "pt", "hi", "es", "it")
_CARDS: Final = ("4242424242424242", "5555555555554444", "378282246310005")
_BOOKS: Final = ("9780306406157", "9783161484100", "0306406152")
_ACCOUNTS: Final = ("DE89370400440532013000", "GB82WEST12345698765432")
_COLOURS: Final = ("red", "blue", "green", "black")


def _around(values: Sequence[str], n: int) -> str:
    return values[n % len(values)]


_FORMATS: Final[tuple[Callable[[str, int], str], ...]] = (
    lambda _, n: f"user{n + 1}@example.com",
    lambda _, n: f"https://example.com/{n + 1}",
    lambda _, n: str(n + 1),
    lambda name, n: f"{name}-{n + 1}".replace(" ", "-").lower(),
    lambda name, n: f"{name}_{n + 1}".replace(" ", "_").lower(),
    lambda name, n: phrase(name, n).upper(),
    lambda name, n: phrase(name, n).title(),
    lambda name, n: phrase(name, n).capitalize() + ".",
    lambda name, n: "".join(c for c in name.lower() if c.isalnum()) + _letters(n),
    lambda name, n: "".join(c for c in name.upper() if c.isalnum()) + _letters(n).upper(),
    lambda _, n: (date(2024, 1, 1) + timedelta(days=n % 10_000)).isoformat(),
    lambda _, n: (date(2024, 1, 1) + timedelta(days=n % 10_000)).isoformat() + "T12:00:00Z",
    lambda _, n: f"{n % 24:02}:{n // 24 % 60:02}",
    lambda _, n: _around(_COUNTRIES, n),
    lambda _, n: _around(_CURRENCIES, n),
    lambda _, n: _around(_LANGUAGES, n),
    lambda _, n: _around(_COUNTRIES, n).lower(),
    lambda _, n: f"en-{_around(_COUNTRIES, n)}",
    lambda _, n: f"+1202555{n % 10_000:04}",
    lambda _, n: f"1.0.{n}",
    lambda _, n: f"{n + 1}.5",
    lambda _, n: f"#{n % 0x1000000:06x}",
    lambda _, n: _around(_COLOURS, n),
    lambda _, n: f"00000000-0000-4000-8000-{n % 10**12:012}",
    lambda _, n: f"192.0.2.{n % 256}",
    lambda _, n: f"192.0.2.{n % 256}/32",
    lambda _, n: f"2001:db8::{n % 0xFFFF + 1:x}",
    lambda _, n: f"02:00:00:00:{n // 256 % 256:02x}:{n % 256:02x}",
    lambda _, n: f"host{n + 1}.example.com",
    lambda _, n: f"example.com/{n + 1}",
    lambda name, n: f"/{name}/{n + 1}".replace(" ", "-"),
    lambda name, n: f"{name}-{n + 1}.txt".replace(" ", "-"),
    lambda name, n: f"@{name}{n + 1}".replace(" ", ""),
    lambda name, n: f"{name}:{n + 1}".replace(" ", "-"),
    lambda name, n: f"{name}={n + 1}".replace(" ", "-"),
    lambda name, n: f"{name}, {name} {n + 1}",
    lambda _, n: f'{{"value": {n + 1}}}',
    lambda _, n: f"[{n + 1}]",
    lambda _, n: ("true", "false")[n % 2],
    lambda _, n: ("dGV4dA==", "dGV4dCAy", "dGV4dCAz")[n % 3],
    lambda _, n: f"{n % 2**32:08x}",
    lambda _, n: _around(_CARDS, n),
    lambda _, n: _around(_BOOKS, n),
    lambda _, n: _around(_ACCOUNTS, n),
    lambda _, n: ("UTC", "Europe/Berlin", "America/New_York")[n % 3],
    lambda _, n: ("math", "json", "collections")[n % 3],
    lambda _, n: f"P{n % 365 + 1}D",
    lambda _, n: f"{n + 1}%",
    lambda _, n: f"${n + 1}.00",
    lambda _, n: f"{n % 90 + 1}.5,{n % 180 + 1}.5",
)
"""Strings that validators commonly ask for, each a function of the field's name and a number."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a string must look like, in the words of pydantic's `str` schema."""

    shortest: int = 0
    longest: int | None = None
    lower: bool = False
    upper: bool = False
    strip: bool = False
    ascii_only: bool = False
    pattern: str | re.Pattern[str] | None = None
    engine: Literal["rust-regex", "python-re"] = "rust-regex"


class Text(Source):
    """Strings named after the field: `text`, `text 2`; or the shortest ones of a pattern."""

    def __init__(self, name: str, shape: Shape) -> None:
        self._name = name if name.isascii() or not shape.ascii_only else "text"
        self._shape = shape

    @property
    def count(self) -> int:
        """What fits into the longest string allowed; for a pattern, what it derives."""
        if self._shape.pattern is not None:
            return max([1, *(language.count for language in self._languages)])
        longest = self._shape.longest
        return MANY if longest is None else max(1, limited(10**longest - 1))

    def pick(self, n: int, attempt: int = 0) -> str:
        """Return string number `n`; on later attempts those in well-known formats."""
        shape = self._shape
        if shape.longest is not None and shape.longest < shape.shortest:
            raise DeadEnd("its bounds leave no length")
        if shape.pattern is not None:
            return self._matching(n + attempt)
        if attempt:
            text = self._cased(formatted(self._name, n, attempt - 1))
            if self._fits(text):
                return text
        number = n + attempt
        if self.count < MANY:
            number %= self.count
        return self._cased(phrase(self._name, number, shape.shortest, shape.longest))

    def _fits(self, text: str) -> bool:
        longest = self._shape.longest
        return len(text) >= self._shape.shortest and (longest is None or len(text) <= longest)

    def _cased(self, text: str) -> str:
        if self._shape.lower:
            return text.lower()
        return text.upper() if self._shape.upper else text

    @property
    def _languages(self) -> tuple[Language, ...]:
        pattern = self._shape.pattern
        if isinstance(pattern, re.Pattern):
            # The parser adds UNICODE by itself and refuses it beside ASCII.
            text, flags = pattern.pattern, pattern.flags & ~re.UNICODE
        else:
            text, flags = pattern or "", 0
        return languages(text, flags, self._shape.shortest, self._shape.longest)

    def _matching(self, n: int) -> str:
        accepts = _acceptance(self._shape)
        for language in self._languages:
            try:
                return language.pick(n, accepts)
            except DeadEnd:
                continue
        raise DeadEnd(f"no string was found for its pattern {self._shape.pattern!r}")


@lru_cache(maxsize=256)
def _acceptance(shape: Shape) -> Callable[[str], bool]:
    """Return the real validator's word on a string."""
    validator = SchemaValidator(
        core_schema.str_schema(
            pattern=shape.pattern,
            min_length=shape.shortest,
            max_length=shape.longest,
            strip_whitespace=shape.strip,
            regex_engine=shape.engine,
        )
    )
    return validator.isinstance_python


class Octets(Source):
    """Bytes that spell the field's name."""

    def __init__(self, name: str, shortest: int, longest: int | None) -> None:
        shape = Shape(shortest=shortest, longest=longest, ascii_only=True)
        self._text = Text(name, shape)

    @property
    def count(self) -> int:
        """As many as there are texts."""
        return self._text.count

    def pick(self, n: int, attempt: int = 0) -> bytes:
        """Return the text number `n`, encoded."""
        return self._text.pick(n, attempt).encode()


class Link(Source):
    """URLs on example.com, the domain reserved for this."""

    def __init__(self, name: str, schemes: Sequence[str], longest: int | None) -> None:
        self._path = name.replace(" ", "-").lower() if name.isascii() else "page"
        self._scheme = "https" if not schemes or "https" in schemes else schemes[0]
        self._longest = longest

    def pick(self, n: int, attempt: int = 0) -> str:
        """Return link number `n`; later attempts add a port, a user or leave out the path."""
        number = f"-{n + 1}" if n else ""
        page = f"{self._path}{number}"
        if self._scheme == "file":
            return f"file:///{page}"
        hosts = ("example.com", "user:word@example.com:5432", "example.com:8080", "localhost")
        paths = (page, str(n), "", f"{page}.html", f"?page={n + 1}")
        link = f"{self._scheme}://{hosts[attempt % 4]}/{paths[attempt // 4 % 5]}"
        if self._longest is not None and len(link) > self._longest:
            return f"{self._scheme}://{'abcdefghijklmnopqrstuvwxyz'[n % 26]}.de"
        return link


def formatted(name: str, n: int, place: int) -> str:
    """Return a string in the format at a place; past the last one, the first one's next."""
    lap, place = divmod(place, len(_FORMATS))
    return _FORMATS[place](name, n + lap)


def phrase(name: str, n: int, shortest: int = 0, longest: int | None = None) -> str:
    """Return phrase number `n`: the name, then the name with 2, 3, ... within the lengths.

    Whitespace stands neither first nor last, so that stripping changes nothing.
    """
    tail = f" {n + 1}" if n else ""
    if longest is not None and len(name) + len(tail) > longest:
        name = name.rstrip("0123456789 ") or "text"
        tail = tail.strip() if len(tail) >= longest else tail
        name = name[: longest - len(tail)].rstrip()
        if not name:
            tail = tail.strip()[:longest]
    missing = shortest - len(name) - len(tail)
    if missing > 0:
        words = f" {name}" * (missing // (len(name) + 1) + 1) if name else "x" * missing
        name = f"{name}{words}"[: len(name) + missing]
        if name.endswith(" "):
            name = f"{name[:-1]}x"
    return f"{name}{tail}"


def _letters(n: int) -> str:
    """Return nothing, b, c, ..., z, ba: a number in letters."""
    letters = ""
    while n:
        n, digit = divmod(n, 26)
        letters = chr(ord("a") + digit) + letters
    return letters
