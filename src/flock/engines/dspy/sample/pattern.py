"""The strings that a regular expression matches, shortest first, numbered.

A pattern is read with the standard library's own parser into a small grammar whose parts
know how many strings of each length they derive. That makes string number `n` of a given
length a matter of arithmetic, however large the language is. Look-arounds, word boundaries
and back-references are not part of such a grammar: they are left out, and the strings are
put to the real validator until it has accepted enough of them.
"""

import importlib
import re
import string
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, Final, cast

from flock.engines.dspy.sample.grammar import Chain, Chars, Either, Part, Repeated, Word
from flock.engines.dspy.sample.source import DeadEnd, limited, nth_accepted

_PRINTABLE: Final = (
    string.ascii_lowercase + string.digits + string.ascii_uppercase + "-_.,:;/+*=@#%&!?$()[]{}<>'"
    '"^~|`\\ \t\n\r'
)
"""The characters that stand for a class, the plainest first."""
_READABLE: Final = _PRINTABLE[:-4] + " "
_FOREIGN: Final = "éüñçøßλжあ中"
"""Those that stand for a class without any of the former."""
_RANGE: Final = 64
"""How many characters outside ASCII stand for a range."""
_SPARE: Final = 24
"""How much longer than the shortest string others may be."""
_PATIENCE: Final = 300
_IN_ORDER: Final = 100
_GOLDEN: Final = 0x9E3779B97F4A7C15
"""The golden ratio's fraction, times 2**64: its multiples visit every region evenly."""


class _Reader:
    """Reads what the standard library's parser makes of a pattern.

    `loose` is set when something was met that the grammar cannot say; `required` collects
    what positive look-aheads ask for.
    """

    def __init__(self) -> None:
        self.loose = False
        self.required: list[Part] = []
        self._groups: dict[int, Part] = {}

    def chain(self, items: Iterable[tuple[object, Any]]) -> Part:
        parts: list[Part] = []
        for operator, argument in items:
            part = self._part(str(operator), argument)
            if isinstance(part, Word) and parts and isinstance(parts[-1], Word):
                parts[-1] = Word(parts[-1].text + part.text)
            else:
                parts.append(part)
        return parts[0] if len(parts) == 1 else Chain(parts)

    def _part(self, operator: str, argument: Any) -> Part:  # noqa: ANN401, C901
        match operator:
            case "LITERAL":
                return Word(chr(argument))
            case "NOT_LITERAL":
                return Chars(_READABLE.replace(chr(argument), ""))
            case "ANY" | "ANY_ALL":
                return Chars(_READABLE)
            case "IN":
                return Chars(_members(argument))
            case "BRANCH":
                return Either([self.chain(option) for option in argument[1]])
            case "SUBPATTERN":
                part = self.chain(argument[3])
                self._groups[argument[0] or 0] = part
                return part
            case "ATOMIC_GROUP":
                self.loose = True
                return self.chain(argument)
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                low, high, inner = argument
                self.loose |= operator == "POSSESSIVE_REPEAT"
                unbounded = str(high) == "MAXREPEAT"
                return Repeated(self.chain(inner), int(low), None if unbounded else int(high))
            case "GROUPREF":
                self.loose = True
                return self._groups.get(argument, Word(""))
            case "GROUPREF_EXISTS":
                self.loose = True
                return Either([self.chain(option) for option in argument[1:] if option])
            case "ASSERT":
                self.loose = True
                if argument[0] > 0:
                    self.required.append(self.chain(argument[1]))
                return Word("")
            case "AT":
                self.loose |= "BOUNDARY" in str(argument)
                return Word("")
            case _:
                self.loose = True
                return Word("")


def _members(items: Sequence[tuple[object, Any]]) -> str:
    """Return the characters of a class, the plainest first."""
    negated = bool(items) and str(items[0][0]) == "NEGATE"
    listed = items[1:] if negated else items
    plain = [c for c in _PRINTABLE if any(_holds(c, item) for item in listed) != negated]
    chars = dict.fromkeys(plain or (_FOREIGN if negated else ""))
    if not negated:
        for operator, argument in listed:
            if str(operator) == "LITERAL":
                chars.setdefault(chr(argument))
            elif str(operator) == "RANGE":
                low = max(argument[0], 0x80)
                chars.update(
                    dict.fromkeys(
                        chr(code)
                        for code in range(low, min(argument[1] + 1, low + _RANGE))
                        if not 0xD800 <= code < 0xE000
                    )
                )
    return "".join(chars)


def _holds(char: str, item: tuple[object, Any]) -> bool:
    operator, argument = item
    match str(operator):
        case "LITERAL":
            return ord(char) == argument
        case "RANGE":
            return argument[0] <= ord(char) <= argument[1]
        case _:
            name = str(argument)
            if "DIGIT" in name:
                found = char.isdigit()
            elif "SPACE" in name:
                found = char.isspace()
            else:
                found = char.isalnum() or char == "_"
            return found != ("NOT" in name)


class Language:
    """The strings of one grammar within the given lengths."""

    def __init__(self, grammar: Part, shortest: int, longest: int | None, *, exact: bool) -> None:
        self._grammar = grammar
        self._exact = exact
        self._per_length = self._measured(shortest, longest)
        self.count = limited(sum(count for _, count in self._per_length))
        self.shortest = self._per_length[0][0] if self._per_length else shortest

    def _measured(self, shortest: int, longest: int | None) -> list[tuple[int, int]]:
        limit = shortest
        while True:
            counts = self._grammar.counts(limit)
            start = next((i for i, many in enumerate(counts) if many and i >= shortest), None)
            if start is not None or limit > shortest + 512 or limit == longest:
                break
            limit = limit * 2 + 8 if longest is None else min(limit * 2 + 8, longest)
        if start is None:
            return []
        end = start + _SPARE if longest is None else min(start + _SPARE, longest)
        counts = self._grammar.counts(end)
        return [(length, counts[length]) for length in range(start, end + 1) if counts[length]]

    def pick(self, n: int, accepts: Callable[[str], bool]) -> str:
        """Return string number `n` of those that the validator accepts."""
        if not self.count:
            raise DeadEnd("its pattern and its lengths leave no string")
        if self._exact:
            text = self._at(n)
            if accepts(text):
                return text
        return nth_accepted(n, self.count, self._scattered, accepts, patience=_PATIENCE)

    def _scattered(self, n: int) -> str:
        """Return string `n`, from some number on one from anywhere in the language."""
        total = sum(count for _, count in self._per_length)
        return self._at(n if n < _IN_ORDER else n * (total * _GOLDEN >> 64))

    def _at(self, n: int) -> str:
        n %= sum(count for _, count in self._per_length)
        for length, count in self._per_length:
            if n < count:
                return self._grammar.build(length, n)
            n -= count
        raise AssertionError(n)


@lru_cache(maxsize=256)
def languages(pattern: str, flags: int, shortest: int, longest: int | None) -> tuple[Language, ...]:
    """Return the languages to look for a match in, the likeliest first.

    Besides the pattern's own one there is, where it has look-aheads, one that writes down what
    they ask for; and, for a pattern that is shorter than the string has to be, ones with
    letters after and before it. None at all means that the pattern could not be read.
    """
    reader = _Reader()
    try:
        grammar = reader.chain(_parsed(_translated(pattern), flags))
    except (re.error, ImportError, AttributeError, OverflowError, RecursionError):
        return ()
    letters = Repeated(Chars(string.ascii_lowercase), 0, None)
    own = Language(grammar, shortest, longest, exact=not reader.loose)
    found = [own]
    if reader.required:
        asked = Chain([*reader.required, letters])
        found.insert(0, Language(asked, own.shortest, longest, exact=False))
    if not own.count:
        padded = (Chain([grammar, letters]), Chain([letters, grammar]))
        found.extend(Language(chain, shortest, longest, exact=False) for chain in padded)
    return tuple(found)


def _parsed(pattern: str, flags: int) -> Iterable[tuple[object, Any]]:
    # The parser has no public name since `sre_parse` went; it warns about what other engines
    # read differently, which is not the author's business here.
    parser: Any = importlib.import_module("re._parser")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return cast("Iterable[tuple[object, Any]]", parser.parse(pattern, flags))


_PROPERTIES: Final = {"L": "a-zA-Z", "Lu": "A-Z", "Ll": "a-z", "N": "0-9", "Nd": "0-9", "P": ".,!?"}
_NAMES: Final = {"Letter": "L", "Alphabetic": "L", "Uppercase": "Lu", "Lowercase": "Ll"}
_POSIX: Final = {
    "alpha": "a-zA-Z",
    "alnum": "a-zA-Z0-9",
    "digit": "0-9",
    "lower": "a-z",
    "upper": "A-Z",
    "xdigit": "0-9a-fA-F",
    "word": "a-zA-Z0-9_",
    "space": r"\s",
    "punct": r".,!?;:",
}
_RUST: Final = re.compile(
    r"\\(?P<negated>[pP])(?:\{\^?(?P<name>\w+)\}|(?P<letter>[A-Z]))"
    r"|\[:(?P<posix>[a-z]+):\]"
    r"|\\[xu]\{(?P<code>[0-9a-fA-F]+)\}"
    r"|(?P<end>\\z)"
    r"|(?P<group>\(\?<(?![=!]))"
    r"|\\.|\[\^?\]?|\]",
    re.DOTALL,
)


def _translated(pattern: str) -> str:
    """Return the pattern in Python's words: pydantic's usual engine is Rust's."""
    in_class = False

    def word(match: re.Match[str]) -> str:
        nonlocal in_class
        if match["negated"]:
            name = match["name"] or match["letter"]
            chars = _PROPERTIES.get(_NAMES.get(name, name), "a-z")
            if in_class:
                return chars
            return f"[{'^' if match['negated'] == 'P' else ''}{chars}]"
        if match["posix"]:
            return _POSIX.get(match["posix"], "a-z")
        if match["code"]:
            return re.escape(chr(int(match["code"], 16)))
        if match["end"]:
            return r"\Z"
        if match["group"]:
            return match[0] if in_class else "(?P<"
        if match[0].startswith("["):
            nested, in_class = in_class, True
            return "\\[" if nested else match[0]
        if match[0] == "]":
            in_class = False
        return match[0]

    return _RUST.sub(word, pattern)
