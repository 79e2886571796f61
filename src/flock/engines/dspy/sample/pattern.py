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

from flock.engines.dspy.sample.source import DeadEnd, limited, nth_accepted

_PRINTABLE: Final = (
    string.ascii_lowercase + string.digits + string.ascii_uppercase + "-_.,:;/+*=@#%&!?$()[]{}<>'"
    '"^~|`\\ \t\n\r'
)
"""The characters that stand for a class, the plainest first."""
_READABLE: Final = _PRINTABLE[:-4] + " "
_RANGE: Final = 64
"""How many characters outside ASCII stand for a range."""
_SPARE: Final = 24
"""How much longer than the shortest string others may be."""
_PATIENCE: Final = 300
_IN_ORDER: Final = 100
_GOLDEN: Final = 0x9E3779B97F4A7C15
"""The golden ratio's fraction, times 2**64: its multiples visit every region evenly."""

# --- the grammar ------------------------------------------------------------------------


class _Part:
    """A part of a pattern: `counts` strings per length, and string `n` of a length."""

    def __init__(self) -> None:
        self._known: list[int] = []

    def counts(self, limit: int) -> list[int]:
        """Return how many strings of each length 0 to `limit` there are."""
        if len(self._known) <= limit:
            self._known = self._count(limit)
        return self._known[: limit + 1]

    def _count(self, limit: int) -> list[int]:
        raise NotImplementedError

    def build(self, length: int, n: int) -> str:
        """Return string number `n` of those with this length."""
        raise NotImplementedError


class _Chars(_Part):
    """One character out of several."""

    def __init__(self, chars: str) -> None:
        super().__init__()
        self._chars = chars

    def _count(self, limit: int) -> list[int]:
        return [0, len(self._chars), *[0] * limit][: limit + 1]

    def build(self, length: int, n: int) -> str:
        return self._chars[n]


class _Word(_Part):
    """A fixed string, also the empty one."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def _count(self, limit: int) -> list[int]:
        return [int(length == len(self.text)) for length in range(limit + 1)]

    def build(self, length: int, n: int) -> str:
        return self.text


class _Either(_Part):
    """One of several parts."""

    def __init__(self, parts: Sequence[_Part]) -> None:
        super().__init__()
        self._parts = parts

    def _count(self, limit: int) -> list[int]:
        return [sum(column) for column in zip(*(p.counts(limit) for p in self._parts), strict=True)]

    def build(self, length: int, n: int) -> str:
        for part in self._parts:
            count = part.counts(length)[length]
            if n < count:
                return part.build(length, n)
            n -= count
        raise AssertionError(n)


class _Chain(_Part):
    """Parts one after the other; `rows[i]` counts the strings of the parts from `i` on."""

    def __init__(self, parts: Sequence[_Part]) -> None:
        super().__init__()
        self._parts = parts
        self._rows: list[list[int]] = []

    def _count(self, limit: int) -> list[int]:
        row = [1, *[0] * limit]
        self._rows = [row]
        for part in reversed(self._parts):
            row = _convolved(part.counts(limit), row)
            self._rows.append(row)
        self._rows.reverse()
        return row

    def build(self, length: int, n: int) -> str:
        self.counts(length)
        pieces: list[str] = []
        for part, rest in zip(self._parts, self._rows[1:], strict=True):
            own, mine, n = _split(part.counts(length), rest, length, n)
            pieces.append(part.build(own, mine))
            length -= own
        return "".join(pieces)


class _Repeated(_Part):
    """A part `low` to `high` times; `rows[k]` counts what may follow after `k` times.

    From `low` on only repetitions that add a character count, so that a length has finitely
    many strings; without an upper bound the last row follows on itself.
    """

    def __init__(self, part: _Part, low: int, high: int | None) -> None:
        super().__init__()
        self._part = part
        self._low, self._high = low, high
        self._rows: list[list[int]] = []

    def _count(self, limit: int) -> list[int]:
        item = self._part.counts(limit)
        solid = [0, *item[1:]]
        if self._high is None or self._high > self._low + limit:
            row = _endless(solid, limit)
            self._rows = [row]
        else:
            row = [1, *[0] * limit]
            self._rows = [row]
            for _ in range(self._high - self._low):
                row = _convolved(solid, row)
                row[0] += 1
                self._rows.append(row)
        for _ in range(self._low):
            row = _convolved(item, row)
            self._rows.append(row)
        self._rows.reverse()
        return row

    def build(self, length: int, n: int) -> str:
        self.counts(length)
        pieces: list[str] = []
        times = 0
        while True:
            optional = times >= self._low
            if optional and not length:
                return "".join(pieces)
            item = self._part.counts(length)
            if optional:
                item[0] = 0
            rest = self._rows[min(times + 1, len(self._rows) - 1)]
            own, mine, n = _split(item, rest, length, n)
            pieces.append(self._part.build(own, mine))
            length -= own
            times += 1


def _convolved(left: Sequence[int], right: Sequence[int]) -> list[int]:
    limit = len(right) - 1
    total = [0] * (limit + 1)
    for i, many in enumerate(left):
        if many:
            for j in range(limit + 1 - i):
                total[i + j] += many * right[j]
    return total


def _endless(solid: Sequence[int], limit: int) -> list[int]:
    row = [1, *[0] * limit]
    lengths = [length for length, many in enumerate(solid) if many]
    for total in range(1, limit + 1):
        row[total] = sum(solid[own] * row[total - own] for own in lengths if own <= total)
    return row


def _split(part: Sequence[int], rest: Sequence[int], length: int, n: int) -> tuple[int, int, int]:
    """Return the part's length and number, and the rest's number, of string `n`."""
    for own in range(length + 1):
        after = rest[length - own]
        if n < part[own] * after:
            return own, *divmod(n, after)
        n -= part[own] * after
    raise AssertionError(n)


# --- from a pattern to its grammar ------------------------------------------------------


class _Reader:
    """Reads what the standard library's parser makes of a pattern.

    `loose` is set when something was met that the grammar cannot say; `required` collects
    what positive look-aheads ask for.
    """

    def __init__(self) -> None:
        self.loose = False
        self.required: list[_Part] = []
        self._groups: dict[int, _Part] = {}

    def chain(self, items: Iterable[tuple[object, Any]]) -> _Part:
        parts: list[_Part] = []
        for operator, argument in items:
            part = self._part(str(operator), argument)
            if isinstance(part, _Word) and parts and isinstance(parts[-1], _Word):
                parts[-1] = _Word(parts[-1].text + part.text)
            else:
                parts.append(part)
        return parts[0] if len(parts) == 1 else _Chain(parts)

    def _part(self, operator: str, argument: Any) -> _Part:  # noqa: ANN401, C901
        match operator:
            case "LITERAL":
                return _Word(chr(argument))
            case "NOT_LITERAL":
                return _Chars(_READABLE.replace(chr(argument), ""))
            case "ANY" | "ANY_ALL":
                return _Chars(_READABLE)
            case "IN":
                return _Chars(_members(argument))
            case "BRANCH":
                return _Either([self.chain(option) for option in argument[1]])
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
                return _Repeated(self.chain(inner), int(low), None if unbounded else int(high))
            case "GROUPREF":
                self.loose = True
                return self._groups.get(argument, _Word(""))
            case "GROUPREF_EXISTS":
                self.loose = True
                return _Either([self.chain(option) for option in argument[1:] if option])
            case "ASSERT":
                self.loose = True
                if argument[0] > 0:
                    self.required.append(self.chain(argument[1]))
                return _Word("")
            case "AT":
                self.loose |= "BOUNDARY" in str(argument)
                return _Word("")
            case _:
                self.loose = True
                return _Word("")


def _members(items: Sequence[tuple[object, Any]]) -> str:
    """Return the characters of a class, the plainest first."""
    negated = bool(items) and str(items[0][0]) == "NEGATE"
    listed = items[1:] if negated else items
    plain = [c for c in _PRINTABLE if any(_holds(c, item) for item in listed) != negated]
    chars = dict.fromkeys(plain)
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


# --- the strings ------------------------------------------------------------------------


class Language:
    """The strings of one grammar within the given lengths."""

    def __init__(self, grammar: _Part, shortest: int, longest: int | None, *, exact: bool) -> None:
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
    letters = _Repeated(_Chars(string.ascii_lowercase), 0, None)
    own = Language(grammar, shortest, longest, exact=not reader.loose)
    found = [own]
    if reader.required:
        asked = _Chain([*reader.required, letters])
        found.append(Language(asked, own.shortest, longest, exact=False))
    if not own.count:
        padded = (_Chain([grammar, letters]), _Chain([letters, grammar]))
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
