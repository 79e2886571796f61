"""What detectors find in a text, and how it is replaced."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

_KIND: Final = re.compile(r"[A-Z][A-Z0-9_]{0,39}")
_PLACEHOLDER: Final = re.compile(r"\[([A-Z][A-Z0-9_]{0,39})(?: [0-9]{1,9})?\]")

_ROUNDS: Final = 8
"""How often a text is looked at: what is replaced may uncover more, seldom more than once."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a detector found in a text.

    Attributes:
        start: Where it begins, in characters.
        end: Where it ends: the first character after it.
        kind: What it is, in capitals: `"EMAIL"`. Becomes the placeholder `[EMAIL]`.
    """

    start: int
    end: int
    kind: str

    def __post_init__(self) -> None:
        """Check that it is something.

        Raises:
            ValueError: It is empty, or its kind is no word in capitals.
        """
        if not 0 <= self.start < self.end:
            msg = f"a finding is a piece of the text, not {self.start} to {self.end}"
            raise ValueError(msg)
        if not _KIND.fullmatch(self.kind):
            msg = f"the kind of a finding is a word in capitals such as 'EMAIL', not {self.kind!r}"
            raise ValueError(msg)


class Detector(Protocol):
    """Finds what must not pass a guard. Any object with this method will do.

    It may be called in a thread, and on texts of megabytes: take linear time. One that goes by
    names, too, has a second method `find_named(name, text)`, which gets the name of the field or
    key that a text stands under, and finds what `find` alone would not.
    """

    def find(self, text: str) -> Iterable[Finding]:
        """Return what is found in a text, in any order; findings may overlap."""
        ...


_FindNamed = Callable[[str, str], Iterable[Finding]]


class Redactor:
    """Replaces what detectors find by placeholders.

    The first value of a kind becomes `[EMAIL]`, the next other one `[EMAIL 2]`, and the same
    value the same placeholder, over all texts that this redactor sees. What it has replaced
    once it leaves alone.

    ```python
    from flock import PiiDetector
    from flock.components.guards import Redactor

    redactor = Redactor([PiiDetector()])
    text, found = redactor.redact("ann@x.org wrote to bob@y.org; ann@x.org waits")
    print(text)  # -> [EMAIL] wrote to [EMAIL 2]; [EMAIL] waits
    ```

    Args:
        detectors: What to look for.
    """

    def __init__(self, detectors: Sequence[Detector]) -> None:
        self._detectors = tuple(detectors)
        self._numbers: dict[str, dict[str, int]] = {}

    def find(self, text: str, name: str = "") -> list[Finding]:
        """Return what is found in a text, in order; findings that overlap have become one.

        Args:
            text: The text.
            name: Of the field or key that it stands under, if there is one.

        Raises:
            ValueError: A detector finds something beyond the end of the text.
        """
        found = [f for detector in self._detectors for f in detector.find(text)]
        if name:
            for detector in self._detectors:
                find: _FindNamed | None = getattr(detector, "find_named", None)
                if find is not None:
                    found += find(name, text)
        if not found:
            return []
        if any(f.end > len(text) for f in found):
            msg = f"a detector found something behind the end of a text of {len(text)} characters"
            raise ValueError(msg)
        return _joined([f for f in found if not self._is_replaced(text, f)])

    def redact(self, text: str, name: str = "") -> tuple[str, list[Finding]]:
        """Return a text with placeholders, and what they stand for, in the order it was found.

        Places are those in the text as it was when each was found. `name` is as in `find`.
        """
        everything: list[Finding] = []
        for _ in range(_ROUNDS):
            found = self.find(text, name)
            if not found:
                break
            everything += found
            pieces: list[str] = []
            end = 0
            for finding in found:
                value = text[finding.start : finding.end]
                pieces += [text[end : finding.start], self._placeholder(finding.kind, value)]
                end = finding.end
            text = "".join([*pieces, text[end:]])
        return text, everything

    def _placeholder(self, kind: str, value: str) -> str:
        numbers = self._numbers.setdefault(kind, {})
        number = numbers.setdefault(value, len(numbers) + 1)
        return f"[{kind}]" if number == 1 else f"[{kind} {number}]"

    def _is_replaced(self, text: str, finding: Finding) -> bool:
        """Whether a finding lies inside a placeholder, and not merely in brackets."""
        start = text.rfind("[", max(0, finding.start - 50), finding.start + 1)
        known = None if start < 0 else _PLACEHOLDER.match(text, start)
        return (
            known is not None
            and finding.end <= known.end()
            and (known[1] in self._numbers or known[1] in KINDS)
        )


def _joined(found: list[Finding]) -> list[Finding]:
    """Return findings in order; of those that overlap one, of the kind of the longest."""
    found.sort(key=lambda f: (f.start, -f.end))
    joined: list[Finding] = []
    longest = 0
    for finding in found:
        if not joined or finding.start >= joined[-1].end:
            joined.append(finding)
            longest = finding.end - finding.start
            continue
        last = joined[-1]
        kind = last.kind
        if finding.end - finding.start > longest:
            kind, longest = finding.kind, finding.end - finding.start
        joined[-1] = Finding(last.start, max(last.end, finding.end), kind)
    return joined


PII: Final = frozenset({"EMAIL", "PHONE", "IBAN", "CARD", "IP_ADDRESS"})
SECRETS: Final = frozenset({"API_KEY", "JWT", "PASSWORD", "PRIVATE_KEY", "SECRET"})
KINDS: Final = PII | SECRETS
"""The kinds that the built-in detectors find."""


def chosen(kinds: Iterable[str] | None, known: frozenset[str], word: str) -> frozenset[str]:
    """Return which kinds a built-in detector looks for.

    Raises:
        ValueError: One is not known.
    """
    if kinds is None:
        return known
    wanted = frozenset([kinds] if isinstance(kinds, str) else kinds)
    if not wanted <= known:
        msg = f"{word} finds {sorted(known)}, not {sorted(wanted - known)}"
        raise ValueError(msg)
    return wanted
